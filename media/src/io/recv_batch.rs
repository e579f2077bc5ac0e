//! Memory for one receive call: a slot for each message, and room behind it for the rest of a run.
//!
//! A run is what the kernel made of datagrams of one size from one sender that came together (`UDP_GRO`); it is cut here
//! again. A single datagram, which is the rule, lies in its slot and is never copied. Of a run only the first datagram lies so;
//! the others are copied into a slot of their own when their turn comes, which costs 50 ns and spares a walk through the
//! kernel each.
//!
//! ```text
//!   message            |slot 1500|rest 64 KB ...............|
//!   a datagram         |1100 ....|
//!   a run of 1100      |1100 |110|0    |1100   |1100   |400|     400 bytes of the second datagram lie in the slot
//! ```

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use crate::buf::slot::{SLOT_BYTES, Slot};

/// Messages (datagrams or runs of them) taken by one system call. More would spare few calls; the memory behind them, 64 KB
/// each, is taken from the system when a long run first needs it, and so is 1 MB for each shard at most.
pub const RECV_MESSAGES: usize = 16;
/// Longest run: what an IP packet can hold.
pub(super) const RUN_BYTES_MAX: usize = 65_536;

/// Where a datagram came from, and the address of ours that it came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Origin {
    pub remote: SocketAddr,
    pub local_ip: IpAddr,
}

impl Origin {
    pub(super) const NOWHERE: Origin = Origin {
        remote: SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0),
        local_ip: IpAddr::V4(Ipv4Addr::UNSPECIFIED),
    };
}

/// What one receive call filled. What was received may be swapped out for other slots.
pub struct RecvBatch {
    pub(super) messages: Vec<Message>,
    /// The end of a slot, when it belongs to the second datagram of a run, and behind it the rest of the run; for each
    /// message. Empty where the kernel makes no runs.
    rests: Vec<u8>,
    pub(super) filled: usize,
    /// Where [`next`](Self::next) is: message, and bytes of it that were handed out.
    at: (usize, usize),
    /// What a datagram that is not the first of its run is copied into.
    spare: Slot,
}

pub(super) struct Message {
    pub slot: Slot,
    pub origin: Origin,
    pub len: usize,
    /// Size of each datagram of a run but the last, which may be shorter; `len` or more where there is but one.
    pub segment: usize,
}

/// Bytes of `rests` for each message.
const REST_BYTES: usize = SLOT_BYTES + RUN_BYTES_MAX;

impl RecvBatch {
    /// `runs`: the kernel may hand over several datagrams as one message, see
    /// [`UdpSocket::uses_gro`](super::udp::UdpSocket::uses_gro).
    pub fn new(runs: bool) -> Self {
        let message = || Message { slot: Slot::new(), origin: Origin::NOWHERE, len: 0, segment: 0 };
        RecvBatch {
            messages: (0..RECV_MESSAGES).map(|_| message()).collect(),
            // Zeroed memory of this size is mapped, not written: it costs nothing before it is used.
            rests: vec![0; if runs { RECV_MESSAGES * REST_BYTES } else { 0 }],
            filled: 0,
            at: (0, 0),
            spare: Slot::new(),
        }
    }

    /// The two places into which the kernel writes message `i`, one after the other; the second may be empty.
    pub(super) fn space(&mut self, i: usize) -> (&mut [u8; SLOT_BYTES], &mut [u8]) {
        let rest = self.rests.get_mut(i * REST_BYTES + SLOT_BYTES..(i + 1) * REST_BYTES).unwrap_or_default();
        (self.messages[i].slot.space_mut(), rest)
    }

    /// Notes that the first `n` messages are filled, and begins with the first.
    pub(super) fn rewind(&mut self, n: usize) {
        self.filled = n;
        self.at = (0, 0);
    }

    /// The next datagram, in the order of arrival. One that is longer than a slot comes as an empty one.
    #[expect(clippy::should_implement_trait, reason = "what it answers borrows from the batch")]
    pub fn next(&mut self) -> Option<(Origin, &mut Slot)> {
        let (index, start) = self.at;
        if index >= self.filled {
            return None;
        }
        let Message { slot, origin, len, segment } = &mut self.messages[index];
        let end = (start + *segment).min(*len);
        self.at = if end < *len { (index, end) } else { (index + 1, 0) };
        if end - start > SLOT_BYTES {
            slot.set_len(0);
            return Some((*origin, slot));
        }
        if start == 0 {
            if end < *len {
                // The slot may be swapped away: what follows in it goes to where the rest of the run lies.
                let kept = SLOT_BYTES.min(*len);
                let rest = &mut self.rests[index * REST_BYTES..][end..kept];
                rest.copy_from_slice(&slot.space_mut()[end..kept]);
            }
            slot.set_len(end);
            return Some((*origin, slot));
        }
        self.spare.fill(&self.rests[index * REST_BYTES..][start..end]);
        Some((*origin, &mut self.spare))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Writes messages as the kernel would.
    fn fill(batch: &mut RecvBatch, messages: &[(Vec<u8>, usize)]) {
        for (i, (bytes, segment)) in messages.iter().enumerate() {
            let (slot, rest) = batch.space(i);
            let head = bytes.len().min(SLOT_BYTES);
            slot[..head].copy_from_slice(&bytes[..head]);
            rest[..bytes.len() - head].copy_from_slice(&bytes[head..]);
            (batch.messages[i].len, batch.messages[i].segment) = (bytes.len(), *segment);
        }
        batch.rewind(messages.len());
    }

    fn read(batch: &mut RecvBatch, swap: bool) -> Vec<Vec<u8>> {
        let mut all = Vec::new();
        while let Some((_, slot)) = batch.next() {
            all.push(slot.data().to_vec());
            if swap {
                // What a ring does.
                *slot = Slot::copy_of(&[0xee; SLOT_BYTES]).unwrap();
            }
        }
        all
    }

    #[test]
    fn segments_longer_than_a_slot_come_as_empty_datagrams() {
        let mut batch = RecvBatch::new(true);
        fill(&mut batch, &[(vec![7; 2 * SLOT_BYTES], SLOT_BYTES + 1), (vec![8; 10], 10)]);
        let got: Vec<usize> = read(&mut batch, true).iter().map(Vec::len).collect();
        assert_eq!(got, [0, SLOT_BYTES - 1, 10]);
    }

    proptest! {
        /// Runs come apart as they were put together, whether or not their slots are swapped away meanwhile.
        #[test]
        fn runs_are_cut_where_they_were_joined(
            runs in prop::collection::vec((1usize..=SLOT_BYTES, 1usize..=40, 1usize..=SLOT_BYTES), 1..RECV_MESSAGES),
            swap in any::<bool>(),
        ) {
            let mut batch = RecvBatch::new(true);
            let (mut messages, mut want) = (Vec::new(), Vec::new());
            for (n, (segment, count, last)) in runs.into_iter().enumerate() {
                let sizes = (1..count).map(|_| segment).chain([last.min(segment)]);
                let mut bytes = Vec::new();
                for (i, size) in sizes.enumerate() {
                    let datagram = vec![(n * 41 + i) as u8; size];
                    bytes.extend_from_slice(&datagram);
                    want.push(datagram);
                }
                messages.push((bytes, segment));
            }
            fill(&mut batch, &messages);
            prop_assert_eq!(read(&mut batch, swap), want);
        }
    }
}
