//! Messages to chunks.

use std::{collections::VecDeque, io::IoSlice};

use bytes::{Buf, Bytes};

use super::{EXTENDED, stream};
use crate::rtmp::message::{MediaKind, Message, MessageType};

/// The chunk size of ours once it has been announced. Nearly every message fits into one chunk of it.
pub const CHUNK_SIZE_OUT: usize = 60_000;

/// Longest chunk header that we write: one byte, eleven of message header, four of extended time.
const HEAD_BYTES_MAX: usize = 16;

/// Appends a message, cut at `chunk_size`. Its time is absolute, its header full. The chunk stream follows from the type.
pub fn write_message(message: &Message, chunk_size: usize, out: &mut Vec<u8>) {
    let mut chunks =
        Chunks::new(message.kind, message.timestamp_ms, message.stream_id, message.payload.len(), chunk_size);
    while let Some(chunk) = chunks.next_chunk() {
        out.extend_from_slice(chunk.head());
        out.extend_from_slice(&message.payload[chunk.start..chunk.end]);
    }
}

/// A media message as it goes to every player or server that was told [`CHUNK_SIZE_OUT`]. Depends on its arguments alone.
/// `timestamp_ms` wraps at 32 bits.
pub fn write_media(stream_id: u32, kind: MediaKind, timestamp_ms: u32, payload: &Bytes) -> Bytes {
    let chunks = payload.len() / CHUNK_SIZE_OUT + 1;
    let mut out = Vec::with_capacity(payload.len() + HEAD_BYTES_MAX + 5 * chunks);
    append_media(stream_id, kind, timestamp_ms, payload, &mut out);
    out.into()
}

/// Appends what [`write_media`] makes.
pub fn append_media(stream_id: u32, kind: MediaKind, timestamp_ms: u32, payload: &Bytes, out: &mut Vec<u8>) {
    let message = Message { kind: kind.message_type(), timestamp_ms, stream_id, payload: payload.clone() };
    write_message(&message, CHUNK_SIZE_OUT, out);
}

/// Bytes on their way into a socket, in parts that others may have too. Made for vectored writes.
#[derive(Debug, Default)]
pub struct ChunkRun {
    parts: VecDeque<Bytes>,
    remaining: usize,
}

impl ChunkRun {
    /// Appends whole chunks.
    pub fn push_bytes(&mut self, bytes: Bytes) {
        if !bytes.is_empty() {
            self.remaining += bytes.len();
            self.parts.push_back(bytes);
        }
    }
}

impl Buf for ChunkRun {
    fn remaining(&self) -> usize {
        self.remaining
    }

    fn chunk(&self) -> &[u8] {
        self.parts.front().map_or(&[], |part| part)
    }

    fn chunks_vectored<'a>(&'a self, slices: &mut [IoSlice<'a>]) -> usize {
        let filled = self.parts.len().min(slices.len());
        for (slice, part) in slices.iter_mut().zip(&self.parts) {
            *slice = IoSlice::new(part);
        }
        filled
    }

    fn advance(&mut self, mut count: usize) {
        assert!(count <= self.remaining, "advanced past the end of a run");
        self.remaining -= count;
        while count > 0 {
            let Some(part) = self.parts.front_mut() else { return };
            if count < part.len() {
                part.advance(count);
                return;
            }
            count -= part.len();
            self.parts.pop_front();
        }
    }
}

/// The chunks of one message: headers, and which bytes of the payload follow each.
struct Chunks {
    head: [u8; HEAD_BYTES_MAX],
    /// Zero once the full header has been given out.
    full_head_len: usize,
    extended: Option<[u8; 4]>,
    stream: u8,
    written: usize,
    length: usize,
    chunk_size: usize,
    done: bool,
}

struct Chunk {
    head: [u8; HEAD_BYTES_MAX],
    head_len: usize,
    start: usize,
    end: usize,
}

impl Chunk {
    fn head(&self) -> &[u8] {
        &self.head[..self.head_len]
    }
}

impl Chunks {
    fn new(kind: MessageType, timestamp_ms: u32, stream_id: u32, length: usize, chunk_size: usize) -> Self {
        let stream = match kind {
            MessageType::AUDIO => stream::AUDIO,
            MessageType::VIDEO => stream::VIDEO,
            MessageType::DATA => stream::DATA,
            MessageType::COMMAND => stream::COMMAND,
            _ => stream::CONTROL,
        };
        let extended = (timestamp_ms >= EXTENDED).then(|| timestamp_ms.to_be_bytes());
        let [_, t0, t1, t2] = timestamp_ms.min(EXTENDED).to_be_bytes();
        let [_, l0, l1, l2] = (length as u32).to_be_bytes();
        let [s0, s1, s2, s3] = stream_id.to_le_bytes();
        let mut head = [0; HEAD_BYTES_MAX];
        head[..12].copy_from_slice(&[stream, t0, t1, t2, l0, l1, l2, kind.0, s0, s1, s2, s3]);
        let mut full_head_len = 12;
        if let Some(time) = extended {
            head[12..].copy_from_slice(&time);
            full_head_len = 16;
        }
        Chunks { head, full_head_len, extended, stream, written: 0, length, chunk_size, done: false }
    }

    fn next_chunk(&mut self) -> Option<Chunk> {
        if self.done {
            return None;
        }
        let start = self.written;
        let end = self.length.min(start + self.chunk_size);
        let (mut head, mut head_len) = (self.head, self.full_head_len);
        if start > 0 {
            head[0] = 0b1100_0000 | self.stream;
            head_len = 1;
            // §5.3.1.3: "This field is present in Type 3 chunks when the most recent Type 0, 1, or 2 chunk for the same
            // chunk stream ID indicated the presence of an extended timestamp field."
            if let Some(time) = self.extended {
                head[1..5].copy_from_slice(&time);
                head_len = 5;
            }
        }
        self.written = end;
        self.done = end == self.length;
        Some(Chunk { head, head_len, start, end })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_short_message_is_one_full_header_and_its_payload() {
        let bytes = write_media(1, MediaKind::Video, 0x010203, &Bytes::from_static(&[0x17, 0, 0]));
        assert_eq!(bytes[..], [6, 1, 2, 3, 0, 0, 3, 9, 1, 0, 0, 0, 0x17, 0, 0]);
    }

    #[test]
    fn extended_time_is_repeated_in_every_chunk() {
        let payload = Bytes::from(vec![7; CHUNK_SIZE_OUT + 1]);
        let bytes = write_media(1, MediaKind::Audio, 0xff_ffff, &payload);
        assert_eq!(bytes[..16], [4, 255, 255, 255, 0, 0xea, 0x61, 8, 1, 0, 0, 0, 0, 255, 255, 255]);
        assert_eq!(bytes[16 + CHUNK_SIZE_OUT..], [0xc4, 0, 255, 255, 255, 7]);
        let bytes = write_media(1, MediaKind::Audio, 0xff_fffe, &payload);
        assert_eq!(bytes[..12], [4, 255, 255, 254, 0, 0xea, 0x61, 8, 1, 0, 0, 0]);
        assert_eq!(bytes[12 + CHUNK_SIZE_OUT..], [0xc4, 7]);
    }

    #[test]
    fn a_run_is_the_bytes_of_its_messages_however_it_is_drained() {
        let mut run = ChunkRun::default();
        let mut expected = Vec::new();
        for (length, time) in [(0, 0), (1, 5), (CHUNK_SIZE_OUT, 9), (3 * CHUNK_SIZE_OUT + 5, u32::MAX)] {
            let payload = Bytes::from(vec![length as u8; length]);
            run.push_bytes(write_media(1, MediaKind::Video, time, &payload));
            expected.extend_from_slice(&write_media(1, MediaKind::Video, time, &payload));
        }
        run.push_bytes(Bytes::from_static(b"tail"));
        expected.extend_from_slice(b"tail");
        let mut drained = Vec::new();
        while run.has_remaining() {
            let mut slices = [IoSlice::new(&[]); 3];
            let filled = run.chunks_vectored(&mut slices);
            let gathered: Vec<u8> = slices[..filled].iter().flat_map(|slice| slice.to_vec()).collect();
            let take = gathered.len().min(70_001);
            drained.extend_from_slice(&gathered[..take]);
            run.advance(take);
        }
        assert!(drained == expected);
    }
}
