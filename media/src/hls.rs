//! HLS (RFC 8216bis): a stream's tags as fragmented MP4, in segments that are published part by part, and the playlists that
//! name them. No socket and no clock of its own: tags and `now` in, text and bytes out.

mod fmp4;
mod packager;
mod playlist;
#[cfg(all(test, feature = "aac-fdk"))]
mod tests;

use bytes::Bytes;

pub use packager::{Packager, Settings};
pub use playlist::MediaPlaylist;

/// What a request for a file of a stream finds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// Its bytes, in the order in which they follow one another.
    Here(Vec<Bytes>),
    /// It comes next; whoever asks may wait for it.
    Soon,
    /// It is gone, or was never there.
    Never,
}

/// A file of a stream, by its name in the playlists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum File {
    /// `init-{n}.mp4`: what a decoder needs before the segments that name it.
    Init(u32),
    /// `{n}.m4s`.
    Segment(u64),
    /// `{n}.{part}.m4s`.
    Part(u64, u32),
}

impl File {
    /// The file of this name; `None` if none can have it.
    pub fn from_name(name: &str) -> Option<File> {
        if let Some(number) = name.strip_prefix("init-").and_then(|rest| rest.strip_suffix(".mp4")) {
            return strict(number).map(File::Init);
        }
        let name = name.strip_suffix(".m4s")?;
        match name.split_once('.') {
            None => strict(name).map(File::Segment),
            Some((segment, part)) => Some(File::Part(strict(segment)?, strict(part)?)),
        }
    }
}

/// Digits only, as we write them.
fn strict<N: std::str::FromStr>(text: &str) -> Option<N> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok())?
}
