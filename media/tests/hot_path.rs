//! The walk of a packet from an encrypted datagram to encrypted datagrams for every subscriber, without a socket: that
//! nothing on it allocates, and that what arrives is what was sent.

use std::{
    alloc::{GlobalAlloc, Layout, System},
    cell::Cell,
    net::SocketAddr,
    sync::Arc,
    time::Duration,
};

use media::{
    buf::slot::Slot,
    codec::Codec,
    forward::{TransportKey, rtp_header},
    ids::{Kind, StreamId, TrackId},
    rtp::packet::Header,
    sfu::{
        down_track::DownSpec,
        room::{Output, Room},
        up_track::{Source, UpSpec},
    },
    transport::{
        DtlsIdentity, DtlsRole, IceCredentials, IceRole, Outbox, Path, Transport, TransportParams, Via, classify,
    },
    units::time::Time,
};

struct Counting;

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

// SAFETY: everything is passed on to the system's allocator.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let _ = ALLOCATIONS.try_with(|n| n.set(n.get() + 1));
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, ptr: *mut u8, layout: Layout) {
        unsafe { System.dealloc(ptr, layout) }
    }

    unsafe fn realloc(&self, ptr: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        let _ = ALLOCATIONS.try_with(|n| n.set(n.get() + 1));
        unsafe { System.realloc(ptr, layout, new_size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const SUBSCRIBERS: usize = 10;

/// A server's transport and its client's, connected.
struct Pair {
    server: Transport,
    client: Transport,
}

fn path(remote: &str, local: &str) -> Path {
    Path { remote: remote.parse().unwrap(), local_ip: local.parse().unwrap(), via: Via::Udp }
}

fn connect(now: &mut Time, identities: &[Arc<DtlsIdentity>; 2]) -> Pair {
    let (at_server, at_client) = (path("192.0.2.2:5000", "192.0.2.1"), path("192.0.2.1:8000", "192.0.2.2"));
    let (ours, theirs) = (IceCredentials::random(), IceCredentials::random());
    let server = TransportParams {
        remote: Some(theirs.clone()),
        remote_fingerprint: Some(identities[1].fingerprint().clone()),
        ..TransportParams::server(ours.clone())
    };
    let remote_candidate: SocketAddr = at_client.remote;
    let client = TransportParams {
        remote: Some(ours),
        remote_fingerprint: Some(identities[0].fingerprint().clone()),
        dtls_role: DtlsRole::Client,
        ice_role: IceRole::Controlling { remote_candidate },
        ..TransportParams::server(theirs)
    };
    let mut pair = Pair {
        server: Transport::new(*now, identities[0].clone(), server),
        client: Transport::new(*now, identities[1].clone(), client),
    };
    let (mut from_server, mut from_client) = (Outbox::default(), Outbox::default());
    for _ in 0..2000 {
        if pair.server.is_connected() && pair.client.is_connected() {
            return pair;
        }
        pair.client.handle_timeout(*now, &mut from_client);
        pair.server.handle_timeout(*now, &mut from_server);
        for (_, bytes) in std::mem::take(&mut from_client.datagrams) {
            take(&mut pair.server, *now, at_server, &bytes, &mut from_server);
        }
        for (_, bytes) in std::mem::take(&mut from_server.datagrams) {
            take(&mut pair.client, *now, at_client, &bytes, &mut from_client);
        }
        *now = *now + Duration::from_millis(1);
    }
    panic!("the pair did not connect");
}

fn take(to: &mut Transport, now: Time, path: Path, bytes: &[u8], out: &mut Outbox) {
    let _ = match classify(bytes[0]) {
        media::transport::Protocol::Stun => to.handle_stun(now, path, bytes, out).map(|_| ()),
        _ => to.handle_dtls(now, path, bytes, out).map(|_| ()),
    };
}

#[test]
fn a_packet_is_forwarded_to_ten_subscribers_without_an_allocation() {
    let mut now = Time::from_millis(1000);
    let identities = [(); 2].map(|()| Arc::new(DtlsIdentity::generate().unwrap()));
    let mut publisher = connect(&mut now, &identities);
    let mut subscribers: Vec<Pair> = (0..SUBSCRIBERS).map(|_| connect(&mut now, &identities)).collect();

    let track = TrackId { stream: StreamId(1), kind: Kind::Video };
    let mut room = Room::new(now, 7);
    let up = room.publish(UpSpec {
        id: track,
        source: Source::Transport(TransportKey(99)),
        codec: Codec::Vp8,
        payload_type: 96,
        rtx_payload_type: None,
        ssrc: Some(0x1111),
        rtx_ssrc: None,
        nack: true,
        ring_packets: 256,
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
        };
        let down = room.subscribe(spec).unwrap();
        room.start(now, down, &mut output);
    }

    let (from, to_client) = (path("192.0.2.2:5000", "192.0.2.1"), path("192.0.2.1:8000", "192.0.2.2"));
    let mut slot = Slot::new();
    let mut wire = [0u8; 1500];
    let mut sent = [0u8; 1500];
    let (mut counted, mut delivered) = (0, 0);
    for n in 0..2000u32 {
        let key = n % 100 == 0;
        let mut payload = [0x5a; 1100];
        payload[..10].copy_from_slice(&[0x10, u8::from(!key), 0, 0, 0x9d, 0x01, 0x2a, 64, 0, 64]);
        payload[1096..].copy_from_slice(&n.to_be_bytes());
        let header = rtp_header(n % 4 == 3, 96, (65_000 + n) as u16, n / 4 * 3600, 0x1111);
        let len = publisher.client.protect_rtp(&header, &payload, &mut wire).unwrap();
        slot.fill(&wire[..len]);
        now = now + Duration::from_millis(5);

        let before = ALLOCATIONS.with(Cell::get);
        let len = publisher.server.unprotect_rtp(now, from, slot.data_mut()).unwrap();
        slot.set_len(len);
        room.handle_rtp(now, up, false, &mut slot, &mut output);
        for forward in output.forwards.drain(..) {
            let payload = room.up(forward.up).unwrap().payload(forward.seq).unwrap();
            let pair = &mut subscribers[forward.to.0 as usize];
            let len = pair.server.protect_forward(now, &forward, payload, true, &mut sent).unwrap();
            let after = ALLOCATIONS.with(Cell::get);
            // The client's side is not the walk; it proves that what left can be read.
            let len = pair.client.unprotect_rtp(now, to_client, &mut sent[..len]).unwrap();
            let header = Header::parse(&sent[..len]).unwrap();
            assert_eq!((header.ssrc, header.payload_type), (0x9000 + forward.to.0, 100));
            assert_eq!(header.payload(&sent[..len])[1096..], n.to_be_bytes());
            delivered += 1;
            let client_side = ALLOCATIONS.with(Cell::get) - after;
            counted -= client_side as i64;
        }
        let walk = (ALLOCATIONS.with(Cell::get) - before) as i64 + counted;
        counted = 0;
        // The ring, the replay windows and the vectors fill once; then the walk owns all it needs.
        if n >= 600 {
            assert_eq!(walk, 0, "packet {n} allocated {walk} times");
        }
    }
    assert_eq!(delivered, 2000 * SUBSCRIBERS);
}
