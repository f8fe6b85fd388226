//! A connection on which every byte is chosen by the test, and what came of it.

use std::collections::BTreeMap;
use std::io;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

use super::PATIENCE;
use super::frames::{ACK, GOAWAY, PING, RST_STREAM, frame, ping, window};

pub(crate) trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<S: AsyncRead + AsyncWrite + Unpin + Send> Stream for S {}

/// A connection that has said the preface and nothing else.
pub(crate) struct Raw {
    stream: Box<dyn Stream>,
}

/// One frame of the server's.
#[derive(Debug)]
pub(crate) struct Frame {
    pub(crate) kind: u8,
    pub(crate) flags: u8,
    pub(crate) stream: u32,
    pub(crate) payload: Vec<u8>,
}

/// What a server did about a flood.
#[derive(Debug, Default)]
pub(crate) struct Fate {
    /// Whether it closed the connection; else it answered a PING that was sent last.
    pub(crate) closed: bool,
    /// The error code and debug data of its GOAWAY.
    pub(crate) goaway: Option<(u32, String)>,
    /// Its frames by kind.
    pub(crate) frames: BTreeMap<u8, usize>,
    /// Its resets by error code.
    pub(crate) resets: BTreeMap<u32, usize>,
    /// How much of the flood it let the client write.
    pub(crate) written: usize,
}

impl Fate {
    /// The error code of the GOAWAY.
    pub(crate) fn code(&self) -> Option<u32> {
        self.goaway.as_ref().map(|(code, _)| *code)
    }

    fn note(&mut self, frame: &Frame) {
        *self.frames.entry(frame.kind).or_default() += 1;
        match frame.kind {
            RST_STREAM => *self.resets.entry(number(&frame.payload)).or_default() += 1,
            GOAWAY => {
                let debug = String::from_utf8_lossy(&frame.payload[8..]).into_owned();
                self.goaway = Some((number(&frame.payload[4..]), debug));
            }
            _ => {}
        }
    }
}

fn number(bytes: &[u8]) -> u32 {
    u32::from_be_bytes(bytes[..4].try_into().unwrap())
}

impl Raw {
    /// Says the preface and an empty SETTINGS.
    pub(crate) async fn greet(stream: impl Stream + 'static) -> Self {
        Self::greet_with(stream, &frame(super::frames::SETTINGS, 0, 0, &[])).await
    }

    /// Says the preface and `settings`.
    pub(crate) async fn greet_with(stream: impl Stream + 'static, settings: &[u8]) -> Self {
        let mut raw = Self {
            stream: Box::new(stream),
        };
        raw.send(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await;
        raw.send(settings).await;
        // Answers of hundreds of streams fit, where a test does not narrow the streams themselves.
        raw.send(&window(0, 1 << 24)).await;
        raw
    }

    /// Writes; a connection that is closed already shows when it is read.
    pub(crate) async fn send(&mut self, bytes: &[u8]) {
        drop(self.stream.write_all(bytes).await);
        // What TLS has taken and not yet sent would wait for the next word.
        drop(self.stream.flush().await);
    }

    /// The next frame; `None` once the server has closed the connection.
    pub(crate) async fn next(&mut self) -> Option<Frame> {
        let reading = read_frame(&mut self.stream);
        let read = tokio::time::timeout(PATIENCE, reading).await;
        read.expect("a frame or an end").ok()
    }

    /// Reads until a frame fits; `None` once the server has closed the connection. Pings are answered, so that the
    /// client seems well.
    pub(crate) async fn until(&mut self, fits: impl Fn(&Frame) -> bool) -> Option<Frame> {
        loop {
            let it = self.next().await?;
            if fits(&it) {
                return Some(it);
            }
            if it.kind == PING && it.flags & ACK == 0 {
                self.send(&frame(PING, ACK, 0, &it.payload)).await;
            }
        }
    }

    /// Whether everything that was sent has been read, and the connection lives.
    pub(crate) async fn lives(&mut self) -> bool {
        self.send(&ping(LAST)).await;
        self.until(is_last).await.is_some()
    }

    /// Waits until the server closes the connection; what came before is passed over.
    pub(crate) async fn closed(&mut self) {
        self.until(|_| false).await;
    }

    /// Writes the flood chunk by chunk and reads all the while, until the server ends it or the flood is over.
    pub(crate) async fn flood(self, chunks: impl Iterator<Item = Vec<u8>>) -> Fate {
        let (mut read, mut write) = tokio::io::split(self.stream);
        let mut fate = Fate::default();
        let writing = async {
            let mut written = 0;
            for chunk in chunks {
                if write.write_all(&chunk).await.is_err() {
                    return written;
                }
                written += chunk.len();
            }
            // Its answer comes after everything before it was read.
            drop(write.write_all(&ping(LAST)).await);
            drop(write.flush().await);
            written
        };
        let reading = async {
            while let Ok(frame) = read_frame(&mut read).await {
                if is_last(&frame) {
                    return;
                }
                fate.note(&frame);
            }
            fate.closed = true;
        };
        let both = async { tokio::join!(writing, reading).0 };
        let over = tokio::time::timeout(PATIENCE, both).await;
        fate.written = over.expect("the flood ends one way or the other");
        fate
    }

    /// Writes the flood and reads nothing; how much went before the server took no more, for `long`, or closed.
    pub(crate) async fn pour(
        &mut self,
        chunks: impl Iterator<Item = Vec<u8>>,
        long: std::time::Duration,
    ) -> usize {
        let mut written = 0;
        for chunk in chunks {
            match tokio::time::timeout(long, self.stream.write_all(&chunk)).await {
                Ok(Ok(())) => written += chunk.len(),
                Ok(Err(_)) | Err(_) => break,
            }
        }
        written
    }
}

const LAST: u64 = 0x6c61_7374;

fn is_last(frame: &Frame) -> bool {
    frame.kind == PING && frame.flags & ACK != 0 && frame.payload == LAST.to_be_bytes()
}

async fn read_frame(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<Frame> {
    let mut head = [0; 9];
    stream.read_exact(&mut head).await?;
    let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
    let mut payload = vec![0; usize::try_from(length).unwrap()];
    stream.read_exact(&mut payload).await?;
    Ok(Frame {
        kind: head[3],
        flags: head[4],
        stream: number(&head[5..]),
        payload,
    })
}
