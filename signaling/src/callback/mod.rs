//! Callbacks: the app's own server is told what happens in its rooms.
//!
//! Each app has a queue and a task of its own. A room puts a notice into the queue and goes on; what does not fit is dropped
//! and counted. The task sends one callback after the other, in the order in which things happened, and each again after a
//! pause that doubles, until it is answered or given up. So a server that hangs delays its own app's callbacks only.

mod body;
mod post;
pub mod target;
mod vendor;

use std::{
    collections::HashMap,
    sync::{
        Arc, OnceLock, PoisonError, RwLock,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use aws_lc_rs::rand;
use axum::body::Bytes;
use tokio::{
    sync::mpsc,
    time::{sleep, timeout},
};
use tokio_rustls::rustls::{ClientConfig, pki_types::CertificateDer};
use tracing::{debug, warn};

pub use self::body::{Callback, SIGNATURE_HEADER, What, signature};
use self::{
    post::{Connection, PostError},
    target::Url,
};
use crate::{config::AppConfig, hub::Notice, trust::trust};

/// How callbacks are sent.
#[derive(Clone, Debug)]
pub struct CallbackConfig {
    /// Longest time for one attempt: resolving, connecting and the answer. Default 500 ms. Longer: slow servers are waited
    /// for; shorter: a hanging server holds up its own queue less.
    pub attempt_max: Duration,
    /// Attempts for one callback. Default 6.
    pub attempts: u32,
    /// Pause before the second attempt; each further one is twice as long. Default 1 s, so that the last of six attempts comes
    /// 31 s after the first.
    pub first_pause: Duration,
    /// Callbacks that wait for one app's server; what comes while so many wait is lost. Default 1,000.
    pub queue: usize,
    /// Certificates that vouch for servers beside those of the system. Default: none.
    pub roots: Vec<CertificateDer<'static>>,
}

impl Default for CallbackConfig {
    fn default() -> Self {
        CallbackConfig {
            attempt_max: Duration::from_millis(500),
            attempts: 6,
            first_pause: Duration::from_secs(1),
            queue: 1_000,
            roots: Vec::new(),
        }
    }
}

/// How many callbacks came to which end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CallbackCounts {
    /// Answered with a status of 200 to 299.
    pub delivered: u64,
    /// Attempts after the first.
    pub retried: u64,
    /// Given up after the last attempt.
    pub failed: u64,
    /// Dropped, since too many waited.
    pub dropped: u64,
    /// Waiting to be sent, of all apps.
    pub queued: u64,
}

/// The sender of all apps' callbacks. Clones are the same sender.
#[derive(Clone)]
pub struct Callbacks(Arc<Inner>);

struct Inner {
    config: CallbackConfig,
    targets: RwLock<HashMap<u32, Arc<Target>>>,
    queues: RwLock<HashMap<u32, mpsc::Sender<Waiting>>>,
    /// Makes the ids of this process unlike those of every other.
    id_prefix: String,
    last_id: AtomicU64,
    publications: vendor::Publications,
    /// What HTTPS servers are judged by; read when the first is met.
    tls: OnceLock<Arc<ClientConfig>>,
    delivered: AtomicU64,
    retried: AtomicU64,
    failed: AtomicU64,
    dropped: AtomicU64,
}

/// A callback in the queue.
struct Waiting {
    id: String,
    body: Body,
}

enum Body {
    Ours(Callback),
    Vendor(serde_json::Value),
}

impl Body {
    fn bytes(&self, key: &str) -> Vec<u8> {
        match self {
            Body::Ours(callback) => {
                serde_json::to_vec(callback).expect("callbacks have text keys and no failing parts")
            }
            Body::Vendor(body) => vendor::signed(body.clone(), key, unix_s()),
        }
    }
}

fn unix_s() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// Where the callbacks of one app go.
struct Target {
    url: Url,
    private: bool,
    key: String,
    /// In the vendor's form, and only what has one.
    vendor: bool,
}

impl Callbacks {
    pub fn new(config: CallbackConfig, apps: &[AppConfig]) -> Callbacks {
        let mut prefix = [0; 8];
        rand::fill(&mut prefix).expect("the system's random source works once the process runs");
        let callbacks = Callbacks(Arc::new(Inner {
            config,
            targets: RwLock::default(),
            queues: RwLock::default(),
            id_prefix: prefix.iter().map(|byte| format!("{byte:02x}")).collect(),
            last_id: AtomicU64::new(0),
            publications: vendor::Publications::default(),
            tls: OnceLock::new(),
            delivered: AtomicU64::new(0),
            retried: AtomicU64::new(0),
            failed: AtomicU64::new(0),
            dropped: AtomicU64::new(0),
        }));
        callbacks.set_apps(apps);
        callbacks
    }

    /// Takes the apps' callback settings as they are now; what waits goes to the new place.
    pub fn set_apps(&self, apps: &[AppConfig]) {
        let targets = apps.iter().filter_map(|app| Some((app.sdk_app_id, Arc::new(Target::of(app)?)))).collect();
        *self.0.targets.write().unwrap_or_else(PoisonError::into_inner) = targets;
    }

    /// Takes notice of something. Never waits. Has to be called on a tokio runtime.
    pub fn notice(&self, notice: &Notice) {
        let Some(target) = self.0.target(notice.sdk_app_id) else { return };
        let number = self.0.last_id.fetch_add(1, Ordering::Relaxed) + 1;
        let id = format!("{}-{number}", self.0.id_prefix);
        let waiting = match target.vendor {
            true => self.0.publications.body(number, notice).map(|body| Waiting { id, body: Body::Vendor(body) }),
            false => Callback::of(id.clone(), notice).map(|callback| Waiting { id, body: Body::Ours(callback) }),
        };
        let Some(waiting) = waiting else { return };
        if self.queue(notice.sdk_app_id).try_send(waiting).is_err() {
            // The first of a row is worth a line.
            if self.0.dropped.fetch_add(1, Ordering::Relaxed).is_multiple_of(1_000) {
                warn!(app = notice.sdk_app_id, "too many callbacks wait; some are lost");
            }
        }
    }

    pub fn counts(&self) -> CallbackCounts {
        let queues = self.0.queues.read().unwrap_or_else(PoisonError::into_inner);
        CallbackCounts {
            queued: queues.values().map(|queue| (queue.max_capacity() - queue.capacity()) as u64).sum(),
            retried: self.0.retried.load(Ordering::Relaxed),
            delivered: self.0.delivered.load(Ordering::Relaxed),
            failed: self.0.failed.load(Ordering::Relaxed),
            dropped: self.0.dropped.load(Ordering::Relaxed),
        }
    }

    fn queue(&self, app: u32) -> mpsc::Sender<Waiting> {
        if let Some(queue) = self.0.queues.read().unwrap_or_else(PoisonError::into_inner).get(&app) {
            return queue.clone();
        }
        let mut queues = self.0.queues.write().unwrap_or_else(PoisonError::into_inner);
        let queue = queues.entry(app).or_insert_with(|| {
            let (queue, waiting) = mpsc::channel(self.0.config.queue);
            tokio::spawn(run(Arc::downgrade(&self.0), app, waiting));
            queue
        });
        queue.clone()
    }
}

impl Inner {
    fn target(&self, app: u32) -> Option<Arc<Target>> {
        self.targets.read().unwrap_or_else(PoisonError::into_inner).get(&app).cloned()
    }

    /// Sends one callback, again and again if need be.
    async fn deliver(&self, app: u32, waiting: &Waiting, connection: &mut Option<Connection>) {
        let Some(target) = self.target(app) else { return };
        let body = Bytes::from(waiting.body.bytes(&target.key));
        let mut pause = self.config.first_pause;
        for attempt in 1..=self.config.attempts {
            // The app may have been changed since the last attempt, or be gone.
            let Some(target) = self.target(app) else { return };
            if attempt > 1 {
                self.retried.fetch_add(1, Ordering::Relaxed);
            }
            match timeout(self.config.attempt_max, self.attempt_once(&target, body.clone(), connection)).await {
                Ok(Ok(())) => {
                    self.delivered.fetch_add(1, Ordering::Relaxed);
                    return;
                }
                Ok(Err(error)) => debug!(app, attempt, %error, "a callback failed"),
                Err(_) => debug!(app, attempt, "a callback was not answered in time"),
            }
            // Whatever became of it, it is in no known state.
            *connection = None;
            if attempt < self.config.attempts {
                sleep(pause).await;
                pause = pause.saturating_mul(2);
            }
        }
        self.failed.fetch_add(1, Ordering::Relaxed);
        warn!(app, id = %waiting.id, "a callback was given up");
    }

    async fn attempt_once(
        &self,
        target: &Target,
        body: Bytes,
        connection: &mut Option<Connection>,
    ) -> Result<(), PostError> {
        let signature = signature(&target.key, unix_s(), &body);
        if let Some(open) = connection.as_mut().filter(|connection| connection.fits(&target.url)) {
            match open.post(body.clone(), &signature).await {
                // The other side may have closed it between two callbacks; then a new one gets its try at once.
                Err(PostError::Http(_)) => {}
                answered => return answered,
            }
        }
        *connection = None;
        let tls = || self.tls.get_or_init(|| trust(&self.config.roots)).clone();
        connection.insert(Connection::open(&target.url, target.private, tls).await?).post(body, &signature).await
    }
}

impl Target {
    /// `None` if the app has none that can be used.
    fn of(app: &AppConfig) -> Option<Target> {
        let url = app.callback_url.as_deref()?;
        let url = Url::read(url, app.callback_private)
            .inspect_err(|error| warn!(app = app.sdk_app_id, %error, "the app gets no callbacks"));
        Some(Target {
            url: url.ok()?,
            private: app.callback_private,
            key: app.callback_key()?.to_owned(),
            vendor: app.callback_vendor,
        })
    }
}

/// Sends the callbacks of one app until the last handle is gone.
async fn run(inner: std::sync::Weak<Inner>, app: u32, mut waiting: mpsc::Receiver<Waiting>) {
    let mut connection = None;
    while let Some(callback) = waiting.recv().await {
        let Some(inner) = inner.upgrade() else { return };
        inner.deliver(app, &callback, &mut connection).await;
    }
}

#[cfg(test)]
mod tests;
