//! H.265 in RTP payloads: single units, aggregations and fragments (RFC 7798 §4.4), without decoding order numbers, which only
//! come where both sides agreed on them.

use super::{AGGREGATION, FRAGMENT, kind};
use crate::drop_reason::DropReason;

/// Bytes of a unit's header.
const HEADER_LEN: usize = 2;

/// What one payload holds of a NAL unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Piece<'a> {
    /// A unit, header included.
    Whole(&'a [u8]),
    /// A part of a unit. The unit is `header`, then the data of every part from `start` to `end` in sequence.
    Part {
        /// The unit's header, put together again from those of payload and fragment.
        header: [u8; HEADER_LEN],
        start: bool,
        end: bool,
        data: &'a [u8],
    },
}

/// The pieces of one payload, in order.
///
/// # Errors
/// [`DropReason::TooShort`] for a payload or an aggregated unit that is cut off, [`DropReason::Malformed`] for other kinds of
/// payload, and for a fragment that both starts and ends. Nothing of such a payload is of use.
pub fn pieces(payload: &[u8]) -> Result<Vec<Piece<'_>>, DropReason> {
    let (&[first, second], behind) = payload.split_first_chunk::<HEADER_LEN>().ok_or(DropReason::TooShort)?;
    match kind(payload) {
        AGGREGATION => aggregated(behind),
        FRAGMENT => {
            let (&fu_header, data) = behind.split_first().ok_or(DropReason::TooShort)?;
            let (start, end) = (fu_header & 0x80 != 0, fu_header & 0x40 != 0);
            // "The Start bit and End bit MUST NOT both be set to 1 in the same FU header" (RFC 7798 §4.4.3).
            if start && end {
                return Err(DropReason::Malformed);
            }
            let header = [first & 0x81 | (fu_header & 0x3f) << 1, second];
            Ok(vec![Piece::Part { header, start, end, data }])
        }
        kind if kind < AGGREGATION => Ok(vec![Piece::Whole(payload)]),
        _ => Err(DropReason::Malformed),
    }
}

/// The units of an aggregation, each behind a length of two bytes.
fn aggregated(mut units: &[u8]) -> Result<Vec<Piece<'_>>, DropReason> {
    let mut pieces = Vec::new();
    while !units.is_empty() || pieces.is_empty() {
        let (length, behind) = units.split_first_chunk().ok_or(DropReason::TooShort)?;
        let length = usize::from(u16::from_be_bytes(*length));
        let (unit, rest) = behind.split_at_checked(length).ok_or(DropReason::TooShort)?;
        if unit.len() < HEADER_LEN || kind(unit) >= AGGREGATION {
            return Err(DropReason::Malformed);
        }
        pieces.push(Piece::Whole(unit));
        units = rest;
    }
    Ok(pieces)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn units_come_alone_together_and_in_parts() {
        let (vps, sps) = ([64, 1, 7], [66, 1, 8, 9]);
        assert_eq!(pieces(&vps), Ok(vec![Piece::Whole(&vps)]));
        let together = [&[96, 1, 0, 3][..], &vps, &[0, 4], &sps].concat();
        assert_eq!(pieces(&together), Ok(vec![Piece::Whole(&vps), Piece::Whole(&sps)]));
        // Of an IDR picture of layer 33, temporal layer 2.
        let part = |header, start, end, data| Ok(vec![Piece::Part { header, start, end, data }]);
        assert_eq!(pieces(&[99, 0x0a, 0x80 | 19, 5]), part([39, 0x0a], true, false, &[5]));
        assert_eq!(pieces(&[99, 0x0a, 19, 6]), part([39, 0x0a], false, false, &[6]));
        assert_eq!(pieces(&[99, 0x0a, 0x40 | 19]), part([39, 0x0a], false, true, &[]));
    }

    #[test]
    fn what_is_cut_off_or_of_another_kind_is_refused() {
        for short in [&[][..], &[2], &[98, 1], &[96, 1], &[96, 1, 0], &[96, 1, 0, 3, 64, 1], &[96, 1, 0, 2, 64, 1, 0]] {
            assert_eq!(pieces(short), Err(DropReason::TooShort), "{short:?}");
        }
        // Both start and end; an aggregation of aggregations, of a unit without a header; a payload content information packet.
        for bad in [&[98, 1, 0xd3, 1][..], &[96, 1, 0, 2, 96, 1], &[96, 1, 0, 1, 64], &[96, 1, 0, 0], &[100, 1, 0]] {
            assert_eq!(pieces(bad), Err(DropReason::Malformed), "{bad:?}");
        }
    }

    proptest! {
        #[test]
        fn random_payloads_never_panic(payload in prop::collection::vec(any::<u8>(), 0..80)) {
            let _ = pieces(&payload);
        }
    }
}
