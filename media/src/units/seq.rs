//! Counters that wrap on the wire and do not in here.

/// Follows a 16-bit counter (RTP sequence numbers, RFC 3550 §A.1) through its wraps.
#[derive(Clone, Copy, Debug, Default)]
pub struct Unwrap16 {
    last: Option<u64>,
}

impl Unwrap16 {
    /// The extended value nearest to the last one given. Starts one wrap above zero, so that packets just before the
    /// first one still have a place. Moves forward only: an older value is answered but not remembered.
    pub fn extend(&mut self, wire: u16) -> u64 {
        let extended = self.peek(wire);
        if self.last.is_none_or(|last| extended > last) {
            self.last = Some(extended);
        }
        extended
    }

    /// What [`extend`](Self::extend) would answer, without moving.
    pub fn peek(&self, wire: u16) -> u64 {
        match self.last {
            None => 0x1_0000 + u64::from(wire),
            Some(last) => {
                let delta = wire.wrapping_sub(last as u16) as i16;
                last.saturating_add_signed(i64::from(delta))
            }
        }
    }

    /// The highest extended value seen.
    pub fn highest(&self) -> Option<u64> {
        self.last
    }
}

/// Follows a 32-bit counter (RTP timestamps, RTMP milliseconds) through its wraps.
#[derive(Clone, Copy, Debug, Default)]
pub struct Unwrap32 {
    last: Option<u64>,
}

impl Unwrap32 {
    /// The extended value nearest to the last one given; follows it backwards too, as timestamps of reordered packets go.
    pub fn extend(&mut self, wire: u32) -> u64 {
        let extended = self.peek(wire);
        self.last = Some(extended);
        extended
    }

    /// What [`extend`](Self::extend) would answer, without moving.
    pub fn peek(&self, wire: u32) -> u64 {
        match self.last {
            None => 0x1_0000_0000 + u64::from(wire),
            Some(last) => {
                let delta = wire.wrapping_sub(last as u32) as i32;
                last.saturating_add_signed(i64::from(delta))
            }
        }
    }
}

/// Whether `a` is newer than `b` on the 16-bit circle (RFC 1982).
pub fn newer16(a: u16, b: u16) -> bool {
    a != b && a.wrapping_sub(b) < 0x8000
}

/// Whether `a` is newer than `b` on the 32-bit circle.
pub fn newer32(a: u32, b: u32) -> bool {
    a != b && a.wrapping_sub(b) < 0x8000_0000
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn extended_numbers_pass_the_wrap_in_both_directions() {
        let mut seq = Unwrap16::default();
        let a = seq.extend(65_534);
        assert_eq!(seq.extend(1), a + 3);
        assert_eq!(seq.extend(65_535), a + 1);
        assert_eq!(seq.highest(), Some(a + 3));
    }

    #[test]
    fn a_packet_before_the_first_one_has_a_place() {
        let mut seq = Unwrap16::default();
        let a = seq.extend(0);
        assert_eq!(seq.peek(65_535), a - 1);
    }

    #[test]
    fn timestamps_follow_backwards() {
        let mut ts = Unwrap32::default();
        let a = ts.extend(u32::MAX);
        assert_eq!(ts.extend(4), a + 5);
        assert_eq!(ts.extend(u32::MAX), a);
    }
}
