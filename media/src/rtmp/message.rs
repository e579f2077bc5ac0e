//! Messages: what chunks carry. Protocol control and user control (Adobe, "RTMP specification 1.0" §5.4, §7.1.7) are read
//! into fields; commands and data into AMF0 values; audio and video stay bytes.

use bytes::Bytes;

use super::amf0::{self, AmfError, Value};

/// The message type on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct MessageType(pub u8);

impl MessageType {
    pub const SET_CHUNK_SIZE: Self = Self(1);
    pub const ABORT: Self = Self(2);
    pub const ACKNOWLEDGEMENT: Self = Self(3);
    pub const USER_CONTROL: Self = Self(4);
    pub const WINDOW_ACK_SIZE: Self = Self(5);
    pub const SET_PEER_BANDWIDTH: Self = Self(6);
    pub const AUDIO: Self = Self(8);
    pub const VIDEO: Self = Self(9);
    /// Data behind a byte that names an encoding; in practice AMF0 again.
    pub const DATA_AMF3: Self = Self(15);
    /// A command behind a byte that names an encoding; in practice AMF0 again.
    pub const COMMAND_AMF3: Self = Self(17);
    pub const DATA: Self = Self(18);
    pub const COMMAND: Self = Self(20);
    /// Several audio, video and data messages in one.
    pub const AGGREGATE: Self = Self(22);
}

/// One message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    pub kind: MessageType,
    /// Milliseconds, wraps at 32 bits.
    pub timestamp_ms: u32,
    /// The message stream: 0 for the connection, else as `createStream` answered.
    pub stream_id: u32,
    pub payload: Bytes,
}

/// Which of the three things a stream is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum MediaKind {
    Audio,
    Video,
    /// AMF0, `onMetaData` and its like; without the `@setDataFrame` that publishers put in front.
    Data,
}

impl MediaKind {
    pub fn message_type(self) -> MessageType {
        match self {
            MediaKind::Audio => MessageType::AUDIO,
            MediaKind::Video => MessageType::VIDEO,
            MediaKind::Data => MessageType::DATA,
        }
    }
}

/// One audio, video or data message of a stream. Cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Media {
    pub kind: MediaKind,
    /// Milliseconds, wraps at 32 bits.
    pub timestamp_ms: u32,
    pub payload: Bytes,
}

/// A command: a procedure's name, its arguments, and the number by which an answer refers to it.
#[derive(Clone, Debug, PartialEq)]
pub struct Command {
    pub name: String,
    /// 0 asks for no answer.
    pub transaction: f64,
    /// The object behind the transaction; null for most.
    pub object: Value,
    pub args: Vec<Value>,
}

impl Command {
    pub fn new(name: &str, transaction: f64, object: Value, args: Vec<Value>) -> Self {
        Command { name: name.to_owned(), transaction, object, args }
    }

    /// Reads the body of a [`MessageType::COMMAND`] or, behind its first byte, of a [`MessageType::COMMAND_AMF3`]. Parts that are
    /// missing are null and 0; without a name there is no command.
    pub fn parse(kind: MessageType, body: &[u8]) -> Result<Option<Command>, AmfError> {
        let mut values = amf0::read_all(amf0_part(kind, body))?.into_iter();
        let Some(Value::String(name)) = values.next() else { return Ok(None) };
        let transaction = values.next().and_then(|value| value.as_number()).unwrap_or(0.0);
        let object = values.next().unwrap_or(Value::Null);
        Ok(Some(Command { name, transaction, object, args: values.collect() }))
    }

    /// The body of a [`MessageType::COMMAND`].
    pub fn to_bytes(&self) -> Bytes {
        let mut out = Vec::with_capacity(128);
        Value::string(&self.name).write(&mut out);
        Value::Number(self.transaction).write(&mut out);
        self.object.write(&mut out);
        amf0::write_all(&self.args, &mut out);
        out.into()
    }

    /// A string argument, counted behind the object.
    pub fn str_arg(&self, index: usize) -> Option<&str> {
        self.args.get(index).and_then(Value::as_str)
    }
}

/// The AMF0 bytes of a command or data message. The AMF3 kinds have a byte in front, 0, and then AMF0 in every client known.
pub fn amf0_part(kind: MessageType, body: &[u8]) -> &[u8] {
    match (kind, body) {
        (MessageType::COMMAND_AMF3 | MessageType::DATA_AMF3, [0, rest @ ..]) => rest,
        _ => body,
    }
}

/// A publisher's data message as players get it: `onMetaData` with its values, read and written anew so that nothing passes
/// that our own limits would refuse. `None` for data of other names.
pub fn metadata(kind: MessageType, body: &[u8]) -> Result<Option<Bytes>, AmfError> {
    let values = amf0::read_all(amf0_part(kind, body))?;
    let values = match values.split_first() {
        Some((Value::String(name), rest)) if name == "@setDataFrame" => rest,
        _ => &values,
    };
    if values.first().and_then(Value::as_str) != Some("onMetaData") {
        return Ok(None);
    }
    let mut out = Vec::with_capacity(body.len());
    amf0::write_all(values, &mut out);
    Ok(Some(out.into()))
}

/// A user control message (§7.1.7). Kinds that are of no use to a live server are not told apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UserControl {
    StreamBegin { stream_id: u32 },
    StreamEof { stream_id: u32 },
    SetBufferLength { stream_id: u32, buffer_ms: u32 },
    PingRequest { timestamp_ms: u32 },
    PingResponse { timestamp_ms: u32 },
    Other(u16),
}

impl UserControl {
    /// `None` if the body is shorter than its kind says.
    pub fn parse(body: &[u8]) -> Option<UserControl> {
        let (kind, rest) = body.split_first_chunk::<2>()?;
        let word = |at: usize| rest.get(at..at + 4).and_then(be32);
        Some(match u16::from_be_bytes(*kind) {
            0 => UserControl::StreamBegin { stream_id: word(0)? },
            1 => UserControl::StreamEof { stream_id: word(0)? },
            3 => UserControl::SetBufferLength { stream_id: word(0)?, buffer_ms: word(4)? },
            6 => UserControl::PingRequest { timestamp_ms: word(0)? },
            7 => UserControl::PingResponse { timestamp_ms: word(0)? },
            other => UserControl::Other(other),
        })
    }

    /// The body of a [`MessageType::USER_CONTROL`].
    pub fn to_bytes(self) -> Bytes {
        let (kind, words): (u16, &[u32]) = match &self {
            UserControl::StreamBegin { stream_id } => (0, &[*stream_id]),
            UserControl::StreamEof { stream_id } => (1, &[*stream_id]),
            UserControl::SetBufferLength { stream_id, buffer_ms } => (3, &[*stream_id, *buffer_ms]),
            UserControl::PingRequest { timestamp_ms } => (6, &[*timestamp_ms]),
            UserControl::PingResponse { timestamp_ms } => (7, &[*timestamp_ms]),
            UserControl::Other(kind) => (*kind, &[]),
        };
        let mut out = kind.to_be_bytes().to_vec();
        words.iter().for_each(|word| out.extend_from_slice(&word.to_be_bytes()));
        out.into()
    }
}

/// The first four bytes as a number: the body of the protocol control messages.
pub fn be32(body: &[u8]) -> Option<u32> {
    body.first_chunk::<4>().map(|bytes| u32::from_be_bytes(*bytes))
}

/// The messages inside an aggregate message (§7.1.6), one by one. Their layout is that of FLV tags.
#[derive(Clone, Debug)]
pub struct Aggregate {
    rest: Bytes,
    /// Added to the inner times: an aggregate's own time is that of its first message.
    shift_ms: Option<u32>,
    timestamp_ms: u32,
}

/// Type, 24-bit size, 24-bit time, upper 8 bits of time, 24-bit stream.
const SUB_HEADER_BYTES: usize = 11;
/// The size of the message, repeated behind it.
const BACK_POINTER_BYTES: usize = 4;

impl Aggregate {
    pub fn new(message: &Message) -> Self {
        Aggregate { rest: message.payload.clone(), shift_ms: None, timestamp_ms: message.timestamp_ms }
    }
}

impl Iterator for Aggregate {
    type Item = Message;

    /// The next message; a part that is cut short ends the iteration.
    fn next(&mut self) -> Option<Message> {
        let &[kind, s0, s1, s2, t0, t1, t2, t3, ..] = self.rest.first_chunk::<SUB_HEADER_BYTES>()?;
        let size = u32::from_be_bytes([0, s0, s1, s2]) as usize;
        let time_ms = u32::from_be_bytes([t3, t0, t1, t2]);
        let shift_ms = *self.shift_ms.get_or_insert(self.timestamp_ms.wrapping_sub(time_ms));
        let end = SUB_HEADER_BYTES + size;
        if end > self.rest.len() {
            return None;
        }
        let payload = self.rest.slice(SUB_HEADER_BYTES..end);
        self.rest = self.rest.slice(self.rest.len().min(end + BACK_POINTER_BYTES)..);
        Some(Message { kind: MessageType(kind), timestamp_ms: time_ms.wrapping_add(shift_ms), stream_id: 0, payload })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_survives_the_wire_in_both_encodings() {
        let command = Command::new("publish", 5.0, Value::Null, vec![Value::string("a?b=c"), Value::string("live")]);
        let bytes = command.to_bytes();
        assert_eq!(Command::parse(MessageType::COMMAND, &bytes), Ok(Some(command.clone())));
        let wrapped = [&[0], &bytes[..]].concat();
        assert_eq!(Command::parse(MessageType::COMMAND_AMF3, &wrapped), Ok(Some(command)));
    }

    #[test]
    fn a_command_without_a_name_is_none() {
        assert_eq!(Command::parse(MessageType::COMMAND, &[]), Ok(None));
        assert_eq!(Command::parse(MessageType::COMMAND, &[5]), Ok(None));
    }

    #[test]
    fn metadata_loses_its_wrapper_and_other_data_is_none() {
        let object = Value::EcmaArray(vec![("width".into(), Value::Number(360.0))]);
        let mut wrapped = Vec::new();
        amf0::write_all(&[Value::string("@setDataFrame"), Value::string("onMetaData"), object.clone()], &mut wrapped);
        let mut bare = Vec::new();
        amf0::write_all(&[Value::string("onMetaData"), object], &mut bare);
        assert_eq!(metadata(MessageType::DATA, &wrapped), Ok(Some(bare.clone().into())));
        assert_eq!(metadata(MessageType::DATA, &bare), Ok(Some(bare.into())));
        let mut other = Vec::new();
        Value::string("onCuePoint").write(&mut other);
        assert_eq!(metadata(MessageType::DATA, &other), Ok(None));
    }

    #[test]
    fn user_control_survives_the_wire_and_every_prefix_of_it_is_an_answer() {
        for control in [
            UserControl::StreamBegin { stream_id: 1 },
            UserControl::StreamEof { stream_id: 1 },
            UserControl::SetBufferLength { stream_id: 1, buffer_ms: 3000 },
            UserControl::PingRequest { timestamp_ms: u32::MAX },
            UserControl::PingResponse { timestamp_ms: 7 },
            UserControl::Other(32),
        ] {
            let bytes = control.to_bytes();
            assert_eq!(UserControl::parse(&bytes), Some(control));
            for end in 0..bytes.len() {
                assert_eq!(UserControl::parse(&bytes[..end]), None);
            }
        }
    }

    fn sub(kind: u8, time_ms: u32, body: &[u8]) -> Vec<u8> {
        let [t3, t0, t1, t2] = time_ms.to_be_bytes();
        let mut out = vec![kind, 0, 0, body.len() as u8, t0, t1, t2, t3, 0, 0, 0];
        out.extend_from_slice(body);
        out.extend_from_slice(&(body.len() as u32 + 11).to_be_bytes());
        out
    }

    #[test]
    fn an_aggregate_is_its_messages_on_its_own_clock() {
        let payload = [sub(8, 50_000_000, b"one"), sub(9, 50_000_040, b"two"), sub(9, 50_000_041, b"")].concat();
        let whole = Message {
            kind: MessageType::AGGREGATE,
            timestamp_ms: u32::MAX - 9,
            stream_id: 1,
            payload: payload.clone().into(),
        };
        let read: Vec<_> = Aggregate::new(&whole).map(|m| (m.kind.0, m.timestamp_ms, m.payload)).collect();
        let expected: Vec<(u8, u32, Bytes)> =
            vec![(8, u32::MAX - 9, b"one"[..].into()), (9, 30, b"two"[..].into()), (9, 31, Bytes::new())];
        assert_eq!(read, expected);
        for end in 0..payload.len() {
            let cut = Message { payload: whole.payload.slice(..end), ..whole.clone() };
            assert!(Aggregate::new(&cut).count() <= 3);
        }
    }
}
