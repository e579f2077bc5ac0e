//! What a packet costs, room by room of its walk, and the whole walk for comparison: `cargo bench -p media`.
//!
//! One publisher's video frames of five packets of 1,100 bytes go to 100 subscribers on loopback sockets that nobody reads.
//! The floor is what the same traffic costs if it is sealed and sent and nothing else: figures of different machines can be
//! compared by their ratio to it. (`floor.rs` beside this has it.)
//! Each figure is the median over many batches of the thread's CPU time, divided by the packets of the batch; the share is
//! that of one forwarded packet. The machine's other work disturbs figures, less so their ratios.

#[path = "packet/floor.rs"]
mod floor;
#[path = "../tests/kit/pair.rs"]
mod pair;

use std::{
    hint::black_box,
    net::{SocketAddr, UdpSocket as StdSocket},
    sync::Arc,
    time::Duration,
};

use floor::Floor;
use media::{
    buf::slot::Slot,
    codec::Codec,
    driver::by_destination::ByDestination,
    forward::{Forward, TransportKey, UpKey, rtp_header},
    ids::{Kind, StreamId, TrackId},
    io::udp::{Origin, Packet, SendBatch, UdpSocket},
    rtp::{
        packet::Header,
        rtcp::{self, Rtcp},
    },
    sfu::{
        down_track::DownSpec,
        room::{Output, Room},
        up_track::{Source, UpSpec},
    },
    transport::{DtlsIdentity, Transport, twcc::TwccReceiver},
    units::time::Time,
};
use pair::{Pair, at_server};

const SUBSCRIBERS: usize = 100;
/// Packets of one report: what a viewer gets in 100 ms.
const REPORTED: u64 = 20;
const FRAME_PACKETS: usize = 5;
const PAYLOAD_BYTES: usize = 1100;
/// As libwebrtc cuts pictures: the first shorter by what its header carries, the larger ones last.
const BROWSER_BYTES: [usize; FRAME_PACKETS] = [1088, 1100, 1100, 1101, 1093];
const BATCHES: usize = 300;

fn main() {
    // `cargo test --benches` passes arguments of its own; there is nothing to test here.
    if std::env::args().any(|a| a == "--test") {
        return;
    }
    let mut scene = Scene::new();
    let forwarded = (FRAME_PACKETS * SUBSCRIBERS) as f64;
    let open = scene.measure(|s| s.open());
    let accept = scene.measure(|s| s.accept());
    let decide = accept.1;
    let seal = scene.measure(|s| s.seal());
    let run = scene.measure(|s| s.send(true));
    let single = scene.measure(|s| s.send(false));
    let whole = scene.measure(|s| s.whole());
    let report = scene.measure(|s| s.report());
    let floor = scene.measure(|s| s.floor());
    scene.numbered = false;
    let bare = scene.measure(|s| s.whole());
    scene.numbered = true;
    scene.sizes = BROWSER_BYTES;
    let padded = scene.measure(|s| s.whole());
    scene.even = false;
    let uneven = scene.measure(|s| s.whole());

    println!("per received packet");
    println!("  open (AES-128-GCM, in place)            {:8.0} ns", open.0 / FRAME_PACKETS as f64);
    println!("per report of a viewer on {REPORTED} packets           {:8.0} ns", report.0);
    println!("per forwarded packet                                 share of the whole");
    let total = whole.0 / forwarded;
    let row = |name: &str, ns: f64| println!("  {name:<38}  {ns:8.0} ns  {:5.1} %", ns * 100.0 / total);
    let (open, decide, seal, run) = (open.0 / forwarded, decide / forwarded, seal.0 / forwarded, run.0 / forwarded);
    row("open, shared by all subscribers", open);
    row("parse, ring, decide", decide);
    row("seal from ring slot into send buffer", seal);
    row("send in runs of a frame (sendmmsg, GSO)", run);
    let sum = open + decide + seal + run;
    row("sum", sum);
    row("whole walk, measured at once", total);
    println!("for comparison");
    let compare = |name: &str, ns: f64| {
        println!("  {name:<38}  {:8.0} ns  {:5.2} of the whole", ns / forwarded, ns / forwarded / total)
    };
    compare("floor: sealed and sent, nothing else", floor.0);
    compare("without transport-wide numbers", bare.0);
    compare("sizes as browsers make them, padded", padded.0);
    compare("the same, not padded", uneven.0);
    println!("  send singly (sendmmsg, no GSO)          {:8.0} ns", single.0 / forwarded);
    println!("{SUBSCRIBERS} subscribers, frames of {FRAME_PACKETS} packets, {} ns granted by the clock", clock_step());
}

struct Scene {
    now: Time,
    seq: u16,
    publisher: Pair,
    subscribers: Vec<Transport>,
    room: Room,
    up: UpKey,
    output: Output,
    forwards: Vec<Forward>,
    slots: Vec<Slot>,
    socket: UdpSocket,
    sinks: Vec<SocketAddr>,
    _open: Vec<StdSocket>,
    batch: SendBatch,
    kept: Vec<Vec<Packet>>,
    sorted: ByDestination,
    sizes: [usize; FRAME_PACKETS],
    even: bool,
    numbered: bool,
    floor: Floor,
    /// The number of the last packet that was reported on.
    reported: u16,
}

impl Scene {
    fn new() -> Self {
        let mut now = Time::from_millis(1000);
        let identities = [(); 2].map(|()| Arc::new(DtlsIdentity::generate().expect("an identity")));
        let publisher = Pair::connect(&mut now, &identities);
        let subscribers = (0..SUBSCRIBERS).map(|_| Pair::connect(&mut now, &identities).server).collect();
        let track = TrackId { stream: StreamId(1), kind: Kind::Video };
        let mut room = Room::new(now, 7);
        let up = room.publish(UpSpec {
            id: track,
            source: Source::Transport(TransportKey(9999)),
            codec: Codec::Vp8,
            payload_type: 96,
            rtx_payload_type: None,
            ssrc: Some(0x1111),
            rtx_ssrc: None,
            nack: true,
            ring_packets: 1024,
            key_frame_interval: Duration::from_millis(500),
        });
        let mut output = Output::default();
        for n in 0..SUBSCRIBERS as u32 {
            let rtx = Some((101, 0xa000 + n));
            let spec = DownSpec {
                track,
                transport: TransportKey(n),
                ssrc: 0x9000 + n,
                payload_type: 100,
                rtx,
                transport_cc: Some(3),
                playout_delay: None,
            };
            let down = room.subscribe(spec).expect("the track is there");
            room.start(now, down, &mut output);
        }
        let socket = UdpSocket::bind("127.0.0.1:0".parse().expect("an address"), 4 << 20).expect("a socket");
        let open: Vec<StdSocket> = (0..SUBSCRIBERS).map(|_| StdSocket::bind("127.0.0.1:0").expect("a sink")).collect();
        let sinks: Vec<SocketAddr> = open.iter().map(|s| s.local_addr().expect("bound")).collect();
        Scene {
            now,
            seq: 1,
            publisher,
            subscribers,
            room,
            up,
            output,
            forwards: Vec::new(),
            slots: (0..FRAME_PACKETS).map(|_| Slot::new()).collect(),
            socket,
            floor: Floor::new(&sinks),
            sinks,
            _open: open,
            batch: SendBatch::new(),
            kept: vec![Vec::new(); SUBSCRIBERS],
            sorted: ByDestination::default(),
            sizes: [PAYLOAD_BYTES; FRAME_PACKETS],
            even: true,
            numbered: true,
            reported: 0,
        }
    }

    /// The medians of what `run` answers: nanoseconds for the step, and for a second figure where it has one.
    fn measure(&mut self, run: impl Fn(&mut Self) -> (f64, f64)) -> (f64, f64) {
        let mut samples: Vec<(f64, f64)> = (0..BATCHES).map(|_| run(self)).collect();
        let mut median = |of: fn(&(f64, f64)) -> f64| {
            samples.sort_by(|a, b| of(a).total_cmp(&of(b)));
            of(&samples[BATCHES / 2])
        };
        (median(|s| s.0), median(|s| s.1))
    }

    /// Fills the slots with the next frame as it comes from the network.
    fn receive(&mut self) {
        let key = self.seq % 500 < FRAME_PACKETS as u16;
        for (i, slot) in self.slots.iter_mut().enumerate() {
            let mut payload = vec![0x5a; self.sizes[i]];
            payload[0] = if i == 0 { 0x10 } else { 0 };
            payload[1] = u8::from(!key);
            let timestamp = u32::from(self.seq) / FRAME_PACKETS as u32 * 3600;
            let header = rtp_header(i + 1 == FRAME_PACKETS, 96, self.seq, timestamp, 0x1111);
            self.seq = self.seq.wrapping_add(1);
            let len = self.publisher.client.protect_rtp(&header, &payload, slot.space_mut()).expect("keys are there");
            slot.set_len(len);
        }
        self.now = self.now + Duration::from_millis(40);
    }

    fn open_slots(&mut self) {
        for slot in &mut self.slots {
            let len = self.publisher.server.unprotect_rtp(self.now, at_server(), slot.data_mut()).expect("authentic");
            slot.set_len(len);
            black_box(Header::parse(slot.data()).expect("well formed"));
        }
    }

    fn decide(&mut self) {
        for slot in &mut self.slots {
            self.room.handle_rtp(self.now, self.up, false, slot, &mut self.output);
        }
        self.forwards.clear();
        self.forwards.append(&mut self.output.forwards);
        self.output.rtcp.clear();
    }

    fn seal_forwards(&mut self) {
        let now = self.now;
        self.sorted.sort(&self.forwards);
        for n in 0.. {
            let Some((to, indices)) = self.sorted.group(n) else { break };
            let transport = &mut self.subscribers[to.0 as usize];
            for index in indices {
                let mut forward = self.forwards[index];
                forward.transport_cc = forward.transport_cc.filter(|_| self.numbered);
                let up = self.room.up(forward.up);
                let payload = up.and_then(|up| up.payload(forward.seq)).expect("in the ring");
                let write = |space: &mut [u8]| transport.protect_forward(now, &forward, payload, self.even, space);
                self.kept[to.0 as usize].push(self.batch.keep(write).expect("sealed"));
            }
        }
    }

    fn hand_over(&mut self, gso: bool) {
        for (n, kept) in self.kept.iter_mut().enumerate() {
            let to = Origin { remote: self.sinks[n], local_ip: [127, 0, 0, 1].into() };
            self.batch.address(to, kept, gso);
            kept.clear();
        }
        black_box(self.socket.send(&mut self.batch));
    }

    fn open(&mut self) -> (f64, f64) {
        self.receive();
        let start = cpu_ns();
        self.open_slots();
        let ns = cpu_ns() - start;
        self.decide();
        (ns, 0.0)
    }

    fn accept(&mut self) -> (f64, f64) {
        self.receive();
        self.open_slots();
        let start = cpu_ns();
        self.decide();
        (0.0, cpu_ns() - start)
    }

    fn seal(&mut self) -> (f64, f64) {
        self.receive();
        self.open_slots();
        self.decide();
        let start = cpu_ns();
        self.seal_forwards();
        let ns = cpu_ns() - start;
        self.hand_over(true);
        (ns, 0.0)
    }

    fn send(&mut self, gso: bool) -> (f64, f64) {
        self.receive();
        self.open_slots();
        self.decide();
        self.seal_forwards();
        let start = cpu_ns();
        self.hand_over(gso);
        (cpu_ns() - start, 0.0)
    }

    /// A viewer's report on [`REPORTED`] packets: opened, read, and set against what was sent.
    fn report(&mut self) -> (f64, f64) {
        let Pair { server, client } = &mut self.publisher;
        let mut receiver = TwccReceiver::new();
        for _ in 0..REPORTED {
            self.reported = self.reported.wrapping_add(1);
            let header = rtp_header(false, 100, self.reported, 0, 0x7777);
            let (to, up) = (TransportKey(0), self.up);
            let forward =
                Forward { to, up, seq: 0, header, original_seq: None, padding: 0, transport_cc: Some(3), hold: None };
            let mut out = [0; 200];
            server.protect_forward(self.now, &forward, &[0; 100], false, &mut out).expect("keys are there");
            receiver.on_packet(self.now, u16::from_be_bytes([out[17], out[18]]));
            self.now = self.now + Duration::from_millis(5);
        }
        let (mut plain, mut sealed) = (Vec::new(), Vec::new());
        assert!(receiver.poll_feedback(self.now, 1, 0x7777, &mut plain) && client.protect_rtcp(&plain, &mut sealed));
        let start = cpu_ns();
        let len = server.unprotect_rtcp(self.now, at_server(), &mut sealed).expect("authentic");
        for packet in rtcp::packets(&sealed[..len]) {
            let Ok(Rtcp::TransportFeedback { fci, .. }) = packet else { panic!("{packet:?}") };
            assert_eq!(server.handle_report(self.now, fci).map(|reported| reported.arrived), Ok(REPORTED));
        }
        (cpu_ns() - start, 0.0)
    }

    /// The frame that the others forward, sealed and sent with nothing else.
    fn floor(&mut self) -> (f64, f64) {
        let start = cpu_ns();
        black_box(self.floor.frame([PAYLOAD_BYTES; FRAME_PACKETS]));
        (cpu_ns() - start, 0.0)
    }

    fn whole(&mut self) -> (f64, f64) {
        self.receive();
        let start = cpu_ns();
        self.open_slots();
        self.decide();
        self.seal_forwards();
        self.hand_over(true);
        (cpu_ns() - start, 0.0)
    }
}

/// CPU time of this thread, user and system.
fn cpu_ns() -> f64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: one live timespec.
    unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &raw mut time) };
    time.tv_sec as f64 * 1e9 + time.tv_nsec as f64
}

fn clock_step() -> i64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: one live timespec.
    unsafe { libc::clock_getres(libc::CLOCK_THREAD_CPUTIME_ID, &raw mut time) };
    time.tv_nsec
}
