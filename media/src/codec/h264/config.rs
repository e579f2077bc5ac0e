//! `AVCDecoderConfigurationRecord`: parameter sets and length size, as the AVC sequence header of RTMP and FLV carries
//! them (ISO/IEC 14496-15 §5.3.3.1).

use super::{
    nal::{self, NalKind},
    sps::Sps,
};
use crate::drop_reason::DropReason;

/// The most sets that the record counts: five bits for SPS, eight for PPS.
pub const SPS_COUNT_MAX: usize = 31;
pub const PPS_COUNT_MAX: usize = 255;

/// A record that was checked as a whole when it was parsed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AvcConfig<'a> {
    pub profile: u8,
    /// The byte of constraint flags.
    pub compatibility: u8,
    pub level: u8,
    /// Bytes of the length before each NAL unit of the stream: 1, 2 or 4.
    pub length_size: u8,
    sps: &'a [u8],
    pps: &'a [u8],
}

impl<'a> AvcConfig<'a> {
    /// Reads a record. What follows the parameter sets (chroma format, bit depths) is not read.
    ///
    /// # Errors
    /// [`DropReason::TooShort`] if a set is cut off, [`DropReason::Malformed`] for a version other than 1 or lengths of
    /// three bytes. A record without sets is none of these: some encoders send the sets in the stream.
    pub fn parse(record: &'a [u8]) -> Result<AvcConfig<'a>, DropReason> {
        let (&[version, profile, compatibility, level, length_size, sps_count], behind) =
            record.split_first_chunk::<6>().ok_or(DropReason::TooShort)?;
        let length_size = (length_size & 3) + 1;
        if version != 1 || length_size == 3 {
            return Err(DropReason::Malformed);
        }
        let (sps, behind) = split_sets(behind, sps_count & 0x1f)?;
        let (&pps_count, behind) = behind.split_first().ok_or(DropReason::TooShort)?;
        let (pps, _) = split_sets(behind, pps_count)?;
        Ok(AvcConfig { profile, compatibility, level, length_size, sps, pps })
    }

    /// The sequence parameter sets, header byte included. What is listed as one and is none is passed over.
    pub fn sps(&self) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        nal::avcc(self.sps, 2).flatten().filter(|set| nal::kind(set) == NalKind::Sps)
    }

    /// The picture parameter sets, likewise.
    pub fn pps(&self) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        nal::avcc(self.pps, 2).flatten().filter(|set| nal::kind(set) == NalKind::Pps)
    }
}

/// The bytes of `count` sets, each behind its two-byte length, and what follows them.
fn split_sets(bytes: &[u8], count: u8) -> Result<(&[u8], &[u8]), DropReason> {
    let mut len = 0;
    for _ in 0..count {
        let set_len = bytes.get(len..).and_then(|rest| rest.first_chunk()).ok_or(DropReason::TooShort)?;
        len += 2 + usize::from(u16::from_be_bytes(*set_len));
    }
    bytes.split_at_checked(len).ok_or(DropReason::TooShort)
}

/// Appends the record of these sets, for a stream with four-byte lengths. `false`, and nothing is appended, if there is
/// no SPS or no PPS, an SPS lacks its profile and level, or there are more sets, or longer ones, than the record counts.
pub fn write_avc_config(out: &mut Vec<u8>, sps: &[&[u8]], pps: &[&[u8]]) -> bool {
    let counts = (1..=SPS_COUNT_MAX).contains(&sps.len()) && (1..=PPS_COUNT_MAX).contains(&pps.len());
    let lengths = sps.iter().chain(pps).all(|set| (1..=usize::from(u16::MAX)).contains(&set.len()));
    let Some(&[_, profile, compatibility, level]) = sps.first().and_then(|set| set.first_chunk()) else { return false };
    if !counts || !lengths {
        return false;
    }
    out.extend_from_slice(&[1, profile, compatibility, level, 0xfc | 3, 0xe0 | sps.len() as u8]);
    push_sets(out, sps);
    out.push(pps.len() as u8);
    push_sets(out, pps);
    // "if( profile_idc == 100 || 110 || 122 || 144 )" the record goes on. Players read one that does not, so an SPS that
    // cannot be read costs no more than this.
    if matches!(profile, 100 | 110 | 122 | 144)
        && let Some(first) = sps.first().and_then(|set| Sps::parse(set).ok())
    {
        out.push(0xfc | first.chroma_format);
        out.push(0xf8 | (first.bit_depth_luma - 8));
        out.push(0xf8 | (first.bit_depth_chroma - 8));
        out.push(0);
    }
    true
}

fn push_sets(out: &mut Vec<u8>, sets: &[&[u8]]) {
    for set in sets {
        out.extend_from_slice(&(set.len() as u16).to_be_bytes());
        out.extend_from_slice(set);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{super::sps::tests::*, *};

    /// The sequence header's record as ffmpeg 5.1 muxes it into FLV: x264, high profile, 320x180.
    const RECORD: [u8; 47] = [
        0x01, 0x64, 0x00, 0x0c, 0xff, 0xe1, 0x00, 0x1a, 0x67, 0x64, 0x00, 0x0c, 0xac, 0xd1, 0x01, 0x41, 0x9f, 0x9f,
        0x01, 0x10, 0x00, 0x00, 0x03, 0x00, 0x10, 0x00, 0x00, 0x03, 0x03, 0x20, 0xf1, 0x42, 0x91, 0x20, 0x01, 0x00,
        0x06, 0x68, 0xeb, 0xe3, 0xcb, 0x22, 0xc0, 0xfd, 0xf8, 0xf8, 0x00,
    ];
    const PPS: [u8; 6] = [0x68, 0xeb, 0xe3, 0xcb, 0x22, 0xc0];

    #[test]
    fn the_record_of_ffmpeg_is_read() {
        let config = AvcConfig::parse(&RECORD).unwrap();
        assert_eq!((config.profile, config.compatibility, config.level, config.length_size), (100, 0, 12, 4));
        assert!(config.sps().eq([&HIGH[..]]));
        assert!(config.pps().eq([&PPS[..]]));
    }

    #[test]
    fn the_record_written_is_that_of_ffmpeg() {
        let mut out = Vec::new();
        assert!(write_avc_config(&mut out, &[&HIGH], &[&PPS]));
        assert_eq!(out, RECORD);
    }

    #[test]
    fn every_prefix_that_cuts_a_set_is_too_short() {
        for len in 0..43 {
            assert_eq!(AvcConfig::parse(&RECORD[..len]).err(), Some(DropReason::TooShort), "{len}");
        }
        assert!(AvcConfig::parse(&RECORD[..43]).is_ok(), "without what high profile appends");
    }

    #[test]
    fn version_and_length_size_are_checked() {
        for (at, byte) in [(0, 0), (0, 2), (4, 0xfe)] {
            let mut record = RECORD;
            record[at] = byte;
            assert_eq!(AvcConfig::parse(&record), Err(DropReason::Malformed));
        }
        for (byte, size) in [(0xfc, 1), (0xfd, 2), (0x03, 4)] {
            let mut record = RECORD;
            record[4] = byte;
            assert_eq!(AvcConfig::parse(&record).map(|c| c.length_size), Ok(size));
        }
    }

    #[test]
    fn a_set_of_the_wrong_kind_or_empty_is_passed_over() {
        let record = [1, 66, 0, 30, 0xff, 0xe2, 0, 0, 0, 1, 0x68, 1, 0, 1, 0x68];
        let config = AvcConfig::parse(&record).unwrap();
        assert_eq!((config.sps().count(), config.pps().count()), (0, 1));
    }

    #[test]
    fn as_many_sets_are_written_as_the_record_counts() {
        let write = |sps, pps| write_avc_config(&mut Vec::new(), &vec![&BASELINE[..]; sps], &vec![&PPS[..]; pps]);
        assert!(write(SPS_COUNT_MAX, PPS_COUNT_MAX));
        for (sps, pps) in [(SPS_COUNT_MAX + 1, 1), (1, PPS_COUNT_MAX + 1), (0, 1), (1, 0)] {
            assert!(!write(sps, pps), "{sps} {pps}");
        }
        assert!(!write_avc_config(&mut Vec::new(), &[&[0x67, 66, 0]], &[&PPS]), "an SPS without a level");
        assert!(!write_avc_config(&mut Vec::new(), &[&BASELINE], &[&[]]), "an empty PPS");
    }

    proptest! {
        #[test]
        fn reading_never_panics(mut bytes in prop::collection::vec(any::<u8>(), 0..64), valid_start: bool) {
            if let (true, Some(start)) = (valid_start, bytes.first_mut()) {
                *start = 1;
            }
            if let Ok(config) = AvcConfig::parse(&bytes) {
                let _ = (config.sps().count(), config.pps().count());
            }
        }

        #[test]
        fn a_written_record_reads_back(sps in prop::collection::vec(prop::collection::vec(any::<u8>(), 3..20), 1..4),
                                       pps in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..20), 1..4)) {
            let with = |header: u8, sets: &[Vec<u8>]| sets.iter().map(|s| [&[header][..], s].concat()).collect::<Vec<_>>();
            let (sps, pps) = (with(0x67, &sps), with(0x68, &pps));
            let sps: Vec<&[u8]> = sps.iter().map(Vec::as_slice).collect();
            let pps: Vec<&[u8]> = pps.iter().map(Vec::as_slice).collect();
            let mut out = Vec::new();
            prop_assert!(write_avc_config(&mut out, &sps, &pps));
            let config = AvcConfig::parse(&out).unwrap();
            prop_assert_eq!(config.length_size, 4);
            prop_assert!(config.sps().eq(sps));
            prop_assert!(config.pps().eq(pps));
        }
    }
}
