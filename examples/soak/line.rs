//! The line between attache and OPA, which passes everything on, or does to answers what the moment asks for. It never gives
//! one question the answer to another.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::sleep;

/// What happens to answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    None,
    /// Connections are closed as they come.
    Refuse,
    /// Only so many bytes arrive.
    Cut(usize),
    /// Answers take longer, and still come in time.
    Slow,
    /// Answers come after nobody waits for them any more.
    Late,
    /// Nothing comes at all.
    Silence,
    /// The text here comes in place of an answer.
    Instead(&'static str),
}

/// What stands in place of an answer: each says yes in a way that must not count.
pub(crate) const INSTEAD: [Fault; 6] = [
    Fault::Instead("HTTP/1.1 500 Internal Server Error\r\ncontent-length: 2\r\n\r\n{}"),
    Fault::Instead(
        "HTTP/1.1 503 Service Unavailable\r\ncontent-length: 16\r\n\r\n{\"result\": true}",
    ),
    Fault::Instead("HTTP/1.1 200 OK\r\ncontent-length: 24\r\n\r\n{\"result\": true} {\"a\": 1}"),
    Fault::Instead("HTTP/1.1 200 OK\r\ncontent-length: 27\r\n\r\n{\"result\": {\"allow\": true}, "),
    Fault::Instead("HTTP/1.1 200 OK\r\ncontent-length: 40\r\n\r\n{\"result\": true}"),
    Fault::Instead(
        "HTTP/1.1 302 Found\r\nlocation: /v1/data/yes\r\ncontent-length: 16\r\n\r\n{\"result\": true}",
    ),
];

/// What nobody could tell from an answer of OPA.
pub(crate) const LIE: Fault = Fault::Instead(
    "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 16\r\n\r\n{\"result\": true}",
);

/// The line.
#[derive(Debug)]
pub(crate) struct Line {
    address: SocketAddr,
    fault: Arc<Mutex<Fault>>,
}

impl Line {
    pub(crate) async fn start(opa: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let fault = Arc::new(Mutex::new(Fault::None));
        let shared = Arc::clone(&fault);
        tokio::spawn(async move {
            loop {
                let (client, _) = listener.accept().await.unwrap();
                let fault = Arc::clone(&shared);
                // Either side may go at any moment; that is what this is about.
                tokio::spawn(async move { drop(carry(client, opa, &fault).await) });
            }
        });
        Self { address, fault }
    }

    pub(crate) const fn address(&self) -> SocketAddr {
        self.address
    }

    /// What happens from now on.
    pub(crate) fn set(&self, fault: Fault) {
        *self.fault.lock().unwrap() = fault;
    }
}

async fn carry(
    mut client: TcpStream,
    opa: SocketAddr,
    fault: &Mutex<Fault>,
) -> std::io::Result<()> {
    let now = || *fault.lock().unwrap();
    if now() == Fault::Refuse {
        return Ok(());
    }
    let mut opa = TcpStream::connect(opa).await?;
    client.set_nodelay(true)?;
    opa.set_nodelay(true)?;
    let (mut question, mut answer) = (vec![0; 16 * 1024], vec![0; 16 * 1024]);
    loop {
        tokio::select! {
            read = client.read(&mut question) => {
                let read = read?;
                if read == 0 {
                    return Ok(());
                }
                match now() {
                    Fault::Refuse => return Ok(()),
                    Fault::Instead(text) => {
                        client.write_all(text.as_bytes()).await?;
                        return client.shutdown().await;
                    }
                    _ => opa.write_all(&question[..read]).await?,
                }
            }
            read = opa.read(&mut answer) => {
                let read = read?;
                if read == 0 {
                    return Ok(());
                }
                match now() {
                    Fault::None | Fault::Refuse | Fault::Instead(_) => {}
                    Fault::Slow => sleep(Duration::from_millis(30)).await,
                    Fault::Late => sleep(Duration::from_millis(700)).await,
                    Fault::Silence => sleep(Duration::from_secs(5)).await,
                    Fault::Cut(bytes) => {
                        client.write_all(&answer[..bytes.min(read)]).await?;
                        return Ok(());
                    }
                }
                client.write_all(&answer[..read]).await?;
            }
        }
    }
}
