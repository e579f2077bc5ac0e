use proptest::prelude::*;

use super::{
    super::{CHUNK_SIZE_OUT, write_message},
    *,
};

fn message(kind: MessageType, timestamp_ms: u32, length: usize) -> Message {
    let payload = (0..length).map(|i| (i * 7 + length) as u8).collect::<Vec<_>>().into();
    Message { kind, timestamp_ms, stream_id: 1, payload }
}

fn trusting(chunk_size: u32) -> ChunkReader {
    let mut reader = ChunkReader::new();
    reader.set_trusted(true);
    reader.set_chunk_size(chunk_size).unwrap();
    reader
}

/// All messages of `bytes`, given to the reader in pieces.
fn read_all(reader: &mut ChunkReader, bytes: &[u8], piece: usize) -> Result<Vec<Message>, ChunkError> {
    let mut messages = Vec::new();
    for mut data in bytes.chunks(piece) {
        while let Some(message) = reader.read(&mut data)? {
            messages.push(message);
        }
    }
    Ok(messages)
}

/// A chunk with a one-byte basic header. `time` is the 24-bit field.
fn head(format: u8, id: u8, time: u32, length: usize, kind: u8) -> Vec<u8> {
    let [_, t0, t1, t2] = time.to_be_bytes();
    let [_, l0, l1, l2] = (length as u32).to_be_bytes();
    let full = [t0, t1, t2, l0, l1, l2, kind, 1, 0, 0, 0];
    let fields = [11, 7, 3, 0][usize::from(format)];
    [&[format << 6 | id], &full[..fields]].concat()
}

fn times(bytes: &[u8]) -> Vec<u32> {
    for piece in [1, 3, bytes.len()] {
        let read = read_all(&mut trusting(128), bytes, piece).unwrap();
        let times: Vec<u32> = read.iter().map(|message| message.timestamp_ms).collect();
        if piece == bytes.len() {
            return times;
        }
    }
    Vec::new()
}

#[test]
fn deltas_add_up_and_a_bare_header_repeats_the_step() {
    let bytes = [
        head(0, 4, 1000, 1, 8),
        vec![1],
        head(1, 4, 20, 1, 8),
        vec![2],
        head(2, 4, 30, 1, 8),
        vec![3],
        head(3, 4, 0, 1, 8),
        vec![4],
    ]
    .concat();
    assert_eq!(times(&bytes), [1000, 1020, 1050, 1080]);
}

#[test]
fn a_bare_header_behind_a_full_one_steps_by_its_time() {
    assert_eq!(times(&[head(0, 4, 40, 1, 8), vec![1], head(3, 4, 0, 1, 8), vec![2]].concat()), [40, 80]);
}

#[test]
fn time_passes_24_bits_and_wraps_at_32() {
    // 4 h 39 min: the field is full and the time is behind the header.
    let mut bytes =
        [head(0, 6, 0xff_fffe, 1, 9), vec![1], head(1, 6, 1, 1, 9), vec![2], head(3, 6, 0, 1, 9), vec![3]].concat();
    bytes.extend(head(0, 6, 0xff_ffff, 1, 9));
    bytes.extend(u32::MAX.to_be_bytes());
    bytes.push(4);
    // 49.7 days: a step of 20 ms goes around.
    bytes.extend(head(1, 6, 20, 1, 9));
    bytes.push(5);
    assert_eq!(times(&bytes), [0xff_fffe, 0xff_ffff, 0x100_0000, u32::MAX, 19]);
}

#[test]
fn a_step_of_24_bits_is_extended_too_and_repeated_by_a_bare_header() {
    let mut bytes = [head(0, 6, 5, 1, 9), vec![1], head(2, 6, 0xff_ffff, 1, 9)].concat();
    bytes.extend(0x0100_0000u32.to_be_bytes());
    bytes.push(2);
    bytes.extend(head(3, 6, 0, 1, 9));
    bytes.extend(0x0100_0000u32.to_be_bytes());
    bytes.push(3);
    assert_eq!(times(&bytes), [5, 0x0100_0005, 0x0200_0005]);
}

#[test]
fn a_sender_that_leaves_out_the_repeated_extended_time_is_understood() {
    // The payload shares 0 to 3 bytes with the time, and the message ends 1 to 200 bytes behind the first chunk.
    for shared in 0..4usize {
        for tail in [1usize, 2, 3, 4, 5, 200] {
            let time = 0x0102_03ffu32.to_be_bytes();
            let mut payload = vec![9; 128 + tail];
            let shared = shared.min(tail);
            payload[128..128 + shared].copy_from_slice(&time[..shared]);
            let mut bytes = [&head(0, 6, 0xff_ffff, payload.len(), 9)[..], &time, &payload[..128]].concat();
            for chunk in payload[128..].chunks(128) {
                bytes.push(3 << 6 | 6);
                bytes.extend_from_slice(chunk);
            }
            // The next message tells the last payload bytes from a time that has not come whole.
            bytes.extend(head(0, 4, 7, 1, 8));
            bytes.push(1);
            for piece in [1, 2, 5, 131, bytes.len()] {
                let read = read_all(&mut trusting(128), &bytes, piece).unwrap();
                assert_eq!(read.len(), 2, "{shared} {tail} {piece}");
                assert_eq!((read[0].timestamp_ms, &read[0].payload[..]), (0x0102_03ff, &payload[..]));
                assert_eq!(read[1].timestamp_ms, 7);
            }
        }
    }
}

#[test]
fn chunk_streams_have_a_state_of_their_own() {
    let bytes = [
        head(0, 6, 1000, 200, 9),
        vec![b'v'; 128],
        head(0, 4, 990, 1, 8),
        vec![b'a'],
        head(3, 6, 0, 0, 0),
        vec![b'v'; 72],
        head(1, 4, 20, 1, 8),
        vec![b'a'],
    ]
    .concat();
    let read = read_all(&mut trusting(128), &bytes, bytes.len()).unwrap();
    let seen: Vec<_> = read.iter().map(|m| (m.kind.0, m.timestamp_ms, m.payload.len())).collect();
    assert_eq!(seen, [(8, 990, 1), (9, 1000, 200), (8, 1010, 1)]);
}

#[test]
fn the_control_stream_of_librtmp_begins_without_a_message_stream() {
    let read = read_all(&mut ChunkReader::new(), &[0x42, 0, 0, 0, 0, 0, 4, 5, 0, 0x4c, 0x4b, 0x40], 5).unwrap();
    assert_eq!(
        (read[0].kind, read[0].stream_id, &read[0].payload[..]),
        (MessageType(5), 0, &[0, 0x4c, 0x4b, 0x40][..])
    );
    for format in [2, 3] {
        let error = read_all(&mut ChunkReader::new(), &head(format, 4, 0, 0, 0), 1);
        assert_eq!(error, Err(ChunkError::NoEarlierHeader(4)));
    }
}

#[test]
fn two_and_three_byte_chunk_stream_ids_are_read() {
    let body = [0, 0, 7, 0, 0, 1, 8, 1, 0, 0, 0, 42];
    let bytes = [&[0, 0][..], &body, &[1, 0xff, 0xff], &body, &[1, 0, 0], &body].concat();
    let mut reader = ChunkReader::new();
    assert_eq!(read_all(&mut reader, &bytes, 1).unwrap().len(), 3);
    // 64 has two spellings and is one stream; 65,599 is the highest.
    assert_eq!(reader.streams.iter().map(|stream| stream.id).collect::<Vec<_>>(), [64, 65_599]);
}

#[test]
fn chunk_sizes_from_128_to_16_777_215_are_taken_and_others_refused() {
    let mut reader = ChunkReader::new();
    for size in [128, 60_000, 0xff_ffff] {
        assert_eq!(reader.set_chunk_size(size), Ok(()));
    }
    for size in [0, 1, 127, 0x100_0000, 0x7fff_ffff, u32::MAX] {
        assert_eq!(reader.set_chunk_size(size), Err(ChunkError::ChunkSize(size)));
    }
}

#[test]
fn chunk_stream_32_is_taken_and_33_refused() {
    let mut reader = ChunkReader::new();
    for id in 0..CHUNK_STREAMS_MAX as u8 {
        let bytes = [head(0, 2 + id, 0, 1, 8), vec![1]].concat();
        assert_eq!(read_all(&mut reader, &bytes, 20).unwrap().len(), 1);
    }
    assert_eq!(read_all(&mut reader, &head(0, 40, 0, 1, 8), 20), Err(ChunkError::TooManyStreams));
}

#[test]
fn the_longest_message_is_taken_and_a_longer_one_refused_by_its_header() {
    for (trusted, longest) in [(true, MESSAGE_BYTES_MAX), (false, UNAUTHENTICATED_MESSAGE_BYTES_MAX)] {
        let mut reader = ChunkReader::new();
        reader.set_trusted(trusted);
        reader.set_chunk_size(CHUNK_SIZE_OUT as u32).unwrap();
        let mut bytes = Vec::new();
        write_message(&message(MessageType::VIDEO, 0, longest), CHUNK_SIZE_OUT, &mut bytes);
        assert_eq!(read_all(&mut reader, &bytes, 4096).unwrap()[0].payload.len(), longest);
        assert_eq!(reader.pending_bytes(), 0);
        let over = read_all(&mut reader, &head(0, 6, 0, longest + 1, 9), 20);
        assert_eq!(over, Err(ChunkError::MessageTooLong(longest + 1)));
    }
}

#[test]
fn an_announced_length_takes_no_memory_before_its_bytes() {
    let mut reader = trusting(128);
    for id in 2..34 {
        read_all(&mut reader, &[head(0, id, 0, MESSAGE_BYTES_MAX, 9), vec![0; 128]].concat(), 200).unwrap();
    }
    assert!(reader.pending_bytes() <= 32 * BODY_RESERVE_MIN_BYTES);
}

#[test]
fn pending_messages_up_to_8_mib_are_kept_and_more_refused() {
    for (trusted, most, longest) in [
        (true, PENDING_BYTES_MAX, MESSAGE_BYTES_MAX),
        (false, UNAUTHENTICATED_PENDING_BYTES_MAX, UNAUTHENTICATED_MESSAGE_BYTES_MAX),
    ] {
        let mut reader = ChunkReader::new();
        reader.set_trusted(trusted);
        reader.set_chunk_size(CHUNK_SIZE_MAX as u32).unwrap();
        // Two messages, each complete but for a byte, are as much as there may be.
        for id in [4, 5] {
            // A chunk as long as the message, so the rest of the chunk is what is missing: cut by a smaller chunk size.
            reader.set_chunk_size(longest as u32 - 1).unwrap();
            let bytes = [head(0, id, 0, longest, 9), vec![0; longest - 1]].concat();
            assert_eq!(read_all(&mut reader, &bytes, 32 << 10), Ok(Vec::new()));
        }
        assert!(reader.pending_bytes() <= most);
        let error = read_all(&mut reader, &[head(0, 6, 0, longest, 9), vec![0; 64 << 10]].concat(), 32 << 10);
        assert_eq!(error, Err(ChunkError::TooMuchPending));
    }
}

#[test]
fn a_header_inside_a_message_is_refused() {
    for format in 0..3 {
        let bytes = [head(0, 6, 0, 200, 9), vec![0; 128], head(format, 6, 0, 300, 9)].concat();
        assert_eq!(read_all(&mut trusting(128), &bytes, 7), Err(ChunkError::Interrupted(6)));
    }
}

#[test]
fn a_chunk_size_may_change_inside_a_message() {
    let mut reader = trusting(128);
    assert_eq!(read_all(&mut reader, &[head(0, 6, 0, 600, 9), vec![1; 128]].concat(), 50), Ok(Vec::new()));
    reader.set_chunk_size(400).unwrap();
    let rest = [head(3, 6, 0, 0, 0), vec![1; 400], head(3, 6, 0, 0, 0), vec![1; 72]].concat();
    assert_eq!(read_all(&mut reader, &rest, 50).unwrap()[0].payload, vec![1; 600]);
}

#[test]
fn an_aborted_message_is_forgotten_with_its_memory() {
    let mut reader = trusting(128);
    read_all(&mut reader, &[head(0, 6, 0, 4000, 9), vec![1; 128]].concat(), 50).unwrap();
    reader.abort(5);
    assert!(reader.pending_bytes() > 0);
    reader.abort(6);
    assert_eq!(reader.pending_bytes(), 0);
    let next = [head(0, 6, 9, 2, 9), vec![2; 2]].concat();
    assert_eq!(read_all(&mut reader, &next, 50).unwrap()[0].payload, vec![2; 2]);
}

#[test]
fn empty_messages_are_messages() {
    let bytes = [head(0, 4, 3, 0, 8), head(3, 4, 0, 0, 8), head(3, 4, 0, 0, 8)].concat();
    assert_eq!(times(&bytes), [3, 6, 9]);
}

fn any_message() -> impl Strategy<Value = Message> {
    let kind = prop_oneof![Just(MessageType::AUDIO), Just(MessageType::VIDEO), Just(MessageType::DATA)];
    let time = prop_oneof![any::<u32>(), 0xff_fff0..0x100_0010u32, 0..5u32];
    (kind, time, prop_oneof![0usize..5, 120usize..140, 250usize..1000])
        .prop_map(|(kind, time, length)| message(kind, time, length))
}

proptest! {
    #[test]
    fn what_is_written_is_read_back_in_any_pieces(
        messages in prop::collection::vec(any_message(), 0..8),
        chunk_size in 128u32..300,
        piece in 1usize..400,
    ) {
        let mut bytes = Vec::new();
        messages.iter().for_each(|message| write_message(message, chunk_size as usize, &mut bytes));
        let mut reader = trusting(chunk_size);
        prop_assert_eq!(read_all(&mut reader, &bytes, piece), Ok(messages));
        prop_assert_eq!(reader.pending_bytes(), 0);
    }

    #[test]
    fn random_bytes_never_panic_and_keep_the_memory_bound(
        bytes in prop::collection::vec(any::<u8>(), 0..2000),
        piece in 1usize..400,
        trusted: bool,
    ) {
        let mut reader = ChunkReader::new();
        reader.set_trusted(trusted);
        let _ = read_all(&mut reader, &bytes, piece);
        prop_assert!(reader.pending_bytes() <= 2 * bytes.len() + CHUNK_STREAMS_MAX * BODY_RESERVE_MIN_BYTES);
        prop_assert!(reader.streams.len() <= CHUNK_STREAMS_MAX);
    }

    #[test]
    fn a_broken_chunk_stream_never_panics(
        messages in prop::collection::vec(any_message(), 1..5),
        flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        piece in 1usize..400,
    ) {
        let mut bytes = Vec::new();
        messages.iter().for_each(|message| write_message(message, 128, &mut bytes));
        for (at, flip) in flips {
            let at = at.index(bytes.len());
            bytes[at] ^= flip;
        }
        let _ = read_all(&mut trusting(128), &bytes, piece);
    }
}
