//! Limits, timeouts, and bytes that are no RTMP.

use proptest::prelude::*;

use super::*;

#[test]
fn commands_out_of_place_end_the_connection() {
    let mut pair = greeted();
    assert!(pair.send(&[command("createStream", vec![])]).is_err());
    let mut pair = greeted();
    assert!(pair.send(&[connect("a"), connect("a")]).is_err());
    let mut pair = Pair::playing(4096);
    assert!(pair.send(&[command("publish", vec![Value::string("s")])]).is_err());
    let mut pair = greeted();
    assert!(pair.send(&[message(MessageType::COMMAND, vec![5])]).is_err());
}

#[test]
fn command_1_000_is_heard_and_1_001_ends_the_connection() {
    let mut pair = greeted();
    pair.send(&[connect("a")]).unwrap();
    for _ in 1..COMMANDS_MAX {
        pair.send(&[command("whatever", vec![])]).unwrap();
    }
    assert_eq!(pair.send(&[command("whatever", vec![])]), Err(RtmpError::Protocol("too many commands")));
}

#[test]
fn a_name_that_is_too_long_is_refused_in_words() {
    let mut pair = greeted();
    let name = "n".repeat(PATH_BYTES_MAX);
    assert_eq!(pair.send(&[connect("live"), command("publish", vec![Value::string(&name)])]), Ok(vec![]));
    assert!(pair.server.is_closing());
    assert_eq!(names(&output(&mut pair.server, false)), ["_result", "onStatus"]);
    let mut pair = greeted();
    assert!(pair.send(&[connect(&"a".repeat(2 * PATH_BYTES_MAX))]).is_ok());
    let mut pair = greeted();
    assert!(pair.send(&[connect(&"a".repeat(2 * PATH_BYTES_MAX + 1))]).is_err());
}

#[test]
fn large_messages_are_for_granted_publishers_only() {
    let long = message(MessageType::VIDEO, vec![0x17; UNAUTHENTICATED_MESSAGE_BYTES_MAX + 1]);
    let refused = Err(RtmpError::Chunk(ChunkError::MessageTooLong(UNAUTHENTICATED_MESSAGE_BYTES_MAX + 1)));
    let mut pair = greeted();
    assert_eq!(pair.send(&[connect("live"), long.clone()]), refused);
    assert_eq!(Pair::playing(4096).send(std::slice::from_ref(&long)), refused);
    let mut pair = Pair::publishing(4096);
    assert_eq!(pair.send(std::slice::from_ref(&long)).unwrap().len(), 1);
    assert_eq!(pair.send(&[message(MessageType::VIDEO, vec![0x17; MESSAGE_BYTES_MAX])]).unwrap().len(), 1);
    assert_eq!(pair.send(&[command("deleteStream", vec![])]), Ok(vec![ServerEvent::StreamClosed]));
    assert_eq!(pair.send(&[long]), refused);
}

#[test]
fn hostile_metadata_ends_the_connection() {
    let deep = [0x0a, 0, 0, 0, 1].repeat(70_000);
    assert!(matches!(Pair::publishing(4096).send(&[message(MessageType::DATA, deep)]), Err(RtmpError::Amf(_))));
}

#[test]
fn chunk_sizes_below_128_end_the_connection() {
    for size in [0u32, 1, 127, 0x7fff_ffff] {
        let mut pair = Pair::publishing(4096);
        let set = message(MessageType::SET_CHUNK_SIZE, size.to_be_bytes().to_vec());
        assert!(pair.send(&[set]).is_err());
    }
}

#[test]
fn a_handshake_has_10_seconds_however_slowly_it_trickles() {
    let start = Time::from_millis(1);
    let mut server = ServerSession::new(start);
    server.handle_input(start + HANDSHAKE_TIMEOUT / 2, &mut &[3, 0, 0, 0][..]).unwrap();
    assert_eq!(server.next_timeout(), Some(start + HANDSHAKE_TIMEOUT));
    assert_eq!(server.handle_timeout(start + HANDSHAKE_TIMEOUT - Duration::from_millis(1)), Ok(()));
    assert!(server.handle_timeout(start + HANDSHAKE_TIMEOUT).is_err());
}

#[test]
fn a_connection_has_20_seconds_to_want_something() {
    let mut pair = greeted();
    let start = Time::from_millis(1);
    pair.now = start + Duration::from_secs(15);
    pair.send(&[connect("live")]).unwrap();
    assert_eq!(pair.server.next_timeout(), Some(start + SETUP_TIMEOUT));
    assert!(pair.server.handle_timeout(start + SETUP_TIMEOUT).is_err());
}

#[test]
fn a_publisher_may_be_quiet_for_30_seconds() {
    let mut pair = Pair::publishing(4096);
    pair.now = pair.now + Duration::from_secs(29);
    assert_eq!(pair.server.handle_timeout(pair.now), Ok(()));
    pair.send(&[message(MessageType::AUDIO, vec![0xaf, 1, 0])]).unwrap();
    pair.now = pair.now + PUBLISHER_TIMEOUT - Duration::from_millis(1);
    assert_eq!(pair.server.handle_timeout(pair.now), Ok(()));
    assert!(pair.server.handle_timeout(pair.now + Duration::from_millis(1)).is_err());
}

#[test]
fn a_quiet_player_is_pinged_and_lives_while_it_answers() {
    let mut pair = Pair::playing(4096);
    for _ in 0..3 {
        pair.now = pair.server.next_timeout().unwrap();
        assert_eq!(pair.server.handle_timeout(pair.now), Ok(()));
        pair.settle();
    }
    pair.now = pair.server.next_timeout().unwrap();
    pair.server.handle_timeout(pair.now).unwrap();
    pair.server.take_output();
    assert_eq!(pair.server.next_timeout(), Some(pair.now + PING_TIMEOUT));
    assert!(pair.server.handle_timeout(pair.now + PING_TIMEOUT).is_err());
}

#[test]
fn a_client_waits_20_seconds_for_a_server() {
    let mut pair = Pair::new(Purpose::Play, "rtmp://h/a/b", 4096);
    let due = pair.client.next_timeout().unwrap();
    assert_eq!(pair.client.handle_timeout(due - Duration::from_millis(1)), Ok(()));
    assert!(pair.client.handle_timeout(due).is_err());
    assert_eq!(Pair::playing(4096).client.next_timeout(), None);
}

#[test]
fn every_prefix_and_every_flipped_bit_of_a_conversation_is_an_answer_not_a_panic() {
    let mut bytes = Vec::new();
    let mut metadata = Vec::new();
    for value in [Value::string("onMetaData"), Value::EcmaArray(vec![("width".into(), Value::Number(360.0))])] {
        value.write(&mut metadata);
    }
    let ping = UserControl::PingRequest { timestamp_ms: 1 }.to_bytes();
    for message in [
        connect("live"),
        command("createStream", vec![]),
        command("publish", vec![Value::string("s?k=v")]),
        message(MessageType::DATA, metadata),
        message(MessageType::USER_CONTROL, ping),
        message(MessageType::VIDEO, vec![0x17, 1, 0, 0, 0]),
        message(MessageType::AGGREGATE, vec![8, 0, 0, 1, 0, 0, 5, 0, 0, 0, 0, 1, 0, 0, 0, 12]),
        command("deleteStream", vec![]),
    ] {
        write_message(&message, CHUNK_SIZE_OUT, &mut bytes);
    }
    let talk = |bytes: &[u8]| {
        let (mut pair, mut data, mut events) = (greeted(), bytes, 0);
        while let Ok(Some(_)) = pair.server.handle_input(pair.now, &mut data) {
            pair.server.accept_publish(pair.now);
            events += 1;
        }
        events
    };
    assert_eq!(talk(&bytes), 5);
    for end in 0..bytes.len() {
        talk(&bytes[..end]);
    }
    for bit in 0..8 * bytes.len() {
        let mut flipped = bytes.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        talk(&flipped);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn media_passes_a_connection_cut_anywhere(
        piece in 1usize..2000,
        sent in prop::collection::vec((any::<bool>(), any::<u32>(), 1usize..3000), 1..12),
    ) {
        let mut publisher = Pair::publishing(piece);
        let mut player = Pair::playing(piece);
        let sent: Vec<Media> = sent
            .into_iter()
            .map(|(video, time, length)| {
                media(if video { MediaKind::Video } else { MediaKind::Audio }, time, &vec![time as u8; length])
            })
            .collect();
        for media in &sent {
            publisher.to_server.extend(write_media(1, media.kind, media.timestamp_ms, &media.payload));
            player.to_client.extend(write_media(1, media.kind, media.timestamp_ms, &media.payload));
        }
        publisher.settle();
        player.settle();
        prop_assert_eq!(publisher.server_events, sent.iter().cloned().map(ServerEvent::Media).collect::<Vec<_>>());
        prop_assert_eq!(player.client_events, sent.into_iter().map(ClientEvent::Media).collect::<Vec<_>>());
    }

    #[test]
    fn random_bytes_never_panic_at_any_point(bytes in prop::collection::vec(any::<u8>(), 0..2000), early in 0usize..3100) {
        let mut sessions = [ServerSession::new(Time::ZERO), greeted().server, Pair::publishing(4096).server, Pair::playing(4096).server];
        for session in &mut sessions {
            let mut data = &bytes[..];
            while let Ok(Some(_)) = session.handle_input(Time::ZERO, &mut data) {}
        }
        let mut bad = vec![3];
        bad.resize(early, 0);
        bad.extend_from_slice(&bytes);
        let mut data = &bad[..];
        while let Ok(Some(_)) = ServerSession::new(Time::ZERO).handle_input(Time::ZERO, &mut data) {}
        for mut pair in [Pair::new(Purpose::Play, "rtmp://h/a/b", 1), Pair::playing(4096), Pair::publishing(4096)] {
            let mut data = &bad[..];
            while let Ok(Some(_)) = pair.client.handle_input(&mut data) {}
        }
    }
}
