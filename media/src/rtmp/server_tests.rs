use bytes::Bytes;
use proptest::prelude::*;

use super::*;
use crate::rtmp::{
    STREAM_ID,
    chunk::{
        CHUNK_SIZE_OUT, ChunkError, MESSAGE_BYTES_MAX, UNAUTHENTICATED_MESSAGE_BYTES_MAX, write_media, write_message,
    },
    client::{ClientEvent, ClientSession, Purpose},
    message::be32,
    url::RtmpUrl,
};

/// A server and a client of ours, and the bytes between them in pieces of a given size.
struct Pair {
    now: Time,
    server: ServerSession,
    client: ClientSession,
    to_server: Vec<u8>,
    to_client: Vec<u8>,
    piece: usize,
    server_events: Vec<ServerEvent>,
    client_events: Vec<ClientEvent>,
}

impl Pair {
    fn new(purpose: Purpose, url: &str, piece: usize) -> Pair {
        let now = Time::from_millis(1);
        Pair {
            now,
            server: ServerSession::new(now),
            client: ClientSession::new(now, RtmpUrl::parse(url).unwrap(), purpose),
            to_server: Vec::new(),
            to_client: Vec::new(),
            piece,
            server_events: Vec::new(),
            client_events: Vec::new(),
        }
    }

    /// Moves bytes until none are left, or the server waits for an answer to a request.
    fn settle(&mut self) {
        loop {
            self.to_server.extend(self.client.take_output());
            self.to_client.extend(self.server.take_output());
            let before = self.to_server.len() + self.to_client.len();
            let mut unread = Vec::new();
            for mut data in std::mem::take(&mut self.to_server).chunks(self.piece) {
                while let Some(event) = self.server.handle_input(self.now, &mut data).unwrap() {
                    self.server_events.push(event);
                }
                unread.extend_from_slice(data);
            }
            self.to_server = unread;
            for mut data in std::mem::take(&mut self.to_client).chunks(self.piece) {
                while let Some(event) = self.client.handle_input(&mut data).unwrap() {
                    self.client_events.push(event);
                }
            }
            if before == self.to_server.len() {
                return;
            }
        }
    }

    fn publishing(piece: usize) -> Pair {
        let mut pair = Pair::new(Purpose::Publish, "rtmp://h/push/1001?usersig=x", piece);
        pair.settle();
        pair.server.accept_publish(pair.now);
        pair.settle();
        assert_eq!(std::mem::take(&mut pair.client_events), [ClientEvent::Started]);
        pair.server_events.clear();
        pair
    }

    fn playing(piece: usize) -> Pair {
        let mut pair = Pair::new(Purpose::Play, "rtmp://h/live/s", piece);
        pair.settle();
        pair.server.accept_play(pair.now);
        pair.settle();
        assert_eq!(std::mem::take(&mut pair.client_events), [ClientEvent::Started]);
        pair
    }

    /// Raw messages from the client's side.
    fn send(&mut self, messages: &[Message]) -> Result<Vec<ServerEvent>, RtmpError> {
        let mut bytes = Vec::new();
        messages.iter().for_each(|message| write_message(message, CHUNK_SIZE_OUT, &mut bytes));
        let (mut data, mut events) = (&bytes[..], Vec::new());
        while let Some(event) = self.server.handle_input(self.now, &mut data)? {
            events.push(event);
        }
        Ok(events)
    }
}

fn media(kind: MediaKind, timestamp_ms: u32, payload: &[u8]) -> Media {
    Media { kind, timestamp_ms, payload: Bytes::copy_from_slice(payload) }
}

fn message(kind: MessageType, payload: impl Into<Bytes>) -> Message {
    Message { kind, timestamp_ms: 0, stream_id: STREAM_ID, payload: payload.into() }
}

fn command(name: &str, args: Vec<Value>) -> Message {
    message(MessageType::COMMAND, Command::new(name, 9.0, Value::Null, args).to_bytes())
}

fn connect(app: &str) -> Message {
    let object = Value::Object(vec![("app".into(), Value::string(app))]);
    message(MessageType::COMMAND, Command::new("connect", 1.0, object, Vec::new()).to_bytes())
}

/// A server past its handshake that was told our chunk size, and nothing else.
fn greeted() -> Pair {
    let mut pair = Pair::new(Purpose::Publish, "rtmp://h/a/b", 4096);
    pair.to_server.extend(pair.client.take_output());
    pair.to_server.extend([0; 1536]);
    let bytes = std::mem::take(&mut pair.to_server);
    assert_eq!(pair.server.handle_input(pair.now, &mut &bytes[..]), Ok(None));
    let size = message(MessageType::SET_CHUNK_SIZE, (CHUNK_SIZE_OUT as u32).to_be_bytes().to_vec());
    let mut bytes = Vec::new();
    write_message(&size, 128, &mut bytes);
    assert_eq!(pair.server.handle_input(pair.now, &mut &bytes[..]), Ok(None));
    pair.server.take_output();
    pair
}

/// What the server has to say, as messages.
fn output(server: &mut ServerSession, greeted: bool) -> Vec<Message> {
    let mut reader = crate::rtmp::chunk::ChunkReader::new();
    if greeted {
        reader.set_chunk_size(CHUNK_SIZE_OUT as u32).unwrap();
    }
    let bytes = server.take_output();
    let (mut data, mut messages) = (&bytes[..], Vec::new());
    while let Some(message) = reader.read(&mut data).unwrap() {
        if message.kind == MessageType::SET_CHUNK_SIZE {
            reader.set_chunk_size(be32(&message.payload).unwrap()).unwrap();
        }
        messages.push(message);
    }
    messages
}

fn names(messages: &[Message]) -> Vec<String> {
    let commands = messages.iter().filter(|message| message.kind == MessageType::COMMAND);
    commands.map(|message| Command::parse(message.kind, &message.payload).unwrap().unwrap().name).collect()
}

#[test]
fn a_publisher_is_named_asked_for_and_heard() {
    let mut pair = Pair::new(Purpose::Publish, "rtmp://h/push/1001?usersig=a", 5000);
    pair.settle();
    let path = StreamPath { app: "push".into(), name: "1001".into(), query: "usersig=a".into() };
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
    assert_eq!(names(&answer), ["onStatus", "onStatus"]);
    assert_eq!(answer.iter().filter(|message| message.kind == MessageType::DATA).count(), 2);
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
    let expected = Value::StrictArray(vec![Value::string("avc1"), Value::string("mp4a")]);
    assert_eq!(command.args[0].member("fourCcList"), Some(&expected));
}

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
    assert_eq!(Pair::playing(4096).send(&[long.clone()]), refused);
    let mut pair = Pair::publishing(4096);
    assert_eq!(pair.send(&[long.clone()]).unwrap().len(), 1);
    assert_eq!(pair.send(&[message(MessageType::VIDEO, vec![0x17; MESSAGE_BYTES_MAX])]).unwrap().len(), 1);
    assert_eq!(pair.send(&[command("deleteStream", vec![])]), Ok(vec![ServerEvent::StreamClosed]));
    assert_eq!(pair.send(&[long]), refused);
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
fn hostile_metadata_ends_the_connection() {
    let deep = [0x0a, 0, 0, 0, 1].repeat(70_000);
    assert!(matches!(Pair::publishing(4096).send(&[message(MessageType::DATA, deep)]), Err(RtmpError::Amf(_))));
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

    #[test]
    fn a_conversation_with_broken_bytes_never_panics(
        flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..5),
    ) {
        let mut pair = greeted();
        let mut bytes = Vec::new();
        for message in [connect("live"), command("createStream", vec![]), command("publish", vec![Value::string("s?k=v")])] {
            write_message(&message, CHUNK_SIZE_OUT, &mut bytes);
        }
        for (at, flip) in flips {
            let at = at.index(bytes.len());
            bytes[at] ^= flip;
        }
        let mut data = &bytes[..];
        while let Ok(Some(_)) = pair.server.handle_input(pair.now, &mut data) {
            pair.server.accept_publish(pair.now);
        }
    }
}
