//! H.265: NAL unit kinds (ITU-T H.265 table 7-1), and their RTP payloads as far as forwarding needs (RFC 7798 §4.4).

pub mod config;
pub mod payload;
pub mod sps;

pub use self::{config::HevcConfig, sps::Sps};

/// The kinds that matter here.
pub const VPS: u8 = 32;
pub const SPS: u8 = 33;
pub const PPS: u8 = 34;
const ACCESS_UNIT_DELIMITER: u8 = 35;
const FILLER: u8 = 38;
/// RTP only: several units, and part of one.
pub const AGGREGATION: u8 = 48;
pub const FRAGMENT: u8 = 49;
/// Pictures at which a decoder can start: 16 to 21 are used, up to 23 reserved for them.
const IRAP: std::ops::RangeInclusive<u8> = 16..=23;

/// `nal_unit_type`, 0..=63; 63 for an empty unit, which the standard leaves unspecified.
pub fn kind(nal: &[u8]) -> u8 {
    nal.first().map_or(63, |header| header >> 1 & 0x3f)
}

/// Carries coded picture samples.
pub fn is_slice(kind: u8) -> bool {
    kind < VPS
}

/// A decoder can start at this slice.
pub fn is_key(kind: u8) -> bool {
    IRAP.contains(&kind)
}

/// Belongs to a picture, for a receiver of RTP. Delimiters and fillers say nothing there, and the kinds from 48 on have a
/// meaning of their own.
pub fn is_kept(kind: u8) -> bool {
    kind != ACCESS_UNIT_DELIMITER && kind != FILLER && kind < AGGREGATION
}

/// What an RTP payload says about its frame. Publishers send parameter sets before every key frame, the first of them alone in
/// its packet or in an aggregation, in which a delimiter or messages may stand before it.
pub fn inspect(payload: &[u8]) -> super::Payload {
    let first = match kind(payload) {
        AGGREGATION => first_that_counts(payload.get(2..).unwrap_or_default()),
        FRAGMENT => match payload.get(2) {
            Some(header) if header & 0x80 != 0 => header & 0x3f,
            _ => return super::Payload::default(),
        },
        kind => kind,
    };
    let opens = first == VPS || first == SPS;
    super::Payload { starts_frame: opens || is_slice(first), key: opens }
}

/// The kind of the first unit of an aggregation that is a parameter set or a slice; 63 if there is none.
fn first_that_counts(mut units: &[u8]) -> u8 {
    while let Some((length, behind)) = units.split_first_chunk() {
        let Some((unit, rest)) = behind.split_at_checked(usize::from(u16::from_be_bytes(*length))) else {
            return kind(behind);
        };
        if kind(unit) <= PPS {
            return kind(unit);
        }
        units = rest;
    }
    63
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{super::Payload, *};

    #[test]
    fn a_key_frame_begins_with_its_parameter_sets() {
        let (yes, frame, no) = (
            Payload { starts_frame: true, key: true },
            Payload { starts_frame: true, key: false },
            Payload { starts_frame: false, key: false },
        );
        assert_eq!(inspect(&[VPS << 1, 1]), yes);
        assert_eq!(inspect(&[AGGREGATION << 1, 1, 0, 3, VPS << 1, 1, 0]), yes);
        let behind_a_delimiter = [AGGREGATION << 1, 1, 0, 3, ACCESS_UNIT_DELIMITER << 1, 1, 0, 0, 2, VPS << 1, 1];
        assert_eq!(inspect(&behind_a_delimiter), yes);
        assert_eq!(inspect(&behind_a_delimiter[..8]), no);
        assert_eq!(inspect(&[1 << 1, 1]), frame);
        assert_eq!(inspect(&[FRAGMENT << 1, 1, 0x80 | 1]), frame);
        assert_eq!(inspect(&[FRAGMENT << 1, 1, 1]), no);
        assert_eq!(inspect(&[PPS << 1, 1]), no);
        assert_eq!(inspect(&[]), no);
    }

    proptest! {
        #[test]
        fn random_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..60)) {
            let _ = inspect(&bytes);
        }
    }
}
