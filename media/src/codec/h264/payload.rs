//! H.264 in RTP payloads, packetization-mode 1: single units, STAP-A, FU-A (RFC 6184 §5). Cutting and joining are pure
//! functions; which packets belong together is for the caller to know.

use super::nal::NalKind;
use crate::drop_reason::DropReason;

const STAP_A: u8 = 24;
const FU_A: u8 = 28;

/// Bytes that a fragment has before its data: FU indicator and FU header.
pub const FU_HEADER_LEN: usize = 2;

/// Bytes that an aggregation has before its first unit, and before each unit.
pub const STAP_HEADER_LEN: usize = 1;
pub const STAP_LENGTH_LEN: usize = 2;

/// What one payload holds of a NAL unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Piece<'a> {
    /// A unit, header byte included.
    Whole(&'a [u8]),
    /// A part of a unit. The unit is `header`, then the data of every part from `start` to `end` in sequence.
    Part {
        /// The unit's header byte, put together again from indicator and FU header.
        header: u8,
        start: bool,
        end: bool,
        data: &'a [u8],
    },
}

/// The pieces of one payload, in order.
///
/// # Errors
/// [`DropReason::TooShort`] for a payload or an aggregated unit that is cut off, [`DropReason::Malformed`] for a payload
/// type that packetization-mode 1 does not know, and for a fragment that both starts and ends. Nothing follows an error.
pub fn pieces(payload: &[u8]) -> Pieces<'_> {
    Pieces(match payload.split_first() {
        Some((header, units)) if header & 0x1f == STAP_A => Rest::Aggregated { units, any: false },
        _ => Rest::Alone(payload),
    })
}

/// Iterator of [`pieces`].
#[derive(Clone, Debug)]
pub struct Pieces<'a>(Rest<'a>);

#[derive(Clone, Debug)]
enum Rest<'a> {
    Alone(&'a [u8]),
    Aggregated { units: &'a [u8], any: bool },
    Nothing,
}

impl<'a> Iterator for Pieces<'a> {
    type Item = Result<Piece<'a>, DropReason>;

    fn next(&mut self) -> Option<Self::Item> {
        match std::mem::replace(&mut self.0, Rest::Nothing) {
            Rest::Nothing => None,
            Rest::Alone(payload) => Some(alone(payload)),
            Rest::Aggregated { units: [], any: true } => None,
            Rest::Aggregated { units, .. } => Some(first_aggregated(units).map(|(nal, rest)| {
                self.0 = Rest::Aggregated { units: rest, any: true };
                Piece::Whole(nal)
            })),
        }
    }
}

fn alone(payload: &[u8]) -> Result<Piece<'_>, DropReason> {
    let (&indicator, behind) = payload.split_first().ok_or(DropReason::TooShort)?;
    match indicator & 0x1f {
        1..=23 => Ok(Piece::Whole(payload)),
        FU_A => {
            let (&fu_header, data) = behind.split_first().ok_or(DropReason::TooShort)?;
            let (start, end) = (fu_header & 0x80 != 0, fu_header & 0x40 != 0);
            // "The Start bit and End bit MUST NOT both be set to one in the same FU header" (RFC 6184 §5.8).
            if start && end {
                return Err(DropReason::Malformed);
            }
            Ok(Piece::Part { header: indicator & 0xe0 | fu_header & 0x1f, start, end, data })
        }
        _ => Err(DropReason::Malformed),
    }
}

fn first_aggregated(units: &[u8]) -> Result<(&[u8], &[u8]), DropReason> {
    let (length, behind) = units.split_first_chunk().ok_or(DropReason::TooShort)?;
    let (nal, rest) = behind.split_at_checked(usize::from(u16::from_be_bytes(*length))).ok_or(DropReason::TooShort)?;
    match nal.first().map(|header| header & 0x1f) {
        Some(1..=23) => Ok((nal, rest)),
        _ => Err(DropReason::Malformed),
    }
}

/// One RTP payload to be sent: `prefix`, then `data`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fragment<'a> {
    fu: [u8; FU_HEADER_LEN],
    whole: bool,
    pub data: &'a [u8],
}

impl Fragment<'_> {
    /// FU indicator and FU header; nothing if `data` is a whole unit.
    pub fn prefix(&self) -> &[u8] {
        if self.whole { &[] } else { &self.fu }
    }

    /// Bytes of the payload.
    pub fn payload_len(&self) -> usize {
        self.prefix().len() + self.data.len()
    }
}

/// Cuts a unit into payloads of at most `payload_max` bytes: itself if it fits, else the fewest FU-A parts that hold it,
/// of equal size but for a last one that may be shorter, so that they leave as one run. No payload for an empty unit. A
/// `payload_max` below three bytes counts as three, for a fragment carries at least one byte.
pub fn fragment(nal: &[u8], payload_max: usize) -> Fragments<'_> {
    let payload_max = payload_max.max(FU_HEADER_LEN + 1);
    let header = nal.first().copied().unwrap_or(0);
    if nal.len() <= payload_max {
        return Fragments { header, rest: nal, size: nal.len(), whole: true, started: false };
    }
    let body = nal.get(1..).unwrap_or_default();
    // Two at least: the body is as long as a whole payload, and a part has less room than that.
    let count = body.len().div_ceil(payload_max - FU_HEADER_LEN);
    let size = body.len().div_ceil(count);
    Fragments { header, rest: body, size, whole: false, started: false }
}

/// Iterator of [`fragment`].
#[derive(Clone, Debug)]
pub struct Fragments<'a> {
    header: u8,
    rest: &'a [u8],
    size: usize,
    whole: bool,
    started: bool,
}

impl<'a> Iterator for Fragments<'a> {
    type Item = Fragment<'a>;

    fn next(&mut self) -> Option<Fragment<'a>> {
        if self.rest.is_empty() {
            return None;
        }
        let (data, rest) = self.rest.split_at(self.size.min(self.rest.len()));
        let start = !std::mem::replace(&mut self.started, true);
        self.rest = rest;
        let fu =
            [self.header & 0xe0 | FU_A, u8::from(start) << 7 | u8::from(rest.is_empty()) << 6 | self.header & 0x1f];
        Some(Fragment { fu, whole: self.whole, data })
    }
}

/// Bytes of the aggregation of units of these lengths.
pub fn stap_a_len(nal_lens: impl IntoIterator<Item = usize>) -> usize {
    nal_lens.into_iter().fold(STAP_HEADER_LEN, |sum, len| sum + STAP_LENGTH_LEN + len)
}

/// Appends the aggregation of `nals`. Its header takes the largest importance of them and any forbidden bit (RFC 6184
/// §5.3, §5.7). `false`, and nothing is appended, if there are none, or one is empty or longer than 65,535 bytes.
pub fn write_stap_a(out: &mut Vec<u8>, nals: &[&[u8]]) -> bool {
    if nals.is_empty() || nals.iter().any(|nal| nal.is_empty() || nal.len() > usize::from(u16::MAX)) {
        return false;
    }
    let headers = nals.iter().filter_map(|nal| nal.first());
    let forbidden = headers.clone().fold(0, |bit, header| bit | header & 0x80);
    let importance = headers.map(|header| header & 0x60).max().unwrap_or(0);
    out.push(forbidden | importance | STAP_A);
    for nal in nals {
        out.extend_from_slice(&(nal.len() as u16).to_be_bytes());
        out.extend_from_slice(nal);
    }
    true
}

/// Whether a unit is of the kinds that are worth an aggregation: parameter sets and the small units around them. Slices
/// travel alone, so that a lost packet costs no more than one.
pub fn aggregates(nal: &[u8]) -> bool {
    matches!(super::nal::kind(nal), NalKind::Sps | NalKind::Pps | NalKind::Sei | NalKind::AccessUnitDelimiter)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn all(payload: &[u8]) -> Result<Vec<Piece<'_>>, DropReason> {
        pieces(payload).collect()
    }

    /// The drawing of RFC 6184 §5.7.1 (figure 7): two units in one STAP-A.
    #[test]
    fn an_aggregation_comes_apart() {
        let payload = [0x78, 0, 3, 0x67, 1, 2, 0, 2, 0x68, 3];
        assert_eq!(all(&payload), Ok(vec![Piece::Whole(&[0x67, 1, 2]), Piece::Whole(&[0x68, 3])]));
        for len in 0..payload.len() {
            let read = all(&payload[..len]);
            assert_eq!(read.is_ok(), len == 6, "{len}: {read:?}");
        }
    }

    #[test]
    fn an_aggregation_of_nothing_of_empty_units_or_of_aggregations_is_refused() {
        assert_eq!(all(&[0x78]), Err(DropReason::TooShort));
        assert_eq!(all(&[0x78, 0, 0]), Err(DropReason::Malformed));
        assert_eq!(all(&[0x78, 0, 1, 0x78]), Err(DropReason::Malformed));
        assert_eq!(all(&[0x78, 0, 2, 0x7c, 0x85]), Err(DropReason::Malformed));
    }

    /// RFC 6184 §5.8 (figures 14, 15): importance from the indicator, type from the FU header.
    #[test]
    fn fragments_carry_the_header_in_two_halves() {
        let part = |start, end, data| Ok(vec![Piece::Part { header: 0x65, start, end, data }]);
        assert_eq!(all(&[0x7c, 0x85, 1, 2]), part(true, false, &[1, 2][..]));
        assert_eq!(all(&[0x7c, 0x05, 3]), part(false, false, &[3][..]));
        assert_eq!(all(&[0x7c, 0x45, 4]), part(false, true, &[4][..]));
        assert_eq!(all(&[0x7c, 0xc5, 4]), Err(DropReason::Malformed), "both start and end");
        assert_eq!(all(&[0x7c]), Err(DropReason::TooShort));
    }

    #[test]
    fn payload_types_of_other_modes_are_refused() {
        for kind in [0, 25, 26, 27, 29, 30, 31] {
            assert_eq!(all(&[0x60 | kind, 0, 1, 0x65]), Err(DropReason::Malformed), "{kind}");
        }
        assert_eq!(all(&[]), Err(DropReason::TooShort));
    }

    #[test]
    fn a_unit_that_fits_stays_whole_and_one_byte_more_makes_two_parts() {
        let nal = [0x65; 101];
        let whole: Vec<_> = fragment(&nal[..100], 100).collect();
        assert_eq!((whole.len(), whole[0].prefix(), whole[0].data), (1, &[][..], &nal[..100]));
        let parts: Vec<_> = fragment(&nal, 100).collect();
        assert_eq!(parts.iter().map(Fragment::payload_len).collect::<Vec<_>>(), [52, 52]);
        assert_eq!((parts[0].prefix(), parts[1].prefix()), (&[0x7c, 0x85][..], &[0x7c, 0x45][..]));
        assert_eq!(fragment(&[], 100).count(), 0);
    }

    #[test]
    fn an_aggregation_takes_the_largest_importance() {
        let mut out = Vec::new();
        assert!(write_stap_a(&mut out, &[&[0x06, 5], &[0x67, 1], &[0x28]]));
        assert_eq!(out[0], 0x78);
        assert_eq!(out.len(), stap_a_len([2, 2, 1]));
        let before = out.clone();
        assert!(!write_stap_a(&mut out, &[]) && !write_stap_a(&mut out, &[&[0x67], &[]]));
        assert!(write_stap_a(&mut Vec::new(), &[&[0x65; 65_535]]));
        assert!(!write_stap_a(&mut out, &[&[0x65; 65_536]]));
        assert_eq!(out, before);
    }

    proptest! {
        #[test]
        fn reading_never_panics(payload in prop::collection::vec(any::<u8>(), 0..64)) {
            let _ = pieces(&payload).count();
        }

        #[test]
        fn parts_join_to_the_unit_and_only_the_last_is_shorter(body in prop::collection::vec(any::<u8>(), 0..3_000),
                                                               header in 0u8..128, payload_max in 3usize..1_300) {
            let header = header & 0x60 | 5;
            let mut nal = vec![header];
            nal.extend_from_slice(&body);
            let parts: Vec<_> = fragment(&nal, payload_max).collect();
            let lens: Vec<_> = parts.iter().map(Fragment::payload_len).collect();
            prop_assert!(lens.iter().all(|len| *len <= payload_max));
            prop_assert!(lens[..lens.len() - 1].iter().all(|len| *len == lens[0]) && lens[lens.len() - 1] <= lens[0]);
            let mut joined = Vec::new();
            for (i, part) in parts.iter().enumerate() {
                let payload = [part.prefix(), part.data].concat();
                match all(&payload).unwrap().as_slice() {
                    [Piece::Whole(whole)] => joined.extend_from_slice(whole),
                    [Piece::Part { header: found, start, end, data }] => {
                        prop_assert_eq!((*found, *start, *end), (header, i == 0, i == parts.len() - 1));
                        if *start {
                            joined.push(*found);
                        }
                        joined.extend_from_slice(data);
                    }
                    other => prop_assert!(false, "{:?}", other),
                }
            }
            prop_assert_eq!(joined, nal);
        }

        #[test]
        fn aggregated_units_read_back(units in prop::collection::vec((1u8..24, prop::collection::vec(any::<u8>(), 0..20)), 1..6)) {
            let units: Vec<Vec<u8>> = units.into_iter().map(|(header, mut body)| { body.insert(0, header); body }).collect();
            let nals: Vec<&[u8]> = units.iter().map(Vec::as_slice).collect();
            let mut out = Vec::new();
            prop_assert!(write_stap_a(&mut out, &nals));
            let read: Vec<_> = nals.iter().map(|nal| Piece::Whole(nal)).collect();
            prop_assert_eq!(all(&out), Ok(read));
        }
    }
}
