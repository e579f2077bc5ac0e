//! Feedback control information: which packets a NACK names (RFC 4585 §6.2.1), and when packets arrived, as
//! transport-wide congestion control reports it (draft-holmer-rmcat-transport-wide-cc-extensions-01 §3.1).
//!
//! ```text
//!  0                   1                   2                   3
//!  0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
//! +-------------------------------+-------------------------------+
//! |      base sequence number     |      packet status count      |
//! +-----------------------------------------------+---------------+
//! |           reference time, units of 64 ms      | feedback count|
//! +-----------------------------------------------+---------------+
//! |  chunks: how each packet fared, 2 bytes each  |  deltas ...   |
//! ```
//! A delta of 250 µs units stands for each packet that arrived, counted from the one before: one byte if it lies in
//! 0..=255, two if not.

use crate::{drop_reason::DropReason, units::time::Time};

/// The most packets that one report may speak of. A run of lost packets costs two bytes however long it is, so this and
/// not the datagram bounds the work that a report can cause. Larger: a peer may make us walk further; smaller: a report
/// after a long outage has to be split.
pub const TWCC_STATUSES_MAX: u16 = 8_192;

/// The most arrivals that one written report holds: each costs at most two chunks and a two-byte delta, so that a report
/// stays below 1,200 bytes whatever the pattern.
pub const TWCC_ARRIVALS_MAX: usize = 180;

/// Microseconds in one unit of the reference time, and of a delta.
const REFERENCE_UNIT_US: i64 = 64_000;
const DELTA_UNIT_US: i64 = 250;
const DELTA_UNITS_PER_REFERENCE: i64 = REFERENCE_UNIT_US / DELTA_UNIT_US;

/// Sequence numbers that the pairs (PID, BLP) of a generic NACK name.
#[derive(Clone, Debug)]
pub struct NackSeqs<'a> {
    fci: &'a [u8],
    pid: u16,
    /// Bits still to be named, the lowest standing for `pid + 1`, after the shift so far.
    blp: u16,
}

impl<'a> NackSeqs<'a> {
    /// Over the FCI of a NACK; bytes behind the last whole pair are not read.
    pub fn new(fci: &'a [u8]) -> Self {
        NackSeqs { fci, pid: 0, blp: 0 }
    }
}

impl Iterator for NackSeqs<'_> {
    type Item = u16;

    fn next(&mut self) -> Option<u16> {
        if self.blp != 0 {
            let skip = self.blp.trailing_zeros() as u16 + 1;
            self.blp = self.blp.checked_shr(u32::from(skip)).unwrap_or(0);
            self.pid = self.pid.wrapping_add(skip);
            return Some(self.pid);
        }
        let (&[pid_hi, pid_lo, blp_hi, blp_lo], rest) = self.fci.split_first_chunk::<4>()?;
        self.fci = rest;
        self.pid = u16::from_be_bytes([pid_hi, pid_lo]);
        self.blp = u16::from_be_bytes([blp_hi, blp_lo]);
        Some(self.pid)
    }
}

/// Appends the pairs that name `seqs`, which ascend on the 16-bit circle; returns how many pairs that took.
pub fn write_nack_pairs(out: &mut Vec<u8>, seqs: &[u16]) -> usize {
    let mut pairs = 0;
    let mut rest = seqs;
    while let Some((&pid, behind)) = rest.split_first() {
        let mut blp = 0u16;
        rest = behind;
        while let Some((&seq, behind)) = rest.split_first() {
            let distance = seq.wrapping_sub(pid);
            match distance {
                0 => {}
                1..=16 => blp |= 1 << (distance - 1),
                _ => break,
            }
            rest = behind;
        }
        out.extend_from_slice(&pid.to_be_bytes());
        out.extend_from_slice(&blp.to_be_bytes());
        pairs += 1;
    }
    pairs
}

/// One packet's arrival, as the receiver noted it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arrival {
    /// Transport-wide sequence number, extended so that it does not wrap.
    pub seq: u64,
    pub at: Time,
}

/// Appends the FCI of a report that starts at `base` and returns how many of `arrivals` it holds; call again with the
/// rest. `arrivals` ascend by sequence number without repeats and none lies before `base`; what is missing between them
/// is reported as not received. A gap of [`TWCC_STATUSES_MAX`] or more before the first arrival is left out. The result
/// is zero only if `arrivals` is empty. The FCI is padded with zeros to a multiple of four bytes, which readers take for
/// nothing.
pub fn write_twcc_fci(out: &mut Vec<u8>, base: u64, feedback_count: u8, arrivals: &[Arrival]) -> usize {
    let Some(first) = arrivals.first() else { return 0 };
    let statuses_max = u64::from(TWCC_STATUSES_MAX);
    let base = if first.seq.saturating_sub(base) < statuses_max { base.min(first.seq) } else { first.seq };
    let reference = first.at.as_micros() as i64 / REFERENCE_UNIT_US;

    let start = out.len();
    out.extend_from_slice(&(base as u16).to_be_bytes());
    out.extend_from_slice(&[0, 0]);
    out.extend_from_slice(&(reference as u32).to_be_bytes()[1..]);
    out.push(feedback_count);

    let mut chunks = ChunkWriter::default();
    let mut held = 0;
    let mut next_seq = base;
    let mut tick = reference * DELTA_UNITS_PER_REFERENCE;
    for arrival in arrivals.iter().take(TWCC_ARRIVALS_MAX) {
        let arrival_tick = tick_of(arrival.at);
        let delta = arrival_tick - tick;
        if arrival.seq < next_seq || arrival.seq - base >= statuses_max || i16::try_from(delta).is_err() {
            break;
        }
        for _ in next_seq..arrival.seq {
            chunks.push(out, NOT_RECEIVED);
        }
        chunks.push(out, if (0..=255).contains(&delta) { SMALL_DELTA } else { LARGE_DELTA });
        tick = arrival_tick;
        next_seq = arrival.seq + 1;
        held += 1;
    }
    chunks.finish(out);

    let mut tick = reference * DELTA_UNITS_PER_REFERENCE;
    for arrival in arrivals.iter().take(held) {
        let delta = tick_of(arrival.at) - tick;
        tick += delta;
        match u8::try_from(delta) {
            Ok(small) => out.push(small),
            Err(_) => out.extend_from_slice(&(delta as i16).to_be_bytes()),
        }
    }
    let count = (next_seq - base) as u16;
    if let Some(place) = out.get_mut(start + 2..start + 4) {
        place.copy_from_slice(&count.to_be_bytes());
    }
    let padded = start + (out.len() - start).next_multiple_of(4);
    out.resize(padded, 0);
    held
}

fn tick_of(at: Time) -> i64 {
    at.as_micros() as i64 / DELTA_UNIT_US
}

const NOT_RECEIVED: u8 = 0;
const SMALL_DELTA: u8 = 1;
const LARGE_DELTA: u8 = 2;

/// Statuses that the three kinds of chunk hold.
const RUN_MAX: usize = 0x1fff;
const ONE_BIT_STATUSES: usize = 14;
const TWO_BIT_STATUSES: usize = 7;

/// Packs statuses into chunks: a run as long as all are equal, else fourteen of one bit, else seven of two bits.
#[derive(Default)]
struct ChunkWriter {
    /// The first statuses that wait; a run may be longer than this.
    waiting: [u8; ONE_BIT_STATUSES],
    len: usize,
}

impl ChunkWriter {
    fn push(&mut self, out: &mut Vec<u8>, status: u8) {
        while !self.fits(status) {
            self.emit(out, false);
        }
        if let Some(place) = self.waiting.get_mut(self.len) {
            *place = status;
        }
        self.len += 1;
    }

    fn finish(&mut self, out: &mut Vec<u8>) {
        while self.len > 0 {
            self.emit(out, true);
        }
    }

    fn fits(&self, status: u8) -> bool {
        let run_goes_on = self.is_run() && self.waiting[0] == status && self.len < RUN_MAX;
        let one_bit = self.len < ONE_BIT_STATUSES && !self.has_large() && status != LARGE_DELTA;
        self.len < TWO_BIT_STATUSES || run_goes_on || one_bit
    }

    fn statuses(&self) -> &[u8] {
        &self.waiting[..self.len.min(ONE_BIT_STATUSES)]
    }

    fn is_run(&self) -> bool {
        self.statuses().iter().all(|status| *status == self.waiting[0])
    }

    fn has_large(&self) -> bool {
        self.statuses().contains(&LARGE_DELTA)
    }

    /// Writes one chunk and keeps what did not go into it. Only the last chunk may be a vector that is not full: the
    /// packet status count tells the reader where it ends.
    fn emit(&mut self, out: &mut Vec<u8>, last: bool) {
        let (chunk, taken) = if self.is_run() {
            (u16::from(self.waiting[0]) << 13 | self.len as u16, self.len)
        } else if !self.has_large() && (last || self.len >= ONE_BIT_STATUSES) {
            let bits = self.statuses().iter().enumerate();
            (0x8000 | bits.fold(0, |word, (i, status)| word | u16::from(*status) << (13 - i)), ONE_BIT_STATUSES)
        } else {
            let pairs = self.statuses().iter().take(TWO_BIT_STATUSES).enumerate();
            (0xc000 | pairs.fold(0, |word, (i, status)| word | u16::from(*status) << (12 - 2 * i)), TWO_BIT_STATUSES)
        };
        out.extend_from_slice(&chunk.to_be_bytes());
        let taken = taken.min(self.len);
        if self.len <= ONE_BIT_STATUSES {
            self.waiting.copy_within(taken.., 0);
        }
        self.len -= taken;
    }
}

/// A transport-wide congestion control report, checked as a whole when it was parsed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Twcc<'a> {
    /// The transport-wide sequence number of the first packet that the report speaks of.
    pub base_seq: u16,
    /// How many packets it speaks of; at most [`TWCC_STATUSES_MAX`].
    pub status_count: u16,
    /// When the first delta starts to count, in units of 64 ms of the receiver's clock; 24 bits, signed, wraps.
    pub reference_time: i32,
    /// Counts the reports of this receiver, so that a lost one is noticed.
    pub feedback_count: u8,
    chunks: &'a [u8],
    deltas: &'a [u8],
}

/// How one packet fared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TwccStatus {
    pub seq: u16,
    /// Microseconds from the report's reference time to the packet's arrival; may be negative by reordering. `None`:
    /// not received.
    pub arrival_us: Option<i64>,
}

impl<'a> Twcc<'a> {
    /// Reads the FCI of a transport feedback packet.
    ///
    /// # Errors
    /// [`DropReason::TooShort`] if chunks or deltas are missing; [`DropReason::Malformed`] for more than
    /// [`TWCC_STATUSES_MAX`] packets, none at all, a chunk with an empty run, or the reserved status 3.
    pub fn parse(fci: &'a [u8]) -> Result<Twcc<'a>, DropReason> {
        let (&[b0, b1, c0, c1, t0, t1, t2, feedback_count], behind) =
            fci.split_first_chunk::<8>().ok_or(DropReason::TooShort)?;
        let status_count = u16::from_be_bytes([c0, c1]);
        if status_count == 0 || status_count > TWCC_STATUSES_MAX {
            return Err(DropReason::Malformed);
        }
        let mut left = status_count;
        let mut chunks_len = 0;
        let mut deltas_len = 0;
        while left > 0 {
            let chunk = behind.get(chunks_len..).and_then(|rest| rest.first_chunk()).ok_or(DropReason::TooShort)?;
            let chunk = Chunk::read(*chunk);
            let used = chunk.len().min(left);
            if used == 0 {
                return Err(DropReason::Malformed);
            }
            deltas_len += chunk.deltas_len(used).ok_or(DropReason::Malformed)?;
            left -= used;
            chunks_len += 2;
        }
        let (chunks, behind) = behind.split_at(chunks_len);
        Ok(Twcc {
            base_seq: u16::from_be_bytes([b0, b1]),
            status_count,
            reference_time: i32::from_be_bytes([t0, t1, t2, 0]) >> 8,
            feedback_count,
            chunks,
            deltas: behind.get(..deltas_len).ok_or(DropReason::TooShort)?,
        })
    }

    /// Every packet that the report speaks of, in order of sequence number.
    pub fn statuses(&self) -> TwccStatuses<'a> {
        TwccStatuses {
            chunks: self.chunks,
            deltas: self.deltas,
            chunk: Chunk::Run { status: 0, len: 0 },
            in_chunk: 0,
            seq: self.base_seq,
            left: self.status_count,
            ticks: 0,
        }
    }
}

/// Iterator of [`Twcc::statuses`].
#[derive(Clone, Debug)]
pub struct TwccStatuses<'a> {
    chunks: &'a [u8],
    deltas: &'a [u8],
    chunk: Chunk,
    in_chunk: u16,
    seq: u16,
    left: u16,
    ticks: i64,
}

impl Iterator for TwccStatuses<'_> {
    type Item = TwccStatus;

    fn next(&mut self) -> Option<TwccStatus> {
        self.left = self.left.checked_sub(1)?;
        if self.in_chunk >= self.chunk.len() {
            let (chunk, rest) = self.chunks.split_first_chunk()?;
            self.chunks = rest;
            self.chunk = Chunk::read(*chunk);
            self.in_chunk = 0;
        }
        let delta = match self.chunk.status(self.in_chunk) {
            SMALL_DELTA => {
                let (&delta, rest) = self.deltas.split_first()?;
                self.deltas = rest;
                Some(i64::from(delta))
            }
            LARGE_DELTA => {
                let (delta, rest) = self.deltas.split_first_chunk()?;
                self.deltas = rest;
                Some(i64::from(i16::from_be_bytes(*delta)))
            }
            _ => None,
        };
        self.in_chunk += 1;
        let seq = self.seq;
        self.seq = seq.wrapping_add(1);
        self.ticks += delta.unwrap_or(0);
        Some(TwccStatus { seq, arrival_us: delta.map(|_| self.ticks * DELTA_UNIT_US) })
    }
}

#[derive(Clone, Copy, Debug)]
enum Chunk {
    Run { status: u8, len: u16 },
    OneBit(u16),
    TwoBits(u16),
}

impl Chunk {
    fn read(bytes: [u8; 2]) -> Chunk {
        let word = u16::from_be_bytes(bytes);
        match word >> 14 {
            0 | 1 => Chunk::Run { status: (word >> 13) as u8 & 3, len: word & 0x1fff },
            2 => Chunk::OneBit(word),
            _ => Chunk::TwoBits(word),
        }
    }

    fn len(self) -> u16 {
        match self {
            Chunk::Run { len, .. } => len,
            Chunk::OneBit(_) => ONE_BIT_STATUSES as u16,
            Chunk::TwoBits(_) => TWO_BIT_STATUSES as u16,
        }
    }

    /// The status at `index`, which is below `len`.
    fn status(self, index: u16) -> u8 {
        match self {
            Chunk::Run { status, .. } => status,
            Chunk::OneBit(word) => (word >> 13u16.saturating_sub(index)) as u8 & 1,
            Chunk::TwoBits(word) => (word >> 12u16.saturating_sub(2 * index)) as u8 & 3,
        }
    }

    /// Bytes of deltas that the first `used` statuses ask for; `None` if one of them is reserved.
    fn deltas_len(self, used: u16) -> Option<usize> {
        match self {
            Chunk::Run { status: 3, .. } => None,
            Chunk::Run { status, .. } => Some(usize::from(status) * usize::from(used)),
            _ => (0..used).try_fold(0, |sum, index| match self.status(index) {
                3 => None,
                status => Some(sum + usize::from(status)),
            }),
        }
    }
}

#[cfg(test)]
mod tests;
