//! One DTLS handshake: what `dtls` feeds to the `rtc-dtls` library, and what it sends for it.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::{
        Arc, LazyLock, Mutex,
        atomic::{AtomicU8, Ordering},
    },
    time::{Duration, Instant},
};

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
    dtls::DtlsRole,
    dtls_record::{self as record, COOKIE_LEN, ClientHello, Fragment, Inbox, Message, Record, Taken},
    srtp::{Srtp, SrtpProfile},
};
use crate::units::time::Time;

/// Bytes of handshake messages given to the library in one handshake, which keeps them. With the inbox of 16 KiB, a
/// ClientHello of 8 KiB and the encrypted records below, a handshake stays under 64 KiB.
const HANDSHAKE_BYTES_MAX: usize = 24 << 10;

/// Encrypted records given to the library during one handshake. It takes one; the others may be forged, and must not
/// use up the room of the genuine one.
const SEALED_RECORDS_MAX: u32 = 64;
/// Longest encrypted record that is a Finished: 13 + 8 + 24 + 16 bytes, and some to spare.
const SEALED_RECORD_LEN_MAX: usize = 128;
/// Encrypted records that are kept until there are keys for them.
const HELD_RECORDS_MAX: usize = 4;

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
pub(super) static ORIGIN: LazyLock<Instant> = LazyLock::new(Instant::now);
/// The library wants addresses; each of its endpoints has one peer, which we call this.
pub(super) const PEER: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 1);

/// The library gave up on a handshake.
#[derive(Debug)]
pub(super) struct Broken;

/// A handshake on its way.
pub(super) struct Handshake {
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
    pub fn as_server(
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

    pub fn as_client(identity: &DtlsIdentity, profiles: &[SrtpProfile], expected: Fingerprint) -> Result<Self, Broken> {
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

    /// Whether this is the handshake that the ClientHello with this random began.
    pub fn began_with(&self, random: &[u8]) -> bool {
        self.client_random == random
    }

    pub fn met_wrong_certificate(&self) -> bool {
        self.certificate.verdict() == Verdict::Wrong
    }

    /// The peer said that its next records are encrypted. Without keys for them that has to wait.
    pub fn note_keys_changed(&mut self) {
        self.keys_changed = true;
    }

    pub fn handle_fragment(&mut self, now: Time, fragment: &Fragment<'_>, out: &mut Vec<Vec<u8>>) {
        if self.inbox.push(fragment) == Taken::Old {
            self.repeat(now, out);
        }
    }

    /// Keeps an encrypted record until there are keys for it.
    pub fn hold(&mut self, record: &Record<'_>) {
        if self.held.len() < HELD_RECORDS_MAX && record.bytes.len() <= SEALED_RECORD_LEN_MAX {
            self.held.push(record.bytes.to_vec());
        }
    }

    /// Gives the library what is complete; true once the handshake is.
    pub fn advance(&mut self, now: Time, out: &mut Vec<Vec<u8>>) -> Result<bool, Broken> {
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

    /// Repeats the latest flight if it is due.
    pub fn handle_timeout(&mut self, now: Time, out: &mut Vec<Vec<u8>>) {
        if self.retransmit_at.is_some_and(|at| now >= at) {
            self.wait = (self.wait * 2).min(RETRANSMIT_MAX);
            self.retransmit_at = Some(now + self.wait);
            self.flight.send_again(now, out);
        }
    }

    pub fn next_timeout(&self) -> Option<Time> {
        self.retransmit_at
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
    pub fn collect_flight(&mut self, now: Time, out: &mut Vec<Vec<u8>>) {
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
    pub fn repeat(&mut self, now: Time, out: &mut Vec<Vec<u8>>) {
        self.flight.send_on_request(now, out);
    }

    /// The keys, the library's state in its own packing, and the last flight; `None` if any of it is not what was
    /// agreed.
    pub fn finish(&mut self) -> Option<(Srtp, SecretVec, Flight)> {
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
        let packed = SecretVec::new(state.marshal_binary().ok()?);
        Some((srtp, packed, std::mem::replace(&mut self.flight, Flight::new(0))))
    }
}

/// The records of our latest flight.
pub(super) struct Flight {
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

    pub fn send_on_request(&mut self, now: Time, out: &mut Vec<Vec<u8>>) {
        if now.since(self.sent_at) >= RETRANSMIT_GAP {
            self.send_again(now, out);
        }
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
