//! Where B-frames are coded anew instead of left out (feature `reencode`): from the key frame after the first of them on.

use tracing::{info, warn};

use super::video::VideoIn;
use crate::{
    bridge::{
        packetize::PacketSink,
        reencode::{Coded, Meter, ReencodeError, Reencoder},
    },
    codec::h264::{NalKind, is_b_slice, nal},
};

/// What a publisher's video needs to be coded anew.
#[derive(Default)]
pub(super) struct Reencoding {
    pub(super) enabled: bool,
    /// The present publisher's pictures cannot be.
    failed: bool,
    meter: Meter,
    /// There from a key frame on, once B-frames were seen.
    coder: Option<Box<Reencoder>>,
}

impl Reencoding {
    pub(super) fn begin_publisher(&mut self) {
        *self = Reencoding { enabled: self.enabled, ..Reencoding::default() };
    }

    /// Whether B-frames are coded anew, or will be from the next key frame on.
    pub(super) fn is_on(&self) -> bool {
        self.enabled && !self.failed
    }

    /// Whether pictures are being coded now.
    pub(super) fn is_running(&self) -> bool {
        self.coder.is_some()
    }

    /// The next picture that goes out becomes a key frame.
    pub(super) fn want_key(&mut self) {
        if let Some(coder) = &mut self.coder {
            coder.want_key();
        }
    }
}

impl VideoIn {
    /// Takes a picture, if pictures are coded anew; otherwise it is to be sent as it is (`false`). Not called between a picture
    /// that was lost and the next key frame.
    pub(super) fn reencode(
        &mut self,
        (dts_us, pts_us): (i64, i64),
        key: bool,
        nals: &[&[u8]],
        sink: &mut PacketSink<'_>,
    ) -> bool {
        if !self.reencoding.is_on() {
            return false;
        }
        self.reencoding.meter.count(dts_us, key, nals.iter().map(|unit| unit.len()).sum());
        if !self.b_frames_seen && nals.iter().any(|unit| is_b_slice(unit)) {
            self.b_frames_seen = true;
            info!("the publisher sends B-frames: from the next key frame on pictures are coded anew without them");
        }
        if self.awaiting_key {
            // The decoder misses a picture, or there was none yet.
            self.finish(sink);
        }
        if self.reencoding.coder.is_none() {
            if !key || !self.b_frames_seen {
                return false;
            }
            match Reencoder::new(self.latest_us) {
                Ok(coder) => self.reencoding.coder = Some(Box::new(coder)),
                Err(error) => return self.give_up(key, &error, sink),
            }
        }
        let mut units: Vec<&[u8]> = Vec::with_capacity(nals.len() + 2);
        let sets = self.sets.clone();
        if key {
            units.extend(sets.iter());
        }
        let is_set = |unit: &[u8]| matches!(nal::kind(unit), NalKind::Sps | NalKind::Pps);
        units.extend(nals.iter().copied().filter(|unit| !key || !is_set(unit)));
        self.awaiting_key = false;
        match self.with_coder(Some(Coded { pts_us, key, nals: &units }), sink) {
            Ok(()) => true,
            Err(error) => self.give_up(key, &error, sink),
        }
    }

    /// Sends what waits, and codes no more until the next key frame.
    pub(super) fn finish(&mut self, sink: &mut PacketSink<'_>) {
        // An error of what ends anyway is no news.
        let _ = self.with_coder(None, sink);
        self.reencoding.coder = None;
    }

    /// Gives the coder a picture, or has it finish.
    fn with_coder(&mut self, coded: Option<Coded<'_>>, sink: &mut PacketSink<'_>) -> Result<(), ReencodeError> {
        let Some(coder) = &mut self.reencoding.coder else { return Ok(()) };
        let (stream, latest_us, rate) = (&mut self.stream, &mut self.latest_us, self.reencoding.meter.rate());
        let mut lost = false;
        let mut send = |pts_us: i64, nals: &[&[u8]]| {
            // Behind a hole nothing can be decoded but a key frame.
            lost &= !nals.iter().any(|unit| nal::kind(unit) == NalKind::Idr);
            if !lost {
                *latest_us = (*latest_us).max(Some(pts_us));
                let timestamp = stream.timestamp_of_us(pts_us);
                lost = !stream.send_h264(timestamp, nals, sink);
            }
        };
        let result = match coded {
            Some(coded) => coder.push(coded, rate, &mut send),
            None => coder.finish(rate, &mut send),
        };
        if lost {
            coder.want_key();
        }
        result
    }

    /// From here on B-frames are left out, beginning with a key frame: with this one (`false`: send it), or the next.
    fn give_up(&mut self, key: bool, error: &ReencodeError, sink: &mut PacketSink<'_>) -> bool {
        warn!(
            "the publisher's pictures cannot be coded anew ({error}): B-frames are left out and motion will not be smooth; \
             switch them off in the encoder (ffmpeg: -bf 0, OBS: bf=0)"
        );
        self.finish(sink);
        self.reencoding.failed = true;
        self.awaiting_key = true;
        !key
    }
}
