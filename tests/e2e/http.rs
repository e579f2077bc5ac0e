//! A small HTTP client: one request for each connection, bodies whole or piece by piece.

use std::net::SocketAddr;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::{HeaderMap, Request, body::Incoming, client::conn::http1};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

/// A whole answer.
pub struct Answer {
    pub status: u16,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl Answer {
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The code of a refusal, if the body is one.
    pub fn code(&self) -> Option<u32> {
        let json: serde_json::Value = serde_json::from_slice(&self.body).ok()?;
        u32::try_from(json.get("code")?.as_u64()?).ok()
    }

    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or("")
    }
}

/// Sends a request and reads the whole answer.
pub async fn ask(server: SocketAddr, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Answer {
    let response = open(server, method, path, headers, body).await;
    let (parts, body) = response.into_parts();
    let body = body.collect().await.expect("the body ends").to_bytes();
    Answer { status: parts.status.as_u16(), headers: parts.headers, body }
}

pub async fn get(server: SocketAddr, path: &str) -> Answer {
    ask(server, "GET", path, &[], "").await
}

/// Sends a request; the body is left to be read.
pub async fn open(
    server: SocketAddr,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &str,
) -> hyper::Response<Incoming> {
    let stream = TcpStream::connect(server).await.expect("the server accepts");
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.expect("HTTP begins");
    tokio::spawn(connection);
    let mut request = Request::builder().method(method).uri(path).header("host", server.to_string());
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let request = request.body(Full::new(Bytes::copy_from_slice(body.as_bytes()))).expect("a request");
    sender.send_request(request).await.expect("an answer")
}
