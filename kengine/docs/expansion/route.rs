impl Game {
    #[allow(clippy::unused_async)]
    async fn chat(&self, chat: Chat) -> String {
        format!("hey, you said: {}", chat.greeting)
    }
}

#[automatically_derived]
impl ::kengine::Dispatcher for Game {
    type Session = ();
    const ROUTES: &'static [::kengine::wire::Route] = &[
        ::kengine::wire::Route::new("chat"),
    ];
    async fn dispatch<'call>(
        &'call self,
        context: ::kengine::Context<'call, ()>,
        answer: &'call mut ::kengine::wire::Answer,
    ) -> ::kengine::Result<bool> {
        use ::kengine::__private::{self, lookup::*};
        #[deny(unreachable_patterns)]
        match __private::route(context) {
            "chat" => {
                __private::enter(context, 0);
                let returned = __private::sent(
                        Self::chat(
                            self,
                            __private::Argument::<
                                (),
                                Chat,
                                _,
                            >::placed(context, __private::Last)
                                .argument()?,
                        ),
                    )
                    .await;
                let reply = __private::Returned(returned).outcome()?;
                reply.write(answer);
            }
            _ => return __private::Ok(false),
        }
        __private::Ok(true)
    }
}
