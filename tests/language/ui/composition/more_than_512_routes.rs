use kengine::{Dispatcher, wire::Route};

struct Chat;

impl Dispatcher for Chat {
    type Session = ();

    const ROUTES: &'static [Route] = &[Route::new("say"); 513];
}

#[derive(Dispatcher)]
struct App {
    chat: Chat,
}

const ROUTES: &[Route] = App::ROUTES;

fn main() {
    let _ = ROUTES;
}
