//! One POST to an app's own server: resolved, checked, connected, sent, answered. Redirects are not followed.

use std::{io, net::SocketAddr, sync::Arc};

use axum::{body::Bytes, http::Request};
use http_body_util::Full;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio_rustls::{
    TlsConnector,
    rustls::{ClientConfig, pki_types::ServerName},
};

use super::target::{Url, is_public};

/// Why an attempt failed. No text of the other side is in it.
#[derive(Debug, thiserror::Error)]
pub enum PostError {
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("{0}")]
    Http(#[from] hyper::Error),
    #[error("the name leads to {0}, which callbacks may not reach")]
    Forbidden(SocketAddr),
    #[error("the name leads nowhere")]
    NoAddress,
    #[error("answered with status {0}")]
    Status(u16),
}

/// A connection that can be used again for the same URL.
pub struct Connection {
    to: Url,
    sender: SendRequest<Full<Bytes>>,
}

impl Connection {
    /// Resolves and connects. Every address is checked after it was resolved, and the connection goes to the address that was
    /// checked: a name that changes its mind in between gains nothing.
    pub async fn open(
        url: &Url,
        private: bool,
        trust: impl Fn() -> Arc<ClientConfig>,
    ) -> Result<Connection, PostError> {
        let mut refused = PostError::NoAddress;
        for address in tokio::net::lookup_host((url.host.as_str(), url.port)).await? {
            if !private && !is_public(address.ip()) {
                refused = PostError::Forbidden(address);
                continue;
            }
            match TcpStream::connect(address).await {
                Ok(stream) => {
                    stream.set_nodelay(true)?;
                    let sender = match url.tls {
                        true => handshake(tls(url, stream, trust()).await?).await?,
                        false => handshake(stream).await?,
                    };
                    return Ok(Connection { to: url.clone(), sender });
                }
                Err(error) => refused = error.into(),
            }
        }
        Err(refused)
    }

    /// Whether it still stands and leads there.
    pub fn fits(&self, url: &Url) -> bool {
        self.to == *url && !self.sender.is_closed()
    }

    /// Sends a body; anything but a status of 200 to 299 is an error.
    pub async fn post(&mut self, body: Bytes, signature: &str) -> Result<(), PostError> {
        let request = Request::post(&self.to.path)
            .header("host", &self.to.authority)
            .header("content-type", "application/json")
            .header("user-agent", concat!("roomcast/", env!("CARGO_PKG_VERSION")))
            .header(super::body::SIGNATURE_HEADER, signature)
            .body(Full::new(body))
            .map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?;
        self.sender.ready().await?;
        let status = self.sender.send_request(request).await?.status();
        // The answer's body is of no interest; dropped unread it closes the connection unless it is short.
        if status.is_success() { Ok(()) } else { Err(PostError::Status(status.as_u16())) }
    }
}

async fn handshake<S>(stream: S) -> Result<SendRequest<Full<Bytes>>, PostError>
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Send + Unpin + 'static,
{
    let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    // It ends when the sender is dropped or the other side closes; what went wrong the sender sees.
    tokio::spawn(connection);
    Ok(sender)
}

async fn tls(
    url: &Url,
    stream: TcpStream,
    config: Arc<ClientConfig>,
) -> io::Result<tokio_rustls::client::TlsStream<TcpStream>> {
    let name = ServerName::try_from(url.host.clone()).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
    TlsConnector::from(config).connect(name, stream).await
}
