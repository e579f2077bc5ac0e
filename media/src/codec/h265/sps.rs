//! The sequence parameter set: profile, size and shape of the picture (ITU-T H.265 §7.3.2.2.1), as far as its bit depths.

use super::{SPS, kind};
use crate::{
    codec::{
        bits::BitReader,
        h264::{nal::unescape, sps::DIMENSION_MAX},
    },
    drop_reason::DropReason,
};

/// As much of an SPS is read, without its emulation prevention bytes: seven temporal layers take under 100.
const SPS_LEN_MAX: usize = 256;
/// Bytes of `profile_tier_level` for all layers together.
const GENERAL_BYTES: usize = 12;

/// What a sequence parameter set says of its pictures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sps {
    /// `general_profile_space` to `general_level_idc`, as they stand there and in a configuration record.
    pub general: [u8; GENERAL_BYTES],
    /// Temporal layers, 1..=7.
    pub temporal_layers: u8,
    pub temporal_nested: bool,
    /// `chroma_format_idc`: 0 monochrome, 1 4:2:0, 2 4:2:2, 3 4:4:4.
    pub chroma_format: u8,
    /// Bits of a sample, 8..=16.
    pub bit_depth_luma: u8,
    pub bit_depth_chroma: u8,
    /// Of the conformance window, in pixels.
    pub width: u32,
    pub height: u32,
}

impl Sps {
    /// Reads a whole SPS unit, header included.
    ///
    /// # Errors
    /// [`DropReason::TooShort`] if the unit ends before the bit depths, [`DropReason::Malformed`] for another kind of unit, for
    /// fields out of their range, and for a picture that is empty or larger than [`DIMENSION_MAX`].
    pub fn parse(nal: &[u8]) -> Result<Sps, DropReason> {
        if kind(nal) != SPS {
            return Err(DropReason::Malformed);
        }
        let mut raw = [0; SPS_LEN_MAX];
        // What is taken for the body begins with the second byte of the header.
        let raw = unescape(nal, &mut raw).get(1..).ok_or(DropReason::TooShort)?;
        let (&first, behind) = raw.split_first().ok_or(DropReason::TooShort)?;
        let general = *behind.first_chunk::<GENERAL_BYTES>().ok_or(DropReason::TooShort)?;
        let sub_layers = first >> 1 & 7;
        if sub_layers == 7 {
            return Err(DropReason::Malformed);
        }
        read(&behind[GENERAL_BYTES..], u32::from(sub_layers)).ok_or(DropReason::TooShort)?.map(|shape| Sps {
            general,
            temporal_layers: sub_layers + 1,
            temporal_nested: first & 1 == 1,
            ..shape
        })
    }
}

/// What stands behind the general profile; `None` if it is cut off.
fn read(bytes: &[u8], sub_layers: u32) -> Option<Result<Sps, DropReason>> {
    let mut bits = BitReader::new(bytes);
    let mut more_bits = 0;
    for _ in 0..sub_layers {
        more_bits += if bits.flag()? { 88 } else { 0 };
        more_bits += if bits.flag()? { 8 } else { 0 };
    }
    if sub_layers > 0 {
        bits.bits(2 * (8 - sub_layers))?;
    }
    for _ in 0..more_bits / 8 {
        bits.bits(8)?;
    }
    let _id = bits.ue()?;
    let chroma_format = bits.ue()?;
    if chroma_format == 3 {
        let _separate_planes = bits.flag()?;
    }
    let (coded_width, coded_height) = (bits.ue()?, bits.ue()?);
    let mut window = [0; 4];
    if bits.flag()? {
        for edge in &mut window {
            *edge = bits.ue()?;
        }
    }
    let (luma, chroma) = (bits.ue()?, bits.ue()?);
    let (step_x, step_y) = match chroma_format {
        1 => (2, 2),
        2 => (2, 1),
        _ => (1, 1),
    };
    let [left, right, top, bottom] = window.map(u64::from);
    let cropped = |whole: u32, edges: u64| match u64::from(whole).checked_sub(edges) {
        Some(rest) if whole <= DIMENSION_MAX && rest > 0 => Some(rest as u32),
        _ => None,
    };
    let width = cropped(coded_width, step_x * (left + right));
    let height = cropped(coded_height, step_y * (top + bottom));
    let (Some(width), Some(height), 0..=3, 0..=8, 0..=8) = (width, height, chroma_format, luma, chroma) else {
        return Some(Err(DropReason::Malformed));
    };
    Some(Ok(Sps {
        general: [0; GENERAL_BYTES],
        temporal_layers: 1,
        temporal_nested: false,
        chroma_format: chroma_format as u8,
        bit_depth_luma: 8 + luma as u8,
        bit_depth_chroma: 8 + chroma as u8,
        width,
        height,
    }))
}

#[cfg(test)]
pub(crate) mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::codec::bits::BitWriter;

    /// Written by x265 3.5: 640x360 and 1920x1080 (cropped) of 8 bits, 322x182 (cropped) of 10.
    pub const SMALL: [u8; 43] = [
        0x42, 0x01, 0x01, 0x01, 0x60, 0x00, 0x00, 0x03, 0x00, 0x90, 0x00, 0x00, 0x03, 0x00, 0x00, 0x03, 0x00, 0x3f,
        0xa0, 0x05, 0x02, 0x01, 0x71, 0xf2, 0xe5, 0xba, 0x4a, 0x4c, 0x2f, 0x01, 0x68, 0x08, 0x00, 0x00, 0x03, 0x00,
        0x08, 0x00, 0x00, 0x03, 0x00, 0x78, 0x40,
    ];
    const LARGE: [u8; 43] = [
        0x42, 0x01, 0x01, 0x01, 0x60, 0x00, 0x00, 0x03, 0x00, 0x90, 0x00, 0x00, 0x03, 0x00, 0x00, 0x03, 0x00, 0x78,
        0xa0, 0x03, 0xc0, 0x80, 0x11, 0x07, 0xcb, 0x96, 0xe9, 0x29, 0x30, 0xbc, 0x05, 0xa0, 0x20, 0x00, 0x00, 0x03,
        0x00, 0x20, 0x00, 0x00, 0x03, 0x01, 0xe1,
    ];
    const TEN_BITS: [u8; 43] = [
        0x42, 0x01, 0x01, 0x02, 0x20, 0x00, 0x00, 0x03, 0x00, 0x90, 0x00, 0x00, 0x03, 0x00, 0x00, 0x03, 0x00, 0x3c,
        0xa0, 0x0a, 0x88, 0x0c, 0x1c, 0x44, 0xcd, 0x96, 0x56, 0x54, 0xa4, 0xc2, 0xf0, 0x16, 0x80, 0x80, 0x00, 0x00,
        0x03, 0x00, 0x80, 0x00, 0x00, 0x07, 0x84,
    ];

    #[test]
    fn sizes_and_depths_are_those_that_were_encoded() {
        let read = |nal: &[u8]| Sps::parse(nal).map(|s| (s.width, s.height, s.bit_depth_luma, s.bit_depth_chroma));
        assert_eq!(read(&SMALL), Ok((640, 360, 8, 8)));
        assert_eq!(read(&LARGE), Ok((1920, 1080, 8, 8)));
        assert_eq!(read(&TEN_BITS), Ok((322, 182, 10, 10)));
        let sps = Sps::parse(&SMALL).unwrap();
        assert_eq!((sps.chroma_format, sps.temporal_layers, sps.temporal_nested), (1, 1, true));
        assert_eq!(sps.general, [1, 0x60, 0, 0, 0, 0x90, 0, 0, 0, 0, 0, 0x3f]);
    }

    /// 4:2:0, 8 bits, with temporal layers of which each says its own level, and every other one its profile.
    fn written(layers: u32, width: u32, height: u32, window: Option<[u32; 4]>) -> Vec<u8> {
        let mut bits = BitWriter::default();
        (0..layers - 1).for_each(|n| bits.bits(2, 1 | (n & 1) << 1));
        if layers > 1 {
            bits.bits(2 * (9 - layers), 0);
        }
        for n in 0..layers - 1 {
            (0..if n & 1 == 1 { 12 } else { 1 }).for_each(|_| bits.bits(8, 0x5a));
        }
        let mut ue = |value: u32| {
            let len = 32 - (value + 1).leading_zeros();
            bits.bits(len - 1, 0);
            bits.bits(len, value + 1);
        };
        [0, 1, width, height].into_iter().for_each(&mut ue);
        match window {
            // The code of zero is the bit 1.
            Some(edges) => {
                ue(0);
                edges.into_iter().for_each(&mut ue);
            }
            None => bits.bits(1, 0),
        }
        bits.bits(3, 0b111);
        let mut nal = vec![0x42, 1, (layers as u8 - 1) << 1, 1];
        nal.extend([0x55; 11]);
        for byte in bits.finish() {
            if byte <= 3 && nal.ends_with(&[0, 0]) {
                nal.push(3);
            }
            nal.push(byte);
        }
        nal
    }

    #[test]
    fn temporal_layers_are_passed_over() {
        for layers in 1..=7 {
            let sps = Sps::parse(&written(layers, 640, 360, None)).unwrap();
            assert_eq!((sps.temporal_layers, sps.width, sps.height), (layers as u8, 640, 360));
        }
        assert_eq!(Sps::parse(&[&[0x42, 1, 7 << 1][..], &[0x55; 60]].concat()), Err(DropReason::Malformed));
    }

    #[test]
    fn the_largest_picture_is_read_and_one_that_is_larger_or_empty_refused() {
        let size = |width, height, window| Sps::parse(&written(1, width, height, window)).map(|s| (s.width, s.height));
        assert_eq!(size(DIMENSION_MAX, DIMENSION_MAX, None), Ok((DIMENSION_MAX, DIMENSION_MAX)));
        assert_eq!(size(DIMENSION_MAX + 1, 16, None), Err(DropReason::Malformed));
        assert_eq!(size(16, 16, Some([1, 2, 3, 4])), Ok((10, 2)));
        assert_eq!(size(16, 16, Some([4, 4, 0, 0])), Err(DropReason::Malformed));
        assert_eq!(size(16, 16, Some([u32::MAX - 1, u32::MAX - 1, 0, 0])), Err(DropReason::Malformed));
        assert_eq!(size(0, 16, None), Err(DropReason::Malformed));
    }

    #[test]
    fn every_prefix_and_every_flipped_bit_is_read_without_panic() {
        for nal in [&SMALL, &LARGE, &TEN_BITS] {
            for len in 0..nal.len() {
                let _ = Sps::parse(&nal[..len]);
            }
            assert_eq!(Sps::parse(&nal[..12]), Err(DropReason::TooShort));
            for bit in 0..8 * nal.len() {
                let mut flipped = nal.to_vec();
                flipped[bit / 8] ^= 1 << (bit % 8);
                let _ = Sps::parse(&flipped);
            }
        }
    }

    proptest! {
        #[test]
        fn reading_never_panics(body in prop::collection::vec(any::<u8>(), 0..120)) {
            let _ = Sps::parse(&[&[0x42, 1][..], &body].concat());
        }
    }
}
