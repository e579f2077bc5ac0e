//! Telling decoders that reference pictures were left out on purpose.

use super::{NalKind, nal};
use crate::codec::bits::BitReader;

/// Bytes of an SPS that are looked at; real ones have 10 to 60.
const SPS_BYTES_MAX: usize = 512;
/// Profiles whose SPS has fields of the High family (ITU-T H.264 §7.3.2.1.1).
const HIGH_PROFILES: [u32; 13] = [100, 110, 122, 244, 44, 83, 86, 118, 128, 138, 139, 134, 135];

/// The SPS with `gaps_in_frame_num_value_allowed_flag` set: a decoder then takes missing reference pictures as left out (ITU-T
/// H.264 §8.2.5.2), not as lost. `None` if it cannot be read, or has scaling lists, which no live encoder writes.
pub fn allow_gaps(sps: &[u8]) -> Option<Vec<u8>> {
    if nal::kind(sps) != NalKind::Sps || sps.len() > SPS_BYTES_MAX {
        return None;
    }
    let mut raw = [0; SPS_BYTES_MAX];
    let raw_len = nal::unescape(sps, &mut raw).len();
    let at = gaps_flag_at(raw.get(..raw_len)?)?;
    raw[at / 8] |= 0x80 >> (at % 8);
    let mut out = vec![*sps.first()?];
    let mut zeros = 0;
    for &byte in &raw[..raw_len] {
        if zeros == 2 && byte <= 3 {
            out.push(3);
            zeros = 0;
        }
        zeros = if byte == 0 { zeros + 1 } else { 0 };
        out.push(byte);
    }
    Some(out)
}

/// Where the flag lies, in bits.
fn gaps_flag_at(raw: &[u8]) -> Option<usize> {
    let mut bits = BitReader::new(raw);
    let profile = bits.bits(8)?;
    bits.bits(16)?;
    bits.ue()?;
    if HIGH_PROFILES.contains(&profile) {
        if bits.ue()? == 3 {
            bits.flag()?;
        }
        bits.ue()?;
        bits.ue()?;
        bits.flag()?;
        if bits.flag()? {
            return None;
        }
    }
    bits.ue()?;
    match bits.ue()? {
        0 => drop(bits.ue()?),
        1 => {
            bits.flag()?;
            bits.ue()?;
            bits.ue()?;
            for _ in 0..bits.ue()?.min(255) {
                bits.ue()?;
            }
        }
        _ => {}
    }
    bits.ue()?;
    let at = 8 * raw.len() - bits.left();
    bits.flag().map(|_| at)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::codec::h264::Sps;

    /// Of x264: High, 320 x 240, four reference pictures; and Constrained Baseline.
    const HIGH: &[u8] = &[
        0x67, 0x64, 0x00, 0x0d, 0xac, 0xd9, 0x41, 0x41, 0xfb, 0x01, 0x10, 0x00, 0x00, 0x03, 0x00, 0x10, 0x00, 0x00,
        0x03, 0x03, 0x20, 0xf1, 0x42, 0x99, 0x60,
    ];
    const BASELINE: &[u8] = &[0x67, 0x42, 0xc0, 0x1e, 0xd9, 0x00, 0xa0, 0x47, 0xfe, 0xc8];

    #[test]
    fn one_bit_changes_and_the_rest_is_as_it_was() {
        for sps in [HIGH, BASELINE] {
            let changed = allow_gaps(sps).unwrap();
            assert_eq!(changed.len(), sps.len());
            let bits: u32 = changed.iter().zip(sps).map(|(a, b)| (a ^ b).count_ones()).sum();
            assert_eq!(bits, 1);
            assert_eq!(allow_gaps(&changed), Some(changed.clone()));
            let (before, after) = (Sps::parse(sps).unwrap(), Sps::parse(&changed).unwrap());
            assert_eq!((before.width, before.height), (after.width, after.height));
        }
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..60)) {
            let _ = allow_gaps(&[&[0x67], &bytes[..]].concat());
        }
    }
}
