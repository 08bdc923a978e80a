//! Accepts connections on a free port.

use std::io::{self, Write};

use tokio::net::{TcpListener, TcpStream};

/// Binds a free port, prints it, and starts a task for each connection.
pub async fn listen<F>(serve: impl Fn(TcpStream) -> F) -> io::Result<()>
where
    F: Future<Output = ()> + Send + 'static,
{
    let listener = bind().await?;
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        tokio::spawn(serve(stream));
    }
}

/// Binds a free port, and prints it.
pub async fn bind() -> io::Result<TcpListener> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    println!("{}", listener.local_addr()?.port());
    io::stdout().flush()?;
    Ok(listener)
}
