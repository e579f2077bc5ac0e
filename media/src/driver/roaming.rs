//! Clients whose address changed without notice: a NAT gave them another port, or they went from Wi-Fi to mobile.
//!
//! Their next packets are SRTP from an address that leads to no transport. A STUN check from there names its transport and
//! needs none of this, but browsers check every 2.5 s only. Nothing in an SRTP packet names a transport either: its SSRC is
//! the client's choice (every receiving Chromium reports as SSRC 1). So the packet is tried with the keys of those it might
//! be from, and this file keeps that cheap and safe:
//!
//! - *Who is tried.* Only transports that have been silent for 200 ms, have received this SSRC before, and for which the
//!   packet would be the newest of it. That is a few comparisons for each. Those last seen at the same IP address come first.
//! - *How often.* `media.roaming_tries_per_second` packets for each of [`BINS`] groups of source addresses, so that a flood from some
//!   addresses leaves the others their share, and `media.roaming_candidates_max` keys for each packet. All together, by
//!   default, at most some 10 ms of each second, whatever comes; a packet too many is dropped as one from an unknown address always was.
//! - *What it moves.* Only a valid authentication tag moves anything, on a packet newer than every one before it: a copy of
//!   an old packet does not. Somebody who sees the packets and sends a copy faster than the network sends the original
//!   could move a silent client's media, until its next packet moves it back; he could drop them just as well.

use std::{
    hash::{BuildHasher, RandomState},
    net::IpAddr,
    time::Duration,
};

use crate::units::time::Time;

/// Groups that source addresses fall into, by a hash that is new in each process.
pub const BINS: usize = 64;
/// Which packets from unknown addresses are looked at.
pub struct Roaming {
    hasher: RandomState,
    /// Between two packets of a group that are looked at; `None`: none is.
    interval: Option<Duration>,
    candidates_max: usize,
    /// When each group may have its next packet looked at.
    next: [Time; BINS],
    /// Where the next choice among too many candidates begins, so that each has its turn.
    turn: usize,
}

impl Roaming {
    /// Looks at `tries_per_second` packets of each group, and leaves `candidates_max` transports for each.
    pub fn new(tries_per_second: u32, candidates_max: usize) -> Self {
        let interval = Duration::from_secs(1).checked_div(tries_per_second);
        Roaming { hasher: RandomState::new(), interval, candidates_max, next: [Time::ZERO; BINS], turn: 0 }
    }

    /// Whether a packet from `ip` is looked at.
    pub fn take(&mut self, now: Time, ip: IpAddr) -> bool {
        let Some(interval) = self.interval else { return false };
        let bin = self.hasher.hash_one(ip) as usize % BINS;
        if now < self.next[bin] {
            return false;
        }
        self.next[bin] = now + interval;
        true
    }

    /// Leaves at most as many as may be of `(near, candidate)`: the near ones first, and of the others each time different
    /// ones.
    pub fn choose<T>(&mut self, candidates: &mut Vec<(bool, T)>) {
        candidates.sort_by_key(|(near, _)| !near);
        let max = self.candidates_max;
        if candidates.len() > max {
            let near = candidates.iter().take_while(|(near, _)| *near).count();
            let (near, far) = candidates.split_at_mut(near);
            let (group, places) = if near.len() >= max { (near, max) } else { (far, max - near.len()) };
            group.rotate_left(self.turn % group.len());
            self.turn = self.turn.wrapping_add(places);
            candidates.truncate(max);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    const TRIES_PER_SECOND: u32 = 8;
    const CANDIDATES_MAX: usize = 16;

    #[test]
    fn one_address_has_eight_packets_a_second_looked_at_and_others_keep_theirs() {
        let mut roaming = Roaming::new(TRIES_PER_SECOND, CANDIDATES_MAX);
        let flood: IpAddr = [198, 51, 100, 1].into();
        let taken = (0..50_000).filter(|i| roaming.take(Time::from_micros(1_000_000 + i * 20), flood)).count();
        assert_eq!(taken, TRIES_PER_SECOND as usize);
        let now = Time::from_micros(2_000_001);
        let others = (0..=255).filter(|n| roaming.take(now, [203, 0, 113, *n].into())).count();
        assert!((BINS / 2..=BINS).contains(&others), "{others}");
    }

    #[test]
    fn as_many_packets_are_looked_at_as_is_set_and_none_at_zero() {
        for tries in [0, 1, 50] {
            let mut roaming = Roaming::new(tries, 1);
            let taken =
                (0..1_000).filter(|ms| roaming.take(Time::from_millis(1_000 + ms), [192, 0, 2, 1].into())).count();
            assert_eq!(taken, tries as usize);
        }
        for (max, left) in [(1, 1), (2, 2), (3, 2)] {
            let mut two = vec![(false, 'a'), (false, 'b')];
            Roaming::new(8, max).choose(&mut two);
            assert_eq!(two.len(), left);
        }
    }

    #[test]
    fn all_sources_together_have_a_bound() {
        let mut roaming = Roaming::new(TRIES_PER_SECOND, CANDIDATES_MAX);
        let looked_at = (0..100_000u32)
            .filter(|i| roaming.take(Time::from_micros(1_000_000 + u64::from(*i) * 10), IpAddr::from(i.to_be_bytes())))
            .count();
        assert!(looked_at <= BINS * (TRIES_PER_SECOND as usize + 1), "{looked_at}");
    }

    #[test]
    fn near_candidates_come_first_and_the_others_in_turns() {
        let mut roaming = Roaming::new(TRIES_PER_SECOND, CANDIDATES_MAX);
        let all = || (0..100).map(|n| (n == 77, n)).collect::<Vec<_>>();
        let mut tried = HashSet::new();
        for _ in 0..8 {
            let mut candidates = all();
            roaming.choose(&mut candidates);
            assert_eq!(candidates.len(), CANDIDATES_MAX);
            assert_eq!(candidates[0], (true, 77));
            tried.extend(candidates.into_iter().map(|(_, n)| n));
        }
        assert_eq!(tried.len(), 100);
        let mut few = all().split_off(70);
        few.truncate(CANDIDATES_MAX);
        roaming.choose(&mut few);
        assert_eq!(few.len(), CANDIDATES_MAX);
    }
}
