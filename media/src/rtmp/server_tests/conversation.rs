//! What is said in which order.

use super::*;

#[test]
fn a_publisher_is_named_asked_for_and_heard() {
    let mut pair = Pair::new(Purpose::Publish, "rtmp://h/push/1001?usersig=a", 5000);
    pair.settle();
    let path = StreamPath { app: "push".into(), name: "1001".into(), query: "usersig=a".into(), host: "h".into() };
    assert_eq!(std::mem::take(&mut pair.server_events), [ServerEvent::PublishRequested(path)]);
    pair.server.accept_publish(pair.now);
    pair.settle();
    assert_eq!(pair.client_events, [ClientEvent::Started]);
    assert_eq!(pair.client.stream_id(), STREAM_ID);
    let video = media(MediaKind::Video, 40, &vec![7; 70_000]);
    pair.to_server.extend(write_media(1, video.kind, video.timestamp_ms, &video.payload));
    pair.settle();
    assert_eq!(std::mem::take(&mut pair.server_events), [ServerEvent::Media(video)]);
    pair.client.close();
    pair.settle();
    assert_eq!(pair.server_events, [ServerEvent::StreamClosed]);
}

#[test]
fn a_player_gets_what_the_server_sends_until_the_stream_is_over() {
    let mut pair = Pair::playing(333);
    let audio = media(MediaKind::Audio, u32::MAX, b"\xaf\x01sound");
    pair.to_client.extend(write_media(STREAM_ID, audio.kind, audio.timestamp_ms, &audio.payload));
    pair.settle();
    assert_eq!(std::mem::take(&mut pair.client_events), [ClientEvent::Media(audio)]);
    pair.server.end_stream();
    assert!(pair.server.is_closing());
    pair.settle();
    assert_eq!(pair.client_events, [ClientEvent::Ended { code: "NetStream.Play.Stop".into() }]);
}

#[test]
fn a_refusal_is_an_error_status_with_its_text_and_then_the_end() {
    for (purpose, kind, code) in [
        (Purpose::Publish, RefusalKind::Unauthorized, "NetStream.Publish.Unauthorized"),
        (Purpose::Publish, RefusalKind::BadName, "NetStream.Publish.BadName"),
        (Purpose::Play, RefusalKind::Unauthorized, "NetStream.Play.Failed"),
    ] {
        let mut pair = Pair::new(purpose, "rtmp://h/live/s", 4096);
        pair.settle();
        pair.server.refuse(kind, "70001: userSig has expired");
        assert!(pair.server.is_closing());
        pair.settle();
        let description = "70001: userSig has expired".to_owned();
        assert_eq!(pair.client_events, [ClientEvent::Refused { code: code.into(), description }]);
        assert_eq!(pair.send(&[command("createStream", vec![])]), Ok(vec![]));
        assert!(pair.server.take_output().is_empty());
    }
}

#[test]
fn input_waits_for_the_answer_to_a_request() {
    let mut pair = greeted();
    pair.send(&[connect("live"), command("createStream", vec![])]).unwrap();
    let mut bytes = Vec::new();
    write_message(&command("publish", vec![Value::string("s")]), CHUNK_SIZE_OUT, &mut bytes);
    let request = bytes.len();
    write_message(&message(MessageType::VIDEO, vec![1, 2]), CHUNK_SIZE_OUT, &mut bytes);
    let mut data = &bytes[..];
    assert!(matches!(pair.server.handle_input(pair.now, &mut data), Ok(Some(ServerEvent::PublishRequested(_)))));
    assert_eq!(pair.server.handle_input(pair.now, &mut data), Ok(None));
    assert_eq!(data.len(), bytes.len() - request);
    pair.server.accept_publish(pair.now);
    let media = media(MediaKind::Video, 0, &[1, 2]);
    assert_eq!(pair.server.handle_input(pair.now, &mut data), Ok(Some(ServerEvent::Media(media))));
}

#[test]
fn commands_are_answered_as_encoders_and_players_expect() {
    let mut pair = greeted();
    pair.send(&[connect("live")]).unwrap();
    let answer = output(&mut pair.server, false);
    let kinds: Vec<u8> = answer.iter().map(|message| message.kind.0).collect();
    assert_eq!(kinds, [1, 5, 6, 20]);
    for (name, answers) in [
        ("releaseStream", &["_result"][..]),
        ("FCPublish", &["_result", "onFCPublish"]),
        ("FCSubscribe", &["onFCSubscribe"]),
        ("getStreamLength", &["_result"]),
        ("createStream", &["_result"]),
        ("_checkbw", &["_result"]),
        ("FCUnpublish", &["onFCUnpublish"]),
        ("deleteStream", &[]),
        ("whatever", &[]),
    ] {
        pair.send(&[command(name, vec![])]).unwrap();
        assert_eq!(names(&output(&mut pair.server, true)), answers, "{name}");
    }
    pair.send(&[command("play", vec![Value::string("s")])]).unwrap();
    pair.server.accept_play(pair.now);
    let answer = output(&mut pair.server, true);
    assert_eq!(UserControl::parse(&answer[0].payload), Some(UserControl::StreamBegin { stream_id: STREAM_ID }));
    assert_eq!(names(&answer), ["onStatus", "onStatus", "onStatus"]);
    assert_eq!(answer.iter().filter(|message| message.kind == MessageType::DATA).count(), 1);
}

#[test]
fn a_command_in_the_other_encoding_is_understood() {
    let mut pair = greeted();
    let mut wrapped = connect("live");
    wrapped.kind = MessageType::COMMAND_AMF3;
    wrapped.payload = [&[0], &wrapped.payload[..]].concat().into();
    pair.send(&[wrapped]).unwrap();
    assert_eq!(names(&output(&mut pair.server, false)), ["_result"]);
}

#[test]
fn a_client_that_lists_fourccs_is_told_ours() {
    let mut pair = greeted();
    let list = Value::StrictArray(vec![Value::string("hvc1")]);
    let object = Value::Object(vec![("app".into(), Value::string("live")), ("fourCcList".into(), list)]);
    let connect = Command::new("connect", 1.0, object, vec![]).to_bytes();
    pair.send(&[message(MessageType::COMMAND, connect)]).unwrap();
    let answer = output(&mut pair.server, false).pop().unwrap();
    let command = Command::parse(answer.kind, &answer.payload).unwrap().unwrap();
    let ours = ["avc1", "hvc1", "av01", "vp09", "vp08", "mp4a", "Opus"];
    let expected = Value::StrictArray(ours.map(Value::string).to_vec());
    assert_eq!(command.args[0].member("fourCcList"), Some(&expected));
}

#[test]
fn our_client_lists_its_fourccs_whatever_it_is_there_for() {
    for purpose in [Purpose::Publish, Purpose::Play] {
        let mut pair = Pair::new(purpose, "rtmp://h/live/s", 4096);
        let hello = pair.client.take_output();
        assert_eq!(pair.server.handle_input(pair.now, &mut &hello[..]), Ok(None));
        let hello = pair.server.take_output();
        assert_eq!(pair.client.handle_input(&mut &hello[..]), Ok(None));
        let connect = pair.client.take_output();
        assert_eq!(pair.server.handle_input(pair.now, &mut &connect[..]), Ok(None));
        let answer = output(&mut pair.server, false).pop().unwrap();
        let command = Command::parse(answer.kind, &answer.payload).unwrap().unwrap();
        assert!(command.args[0].member("fourCcList").is_some(), "only who lists his is told ours");
    }
}

#[test]
fn a_connection_may_publish_again_after_its_first_stream() {
    let mut pair = Pair::publishing(4096);
    let unpublish = [command("FCUnpublish", vec![]), command("deleteStream", vec![])];
    assert_eq!(pair.send(&unpublish), Ok(vec![ServerEvent::StreamClosed]));
    assert_eq!(pair.send(&[message(MessageType::AUDIO, vec![0xaf, 1])]), Ok(vec![]));
    let events = pair.send(&[command("createStream", vec![]), command("publish", vec![Value::string("b")])]).unwrap();
    assert!(matches!(&events[..], [ServerEvent::PublishRequested(path)] if path.name == "b"));
}

#[test]
fn metadata_is_unwrapped_and_empty_or_foreign_messages_are_left_out() {
    let mut pair = Pair::publishing(4096);
    let mut body = Vec::new();
    for value in [Value::string("@setDataFrame"), Value::string("onMetaData"), Value::EcmaArray(vec![])] {
        value.write(&mut body);
    }
    let other = vec![2, 0, 1, b'x'];
    let events = pair.send(&[
        message(MessageType::DATA, body.clone()),
        message(MessageType::DATA, other),
        message(MessageType::AUDIO, vec![]),
        message(MessageType(99), vec![1]),
    ]);
    let unwrapped = media(MediaKind::Data, 0, &body[16..]);
    assert_eq!(events, Ok(vec![ServerEvent::Media(unwrapped)]));
}

#[test]
fn an_aggregate_is_heard_as_its_parts() {
    let part = |kind: u8, time: u8, byte: u8| vec![kind, 0, 0, 1, 0, 0, time, 0, 0, 0, 0, byte, 0, 0, 0, 12];
    // A command inside has no meaning, and neither has an aggregate.
    let body = [part(8, 5, 1), part(20, 5, 2), part(22, 5, 2), part(9, 9, 3)].concat();
    let mut aggregate = message(MessageType::AGGREGATE, body);
    aggregate.timestamp_ms = 1000;
    let expected =
        [media(MediaKind::Audio, 1000, &[1]), media(MediaKind::Video, 1004, &[3])].map(ServerEvent::Media).to_vec();
    assert_eq!(Pair::publishing(4096).send(&[aggregate.clone()]), Ok(expected));
    assert_eq!(Pair::playing(4096).send(&[aggregate]), Ok(vec![]));
}

#[test]
fn pausing_is_remembered_and_answered() {
    let mut pair = Pair::playing(4096);
    for (flag, paused) in [(Some(true), true), (Some(false), false), (None, true), (None, false)] {
        pair.send(&[command("pause", flag.map(Value::Boolean).into_iter().collect())]).unwrap();
        assert_eq!(pair.server.is_paused(), paused);
        assert_eq!(names(&output(&mut pair.server, true)), ["onStatus"]);
    }
}

#[test]
fn a_ping_is_answered_with_its_own_time() {
    let mut pair = Pair::publishing(4096);
    let ping = UserControl::PingRequest { timestamp_ms: 77 }.to_bytes();
    pair.send(&[message(MessageType::USER_CONTROL, ping)]).unwrap();
    let answer = output(&mut pair.server, true);
    assert_eq!(UserControl::parse(&answer[0].payload), Some(UserControl::PingResponse { timestamp_ms: 77 }));
    assert!(pair.send(&[message(MessageType::USER_CONTROL, vec![0, 6, 1])]).is_err());
    assert!(Pair::publishing(4096).send(&[message(MessageType::WINDOW_ACK_SIZE, vec![1])]).is_err());
}

#[test]
fn received_bytes_are_acknowledged_by_the_peers_window() {
    let mut pair = Pair::publishing(4096);
    let window = message(MessageType::WINDOW_ACK_SIZE, 100_000u32.to_be_bytes().to_vec());
    pair.send(&[window]).unwrap();
    let frame = message(MessageType::VIDEO, vec![0x27; 10_000]);
    let acks: usize = (0..20)
        .map(|_| {
            pair.send(std::slice::from_ref(&frame)).unwrap();
            output(&mut pair.server, true).iter().filter(|m| m.kind == MessageType::ACKNOWLEDGEMENT).count()
        })
        .sum();
    assert_eq!(acks, 4);
}
