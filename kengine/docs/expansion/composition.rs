const _: () = {
    use ::kengine::__private::variables::*;
    use ::kengine::__private::Unfit as _;
    #[automatically_derived]
    impl<R> ::kengine::Dispatcher for App<R>
    where
        R: ::kengine::Dispatcher<Session = <Chat as ::kengine::Dispatcher>::Session>,
    {
        type Session = <Chat as ::kengine::Dispatcher>::Session;
        const SYNTAX: ::kengine::wire::Syntax = ::kengine::__private::Part::<
            Chat,
            (),
        >::SYNTAX;
        const ROUTES: &'static [::kengine::wire::Route] = {
            let () = <<R as ::kengine::Dispatcher>::Session as ::kengine::__private::IsSameSession<
                Self::Session,
            >>::CHECKED;
            ::kengine::__private::Table::routes(const {
                ::kengine::__private::check_routes(
                    ::kengine::__private::Part::<R, ()>::ROUTES,
                    &[::kengine::__private::Part::<Chat, ()>::ROUTES],
                );
                ::kengine::__private::check_syntax(
                    ::kengine::__private::Part::<R, ()>::SYNTAX,
                    "chat",
                    ::kengine::__private::Part::<Chat, ()>::SYNTAX,
                );
                ::kengine::__private::check_hook(
                    "accept",
                    ::kengine::__private::Part::<R, ()>::HOOKS.accept,
                    &[("chat", ::kengine::__private::Part::<Chat, ()>::HOOKS.accept)],
                );
                ::kengine::__private::check_hook(
                    "open",
                    ::kengine::__private::Part::<R, ()>::HOOKS.open,
                    &[("chat", ::kengine::__private::Part::<Chat, ()>::HOOKS.open)],
                );
                ::kengine::__private::check_hook(
                    "suspend",
                    ::kengine::__private::Part::<R, ()>::HOOKS.suspend,
                    &[("chat", ::kengine::__private::Part::<Chat, ()>::HOOKS.suspend)],
                );
                ::kengine::__private::check_hook(
                    "resume",
                    ::kengine::__private::Part::<R, ()>::HOOKS.resume,
                    &[("chat", ::kengine::__private::Part::<Chat, ()>::HOOKS.resume)],
                );
                ::kengine::__private::check_hook(
                    "close",
                    ::kengine::__private::Part::<R, ()>::HOOKS.close,
                    &[("chat", ::kengine::__private::Part::<Chat, ()>::HOOKS.close)],
                );
                ::kengine::__private::check_hook(
                    "heartbeat",
                    ::kengine::__private::Part::<R, ()>::HOOKS.heartbeat,
                    &[("chat", ::kengine::__private::Part::<Chat, ()>::HOOKS.heartbeat)],
                );
                ::kengine::__private::check_hook(
                    "fallback",
                    ::kengine::__private::Part::<R, ()>::HOOKS.fallback,
                    &[("chat", ::kengine::__private::Part::<Chat, ()>::HOOKS.fallback)],
                );
                &::kengine::__private::Table::new(
                    &[
                        ::kengine::__private::Part::<Chat, ()>::ROUTES,
                        ::kengine::__private::Part::<R, ()>::ROUTES,
                    ],
                )
            })
        };
        const READS_LATE: ::core::primitive::bool = ::kengine::__private::Part::<
            Chat,
            (),
        >::READS_LATE && ::kengine::__private::Part::<R, ()>::READS_LATE;
        const HOOKS: ::kengine::wire::Hooks = ::kengine::__private::hooks(
            &[
                ::kengine::__private::Part::<Chat, ()>::HOOKS,
                ::kengine::__private::Part::<R, ()>::HOOKS,
            ],
        );
        async fn dispatch(
            &self,
            context: ::kengine::Context<'_, Self::Session>,
            answer: &mut ::kengine::wire::Answer,
        ) -> ::kengine::Result<::core::primitive::bool> {
            if ::kengine::Dispatcher::dispatch(
                    ::kengine::__private::part::<_, Self::Session>(&self.chat)
                        .dispatcher(),
                    ::kengine::__private::shifted(context, 0),
                    answer,
                )
                .await?
            {
                return ::kengine::__private::Ok(true);
            }
            if ::kengine::Dispatcher::dispatch(
                    ::kengine::__private::part::<_, Self::Session>(&self.rest)
                        .dispatcher(),
                    ::kengine::__private::shifted(
                        context,
                        0 + ::kengine::__private::Part::<Chat, ()>::ROUTES.len(),
                    ),
                    answer,
                )
                .await?
            {
                return ::kengine::__private::Ok(true);
            }
            ::kengine::__private::Ok(false)
        }
        async fn accept(
            &self,
            handshake: &::kengine::Handshake,
        ) -> ::kengine::Result<Self::Session, ::kengine::Refusal> {
            if ::kengine::__private::Part::<R, ()>::HOOKS.accept {
                return ::kengine::Dispatcher::accept(
                        ::kengine::__private::part::<_, Self::Session>(&self.rest)
                            .dispatcher(),
                        handshake,
                    )
                    .await;
            }
            ::kengine::Dispatcher::accept(
                    ::kengine::__private::part::<_, Self::Session>(&self.chat)
                        .dispatcher(),
                    handshake,
                )
                .await
        }
        async fn open(
            &self,
            context: ::kengine::Context<'_, Self::Session>,
        ) -> ::kengine::Result<()> {
            if ::kengine::__private::Part::<R, ()>::HOOKS.open {
                return ::kengine::Dispatcher::open(
                        ::kengine::__private::part::<_, Self::Session>(&self.rest)
                            .dispatcher(),
                        ::kengine::__private::shifted(
                            context,
                            0 + ::kengine::__private::Part::<Chat, ()>::ROUTES.len(),
                        ),
                    )
                    .await;
            }
            ::kengine::Dispatcher::open(
                    ::kengine::__private::part::<_, Self::Session>(&self.chat)
                        .dispatcher(),
                    ::kengine::__private::shifted(context, 0),
                )
                .await
        }
        async fn suspend(
            &self,
            context: ::kengine::Context<'_, Self::Session>,
        ) -> ::kengine::Result<()> {
            if ::kengine::__private::Part::<R, ()>::HOOKS.suspend {
                return ::kengine::Dispatcher::suspend(
                        ::kengine::__private::part::<_, Self::Session>(&self.rest)
                            .dispatcher(),
                        ::kengine::__private::shifted(
                            context,
                            0 + ::kengine::__private::Part::<Chat, ()>::ROUTES.len(),
                        ),
                    )
                    .await;
            }
            ::kengine::Dispatcher::suspend(
                    ::kengine::__private::part::<_, Self::Session>(&self.chat)
                        .dispatcher(),
                    ::kengine::__private::shifted(context, 0),
                )
                .await
        }
        async fn resume(
            &self,
            context: ::kengine::Context<'_, Self::Session>,
        ) -> ::kengine::Result<()> {
            if ::kengine::__private::Part::<R, ()>::HOOKS.resume {
                return ::kengine::Dispatcher::resume(
                        ::kengine::__private::part::<_, Self::Session>(&self.rest)
                            .dispatcher(),
                        ::kengine::__private::shifted(
                            context,
                            0 + ::kengine::__private::Part::<Chat, ()>::ROUTES.len(),
                        ),
                    )
                    .await;
            }
            ::kengine::Dispatcher::resume(
                    ::kengine::__private::part::<_, Self::Session>(&self.chat)
                        .dispatcher(),
                    ::kengine::__private::shifted(context, 0),
                )
                .await
        }
        async fn close(
            &self,
            context: ::kengine::Context<'_, Self::Session>,
            reason: &::kengine::DisconnectReason,
        ) -> ::kengine::Result<()> {
            if ::kengine::__private::Part::<R, ()>::HOOKS.close {
                return ::kengine::Dispatcher::close(
                        ::kengine::__private::part::<_, Self::Session>(&self.rest)
                            .dispatcher(),
                        ::kengine::__private::shifted(
                            context,
                            0 + ::kengine::__private::Part::<Chat, ()>::ROUTES.len(),
                        ),
                        reason,
                    )
                    .await;
            }
            ::kengine::Dispatcher::close(
                    ::kengine::__private::part::<_, Self::Session>(&self.chat)
                        .dispatcher(),
                    ::kengine::__private::shifted(context, 0),
                    reason,
                )
                .await
        }
        async fn heartbeat(
            &self,
            context: ::kengine::Context<'_, Self::Session>,
        ) -> ::kengine::Result<::kengine::Liveness> {
            if ::kengine::__private::Part::<R, ()>::HOOKS.heartbeat {
                return ::kengine::Dispatcher::heartbeat(
                        ::kengine::__private::part::<_, Self::Session>(&self.rest)
                            .dispatcher(),
                        ::kengine::__private::shifted(
                            context,
                            0 + ::kengine::__private::Part::<Chat, ()>::ROUTES.len(),
                        ),
                    )
                    .await;
            }
            ::kengine::Dispatcher::heartbeat(
                    ::kengine::__private::part::<_, Self::Session>(&self.chat)
                        .dispatcher(),
                    ::kengine::__private::shifted(context, 0),
                )
                .await
        }
        async fn fallback(
            &self,
            context: ::kengine::Context<'_, Self::Session>,
            answer: &mut ::kengine::wire::Answer,
        ) -> ::kengine::Result<()> {
            if ::kengine::__private::Part::<R, ()>::HOOKS.fallback {
                return ::kengine::Dispatcher::fallback(
                        ::kengine::__private::part::<_, Self::Session>(&self.rest)
                            .dispatcher(),
                        ::kengine::__private::shifted(
                            context,
                            0 + ::kengine::__private::Part::<Chat, ()>::ROUTES.len(),
                        ),
                        answer,
                    )
                    .await;
            }
            ::kengine::Dispatcher::fallback(
                    ::kengine::__private::part::<_, Self::Session>(&self.chat)
                        .dispatcher(),
                    ::kengine::__private::shifted(context, 0),
                    answer,
                )
                .await
        }
    }
};
