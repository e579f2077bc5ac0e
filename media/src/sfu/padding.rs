//! Evens out the sizes of a picture's packets, so that they leave as one run.
//!
//! A run of segmentation offload is packets of one size, of which only the last may be shorter. Encoders cut a picture into
//! parts that differ by a few bytes: libwebrtc makes the larger ones last, and the first one shorter by what its header
//! carries. A few bytes of RTP padding (RFC 3550 §5.1) make them one size. How much larger later packets will be is not known
//! when the first leaves, so it is learnt from the pictures before.

use crate::forward::PADDING_MAX;

/// The most that a packet is padded by, beside [`PADDING_MAX`], in parts of its own size: one in forty, 2.5 %.
const PADDING_SHARE: u16 = 40;
/// What later packets need is learnt anew after this many pictures: two seconds.
const WINDOW_PICTURES: u8 = 50;
/// Payload and padding together, at most: 1,200 bytes, which every path carries, less our header with its extension. A packet
/// that its publisher made longer is not padded beyond another that he sent.
const PADDED_BYTES_MAX: u16 = 1_200 - 20;

/// Of one up track.
#[derive(Debug, Default)]
pub struct Evening {
    /// Of the present picture.
    timestamp: u32,
    /// Size of the packet that began the present run, and to what it was padded; zero before the first.
    first: u16,
    size: u16,
    /// How much larger than the first the packets after it are.
    slack: u16,
    /// The most that was seen of it in this window, and the pictures left of that.
    seen: u16,
    pictures_left: u8,
}

impl Evening {
    /// By how many bytes the next packet, of `len` bytes of payload, is to be padded. `last` of its picture: it may be
    /// shorter than the others, and is padded only if it nearly is as long: then a packet of sound that leaves in the same turn
    /// can be the short end of the run.
    pub fn padding(&mut self, timestamp: u32, len: u16, last: bool) -> u8 {
        if timestamp != self.timestamp {
            self.begin_picture(timestamp);
        }
        if self.size > 0 && len > self.first {
            let growth = len - self.first;
            if growth <= limit(len) {
                self.seen = self.seen.max(growth);
                self.slack = self.slack.max(growth);
            }
        }
        let joins = self.size >= len && self.size - len <= limit(len);
        if last && !joins {
            return 0;
        }
        if !joins {
            self.first = len;
            self.size = len + self.slack.min(limit(len)).min(PADDED_BYTES_MAX.saturating_sub(len));
        }
        (self.size - len) as u8
    }

    fn begin_picture(&mut self, timestamp: u32) {
        (self.timestamp, self.first, self.size) = (timestamp, 0, 0);
        match self.pictures_left.checked_sub(1) {
            Some(left) => self.pictures_left = left,
            None => (self.slack, self.seen, self.pictures_left) = (self.seen, 0, WINDOW_PICTURES),
        }
    }
}

fn limit(len: u16) -> u16 {
    (len / PADDING_SHARE).min(u16::from(PADDING_MAX))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// How many runs a picture of these packets makes, and the bytes of padding, with a marker on the last.
    fn picture(evening: &mut Evening, timestamp: u32, sizes: &[u16]) -> (usize, u16) {
        let (mut runs, mut open, mut spent) = (0, 0, 0);
        for (i, len) in sizes.iter().enumerate() {
            let padding = u16::from(evening.padding(timestamp, *len, i + 1 == sizes.len()));
            let size = len + padding;
            spent += padding;
            if open == 0 || size > open {
                runs += 1;
                open = size;
            } else if size < open {
                open = 0;
            }
        }
        (runs, spent)
    }

    #[test]
    fn packets_that_differ_by_a_byte_become_one_run_once_that_was_seen() {
        let mut evening = Evening::default();
        let sizes = [1100, 1100, 1101, 1101];
        assert_eq!(picture(&mut evening, 1, &sizes), (2, 2), "not known at first");
        for n in 2..200 {
            assert_eq!(picture(&mut evening, n, &sizes), (1, 2));
        }
    }

    #[test]
    fn a_first_packet_that_is_shorter_by_its_header_joins_the_others() {
        let mut evening = Evening::default();
        let sizes = [1088, 1100, 1100, 1101, 1093];
        for n in 1..=2 {
            picture(&mut evening, n, &sizes);
        }
        for n in 3..200 {
            assert_eq!(picture(&mut evening, n, &sizes), (1, 13 + 1 + 1 + 8));
        }
    }

    #[test]
    fn nothing_is_spent_where_sizes_are_equal_and_none_is_learnt_for_ever() {
        let mut evening = Evening::default();
        for n in 1..100 {
            assert_eq!(picture(&mut evening, n, &[1100, 1100, 300]), (1, 0));
        }
        for n in 100..102 {
            picture(&mut evening, n, &[1100, 1110, 300]);
        }
        let mut spent = 0;
        for n in 102..400 {
            spent += picture(&mut evening, n, &[1100, 1100, 300]).1;
        }
        assert!(spent <= 2 * 2 * 10 * u16::from(WINDOW_PICTURES + 1), "{spent}");
        assert_eq!(picture(&mut evening, 400, &[1100, 1100, 300]), (1, 0));
    }

    #[test]
    fn small_packets_and_packets_near_the_largest_are_left_alone() {
        let mut evening = Evening::default();
        picture(&mut evening, 1, &[30, 31, 32]);
        assert_eq!(picture(&mut evening, 2, &[30, 31, 32]), (3, 0));
        let longest = PADDED_BYTES_MAX;
        picture(&mut evening, 3, &[longest - 2, longest + 6, longest]);
        assert_eq!(evening.padding(4, longest - 2, false), 2);
        assert_eq!(evening.padding(5, longest + 1, false), 0);
    }

    proptest! {
        #[test]
        fn no_packet_is_padded_by_more_than_its_share(
            packets in prop::collection::vec((0u32..4, 0u16..1600, any::<bool>()), 0..400),
        ) {
            let mut evening = Evening::default();
            let mut longest = PADDED_BYTES_MAX;
            for (timestamp, len, last) in packets {
                let padding = u16::from(evening.padding(timestamp, len, last));
                prop_assert!(padding <= u16::from(PADDING_MAX) && padding <= len / PADDING_SHARE);
                prop_assert!(padding == 0 || len + padding <= longest);
                longest = longest.max(len);
            }
        }
    }
}
