//! Which shard takes a room, and which takes a viewer: by load, and not for a trifle.

use std::{
    collections::{HashMap, VecDeque},
    time::{Duration, Instant},
};

use crate::ids::RoomId;

/// What a newcomer is taken to cost, in packets per second, until it is counted: one viewer of 1.3 Mbit/s and sound.
const NEWCOMER_PPS: u64 = 200;
/// How long it takes until a newcomer shows in what is counted: signaling, ICE, DTLS and a whole interval of counting.
const NEWCOMER_AGE: Duration = Duration::from_secs(3);
/// What a transport costs without media, in packets per second: checks, reports, timers.
const IDLE_PPS: u64 = 2;
/// A count that has not moved for this long means that nothing is sent.
const STANDSTILL: Duration = Duration::from_secs(3);
/// A shard counts as more loaded only from this part of its own load on: one that is merely ahead by chance is not left.
const MARGIN_DIVISOR: u64 = 16;

/// What one shard has to do.
#[derive(Debug, Default)]
struct Load {
    /// Packets out when last measured, and when that was.
    packets_out: u64,
    counted_at: Option<Instant>,
    /// Packets out per second, smoothed.
    pps: u64,
    transports: u64,
    /// When those came who may not be counted yet.
    newcomers: VecDeque<Instant>,
}

impl Load {
    fn total(&self) -> u64 {
        self.pps + self.transports * IDLE_PPS + self.newcomers.len() as u64 * NEWCOMER_PPS
    }
}

/// The loads of all shards, and where rooms live.
#[derive(Debug)]
pub struct Placement {
    loads: Vec<Load>,
    homes: HashMap<RoomId, usize>,
    /// How much more a room's own shard must do than another before viewers of the room go there, in packets per second.
    spread_pps: u64,
}

impl Placement {
    pub fn new(shards: usize, spread_pps: u64) -> Self {
        let loads = (0..shards).map(|_| Load::default()).collect();
        Placement { loads, homes: HashMap::new(), spread_pps }
    }

    /// Takes in what each shard has sent since it started. Shards count by a clock of their own: a number that has not moved
    /// was not published anew yet, unless it stands still for long.
    pub fn measure(&mut self, now: Instant, packets_out: impl Iterator<Item = u64>) {
        for (load, packets_out) in self.loads.iter_mut().zip(packets_out) {
            let elapsed = now.duration_since(*load.counted_at.get_or_insert(now));
            let sent = packets_out.saturating_sub(load.packets_out);
            if sent > 0 && !elapsed.is_zero() {
                let pps = sent * 1000 / (elapsed.as_millis().max(1) as u64);
                load.pps = (load.pps + pps).div_ceil(2);
                load.packets_out = packets_out;
                load.counted_at = Some(now);
            } else if elapsed >= STANDSTILL {
                load.pps = 0;
                load.counted_at = Some(now);
            }
            while load.newcomers.front().is_some_and(|at| now.duration_since(*at) >= NEWCOMER_AGE) {
                load.newcomers.pop_front();
            }
        }
    }

    /// A transport was added to a shard.
    pub fn joined(&mut self, now: Instant, shard: usize) {
        self.loads[shard].transports += 1;
        self.loads[shard].newcomers.push_back(now);
    }

    /// A transport is gone from a shard.
    pub fn left(&mut self, shard: usize) {
        let load = &mut self.loads[shard];
        load.transports = load.transports.saturating_sub(1);
        // Newcomers that leave at once leave no load behind.
        if load.newcomers.len() as u64 > load.transports {
            load.newcomers.pop_front();
        }
    }

    fn total(&self, shard: usize) -> u64 {
        self.loads[shard].total()
    }

    /// The shard that does the least; among equals the one that is home to the fewest rooms.
    fn least(&self) -> usize {
        let homes = |shard: usize| self.homes.values().filter(|home| **home == shard).count();
        let lowest = (0..self.loads.len()).map(|shard| self.total(shard)).min().unwrap_or(0);
        let equals = (0..self.loads.len()).filter(|shard| self.total(*shard) == lowest);
        equals.min_by_key(|shard| homes(*shard)).unwrap_or(0)
    }

    /// The shard that a room's publishers are on. A new room goes where there is least to do.
    pub fn home(&mut self, room: RoomId) -> usize {
        if let Some(&home) = self.homes.get(&room) {
            return home;
        }
        let home = self.least();
        self.homes.insert(room, home);
        home
    }

    /// The shard for a newcomer who watches: the room's own, unless another has so much less to do that feeding a copy of
    /// the room there is worth it. Of those, one of `present`, which have such a copy, goes before one that has not.
    pub fn viewer(&mut self, room: RoomId, present: &[usize]) -> usize {
        let home = self.home(room);
        let least = self.least();
        let near = |shard: usize| {
            let total = self.total(shard);
            let margin = if self.spread_pps == 0 { 0 } else { self.spread_pps.max(total / MARGIN_DIVISOR) };
            total <= self.total(least) + margin
        };
        if near(home) {
            return home;
        }
        let copies = present.iter().copied().filter(|shard| near(*shard));
        copies.min_by_key(|shard| self.total(*shard)).unwrap_or(least)
    }

    /// Forgets a room.
    pub fn forget(&mut self, room: RoomId) -> bool {
        self.homes.remove(&room).is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOT: RoomId = RoomId(1);

    fn second(start: Instant, n: u64) -> Instant {
        start + Duration::from_secs(n)
    }

    #[test]
    fn rooms_go_where_fewest_packets_leave() {
        let start = Instant::now();
        let mut placement = Placement::new(3, 2000);
        for n in 0..=8 {
            placement.measure(second(start, n), [n * 9000, n * 300, n * 4000].into_iter());
        }
        assert_eq!(placement.home(RoomId(5)), 1);
        assert_eq!(placement.home(RoomId(5)), 1, "a room stays where it is");
        assert!(placement.total(0).abs_diff(9000) < 100, "{}", placement.total(0));
        for n in 9..=12 {
            placement.measure(second(start, n), [72_000, 2400, 32_000].into_iter());
        }
        assert_eq!(placement.total(0), 0, "what stands still sends nothing");
    }

    #[test]
    fn idle_shards_take_rooms_in_turn() {
        let mut placement = Placement::new(2, 2000);
        let homes: Vec<usize> = (0..4).map(|n| placement.home(RoomId(n))).collect();
        assert_eq!(homes.iter().filter(|home| **home == 0).count(), 2);
    }

    #[test]
    fn a_small_room_stays_together_and_a_hot_one_spreads_evenly() {
        let start = Instant::now();
        let mut placement = Placement::new(2, 2000);
        let home = placement.home(HOT);
        let mut watched = [0u64; 2];
        for n in 0..400 {
            let shard = placement.viewer(HOT, &[home, 1 - home]);
            placement.joined(start, shard);
            watched[shard] += 1;
            if n == 9 {
                assert_eq!(watched[1 - home], 0, "ten viewers are no reason for a copy");
            }
        }
        let (most, fewest) = (watched[home], watched[1 - home]);
        assert!(most >= fewest && most - fewest <= 25, "{watched:?}");
    }

    #[test]
    fn newcomers_are_estimated_until_they_are_counted() {
        let start = Instant::now();
        let mut placement = Placement::new(2, 0);
        (0..10).for_each(|_| placement.joined(start, 0));
        assert_eq!(placement.total(0), 10 * (NEWCOMER_PPS + IDLE_PPS));
        placement.measure(second(start, 4), [0, 0].into_iter());
        assert_eq!(placement.total(0), 10 * IDLE_PPS);
        (0..10).for_each(|_| placement.left(0));
        assert_eq!(placement.total(0), 0);
        placement.joined(start, 1);
        placement.left(1);
        assert_eq!(placement.total(1), 0, "who left at once is no load");
    }

    #[test]
    fn a_shard_with_a_copy_goes_before_one_without_while_they_are_about_as_loaded() {
        let start = Instant::now();
        let mut placement = Placement::new(3, 2000);
        let home = placement.home(HOT);
        let (with, without) = ((home + 1) % 3, (home + 2) % 3);
        (0..40).for_each(|_| placement.joined(start, home));
        (0..5).for_each(|_| placement.joined(start, with));
        assert_eq!(placement.viewer(HOT, &[with]), with);
        (0..10).for_each(|_| placement.joined(start, with));
        assert_eq!(placement.viewer(HOT, &[with]), without);
    }
}
