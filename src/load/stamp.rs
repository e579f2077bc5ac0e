//! When a picture was sent, written into the picture: a player of this tool, in this process or another of the same
//! machine, sees how long it took, whatever lies between. Decoders skip it.

use std::time::{SystemTime, UNIX_EPOCH};

/// Says whose the unregistered user data of an SEI unit is.
pub const UUID: [u8; 16] = *b"roomcast-sent-at";
/// Bytes of the time behind the UUID: seven bits each, the eighth set, so that nothing looks like a start code.
pub const STAMP_BYTES: usize = 8;
/// The unit stands before the slices, behind parameter sets and the bytes that say its own size; further inside a payload
/// nobody looks. It is in the first packet of a picture.
const SEARCH_BYTES: usize = 1_160;

/// Microseconds of Unix time, now.
pub fn unix_us() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_micros() as u64)
}

/// Where the time lies in `payload`, if it carries one.
pub fn position(payload: &[u8]) -> Option<usize> {
    let head = payload.get(..SEARCH_BYTES.min(payload.len()))?;
    let starts = |at: &usize| head.get(*at..).is_some_and(|rest| rest.starts_with(&UUID));
    let at = (0..head.len()).find(|at| head.get(*at) == UUID.first() && starts(at))? + UUID.len();
    (payload.len() >= at + STAMP_BYTES).then_some(at)
}

/// Writes `unix_us` where [`position`] says.
pub fn write(payload: &mut [u8], at: usize, unix_us: u64) {
    if let Some(space) = payload.get_mut(at..at + STAMP_BYTES) {
        for (index, byte) in space.iter_mut().enumerate() {
            *byte = 0x80 | (unix_us >> (7 * index)) as u8;
        }
    }
}

/// The time that `payload` carries; `None` if there is none, or none was written.
pub fn read(payload: &[u8]) -> Option<u64> {
    let at = position(payload)?;
    let bytes = payload.get(at..at + STAMP_BYTES)?;
    let us = bytes.iter().rev().fold(0, |us, byte| us << 7 | u64::from(byte & 0x7f));
    (us > 0 && bytes.iter().all(|byte| byte & 0x80 != 0)).then_some(us)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_comes_back_and_no_byte_of_it_is_small() {
        let mut payload = [&[9; 40][..], &UUID, &[0x80; STAMP_BYTES], &[7; 50]].concat();
        assert_eq!(read(&payload), None);
        for us in [1, 0x0000_0100_0000, unix_us(), (1 << 56) - 1] {
            let at = position(&payload).unwrap();
            write(&mut payload, at, us);
            assert_eq!(read(&payload), Some(us));
            assert!(payload[at..at + STAMP_BYTES].iter().all(|byte| *byte >= 0x80));
        }
    }

    #[test]
    fn what_is_cut_off_or_far_inside_is_not_there() {
        let payload = [&[9; 10][..], &UUID, &[0x81; STAMP_BYTES - 1]].concat();
        assert_eq!(read(&payload), None);
        let payload = [&[9; SEARCH_BYTES][..], &UUID, &[0x81; STAMP_BYTES]].concat();
        assert_eq!(read(&payload), None);
        assert_eq!(read(&[]), None);
    }
}
