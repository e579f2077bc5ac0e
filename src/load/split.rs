//! How a picture is cut into packets, as browsers do it.
//!
//! A browser's picture is one slice, cut into the fewest packets that hold it, of sizes that differ by a byte, the larger ones
//! last. Ours is two units, the slice and the filling in front of it with the time of sending. So that the packets are those
//! of one unit nevertheless, the filling gets the size of some packets and the slice that of the others.

use media::codec::h264::{
    nal::{self, NalKind},
    payload::{FU_HEADER_LEN, Piece, pieces, stap_a_len, write_stap_a},
};

use super::{source::write_sei, stamp};

/// Longest payload; browsers have about as much (1,200 bytes with header, header extensions and room for RTX).
const PAYLOAD_BYTES_MAX: usize = 1_160;
/// Of a unit in a fragment.
const FRAGMENT_BYTES_MAX: usize = PAYLOAD_BYTES_MAX - FU_HEADER_LEN;
/// Type of a fragment (RFC 6184 §5.8).
const FU_A: u8 = 28;
/// What can stand behind a slice any number of times: zeros, which decoders strip from the end of a unit before they look for
/// its last bit (H.264 §7.4.2.10, `cabac_zero_word`), and the byte without which they would look like a start code.
const ZERO_WORD: [u8; 3] = [0, 0, 3];

/// How a picture becomes packets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Split {
    /// As browsers do: sizes that differ by a byte, the larger ones last.
    #[default]
    Even,
    /// As this server does for pictures that came by RTMP: equal sizes, the last one shorter.
    ShortLast,
}

/// The packets of one picture, cut as browsers would have.
pub fn evenly(payloads: &[Vec<u8>]) -> Vec<Vec<u8>> {
    let (sets, mut picture): (Vec<_>, Vec<_>) =
        units(payloads).into_iter().partition(|unit| matches!(nal::kind(unit), NalKind::Sps | NalKind::Pps));
    if let [filling, slice] = &mut picture[..]
        && stamp::position(filling).is_some()
    {
        level(filling, slice);
    }
    let mut out = Vec::new();
    for group in [sets, picture] {
        match &group[..] {
            [one] => cut(one, &mut out),
            all if stap_a_len(all.iter().map(Vec::len)) <= PAYLOAD_BYTES_MAX => {
                let mut together = Vec::new();
                let all: Vec<&[u8]> = all.iter().map(|unit| &unit[..]).collect();
                if write_stap_a(&mut together, &all) {
                    out.push(together);
                }
            }
            all => all.iter().for_each(|unit| cut(unit, &mut out)),
        }
    }
    out
}

/// The units that were cut.
fn units(payloads: &[Vec<u8>]) -> Vec<Vec<u8>> {
    let mut units: Vec<Vec<u8>> = Vec::new();
    for piece in payloads.iter().flat_map(|payload| pieces(payload)).flatten() {
        match piece {
            Piece::Whole(unit) => units.push(unit.to_vec()),
            Piece::Part { header, start: true, data, .. } => units.push([&[header], data].concat()),
            Piece::Part { data, .. } => units.last_mut().into_iter().for_each(|unit| unit.extend_from_slice(data)),
        }
    }
    units
}

/// Shares the bytes of a picture among both units so that all packets have the same size. Nothing changes if the picture fits
/// into one packet, or the slice alone needs all of them.
fn level(filling: &mut Vec<u8>, slice: &mut Vec<u8>) {
    let body = slice.len() - 1;
    let all = filling.len() - 1 + body;
    let count = all.div_ceil(FRAGMENT_BYTES_MAX);
    if count < 2 || slice.last() == Some(&0) {
        return;
    }
    // Zeros come by words of three bytes; a byte more for each packet, or for some, makes it come out.
    for size in all / count..FRAGMENT_BYTES_MAX {
        let of_slice = body.div_ceil(size);
        if of_slice >= count {
            return;
        }
        let larger = (0..=of_slice).map(|step| (all % count + step) % (of_slice + 1));
        let added = larger.map(|larger| of_slice * size + larger).filter_map(|wanted| wanted.checked_sub(body));
        if let Some(added) = added.into_iter().find(|added| added.is_multiple_of(ZERO_WORD.len())) {
            slice.extend(ZERO_WORD.iter().cycle().take(added));
            let mut unit = bytes::BytesMut::new();
            write_sei(&mut unit, 4 + (count - of_slice) * size + 1);
            *filling = unit.split_off(4).to_vec();
            return;
        }
    }
}

/// Cuts one unit: as it is if it fits, else in fragments of about equal size, the larger ones last.
fn cut(unit: &[u8], out: &mut Vec<Vec<u8>>) {
    let Some((&header, mut body)) = unit.split_first().filter(|_| unit.len() > PAYLOAD_BYTES_MAX) else {
        return out.push(unit.to_vec());
    };
    let count = body.len().div_ceil(FRAGMENT_BYTES_MAX);
    let (size, larger) = (body.len() / count, body.len() % count);
    for index in 0..count {
        let (part, rest) = body.split_at(size + usize::from(index >= count - larger));
        body = rest;
        let ends = u8::from(index == 0) << 7 | u8::from(rest.is_empty()) << 6;
        out.push([&[header & 0xe0 | FU_A, ends | header & 0x1f], part].concat());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SPS: [u8; 3] = [0x67, 1, 2];
    const PPS: [u8; 2] = [0x68, 3];

    fn filling(bytes: usize) -> Vec<u8> {
        let mut out = bytes::BytesMut::new();
        write_sei(&mut out, bytes + 4);
        out.split_off(4).to_vec()
    }

    /// A slice of a key frame.
    fn slice(bytes: usize) -> Vec<u8> {
        [&[0x65][..], &vec![0x5a; bytes - 1]].concat()
    }

    #[test]
    fn the_packets_of_a_picture_differ_by_a_byte_and_the_larger_ones_come_last() {
        let (mut cuts, mut uneven) = (0, 0);
        for (fill, picture) in (40..20_000).step_by(97).flat_map(|fill| [(fill, 300), (fill, 1_700), (fill, 5_003)]) {
            let (filling, slice) = (filling(fill.max(40)), slice(picture));
            let all = filling.len() + slice.len() - 2;
            let count = all.div_ceil(FRAGMENT_BYTES_MAX);
            let mut before = Vec::new();
            cut(&filling, &mut before);
            cut(&slice, &mut before);
            let packets = evenly(&before);
            if count < 2 || picture.div_ceil(all / count) >= count {
                continue;
            }
            assert_eq!(packets.len(), count, "{fill} {picture}");
            let sizes: Vec<usize> = packets.iter().map(Vec::len).collect();
            // A slice that is one packet has no fragment's header, and is a byte shorter. Of every 256 sizes of the filling one cannot be written; a packet is then a byte shorter.
            assert!(sizes.iter().max().unwrap() - sizes.iter().min().unwrap() <= 2, "{sizes:?}");
            (cuts, uneven) = (cuts + 1, uneven + usize::from(!sizes[..count - 1].is_sorted()));
            // The slice is whole, and only zeros are behind it.
            let last = units(&packets).pop().unwrap();
            let (kept, added) = last.split_at(slice.len());
            assert!(kept == slice && added.chunks(3).all(|word| word == ZERO_WORD));
            assert!(stamp::position(&packets[0]).is_some());
        }
        assert!(cuts > 100 && uneven * 50 < cuts, "{uneven} of {cuts}");
    }

    #[test]
    fn a_small_picture_is_one_packet_and_parameter_sets_are_another() {
        let (filling, slice) = (filling(100), slice(500));
        let packets = evenly(&[SPS.to_vec(), PPS.to_vec(), filling.clone(), slice.clone()]);
        assert_eq!(packets.len(), 2);
        assert_eq!(units(&packets), [SPS.to_vec(), PPS.to_vec(), filling, slice]);
    }

    #[test]
    fn pictures_of_others_are_cut_unit_by_unit() {
        let slices = [slice(3_000), slice(3_001), slice(100)];
        let mut before = Vec::new();
        slices.iter().for_each(|slice| cut(slice, &mut before));
        let packets = evenly(&before);
        assert_eq!(units(&packets), slices);
        let sizes: Vec<usize> = packets.iter().map(Vec::len).collect();
        assert_eq!(sizes, [1_001, 1_002, 1_002, 1_002, 1_002, 1_002, 100]);
    }
}
