//! One medium leaving to one subscriber: which packets it gets, under which numbers.

use std::{ops::RangeInclusive, time::Duration};

use super::{
    seq_map::SeqMap,
    up_track::{Accepted, Meta},
};
use crate::{
    drop_reason::DropReason,
    forward::{Forward, TransportKey, UpKey, rtp_header},
    ids::TrackId,
    rtp::rtcp::ReportBlock,
    units::time::{Ntp, Time},
};

/// Resends of one packet to one subscriber. A packet that was lost four times is late anyway.
const RESENDS_MAX: u8 = 3;
/// Least time between two resends of one packet, while the way to the subscriber and back is not known: a second NACK within
/// it crossed the first resend on its way.
const RESEND_SPACING: Duration = Duration::from_millis(40);
/// Once it is known, it is the spacing, but not less than this, so that a NACK repeated for good measure is not answered
/// twice, and not more than that, so that a picture is repaired while it can still be shown.
const RESEND_SPACING_MIN: Duration = Duration::from_millis(10);
const RESEND_SPACING_MAX: Duration = Duration::from_millis(200);
/// Sender reports that a receiver report may refer to: one is sent each second.
const REPORTS_KEPT: usize = 2;
/// Resent bytes allowed, in percent of the live ones. Repairs a loss of 20 %; what loses more needs less bitrate, not more.
const RESEND_SHARE_PERCENT: usize = 30;
/// Resent bytes that may be saved up.
const RESEND_BUDGET_MAX: usize = 256 * 1024;
/// Resent bytes allowed before anything was sent.
const RESEND_BUDGET_START: usize = 32 * 1024;
/// Packets whose resends are remembered at once.
const RESEND_MEMORY: usize = 256;
/// RTP time between two frames of a group of pictures that is sent as a burst: a millisecond of the 90 kHz clock.
const BURST_FRAME_TICKS: u32 = 90;

/// What was agreed on with the subscriber.
#[derive(Clone, Debug)]
pub struct DownSpec {
    /// The up track to copy.
    pub track: TrackId,
    pub transport: TransportKey,
    pub ssrc: u32,
    pub payload_type: u8,
    /// RTX (RFC 4588): payload type and SSRC. Without it a NACK is not answered.
    pub rtx: Option<(u8, u32)>,
    /// The id of the extension with the transport-wide sequence number, if the subscriber reports on it.
    pub transport_cc: Option<u8>,
    /// The id of the extension that says how long pictures are to be held, if the subscriber knows it.
    pub playout_delay: Option<u8>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// The transport is not up.
    Idle,
    /// The next packet that a decoder can start at begins the flow.
    AwaitingKey,
    Live,
}

/// One medium leaving to one subscriber.
pub struct DownTrack {
    pub spec: DownSpec,
    pub up: UpKey,
    /// Packets and payload bytes sent, for sender reports.
    pub packets: u32,
    pub bytes: u32,
    /// The newest sender reports, as receivers name them (RFC 3550 §6.4.1), and when they left.
    reports: [Option<(u32, Time)>; REPORTS_KEPT],
    /// The way to the subscriber and back, smoothed.
    rtt: Option<Duration>,
    /// A sender report is owed before the regular one, so that sound and picture align at once.
    pub report_due: bool,
    state: State,
    /// Audio can start at any packet.
    needs_key: bool,
    map: SeqMap,
    timestamp_offset: u32,
    /// Timestamps of a burst: those of its frames are pushed together so that the decoder catches up with live at once.
    burst: Vec<(u32, u32)>,
    /// Last packet of it.
    burst_end: u64,
    /// When the subscriber last began anew at its own request.
    restarted_at: Option<Time>,
    /// The newest picture that left, by its timestamp, and how long the subscriber was told to hold pictures, in units of 10 ms.
    picture: Option<u32>,
    told_hold: u8,
    /// The subscriber hears the stream as well: who only sees it waits for no sound.
    is_heard: bool,
    rtx_seq: u16,
    resends: Option<Box<Resends>>,
    resend_budget: usize,
}

impl DownTrack {
    /// `random`: where numbers start.
    pub fn new(spec: DownSpec, up: UpKey, needs_key: bool, random: [u32; 2]) -> Self {
        DownTrack {
            spec,
            up,
            packets: 0,
            bytes: 0,
            reports: [None; REPORTS_KEPT],
            rtt: None,
            report_due: true,
            state: State::Idle,
            needs_key,
            // Below 2^15, see SeqMap::new; not 0, so that a number before the first exists.
            map: SeqMap::new(u64::from(random[0] & 0x7fff) | 1),
            timestamp_offset: random[1],
            burst: Vec::new(),
            burst_end: 0,
            restarted_at: None,
            picture: None,
            told_hold: 0,
            is_heard: false,
            rtx_seq: (random[0] >> 16) as u16 & 0x7fff,
            resends: None,
            resend_budget: RESEND_BUDGET_START,
        }
    }

    /// Begins, or begins again after a pause.
    pub fn start(&mut self) {
        self.state = State::AwaitingKey;
    }

    /// Ends the flow until the next [`start`](Self::start).
    pub fn stop(&mut self) {
        self.state = State::Idle;
    }

    /// Whether the subscriber may begin anew because it asked to, at most once in each `interval`.
    pub fn may_restart(&mut self, now: Time, interval: Duration) -> bool {
        let may = self.restarted_at.is_none_or(|at| now >= at + interval);
        if may {
            self.restarted_at = Some(now);
        }
        may
    }

    pub fn is_idle(&self) -> bool {
        self.state == State::Idle
    }

    /// Whether only a key frame can bring this track on.
    pub fn awaits_key(&self) -> bool {
        self.needs_key && self.state == State::AwaitingKey
    }

    /// Whether packets flow.
    pub fn is_live(&self) -> bool {
        self.state == State::Live
    }

    /// The header under which a packet leaves, or why it does not.
    pub fn forward(&mut self, accepted: &Accepted) -> Result<Forward, DropReason> {
        match self.state {
            State::Idle => return Err(DropReason::NotConnected),
            State::AwaitingKey => {
                if accepted.empty || (self.needs_key && !accepted.meta.key) {
                    return Err(DropReason::AwaitingKeyFrame);
                }
                self.map.resume(accepted.seq);
                self.state = State::Live;
                self.burst.clear();
            }
            State::Live => {
                if accepted.empty {
                    self.map.skip(accepted.seq);
                    return Err(DropReason::Empty);
                }
            }
        }
        let out = self.map.map(accepted.seq).ok_or(DropReason::Duplicate)?;
        Ok(self.send(accepted.seq, out, &accepted.meta))
    }

    /// Begins with a kept `group` of pictures: `timestamps` are those of its frames, in order; then call
    /// [`forward`](Self::forward) for each of its packets.
    pub fn start_burst(&mut self, group: &RangeInclusive<u64>, timestamps: &[u32]) {
        self.map.resume(*group.start());
        self.state = State::Live;
        self.burst.clear();
        self.burst_end = *group.end();
        let Some((&live, earlier)) = timestamps.split_last() else { return };
        let count = earlier.len() as u32;
        for (i, &timestamp) in earlier.iter().enumerate() {
            let squeezed = live.wrapping_sub((count - i as u32) * BURST_FRAME_TICKS);
            self.burst.push((timestamp, squeezed));
        }
    }

    fn send(&mut self, seq: u64, out: u64, meta: &Meta) -> Forward {
        self.packets = self.packets.wrapping_add(1);
        self.bytes = self.bytes.wrapping_add(u32::from(meta.payload_len));
        let earned = usize::from(meta.payload_len) * RESEND_SHARE_PERCENT / 100;
        self.resend_budget = (self.resend_budget + earned).min(RESEND_BUDGET_MAX);
        let timestamp = self.timestamp(seq, meta);
        let header = rtp_header(meta.marker, self.spec.payload_type, out as u16, timestamp, self.spec.ssrc);
        let DownSpec { transport: to, transport_cc, .. } = self.spec;
        let hold = self.hold(seq, meta);
        Forward { to, up: self.up, seq, header, original_seq: None, padding: meta.padding, transport_cc, hold }
    }

    /// Whether the subscriber hears the stream whose pictures these are.
    pub fn set_heard(&mut self, is_heard: bool) {
        self.is_heard = is_heard;
    }

    /// What the first packet of a picture says of how long pictures are to be held: what is new, and at a key frame what was said
    /// before, in case it was lost. A burst is shown at once; a browser then moves by 100 ms a second.
    fn hold(&mut self, seq: u64, meta: &Meta) -> Option<(u8, u8)> {
        let id = self.spec.playout_delay?;
        let begins = self.picture.replace(meta.timestamp) != Some(meta.timestamp);
        let hold = if self.is_heard { meta.hold } else { 0 };
        let again = meta.key && self.told_hold != 0;
        let due = begins && seq > self.burst_end && (hold != self.told_hold || again);
        due.then(|| {
            self.told_hold = hold;
            (id, hold)
        })
    }

    fn timestamp(&self, seq: u64, meta: &Meta) -> u32 {
        let squeezed = match seq <= self.burst_end {
            true => self.burst.iter().find(|(from, _)| *from == meta.timestamp),
            false => None,
        };
        squeezed.map_or(meta.timestamp, |(_, to)| *to).wrapping_add(self.timestamp_offset)
    }

    /// The subscriber's name for a moment of the publisher's RTP clock.
    pub fn map_timestamp(&self, timestamp: u32) -> u32 {
        timestamp.wrapping_add(self.timestamp_offset)
    }

    /// Notes that a sender report left.
    pub fn on_report_sent(&mut self, now: Time, ntp: Ntp) {
        self.reports.rotate_right(1);
        self.reports[0] = Some((ntp.middle(), now));
    }

    /// Takes what the subscriber says of this track: how long its answer to a sender report took (RFC 3550 §6.4.1). The
    /// report's own moment of leaving counts, not the time written into it, which is the publisher's.
    pub fn on_report_block(&mut self, now: Time, block: &ReportBlock) {
        let named = self.reports.iter().flatten().find(|(name, _)| *name == block.last_sr);
        let Some((_, sent)) = named.filter(|_| block.last_sr != 0) else { return };
        let held = Duration::from_micros((u64::from(block.delay_since_last_sr) * 1_000_000) >> 16);
        let rtt = now.since(*sent).saturating_sub(held);
        self.rtt = Some(self.rtt.map_or(rtt, |smooth| (smooth * 7 + rtt) / 8));
    }

    /// The way to the subscriber and back; `None` before its first receiver report.
    pub fn rtt(&self) -> Option<Duration> {
        self.rtt
    }

    fn resend_spacing(&self) -> Duration {
        self.rtt.map_or(RESEND_SPACING, |rtt| rtt.clamp(RESEND_SPACING_MIN, RESEND_SPACING_MAX))
    }

    /// The number that the publisher gave to what was sent as `out`.
    pub fn reverse(&self, out: u16) -> Option<u64> {
        self.map.reverse_wire(out)
    }

    /// A retransmission of packet `seq`, which was sent as `out`; or why there is none.
    pub fn resend(&mut self, now: Time, seq: u64, out: u16, meta: &Meta) -> Result<Forward, DropReason> {
        let (payload_type, ssrc) = self.spec.rtx.ok_or(DropReason::ResendLimit)?;
        let cost = usize::from(meta.payload_len);
        if cost > self.resend_budget {
            return Err(DropReason::ResendLimit);
        }
        let spacing = self.resend_spacing();
        self.resends.get_or_insert_default().spend(now, out, spacing)?;
        self.resend_budget -= cost;
        let header = rtp_header(meta.marker, payload_type, self.rtx_seq, self.timestamp(seq, meta), ssrc);
        self.rtx_seq = self.rtx_seq.wrapping_add(1);
        let DownSpec { transport: to, transport_cc, .. } = self.spec;
        Ok(Forward { to, up: self.up, seq, header, original_seq: Some(out), padding: 0, transport_cc, hold: None })
    }
}

/// How often and when each packet was last resent. Made with the first NACK: most subscribers never send one.
struct Resends([Option<(u16, u8, Time)>; RESEND_MEMORY]);

impl Default for Resends {
    fn default() -> Self {
        Resends([None; RESEND_MEMORY])
    }
}

impl Resends {
    /// Counts one resend, or says why there is none.
    fn spend(&mut self, now: Time, seq: u16, spacing: Duration) -> Result<(), DropReason> {
        let entry = &mut self.0[usize::from(seq) % RESEND_MEMORY];
        match entry {
            Some((of, ..)) if *of != seq => *entry = Some((seq, 1, now)),
            None => *entry = Some((seq, 1, now)),
            Some((_, _, at)) if now < *at + spacing => return Err(DropReason::ResendLimit),
            Some((_, count, _)) if *count >= RESENDS_MAX => return Err(DropReason::ResendsSpent),
            Some((_, count, at)) => {
                *count += 1;
                *at = now;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::{Kind, StreamId};

    fn video() -> DownTrack {
        let spec = DownSpec {
            track: TrackId { stream: StreamId(1), kind: Kind::Video },
            transport: TransportKey(3),
            ssrc: 0xabcd,
            payload_type: 102,
            rtx: Some((103, 0xef01)),
            transport_cc: None,
            playout_delay: None,
        };
        DownTrack::new(spec, UpKey(0), true, [99, 1000])
    }

    fn packet(seq: u64, timestamp: u32, key: bool) -> Accepted {
        let meta = Meta { timestamp, payload_offset: 12, payload_len: 1000, marker: false, key, padding: 0, hold: 0 };
        Accepted { seq, meta, empty: false }
    }

    fn seq_of(forward: &Forward) -> u16 {
        u16::from_be_bytes([forward.header[2], forward.header[3]])
    }

    fn timestamp_of(forward: &Forward) -> u32 {
        u32::from_be_bytes(forward.header[4..8].try_into().unwrap())
    }

    #[test]
    fn video_begins_at_a_key_frame_and_numbers_without_a_hole() {
        let mut down = video();
        assert_eq!(down.forward(&packet(1, 0, true)), Err(DropReason::NotConnected));
        down.start();
        assert_eq!(down.forward(&packet(2, 0, false)), Err(DropReason::AwaitingKeyFrame));
        let first = down.forward(&packet(3, 3000, true)).unwrap();
        assert_eq!((seq_of(&first), timestamp_of(&first)), (99, 4000));
        assert_eq!(down.forward(&packet(2, 0, false)), Err(DropReason::Duplicate), "late from before the start");
        let mut probe = packet(4, 3000, false);
        probe.empty = true;
        assert_eq!(down.forward(&probe), Err(DropReason::Empty));
        assert_eq!(seq_of(&down.forward(&packet(5, 6000, false)).unwrap()), 100);
        assert_eq!(down.reverse(100), Some(5));
    }

    #[test]
    fn a_packet_is_resent_three_times_at_most_and_not_in_a_hurry() {
        let mut down = video();
        down.start();
        let sent = packet(7, 0, true);
        down.forward(&sent).unwrap();
        let mut resent = 0;
        for ms in 0..500 {
            if let Ok(forward) = down.resend(Time::from_millis(ms), 7, 99, &sent.meta) {
                assert_eq!(forward.original_seq, Some(99));
                assert_eq!(seq_of(&forward), resent);
                resent += 1;
            }
        }
        assert_eq!(resent, u16::from(RESENDS_MAX));
    }

    #[test]
    fn resends_of_a_packet_are_as_far_apart_as_the_way_there_and_back() {
        for (rtt_ms, held_ms, spacing_ms) in [(120, 300, 120), (0, 700, 10), (3, 0, 10), (900, 0, 200)] {
            let mut down = video();
            down.start();
            let sent = packet(7, 0, true);
            down.forward(&sent).unwrap();
            let ntp = Ntp(0x1234_5678_9abc_def0);
            let start = Time::from_millis(5_000);
            down.on_report_sent(start, ntp);
            let delay_since_last_sr = held_ms * 65_536 / 1_000;
            let block = ReportBlock { last_sr: 0x5678_9abc, delay_since_last_sr, ..ReportBlock::default() };
            down.on_report_block(start + Duration::from_millis(u64::from(rtt_ms + held_ms)), &block);
            assert!(down.rtt().unwrap().abs_diff(Duration::from_millis(rtt_ms.into())) < Duration::from_millis(1));
            let now = Time::from_millis(10_000);
            assert!(down.resend(now, 7, 99, &sent.meta).is_ok());
            let before = now + Duration::from_millis(spacing_ms - 1);
            assert_eq!(down.resend(before, 7, 99, &sent.meta), Err(DropReason::ResendLimit), "{rtt_ms}");
            assert!(down.resend(now + Duration::from_millis(spacing_ms + 1), 7, 99, &sent.meta).is_ok(), "{rtt_ms}");
        }
    }

    #[test]
    fn a_report_block_that_names_no_report_of_ours_says_nothing() {
        let mut down = video();
        let start = Time::from_millis(5_000);
        for last_sr in [0, 7] {
            down.on_report_block(start, &ReportBlock { last_sr, ..ReportBlock::default() });
        }
        for n in 1..=3u64 {
            down.on_report_sent(start + Duration::from_secs(n), Ntp(n << 16));
        }
        down.on_report_block(start + Duration::from_secs(4), &ReportBlock { last_sr: 1, ..ReportBlock::default() });
        assert_eq!(down.rtt(), None, "older than what is kept");
        down.on_report_block(start + Duration::from_secs(4), &ReportBlock { last_sr: 2, ..ReportBlock::default() });
        assert_eq!(down.rtt(), Some(Duration::from_secs(2)));
    }

    #[test]
    fn resent_bytes_stay_within_their_share() {
        let mut down = video();
        down.start();
        let (mut live, mut resent) = (0usize, 0usize);
        for i in 0..2000u64 {
            let sent = packet(i, 0, i == 0);
            let forward = down.forward(&sent).unwrap();
            live += 1000;
            for _ in 0..3 {
                if down.resend(Time::from_millis(i * 100), i, seq_of(&forward), &sent.meta).is_ok() {
                    resent += 1000;
                }
            }
        }
        assert!(resent <= RESEND_BUDGET_START + live * RESEND_SHARE_PERCENT / 100, "{resent} of {live}");
        assert!(resent >= live * RESEND_SHARE_PERCENT / 100 - 1000);
    }

    #[test]
    fn how_long_pictures_are_held_is_told_once_by_the_first_packet_of_a_live_picture_and_again_by_key_frames() {
        let mut down = video();
        down.spec.playout_delay = Some(5);
        down.set_heard(true);
        let told = |down: &mut DownTrack, seq, timestamp, key, hold| {
            let mut packet = packet(seq, timestamp, key);
            packet.meta.hold = hold;
            down.forward(&packet).unwrap().hold
        };
        // The burst itself is shown at once.
        down.start_burst(&(10..=11), &[0, 3000]);
        assert_eq!([told(&mut down, 10, 0, true, 9), told(&mut down, 11, 3000, false, 9)], [None; 2]);
        // The picture at its end may go on behind it.
        assert_eq!(told(&mut down, 12, 3000, false, 9), None);
        assert_eq!(told(&mut down, 13, 6000, false, 9), Some((5, 9)));
        assert_eq!([told(&mut down, 14, 6000, false, 9), told(&mut down, 15, 9000, false, 9)], [None; 2]);
        assert_eq!(told(&mut down, 16, 12_000, true, 9), Some((5, 9)));
        assert_eq!(told(&mut down, 17, 12_000, true, 9), None);
        assert_eq!(told(&mut down, 18, 15_000, false, 0), Some((5, 0)));
        assert_eq!(told(&mut down, 19, 18_000, true, 0), None, "as long as nothing was ever said");
        assert_eq!(told(&mut down, 20, 21_000, false, 9), Some((5, 9)));
        down.set_heard(false);
        let silent = [told(&mut down, 21, 24_000, false, 9), told(&mut down, 22, 27_000, true, 9)];
        assert_eq!(silent, [Some((5, 0)), None], "who stops to hear it waits no longer");
        down.set_heard(true);
        down.spec.playout_delay = None;
        assert_eq!(told(&mut down, 23, 30_000, true, 9), None, "who does not know the extension is told nothing");
    }

    #[test]
    fn a_burst_pushes_its_frames_together_and_ends_in_live_time() {
        let mut down = video();
        down.start_burst(&(10..=12), &[0, 3000, 6000]);
        let times: Vec<u32> = [(10, 0, true), (11, 3000, false), (12, 6000, false), (13, 9000, false)]
            .into_iter()
            .map(|(seq, ts, key)| timestamp_of(&down.forward(&packet(seq, ts, key)).unwrap()).wrapping_sub(1000))
            .collect();
        assert_eq!(times, [6000 - 180, 6000 - 90, 6000, 9000]);
    }
}
