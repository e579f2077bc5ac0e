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

    proptest! {
        #[test]
        fn inspect_never_panics(payload in prop::collection::vec(any::<u8>(), 0..16)) {
            let _ = inspect(&payload);
        }
    }
}
