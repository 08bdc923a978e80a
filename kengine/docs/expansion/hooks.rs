impl Game {
    async fn enter(&self, handshake: &Handshake) -> Result<Player, Refusal> {
        self.players
            .find(handshake.query("ticket"))
            .ok_or_else(|| Refusal::unauthorized("no ticket"))
    }
    async fn guard(&self, call: &Call, player: &Player) -> Result<(), Error> {
        if player.muted { Err(Error::new("muted", call.route)) } else { Ok(()) }
    }
    async fn step(&self, player: &Player, step: Step) {
        player.step(step);
    }
}
const _: () = {
    use ::kengine::__private::variables::*;
    #[automatically_derived]
    impl ::kengine::Dispatcher for Game {
        type Session = <Result<
            Player,
            Refusal,
        > as ::kengine::__private::Accepted<
            {
                <Result<
                    Player,
                    Refusal,
                > as ::kengine::__private::IsAcceptOutput<_>>::FORM
            },
        >>::Session;
        const ROUTES: &'static [::kengine::wire::Route] = &[
            ::kengine::wire::Route::new("move")
                .rate(30, ::core::time::Duration::from_secs(1), 30)
                .timeout(::core::time::Duration::from_millis(50u64)),
        ];
        const READS_LATE: ::core::primitive::bool = true;
        const HOOKS: ::kengine::wire::Hooks = {
            let mut hooks = ::kengine::wire::Hooks::NONE;
            hooks.accept = true;
            hooks
        };
        async fn dispatch(
            &self,
            context: ::kengine::Context<'_, Self::Session>,
            answer: &mut ::kengine::wire::Answer,
        ) -> ::kengine::Result<::core::primitive::bool> {
            #[deny(unreachable_patterns)]
            match ::kengine::__private::route(context) {
                "move" => {
                    ::kengine::__private::enter(context, 0);
                    ::kengine::__private::limit(
                        context,
                        &<Self as ::kengine::Dispatcher>::ROUTES[0],
                    )?;
                    let call = ::kengine::__private::call(
                        context,
                        &<Self as ::kengine::Dispatcher>::ROUTES[0],
                    );
                    ::kengine::Dispatcher::before(self, context, &call).await?;
                    let returned = ::kengine::__private::handler_future::<
                        {
                            ::kengine::__private::is_large(
                                &|| Self::step(
                                    ::kengine::__private::any(),
                                    ::kengine::__private::any(),
                                    ::kengine::__private::any(),
                                ),
                            )
                        },
                        _,
                    >(
                            Self::step(
                                self,
                                <&Player as ::kengine::__private::FromContext<
                                    '_,
                                    Self::Session,
                                >>::take(context)?,
                                <Step as ::kengine::__private::IsMessage<
                                    _,
                                >>::take(
                                    <Step as ::kengine::__private::IsOwned<
                                        _,
                                    >>::check(
                                        ::kengine::__private::argument::<
                                            Self::Session,
                                            Step,
                                        >(context)[::kengine::__private::Verdict],
                                    ),
                                    context,
                                    answer,
                                )?,
                            ),
                        )
                        .await;
                    let reply = ::kengine::__private::returned(
                            &returned,
                        )[::kengine::__private::Verdict]
                        .result(returned)
                        .map_err(::kengine::__private::IsErrorReply::into_error)?;
                    ::kengine::__private::IsReply::write(reply, answer)?;
                }
                _ => return ::kengine::__private::Ok(false),
            }
            ::kengine::__private::Ok(true)
        }
        async fn accept(
            &self,
            handshake: &::kengine::Handshake,
        ) -> ::kengine::Result<Self::Session, ::kengine::Refusal> {
            let returned = ::kengine::__private::handler_future::<
                {
                    ::kengine::__private::is_large(
                        &|| Self::enter(
                            ::kengine::__private::any(),
                            ::kengine::__private::any(),
                        ),
                    )
                },
                _,
            >(
                    Self::enter(
                        self,
                        <&Handshake as ::kengine::__private::IsAcceptArgument<
                            '_,
                        >>::take(handshake),
                    ),
                )
                .await;
            let returned = ::kengine::__private::returned(
                    &returned,
                )[::kengine::__private::Verdict]
                .result(returned)
                .map_err(::kengine::__private::IsRefusal::into_refusal)?;
            ::kengine::__private::Ok(
                ::kengine::__private::IsSession::<Self::Session>::session(returned),
            )
        }
        async fn before(
            &self,
            context: ::kengine::Context<'_, Self::Session>,
            call: &::kengine::Call,
        ) -> ::kengine::Result<()> {
            let returned = ::kengine::__private::handler_future::<
                {
                    ::kengine::__private::is_large(
                        &|| Self::guard(
                            ::kengine::__private::any(),
                            ::kengine::__private::any(),
                            ::kengine::__private::any(),
                        ),
                    )
                },
                _,
            >(
                    Self::guard(
                        self,
                        <&Call as ::kengine::__private::IsHookArgument<
                            '_,
                            Self::Session,
                            ::kengine::__private::Call,
                            _,
                        >>::take(context, call)?,
                        <&Player as ::kengine::__private::IsHookArgument<
                            '_,
                            Self::Session,
                            ::kengine::__private::Call,
                            _,
                        >>::take(context, call)?,
                    ),
                )
                .await;
            let returned = ::kengine::__private::returned(
                    &returned,
                )[::kengine::__private::Verdict]
                .result(returned)
                .map_err(::kengine::__private::IsErrorReply::into_error)?;
            ::kengine::__private::Ok(::kengine::__private::IsHookOutput::end(returned))
        }
    }
};
