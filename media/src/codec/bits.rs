//! Bit fields, most significant bit first, as H.264 and AAC headers pack them.

/// Reads bit fields from bytes. Every read answers `None` behind the end.
#[derive(Clone, Debug)]
pub struct BitReader<'a> {
    bytes: &'a [u8],
    at_bit: usize,
}

impl<'a> BitReader<'a> {
    pub fn new(bytes: &'a [u8]) -> Self {
        BitReader { bytes, at_bit: 0 }
    }

    /// The next `count` bits, at most 32, as a number.
    pub fn bits(&mut self, count: u32) -> Option<u32> {
        debug_assert!(count <= 32);
        let mut value = 0u32;
        for _ in 0..count {
            let byte = self.bytes.get(self.at_bit / 8)?;
            value = value << 1 | u32::from(byte >> (7 - self.at_bit % 8) & 1);
            self.at_bit += 1;
        }
        Some(value)
    }

    /// One bit.
    pub fn flag(&mut self) -> Option<bool> {
        self.bits(1).map(|bit| bit == 1)
    }

    /// An unsigned Exp-Golomb code (ITU-T H.264 §9.1); `None` as well for one beyond 32 bits.
    pub fn ue(&mut self) -> Option<u32> {
        let mut zeros = 0;
        while !self.flag()? {
            zeros += 1;
            if zeros > 31 {
                return None;
            }
        }
        Some((1u32 << zeros) - 1 + self.bits(zeros)?)
    }

    /// Bits that were not read.
    pub fn left(&self) -> usize {
        (8 * self.bytes.len()).saturating_sub(self.at_bit)
    }
}

/// Collects bit fields into bytes.
#[derive(Clone, Debug, Default)]
pub struct BitWriter {
    bytes: Vec<u8>,
    bits: usize,
}

impl BitWriter {
    /// Appends the lowest `count` bits of `value`, at most 32.
    pub fn bits(&mut self, count: u32, value: u32) {
        for shift in (0..count).rev() {
            if self.bits.is_multiple_of(8) {
                self.bytes.push(0);
            }
            if let Some(last) = self.bytes.last_mut() {
                *last |= ((value >> shift & 1) as u8) << (7 - self.bits % 8);
            }
            self.bits += 1;
        }
    }

    /// What was collected, filled up with zero bits to a whole byte.
    pub fn finish(self) -> Vec<u8> {
        self.bytes
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn fields_cross_bytes_and_end_with_the_input() {
        let mut bits = BitReader::new(&[0b1010_1100, 0b0101_0000]);
        assert_eq!((bits.bits(3), bits.flag(), bits.bits(8)), (Some(0b101), Some(false), Some(0b1100_0101)));
        assert_eq!((bits.left(), bits.bits(5)), (4, None));
    }

    /// The first rows of table 9-2 of ITU-T H.264.
    #[test]
    fn exp_golomb_codes_are_those_of_the_table() {
        // 1 010 011 00100 00101 00110
        let mut bits = BitReader::new(&[0b1010_0110, 0b0100_0010, 0b1001_1000]);
        assert_eq!([(); 6].map(|()| bits.ue()), [0, 1, 2, 3, 4, 5].map(Some));
        assert_eq!(BitReader::new(&[0, 0, 0, 1, 0xff, 0xff, 0xff, 0xff]).ue(), Some(0xffff_fffe));
        assert_eq!(BitReader::new(&[0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff]).ue(), None, "thirty-two zeros");
    }

    proptest! {
        #[test]
        fn written_fields_read_back(fields in prop::collection::vec((1u32..=32, any::<u32>()), 0..20)) {
            let mut writer = BitWriter::default();
            for (count, value) in &fields {
                writer.bits(*count, *value);
            }
            let bytes = writer.finish();
            let mut reader = BitReader::new(&bytes);
            for (count, value) in fields {
                prop_assert_eq!(reader.bits(count), Some(value & (u32::MAX >> (32 - count))));
            }
            prop_assert!(reader.left() < 8);
        }
    }
}
