//! The video half: parameter sets, key frames, B-frames.

use std::fmt::Display;

use bytes::Bytes;
use tracing::{debug, warn};

use crate::{
    bridge::packetize::{PacketSink, RtpStream},
    codec::{
        Codec,
        h264::{
            AvcConfig, NalKind,
            gaps::allow_gaps,
            is_b_slice,
            nal::{self, avcc},
        },
    },
    ids::Kind,
    units::time::{Time, WallClock},
};

/// Most NAL units of one picture. A picture of 4K in slices of one macroblock row has 135; each unit costs a packet, so a
/// picture of a million empty ones must not pass.
pub const PICTURE_NALS_MAX: usize = 256;

/// Most bytes of parameter sets that go before each key frame; real ones have less than a hundred.
pub const PARAMETER_SETS_BYTES_MAX: usize = 4_096;

/// A publisher's video on its way into a room.
pub(super) struct VideoIn {
    pub(super) stream: RtpStream,
    /// Seen at all: this is what the room is told.
    codec: Option<Codec>,
    pub(super) length_size: u8,
    pub(super) sets: ParameterSets,
    /// Nothing can be decoded until a key frame: none came yet, or a part was lost on the way to the room.
    pub(super) awaiting_key: bool,
    /// What goes before key frames of other codecs than H.264.
    pub(super) preamble: Vec<Bytes>,
    pub(super) b_frames_seen: bool,
    /// When the latest picture that was sent is shown.
    pub(super) latest_us: Option<i64>,
    /// Pictures to which others refer were left out: decoders are told.
    leaves_references_out: bool,
    complained: bool,
    #[cfg(feature = "reencode")]
    pub(super) reencoding: super::reencoding::Reencoding,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct ParameterSets {
    pub(super) sps: Vec<Bytes>,
    pps: Vec<Bytes>,
}

impl VideoIn {
    pub(super) fn new() -> Self {
        VideoIn {
            stream: RtpStream::new(Kind::Video, Codec::H264.bridged_payload_type(), Codec::H264.clock_rate()),
            codec: None,
            length_size: 4,
            sets: ParameterSets::default(),
            awaiting_key: true,
            preamble: Vec::new(),
            b_frames_seen: false,
            latest_us: None,
            leaves_references_out: false,
            complained: false,
            #[cfg(feature = "reencode")]
            reencoding: Default::default(),
        }
    }

    /// Another encoder begins: its first key frame comes with parameter sets of its own.
    pub(super) fn begin_publisher(&mut self) {
        self.codec = None;
        self.sets = ParameterSets::default();
        self.awaiting_key = true;
        self.preamble = Vec::new();
        self.b_frames_seen = false;
        self.leaves_references_out = false;
        self.complained = false;
        #[cfg(feature = "reencode")]
        self.reencoding.begin_publisher();
    }

    /// What the room gets, once that is known.
    pub(super) fn codec(&self) -> Option<Codec> {
        self.codec
    }

    /// Writes a sender report if one is due.
    pub(super) fn report(&mut self, now: Time, wall: &WallClock, sink: &mut PacketSink<'_>) {
        self.stream.report(now, wall, sink);
    }

    /// As [`RtpStream::tell_hold`].
    pub(super) fn tell_hold(&self, tens: u8, sink: &mut PacketSink<'_>) {
        self.stream.tell_hold(tens, sink);
    }

    /// Takes an AVCDecoderConfigurationRecord; one that cannot be read changes nothing.
    pub(super) fn handle_header(&mut self, record: &[u8]) {
        let Ok(config) = AvcConfig::parse(record) else {
            debug!("an AVC sequence header cannot be read");
            return;
        };
        self.set_codec(Codec::H264);
        self.length_size = config.length_size;
        let copied = |set: &[u8]| Bytes::copy_from_slice(set);
        let sets = ParameterSets { sps: config.sps().map(copied).collect(), pps: config.pps().map(copied).collect() };
        // A record without sets announces that they come in the stream.
        if !sets.sps.is_empty() && sets.is_bounded() {
            self.sets = sets;
        }
    }

    /// Whether B-frames are there and left out.
    pub(super) fn leaves_b_frames_out(&self) -> bool {
        #[cfg(feature = "reencode")]
        if self.codec == Some(Codec::H264) && self.reencoding.is_on() {
            return false;
        }
        self.b_frames_seen
    }

    /// Takes a picture that is decoded at `dts_us` and shown at `pts_us`, as length-prefixed NAL units.
    pub(super) fn handle_frame(
        &mut self,
        (dts_us, pts_us): (i64, i64),
        key: bool,
        bytes: &[u8],
        sink: &mut PacketSink<'_>,
    ) {
        #[cfg(not(feature = "reencode"))]
        let _ = dts_us;
        let mut nals: Vec<&[u8]> = Vec::new();
        for unit in avcc(bytes, self.length_size) {
            match unit {
                Ok(unit) if nals.len() < PICTURE_NALS_MAX => nals.push(unit),
                // Half a picture would spoil all that refer to it.
                _ => return self.lose(),
            }
        }
        nals.retain(|unit| {
            use NalKind::{AccessUnitDelimiter, EndOfSequence, EndOfStream, Filler, Other};
            match nal::kind(unit) {
                AccessUnitDelimiter | EndOfSequence | EndOfStream | Filler => false,
                // RTP gives these types a meaning of its own (RFC 6184 §5.2): they would be read as aggregations and parts.
                Other(0 | 24..) => false,
                _ => true,
            }
        });
        let key = key || nals.iter().any(|unit| nal::kind(unit) == NalKind::Idr);
        self.sets.learn(&nals);
        if !nals.iter().any(|unit| nal::kind(unit).is_slice()) || (self.awaiting_key && !key) {
            return;
        }
        #[cfg(feature = "reencode")]
        if self.reencode((dts_us, pts_us), key, &nals, sink) {
            return;
        }
        if nals.iter().any(|unit| is_b_slice(unit)) {
            self.see_b_frames();
            // Receivers of WebRTC show pictures in the order in which they come, and their decoders give up on one that belongs
            // before another that they have given out already. So none of those is sent.
            if self.latest_us.is_some_and(|latest_us| pts_us < latest_us) {
                let mut slices = nals.iter().filter(|unit| nal::kind(unit).is_slice());
                self.leaves_references_out |= slices.any(|unit| nal::ref_idc(unit) != 0);
                return;
            }
        }
        let allowed: Vec<Vec<u8>>;
        let mut picture: Vec<&[u8]> = Vec::with_capacity(nals.len() + 2);
        if key {
            if self.sets.sps.is_empty() || self.sets.pps.is_empty() {
                return;
            }
            self.set_codec(Codec::H264);
            // In band before every key frame: whoever joins or lost packets can start here.
            // Where they can be told that pictures are missing on purpose, they are.
            allowed = match self.leaves_references_out {
                true => self.sets.sps.iter().map(|sps| allow_gaps(sps).unwrap_or_else(|| sps.to_vec())).collect(),
                false => Vec::new(),
            };
            match allowed.is_empty() {
                true => picture.extend(self.sets.iter()),
                false => picture.extend(allowed.iter().map(|sps| &sps[..]).chain(self.sets.pps())),
            }
            nals.retain(|unit| !matches!(nal::kind(unit), NalKind::Sps | NalKind::Pps));
        }
        picture.extend(nals);
        self.awaiting_key = false;
        self.latest_us = self.latest_us.max(Some(pts_us));
        let timestamp = self.stream.timestamp_of_us(pts_us);
        if !self.stream.send_h264(timestamp, &picture, sink) {
            self.lose();
        }
    }

    pub(super) fn see_b_frames(&mut self) {
        if !std::mem::replace(&mut self.b_frames_seen, true) {
            warn!(
                "the publisher sends B-frames, which WebRTC cannot show: they are left out and motion will not be smooth; \
                 switch them off in the encoder (ffmpeg: -bf 0, OBS: bf=0)"
            );
        }
    }

    pub(super) fn set_codec(&mut self, codec: Codec) {
        if self.codec.replace(codec) != Some(codec) {
            self.stream.set_payload_type(codec.bridged_payload_type());
            self.awaiting_key = true;
        }
    }

    pub(super) fn lose(&mut self) {
        self.awaiting_key = true;
    }

    /// Says once that this codec is not taken.
    pub(super) fn complain(&mut self, codec: impl Display) {
        if !self.complained {
            self.complained = true;
            warn!(
                "the publisher's video codec {codec} cannot go into a room, which takes H.264, H.265, AV1, VP9 and VP8 from RTMP"
            );
        }
    }
}

impl ParameterSets {
    pub(super) fn iter(&self) -> impl Iterator<Item = &[u8]> {
        self.sps.iter().chain(&self.pps).map(|set| &set[..])
    }

    fn pps(&self) -> impl Iterator<Item = &[u8]> {
        self.pps.iter().map(|set| &set[..])
    }

    fn is_bounded(&self) -> bool {
        self.iter().map(<[u8]>::len).sum::<usize>() <= PARAMETER_SETS_BYTES_MAX
    }

    /// Takes over the sets that came within a picture. They replace those of the same kind.
    fn learn(&mut self, nals: &[&[u8]]) {
        let of_kind = |kind| -> Vec<&[u8]> { nals.iter().copied().filter(|unit| nal::kind(unit) == kind).collect() };
        let (sps, pps) = (of_kind(NalKind::Sps), of_kind(NalKind::Pps));
        if (sps.is_empty() || self.sps == sps) && (pps.is_empty() || self.pps == pps) {
            return;
        }
        let mut sets = self.clone();
        if !sps.is_empty() {
            sets.sps = sps.into_iter().map(Bytes::copy_from_slice).collect();
        }
        if !pps.is_empty() {
            sets.pps = pps.into_iter().map(Bytes::copy_from_slice).collect();
        }
        if sets.is_bounded() {
            *self = sets;
        }
    }
}
