//! Why a packet stopped. The list is closed: whatever the network sends ends as a forwarded packet or as one of these,
//! counted per shard, never logged one by one.

macro_rules! drop_reasons {
    ($($(#[$doc:meta])* $name:ident = $label:literal,)*) => {
        /// Why a packet stopped.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum DropReason { $($(#[$doc])* $name,)* }

        impl DropReason {
            pub const ALL: &'static [DropReason] = &[$(DropReason::$name,)*];
            pub const COUNT: usize = Self::ALL.len();

            /// The label in metrics.
            pub fn as_str(self) -> &'static str {
                match self { $(DropReason::$name => $label,)* }
            }
        }
    };
}

drop_reasons! {
    /// Shorter than its own header says, or than any packet of its kind.
    TooShort = "too_short",
    /// Longer than a slot.
    TooLong = "too_long",
    /// A version, length or field that its specification does not allow.
    Malformed = "malformed",
    /// First byte of no protocol that shares the port (RFC 7983).
    UnknownProtocol = "unknown_protocol",
    /// From an address that has not passed an authenticated ICE check.
    UnknownPath = "unknown_path",
    /// A STUN message without valid credentials.
    StunAuth = "stun_auth",
    /// More datagrams of handshakes than may wait.
    HandshakesFull = "handshakes_full",
    /// Media before the keys are there.
    NoKeys = "no_keys",
    /// The authentication tag does not fit.
    SrtpAuth = "srtp_auth",
    /// Seen before, or too old for the window.
    SrtpReplay = "srtp_replay",
    /// An SSRC that no track was negotiated for.
    UnknownSsrc = "unknown_ssrc",
    /// A payload type that the track did not negotiate.
    UnknownPayloadType = "unknown_payload_type",
    /// Older than what the ring remembers, or there already.
    Duplicate = "duplicate",
    /// A retransmission or probe that carries nothing.
    Empty = "empty",
    /// The subscriber waits for a key frame.
    AwaitingKeyFrame = "awaiting_key_frame",
    /// The publisher or the subscriber muted the track.
    Muted = "muted",
    /// A NACK for a packet that the ring has dropped already.
    NotInRing = "not_in_ring",
    /// Resends of one packet in too quick succession, or more bytes of resends than allowed.
    ResendLimit = "resend_limit",
    /// A packet was resent as often as allowed and is missed still.
    ResendsSpent = "resends_spent",
    /// A pipe's reader was too slow.
    PipeFull = "pipe_full",
    /// The kernel refused to send.
    SendFailed = "send_failed",
    /// The transport has no path or no keys yet.
    NotConnected = "not_connected",
}

/// One counter for each [`DropReason`].
#[derive(Clone, Debug)]
pub struct DropCounts([u64; DropReason::COUNT]);

impl Default for DropCounts {
    fn default() -> Self {
        DropCounts([0; DropReason::COUNT])
    }
}

impl DropCounts {
    pub fn count(&mut self, reason: DropReason) {
        self.0[reason as usize] += 1;
    }

    pub fn add(&mut self, reason: DropReason, n: u64) {
        self.0[reason as usize] += n;
    }

    pub fn get(&self, reason: DropReason) -> u64 {
        self.0[reason as usize]
    }
}
