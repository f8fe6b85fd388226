//! An OPA that fails on demand, down to the byte, in ways that a real one never does when asked to.
//!
//! It is well (`GET /health`) and answers the made-up request with yes, so that only a test's own questions meet the fault.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use super::house::eventually;

/// One step of what happens to a question.
#[derive(Debug, Clone)]
pub(crate) enum Step {
    Send(Vec<u8>),
    /// Single bytes with a pause before each.
    Drip(Vec<u8>, Duration),
    /// The same bytes again and again.
    Flood(Vec<u8>),
    Wait(Duration),
    /// Says nothing more, until the client goes.
    Hang,
    /// Ends the connection in order.
    Fin,
    /// Ends it with a reset.
    Reset,
}

/// The server.
#[derive(Debug)]
pub(crate) struct FaultyOpa {
    pub(crate) address: SocketAddr,
    state: Arc<State>,
    serving: JoinHandle<()>,
}

#[derive(Debug)]
struct State {
    /// What happens to the next questions; the last one goes on happening.
    acts: Mutex<VecDeque<Vec<Step>>>,
    questions: Mutex<Vec<String>>,
    /// Whether it says that it is well.
    well: AtomicBool,
    /// What it says to made-up requests.
    trial: Mutex<String>,
    trials: AtomicUsize,
    accepted: AtomicUsize,
    open: AtomicUsize,
}

impl FaultyOpa {
    /// Does the same to every question.
    pub(crate) async fn start(act: Vec<Step>) -> Self {
        Self::start_with([act]).await
    }

    /// Does something else to each question; the last goes on.
    pub(crate) async fn start_with(acts: impl IntoIterator<Item = Vec<Step>>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::new(State {
            acts: Mutex::new(acts.into_iter().collect()),
            questions: Mutex::default(),
            well: AtomicBool::new(true),
            trial: Mutex::new(r#"{"result": true}"#.to_owned()),
            trials: AtomicUsize::new(0),
            accepted: AtomicUsize::new(0),
            open: AtomicUsize::new(0),
        });
        let shared = Arc::clone(&state);
        let serving = tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                shared.accepted.fetch_add(1, Ordering::SeqCst);
                shared.open.fetch_add(1, Ordering::SeqCst);
                let state = Arc::clone(&shared);
                tokio::spawn(async move {
                    // The client may go at any moment; that is what some tests are about.
                    let _gone = state.serve(stream).await;
                    state.open.fetch_sub(1, Ordering::SeqCst);
                });
            }
        });
        Self {
            address,
            state,
            serving,
        }
    }

    /// The section of the configuration that asks it, with `more` settings of `opa`.
    pub(crate) fn policy(&self, more: &str) -> String {
        format!(
            "{{engine: opa, opa: {{endpoint: \"http://{}\", {more}}}}}",
            self.address
        )
    }

    /// The same for a test that asks one question several times and wants each put.
    pub(crate) fn policy_uncached(&self, more: &str) -> String {
        self.policy(&format!("{more}}}, cache: {{size: 0"))
    }

    /// From now on.
    pub(crate) fn act(&self, act: Vec<Step>) {
        *self.state.acts.lock().unwrap() = VecDeque::from([act]);
    }

    /// What its health is from now on.
    pub(crate) fn is_well(&self, well: bool) {
        self.state.well.store(well, Ordering::SeqCst);
    }

    /// What it says to made-up requests from now on.
    pub(crate) fn says_to_trials(&self, body: &str) {
        body.clone_into(&mut self.state.trial.lock().unwrap());
    }

    /// The questions that came, head and body, but for made-up ones.
    pub(crate) fn questions(&self) -> Vec<String> {
        self.state.questions.lock().unwrap().clone()
    }

    /// Made-up questions ever.
    pub(crate) fn trials(&self) -> usize {
        self.state.trials.load(Ordering::SeqCst)
    }

    /// Connections ever.
    pub(crate) fn accepted(&self) -> usize {
        self.state.accepted.load(Ordering::SeqCst)
    }

    pub(crate) fn open(&self) -> usize {
        self.state.open.load(Ordering::SeqCst)
    }

    /// Waits until no connection is left.
    pub(crate) async fn is_alone(&self) {
        eventually("the end of every connection", || {
            (self.open() == 0).then_some(())
        })
        .await;
    }
}

impl Drop for FaultyOpa {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

impl State {
    async fn serve(&self, mut stream: TcpStream) -> std::io::Result<()> {
        while let Some(question) = read_request(&mut stream).await? {
            if question.starts_with("GET") {
                let well = self.well.load(Ordering::SeqCst);
                let status = if well {
                    "200 OK"
                } else {
                    "500 Internal Server Error"
                };
                stream.write_all(&with_status(status, "", "{}")).await?;
                continue;
            }
            if question.contains("trial.invalid") {
                self.trials.fetch_add(1, Ordering::SeqCst);
                let trial = self.trial.lock().unwrap().clone();
                stream.write_all(&reply(&trial)).await?;
                continue;
            }
            self.questions.lock().unwrap().push(question);
            let act = {
                let mut acts = self.acts.lock().unwrap();
                if acts.len() > 1 {
                    acts.pop_front()
                } else {
                    acts.front().cloned()
                }
            };
            for step in act.unwrap() {
                match step {
                    Step::Send(bytes) => stream.write_all(&bytes).await?,
                    Step::Drip(bytes, pause) => {
                        for byte in bytes {
                            tokio::time::sleep(pause).await;
                            stream.write_all(&[byte]).await?;
                        }
                    }
                    Step::Flood(bytes) => loop {
                        stream.write_all(&bytes).await?;
                    },
                    Step::Wait(pause) => tokio::time::sleep(pause).await,
                    Step::Hang => {
                        stream.read_u8().await?;
                    }
                    Step::Fin => return Ok(()),
                    Step::Reset => return stream.set_zero_linger(),
                }
            }
        }
        Ok(())
    }
}

/// Head and body of a request; `None` where the client closed in between two.
async fn read_request(stream: &mut TcpStream) -> std::io::Result<Option<String>> {
    let mut bytes = Vec::new();
    let head = loop {
        if let Some(end) = bytes.windows(4).position(|it| it == b"\r\n\r\n") {
            break end + 4;
        }
        if stream.read_buf(&mut bytes).await? == 0 {
            return Ok(None);
        }
    };
    let text = String::from_utf8_lossy(&bytes[..head]).to_ascii_lowercase();
    let length = text
        .lines()
        .find_map(|line| line.strip_prefix("content-length: "));
    let length: usize = length.map_or(0, |it| it.trim().parse().unwrap());
    while bytes.len() < head + length {
        if stream.read_buf(&mut bytes).await? == 0 {
            return Ok(None);
        }
    }
    Ok(Some(String::from_utf8_lossy(&bytes).into_owned()))
}

/// A sound response with this body.
pub(crate) fn reply(body: &str) -> Vec<u8> {
    with_status("200 OK", "", body)
}

/// A response; `headers` end with a line end where there are any.
pub(crate) fn with_status(status: &str, headers: &str, body: &str) -> Vec<u8> {
    let length = body.len();
    format!(
        "HTTP/1.1 {status}\r\ncontent-type: application/json\r\n{headers}content-length: {length}\r\n\r\n{body}"
    )
    .into_bytes()
}

/// Sends `body` and keeps the connection.
pub(crate) fn says(body: &str) -> Vec<Step> {
    vec![Step::Send(reply(body))]
}
