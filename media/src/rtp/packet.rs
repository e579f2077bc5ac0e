//! The RTP header: read once into a small `Copy` summary, written once for each subscriber (RFC 3550 §5.1, RFC 8285 §4).

use crate::drop_reason::DropReason;

/// Length of the header without CSRCs and extension, and so of the shortest RTP packet.
pub const FIXED_HEADER_LEN: usize = 12;

/// `defined by profile` of the one-byte extension form (RFC 8285 §4.2).
pub const PROFILE_ONE_BYTE: u16 = 0xbede;

/// Upper twelve bits of `defined by profile` of the two-byte form (RFC 8285 §4.3); the lower four are `appbits`.
pub const PROFILE_TWO_BYTE: u16 = 0x1000;

/// The largest id and the longest element of the one-byte form.
const ONE_BYTE_ID_MAX: u8 = 14;
const ONE_BYTE_LEN_MAX: usize = 16;

const VERSION: u8 = 2;
const PADDING_BIT: u8 = 0x20;
const EXTENSION_BIT: u8 = 0x10;

/// Where the header extension lies in the packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExtRange {
    /// `defined by profile`: tells the one-byte form from the two-byte form.
    pub profile: u16,
    /// First byte behind the extension's own four-byte header.
    pub offset: u16,
    /// Bytes of elements and their padding; a multiple of four.
    pub len: u16,
}

/// What one RTP header says. Offsets count from the start of the packet it was read from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    pub marker: bool,
    pub payload_type: u8,
    pub seq: u16,
    pub timestamp: u32,
    pub ssrc: u32,
    /// First byte behind the CSRCs and the extension.
    pub payload_offset: u16,
    /// Bytes of payload, without padding. Zero in a packet that only probes or pads.
    pub payload_len: u16,
    /// Bytes of padding behind the payload, the count byte included.
    pub padding_len: u8,
    pub ext: Option<ExtRange>,
}

impl Header {
    /// Reads the header of a plaintext packet.
    ///
    /// # Errors
    /// [`DropReason::TooShort`] if the packet ends before its header does, [`DropReason::Malformed`] for a version other
    /// than 2, a padding count of zero or beyond the payload, or more than 65,535 bytes.
    pub fn parse(packet: &[u8]) -> Result<Header, DropReason> {
        let mut header = Header::parse_protected(packet)?;
        if packet[0] & PADDING_BIT != 0 {
            // "The last octet of the padding contains a count of how many padding octets should be ignored, including
            // itself" (RFC 3550 §5.1): zero is impossible, and the count must not reach into the header.
            let padding = if header.payload_len == 0 { None } else { packet.last().copied() };
            match padding {
                Some(count) if count > 0 && u16::from(count) <= header.payload_len => {
                    header.padding_len = count;
                    header.payload_len -= u16::from(count);
                }
                _ => return Err(DropReason::Malformed),
            }
        }
        Ok(header)
    }

    /// Reads the header of an SRTP packet, whose header is in the clear and whose padding count is not: `payload_len`
    /// is everything behind the header, authentication tag included.
    ///
    /// # Errors
    /// As [`parse`](Self::parse), except for the padding.
    pub fn parse_protected(packet: &[u8]) -> Result<Header, DropReason> {
        let fixed: &[u8; FIXED_HEADER_LEN] = packet.first_chunk().ok_or(DropReason::TooShort)?;
        let len = u16::try_from(packet.len()).map_err(|_| DropReason::Malformed)?;
        if fixed[0] >> 6 != VERSION {
            return Err(DropReason::Malformed);
        }
        let csrc_count = u16::from(fixed[0] & 0x0f);
        let mut offset = FIXED_HEADER_LEN as u16 + 4 * csrc_count;
        let mut ext = None;
        if fixed[0] & EXTENSION_BIT != 0 {
            let [profile_hi, profile_lo, words_hi, words_lo] = packet
                .get(usize::from(offset)..)
                .and_then(|rest| rest.first_chunk::<4>())
                .copied()
                .ok_or(DropReason::TooShort)?;
            offset += 4;
            let ext_len = u16::from_be_bytes([words_hi, words_lo]).checked_mul(4).ok_or(DropReason::TooShort)?;
            ext = Some(ExtRange { profile: u16::from_be_bytes([profile_hi, profile_lo]), offset, len: ext_len });
            offset = offset.checked_add(ext_len).ok_or(DropReason::TooShort)?;
        }
        let payload_len = len.checked_sub(offset).ok_or(DropReason::TooShort)?;
        Ok(Header {
            marker: fixed[1] & 0x80 != 0,
            payload_type: fixed[1] & 0x7f,
            seq: u16::from_be_bytes([fixed[2], fixed[3]]),
            timestamp: u32::from_be_bytes([fixed[4], fixed[5], fixed[6], fixed[7]]),
            ssrc: u32::from_be_bytes([fixed[8], fixed[9], fixed[10], fixed[11]]),
            payload_offset: offset,
            payload_len,
            padding_len: 0,
            ext,
        })
    }

    /// The payload without padding. Empty if `packet` is not the one that the header was read from.
    pub fn payload<'a>(&self, packet: &'a [u8]) -> &'a [u8] {
        let start = usize::from(self.payload_offset);
        packet.get(start..start + usize::from(self.payload_len)).unwrap_or_default()
    }
}

/// Whether a datagram of the RTP range of RFC 7983 is RTCP: its second byte lies in 192..=223 (RFC 5761 §4). Payload
/// types 35..=63 are RTP, with or without marker.
pub fn is_rtcp(datagram: &[u8]) -> bool {
    matches!(datagram, [_, 192..=223, ..])
}

/// Marks a written header as that of a packet with padding; the padding and its count are the caller's to append.
pub fn set_padding_bit(header: &mut [u8]) {
    if let Some(first) = header.first_mut() {
        *first |= PADDING_BIT;
    }
}

/// Marks a written header as that of a packet with an extension, which is the caller's to append.
pub fn set_extension_bit(header: &mut [u8]) {
    if let Some(first) = header.first_mut() {
        *first |= EXTENSION_BIT;
    }
}

/// A header to be written. There are never CSRCs: the server forwards, it does not mix.
#[derive(Clone, Copy, Debug, Default)]
pub struct NewHeader<'a> {
    pub marker: bool,
    /// 0..=127; the top bit is ignored.
    pub payload_type: u8,
    pub seq: u16,
    pub timestamp: u32,
    pub ssrc: u32,
    /// Elements of the extension: id 1..=255 and at most 255 bytes. None: no extension is written.
    pub ext: &'a [(u8, &'a [u8])],
}

impl NewHeader<'_> {
    /// Writes the header to the start of `out` and returns its length: in the one-byte form if every element fits it,
    /// else in the two-byte form. `None` if `out` is too small or an element fits neither form.
    pub fn write(&self, out: &mut [u8]) -> Option<usize> {
        let fixed: &mut [u8; FIXED_HEADER_LEN] = out.first_chunk_mut()?;
        fixed[0] = VERSION << 6;
        fixed[1] = u8::from(self.marker) << 7 | self.payload_type & 0x7f;
        fixed[2..4].copy_from_slice(&self.seq.to_be_bytes());
        fixed[4..8].copy_from_slice(&self.timestamp.to_be_bytes());
        fixed[8..12].copy_from_slice(&self.ssrc.to_be_bytes());
        if self.ext.is_empty() {
            return Some(FIXED_HEADER_LEN);
        }
        fixed[0] |= EXTENSION_BIT;
        let one_byte = self
            .ext
            .iter()
            .all(|(id, data)| (1..=ONE_BYTE_ID_MAX).contains(id) && (1..=ONE_BYTE_LEN_MAX).contains(&data.len()));
        let start = FIXED_HEADER_LEN + 4;
        let mut at = start;
        for &(id, data) in self.ext {
            if one_byte {
                *out.get_mut(at)? = id << 4 | (data.len() - 1) as u8;
                at += 1;
            } else {
                if id == 0 {
                    return None;
                }
                out.get_mut(at..at + 2)?.copy_from_slice(&[id, u8::try_from(data.len()).ok()?]);
                at += 2;
            }
            out.get_mut(at..at + data.len())?.copy_from_slice(data);
            at += data.len();
        }
        let end = at.next_multiple_of(4);
        out.get_mut(at..end)?.fill(0);
        let words = u16::try_from((end - start) / 4).ok()?;
        let profile = if one_byte { PROFILE_ONE_BYTE } else { PROFILE_TWO_BYTE };
        out.get_mut(FIXED_HEADER_LEN..FIXED_HEADER_LEN + 2)?.copy_from_slice(&profile.to_be_bytes());
        out.get_mut(FIXED_HEADER_LEN + 2..start)?.copy_from_slice(&words.to_be_bytes());
        Some(end)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// V=2, P, X, two CSRCs, marker, payload type 45 (AV1 in Chromium), one-byte extension with id 3, five bytes of
    /// payload, three of padding. Put together by hand after the drawings of RFC 3550 §5.1 and RFC 8285 §4.2.
    const FULL: [u8; 36] = [
        0xb2, 0xad, 0x12, 0x34, 0xde, 0xad, 0xbe, 0xef, 0xca, 0xfe, 0xba, 0xbe, // fixed part
        0, 0, 0, 1, 0, 0, 0, 2, // CSRCs
        0xbe, 0xde, 0, 1, 0x31, 0xab, 0xcd, 0, // extension
        1, 2, 3, 4, 5, 0, 0, 3, // payload and padding
    ];

    #[test]
    fn every_field_of_a_full_header_is_read() {
        let header = Header::parse(&FULL).unwrap();
        assert_eq!(
            header,
            Header {
                marker: true,
                payload_type: 45,
                seq: 0x1234,
                timestamp: 0xdead_beef,
                ssrc: 0xcafe_babe,
                payload_offset: 28,
                payload_len: 5,
                padding_len: 3,
                ext: Some(ExtRange { profile: PROFILE_ONE_BYTE, offset: 24, len: 4 }),
            }
        );
        assert_eq!(header.payload(&FULL), [1, 2, 3, 4, 5]);
    }

    #[test]
    fn a_prefix_shorter_than_its_header_is_too_short() {
        for len in 0..28 {
            assert_eq!(Header::parse(&FULL[..len]), Err(DropReason::TooShort), "{len}");
        }
        for len in 28..FULL.len() {
            let _ = Header::parse(&FULL[..len]);
        }
    }

    #[test]
    fn padding_may_fill_the_payload_but_not_exceed_it() {
        let mut packet = FULL;
        packet[35] = 8;
        let header = Header::parse(&packet).unwrap();
        assert_eq!((header.payload_len, header.padding_len), (0, 8));
        for count in [0, 9, 255] {
            packet[35] = count;
            assert_eq!(Header::parse(&packet), Err(DropReason::Malformed), "{count}");
        }
        assert_eq!(Header::parse(&FULL[..28]), Err(DropReason::Malformed), "P set, nothing behind the header");
    }

    #[test]
    fn a_protected_packet_is_read_without_looking_at_its_padding() {
        let mut packet = FULL;
        packet[35] = 0;
        assert_eq!(Header::parse_protected(&packet).unwrap().payload_len, 8);
    }

    #[test]
    fn only_version_two_is_rtp() {
        for version in [0u8, 1, 3] {
            let mut packet = FULL;
            packet[0] = version << 6 | packet[0] & 0x3f;
            assert_eq!(Header::parse(&packet), Err(DropReason::Malformed));
        }
    }

    #[test]
    fn a_packet_over_the_largest_datagram_is_refused() {
        let mut packet = vec![0u8; 65_535];
        packet[0] = 0x80;
        assert!(Header::parse(&packet).is_ok());
        packet.push(0);
        assert_eq!(Header::parse(&packet), Err(DropReason::Malformed));
    }

    #[test]
    fn short_packets_of_every_first_byte_are_read_without_panic() {
        for first in 0..=255 {
            for filler in [0, 1, 0x7f, 0xff] {
                let mut packet = [filler; 40];
                packet[0] = first;
                for len in 0..=packet.len() {
                    if let Ok(header) = Header::parse(&packet[..len]) {
                        assert!(header.payload(&packet[..len]).len() <= len);
                        super::super::ext::elements(&packet[..len], &header).for_each(drop);
                    }
                }
            }
        }
    }

    #[test]
    fn low_payload_types_are_rtp_and_report_types_are_rtcp() {
        for pt in 0..64u8 {
            assert!(!is_rtcp(&[0x80, pt]) && !is_rtcp(&[0x80, pt | 0x80]), "{pt}");
        }
        for pt in 96..128u8 {
            assert!(!is_rtcp(&[0x80, pt]) && !is_rtcp(&[0x80, pt | 0x80]), "{pt}");
        }
        for rtcp in 192..=223 {
            assert!(is_rtcp(&[0x80, rtcp]));
        }
        assert!(!is_rtcp(&[0x80]) && !is_rtcp(&[]));
    }

    #[test]
    fn a_long_element_or_a_large_id_takes_the_two_byte_form() {
        let mut out = [0u8; 64];
        let long = [7u8; 17];
        let cases: [&[(u8, &[u8])]; 3] = [&[(1, &long)], &[(15, &[1])], &[(1, &[])]];
        for ext in cases {
            let len = NewHeader { ext, ..Default::default() }.write(&mut out).unwrap();
            assert_eq!(Header::parse(&out[..len]).unwrap().ext.unwrap().profile, PROFILE_TWO_BYTE);
        }
    }

    #[test]
    fn what_fits_neither_form_is_not_written() {
        let mut out = [0u8; 600];
        let long = [0u8; 256];
        assert_eq!(NewHeader { ext: &[(0, &[1])], ..Default::default() }.write(&mut out), None);
        assert_eq!(NewHeader { ext: &[(1, &long)], ..Default::default() }.write(&mut out), None);
        assert!(NewHeader { ext: &[(1, &long[..255])], ..Default::default() }.write(&mut out).is_some());
        for len in 0..FIXED_HEADER_LEN + 8 {
            assert_eq!(NewHeader { ext: &[(1, &[1, 2])], ..Default::default() }.write(&mut out[..len]), None, "{len}");
        }
    }

    proptest! {
        #[test]
        fn parse_never_panics_and_its_ranges_lie_in_the_packet(bytes in prop::collection::vec(any::<u8>(), 0..96)) {
            if let Ok(header) = Header::parse(&bytes) {
                let len = usize::from(header.payload_offset) + usize::from(header.payload_len)
                    + usize::from(header.padding_len);
                prop_assert_eq!(len, bytes.len());
            }
            let _ = Header::parse_protected(&bytes);
            let _ = is_rtcp(&bytes);
        }

        #[test]
        fn a_written_header_reads_back(marker: bool, pt in 0u8..128, seq: u16, timestamp: u32, ssrc: u32,
                                       ext in prop::collection::vec((1u8..=255, prop::collection::vec(any::<u8>(), 0..40)), 0..5)) {
            let ext: Vec<(u8, &[u8])> = ext.iter().map(|(id, data)| (*id, data.as_slice())).collect();
            let mut out = [0u8; 512];
            let len = NewHeader { marker, payload_type: pt, seq, timestamp, ssrc, ext: &ext }.write(&mut out).unwrap();
            let header = Header::parse(&out[..len]).unwrap();
            prop_assert_eq!((header.marker, header.payload_type, header.seq), (marker, pt, seq));
            prop_assert_eq!((header.timestamp, header.ssrc, usize::from(header.payload_offset)), (timestamp, ssrc, len));
            let read: Vec<(u8, &[u8])> = super::super::ext::elements(&out[..len], &header).collect();
            prop_assert_eq!(read, ext);
        }
    }
}
