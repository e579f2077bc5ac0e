//! Sessions whose socket broke and who wait for another, by who they are.

use axum::extract::ws::WebSocket;
use dashmap::DashMap;
use tokio::sync::oneshot;

use super::Hub;

/// Who waits, and where to send the new socket. The newest of one user counts.
#[derive(Default)]
pub(crate) struct WaitingSessions(DashMap<(u32, String), oneshot::Sender<WebSocket>>);

impl WaitingSessions {
    pub(crate) fn put(&self, app: u32, user: &str, sender: oneshot::Sender<WebSocket>) {
        // Who gave up is swept with whoever begins to wait.
        self.0.retain(|_, sender| !sender.is_closed());
        self.0.insert((app, user.to_owned()), sender);
    }

    pub(crate) fn take(&self, app: u32, user: &str) -> Option<oneshot::Sender<WebSocket>> {
        self.0.remove(&(app, user.to_owned())).map(|(_, sender)| sender).filter(|sender| !sender.is_closed())
    }
}

impl Hub {
    pub(crate) fn waiting_sessions(&self) -> &WaitingSessions {
        &self.0.waiting
    }
}
