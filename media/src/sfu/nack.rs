//! What is missing from a publisher, and when to ask for it again (RFC 4585 §6.2.1).

use std::{collections::BTreeMap, time::Duration};

use crate::units::time::Time;

/// A hole is asked for after this: most of what overtakes on the way arrives within it.
const REORDER_WAIT: Duration = Duration::from_millis(10);
/// Wait between the first and the second request; doubles with each further one.
const RETRY_WAIT: Duration = Duration::from_millis(50);
/// Requests for one packet before it is given up.
const TRIES_MAX: u8 = 6;
/// Packets missing at once. More is an outage, which only a key frame ends.
const MISSING_MAX: usize = 256;

#[derive(Clone, Copy, Debug)]
struct Missing {
    tries: u8,
    due: Time,
}

/// The holes in one publisher's sequence.
#[derive(Debug, Default)]
pub struct NackList {
    highest: Option<u64>,
    missing: BTreeMap<u64, Missing>,
}

/// What a packet's arrival means for the holes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arrival {
    InOrder,
    /// It fills a hole, or comes before anything known.
    Late,
    /// So much is missing that asking again is useless; the list was emptied.
    Outage,
}

impl NackList {
    pub fn on_packet(&mut self, now: Time, seq: u64) -> Arrival {
        let Some(highest) = self.highest else {
            self.highest = Some(seq);
            return Arrival::InOrder;
        };
        if seq <= highest {
            self.missing.remove(&seq);
            return Arrival::Late;
        }
        self.highest = Some(seq);
        let gap = seq - highest - 1;
        if gap as usize + self.missing.len() > MISSING_MAX {
            self.missing.clear();
            return Arrival::Outage;
        }
        for lost in highest + 1..seq {
            self.missing.insert(lost, Missing { tries: 0, due: now + REORDER_WAIT });
        }
        Arrival::InOrder
    }

    /// Puts the numbers to ask for now into `due`, in order. Answers whether a packet was given up.
    pub fn poll(&mut self, now: Time, due: &mut Vec<u16>) -> bool {
        let mut given_up = false;
        self.missing.retain(|&seq, missing| {
            if missing.due > now {
                return true;
            }
            if missing.tries == TRIES_MAX {
                given_up = true;
                return false;
            }
            due.push(seq as u16);
            missing.due = now + RETRY_WAIT * (1 << missing.tries);
            missing.tries += 1;
            true
        });
        given_up
    }

    pub fn next_timeout(&self) -> Option<Time> {
        self.missing.values().map(|m| m.due).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hole_is_asked_for_after_the_reorder_wait_and_then_ever_more_seldom() {
        let mut list = NackList::default();
        let start = Time::from_millis(1000);
        list.on_packet(start, 10);
        list.on_packet(start, 13);
        let mut asked = Vec::new();
        let mut given_up_at = None;
        for ms in 0..5000 {
            let mut due = Vec::new();
            let now = start + Duration::from_millis(ms);
            if list.poll(now, &mut due) {
                given_up_at = Some(ms);
            }
            if !due.is_empty() {
                assert_eq!(due, [11, 12]);
                asked.push(ms);
            }
        }
        assert_eq!(asked, [10, 60, 160, 360, 760, 1560]);
        assert_eq!(given_up_at, Some(3160));
        assert_eq!(list.next_timeout(), None);
    }

    #[test]
    fn what_arrives_late_is_not_asked_for() {
        let mut list = NackList::default();
        list.on_packet(Time::ZERO, 10);
        list.on_packet(Time::ZERO, 12);
        assert_eq!(list.on_packet(Time::from_millis(5), 11), Arrival::Late);
        let mut due = Vec::new();
        list.poll(Time::from_millis(100), &mut due);
        assert!(due.is_empty());
    }

    #[test]
    fn an_outage_is_not_asked_for_packet_by_packet() {
        let mut list = NackList::default();
        list.on_packet(Time::ZERO, 10);
        assert_eq!(list.on_packet(Time::ZERO, 11 + MISSING_MAX as u64), Arrival::InOrder);
        let mut list = NackList::default();
        list.on_packet(Time::ZERO, 10);
        assert_eq!(list.on_packet(Time::ZERO, 12 + MISSING_MAX as u64), Arrival::Outage);
        assert_eq!(list.next_timeout(), None);
    }
}
