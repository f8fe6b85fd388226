//! Clients that send exactly what they are told to: HTTP/1.1 byte by byte, HTTP/2 and gRPC without rewriting paths.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use http_body_util::BodyExt as _;
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tonic::transport::{Channel, Endpoint};
use tower::ServiceExt as _;

/// No answer takes longer than this, or a test has found a hang.
const TIMEOUT: Duration = Duration::from_secs(20);

/// A client with one TLS identity.
#[derive(Debug, Clone)]
pub(crate) struct Caller {
    port: u16,
    tls: Arc<ClientConfig>,
}

/// A request as it goes onto the wire.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    method: String,
    target: String,
    headers: Vec<(String, String)>,
    body: String,
}

/// An answer.
#[derive(Debug)]
pub(crate) struct Response {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Request {
    pub(crate) fn new(method: &str, target: &str) -> Self {
        Self {
            method: method.to_owned(),
            target: target.to_owned(),
            headers: Vec::new(),
            body: String::new(),
        }
    }

    /// Adds a JSON body; sent over HTTP/1.1 only.
    pub(crate) fn json(mut self, body: &str) -> Self {
        body.clone_into(&mut self.body);
        let length = body.len().to_string();
        self.header("content-type", "application/json")
            .header("content-length", &length)
    }

    pub(crate) fn get(target: &str) -> Self {
        Self::new("GET", target)
    }

    /// Adds a header, in this letter case over HTTP/1.1; repeated names stay apart.
    pub(crate) fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }
}

impl Caller {
    pub(super) const fn new(port: u16, tls: Arc<ClientConfig>) -> Self {
        Self { port, tls }
    }

    /// Sends a GET over HTTP/1.1.
    pub(crate) async fn get(&self, target: &str) -> Response {
        self.send(Request::get(target)).await
    }

    /// Sends over HTTP/1.1 on a connection of its own.
    pub(crate) async fn send(&self, request: Request) -> Response {
        self.try_send(request).await.unwrap()
    }

    /// As [`Self::send`], for requests and identities that may not get an answer.
    pub(crate) async fn try_send(&self, request: Request) -> io::Result<Response> {
        let mut head = format!("{} {} HTTP/1.1\r\n", request.method, request.target);
        if !request
            .headers
            .iter()
            .any(|(name, _)| name.eq_ignore_ascii_case("host"))
        {
            head.push_str("host: localhost\r\n");
        }
        for (name, value) in &request.headers {
            head.extend([name, ": ", value, "\r\n"]);
        }
        head.push_str("connection: close\r\n\r\n");
        head.push_str(&request.body);
        let answer = self.exchange(head.as_bytes()).await?;
        Response::parse(&answer)
    }

    /// Writes these bytes and reads until the connection ends.
    pub(crate) async fn exchange(&self, bytes: &[u8]) -> io::Result<Vec<u8>> {
        let exchange = async {
            let mut stream = self.connect(b"http/1.1").await?;
            stream.write_all(bytes).await?;
            let mut answer = Vec::new();
            match stream.read_to_end(&mut answer).await {
                // Cut off without a closing alert, but after an answer.
                Err(error) if answer.is_empty() => Err(error),
                _ => Ok(answer),
            }
        };
        tokio::time::timeout(TIMEOUT, exchange).await?
    }

    /// Opens an HTTP/2 connection.
    pub(crate) async fn http2(&self) -> Http2 {
        let caller = self.clone();
        let connector = tower::service_fn(move |_| {
            let caller = caller.clone();
            async move { caller.connect(b"h2").await.map(TokioIo::new) }
        });
        let channel = Endpoint::from_static("https://localhost")
            .timeout(TIMEOUT)
            .connect_with_connector(connector)
            .await
            .unwrap();
        Http2 { channel }
    }

    async fn connect(&self, protocol: &[u8]) -> io::Result<TlsStream<TcpStream>> {
        let mut tls = (*self.tls).clone();
        tls.alpn_protocols = vec![protocol.to_vec()];
        let stream = TcpStream::connect(("127.0.0.1", self.port)).await?;
        stream.set_nodelay(true)?;
        let name = ServerName::try_from("localhost").unwrap();
        TlsConnector::from(Arc::new(tls))
            .connect(name, stream)
            .await
    }
}

/// One HTTP/2 connection; clones share it.
#[derive(Debug, Clone)]
pub(crate) struct Http2 {
    pub(crate) channel: Channel,
}

impl Http2 {
    /// Sends one request.
    pub(crate) async fn send(&self, request: Request) -> Response {
        let mut builder = http::Request::builder()
            .method(request.method.as_str())
            .uri(request.target.as_str());
        for (name, value) in &request.headers {
            builder = builder.header(name.as_str(), value.as_str());
        }
        let request = builder.body(tonic::body::Body::empty()).unwrap();
        let (head, body) = self
            .channel
            .clone()
            .oneshot(request)
            .await
            .unwrap()
            .into_parts();
        Response {
            status: head.status.as_u16(),
            headers: head.headers,
            body: body.collect().await.unwrap().to_bytes(),
        }
    }
}

/// The content of a body that came in chunks, extensions and trailers left out.
fn joined_chunks(mut body: &[u8]) -> Option<Bytes> {
    let mut joined = Vec::new();
    loop {
        let end = body.windows(2).position(|window| window == b"\r\n")?;
        let size = std::str::from_utf8(&body[..end]).ok()?;
        let size = usize::from_str_radix(size, 16).ok()?;
        if size == 0 {
            return Some(joined.into());
        }
        let chunk = body.get(end + 2..)?;
        joined.extend_from_slice(chunk.get(..size)?);
        body = chunk.get(size + 2..)?;
    }
}

/// Asks a plaintext server of ours or Envoy's, as a probe does; `None` where nobody answers.
pub(super) async fn probe(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    target: &str,
) -> Option<Response> {
    let request = format!("GET {target} HTTP/1.1\r\nhost: probe\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.ok()?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.ok()?;
    Response::parse(&answer).ok()
}

impl Response {
    pub(super) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    fn parse(answer: &[u8]) -> io::Result<Self> {
        let malformed = || io::Error::new(io::ErrorKind::InvalidData, "not an HTTP answer");
        let end = answer
            .windows(4)
            .position(|window| window == b"\r\n\r\n")
            .ok_or_else(malformed)?;
        let head = std::str::from_utf8(&answer[..end]).map_err(io::Error::other)?;
        let mut lines = head.split("\r\n");
        let status = lines
            .next()
            .and_then(|line| line.split(' ').nth(1)?.parse().ok())
            .ok_or_else(malformed)?;
        let mut headers = HeaderMap::new();
        for line in lines {
            let (name, value) = line.split_once(':').ok_or_else(malformed)?;
            headers.append(
                HeaderName::from_bytes(name.as_bytes()).map_err(io::Error::other)?,
                HeaderValue::from_str(value.trim()).map_err(io::Error::other)?,
            );
        }
        let body = &answer[end + 4..];
        let body = match headers.get("transfer-encoding") {
            Some(_) => joined_chunks(body).ok_or_else(malformed)?,
            None => Bytes::copy_from_slice(body),
        };
        Ok(Self {
            status,
            headers,
            body,
        })
    }

    /// The only value of a header.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let mut values = self.headers.get_all(name).iter();
        let value = values.next()?.to_str().unwrap();
        assert_eq!(values.next(), None, "{name} occurs once");
        Some(value)
    }

    /// What attache's denial says in its header.
    pub(crate) fn reason(&self) -> Option<&str> {
        self.header("x-attache-reason")
    }

    /// The request got through.
    #[track_caller]
    pub(crate) fn assert_allowed(&self) {
        assert_eq!(self.status, StatusCode::OK, "{self:?}");
        assert_eq!(self.reason(), None);
    }

    /// attache refused the request, for this reason, in every form that a refusal has.
    #[track_caller]
    pub(crate) fn assert_denied(&self, status: u16, reason: &str) {
        assert_eq!(
            (self.status, self.reason()),
            (status, Some(reason)),
            "{self:?}"
        );
        assert_eq!(self.header("x-attache-decision"), Some("deny"));
        assert_eq!(self.header("cache-control"), Some("no-store"));
        assert_eq!(
            self.header("content-type"),
            Some("application/problem+json")
        );
        let id = self.header("x-attache-decision-id").expect("a decision id");
        let problem: serde_json::Value = serde_json::from_slice(&self.body).unwrap();
        assert_eq!(
            problem["type"],
            format!("urn:attache:problem:{}", reason.replace('_', "-"))
        );
        assert_eq!(problem["status"], status);
        assert!(problem["title"].is_string(), "{problem}");
        assert!(problem["detail"].is_string(), "{problem}");
        assert!(
            problem["instance"].as_str().unwrap().contains(id),
            "{problem}"
        );
    }

    /// Envoy refused by itself: no decision was reached.
    #[track_caller]
    pub(crate) fn assert_refused_by_envoy(&self, status: u16) {
        assert_eq!((self.status, self.reason()), (status, None), "{self:?}");
        assert_eq!(self.header("x-attache-decision"), None);
    }
}
