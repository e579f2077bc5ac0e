//! RTP packets to frames: the jitter buffer that only this direction has, and H.264 pictures out of their packets.

pub mod frames;

use std::{collections::BTreeMap, time::Duration};

use bytes::Bytes;

use crate::{
    codec::h264::{
        self, NalKind,
        nal::{self, avcc, write_avcc},
        payload::{Piece, pieces},
    },
    rtp::packet::Header,
    units::{seq::Unwrap16, time::Time},
};

/// How long a hole in the sequence numbers is waited for. A retransmission takes one or two round trips; players of RTMP and
/// FLV are further behind than this in any case.
pub const HOLE_WAIT: Duration = Duration::from_millis(150);

/// Most packets that wait behind a hole: more than 150 ms of 20 Mbit/s.
pub const WAITING_PACKETS_MAX: usize = 512;

/// So many packets in a row from before what was released are no stragglers: the numbers began anew.
const STRAGGLERS_MAX: u32 = 64;

/// Largest picture that is put together.
pub const PICTURE_BYTES_MAX: usize = 4 << 20;

/// One packet in its place.
#[derive(Clone, Debug)]
pub struct Packet {
    pub marker: bool,
    pub timestamp: u32,
    pub arrival: Time,
    /// Empty for a packet that only pads.
    pub payload: Bytes,
    /// Packets before this one were given up.
    pub after_hole: bool,
}

/// Puts packets in order, and waits for missing ones, but not for long.
#[derive(Debug, Default)]
pub struct JitterBuffer {
    unwrap: Unwrap16,
    next: Option<u64>,
    waiting: BTreeMap<u64, Packet>,
    /// Since when the next packet is missing while later ones are there.
    hole_since: Option<Time>,
    stragglers: u32,
}

impl JitterBuffer {
    /// Takes a packet that arrived at `now`. Duplicates and what comes too late are left out.
    pub fn push(&mut self, now: Time, header: &Header, payload: &[u8]) {
        let seq = self.unwrap.extend(header.seq);
        if self.next.is_some_and(|next| seq < next) {
            self.stragglers += 1;
            if self.stragglers < STRAGGLERS_MAX {
                return;
            }
            *self = JitterBuffer::default();
            return self.push(now, header, payload);
        }
        self.stragglers = 0;
        self.next.get_or_insert(seq);
        self.waiting.entry(seq).or_insert_with(|| Packet {
            marker: header.marker,
            timestamp: header.timestamp,
            arrival: now,
            payload: Bytes::copy_from_slice(payload),
            after_hole: false,
        });
    }

    /// The next packet in order, if it is there, or if those missing before it were waited for long enough.
    pub fn pop(&mut self, now: Time) -> Option<Packet> {
        let (&seq, _) = self.waiting.first_key_value()?;
        let after_hole = self.next != Some(seq);
        if after_hole {
            let since = *self.hole_since.get_or_insert(now);
            if now.since(since) < HOLE_WAIT && self.waiting.len() <= WAITING_PACKETS_MAX {
                return None;
            }
        }
        self.hole_since = None;
        self.next = Some(seq + 1);
        let packet = self.waiting.remove(&seq)?;
        Some(Packet { after_hole, ..packet })
    }
}

/// A picture of H.264, whole.
#[derive(Clone, Debug)]
pub struct Picture {
    /// RTP timestamp.
    pub timestamp: u32,
    /// When its first packet arrived.
    pub arrival: Time,
    pub key: bool,
    /// Slices and what belongs to them, each behind a length of four bytes; without parameter sets.
    pub nals: Vec<u8>,
}

/// Puts the packets of an H.264 track together. After a loss it gives nothing until a key frame.
#[derive(Debug, Default)]
pub struct H264Assembler {
    current: Option<Current>,
    sps: Vec<Bytes>,
    pps: Vec<Bytes>,
    synced: bool,
}

/// The picture that is being put together, each unit behind a length of four bytes.
#[derive(Debug)]
struct Current {
    timestamp: u32,
    arrival: Time,
    units: Vec<u8>,
    /// Where the length of the fragmented unit stands that is not complete yet.
    open_at: Option<usize>,
    damaged: bool,
}

impl H264Assembler {
    /// Whether the next picture to come out will be a key frame, so that one should be asked for.
    pub fn awaits_key(&self) -> bool {
        !self.synced
    }

    /// The parameter sets of the newest key frame.
    pub fn parameter_sets(&self) -> (&[Bytes], &[Bytes]) {
        (&self.sps, &self.pps)
    }

    /// Takes the next packet in order; gives `out` each picture that is complete.
    pub fn push(&mut self, packet: &Packet, out: &mut dyn FnMut(&Self, Picture)) {
        if packet.after_hole {
            // The hole may have been the end of this picture or the start of another.
            self.current = None;
            self.synced = false;
        }
        if self.current.as_ref().is_some_and(|current| current.timestamp != packet.timestamp) {
            // Nothing is missing, so its last packet just had no marker.
            self.finish(out);
        }
        if packet.payload.is_empty() {
            return;
        }
        let current = self.current.get_or_insert_with(|| Current {
            timestamp: packet.timestamp,
            arrival: packet.arrival,
            units: Vec::new(),
            open_at: None,
            damaged: packet.after_hole && !h264::inspect(&packet.payload).starts_frame,
        });
        current.add(&packet.payload);
        if packet.marker {
            self.finish(out);
        }
    }

    fn finish(&mut self, out: &mut dyn FnMut(&Self, Picture)) {
        let Some(current) = self.current.take() else { return };
        if current.damaged || current.open_at.is_some() {
            self.synced = false;
            return;
        }
        let (mut sps, mut pps) = (Vec::new(), Vec::new());
        let (mut key, mut any_slice) = (false, false);
        let mut nals = Vec::with_capacity(current.units.len());
        for unit in avcc(&current.units, 4).flatten() {
            match nal::kind(unit) {
                NalKind::Sps => sps.push(Bytes::copy_from_slice(unit)),
                NalKind::Pps => pps.push(Bytes::copy_from_slice(unit)),
                NalKind::AccessUnitDelimiter | NalKind::Filler | NalKind::EndOfSequence | NalKind::EndOfStream => {}
                kind => {
                    key |= kind == NalKind::Idr;
                    any_slice |= kind.is_slice();
                    write_avcc(&mut nals, unit);
                }
            }
        }
        if !sps.is_empty() {
            self.sps = sps;
        }
        if !pps.is_empty() {
            self.pps = pps;
        }
        let has_sets = !self.sps.is_empty() && !self.pps.is_empty();
        if !any_slice || !(self.synced || (key && has_sets)) {
            return;
        }
        self.synced = true;
        out(self, Picture { timestamp: current.timestamp, arrival: current.arrival, key, nals });
    }
}

impl Current {
    fn add(&mut self, payload: &[u8]) {
        for piece in pieces(payload) {
            if self.units.len() + payload.len() > PICTURE_BYTES_MAX {
                self.damaged = true;
            }
            if self.damaged {
                return;
            }
            match (piece, self.open_at) {
                (Ok(Piece::Whole(unit)), None) => write_avcc(&mut self.units, unit),
                (Ok(Piece::Part { header, start: true, data, .. }), None) => {
                    self.open_at = Some(self.units.len());
                    self.units.extend_from_slice(&[0, 0, 0, 0, header]);
                    self.units.extend_from_slice(data);
                }
                (Ok(Piece::Part { start: false, end, data, .. }), Some(at)) => {
                    self.units.extend_from_slice(data);
                    if end {
                        self.close(at);
                    }
                }
                // A unit within a unit, a part without a start, or rubbish: something was lost before it came to us.
                _ => self.damaged = true,
            }
        }
    }

    fn close(&mut self, at: usize) {
        let len = (self.units.len() - at - 4) as u32;
        if let Some(place) = self.units.get_mut(at..at + 4) {
            place.copy_from_slice(&len.to_be_bytes());
        }
        self.open_at = None;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{bridge::packetize::RtpStream, ids::Kind};

    const START: Time = Time::from_millis(1_000);

    fn header(seq: u16) -> Header {
        let packet = [0x80, 102, (seq >> 8) as u8, seq as u8, 0, 0, 0, 0, 0, 0, 0, 1];
        Header::parse(&packet).unwrap()
    }

    fn popped(buffer: &mut JitterBuffer, now: Time) -> Vec<(u8, bool)> {
        std::iter::from_fn(|| buffer.pop(now)).map(|p| (p.payload[0], p.after_hole)).collect()
    }

    #[test]
    fn reordered_packets_come_out_in_order_and_duplicates_once() {
        let mut buffer = JitterBuffer::default();
        for seq in [65_534u16, 0, 65_535, 65_535, 1] {
            buffer.push(START, &header(seq), &[seq as u8]);
        }
        assert_eq!(popped(&mut buffer, START), [(254, false), (255, false), (0, false), (1, false)]);
        buffer.push(START, &header(0), &[0]);
        assert_eq!(popped(&mut buffer, START), []);
    }

    #[test]
    fn a_hole_is_waited_for_and_then_given_up() {
        let mut buffer = JitterBuffer::default();
        for seq in [1, 2, 4, 5] {
            buffer.push(START, &header(seq), &[seq as u8]);
        }
        assert_eq!(popped(&mut buffer, START), [(1, false), (2, false)]);
        let just_before = START + HOLE_WAIT - Duration::from_micros(1);
        assert_eq!(popped(&mut buffer, just_before), []);
        assert_eq!(popped(&mut buffer, START + HOLE_WAIT), [(4, true), (5, false)]);
    }

    #[test]
    fn a_retransmission_in_time_leaves_no_hole() {
        let mut buffer = JitterBuffer::default();
        buffer.push(START, &header(1), &[1]);
        buffer.push(START, &header(3), &[3]);
        assert_eq!(popped(&mut buffer, START), [(1, false)]);
        buffer.push(START + Duration::from_millis(80), &header(2), &[2]);
        assert_eq!(popped(&mut buffer, START + Duration::from_millis(80)), [(2, false), (3, false)]);
    }

    #[test]
    fn waiting_packets_at_the_bound_wait_and_over_it_do_not() {
        let mut buffer = JitterBuffer::default();
        buffer.push(START, &header(0), &[0]);
        popped(&mut buffer, START);
        for n in 0..WAITING_PACKETS_MAX as u16 {
            buffer.push(START, &header(2 + n), &[1]);
        }
        assert_eq!(popped(&mut buffer, START), []);
        buffer.push(START, &header(2 + WAITING_PACKETS_MAX as u16), &[1]);
        assert_eq!(popped(&mut buffer, START).len(), WAITING_PACKETS_MAX + 1);
    }

    #[test]
    fn numbers_that_begin_anew_are_followed_after_a_while() {
        let mut buffer = JitterBuffer::default();
        buffer.push(START, &header(30_000), &[0]);
        popped(&mut buffer, START);
        let mut heard = 0;
        for seq in 10_000..10_100 {
            buffer.push(START, &header(seq), &[1]);
            heard += popped(&mut buffer, START).len();
        }
        assert_eq!(heard, 100 - STRAGGLERS_MAX as usize + 1);
    }

    /// Packets of pictures, each a list of NAL units.
    fn packets_of(pictures: &[Vec<Vec<u8>>]) -> Vec<Packet> {
        let mut stream = RtpStream::new(Kind::Video, 102, 90_000);
        let mut packets = Vec::new();
        for (n, nals) in pictures.iter().enumerate() {
            let nals: Vec<&[u8]> = nals.iter().map(|nal| &nal[..]).collect();
            stream.send_h264(n as u32 * 3_000, &nals, &mut |_, packet| {
                let header = Header::parse(packet).unwrap();
                packets.push(Packet {
                    marker: header.marker,
                    timestamp: header.timestamp,
                    arrival: START,
                    payload: Bytes::copy_from_slice(header.payload(packet)),
                    after_hole: false,
                });
                true
            });
        }
        packets
    }

    fn slice(header: u8, len: usize) -> Vec<u8> {
        // first_mb_in_slice 0, and never a start code.
        [header, 0x88].into_iter().chain((0..len).map(|n| n as u8 | 1)).collect()
    }

    fn key_picture(len: usize) -> Vec<Vec<u8>> {
        vec![vec![0x67, 0x42, 0xc0, 0x1e], vec![0x68, 0xce], slice(0x65, len)]
    }

    fn assembled(packets: &[Packet]) -> Vec<(u32, bool, usize)> {
        let mut assembler = H264Assembler::default();
        let mut pictures = Vec::new();
        for packet in packets {
            assembler.push(packet, &mut |_, p| pictures.push((p.timestamp, p.key, p.nals.len())));
        }
        pictures
    }

    #[test]
    fn pictures_come_out_whole_without_their_parameter_sets() {
        let packets = packets_of(&[key_picture(3_000), vec![slice(0x41, 10)], vec![slice(0x41, 5), slice(0x41, 6)]]);
        assert_eq!(assembled(&packets), [(0, true, 3_006), (3_000, false, 16), (6_000, false, 11 + 12)]);
    }

    #[test]
    fn pictures_without_markers_end_with_the_timestamp() {
        let mut packets = packets_of(&[key_picture(3_000), vec![slice(0x41, 10)], vec![slice(0x41, 5)]]);
        packets.iter_mut().for_each(|p| p.marker = false);
        assert_eq!(assembled(&packets), [(0, true, 3_006), (3_000, false, 16)]);
    }

    #[test]
    fn after_a_loss_nothing_comes_out_until_a_key_frame() {
        let pictures = [
            key_picture(3_000),
            vec![slice(0x41, 3_000)],
            vec![slice(0x41, 10)],
            key_picture(2_000),
            vec![slice(0x41, 10)],
        ];
        let packets = packets_of(&pictures);
        for lost in 0..packets.len() {
            let mut kept = packets.clone();
            kept.remove(lost);
            if let Some(next) = kept.get_mut(lost) {
                next.after_hole = lost > 0;
            }
            let whole = assembled(&packets);
            let got = assembled(&kept);
            assert!(got.iter().all(|picture| whole.contains(picture)), "{lost}: {got:?}");
            // Between a loss and the next key frame there is nothing.
            let lost_at = packets[lost].timestamp;
            let gap = got.iter().skip_while(|p| p.0 < lost_at).find(|p| p.0 > lost_at);
            assert!(gap.is_none_or(|p| p.1 || (lost == 0 && p.0 > 9_000) || lost_at == 9_000), "{lost}: {got:?}");
        }
    }

    #[test]
    fn a_picture_at_the_bound_is_put_together_and_one_over_it_is_not() {
        for (over, pictures) in [(0, 1), (2_000, 0)] {
            let packets = packets_of(&[key_picture(PICTURE_BYTES_MAX - 2_000 + over)]);
            assert_eq!(assembled(&packets).len(), pictures, "{over}");
        }
    }

    proptest! {
        #[test]
        fn no_payload_panics_and_no_picture_is_larger_than_what_came(
            payloads in prop::collection::vec((prop::collection::vec(any::<u8>(), 0..60), any::<bool>(), any::<bool>()), 0..40)
        ) {
            let mut assembler = H264Assembler::default();
            let most: usize = payloads.iter().map(|(p, ..)| p.len() * 4).sum();
            for (n, (payload, marker, after_hole)) in payloads.into_iter().enumerate() {
                let timestamp = n as u32 / 3;
                let packet = Packet { marker, timestamp, arrival: START, payload: payload.into(), after_hole };
                assembler.push(&packet, &mut |_, picture| assert!(picture.nals.len() <= most));
            }
        }
    }
}
