//! What both sides of a connection do alike below commands: chunks in and out, chunk size, abort, acknowledgements, pings.

use bytes::Bytes;

use super::{
    RtmpError,
    amf0::Value,
    chunk::{CHUNK_SIZE_DEFAULT, CHUNK_SIZE_OUT, ChunkReader, write_message},
    message::{Command, Message, MessageType, UserControl, be32},
};

/// After how many bytes we ask to hear an acknowledgement, and what we allow the peer to have in flight. Advice only: peers
/// that never acknowledge are common, and TCP does the work.
pub const WINDOW_ACK_BYTES: u32 = 5_000_000;
/// A peer that asks for acknowledgements more often than this gets them this often.
const ACK_EVERY_BYTES_MIN: u32 = 4096;

#[derive(Debug)]
pub struct Link {
    reader: ChunkReader,
    out: Vec<u8>,
    out_chunk_size: usize,
    /// Bytes of chunks received, and how many of them were acknowledged.
    received: u64,
    acknowledged: u64,
    /// The peer's window: how many bytes it may have unacknowledged.
    peer_window: Option<u32>,
}

impl Link {
    pub fn new() -> Self {
        Link {
            reader: ChunkReader::new(),
            out: Vec::new(),
            out_chunk_size: CHUNK_SIZE_DEFAULT,
            received: 0,
            acknowledged: 0,
            peer_window: None,
        }
    }

    pub fn set_trusted(&mut self, trusted: bool) {
        self.reader.set_trusted(trusted);
    }

    pub fn take_output(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.out)
    }

    /// Where the handshake writes.
    pub fn output(&mut self) -> &mut Vec<u8> {
        &mut self.out
    }

    /// The next message that is not the link's own business. Empty messages carry nothing and are left out, so that a flood
    /// of one-byte headers stays here.
    pub fn read(&mut self, data: &mut &[u8]) -> Result<Option<Message>, RtmpError> {
        loop {
            let before = data.len();
            let message = self.reader.read(data)?;
            self.received += (before - data.len()) as u64;
            let Some(message) = message else {
                self.acknowledge();
                return Ok(None);
            };
            if !message.payload.is_empty() && !self.handle_control(&message)? {
                return Ok(Some(message));
            }
        }
    }

    /// Whether the message was the link's own business.
    fn handle_control(&mut self, message: &Message) -> Result<bool, RtmpError> {
        let word = || be32(&message.payload).ok_or(RtmpError::Protocol("control message is cut short"));
        match message.kind {
            MessageType::SET_CHUNK_SIZE => self.reader.set_chunk_size(word()?)?,
            MessageType::ABORT => self.reader.abort(word()?),
            MessageType::ACKNOWLEDGEMENT => {
                word()?;
            }
            MessageType::WINDOW_ACK_SIZE => self.peer_window = Some(word()?),
            MessageType::SET_PEER_BANDWIDTH => {
                word()?;
                // §5.4.5: "The peer receiving this message SHOULD respond with a Window Acknowledgement Size message" if
                // the window differs; ours never changes, so saying it once more is all.
                self.send_word(MessageType::WINDOW_ACK_SIZE, WINDOW_ACK_BYTES);
            }
            MessageType::USER_CONTROL => {
                let control = UserControl::parse(&message.payload);
                match control.ok_or(RtmpError::Protocol("user control message is cut short"))? {
                    UserControl::PingRequest { timestamp_ms } => {
                        self.send_user_control(UserControl::PingResponse { timestamp_ms });
                    }
                    _ => return Ok(false),
                }
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    fn acknowledge(&mut self) {
        let Some(window) = self.peer_window else { return };
        // Half the window, so that a sender that stops at its window never does.
        let every = (window / 2).max(ACK_EVERY_BYTES_MIN);
        if self.received - self.acknowledged >= u64::from(every) {
            self.acknowledged = self.received;
            // §5.4.3: the sequence number is the bytes received so far; it wraps at 32 bits.
            self.send_word(MessageType::ACKNOWLEDGEMENT, self.received as u32);
        }
    }

    /// Announces [`CHUNK_SIZE_OUT`] and cuts by it from here on.
    pub fn announce_chunk_size(&mut self) {
        self.send_word(MessageType::SET_CHUNK_SIZE, CHUNK_SIZE_OUT as u32);
        self.out_chunk_size = CHUNK_SIZE_OUT;
    }

    pub fn send_word(&mut self, kind: MessageType, word: u32) {
        self.send(kind, 0, Bytes::copy_from_slice(&word.to_be_bytes()));
    }

    /// Our window: the peer shall keep within it. 2 is "dynamic".
    pub fn send_peer_bandwidth(&mut self) {
        let [a, b, c, d] = WINDOW_ACK_BYTES.to_be_bytes();
        self.send(MessageType::SET_PEER_BANDWIDTH, 0, Bytes::copy_from_slice(&[a, b, c, d, 2]));
    }

    pub fn send_user_control(&mut self, control: UserControl) {
        self.send(MessageType::USER_CONTROL, 0, control.to_bytes());
    }

    pub fn send_command(&mut self, stream_id: u32, command: &Command) {
        self.send(MessageType::COMMAND, stream_id, command.to_bytes());
    }

    /// A data message of AMF0 values.
    pub fn send_data(&mut self, stream_id: u32, values: &[Value]) {
        let mut body = Vec::new();
        super::amf0::write_all(values, &mut body);
        self.send(MessageType::DATA, stream_id, body.into());
    }

    fn send(&mut self, kind: MessageType, stream_id: u32, payload: Bytes) {
        write_message(&Message { kind, timestamp_ms: 0, stream_id, payload }, self.out_chunk_size, &mut self.out);
    }
}
