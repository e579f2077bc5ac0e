//! The recent packets of one up track, by extended sequence number: the only place where a packet rests.

use super::slot::Slot;

/// A ring of packets. A packet's place is its extended sequence number modulo the capacity, so a later packet overwrites
/// the one that is a whole ring older. Memory is taken when a place is first needed and then kept: a whole slot, or, in a
/// ring for small packets, as much as those need.
pub struct Ring {
    entries: Vec<Entry>,
    mask: u64,
    /// Packets up to this size are copied into memory of their own; longer ones keep the slot that they came in.
    small_bytes: usize,
}

struct Entry {
    /// The extended sequence number that is stored here; `u64::MAX` if none.
    seq: u64,
    place: Place,
}

enum Place {
    Empty,
    Small { len: u16, bytes: Box<[u8]> },
    Slot(Slot),
}

const NONE: u64 = u64::MAX;

impl Ring {
    /// A ring for packets that mostly fill a slot: they are swapped in, not copied. `capacity` is rounded up to a power of
    /// two.
    pub fn new(capacity: usize) -> Self {
        Ring::with_small(capacity, 0)
    }

    /// A ring for packets that are mostly no longer than `small_bytes`: copying so few costs less than a slot's memory.
    pub fn with_small(capacity: usize, small_bytes: usize) -> Self {
        let capacity = capacity.next_power_of_two();
        let entries = (0..capacity).map(|_| Entry { seq: NONE, place: Place::Empty }).collect();
        Ring { entries, mask: capacity as u64 - 1, small_bytes }
    }

    /// Puts the filled `slot` at `seq`. What is in `slot` afterwards is of no meaning; it can be filled again.
    pub fn put(&mut self, seq: u64, slot: &mut Slot) {
        let entry = &mut self.entries[(seq & self.mask) as usize];
        entry.seq = seq;
        if slot.len() <= self.small_bytes {
            if !matches!(entry.place, Place::Small { .. }) {
                entry.place = Place::Small { len: 0, bytes: vec![0; self.small_bytes].into_boxed_slice() };
            }
            if let Place::Small { len, bytes } = &mut entry.place {
                bytes[..slot.len()].copy_from_slice(slot.data());
                *len = slot.len() as u16;
            }
            return;
        }
        match &mut entry.place {
            Place::Slot(old) => std::mem::swap(old, slot),
            place => *place = Place::Slot(std::mem::take(slot)),
        }
    }

    pub fn get(&self, seq: u64) -> Option<&[u8]> {
        let entry = &self.entries[(seq & self.mask) as usize];
        match &entry.place {
            _ if entry.seq != seq => None,
            Place::Empty => None,
            Place::Small { len, bytes } => bytes.get(..usize::from(*len)),
            Place::Slot(slot) => Some(slot.data()),
        }
    }

    /// Makes the ring larger; what it holds stays. `capacity` is rounded up to a power of two; a smaller one changes nothing.
    pub fn grow(&mut self, capacity: usize) {
        let capacity = capacity.next_power_of_two();
        if capacity <= self.capacity() {
            return;
        }
        let larger = (0..capacity).map(|_| Entry { seq: NONE, place: Place::Empty }).collect();
        let entries = std::mem::replace(&mut self.entries, larger);
        self.mask = capacity as u64 - 1;
        for entry in entries.into_iter().filter(|entry| entry.seq != NONE) {
            let place = (entry.seq & self.mask) as usize;
            self.entries[place] = entry;
        }
    }

    pub fn contains(&self, seq: u64) -> bool {
        self.entries[(seq & self.mask) as usize].seq == seq
    }

    pub fn capacity(&self) -> usize {
        self.entries.len()
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
        ring.put(10, &mut slot);
        slot.fill(b"new");
        ring.put(14, &mut slot);
        assert!(ring.get(10).is_none());
        assert_eq!(ring.get(14), Some(&b"new"[..]));
    }

    #[test]
    fn a_ring_that_grows_keeps_what_it_holds() {
        let mut ring = Ring::new(4);
        for seq in 10..16u64 {
            ring.put(seq, &mut Slot::copy_of(&seq.to_be_bytes()).unwrap());
        }
        ring.grow(16);
        assert_eq!(ring.capacity(), 16);
        for seq in 0..32u64 {
            assert_eq!(ring.get(seq).is_some(), (12..16).contains(&seq), "{seq}");
        }
        ring.put(16, &mut Slot::copy_of(b"next").unwrap());
        assert_eq!((ring.get(12), ring.get(16)), (Some(&12u64.to_be_bytes()[..]), Some(&b"next"[..])));
    }

    #[test]
    fn a_ring_for_small_packets_takes_a_long_one_too() {
        let mut ring = Ring::with_small(4, 200);
        for (seq, len) in [(0, 200), (4, 201), (8, 1500), (12, 1), (16, 0)] {
            ring.put(seq, &mut Slot::copy_of(&vec![seq as u8; len]).unwrap());
            assert_eq!(ring.get(seq), Some(&vec![seq as u8; len][..]), "{len} bytes");
        }
    }

    proptest! {
        #[test]
        fn a_ring_never_returns_a_packet_it_was_not_given(
            seqs in prop::collection::vec(0u64..5000, 1..400), small in 0usize..16
        ) {
            let mut ring = Ring::with_small(64, small);
            let mut given = std::collections::HashSet::new();
            let mut slot = Slot::new();
            for seq in seqs {
                slot.fill(&seq.to_be_bytes());
                ring.put(seq, &mut slot);
                given.insert(seq);
                for probe in 0..5000 {
                    if let Some(found) = ring.get(probe) {
                        prop_assert!(given.contains(&probe));
                        prop_assert_eq!(found, &probe.to_be_bytes()[..]);
                    }
                }
            }
        }
    }
}
