//! A description as types: what the lines say, in the writer's view, decided about nothing.

use std::net::SocketAddr;

/// A whole description.
#[derive(Clone, Debug, Default)]
pub struct Description {
    /// `sess-version` of the `o=` line; 0 if it does not fit 64 bits.
    pub version: u64,
    pub ice_lite: bool,
    /// `a=extmap-allow-mixed` for the whole session (RFC 8285 §6).
    pub extmap_allow_mixed: bool,
    /// The mids of each `a=group:BUNDLE`, in order.
    pub bundles: Vec<Vec<String>>,
    pub media: Vec<MediaSection>,
}

/// One m-line and its attributes; those that the session level gives for all are filled in.
#[derive(Clone, Debug, Default)]
pub struct MediaSection {
    /// Number of the m-line in the text, from one.
    pub line: usize,
    /// `audio`, `video`, `application`…
    pub media: String,
    pub port: u16,
    pub protocol: String,
    /// The format fields as they stand, for an answer that rejects.
    pub format_fields: Vec<String>,
    /// The payload types of the m-line that `a=rtpmap` (or RFC 3551) names, in the order of the m-line.
    pub formats: Vec<FormatLine>,
    pub mid: Option<String>,
    pub direction: Direction,
    pub transport: TransportLines,
    pub rtcp_mux: bool,
    pub rtcp_rsize: bool,
    pub bundle_only: bool,
    /// Line of the first `a=crypto`.
    pub crypto_line: Option<usize>,
    pub extmap_allow_mixed: bool,
    pub extmaps: Vec<ExtMap>,
    /// SSRCs in the order of their first `a=ssrc`.
    pub ssrcs: Vec<u32>,
    /// `a=ssrc-group:FID`: a source and its retransmissions.
    pub fid_groups: Vec<(u32, u32)>,
    /// `a=simulcast` is there.
    pub simulcast: bool,
    /// The candidates with a literal address; names (`.local`) are never resolved.
    pub candidates: Vec<CandidateLine>,
}

/// ICE and DTLS attributes.
#[derive(Clone, Default)]
pub struct TransportLines {
    pub ufrag: Option<String>,
    pub pwd: Option<String>,
    /// `algorithm AA:BB:…`, the algorithm in lower case.
    pub fingerprints: Vec<String>,
    pub setup: Option<Setup>,
}

impl std::fmt::Debug for TransportLines {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TransportLines")
            .field("ufrag", &self.ufrag)
            .field("fingerprints", &self.fingerprints)
            .field("setup", &self.setup)
            .finish_non_exhaustive()
    }
}

/// `a=setup` (RFC 4145 §4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Setup {
    Active,
    Passive,
    Actpass,
    Holdconn,
}

impl Setup {
    pub fn as_str(self) -> &'static str {
        match self {
            Setup::Active => "active",
            Setup::Passive => "passive",
            Setup::Actpass => "actpass",
            Setup::Holdconn => "holdconn",
        }
    }

    pub fn from_name(name: &str) -> Option<Setup> {
        [Setup::Active, Setup::Passive, Setup::Actpass, Setup::Holdconn].into_iter().find(|s| s.as_str() == name)
    }
}

/// Which way media flows, seen by the writer of the description.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Direction {
    #[default]
    Sendrecv,
    Sendonly,
    Recvonly,
    Inactive,
}

impl Direction {
    pub fn as_str(self) -> &'static str {
        match self {
            Direction::Sendrecv => "sendrecv",
            Direction::Sendonly => "sendonly",
            Direction::Recvonly => "recvonly",
            Direction::Inactive => "inactive",
        }
    }

    pub fn from_name(name: &str) -> Option<Direction> {
        [Direction::Sendrecv, Direction::Sendonly, Direction::Recvonly, Direction::Inactive]
            .into_iter()
            .find(|d| d.as_str() == name)
    }

    /// The writer sends.
    pub fn sends(self) -> bool {
        matches!(self, Direction::Sendrecv | Direction::Sendonly)
    }

    /// The writer receives.
    pub fn receives(self) -> bool {
        matches!(self, Direction::Sendrecv | Direction::Recvonly)
    }
}

/// One payload type: `a=rtpmap`, `a=fmtp` and `a=rtcp-fb` put together.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FormatLine {
    pub payload_type: u8,
    /// Encoding name as written.
    pub name: String,
    pub clock_rate: u32,
    /// Channels of audio; 1 if not written.
    pub channels: u8,
    pub fmtp: String,
    /// Values of `a=rtcp-fb`, those for `*` included.
    pub feedback: Vec<String>,
}

/// `a=extmap` (RFC 8285 §5).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExtMap {
    pub id: u8,
    pub direction: Option<Direction>,
    pub uri: String,
}

/// `a=candidate` (RFC 8839 §5.1) of component 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CandidateLine {
    pub addr: SocketAddr,
    pub tcp: bool,
    pub priority: u32,
}

impl MediaSection {
    /// The m-line is out of use: port zero, and not merely because it is to share another's port (RFC 9143 §6).
    pub fn is_rejected(&self) -> bool {
        self.port == 0 && !self.bundle_only
    }
}

impl Description {
    /// One- and two-byte header extensions may alternate in every m-line (RFC 8285 §6).
    pub fn allows_mixed(&self) -> bool {
        self.extmap_allow_mixed || self.media.iter().all(|media| media.extmap_allow_mixed)
    }
}
