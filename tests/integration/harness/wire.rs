//! A proxy that misbehaves: one HTTP/2 connection on which every frame is chosen by the test.

use attache::socket::Address;
use bytes::Bytes;
use envoy_types::pb::envoy::service::auth::v3::CheckResponse;
use h2::client::SendRequest;
use h2::{RecvStream, SendStream};
use http::{HeaderMap, Request};
use prost::Message;
use tokio::net::UnixStream;

use super::Answer;

/// The path of Check.
pub(crate) const CHECK: &str = "/envoy.service.auth.v3.Authorization/Check";

/// One connection.
#[derive(Debug)]
pub(crate) struct Wire {
    send: SendRequest<Bytes>,
}

/// What came back on a stream.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) headers: HeaderMap,
    pub(crate) body: Vec<u8>,
    pub(crate) trailers: HeaderMap,
}

impl Wire {
    pub(crate) async fn connect(address: &Address) -> Self {
        let Address::Unix { path, .. } = address else {
            panic!("not a Unix socket: {address}");
        };
        let stream = UnixStream::connect(path).await.unwrap();
        let (send, connection) = h2::client::handshake(stream).await.unwrap();
        // Ends with the connection, whichever way.
        tokio::spawn(async move { drop(connection.await) });
        Self { send }
    }

    /// Opens a stream for a call and sends nothing on it yet.
    pub(crate) async fn begin(
        &mut self,
        path: &str,
        headers: &[(&str, &str)],
    ) -> (h2::client::ResponseFuture, SendStream<Bytes>) {
        let mut request = Request::post(format!("http://attache{path}"))
            .header("content-type", "application/grpc")
            .header("te", "trailers");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        self.send = self.send.clone().ready().await.unwrap();
        self.send
            .send_request(request.body(()).unwrap(), false)
            .unwrap()
    }

    /// Makes a call with `body` as it is.
    pub(crate) async fn call(
        &mut self,
        path: &str,
        headers: &[(&str, &str)],
        body: Vec<u8>,
    ) -> Reply {
        let (response, mut stream) = self.begin(path, headers).await;
        // What is refused by its headers may be answered, and its stream closed, before the body goes.
        drop(stream.send_data(body.into(), true));
        Reply::read(response).await
    }
}

impl Reply {
    /// Waits for the whole answer.
    pub(crate) async fn read(response: h2::client::ResponseFuture) -> Self {
        let (head, mut stream) = response.await.unwrap().into_parts();
        assert_eq!(head.status, 200);
        let mut body = Vec::new();
        while let Some(chunk) = stream.data().await {
            let chunk = chunk.unwrap();
            stream.flow_control().release_capacity(chunk.len()).unwrap();
            body.extend_from_slice(&chunk);
        }
        Self {
            headers: head.headers,
            body,
            trailers: trailers(&mut stream).await,
        }
    }

    /// The status of the call, wherever it stands.
    pub(crate) fn grpc_status(&self) -> &str {
        let status = self.trailers.get("grpc-status");
        let status = status.or_else(|| self.headers.get("grpc-status"));
        status.expect("a gRPC status").to_str().unwrap()
    }

    /// The answer of a call that succeeded.
    pub(crate) fn answer(&self) -> Answer {
        assert_eq!(self.grpc_status(), "0", "{self:?}");
        assert_eq!(self.headers["content-type"], "application/grpc");
        Answer::read(CheckResponse::decode(&*unframed(&self.body)).unwrap())
    }
}

async fn trailers(stream: &mut RecvStream) -> HeaderMap {
    stream.trailers().await.unwrap().unwrap_or_default()
}

/// A message as gRPC puts it on the wire.
pub(crate) fn framed(message: &[u8]) -> Vec<u8> {
    let mut frame = vec![0];
    frame.extend(u32::try_from(message.len()).unwrap().to_be_bytes());
    frame.extend_from_slice(message);
    frame
}

fn unframed(frame: &[u8]) -> Vec<u8> {
    let (head, message) = frame.split_at(5);
    assert_eq!(head[0], 0, "not compressed");
    let length = u32::from_be_bytes(head[1..].try_into().unwrap());
    assert_eq!(usize::try_from(length).unwrap(), message.len());
    message.to_vec()
}
