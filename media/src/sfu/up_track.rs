//! One medium arriving from its publisher: the ring in which its packets rest, and what its reports need.

use std::time::Duration;

use super::{
    keyframe::KeyFrameRequests,
    nack::{Arrival, NackList},
    padding::Evening,
    speaker::Voice,
};
use crate::{
    buf::{
        pipe::{KeyWish, PipeWriter},
        ring::Ring,
        slot::Slot,
    },
    codec::Codec,
    drop_reason::DropReason,
    forward::{DownKey, TransportKey},
    ids::{Kind, TrackId},
    rtp::{
        packet::Header,
        rtcp::{ReportBlock, SenderReport},
        rtx,
    },
    units::{
        rate::RateMeter,
        seq::Unwrap16,
        time::{Ntp, Time},
    },
};

/// Packets that a ring holds at first; it grows with the rate, to what the track may keep.
const RING_PACKETS_MIN: usize = 128;
/// What a ring should hold of a track's packets: a group of pictures of a phone (3 s) and time to ask for a loss again.
const RING_SECONDS: usize = 4;
/// Bytes kept ready for an audio packet: 20 ms of Opus at 110 kbit/s with its header. A longer one takes a whole slot.
const AUDIO_PACKET_BYTES: usize = 320;

/// Where an up track's packets come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// A WebRTC publisher: can be asked for packets and key frames.
    Transport(TransportKey),
    /// The bridge: nothing is lost on the way, and nothing can be asked for but, where it codes pictures itself and says so
    /// ([`KeyWish::is_heard`]), a key frame.
    Pipe,
    /// The same track on another shard, whose publisher can be asked for key frames.
    Relay,
    /// The publisher is gone and may come back.
    Nobody,
}

/// What was agreed on with the publisher.
#[derive(Clone, Debug)]
pub struct UpSpec {
    pub id: TrackId,
    pub source: Source,
    pub codec: Codec,
    pub payload_type: u8,
    pub rtx_payload_type: Option<u8>,
    /// `None` until the first packet shows it, for publishers that do not say.
    pub ssrc: Option<u32>,
    pub rtx_ssrc: Option<u32>,
    /// Whether lost packets may be asked for (RFC 4585).
    pub nack: bool,
    /// Packets to keep.
    pub ring_packets: usize,
    pub key_frame_interval: Duration,
}

/// Publisher's wall clock against its RTP clock, from a sender report.
#[derive(Clone, Copy, Debug)]
pub struct ClockAnchor {
    pub ntp: Ntp,
    pub rtp: u32,
    pub received: Time,
}

impl ClockAnchor {
    /// The publisher's wall clock and RTP clock, both carried on to `now`.
    pub fn at(&self, now: Time, clock_rate: u32) -> (Ntp, u32) {
        let age_us = now.since(self.received).as_micros() as u64;
        let ticks = age_us * u64::from(clock_rate) / 1_000_000;
        (self.ntp.offset_micros(age_us as i64), self.rtp.wrapping_add(ticks as u32))
    }
}

/// What the ring remembers of a packet beside its bytes.
#[derive(Clone, Copy, Debug, Default)]
pub struct Meta {
    pub timestamp: u32,
    pub payload_offset: u16,
    pub payload_len: u16,
    pub marker: bool,
    /// A decoder can start here.
    pub key: bool,
    /// Bytes that make it as long as the packets it leaves with.
    pub padding: u8,
    /// How long pictures are to be held from here on, in units of 10 ms.
    pub hold: u8,
}

/// A packet that was taken in.
#[derive(Clone, Copy, Debug)]
pub struct Accepted {
    /// Extended sequence number.
    pub seq: u64,
    pub meta: Meta,
    /// Nothing to forward: its number is to be left out towards subscribers.
    pub empty: bool,
}

/// One medium arriving from its publisher.
pub struct UpTrack {
    pub spec: UpSpec,
    /// The down tracks that copy this one: the dense list that each packet walks.
    pub downs: Vec<DownKey>,
    /// The pipes that copy this one out of the room.
    pub taps: Vec<PipeWriter>,
    /// The pipes that feed copies of this one on other shards.
    pub relays: Vec<PipeWriter>,
    /// Of a [`Source::Relay`]: asks the other shard for a key frame. Of a [`Source::Pipe`]: the bridge.
    pub key_wish: Option<KeyWish>,
    /// Packets are kept, but nobody gets them yet: what was kept elsewhere is still on its way here.
    pub filling: bool,
    pub muted: bool,
    /// How long its pictures are to be held, in units of 10 ms: until their sound is there, which the bridge knows.
    pub hold: u8,
    /// How loud it is, if it says so.
    pub voice: Voice,
    pub key_frames: KeyFrameRequests,
    nacks: NackList,
    pub anchor: Option<ClockAnchor>,
    pub rate: RateMeter,
    ring: Ring,
    metas: Box<[Meta]>,
    /// When the present second began, and how many packets came in it.
    second: (Time, usize),
    seq: Unwrap16,
    /// What is added to a source's own numbers and timestamps, so that those of a new source go on where the old one's
    /// ended. The packets in the ring are written so, under the SSRC of the first source: whoever gets them out of the room
    /// sees one source too.
    seq_shift: u64,
    timestamp_shift: u32,
    first_ssrc: Option<u32>,
    /// The source changed: its first packet decides the shifts. The last timestamp, and when it came.
    changed: bool,
    latest: Option<(u32, Time)>,
    /// First packet of the newest key frame.
    newest_key: Option<u64>,
    evening: Evening,
    reception: Reception,
}

impl UpTrack {
    pub fn new(spec: UpSpec) -> Self {
        let ring = match spec.id.kind {
            Kind::Audio => Ring::with_small(spec.ring_packets, AUDIO_PACKET_BYTES),
            Kind::Video => Ring::new(spec.ring_packets.min(RING_PACKETS_MIN)),
        };
        UpTrack {
            downs: Vec::new(),
            taps: Vec::new(),
            relays: Vec::new(),
            key_wish: None,
            filling: false,
            muted: false,
            hold: 0,
            voice: Voice::default(),
            key_frames: KeyFrameRequests::new(spec.key_frame_interval),
            nacks: NackList::default(),
            anchor: None,
            rate: RateMeter::default(),
            metas: vec![Meta::default(); ring.capacity()].into_boxed_slice(),
            ring,
            second: (Time::ZERO, 0),
            seq: Unwrap16::default(),
            seq_shift: 0,
            timestamp_shift: 0,
            first_ssrc: None,
            changed: false,
            latest: None,
            newest_key: None,
            evening: Evening::default(),
            reception: Reception::default(),
            spec,
        }
    }

    /// Whether there is somebody who sends a key frame when he is asked for one.
    pub fn can_be_asked(&self) -> bool {
        match self.spec.source {
            Source::Transport(_) | Source::Relay => true,
            Source::Pipe => self.key_wish.as_ref().is_some_and(KeyWish::is_heard),
            Source::Nobody => false,
        }
    }

    /// Notes the SSRC under which the publisher sends, which may be another than before: a publisher that restarted its
    /// encoder. Subscribers do not notice; their numbers and timestamps go on.
    pub fn set_ssrc(&mut self, rtx: bool, ssrc: u32) {
        if rtx {
            self.spec.rtx_ssrc = Some(ssrc);
        } else if self.spec.ssrc.replace(ssrc).is_some_and(|old| old != ssrc) && self.highest().is_some() {
            self.changed = true;
        }
    }

    /// Gives the track to another publisher, or to nobody. Of `spec` all but the codec and the memory may differ from what it
    /// was. Subscribers do not notice; their numbers and timestamps go on.
    pub fn set_spec(&mut self, spec: UpSpec) {
        self.changed = self.highest().is_some();
        let payload_type =
            if spec.source == Source::Pipe { self.spec.codec.bridged_payload_type() } else { spec.payload_type };
        self.spec = UpSpec { codec: self.spec.codec, ring_packets: self.spec.ring_packets, payload_type, ..spec };
        self.nacks = NackList::default();
        self.anchor = None;
    }

    /// Takes the codec of a packet of the bridge, which says it by its payload type; true if that is another than before, so
    /// that subscribers have to be offered it first.
    pub fn follow_codec(&mut self, packet: &[u8]) -> bool {
        let payload_type = packet.get(1).map_or(0, |byte| byte & 0x7f);
        if self.spec.source != Source::Pipe || payload_type == self.spec.payload_type {
            return false;
        }
        let Some(codec) = Codec::of_bridged(payload_type).filter(|codec| codec.kind() == self.kind()) else {
            return false;
        };
        let other = std::mem::replace(&mut self.spec.codec, codec) != codec;
        self.spec.payload_type = payload_type;
        if other {
            self.newest_key = None;
        }
        other
    }

    /// Puts the numbers, as the publisher knows them, of packets to ask for now into `due`. Answers whether one was given up.
    pub fn poll_nacks(&mut self, now: Time, due: &mut Vec<u16>) -> bool {
        let given_up = self.nacks.poll(now, due);
        due.iter_mut().for_each(|seq| *seq = seq.wrapping_sub(self.seq_shift as u16));
        given_up
    }

    /// When [`poll_nacks`](Self::poll_nacks) has something to say next.
    pub fn next_nack(&self) -> Option<Time> {
        self.nacks.next_timeout()
    }

    /// Whether the next packet will be the first of another source.
    pub fn source_changed(&self) -> bool {
        self.changed
    }

    /// Lets the numbers of a new source follow on those of the old one.
    fn follow_on(&mut self, now: Time, header: &Header) {
        self.changed = false;
        // A whole ring further, so that no packet of the old source lies between those of the new one.
        let next = self.highest().unwrap_or(0) + self.ring.capacity() as u64 + 0x2_0000;
        self.seq = Unwrap16::default();
        self.seq_shift = next - self.seq.peek(header.seq);
        if let Some((timestamp, at)) = self.latest {
            let ticks = now.since(at).as_micros() as u64 * u64::from(self.spec.codec.clock_rate()) / 1_000_000;
            self.timestamp_shift = timestamp.wrapping_add(ticks as u32).wrapping_sub(header.timestamp);
        }
        self.nacks = NackList::default();
        self.reception = Reception::default();
        self.anchor = None;
        self.newest_key = None;
    }

    /// Takes a plaintext packet: parses it once, counts it and puts it into the ring, by swapping slots. `via_rtx`: it came as a
    /// retransmission and is first turned into what was lost.
    pub fn accept(&mut self, now: Time, slot: &mut Slot, via_rtx: bool) -> Result<Accepted, DropReason> {
        if via_rtx {
            self.restore(slot)?;
        }
        let header = Header::parse(slot.data())?;
        let negotiated_here = matches!(self.spec.source, Source::Transport(_));
        if negotiated_here && header.payload_type != self.spec.payload_type {
            return Err(DropReason::UnknownPayloadType);
        }
        if self.changed && !via_rtx {
            self.follow_on(now, &header);
        }
        let seq = self.seq.peek(header.seq) + self.seq_shift;
        let timestamp = header.timestamp.wrapping_add(self.timestamp_shift);
        let highest = self.highest();
        let too_old = highest.is_some_and(|h| seq + self.ring.capacity() as u64 <= h);
        if too_old || self.ring.contains(seq) {
            return Err(DropReason::Duplicate);
        }
        self.size_ring(now);
        self.seq.extend(header.seq);
        if highest.is_none_or(|h| seq > h) {
            self.latest = Some((timestamp, now));
        }
        self.rate.add(now, slot.len());
        if self.spec.nack && self.nacks.on_packet(now, seq) == Arrival::Outage {
            self.key_frames.want();
        }
        if !via_rtx {
            let own_seq = seq - self.seq_shift;
            self.reception.on_packet(now, own_seq, header.timestamp, self.spec.codec.clock_rate());
        }
        let payload = self.spec.codec.inspect(header.payload(slot.data()));
        // What comes late leaves alone.
        let in_order = highest.is_none_or(|h| seq == h + 1);
        let padding = match self.kind() {
            Kind::Video if in_order => self.evening.padding(timestamp, header.payload_len, header.marker),
            _ => 0,
        };
        let meta = Meta {
            timestamp,
            payload_offset: header.payload_offset,
            payload_len: header.payload_len,
            marker: header.marker,
            key: payload.key,
            padding,
            hold: self.hold,
        };
        let empty = header.payload_len == 0;
        if !empty {
            if payload.key && self.kind() == Kind::Video {
                self.key_frames.satisfied();
                let same_frame =
                    self.newest_key.is_some_and(|k| self.meta(k).is_some_and(|m| m.timestamp == meta.timestamp));
                if !same_frame && self.newest_key.is_none_or(|k| seq > k) {
                    self.newest_key = Some(seq);
                }
            }
            self.metas[(seq % self.metas.len() as u64) as usize] = meta;
            let first_ssrc = *self.first_ssrc.get_or_insert(header.ssrc);
            if first_ssrc != header.ssrc {
                let bytes = slot.data_mut();
                bytes[2..4].copy_from_slice(&(seq as u16).to_be_bytes());
                bytes[4..8].copy_from_slice(&timestamp.to_be_bytes());
                bytes[8..12].copy_from_slice(&first_ssrc.to_be_bytes());
            }
            self.ring.put(seq, slot);
        }
        Ok(Accepted { seq, meta, empty })
    }

    /// Lets the ring follow the rate, so that a track takes the memory that its bitrate needs and not that of the fastest.
    fn size_ring(&mut self, now: Time) {
        let (began, packets) = &mut self.second;
        if now.since(*began) >= Duration::from_secs(1) {
            (*began, *packets) = (now, 0);
        }
        *packets += 1;
        let wanted = *packets * RING_SECONDS;
        if wanted <= self.ring.capacity() || self.ring.capacity() >= self.spec.ring_packets {
            return;
        }
        let old = self.metas.len() as u64;
        self.ring.grow(wanted.min(self.spec.ring_packets));
        let mut metas = vec![Meta::default(); self.ring.capacity()].into_boxed_slice();
        let highest = self.highest().unwrap_or(0);
        for seq in highest.saturating_sub(old - 1)..=highest {
            metas[(seq % metas.len() as u64) as usize] = self.metas[(seq % old) as usize];
        }
        self.metas = metas;
    }

    /// Turns a retransmission (RFC 4588 §4) into the packet that it repeats.
    fn restore(&self, slot: &mut Slot) -> Result<(), DropReason> {
        let header = Header::parse(slot.data())?;
        let ssrc = self.spec.ssrc.ok_or(DropReason::UnknownSsrc)?;
        let (original_seq, _) = rtx::split(header.payload(slot.data()))?;
        let start = usize::from(header.payload_offset);
        let end = start + usize::from(header.payload_len);
        let bytes = slot.data_mut();
        bytes.copy_within(start + rtx::OSN_LEN..end, start);
        // The padding is gone with the length below, so its bit must go too.
        bytes[0] &= !0x20;
        bytes[1] = (bytes[1] & 0x80) | self.spec.payload_type;
        bytes[2..4].copy_from_slice(&original_seq.to_be_bytes());
        bytes[8..12].copy_from_slice(&ssrc.to_be_bytes());
        slot.set_len(end - rtx::OSN_LEN);
        Ok(())
    }

    pub fn kind(&self) -> Kind {
        self.spec.id.kind
    }

    /// What is remembered of packet `seq`, if the ring still has it.
    pub fn meta(&self, seq: u64) -> Option<Meta> {
        self.ring.contains(seq).then(|| self.metas[(seq % self.metas.len() as u64) as usize])
    }

    /// The whole plaintext packet, as it came.
    pub fn packet(&self, seq: u64) -> Option<&[u8]> {
        self.ring.get(seq)
    }

    /// The payload of packet `seq`, without padding.
    pub fn payload(&self, seq: u64) -> Option<&[u8]> {
        let meta = self.meta(seq)?;
        let start = usize::from(meta.payload_offset);
        self.ring.get(seq)?.get(start..start + usize::from(meta.payload_len))
    }

    /// The highest extended sequence number.
    pub fn highest(&self) -> Option<u64> {
        self.seq.highest().map(|seq| seq + self.seq_shift)
    }

    /// The packets from the newest key frame on, if none of them is missing: the kept group of pictures.
    pub fn kept_group(&self) -> Option<std::ops::RangeInclusive<u64>> {
        let range = self.newest_key?..=self.highest()?;
        range.clone().all(|seq| self.ring.contains(seq)).then_some(range)
    }

    pub fn on_sender_report(&mut self, now: Time, report: &SenderReport) {
        // What a new source's clock is called here is not known before its first packet.
        if self.changed {
            return;
        }
        let rtp = report.rtp_timestamp.wrapping_add(self.timestamp_shift);
        self.anchor = Some(ClockAnchor { ntp: report.ntp, rtp, received: now });
        self.reception.on_sender_report(now, report.ntp);
    }

    /// What a receiver report says about this track (RFC 3550 §6.4.2); `None` before the first packet.
    pub fn report_block(&mut self, now: Time) -> Option<ReportBlock> {
        self.reception.report_block(now, self.spec.ssrc?)
    }

    /// Packets received, and lost for good or still missing.
    pub fn received_and_lost(&self) -> (u64, u64) {
        (self.reception.received, self.reception.expected().saturating_sub(self.reception.received))
    }
}

/// Reception statistics as RFC 3550 §A.3 and §A.8 count them.
#[derive(Default)]
struct Reception {
    first: Option<u64>,
    highest: u64,
    received: u64,
    expected_prior: u64,
    received_prior: u64,
    transit: Option<i64>,
    /// In sixteenths of a timestamp unit, as §A.8 keeps it.
    jitter: u64,
    last_sr: Option<(u32, Time)>,
}

impl Reception {
    fn on_packet(&mut self, now: Time, seq: u64, timestamp: u32, clock_rate: u32) {
        self.received += 1;
        self.first.get_or_insert(seq);
        self.highest = self.highest.max(seq);
        let arrival = (now.as_micros() as u128 * u128::from(clock_rate) / 1_000_000) as u32;
        let transit = i64::from(arrival.wrapping_sub(timestamp) as i32);
        if let Some(last) = self.transit.replace(transit) {
            let d = u64::from((transit.wrapping_sub(last) as i32).unsigned_abs());
            self.jitter = self.jitter + d - ((self.jitter + 8) >> 4);
        }
    }

    fn on_sender_report(&mut self, now: Time, ntp: Ntp) {
        self.last_sr = Some((ntp.middle(), now));
    }

    fn expected(&self) -> u64 {
        self.first.map_or(0, |first| self.highest.saturating_sub(first) + 1)
    }

    fn report_block(&mut self, now: Time, ssrc: u32) -> Option<ReportBlock> {
        self.first?;
        let expected = self.expected();
        let expected_now = expected.saturating_sub(self.expected_prior);
        let lost_now = expected_now.saturating_sub(self.received - self.received_prior);
        self.expected_prior = expected;
        self.received_prior = self.received;
        let (last_sr, delay) = self
            .last_sr
            .map_or((0, 0), |(lsr, at)| (lsr, (now.since(at).as_micros() as u64 * 65_536 / 1_000_000) as u32));
        Some(ReportBlock {
            ssrc,
            fraction_lost: (lost_now * 256).checked_div(expected_now).unwrap_or(0).min(255) as u8,
            cumulative_lost: expected.saturating_sub(self.received).min(0x7f_ffff) as i32,
            highest_seq: self.highest as u32,
            jitter: (self.jitter >> 4) as u32,
            last_sr,
            delay_since_last_sr: delay,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{forward::rtp_header, ids::StreamId};

    fn track(codec: Codec) -> UpTrack {
        UpTrack::new(UpSpec {
            id: TrackId { stream: StreamId(1), kind: codec.kind() },
            source: Source::Transport(TransportKey(0)),
            codec,
            payload_type: 96,
            rtx_payload_type: Some(97),
            ssrc: Some(0x1111),
            rtx_ssrc: Some(0x2222),
            nack: true,
            ring_packets: 64,
            key_frame_interval: Duration::from_millis(500),
        })
    }

    fn slot(pt: u8, seq: u16, ts: u32, payload: &[u8]) -> Slot {
        let mut packet = rtp_header(true, pt, seq, ts, 0x1111).to_vec();
        packet.extend_from_slice(payload);
        Slot::copy_of(&packet).unwrap()
    }

    #[test]
    fn a_retransmission_becomes_the_packet_that_was_lost() {
        let mut up = track(Codec::Vp8);
        up.accept(Time::ZERO, &mut slot(96, 10, 900, b"abc"), false).unwrap();
        up.accept(Time::ZERO, &mut slot(96, 12, 900, b"ghi"), false).unwrap();
        let accepted = up.accept(Time::ZERO, &mut slot(97, 500, 900, b"\x00\x0bdef"), true).unwrap();
        assert_eq!(up.payload(accepted.seq), Some(&b"def"[..]));
        assert_eq!(accepted.seq & 0xffff, 11);
        assert_eq!(up.nacks.next_timeout(), None);
        let again = up.accept(Time::ZERO, &mut slot(97, 501, 900, b"\x00\x0bdef"), true);
        assert_eq!(again.unwrap_err(), DropReason::Duplicate);
    }

    #[test]
    fn a_payload_type_that_was_not_negotiated_stops() {
        let mut up = track(Codec::Vp8);
        let refused = up.accept(Time::ZERO, &mut slot(99, 10, 900, b"abc"), false);
        assert_eq!(refused.unwrap_err(), DropReason::UnknownPayloadType);
    }

    #[test]
    fn reports_count_the_lost_and_the_fraction_of_the_last_interval() {
        let mut up = track(Codec::Opus);
        for seq in 0..100u16 {
            if seq % 10 != 5 {
                up.accept(
                    Time::from_millis(u64::from(seq) * 20),
                    &mut slot(96, seq, u32::from(seq) * 960, b"x"),
                    false,
                )
                .unwrap();
            }
        }
        let block = up.report_block(Time::from_millis(2000)).unwrap();
        assert_eq!(block.cumulative_lost, 10);
        assert_eq!(block.fraction_lost, 25);
        assert_eq!(block.jitter, 0);
        assert_eq!(up.report_block(Time::from_millis(2500)).unwrap().fraction_lost, 0);
    }

    #[test]
    fn the_ring_follows_the_rate_up_to_what_the_track_may_keep() {
        let mut up = track(Codec::Vp8);
        up.spec.ring_packets = 512;
        up.ring = Ring::new(RING_PACKETS_MIN);
        up.metas = vec![Meta::default(); RING_PACKETS_MIN].into_boxed_slice();
        let send = |up: &mut UpTrack, n: u64, ms: u64| {
            let timestamp = n as u32 * 90;
            let mut slot = slot(96, n as u16, timestamp, &n.to_be_bytes());
            up.accept(Time::from_millis(ms), &mut slot, false).unwrap().seq
        };
        let slow: Vec<u64> = (0..64).map(|n| send(&mut up, n, 1000 + n * 40)).collect();
        assert_eq!(up.ring.capacity(), RING_PACKETS_MIN, "25 packets a second");
        (64..264).for_each(|n| _ = send(&mut up, n, 4000 + (n - 64) * 5));
        assert_eq!(up.ring.capacity(), 512, "200 packets a second want 800 places, the track may have 512");
        for (n, seq) in slow.into_iter().enumerate() {
            assert_eq!(up.payload(seq), Some(&(n as u64).to_be_bytes()[..]), "what was kept is still there");
            assert_eq!(up.meta(seq).unwrap().timestamp, n as u32 * 90);
        }
    }

    #[test]
    fn a_new_source_goes_on_where_the_old_one_ended() {
        let slot = |pt, seq, ts, payload| {
            let mut slot = slot(pt, seq, ts, payload);
            if seq < 1000 {
                slot.data_mut()[8..12].copy_from_slice(&0x3333u32.to_be_bytes());
            }
            slot
        };
        let mut up = track(Codec::Vp8);
        let last = up.accept(Time::from_millis(1000), &mut slot(96, 65_000, 900_000, b"abc"), false).unwrap();
        up.set_ssrc(false, 0x3333);
        let first = up.accept(Time::from_millis(1100), &mut slot(96, 7, 123, b"def"), false).unwrap();
        assert!(first.seq > last.seq + up.ring.capacity() as u64 - 1);
        assert_eq!(first.meta.timestamp, 900_000 + 9_000, "a tenth of a second later");
        let second = up.accept(Time::from_millis(1140), &mut slot(96, 8, 123 + 3_600, b"ghi"), false).unwrap();
        assert_eq!((second.seq, second.meta.timestamp), (first.seq + 1, 900_000 + 12_600));
        assert_eq!(up.payload(second.seq), Some(&b"ghi"[..]));
        let kept = Header::parse(up.packet(second.seq).unwrap()).unwrap();
        assert_eq!((kept.seq, kept.timestamp, kept.ssrc), (second.seq as u16, second.meta.timestamp, 0x1111));
        let block = up.report_block(Time::from_millis(1200)).unwrap();
        assert_eq!((block.ssrc, block.cumulative_lost, block.highest_seq as u16), (0x3333, 0, 8));
        up.accept(Time::from_millis(1180), &mut slot(96, 10, 0, b"mno"), false).unwrap();
        let mut due = Vec::new();
        up.poll_nacks(Time::from_millis(1200), &mut due);
        assert_eq!(due, [9], "asked for as the publisher names it");
    }

    #[test]
    fn the_kept_group_begins_at_the_first_packet_of_the_newest_key_frame() {
        let key = [0x10, 0x00, 0, 0];
        let delta = [0x10, 0x01, 0, 0];
        let mut up = track(Codec::Vp8);
        for (seq, ts, payload) in
            [(1, 0, key), (2, 0, [0, 0, 0, 0]), (3, 3000, delta), (4, 6000, key), (5, 9000, delta)]
        {
            up.accept(Time::ZERO, &mut slot(96, seq, ts, &payload), false).unwrap();
        }
        let group = up.kept_group().unwrap();
        assert_eq!((group.start() & 0xffff, group.end() & 0xffff), (4, 5));
        up.accept(Time::ZERO, &mut slot(96, 7, 12000, &delta), false).unwrap();
        assert!(up.kept_group().is_none(), "a hole in it makes it useless");
    }
}
