//! The operator's console: who may enter it, and what it shows beside what the HTTP API gives.
//!
//! The page is `web-demo/console/`. Whoever shows the console's password gets a session for some hours, by which he may do in every
//! app what the app's own server may ([`Operator`]). Sessions are kept in memory only and travel in a header, not a cookie, so no other
//! page can use one.

mod door;

use std::{net::SocketAddr, sync::Arc, time::Instant};

use axum::{
    Json, Router,
    body::Bytes,
    extract::{ConnectInfo, DefaultBodyLimit, Query, Request, State},
    http::{HeaderMap, header},
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use serde::Deserialize;
use serde_json::{Value, json};
use signaling::{Code, api::Operator, rest::Refused};
use tracing::info;

use crate::{Addresses, config::Config, log, metrics::Metrics};
pub use door::{ConsolePassword, Door};

/// Bytes of a request to the console. A password has 20.
const BODY_BYTES_MAX: usize = 4 << 10;

/// What the console works on.
#[derive(Clone)]
pub struct Console(Arc<Inner>);

struct Inner {
    door: Door,
    metrics: Arc<Metrics>,
    addresses: Addresses,
    /// The settings as they stand, secrets masked.
    config: Value,
}

impl Console {
    pub fn new(config: &Config, password: ConsolePassword, metrics: Arc<Metrics>, addresses: Addresses) -> Console {
        let door = Door::new(password, &config.console);
        Console(Arc::new(Inner { door, metrics, addresses, config: shown(config) }))
    }

    /// `/console/api/…`.
    pub fn routes(&self) -> Router {
        let inside = Router::new()
            .route("/console/api/state", get(state))
            .route("/console/api/log", get(log_tail))
            .route("/console/api/config", get(settings))
            .layer(middleware::from_fn_with_state(self.clone(), only_operator));
        Router::new()
            .route("/console/api/login", post(login))
            .route("/console/api/logout", post(logout))
            .merge(inside)
            .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
            .with_state(self.clone())
    }

    /// Marks requests that show a session of the console, so that the API lets them in.
    pub fn open_api(&self, api: Router) -> Router {
        api.layer(middleware::from_fn_with_state(self.clone(), mark_operator))
    }

    fn is_inside(&self, headers: &HeaderMap) -> bool {
        bearer(headers).is_some_and(|token| self.0.door.is_session(Instant::now(), token))
    }
}

#[derive(Deserialize)]
struct Login {
    password: String,
}

async fn login(
    State(console): State<Console>,
    ConnectInfo(remote): ConnectInfo<SocketAddr>,
    body: Bytes,
) -> Result<Response, Refused> {
    let Login { password } = serde_json::from_slice(&body).map_err(|_| Code::BadMessage)?;
    let ip = remote.ip().to_canonical();
    // Deriving the key takes long on purpose, and must not hold up anything else.
    let opened = tokio::task::spawn_blocking(move || console.0.door.open(Instant::now(), ip, &password)).await;
    let session = opened.map_err(|_| Code::ConsoleRefused)?.inspect_err(|code| {
        info!(code = code.number(), remote = %ip, "the console refused a login");
    })?;
    info!(remote = %ip, "somebody logged in to the console");
    Ok(answer(json!({ "token": session.token, "seconds": session.seconds })))
}

async fn logout(State(console): State<Console>, headers: HeaderMap) -> Response {
    if let Some(token) = bearer(&headers) {
        console.0.door.close(token);
    }
    answer(json!({}))
}

async fn state(State(console): State<Console>) -> Response {
    let Inner { metrics, addresses, .. } = &*console.0;
    let mut state = metrics.overview();
    state["addresses"] = json!({
        "http": addresses.http, "https": addresses.https, "rtmp": addresses.rtmp, "media": addresses.media,
    });
    answer(state)
}

#[derive(Deserialize)]
struct After {
    /// The number of the last line that is known already.
    #[serde(default)]
    after: u64,
}

async fn log_tail(Query(After { after }): Query<After>) -> Response {
    let lines: Vec<Value> =
        log::tail(after).into_iter().map(|(number, text)| json!({ "number": number, "text": text })).collect();
    answer(json!({ "lines": lines }))
}

async fn settings(State(console): State<Console>) -> Response {
    answer(console.0.config.clone())
}

async fn only_operator(State(console): State<Console>, request: Request, next: Next) -> Response {
    match console.is_inside(request.headers()) {
        true => next.run(request).await,
        false => Refused::from(Code::ConsoleRefused).into_response(),
    }
}

async fn mark_operator(State(console): State<Console>, mut request: Request, next: Next) -> Response {
    if console.is_inside(request.headers()) {
        request.extensions_mut().insert(Operator);
    }
    next.run(request).await
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    headers.get(header::AUTHORIZATION)?.to_str().ok()?.strip_prefix("Bearer ")
}

fn answer(body: Value) -> Response {
    ([(header::CACHE_CONTROL, "no-store")], Json(body)).into_response()
}

fn shown(config: &Config) -> Value {
    let sections = config.shown().into_iter().map(|section| {
        let settings = section.settings.into_iter().map(|(field, value)| {
            let doc = field.doc.iter().map(|line| line.trim()).collect::<Vec<_>>().join(" ");
            json!({ "name": field.name, "value": value, "default": field.default, "doc": doc })
        });
        json!({ "name": section.name, "settings": settings.collect::<Vec<_>>() })
    });
    json!({ "sections": sections.collect::<Vec<_>>() })
}
