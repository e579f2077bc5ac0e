//! The codecs of Enhanced RTMP: what of them goes into a room.

use bytes::Bytes;

use super::video::{PARAMETER_SETS_BYTES_MAX, PICTURE_NALS_MAX, VideoIn};
use crate::{
    bridge::packetize::PacketSink,
    codec::{
        Codec,
        av1::{self, Obu},
        h264::nal::avcc,
        h265::{self, HevcConfig},
    },
};

/// Bytes of `av1C` before its OBUs.
const AV1C_HEAD_BYTES: usize = 4;

impl VideoIn {
    /// Takes a configuration record; one that cannot be read changes nothing.
    pub(super) fn handle_other_header(&mut self, codec: Codec, record: &[u8]) {
        let preamble = match codec {
            Codec::H265 => {
                let Some(config) = HevcConfig::parse(record) else { return };
                self.length_size = config.length_size;
                config.sets.into_iter().map(Bytes::copy_from_slice).collect()
            }
            Codec::Av1 => {
                let obus = record.get(AV1C_HEAD_BYTES..).filter(|obus| obus.len() <= PARAMETER_SETS_BYTES_MAX);
                vec![Bytes::copy_from_slice(obus.unwrap_or_default())]
            }
            _ => Vec::new(),
        };
        self.set_codec(codec);
        self.preamble = preamble;
    }

    /// Takes a picture that is shown at `pts_us`.
    pub(super) fn handle_other_frame(
        &mut self,
        codec: Codec,
        pts_us: i64,
        key: bool,
        data: &[u8],
        sink: &mut PacketSink<'_>,
    ) {
        self.set_codec(codec);
        if data.is_empty() || (self.awaiting_key && !key) {
            return;
        }
        // As with H.264: what belongs before a picture that was sent is not sent, among it what only can be decoded with pictures
        // from before a key frame. Of these codecs only H.265 has such.
        if codec == Codec::H265 && self.latest_us.is_some_and(|latest_us| pts_us < latest_us) {
            return self.see_b_frames();
        }
        self.latest_us = self.latest_us.max(Some(pts_us));
        let timestamp = self.stream.timestamp_of_us(pts_us);
        let sent = match codec {
            Codec::Vp8 => self.stream.send_vp8(timestamp, data, sink),
            Codec::Vp9 => self.stream.send_vp9(timestamp, key, data, sink),
            Codec::Av1 => self.send_av1(timestamp, key, data, sink),
            Codec::H265 => self.send_h265(timestamp, key, data, sink),
            Codec::H264 | Codec::Opus => return,
        };
        self.awaiting_key = !sent;
    }

    fn send_av1(&mut self, timestamp: u32, key: bool, data: &[u8], sink: &mut PacketSink<'_>) -> bool {
        let Some(mut obus) = av1::obus(data, PICTURE_NALS_MAX) else { return false };
        let configured: Vec<Obu<'_>>;
        if key && !obus.iter().any(Obu::is_sequence_header) {
            // In band before every key frame: whoever joins or lost packets can start here.
            let record = self.preamble.first().map_or(&[][..], |obus| &obus[..]);
            configured = av1::obus(record, PICTURE_NALS_MAX).unwrap_or_default();
            obus.splice(0..0, configured.iter().copied().filter(Obu::is_sequence_header));
        }
        // Nothing but a delimiter is no loss.
        obus.is_empty() || self.stream.send_av1(timestamp, key, &obus, sink)
    }

    fn send_h265(&mut self, timestamp: u32, key: bool, data: &[u8], sink: &mut PacketSink<'_>) -> bool {
        let mut nals: Vec<&[u8]> = Vec::new();
        for unit in avcc(data, self.length_size) {
            match unit {
                Ok(unit) if nals.len() < PICTURE_NALS_MAX => nals.push(unit),
                _ => return false,
            }
        }
        nals.retain(|unit| unit.len() > 2 && h265::is_kept(h265::kind(unit)));
        if !nals.iter().any(|unit| h265::is_slice(h265::kind(unit))) {
            return !self.awaiting_key;
        }
        let is_set = |unit: &&[u8]| matches!(h265::kind(unit), h265::VPS | h265::SPS | h265::PPS);
        let own_sets = nals.iter().any(is_set);
        let preamble = self.preamble.iter().filter(|_| key && !own_sets).map(|set| &set[..]);
        let picture: Vec<&[u8]> = preamble.chain(nals.iter().copied()).collect();
        self.stream.send_h265(timestamp, &picture, sink)
    }
}
