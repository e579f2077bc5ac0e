//! The decoder configuration record, which FLV and MP4 carry out of band (ISO/IEC 14496-15 §8.3.3).

use super::{PPS, SPS, Sps, VPS, kind};

/// Bytes of parameter sets that a record may have; real ones have about a hundred.
const SETS_BYTES_MAX: usize = 4_096;
/// Bytes before the arrays of a record.
const RECORD_HEAD_BYTES: usize = 22;

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

/// Sets of one kind that a record has, at most.
const SETS_MAX: usize = 16;

/// Writes the record for units behind four-byte lengths, of whose parameter sets none is in band. False, and nothing written, if a
/// kind of them is missing, one of them cannot be carried, or the first SPS cannot be read.
pub fn write_hevc_config(out: &mut Vec<u8>, vps: &[&[u8]], sps: &[&[u8]], pps: &[&[u8]]) -> bool {
    let kinds = [(VPS, vps), (SPS, sps), (PPS, pps)];
    let bytes: usize = kinds.iter().flat_map(|(_, sets)| *sets).map(|set| set.len()).sum();
    let fits = |(wanted, sets): &(u8, &[&[u8]])| {
        (1..=SETS_MAX).contains(&sets.len()) && sets.iter().all(|set| kind(set) == *wanted)
    };
    let Some(Ok(first)) = sps.first().map(|sps| Sps::parse(sps)) else { return false };
    if !kinds.iter().all(fits) || bytes > SETS_BYTES_MAX {
        return false;
    }
    out.push(1);
    out.extend_from_slice(&first.general);
    // Nothing is known of slices (min_spatial_segmentation_idc) and of how to decode in parallel; the bits in front of each
    // field are ones.
    out.extend_from_slice(&[0xf0, 0, 0xfc, 0xfc | first.chroma_format]);
    out.extend_from_slice(&[
        0xf8 | first.bit_depth_luma.saturating_sub(8) & 7,
        0xf8 | first.bit_depth_chroma.saturating_sub(8) & 7,
    ]);
    // No frame rate; temporal layers, whether they are nested, lengths of four bytes.
    out.extend_from_slice(&[0, 0, first.temporal_layers << 3 | u8::from(first.temporal_nested) << 2 | 3]);
    out.push(kinds.len() as u8);
    for (kind, sets) in kinds {
        // All sets of this kind are here.
        out.push(0x80 | kind);
        out.extend_from_slice(&(sets.len() as u16).to_be_bytes());
        for set in sets {
            out.extend_from_slice(&(set.len() as u16).to_be_bytes());
            out.extend_from_slice(set);
        }
    }
    true
}

#[cfg(test)]
pub(crate) mod tests {
    use proptest::prelude::*;

    use super::{super::sps::tests::SMALL, *};

    /// As ffmpeg 5.1 muxes it into MP4: x265 3.5, 640x360.
    pub const RECORD: [u8; 111] = [
        0x01, 0x01, 0x60, 0x00, 0x00, 0x00, 0x90, 0x00, 0x00, 0x00, 0x00, 0x00, 0x3f, 0xf0, 0x00, 0xfc, 0xfd, 0xf8,
        0xf8, 0x00, 0x00, 0x0f, 0x03, 0xa0, 0x00, 0x01, 0x00, 0x18, 0x40, 0x01, 0x0c, 0x01, 0xff, 0xff, 0x01, 0x60,
        0x00, 0x00, 0x03, 0x00, 0x90, 0x00, 0x00, 0x03, 0x00, 0x00, 0x03, 0x00, 0x3f, 0xba, 0x02, 0x40, 0xa1, 0x00,
        0x01, 0x00, 0x2b, 0x42, 0x01, 0x01, 0x01, 0x60, 0x00, 0x00, 0x03, 0x00, 0x90, 0x00, 0x00, 0x03, 0x00, 0x00,
        0x03, 0x00, 0x3f, 0xa0, 0x05, 0x02, 0x01, 0x71, 0xf2, 0xe5, 0xba, 0x4a, 0x4c, 0x2f, 0x01, 0x68, 0x08, 0x00,
        0x00, 0x03, 0x00, 0x08, 0x00, 0x00, 0x03, 0x00, 0x78, 0x40, 0xa2, 0x00, 0x01, 0x00, 0x06, 0x44, 0x01, 0xc0,
        0x71, 0x83, 0x12,
    ];

    #[test]
    fn the_record_written_is_that_of_ffmpeg() {
        let config = HevcConfig::parse(&RECORD).unwrap();
        let [vps, sps, pps] = config.sets[..] else { panic!("{config:?}") };
        assert_eq!((config.length_size, sps), (4, &SMALL[..]));
        let mut out = Vec::new();
        assert!(write_hevc_config(&mut out, &[vps], &[sps], &[pps]));
        assert_eq!(out, RECORD);
        let mut out = Vec::new();
        let many = vec![pps; SETS_MAX];
        assert!(write_hevc_config(&mut out, &[vps], &[sps], &many));
        let long = [&[PPS << 1, 1][..], &vec![0; SETS_BYTES_MAX]].concat();
        let more = vec![pps; SETS_MAX + 1];
        let mut out = Vec::new();
        for (vps, sps, pps) in [
            (&[][..], &[sps][..], &[pps][..]),
            (&[vps], &[], &[pps]),
            (&[vps], &[sps], &[]),
            (&[vps], &[sps], &more[..]),
            (&[vps], &[pps], &[pps]),
            (&[vps], &[&sps[..9]], &[pps]),
            (&[vps], &[sps], &[&long[..]]),
        ] {
            assert!(!write_hevc_config(&mut out, vps, sps, pps) && out.is_empty());
        }
    }

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

    proptest! {
        #[test]
        fn random_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..60)) {
            let _ = HevcConfig::parse(&bytes);
        }
    }
}
