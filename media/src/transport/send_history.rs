//! The sending half of transport-wide congestion control (draft-holmer-rmcat-transport-wide-cc-extensions-01): numbers what
//! leaves on a transport, remembers when it left, and turns the receiver's reports into facts: this packet, sent then, of so
//! many bytes, arrived then or was lost.

use std::time::Duration;

use crate::{
    rtp::feedback::Twcc,
    units::{rate::RateMeter, time::Time},
};

/// Packets that are remembered: reports come every 50 to 250 ms, and 512 packets are two seconds at 1.3 Mbit/s or half a
/// second at 10. What a report says of an older one is not counted. 4 KB for each transport that is reported on.
pub const HISTORY_PACKETS: usize = 512;

/// What became of one packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PacketFact {
    pub sent: Time,
    /// Of the whole RTP packet, without what protection adds.
    pub bytes: u16,
    /// On the receiver's clock, in microseconds from an origin that only the receiver knows; `None`: lost.
    pub arrived_us: Option<i64>,
}

/// What one report added.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reported {
    pub arrived: u64,
    pub arrived_bytes: u64,
    pub lost: u64,
    /// Packets that were called lost by a report before this one, and arrived all the same.
    pub found: u64,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Fate {
    #[default]
    Unknown,
    Arrived,
    Lost,
}

#[derive(Clone, Copy, Default)]
struct Sent {
    /// The lower half of the time, in microseconds.
    at_us: u32,
    bytes: u16,
    fate: Fate,
}

/// What a transport sent lately.
#[derive(Default)]
pub struct SendHistory {
    /// Empty until the first packet.
    ring: Box<[Sent]>,
    next: u16,
    /// How many there are, at most [`HISTORY_PACKETS`].
    len: u16,
    /// The highest reference time of a report, extended so that it does not wrap.
    reference: Option<i64>,
    received: RateMeter,
}

/// Bits of a report's reference time.
const REFERENCE_BITS: u32 = 24;
const REFERENCE_UNIT_US: i64 = 64_000;

impl SendHistory {
    /// Notes that a packet of `bytes` leaves now, and answers its number.
    pub fn on_send(&mut self, now: Time, bytes: usize) -> u16 {
        if self.ring.is_empty() {
            self.ring = vec![Sent::default(); HISTORY_PACKETS].into_boxed_slice();
        }
        let seq = self.next;
        self.ring[usize::from(seq) % HISTORY_PACKETS] =
            Sent { at_us: now.as_micros() as u32, bytes: bytes as u16, fate: Fate::Unknown };
        self.next = seq.wrapping_add(1);
        self.len = (self.len + 1).min(HISTORY_PACKETS as u16);
        seq
    }

    /// Takes the receiver's report, and tells `each` what it says of packets that are remembered and whose fate is new.
    pub fn on_report(&mut self, now: Time, report: &Twcc, mut each: impl FnMut(PacketFact)) -> Reported {
        let base_us = self.extend_reference(report.reference_time) * REFERENCE_UNIT_US;
        let mut reported = Reported::default();
        for status in report.statuses() {
            let age = self.next.wrapping_sub(status.seq);
            if !(1..=self.len).contains(&age) {
                continue;
            }
            let sent = &mut self.ring[usize::from(status.seq) % HISTORY_PACKETS];
            let fate = if status.arrival_us.is_some() { Fate::Arrived } else { Fate::Lost };
            match (sent.fate, fate) {
                (Fate::Arrived, _) | (Fate::Lost, Fate::Lost) => continue,
                (Fate::Lost, _) => reported.found += 1,
                _ => {}
            }
            sent.fate = fate;
            if fate == Fate::Lost {
                reported.lost += 1;
            } else {
                reported.arrived += 1;
                reported.arrived_bytes += u64::from(sent.bytes);
                self.received.add(now, usize::from(sent.bytes));
            }
            let ago = (now.as_micros() as u32).wrapping_sub(sent.at_us);
            each(PacketFact {
                sent: now - Duration::from_micros(u64::from(ago)),
                bytes: sent.bytes,
                arrived_us: status.arrival_us.map(|us| base_us + us),
            });
        }
        reported
    }

    /// What the receiver got per second, in bits, by its reports.
    pub fn received_bps(&self) -> u64 {
        self.received.bps()
    }

    fn extend_reference(&mut self, wire: i32) -> i64 {
        let wire = i64::from(wire);
        let Some(highest) = self.reference else {
            self.reference = Some(wire);
            return wire;
        };
        // The nearest of the moments that have these lower bits.
        let lower = (wire - highest) << (64 - REFERENCE_BITS) >> (64 - REFERENCE_BITS);
        let extended = highest + lower;
        self.reference = Some(highest.max(extended));
        extended
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{
        rtp::rtcp::{self, Rtcp},
        transport::twcc::TwccReceiver,
    };

    /// Everything that the receiver has to say by `now`.
    fn report(receiver: &mut TwccReceiver, now: Time, history: &mut SendHistory) -> (Vec<PacketFact>, Reported) {
        let (mut facts, mut sum, mut out) = (Vec::new(), Reported::default(), Vec::new());
        while receiver.poll_feedback(now, 1, 2, &mut out) {
            for packet in rtcp::packets(&out) {
                let Ok(Rtcp::TransportFeedback { fci, .. }) = packet else { panic!("{packet:?}") };
                let one = history.on_report(now, &Twcc::parse(fci).unwrap(), |fact| facts.push(fact));
                sum.arrived += one.arrived;
                sum.arrived_bytes += one.arrived_bytes;
                sum.lost += one.lost;
                sum.found += one.found;
            }
            out.clear();
        }
        (facts, sum)
    }

    #[test]
    fn a_report_tells_what_arrived_when_and_what_was_lost() {
        let (mut history, mut receiver) = (SendHistory::default(), TwccReceiver::new());
        let start = Time::from_millis(10_000);
        for n in 0..4u64 {
            let sent = start + Duration::from_millis(n * 10);
            let seq = history.on_send(sent, 100 + n as usize);
            if n != 2 {
                receiver.on_packet(sent + Duration::from_millis(30 + n), seq);
            }
        }
        let now = start + Duration::from_millis(200);
        let (facts, sum) = report(&mut receiver, now, &mut history);
        assert_eq!(sum, Reported { arrived: 3, arrived_bytes: 100 + 101 + 103, lost: 1, found: 0 });
        assert_eq!(facts.iter().map(|f| f.bytes).collect::<Vec<_>>(), [100, 101, 102, 103]);
        assert_eq!(facts[1].sent, start + Duration::from_millis(10));
        assert_eq!(facts[2].arrived_us, None);
        let gap = facts[3].arrived_us.unwrap() - facts[0].arrived_us.unwrap();
        assert!((gap - 33_000).abs() <= 250, "{gap}");
    }

    #[test]
    fn a_packet_that_was_called_lost_may_be_found_once() {
        let (mut history, mut receiver) = (SendHistory::default(), TwccReceiver::new());
        let mut now = Time::from_millis(1_000);
        let seqs: Vec<u16> = (0..3).map(|_| history.on_send(now, 500)).collect();
        [0, 2].into_iter().for_each(|n| receiver.on_packet(now, seqs[n]));
        now = now + Duration::from_millis(100);
        assert_eq!(report(&mut receiver, now, &mut history).1.lost, 1);
        receiver.on_packet(now, seqs[1]);
        now = now + Duration::from_millis(100);
        let (_, sum) = report(&mut receiver, now, &mut history);
        assert_eq!((sum.arrived, sum.lost, sum.found), (1, 0, 1));
    }

    #[test]
    fn what_is_older_than_the_history_or_was_never_sent_is_not_counted() {
        let (mut history, mut receiver) = (SendHistory::default(), TwccReceiver::new());
        let now = Time::from_millis(1_000);
        let first = history.on_send(now, 500);
        for _ in 0..HISTORY_PACKETS - 1 {
            history.on_send(now, 500);
        }
        // The oldest that is remembered, then one more than fits.
        receiver.on_packet(now, first);
        assert_eq!(report(&mut receiver, now + Duration::from_millis(100), &mut history).1.arrived, 1);
        let (mut history, mut receiver) = (SendHistory::default(), TwccReceiver::new());
        let first = history.on_send(now, 500);
        for _ in 0..HISTORY_PACKETS {
            history.on_send(now, 500);
        }
        receiver.on_packet(now, first);
        assert_eq!(report(&mut receiver, now + Duration::from_millis(100), &mut history).1, Reported::default());
        let mut receiver = TwccReceiver::new();
        receiver.on_packet(now, HISTORY_PACKETS as u16 + 1);
        assert_eq!(report(&mut receiver, now + Duration::from_millis(100), &mut history).1, Reported::default());
    }

    #[test]
    fn a_reference_time_that_wraps_goes_on() {
        let mut history = SendHistory::default();
        let top = (1 << (REFERENCE_BITS - 1)) - 1;
        assert_eq!(history.extend_reference(top), i64::from(top));
        assert_eq!(history.extend_reference(-top - 1), i64::from(top) + 1);
        assert_eq!(history.extend_reference(top), i64::from(top), "an older report");
        assert_eq!(history.extend_reference(-top), i64::from(top) + 2);
    }

    proptest! {
        /// Whatever is lost, every packet's fate is told once and sums agree, through wraps.
        #[test]
        fn every_packet_is_counted_once(lost in prop::collection::vec(any::<bool>(), 1..1000), skip in 0u32..70_000) {
            let (mut history, mut receiver) = (SendHistory::default(), TwccReceiver::new());
            let mut now = Time::from_millis(5_000);
            (0..skip).for_each(|_| { history.on_send(now, 1); });
            let (mut arrived, mut told) = (0, Reported::default());
            let last = lost.iter().rposition(|lost| !lost);
            let first = lost.iter().position(|lost| !lost).unwrap_or(0);
            for lost in &lost {
                now = now + Duration::from_millis(2);
                let seq = history.on_send(now, 10);
                if !lost {
                    receiver.on_packet(now, seq);
                    arrived += 1;
                }
                let (_, sum) = report(&mut receiver, now, &mut history);
                told.arrived += sum.arrived;
                told.lost += sum.lost;
            }
            let (_, sum) = report(&mut receiver, now + Duration::from_millis(200), &mut history);
            prop_assert_eq!(told.arrived + sum.arrived, arrived);
            let missing = last.map_or(0, |last| lost[first..last].iter().filter(|lost| **lost).count() as u64);
            prop_assert_eq!(told.lost + sum.lost, missing);
        }
    }
}
