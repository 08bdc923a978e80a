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
    > as ::kengine::__private::Admission<
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
                let returned = __private::sent(
                        Self::step(
                            self,
                            __private::context::<&Player, Self::Session>(context)?,
                            __private::Argument::<
                                Self::Session,
                                Step,
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
    async fn accept<'call>(
        &'call self,
        handshake: &'call ::kengine::Handshake,
    ) -> ::kengine::Result<Self::Session, ::kengine::Refusal> {
        use ::kengine::__private::{self, lookup::*};
        let returned = __private::sent(
                Self::enter(self, __private::handshake::<&Handshake>(handshake)),
            )
            .await;
        let admitted = __private::Returned(returned).admitted();
        __private::session::<Self::Session, _>(admitted)
    }
    async fn before<'call>(
        &'call self,
        context: ::kengine::Context<'call, Self::Session>,
        call: &'call ::kengine::Call,
    ) -> ::kengine::Result<()> {
        use ::kengine::__private::{self, lookup::*};
        let returned = __private::sent(
                Self::guard(
                    self,
                    __private::Argument::<
                        Self::Session,
                        &Call,
                        _,
                    >::placed(context, __private::Hook(call))
                        .argument()?,
                    __private::Argument::<
                        Self::Session,
                        &Player,
                        _,
                    >::placed(context, __private::Hook(call))
                        .argument()?,
                ),
            )
            .await;
        let outcome = __private::Returned(returned).outcome()?;
        outcome.nothing()
    }
}
