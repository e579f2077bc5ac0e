//! RTP packets to frames: the jitter buffer that only this direction has, and pictures of H.264 and H.265 out of their packets.

pub mod frames;

use std::{collections::BTreeMap, time::Duration};

use bytes::Bytes;

use crate::{
    codec::{
        Codec,
        h264::{
            NalKind,
            nal::{self, avcc, write_avcc},
            payload as h264_payload,
        },
        h265::{self, payload as h265_payload},
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

/// A picture of H.264 or H.265, whole.
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

/// The parameter sets of a stream. H.264 has none of the first kind.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sets {
    pub vps: Vec<Bytes>,
    pub sps: Vec<Bytes>,
    pub pps: Vec<Bytes>,
}

/// Puts the packets of an H.264 or H.265 track together. After a loss it gives nothing until a key frame.
#[derive(Debug)]
pub struct PictureAssembler {
    codec: Codec,
    current: Option<Current>,
    sets: Sets,
    synced: bool,
}

/// The picture that is being put together.
#[derive(Debug)]
struct Current {
    timestamp: u32,
    arrival: Time,
    /// Each unit behind a length of four bytes.
    units: Vec<u8>,
    /// Where the length of the fragmented unit stands that is not complete yet.
    open_at: Option<usize>,
    damaged: bool,
}

/// What becomes of a unit.
enum Part {
    Vps,
    Sps,
    Pps,
    /// A decoder can start at it, or cannot.
    Slice {
        key: bool,
    },
    /// Belongs to the slices.
    Beside,
    LeftOut,
}

impl PictureAssembler {
    /// `codec`: H.264 or H.265.
    pub fn new(codec: Codec) -> Self {
        PictureAssembler { codec, current: None, sets: Sets::default(), synced: false }
    }

    /// Whether the next picture to come out will be a key frame, so that one should be asked for.
    pub fn awaits_key(&self) -> bool {
        !self.synced
    }

    /// The parameter sets of the newest key frame.
    pub fn sets(&self) -> &Sets {
        &self.sets
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
        let codec = self.codec;
        let current = self.current.get_or_insert_with(|| Current {
            timestamp: packet.timestamp,
            arrival: packet.arrival,
            units: Vec::new(),
            open_at: None,
            damaged: packet.after_hole && !codec.inspect(&packet.payload).starts_frame,
        });
        match codec {
            Codec::H265 => current.add_h265(&packet.payload),
            _ => current.add_h264(&packet.payload),
        }
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
        let mut sets = Sets::default();
        let (mut key, mut any_slice) = (false, false);
        let mut nals = Vec::with_capacity(current.units.len());
        for unit in avcc(&current.units, 4).flatten() {
            match part_of(self.codec, unit) {
                Part::Vps => sets.vps.push(Bytes::copy_from_slice(unit)),
                Part::Sps => sets.sps.push(Bytes::copy_from_slice(unit)),
                Part::Pps => sets.pps.push(Bytes::copy_from_slice(unit)),
                Part::LeftOut => {}
                Part::Beside => write_avcc(&mut nals, unit),
                Part::Slice { key: is_key } => {
                    key |= is_key;
                    any_slice = true;
                    write_avcc(&mut nals, unit);
                }
            }
        }
        self.sets.learn(sets);
        if !any_slice || !(self.synced || (key && self.sets.are_complete(self.codec))) {
            return;
        }
        self.synced = true;
        out(self, Picture { timestamp: current.timestamp, arrival: current.arrival, key, nals });
    }
}

impl Sets {
    /// Takes over what came; it replaces what there was of the same kind.
    fn learn(&mut self, came: Sets) {
        for (known, came) in [(&mut self.vps, came.vps), (&mut self.sps, came.sps), (&mut self.pps, came.pps)] {
            if !came.is_empty() {
                *known = came;
            }
        }
    }

    fn are_complete(&self, codec: Codec) -> bool {
        (codec == Codec::H264 || !self.vps.is_empty()) && !self.sps.is_empty() && !self.pps.is_empty()
    }
}

fn part_of(codec: Codec, unit: &[u8]) -> Part {
    if codec == Codec::H265 {
        return match h265::kind(unit) {
            h265::VPS => Part::Vps,
            h265::SPS => Part::Sps,
            h265::PPS => Part::Pps,
            kind if h265::is_slice(kind) => Part::Slice { key: h265::is_key(kind) },
            kind if h265::is_kept(kind) => Part::Beside,
            _ => Part::LeftOut,
        };
    }
    match nal::kind(unit) {
        NalKind::Sps => Part::Sps,
        NalKind::Pps => Part::Pps,
        NalKind::AccessUnitDelimiter | NalKind::Filler | NalKind::EndOfSequence | NalKind::EndOfStream => Part::LeftOut,
        kind if kind.is_slice() => Part::Slice { key: kind == NalKind::Idr },
        _ => Part::Beside,
    }
}

impl Current {
    fn add_h264(&mut self, payload: &[u8]) {
        use h264_payload::Piece;
        for piece in h264_payload::pieces(payload) {
            match piece {
                Ok(Piece::Whole(unit)) => self.add_unit(unit),
                Ok(Piece::Part { header, start, end, data }) => self.add_part(&[header], (start, end), data),
                Err(_) => self.damaged = true,
            }
        }
    }

    fn add_h265(&mut self, payload: &[u8]) {
        use h265_payload::Piece;
        let Ok(pieces) = h265_payload::pieces(payload) else { return self.damaged = true };
        for piece in pieces {
            match piece {
                Piece::Whole(unit) => self.add_unit(unit),
                Piece::Part { header, start, end, data } => self.add_part(&header, (start, end), data),
            }
        }
    }

    /// Whether so many bytes more are no reason to give the picture up.
    fn has_room(&mut self, bytes: usize) -> bool {
        self.damaged |= self.units.len() + bytes > PICTURE_BYTES_MAX;
        !self.damaged
    }

    fn add_unit(&mut self, unit: &[u8]) {
        if !self.has_room(unit.len()) {
            return;
        }
        match self.open_at {
            None => write_avcc(&mut self.units, unit),
            // A unit within a unit: something was lost before it came to us.
            Some(_) => self.damaged = true,
        }
    }

    fn add_part(&mut self, header: &[u8], (start, end): (bool, bool), data: &[u8]) {
        if !self.has_room(header.len() + data.len()) {
            return;
        }
        match (start, self.open_at) {
            (true, None) => {
                self.open_at = Some(self.units.len());
                self.units.extend_from_slice(&[0; 4]);
                self.units.extend_from_slice(header);
                self.units.extend_from_slice(data);
            }
            (false, Some(at)) => {
                self.units.extend_from_slice(data);
                if end {
                    self.close(at);
                }
            }
            // A part without a start, or one within a unit.
            _ => self.damaged = true,
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
        let mut assembler = PictureAssembler::new(Codec::H264);
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

    /// One packet of an H.265 stream.
    fn h265_packet(marker: bool, timestamp: u32, payload: &[u8]) -> Packet {
        let payload = Bytes::copy_from_slice(payload);
        Packet { marker, timestamp, arrival: START, payload, after_hole: false }
    }

    fn h265_assembled(packets: &[Packet]) -> (Vec<(u32, bool, Vec<u8>)>, Sets) {
        let mut assembler = PictureAssembler::new(Codec::H265);
        let mut pictures = Vec::new();
        for packet in packets {
            assembler.push(packet, &mut |_, p| pictures.push((p.timestamp, p.key, p.nals)));
        }
        (pictures, assembler.sets)
    }

    const VPS: [u8; 3] = [h265::VPS << 1, 1, 7];
    const SPS: [u8; 3] = [h265::SPS << 1, 1, 8];
    const PPS: [u8; 3] = [h265::PPS << 1, 1, 9];

    /// Delimiter and parameter sets in one packet, an IDR picture in three, then another picture and a filler in one.
    fn h265_packets() -> Vec<Packet> {
        let mut sets = vec![48 << 1, 1];
        for unit in [&[35 << 1, 1, 0x50][..], &VPS, &SPS, &PPS] {
            sets.extend((unit.len() as u16).to_be_bytes());
            sets.extend(unit);
        }
        vec![
            h265_packet(false, 0, &sets),
            h265_packet(false, 0, &[49 << 1, 1, 0x80 | 19, 1, 2]),
            h265_packet(false, 0, &[49 << 1, 1, 19, 3]),
            h265_packet(true, 0, &[49 << 1, 1, 0x40 | 19, 4, 5]),
            h265_packet(true, 3_000, &[48 << 1, 1, 0, 3, 1 << 1, 1, 6, 0, 2, 38 << 1, 1]),
        ]
    }

    #[test]
    fn h265_comes_out_of_aggregations_and_fragments_without_its_parameter_sets() {
        let (pictures, sets) = h265_assembled(&h265_packets());
        let idr = vec![0, 0, 0, 7, 19 << 1, 1, 1, 2, 3, 4, 5];
        assert_eq!(pictures, [(0, true, idr), (3_000, false, vec![0, 0, 0, 3, 1 << 1, 1, 6])]);
        assert_eq!(sets, Sets { vps: vec![VPS[..].into()], sps: vec![SPS[..].into()], pps: vec![PPS[..].into()] });
    }

    #[test]
    fn h265_waits_for_a_key_frame_with_all_its_sets_and_for_the_next_one_after_a_loss() {
        let whole = h265_packets();
        for lost in 0..4 {
            let mut packets = whole.clone();
            packets.remove(lost);
            packets[lost].after_hole = lost > 0;
            assert_eq!(h265_assembled(&packets).0, [], "{lost}");
            packets
                .extend(whole.iter().cloned().map(|packet| Packet { timestamp: packet.timestamp + 90_000, ..packet }));
            assert_eq!(h265_assembled(&packets).0.len(), 2, "{lost}");
        }
        // What both starts and ends, and what belongs to no payload that is known.
        for bad in [[49 << 1, 1, 0xc0 | 19, 1], [50 << 1, 1, 0, 0]] {
            let packets = [whole[0].clone(), h265_packet(true, 0, &bad), whole[4].clone()];
            assert_eq!(h265_assembled(&packets).0, []);
        }
    }

    proptest! {
        #[test]
        fn no_payload_of_h265_panics(
            payloads in prop::collection::vec((prop::collection::vec(any::<u8>(), 0..60), 0u8..64, any::<bool>(), any::<bool>()), 0..40)
        ) {
            let mut assembler = PictureAssembler::new(Codec::H265);
            let most: usize = payloads.iter().map(|(p, ..)| p.len() * 4 + 8).sum();
            for (n, (mut payload, kind, marker, after_hole)) in payloads.into_iter().enumerate() {
                if let Some(first) = payload.first_mut() {
                    *first = kind << 1;
                }
                let packet = Packet { after_hole, ..h265_packet(marker, n as u32 / 3, &payload) };
                assembler.push(&packet, &mut |_, p| assert!(p.nals.len() <= most));
            }
        }

        #[test]
        fn no_payload_panics_and_no_picture_is_larger_than_what_came(
            payloads in prop::collection::vec((prop::collection::vec(any::<u8>(), 0..60), any::<bool>(), any::<bool>()), 0..40)
        ) {
            let mut assembler = PictureAssembler::new(Codec::H264);
            let most: usize = payloads.iter().map(|(p, ..)| p.len() * 4).sum();
            for (n, (payload, marker, after_hole)) in payloads.into_iter().enumerate() {
                let timestamp = n as u32 / 3;
                let packet = Packet { marker, timestamp, arrival: START, payload: payload.into(), after_hole };
                assembler.push(&packet, &mut |_, picture| assert!(picture.nals.len() <= most));
            }
        }
    }
}
