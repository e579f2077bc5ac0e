//! TLS for HTTPS and RTMPS: a PEM certificate and key become what is served with them.

use std::sync::Arc;

use rustls::{
    ServerConfig,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
};
use tokio_rustls::TlsAcceptor;

use crate::data::{DataError, TlsFiles};

/// What a client calls HTTP/2 in the TLS handshake (RFC 9113 §3.2).
pub const ALPN_HTTP2: &[u8] = b"h2";

/// Makes aws-lc the cryptography of every rustls in this process. Two parts of the tree may bring a back-end each, and
/// rustls refuses to choose between them. Calling it again does nothing.
pub fn install_crypto() {
    // An error says that a provider is installed already, by us or by whoever embeds the server.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
}

/// TLS for HTTPS.
///
/// # Errors
/// As [`server_config`].
pub fn acceptor(files: &TlsFiles) -> Result<TlsAcceptor, DataError> {
    let mut config = server_config(files)?;
    // Who opens a WebSocket asks for HTTP/1.1 only, since nothing else was ever offered him for it.
    config.alpn_protocols = vec![ALPN_HTTP2.to_vec(), b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}

/// TLS with this certificate, for any protocol.
///
/// # Errors
/// Names the file that holds no certificate or no key, or says that the two do not belong together.
pub fn server_config(files: &TlsFiles) -> Result<ServerConfig, DataError> {
    let certificates: Vec<CertificateDer<'static>> = CertificateDer::pem_slice_iter(files.certificate_pem.as_bytes())
        .collect::<Result<_, _>>()
        .map_err(|error| DataError::Unusable { path: files.certificate_path.clone(), why: error.to_string() })?;
    let key_error = |why: String| DataError::Unusable { path: files.private_key_path.clone(), why };
    let key = PrivateKeyDer::from_pem_slice(files.private_key_pem.expose().as_bytes())
        .map_err(|error| key_error(error.to_string()))?;
    ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(certificates, key)
        .map_err(|error| key_error(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::DataFolder;

    #[test]
    fn the_self_made_certificate_can_be_served() {
        install_crypto();
        let folder = tempfile::tempdir().expect("a folder");
        let data = DataFolder::open(folder.path()).expect("made");
        let files = data.self_made_certificate().expect("made");
        assert!(acceptor(&files).is_ok());
    }

    #[test]
    fn files_that_do_not_belong_together_are_refused_by_name() {
        install_crypto();
        let folder = tempfile::tempdir().expect("a folder");
        let files = |name: &str| {
            let data = DataFolder::open(&folder.path().join(name)).expect("made");
            data.self_made_certificate().expect("made")
        };
        let (a, b) = (files("a"), files("b"));
        let mixed = TlsFiles { private_key_pem: b.private_key_pem, private_key_path: b.private_key_path, ..a.clone() };
        let text = acceptor(&mixed).err().expect("refused").to_string();
        assert!(text.contains("tls-private.pem"), "{text}");
        let empty = TlsFiles { certificate_pem: String::new(), ..a };
        assert!(acceptor(&empty).is_err());
    }
}
