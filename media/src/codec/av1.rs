//! AV1 in RTP payloads: the aggregation header and the first OBU (AV1 RTP payload specification v1.0 §4.4, AV1 bitstream
//! specification §5.3). Frames are forwarded, never put together.

use crate::drop_reason::DropReason;

/// What starts a frame, or stands before one (AV1 bitstream specification §6.2.2).
const OBU_SEQUENCE_HEADER: u8 = 1;
const OBU_TEMPORAL_DELIMITER: u8 = 2;
const OBU_FRAME_HEADER: u8 = 3;
const OBU_FRAME: u8 = 6;

/// The longest `leb128` number (AV1 bitstream specification §4.10.5).
const LEB128_LEN_MAX: usize = 8;

/// The aggregation header, which opens every payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Aggregation {
    /// Z: the first element continues an OBU of the packet before.
    pub continues: bool,
    /// Y: the last element goes on in the next packet.
    pub continued: bool,
    /// W: how many elements there are; the last has no length. Zero: not told, and each has one.
    pub elements: u8,
    /// N: the first packet of a coded video sequence, that is, of a key frame.
    pub new_sequence: bool,
}

impl Aggregation {
    /// Reads the header.
    ///
    /// # Errors
    /// [`DropReason::TooShort`] for an empty payload, [`DropReason::Malformed`] for a packet that both continues an OBU
    /// and starts a sequence, which cannot be (§4.4).
    pub fn parse(payload: &[u8]) -> Result<Aggregation, DropReason> {
        let byte = *payload.first().ok_or(DropReason::TooShort)?;
        let header = Aggregation {
            continues: byte & 0x80 != 0,
            continued: byte & 0x40 != 0,
            elements: byte >> 4 & 3,
            new_sequence: byte & 0x08 != 0,
        };
        if header.continues && header.new_sequence { Err(DropReason::Malformed) } else { Ok(header) }
    }
}

/// What an RTP payload says about its frame. A packet that opens with an OBU header starts a frame if that OBU is one
/// that opens a frame; a tile group does not.
pub fn inspect(payload: &[u8]) -> super::Payload {
    let Ok(header) = Aggregation::parse(payload) else { return super::Payload::default() };
    let opens = !header.continues
        && matches!(
            first_obu_type(header, payload),
            Some(OBU_SEQUENCE_HEADER | OBU_TEMPORAL_DELIMITER | OBU_FRAME_HEADER | OBU_FRAME)
        );
    super::Payload { starts_frame: opens || header.new_sequence, key: header.new_sequence }
}

fn first_obu_type(header: Aggregation, payload: &[u8]) -> Option<u8> {
    let mut at = 1;
    if header.elements != 1 {
        // The element's length; its last byte has the top bit clear.
        at += 1 + payload.get(at..)?.iter().take(LEB128_LEN_MAX).position(|byte| byte & 0x80 == 0)?;
    }
    payload.get(at).map(|obu_header| obu_header >> 3 & 0x0f)
}

/// One OBU without its length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Obu<'a> {
    /// The first byte, "has a length" taken out.
    pub header: u8,
    /// The second byte, of layers, where there is one.
    pub extension: Option<u8>,
    pub body: &'a [u8],
}

/// `obu_has_size_field` and `obu_extension_flag` of the first byte.
const HAS_SIZE: u8 = 0x02;
const HAS_EXTENSION: u8 = 0x04;
const OBU_TILE_LIST: u8 = 8;
const OBU_PADDING: u8 = 15;

impl<'a> Obu<'a> {
    /// Reads the OBU at the front of `bytes`, which may or may not say its length; without, it goes to the end. Returns what
    /// is behind it. `None` if it is cut short.
    fn read(bytes: &'a [u8]) -> Option<(Obu<'a>, &'a [u8])> {
        let (&first, mut rest) = bytes.split_first()?;
        let mut extension = None;
        if first & HAS_EXTENSION != 0 {
            let (&second, behind) = rest.split_first()?;
            (extension, rest) = (Some(second), behind);
        }
        let header = first & !HAS_SIZE;
        if first & HAS_SIZE == 0 {
            return Some((Obu { header, extension, body: rest }, &[]));
        }
        let (length, behind) = read_leb128(rest)?;
        let (body, rest) = behind.split_at_checked(length)?;
        Some((Obu { header, extension, body }, rest))
    }

    /// `obu_type`.
    pub fn kind(&self) -> u8 {
        self.header >> 3 & 0x0f
    }

    pub fn is_sequence_header(&self) -> bool {
        self.kind() == OBU_SEQUENCE_HEADER
    }

    /// Appends it without a length, as RTP has it.
    pub fn write(&self, out: &mut Vec<u8>) {
        out.push(self.header);
        out.extend(self.extension);
        out.extend_from_slice(self.body);
    }

    /// Appends it with a length, as files have it.
    pub fn write_sized(&self, out: &mut Vec<u8>) {
        out.push(self.header | HAS_SIZE);
        out.extend(self.extension);
        write_leb128(self.body.len(), out);
        out.extend_from_slice(self.body);
    }
}

/// The OBUs of a temporal unit that RTP carries, in their order: delimiters, tile lists and padding stay away (AV1 RTP payload
/// specification §5). `None` if one is cut short, or there are more than `most`.
pub fn obus(mut bytes: &[u8], most: usize) -> Option<Vec<Obu<'_>>> {
    let mut obus = Vec::new();
    while !bytes.is_empty() {
        let (obu, rest) = Obu::read(bytes)?;
        bytes = rest;
        if !matches!(obu.kind(), OBU_TEMPORAL_DELIMITER | OBU_TILE_LIST | OBU_PADDING) {
            obus.push(obu);
        }
        if obus.len() > most {
            return None;
        }
    }
    Some(obus)
}

/// The pieces of OBUs in an RTP payload, lengths taken off, in their order. `None` if one is cut short.
pub fn elements(payload: &[u8]) -> Option<(Aggregation, Vec<&[u8]>)> {
    let aggregation = Aggregation::parse(payload).ok()?;
    let mut rest = payload.get(1..)?;
    let mut elements = Vec::new();
    while !rest.is_empty() {
        let is_last = aggregation.elements != 0 && elements.len() + 1 == usize::from(aggregation.elements);
        let (length, behind) = if is_last { (rest.len(), rest) } else { read_leb128(rest)? };
        let (element, behind) = behind.split_at_checked(length)?;
        elements.push(element);
        rest = behind;
    }
    Some((aggregation, elements))
}

/// Appends a number as `leb128` (AV1 bitstream specification §4.10.5).
pub fn write_leb128(mut number: usize, out: &mut Vec<u8>) {
    loop {
        let more = number > 0x7f;
        out.push(number as u8 & 0x7f | if more { 0x80 } else { 0 });
        number >>= 7;
        if !more {
            break;
        }
    }
}

fn read_leb128(bytes: &[u8]) -> Option<(usize, &[u8])> {
    let end = bytes.iter().take(LEB128_LEN_MAX).position(|byte| byte & 0x80 == 0)?;
    let value = bytes[..=end].iter().rev().fold(0u64, |value, byte| value << 7 | u64::from(byte & 0x7f));
    Some((usize::try_from(value).ok()?, &bytes[end + 1..]))
}

/// What a sequence header says, as far as players are told beforehand (AV1 bitstream specification §5.5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sequence {
    pub profile: u8,
    pub level: u8,
    pub tier: u8,
    /// Largest picture, in pixels.
    pub size: Option<(u32, u32)>,
}

impl Sequence {
    /// Reads the body of a sequence header OBU. What lies behind timing information, which no browser writes, is not read: the
    /// level is then 4.0 and the size unknown.
    pub fn parse(body: &[u8]) -> Option<Sequence> {
        let mut bits = super::bits::BitReader::new(body);
        let profile = bits.bits(3)? as u8;
        let (_still, reduced) = (bits.bits(1)?, bits.bits(1)? == 1);
        let (mut level, mut tier) = (8, 0);
        if reduced {
            level = bits.bits(5)? as u8;
        } else {
            if bits.bits(1)? == 1 {
                return Some(Sequence { profile, level, tier, size: None });
            }
            let display_delay = bits.bits(1)? == 1;
            let points = bits.bits(5)? + 1;
            for point in 0..points {
                bits.bits(12)?;
                let this = bits.bits(5)? as u8;
                let this_tier = if this > 7 { bits.bits(1)? as u8 } else { 0 };
                if point == 0 {
                    (level, tier) = (this, this_tier);
                }
                if display_delay && bits.bits(1)? == 1 {
                    bits.bits(4)?;
                }
            }
        }
        let (width_bits, height_bits) = (bits.bits(4)? + 1, bits.bits(4)? + 1);
        let (width, height) = (bits.bits(width_bits)? + 1, bits.bits(height_bits)? + 1);
        Some(Sequence { profile, level, tier, size: Some((width, height)) })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{super::Payload, *};

    #[test]
    fn the_first_packet_of_a_sequence_is_key() {
        // W=1, N; sequence header OBU.
        assert_eq!(inspect(&[0x18, 0x0a, 0x0b]), Payload { starts_frame: true, key: true });
        // The same with a length before the OBU.
        assert_eq!(inspect(&[0x08, 0x02, 0x0a, 0x0b]), Payload { starts_frame: true, key: true });
    }

    #[test]
    fn a_frame_starts_a_frame_and_a_tile_group_or_a_continuation_does_not() {
        assert_eq!(inspect(&[0x10, 6 << 3, 1]), Payload { starts_frame: true, key: false });
        assert_eq!(inspect(&[0x20, 0x81, 0x01, 3 << 3, 1]), Payload { starts_frame: true, key: false });
        assert_eq!(inspect(&[0x10, 4 << 3, 1]), Payload { starts_frame: false, key: false });
        assert_eq!(inspect(&[0x90, 6 << 3, 1]), Payload { starts_frame: false, key: false });
    }

    #[test]
    fn header_fields_are_read() {
        let header = Aggregation { continues: true, continued: true, elements: 3, new_sequence: false };
        assert_eq!(Aggregation::parse(&[0xf0]), Ok(header));
        assert_eq!(Aggregation::parse(&[]), Err(DropReason::TooShort));
        assert_eq!(Aggregation::parse(&[0x88]), Err(DropReason::Malformed), "Z and N");
    }

    #[test]
    fn a_length_without_end_says_nothing() {
        assert_eq!(inspect(&[0x00, 0xff, 0xff]), Payload::default());
        assert_eq!(inspect(&[0x00, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0, 6 << 3]), Payload::default());
        assert!(inspect(&[0x00, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0, 6 << 3]).starts_frame);
    }

    #[test]
    fn a_temporal_unit_loses_its_delimiter_and_its_lengths() {
        let unit = [0x12, 0, 0x0a, 2, 7, 8, 0x32, 3, 1, 2, 3];
        let read = obus(&unit, 8).unwrap();
        assert_eq!(read.len(), 2);
        let (mut bare, mut sized) = (Vec::new(), Vec::new());
        read.iter().for_each(|obu| obu.write(&mut bare));
        read.iter().for_each(|obu| obu.write_sized(&mut sized));
        assert_eq!((bare, &sized[..]), (vec![0x08, 7, 8, 0x30, 1, 2, 3], &unit[2..]));
        assert_eq!((obus(&unit, 1), obus(&unit[..10], 8)), (None, None));
    }

    #[test]
    fn elements_are_told_apart_by_count_or_by_length() {
        assert_eq!(elements(&[0x10, 1, 2]).unwrap().1, [&[1, 2][..]]);
        assert_eq!(elements(&[0x20, 1, 9, 1, 2]).unwrap().1, [&[9][..], &[1, 2]]);
        assert_eq!(elements(&[0x00, 1, 9, 2, 1, 2]).unwrap().1, [&[9][..], &[1, 2]]);
        assert_eq!(elements(&[0x00, 3, 9]), None);
    }

    #[test]
    fn a_long_length_takes_two_bytes() {
        let body = [5; 300];
        let mut bytes = Vec::new();
        Obu { header: 6 << 3, extension: Some(0), body: &body }.write_sized(&mut bytes);
        assert_eq!(&bytes[..4], [6 << 3 | HAS_SIZE, 0, 0xac, 2]);
    }

    proptest! {
        #[test]
        fn what_is_read_of_random_bytes_never_panics(bytes in prop::collection::vec(any::<u8>(), 0..40)) {
            let _ = obus(&bytes, 8);
            let _ = elements(&bytes);
            let _ = Sequence::parse(&bytes);
        }

        #[test]
        fn inspect_never_panics(payload in prop::collection::vec(any::<u8>(), 0..16)) {
            let _ = inspect(&payload);
        }
    }
}
