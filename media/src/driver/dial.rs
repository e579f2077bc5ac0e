//! Connections that we open: TCP, and TLS on it to a server that proves to be whom we meant.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use rustls::{CertificateError, ClientConfig, Error as TlsError, pki_types::ServerName};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    time::timeout,
};
use tokio_rustls::TlsConnector;

use crate::command::{RelayEnd, RelayWhy};

/// For TCP, and as long again for TLS.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Bytes both ways, in whatever they are wrapped.
pub trait Dialled: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Dialled for T {}

/// Connects. With `tls`, only to who has a certificate for `host` (a name or an address) from an issuer that is believed there.
pub async fn dial(addr: SocketAddr, host: &str, tls: Option<Arc<ClientConfig>>) -> Result<Box<dyn Dialled>, RelayEnd> {
    let stream = match timeout(CONNECT_TIMEOUT, TcpStream::connect(addr)).await {
        Ok(connected) => connected.map_err(|error| unreachable(&format!("connecting: {error}")))?,
        Err(_) => return Err(RelayEnd::new(RelayWhy::TimedOut, "connecting took too long")),
    };
    stream.set_nodelay(true).map_err(|error| unreachable(&error.to_string()))?;
    let Some(config) = tls else { return Ok(Box::new(stream)) };
    let name = ServerName::try_from(host.to_owned())
        .map_err(|_| RelayEnd::new(RelayWhy::CertificateName, "no certificate can be for such a name"))?;
    match timeout(CONNECT_TIMEOUT, TlsConnector::from(config).connect(name, stream)).await {
        Ok(Ok(stream)) => Ok(Box::new(stream)),
        Ok(Err(error)) => Err(tls_end(&error)),
        Err(_) => Err(RelayEnd::new(RelayWhy::TimedOut, "the TLS handshake took too long")),
    }
}

fn unreachable(words: &str) -> RelayEnd {
    RelayEnd::new(RelayWhy::Unreachable, words)
}

/// What a failed handshake means. Of a certificate for somebody else its names are not repeated: they are the other's business.
fn tls_end(error: &io::Error) -> RelayEnd {
    let (why, words) = match error.get_ref().and_then(|inner| inner.downcast_ref::<TlsError>()) {
        Some(TlsError::InvalidCertificate(
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
        )) => (RelayWhy::CertificateName, "its certificate is for another name".to_owned()),
        // A bad signature: of the issuers one has that name, and another key.
        Some(TlsError::InvalidCertificate(CertificateError::UnknownIssuer | CertificateError::BadSignature)) => {
            (RelayWhy::Certificate, "nobody whom this server believes vouches for its certificate".to_owned())
        }
        Some(TlsError::InvalidCertificate(CertificateError::Expired | CertificateError::ExpiredContext { .. })) => {
            (RelayWhy::Certificate, "its certificate has expired".to_owned())
        }
        Some(TlsError::InvalidCertificate(_)) => (RelayWhy::Certificate, "its certificate is not valid".to_owned()),
        Some(_) => (RelayWhy::Protocol, "it does not speak TLS as we do".to_owned()),
        None => (RelayWhy::Unreachable, format!("the TLS handshake: {error}")),
    };
    RelayEnd::new(why, words)
}
