//! Many clients at once, on several threads: each gets its own answers, in order.

use kengine::Server;
use kengine_tests::{ClientFrame, Lobby, RawClient, TestServer, WANTED_PANIC, Workshop, within};

/// Returns the request of this client with this number, and its answer.
fn request(client: usize, number: usize) -> (ClientFrame, String) {
    let id = format!("\"{client}/{number}\"");
    match number % 7 {
        0 => {
            let request = format!(r#"{{"method":"ponder","message":{},"id":{id}}}"#, client % 5);
            (ClientFrame::text(request), format!("{id}: {}", client % 5))
        }
        1 => {
            let request = format!(r#"{{"method":"panic","message":{},"id":{id}}}"#, number % 2);
            (ClientFrame::text(request), format!("{id}: error internal"))
        }
        2 => (ClientFrame::binary(format!(r#"{{"method":"nope","id":{id}}}"#)), format!("{id}: error unknown_method")),
        3 => (ClientFrame::text("p"), "q".to_owned()),
        4 => (ClientFrame::text("{"), "error bad_request".to_owned()),
        _ => {
            let greeting = format!("{client}/{number} ").repeat(number);
            (ClientFrame::text(Lobby::request(&id, &greeting)), Lobby::answer(&id, &greeting))
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn each_of_many_clients_gets_its_own_answers() {
    const REQUESTS: usize = 210;
    // Hides the reports of nearly a thousand wanted panics, among which that of a failure would be lost. The hook is
    // the process's, so it reports all other panics as before.
    let report = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        if panic.payload().downcast_ref::<&str>() != Some(&WANTED_PANIC) {
            report(panic);
        }
    }));
    let server = TestServer::start(Server::new(Workshop::default())).await;
    let address = server.address();
    let clients: Vec<_> = (0..32)
        .map(|number| {
            tokio::spawn(async move {
                let mut client = RawClient::connect(address).await;
                let (requests, answers): (Vec<_>, Vec<_>) = (0..REQUESTS).map(|each| request(number, each)).unzip();
                let bytes = kengine_tests::segment(requests);
                // The pieces have a different length for each client.
                for piece in bytes.chunks(100 + 997 * number) {
                    client.send(piece).await;
                }
                for answer in answers {
                    assert_eq!(client.frame().await, answer);
                }
                client.send_frames([ClientFrame::close(1000, "")]).await;
                assert_eq!(client.transcript().await, ["close 1000", "end of TCP"]);
            })
        })
        .collect();
    for client in clients {
        within("a client", client).await.expect("its own answers");
    }
    server.stop().await;
}
