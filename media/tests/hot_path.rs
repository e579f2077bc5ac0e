//! The walk of a packet from an encrypted datagram to encrypted datagrams for every subscriber, without a socket: that
//! nothing on it allocates, and that what arrives is what was sent.

#[path = "kit/counting.rs"]
mod counting;
#[path = "kit/pair.rs"]
mod pair;

use std::{sync::Arc, time::Duration};

use counting::allocations;
use media::{
    buf::slot::Slot,
    codec::Codec,
    forward::{TransportKey, rtp_header},
    ids::{Kind, StreamId, TrackId},
    rtp::{ext, packet::Header},
    sfu::{
        down_track::DownSpec,
        room::{Output, Room},
        up_track::{Source, UpSpec},
    },
    transport::DtlsIdentity,
    units::time::Time,
};
use pair::{Pair, at_client, at_server};

const SUBSCRIBERS: usize = 10;

#[test]
fn a_packet_is_forwarded_to_ten_subscribers_without_an_allocation() {
    let mut now = Time::from_millis(1000);
    let identities = [(); 2].map(|()| Arc::new(DtlsIdentity::generate().unwrap()));
    let mut publisher = Pair::connect(&mut now, &identities);
    let mut subscribers: Vec<Pair> = (0..SUBSCRIBERS).map(|_| Pair::connect(&mut now, &identities)).collect();

    let track = TrackId { stream: StreamId(1), kind: Kind::Video };
    let mut room = Room::new(now, 7);
    let spec = |kind, codec| UpSpec {
        id: TrackId { stream: StreamId(1), kind },
        source: Source::Transport(TransportKey(99)),
        codec,
        payload_type: 96,
        rtx_payload_type: None,
        ssrc: Some(0x1111),
        rtx_ssrc: None,
        nack: true,
        ring_packets: 256,
        key_frame_interval: Duration::from_millis(500),
    };
    let up = room.publish(spec(Kind::Video, Codec::Vp8));
    let sound = room.publish(spec(Kind::Audio, Codec::Opus));
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
            playout_delay: Some(5),
        };
        let down = room.subscribe(spec).unwrap();
        room.set_heard(down, true);
        room.start(now, down, &mut output);
    }

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

        let before = allocations();
        let len = publisher.server.unprotect_rtp(now, at_server(), slot.data_mut()).unwrap();
        slot.set_len(len);
        if n % 200 == 100 {
            room.up_mut(up).unwrap().hold = (n / 100) as u8;
        }
        room.handle_rtp(now, up, false, &mut slot, &mut output);
        room.hear(now, sound, (n % 128) as u8);
        for forward in output.forwards.drain(..) {
            let payload = room.up(forward.up).unwrap().payload(forward.seq).unwrap();
            let pair = &mut subscribers[forward.to.0 as usize];
            let len = pair.server.protect_forward(now, &forward, payload, true, &mut sent).unwrap();
            let after = allocations();
            // The client's side is not the walk; it proves that what left can be read.
            let len = pair.client.unprotect_rtp(now, at_client(), &mut sent[..len]).unwrap();
            let header = Header::parse(&sent[..len]).unwrap();
            assert_eq!((header.ssrc, header.payload_type), (0x9000 + forward.to.0, 100));
            assert_eq!(header.payload(&sent[..len])[1096..], n.to_be_bytes());
            assert!(ext::find(&sent[..len], &header, 3).is_some());
            // From so long to ten seconds, in units of 10 ms; with each key frame once more.
            let told = (n >= 100 && n % 100 == 0).then(|| {
                let tens = (n / 100 - 1) as u8 | 1;
                [tens >> 4, tens << 4 | 3, 0xe8]
            });
            assert_eq!(ext::find(&sent[..len], &header, 5), told.as_ref().map(|told| &told[..]), "{n}");
            delivered += 1;
            let client_side = allocations() - after;
            counted -= client_side as i64;
        }
        let walk = (allocations() - before) as i64 + counted;
        counted = 0;
        // The ring, the replay windows and the vectors fill once; then the walk owns all it needs.
        if n >= 600 {
            assert_eq!(walk, 0, "packet {n} allocated {walk} times");
        }
    }
    assert_eq!(delivered, 2000 * SUBSCRIBERS);
}
