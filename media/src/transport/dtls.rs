//! DTLS 1.2 (RFC 6347) for the keys of SRTP (RFC 5764), over the `rtc-dtls` library, which only this file and
//! `dtls_handshake` know.
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

use std::{net::SocketAddr, sync::Arc};

use aws_lc_rs::{constant_time, hmac};
use bytes::BytesMut;
use rtc_dtls::{
    config::ConfigBuilder,
    crypto_provider::SecretVec,
    endpoint::{Endpoint, EndpointEvent},
    state::State,
};
use rtc_shared::TransportProtocol;

use super::{
    certificate::{DtlsIdentity, Fingerprint},
    dtls_handshake::{Broken, Flight, Handshake, ORIGIN, PEER},
    dtls_record::{self as record, COOKIE_LEN, ClientHello, Fragment, Message, Partial, Record},
    ice::random_bytes,
    srtp::{Srtp, SrtpProfile},
};
use crate::{drop_reason::DropReason, units::time::Time};

/// Handshakes begun for one transport, after each of which the peer proved that it receives us; each costs 150 us.
pub const HANDSHAKES_MAX: u32 = 16;

/// Alerts examined on an association that is up; each costs a key schedule.
const ALERTS_MAX: u32 = 32;

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
                    handshake.note_keys_changed();
                }
            }
            (1, record::HANDSHAKE) => {
                if let Phase::Handshake(handshake) = &mut self.phase {
                    handshake.hold(record);
                }
            }
            // Alerts before there are keys can be forged by anybody who knows the addresses. The connect timeout ends
            // what they would have ended.
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
                Some((srtp, state, flight)) => {
                    let established = Established { role: self.role, state, flight, alerts: 0 };
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
                if handshake.met_wrong_certificate() || self.role == DtlsRole::Client {
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
            && handshake.began_with(hello.random)
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
        if let Phase::Handshake(handshake) = &mut self.phase {
            handshake.handle_timeout(now, out);
        }
    }

    pub fn next_timeout(&self) -> Option<Time> {
        match &self.phase {
            Phase::Handshake(handshake) => handshake.next_timeout(),
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

fn drain(endpoint: &mut Endpoint, out: &mut Vec<Vec<u8>>) {
    while let Some(transmit) = endpoint.poll_transmit() {
        out.push(transmit.message.to_vec());
    }
}
