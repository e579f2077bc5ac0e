//! The receiving half of transport-wide congestion control (draft-holmer-rmcat-transport-wide-cc-extensions-01): notes
//! when packets arrive, and tells the sender about ten times a second. A browser that is promised these reports and
//! gets none stays at its start bitrate.

use std::time::Duration;

use crate::{
    rtp::{feedback::Arrival, rtcp::write_transport_feedback},
    units::{seq::Unwrap16, time::Time},
};

/// Longest time that an arrival waits for its report. Shorter: the sender's estimate reacts faster, at 12 bytes and a
/// datagram per report; 50 to 250 ms are usual.
pub const REPORT_INTERVAL: Duration = Duration::from_millis(100);

/// This many arrivals are reported at once, without waiting; a report of them is at most 700 bytes long.
pub const REPORT_ARRIVALS: usize = 100;

/// Arrivals kept while nobody asks for a report; more are not noted, and so reported as lost.
pub const ARRIVALS_MAX: usize = 1_000;

/// Packets per interval that come after their gap was reported, and still are told of; each takes a report of its own.
pub const LATE_ARRIVALS_MAX: usize = 16;

/// Notes arrivals and writes the reports about them.
#[derive(Debug, Default)]
pub struct TwccReceiver {
    unwrap: Unwrap16,
    /// The first number that no report has spoken of; zero before the first packet.
    base: u64,
    /// Not reported yet; in ascending order, none below `base`.
    arrivals: Vec<Arrival>,
    /// Not reported yet as received, but as lost.
    late: Vec<Arrival>,
    /// When the oldest of them came.
    since: Option<Time>,
    feedback_count: u8,
}

impl TwccReceiver {
    pub fn new() -> Self {
        Self::default()
    }

    /// Notes that the packet with this transport-wide sequence number came at `now`. A repeated one counts once.
    pub fn on_packet(&mut self, now: Time, seq: u16) {
        let seq = self.unwrap.extend(seq);
        if self.base == 0 {
            self.base = seq;
        }
        let (list, limit) =
            if seq < self.base { (&mut self.late, LATE_ARRIVALS_MAX) } else { (&mut self.arrivals, ARRIVALS_MAX) };
        let at = list.partition_point(|arrival| arrival.seq < seq);
        if list.len() >= limit || list.get(at).is_some_and(|arrival| arrival.seq == seq) {
            return;
        }
        list.insert(at, Arrival { seq, at: now });
        self.since.get_or_insert(now);
    }

    /// Appends one report, an RTCP packet of at most 1,200 bytes, if one is due; false if none is. What does not fit
    /// into it is due at once: call until it says false.
    ///
    /// `media_ssrc` is any source of the sender that uses the extension.
    pub fn poll_feedback(&mut self, now: Time, sender_ssrc: u32, media_ssrc: u32, out: &mut Vec<u8>) -> bool {
        if self.next_timeout().is_none_or(|due| now < due) {
            return false;
        }
        let count = self.feedback_count;
        // A late packet's neighbours were reported already and must not be called lost now.
        let reported = if let Some(late) = self.late.first() {
            let run = self.late.iter().zip(late.seq..).take_while(|(arrival, seq)| arrival.seq == *seq).count();
            let run = &self.late[..run];
            let reported = write_transport_feedback(out, sender_ssrc, media_ssrc, late.seq, count, run);
            self.late.drain(..reported);
            reported
        } else {
            let reported = write_transport_feedback(out, sender_ssrc, media_ssrc, self.base, count, &self.arrivals);
            if let Some(last) = self.arrivals.drain(..reported).next_back() {
                self.base = last.seq + 1;
            }
            reported
        };
        self.feedback_count = count.wrapping_add(1);
        if self.late.is_empty() && self.arrivals.is_empty() {
            self.since = None;
        }
        reported > 0
    }

    /// When the next report is due; `None` while there is nothing to report.
    pub fn next_timeout(&self) -> Option<Time> {
        let since = self.since?;
        Some(if self.arrivals.len() >= REPORT_ARRIVALS { since } else { since + REPORT_INTERVAL })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;
    use crate::rtp::{
        feedback::Twcc,
        rtcp::{self, Rtcp},
    };

    /// What a sender learns: for every number the latest that was said of it, in microseconds of arrival.
    #[derive(Default)]
    struct Sender {
        fates: BTreeMap<u16, Option<i64>>,
        counts: Vec<u8>,
    }

    impl Sender {
        fn read(&mut self, compound: &[u8]) {
            for packet in rtcp::packets(compound) {
                let Ok(Rtcp::TransportFeedback { fci, .. }) = packet else { panic!("{packet:?}") };
                let report = Twcc::parse(fci).unwrap();
                self.counts.push(report.feedback_count);
                let reference = i64::from(report.reference_time) * 64_000;
                for status in report.statuses() {
                    let fate = status.arrival_us.map(|us| reference + us);
                    let known = self.fates.entry(status.seq).or_default();
                    assert!(known.is_none() || fate.is_some(), "{} was received and then lost", status.seq);
                    *known = fate;
                }
            }
        }
    }

    fn poll_all(receiver: &mut TwccReceiver, now: Time, sender: &mut Sender) -> usize {
        let mut reports = 0;
        let mut out = Vec::new();
        while receiver.poll_feedback(now, 1, 2, &mut out) {
            assert!(out.len() <= 1_200);
            sender.read(&out);
            out.clear();
            reports += 1;
        }
        reports
    }

    #[test]
    fn a_report_is_due_100_ms_after_the_first_arrival() {
        let mut receiver = TwccReceiver::new();
        assert_eq!(receiver.next_timeout(), None);
        let start = Time::from_millis(1_000);
        receiver.on_packet(start, 10);
        receiver.on_packet(start + Duration::from_millis(30), 12);
        assert_eq!(receiver.next_timeout(), Some(start + REPORT_INTERVAL));
        let mut sender = Sender::default();
        assert_eq!(poll_all(&mut receiver, start + Duration::from_millis(99), &mut sender), 0);
        assert_eq!(poll_all(&mut receiver, start + Duration::from_millis(100), &mut sender), 1);
        let fates: Vec<_> = sender.fates.into_iter().collect();
        assert_eq!(fates, [(10, Some(1_000_000)), (11, None), (12, Some(1_030_000))]);
        assert_eq!(receiver.next_timeout(), None);
    }

    #[test]
    fn a_hundred_arrivals_do_not_wait() {
        let mut receiver = TwccReceiver::new();
        let now = Time::from_millis(1_000);
        for seq in 0..REPORT_ARRIVALS as u16 {
            assert_eq!(poll_all(&mut receiver, now, &mut Sender::default()), 0);
            receiver.on_packet(now, seq);
        }
        assert_eq!(poll_all(&mut receiver, now, &mut Sender::default()), 1);
    }

    #[test]
    fn a_packet_after_its_gap_was_reported_is_still_told_of() {
        let mut receiver = TwccReceiver::new();
        let mut sender = Sender::default();
        let mut now = Time::from_millis(1_000);
        for seq in [1, 2, 5] {
            receiver.on_packet(now, seq);
        }
        now = now + REPORT_INTERVAL;
        poll_all(&mut receiver, now, &mut sender);
        assert_eq!(sender.fates[&3], None);
        for seq in [3, 4, 6, 4] {
            receiver.on_packet(now, seq);
        }
        now = now + REPORT_INTERVAL;
        assert_eq!(poll_all(&mut receiver, now, &mut sender), 2);
        assert!((1..=6).all(|seq| sender.fates[&seq].is_some()));
        assert_eq!(sender.counts, [0, 1, 2]);
    }

    #[test]
    fn arrivals_beyond_the_limits_are_not_kept() {
        let mut receiver = TwccReceiver::new();
        let now = Time::from_millis(1_000);
        for seq in 1_000..1_000 + 2 * ARRIVALS_MAX as u16 {
            receiver.on_packet(now, seq);
        }
        assert_eq!(receiver.arrivals.len(), ARRIVALS_MAX);
        poll_all(&mut receiver, now, &mut Sender::default());
        for seq in 0..2 * LATE_ARRIVALS_MAX as u16 {
            receiver.on_packet(now, seq);
        }
        assert_eq!(receiver.late.len(), LATE_ARRIVALS_MAX);
    }

    #[test]
    fn a_jump_of_the_numbers_is_survived() {
        let mut receiver = TwccReceiver::new();
        let mut sender = Sender::default();
        let mut now = Time::from_millis(1_000);
        for seq in [0, 30_000, 60_000, 20_000] {
            receiver.on_packet(now, seq);
            now = now + REPORT_INTERVAL;
            assert_eq!(poll_all(&mut receiver, now, &mut sender), 1);
            assert!(sender.fates[&seq].is_some());
        }
    }

    proptest! {
        /// The sender learns of every arrival, once and with the right time, through wraps, losses and reordering.
        #[test]
        fn every_arrival_is_reported(
            start in any::<u16>(),
            steps in prop::collection::vec((1u16..4, 0u64..20_000, any::<bool>()), 1..400),
        ) {
            let mut receiver = TwccReceiver::new();
            let mut sender = Sender::default();
            let mut now = Time::from_millis(5_000);
            let mut seq = start;
            let mut held = None;
            let mut sent = BTreeMap::new();
            for (step, wait_us, hold) in steps {
                seq = seq.wrapping_add(step);
                now = now + Duration::from_micros(wait_us);
                // One packet at a time may be overtaken by the next.
                let arriving: Vec<u16> = if hold && held.is_none() {
                    held = Some(seq);
                    vec![]
                } else {
                    [Some(seq), held.take()].into_iter().flatten().collect()
                };
                for seq in arriving {
                    receiver.on_packet(now, seq);
                    sent.insert(seq, now);
                }
                poll_all(&mut receiver, now, &mut sender);
            }
            poll_all(&mut receiver, now + REPORT_INTERVAL, &mut sender);
            for (seq, at) in sent {
                let told = sender.fates.get(&seq).copied().flatten();
                prop_assert!(told.is_some_and(|us| us.abs_diff(at.as_micros() as i64) < 250), "{} {:?}", seq, told);
            }
            let received = sender.fates.values().flatten().count();
            prop_assert!(received <= 400);
        }
    }
}
