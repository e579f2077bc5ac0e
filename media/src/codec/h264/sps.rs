//! The sequence parameter set: size and shape of the picture (ITU-T H.264 §7.3.2.1.1).
//!
//! The fields up to the cropping are read and no further. The rest (VUI) says nothing that roomcast needs, and encoders
//! contradict themselves there, as they do in the level: a picture larger than its level allows is still a picture.

use h264_reader::{
    nal::sps::ChromaInfo,
    rbsp::{BitRead, BitReader},
};

use super::nal::{self, NalKind};
use crate::drop_reason::DropReason;

/// The longest SPS that is read, without its emulation prevention bytes. Real ones take 10 to 60 bytes; one with all
/// twelve scaling lists takes less than 1,100.
pub const SPS_LEN_MAX: usize = 2_048;

/// The largest width or height in pixels, cropped or not.
pub const DIMENSION_MAX: u32 = 16_384;

/// `num_ref_frames_in_pic_order_cnt_cycle` "shall be in the range of 0 to 255" (§7.4.2.1.1).
const POC_CYCLE_MAX: u32 = 255;

/// What a sequence parameter set says of its pictures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sps {
    /// `profile_idc`: 66 baseline, 77 main, 100 high ...
    pub profile: u8,
    /// The byte of constraint flags between profile and level.
    pub constraints: u8,
    /// `level_idc`: ten times the level.
    pub level: u8,
    /// `seq_parameter_set_id`, 0..=31.
    pub id: u8,
    /// `chroma_format_idc`: 0 monochrome, 1 4:2:0, 2 4:2:2, 3 4:4:4.
    pub chroma_format: u8,
    pub bit_depth_luma: u8,
    pub bit_depth_chroma: u8,
    /// `pic_order_cnt_type`. With 2, pictures are shown in the order in which they are decoded: there are no B-frames
    /// that could be shown late.
    pub order_count_type: u8,
    pub ref_frames_max: u32,
    /// `frame_mbs_only_flag` is zero: the stream may hold fields.
    pub interlaced: bool,
    /// Of the cropped picture, in pixels.
    pub width: u32,
    pub height: u32,
}

impl Sps {
    /// Reads a whole SPS unit, header byte included.
    ///
    /// # Errors
    /// [`DropReason::TooShort`] if the unit ends before the cropping, [`DropReason::Malformed`] for another kind of unit,
    /// for fields out of their range, and for a picture that is empty or larger than [`DIMENSION_MAX`].
    pub fn parse(nal: &[u8]) -> Result<Sps, DropReason> {
        if nal::kind(nal) != NalKind::Sps {
            return Err(DropReason::Malformed);
        }
        let mut raw = [0; SPS_LEN_MAX];
        let raw = nal::unescape(nal, &mut raw);
        let &[profile, constraints, level] = raw.first_chunk().ok_or(DropReason::TooShort)?;
        let mut bits = BitReader::new(raw.get(3..).unwrap_or_default());
        let id = in_range(bits.read_ue("id"), 31)? as u8;
        let chroma = ChromaInfo::read(&mut bits, profile.into()).map_err(|_| DropReason::Malformed)?;
        let chroma_format = match chroma.chroma_format.to_u32() {
            format @ 0..=3 => format as u8,
            _ => return Err(DropReason::Malformed),
        };
        in_range(bits.read_ue("log2_max_frame_num_minus4"), 12)?;
        let order_count_type = in_range(bits.read_ue("pic_order_cnt_type"), 2)? as u8;
        match order_count_type {
            0 => {
                in_range(bits.read_ue("log2_max_pic_order_cnt_lsb_minus4"), 12)?;
            }
            1 => {
                bits.read_bit("delta_pic_order_always_zero_flag").map_err(cut)?;
                bits.read_se("offset_for_non_ref_pic").map_err(cut)?;
                bits.read_se("offset_for_top_to_bottom_field").map_err(cut)?;
                for _ in 0..in_range(bits.read_ue("num_ref_frames_in_pic_order_cnt_cycle"), POC_CYCLE_MAX)? {
                    bits.read_se("offset_for_ref_frame").map_err(cut)?;
                }
            }
            _ => {}
        }
        let ref_frames_max = bits.read_ue("max_num_ref_frames").map_err(cut)?;
        bits.read_bit("gaps_in_frame_num_value_allowed_flag").map_err(cut)?;
        let width_in_mbs = 1 + in_range(bits.read_ue("pic_width_in_mbs_minus1"), DIMENSION_MAX / 16 - 1)?;
        let height_in_units = 1 + in_range(bits.read_ue("pic_height_in_map_units_minus1"), DIMENSION_MAX / 16 - 1)?;
        let interlaced = !bits.read_bit("frame_mbs_only_flag").map_err(cut)?;
        if interlaced {
            bits.read_bit("mb_adaptive_frame_field_flag").map_err(cut)?;
        }
        bits.read_bit("direct_8x8_inference_flag").map_err(cut)?;
        let mut crop = [0; 4];
        if bits.read_bit("frame_cropping_flag").map_err(cut)? {
            for edge in &mut crop {
                *edge = in_range(bits.read_ue("frame_crop_offset"), DIMENSION_MAX)?;
            }
        }
        // A map unit is one row of macroblocks, or two where there are fields; the cropping counts in samples of chroma,
        // and in such pairs of lines (equations 7-18 to 7-22).
        let fields = if interlaced { 2 } else { 1 };
        let (step_x, step_y) = match chroma.chroma_array_type() {
            1 => (2, 2 * fields),
            2 => (2, fields),
            _ => (1, fields),
        };
        let [left, right, top, bottom] = crop;
        let cropped = |whole: u32, edges: u32| match whole.checked_sub(edges) {
            Some(rest @ 1..=DIMENSION_MAX) => Ok(rest),
            _ => Err(DropReason::Malformed),
        };
        Ok(Sps {
            profile,
            constraints,
            level,
            id,
            chroma_format,
            bit_depth_luma: 8 + chroma.bit_depth_luma_minus8,
            bit_depth_chroma: 8 + chroma.bit_depth_chroma_minus8,
            order_count_type,
            ref_frames_max,
            interlaced,
            width: cropped(16 * width_in_mbs, step_x * (left + right))?,
            height: cropped(16 * fields * height_in_units, step_y * (top + bottom))?,
        })
    }
}

/// The reader fails for one reason that matters: there were no more bits. (A code beyond 32 bits is the other, and is
/// refused just the same.)
fn cut<E>(_: E) -> DropReason {
    DropReason::TooShort
}

fn in_range<E>(value: Result<u32, E>, max: u32) -> Result<u32, DropReason> {
    match value.map_err(cut)? {
        value if value <= max => Ok(value),
        _ => Err(DropReason::Malformed),
    }
}

#[cfg(test)]
pub(super) mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Written by x264 (ffmpeg 5.1, preset ultrafast): 640x360 baseline, 1920x1080 baseline (cropped), 1920x1080 high
    /// 4:2:2, 720x576 main with fields, 320x180 high with B-frames (cropped).
    pub const BASELINE: [u8; 25] = [
        0x67, 0x42, 0xc0, 0x16, 0xda, 0x02, 0x80, 0xbf, 0xe5, 0xc0, 0x44, 0, 0, 3, 0, 4, 0, 0, 3, 0, 0x78, 0x3c, 0x58,
        0xba, 0x80,
    ];
    const CROPPED: [u8; 25] = [
        0x67, 0x42, 0xc0, 0x28, 0xda, 0x01, 0xe0, 0x08, 0x9f, 0x97, 0x01, 0x10, 0, 0, 3, 0, 0x10, 0, 0, 3, 1, 0xe0,
        0xf1, 0x83, 0x2a,
    ];
    const HIGH_422: [u8; 26] = [
        0x67, 0x7a, 0x00, 0x28, 0xbc, 0xb4, 0x03, 0xc0, 0x11, 0x3f, 0x13, 0x80, 0x88, 0, 0, 3, 0, 8, 0, 0, 3, 0, 0xf0,
        0x78, 0xc1, 0x95,
    ];
    const FIELDS: [u8; 24] = [
        0x67, 0x4d, 0x40, 0x1e, 0xf4, 0x05, 0xa1, 0x26, 0xc0, 0x44, 0, 0, 3, 0, 4, 0, 0, 3, 0, 0xc8, 0x7c, 0x50, 0xaa,
        0x80,
    ];
    pub const HIGH: [u8; 26] = [
        0x67, 0x64, 0x00, 0x0c, 0xac, 0xd1, 0x01, 0x41, 0x9f, 0x9f, 0x01, 0x10, 0, 0, 3, 0, 0x10, 0, 0, 3, 3, 0x20,
        0xf1, 0x42, 0x91, 0x20,
    ];
    const ALL: [&[u8]; 5] = [&BASELINE, &CROPPED, &HIGH_422, &FIELDS, &HIGH];

    #[test]
    fn sizes_are_those_that_were_encoded() {
        let sizes = ALL.map(|nal| Sps::parse(nal).map(|sps| (sps.width, sps.height)));
        assert_eq!(sizes, [(640, 360), (1920, 1080), (1920, 1080), (720, 576), (320, 180)].map(Ok));
    }

    #[test]
    fn shape_and_profile_are_read() {
        let sps = ALL.map(|nal| Sps::parse(nal).unwrap());
        assert_eq!(sps.map(|s| s.profile), [66, 66, 122, 77, 100]);
        assert_eq!(sps.map(|s| s.level), [22, 40, 40, 30, 12]);
        assert_eq!(sps.map(|s| s.chroma_format), [1, 1, 2, 1, 1]);
        assert_eq!(sps.map(|s| s.interlaced), [false, false, false, true, false]);
        assert_eq!(sps.map(|s| s.order_count_type), [2, 2, 2, 0, 0]);
        assert_eq!(sps.map(|s| (s.bit_depth_luma, s.bit_depth_chroma)), [(8, 8); 5]);
    }

    #[test]
    fn a_level_too_low_for_its_picture_is_no_error() {
        let mut nal = CROPPED;
        nal[3] = 10;
        assert_eq!(Sps::parse(&nal).map(|sps| sps.height), Ok(1080));
    }

    #[test]
    fn another_kind_of_unit_is_malformed() {
        let mut nal = BASELINE;
        nal[0] = 0x68;
        assert_eq!(Sps::parse(&nal), Err(DropReason::Malformed));
        assert_eq!(Sps::parse(&[]), Err(DropReason::Malformed));
    }

    /// Baseline, order count type 2, one reference frame, the given size in macroblocks and the given cropping.
    fn written(width_in_mbs: u32, height_in_mbs: u32, crop: Option<[u32; 4]>) -> Vec<u8> {
        let mut bits = crate::codec::bits::BitWriter::default();
        let mut ue = |value: u32| {
            let len = 32 - (value + 1).leading_zeros();
            bits.bits(len - 1, 0);
            bits.bits(len, value + 1);
        };
        // id, log2_max_frame_num_minus4, type, reference frames, then one flag as the code "1" of zero.
        [0, 0, 2, 1].into_iter().for_each(&mut ue);
        ue(0);
        ue(width_in_mbs - 1);
        ue(height_in_mbs - 1);
        ue(0);
        ue(0);
        match crop {
            Some(edges) => {
                ue(0);
                edges.into_iter().for_each(&mut ue);
            }
            None => bits.bits(1, 0),
        }
        bits.bits(2, 0b01);
        let mut nal = vec![0x67, 66, 0, 30];
        for byte in bits.finish() {
            if byte <= 3 && nal.ends_with(&[0, 0]) {
                nal.push(3);
            }
            nal.push(byte);
        }
        nal
    }

    #[test]
    fn the_largest_picture_is_read_and_a_larger_one_refused() {
        let max = DIMENSION_MAX / 16;
        assert_eq!(Sps::parse(&written(max, max, None)).map(|s| s.width), Ok(DIMENSION_MAX));
        assert_eq!(Sps::parse(&written(max + 1, 1, None)), Err(DropReason::Malformed));
        assert_eq!(Sps::parse(&written(1, max + 1, None)), Err(DropReason::Malformed));
    }

    #[test]
    fn cropping_leaves_at_least_one_pixel() {
        let size = |crop| Sps::parse(&written(2, 2, Some(crop))).map(|s| (s.width, s.height));
        assert_eq!(size([1, 2, 3, 4]), Ok((26, 18)));
        assert_eq!(size([15, 0, 0, 15]), Ok((2, 2)));
        assert_eq!(size([8, 8, 0, 0]), Err(DropReason::Malformed));
        assert_eq!(size([0, 0, 16_384, 16_384]), Err(DropReason::Malformed));
        assert_eq!(size([16_385, 0, 0, 0]), Err(DropReason::Malformed));
    }

    #[test]
    fn a_unit_longer_than_the_limit_is_read_as_far_as_its_size() {
        let mut nal = BASELINE.to_vec();
        nal.resize(10 * SPS_LEN_MAX, 0xff);
        assert_eq!(Sps::parse(&nal).map(|sps| sps.width), Ok(640));
    }

    #[test]
    fn every_prefix_and_every_flipped_bit_is_read_without_panic() {
        for nal in ALL {
            for len in 0..nal.len() {
                let _ = Sps::parse(&nal[..len]);
            }
            assert_eq!(Sps::parse(&nal[..6]), Err(DropReason::TooShort));
            for bit in 0..8 * nal.len() {
                let mut flipped = nal.to_vec();
                flipped[bit / 8] ^= 1 << (bit % 8);
                let _ = Sps::parse(&flipped);
            }
        }
    }

    proptest! {
        #[test]
        fn reading_never_panics(profile in prop_oneof![Just(66u8), Just(100), Just(244), any::<u8>()],
                                body in prop::collection::vec(any::<u8>(), 0..80)) {
            let _ = Sps::parse(&[&[0x67, profile][..], &body].concat());
        }
    }
}
