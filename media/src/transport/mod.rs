//! One secured path to one remote endpoint: ICE-lite, DTLS, SRTP, transport-wide feedback. Knows no room.
//!
//! A [`Transport`] is bytes and `now` in, values out: it owns no socket and reads no clock. What came from the network
//! is believed in this order, each step only after the one before: the path (an authenticated ICE check came by it),
//! the certificate (its fingerprint is the one of the SDP), the packet (its SRTP tag fits). Nothing moves any state of a
//! later step before its own proof.
//!
//! ```text
//!              classify(first byte), RFC 7983
//!   STUN ──────────────► ice ── validated paths, where to send
//!   DTLS ── valid path ─► dtls ── keys ─► srtp
//!   RTP, RTCP ── valid path ────────────► srtp ─► plain packet
//! ```

use std::{net::IpAddr, sync::Arc, time::Duration};

use crate::{
    command::CloseReason,
    drop_reason::DropReason,
    forward::{Forward, PADDING_MAX},
    rtp::{
        feedback::Twcc,
        packet::{FIXED_HEADER_LEN, PROFILE_ONE_BYTE, set_extension_bit, set_padding_bit},
    },
    units::time::Time,
};

pub mod certificate;
mod dtls;
mod dtls_handshake;
mod dtls_record;
mod ice;
#[cfg(test)]
mod ice_test;
mod replay;
#[cfg(test)]
mod roaming_test;
pub mod send_history;
pub mod srtp;
mod srtp_cipher;
#[cfg(test)]
mod srtp_test;
pub mod stun;
#[cfg(test)]
mod transport_test;
pub mod twcc;

pub use certificate::{DtlsIdentity, Fingerprint};
pub use dtls::DtlsRole;
use dtls::{Dtls, DtlsEvent};
use ice::Ice;
pub use ice::{CHECKS_PER_SECOND_MAX, IceCredentials, IceRole, PATHS_MAX, Path, UFRAG_LEN_MAX, Via};
use send_history::{Reported, SendHistory};
use srtp::Srtp;
pub use srtp::{RtpBody, SrtpProfile};

/// Bytes of a header extension that holds all that is ever written into one: the transport-wide sequence number, and how long
/// pictures are to be held (RFC 8285 §4.2).
const EXTENSION_LEN_MAX: usize = 12;
/// How long pictures may be held at most, in units of 10 ms: what libwebrtc allows by itself.
const HOLD_TENS_MAX: u32 = 1_000;

/// Which protocol a datagram belongs to, by its first byte (RFC 7983 §7).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    Stun,
    Dtls,
    /// RTP or RTCP; `rtp::packet::is_rtcp` tells them apart.
    Rtp,
    /// TURN channels, ZRTP and what is nothing.
    Unknown,
}

/// Tells the protocols that share a port apart (RFC 7983 §7).
pub fn classify(first_byte: u8) -> Protocol {
    match first_byte {
        0..=3 => Protocol::Stun,
        20..=63 => Protocol::Dtls,
        128..=191 => Protocol::Rtp,
        _ => Protocol::Unknown,
    }
}

/// Control traffic to be sent: STUN and DTLS, never media. In order.
#[derive(Debug, Default)]
pub struct Outbox {
    pub datagrams: Vec<(Path, Vec<u8>)>,
}

/// What became of a transport.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TransportEvent {
    /// The keys are there: media can flow.
    Connected,
    /// It is over. The transport does nothing any more and can be dropped.
    Closed(CloseReason),
}

/// What a transport is made from.
#[derive(Clone, Debug)]
pub struct TransportParams {
    /// Ours.
    pub local: IceCredentials,
    /// The peer's; `None` where we offer, until the answer arrives ([`Transport::set_remote`]).
    pub remote: Option<IceCredentials>,
    /// Of the peer's certificate, from its SDP; `None` until the answer arrives. There is no handshake without it.
    pub remote_fingerprint: Option<Fingerprint>,
    pub dtls_role: DtlsRole,
    pub ice_role: IceRole,
    /// SRTP profiles, most wanted first. A server takes the first of these that the client offers, whatever the client's
    /// order; a client offers them in this order.
    pub srtp_profiles: Vec<SrtpProfile>,
    /// Ends the transport when it heard no authenticated sign of life for this long.
    pub consent_timeout: Duration,
    /// Ends the transport when it has no keys by then.
    pub connect_timeout: Duration,
}

impl TransportParams {
    /// A server's end: ICE-lite, DTLS server, the remote half unknown, 30 s for either timeout.
    pub fn server(local: IceCredentials) -> Self {
        TransportParams {
            local,
            remote: None,
            remote_fingerprint: None,
            dtls_role: DtlsRole::Server,
            ice_role: IceRole::Lite,
            srtp_profiles: vec![SrtpProfile::AeadAes128Gcm, SrtpProfile::Aes128CmSha1_80],
            consent_timeout: Duration::from_secs(30),
            connect_timeout: Duration::from_secs(30),
        }
    }
}

/// One secured path.
pub struct Transport {
    ice: Ice,
    dtls: Dtls,
    /// There once DTLS is up; boxed, since transports that wait are many.
    srtp: Option<Box<Srtp>>,
    history: SendHistory,
    created: Time,
    consent_timeout: Duration,
    connect_timeout: Duration,
    closed: bool,
    /// DTLS datagrams on their way to the outbox.
    dtls_out: Vec<Vec<u8>>,
}

impl Transport {
    pub fn new(now: Time, identity: Arc<DtlsIdentity>, params: TransportParams) -> Self {
        Transport {
            ice: Ice::new(now, params.ice_role, params.local, params.remote),
            dtls: Dtls::new(params.dtls_role, identity, params.remote_fingerprint, params.srtp_profiles),
            srtp: None,
            history: SendHistory::default(),
            created: now,
            consent_timeout: params.consent_timeout,
            connect_timeout: params.connect_timeout,
            closed: false,
            dtls_out: Vec::new(),
        }
    }

    /// Takes the remote half: when the answer arrives, or anew at an ICE restart.
    ///
    /// False, and nothing is changed, if the handshake has begun with another fingerprint: another certificate needs
    /// another transport (RFC 8842 §5.5 asks for new ICE credentials on both sides and a new association).
    #[must_use = "a changed certificate is refused"]
    pub fn set_remote(&mut self, remote: IceCredentials, fingerprint: Fingerprint) -> bool {
        if !self.dtls.set_fingerprint(fingerprint) {
            return false;
        }
        self.ice.set_remote(remote);
        true
    }

    /// Changes our ICE credentials: the ICE restart of RFC 8445 §9. What is sent stays on the old path until the peer
    /// nominates one with the new credentials; keys stay as they are.
    pub fn restart_ice(&mut self, local: IceCredentials) {
        self.ice.set_local(local);
    }

    /// Takes a STUN message. Returns the path if this validated a new one, so that its datagrams can be routed by it.
    ///
    /// # Errors
    /// Nothing is answered and nothing changes: [`DropReason::StunAuth`] without the right credentials or above the
    /// rate limit, or the message is broken.
    pub fn handle_stun(
        &mut self,
        now: Time,
        path: Path,
        data: &[u8],
        out: &mut Outbox,
    ) -> Result<Option<Path>, DropReason> {
        if self.closed {
            return Err(DropReason::NotConnected);
        }
        let validated = self.ice.handle(now, path, data, out)?;
        self.start_dtls(now, out);
        Ok(validated)
    }

    /// Takes a DTLS datagram, from a validated path only.
    pub fn handle_dtls(
        &mut self,
        now: Time,
        path: Path,
        data: &[u8],
        out: &mut Outbox,
    ) -> Result<Option<TransportEvent>, DropReason> {
        if self.closed {
            return Err(DropReason::NotConnected);
        }
        if !self.ice.is_valid(path) {
            return Err(DropReason::UnknownPath);
        }
        let outcome = self.dtls.handle(now, path.remote, data, &mut self.dtls_out);
        self.flush_dtls(path, out);
        Ok(match outcome? {
            None => None,
            Some(DtlsEvent::Connected(srtp)) => {
                self.srtp = Some(srtp);
                Some(TransportEvent::Connected)
            }
            Some(DtlsEvent::Failed) => Some(self.end(CloseReason::DtlsFailed)),
            Some(DtlsEvent::ClosedByPeer) => Some(self.end(CloseReason::ClosedByPeer)),
        })
    }

    /// Opens an SRTP packet in place; returns the length of the plain packet. Authentic media is a sign of life.
    ///
    /// # Errors
    /// [`DropReason::UnknownPath`], [`DropReason::NoKeys`], or those of [`Srtp::unprotect_rtp`]. Only the packet's own
    /// bytes have changed.
    pub fn unprotect_rtp(&mut self, now: Time, path: Path, packet: &mut [u8]) -> Result<usize, DropReason> {
        let srtp = Self::opener(self.closed, &self.ice, &mut self.srtp, path)?;
        let len = srtp.unprotect_rtp(packet)?;
        self.ice.on_media(now, path);
        Ok(len)
    }

    /// Opens an SRTCP packet in place; otherwise as [`unprotect_rtp`](Self::unprotect_rtp).
    pub fn unprotect_rtcp(&mut self, now: Time, path: Path, packet: &mut [u8]) -> Result<usize, DropReason> {
        let srtp = Self::opener(self.closed, &self.ice, &mut self.srtp, path)?;
        let len = srtp.unprotect_rtcp(packet)?;
        self.ice.on_media(now, path);
        Ok(len)
    }

    /// Whether a packet from an unknown address is worth trying with [`recognises`](Self::recognises): the peer is silent on
    /// the addresses that it had, and the packet continues one of its sources. Costs a few comparisons, no cryptography.
    pub fn may_recognise(&self, now: Time, packet: &[u8], rtcp: bool) -> bool {
        !self.closed
            && self.ice.may_roam(now)
            && self.srtp.as_ref().is_some_and(|srtp| srtp.may_recognise(packet, rtcp))
    }

    /// Whether only the peer can have made this packet, and not before any that came from it: nobody who saw an older one
    /// can send it. Nothing changes; `copy` is destroyed.
    pub fn recognises(&self, copy: &mut [u8], rtcp: bool) -> bool {
        let Some(srtp) = self.srtp.as_ref().filter(|_| !self.closed) else { return false };
        if rtcp { srtp.recognises_rtcp(copy) } else { srtp.recognises_rtp(copy) }
    }

    /// Follows the peer to the address from where a packet came that [`recognises`](Self::recognises) said yes to.
    pub fn adopt_path(&mut self, now: Time, path: Path) {
        self.ice.adopt(now, path);
    }

    /// Where the peer was last known.
    pub fn remote_ip(&self) -> Option<IpAddr> {
        self.path().map(|path| path.remote.ip())
    }

    fn opener<'a>(
        closed: bool,
        ice: &Ice,
        srtp: &'a mut Option<Box<Srtp>>,
        path: Path,
    ) -> Result<&'a mut Srtp, DropReason> {
        if closed {
            return Err(DropReason::NotConnected);
        }
        if !ice.is_valid(path) {
            return Err(DropReason::UnknownPath);
        }
        srtp.as_deref_mut().ok_or(DropReason::NoKeys)
    }

    /// Seals an RTP packet into `out`: `header` is copied, `payload` is sealed from where it lies. Returns the length
    /// of what is to be sent; see [`Srtp::protect_rtp`] for when there is nothing. No allocation, but for a new SSRC.
    pub fn protect_rtp(&mut self, header: &[u8], payload: &[u8], out: &mut [u8]) -> Option<usize> {
        self.protect_rtp_parts(header, RtpBody { payload, ..RtpBody::default() }, out)
    }

    /// As [`protect_rtp`](Self::protect_rtp), with more than a payload.
    pub fn protect_rtp_parts(&mut self, header: &[u8], body: RtpBody, out: &mut [u8]) -> Option<usize> {
        self.srtp.as_mut()?.protect_rtp(header, body, out)
    }

    /// Seals a packet as `forward` says, with its `payload`: the header gets the transport-wide sequence number if that was
    /// agreed on, a retransmission the number that it repeats, and with `even` the padding that makes it part of a run.
    pub fn protect_forward(
        &mut self,
        now: Time,
        forward: &Forward,
        payload: &[u8],
        even: bool,
        out: &mut [u8],
    ) -> Option<usize> {
        let srtp = self.srtp.as_mut()?;
        let mut header = [0; FIXED_HEADER_LEN + EXTENSION_LEN_MAX];
        header[..FIXED_HEADER_LEN].copy_from_slice(&forward.header);
        let original_seq = forward.original_seq.map(u16::to_be_bytes);
        let mut padding = [0; PADDING_MAX as usize];
        let padding = match padding.get_mut(..usize::from(forward.padding)) {
            Some(padding @ [.., _]) if even => {
                set_padding_bit(&mut header);
                padding[padding.len() - 1] = forward.padding;
                padding
            }
            _ => &mut [],
        };
        let body = RtpBody { prefix: original_seq.as_ref().map_or(&[], |seq| seq), payload, padding };
        let words = u8::from(forward.transport_cc.is_some()) + u8::from(forward.hold.is_some());
        if words == 0 {
            return srtp.protect_rtp(&header[..FIXED_HEADER_LEN], body, out);
        }
        set_extension_bit(&mut header);
        let len = FIXED_HEADER_LEN + 4 + 4 * usize::from(words);
        let [profile_hi, profile_lo] = PROFILE_ONE_BYTE.to_be_bytes();
        let mut extension = &mut header[FIXED_HEADER_LEN..];
        let mut push = |word: [u8; 4]| {
            if let Some((place, rest)) = std::mem::take(&mut extension).split_first_chunk_mut() {
                *place = word;
                extension = rest;
            }
        };
        push([profile_hi, profile_lo, 0, words]);
        // Each element says its id and its length, less one.
        if let Some((id, tens)) = forward.hold {
            let times = u32::from(tens) << 12 | HOLD_TENS_MAX;
            let [_, high, middle, low] = times.to_be_bytes();
            push([id << 4 | 2, high, middle, low]);
        }
        if let Some(id) = forward.transport_cc {
            let [seq_hi, seq_lo] = self.history.on_send(now, len + body.len()).to_be_bytes();
            push([id << 4 | 1, seq_hi, seq_lo, 0]);
        }
        srtp.protect_rtp(&header[..len], body, out)
    }

    /// Takes the FCI of a transport-wide report: what the peer got of what was sent here.
    ///
    /// # Errors
    /// Those of [`Twcc::parse`].
    pub fn handle_report(&mut self, now: Time, fci: &[u8]) -> Result<Reported, DropReason> {
        Ok(self.history.on_report(now, &Twcc::parse(fci)?, |_| ()))
    }

    /// What was sent lately, and what the peer got of it.
    pub fn history(&self) -> &SendHistory {
        &self.history
    }

    /// Seals an RTCP compound packet and appends it to `out`; false, and nothing appended, if there are no keys.
    pub fn protect_rtcp(&mut self, plain: &[u8], out: &mut Vec<u8>) -> bool {
        self.srtp.as_mut().is_some_and(|srtp| srtp.protect_rtcp(plain, out))
    }

    /// Makes room among the [`srtp::RX_SSRCS_MAX`] sources: the track of this SSRC has ended.
    pub fn forget_ssrc(&mut self, ssrc: u32) {
        if let Some(srtp) = &mut self.srtp {
            srtp.forget_rx(ssrc);
        }
    }

    /// Forgets the paths of a TCP connection that is gone.
    pub fn forget_via(&mut self, via: Via) {
        self.ice.forget(via);
    }

    /// Does what is due at `now`. May be called early, which changes nothing.
    pub fn handle_timeout(&mut self, now: Time, out: &mut Outbox) -> Option<TransportEvent> {
        if self.closed {
            return None;
        }
        if self.srtp.is_none() && now >= self.created + self.connect_timeout {
            return Some(self.end(CloseReason::ConnectTimeout));
        }
        if self.srtp.is_some() && self.consent_ends().is_some_and(|end| now >= end) {
            return Some(self.end(CloseReason::ConsentExpired));
        }
        self.ice.handle_timeout(now, out);
        self.start_dtls(now, out);
        if let Some(path) = self.ice.selected() {
            self.dtls.handle_timeout(now, &mut self.dtls_out);
            self.flush_dtls(path, out);
        }
        None
    }

    /// When [`handle_timeout`](Self::handle_timeout) is due. Signs of life move it later without notice, so that it
    /// may turn out to have been early.
    pub fn next_timeout(&self) -> Option<Time> {
        if self.closed {
            return None;
        }
        let life = if self.srtp.is_some() { self.consent_ends() } else { Some(self.created + self.connect_timeout) };
        [life, self.ice.next_timeout(), self.dtls.next_timeout()].into_iter().flatten().min()
    }

    /// Where to send; `None` before the first authenticated check.
    pub fn path(&self) -> Option<Path> {
        self.ice.selected()
    }

    /// Whether packets from `path` are looked at.
    pub fn is_valid_path(&self, path: Path) -> bool {
        self.ice.is_valid(path)
    }

    /// Whether the keys are there and the transport is not over.
    pub fn is_connected(&self) -> bool {
        self.srtp.is_some() && !self.closed
    }

    /// The negotiated protection, once connected.
    pub fn srtp_profile(&self) -> Option<SrtpProfile> {
        self.srtp.as_ref().map(|srtp| srtp.profile())
    }

    /// Ends it from our side, with a DTLS close_notify if it was connected.
    pub fn close(&mut self, _now: Time, out: &mut Outbox) {
        if self.closed {
            return;
        }
        self.dtls.close(&mut self.dtls_out);
        if let Some(path) = self.ice.selected() {
            self.flush_dtls(path, out);
        }
        self.closed = true;
        self.srtp = None;
    }

    fn consent_ends(&self) -> Option<Time> {
        self.ice.last_seen().map(|seen| seen + self.consent_timeout)
    }

    fn start_dtls(&mut self, now: Time, out: &mut Outbox) {
        if let Some(path) = self.ice.selected() {
            self.dtls.start(now, &mut self.dtls_out);
            self.flush_dtls(path, out);
        }
    }

    fn flush_dtls(&mut self, path: Path, out: &mut Outbox) {
        out.datagrams.extend(self.dtls_out.drain(..).map(|datagram| (path, datagram)));
    }

    fn end(&mut self, reason: CloseReason) -> TransportEvent {
        self.closed = true;
        self.srtp = None;
        TransportEvent::Closed(reason)
    }
}
