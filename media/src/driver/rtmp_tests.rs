use bytes::Bytes;
use tokio::io::DuplexStream;

use super::*;
use crate::{
    buf::pipe::{PipeReader, pipe},
    command::{PlayWatch, PushGrant, Refusal, Reply, UrlRefusal},
    driver::{
        feed::Feed,
        ingest::{Ingest, IngestSink, PublisherEnd},
    },
    flv::{TagKind, UNCARRIED_TAGS_MAX},
    ids::{RoomId, StreamId},
    outlet::Outlet,
    rtmp::{
        chunk::write_media,
        client::{ClientEvent, ClientSession, Purpose},
        message::MediaKind,
        url::RtmpUrl,
    },
    units::time::WallClock,
};

const STREAM: StreamId = StreamId(7);

/// The other end of everything that a connection holds.
struct Bench {
    client: Client,
    commands: mpsc::Receiver<Command>,
    events: mpsc::Receiver<Event>,
}

/// What a publisher brings, as a player and the room's owner see it.
struct Stream {
    ingest: Ingest,
    player: Player,
    ended: mpsc::UnboundedReceiver<PublisherEnd>,
    _room: PipeReader,
}

impl Stream {
    fn new() -> Stream {
        let (writer, reader) = pipe(1_024, || ());
        let feed = Feed::new(Duration::ZERO);
        let player = feed.outlet().attach();
        let (on_end, ended) = mpsc::unbounded_channel();
        let sink = IngestSink {
            pipe: writer,
            feed,
            on_tracks: Box::new(|_, _| ()),
            on_b_frames: Box::new(|| ()),
            on_end: Box::new(move |_, end| on_end.send(end).unwrap()),
            counts: Arc::default(),
            clock: (WallClock::new(0), Instant::now()),
        };
        Stream { ingest: Ingest::new(&MediaConfig::default(), sink), player, ended, _room: reader }
    }
}

/// A client over a pipe in memory.
struct Client {
    stream: DuplexStream,
    session: ClientSession,
    input: Vec<u8>,
}

impl Bench {
    fn new(purpose: Purpose, url: &str) -> Bench {
        let (ours, theirs) = tokio::io::duplex(4096);
        let (commands, commands_out) = mpsc::channel(8);
        let (events, events_out) = mpsc::channel(8);
        let remote = SocketAddr::from(([192, 0, 2, 1], 5000));
        tokio::spawn(serve_connection(ours, remote, Instant::now(), commands, events));
        let session = ClientSession::new(Time::ZERO, RtmpUrl::parse(url).unwrap(), purpose);
        let client = Client { stream: theirs, session, input: Vec::new() };
        Bench { client, commands: commands_out, events: events_out }
    }

    async fn push_requested(&mut self) -> (StreamUrl, oneshot::Sender<Result<PushGrant, UrlRefusal>>) {
        let event = tokio::select! {
            event = self.events.recv() => event,
            answer = self.client.next() => panic!("{answer:?} before a decision"),
        };
        match event {
            Some(Event::PushRequested { url, reply }) => (url, reply),
            _ => panic!("another event"),
        }
    }

    async fn play_requested(&mut self) -> oneshot::Sender<Result<PlayGrant, UrlRefusal>> {
        let event = tokio::select! {
            event = self.events.recv() => event,
            answer = self.client.next() => panic!("{answer:?} before a decision"),
        };
        match event {
            Some(Event::PlayRequested { reply, .. }) => reply,
            _ => panic!("another event"),
        }
    }

    async fn ingest_opened(&mut self) -> Reply<Inlet> {
        match self.commands.recv().await {
            Some(Command::OpenIngest { stream: STREAM, reply, .. }) => reply,
            _ => panic!("another command"),
        }
    }

    /// Up to the moment when media may flow.
    async fn publishing(&mut self) -> Stream {
        let (_, reply) = self.push_requested().await;
        reply.send(Ok(PushGrant { room: RoomId(1), stream: STREAM })).unwrap();
        let stream = Stream::new();
        self.ingest_opened().await.send(Ok(stream.ingest.attach())).unwrap();
        assert_eq!(self.client.next().await, Some(ClientEvent::Started));
        stream
    }

    async fn playing(&mut self) -> Arc<Outlet> {
        self.playing_until(None).await
    }

    async fn playing_until(&mut self, until: Option<Instant>) -> Arc<Outlet> {
        self.play_requested().await.send(Ok(PlayGrant { stream: STREAM, until, watch: PlayWatch::nobody() })).unwrap();
        let outlet = Outlet::new();
        match self.commands.recv().await {
            Some(Command::Attach { stream: STREAM, reply }) => reply.send(Ok(outlet.attach())).unwrap(),
            _ => panic!("another command"),
        }
        assert_eq!(self.client.next().await, Some(ClientEvent::Started));
        outlet
    }
}

impl Client {
    /// The next event; `None` when the server closed the connection.
    async fn next(&mut self) -> Option<ClientEvent> {
        loop {
            let mut data = &self.input[..];
            let event = self.session.handle_input(&mut data).unwrap();
            self.input = data.to_vec();
            let output = self.session.take_output();
            // A server that said its last word need not take more.
            let _ = self.stream.write_all(&output).await;
            if event.is_some() {
                return event;
            }
            if self.stream.read_buf(&mut self.input).await.unwrap() == 0 {
                return None;
            }
        }
    }

    async fn send(&mut self, tag: &Tag) {
        let bytes = write_media(self.session.stream_id(), tag.media_kind(), tag.timestamp_ms, &tag.payload);
        self.stream.write_all(&bytes).await.unwrap();
    }
}

fn video(timestamp_ms: u32, key: bool, length: usize) -> Tag {
    let mut payload = vec![0; length.max(5)];
    payload[..2].copy_from_slice(&[if key { 0x17 } else { 0x27 }, 1]);
    Tag::new(TagKind::Video, timestamp_ms, payload.into())
}

fn refusal() -> UrlRefusal {
    UrlRefusal { code: 70_001, text: "userSig has expired".into() }
}

#[tokio::test]
async fn a_granted_publisher_is_heard_until_it_leaves() {
    let mut bench = Bench::new(Purpose::Publish, "rtmp://h/push/1001?usersig=x");
    let (url, reply) = bench.push_requested().await;
    assert_eq!((&*url.app, &*url.name, &*url.query), ("push", "1001", "usersig=x"));
    reply.send(Ok(PushGrant { room: RoomId(1), stream: STREAM })).unwrap();
    let mut stream = Stream::new();
    bench.ingest_opened().await.send(Ok(stream.ingest.attach())).unwrap();
    assert_eq!(bench.client.next().await, Some(ClientEvent::Started));
    for tag in [video(0, true, 100_000), video(40, false, 10)] {
        bench.client.send(&tag).await;
        assert_eq!(stream.player.next().await.map(|given| given.tags()), Some(vec![tag]));
    }
    drop(bench.client);
    assert_eq!(stream.ended.recv().await, Some(PublisherEnd::Lost));
}

#[tokio::test]
async fn unpublishing_ends_the_stream_and_not_the_connection() {
    let mut bench = Bench::new(Purpose::Publish, "rtmp://h/push/1001");
    let mut stream = bench.publishing().await;
    bench.client.session.close();
    let bytes = bench.client.session.take_output();
    bench.client.stream.write_all(&bytes).await.unwrap();
    assert_eq!(stream.ended.recv().await, Some(PublisherEnd::Over), "he says that it is over, and is not just gone");
}

#[tokio::test]
async fn a_stream_ended_by_the_server_disconnects_its_publisher() {
    let mut bench = Bench::new(Purpose::Publish, "rtmp://h/push/1001");
    bench.publishing().await.ingest.stop();
    assert_eq!(bench.client.next().await, Some(ClientEvent::Ended { code: "NetStream.Unpublish.Success".into() }));
    assert_eq!(bench.client.next().await, None);
}

#[tokio::test]
async fn a_publisher_of_whose_codecs_none_is_carried_reads_so_and_is_not_waited_for() {
    let mut bench = Bench::new(Purpose::Publish, "rtmp://h/push/1001");
    let mut stream = bench.publishing().await;
    let alien = Tag::new(TagKind::Audio, 40, Bytes::from_static(b"\x91ac-3x"));
    for _ in 0..UNCARRIED_TAGS_MAX {
        bench.client.send(&alien).await;
        assert_eq!(stream.player.next().await.map(|given| given.tags()), Some(vec![alien.clone()]));
    }
    bench.client.send(&alien).await;
    let code = "NetStream.Publish.Rejected".to_owned();
    let description = "74001: ac-3 cannot go into a room; send H.264 and AAC".to_owned();
    assert_eq!(bench.client.next().await, Some(ClientEvent::Refused { code, description }));
    assert_eq!(bench.client.next().await, None);
    assert_eq!(stream.ended.recv().await, Some(PublisherEnd::Over));
}

#[tokio::test]
async fn a_refused_publisher_reads_why_before_the_end() {
    let mut bench = Bench::new(Purpose::Publish, "rtmp://h/push/1001");
    let (_, reply) = bench.push_requested().await;
    reply.send(Err(refusal())).unwrap();
    let expected = ClientEvent::Refused {
        code: "NetStream.Publish.Unauthorized".into(),
        description: "70001: userSig has expired".into(),
    };
    assert_eq!(bench.client.next().await, Some(expected));
    assert_eq!(bench.client.next().await, None);
}

#[tokio::test]
async fn a_refused_player_reads_why_before_the_end() {
    let mut bench = Bench::new(Purpose::Play, "rtmp://h/live/s");
    bench.play_requested().await.send(Err(refusal())).unwrap();
    let expected =
        ClientEvent::Refused { code: "NetStream.Play.Failed".into(), description: "70001: userSig has expired".into() };
    assert_eq!(bench.client.next().await, Some(expected));
    assert_eq!(bench.client.next().await, None);
}

#[tokio::test]
async fn a_grant_that_media_cannot_keep_is_told_to_whoever_granted() {
    let mut bench = Bench::new(Purpose::Publish, "rtmp://h/push/1001");
    let (_, reply) = bench.push_requested().await;
    reply.send(Ok(PushGrant { room: RoomId(1), stream: STREAM })).unwrap();
    assert!(bench.ingest_opened().await.send(Err(Refusal::NotFound)).is_ok());
    assert!(matches!(bench.events.recv().await, Some(Event::StreamEnded { stream: STREAM })));
    match bench.client.next().await {
        Some(ClientEvent::Refused { code, .. }) => assert_eq!(code, "NetStream.Publish.BadName"),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_player_has_to_go_when_his_grant_is_over() {
    let mut bench = Bench::new(Purpose::Play, "rtmp://h/live/s");
    let outlet = bench.playing_until(Some(Instant::now() + Duration::from_millis(20))).await;
    assert!(matches!(bench.client.next().await, Some(ClientEvent::Ended { .. })));
    assert_eq!(bench.client.next().await, None);
    assert_eq!(outlet.players(), 0);
}

#[tokio::test]
async fn a_player_gets_tags_in_order_and_then_the_end() {
    let mut bench = Bench::new(Purpose::Play, "rtmp://h/live/s");
    let outlet = bench.playing().await;
    for round in 0..50u32 {
        let tag = video((u32::MAX - 1000).wrapping_add(round * 40), round == 0, 1 + round as usize * 3000);
        outlet.push(tag.clone());
        match bench.client.next().await {
            Some(ClientEvent::Media(media)) => assert_eq!(Tag::from(media), tag),
            other => panic!("{other:?}"),
        }
    }
    outlet.close();
    assert!(matches!(bench.client.next().await, Some(ClientEvent::Ended { .. })));
    assert_eq!(bench.client.next().await, None);
}

#[tokio::test]
async fn a_player_that_leaves_is_detached() {
    let mut bench = Bench::new(Purpose::Play, "rtmp://h/live/s");
    let outlet = bench.playing().await;
    drop(bench.client);
    while outlet.players() > 0 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn rubbish_ends_the_connection_without_a_word() {
    let mut bench = Bench::new(Purpose::Play, "rtmp://h/live/s");
    bench.client.stream.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
    let mut answer = Vec::new();
    bench.client.stream.read_to_end(&mut answer).await.unwrap();
    assert!(answer.is_empty());
}

#[tokio::test]
async fn connections_above_the_limit_are_closed_and_room_is_made_by_those_that_leave() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let config = MediaConfig { rtmp_connections_max: 1, ..MediaConfig::default() };
    let server = tokio::spawn(serve(listener, config, mpsc::channel(1).0, mpsc::channel(1).0));
    let mut hello = Vec::new();
    crate::rtmp::handshake::ClientHandshake::new(true, &mut hello);
    let connect = async || {
        let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
        // A connection that is closed at once may fail here already.
        let _ = stream.write_all(&hello).await;
        let answered = matches!(stream.read(&mut [0; 1]).await, Ok(1));
        (stream, answered)
    };
    let first = connect().await;
    assert!(first.1);
    assert!(!connect().await.1);
    drop(first);
    while !connect().await.1 {}
    server.abort();
}

#[tokio::test]
async fn a_half_open_connection_costs_under_8_kib() {
    let (ours, _theirs) = tokio::io::duplex(1);
    let remote = SocketAddr::from(([192, 0, 2, 1], 5000));
    let task = serve_connection(ours, remote, Instant::now(), mpsc::channel(1).0, mpsc::channel(1).0);
    // The task itself, what it reads into, and then either half of C1 or, once that is answered and gone, S0, S1 and S2.
    let heap = READ_BYTES + 1 + 2 * crate::rtmp::handshake::PACKET_BYTES;
    assert!(size_of_val(&task) + heap <= 8 << 10, "{}", size_of_val(&task));
}

#[test]
fn a_path_in_the_log_has_no_query_no_controls_and_an_end() {
    let path = |name: &str| StreamPath {
        app: "live".into(),
        name: name.into(),
        query: "usersig=SECRET".into(),
        host: String::new(),
    };
    assert_eq!(Shown(&path("a\r\n\x1b[31mb")).to_string(), r"live/a\r\n\u{1b}[31mb");
    assert_eq!(Shown(&path(&"n".repeat(1000))).to_string().len(), SHOWN_CHARS_MAX);
}

#[test]
fn ticket_codes_are_told_from_names() {
    assert_eq!(refusal_kind(Some(70_001)), RefusalKind::Unauthorized);
    assert_eq!(refusal_kind(Some(71_006)), RefusalKind::Unauthorized);
    assert_eq!(refusal_kind(Some(74_003)), RefusalKind::BadName);
    assert_eq!(refusal_kind(None), RefusalKind::BadName);
    assert_eq!(MediaKind::Data, Tag::new(TagKind::Script, 0, Bytes::new()).media_kind());
}
