impl Game {
    #[allow(clippy::unused_async)]
    async fn enter(&self, handshake: &Handshake) -> Result<Player, Refusal> {
        self.players
            .find(handshake.query("ticket"))
            .ok_or_else(|| Refusal::unauthorized("no ticket"))
    }
    #[allow(clippy::unused_async)]
    async fn guard(&self, call: &Call, player: &Player) -> Result<(), Error> {
        if player.muted { Err(Error::new("muted", call.route)) } else { Ok(()) }
    }
    #[allow(clippy::unused_async)]
    async fn step(&self, player: &Player, step: Step) {
        player.step(step);
    }
}

#[automatically_derived]
impl ::kengine::Dispatcher for Game {
    type Session = <Result<
        Player,
        Refusal,
    > as ::kengine::__private::Accepted<
        {
            use ::kengine::__private::lookup::*;
            ::kengine::__private::Returned::<Result<Player, Refusal>>::FORM
        },
    >>::Session;
    const ROUTES: &'static [::kengine::wire::Route] = &[
        ::kengine::wire::Route::new("move")
            .rate(30, ::core::time::Duration::from_secs(1), 30)
            .timeout(::core::time::Duration::from_millis(50u64)),
    ];
    const HOOKS: ::kengine::wire::Hooks = {
        let mut hooks = ::kengine::wire::Hooks::NONE;
        hooks.accept = true;
        hooks
    };
    async fn dispatch<'call>(
        &'call self,
        context: ::kengine::Context<'call, Self::Session>,
        answer: &'call mut ::kengine::wire::Answer,
    ) -> ::kengine::Result<bool> {
        use ::kengine::__private::{self, lookup::*};
        #[deny(unreachable_patterns)]
        match __private::route(context) {
            "move" => {
                __private::enter(context, 0);
                __private::limit(context, &Self::ROUTES[0])?;
                let call = __private::call(context, &Self::ROUTES[0]);
                ::kengine::Dispatcher::before(self, context, &call).await?;
                let returned = __private::handler_future(
                        Self::step(
                            self,
                            <&Player as __private::FromContext<
                                '_,
                                Self::Session,
                            >>::take(context)?,
                            <Step as __private::IsMessage<
                                _,
                            >>::take(
                                <Step as __private::IsOwned<
                                    _,
                                >>::check(
                                    __private::last::<Self::Session, Step>(context).find(),
                                ),
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
    async fn accept<'call>(
        &'call self,
        handshake: &'call ::kengine::Handshake,
    ) -> ::kengine::Result<Self::Session, ::kengine::Refusal> {
        use ::kengine::__private::{self, lookup::*};
        let returned = __private::handler_future(
                Self::enter(
                    self,
                    <&Handshake as __private::IsAcceptArgument<'_>>::take(handshake),
                ),
            )
            .await;
        let returned = __private::Returned(returned)
            .result()
            .map_err(__private::IsRefusal::into_refusal)?;
        __private::Ok(__private::IsSession::<Self::Session>::session(returned))
    }
    async fn before<'call>(
        &'call self,
        context: ::kengine::Context<'call, Self::Session>,
        call: &'call ::kengine::Call,
    ) -> ::kengine::Result<()> {
        use ::kengine::__private::{self, lookup::*};
        let returned = __private::handler_future(
                Self::guard(
                    self,
                    <&Call as __private::IsHookArgument<
                        '_,
                        Self::Session,
                        __private::Call,
                        _,
                    >>::take(context, call)?,
                    <&Player as __private::IsHookArgument<
                        '_,
                        Self::Session,
                        __private::Call,
                        _,
                    >>::take(context, call)?,
                ),
            )
            .await;
        let returned = __private::Returned(returned)
            .result()
            .map_err(__private::IsErrorReply::into_error)?;
        __private::Ok(__private::IsHookOutput::end(returned))
    }
}
