//! The forwards of a batch, in the order of their destinations: what goes to one viewer is sealed with keys that are at hand,
//! and lies side by side, so that a run is one piece of memory for the kernel.

use crate::forward::{Forward, TransportKey};

const NONE: u32 = u32::MAX;

/// Sorts without moving anything: each forward knows the next one to the same destination.
#[derive(Default)]
pub struct ByDestination {
    /// By transport: its first and last forward, or [`NONE`] twice.
    ends: Vec<(u32, u32)>,
    next: Vec<u32>,
    /// Transports that something goes to, in the order of their first forwards.
    order: Vec<TransportKey>,
}

impl ByDestination {
    /// Takes `forwards` in and forgets those before. Allocates only for more transports or forwards than ever.
    pub fn sort(&mut self, forwards: &[Forward]) {
        for key in self.order.drain(..) {
            self.ends[key.0 as usize] = (NONE, NONE);
        }
        self.next.clear();
        self.next.resize(forwards.len(), NONE);
        for (index, forward) in forwards.iter().enumerate() {
            let to = forward.to.0 as usize;
            if to >= self.ends.len() {
                self.ends.resize(to + 1, (NONE, NONE));
            }
            let (first, last) = &mut self.ends[to];
            if *first == NONE {
                *first = index as u32;
                self.order.push(forward.to);
            } else {
                self.next[*last as usize] = index as u32;
            }
            *last = index as u32;
        }
    }

    /// The `n`-th destination and the indices of what goes there, in order; `None` behind the last.
    pub fn group(&self, n: usize) -> Option<(TransportKey, impl Iterator<Item = usize>)> {
        let to = *self.order.get(n)?;
        let step = |index: u32| Some(index).filter(|index| *index != NONE);
        let first = step(self.ends[to.0 as usize].0);
        let all = std::iter::successors(first, move |index| step(self.next[*index as usize]));
        Some((to, all.map(|index| index as usize)))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::forward::UpKey;

    proptest! {
        #[test]
        fn each_destination_gets_its_own_in_order(batches in prop::collection::vec(prop::collection::vec(0u32..9, 0..40), 1..4)) {
            let mut sorted = ByDestination::default();
            for to in batches {
                let forwards: Vec<Forward> = to
                    .iter()
                    .zip(0..)
                    .map(|(to, seq)| Forward { to: TransportKey(*to), up: UpKey(0), seq, header: [0; 12], original_seq: None, padding: 0, transport_cc: None, hold: None })
                    .collect();
                sorted.sort(&forwards);
                let mut seen = 0;
                for n in 0.. {
                    let Some((key, indices)) = sorted.group(n) else { break };
                    let got: Vec<usize> = indices.collect();
                    let want: Vec<usize> = (0..to.len()).filter(|i| to[*i] == key.0).collect();
                    prop_assert!(!got.is_empty());
                    seen += got.len();
                    prop_assert_eq!(got, want);
                }
                prop_assert_eq!(seen, to.len());
            }
        }
    }
}
