//! The HTTP face: signaling's paths, FLV, the page, the documentation, and the paths that watch over the server.

pub mod docs;
pub mod flv;
pub mod hls;
pub mod page;

use std::{net::SocketAddr, sync::Arc};

use axum::{
    Router,
    extract::{
        ConnectInfo, State,
        ws::{WebSocketUpgrade, rejection::WebSocketUpgradeRejection},
    },
    http::{HeaderMap, Method, StatusCode, Uri, header},
    response::{IntoResponse, Response},
    routing::{any, get},
};
use media::Command;
use signaling::{Api, Hub, dialect::trtc, rest::Peer};
use tokio::sync::mpsc;

use crate::{config::setting::Secret, console::Console, metrics, metrics::Metrics, shutdown::Stopping};

/// What the paths of this crate need to answer.
#[derive(Clone)]
pub struct Face {
    pub hub: Hub,
    pub api: Api,
    pub commands: mpsc::Sender<Command>,
    pub metrics: Arc<Metrics>,
    pub hls: Arc<hls::Hls>,
    pub stopping: Stopping,
    /// Pages that may read FLV; empty admits all.
    pub origins: Arc<[String]>,
    /// Who may read the metrics; empty: this machine.
    pub metrics_token: Secret,
    /// None where it is switched off.
    pub console: Option<Console>,
}

/// Every path of the server.
pub fn router(face: Face) -> Router {
    let api = signaling::api::router(face.api.clone());
    let (api, console) = match &face.console {
        Some(console) => (console.open_api(api), console.routes()),
        None => (api, Router::new()),
    };
    Router::new()
        .route("/", any(root))
        .route("/live/{name}", any(flv::live))
        .route("/live/{name}/{folder}/{file}", any(hls::folder))
        .route("/docs", get(docs::first))
        .route("/docs/", get(docs::first))
        .route("/docs/{name}", get(docs::page))
        .route("/healthz", get(healthz))
        .route("/readyz", get(readyz))
        .route("/metrics", get(prometheus))
        .fallback(page::page)
        .with_state(face.clone())
        .merge(api)
        .merge(console)
        .merge(signaling::router(face.hub))
}

/// The page; and, since their clients are told no path, the WebSocket of the vendor's browser library.
async fn root(
    State(face): State<Face>,
    peer: Peer,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
) -> Response {
    let query = uri.query().unwrap_or_default();
    match upgrade {
        Ok(upgrade) if trtc::is_meant(query) => trtc::upgrade(face.hub, peer, query, upgrade),
        _ => page::page(method, uri, headers).await,
    }
}

/// The process runs.
async fn healthz() -> &'static str {
    "ok\n"
}

/// New clients are welcome. Turns first when the server stops, so that a balancer sends them elsewhere.
async fn readyz(State(face): State<Face>) -> (StatusCode, &'static str) {
    match face.stopping.has_started() {
        false => (StatusCode::OK, "ready\n"),
        true => (StatusCode::SERVICE_UNAVAILABLE, "stopping\n"),
    }
}

/// Numbers tell a stranger when there is something to hear, so not everybody may read them.
async fn prometheus(
    State(face): State<Face>,
    ConnectInfo(remote): ConnectInfo<SocketAddr>,
    headers: HeaderMap,
) -> Response {
    let shown = headers.get(header::AUTHORIZATION).and_then(|value| value.as_bytes().strip_prefix(b"Bearer "));
    let admitted = match face.metrics_token.expose().as_bytes() {
        b"" => remote.ip().to_canonical().is_loopback(),
        token => shown.is_some_and(|shown| same(shown, token)),
    };
    if !admitted {
        return (StatusCode::UNAUTHORIZED, [(header::WWW_AUTHENTICATE, "Bearer")]).into_response();
    }
    ([(header::CONTENT_TYPE, metrics::CONTENT_TYPE)], face.metrics.text()).into_response()
}

/// Whether they are equal; takes the same time wherever they differ.
fn same(a: &[u8], b: &[u8]) -> bool {
    a.len() == b.len() && a.iter().zip(b).fold(0, |difference, (a, b)| difference | (a ^ b)) == 0
}
