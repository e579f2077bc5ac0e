//! The HTTP face: the page, the paths that watch over the server, TLS, and the end.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use rustls::{
    ClientConfig, DigitallySignedStruct, SignatureScheme,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    pki_types::{CertificateDer, ServerName, UnixTime},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::{Instant, timeout},
};
use tokio_rustls::{TlsConnector, client::TlsStream};

use crate::{
    http::{ask, get, open},
    server::TestServer,
};

#[tokio::test]
async fn the_page_and_the_watching_paths_answer() {
    let server = TestServer::start(&[]).await;
    for (path, kind) in [
        ("/", "text/html; charset=utf-8"),
        ("/?roomID=1001", "text/html; charset=utf-8"),
        ("/demo.js", "text/javascript; charset=utf-8"),
        ("/demo.css", "text/css; charset=utf-8"),
        ("/healthz", "text/plain; charset=utf-8"),
        ("/readyz", "text/plain; charset=utf-8"),
        ("/metrics", "text/plain; version=0.0.4; charset=utf-8"),
    ] {
        let answer = get(server.http, path).await;
        assert_eq!((answer.status, answer.header("content-type")), (200, kind), "{path}");
        let head = ask(server.http, "HEAD", path, &[], "").await;
        assert_eq!((head.status, head.body.len()), (200, 0), "HEAD {path}");
    }
    assert_eq!(get(server.http, "/no/such/thing").await.status, 404);
    assert!(get(server.http, "/metrics").await.text().contains("roomcast_http_connections 1\n"));
}

#[tokio::test]
async fn https_shows_the_same_page() {
    let server = TestServer::start(&[]).await;
    let text = get_over_tls(server.https, "/").await;
    assert!(text.starts_with("HTTP/1.1 200 OK\r\n"), "{text}");
    assert!(text.contains("</html>"), "{text}");
}

#[tokio::test]
async fn demo_tickets_are_handed_out_only_while_the_demo_is_on() {
    let on = TestServer::start(&[]).await;
    let answer = get(on.http, "/demo/ticket?roomID=1001&userID=alice").await;
    let ticket: serde_json::Value = serde_json::from_slice(&answer.body).expect("JSON");
    assert_eq!((ticket["sdkAppID"].as_u64(), ticket["userID"].as_str()), (Some(1_400_000_001), Some("alice")));
    let off = TestServer::start(&["demo.enabled=false"]).await;
    assert_eq!(get(off.http, "/demo/ticket?roomID=1001&userID=alice").await.status, 404);
}

#[tokio::test]
async fn more_connections_than_allowed_are_closed_and_places_come_back() {
    let server = TestServer::start(&["http.connections_max=2", "demo.test_stream=false"]).await;
    let first = idle(server.http).await;
    let second = idle(server.http).await;
    let mut third = TcpStream::connect(server.http).await.expect("the kernel accepts");
    let mut nothing = [0; 1];
    let read = timeout(Duration::from_secs(5), third.read(&mut nothing)).await.expect("it is closed");
    assert!(matches!(read, Ok(0) | Err(_)), "{read:?}");
    drop((first, second));
    // The server sees the closing a moment later.
    let deadline = Instant::now() + Duration::from_secs(5);
    loop {
        let mut stream = TcpStream::connect(server.http).await.expect("the kernel accepts");
        let asked = stream.write_all(b"GET /healthz HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").await;
        let mut text = String::new();
        if asked.is_ok() && stream.read_to_string(&mut text).await.is_ok() && text.starts_with("HTTP/1.1 200") {
            return;
        }
        assert!(Instant::now() < deadline, "no place came back");
    }
}

#[tokio::test]
async fn a_head_that_is_too_large_is_answered_with_431() {
    let server = TestServer::start(&["demo.test_stream=false"]).await;
    let large = "x".repeat(20_000);
    assert_eq!(ask(server.http, "GET", "/healthz", &[("x-large", &large)], "").await.status, 431);
    let allowed = "x".repeat(8_000);
    assert_eq!(ask(server.http, "GET", "/healthz", &[("x-large", &allowed)], "").await.status, 200);
}

#[tokio::test]
async fn a_stop_closes_what_is_open_and_frees_the_ports() {
    let server = TestServer::start(&[]).await;
    let (http, rtmp) = (server.http, server.rtmp);
    let player = open(http, "GET", "/live/1400000001_1001_teststream_main.flv", &[], "").await;
    let idle = idle(http).await;
    let start = Instant::now();
    server.server.stop().await;
    assert!(start.elapsed() < Duration::from_secs(3), "{:?}", start.elapsed());
    assert!(TcpStream::connect(http).await.is_err(), "HTTP still listens");
    assert!(TcpStream::connect(rtmp).await.is_err(), "RTMP still listens");
    drop((player, idle));
}

/// A connection that has been used once, so that the server surely has it.
async fn idle(server: SocketAddr) -> TcpStream {
    let mut stream = TcpStream::connect(server).await.expect("the server accepts");
    stream.write_all(b"GET /healthz HTTP/1.1\r\nhost: a\r\n\r\n").await.expect("sent");
    let mut answer = [0; 15];
    stream.read_exact(&mut answer).await.expect("answered");
    assert_eq!(&answer, b"HTTP/1.1 200 OK");
    stream
}

async fn get_over_tls(server: SocketAddr, path: &str) -> String {
    let mut stream = tls(server, &[]).await;
    let request = format!("GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.expect("sent");
    let mut answer = Vec::new();
    // A close without goodbye is an end as well.
    let _ = stream.read_to_end(&mut answer).await;
    String::from_utf8_lossy(&answer).into_owned()
}

/// A connection to HTTPS, for whichever of these protocols the server takes first (ALPN).
pub async fn tls(server: SocketAddr, protocols: &[&str]) -> TlsStream<TcpStream> {
    let config = ClientConfig::builder().dangerous().with_custom_certificate_verifier(Arc::new(AnyCertificate));
    let mut config = config.with_no_client_auth();
    config.alpn_protocols = protocols.iter().map(|name| name.as_bytes().to_vec()).collect();
    let stream = TcpStream::connect(server).await.expect("the server accepts");
    let name = ServerName::try_from("localhost").expect("a name");
    TlsConnector::from(Arc::new(config)).connect(name, stream).await.expect("TLS begins")
}

/// The certificate is self-made: there is nobody to vouch for it.
#[derive(Debug)]
struct AnyCertificate;

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = rustls::crypto::aws_lc_rs::default_provider().signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, certificate, signature, &algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = rustls::crypto::aws_lc_rs::default_provider().signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, certificate, signature, &algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        rustls::crypto::aws_lc_rs::default_provider().signature_verification_algorithms.supported_schemes()
    }
}
