//! Relays: a stream carried out to another RTMP server, or one pulled in from there, for as long as the app's own server wants
//! it. What breaks is tried again, later each time. They are kept in the store, so they outlive the process.

use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
    pin::pin,
    sync::{
        Arc, Mutex, OnceLock, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use axum::http::Uri;
use media::{
    Command, StreamId,
    command::{RelayCounts, RelayEnd, RelayTarget, RelayWay, RelayWhy},
};
use serde::Serialize;
use tokio::{
    sync::{Notify, oneshot},
    task::AbortHandle,
    time::sleep,
};
use tokio_rustls::rustls::ClientConfig;
use tracing::{info, warn};

use crate::{
    callback::target::is_public,
    code::{Code, Fault},
    config::AppConfig,
    hub::{Fact, Hub},
    name::{RoomName, is_user_id},
    store::{Change, RelayRecord, Store},
    trust::trust,
};

/// Relays of one app.
pub const RELAYS_PER_APP: usize = 100;
/// Pause before the second attempt; each further one is twice as long, up to [`PAUSE_MAX`]. What ran for that long begins with
/// this one again.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const PAUSE_MAX: Duration = Duration::from_secs(30);
/// Bytes of a relay's URL.
const URL_BYTES_MAX: usize = 2_048;
const RTMP_PORT: u16 = 1935;
const RTMPS_PORT: u16 = 443;

/// What is carried where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Direction {
    /// The stream of this full name, out.
    Push { stream: String },
    /// In, as the stream *main* of this user.
    Pull { room: RoomName, user: String },
}

impl Direction {
    /// Of a relay that was kept; `None` if what was kept cannot be.
    fn of(record: &RelayRecord) -> Option<Direction> {
        match record.stream.is_empty() {
            false => Some(Direction::Push { stream: record.stream.clone() }),
            true => Some(Direction::Pull { room: RoomName::from_text(&record.room)?, user: record.user.clone() }),
        }
    }

    fn record(&self, sdk_app_id: u32, url: &str) -> RelayRecord {
        let record = RelayRecord { sdk_app_id, url: url.to_owned(), ..RelayRecord::default() };
        match self {
            Direction::Push { stream } => RelayRecord { stream: stream.clone(), ..record },
            Direction::Pull { room, user } => RelayRecord { room: room.to_string(), user: user.clone(), ..record },
        }
    }
}

/// The other server.
#[derive(Clone, PartialEq, Eq)]
struct Place {
    tls: bool,
    host: String,
    port: u16,
    app: String,
    /// With its query, which may carry secrets.
    name: String,
}

impl Place {
    /// Reads `rtmp://host[:port]/app/name[?query]`, or the same with `rtmps`.
    fn read(text: &str) -> Option<Place> {
        let uri: Uri = text.parse().ok().filter(|_| text.len() <= URL_BYTES_MAX)?;
        let tls = match uri.scheme_str()? {
            "rtmp" => false,
            "rtmps" => true,
            _ => return None,
        };
        let authority = uri.authority().filter(|authority| !authority.as_str().contains('@'))?;
        let host = authority.host().trim_start_matches('[').trim_end_matches(']').to_owned();
        let (app, name) = uri.path_and_query()?.as_str().strip_prefix('/')?.split_once('/')?;
        let port = authority.port_u16().unwrap_or(if tls { RTMPS_PORT } else { RTMP_PORT });
        (!host.is_empty() && !app.is_empty() && !name.is_empty() && !app.contains('?')).then(|| Place {
            tls,
            host,
            port,
            app: app.to_owned(),
            name: name.to_owned(),
        })
    }

    /// Without the query.
    fn shown(&self) -> String {
        let scheme = if self.tls { "rtmps" } else { "rtmp" };
        let host = if self.host.contains(':') { format!("[{}]", self.host) } else { self.host.clone() };
        let name = self.name.split('?').next().unwrap_or_default();
        format!("{scheme}://{host}:{}/{}/{name}", self.port, self.app)
    }
}

/// A relay as its app sees it.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RelayView {
    #[serde(rename = "relayID")]
    pub id: String,
    /// `push` or `pull`.
    pub direction: &'static str,
    /// Without its query.
    pub url: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stream: Option<String>,
    #[serde(rename = "roomID", skip_serializing_if = "Option::is_none")]
    pub room: Option<RoomName>,
    #[serde(rename = "userID", skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// `connecting`, `running` or `waiting` (for the next attempt).
    pub state: &'static str,
    pub attempts: u64,
    /// Of all attempts.
    pub bytes_in: u64,
    pub bytes_out: u64,
    /// Why the attempt before ended: a number of [`Code`], and words for people.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_code: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_error: Option<String>,
}

struct Relay {
    app: u32,
    direction: Direction,
    url: String,
    status: Arc<Status>,
    work: AbortHandle,
}

/// Whom relays over TLS believe; read when the first of them begins.
#[derive(Clone, Default)]
struct Tls(Arc<OnceLock<Arc<ClientConfig>>>);

#[derive(Default)]
struct Status {
    counts: Arc<RelayCounts>,
    attempts: AtomicU64,
    waiting: Mutex<bool>,
    last_fault: Mutex<Option<Fault>>,
}

/// All relays. Clones are the same.
#[derive(Clone)]
pub struct Relays(Arc<Inner>);

struct Inner {
    hub: Hub,
    store: Store,
    tls: Tls,
    /// Rung whenever a stream begins anywhere.
    published: Arc<Notify>,
    list: Mutex<List>,
}

/// Those that run, by number.
#[derive(Default)]
struct List {
    relays: BTreeMap<u64, Relay>,
    last: u64,
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.list
            .get_mut()
            .unwrap_or_else(PoisonError::into_inner)
            .relays
            .values()
            .for_each(|relay| relay.work.abort());
    }
}

impl Relays {
    /// None runs before [`follow`](Self::follow).
    pub fn new(hub: Hub, store: Store) -> Relays {
        let published = Arc::<Notify>::default();
        let bell = published.clone();
        hub.listen(move |notice| {
            if matches!(notice.fact, Fact::PublishStarted { .. }) {
                bell.notify_waiters();
            }
        });
        let list = List { last: store.read().last_relay, ..List::default() };
        Relays(Arc::new(Inner { hub, store, tls: Tls::default(), published, list: Mutex::new(list) }))
    }

    /// Runs the kept relays of these apps, and no others; those that run already go on. Those of an app that is not among them
    /// are kept, in case that it comes back. Has to be called on a tokio runtime.
    pub fn follow(&self, apps: &[AppConfig]) {
        let is_there = |id: u32| apps.iter().any(|app| app.sdk_app_id == id);
        let mut list = self.lock();
        // Under the lock: what is forgotten meanwhile is still in the list.
        let kept = self.0.store.read().relays.clone();
        for (number, record) in kept.into_iter().filter(|(_, record)| is_there(record.sdk_app_id)) {
            if list.relays.contains_key(&number) {
                continue;
            }
            match (Direction::of(&record), Place::read(&record.url)) {
                (Some(direction), Some(place)) => {
                    list.relays.insert(number, self.begin(number, record.sdk_app_id, direction, place));
                }
                _ => warn!(app = record.sdk_app_id, relay = id_of(number), "a kept relay cannot be read"),
            }
        }
        for (number, relay) in list.relays.extract_if(.., |_, relay| !is_there(relay.app)) {
            self.end(number, &relay);
        }
    }

    /// Begins a relay, for as long as nobody stops it. When it returns, a restart begins it again.
    ///
    /// # Errors
    /// A field that cannot be, an address that this app's relays may not reach, or [`RELAYS_PER_APP`] run already. It is not begun
    /// if it cannot be kept.
    pub async fn start(&self, app: u32, direction: Direction, url: &str) -> Result<RelayView, Fault> {
        let form = || Fault::field("url", "rtmp://host[:port]/app/name or the same with rtmps");
        let place = Place::read(url).ok_or_else(form)?;
        if let Ok(ip) = place.host.parse::<IpAddr>()
            && !is_public(ip)
            && !may_be_private(&self.0.hub, app)
        {
            return Err(Fault::field("url", "a public address; others have to be allowed with relay_private"));
        }
        if let Direction::Pull { user, .. } = &direction
            && !is_user_id(user)
        {
            return Err(Fault::field("userID", "1 to 128 bytes without control characters"));
        }
        if let Direction::Push { stream } = &direction
            && stream.is_empty()
        {
            return Err(Fault::field("stream", "the full name of a stream"));
        }
        let (number, view, kept) = {
            let mut list = self.lock();
            if list.relays.values().filter(|relay| relay.app == app).count() >= RELAYS_PER_APP {
                return Err(Fault::with(
                    Code::MediaLimit,
                    format!("limit reached: {RELAYS_PER_APP} relays of one app"),
                ));
            }
            list.last += 1;
            let number = list.last;
            let kept = self.0.store.submit(vec![Change::PutRelay(number, direction.record(app, url))]);
            let relay = self.begin(number, app, direction, place);
            let view = relay.view(number);
            list.relays.insert(number, relay);
            (number, view, kept)
        };
        if let Err(fault) = kept.durable().await {
            if let Some(relay) = self.lock().relays.remove(&number) {
                self.end(number, &relay);
            }
            return Err(fault);
        }
        Ok(view)
    }

    pub fn list(&self, app: u32) -> Vec<RelayView> {
        let list = self.lock();
        list.relays.iter().filter(|(_, relay)| relay.app == app).map(|(number, relay)| relay.view(*number)).collect()
    }

    pub fn get(&self, app: u32, id: &str) -> Result<RelayView, Code> {
        let number = number_of(id).ok_or(Code::NotFound)?;
        let list = self.lock();
        let relay = list.relays.get(&number).filter(|relay| relay.app == app).ok_or(Code::NotFound)?;
        Ok(relay.view(number))
    }

    /// Ends a relay for good. What it pulled in ends with it.
    ///
    /// # Errors
    /// There is none of this app, or it cannot be forgotten; then it goes on.
    pub async fn stop(&self, app: u32, id: &str) -> Result<(), Fault> {
        self.get(app, id)?;
        let number = number_of(id).ok_or(Code::NotFound)?;
        self.0.store.write(Change::RemoveRelay(number)).await?;
        // Somebody else may have been quicker.
        let relay = self.lock().relays.remove(&number).ok_or(Code::NotFound)?;
        self.end(number, &relay);
        Ok(())
    }

    fn begin(&self, number: u64, app: u32, direction: Direction, place: Place) -> Relay {
        let (status, url) = (Arc::<Status>::default(), place.shown());
        info!(app, relay = id_of(number), url, ?direction, "relay begins");
        let errand = Errand {
            hub: self.0.hub.clone(),
            tls: self.0.tls.clone(),
            published: self.0.published.clone(),
            app,
            direction: direction.clone(),
            place,
            status: status.clone(),
        };
        let work = tokio::spawn(errand.run()).abort_handle();
        Relay { app, direction, url, status, work }
    }

    fn end(&self, number: u64, relay: &Relay) {
        relay.work.abort();
        if let Direction::Pull { room, user } = &relay.direction {
            self.0.hub.end_pulled(relay.app, room, user);
        }
        info!(app = relay.app, relay = id_of(number), "relay ends");
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, List> {
        lock(&self.0.list)
    }
}

/// How a relay is called outside.
fn id_of(number: u64) -> String {
    format!("r{number}")
}

fn number_of(id: &str) -> Option<u64> {
    let number = id.strip_prefix('r')?.parse().ok()?;
    // One relay has one name.
    (id_of(number) == id).then_some(number)
}

/// Whether this app's relays may lead to loopback, link-local and private addresses.
fn may_be_private(hub: &Hub, app: u32) -> bool {
    hub.apps().iter().any(|known| known.sdk_app_id == app && known.relay_private)
}

impl Relay {
    fn view(&self, number: u64) -> RelayView {
        let status = &self.status;
        let (stream, room, user) = match &self.direction {
            Direction::Push { stream } => (Some(stream.clone()), None, None),
            Direction::Pull { room, user } => (None, Some(room.clone()), Some(user.clone())),
        };
        let state = if *lock(&status.waiting) {
            "waiting"
        } else if status.counts.running.load(Ordering::Relaxed) {
            "running"
        } else {
            "connecting"
        };
        let last = lock(&status.last_fault).clone();
        RelayView {
            id: id_of(number),
            direction: if stream.is_some() { "push" } else { "pull" },
            url: self.url.clone(),
            stream,
            room,
            user,
            state,
            attempts: status.attempts.load(Ordering::Relaxed),
            bytes_in: status.counts.bytes_in.load(Ordering::Relaxed),
            bytes_out: status.counts.bytes_out.load(Ordering::Relaxed),
            last_code: last.as_ref().map(|fault| fault.code.number()),
            last_error: last.map(|fault| fault.message.into_owned()),
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What the task of one relay works on.
struct Errand {
    hub: Hub,
    tls: Tls,
    published: Arc<Notify>,
    app: u32,
    direction: Direction,
    place: Place,
    status: Arc<Status>,
}

impl Errand {
    /// Tries until it is aborted.
    async fn run(self) {
        let status = &self.status;
        let mut pause = FIRST_PAUSE;
        loop {
            self.stream_there().await;
            let began = Instant::now();
            status.attempts.fetch_add(1, Ordering::Relaxed);
            let ended = self.attempt().await;
            status.counts.running.store(false, Ordering::Relaxed);
            let (code, why) = (ended.code.number(), &ended.message);
            info!(app = self.app, url = self.place.shown(), code, %why, "relay attempt ended");
            *lock(&status.last_fault) = Some(ended);
            if began.elapsed() >= PAUSE_MAX {
                pause = FIRST_PAUSE;
            }
            *lock(&status.waiting) = true;
            sleep(pause).await;
            *lock(&status.waiting) = false;
            pause = (pause * 2).min(PAUSE_MAX);
        }
    }

    /// Waits until the stream that goes out is there.
    async fn stream_there(&self) {
        let Direction::Push { stream } = &self.direction else { return };
        loop {
            let mut published = pin!(self.published.notified());
            // From here on no bell is missed.
            published.as_mut().enable();
            if self.hub.stream_named(self.app, stream).is_some() {
                return *lock(&self.status.waiting) = false;
            }
            *lock(&self.status.last_fault) = Some(Code::NoSuchStream.into());
            *lock(&self.status.waiting) = true;
            published.await;
        }
    }

    /// One attempt; says why it ended.
    async fn attempt(&self) -> Fault {
        match self.try_once().await {
            Ok(end) => fault(end),
            Err(fault) => fault,
        }
    }

    async fn try_once(&self) -> Result<RelayEnd, Fault> {
        let (hub, place) = (&self.hub, &self.place);
        let addr = resolve(place, may_be_private(hub, self.app)).await?;
        let way = match &self.direction {
            Direction::Push { stream } => {
                RelayWay::Push { stream: hub.stream_named(self.app, stream).ok_or(Code::NoSuchStream)? }
            }
            Direction::Pull { room, user } => {
                let (room, stream) = hub.enter_pulled(self.app, room, user)?;
                RelayWay::Pull { room, stream }
            }
        };
        let pulled: Option<StreamId> = if let RelayWay::Pull { stream, .. } = way { Some(stream) } else { None };
        let roots = || trust(&hub.config().relay_roots);
        let tls = place.tls.then(|| self.tls.0.get_or_init(roots).clone());
        let Place { host, app, name, .. } = place.clone();
        let (reply, ended) = oneshot::channel();
        let target = RelayTarget { addr, host, tls, app, name };
        if !hub.tell_media(Command::Relay { way, target, counts: self.status.counts.clone(), reply }).await {
            return Err(Code::ShuttingDown.into());
        }
        let ended = ended.await;
        if let Some(stream) = pulled {
            // One that never carried anything is not waited for.
            hub.pull_broke(stream);
        }
        Ok(ended.map_err(|_| Code::ShuttingDown)??)
    }
}

fn fault(end: RelayEnd) -> Fault {
    let code = match end.why {
        RelayWhy::Over => Code::NoSuchStream,
        RelayWhy::Unreachable => Code::RelayUnreachable,
        RelayWhy::TimedOut => Code::RelayTimeout,
        RelayWhy::Certificate => Code::RelayCertificate,
        RelayWhy::CertificateName => Code::RelayCertificateName,
        RelayWhy::Protocol => Code::RelayProtocol,
        RelayWhy::Refused => Code::RelayRefused,
        RelayWhy::Ended => Code::RelayEnded,
    };
    Fault::with(code, end.words)
}

/// Resolves a name. Every address is checked after it was resolved, and the connection goes to the one that was checked: a name
/// that changes its mind in between gains nothing.
async fn resolve(place: &Place, private: bool) -> Result<SocketAddr, Fault> {
    let nowhere = || Fault::with(Code::RelayUnreachable, "the name leads nowhere");
    let found = tokio::net::lookup_host((place.host.as_str(), place.port)).await;
    let mut addresses = found.map_err(|_| nowhere())?.peekable();
    addresses.peek().ok_or_else(nowhere)?;
    addresses.find(|address| private || is_public(address.ip())).ok_or_else(|| {
        let words = "the name leads to an address that relays may not reach (relay_private)";
        Fault::with(Code::RelayForbidden, words)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_read_and_shown_without_their_query() {
        let place = Place::read("rtmp://example.com/live/s?key=SECRET").unwrap();
        assert_eq!(
            (&*place.host, place.port, &*place.app, &*place.name),
            ("example.com", 1935, "live", "s?key=SECRET")
        );
        assert_eq!(place.shown(), "rtmp://example.com:1935/live/s");
        assert_eq!(Place::read("rtmp://[::1]:19350/a/b/c").unwrap().shown(), "rtmp://[::1]:19350/a/b/c");
        let place = Place::read("rtmps://live.example.com/live/s?key=SECRET").unwrap();
        assert!(place.tls);
        assert_eq!(place.shown(), "rtmps://live.example.com:443/live/s");
        for bad in ["", "http://h/a/b", "rtmpe://h/a/b", "rtmp://h/a", "rtmp://h/a/", "rtmp:///a/b", "rtmp://u:p@h/a/b"]
        {
            assert!(Place::read(bad).is_none(), "{bad}");
        }
    }

    #[tokio::test]
    async fn u23_no_spelling_of_a_private_address_is_connected_to() {
        let names =
            ["127.0.0.1", "2130706433", "0x7f000001", "127.1", "0.0.0.0", "localhost", "::1", "::ffff:127.0.0.1"];
        for host in names.into_iter().chain(["10.0.0.1", "169.254.169.254", "fe80::1", "fc00::1", "64:ff9b::7f00:1"]) {
            let place = Place { tls: false, host: host.to_owned(), port: 1935, app: "a".into(), name: "b".into() };
            let refused = resolve(&place, false).await;
            println!("U23 {host}: {refused:?} (bound: refused before connect)");
            assert!(refused.is_err(), "{host}");
        }
        let place = Place { tls: false, host: "127.0.0.1".into(), port: 1935, app: "a".into(), name: "b".into() };
        assert!(resolve(&place, true).await.is_ok());
    }
}
