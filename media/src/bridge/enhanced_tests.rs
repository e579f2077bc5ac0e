//! Enhanced RTMP into a room and out of it again.

use std::time::Duration;

use bytes::Bytes;

use super::{room_to_flv::RoomToFlv, rtmp_to_room::RtmpToRoom};
use crate::{
    codec::{Codec, av1::Obu, bits::BitWriter, h265::config::tests::RECORD},
    flv::{Tag, TagKind, VideoBody, read_video, video_frame, video_header},
    ids::Kind,
    rtp::packet::{Header, is_rtcp},
    units::time::{Time, WallClock},
};

const START: Time = Time::from_millis(5_000);

/// What the room gets of these tags.
fn into_room(tags: &[Tag]) -> (RtmpToRoom, Vec<(Time, Kind, Vec<u8>)>) {
    let mut room = RtmpToRoom::new(96_000, WallClock::new(0));
    let mut packets = Vec::new();
    for tag in tags {
        let now = START + Duration::from_millis(u64::from(tag.timestamp_ms));
        room.handle_tag(now, tag, &mut |kind, packet| {
            packets.push((now, kind, packet.to_vec()));
            true
        });
    }
    (room, packets)
}

fn video(timestamp_ms: u32, payload: Bytes) -> Tag {
    Tag::new(TagKind::Video, timestamp_ms, payload)
}

fn audio(timestamp_ms: u32, payload: &[u8]) -> Tag {
    Tag::new(TagKind::Audio, timestamp_ms, Bytes::copy_from_slice(payload))
}

/// A sequence header of 640 x 360.
fn av1_sequence() -> Vec<u8> {
    let mut bits = BitWriter::default();
    // Profile, not still, not reduced, no timing, no delay, one point: all zeros, then its level 5.
    for (count, value) in [(3, 0), (4, 0), (5, 0), (12, 0), (5, 5), (4, 9), (4, 8), (10, 639), (9, 359), (16, 0x8000)] {
        bits.bits(count, value);
    }
    let body = bits.finish();
    let mut sequence = Vec::new();
    Obu { header: 1 << 3, extension: None, body: &body }.write_sized(&mut sequence);
    sequence
}

pub(crate) fn frame(codec: Codec, key: bool, len: usize) -> Vec<u8> {
    let fill = |mut frame: Vec<u8>| {
        frame.extend((0..len).map(|n| n as u8));
        frame
    };
    match codec {
        Codec::Vp8 => fill(vec![u8::from(!key), 0, 0, 0x9d, 0x01, 0x2a, 0x80, 0x02, 0x68, 0x01]),
        Codec::Vp9 if key => fill(vec![0x82, 0x49, 0x83, 0x42, 0x20, 0x27, 0xf0, 0x16, 0x70]),
        Codec::Vp9 => fill(vec![0x86]),
        _ => {
            let body = fill(Vec::new());
            let mut unit = if key { av1_sequence() } else { Vec::new() };
            Obu { header: 6 << 3, extension: None, body: &body }.write_sized(&mut unit);
            unit
        }
    }
}

#[test]
fn pictures_of_other_codecs_go_into_a_room_and_out_again_unchanged() {
    for codec in [Codec::Vp8, Codec::Vp9, Codec::Av1] {
        let frames: Vec<(bool, Vec<u8>)> =
            (0..60).map(|n| (n % 20 == 0, frame(codec, n % 20 == 0, if n % 20 == 0 { 9_000 } else { 700 }))).collect();
        let mut tags = vec![video(0, video_header(codec, &[0x81, 5, 12, 0]))];
        tags.extend(
            frames.iter().enumerate().map(|(n, (key, data))| video(n as u32 * 40, video_frame(codec, *key, data))),
        );
        let (room, packets) = into_room(&tags);
        assert_eq!(room.tracks(), (None, Some(codec)));
        let keys = packets.iter().filter(|(_, _, p)| !is_rtcp(p)).filter(|(_, _, p)| {
            let header = Header::parse(p).unwrap();
            assert_eq!(header.payload_type, codec.bridged_payload_type());
            codec.inspect(header.payload(p)).key
        });
        assert_eq!(keys.count(), 3, "{codec}");

        let mut bridge = RoomToFlv::new(false, Some(codec), 128_000);
        for (now, kind, packet) in &packets {
            bridge.handle_packet(*now, *kind, packet);
        }
        let out: Vec<Tag> = bridge.take_tags().collect();
        let mut got = Vec::new();
        let mut records = 0;
        for tag in &out {
            match (tag.kind, read_video(&tag.payload)) {
                (TagKind::Video, Ok(VideoBody::Header { codec: c, .. })) if c == codec => records += 1,
                (TagKind::Video, Ok(VideoBody::Frame { codec: c, key, data, .. })) if c == codec => {
                    got.push((key, data.to_vec()))
                }
                (TagKind::Script, _) => {}
                other => panic!("{codec}: {other:?}"),
            }
        }
        assert_eq!((got.len(), records), (60, 1), "{codec}");
        assert!(got == frames, "{codec}");
        let script = out.iter().find(|tag| tag.kind == TagKind::Script).unwrap();
        let told = crate::flv::Metadata::parse(&script.payload).unwrap().unwrap();
        assert_eq!((told.video, told.width, told.height), (Some(codec), Some(640), Some(360)));
    }
}

/// A slice of H.265 that is never mistaken for another unit.
fn h265_slice(kind: u8, len: usize) -> Vec<u8> {
    [kind << 1, 1].into_iter().chain((0..len).map(|n| n as u8 | 1)).collect()
}

fn behind_length(units: &[&[u8]]) -> Vec<u8> {
    units.iter().flat_map(|unit| [&(unit.len() as u32).to_be_bytes()[..], unit].concat()).collect()
}

#[test]
fn pictures_of_h265_go_into_a_room_and_out_again_unchanged_with_the_record_that_introduced_them() {
    let message = [39 << 1, 1, 5, 5];
    let frames: Vec<(bool, Vec<u8>)> = (0..60)
        .map(|n| match n % 20 {
            // Two slices, and a message before them.
            0 => (true, behind_length(&[&message, &h265_slice(19, 5_000), &h265_slice(19, 100)])),
            _ => (false, behind_length(&[&h265_slice(1, 700)])),
        })
        .collect();
    let mut tags = vec![video(0, video_header(Codec::H265, &RECORD))];
    let shots = frames.iter().enumerate();
    tags.extend(shots.map(|(n, (key, data))| video(n as u32 * 40, video_frame(Codec::H265, *key, data))));
    let (_, packets) = into_room(&tags);
    let mut bridge = RoomToFlv::new(false, Some(Codec::H265), 128_000);
    for (now, kind, packet) in &packets {
        bridge.handle_packet(*now, *kind, packet);
    }
    let out: Vec<Tag> = bridge.take_tags().collect();
    let (mut got, mut records) = (Vec::new(), Vec::new());
    for tag in out.iter().filter(|tag| tag.kind == TagKind::Video) {
        match read_video(&tag.payload) {
            Ok(VideoBody::Header { codec: Codec::H265, record }) => records.push(record.to_vec()),
            Ok(VideoBody::Frame { codec: Codec::H265, key, composition_ms: 0, data }) => {
                assert_eq!(tag.key, key);
                got.push((key, data.to_vec()));
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(records, [RECORD.to_vec()]);
    assert!(got == frames, "{} of {}", got.len(), frames.len());
    let script = out.iter().find(|tag| tag.kind == TagKind::Script).unwrap();
    let told = crate::flv::Metadata::parse(&script.payload).unwrap().unwrap();
    assert_eq!((told.video, told.width, told.height), (Some(Codec::H265), Some(640), Some(360)));
    let now = packets.last().unwrap().0;
    assert!(!bridge.poll_key_wanted(now));
    assert!(bridge.poll_key_wanted(now + Duration::from_secs(3)), "the last key frame is old");
}

#[test]
fn of_h265_no_picture_is_sent_that_belongs_before_another_and_the_room_is_told() {
    let picture = |decoded_ms: u32, kind: u8, later_ms: u8| {
        let key = kind == 21;
        let unit = behind_length(&[&h265_slice(kind, 50)]);
        video(decoded_ms, [&[if key { 0x91 } else { 0xa1 }][..], b"hvc1", &[0, 0, later_ms], &unit].concat().into())
    };
    // In the order in which they are decoded: a key frame (CRA), a picture, two that are shown before it; then another key frame, and
    // two that are shown before it (RASL), which nobody who begins there can decode.
    let mut tags = vec![video(0, video_header(Codec::H265, &RECORD)), picture(0, 21, 40), picture(40, 1, 120)];
    let (room, _) = into_room(&tags);
    assert!(!room.has_b_frames());
    tags.extend([picture(80, 0, 0), picture(120, 0, 0)]);
    tags.extend([picture(160, 21, 120), picture(200, 8, 0), picture(240, 8, 0), picture(280, 1, 40)]);
    let (room, packets) = into_room(&tags);
    assert!(room.has_b_frames());
    let shown: Vec<u32> = packets
        .iter()
        .filter(|(_, _, packet)| !is_rtcp(packet))
        .map(|(_, _, packet)| Header::parse(packet).unwrap().timestamp)
        .collect();
    let mut shown: Vec<u32> = shown.iter().map(|at| at.wrapping_sub(shown[0]) / 90).collect();
    shown.dedup();
    assert_eq!(shown, [0, 120, 240, 280]);
}

#[test]
fn h265_by_its_number_of_old_goes_into_a_room_too() {
    let classic = |packet_type: u8, data: &[u8]| Bytes::from([&[0x1c, packet_type, 0, 0, 0][..], data].concat());
    let slice = behind_length(&[&h265_slice(19, 100)]);
    let (room, packets) = into_room(&[video(0, classic(0, &RECORD)), video(0, classic(1, &slice))]);
    assert_eq!(room.tracks(), (None, Some(Codec::H265)));
    let media = packets.iter().filter(|(_, _, packet)| !is_rtcp(packet)).count();
    assert_eq!(media, 4, "three sets and a picture");
}

#[test]
fn h265_gets_its_parameter_sets_before_every_key_frame() {
    let sets: [&[u8]; 3] = [&[32 << 1, 1, 7], &[33 << 1, 1, 8], &[34 << 1, 1, 9]];
    let mut record = vec![1; 22];
    record[21] = 0xff;
    record.push(3);
    for set in sets {
        record.extend([0x80 | set[0] >> 1, 0, 1, 0, set.len() as u8]);
        record.extend_from_slice(set);
    }
    let picture = |key: bool| {
        let mut body = vec![0x80 | if key { 0x13 } else { 0x23 }];
        body.extend_from_slice(b"hvc1");
        body.extend([0, 0, 0, 4, if key { 19 << 1 } else { 1 << 1 }, 1, 2, 3]);
        Bytes::from(body)
    };
    let mut header = vec![0x90];
    header.extend_from_slice(b"hvc1");
    header.extend_from_slice(&record);
    let tags = [video(0, header.into()), video(0, picture(true)), video(40, picture(false)), video(80, picture(true))];
    let (room, packets) = into_room(&tags);
    assert_eq!(room.tracks(), (None, Some(Codec::H265)));
    let kinds: Vec<u8> = packets
        .iter()
        .filter(|(_, _, packet)| !is_rtcp(packet))
        .map(|(_, _, packet)| Header::parse(packet).unwrap().payload(packet)[0] >> 1)
        .collect();
    assert_eq!(kinds, [32, 33, 34, 19, 1, 32, 33, 34, 19]);
}

#[test]
fn opus_passes_as_it_is_and_to_the_sample() {
    let mut tags = vec![audio(0, b"\x90OpusOpusHead\x01\x02\0\0\x80\xbb\0\0\0\0\0")];
    // 21 ms and 20 ms in turn: what milliseconds make of a clock that is a little off.
    tags.extend((0..50u32).map(|n| audio(n * 20 + n % 2, &[&b"\x91Opus\xfc"[..], &[n as u8; 80]].concat())));
    let (room, packets) = into_room(&tags);
    assert_eq!(room.tracks(), (Some(Codec::Opus), None));
    let sent: Vec<(Header, &[u8])> = packets
        .iter()
        .filter(|(_, _, packet)| !is_rtcp(packet))
        .map(|(_, _, packet)| (Header::parse(packet).unwrap(), &packet[..]))
        .collect();
    assert_eq!(sent.len(), 50);
    assert!(sent.windows(2).all(|pair| pair[1].0.timestamp.wrapping_sub(pair[0].0.timestamp) == 960));
    assert!(
        sent.iter()
            .enumerate()
            .all(|(n, (header, packet))| header.payload(packet) == [&[0xfc], &[n as u8; 80][..]].concat())
    );
}
