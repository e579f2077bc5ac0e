//! Chunks to messages, from bytes in pieces of any size.

use bytes::Bytes;

use super::{
    CHUNK_SIZE_DEFAULT, CHUNK_SIZE_MAX, CHUNK_SIZE_MIN, CHUNK_STREAMS_MAX, EXTENDED, MESSAGE_BYTES_MAX,
    PENDING_BYTES_MAX, UNAUTHENTICATED_MESSAGE_BYTES_MAX, UNAUTHENTICATED_PENDING_BYTES_MAX,
};
use crate::rtmp::message::{Message, MessageType};

/// Three bytes of basic header, eleven of message header, four of extended time.
const HEAD_BYTES_MAX: usize = 18;
/// What the first bytes of a message reserve; after that the space doubles.
const BODY_RESERVE_MIN_BYTES: usize = 1024;

/// Why the bytes are no chunk stream that we accept. All are the peer's fault, and end its connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChunkError {
    #[error("chunk size {0} is outside {CHUNK_SIZE_MIN}..={CHUNK_SIZE_MAX}")]
    ChunkSize(u32),
    #[error("more than {CHUNK_STREAMS_MAX} chunk streams")]
    TooManyStreams,
    #[error("chunk stream {0} begins with a header that refers to an earlier one")]
    NoEarlierHeader(u32),
    #[error("chunk stream {0} begins a message inside another")]
    Interrupted(u32),
    #[error("message of {0} bytes is longer than allowed")]
    MessageTooLong(usize),
    #[error("incomplete messages take more memory than allowed")]
    TooMuchPending,
}

/// Puts messages together.
#[derive(Debug)]
pub struct ChunkReader {
    chunk_size: usize,
    message_bytes_max: usize,
    pending_bytes_max: usize,
    streams: Vec<ChunkStream>,
    /// Reserved by incomplete messages.
    pending_bytes: usize,
    /// The chunk whose payload comes next, and how much of it is missing.
    current: Option<(usize, usize)>,
    /// The beginning of a header that did not come in one piece.
    head: [u8; HEAD_BYTES_MAX],
    head_len: usize,
}

#[derive(Debug)]
struct ChunkStream {
    id: u32,
    /// Of the newest message, absolute.
    timestamp_ms: u32,
    /// The newest time field as it came, or what stood in its place behind the header.
    time_field: u32,
    extended: bool,
    length: usize,
    kind: MessageType,
    stream_id: u32,
    /// A message has begun and is not complete.
    open: bool,
    body: Vec<u8>,
    reserved: usize,
}

/// One chunk header, read but not applied.
#[derive(Debug)]
struct Head {
    bytes: usize,
    id: u32,
    /// Where the chunk stream is in `streams`, if it is known.
    index: Option<usize>,
    /// 0 full, 1 without message stream, 2 only time, 3 nothing.
    format: u8,
    time_field: Option<u32>,
    extended: bool,
    length: usize,
    kind: MessageType,
    stream_id: u32,
}

impl ChunkReader {
    /// Begins with the limits of an unauthenticated peer.
    pub fn new() -> Self {
        ChunkReader {
            chunk_size: CHUNK_SIZE_DEFAULT,
            message_bytes_max: UNAUTHENTICATED_MESSAGE_BYTES_MAX,
            pending_bytes_max: UNAUTHENTICATED_PENDING_BYTES_MAX,
            streams: Vec::new(),
            pending_bytes: 0,
            current: None,
            head: [0; HEAD_BYTES_MAX],
            head_len: 0,
        }
    }

    /// Widens the limits to those of a peer that we trust to send media, or narrows them again. What is pending already
    /// stays.
    pub fn set_trusted(&mut self, trusted: bool) {
        (self.message_bytes_max, self.pending_bytes_max) = if trusted {
            (MESSAGE_BYTES_MAX, PENDING_BYTES_MAX)
        } else {
            (UNAUTHENTICATED_MESSAGE_BYTES_MAX, UNAUTHENTICATED_PENDING_BYTES_MAX)
        };
    }

    /// The peer's Set Chunk Size. Holds from the next chunk on, also inside a message.
    pub fn set_chunk_size(&mut self, size: u32) -> Result<(), ChunkError> {
        if !(CHUNK_SIZE_MIN..=CHUNK_SIZE_MAX).contains(&(size as usize)) {
            return Err(ChunkError::ChunkSize(size));
        }
        self.chunk_size = size as usize;
        Ok(())
    }

    /// The peer's Abort Message: forgets the incomplete message of a chunk stream.
    pub fn abort(&mut self, chunk_stream: u32) {
        if let Some(stream) = self.streams.iter_mut().find(|stream| stream.id == chunk_stream) {
            self.pending_bytes -= stream.reserved;
            stream.close();
        }
    }

    /// Memory that incomplete messages hold.
    pub fn pending_bytes(&self) -> usize {
        self.pending_bytes
    }

    /// Takes bytes from the front of `data` up to the end of a message, or all of them. After an error the connection has to
    /// end.
    pub fn read(&mut self, data: &mut &[u8]) -> Result<Option<Message>, ChunkError> {
        loop {
            let message = match self.current {
                None => match self.read_head(data)? {
                    None => return Ok(None),
                    Some(head) => self.begin_chunk(head)?,
                },
                Some((index, missing)) => match self.read_payload(index, missing, data)? {
                    false => return Ok(None),
                    true => self.end_chunk(index),
                },
            };
            if message.is_some() {
                return Ok(message);
            }
        }
    }

    /// The next header, once all of it is there. The usual one lies in `data` whole and is not copied.
    fn read_head(&mut self, data: &mut &[u8]) -> Result<Option<Head>, ChunkError> {
        if self.head_len == 0 {
            if let Some(head) = self.parse_head(data)? {
                *data = &data[head.bytes..];
                return Ok(Some(head));
            }
            // No header is longer than `head`, so what is no header yet fits.
            self.head[..data.len()].copy_from_slice(data);
            self.head_len = data.len();
            *data = &[];
            return Ok(None);
        }
        loop {
            if let Some(head) = self.parse_head(&self.head[..self.head_len])? {
                self.drop_from_head(head.bytes);
                return Ok(Some(head));
            }
            let Some((&byte, rest)) = data.split_first() else { return Ok(None) };
            self.head[self.head_len] = byte;
            self.head_len += 1;
            *data = rest;
        }
    }

    /// What was held back as a possible extended time and was none is payload, or even the next header.
    fn drop_from_head(&mut self, bytes: usize) {
        self.head.copy_within(bytes..self.head_len, 0);
        self.head_len -= bytes;
    }

    /// `None` if there are not enough bytes.
    fn parse_head(&self, bytes: &[u8]) -> Result<Option<Head>, ChunkError> {
        let Some((id, format, mut rest)) = parse_basic(bytes) else { return Ok(None) };
        let index = self.streams.iter().position(|stream| stream.id == id);
        let known = index.map(|index| &self.streams[index]);
        // librtmp begins its control stream with format 1, so only formats without a length need an earlier header.
        if known.is_none() && format >= 2 {
            return Err(ChunkError::NoEarlierHeader(id));
        }
        let fields = match format {
            0 => 11,
            1 => 7,
            2 => 3,
            _ => 0,
        };
        let Some((message, behind)) = rest.split_at_checked(fields) else { return Ok(None) };
        rest = behind;
        let mut head = Head {
            bytes: 0,
            id,
            index,
            format,
            time_field: None,
            extended: known.is_some_and(|stream| stream.extended),
            length: known.map_or(0, |stream| stream.length),
            kind: known.map_or(MessageType(0), |stream| stream.kind),
            stream_id: known.map_or(0, |stream| stream.stream_id),
        };
        if let [t0, t1, t2, ..] = *message {
            let time = u32::from_be_bytes([0, t0, t1, t2]);
            head.time_field = Some(time);
            head.extended = time == EXTENDED;
        }
        if let [_, _, _, l0, l1, l2, kind, ..] = *message {
            head.length = u32::from_be_bytes([0, l0, l1, l2]) as usize;
            head.kind = MessageType(kind);
        }
        if let [_, _, _, _, _, _, _, s0, s1, s2, s3] = *message {
            head.stream_id = u32::from_le_bytes([s0, s1, s2, s3]);
        }
        if head.extended {
            match known {
                // Inside a message the field repeats what is known. Some senders leave it out, so it is taken for what it
                // should be only if it has that value.
                Some(stream) if format == 3 && stream.open => {
                    let expected = stream.time_field.to_be_bytes();
                    let common = rest.iter().zip(&expected).take_while(|(a, b)| a == b).count();
                    if common == 4 {
                        rest = &rest[4..];
                    } else if common == rest.len() {
                        return Ok(None);
                    }
                }
                _ => {
                    let Some((time, behind)) = rest.split_first_chunk::<4>() else { return Ok(None) };
                    head.time_field = Some(u32::from_be_bytes(*time));
                    rest = behind;
                }
            }
        }
        head.bytes = bytes.len() - rest.len();
        Ok(Some(head))
    }

    /// Applies a header. A message without payload is complete with it.
    fn begin_chunk(&mut self, head: Head) -> Result<Option<Message>, ChunkError> {
        let index = match head.index {
            Some(index) => index,
            None if self.streams.len() >= CHUNK_STREAMS_MAX => return Err(ChunkError::TooManyStreams),
            None => {
                self.streams.push(ChunkStream::new(head.id));
                self.streams.len() - 1
            }
        };
        let stream = &mut self.streams[index];
        if stream.open && head.format != 3 {
            return Err(ChunkError::Interrupted(head.id));
        }
        if !stream.open {
            // §5.3.1.2.4: a format 3 that begins a message repeats the time step; behind a format 0, "the timestamp delta for
            // this Type 3 chunk is the same as the timestamp of the Type 0 chunk".
            stream.time_field = head.time_field.unwrap_or(stream.time_field);
            stream.timestamp_ms = match head.format {
                0 => stream.time_field,
                _ => stream.timestamp_ms.wrapping_add(stream.time_field),
            };
            stream.extended = head.extended;
            stream.length = head.length;
            stream.kind = head.kind;
            stream.stream_id = head.stream_id;
            stream.open = true;
            if stream.length > self.message_bytes_max {
                return Err(ChunkError::MessageTooLong(stream.length));
            }
        }
        match self.chunk_size.min(stream.length - stream.body.len()) {
            0 => Ok(self.end_chunk(index)),
            payload => {
                self.current = Some((index, payload));
                Ok(None)
            }
        }
    }

    /// Takes payload; says whether the chunk is complete.
    fn read_payload(&mut self, index: usize, missing: usize, data: &mut &[u8]) -> Result<bool, ChunkError> {
        let stream = &mut self.streams[index];
        let mut missing = missing;
        if self.head_len > 0 {
            let take = self.head_len.min(missing);
            stream.append(&self.head[..take], &mut self.pending_bytes, self.pending_bytes_max)?;
            missing -= take;
            self.drop_from_head(take);
        }
        let (now, rest) = data.split_at(data.len().min(missing));
        self.streams[index].append(now, &mut self.pending_bytes, self.pending_bytes_max)?;
        missing -= now.len();
        *data = rest;
        self.current = Some((index, missing));
        Ok(missing == 0)
    }

    /// The message, if this chunk was its last.
    fn end_chunk(&mut self, index: usize) -> Option<Message> {
        self.current = None;
        let stream = &mut self.streams[index];
        if stream.body.len() < stream.length {
            return None;
        }
        self.pending_bytes -= stream.reserved;
        let payload = Bytes::from(std::mem::take(&mut stream.body));
        stream.close();
        Some(Message { kind: stream.kind, timestamp_ms: stream.timestamp_ms, stream_id: stream.stream_id, payload })
    }
}

impl Default for ChunkReader {
    fn default() -> Self {
        ChunkReader::new()
    }
}

impl ChunkStream {
    fn new(id: u32) -> Self {
        ChunkStream {
            id,
            timestamp_ms: 0,
            time_field: 0,
            extended: false,
            length: 0,
            kind: MessageType(0),
            stream_id: 0,
            open: false,
            body: Vec::new(),
            reserved: 0,
        }
    }

    fn append(&mut self, bytes: &[u8], pending: &mut usize, pending_max: usize) -> Result<(), ChunkError> {
        let needed = self.body.len() + bytes.len();
        if needed > self.reserved {
            let target = needed.max(self.reserved * 2).max(BODY_RESERVE_MIN_BYTES).min(self.length);
            let more = target - self.reserved;
            if *pending + more > pending_max {
                return Err(ChunkError::TooMuchPending);
            }
            self.body.reserve_exact(target - self.body.len());
            self.reserved = target;
            *pending += more;
        }
        self.body.extend_from_slice(bytes);
        Ok(())
    }

    fn close(&mut self) {
        self.body = Vec::new();
        self.reserved = 0;
        self.open = false;
    }
}

/// Chunk stream id, format, and what follows the basic header (§5.3.1.1); `None` if there are not enough bytes.
fn parse_basic(bytes: &[u8]) -> Option<(u32, u8, &[u8])> {
    let (&first, rest) = bytes.split_first()?;
    let format = first >> 6;
    match first & 0x3f {
        0 => rest.split_first().map(|(&low, rest)| (64 + u32::from(low), format, rest)),
        1 => rest.split_first_chunk::<2>().map(|(id, rest)| (64 + u32::from(u16::from_le_bytes(*id)), format, rest)),
        id => Some((u32::from(id), format, rest)),
    }
}

#[cfg(test)]
#[path = "reader_tests.rs"]
mod tests;
