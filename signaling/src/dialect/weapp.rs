//! The vendor's room services for mini-programs: RTMPRoom ([`rtmp_room`]), the MLVB live room ([`mlvb`]) and the list service
//! of the `webrtc-room` demos ([`webrtc_room`]). They share paths and notions but neither field names nor codes.
//!
//! Who pushes by a URL from here is a member of the room of that name like any other: members of `/signal` see him come and
//! go, and he is told of them.

pub mod board;
mod call;
mod config;
mod login;
mod mlvb;
mod rooms;
mod rtmp_room;
pub(super) mod urls;
mod utils;
mod webrtc_room;

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    time::{Duration, Instant},
};

use axum::{Router, extract::DefaultBodyLimit, routing::any};
use tracing::info;

pub use self::config::RoomServiceConfig;
use self::{
    board::{Board, Key, Left},
    login::Logins,
};
use crate::hub::{Hub, push_name::main_stream};

/// Bytes of a request. The longest real ones are those of `merge_stream`.
const BODY_BYTES_MAX: usize = 64 << 10;
/// How often heartbeats are looked at.
const SWEEP: Duration = Duration::from_secs(5);

/// The room services. Clones are the same.
#[derive(Clone)]
pub struct Weapp(Arc<Inner>);

struct Inner {
    hub: Hub,
    config: RoomServiceConfig,
    logins: Mutex<Logins>,
    /// Never held while the hub is called.
    board: Mutex<Board>,
}

/// The routes; none where the services are switched off.
pub fn routes(hub: &Hub) -> Router<Hub> {
    if !hub.config().room_service.enabled {
        return Router::new();
    }
    let weapp = Weapp::new(hub);
    tokio::spawn(sweep(Arc::downgrade(&weapp.0)));
    router(weapp)
}

fn router<S: Clone + Send + Sync + 'static>(weapp: Weapp) -> Router<S> {
    Router::new()
        .route("/weapp/utils/{command}", any(utils::handle))
        .route("/weapp/{list}/{command}", any(rtmp_room::handle))
        .route("/webrtc/weapp/webrtc_room/{command}", any(webrtc_room::handle))
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .with_state(weapp)
}

impl Weapp {
    fn new(hub: &Hub) -> Weapp {
        let config = hub.config().room_service.clone();
        Weapp(Arc::new(Inner { hub: hub.clone(), config, logins: Mutex::default(), board: Mutex::default() }))
    }

    fn hub(&self) -> &Hub {
        &self.0.hub
    }

    fn config(&self) -> &RoomServiceConfig {
        &self.0.config
    }

    fn board(&self) -> MutexGuard<'_, Board> {
        self.0.board.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn logins(&self) -> MutexGuard<'_, Logins> {
        self.0.logins.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What time alone changes: who is silent and sends nothing goes, and so do rooms that nobody entered.
    fn sweep(&self, now: Instant) {
        let (silent, idle) = self.board().overdue(self.config(), now);
        for key in idle {
            info!(app = key.0, room = %key.1, "nobody entered the room: it is off the list");
            if !self.has_publishers(&key) {
                self.hub().forget_pushes(key.0, &key.1, None);
            }
        }
        for (key, user) in silent {
            // The stream itself is a sign of life.
            if self.hub().has_stream(&main_stream(key.0, &key.1, &user)) {
                self.board().beat(&key, &user, now);
            } else {
                info!(app = key.0, room = %key.1, %user, "no heartbeat and no stream");
                self.take_out(&key, &user);
            }
        }
    }

    /// Takes a pusher out of a room, with his stream; what else that ends ends too.
    fn take_out(&self, key: &Key, user: &str) -> Left {
        let left = self.board().leave(key, user);
        if left == Left::NotThere {
            return left;
        }
        self.hub().forget_pushes(key.0, &key.1, Some(user));
        self.hub().end_stay(key.0, &key.1, user);
        self.hub().list_changed(key.0, &key.1);
        if left == Left::Destroyed {
            info!(app = key.0, room = %key.1, "off the list");
        }
        left
    }
}

async fn sweep(weapp: Weak<Inner>) {
    let mut interval = tokio::time::interval(SWEEP);
    loop {
        interval.tick().await;
        let Some(weapp) = weapp.upgrade() else { return };
        Weapp(weapp).sweep(Instant::now());
    }
}

#[cfg(test)]
mod tests;
