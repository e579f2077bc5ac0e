//! Datagrams on their way out, and how they are put together to runs.

use std::mem;

use super::recv_batch::Origin;
use crate::buf::slot::SLOT_BYTES;

/// Most segments of one run: the kernel's `UDP_MAX_SEGMENTS` of old; newer kernels take 128.
const SEGMENTS_MAX: usize = 64;
/// Most bytes of one run: an IP packet's length field, less the headers.
const RUN_BYTES_MAX: usize = 65_000;
/// Bytes of the send buffer: what one turn may seal before it has to send. 1,700 packets of 1,200 bytes.
const SEND_BYTES: usize = 2 << 20;
/// Bytes of a page of memory, or a part of one.
const PAGE_BYTES: usize = 4096;
/// Part of it that is left to control traffic.
const SEND_RESERVE_BYTES: usize = 64 << 10;

/// One packet in a [`SendBatch`], until it is cleared.
#[derive(Clone, Copy, Debug)]
pub struct Packet {
    start: u32,
    len: u16,
}

/// Datagrams on their way out, in one block of memory.
pub struct SendBatch {
    bytes: Box<[u8]>,
    used: usize,
    pieces: Vec<Piece>,
    pub(super) runs: Vec<Run>,
}

/// Packets of a run that lie side by side, as the kernel wants to be told of them.
#[repr(transparent)]
pub(super) struct Piece(libc::iovec);

// SAFETY: the pointer leads into `SendBatch::bytes`, which moves along and is shared with nobody.
unsafe impl Send for Piece {}

/// Packets to one destination that the kernel cuts apart again. `to.remote` is the destination, `to.local_ip` the source.
#[derive(Clone, Copy, Debug)]
pub(super) struct Run {
    pub to: Origin,
    first: usize,
    pieces: usize,
    pub packets: usize,
    bytes: usize,
    /// Size of each packet but the last, which may be shorter.
    pub segment: u16,
}

impl SendBatch {
    pub fn new() -> Self {
        let mut bytes = vec![0; SEND_BYTES].into_boxed_slice();
        // Each page is written once, so that it is there before the first key frame to many viewers needs it.
        bytes.iter_mut().step_by(PAGE_BYTES).for_each(|byte| *byte = 1);
        SendBatch { bytes, used: 0, pieces: Vec::with_capacity(2048), runs: Vec::with_capacity(1024) }
    }

    /// Time to send. What is small and cannot wait, like a handshake, still fits.
    pub fn is_full(&self) -> bool {
        self.used + SEND_RESERVE_BYTES > self.bytes.len()
    }

    pub fn is_empty(&self) -> bool {
        self.runs.is_empty()
    }

    /// Keeps one packet, written by `write` into the space that it is given, which is [`SLOT_BYTES`] long and not blank;
    /// `write` answers the packet's length, or `None` to keep nothing. `None` too if there is no space.
    pub fn keep(&mut self, write: impl FnOnce(&mut [u8]) -> Option<usize>) -> Option<Packet> {
        let space = self.bytes.get_mut(self.used..self.used + SLOT_BYTES)?;
        let len = write(space).filter(|len| *len <= SLOT_BYTES)?;
        let packet = Packet { start: self.used as u32, len: len as u16 };
        self.used += len;
        Some(packet)
    }

    /// Keeps a copy of a packet that exists already.
    pub fn keep_copy(&mut self, packet: &[u8]) -> Option<Packet> {
        self.keep(|space| {
            space.get_mut(..packet.len())?.copy_from_slice(packet);
            Some(packet.len())
        })
    }

    /// The bytes of a packet that was kept.
    pub fn bytes(&self, packet: Packet) -> &[u8] {
        &self.bytes[packet.start as usize..packet.start as usize + usize::from(packet.len)]
    }

    /// Addresses packets that were kept, in this order. With `gso` they are put together to runs; what was kept one after
    /// the other is one piece of a run.
    pub fn address(&mut self, to: Origin, packets: &[Packet], gso: bool) {
        let mut open: Option<Run> = None;
        // Where the last piece of the open run ends.
        let mut end = 0;
        for packet in packets {
            let (start, len) = (packet.start as usize, usize::from(packet.len));
            // A run whose last packet is shorter than the others is complete.
            let joins = gso
                && open.as_ref().is_some_and(|run| {
                    run.bytes == usize::from(run.segment) * run.packets
                        && packet.len <= run.segment
                        && run.packets < SEGMENTS_MAX
                        && run.bytes + len <= RUN_BYTES_MAX
                });
            if !joins {
                let run = Run { to, first: self.pieces.len(), pieces: 0, packets: 0, bytes: 0, segment: packet.len };
                self.runs.extend(open.replace(run));
            }
            let Some(run) = &mut open else { continue };
            run.packets += 1;
            run.bytes += len;
            if joins && start == end {
                // A piece that goes on: the open run has one, and it is the last.
                if let Some(Piece(piece)) = self.pieces.last_mut() {
                    piece.iov_len += len;
                }
            } else {
                let base = (&raw mut self.bytes[start]).cast();
                self.pieces.push(Piece(libc::iovec { iov_base: base, iov_len: len }));
                run.pieces += 1;
            }
            end = start + len;
        }
        self.runs.extend(open);
    }

    /// Where the packets of a run lie.
    pub(super) fn pieces(&self, run: &Run) -> &[libc::iovec] {
        let pieces = &self.pieces[run.first..run.first + run.pieces];
        // SAFETY: a `Piece` is an `iovec` and nothing else.
        unsafe { mem::transmute::<&[Piece], &[libc::iovec]>(pieces) }
    }

    /// Takes run `index` apart, for a kernel that does not: its packets become runs of one behind the others. Answers those.
    pub(super) fn take_apart(&mut self, index: usize) -> std::ops::Range<usize> {
        let run = self.runs[index];
        let first = self.runs.len();
        for piece in run.first..run.first + run.pieces {
            let Piece(libc::iovec { iov_base, iov_len }) = self.pieces[piece];
            let mut at = 0;
            while at < iov_len {
                let len = usize::from(run.segment).min(iov_len - at);
                let iov_base = iov_base.cast::<u8>().wrapping_add(at).cast();
                self.runs.push(Run { first: self.pieces.len(), pieces: 1, packets: 1, bytes: len, ..run });
                self.pieces.push(Piece(libc::iovec { iov_base, iov_len: len }));
                at += len;
            }
        }
        first..self.runs.len()
    }

    /// Takes away runs that [`take_apart`](Self::take_apart) made.
    pub(super) fn truncate(&mut self, runs: usize) {
        self.runs.truncate(runs);
    }

    pub(super) fn clear(&mut self) {
        self.used = 0;
        self.pieces.clear();
        self.runs.clear();
    }
}

impl Default for SendBatch {
    fn default() -> Self {
        SendBatch::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TO: Origin = Origin::NOWHERE;

    fn shape(batch: &SendBatch) -> Vec<(usize, usize, u16)> {
        batch.runs.iter().map(|run| (run.packets, run.pieces, run.segment)).collect()
    }

    fn kept(batch: &mut SendBatch, sizes: &[usize], between: usize) -> Vec<Packet> {
        let keep = |(i, size): (usize, &usize)| {
            let packet = batch.keep_copy(&vec![i as u8; *size]).unwrap();
            batch.keep_copy(&vec![0xee; between]).unwrap();
            packet
        };
        sizes.iter().enumerate().map(keep).collect()
    }

    #[test]
    fn packets_of_one_size_are_a_run_and_a_shorter_one_ends_it() {
        let sizes = [1000, 1000, 400, 1000, 1001, 1001, 30];
        for (between, pieces) in [(0, [1, 1, 1]), (7, [3, 1, 3])] {
            let mut batch = SendBatch::new();
            let packets = kept(&mut batch, &sizes, between);
            batch.address(TO, &packets, true);
            let want: Vec<_> = [(3, 1000), (1, 1000), (3, 1001)].iter().zip(pieces).collect();
            let want: Vec<_> =
                want.into_iter().map(|((packets, segment), pieces)| (*packets, pieces, *segment)).collect();
            assert_eq!(shape(&batch), want, "{between} bytes between them");
            batch.clear();
            let packets = kept(&mut batch, &sizes, between);
            batch.address(TO, &packets, false);
            assert_eq!(batch.runs.len(), sizes.len(), "without offload each goes alone");
        }
    }

    #[test]
    fn a_run_ends_at_the_kernels_limits() {
        let mut batch = SendBatch::new();
        let packets = kept(&mut batch, &[100; SEGMENTS_MAX + 1], 0);
        batch.address(TO, &packets, true);
        assert_eq!(shape(&batch), [(SEGMENTS_MAX, 1, 100), (1, 1, 100)]);
        batch.clear();
        let packets = kept(&mut batch, &[1400; 47], 0);
        batch.address(TO, &packets, true);
        assert_eq!(shape(&batch), [(RUN_BYTES_MAX / 1400, 1, 1400), (47 - RUN_BYTES_MAX / 1400, 1, 1400)]);
    }

    #[test]
    fn a_run_comes_apart_into_its_packets() {
        for between in [0, 5] {
            let mut batch = SendBatch::new();
            let packets = kept(&mut batch, &[500, 500, 300], between);
            batch.address(TO, &packets, true);
            let singles = batch.take_apart(0);
            let bytes: Vec<usize> = singles.map(|i| batch.pieces(&batch.runs[i])[0].iov_len).collect();
            assert_eq!(bytes, [500, 500, 300]);
            batch.truncate(1);
            assert_eq!(batch.runs.len(), 1);
        }
    }
}
