//! Why a session description cannot be used. Every variant that concerns a line carries its number, counted from one.

use crate::ids::Kind;

/// A description that cannot be read, or that asks for what this server does not do. The text is for the client's log and
/// names the line; programs compare [`SdpError::code`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SdpError {
    /// Longer than [`super::parse::DESCRIPTION_BYTES_MAX`].
    #[error("the description is longer than {max} bytes")]
    TooLarge { max: usize },
    /// A count is over its limit.
    #[error("line {line}: more than {max} {what}")]
    TooMany { line: usize, what: &'static str, max: usize },
    /// The text breaks RFC 8866, or an attribute its own specification.
    #[error("line {line}: {what}")]
    Malformed { line: usize, what: &'static str },
    /// There is no m-line of audio or video.
    #[error("no audio or video m-line")]
    NoMedia,
    /// Anything but DTLS-SRTP with feedback (`UDP/TLS/RTP/SAVPF`). Media is never sent in the clear.
    #[error("line {line}: the transport has to be UDP/TLS/RTP/SAVPF")]
    UnsupportedProtocol { line: usize },
    /// `a=crypto` (RFC 4568): keys in the description are refused (RFC 8827 §6.5).
    #[error("line {line}: SDES keys (a=crypto) are not supported, only DTLS-SRTP")]
    SdesOffered { line: usize },
    /// No `a=fingerprint` of a hash that we know for an m-line in use.
    #[error("line {line}: this m-line has no a=fingerprint of SHA-1, SHA-224, SHA-256, SHA-384 or SHA-512")]
    NoFingerprint { line: usize },
    /// No `a=ice-ufrag` and `a=ice-pwd` for an m-line in use.
    #[error("line {line}: this m-line has no a=ice-ufrag and a=ice-pwd")]
    NoIceCredentials { line: usize },
    /// RTP and RTCP have to share the port (RFC 5761).
    #[error("line {line}: this m-line has no a=rtcp-mux")]
    NoRtcpMux { line: usize },
    /// The peer wants to be what we are: a server always is the passive side of DTLS, a client the active one.
    #[error("line {line}: a=setup takes the wrong role; the server always is the passive side")]
    WrongSetup { line: usize },
    /// M-lines that would need a transport each.
    #[error("line {line}: all m-lines have to be in one BUNDLE group (bundlePolicy max-bundle)")]
    NotBundled { line: usize },
    /// Two m-lines with one `a=mid`.
    #[error("line {line}: another m-line has the same a=mid")]
    DuplicateMid { line: usize },
    /// Nothing that both sides speak on an m-line in use.
    #[error("no common codec for {kind} (line {line})")]
    NoCodec { kind: Kind, line: usize },
    /// An answer whose m-lines are not those of the offer.
    #[error("line {line}: the answer does not fit the offer: {what}")]
    AnswerMismatch { line: usize, what: &'static str },
    /// The answer rejects every m-line, so there is no transport.
    #[error("the answer rejects every m-line")]
    NothingAccepted,
}

impl SdpError {
    /// A word that programs can compare and that stays.
    pub fn code(&self) -> &'static str {
        match self {
            SdpError::TooLarge { .. } => "too_large",
            SdpError::TooMany { .. } => "too_many",
            SdpError::Malformed { .. } => "malformed",
            SdpError::NoMedia => "no_media",
            SdpError::UnsupportedProtocol { .. } => "unsupported_protocol",
            SdpError::SdesOffered { .. } => "sdes_offered",
            SdpError::NoFingerprint { .. } => "no_fingerprint",
            SdpError::NoIceCredentials { .. } => "no_ice_credentials",
            SdpError::NoRtcpMux { .. } => "no_rtcp_mux",
            SdpError::WrongSetup { .. } => "wrong_setup",
            SdpError::NotBundled { .. } => "not_bundled",
            SdpError::DuplicateMid { .. } => "duplicate_mid",
            SdpError::NoCodec { .. } => "no_codec",
            SdpError::AnswerMismatch { .. } => "answer_mismatch",
            SdpError::NothingAccepted => "nothing_accepted",
        }
    }
}
