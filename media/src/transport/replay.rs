//! The packet index of SRTP (RFC 3711 §3.3.1) and the memory of which indices were used.
//!
//! One type serves both directions. Receiving, it keeps replays out; sending, it guarantees that no (key, SSRC, index)
//! is ever used twice, which with AES-GCM would give the key away.

/// Greatest index there may be: a 32-bit roll-over counter and a 16-bit sequence number.
const INDEX_MAX: u64 = (1 << 48) - 1;

/// Remembers the highest index and which of the `WORDS * 64` up to it were used.
#[derive(Clone, Debug)]
pub struct ReplayWindow<const WORDS: usize> {
    highest: Option<u64>,
    /// A ring: the bit of index `i` is bit `i % (WORDS * 64)`.
    used: [u64; WORDS],
}

impl<const WORDS: usize> Default for ReplayWindow<WORDS> {
    fn default() -> Self {
        ReplayWindow { highest: None, used: [0; WORDS] }
    }
}

impl<const WORDS: usize> ReplayWindow<WORDS> {
    const BITS: u64 = WORDS as u64 * 64;

    /// The index that a packet with this sequence number has: the one nearest to the highest so far. The first packet
    /// has roll-over counter zero. `None` if it would lie before the first or behind the last index there is.
    pub fn index_of(&self, seq: u16) -> Option<u64> {
        let Some(highest) = self.highest else { return Some(u64::from(seq)) };
        let delta = i64::from(seq.wrapping_sub(highest as u16) as i16);
        highest.checked_add_signed(delta).filter(|&index| index <= INDEX_MAX)
    }

    /// Whether `index` is neither used nor too old to know.
    pub fn is_fresh(&self, index: u64) -> bool {
        match self.highest {
            Some(highest) if index <= highest => highest - index < Self::BITS && !self.is_used(index),
            _ => true,
        }
    }

    /// Whether `index` lies behind everything that was used.
    pub fn is_newest(&self, index: u64) -> bool {
        self.highest.is_none_or(|highest| index > highest)
    }

    /// Notes that `index` is used. To be called once the packet proved authentic, and never before.
    pub fn mark(&mut self, index: u64) {
        let first = self.highest.map_or(index, |highest| highest + 1);
        if index >= first {
            if index - first >= Self::BITS {
                self.used = [0; WORDS];
            } else {
                (first..index).for_each(|skipped| self.set(skipped, false));
            }
            self.highest = Some(index);
        }
        self.set(index, true);
    }

    fn is_used(&self, index: u64) -> bool {
        self.used[(index % Self::BITS / 64) as usize] >> (index % 64) & 1 == 1
    }

    fn set(&mut self, index: u64, used: bool) {
        let word = &mut self.used[(index % Self::BITS / 64) as usize];
        let bit = 1 << (index % 64);
        if used {
            *word |= bit;
        } else {
            *word &= !bit;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    type Window = ReplayWindow<2>;

    #[test]
    fn an_index_is_fresh_once() {
        let mut window = Window::default();
        for index in [5, 3, 4, 200, 199] {
            assert!(window.is_fresh(index), "{index}");
            window.mark(index);
            assert!(!window.is_fresh(index), "{index}");
        }
    }

    #[test]
    fn indices_older_than_the_window_are_not_fresh() {
        let mut window = Window::default();
        window.mark(1_000);
        assert!(window.is_fresh(1_000 - 127));
        assert!(!window.is_fresh(1_000 - 128));
    }

    #[test]
    fn the_index_follows_the_sequence_through_forty_wraps() {
        let mut window = Window::default();
        for index in (0..40 * 65_536u64).step_by(100) {
            assert_eq!(window.index_of(index as u16), Some(index));
            window.mark(index);
        }
        let highest = window.highest.unwrap();
        assert_eq!(window.index_of((highest - 1) as u16), Some(highest - 1));
    }

    #[test]
    fn there_is_nothing_before_the_first_index_or_behind_the_last() {
        let mut window = Window::default();
        window.mark(3);
        assert_eq!(window.index_of(65_535), None);
        window.mark(INDEX_MAX);
        assert_eq!(window.index_of(0), None);
        assert_eq!(window.index_of(65_534), Some(INDEX_MAX - 1));
    }

    proptest! {
        /// Whatever the order, the window agrees with a set that forgets nothing, within its width.
        #[test]
        fn the_window_agrees_with_a_set(steps in prop::collection::vec(-150i64..200, 1..300)) {
            let mut window = Window::default();
            let (mut seen, mut highest) = (BTreeSet::new(), 10_000u64);
            for step in steps {
                let index = highest.saturating_add_signed(step);
                let known_old = !seen.is_empty() && index + Window::BITS <= *seen.last().unwrap();
                prop_assert_eq!(window.is_fresh(index), !seen.contains(&index) && !known_old);
                if window.is_fresh(index) {
                    window.mark(index);
                    seen.insert(index);
                    highest = highest.max(index);
                }
            }
        }
    }
}
