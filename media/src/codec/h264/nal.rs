//! NAL units: their header byte, and the two framings of byte streams: start codes (ITU-T H.264 Annex B) and lengths
//! (ISO/IEC 14496-15 §5.3.3, "AVCC").

use crate::drop_reason::DropReason;

/// What a NAL unit carries (ITU-T H.264 table 7-1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NalKind {
    /// A slice of a picture that is not IDR.
    Slice,
    /// The first of three partitions of a slice: header and motion.
    PartitionA,
    /// A slice of an IDR picture: nothing before it is referred to by anything behind it.
    Idr,
    Sei,
    Sps,
    Pps,
    AccessUnitDelimiter,
    EndOfSequence,
    EndOfStream,
    Filler,
    /// Any other `nal_unit_type`.
    Other(u8),
}

impl NalKind {
    /// The kind that a unit's first byte names.
    pub fn of(header: u8) -> NalKind {
        match header & 0x1f {
            1 => NalKind::Slice,
            2 => NalKind::PartitionA,
            5 => NalKind::Idr,
            6 => NalKind::Sei,
            7 => NalKind::Sps,
            8 => NalKind::Pps,
            9 => NalKind::AccessUnitDelimiter,
            10 => NalKind::EndOfSequence,
            11 => NalKind::EndOfStream,
            12 => NalKind::Filler,
            other => NalKind::Other(other),
        }
    }

    /// Carries coded picture samples and a slice header.
    pub fn is_slice(self) -> bool {
        matches!(self, NalKind::Slice | NalKind::PartitionA | NalKind::Idr)
    }
}

/// The kind of a whole unit; `Other(0)`, which the standard leaves unspecified, for an empty one.
pub fn kind(nal: &[u8]) -> NalKind {
    NalKind::of(nal.first().copied().unwrap_or(0))
}

/// `nal_ref_idc`, 0..=3: zero means that no other picture is predicted from this one, so that it may be left out.
pub fn ref_idc(nal: &[u8]) -> u8 {
    nal.first().map_or(0, |header| header >> 5 & 3)
}

/// Walks units that stand behind their lengths. Empty units are passed over.
///
/// # Errors
/// [`DropReason::Malformed`] for a length size other than 1, 2 or 4, [`DropReason::TooShort`] for a unit that is cut
/// off; nothing follows an error.
pub fn avcc(bytes: &[u8], length_size: u8) -> Avcc<'_> {
    Avcc { rest: bytes, length_size: usize::from(length_size) }
}

/// Iterator of [`avcc`].
#[derive(Clone, Debug)]
pub struct Avcc<'a> {
    rest: &'a [u8],
    length_size: usize,
}

impl<'a> Avcc<'a> {
    fn split(&self) -> Result<(&'a [u8], &'a [u8]), DropReason> {
        if !matches!(self.length_size, 1 | 2 | 4) {
            return Err(DropReason::Malformed);
        }
        let (length, behind) = self.rest.split_at_checked(self.length_size).ok_or(DropReason::TooShort)?;
        let length = length.iter().fold(0, |length, byte| length << 8 | usize::from(*byte));
        behind.split_at_checked(length).ok_or(DropReason::TooShort)
    }
}

impl<'a> Iterator for Avcc<'a> {
    type Item = Result<&'a [u8], DropReason>;

    fn next(&mut self) -> Option<Self::Item> {
        while !self.rest.is_empty() {
            match self.split() {
                Ok((nal, rest)) => {
                    self.rest = rest;
                    if !nal.is_empty() {
                        return Some(Ok(nal));
                    }
                }
                Err(reason) => {
                    self.rest = &[];
                    return Some(Err(reason));
                }
            }
        }
        None
    }
}

/// Appends a unit behind its four-byte length.
pub fn write_avcc(out: &mut Vec<u8>, nal: &[u8]) {
    out.extend_from_slice(&(nal.len() as u32).to_be_bytes());
    out.extend_from_slice(nal);
}

/// Walks units that stand behind start codes of three or four bytes. What lies before the first start code, zeros at the
/// end of a unit, and empty units are passed over.
pub fn annex_b(bytes: &[u8]) -> AnnexB<'_> {
    AnnexB { rest: find_start_code(bytes).map_or(&[], |(_, behind)| behind) }
}

/// Iterator of [`annex_b`].
#[derive(Clone, Debug)]
pub struct AnnexB<'a> {
    /// Behind a start code, or empty.
    rest: &'a [u8],
}

impl<'a> Iterator for AnnexB<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        while !self.rest.is_empty() {
            let (nal, behind) = find_start_code(self.rest).unwrap_or((self.rest, &[]));
            self.rest = behind;
            // `trailing_zero_8bits`, and the first zero of a start code of four bytes; a unit never ends in zero.
            let end = nal.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
            if end > 0 {
                return nal.get(..end);
            }
        }
        None
    }
}

/// What lies before the first `00 00 01`, and what lies behind it.
fn find_start_code(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let at = bytes.windows(3).position(|window| window == [0, 0, 1])?;
    Some((bytes.get(..at)?, bytes.get(at + 3..)?))
}

/// Appends a unit behind a four-byte start code.
pub fn write_annex_b(out: &mut Vec<u8>, nal: &[u8]) {
    out.extend_from_slice(&[0, 0, 0, 1]);
    out.extend_from_slice(nal);
}

/// Takes the emulation prevention bytes (ITU-T H.264 §7.4.1) out of the start of a unit's body, the header byte left
/// out, as far as `out` reaches; returns the part of `out` that was filled.
pub(crate) fn unescape<'o>(nal: &[u8], out: &'o mut [u8]) -> &'o [u8] {
    let mut len = 0;
    let mut zeros = 0;
    for &byte in nal.get(1..).unwrap_or_default() {
        if zeros >= 2 && byte == 3 {
            zeros = 0;
            continue;
        }
        zeros = if byte == 0 { zeros + 1 } else { 0 };
        let Some(place) = out.get_mut(len) else { break };
        *place = byte;
        len += 1;
    }
    out.get(..len).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn all_avcc(bytes: &[u8], length_size: u8) -> Result<Vec<&[u8]>, DropReason> {
        avcc(bytes, length_size).collect()
    }

    #[test]
    fn lengths_of_one_two_and_four_bytes_are_read() {
        assert_eq!(all_avcc(&[1, 0x65, 2, 0x41, 9], 1), Ok(vec![&[0x65][..], &[0x41, 9]]));
        assert_eq!(all_avcc(&[0, 1, 0x65, 0, 2, 0x41, 9], 2), Ok(vec![&[0x65][..], &[0x41, 9]]));
        assert_eq!(all_avcc(&[0, 0, 0, 1, 0x65], 4), Ok(vec![&[0x65][..]]));
        for size in [0, 3, 5, 255] {
            assert_eq!(all_avcc(&[0, 0, 1, 0x65], size), Err(DropReason::Malformed));
        }
    }

    #[test]
    fn a_unit_that_is_cut_off_ends_the_walk() {
        let whole = [0, 0, 0, 2, 0x65, 1, 0, 0, 0, 2, 0x41, 2];
        for len in 1..whole.len() {
            let cut = all_avcc(&whole[..len], 4);
            assert_eq!(cut.is_ok(), len == 6, "{len}");
        }
        assert_eq!(all_avcc(&[0xff, 0xff, 0xff, 0xff, 1], 4), Err(DropReason::TooShort));
        assert_eq!(all_avcc(&[], 4), Ok(vec![]));
    }

    #[test]
    fn empty_units_are_passed_over() {
        assert_eq!(all_avcc(&[0, 0, 0, 0, 0, 0, 0, 1, 0x65], 4), Ok(vec![&[0x65][..]]));
        assert_eq!(annex_b(&[0, 0, 1, 0, 0, 0, 1, 0x65]).collect::<Vec<_>>(), [&[0x65][..]]);
    }

    #[test]
    fn start_codes_of_three_and_four_bytes_part_units() {
        let stream = [0, 0, 0, 1, 0x67, 0x42, 0, 0, 1, 0x68, 0, 0, 0, 0, 0, 1, 0x65, 0, 0, 3, 1, 0];
        let units: Vec<_> = annex_b(&stream).collect();
        assert_eq!(units, [&[0x67, 0x42][..], &[0x68], &[0x65, 0, 0, 3, 1]]);
        assert_eq!(annex_b(&[0x67, 0x42]).count(), 0, "no start code");
    }

    #[test]
    fn the_header_byte_names_kind_and_importance() {
        assert_eq!((kind(&[0x67]), ref_idc(&[0x67])), (NalKind::Sps, 3));
        assert_eq!((kind(&[0x01]), ref_idc(&[0x01])), (NalKind::Slice, 0));
        assert_eq!((kind(&[]), ref_idc(&[])), (NalKind::Other(0), 0));
    }

    #[test]
    fn emulation_prevention_bytes_are_taken_out() {
        let mut out = [0; 8];
        assert_eq!(unescape(&[0x67, 0, 0, 3, 1, 0, 0, 3, 0, 0, 3], &mut out), [0, 0, 1, 0, 0, 0, 0]);
        assert_eq!(unescape(&[0x67, 1, 2, 3], &mut out[..2]), [1, 2]);
        assert_eq!(unescape(&[], &mut out), []);
    }

    proptest! {
        #[test]
        fn walking_never_panics(bytes in prop::collection::vec(prop_oneof![Just(0u8), Just(1), any::<u8>()], 0..64), size in 0u8..6) {
            let _ = avcc(&bytes, size).count();
            let _ = annex_b(&bytes).count();
            let _ = unescape(&bytes, &mut [0; 16]);
        }

        #[test]
        fn written_units_read_back_in_both_framings(units in prop::collection::vec(prop::collection::vec(1u8.., 1..20), 0..6)) {
            let (mut lengths, mut codes) = (Vec::new(), Vec::new());
            for unit in &units {
                write_avcc(&mut lengths, unit);
                write_annex_b(&mut codes, unit);
            }
            prop_assert_eq!(all_avcc(&lengths, 4).unwrap(), units.iter().map(|u| u.as_slice()).collect::<Vec<_>>());
            prop_assert_eq!(annex_b(&codes).collect::<Vec<_>>(), units);
        }
    }
}
