//! We offer to a subscriber what it wants, it answers.
//!
//! M-lines are only ever added. One whose track is no longer wanted becomes inactive, and is filled again by a later track
//! of its kind, though not within the same offer unless there is no room for another m-line: the client then sees the old
//! track end before the new one begins. An m-line that the client rejects is dead for both sides (RFC 8829 §5.3.1), and
//! its format is not offered again.

use std::collections::HashSet;

use super::{
    description::{Description, Direction, ExtMap, MediaSection, Setup},
    error::SdpError,
    format,
    negotiate::{
        DownMedia, DownWanted, Feedback, LocalSide, RemoteSide, extensions, feedback, kind_of, remote_side, rtx_of,
        without_transport_cc,
    },
    parse::MEDIA_LINES_MAX,
    write::{Section, Sources, UsedSection, Written, WrittenFormat},
};
use crate::{
    codec::Codec,
    ids::{Kind, TrackId},
    rtp::ext::{self, ExtIds},
};

pub(super) const PROTOCOL: &str = "UDP/TLS/RTP/SAVPF";

/// The m-lines of one *down* transport, for its whole life.
#[derive(Debug)]
pub struct DownSession {
    local: LocalSide,
    cname: String,
    /// `sess-version`: counts our offers.
    version: u64,
    lines: Vec<Line>,
    /// Formats that the client has rejected, as payload types of our table.
    refused: HashSet<u8>,
    unplaced: Vec<TrackId>,
    ssrcs: SsrcSource,
}

/// One m-line. Its mid is its number.
#[derive(Debug)]
struct Line {
    kind: Kind,
    /// What the m-line offers; the format stays when the track goes, for an inactive m-line has one too.
    codec: Codec,
    payload_type: u8,
    rtx_payload_type: Option<u8>,
    fmtp: &'static str,
    track: Option<Carried>,
    /// Had no track when the newest offer was written, so that the client knows it as inactive.
    idle: bool,
    /// The client rejected it.
    dead: bool,
}

/// The track of an m-line.
#[derive(Debug)]
struct Carried {
    id: TrackId,
    stream_label: String,
    track_label: String,
    ssrc: u32,
    rtx_ssrc: Option<u32>,
    /// What the client answered, for as long as the m-line carries this track.
    answered: Option<Answered>,
}

#[derive(Clone, Copy, Debug)]
struct Answered {
    payload_type: u8,
    rtx_payload_type: Option<u8>,
    ext: ExtIds,
    accepted: bool,
}

impl DownSession {
    /// `cname` groups all that we send to this client (RFC 3550 §6.5.1).
    pub fn new(local: LocalSide, cname: impl Into<String>) -> Self {
        DownSession {
            local,
            cname: token(&cname.into()),
            version: 0,
            lines: Vec::new(),
            refused: HashSet::new(),
            unplaced: Vec::new(),
            ssrcs: SsrcSource::default(),
        }
    }

    /// What we say of ourselves from the next offer on, for an ICE restart or other candidates.
    pub fn set_local(&mut self, local: LocalSide) {
        self.local = local;
    }

    /// Makes the m-lines carry exactly `wanted`, and tells which carries what. A track that stays keeps its m-line and its
    /// SSRCs, one whose codec changed gets new ones. Tracks that found no m-line are in [`unplaced`](Self::unplaced).
    pub fn set_wanted(&mut self, wanted: Vec<DownWanted>) -> Vec<DownMedia> {
        for line in &mut self.lines {
            let (codec, payload_type) = (line.codec, line.payload_type);
            let stays = |carried: &Carried| {
                wanted.iter().any(|w| {
                    w.key == carried.id
                        && w.codec == codec
                        && format::offered_as(codec, &w.fmtp).payload_type == payload_type
                })
            };
            line.track = line.track.take().filter(stays);
        }
        self.unplaced.clear();
        for wanted in wanted {
            if self.lines.iter().any(|line| line.track.as_ref().is_some_and(|t| t.id == wanted.key)) {
                continue;
            }
            if !self.place(&wanted) {
                self.unplaced.push(wanted.key);
            }
        }
        self.media()
    }

    /// Wanted tracks without an m-line: the client rejected their format before, or there are
    /// [`MEDIA_LINES_MAX`] m-lines already.
    pub fn unplaced(&self) -> &[TrackId] {
        &self.unplaced
    }

    /// The offer of what is wanted. Each one replaces those before it, answered or not.
    pub fn offer(&mut self) -> String {
        self.version += 1;
        let sections = self.lines.iter().enumerate().map(|(index, line)| line.section(index, &self.cname)).collect();
        for line in &mut self.lines {
            line.idle = line.track.is_none();
        }
        Written {
            local: &self.local,
            version: self.version,
            ice_lite: true,
            extmap_allow_mixed: true,
            bundle: true,
            setup: Setup::Actpass,
            sections,
        }
        .text()
    }

    /// Takes the client's answer to the newest offer. The m-lines with a track are returned in order, those that the client
    /// does not take with `accepted: false`.
    ///
    /// # Errors
    /// If the answer cannot be read, does not fit the offer, or rejects every m-line. What the client rejected is
    /// remembered in the last case; in all others nothing has changed.
    pub fn apply_answer(&mut self, answer: &str) -> Result<(RemoteSide, Vec<DownMedia>), SdpError> {
        let answer = Description::parse(answer)?;
        self.check_shape(&answer)?;
        let used: Vec<&MediaSection> = answer.media.iter().filter(|m| !m.is_rejected()).collect();
        // In an answer the peer has chosen its role, which can only be that of the DTLS client.
        let remote = match remote_side(&answer, &used, &[Setup::Active]) {
            Ok(remote) => Ok(remote),
            Err(SdpError::NoMedia) => Err(SdpError::NothingAccepted),
            Err(error) => return Err(error),
        };
        for (line, answered) in self.lines.iter_mut().zip(&answer.media) {
            if answered.is_rejected() && !line.dead {
                line.dead = true;
                // An idle m-line is rejected because it is out of use, which says nothing about its format.
                if line.track.is_some() {
                    self.refused.insert(line.payload_type);
                }
            }
            let taken = line.taken_by(answered);
            if let Some(track) = &mut line.track {
                track.answered = taken;
            }
        }
        Ok((remote?, self.media()))
    }

    /// The m-lines that carry a track, in order.
    pub fn media(&self) -> Vec<DownMedia> {
        self.lines.iter().enumerate().filter_map(|(index, line)| line.media(index)).collect()
    }

    fn place(&mut self, wanted: &DownWanted) -> bool {
        let offered = format::offered_as(wanted.codec, &wanted.fmtp);
        if self.refused.contains(&offered.payload_type) {
            return false;
        }
        let kind = wanted.codec.kind();
        let free = |idle_only: bool| {
            move |line: &Line| line.kind == kind && line.track.is_none() && !line.dead && (line.idle || !idle_only)
        };
        let room = self.lines.len() < MEDIA_LINES_MAX;
        let index = match self.lines.iter().position(free(true)) {
            Some(index) => Some(index),
            None if room => None,
            None => match self.lines.iter().position(free(false)) {
                Some(index) => Some(index),
                None => return false,
            },
        };
        let (stream_label, track_label) = labels(wanted);
        let ssrc = self.ssrcs.draw_marked(wanted.ssrc_mark);
        let rtx_ssrc = offered.rtx_payload_type.map(|_| self.ssrcs.draw());
        let line = Line {
            kind,
            codec: wanted.codec,
            payload_type: offered.payload_type,
            rtx_payload_type: offered.rtx_payload_type,
            fmtp: offered.fmtp,
            track: Some(Carried { id: wanted.key, stream_label, track_label, ssrc, rtx_ssrc, answered: None }),
            idle: false,
            dead: false,
        };
        match index.and_then(|index| self.lines.get_mut(index)) {
            Some(place) => *place = line,
            None => self.lines.push(line),
        }
        true
    }

    fn check_shape(&self, answer: &Description) -> Result<(), SdpError> {
        let line = answer.media.last().map_or(1, |m| m.line);
        if answer.media.len() != self.lines.len() {
            return Err(SdpError::AnswerMismatch { line, what: "another number of m-lines" });
        }
        for (index, (ours, theirs)) in self.lines.iter().zip(&answer.media).enumerate() {
            let wrong = |what| SdpError::AnswerMismatch { line: theirs.line, what };
            if kind_of(theirs) != Some(ours.kind) {
                return Err(wrong("another kind of media"));
            }
            if theirs.mid.as_ref().is_some_and(|mid| *mid != index.to_string()) {
                return Err(wrong("another a=mid"));
            }
            if let Some(line) = theirs.crypto_line {
                return Err(SdpError::SdesOffered { line });
            }
            if !theirs.is_rejected() && !theirs.rtcp_mux {
                return Err(SdpError::NoRtcpMux { line: theirs.line });
            }
        }
        Ok(())
    }
}

impl Line {
    fn section(&self, index: usize, cname: &str) -> Section {
        let mid = Some(index.to_string());
        if self.dead {
            return Section::Rejected {
                media: self.kind.to_string(),
                protocol: PROTOCOL.to_owned(),
                format: self.payload_type.to_string(),
                mid,
            };
        }
        Section::Used(UsedSection {
            protocol: PROTOCOL.to_owned(),
            mid,
            direction: if self.track.is_some() { Direction::Sendonly } else { Direction::Inactive },
            kind: self.kind,
            formats: vec![WrittenFormat {
                codec: self.codec,
                payload_type: self.payload_type,
                rtx_payload_type: self.rtx_payload_type,
                fmtp: self.fmtp.to_owned(),
                feedback: Feedback::offered(self.kind),
            }],
            extmaps: offered_extmaps(self.kind),
            sources: self.track.as_ref().map(|track| Sources {
                cname: cname.to_owned(),
                stream_label: track.stream_label.clone(),
                track_label: track.track_label.clone(),
                ssrc: track.ssrc,
                rtx_ssrc: track.rtx_ssrc,
            }),
        })
    }

    /// What the client's m-line says about ours; `None` if it takes no format of it.
    fn taken_by(&self, answered: &MediaSection) -> Option<Answered> {
        if answered.is_rejected() {
            return None;
        }
        // The payload types to send are those of the answer, whatever we proposed (RFC 3264 §6.1).
        let chosen = answered.formats.iter().find(|f| format::codec_of(f) == Some(self.codec))?;
        let (mut ext, mut lines) = extensions(&answered.extmaps, self.kind, true);
        let feedback = feedback(chosen, self.kind, ext.transport_cc.is_some());
        if !feedback.transport_cc {
            without_transport_cc(&mut ext, &mut lines);
        }
        Some(Answered {
            payload_type: chosen.payload_type,
            rtx_payload_type: rtx_of(answered, chosen.payload_type),
            ext,
            accepted: answered.direction.receives(),
        })
    }

    fn media(&self, index: usize) -> Option<DownMedia> {
        let track = self.track.as_ref()?;
        let answered = track.answered.unwrap_or(Answered {
            payload_type: self.payload_type,
            rtx_payload_type: self.rtx_payload_type,
            ext: ExtIds::default(),
            accepted: false,
        });
        Some(DownMedia {
            mid: index.to_string(),
            track: track.id,
            codec: self.codec,
            payload_type: answered.payload_type,
            rtx_payload_type: answered.rtx_payload_type,
            ssrc: track.ssrc,
            rtx_ssrc: track.rtx_ssrc.filter(|_| answered.rtx_payload_type.is_some()),
            ext: answered.ext,
            accepted: answered.accepted && !self.dead,
        })
    }
}

/// The header extensions that we offer; the numbers are those of Chromium's own offers. The same number means the same
/// extension in every m-line, as BUNDLE demands (RFC 9143 §9).
pub(super) fn offered_extmaps(kind: Kind) -> Vec<ExtMap> {
    let own: &[_] = match kind {
        Kind::Audio => &[(1, ext::URI_AUDIO_LEVEL)],
        Kind::Video => &[(13, ext::URI_VIDEO_ORIENTATION), (5, ext::URI_PLAYOUT_DELAY)],
    };
    let both = [(3, ext::URI_TRANSPORT_CC), (4, ext::URI_MID), (12, ext::URI_ABS_CAPTURE_TIME)];
    own.iter().copied().chain(both).map(|(id, uri)| ExtMap { id, direction: None, uri: uri.to_owned() }).collect()
}

/// `a=msid` labels of a track: of its stream and its own.
pub(super) fn labels(wanted: &DownWanted) -> (String, String) {
    (token(&wanted.stream_label), format!("{}-{}", wanted.key.kind, wanted.key.stream))
}

/// Longest `a=msid` label (RFC 8830 §2), in characters.
const LABEL_CHARS_MAX: usize = 64;

/// `text` as an SDP token; never empty.
fn token(text: &str) -> String {
    let label: String = text
        .chars()
        .take(LABEL_CHARS_MAX)
        .map(|c| if c.is_ascii() && super::parse::is_token_byte(c as u8) { c } else { '_' })
        .collect();
    // A lone "-" means that there is no stream (RFC 8830 §2).
    if label.is_empty() || label == "-" { "_".to_owned() } else { label }
}

/// Draws SSRCs: at random, unique, never one twice.
#[derive(Debug, Default)]
pub(super) struct SsrcSource(HashSet<u32>);

impl SsrcSource {
    pub fn draw(&mut self) -> u32 {
        self.draw_marked(None)
    }

    /// With this mark in bits 16 to 23.
    pub fn draw_marked(&mut self, mark: Option<u8>) -> u32 {
        loop {
            let random = rand::random::<u32>();
            let ssrc = mark.map_or(random, |mark| random & 0xff00_ffff | u32::from(mark) << 16);
            if ssrc != 0 && self.0.insert(ssrc) {
                return ssrc;
            }
        }
    }
}
