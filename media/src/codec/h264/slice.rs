//! The first fields of a slice header: enough to find picture boundaries and B-frames (ITU-T H.264 §7.3.3).

use super::nal;
use crate::{codec::bits::BitReader, drop_reason::DropReason};

/// Three Exp-Golomb codes of at most 63 bits each.
const START_LEN: usize = 24;

/// How the macroblocks of a slice are predicted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SliceType {
    /// From past pictures.
    P,
    /// From two directions: such a picture is decoded after one that is shown later, which WebRTC does not allow.
    B,
    /// From the same picture.
    I,
    Sp,
    Si,
}

/// The first fields of a slice header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SliceHeader {
    /// Zero in the first slice of a picture (without arbitrary slice order, which nobody sends).
    pub first_mb: u32,
    pub slice_type: SliceType,
    /// `pic_parameter_set_id`, 0..=255.
    pub pps_id: u8,
}

impl SliceHeader {
    /// Reads the header of a whole NAL unit, or of its start.
    ///
    /// # Errors
    /// [`DropReason::Malformed`] for a unit that is no slice and for fields out of range, [`DropReason::TooShort`] if
    /// the unit ends before they do.
    pub fn parse(nal: &[u8]) -> Result<SliceHeader, DropReason> {
        if !nal::kind(nal).is_slice() {
            return Err(DropReason::Malformed);
        }
        let mut start = [0; START_LEN];
        let mut bits = BitReader::new(nal::unescape(nal, &mut start));
        let mut ue = || match bits.ue() {
            Some(value) => Ok(value),
            None if bits.left() == 0 => Err(DropReason::TooShort),
            None => Err(DropReason::Malformed),
        };
        let first_mb = ue()?;
        // "slice_type values in the range 5..9 specify, in addition, that all other slices of the picture have the same
        // type" (§7.4.3).
        let slice_type = match ue()? {
            0 | 5 => SliceType::P,
            1 | 6 => SliceType::B,
            2 | 7 => SliceType::I,
            3 | 8 => SliceType::Sp,
            4 | 9 => SliceType::Si,
            _ => return Err(DropReason::Malformed),
        };
        let pps_id = u8::try_from(ue()?).map_err(|_| DropReason::Malformed)?;
        Ok(SliceHeader { first_mb, slice_type, pps_id })
    }
}

/// Whether a NAL unit is a B slice; `false` for anything that cannot be read as a slice. With
/// [`nal::ref_idc`] zero it may be left out without harm to other pictures.
pub fn is_b_slice(nal: &[u8]) -> bool {
    SliceHeader::parse(nal).is_ok_and(|slice| slice.slice_type == SliceType::B)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// First bytes of slices as x264 writes them: IDR, P, B that is no reference.
    #[test]
    fn slices_of_x264_are_told_apart() {
        let slice = |nal: &[u8]| SliceHeader::parse(nal).unwrap();
        assert_eq!(slice(&[0x65, 0x88, 0x84, 0x00]).slice_type, SliceType::I);
        assert_eq!(slice(&[0x41, 0x9a, 0x24, 0x6c]).slice_type, SliceType::P);
        assert_eq!(slice(&[0x01, 0x9e, 0x41, 0x74]).slice_type, SliceType::B);
        assert!(is_b_slice(&[0x01, 0x9e, 0x41, 0x74]) && nal::ref_idc(&[0x01]) == 0);
        assert_eq!(slice(&[0x01, 0x9e, 0x41, 0x74]).first_mb, 0);
    }

    #[test]
    fn what_is_no_slice_is_refused() {
        assert_eq!(SliceHeader::parse(&[0x67, 0x42]), Err(DropReason::Malformed));
        assert_eq!(SliceHeader::parse(&[]), Err(DropReason::Malformed));
        assert!(!is_b_slice(&[0x67, 0x9e]));
    }

    #[test]
    fn fields_out_of_range_are_malformed_and_cut_ones_too_short() {
        // first_mb 0, slice_type 10.
        assert_eq!(SliceHeader::parse(&[0x41, 0b1000_1011, 0x80]), Err(DropReason::Malformed));
        // first_mb 0, slice_type 0, pps_id 255 and 256.
        let pps_id = |last| SliceHeader::parse(&[0x41, 0b1100_0000, 0b0010_0000, last]).map(|slice| slice.pps_id);
        assert_eq!(pps_id(0b0000_0000), Ok(255));
        assert_eq!(pps_id(0b0010_0000), Err(DropReason::Malformed));
        assert_eq!(SliceHeader::parse(&[0x41, 0b1100_0000]), Err(DropReason::TooShort));
        assert_eq!(SliceHeader::parse(&[0x41]), Err(DropReason::TooShort));
    }

    #[test]
    fn an_escape_inside_the_header_is_seen_through() {
        // first_mb: 23 zeros, then 24 ones, which is 00 00 01 ff ff and seven bits; slice_type 5: 00110; pps_id 0: 1.
        let nal = [0x41, 0x00, 0x00, 0x03, 0x01, 0xff, 0xff, 0xfe, 0b0110_1000];
        let slice = SliceHeader::parse(&nal).unwrap();
        assert_eq!((slice.first_mb, slice.slice_type, slice.pps_id), (0xff_fffe, SliceType::P, 0));
    }

    proptest! {
        #[test]
        fn reading_never_panics(header: u8, body in prop::collection::vec(any::<u8>(), 0..40)) {
            let _ = SliceHeader::parse(&[&[header][..], &body].concat());
        }
    }
}
