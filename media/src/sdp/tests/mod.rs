//! The three conversations against descriptions that real stacks wrote (their addresses taken out), and against hostile text.

mod client;
mod down;
mod hostile;
mod play;
mod publish;

use super::{Candidate, DownWanted, LocalSide};
use crate::{
    codec::Codec,
    ids::{StreamId, TrackId},
};

macro_rules! recorded {
    ($($name:ident = $file:literal,)*) => {
        $(pub const $name: &str = include_str!(concat!("../../../tests/data/sdp/", $file));)*

        /// Every recorded description with its name.
        pub const RECORDED: &[(&str, &str)] = &[$(($file, $name),)*];
    };
}

recorded! {
    CHROMIUM_PUBLISH = "chromium-publish.sdp",
    CHROMIUM_PUBLISH_DATA = "chromium-publish-data.sdp",
    CHROMIUM_PUBLISH_SIMULCAST = "chromium-publish-simulcast.sdp",
    CHROMIUM_PUBLISH_STOPPED = "chromium-publish-stopped.sdp",
    CHROMIUM_PLAY = "chromium-play.sdp",
    CHROMIUM_DOWN_FIRST = "chromium-down-first.sdp",
    CHROMIUM_DOWN_MORE = "chromium-down-more.sdp",
    CHROMIUM_DOWN_LESS = "chromium-down-less.sdp",
    FIREFOX_PUBLISH = "firefox-publish.sdp",
    FIREFOX_PUBLISH_SIMULCAST = "firefox-publish-simulcast.sdp",
    FIREFOX_PUBLISH_STOPPED = "firefox-publish-stopped.sdp",
    FIREFOX_PLAY = "firefox-play.sdp",
    FIREFOX_DOWN_FIRST = "firefox-down-first.sdp",
    FIREFOX_DOWN_MORE = "firefox-down-more.sdp",
    FIREFOX_DOWN_LESS = "firefox-down-less.sdp",
    AIORTC_PUBLISH = "aiortc-publish.sdp",
    WERIFT_PUBLISH = "werift-publish.sdp",
    LIBDATACHANNEL_PUBLISH = "libdatachannel-publish.sdp",
}

pub fn local() -> LocalSide {
    let candidate = |tcp, priority| Candidate { addr: ([192, 0, 2, 9], 8000).into(), tcp, priority };
    LocalSide {
        credentials: ("ourUfrag".into(), "ourPasswordOf24Characters".into()),
        fingerprint: format!("sha-256 {}", ["AB"; 32].join(":")),
        candidates: vec![candidate(false, 2_130_706_431), candidate(true, 1_518_280_447)],
        session_id: 77,
    }
}

pub fn wanted(stream: u64, codec: Codec, fmtp: &str) -> DownWanted {
    DownWanted {
        key: TrackId { stream: StreamId(stream), kind: codec.kind() },
        ssrc_mark: None,
        codec,
        fmtp: fmtp.to_owned(),
        stream_label: format!("stream-{stream}"),
    }
}

/// The lines of the `index`th m-line.
pub fn section(description: &str, index: usize) -> Vec<&str> {
    let mut sections = description.split("\r\nm=");
    sections.nth(index + 1).expect("the m-line is there").lines().collect()
}

pub fn has(section: &[&str], line: &str) -> bool {
    section.contains(&line)
}
