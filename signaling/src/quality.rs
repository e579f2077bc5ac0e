//! What a member's own client reports of his connections, for clients that report: the newest report, for the HTTP API.

use serde::{Deserialize, Serialize};

/// Peers whose media one report may tell of. What is beyond is left out.
pub const REPORTED_PEERS_MAX: usize = 64;

/// The newest report of a member's client. It is the client's word, not a measurement of ours.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Quality {
    /// When it came, in Unix milliseconds.
    pub time: u64,
    /// How many have come.
    pub reports: u64,
    /// Round trip of what he sends, in milliseconds.
    pub rtt_ms: u32,
    /// Bits in a second.
    pub sent_bps: u64,
    pub received_bps: u64,
    /// Picture that he encodes, in pixels; 0 without one.
    pub width: u32,
    pub height: u32,
    /// What he receives, of each member.
    pub from: Vec<Received>,
}

/// What a client receives of one member.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Received {
    #[serde(rename = "userID")]
    pub user: String,
    /// Bits in a second of sound and of pictures.
    pub audio_bps: u64,
    pub video_bps: u64,
    /// Picture that he decodes, in pixels; 0 without one.
    pub width: u32,
    pub height: u32,
    /// Pictures in a second.
    pub frame_rate: u32,
    /// Of the packets, in milliseconds: the greater of sound and picture.
    pub jitter_ms: u32,
}
