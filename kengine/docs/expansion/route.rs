impl Game {
    async fn chat(&self, chat: Chat) -> String {
        format!("hey, you said: {}", chat.greeting)
    }
}
const _: () = {
    use ::kengine::__private::variables::*;
    #[automatically_derived]
    impl ::kengine::Dispatcher for Game {
        type Session = ();
        const ROUTES: &'static [::kengine::wire::Route] = &[
            ::kengine::wire::Route::new("chat"),
        ];
        const READS_LATE: ::core::primitive::bool = true;
        async fn dispatch(
            &self,
            context: ::kengine::Context<'_, ()>,
            answer: &mut ::kengine::wire::Answer,
        ) -> ::kengine::Result<::core::primitive::bool> {
            #[deny(unreachable_patterns)]
            match ::kengine::__private::route(context) {
                "chat" => {
                    ::kengine::__private::enter(context, 0);
                    let returned = ::kengine::__private::handler_future::<
                        {
                            ::kengine::__private::is_large(
                                &|| Self::chat(
                                    ::kengine::__private::any(),
                                    ::kengine::__private::any(),
                                ),
                            )
                        },
                        _,
                    >(
                            Self::chat(
                                self,
                                <Chat as ::kengine::__private::IsMessage<
                                    _,
                                >>::take(
                                    <Chat as ::kengine::__private::IsOwned<
                                        _,
                                    >>::check(
                                        ::kengine::__private::argument::<
                                            (),
                                            Chat,
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
    }
};
