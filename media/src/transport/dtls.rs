//! DTLS 1.2 (RFC 6347) for the keys of SRTP (RFC 5764): the only file that knows the `rtc-dtls` library.
//!
//! The library does the cryptography and the state machine. Everything around it is done here, because the far end of
//! a UDP path can send anything:
//!
//! - **Cookies without state.** A ClientHello costs nothing but an answer of 60 bytes until its sender has shown that
//!   it receives what we send (RFC 6347 §4.2.1). A spoofed one therefore cannot spoil the genuine handshake, whatever
//!   it offers. The library makes its own cookie; its source of randomness is ours, so that it makes *this* one.
//! - **Whole messages, once, in order.** Fragments and repetitions are sorted out before the library sees them, in
//!   bounded memory. Browsers send the ClientHello in two datagrams.
//! - **Retransmission on our clock.** The latest flight is kept as bytes, and repeated by timer or when the peer
//!   repeats itself. The library's own timer is never asked.
//! - **Profile by our choice.** The library takes the first profile of the client's list; we read the list first and
//!   leave the library one to choose from.
//! - **Little is kept.** Once the keys are out, the association shrinks to what a close_notify needs.

use std::{
    net::SocketAddr,
    sync::{
        Arc, LazyLock, Mutex,
        atomic::{AtomicU8, Ordering},
    },
    time::{Duration, Instant},
};

use aws_lc_rs::{constant_time, hmac};
use bytes::BytesMut;
use rtc_dtls::{
    cipher_suite::CipherSuiteId,
    config::{ClientAuthType, ConfigBuilder, HandshakeConfig},
    crypto_provider::{CryptoError, RTCCrypto, RTCCryptoProvider, RTCRandom, SecretVec},
    endpoint::{Endpoint, EndpointEvent},
    extension::extension_use_srtp::SrtpProtectionProfile,
    state::State,
};
use rtc_shared::{TransportProtocol, error::Error};

use super::{
    certificate::{DtlsIdentity, Fingerprint},
    dtls_record::{self as record, COOKIE_LEN, ClientHello, Fragment, Inbox, Message, Partial, Record, Taken},
    ice::random_bytes,
    srtp::{Srtp, SrtpProfile},
};
use crate::{drop_reason::DropReason, units::time::Time};

/// Handshakes begun for one transport, after each of which the peer proved that it receives us; each costs 150 us.
pub const HANDSHAKES_MAX: u32 = 16;

/// Bytes of handshake messages given to the library in one handshake. With [`record::INBOX_BYTES_MAX`] and one
/// ClientHello this keeps a handshake under 64 KiB.
pub const HANDSHAKE_BYTES_MAX: usize = 24 << 10;

/// Encrypted records given to the library during one handshake; one is what it takes.
const SEALED_RECORDS_MAX: u32 = 8;
/// Encrypted records that arrived before their keys, and the longest of them that is worth keeping.
const HELD_RECORDS_MAX: usize = 4;
const HELD_RECORD_LEN_MAX: usize = 512;

/// Alerts examined on an association that is up; each costs a key schedule.
const ALERTS_MAX: u32 = 32;

/// First wait before a flight is repeated; doubles up to the greatest. RFC 6347 §4.2.4.1 suggests a second, and allows
/// less where latency matters; a person waits here. The greatest leaves thirty tries within the connect timeout.
const RETRANSMIT_MIN: Duration = Duration::from_millis(300);
const RETRANSMIT_MAX: Duration = Duration::from_secs(1);
/// Least time between two repetitions that the peer's own repetitions ask for.
const RETRANSMIT_GAP: Duration = Duration::from_millis(20);
/// Repetitions of all flights of one handshake, so that nobody can make us a source of traffic.
const RETRANSMITS_MAX: u32 = 48;

/// Fits every path that Ethernet tunnels leave; what browsers use too.
const DATAGRAM_LEN_MAX: usize = 1200;
/// Fragment size for the library, which adds 25 bytes of headers.
const FRAGMENT_LEN_MAX: usize = DATAGRAM_LEN_MAX - 25;

const EXPORTER_LABEL: &str = "EXTRACTOR-dtls_srtp";

/// The library wants a clock only for its timer, which is not used.
static ORIGIN: LazyLock<Instant> = LazyLock::new(Instant::now);
/// The library wants addresses; each of its endpoints has one peer, which we call this.
const PEER: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 1);

/// Who sends the ClientHello. Our server never does: `a=setup:passive`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DtlsRole {
    Server,
    Client,
}

pub(super) enum DtlsEvent {
    Connected(Box<Srtp>),
    /// The certificate is not the one of the SDP, or our handshake as client failed.
    Failed,
    ClosedByPeer,
}

/// One DTLS association.
pub(super) struct Dtls {
    role: DtlsRole,
    identity: Arc<DtlsIdentity>,
    remote_fingerprint: Option<Fingerprint>,
    profiles: Vec<SrtpProfile>,
    cookie_key: hmac::Key,
    /// A ClientHello of which parts are there.
    hello: Option<Partial>,
    handshakes: u32,
    phase: Phase,
}

enum Phase {
    Idle,
    Handshake(Box<Handshake>),
    Established(Box<Established>),
    Closed,
}

impl Dtls {
    pub fn new(
        role: DtlsRole,
        identity: Arc<DtlsIdentity>,
        remote_fingerprint: Option<Fingerprint>,
        profiles: Vec<SrtpProfile>,
    ) -> Self {
        Dtls {
            role,
            identity,
            remote_fingerprint,
            profiles,
            cookie_key: hmac::Key::new(hmac::HMAC_SHA256, &random_bytes::<32>()),
            hello: None,
            handshakes: 0,
            phase: Phase::Idle,
        }
    }

    /// The fingerprint that the peer's certificate must have; false if another one is in use already.
    pub fn set_fingerprint(&mut self, fingerprint: Fingerprint) -> bool {
        match self.phase {
            Phase::Idle => {
                self.remote_fingerprint = Some(fingerprint);
                true
            }
            _ => self.remote_fingerprint.as_ref() == Some(&fingerprint),
        }
    }

    /// Begins the handshake if we are its client and have not begun.
    pub fn start(&mut self, now: Time, out: &mut Vec<Vec<u8>>) {
        if self.role != DtlsRole::Client || !matches!(self.phase, Phase::Idle) {
            return;
        }
        let Some(expected) = self.remote_fingerprint.clone() else { return };
        if let Ok(mut handshake) = Handshake::as_client(&self.identity, &self.profiles, expected) {
            handshake.collect_flight(now, out);
            self.phase = Phase::Handshake(Box::new(handshake));
        }
    }

    /// Takes a datagram that came from `remote`. Those to be sent are pushed to `out`.
    pub fn handle(
        &mut self,
        now: Time,
        remote: SocketAddr,
        datagram: &[u8],
        out: &mut Vec<Vec<u8>>,
    ) -> Result<Option<DtlsEvent>, DropReason> {
        if self.remote_fingerprint.is_none() {
            return Err(DropReason::NotConnected);
        }
        let mut any = false;
        for record in record::records(datagram) {
            any = true;
            if let Some(event) = self.handle_record(now, remote, &record, out)? {
                return Ok(Some(event));
            }
        }
        if any { Ok(None) } else { Err(DropReason::Malformed) }
    }

    fn handle_record(
        &mut self,
        now: Time,
        remote: SocketAddr,
        record: &Record<'_>,
        out: &mut Vec<Vec<u8>>,
    ) -> Result<Option<DtlsEvent>, DropReason> {
        if let Phase::Established(established) = &mut self.phase {
            let closed = established.handle(now, record, &self.identity, out);
            return Ok(closed.then(|| {
                self.phase = Phase::Closed;
                DtlsEvent::ClosedByPeer
            }));
        }
        match (record.epoch, record.content) {
            (0, record::HANDSHAKE) => {
                for fragment in record::fragments(record.body) {
                    if self.role == DtlsRole::Server && fragment.kind == record::CLIENT_HELLO {
                        self.handle_hello_fragment(now, remote, record.seq, &fragment, out)?;
                    } else if let Phase::Handshake(handshake) = &mut self.phase {
                        handshake.handle_fragment(now, &fragment, out);
                    }
                }
            }
            (0, record::CHANGE_CIPHER_SPEC) => {
                if let Phase::Handshake(handshake) = &mut self.phase {
                    handshake.keys_changed = true;
                }
            }
            (1, record::HANDSHAKE | record::ALERT) => {
                if let Phase::Handshake(handshake) = &mut self.phase {
                    handshake.hold(record);
                }
            }
            // Alerts in the clear can be forged by anybody who knows the addresses. The connect timeout ends what they
            // would have ended.
            _ => {}
        }
        self.advance(now, out)
    }

    /// Lets the handshake work off what has come in.
    fn advance(&mut self, now: Time, out: &mut Vec<Vec<u8>>) -> Result<Option<DtlsEvent>, DropReason> {
        let Phase::Handshake(handshake) = &mut self.phase else { return Ok(None) };
        match handshake.advance(now, out) {
            Ok(false) => Ok(None),
            Ok(true) => match handshake.finish() {
                Some((srtp, established)) => {
                    self.phase = Phase::Established(Box::new(established));
                    self.hello = None;
                    Ok(Some(DtlsEvent::Connected(Box::new(srtp))))
                }
                None => {
                    self.phase = Phase::Closed;
                    Ok(Some(DtlsEvent::Failed))
                }
            },
            Err(Broken) => {
                let wrong_certificate = handshake.certificate.verdict() == Verdict::Wrong;
                if wrong_certificate || self.role == DtlsRole::Client {
                    self.phase = Phase::Closed;
                    return Ok(Some(DtlsEvent::Failed));
                }
                // Whoever broke it may try again with a new ClientHello.
                self.phase = Phase::Idle;
                Err(DropReason::Malformed)
            }
        }
    }

    fn handle_hello_fragment(
        &mut self,
        now: Time,
        remote: SocketAddr,
        record_seq: u64,
        fragment: &Fragment<'_>,
        out: &mut Vec<Vec<u8>>,
    ) -> Result<(), DropReason> {
        let mut partial = match self.hello.take().filter(|partial| partial.fits(fragment)) {
            Some(partial) => partial,
            None => Partial::new(fragment),
        };
        if partial.add(fragment) {
            return self.handle_hello(now, remote, record_seq, &partial.into_message(), out);
        }
        self.hello = Some(partial);
        Ok(())
    }

    fn handle_hello(
        &mut self,
        now: Time,
        remote: SocketAddr,
        record_seq: u64,
        message: &Message,
        out: &mut Vec<Vec<u8>>,
    ) -> Result<(), DropReason> {
        let hello = ClientHello::parse(&message.body).ok_or(DropReason::Malformed)?;
        let profile = self.profiles.iter().copied().find(|profile| hello.profiles.contains(profile));
        let profile = profile.ok_or(DropReason::Malformed)?;
        let cookie = self.cookie(remote);
        if constant_time::verify_slices_are_equal(&cookie, hello.cookie).is_err() {
            out.push(record::hello_verify_request(&cookie, record_seq));
            return Ok(());
        }
        // The second hello of a handshake is message 1; the library counts from the first.
        if message.seq != 1 {
            return Err(DropReason::Malformed);
        }
        if let Phase::Handshake(handshake) = &mut self.phase
            && handshake.client_random == hello.random
        {
            handshake.repeat(now, out);
            return Ok(());
        }
        let (Phase::Idle | Phase::Handshake(_), Some(expected)) = (&self.phase, &self.remote_fingerprint) else {
            return Err(DropReason::NotConnected);
        };
        if self.handshakes >= HANDSHAKES_MAX {
            return Err(DropReason::Malformed);
        }
        self.handshakes += 1;
        let begun =
            Handshake::as_server(&self.identity, profile, expected.clone(), cookie, &hello, message, record_seq);
        let mut handshake = begun.map_err(|Broken| DropReason::Malformed)?;
        handshake.collect_flight(now, out);
        self.phase = Phase::Handshake(Box::new(handshake));
        Ok(())
    }

    /// A MAC over whom we would answer. RFC 6347 §4.2.1 suggests to put the client's parameters in as well, which would
    /// turn our answer to a forged hello into a cookie that spoils the genuine one.
    fn cookie(&self, remote: SocketAddr) -> [u8; COOKIE_LEN] {
        let tag = hmac::sign(&self.cookie_key, remote.to_string().as_bytes());
        std::array::from_fn(|i| tag.as_ref()[i])
    }

    /// Repeats the latest flight if it is due.
    pub fn handle_timeout(&mut self, now: Time, out: &mut Vec<Vec<u8>>) {
        if let Phase::Handshake(handshake) = &mut self.phase
            && handshake.retransmit_at.is_some_and(|at| now >= at)
        {
            handshake.wait = (handshake.wait * 2).min(RETRANSMIT_MAX);
            handshake.retransmit_at = Some(now + handshake.wait);
            handshake.flight.send_again(now, out);
        }
    }

    pub fn next_timeout(&self) -> Option<Time> {
        match &self.phase {
            Phase::Handshake(handshake) => handshake.retransmit_at,
            _ => None,
        }
    }

    /// Says close_notify, if there is anybody to say it to, and ends.
    pub fn close(&mut self, out: &mut Vec<Vec<u8>>) {
        if let Phase::Established(established) = &self.phase
            && let Some(mut endpoint) = established.revive(&self.identity)
        {
            endpoint.stop(*ORIGIN, PEER);
            drain(&mut endpoint, out);
        }
        self.phase = Phase::Closed;
    }
}

/// The library gave up on a handshake.
#[derive(Debug)]
struct Broken;

/// A handshake on its way.
struct Handshake {
    role: DtlsRole,
    endpoint: Endpoint,
    certificate: Arc<CertificateCheck>,
    /// Of the ClientHello that began it; empty for a client.
    client_random: Vec<u8>,
    inbox: Inbox,
    bytes_given: usize,
    sealed_given: u32,
    /// Number of the next record in the clear that the library gets; it checks for replays.
    next_in: u64,
    /// The peer says that its next records are encrypted.
    keys_changed: bool,
    keys_change_given: bool,
    held: Vec<Vec<u8>>,
    flight: Flight,
    retransmit_at: Option<Time>,
    wait: Duration,
}

impl Handshake {
    fn as_server(
        identity: &DtlsIdentity,
        profile: SrtpProfile,
        expected: Fingerprint,
        cookie: [u8; COOKIE_LEN],
        hello: &ClientHello<'_>,
        message: &Message,
        record_seq: u64,
    ) -> Result<Self, Broken> {
        let provider = Arc::new(CookieProvider::new(identity.provider().clone(), cookie));
        let (config, certificate) = config(DtlsRole::Server, identity, provider, &[profile], expected)?;
        let endpoint = Endpoint::new(PEER, TransportProtocol::UDP, Some(config));
        // "the server MUST use the record sequence number in the ClientHello as the record sequence number in its
        // initial ServerHello" (RFC 6347 §4.2.2), which is above that of any HelloVerifyRequest of ours.
        let mut handshake = Handshake::new(DtlsRole::Server, endpoint, certificate, Inbox::starting_at(2), record_seq);
        handshake.client_random = hello.random.to_vec();

        // The library has to see the exchange of cookies that took place without it.
        let first = Message { kind: message.kind, seq: 0, body: hello.without_cookie(&message.body) };
        handshake.give_message(&first)?;
        while handshake.endpoint.poll_transmit().is_some() {}
        handshake.give_message(message)?;
        Ok(handshake)
    }

    fn as_client(identity: &DtlsIdentity, profiles: &[SrtpProfile], expected: Fingerprint) -> Result<Self, Broken> {
        let (config, certificate) =
            config(DtlsRole::Client, identity, identity.provider().clone(), profiles, expected)?;
        let mut endpoint = Endpoint::new(PEER, TransportProtocol::UDP, None);
        endpoint.connect(*ORIGIN, PEER, config, None).map_err(|_| Broken)?;
        Ok(Handshake::new(DtlsRole::Client, endpoint, certificate, Inbox::starting_at(0), 0))
    }

    fn new(
        role: DtlsRole,
        endpoint: Endpoint,
        certificate: Arc<CertificateCheck>,
        inbox: Inbox,
        first_record_out: u64,
    ) -> Self {
        Handshake {
            role,
            endpoint,
            certificate,
            client_random: Vec::new(),
            inbox,
            bytes_given: 0,
            sealed_given: 0,
            next_in: 0,
            keys_changed: false,
            keys_change_given: false,
            held: Vec::new(),
            flight: Flight::new(first_record_out),
            retransmit_at: None,
            wait: RETRANSMIT_MIN,
        }
    }

    fn handle_fragment(&mut self, now: Time, fragment: &Fragment<'_>, out: &mut Vec<Vec<u8>>) {
        if self.inbox.push(fragment) == Taken::Old {
            self.repeat(now, out);
        }
    }

    /// Keeps an encrypted record until there are keys for it.
    fn hold(&mut self, record: &Record<'_>) {
        if self.held.len() < HELD_RECORDS_MAX && record.bytes.len() <= HELD_RECORD_LEN_MAX {
            self.held.push(record.bytes.to_vec());
        }
    }

    /// Gives the library what is complete; true once the handshake is.
    fn advance(&mut self, now: Time, out: &mut Vec<Vec<u8>>) -> Result<bool, Broken> {
        let mut complete = false;
        while let Some(message) = self.inbox.pop() {
            // The peer has begun its next flight, so it has all of ours; repeating is up to it.
            self.retransmit_at = None;
            let given = self.give_message(&message);
            self.collect_flight(now, out);
            complete |= given?;
        }
        if self.keys_changed && !self.keys_change_given && self.has_keys() {
            self.keys_change_given = true;
            let record = record::change_cipher_spec(self.next_in);
            self.next_in += 1;
            complete |= self.give(&record)?;
        }
        if self.keys_change_given {
            for sealed in std::mem::take(&mut self.held) {
                self.sealed_given += 1;
                if complete || self.sealed_given > SEALED_RECORDS_MAX {
                    break;
                }
                let given = self.give(&sealed);
                self.collect_flight(now, out);
                complete |= given?;
            }
        }
        Ok(complete)
    }

    fn give_message(&mut self, message: &Message) -> Result<bool, Broken> {
        self.bytes_given += message.body.len();
        if self.bytes_given > HANDSHAKE_BYTES_MAX || !record::is_plausible(message) {
            return Err(Broken);
        }
        let record = record::message_record(message, self.next_in);
        self.next_in += 1;
        self.give(&record)
    }

    /// Gives the library one record; true if that completed the handshake.
    fn give(&mut self, record: &[u8]) -> Result<bool, Broken> {
        let events = self.endpoint.read(*ORIGIN, PEER, None, BytesMut::from(record)).map_err(|_| Broken)?;
        if events.iter().any(|event| matches!(event, EndpointEvent::PeerClosed)) {
            return Err(Broken);
        }
        Ok(events.iter().any(|event| matches!(event, EndpointEvent::HandshakeComplete)))
    }

    fn has_keys(&self) -> bool {
        let state = self.endpoint.get_connection_state(PEER);
        state.and_then(State::cipher_suite).is_some_and(|suite| suite.is_initialized())
    }

    /// Sends what the library wants sent, and keeps it as the latest flight.
    fn collect_flight(&mut self, now: Time, out: &mut Vec<Vec<u8>>) {
        let mut records = Vec::new();
        while let Some(transmit) = self.endpoint.poll_transmit() {
            records.extend(record::records(&transmit.message).map(|record| record.bytes.to_vec()));
        }
        if records.is_empty() {
            return;
        }
        self.flight.records = records;
        self.flight.send(now, out);
        self.wait = RETRANSMIT_MIN;
        self.retransmit_at = Some(now + self.wait);
    }

    /// Answers a peer that repeats itself.
    fn repeat(&mut self, now: Time, out: &mut Vec<Vec<u8>>) {
        self.flight.send_on_request(now, out);
    }

    /// The keys, and what remains of the association; `None` if any of it is not what was agreed.
    fn finish(&mut self) -> Option<(Srtp, Established)> {
        let state = self.endpoint.get_connection_state(PEER)?;
        // The library has called the check by now; this makes sure of it, and that it was about this certificate.
        let leaf = state.peer_certificates.first()?;
        if self.certificate.verdict() != Verdict::Right || !self.certificate.expected.matches(leaf) {
            return None;
        }
        let profile = match state.srtp_protection_profile() {
            SrtpProtectionProfile::Srtp_Aead_Aes_128_Gcm => SrtpProfile::AeadAes128Gcm,
            SrtpProtectionProfile::Srtp_Aes128_Cm_Hmac_Sha1_80 => SrtpProfile::Aes128CmSha1_80,
            _ => return None,
        };
        let material = state.export_keying_material(EXPORTER_LABEL, &[], Srtp::keying_material_len(profile)).ok()?;
        let srtp = Srtp::new(profile, material.as_ref(), self.role == DtlsRole::Client)?;
        let flight = std::mem::replace(&mut self.flight, Flight::new(0));
        Some((
            srtp,
            Established { role: self.role, state: SecretVec::new(state.marshal_binary().ok()?), flight, alerts: 0 },
        ))
    }
}

/// What remains once the keys are out.
struct Established {
    role: DtlsRole,
    /// The library's state in its own packing: keys and sequence numbers.
    state: SecretVec,
    /// A server's last flight; the client repeats its own until it has got it (RFC 6347 §4.2.4).
    flight: Flight,
    alerts: u32,
}

impl Established {
    /// True if the peer closed.
    fn handle(&mut self, now: Time, record: &Record<'_>, identity: &DtlsIdentity, out: &mut Vec<Vec<u8>>) -> bool {
        match (record.epoch, record.content) {
            (0 | 1, record::HANDSHAKE) if self.role == DtlsRole::Server => {
                self.flight.send_on_request(now, out);
                false
            }
            (1, record::ALERT) if self.alerts < ALERTS_MAX => {
                self.alerts += 1;
                let Some(mut endpoint) = self.revive(identity) else { return false };
                let outcome = endpoint.read(*ORIGIN, PEER, None, BytesMut::from(record.bytes));
                drain(&mut endpoint, out);
                match outcome {
                    Ok(events) => events.iter().any(|event| matches!(event, EndpointEvent::PeerClosed)),
                    // Only an alert that decrypts makes an error here.
                    Err(_) => true,
                }
            }
            _ => false,
        }
    }

    /// The association as it was when it was packed.
    fn revive(&self, identity: &DtlsIdentity) -> Option<Endpoint> {
        let mut state = State::new(identity.provider().clone(), self.role == DtlsRole::Client);
        state.unmarshal_binary(self.state.as_ref()).ok()?;
        let config = ConfigBuilder::default()
            .with_crypto_provider(identity.provider().clone())
            .with_insecure_skip_verify(true)
            .with_server_name("roomcast".to_owned())
            .build(true, None)
            .ok()?;
        let mut endpoint = Endpoint::new(PEER, TransportProtocol::UDP, None);
        // Only `connect` takes a state; whether we are client or server, keys go by what the state says.
        endpoint.connect(*ORIGIN, PEER, Arc::new(config), Some(state)).ok()?;
        Some(endpoint)
    }
}

/// The records of our latest flight.
struct Flight {
    records: Vec<Vec<u8>>,
    /// Number of the next record in the clear. Each sending counts on, so that the peer does not take a repetition for
    /// a replay; encrypted records cannot be numbered anew and need not be.
    next_out: u64,
    sent_at: Time,
    repeated: u32,
}

impl Flight {
    fn new(next_out: u64) -> Self {
        Flight { records: Vec::new(), next_out, sent_at: Time::ZERO, repeated: 0 }
    }

    fn send(&mut self, now: Time, out: &mut Vec<Vec<u8>>) {
        self.sent_at = now;
        let mut datagram: Vec<u8> = Vec::new();
        for record in &mut self.records {
            let in_the_clear = record.get(3..5) == Some(&[0, 0]);
            if in_the_clear {
                record::renumber(record, self.next_out);
                self.next_out += 1;
            }
            if !datagram.is_empty() && datagram.len() + record.len() > DATAGRAM_LEN_MAX {
                out.push(std::mem::take(&mut datagram));
            }
            datagram.extend_from_slice(record);
        }
        if !datagram.is_empty() {
            out.push(datagram);
        }
    }

    fn send_again(&mut self, now: Time, out: &mut Vec<Vec<u8>>) {
        if self.repeated < RETRANSMITS_MAX {
            self.repeated += 1;
            self.send(now, out);
        }
    }

    fn send_on_request(&mut self, now: Time, out: &mut Vec<Vec<u8>>) {
        if now.since(self.sent_at) >= RETRANSMIT_GAP {
            self.send_again(now, out);
        }
    }
}

fn drain(endpoint: &mut Endpoint, out: &mut Vec<Vec<u8>>) {
    while let Some(transmit) = endpoint.poll_transmit() {
        out.push(transmit.message.to_vec());
    }
}

fn config(
    role: DtlsRole,
    identity: &DtlsIdentity,
    provider: Arc<dyn RTCCryptoProvider>,
    profiles: &[SrtpProfile],
    expected: Fingerprint,
) -> Result<(Arc<HandshakeConfig>, Arc<CertificateCheck>), Broken> {
    let check = Arc::new(CertificateCheck { expected, verdict: AtomicU8::new(Verdict::None as u8) });
    let callback = check.clone();
    // Forward secret, authenticated encryption only. Our certificate is ECDSA; as a client we meet RSA servers too.
    let mut suites = vec![
        CipherSuiteId::Tls_Ecdhe_Ecdsa_With_Aes_128_Gcm_Sha256,
        CipherSuiteId::Tls_Ecdhe_Ecdsa_With_ChaCha20_Poly1305_Sha256,
    ];
    if role == DtlsRole::Client {
        suites.push(CipherSuiteId::Tls_Ecdhe_Rsa_With_Aes_128_Gcm_Sha256);
    }
    let profiles = profiles.iter().map(|profile| match profile {
        SrtpProfile::AeadAes128Gcm => SrtpProtectionProfile::Srtp_Aead_Aes_128_Gcm,
        SrtpProfile::Aes128CmSha1_80 => SrtpProtectionProfile::Srtp_Aes128_Cm_Hmac_Sha1_80,
    });
    let config = ConfigBuilder::default()
        .with_crypto_provider(provider)
        .with_certificates(vec![identity.certificate().clone()])
        .with_cipher_suites(suites)
        .with_srtp_protection_profiles(profiles.collect())
        .with_client_auth(ClientAuthType::RequireAnyClientCert)
        // No certificate authority is asked: the fingerprint in the SDP is what counts (RFC 5763 §5).
        .with_insecure_skip_verify(true)
        .with_verify_peer_certificate(Some(Arc::new(move |chain: &[Vec<u8>], _: &[_]| callback.check(chain))))
        .with_server_name("roomcast".to_owned())
        .with_mtu(FRAGMENT_LEN_MAX)
        .build(role == DtlsRole::Client, None)
        .map_err(|_| Broken)?;
    Ok((Arc::new(config), check))
}

/// Compares the peer's certificate with the SDP, when the library has verified that the peer holds its key.
struct CertificateCheck {
    expected: Fingerprint,
    verdict: AtomicU8,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
enum Verdict {
    None,
    Right,
    Wrong,
}

impl CertificateCheck {
    fn check(&self, chain: &[Vec<u8>]) -> Result<(), Error> {
        let right = chain.first().is_some_and(|leaf| self.expected.matches(leaf));
        let verdict = if right { Verdict::Right } else { Verdict::Wrong };
        self.verdict.store(verdict as u8, Ordering::Relaxed);
        if right { Ok(()) } else { Err(Error::ErrInvalidCertificate) }
    }

    fn verdict(&self) -> Verdict {
        match self.verdict.load(Ordering::Relaxed) {
            1 => Verdict::Right,
            2 => Verdict::Wrong,
            _ => Verdict::None,
        }
    }
}

/// The library's cryptography, with the cookie that we chose as the first thing of its length that it draws.
struct CookieProvider {
    inner: Arc<dyn RTCCryptoProvider>,
    random: CookieRandom,
}

struct CookieRandom {
    inner: Arc<dyn RTCCryptoProvider>,
    cookie: Mutex<Option<[u8; COOKIE_LEN]>>,
}

impl CookieProvider {
    fn new(inner: Arc<dyn RTCCryptoProvider>, cookie: [u8; COOKIE_LEN]) -> Self {
        CookieProvider { random: CookieRandom { inner: inner.clone(), cookie: Mutex::new(Some(cookie)) }, inner }
    }
}

impl RTCCryptoProvider for CookieProvider {
    fn name(&self) -> &'static str {
        self.inner.name()
    }

    fn crypto(&self) -> &dyn RTCCrypto {
        self.inner.crypto()
    }

    fn random(&self) -> &dyn RTCRandom {
        &self.random
    }
}

impl RTCRandom for CookieRandom {
    fn fill(&self, output: &mut [u8]) -> Result<(), CryptoError> {
        if output.len() == COOKIE_LEN
            && let Some(cookie) = self.cookie.lock().ok().and_then(|mut cookie| cookie.take())
        {
            output.copy_from_slice(&cookie);
            return Ok(());
        }
        self.inner.random().fill(output)
    }
}
