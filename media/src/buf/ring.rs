//! The recent packets of one up track, by extended sequence number: the only place where a packet rests.

use super::slot::Slot;

/// A ring of slots. A packet's place is its extended sequence number modulo the capacity, so a later packet overwrites the
/// one that is a whole ring older. Slots are made when first needed and then kept.
pub struct Ring {
    entries: Vec<Entry>,
    mask: u64,
}

struct Entry {
    /// The extended sequence number that is stored here; `u64::MAX` if none.
    seq: u64,
    slot: Option<Slot>,
}

const NONE: u64 = u64::MAX;

impl Ring {
    /// `capacity` is rounded up to a power of two.
    pub fn new(capacity: usize) -> Self {
        let capacity = capacity.next_power_of_two();
        Ring { entries: (0..capacity).map(|_| Entry { seq: NONE, slot: None }).collect(), mask: capacity as u64 - 1 }
    }

    /// Puts the filled `slot` at `seq` and leaves an old slot in its place, ready to be filled again.
    pub fn swap_in(&mut self, seq: u64, slot: &mut Slot) {
        let entry = &mut self.entries[(seq & self.mask) as usize];
        std::mem::swap(entry.slot.get_or_insert_with(Slot::new), slot);
        entry.seq = seq;
    }

    pub fn get(&self, seq: u64) -> Option<&Slot> {
        let entry = &self.entries[(seq & self.mask) as usize];
        if entry.seq == seq { entry.slot.as_ref() } else { None }
    }

    pub fn contains(&self, seq: u64) -> bool {
        self.entries[(seq & self.mask) as usize].seq == seq
    }

    pub fn capacity(&self) -> usize {
        self.entries.len()
    }

    /// Forgets every packet; keeps the memory.
    pub fn clear(&mut self) {
        self.entries.iter_mut().for_each(|e| e.seq = NONE);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_packet_a_whole_ring_later_replaces_the_older_one() {
        let mut ring = Ring::new(4);
        let mut slot = Slot::copy_of(b"old").unwrap();
        ring.swap_in(10, &mut slot);
        slot.fill(b"new");
        ring.swap_in(14, &mut slot);
        assert!(ring.get(10).is_none());
        assert_eq!(ring.get(14).unwrap().data(), b"new");
        assert_eq!(slot.data(), b"old");
    }

    proptest! {
        #[test]
        fn a_ring_never_returns_a_packet_it_was_not_given(seqs in prop::collection::vec(0u64..5000, 1..400)) {
            let mut ring = Ring::new(64);
            let mut given = std::collections::HashSet::new();
            let mut slot = Slot::new();
            for seq in seqs {
                slot.fill(&seq.to_be_bytes());
                ring.swap_in(seq, &mut slot);
                given.insert(seq);
                for probe in 0..5000 {
                    if let Some(found) = ring.get(probe) {
                        prop_assert!(given.contains(&probe));
                        prop_assert_eq!(found.data(), &probe.to_be_bytes()[..]);
                    }
                }
            }
        }
    }
}
