//! The HTTP API for the owner's server, under `/api/v1`: rooms, members, bans, messages, streams, tickets, apps.
//!
//! [`operations`] is the one list: the routes and their description (`/api/v1/openapi.json`) are both made from it. What an
//! operation changes is durable before it is answered. Whoever asks without the app's secret gets the same refusal whatever
//! he asks for, so nothing can be learned from it; what belongs to another app cannot even be named.

mod apps;
mod call;
mod openapi;
mod relays;
mod rooms;

use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
    time::{SystemTime, UNIX_EPOCH},
};

use axum::{
    Json, Router,
    body::Body,
    extract::DefaultBodyLimit,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
    routing::{MethodRouter, get},
};
use serde_json::Value;

pub use self::openapi::{Field, Kind, Operation};
use crate::{
    callback::Callbacks,
    code::{Code, Fault},
    config::{AppConfig, ConfigError},
    hub::Hub,
    relay::Relays,
    rest::Refused,
    store::{AppRecord, Store},
};

/// Stands among the extensions of a request that the operator makes, who may do in every app what the app's own server may. Only the
/// embedding program can put it there; nothing in a request turns into it.
#[derive(Clone, Copy, Debug)]
pub struct Operator;

/// Where the API is.
pub const PREFIX: &str = "/api/v1";

/// How the API is served.
#[derive(Clone)]
pub struct ApiConfig {
    /// What the operator shows to add, change and remove apps at run time. Default: none, and nobody can.
    pub admin_key: Option<String>,
    /// Entries of one page of a list, at most. Default 1,000.
    pub page_max: usize,
    /// Bytes of a request's body. Default 1 MiB.
    pub body_bytes: usize,
}

impl Default for ApiConfig {
    fn default() -> Self {
        ApiConfig { admin_key: None, page_max: 1_000, body_bytes: 1 << 20 }
    }
}

impl fmt::Debug for ApiConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ApiConfig")
            .field("admin_key", &self.admin_key.is_some())
            .field("page_max", &self.page_max)
            .field("body_bytes", &self.body_bytes)
            .finish()
    }
}

/// What the API works on. Clones are the same.
#[derive(Clone)]
pub struct Api(Arc<Inner>);

struct Inner {
    hub: Hub,
    store: Store,
    callbacks: Callbacks,
    relays: Relays,
    config: ApiConfig,
    /// The apps of the configuration; those of the store come on top. Locked while the two are put together, so that the
    /// last word is the newest.
    configured: Mutex<Vec<AppConfig>>,
}

impl Api {
    /// Puts the parts together: rooms of the store come back, what happens from now on is kept and told, and the apps are
    /// those of the configuration and of the store.
    ///
    /// # Errors
    /// A key of an app cannot be used.
    pub fn start(hub: Hub, store: Store, callbacks: Callbacks, config: ApiConfig) -> Result<Api, ConfigError> {
        let configured = hub.apps().to_vec();
        let relays = Relays::new(hub.clone(), store.clone());
        let inner = Inner { hub, store, callbacks, relays, config, configured: Mutex::new(configured) };
        let api = Api(Arc::new(inner));
        api.put_apps_together()?;
        api.0.hub.keep_in(&api.0.store);
        let callbacks = api.0.callbacks.clone();
        api.0.hub.listen(move |notice| callbacks.notice(notice));
        api.0.relays.follow(&api.0.hub.apps());
        Ok(api)
    }

    /// Takes the apps of the configuration as they are now; those of the store stay. Who is in a room stays in.
    ///
    /// # Errors
    /// A key of an app cannot be used; nothing changes then.
    pub fn reload(&self, configured: Vec<AppConfig>) -> Result<(), ConfigError> {
        let mut own = self.0.configured.lock().unwrap_or_else(PoisonError::into_inner);
        let before = std::mem::replace(&mut *own, configured);
        let result = self.apply_apps(&own);
        match result {
            Ok(()) => self.0.relays.follow(&self.0.hub.apps()),
            Err(_) => *own = before,
        }
        result
    }

    pub fn relays(&self) -> &Relays {
        &self.0.relays
    }

    pub fn callbacks(&self) -> &Callbacks {
        &self.0.callbacks
    }

    fn put_apps_together(&self) -> Result<(), ConfigError> {
        let own = self.0.configured.lock().unwrap_or_else(PoisonError::into_inner);
        self.apply_apps(&own)
    }

    fn apply_apps(&self, configured: &[AppConfig]) -> Result<(), ConfigError> {
        let mut apps = configured.to_vec();
        let stored = self.0.store.read().apps.values().map(AppRecord::to_config).collect::<Vec<_>>();
        apps.extend(stored.into_iter().filter(|app| configured.iter().all(|own| own.sdk_app_id != app.sdk_app_id)));
        self.0.hub.replace_apps(apps.clone())?;
        self.0.callbacks.set_apps(&apps);
        Ok(())
    }

    fn is_configured(&self, sdk_app_id: u32) -> bool {
        let own = self.0.configured.lock().unwrap_or_else(PoisonError::into_inner);
        own.iter().any(|app| app.sdk_app_id == sdk_app_id)
    }

    /// Waits until everything that happened so far is durable.
    async fn settled(&self) -> Result<(), Fault> {
        self.0.store.submit(Vec::new()).durable().await
    }
}

/// The API's routes.
pub fn router(api: Api) -> Router {
    let body_bytes = api.0.config.body_bytes;
    let described =
        Arc::new(openapi::document(&operations().into_iter().map(|(operation, _)| operation).collect::<Vec<_>>()));
    let mut routes = Router::new();
    for (operation, handler) in operations() {
        routes = routes.route(operation.path, handler);
    }
    let description = get(move || async move { Json::<Value>((*described).clone()) });
    let routes = routes
        .route("/openapi.json", description)
        .fallback(|| async { Refused(Code::NotFound.into()) })
        .method_not_allowed_fallback(|| async { Refused(Code::MethodNotAllowed.into()) })
        .layer(DefaultBodyLimit::max(body_bytes))
        .with_state(api);
    Router::new().nest(PREFIX, routes)
}

/// Every operation, with what does it.
pub fn operations() -> Vec<(Operation, MethodRouter<Api>)> {
    rooms::operations().into_iter().chain(relays::operations()).chain(apps::operations()).collect()
}

/// What an operation answers.
enum Answer {
    Ok(Value),
    Created(Value),
    Done,
}

impl IntoResponse for Answer {
    fn into_response(self) -> Response {
        let headers = [(header::CACHE_CONTROL, "no-store")];
        match self {
            Answer::Ok(json) => (headers, Json(json)).into_response(),
            Answer::Created(json) => (StatusCode::CREATED, headers, Json(json)).into_response(),
            Answer::Done => (StatusCode::NO_CONTENT, headers, Body::empty()).into_response(),
        }
    }
}

fn unix_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64)
}

#[cfg(test)]
mod tests;
