//! The payload of a retransmission: the original sequence number, then the original payload (RFC 4588 §4).

use crate::drop_reason::DropReason;

/// Length of the original sequence number that goes before the payload.
pub const OSN_LEN: usize = 2;

/// Splits an RTX payload into the original sequence number and the original payload.
///
/// # Errors
/// [`DropReason::Empty`] if there is no payload at all, or none behind the number: a sender that probes for bandwidth
/// sends such packets, padding only. [`DropReason::TooShort`] for half a number.
pub fn split(payload: &[u8]) -> Result<(u16, &[u8]), DropReason> {
    match payload {
        [] | [_, _] => Err(DropReason::Empty),
        [_] => Err(DropReason::TooShort),
        [hi, lo, original @ ..] => Ok((u16::from_be_bytes([*hi, *lo]), original)),
    }
}

/// The bytes that go before the original payload.
pub fn osn(original_seq: u16) -> [u8; OSN_LEN] {
    original_seq.to_be_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_number_and_the_payload_come_apart_as_they_were_joined() {
        let mut payload = osn(0xfffe).to_vec();
        payload.extend_from_slice(b"frame");
        assert_eq!(split(&payload), Ok((0xfffe, &b"frame"[..])));
    }

    #[test]
    fn a_probe_is_empty_and_half_a_number_is_too_short() {
        assert_eq!(split(&[]), Err(DropReason::Empty));
        assert_eq!(split(&[1]), Err(DropReason::TooShort));
        assert_eq!(split(&[1, 2]), Err(DropReason::Empty));
        assert_eq!(split(&[1, 2, 3]), Ok((0x0102, &[3][..])));
    }
}
