//! What is due when. One thread's deadlines in a heap; moving one earlier leaves the old entry behind, to be skipped.

use std::{cmp::Reverse, collections::BinaryHeap, hash::Hash};

use foldhash::HashMap;

use crate::units::time::Time;

/// Deadlines by key; each key has at most one.
pub struct Timers<K> {
    heap: BinaryHeap<Reverse<(Time, K)>>,
    armed: HashMap<K, Time>,
}

impl<K: Copy + Ord + Hash> Timers<K> {
    pub fn new() -> Self {
        Timers { heap: BinaryHeap::new(), armed: HashMap::default() }
    }

    /// Sets or, with `None`, clears the deadline of `key`.
    pub fn set(&mut self, key: K, at: Option<Time>) {
        match at {
            None => {
                self.armed.remove(&key);
            }
            Some(at) => {
                if self.armed.insert(key, at) != Some(at) {
                    self.heap.push(Reverse((at, key)));
                }
            }
        }
    }

    /// A key whose deadline has passed, which is thereby cleared.
    pub fn pop_due(&mut self, now: Time) -> Option<K> {
        while let Some(&Reverse((at, key))) = self.heap.peek() {
            let live = self.armed.get(&key) == Some(&at);
            if live && at > now {
                return None;
            }
            self.heap.pop();
            if live {
                self.armed.remove(&key);
                return Some(key);
            }
        }
        None
    }

    /// The earliest deadline.
    pub fn next_due(&mut self) -> Option<Time> {
        while let Some(&Reverse((at, key))) = self.heap.peek() {
            if self.armed.get(&key) == Some(&at) {
                return Some(at);
            }
            self.heap.pop();
        }
        None
    }
}

impl<K: Copy + Ord + Hash> Default for Timers<K> {
    fn default() -> Self {
        Timers::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_newest_deadline_of_a_key_fires() {
        let mut timers = Timers::new();
        timers.set('a', Some(Time::from_millis(10)));
        timers.set('b', Some(Time::from_millis(20)));
        timers.set('a', Some(Time::from_millis(30)));
        assert_eq!(timers.next_due(), Some(Time::from_millis(20)));
        assert_eq!(timers.pop_due(Time::from_millis(15)), None);
        assert_eq!(timers.pop_due(Time::from_millis(40)), Some('b'));
        assert_eq!(timers.pop_due(Time::from_millis(40)), Some('a'));
        assert_eq!(timers.pop_due(Time::from_millis(40)), None);
        timers.set('b', Some(Time::from_millis(50)));
        timers.set('b', None);
        assert_eq!(timers.next_due(), None);
    }
}
