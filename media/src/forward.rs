//! The record that a packet's copies travel as: a place in a ring and a header, not bytes.

/// Index of a transport within its shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TransportKey(pub u32);

/// Index of an up track within its room.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct UpKey(pub u32);

/// Index of a down track within its room.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct DownKey(pub u32);

/// Most bytes that a packet is padded by.
pub const PADDING_MAX: u8 = 24;

/// "This slot, to that transport, with this header." Live packets and retransmissions are the same record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Forward {
    pub to: TransportKey,
    /// Whose ring.
    pub up: UpKey,
    /// Which packet of the ring: extended sequence number.
    pub seq: u64,
    /// The first twelve bytes of the packet that leaves.
    pub header: [u8; 12],
    /// For a retransmission (RFC 4588 §4): the sequence number that the subscriber missed, put before the payload.
    pub original_seq: Option<u16>,
    /// Bytes of RTP padding (RFC 3550 §5.1), at most [`PADDING_MAX`], that make it as long as the packets it leaves with.
    pub padding: u8,
    /// The id under which its transport-wide sequence number is to be written, if it was agreed on: 1 to 14.
    pub transport_cc: Option<u8>,
    /// The id and the time, in units of 10 ms, under which it is written how long this picture and those after it are to be held.
    pub hold: Option<(u8, u8)>,
}

/// Writes a fixed RTP header (RFC 3550 §5.1) without extension, padding or contributing sources.
pub fn rtp_header(marker: bool, payload_type: u8, seq: u16, timestamp: u32, ssrc: u32) -> [u8; 12] {
    let mut header = [0; 12];
    header[0] = 0x80;
    header[1] = (u8::from(marker) << 7) | (payload_type & 0x7f);
    header[2..4].copy_from_slice(&seq.to_be_bytes());
    header[4..8].copy_from_slice(&timestamp.to_be_bytes());
    header[8..12].copy_from_slice(&ssrc.to_be_bytes());
    header
}
