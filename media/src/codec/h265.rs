//! H.265: NAL unit kinds (ITU-T H.265 table 7-1), their RTP payloads as far as forwarding needs (RFC 7798 §4.4), and the
//! parameter sets of a configuration record (ISO/IEC 14496-15 §8.3.3).

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

/// Bytes of parameter sets that a record may have; real ones have about a hundred.
const SETS_BYTES_MAX: usize = 4_096;
/// Bytes before the arrays of a record.
const RECORD_HEAD_BYTES: usize = 22;

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
/// its packet or in an aggregation.
pub fn inspect(payload: &[u8]) -> super::Payload {
    let first = match kind(payload) {
        AGGREGATION => payload.get(4..).map_or(63, kind),
        FRAGMENT => match payload.get(2) {
            Some(header) if header & 0x80 != 0 => header & 0x3f,
            _ => return super::Payload::default(),
        },
        kind => kind,
    };
    let opens = first == VPS || first == SPS;
    super::Payload { starts_frame: opens || is_slice(first), key: opens }
}

/// What a configuration record says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HevcConfig<'a> {
    /// Bytes of the length before each NAL unit.
    pub length_size: u8,
    /// VPS, SPS and PPS in their order.
    pub sets: Vec<&'a [u8]>,
}

impl<'a> HevcConfig<'a> {
    /// Reads an HEVCDecoderConfigurationRecord; `None` if it is cut short or has more sets than anybody needs.
    pub fn parse(record: &'a [u8]) -> Option<HevcConfig<'a>> {
        let length_size = (record.get(21)? & 3) + 1;
        let (&arrays, mut rest) = record.get(RECORD_HEAD_BYTES..)?.split_first()?;
        let mut sets: Vec<&[u8]> = Vec::new();
        for _ in 0..arrays {
            let (&[_, high, low], behind) = rest.split_first_chunk::<3>()?;
            rest = behind;
            for _ in 0..u16::from_be_bytes([high, low]) {
                let (length, behind) = rest.split_first_chunk::<2>()?;
                let (set, behind) = behind.split_at_checked(usize::from(u16::from_be_bytes(*length)))?;
                rest = behind;
                if matches!(kind(set), VPS | SPS | PPS) {
                    sets.push(set);
                }
            }
        }
        sets.sort_by_key(|set| kind(set));
        let bytes: usize = sets.iter().map(|set| set.len()).sum();
        (bytes <= SETS_BYTES_MAX && sets.len() <= 16).then_some(HevcConfig { length_size, sets })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{super::Payload, *};

    fn record(arrays: &[(u8, &[u8])]) -> Vec<u8> {
        let mut record = vec![1; RECORD_HEAD_BYTES];
        record[21] = 0xff;
        record.push(arrays.len() as u8);
        for (kind, set) in arrays {
            record.extend([0x80 | kind, 0, 1, 0, set.len() as u8]);
            record.extend_from_slice(set);
        }
        record
    }

    #[test]
    fn parameter_sets_are_read_in_their_order_and_every_prefix_is_an_answer() {
        let (vps, sps, pps) = ([VPS << 1, 1, 1], [SPS << 1, 1, 2], [PPS << 1, 1, 3]);
        let bytes = record(&[(PPS, &pps), (39, &[39 << 1, 1]), (SPS, &sps), (VPS, &vps)]);
        let config = HevcConfig::parse(&bytes).unwrap();
        assert_eq!((config.length_size, config.sets), (4, vec![&vps[..], &sps, &pps]));
        for end in 0..bytes.len() {
            assert_eq!(HevcConfig::parse(&bytes[..end]), None);
        }
    }

    #[test]
    fn a_key_frame_begins_with_its_parameter_sets() {
        let (yes, frame, no) = (
            Payload { starts_frame: true, key: true },
            Payload { starts_frame: true, key: false },
            Payload { starts_frame: false, key: false },
        );
        assert_eq!(inspect(&[VPS << 1, 1]), yes);
        assert_eq!(inspect(&[AGGREGATION << 1, 1, 0, 3, VPS << 1, 1, 0]), yes);
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
            let _ = HevcConfig::parse(&bytes);
        }
    }
}
