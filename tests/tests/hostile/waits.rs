//! Clients that make the server wait. The timeout that ends the wait is short, and all others are long.

use std::time::Duration;

use kengine::Server;
use kengine_tests::{ClientFrame, Fortress, segment};

use crate::row::{Row, Step, row};

/// The timeout that ends a wait.
const SOON: Duration = Duration::from_millis(300);

fn handshake(server: Server<Fortress>) -> Server<Fortress> {
    server.handshake_timeout(SOON)
}

fn idle(server: Server<Fortress>) -> Server<Fortress> {
    server.idle_timeout(SOON)
}

fn closing(server: Server<Fortress>) -> Server<Fortress> {
    server.close_timeout(SOON)
}

/// A client that is closed because it is silent, and cut off because it does not answer that.
fn silent(what: &'static str, steps: impl IntoIterator<Item = Step>) -> Row {
    let open = Step::Open("/ws".to_owned());
    let steps: Vec<_> = [open].into_iter().chain(steps).chain([Step::SeeUntilCut]).collect();
    row(what, steps, &["close 4001", "cut off"]).on(|server| idle(closing(server)))
}

pub(crate) fn rows(_: usize) -> Vec<Row> {
    let open = || Step::Open("/ws".to_owned());
    let request = b"GET /ws HTTP/1.1\r\nHost: game.example\r\n".to_vec();
    let header = format!("GET /ws HTTP/1.1\r\nHost: game.example\r\n{}", "X-Slow: x\r\n".repeat(1000));
    let endless = ClientFrame::text("x".repeat(2000)).bytes();
    let pieces = |frame: ClientFrame| Step::Send(frame.bytes());
    vec![
        row("a socket that says nothing", [Step::Socket, Step::SeeAll], &["end of TCP"]).on(handshake),
        row("half a handshake", [Step::Socket, Step::Send(request), Step::SeeAll], &["end of TCP"]).on(handshake),
        row("half a request line", [Step::Socket, Step::Send(b"GE".to_vec()), Step::SeeAll], &["end of TCP"])
            .on(handshake),
        row("a byte of a handshake at a time", [Step::Socket, Step::Drip(header.into_bytes())], &["cut off"])
            .on(handshake),
        silent("a connection that says nothing", []),
        silent("a frame that stalls in its header", [Step::Send(ClientFrame::text("p").bytes()[..1].to_vec())]),
        silent("a frame that stalls in its mask", [Step::Send(ClientFrame::text("p").bytes()[..4].to_vec())]),
        silent("a frame that stalls in its payload", [pieces(ClientFrame::text("x").announcing(1000))]),
        silent("a message that stalls between fragments", [pieces(ClientFrame::text("x").unfinished())]),
        row("a byte of a frame at a time", [open(), Step::Drip(endless)], &["close 4001", "cut off"])
            .on(|server| idle(closing(server))),
        row(
            "a close that is never answered, of a client that keeps TCP open",
            [open(), Step::Send(ClientFrame::new(0xf, "").bytes()), Step::SeeAll],
            &["close 1002", "end of TCP"],
        )
        .on(closing),
        row(
            "answers that are never read, of a client that is silent",
            [open(), Step::Send(ClientFrame::text(r#"{"method":"books","message":10}"#).bytes())],
            &[],
        )
        .on(|server| idle(closing(server))),
        row(
            "a handler that waits for ever",
            [open(), Step::Send(segment([ClientFrame::text(r#"{"method":"forever","id":1}"#)])), Step::See(1)],
            &["1: error timeout"],
        )
        .on(|server| server.handler_timeout(SOON))
        .holds(1, 0),
    ]
}
