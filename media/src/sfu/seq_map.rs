//! From a publisher's sequence numbers to a subscriber's, and back.
//!
//! A subscriber must see numbers without holes where nothing was lost, though packets are left out on purpose: empty ones,
//! those before a key frame, those of a muted time. So the difference between the two countings changes now and then, and
//! the map remembers where: a short list of segments, the newest last.

use std::collections::VecDeque;

/// Segments remembered. Older packets than these are beyond repair anyway.
const SEGMENTS_MAX: usize = 32;

#[derive(Clone, Copy, Debug)]
struct Segment {
    /// First input number.
    from: u64,
    /// One past the last input number; `u64::MAX` while the segment is open.
    until: u64,
    /// Output number of `from`.
    out: u64,
}

/// A reversible map between extended sequence numbers. [`resume`](Self::resume) must come first.
#[derive(Clone, Debug, Default)]
pub struct SeqMap {
    segments: VecDeque<Segment>,
    highest_in: u64,
    highest_out: u64,
}

impl SeqMap {
    /// A map whose first output number will be `first_out`. RFC 3711 wants it below 2^15, so that a receiver that misses the
    /// first packets cannot guess the rollover counter wrong.
    pub fn new(first_out: u64) -> Self {
        SeqMap { segments: VecDeque::new(), highest_in: 0, highest_out: first_out.saturating_sub(1) }
    }

    /// Continues with `seq` as the next number; what lies between the last one mapped and `seq` is left out.
    pub fn resume(&mut self, seq: u64) {
        if let Some(last) = self.segments.back_mut() {
            last.until = last.until.min(self.highest_in + 1);
        }
        self.open(Segment { from: seq, until: u64::MAX, out: self.highest_out + 1 });
    }

    /// The output number of `seq`, or `None` if it was left out or is forgotten.
    pub fn map(&mut self, seq: u64) -> Option<u64> {
        let segment = self.segments.iter().rev().find(|s| s.from <= seq)?;
        if seq >= segment.until {
            return None;
        }
        let out = segment.out + (seq - segment.from);
        self.highest_in = self.highest_in.max(seq);
        self.highest_out = self.highest_out.max(out);
        Some(out)
    }

    /// Leaves `seq` out, so that its successor takes its place. False if that is too late because a later packet has been
    /// mapped: then the subscriber has a hole.
    pub fn skip(&mut self, seq: u64) -> bool {
        let Some(last) = self.segments.back_mut() else { return false };
        if seq <= self.highest_in || seq < last.from {
            return false;
        }
        let out = last.out + (seq - last.from);
        if seq == last.from {
            last.from = seq + 1;
        } else {
            last.until = seq;
            self.open(Segment { from: seq + 1, until: u64::MAX, out });
        }
        true
    }

    /// The input number that was sent as `out`.
    pub fn reverse(&self, out: u64) -> Option<u64> {
        let segment = self.segments.iter().rev().find(|s| s.out <= out)?;
        let seq = segment.from + (out - segment.out);
        (seq < segment.until && out <= self.highest_out).then_some(seq)
    }

    /// The input number that was sent with the wire number `out`, among the last 32,768 sent.
    pub fn reverse_wire(&self, out: u16) -> Option<u64> {
        let behind = (self.highest_out as u16).wrapping_sub(out);
        if behind >= 0x8000 {
            return None;
        }
        self.reverse(self.highest_out.checked_sub(u64::from(behind))?)
    }

    fn open(&mut self, segment: Segment) {
        if self.segments.len() == SEGMENTS_MAX {
            self.segments.pop_front();
        }
        self.segments.push_back(segment);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_packet_left_out_leaves_no_hole() {
        let mut map = SeqMap::new(100);
        map.resume(1000);
        assert_eq!(map.map(1000), Some(100));
        assert!(map.skip(1001));
        assert_eq!(map.map(1002), Some(101));
        assert_eq!(map.map(1001), None, "a repeat of the packet left out does not take another's place");
        assert_eq!(map.reverse(101), Some(1002));
    }

    #[test]
    fn leaving_out_is_too_late_once_a_later_packet_went() {
        let mut map = SeqMap::new(1);
        map.resume(10);
        assert_eq!(map.map(12), Some(3));
        assert!(!map.skip(11));
        assert_eq!(map.map(11), Some(2));
    }

    #[test]
    fn the_first_packets_left_out_do_not_count() {
        let mut map = SeqMap::new(7);
        map.resume(10);
        assert!(map.skip(10));
        assert_eq!(map.map(11), Some(7));
    }

    #[test]
    fn resuming_continues_the_numbers() {
        let mut map = SeqMap::new(5);
        map.resume(10);
        assert_eq!(map.map(10), Some(5));
        assert_eq!(map.map(11), Some(6));
        map.resume(500);
        assert_eq!(map.map(500), Some(7));
        assert_eq!(map.map(12), None, "what came late from before the pause is not sent");
        assert_eq!(map.reverse_wire(6), Some(11));
        assert_eq!(map.reverse_wire(8), None, "not sent yet");
    }

    proptest! {
        #[test]
        fn what_is_mapped_maps_back_and_no_number_is_given_twice(
            steps in prop::collection::vec((0u8..10, 0u64..6), 1..300)
        ) {
            let mut map = SeqMap::new(40);
            let mut next = 10_000u64;
            map.resume(next);
            let mut given: HashMap<u64, u64> = HashMap::new();
            for (what, back) in steps {
                match what {
                    0 => { map.skip(next); next += 1; }
                    1 => { next += 50; map.resume(next); }
                    2 | 3 => {
                        let seq = next.saturating_sub(back);
                        if let Some(out) = map.map(seq) {
                            prop_assert!(given.insert(out, seq).is_none_or(|old| old == seq));
                        }
                    }
                    _ => {
                        let out = map.map(next).expect("a packet in order is always mapped");
                        prop_assert!(given.insert(out, next).is_none_or(|old| old == next));
                        prop_assert_eq!(map.reverse(out), Some(next));
                        prop_assert_eq!(map.reverse_wire(out as u16), Some(next));
                        next += 1;
                    }
                }
            }
        }
    }
}
