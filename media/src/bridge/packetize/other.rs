//! Pictures of the codecs beside H.264 to RTP packets: VP8 (RFC 7741), VP9 (RFC 9628), AV1 (AV1 RTP payload specification 1.0),
//! H.265 (RFC 7798). The plainest form that each of them allows: no layers, no picture numbers; receivers go by sequence
//! numbers.

use super::{PAYLOAD_BYTES_MAX, PacketSink, RtpStream};
use crate::codec::{av1, h265};

/// S: a partition starts here, the first one.
const VP8_START: u8 = 0x10;
/// P: the picture is predicted from others.
const VP9_INTER: u8 = 0x40;
/// B and E: the first and the last packet of a picture.
const VP9_BEGIN: u8 = 0x08;
const VP9_END: u8 = 0x04;
/// Z and Y: the packet begins within an OBU, and ends within one.
const AV1_CONTINUES: u8 = 0x80;
const AV1_CONTINUED: u8 = 0x40;
/// Of the length before an OBU, or a part of one, where W = 0: two bytes of `leb128` go to 16,383.
const AV1_LENGTH_BYTES: usize = 2;
/// What a packet may have beside its share: its header, the length of what it begins with, and a first byte of another unit.
const AV1_SPARE_BYTES: usize = 1 + AV1_LENGTH_BYTES + AV1_LENGTH_BYTES + 1;
/// N: a coded video sequence begins.
const AV1_NEW_SEQUENCE: u8 = 0x08;

impl RtpStream {
    /// Sends a VP8 frame. False if not all of it could be sent; so with the others.
    pub fn send_vp8(&mut self, timestamp: u32, frame: &[u8], sink: &mut PacketSink<'_>) -> bool {
        let mut parts = equal_parts(frame, PAYLOAD_BYTES_MAX - 1).enumerate().peekable();
        while let Some((n, part)) = parts.next() {
            let descriptor = if n == 0 { VP8_START } else { 0 };
            if !self.send(timestamp, parts.peek().is_none(), &[descriptor], part, sink) {
                return false;
            }
        }
        true
    }

    /// Sends a VP9 picture.
    pub fn send_vp9(&mut self, timestamp: u32, key: bool, frame: &[u8], sink: &mut PacketSink<'_>) -> bool {
        let mut parts = equal_parts(frame, PAYLOAD_BYTES_MAX - 1).enumerate().peekable();
        while let Some((n, part)) = parts.next() {
            let last = parts.peek().is_none();
            let mut descriptor = if key { 0 } else { VP9_INTER };
            descriptor |= if n == 0 { VP9_BEGIN } else { 0 };
            descriptor |= if last { VP9_END } else { 0 };
            if !self.send(timestamp, last, &[descriptor], part, sink) {
                return false;
            }
        }
        true
    }

    /// Sends the OBUs of one AV1 temporal unit, each as [`av1::Obu`] gives it: a header without a length, and what follows.
    /// `key`: with it a coded video sequence begins.
    ///
    /// Packets are cut within OBUs, never between two: without a dependency descriptor Chromium takes a packet that begins or ends
    /// with a whole OBU for the beginning or the end of a picture.
    pub fn send_av1(&mut self, timestamp: u32, key: bool, obus: &[av1::Obu<'_>], sink: &mut PacketSink<'_>) -> bool {
        let (mut whole, mut ends) = (Vec::new(), Vec::new());
        for obu in obus {
            obu.write(&mut whole);
            ends.push(whole.len());
        }
        // Packets of one size, as with the other codecs: what each may have, its header and the lengths in it among that.
        let needed = whole.len() + ends.len() * AV1_LENGTH_BYTES;
        let count = needed.div_ceil(PAYLOAD_BYTES_MAX - AV1_SPARE_BYTES).max(1);
        let share = needed.div_ceil(count) + 1 + AV1_LENGTH_BYTES;
        let (mut at, mut unit, mut continues) = (0, 0, false);
        let mut payload = Vec::with_capacity(PAYLOAD_BYTES_MAX);
        while at < whole.len() {
            payload.clear();
            payload.push(if continues { AV1_CONTINUES } else { 0 } | if key && at == 0 { AV1_NEW_SEQUENCE } else { 0 });
            while let Some(&end) = ends.get(unit) {
                // At least a byte, which is how the packet comes to end within this unit and not before it.
                let len = share.saturating_sub(payload.len() + AV1_LENGTH_BYTES).clamp(1, end - at);
                av1::write_leb128(len, &mut payload);
                payload.extend_from_slice(&whole[at..at + len]);
                at += len;
                continues = at < end;
                unit += usize::from(!continues);
                if continues || payload.len() + AV1_LENGTH_BYTES >= PAYLOAD_BYTES_MAX {
                    break;
                }
            }
            payload[0] |= if continues { AV1_CONTINUED } else { 0 };
            if !self.send(timestamp, at == whole.len(), &[], &payload, sink) {
                return false;
            }
        }
        true
    }

    /// Sends the NAL units of one H.265 picture, each alone or in fragments.
    pub fn send_h265(&mut self, timestamp: u32, nals: &[&[u8]], sink: &mut PacketSink<'_>) -> bool {
        for (n, nal) in nals.iter().enumerate() {
            let last_nal = n + 1 == nals.len();
            let Some((&[first, second], body)) = nal.split_first_chunk::<2>() else { continue };
            if nal.len() <= PAYLOAD_BYTES_MAX {
                if !self.send(timestamp, last_nal, &[], nal, sink) {
                    return false;
                }
                continue;
            }
            let kind = h265::kind(nal);
            let mut parts = equal_parts(body, PAYLOAD_BYTES_MAX - 3).enumerate().peekable();
            while let Some((part_number, part)) = parts.next() {
                let last = parts.peek().is_none();
                let start = if part_number == 0 { 0x80 } else { 0 };
                let end = if last { 0x40 } else { 0 };
                let prefix = [first & 0x81 | h265::FRAGMENT << 1, second, start | end | kind];
                if !self.send(timestamp, last_nal && last, &prefix, part, sink) {
                    return false;
                }
            }
        }
        true
    }
}

/// The fewest parts of at most `most` bytes, all of one size but for a last one that may be shorter, so that they leave as one
/// run.
fn equal_parts(bytes: &[u8], most: usize) -> impl Iterator<Item = &[u8]> {
    let count = bytes.len().div_ceil(most).max(1);
    bytes.chunks(bytes.len().div_ceil(count).max(1))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        codec::{Codec, av1, vp8, vp9},
        ids::Kind,
        rtp::packet::Header,
    };

    fn sent(send: impl FnOnce(&mut RtpStream, &mut PacketSink<'_>) -> bool) -> Vec<(bool, Vec<u8>)> {
        let mut stream = RtpStream::new(Kind::Video, 96, 90_000);
        let mut packets = Vec::new();
        assert!(send(&mut stream, &mut |_, packet| {
            let header = Header::parse(packet).unwrap();
            packets.push((header.marker, header.payload(packet).to_vec()));
            true
        }));
        assert!(packets.iter().all(|(_, payload)| payload.len() <= PAYLOAD_BYTES_MAX));
        let markers: Vec<bool> = packets.iter().map(|(marker, _)| *marker).collect();
        assert!(markers.last() == Some(&true) && !markers[..markers.len() - 1].contains(&true), "{markers:?}");
        packets
    }

    #[test]
    fn frames_of_vp8_and_vp9_are_put_together_again_from_behind_their_descriptors() {
        for key in [false, true] {
            let frame: Vec<u8> = std::iter::once(u8::from(!key)).chain((1..3_000).map(|n| n as u8)).collect();
            let packets = sent(|stream, sink| stream.send_vp8(0, &frame, sink));
            let joined: Vec<u8> =
                packets.iter().flat_map(|(_, p)| vp8::Descriptor::parse(p).unwrap().frame_bytes(p).to_vec()).collect();
            assert_eq!(joined, frame);
            let says: Vec<_> = packets.iter().map(|(_, p)| Codec::Vp8.inspect(p)).collect();
            assert!(says[0].starts_frame && says[0].key == key && says[1..].iter().all(|s| !s.starts_frame));

            let packets = sent(|stream, sink| stream.send_vp9(0, key, &frame, sink));
            let joined: Vec<u8> = packets
                .iter()
                .flat_map(|(_, p)| p[usize::from(vp9::Descriptor::parse(p).unwrap().len)..].to_vec())
                .collect();
            assert_eq!(joined, frame);
            assert_eq!(Codec::Vp9.inspect(&packets[0].1).key, key);
            assert!(packets[1..].iter().all(|(_, p)| !Codec::Vp9.inspect(p).starts_frame));
        }
    }

    #[test]
    fn a_temporal_unit_of_av1_begins_a_sequence_once_and_no_packet_ends_between_its_units() {
        let body: Vec<u8> = (0..3_000).map(|n| n as u8).collect();
        for lengths in
            [&[3, 3_000][..], &[3, 100], &[3, 1_150, 20], &[3, 1_140, 1_200, 0, 7], &[3, 1_143, 1_144, 1_145]]
        {
            let obus: Vec<av1::Obu<'_>> = (lengths.iter().enumerate())
                .map(|(n, len)| av1::Obu {
                    header: if n == 0 { 1 } else { 6 } << 3,
                    extension: None,
                    body: &body[..*len],
                })
                .collect();
            let packets = sent(|stream, sink| stream.send_av1(0, true, &obus, sink));
            let inspected = packets.iter().map(|(_, p)| Codec::Av1.inspect(p).key);
            assert!(inspected.enumerate().all(|(n, key)| key == (n == 0)), "{lengths:?}");
            let last = packets.len() - 1;
            for (n, (_, packet)) in packets.iter().enumerate() {
                assert_eq!(
                    (packet[0] & AV1_CONTINUES != 0, packet[0] & AV1_CONTINUED != 0),
                    (n > 0, n < last),
                    "{lengths:?}"
                );
            }
            let needed: usize = lengths.iter().map(|len| len + 1).sum();
            assert!(packets.len() <= needed.div_ceil(PAYLOAD_BYTES_MAX - 20), "{lengths:?}: {} packets", packets.len());
        }
    }

    #[test]
    fn a_long_unit_of_h265_leaves_in_fragments_that_tell_its_kind() {
        let idr: Vec<u8> = [19 << 1, 1].into_iter().chain((0..3_000).map(|n| n as u8)).collect();
        let packets = sent(|stream, sink| stream.send_h265(0, &[&[32 << 1, 1, 7], &idr], sink));
        assert_eq!(packets[0].1, [32 << 1, 1, 7]);
        let fu: Vec<u8> = packets[1..].iter().map(|(_, p)| p[2]).collect();
        assert_eq!(fu, [0x80 | 19, 19, 0x40 | 19]);
        assert!(packets[1..].iter().all(|(_, p)| p[0] >> 1 & 0x3f == h265::FRAGMENT && p[1] == 1));
        let joined: Vec<u8> = packets[1..].iter().flat_map(|(_, p)| p[3..].to_vec()).collect();
        assert_eq!(joined, idr[2..]);
    }
}
