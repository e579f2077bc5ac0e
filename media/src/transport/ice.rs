//! ICE, as much of it as a server needs: the lite role (RFC 8445 §2.5), and the smallest controlling role, for the
//! load tool, which checks one remote candidate and keeps its consent (RFC 7675).
//!
//! A lite agent answers checks. Every address pair that carried an authenticated check is a *validated path*; media and
//! DTLS are accepted from all of them, because browsers may send from another pair than the one they nominate first.
//! What we send follows the latest check with USE-CANDIDATE, or, once the path it names has fallen silent, the latest
//! authenticated check or media on another: a client behind a rebinding NAT, or on another network, is followed without
//! an ICE restart.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    time::Duration,
};

use aws_lc_rs::rand;

use super::{
    Outbox,
    stun::{self, Class, IntegrityKey, Message, TransactionId},
};
use crate::{drop_reason::DropReason, units::time::Time};

/// Validated paths kept for one transport; the one that is quiet for longest makes room for a new one. A browser with
/// four interfaces, each with IPv4 and IPv6, reaches this.
pub const PATHS_MAX: usize = 8;

/// Checks answered per second and transport; more are dropped. A browser sends about 20 in its busiest second.
pub const CHECKS_PER_SECOND_MAX: u32 = 50;

/// Longest user fragment that is accepted (RFC 8839 §5.4 allows 256 characters).
pub const UFRAG_LEN_MAX: usize = 256;

/// Media on another validated path moves what we send only if nothing was heard on the selected one for this long, so
/// that packets which were still under way when a client moved do not move us back.
const MEDIA_TAKEOVER: Duration = Duration::from_millis(500);

/// A check without nomination moves what we send only if nothing was heard on the selected path for this long: longer than
/// for media, since browsers check several pairs before they nominate one.
const CHECK_TAKEOVER: Duration = Duration::from_secs(1);

/// A peer that was heard within this is not looked for at other addresses.
const ROAMING_QUIET: Duration = Duration::from_millis(200);

/// First wait for an answer to a check of ours; doubles up to [`CHECK_RETRY_MAX`].
const CHECK_RETRY_MIN: Duration = Duration::from_millis(100);
const CHECK_RETRY_MAX: Duration = Duration::from_secs(1);

/// Time between two consent checks of ours (RFC 7675 §5.1: "a period of 5 seconds"), before jitter of a fifth.
const CONSENT_INTERVAL: Duration = Duration::from_secs(5);

/// Priority of a host candidate of ours on the wire (RFC 8445 §5.1.2, peer-reflexive type preference).
const CHECK_PRIORITY: u32 = (110 << 24) | (65_535 << 8) | 255;

/// The two ends of the way packets take.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Path {
    pub remote: SocketAddr,
    /// The address of ours that it arrived at; replies leave from it.
    pub local_ip: IpAddr,
    pub via: Via,
}

/// What carries a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Via {
    Udp,
    /// The number of a TCP connection (RFC 6544).
    Tcp(u64),
}

/// A user fragment and its password (RFC 8445 §5.3).
#[derive(Clone, PartialEq, Eq)]
pub struct IceCredentials {
    pub ufrag: String,
    pub pwd: String,
}

impl IceCredentials {
    /// New credentials: a fragment of 8 and a password of 24 characters, which are 48 and 144 bits of randomness.
    pub fn random() -> Self {
        IceCredentials { ufrag: random_text::<8>(), pwd: random_text::<24>() }
    }
}

impl fmt::Debug for IceCredentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IceCredentials").field("ufrag", &self.ufrag).finish_non_exhaustive()
    }
}

/// Who checks whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IceRole {
    /// We answer checks and send none: the server.
    Lite,
    /// We check this one address, and nominate it: the load tool.
    Controlling { remote_candidate: SocketAddr },
}

/// The ICE agent of one transport.
pub(super) struct Ice {
    local: Local,
    /// What was valid before an ICE restart, until the first check with the new credentials (RFC 8445 §9).
    previous: Option<Local>,
    remote: Option<Remote>,
    /// The remote fragment that checks name before the remote description is known; it must turn out to be that one.
    early_ufrag: Option<String>,
    paths: Vec<ValidPath>,
    selected: Option<Path>,
    /// Latest authenticated sign of life on any path.
    last_seen: Option<Time>,
    answered: RateWindow,
    checker: Option<Checker>,
}

struct Local {
    ufrag: String,
    key: IntegrityKey,
}

struct Remote {
    ufrag: String,
    key: IntegrityKey,
}

struct ValidPath {
    path: Path,
    last_seen: Time,
}

/// The controlling side: one check under way at a time.
struct Checker {
    candidate: SocketAddr,
    tie_breaker: u64,
    transaction: Option<TransactionId>,
    next: Time,
    retry: Duration,
}

#[derive(Default)]
struct RateWindow {
    since: Time,
    count: u32,
}

impl Ice {
    pub fn new(now: Time, role: IceRole, local: IceCredentials, remote: Option<IceCredentials>) -> Self {
        let checker = match role {
            IceRole::Lite => None,
            IceRole::Controlling { remote_candidate } => Some(Checker {
                candidate: remote_candidate,
                tie_breaker: u64::from_be_bytes(random_bytes()),
                transaction: None,
                next: now,
                retry: CHECK_RETRY_MIN,
            }),
        };
        Ice {
            local: Local::new(local),
            previous: None,
            remote: remote.map(Remote::new),
            early_ufrag: None,
            paths: Vec::new(),
            selected: None,
            last_seen: None,
            answered: RateWindow::default(),
            checker,
        }
    }

    /// Takes the remote credentials: of the first answer, or of an ICE restart. Paths validated before the remote
    /// description was known are kept only if they named the same fragment.
    pub fn set_remote(&mut self, remote: IceCredentials) {
        if self.early_ufrag.take().is_some_and(|early| early != remote.ufrag) {
            self.paths.clear();
            self.selected = None;
        }
        self.remote = Some(Remote::new(remote));
    }

    /// Changes our credentials (ICE restart). What is sent stays on the selected path until a new one is nominated.
    pub fn set_local(&mut self, local: IceCredentials) {
        let old = std::mem::replace(&mut self.local, Local::new(local));
        self.previous = Some(old);
    }

    /// Takes a STUN message; answers with the path if this validated a new one.
    pub fn handle(
        &mut self,
        now: Time,
        path: Path,
        datagram: &[u8],
        out: &mut Outbox,
    ) -> Result<Option<Path>, DropReason> {
        let message = Message::parse(datagram)?;
        match message.class {
            Class::Request => self.handle_request(now, path, &message, out),
            Class::Success => self.handle_success(now, path, &message),
            // Indications only keep bindings of NATs alive; an error leaves the check to its next try.
            Class::Indication | Class::Error => Ok(None),
        }
    }

    fn handle_request(
        &mut self,
        now: Time,
        path: Path,
        message: &Message<'_>,
        out: &mut Outbox,
    ) -> Result<Option<Path>, DropReason> {
        let (ours, theirs) = message.username.and_then(|name| name.split_once(':')).ok_or(DropReason::StunAuth)?;
        let renewed = ours == self.local.ufrag;
        let local = if renewed {
            &self.local
        } else {
            self.previous.as_ref().filter(|previous| previous.ufrag == ours).ok_or(DropReason::StunAuth)?
        };
        if theirs.len() > UFRAG_LEN_MAX || !message.verify(&local.key) {
            return Err(DropReason::StunAuth);
        }
        // Checks of before a restart still name the remote's old fragment, which is known no longer.
        let expected = self.remote.as_ref().map(|remote| remote.ufrag.as_str()).or(self.early_ufrag.as_deref());
        if renewed && self.previous.is_none() && expected.is_some_and(|expected| expected != theirs) {
            return Err(DropReason::StunAuth);
        }
        if !self.answered.take(now) {
            return Err(DropReason::StunAuth);
        }
        let answer = stun::write_success(message, path.remote, &local.key).ok_or(DropReason::StunAuth)?;
        out.datagrams.push((path, answer));

        if self.remote.is_none() && self.early_ufrag.is_none() {
            self.early_ufrag = Some(theirs.to_owned());
        }
        if renewed && self.remote.as_ref().is_some_and(|remote| remote.ufrag == theirs) {
            self.previous = None;
        }
        let silent = self.selected_is_silent(now, CHECK_TAKEOVER);
        let new = self.validate(now, path);
        // A peer that never nominates is not left without a path; one that moved nominates its new address late or never.
        if (message.use_candidate && self.checker.is_none()) || (silent && self.is_followed()) {
            self.selected = Some(path);
        }
        Ok(new.then_some(path))
    }

    fn handle_success(&mut self, now: Time, path: Path, message: &Message<'_>) -> Result<Option<Path>, DropReason> {
        let (Some(checker), Some(remote)) = (&mut self.checker, &self.remote) else {
            return Err(DropReason::StunAuth);
        };
        // The answer must come from where the check went (RFC 8445 §7.2.5.2.1).
        if checker.transaction != Some(message.transaction)
            || path.remote != checker.candidate
            || !message.verify(&remote.key)
        {
            return Err(DropReason::StunAuth);
        }
        checker.transaction = None;
        checker.retry = CHECK_RETRY_MIN;
        let jitter = CONSENT_INTERVAL.mul_f32(0.8 + 0.4 * f32::from(random_bytes::<1>()[0]) / 255.0);
        checker.next = now + jitter;
        let new = self.validate(now, path);
        self.selected = Some(path);
        Ok(new.then_some(path))
    }

    /// Notes a sign of life on `path`, which becomes valid if it was not; true if it was not.
    fn validate(&mut self, now: Time, path: Path) -> bool {
        self.last_seen = Some(now);
        if let Some(known) = self.paths.iter_mut().find(|known| known.path == path) {
            known.last_seen = now;
            return false;
        }
        if self.paths.len() >= PATHS_MAX {
            let selected = self.selected;
            let quietest = (0..self.paths.len())
                .filter(|&i| Some(self.paths[i].path) != selected)
                .min_by_key(|&i| self.paths[i].last_seen);
            if let Some(quietest) = quietest {
                self.paths.swap_remove(quietest);
            }
        }
        self.paths.push(ValidPath { path, last_seen: now });
        true
    }

    /// Whether an authenticated check came by this path.
    pub fn is_valid(&self, path: Path) -> bool {
        self.selected == Some(path) || self.paths.iter().any(|known| known.path == path)
    }

    /// Notes authenticated media on a validated path.
    pub fn on_media(&mut self, now: Time, path: Path) {
        let silent = self.selected_is_silent(now, MEDIA_TAKEOVER);
        self.validate(now, path);
        if silent {
            self.selected = Some(path);
        }
    }

    /// Whether the peer has been silent for so long that it may have another address.
    pub fn may_roam(&self, now: Time) -> bool {
        self.last_seen.is_some_and(|seen| now.since(seen) >= ROAMING_QUIET)
    }

    /// Takes the path on which a packet came that only the peer can have made, and that is newer than all before it: the
    /// peer has moved there.
    pub fn adopt(&mut self, now: Time, path: Path) {
        self.validate(now, path);
        self.selected = Some(path);
    }

    /// Whether there is no selected path, or nothing was heard on it for `quiet`.
    fn selected_is_silent(&self, now: Time, quiet: Duration) -> bool {
        let seen = self.selected.and_then(|selected| self.last_seen_on(selected));
        seen.is_none_or(|seen| now.since(seen) >= quiet)
    }

    /// The controlling side decides the path; the controlled side follows.
    fn is_followed(&self) -> bool {
        self.checker.is_none() || self.selected.is_none()
    }

    fn last_seen_on(&self, path: Path) -> Option<Time> {
        self.paths.iter().find(|known| known.path == path).map(|known| known.last_seen)
    }

    /// Where to send.
    pub fn selected(&self) -> Option<Path> {
        self.selected
    }

    /// Forgets the paths of a TCP connection that is gone.
    pub fn forget(&mut self, via: Via) {
        self.paths.retain(|known| known.path.via != via);
        if self.selected.is_some_and(|selected| selected.via == via) {
            self.selected = self.paths.iter().max_by_key(|known| known.last_seen).map(|known| known.path);
        }
    }

    /// When the last authenticated sign of life came; `None` before the first.
    pub fn last_seen(&self) -> Option<Time> {
        self.last_seen
    }

    /// Sends the check that is due.
    pub fn handle_timeout(&mut self, now: Time, out: &mut Outbox) {
        let (Some(checker), Some(remote)) = (&mut self.checker, &self.remote) else { return };
        if now < checker.next {
            return;
        }
        let transaction = random_bytes();
        checker.transaction = Some(transaction);
        checker.next = now + checker.retry;
        checker.retry = (checker.retry * 2).min(CHECK_RETRY_MAX);
        let username = format!("{}:{}", remote.ufrag, self.local.ufrag);
        let request = stun::write_request(&transaction, &username, CHECK_PRIORITY, checker.tie_breaker, &remote.key);
        let local_ip: IpAddr = match checker.candidate {
            SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
            SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
        };
        let path = self.selected.unwrap_or(Path { remote: checker.candidate, local_ip, via: Via::Udp });
        out.datagrams.push((path, request));
    }

    /// When [`handle_timeout`](Self::handle_timeout) is due; `None` for a lite agent.
    pub fn next_timeout(&self) -> Option<Time> {
        self.remote.as_ref()?;
        self.checker.as_ref().map(|checker| checker.next)
    }
}

impl Local {
    fn new(credentials: IceCredentials) -> Self {
        Local { key: IntegrityKey::new(&credentials.pwd), ufrag: credentials.ufrag }
    }
}

impl Remote {
    fn new(credentials: IceCredentials) -> Self {
        Remote { key: IntegrityKey::new(&credentials.pwd), ufrag: credentials.ufrag }
    }
}

impl RateWindow {
    /// Whether one more check may be answered in this second.
    fn take(&mut self, now: Time) -> bool {
        if now.since(self.since) >= Duration::from_secs(1) {
            *self = RateWindow { since: now, count: 0 };
        }
        self.count += 1;
        self.count <= CHECKS_PER_SECOND_MAX
    }
}

/// The ice-char set of RFC 8839 §5.4 has exactly 64 members, so that six bits make one character without bias.
const ICE_CHARS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

fn random_text<const N: usize>() -> String {
    random_bytes::<N>().iter().map(|byte| char::from(ICE_CHARS[usize::from(byte & 63)])).collect()
}

/// Random bytes from the system.
pub(super) fn random_bytes<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    rand::fill(&mut bytes).expect("the system's source of randomness does not fail once it is up");
    bytes
}
