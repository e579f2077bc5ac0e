//! H.264: NAL units in their three framings (Annex B, AVCC, RTP), parameter sets, slice headers (ITU-T H.264, RFC 6184,
//! ISO/IEC 14496-15). Nothing is decoded.

pub mod config;
pub mod gaps;
pub mod nal;
pub mod payload;
pub mod slice;
pub mod sps;

pub use config::AvcConfig;
pub use nal::NalKind;
pub use slice::{SliceHeader, SliceType, is_b_slice};
pub use sps::Sps;

use self::payload::Piece;

/// What an RTP payload says about its frame.
///
/// `key`: it carries an SPS, or the start of the first slice of an IDR picture. `starts_frame`: it carries what may only
/// stand before the first slice of a picture (access unit delimiter, SEI, SPS, PPS), or the start of a first slice; where
/// several such packets precede one picture, each of them says so, and the timestamp tells the first. A payload that is
/// malformed says neither.
pub fn inspect(payload: &[u8]) -> super::Payload {
    let mut found = super::Payload::default();
    for piece in payload::pieces(payload) {
        let (kind, body) = match piece {
            Ok(Piece::Whole(nal)) => (nal::kind(nal), nal.get(1..).unwrap_or_default()),
            Ok(Piece::Part { header, start: true, data, .. }) => (NalKind::of(header), data),
            Ok(Piece::Part { .. }) => continue,
            Err(_) => return super::Payload::default(),
        };
        // `first_mb_in_slice` opens every slice header, and zero is the one-bit code.
        let first_slice = body.first().is_some_and(|byte| byte & 0x80 != 0);
        match kind {
            NalKind::Sps => found = super::Payload { starts_frame: true, key: true },
            NalKind::Idr if first_slice => found = super::Payload { starts_frame: true, key: true },
            NalKind::Slice | NalKind::PartitionA if first_slice => found.starts_frame = true,
            NalKind::Pps | NalKind::Sei | NalKind::AccessUnitDelimiter => found.starts_frame = true,
            _ => {}
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{super::Payload, *};

    const NOTHING: Payload = Payload { starts_frame: false, key: false };
    const START: Payload = Payload { starts_frame: true, key: false };
    const KEY: Payload = Payload { starts_frame: true, key: true };

    #[test]
    fn single_units_say_what_they_are() {
        let cases: [(&[u8], Payload); 8] = [
            (&[0x67, 0x42, 0xe0], KEY),     // SPS
            (&[0x68, 0xce], START),         // PPS
            (&[0x65, 0x88, 0x84], KEY),     // IDR, first_mb_in_slice 0
            (&[0x65, 0x40, 0x84], NOTHING), // IDR, a later slice
            (&[0x41, 0x9a], START),         // slice
            (&[0x41, 0x20], NOTHING),       // a later slice
            (&[0x09, 0xf0], START),         // access unit delimiter
            (&[0x65], NOTHING),             // IDR without a slice header
        ];
        for (payload, says) in cases {
            assert_eq!(inspect(payload), says, "{payload:02x?}");
        }
    }

    #[test]
    fn an_aggregation_is_as_key_as_its_parts() {
        assert_eq!(inspect(&[0x78, 0, 2, 0x67, 0x42, 0, 2, 0x68, 0xce]), KEY);
        assert_eq!(inspect(&[0x78, 0, 2, 0x06, 0x05, 0, 2, 0x41, 0x9a]), START);
        assert_eq!(inspect(&[0x78, 0, 2, 0x67, 0x42, 0, 9, 0x68, 0xce]), NOTHING, "the second part is cut off");
    }

    #[test]
    fn only_the_first_fragment_of_an_idr_is_key() {
        assert_eq!(inspect(&[0x7c, 0x85, 0x88]), KEY);
        assert_eq!(inspect(&[0x7c, 0x05, 0x88]), NOTHING);
        assert_eq!(inspect(&[0x7c, 0x45, 0x88]), NOTHING);
        assert_eq!(inspect(&[0x5c, 0x81, 0x9a]), START);
        assert_eq!(inspect(&[0x7c, 0x87, 0x42]), KEY, "an SPS that is fragmented");
    }

    proptest! {
        #[test]
        fn inspect_never_panics(payload in prop::collection::vec(any::<u8>(), 0..64)) {
            let _ = inspect(&payload);
        }
    }
}
