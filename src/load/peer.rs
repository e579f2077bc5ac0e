//! One WebRTC client: a place on a socket, a transport, and an ear for what comes.

use std::{
    cell::RefCell,
    net::{IpAddr, SocketAddr},
    rc::Rc,
    time::Duration,
};

use media::{
    drop_reason::DropReason,
    rtp::packet::{Header, is_rtcp},
    sdp::{LocalSide, client::ClientNegotiated, description::CandidateLine},
    transport::{
        DtlsRole, Fingerprint, IceCredentials, IceRole, Outbox, Path, Protocol, Transport, TransportEvent,
        TransportParams, Via, classify,
    },
    units::time::Time,
};
use tokio::sync::watch;

use super::{
    LoadError,
    pool::{Place, Pool},
    stamp,
};

/// Longest datagram that is sent.
const DATAGRAM_BYTES_MAX: usize = 2048;
/// What one run may hold: the kernel cuts 64 datagrams from one that fits into an IP packet.
const RUN_PACKETS_MAX: usize = 64;
const RUN_BYTES_MAX: usize = 65_000;
/// How often a connected client reports and looks at its timers.
const REPORT_INTERVAL: Duration = Duration::from_secs(1);

/// What becomes of what a client receives.
pub trait Ear {
    /// Whether packets are to be opened. What is not is counted by its header, which is in the clear.
    fn wants_plain(&self) -> bool;
    /// An RTP packet. `plain`: its payload, or `None` if it was not opened; `Err` if it could not be.
    fn rtp(&mut self, unix_us: u64, header: &Header, len: usize, plain: Result<Option<&[u8]>, DropReason>);
    /// An RTCP compound packet.
    fn rtcp(&mut self, now: Time, compound: &[u8]);
    /// What is to be reported, each second.
    fn report(&mut self, now: Time) -> Option<Vec<u8>>;
}

/// How far a client has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    Connecting,
    Connected,
    /// Over, and why.
    Closed(String),
}

/// Our half of a session that is to be.
pub struct Proposal {
    credentials: IceCredentials,
    pub local: LocalSide,
}

impl Proposal {
    pub fn new(pool: &Pool) -> Proposal {
        let credentials = IceCredentials::random();
        let local = LocalSide {
            credentials: (credentials.ufrag.clone(), credentials.pwd.clone()),
            fingerprint: pool.identity.fingerprint().to_string(),
            // A server that is ICE-lite needs none: it answers where our checks come from.
            candidates: Vec::new(),
            session_id: u64::from_ne_bytes(*b"roomcast") >> 2,
        };
        Proposal { credentials, local }
    }

    /// The half of a session that is under way, for another answer.
    pub fn again(peer: &Peer) -> Proposal {
        let IceCredentials { ufrag, pwd } = &peer.credentials;
        let credentials = IceCredentials { ufrag: ufrag.clone(), pwd: pwd.clone() };
        let mut again = Proposal::new(&peer.pool);
        again.local.credentials = (ufrag.clone(), pwd.clone());
        Proposal { credentials, ..again }
    }
}

/// A session that the server agreed to.
pub struct Peer {
    pool: Rc<Pool>,
    credentials: IceCredentials,
    place: Place,
    path: Path,
    inner: RefCell<Inner>,
    ear: Rc<RefCell<dyn Ear>>,
    state: watch::Sender<State>,
}

struct Inner {
    transport: Transport,
    outbox: Outbox,
    sealed: Vec<u8>,
    burst: Burst,
    report_at: Time,
}

/// Sealed packets that are to leave together, one behind the other.
#[derive(Default)]
struct Burst {
    bytes: Vec<u8>,
    lens: Vec<usize>,
}

impl Peer {
    /// Prepares the transport that `negotiated` describes, and begins to connect. `reached`: the address that signaling was
    /// reached at.
    pub fn open(
        pool: &Rc<Pool>,
        proposal: Proposal,
        negotiated: &ClientNegotiated,
        reached: IpAddr,
        ear: Rc<RefCell<dyn Ear>>,
    ) -> Result<Rc<Peer>, LoadError> {
        let remote = choose(&negotiated.candidates, reached)
            .ok_or_else(|| LoadError::new("the server's answer has no UDP candidate that can be reached from here"))?;
        let fingerprint: Fingerprint = (negotiated.remote.fingerprint.parse())
            .map_err(|_| LoadError::new("the fingerprint in the server's answer is not valid"))?;
        let place = pool.place(remote).map_err(|error| LoadError::new(format!("cannot open a UDP socket: {error}")))?;
        let ours = IceCredentials { ufrag: proposal.credentials.ufrag.clone(), pwd: proposal.credentials.pwd.clone() };
        let credentials = IceCredentials { ufrag: negotiated.remote.ufrag.clone(), pwd: negotiated.remote.pwd.clone() };
        let params = TransportParams {
            remote: Some(credentials),
            remote_fingerprint: Some(fingerprint),
            dtls_role: DtlsRole::Client,
            ice_role: IceRole::Controlling { remote_candidate: remote },
            ..TransportParams::server(proposal.credentials)
        };
        let now = pool.now();
        let peer = Rc::new(Peer {
            pool: pool.clone(),
            credentials: ours,
            path: Path { remote, local_ip: place.ip, via: Via::Udp },
            inner: RefCell::new(Inner {
                transport: Transport::new(now, pool.identity.clone(), params),
                outbox: Outbox::default(),
                sealed: Vec::with_capacity(DATAGRAM_BYTES_MAX),
                burst: Burst::default(),
                report_at: now,
            }),
            ear,
            state: watch::Sender::new(State::Connecting),
            place,
        });
        peer.place.seat(peer.clone());
        peer.care(now);
        Ok(peer)
    }

    /// Follows how far it has come.
    pub fn state(&self) -> watch::Receiver<State> {
        self.state.subscribe()
    }

    /// Waits until the transport is over, and says why.
    pub async fn ended(&self) -> LoadError {
        let mut state = self.state();
        match state.wait_for(|state| matches!(state, State::Closed(_))).await.as_deref() {
            Ok(State::Closed(reason)) => LoadError::new(format!("the transport ended: {reason}")),
            _ => LoadError::new("the transport ended"),
        }
    }

    /// Waits until media can flow.
    pub async fn connected(&self) -> Result<(), LoadError> {
        let mut state = self.state();
        match state.wait_for(|state| *state != State::Connecting).await.as_deref() {
            Ok(State::Connected) => Ok(()),
            Ok(State::Closed(reason)) => Err(LoadError::new(format!("no connection: {reason}"))),
            _ => Err(LoadError::new("no connection")),
        }
    }

    /// Takes in one datagram that came in at `unix_us`.
    pub fn datagram(&self, now: Time, unix_us: Option<u64>, datagram: &mut [u8]) {
        let Some(&first) = datagram.first() else { return };
        let mut inner = self.inner.borrow_mut();
        let Inner { transport, outbox, .. } = &mut *inner;
        match classify(first) {
            Protocol::Rtp if !is_rtcp(datagram) => {
                let Ok(header) = Header::parse_protected(datagram) else { return };
                let len = datagram.len();
                let mut ear = self.ear.borrow_mut();
                let unix_us = unix_us.unwrap_or_else(stamp::unix_us);
                if !ear.wants_plain() {
                    return ear.rtp(unix_us, &header, len, Ok(None));
                }
                let opened = transport.unprotect_rtp(now, self.path, datagram);
                let plain = opened.and_then(|len| {
                    let packet = datagram.get(..len).ok_or(DropReason::TooShort)?;
                    Ok(Some(Header::parse(packet)?.payload(packet)))
                });
                ear.rtp(unix_us, &header, len, plain);
            }
            Protocol::Rtp => {
                if let Ok(len) = transport.unprotect_rtcp(now, self.path, datagram) {
                    self.ear.borrow_mut().rtcp(now, datagram.get(..len).unwrap_or_default());
                }
            }
            Protocol::Stun => {
                // What is not for us is nothing to us.
                let _ = transport.handle_stun(now, self.path, datagram, outbox);
                self.flush(outbox);
            }
            Protocol::Dtls => {
                let event = transport.handle_dtls(now, self.path, datagram, outbox);
                self.flush(outbox);
                if let Ok(Some(event)) = event {
                    inner.report_at = now;
                    drop(inner);
                    self.become_what(event);
                    self.care(now);
                }
            }
            Protocol::Unknown => {}
        }
    }

    /// Does what is due; true once connected.
    pub fn care(&self, now: Time) -> bool {
        let mut inner = self.inner.borrow_mut();
        let connected = inner.transport.is_connected();
        if connected && now < inner.report_at {
            return true;
        }
        let Inner { transport, outbox, sealed, report_at, .. } = &mut *inner;
        let event = transport.handle_timeout(now, outbox);
        self.flush(outbox);
        if connected {
            *report_at = now + REPORT_INTERVAL;
            if let Some(report) = self.ear.borrow_mut().report(now) {
                sealed.clear();
                if transport.protect_rtcp(&report, sealed) {
                    self.place.send(self.path.remote, sealed);
                }
            }
        }
        drop(inner);
        if let Some(event) = event {
            self.become_what(event);
        }
        connected
    }

    /// Seals an RTP packet that leaves with the next [`flush_rtp`](Self::flush_rtp); false if it could not be sealed.
    pub fn queue_rtp(&self, header: &[u8], payload: &[u8]) -> bool {
        let Inner { transport, burst, .. } = &mut *self.inner.borrow_mut();
        let start = burst.bytes.len();
        burst.bytes.resize(start + DATAGRAM_BYTES_MAX, 0);
        let space = burst.bytes.get_mut(start..).unwrap_or_default();
        let len = transport.protect_rtp(header, payload, space);
        burst.bytes.truncate(start + len.unwrap_or(0));
        burst.lens.extend(len);
        len.is_some()
    }

    /// Sends what is queued, what is of one size in one run: as a network card hands a burst to the server. True if the socket
    /// took all of it.
    pub fn flush_rtp(&self) -> bool {
        let burst = &mut self.inner.borrow_mut().burst;
        let (mut at, mut rest, mut took_all) = (0, &burst.lens[..], true);
        while let Some((&segment, _)) = rest.split_first() {
            let count = run_len(rest);
            let (run, behind) = rest.split_at(count);
            let len: usize = run.iter().sum();
            took_all &=
                self.place.send_run(self.path.remote, burst.bytes.get(at..at + len).unwrap_or_default(), segment);
            (at, rest) = (at + len, behind);
        }
        burst.bytes.clear();
        burst.lens.clear();
        took_all
    }

    /// Sends an RTCP compound packet.
    pub fn send_rtcp(&self, plain: &[u8]) {
        let Inner { transport, sealed, .. } = &mut *self.inner.borrow_mut();
        sealed.clear();
        if transport.protect_rtcp(plain, sealed) {
            // A report that is lost is followed by the next.
            self.place.send(self.path.remote, sealed);
        }
    }

    /// Says goodbye by DTLS and gives the place back.
    pub fn close(&self) {
        let mut inner = self.inner.borrow_mut();
        let Inner { transport, outbox, .. } = &mut *inner;
        transport.close(self.pool.now(), outbox);
        self.flush(outbox);
        drop(inner);
        self.place.clear();
    }

    fn become_what(&self, event: TransportEvent) {
        self.state.send_replace(match event {
            TransportEvent::Connected => State::Connected,
            TransportEvent::Closed(reason) => State::Closed(format!("{reason:?}")),
        });
    }

    fn flush(&self, outbox: &mut Outbox) {
        for (_, datagram) in outbox.datagrams.drain(..) {
            // ICE and DTLS repeat what is lost.
            self.place.send(self.path.remote, &datagram);
        }
    }
}

/// How many of these packets make one run: all but the last have the size of the first, and the last is not larger.
fn run_len(lens: &[usize]) -> usize {
    let Some(first) = lens.first() else { return 0 };
    let equal = lens.iter().take_while(|len| *len == first).count();
    let shorter = usize::from(lens.get(equal).is_some_and(|len| len < first));
    (equal + shorter).min(RUN_PACKETS_MAX).min(RUN_BYTES_MAX / first.max(&1))
}

/// The candidate to use: the address that signaling was reached at, else the most preferred one of its family.
fn choose(candidates: &[CandidateLine], reached: IpAddr) -> Option<SocketAddr> {
    let udp = || candidates.iter().filter(|c| !c.tcp);
    udp()
        .find(|c| c.addr.ip() == reached)
        .or_else(|| udp().filter(|c| c.addr.is_ipv4() == reached.is_ipv4()).max_by_key(|c| c.priority))
        .map(|c| c.addr)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_is_of_one_size_and_ends_with_a_shorter_packet() {
        assert_eq!([run_len(&[9, 9, 9, 5, 5]), run_len(&[9, 10]), run_len(&[7]), run_len(&[])], [4, 1, 1, 0]);
        assert_eq!([run_len(&[1_000; 100]), run_len(&[1_200; 100])], [64, 54]);
    }

    #[test]
    fn the_address_that_signaling_was_reached_at_is_the_best_candidate() {
        let candidate =
            |addr: &str, tcp, priority| CandidateLine { addr: addr.parse().expect("an address"), tcp, priority };
        let all = [
            candidate("192.0.2.1:8000", false, 9),
            candidate("127.0.0.1:8000", true, 8),
            candidate("127.0.0.1:8001", false, 7),
            candidate("[::1]:8001", false, 6),
        ];
        let chosen = |reached: &str| choose(&all, reached.parse().expect("an address")).map(|a| a.to_string());
        assert_eq!(chosen("127.0.0.1").as_deref(), Some("127.0.0.1:8001"));
        assert_eq!(chosen("10.0.0.1").as_deref(), Some("192.0.2.1:8000"));
        assert_eq!(chosen("2001:db8::1").as_deref(), Some("[::1]:8001"));
        assert_eq!(choose(&all[1..2], "127.0.0.1".parse().unwrap()), None);
    }
}
