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
                let returned = __private::handler_future(
                        Self::chat(
                            self,
                            <Chat as __private::IsMessage<
                                _,
                            >>::take(
                                <Chat as __private::IsOwned<
                                    _,
                                >>::check(__private::last::<(), Chat>(context).find()),
                            )?,
                        ),
                    )
                    .await;
                let reply = __private::Returned(returned)
                    .result()
                    .map_err(__private::IsErrorReply::into_error)?;
                __private::IsReply::write(reply, answer);
            }
            _ => return __private::Ok(false),
        }
        __private::Ok(true)
    }
}
