//! Callbacks against servers that answer, refuse, hang, fail and lie.

use std::{net::SocketAddr, time::Instant};

use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
    sync::mpsc::{UnboundedReceiver, unbounded_channel},
};

use rcgen::{CertificateParams, KeyPair};
use tokio_rustls::{TlsAcceptor, rustls};

use super::*;
use crate::{hub::Fact, message::LeaveReason, name::RoomName};

const APP: u32 = 7;
const KEY: &str = "callback key";

#[tokio::test]
async fn what_happens_arrives_signed_and_in_order() {
    let (address, mut requests) = server(&[200]).await;
    let callbacks = Callbacks::new(quick(), &[app(address)]);
    callbacks.notice(&notice(Fact::RoomCreated));
    callbacks.notice(&notice(Fact::MemberLeft { user: "alice".into(), reason: LeaveReason::Left }));
    callbacks.notice(&notice(Fact::RoomDissolved));
    let mut ids = Vec::new();
    for event in ["room-created", "member-left", "room-dissolved"] {
        let request = requests.recv().await.unwrap();
        let json: serde_json::Value = serde_json::from_str(&request.body).unwrap();
        assert_eq!((json["event"].as_str(), json["roomID"].as_str()), (Some(event), Some("lobby")));
        assert_eq!((json["sdkAppID"].as_u64(), json["time"].as_u64()), (Some(7), Some(5)));
        let unix_s: u64 = request.signature[2..].split(',').next().unwrap().parse().unwrap();
        assert_eq!(request.signature, signature(KEY, unix_s, request.body.as_bytes()));
        ids.push(json["id"].as_str().unwrap().to_owned());
    }
    ids.dedup();
    assert_eq!(ids.len(), 3, "{ids:?}");
}

#[tokio::test]
async fn a_server_that_fails_is_asked_again_with_the_same_id_until_it_takes_it() {
    let (address, mut requests) = server(&[500, 503, 302, 200]).await;
    let callbacks = Callbacks::new(quick(), &[app(address)]);
    callbacks.notice(&notice(Fact::RoomCreated));
    let first = requests.recv().await.unwrap().body;
    for _ in 0..3 {
        assert_eq!(requests.recv().await.unwrap().body, first);
    }
    until(&callbacks, |counts| counts.delivered == 1).await;
    assert!(requests.try_recv().is_err(), "it was delivered and is sent again");
}

#[tokio::test]
async fn a_server_that_refuses_costs_six_attempts_and_no_more() {
    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let callbacks = Callbacks::new(quick(), &[app(closed)]);
    callbacks.notice(&notice(Fact::RoomCreated));
    until(&callbacks, |counts| counts.failed == 1).await;
    let (failing, mut requests) = server(&[500]).await;
    callbacks.set_apps(&[app(failing)]);
    callbacks.notice(&notice(Fact::RoomDissolved));
    until(&callbacks, |counts| counts.failed == 2).await;
    assert_eq!(callbacks.counts().retried, 2 * u64::from(quick().attempts - 1));
    let mut attempts = 0;
    while requests.try_recv().is_ok() {
        attempts += 1;
    }
    assert_eq!(attempts, quick().attempts);
}

#[tokio::test]
async fn a_server_that_hangs_delays_nobody_and_the_queue_stays_bounded() {
    // The kernel accepts for a listener that never does; nothing is ever answered.
    let hanging = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let config = CallbackConfig { queue: 10, attempt_max: Duration::from_secs(60), ..quick() };
    let (well, mut requests) = server(&[200]).await;
    let other = AppConfig { sdk_app_id: 8, ..app(well) };
    let callbacks = Callbacks::new(config, &[app(hanging.local_addr().unwrap()), other]);
    let start = Instant::now();
    callbacks.notice(&notice(Fact::RoomCreated));
    // One is being sent; then the queue is empty.
    let _stuck = hanging.accept().await.unwrap();
    for _ in 0..10 {
        callbacks.notice(&notice(Fact::RoomCreated));
    }
    assert_eq!((callbacks.counts().dropped, callbacks.counts().queued), (0, 10), "ten fit");
    callbacks.notice(&notice(Fact::RoomCreated));
    assert_eq!(callbacks.counts().dropped, 1, "the eleventh does not");
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
    callbacks.notice(&Notice { sdk_app_id: 8, ..notice(Fact::RoomCreated) });
    requests.recv().await.expect("another app's server is told all the same");
}

#[tokio::test]
async fn an_attempt_ends_after_its_time() {
    let hanging = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let config = CallbackConfig { attempt_max: Duration::from_millis(20), attempts: 2, ..quick() };
    let callbacks = Callbacks::new(config, &[app(hanging.local_addr().unwrap())]);
    callbacks.notice(&notice(Fact::RoomCreated));
    until(&callbacks, |counts| counts.failed == 1).await;
}

#[tokio::test]
async fn names_and_addresses_of_this_machine_are_refused_before_connecting() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    for host in ["localhost", "2130706433", "0x7f.1", "127.1", "0"] {
        let url = Url::read(&format!("http://{host}:{port}/"), false).expect("a name is looked at when it is resolved");
        let error = Connection::open(&url, false, || unreachable!("no TLS here")).await.err().expect("refused");
        assert!(matches!(error, PostError::Forbidden(_) | PostError::Io(_)), "{host}: {error}");
    }
    let accepted = timeout(Duration::from_millis(50), listener.accept()).await;
    assert!(accepted.is_err(), "somebody connected");
    let callbacks =
        Callbacks::new(quick(), &[AppConfig { callback_private: false, ..app(listener.local_addr().unwrap()) }]);
    assert!(callbacks.0.target(APP).is_none(), "an address in the URL is refused at once");
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let elsewhere = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let to = format!("http://{}/", elsewhere.local_addr().unwrap());
    for status in [301, 302, 303, 307, 308] {
        let (address, mut requests) = server_to(&[status], &to).await;
        let callbacks = Callbacks::new(CallbackConfig { attempts: 1, ..quick() }, &[app(address)]);
        callbacks.notice(&notice(Fact::RoomCreated));
        requests.recv().await.expect("the first address is asked");
        until(&callbacks, |counts| counts.failed == 1).await;
    }
    let accepted = timeout(Duration::from_millis(50), elsewhere.accept()).await;
    assert!(accepted.is_err(), "somebody followed");
}

#[tokio::test]
async fn https_callbacks_go_to_whom_the_given_ca_vouches_for_and_to_nobody_else() {
    let (ca, other) = (Ca::new(), Ca::new());
    let (address, mut requests) = tls_server(&ca, "localhost").await;
    let url = format!("https://localhost:{}/hook", address.port());
    let app = AppConfig { callback_url: Some(url), ..app(address) };
    let config = |roots: &[&Ca]| CallbackConfig {
        roots: roots.iter().map(|ca| ca.certificate.der().clone()).collect(),
        attempts: 2,
        ..quick()
    };
    let trusting = Callbacks::new(config(&[&other, &ca]), std::slice::from_ref(&app));
    trusting.notice(&notice(Fact::RoomCreated));
    trusting.notice(&notice(Fact::RoomDissolved));
    for event in ["room-created", "room-dissolved"] {
        let request = requests.recv().await.unwrap();
        assert!(request.body.contains(event), "{}", request.body);
        let unix_s: u64 = request.signature[2..].split(',').next().unwrap().parse().unwrap();
        assert_eq!(request.signature, signature(KEY, unix_s, request.body.as_bytes()));
    }
    until(&trusting, |counts| counts.delivered == 2).await;
    assert_eq!(trusting.counts(), CallbackCounts { delivered: 2, ..CallbackCounts::default() });

    // Nobody vouches for it; or somebody does, but for another name.
    let (misnamed, mut never) = tls_server(&ca, "example.com").await;
    let misnamed_url = format!("https://localhost:{}/hook", misnamed.port());
    let misnamed = AppConfig { callback_url: Some(misnamed_url), ..app.clone() };
    for (roots, app) in [(&[&other][..], &app), (&[], &app), (&[&ca], &misnamed)] {
        let callbacks = Callbacks::new(config(roots), std::slice::from_ref(app));
        callbacks.notice(&notice(Fact::RoomCreated));
        until(&callbacks, |counts| counts.failed == 1).await;
        assert_eq!(callbacks.counts(), CallbackCounts { failed: 1, retried: 1, ..CallbackCounts::default() });
    }
    assert!(requests.try_recv().is_err() && never.try_recv().is_err(), "somebody was told all the same");
}

#[tokio::test]
async fn an_app_without_a_url_or_a_key_gets_none() {
    let (address, _requests) = server(&[200]).await;
    for app in [
        AppConfig { callback_url: None, ..app(address) },
        AppConfig { callback_key: None, v2_secret: None, ..app(address) },
    ] {
        let callbacks = Callbacks::new(quick(), &[app]);
        callbacks.notice(&notice(Fact::RoomCreated));
        assert!(callbacks.0.queues.read().unwrap().is_empty());
    }
}

fn quick() -> CallbackConfig {
    CallbackConfig { first_pause: Duration::from_millis(1), attempt_max: Duration::from_secs(10), ..Default::default() }
}

fn app(address: SocketAddr) -> AppConfig {
    AppConfig {
        sdk_app_id: APP,
        callback_url: Some(format!("http://{address}/hook")),
        callback_key: Some(KEY.into()),
        callback_private: true,
        ..AppConfig::default()
    }
}

fn notice(fact: Fact) -> Notice {
    Notice { sdk_app_id: APP, room: RoomName::from_text("lobby").unwrap(), unix_ms: 5, fact }
}

async fn until(callbacks: &Callbacks, done: impl Fn(CallbackCounts) -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !done(callbacks.counts()) {
        assert!(Instant::now() < deadline, "{:?}", callbacks.counts());
        tokio::task::yield_now().await;
    }
}

/// An authority of its own.
struct Ca {
    certificate: rcgen::Certificate,
    issuer: rcgen::Issuer<'static, KeyPair>,
}

impl Ca {
    fn new() -> Ca {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        Ca { certificate: params.self_signed(&key).unwrap(), issuer: rcgen::Issuer::new(params, key) }
    }
}

/// Answers 200 over TLS, as a server of this name for which this authority vouches.
async fn tls_server(ca: &Ca, name: &str) -> (SocketAddr, UnboundedReceiver<Received>) {
    let key = KeyPair::generate().unwrap();
    let certificate = CertificateParams::new(vec![name.to_owned()]).unwrap().signed_by(&key, &ca.issuer).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let key = rustls::pki_types::PrivateKeyDer::try_from(key.serialize_der()).unwrap();
    let config = config.with_no_client_auth().with_single_cert(vec![certificate.der().clone()], key).unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (sender, receiver) = unbounded_channel();
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let (acceptor, sender) = (acceptor.clone(), sender.clone());
            tokio::spawn(async move {
                // Who does not believe the certificate ends the handshake.
                let Ok(mut stream) = acceptor.accept(stream).await else { return };
                while let Some(received) = read(&mut stream).await {
                    let answered = stream.write_all(b"HTTP/1.1 200 x\r\ncontent-length: 0\r\n\r\n").await;
                    if answered.is_err() || sender.send(received).is_err() {
                        return;
                    }
                }
            });
        }
    });
    (address, receiver)
}

struct Received {
    signature: String,
    body: String,
}

/// Answers with these statuses one after the other, and with the last one from then on.
async fn server(statuses: &[u16]) -> (SocketAddr, UnboundedReceiver<Received>) {
    server_to(statuses, "http://127.0.0.1:1/").await
}

/// The same, with a place to be redirected to.
async fn server_to(statuses: &[u16], location: &str) -> (SocketAddr, UnboundedReceiver<Received>) {
    let location = location.to_owned();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (sender, receiver) = unbounded_channel();
    let mut statuses = statuses.to_vec();
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            while let Some(received) = read(&mut stream).await {
                let status = if statuses.len() > 1 { statuses.remove(0) } else { statuses[0] };
                let answer = format!("HTTP/1.1 {status} x\r\ncontent-length: 0\r\nlocation: {location}\r\n\r\n");
                if stream.write_all(answer.as_bytes()).await.is_err() || sender.send(received).is_err() {
                    break;
                }
            }
        }
    });
    (address, receiver)
}

async fn read(stream: &mut (impl AsyncRead + Unpin)) -> Option<Received> {
    let mut bytes = Vec::new();
    loop {
        let text = String::from_utf8_lossy(&bytes).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let header = |name: &str| {
                let line = head.lines().find(|line| line.to_ascii_lowercase().starts_with(&format!("{name}: ")));
                line.map(|line| line[name.len() + 2..].to_owned()).unwrap_or_default()
            };
            if body.len() == header("content-length").parse::<usize>().unwrap() {
                return Some(Received { signature: header(SIGNATURE_HEADER), body: body.to_owned() });
            }
        }
        if stream.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
    }
}
