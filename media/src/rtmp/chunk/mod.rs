//! The chunk stream (Adobe, "RTMP specification 1.0" §5.3): messages cut into chunks and put together again.
//!
//! Reading keeps state for each chunk stream and grows with the bytes that came, never with the length that a header
//! announces. Writing keeps none: every message begins with a full header, so that one run of bytes serves all players.

mod reader;
mod writer;

pub use reader::{ChunkError, ChunkReader};
pub use writer::{CHUNK_SIZE_OUT, ChunkRun, append_media, write_media, write_message};

/// Until a side says otherwise, both cut at this many bytes (§5.4.1).
pub const CHUNK_SIZE_DEFAULT: usize = 128;
/// The least chunk size that a peer may set. Less only makes us work: a header for each few bytes.
pub const CHUNK_SIZE_MIN: usize = 128;
/// The highest chunk size that a peer may set, which is the longest message that a header can express (§5.4.1).
pub const CHUNK_SIZE_MAX: usize = 0xff_ffff;
/// Chunk streams of one connection. Encoders use four or five.
pub const CHUNK_STREAMS_MAX: usize = 32;
/// The longest message: a key frame of 4K at high quality has under 2 MiB.
pub const MESSAGE_BYTES_MAX: usize = 4 << 20;
/// Memory for messages of one connection that are not complete yet.
pub const PENDING_BYTES_MAX: usize = 8 << 20;
/// The longest message before a publish was granted: `connect` with the longest ticket has under 4 KiB.
pub const UNAUTHENTICATED_MESSAGE_BYTES_MAX: usize = 64 << 10;
/// As [`PENDING_BYTES_MAX`], before a publish was granted.
pub const UNAUTHENTICATED_PENDING_BYTES_MAX: usize = 128 << 10;

/// In the 24-bit time field: the time is in four bytes behind the header (§5.3.1.3).
const EXTENDED: u32 = 0xff_ffff;

/// Chunk streams that we send on. All fit the one-byte basic header (2 to 63).
mod stream {
    /// §5.4: "must be sent ... in chunk stream ID 2".
    pub const CONTROL: u8 = 2;
    pub const COMMAND: u8 = 3;
    pub const AUDIO: u8 = 4;
    pub const DATA: u8 = 5;
    pub const VIDEO: u8 = 6;
}
