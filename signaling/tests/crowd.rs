//! A crowd: 1,000 WebSocket members in 100 rooms, each of whom says something every second, on a server with one core; and one
//! who does not read.
//!
//! Delivery time is measured from before the sender's write to after the receiver's read. It is held to its bound where the
//! machine has time for it: where others use the cores too it says more about them, and is only printed, while the server's own
//! CPU time is held to its bound in any case.

use std::{
    fs,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use futures_util::{SinkExt, StreamExt, stream::SplitStream};
use serde_json::{Value, json};
use signaling::{AppConfig, Hub, SignalingConfig, TicketVersion, issue_user_sig, router};
use tokio::{
    net::{TcpSocket, TcpStream},
    sync::{Barrier, mpsc},
    time::{MissedTickBehavior, interval_at, timeout},
};
use tokio_tungstenite::{WebSocketStream, client_async, tungstenite::Message};

const ROOMS: usize = 100;
const MEMBERS_PER_ROOM: usize = 10;
/// How long everybody talks.
const SECONDS: u64 = 6;
/// The bound on the delivery time of 99 of 100 messages.
const P99_MAX: Duration = Duration::from_millis(100);
/// The room with the one who does not read, and how many there say how much how often to fill his queue.
const LOUD_ROOM: usize = 1_000;
const LOUD_MEMBERS: usize = 4;
const LOUD_BYTES: usize = 8_800;
const LOUD_EVERY: Duration = Duration::from_millis(55);

type Socket = WebSocketStream<TcpStream>;

fn app() -> AppConfig {
    AppConfig { v2_secret: Some("secret".into()), ..AppConfig::default() }
}

/// Serves on a thread of its own with nothing else on it; returns the address and the thread's id.
fn serve() -> (SocketAddr, u32) {
    let (sender, receiver) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let thread = fs::read_link("/proc/thread-self").unwrap();
        let thread: u32 = thread.file_name().unwrap().to_str().unwrap().parse().unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let config = SignalingConfig { apps: vec![app()], ..SignalingConfig::default() };
            let (commands, mut received) = mpsc::channel(64);
            let (_events, events) = mpsc::channel(64);
            let hub = Hub::start(config, commands, events).unwrap();
            tokio::spawn(async move { while received.recv().await.is_some() {} });
            // What the kernel would hold for the one who does not read takes long to fill, so it holds little here; accepted
            // sockets inherit this.
            let socket = TcpSocket::new_v4().unwrap();
            socket.set_send_buffer_size(64 << 10).unwrap();
            socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
            let listener = socket.listen(1_024).unwrap();
            sender.send((listener.local_addr().unwrap(), thread)).unwrap();
            axum::serve(listener, router(hub).into_make_service_with_connect_info::<SocketAddr>()).await.unwrap();
        });
    });
    receiver.recv().unwrap()
}

/// What a thread has used of a core.
fn cpu_time(thread: u32) -> Duration {
    /// What `/proc` counts in, on every Linux of today.
    const TICKS_PER_SECOND: f64 = 100.0;
    let stat = fs::read_to_string(format!("/proc/self/task/{thread}/stat")).unwrap();
    // The name in brackets may contain anything; utime and stime are the 12th and 13th field behind it.
    let fields: Vec<&str> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
    let ticks = fields[11].parse::<f64>().unwrap() + fields[12].parse::<f64>().unwrap();
    Duration::from_secs_f64(ticks / TICKS_PER_SECOND)
}

async fn enter(address: SocketAddr, room: usize, user: &str, receive_buffer: Option<u32>) -> Socket {
    let socket = TcpSocket::new_v4().unwrap();
    if let Some(bytes) = receive_buffer {
        socket.set_recv_buffer_size(bytes).unwrap();
    }
    let tcp = socket.connect(address).await.unwrap();
    tcp.set_nodelay(true).unwrap();
    let (mut socket, _) = client_async(format!("ws://{address}/signal"), tcp).await.unwrap();
    let now_s = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let sig = issue_user_sig(&app(), TicketVersion::V2, user, now_s, 300).unwrap();
    let request = json!({"id": 1, "type": "enter", "sdkAppID": app().sdk_app_id, "userID": user, "userSig": sig, "roomID": format!("room {room}")});
    socket.send(Message::text(request.to_string())).await.unwrap();
    let Some(Ok(Message::Text(answer))) = socket.next().await else { panic!("no answer to enter") };
    assert_eq!(serde_json::from_str::<Value>(&answer).unwrap()["type"], "ok", "{answer}");
    socket
}

/// What one member heard.
#[derive(Default)]
struct Heard {
    /// Time of each delivery.
    delays: Vec<Duration>,
    acknowledged: usize,
    /// Members who were seen leaving.
    left: Vec<String>,
}

/// Reads until the member is told that all is over, and holds the numbers and each sender's order to what they should be.
async fn listen(
    mut stream: SplitStream<Socket>,
    origin: Instant,
    heard_all: Arc<AtomicUsize>,
    over: Arc<AtomicBool>,
) -> Heard {
    let mut heard = Heard::default();
    let mut newest: Vec<(String, u64)> = Vec::new();
    let mut last_seq = None;
    while !over.load(Ordering::Relaxed) {
        let Ok(message) = timeout(Duration::from_millis(200), stream.next()).await else { continue };
        let Some(Ok(Message::Text(text))) = message else { panic!("the connection ended: {message:?}") };
        let now = origin.elapsed();
        let message: Value = serde_json::from_str(&text).unwrap();
        let seq = message["seq"].as_u64().unwrap();
        assert!(last_seq.is_none_or(|last| seq == last + 1), "{last_seq:?}, then {seq}");
        last_seq = Some(seq);
        match message["type"].as_str().unwrap() {
            "message" => {
                let (n, sent_at) = message["text"].as_str().unwrap().trim_end().split_once(' ').unwrap();
                let (n, sent_at): (u64, u64) = (n.parse().unwrap(), sent_at.parse().unwrap());
                let from = message["from"].as_str().unwrap();
                match newest.iter_mut().find(|(user, _)| user == from) {
                    Some((_, newest)) => {
                        assert_eq!(n, *newest + 1, "{from}'s messages come in order");
                        *newest = n;
                    }
                    None => newest.push((from.to_owned(), n)),
                }
                heard.delays.push(now.saturating_sub(Duration::from_micros(sent_at)));
                heard_all.fetch_add(1, Ordering::Relaxed);
            }
            "ok" => heard.acknowledged += 1,
            "member-left" => heard.left.push(message["userID"].as_str().unwrap().to_owned()),
            "member-entered" => {}
            _ => panic!("{text}"),
        }
    }
    heard
}

/// Who talks, to whom, and how.
#[derive(Clone, Copy)]
struct Talk {
    every: Duration,
    /// When the first message is sent, after the start.
    after: Duration,
    messages: u64,
    /// Each message is filled up to this.
    bytes: usize,
}

async fn talk(
    socket: Socket,
    talk: Talk,
    start: Arc<Barrier>,
    origin: Instant,
    heard_all: Arc<AtomicUsize>,
    over: Arc<AtomicBool>,
) -> Heard {
    let (mut sink, stream) = socket.split();
    let listening = tokio::spawn(listen(stream, origin, heard_all, over));
    start.wait().await;
    let mut ticks = interval_at(tokio::time::Instant::now() + talk.after, talk.every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
    for n in 0..talk.messages {
        ticks.tick().await;
        let text = format!("{n} {}", origin.elapsed().as_micros());
        let text = format!("{text:<width$}", width = talk.bytes);
        let message = json!({"id": n + 2, "type": "message", "text": text});
        sink.send(Message::text(message.to_string())).await.unwrap();
    }
    listening.await.unwrap()
}

#[test]
fn a_thousand_members_hear_one_another_in_time_and_a_slow_reader_disturbs_nobody() {
    let (address, server) = serve();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let (origin, over) = (Instant::now(), Arc::new(AtomicBool::new(false)));
        let (crowd_heard, loud_heard) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let start = Arc::new(Barrier::new(ROOMS * MEMBERS_PER_ROOM + LOUD_MEMBERS + 1));
        let mut loud = Vec::new();
        for n in 0..LOUD_MEMBERS {
            let socket = enter(address, LOUD_ROOM, &format!("loud {n}"), None).await;
            let messages = SECONDS * 1_000 / LOUD_EVERY.as_millis() as u64;
            let how = Talk { every: LOUD_EVERY, after: LOUD_EVERY / 4 * n as u32, messages, bytes: LOUD_BYTES };
            loud.push(tokio::spawn(talk(socket, how, start.clone(), origin, loud_heard.clone(), over.clone())));
        }
        // He keeps his socket, and reads nothing from it.
        let _sloth = enter(address, LOUD_ROOM, "sloth", Some(4_096)).await;
        let mut crowd = Vec::new();
        for room in 0..ROOMS {
            for n in 0..MEMBERS_PER_ROOM {
                let socket = enter(address, room, &format!("member {room} {n}"), None).await;
                let place = (room * MEMBERS_PER_ROOM + n) as u32;
                let after = Duration::from_secs(1) * place / (ROOMS * MEMBERS_PER_ROOM) as u32;
                let how = Talk { every: Duration::from_secs(1), after, messages: SECONDS, bytes: 0 };
                crowd.push(tokio::spawn(talk(socket, how, start.clone(), origin, crowd_heard.clone(), over.clone())));
            }
        }
        let cpu_before = cpu_time(server);
        start.wait().await;
        let started = Instant::now();
        let expected = ROOMS * MEMBERS_PER_ROOM * (MEMBERS_PER_ROOM - 1) * SECONDS as usize;
        let loud_expected = LOUD_MEMBERS * (LOUD_MEMBERS - 1) * (SECONDS * 1_000 / LOUD_EVERY.as_millis() as u64) as usize;
        let deadline = started + Duration::from_secs(SECONDS + 20);
        while crowd_heard.load(Ordering::Relaxed) < expected || loud_heard.load(Ordering::Relaxed) < loud_expected {
            assert!(Instant::now() < deadline, "{} of {expected} messages came", crowd_heard.load(Ordering::Relaxed));
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let (cpu, wall) = (cpu_time(server) - cpu_before, started.elapsed());
        over.store(true, Ordering::Relaxed);

        let mut delays = Vec::new();
        for member in crowd {
            let heard = member.await.unwrap();
            assert_eq!((heard.acknowledged, heard.left.len()), (SECONDS as usize, 0), "all he said was taken, nobody left");
            delays.extend(heard.delays);
        }
        let mut saw_sloth_leave = 0;
        for member in loud {
            let heard = member.await.unwrap();
            saw_sloth_leave += heard.left.iter().filter(|user| *user == "sloth").count();
            assert!(heard.left.iter().all(|user| user == "sloth"));
        }
        assert_eq!(delays.len(), expected, "nothing is lost and nothing comes twice");
        assert_eq!(saw_sloth_leave, LOUD_MEMBERS, "who does not read is let go");

        delays.sort_unstable();
        let share = |permille: usize| delays[(delays.len() - 1) * permille / 1000];
        let core = cpu.as_secs_f64() / wall.as_secs_f64();
        let load = fs::read_to_string("/proc/loadavg").unwrap();
        let load: f64 = load.split(' ').next().unwrap().parse().unwrap();
        println!(
            "{expected} deliveries in {wall:.1?}: p50 {:.1?}, p99 {:.1?}, greatest {:.1?} (bound {P99_MAX:?}); the server used \
             {:.0} % of a core; load of the machine {load}",
            share(500),
            share(990),
            share(1000),
            core * 100.0
        );
        assert!(core < 0.6, "{core} of a core");
        let cores = std::thread::available_parallelism().unwrap().get() as f64;
        assert!(share(990) <= P99_MAX || load > cores, "{:?}", share(990));
    });
}
