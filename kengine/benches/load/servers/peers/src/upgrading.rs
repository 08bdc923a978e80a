//! The handshake of fastwebsockets, on hyper.

use std::convert::Infallible;

use fastwebsockets::upgrade::{UpgradeFut, upgrade};
use hyper::{Request, Response, StatusCode, body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

/// Serves HTTP on a connection, and starts a task for its WebSocket.
pub async fn serve<F>(stream: TcpStream, run: impl Fn(UpgradeFut) -> F)
where
    F: Future<Output = ()> + Send + 'static,
{
    let answer = service_fn(|mut request: Request<Incoming>| {
        let response = if let Ok((response, upgraded)) = upgrade(&mut request) {
            tokio::spawn(run(upgraded));
            response
        } else {
            let mut refusal = Response::default();
            *refusal.status_mut() = StatusCode::BAD_REQUEST;
            refusal
        };
        async { Ok::<_, Infallible>(response) }
    });
    // A client that cuts the connection is no fault of the server.
    let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), answer).with_upgrades().await;
}
