//! One WebRTC client: a socket, a transport and the conversation that brings it up.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    rc::Rc,
    sync::Arc,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use media::{
    drop_reason::DropReason,
    rtp::packet::is_rtcp,
    sdp::{
        LocalSide,
        client::{ClientNegotiated, read_answer},
        description::CandidateLine,
    },
    transport::{
        DtlsIdentity, DtlsRole, Fingerprint, IceCredentials, IceRole, Outbox, Path, Protocol, Transport,
        TransportEvent, TransportParams, Via, classify,
    },
    units::time::{Ntp, Time, WallClock},
};
use tokio::net::UdpSocket;

use super::{
    LoadError,
    http::{Resource, Url},
};

/// Longest datagram: an Ethernet MTU and then some.
const DATAGRAM_BYTES_MAX: usize = 2048;
/// Datagrams taken in one go before others get their turn.
const DATAGRAMS_PER_TURN: usize = 64;
/// How often an unconnected transport is looked after: finer than the first retransmission of ICE and DTLS.
const SETUP_TICK: Duration = Duration::from_millis(20);

/// What all clients of a run share.
pub struct Common {
    pub identity: Arc<DtlsIdentity>,
    origin: Instant,
    wall: WallClock,
}

impl Common {
    pub fn new() -> Result<Rc<Common>, LoadError> {
        let identity = DtlsIdentity::generate().map_err(|error| LoadError::new(error.to_string()))?;
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let wall = WallClock::new(since_epoch.as_micros() as u64);
        Ok(Rc::new(Common { identity: Arc::new(identity), origin: Instant::now(), wall }))
    }

    pub fn now(&self) -> Time {
        Time::from_micros(self.origin.elapsed().as_micros() as u64)
    }

    pub fn ntp(&self, at: Time) -> Ntp {
        self.wall.ntp(at)
    }

    pub fn wall(&self) -> WallClock {
        self.wall
    }
}

/// Our half of a session that is to be.
pub struct Proposal {
    credentials: IceCredentials,
    pub local: LocalSide,
}

impl Proposal {
    pub fn new(common: &Common) -> Proposal {
        let credentials = IceCredentials::random();
        let local = LocalSide {
            credentials: (credentials.ufrag.clone(), credentials.pwd.clone()),
            fingerprint: common.identity.fingerprint().to_string(),
            // A server that is ICE-lite needs none: it answers where our checks come from.
            candidates: Vec::new(),
            session_id: u64::from_ne_bytes(*b"roomcast") >> 2,
        };
        Proposal { credentials, local }
    }
}

/// A session that the server agreed to.
pub struct Client {
    common: Rc<Common>,
    socket: UdpSocket,
    transport: Transport,
    path: Path,
    outbox: Outbox,
    datagram: Box<[u8; DATAGRAM_BYTES_MAX]>,
    sealed: Vec<u8>,
    pub negotiated: ClientNegotiated,
    resource: Resource,
}

/// What has come.
pub enum Arrival<'a> {
    Connected,
    /// A decrypted RTP packet.
    Rtp(&'a [u8]),
    /// A decrypted RTCP compound packet.
    Rtcp(&'a [u8]),
}

impl Client {
    /// Posts `offer`, which was made with `proposal`, and prepares the transport that the answer describes.
    pub async fn agree(
        common: Rc<Common>,
        url: &Url,
        token: Option<&str>,
        proposal: Proposal,
        offer: String,
    ) -> Result<Client, LoadError> {
        let (answer, peer, resource) = Resource::create(url, token, offer).await?;
        match Client::prepare(common, proposal, &answer, peer).await {
            Ok((socket, transport, path, negotiated, common)) => Ok(Client {
                common,
                socket,
                transport,
                path,
                outbox: Outbox::default(),
                datagram: Box::new([0; DATAGRAM_BYTES_MAX]),
                sealed: Vec::with_capacity(DATAGRAM_BYTES_MAX),
                negotiated,
                resource,
            }),
            Err(error) => {
                resource.delete().await;
                Err(error)
            }
        }
    }

    async fn prepare(
        common: Rc<Common>,
        proposal: Proposal,
        answer: &str,
        peer: SocketAddr,
    ) -> Result<(UdpSocket, Transport, Path, ClientNegotiated, Rc<Common>), LoadError> {
        let negotiated =
            read_answer(answer).map_err(|error| LoadError::new(format!("the server's answer: {error}")))?;
        let remote = choose(&negotiated.candidates, peer.ip())
            .ok_or_else(|| LoadError::new("the server's answer has no UDP candidate that can be reached from here"))?;
        let any: IpAddr = if remote.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
        let open = async {
            let socket = UdpSocket::bind((any, 0)).await?;
            socket.connect(remote).await?;
            // Until the runtime has seen it writable, it takes nothing, and the first check would be lost.
            socket.writable().await?;
            Ok::<_, io::Error>(socket)
        };
        let socket = open.await.map_err(|error| LoadError::new(format!("cannot open a UDP socket: {error}")))?;
        let fingerprint: Fingerprint = (negotiated.remote.fingerprint.parse())
            .map_err(|_| LoadError::new("the fingerprint in the server's answer is not valid"))?;
        let credentials = IceCredentials { ufrag: negotiated.remote.ufrag.clone(), pwd: negotiated.remote.pwd.clone() };
        let params = TransportParams {
            remote: Some(credentials),
            remote_fingerprint: Some(fingerprint),
            dtls_role: DtlsRole::Client,
            ice_role: IceRole::Controlling { remote_candidate: remote },
            ..TransportParams::server(proposal.credentials)
        };
        let transport = Transport::new(common.now(), common.identity.clone(), params);
        Ok((socket, transport, Path { remote, local_ip: any, via: Via::Udp }, negotiated, common))
    }

    /// Waits until `until` at most for datagrams and hands over what is in them. False if time ran out first.
    ///
    /// # Errors
    /// If the transport ended.
    pub async fn receive(
        &mut self,
        until: tokio::time::Instant,
        mut take: impl FnMut(Time, Arrival<'_>),
    ) -> Result<bool, LoadError> {
        let until =
            if self.transport.is_connected() { until } else { until.min(tokio::time::Instant::now() + SETUP_TICK) };
        let readable = tokio::time::timeout_at(until, self.socket.readable()).await;
        let now = self.common.now();
        let Ok(readable) = readable else {
            let event = self.transport.handle_timeout(now, &mut self.outbox);
            self.flush();
            return match event {
                Some(TransportEvent::Closed(reason)) => Err(LoadError::new(format!("the transport ended: {reason:?}"))),
                _ => Ok(false),
            };
        };
        readable.map_err(|error| LoadError::new(error.to_string()))?;
        for _ in 0..DATAGRAMS_PER_TURN {
            match self.socket.try_recv(&mut self.datagram[..]) {
                Ok(len) => self.datagram(now, len, &mut take)?,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                // The server's port is closed, for the moment or for good; ICE consent decides.
                Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => break,
                Err(error) => return Err(LoadError::new(format!("receiving: {error}"))),
            }
        }
        self.flush();
        Ok(true)
    }

    fn datagram(&mut self, now: Time, len: usize, take: &mut impl FnMut(Time, Arrival<'_>)) -> Result<(), LoadError> {
        let Client { transport, path, outbox, datagram, .. } = self;
        let Some(datagram) = datagram.get_mut(..len).filter(|d| !d.is_empty()) else { return Ok(()) };
        match classify(datagram[0]) {
            Protocol::Stun => ignore(transport.handle_stun(now, *path, datagram, outbox).map(|_| ())),
            Protocol::Dtls => match transport.handle_dtls(now, *path, datagram, outbox) {
                Ok(Some(TransportEvent::Connected)) => take(now, Arrival::Connected),
                Ok(Some(TransportEvent::Closed(reason))) => {
                    return Err(LoadError::new(format!("the transport ended: {reason:?}")));
                }
                other => ignore(other.map(|_| ())),
            },
            Protocol::Rtp if is_rtcp(datagram) => match transport.unprotect_rtcp(now, *path, datagram) {
                Ok(len) => take(now, Arrival::Rtcp(datagram.get(..len).unwrap_or_default())),
                other => ignore(other.map(|_| ())),
            },
            Protocol::Rtp => match transport.unprotect_rtp(now, *path, datagram) {
                Ok(len) => take(now, Arrival::Rtp(datagram.get(..len).unwrap_or_default())),
                other => ignore(other.map(|_| ())),
            },
            Protocol::Unknown => {}
        }
        Ok(())
    }

    /// Does what is due in the transport.
    pub fn look_after(&mut self) -> Result<(), LoadError> {
        let event = self.transport.handle_timeout(self.common.now(), &mut self.outbox);
        self.flush();
        match event {
            Some(TransportEvent::Closed(reason)) => Err(LoadError::new(format!("the transport ended: {reason:?}"))),
            _ => Ok(()),
        }
    }

    pub fn is_connected(&self) -> bool {
        self.transport.is_connected()
    }

    /// Sends an RTP packet; false if it could not be sealed or the socket is full.
    pub fn send_rtp(&mut self, header: &[u8], payload: &[u8]) -> bool {
        let mut out = [0; DATAGRAM_BYTES_MAX];
        let sealed = self.transport.protect_rtp(header, payload, &mut out);
        sealed.and_then(|len| out.get(..len)).is_some_and(|packet| self.socket.try_send(packet).is_ok())
    }

    /// Sends an RTCP compound packet.
    pub fn send_rtcp(&mut self, plain: &[u8]) {
        self.sealed.clear();
        if self.transport.protect_rtcp(plain, &mut self.sealed) {
            // A report that is lost is followed by the next.
            let _ = self.socket.try_send(&self.sealed);
        }
    }

    /// Ends the session on both ways: DTLS, and the server's resource.
    pub async fn close(mut self) {
        self.transport.close(self.common.now(), &mut self.outbox);
        self.flush();
        self.resource.delete().await;
    }

    fn flush(&mut self) {
        for (_, datagram) in self.outbox.datagrams.drain(..) {
            // ICE and DTLS repeat what is lost.
            let _ = self.socket.try_send(&datagram);
        }
    }
}

/// What cannot be opened is not counted: a packet that did not arrive shows as a gap.
fn ignore(_: Result<(), DropReason>) {}

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
