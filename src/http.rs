//! The HTTP face: signaling's paths, FLV, the page, and the paths that watch over the server.

pub mod flv;
pub mod page;

use std::sync::Arc;

use axum::{
    Router,
    extract::State,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
    routing::{any, get},
};
use media::Command;
use signaling::{Api, Hub};
use tokio::sync::mpsc;

use crate::{metrics, metrics::Metrics, shutdown::Stopping};

/// What the paths of this crate need to answer.
#[derive(Clone)]
pub struct Face {
    pub hub: Hub,
    pub api: Api,
    pub commands: mpsc::Sender<Command>,
    pub metrics: Arc<Metrics>,
    pub stopping: Stopping,
    /// Pages that may read FLV; empty admits all.
    pub origins: Arc<[String]>,
}

/// Every path of the server.
pub fn router(face: Face) -> Router {
    Router::new()
        .route("/live/{name}", any(flv::live))
        .route("/healthz", get(healthz))
        .route("/readyz", get(readyz))
        .route("/metrics", get(prometheus))
        .fallback(page::page)
        .with_state(face.clone())
        .merge(signaling::api::router(face.api))
        .merge(signaling::router(face.hub))
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

async fn prometheus(State(face): State<Face>) -> Response {
    ([(header::CONTENT_TYPE, metrics::CONTENT_TYPE)], face.metrics.text()).into_response()
}
