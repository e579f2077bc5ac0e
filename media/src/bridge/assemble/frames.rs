//! Packets of VP8, VP9 and AV1 to frames as FLV carries them, and the records that introduce them there.

use super::{PICTURE_BYTES_MAX, Packet};
use crate::{
    codec::{
        Codec,
        av1::{self, Obu, Sequence},
        bits::BitReader,
        vp8, vp9,
    },
    units::time::Time,
};

/// `VP9_SYNC_CODE` (VP9 bitstream specification §7.2).
const VP9_SYNC_CODE: u32 = 0x49_8342;
/// The level that is said of VP8 and VP9 pictures, whose own headers say none: 3.1.
const VPCC_LEVEL: u8 = 31;

/// A frame, whole.
#[derive(Clone, Debug)]
pub struct Frame {
    /// RTP timestamp.
    pub timestamp: u32,
    /// When its first packet arrived.
    pub arrival: Time,
    pub key: bool,
    pub data: Vec<u8>,
}

/// Puts the packets of a track together. After a loss it gives nothing until a key frame.
#[derive(Debug)]
pub struct FrameAssembler {
    codec: Codec,
    current: Option<Current>,
    synced: bool,
}

#[derive(Debug)]
struct Current {
    timestamp: u32,
    arrival: Time,
    key: bool,
    data: Vec<u8>,
    /// An OBU of which more is to come.
    open: Vec<u8>,
    damaged: bool,
}

impl FrameAssembler {
    /// `codec`: VP8, VP9 or AV1.
    pub fn new(codec: Codec) -> Self {
        FrameAssembler { codec, current: None, synced: false }
    }

    /// Whether the next frame to come out will be a key frame, so that one should be asked for.
    pub fn awaits_key(&self) -> bool {
        !self.synced
    }

    /// Takes the next packet in order; gives `out` each frame that is complete.
    pub fn push(&mut self, packet: &Packet, out: &mut dyn FnMut(Frame)) {
        if packet.after_hole {
            // The hole may have been the end of this frame or the start of another.
            self.current = None;
            self.synced = false;
        }
        if self.current.as_ref().is_some_and(|current| current.timestamp != packet.timestamp) {
            self.finish(out);
        }
        if packet.payload.is_empty() {
            return;
        }
        let says = self.codec.inspect(&packet.payload);
        let codec = self.codec;
        let current = self.current.get_or_insert_with(|| Current {
            timestamp: packet.timestamp,
            arrival: packet.arrival,
            key: says.key,
            data: Vec::new(),
            open: Vec::new(),
            damaged: !says.starts_frame,
        });
        let added = match codec {
            Codec::Vp8 => current.add_vp8(&packet.payload),
            Codec::Vp9 => current.add_vp9(&packet.payload),
            _ => current.add_av1(&packet.payload),
        };
        current.damaged |= added.is_none() || current.data.len() + current.open.len() > PICTURE_BYTES_MAX;
        if packet.marker {
            self.finish(out);
        }
    }

    fn finish(&mut self, out: &mut dyn FnMut(Frame)) {
        let Some(Current { timestamp, arrival, key, data, open, damaged }) = self.current.take() else { return };
        if damaged || !open.is_empty() {
            self.synced = false;
            return;
        }
        if !data.is_empty() && (key || self.synced) {
            self.synced = true;
            out(Frame { timestamp, arrival, key, data });
        }
    }
}

impl Current {
    fn add_vp8(&mut self, payload: &[u8]) -> Option<()> {
        let descriptor = vp8::Descriptor::parse(payload).ok()?;
        self.data.extend_from_slice(descriptor.frame_bytes(payload));
        Some(())
    }

    fn add_vp9(&mut self, payload: &[u8]) -> Option<()> {
        let descriptor = vp9::Descriptor::parse(payload).ok()?;
        self.data.extend_from_slice(payload.get(usize::from(descriptor.len)..)?);
        Some(())
    }

    fn add_av1(&mut self, payload: &[u8]) -> Option<()> {
        let (aggregation, elements) = av1::elements(payload)?;
        let count = elements.len();
        for (n, element) in elements.into_iter().enumerate() {
            let continues = n == 0 && aggregation.continues;
            if continues == self.open.is_empty() {
                return None;
            }
            self.open.extend_from_slice(element);
            if n + 1 < count || !aggregation.continued {
                for obu in av1::obus(&self.open, 1)? {
                    obu.write_sized(&mut self.data);
                }
                self.open.clear();
            }
        }
        Some(())
    }
}

/// Width and height in pixels, if they are known.
pub type Size = Option<(u32, u32)>;

/// The configuration record that introduces a key frame, and the size of its picture. `None` if it cannot be read.
pub fn record_of(codec: Codec, key_frame: &[u8]) -> Option<(Vec<u8>, Size)> {
    match codec {
        Codec::Av1 => {
            let obus = av1::obus(key_frame, usize::MAX)?;
            let header = obus.iter().find(|obu| Obu::is_sequence_header(obu))?;
            let sequence = Sequence::parse(header.body)?;
            // AV1 codec ISO media file format binding §2.3.3; 8 bits, 4:2:0, which is what browsers send.
            let mut record = vec![0x81, sequence.profile << 5 | sequence.level, sequence.tier << 7 | 0x0c, 0];
            header.write_sized(&mut record);
            Some((record, sequence.size))
        }
        Codec::Vp8 => Some((vpcc(0), vp8_size(key_frame))),
        _ => {
            let (profile, size) = vp9_header(key_frame)?;
            Some((vpcc(profile), size))
        }
    }
}

/// VPCodecConfigurationRecord behind its version and flags (VP codec ISO media file format binding): 8 bits, 4:2:0, BT.709.
fn vpcc(profile: u8) -> Vec<u8> {
    vec![1, 0, 0, 0, profile, VPCC_LEVEL, 8 << 4 | 1 << 1, 1, 1, 1, 0, 0]
}

/// RFC 6386 §9.1.
fn vp8_size(frame: &[u8]) -> Size {
    let &[_, _, _, 0x9d, 0x01, 0x2a, w0, w1, h0, h1, ..] = frame.first_chunk::<10>()? else { return None };
    let side = |low, high: u8| u32::from(u16::from_le_bytes([low, high & 0x3f]));
    Some((side(w0, w1), side(h0, h1)))
}

/// Profile and size of a key frame (VP9 bitstream specification §6.2); the size of profile 0 only.
fn vp9_header(frame: &[u8]) -> Option<(u8, Size)> {
    let mut bits = BitReader::new(frame);
    if bits.bits(2)? != 2 {
        return None;
    }
    let profile = bits.bits(1)? | bits.bits(1)? << 1;
    if profile != 0 {
        return Some((profile as u8, None));
    }
    // show_existing_frame and frame_type, both zero for a key frame; show_frame, error_resilient_mode.
    if bits.bits(4)? & 0b1100 != 0 || bits.bits(24)? != VP9_SYNC_CODE {
        return None;
    }
    let srgb = 7;
    if bits.bits(3)? == srgb {
        return None;
    }
    let _full_range = bits.bits(1)?;
    Some((0, Some((bits.bits(16)? + 1, bits.bits(16)? + 1))))
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use proptest::prelude::*;

    use super::*;
    use crate::{
        bridge::packetize::{PacketSink, RtpStream},
        ids::Kind,
        rtp::packet::Header,
    };

    fn packets(send: impl FnOnce(&mut RtpStream, &mut PacketSink<'_>)) -> Vec<Packet> {
        let mut stream = RtpStream::new(Kind::Video, 96, 90_000);
        let mut packets = Vec::new();
        send(&mut stream, &mut |_, packet| {
            let header = Header::parse(packet).unwrap();
            packets.push(Packet {
                marker: header.marker,
                timestamp: header.timestamp,
                arrival: Time::ZERO,
                payload: Bytes::copy_from_slice(header.payload(packet)),
                after_hole: false,
            });
            true
        });
        packets
    }

    fn assembled(codec: Codec, packets: &[Packet]) -> Vec<(bool, Vec<u8>)> {
        let (mut assembler, mut frames) = (FrameAssembler::new(codec), Vec::new());
        packets.iter().for_each(|packet| assembler.push(packet, &mut |frame| frames.push((frame.key, frame.data))));
        frames
    }

    fn vp8(key: bool, len: usize) -> Vec<u8> {
        let mut frame = vec![u8::from(!key), 0, 0, 0x9d, 0x01, 0x2a, 0x40, 0x01, 0xb4, 0x40];
        frame.resize(len, 5);
        frame
    }

    #[test]
    fn frames_come_out_as_they_went_in_and_after_a_loss_from_the_next_key_frame_on() {
        let frames = [vp8(true, 4_000), vp8(false, 3_000), vp8(false, 20), vp8(true, 2_000)];
        let sent = packets(|stream, sink| {
            for (n, frame) in frames.iter().enumerate() {
                assert!(stream.send_vp8(n as u32 * 3_000, frame, sink));
            }
        });
        let expected: Vec<_> = frames.iter().enumerate().map(|(n, frame)| (n % 3 == 0, frame.clone())).collect();
        assert_eq!(assembled(Codec::Vp8, &sent), expected);
        let mut lossy = sent.clone();
        lossy.remove(5);
        lossy[5].after_hole = true;
        assert_eq!(assembled(Codec::Vp8, &lossy), [expected[0].clone(), expected[3].clone()]);
    }

    #[test]
    fn a_temporal_unit_comes_out_with_its_lengths() {
        let long = vec![7; 3_000];
        let obus = [
            Obu { header: 1 << 3, extension: None, body: &[1, 2] },
            Obu { header: 6 << 3, extension: None, body: &long },
        ];
        let sent = packets(|stream, sink| assert!(stream.send_av1(0, true, &obus, sink)));
        let mut whole = Vec::new();
        obus.iter().for_each(|obu| obu.write_sized(&mut whole));
        assert_eq!(assembled(Codec::Av1, &sent), [(true, whole)]);
    }

    #[test]
    fn records_tell_the_size() {
        assert_eq!(record_of(Codec::Vp8, &vp8(true, 10)), Some((vpcc(0), Some((320, 180)))));
        // Profile 0, key, shown; sync code; BT.601, studio range; 640 x 360.
        let bits: u128 = 0b1000_0010 << 24 | u128::from(VP9_SYNC_CODE);
        let bits = (bits << 4 | 0b0010) << 32 | 639 << 16 | 359;
        let frame = (bits << 4).to_be_bytes()[7..].to_vec();
        assert_eq!(record_of(Codec::Vp9, &frame), Some((vpcc(0), Some((640, 360)))));
        assert_eq!(record_of(Codec::Vp9, &[0x00]), None);
    }

    proptest! {
        #[test]
        fn no_payload_panics(payloads in prop::collection::vec((prop::collection::vec(any::<u8>(), 0..60), any::<bool>(), any::<bool>()), 0..40)) {
            for codec in [Codec::Vp8, Codec::Vp9, Codec::Av1] {
                let mut assembler = FrameAssembler::new(codec);
                for (n, (payload, marker, after_hole)) in payloads.iter().cloned().enumerate() {
                    let packet = Packet { marker, timestamp: n as u32 / 3, arrival: Time::ZERO, payload: payload.into(), after_hole };
                    assembler.push(&packet, &mut |frame| { let _ = record_of(codec, &frame.data); });
                }
            }
        }
    }
}
