//! As much HTTP as WHIP, WHEP and HTTP-FLV need: one request a connection, in the clear.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::{Method, Request, StatusCode, Uri, body::Incoming, client::conn::http1, header};
use hyper_util::rt::TokioIo;
use tokio::{
    net::{TcpSocket, TcpStream, lookup_host},
    time::timeout,
};

use super::LoadError;

/// From connecting to the head of the answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(15);
/// Longest body that is kept in memory: an SDP answer, or the text of an error.
const BODY_BYTES_MAX: usize = 256 * 1024;

/// An `http` address.
#[derive(Clone, Debug)]
pub struct Url {
    uri: Uri,
    host: String,
    port: u16,
}

impl Url {
    /// # Errors
    /// For anything but `http://host[:port]/…`; `https` is not done here, since the load would then be TLS's.
    pub fn parse(text: &str) -> Result<Url, LoadError> {
        let uri: Uri = text.parse().map_err(|error| LoadError::new(format!("{text}: {error}")))?;
        match uri.scheme_str() {
            Some("http") => {}
            Some("https") => {
                return Err(LoadError::new(
                    "https is not supported by the load tool; use the server's http address (port 8080 by default)",
                ));
            }
            _ => return Err(LoadError::new(format!("{text}: an address that begins with http:// is needed"))),
        }
        let host = uri.host().ok_or_else(|| LoadError::new(format!("{text}: the host is missing")))?;
        let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        let port = uri.port_u16().unwrap_or(80);
        Ok(Url { uri, host, port })
    }

    /// Another path on the same server, with its query.
    pub fn at(&self, path_and_query: &str) -> Result<Url, LoadError> {
        let authority = self.uri.authority().map_or("", |authority| authority.as_str());
        Url::parse(&format!("http://{authority}{path_and_query}"))
    }

    /// Host and port, as `Host` says them.
    pub fn authority(&self) -> &str {
        self.uri.authority().map_or("", |authority| authority.as_str())
    }

    pub fn path(&self) -> &str {
        self.uri.path_and_query().map_or("/", |path| path.as_str())
    }

    /// Connects; `from` is the address of this machine to come from, where it matters.
    pub async fn connect(&self, from: Option<IpAddr>) -> io::Result<TcpStream> {
        let found = lookup_host((self.host.as_str(), self.port)).await?;
        let mut last = io::Error::new(io::ErrorKind::NotFound, "the host has no address");
        for addr in found {
            let socket = if addr.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
            if let Some(from) = from.filter(|from| from.is_ipv4() && addr.is_ipv4() && addr.ip().is_loopback()) {
                socket.bind((from, 0).into())?;
            }
            match socket.connect(addr).await {
                Ok(stream) => {
                    stream.set_nodelay(true)?;
                    return Ok(stream);
                }
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    /// The address that a `Location` names, seen from here.
    pub fn join(&self, location: &str) -> Result<Url, LoadError> {
        if location.contains("://") {
            return Url::parse(location);
        }
        let authority = self.uri.authority().map_or("", |authority| authority.as_str());
        let path = match location.strip_prefix('/') {
            Some(_) => location.to_owned(),
            None => {
                let folder = self.uri.path().rsplit_once('/').map_or("", |(folder, _)| folder);
                format!("{folder}/{location}")
            }
        };
        Url::parse(&format!("http://{authority}{path}"))
    }
}

/// The head of an answer, and whatever follows.
pub struct Answer {
    pub status: StatusCode,
    pub location: Option<String>,
    /// The address that answered.
    pub peer: SocketAddr,
    body: Incoming,
}

impl Answer {
    /// The whole body as text.
    pub async fn text(self) -> Result<String, LoadError> {
        let body = timeout(ANSWER_TIMEOUT, Limited::new(self.body, BODY_BYTES_MAX).collect()).await;
        let body = body.map_err(|_| LoadError::new("the answer did not end in time"))?;
        let body = body.map_err(|error| LoadError::new(format!("the answer broke off: {error}")))?;
        Ok(String::from_utf8_lossy(&body.to_bytes()).into_owned())
    }

    /// The next piece of an endless body; `None` at its end.
    pub async fn next(&mut self) -> Option<Result<Bytes, LoadError>> {
        loop {
            match self.body.frame().await? {
                Ok(frame) => {
                    if let Ok(data) = frame.into_data() {
                        return Some(Ok(data));
                    }
                }
                Err(error) => return Some(Err(LoadError::new(format!("the stream broke off: {error}")))),
            }
        }
    }
}

/// Sends one request over a connection of its own.
///
/// # Errors
/// If the server cannot be reached or does not answer in time. Whatever it answers is an answer.
pub async fn request(method: Method, url: &Url, token: Option<&str>, sdp: Option<String>) -> Result<Answer, LoadError> {
    let work = async {
        let stream = url.connect(None).await?;
        let peer = stream.peer_addr()?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(std::io::Error::other)?;
        tokio::task::spawn_local(connection);
        let path = url.uri.path_and_query().map_or("/", |path| path.as_str());
        let mut request = Request::builder().method(method).uri(path);
        if let Some(authority) = url.uri.authority() {
            request = request.header(header::HOST, authority.as_str());
        }
        if let Some(token) = token {
            request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
        }
        if sdp.is_some() {
            request = request.header(header::CONTENT_TYPE, "application/sdp");
        }
        let request = request.body(Full::new(Bytes::from(sdp.unwrap_or_default()))).map_err(std::io::Error::other)?;
        let response = sender.send_request(request).await.map_err(std::io::Error::other)?;
        let location = response.headers().get(header::LOCATION).and_then(|l| l.to_str().ok()).map(str::to_owned);
        Ok::<_, std::io::Error>(Answer { status: response.status(), location, peer, body: response.into_body() })
    };
    match timeout(ANSWER_TIMEOUT, work).await {
        Ok(answer) => answer.map_err(|error| LoadError::new(format!("{}:{}: {error}", url.host, url.port))),
        Err(_) => Err(LoadError::new(format!("{}:{} did not answer in time", url.host, url.port))),
    }
}

/// A server's resource of WHIP or WHEP, to be deleted at the end.
pub struct Resource {
    url: Option<Url>,
    token: Option<String>,
}

impl Resource {
    /// Posts an offer; answers with the SDP answer, the address that gave it and the resource (RFC 9725 §4.2).
    pub async fn create(
        url: &Url,
        token: Option<&str>,
        offer: String,
    ) -> Result<(String, SocketAddr, Resource), LoadError> {
        let answer = request(Method::POST, url, token, Some(offer)).await?;
        let (status, peer) = (answer.status, answer.peer);
        let location = answer.location.clone();
        let text = answer.text().await?;
        if status != StatusCode::CREATED && status != StatusCode::OK {
            let text: String = text.chars().take(300).collect();
            return Err(LoadError::new(format!("the server refused with {status}: {}", text.trim())));
        }
        let url = location.and_then(|location| url.join(&location).ok());
        Ok((text, peer, Resource { url, token: token.map(str::to_owned) }))
    }

    /// Ends the session on the server.
    pub async fn delete(self) {
        if let Some(url) = self.url {
            // A server that is gone has ended it too.
            let _ = request(Method::DELETE, &url, self.token.as_deref(), None).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn https_is_refused_with_advice() {
        assert!(Url::parse("https://localhost:8443/whep/1/a").unwrap_err().to_string().contains("http address"));
        assert!(Url::parse("rtmp://localhost/live/a").is_err());
        assert!(Url::parse("/whep/1/a").is_err());
    }

    #[test]
    fn a_location_is_seen_from_the_address_that_gave_it() {
        let url = Url::parse("http://[::1]:8080/whep/1001/a?sdkappid=1").unwrap();
        assert_eq!((url.host.as_str(), url.port), ("::1", 8080));
        assert_eq!(url.join("/whep/session/7").unwrap().uri, "http://[::1]:8080/whep/session/7");
        assert_eq!(url.join("session/7").unwrap().uri, "http://[::1]:8080/whep/1001/session/7");
        assert_eq!(url.join("http://other/7").unwrap().host, "other");
    }
}
