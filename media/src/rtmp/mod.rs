//! RTMP as bytes in, events and bytes out: handshake, chunks, AMF0, sessions. No socket, no clock, no media format.
//!
//! A session is fed with `handle_input(now, &mut data)`, which takes bytes from the front of `data` and returns at the first
//! event; it is called again until it returns `None`. What it wants sent is in `take_output()`. Time passes by
//! `handle_timeout(now)`, due at `next_timeout()`. An error means one thing: the connection has to end.

pub mod amf0;
pub mod chunk;
pub mod client;
pub mod handshake;
mod link;
pub mod message;
pub mod server;
pub mod url;

use amf0::AmfError;
use chunk::ChunkError;
use handshake::VersionError;

/// The message stream that our server answers to every `createStream`, and so the one that media to players is on.
pub const STREAM_ID: u32 = 1;

/// Why a connection has to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RtmpError {
    #[error(transparent)]
    Version(#[from] VersionError),
    #[error(transparent)]
    Chunk(#[from] ChunkError),
    #[error(transparent)]
    Amf(#[from] AmfError),
    /// A control message that is cut short, or a command at a place where none can be.
    #[error("protocol violation: {0}")]
    Protocol(&'static str),
    #[error("timeout: {0}")]
    Timeout(&'static str),
}
