//! Callbacks as an app's own server gets them: every way to publish, every way to play, in both forms, over HTTP and HTTPS.

use std::{
    convert::Infallible,
    net::SocketAddr,
    process::{Child, Command, Stdio},
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use aws_lc_rs::hmac;
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::{Request, Response, body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use md5::{Digest, Md5};
use media::flv::TagKind;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::pki_types::PrivateKeyDer;
use serde_json::Value;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpListener,
    sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel},
    time::timeout,
};
use tokio_rustls::TlsAcceptor;

use crate::{
    hls,
    http::get,
    server::TestServer,
    streams::{HttpPlayer, Player, until},
    takeover::{RtmpPlayer, RtmpPublisher},
};

const APP: u32 = 1_400_000_888;
const KEY: &str = "callback key";
/// Longest wait for a callback on a busy machine.
const CALLBACK_MAX: Duration = Duration::from_secs(60);

/// The app's own server. It takes what is signed with [`KEY`], and refuses everything else.
struct Receiver {
    address: SocketAddr,
    bodies: UnboundedReceiver<Value>,
    /// What came and was not waited for yet.
    early: Vec<Value>,
}

impl Receiver {
    async fn start(tls: Option<TlsAcceptor>) -> Receiver {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("it has one");
        let (sender, bodies) = unbounded_channel();
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.expect("a connection");
                let (tls, sender) = (tls.clone(), sender.clone());
                tokio::spawn(async move {
                    match tls {
                        None => serve(stream, sender).await,
                        // Who does not believe the certificate ends the handshake.
                        Some(tls) => match tls.accept(stream).await {
                            Ok(stream) => serve(stream, sender).await,
                            Err(_) => drop(sender),
                        },
                    }
                });
            }
        });
        Receiver { address, bodies, early: Vec::new() }
    }

    /// The callback that fits, whichever came before it.
    async fn next(&mut self, what: &str, fits: impl Fn(&Value) -> bool) -> Value {
        if let Some(at) = self.early.iter().position(&fits) {
            return self.early.remove(at);
        }
        let wanted = async {
            loop {
                let body = self.bodies.recv().await.expect("the receiver runs");
                if fits(&body) {
                    return body;
                }
                self.early.push(body);
            }
        };
        let wanted = timeout(CALLBACK_MAX, wanted).await;
        wanted.unwrap_or_else(|_| panic!("there is no callback of {what}; there are {:#?}", self.early))
    }

    async fn event(&mut self, event: &str, key: &str, value: &str) -> Value {
        self.next(&format!("{event} with {key} {value}"), |body| body["event"] == event && body[key] == value).await
    }
}

async fn serve(stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static, sender: UnboundedSender<Value>) {
    let service = service_fn(move |request: Request<Incoming>| {
        let sender = sender.clone();
        async move {
            let (head, body) = request.into_parts();
            let body = body.collect().await.expect("the whole body").to_bytes();
            let signature = head.headers.get("x-roomcast-signature").and_then(|value| value.to_str().ok());
            let json: Value = serde_json::from_slice(&body).expect("JSON");
            let signed = signature.is_some_and(|signature| is_signed(signature, &body))
                && json.get("sign").is_none_or(|_| is_signed_inside(&json));
            let status = if signed && head.method == "POST" && head.uri == "/hook?a=1" { 200 } else { 401 };
            if status == 200 {
                let _ = sender.send(json);
            }
            let answer = Response::builder().status(status).body(Full::new(Bytes::from_static(b"{\"code\":0}")));
            Ok::<_, Infallible>(answer.expect("an answer"))
        }
    });
    let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
}

/// As docs/http-api.md tells receivers to look at it.
fn is_signed(signature: &str, body: &[u8]) -> bool {
    let Some((t, hex)) = signature.strip_prefix("t=").and_then(|rest| rest.split_once(",v1=")) else { return false };
    let said = [t.as_bytes(), b".", body].concat();
    let expected = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, KEY.as_bytes()), &said);
    let expected: String = expected.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    hex == expected && t.parse::<u64>().is_ok_and(|t| unix_s().abs_diff(t) < 300)
}

/// As the vendor's receivers look at it: `sign` = MD5 of the key and `t`, which is when it ends.
fn is_signed_inside(body: &Value) -> bool {
    let t = body["t"].as_u64().unwrap_or(0);
    let digest = Md5::new().chain_update(KEY).chain_update(t.to_string()).finalize();
    let expected: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    body["sign"] == expected && t > unix_s()
}

fn unix_s() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs()
}

fn app(url: &str, more: &str) -> String {
    format!(
        "\n[[app]]\nsdk_app_id = {APP}\nsecret = \"5bd2850fff3ecb11d7c805251c51ee463a25727bddc2385f3fa8bfee1bb93b5e\"\n\
         callback_url = \"{url}/hook?a=1\"\ncallback_key = \"{KEY}\"\ncallback_private = true\n{more}\n"
    )
}

const SET: [&str; 4] = [
    "demo.test_stream=false",
    "hls.player_silence_seconds=1",
    "signaling.republish_seconds=0",
    "api.callback_timeout_ms=20000",
];

/// Pictures and sound by RTMP, or by WHIP, until it is dropped.
struct Publisher(Child);

impl Publisher {
    fn start(server: &TestServer, user: &str, room: &str) -> Publisher {
        let ticket = server.ticket(APP, user, room);
        let mut command = Command::new(env!("CARGO_BIN_EXE_roomcast-load"));
        command.args(["publish", "--seconds", "600"]);
        match user {
            "by-rtmp" => command.args(["--rtmp", &server.push_url(&ticket)]),
            _ => {
                let whip = format!("http://{}/whip/{room}/{user}?sdkappid={APP}", server.http);
                command.args(["--whip", &whip, "--token", &ticket.user_sig])
            }
        };
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        Publisher(command.spawn().expect("the load tool starts"))
    }
}

impl Drop for Publisher {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_publisher_and_every_player_is_told_of_once_at_his_begin_and_once_at_his_end() {
    let mut receiver = Receiver::start(None).await;
    let server = TestServer::start_with(&app(&format!("http://{}", receiver.address), ""), &SET).await;
    for user in ["by-rtmp", "by-whip"] {
        let publisher = Publisher::start(&server, user, "9");
        let begun = receiver.event("publish-started", "userID", user).await;
        assert_eq!(
            (&begun["sdkAppID"], &begun["roomID"], &begun["stream"]["stream"]),
            (&APP.into(), &9.into(), &"main".into())
        );
        let stream = format!("{APP}_9_{user}_main");
        // Until there is something to play.
        let flv = until(server.http, &format!("/live/{stream}.flv?userid=eye"), 200).await;
        let mut flv = HttpPlayer::new(flv.into_body());
        picture(&mut flv).await;
        let usersig = server.ticket(APP, "anna", "9").user_sig;
        let hls = hls::begin(server.http, &format!("/live/{stream}.m3u8?userid=anna&usersig={usersig}")).await;
        let mut rtmp = RtmpPlayer::new(server.rtmp, &format!("live/{stream}")).await;
        picture(&mut rtmp).await;
        for _ in 0..3 {
            assert_eq!(get(server.http, &hls.playlist).await.status, 200);
        }
        let mut plays = Vec::new();
        for (protocol, player) in [("rtmp", None), ("flv", None), ("hls", Some("anna"))] {
            let play = receiver.event("play-started", "protocol", protocol).await;
            assert_eq!(
                (&play["userID"], &play["stream"], &play["ip"]),
                (&user.into(), &"main".into(), &"127.0.0.1".into())
            );
            assert_eq!(play["playerID"].as_str(), player, "{play}");
            plays.push(play);
        }
        drop((flv, rtmp));
        for begun in plays {
            // HLS by silence, the others since their connection is gone.
            let ended = receiver.event("play-stopped", "playID", begun["playID"].as_str().expect("a text")).await;
            for part in ["userID", "stream", "protocol", "playerID", "ip", "roomID", "sdkAppID"] {
                assert_eq!(ended.get(part), begun.get(part), "{part}: {begun} {ended}");
            }
        }
        // Who is back begins anew, and the end of the stream is his.
        assert_eq!(get(server.http, &hls.playlist).await.status, 200);
        let again = receiver.event("play-started", "protocol", "hls").await;
        assert_eq!(again["playerID"], "anna");
        drop(publisher);
        let ended = receiver.event("play-stopped", "protocol", "hls").await;
        assert_eq!(ended["playID"], again["playID"]);
        receiver.event("publish-stopped", "userID", user).await;
        receiver.next("room-dissolved", |body| body["event"] == "room-dissolved").await;
    }
    let more: Vec<_> = receiver
        .early
        .iter()
        .filter(|body| body["event"].as_str().is_some_and(|event| event.starts_with("p")))
        .collect();
    assert!(more.is_empty(), "{more:#?}");
    let metrics = get(server.http, "/metrics").await.text();
    assert!(metrics.contains("roomcast_callback_retries_total 0\n"), "nothing was refused or late: {metrics}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_vendors_form_reaches_an_https_receiver_with_a_certificate_of_its_own() {
    let folder = tempfile::tempdir().expect("a folder");
    let ca = folder.path().join("ca.pem");
    let mut receiver = Receiver::start(Some(certified(&ca))).await;
    let url = format!("https://localhost:{}", receiver.address.port());
    let ca = format!("api.callback_ca={}", ca.display());
    let server = TestServer::start_with(&app(&url, "callback_vendor = true"), &[&SET[..], &[&ca]].concat()).await;
    for (user, app, appname) in [("by-rtmp", "127.0.0.1", "push"), ("by-whip", "", "live")] {
        let stream = format!("{APP}_9_{user}_main");
        let publisher = Publisher::start(&server, user, "9");
        let begun = receiver.next("a begin", |body| body["event_type"] == 1).await;
        drop(publisher);
        let ended = receiver.next("an end", |body| body["event_type"] == 0).await;
        for body in [&begun, &ended] {
            assert_eq!((&body["stream_id"], &body["channel_id"]), (&stream[..].into(), &stream[..].into()));
            assert_eq!((&body["appid"], &body["sequence"]), (&APP.into(), &begun["sequence"]));
            assert_eq!((&body["app"], &body["appname"]), (&app.into(), &appname.into()), "{body}");
            assert!(!body.to_string().contains("usersig"), "{body}");
        }
        assert_eq!((&begun["errcode"], &begun["errmsg"]), (&0.into(), &"ok".into()));
        let lasted_ms = ended["push_duration"].as_str().and_then(|text| text.parse::<u64>().ok()).expect("as text");
        assert!(lasted_ms < 120_000, "{ended}");
    }
    assert!(receiver.early.is_empty(), "{:#?}", receiver.early);
    let metrics = get(server.http, "/metrics").await.text();
    assert!(metrics.contains("roomcast_callback_retries_total 0\n"), "nothing was refused or late: {metrics}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_https_receiver_for_which_nobody_vouches_is_told_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut receiver = Receiver::start(Some(certified(&folder.path().join("ca.pem")))).await;
    let url = format!("https://localhost:{}", receiver.address.port());
    let set = [&SET[..], &["api.callback_attempts=1"]].concat();
    let server = TestServer::start_with(&app(&url, ""), &set).await;
    let ticket = server.ticket(APP, "cam", "9");
    let _publisher = RtmpPublisher::open(server.rtmp, &server.push_url(&ticket)).await.expect("let in");
    let given_up = async {
        while !get(server.http, "/metrics").await.text().contains("roomcast_callbacks_total{result=\"failed\"} 1\n") {}
    };
    timeout(CALLBACK_MAX, given_up).await.expect("it is given up");
    assert!(receiver.bodies.try_recv().is_err());
}

/// A certificate for `localhost`, and the file with that of the authority which vouches for it.
fn certified(ca: &std::path::Path) -> TlsAcceptor {
    let mut params = CertificateParams::new(Vec::new()).expect("no names");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate().expect("a key");
    std::fs::write(ca, params.self_signed(&key).expect("signed").pem()).expect("written");
    let issuer = Issuer::new(params, key);
    let key = KeyPair::generate().expect("a key");
    let params = CertificateParams::new(vec!["localhost".to_owned()]).expect("a name");
    let certificate = params.signed_by(&key, &issuer).expect("signed").der().clone();
    let key = PrivateKeyDer::try_from(key.serialize_der()).expect("a key");
    roomcast::tls::install_crypto();
    let config = rustls::ServerConfig::builder().with_no_client_auth().with_single_cert(vec![certificate], key);
    TlsAcceptor::from(Arc::new(config.expect("they belong together")))
}

async fn picture(player: &mut impl Player) {
    let picture = async { while player.next().await.expect("the stream goes on").kind != TagKind::Video {} };
    timeout(CALLBACK_MAX, picture).await.expect("a picture");
}
