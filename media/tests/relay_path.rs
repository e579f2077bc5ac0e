//! The way of a packet from its room to the copy of its track on another shard: that nothing on it allocates once it is
//! warm, and that the other shard is woken once for a batch.

#[path = "kit/counting.rs"]
mod counting;

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use counting::allocations;
use media::{
    buf::{pipe::relay, slot::Slot},
    codec::Codec,
    forward::{TransportKey, rtp_header},
    ids::{Kind, StreamId, TrackId},
    sfu::{
        down_track::DownSpec,
        room::{Output, Room},
        up_track::{Source, UpSpec},
    },
    units::time::Time,
};

const BATCH: u32 = 16;
const BATCHES: u32 = 200;
const VIEWERS: u32 = 10;
/// Rings, queues and slots are filled once.
const WARM_BATCHES: u32 = 60;

#[test]
fn a_packet_reaches_the_viewers_of_another_shard_without_an_allocation() {
    let now = Time::from_millis(1000);
    let track = TrackId { stream: StreamId(1), kind: Kind::Video };
    let spec = |source| UpSpec {
        id: track,
        source,
        codec: Codec::Vp8,
        payload_type: 96,
        rtx_payload_type: None,
        ssrc: Some(0x1111),
        rtx_ssrc: None,
        nack: false,
        ring_packets: 256,
        key_frame_interval: Duration::from_millis(500),
    };
    let woken = Arc::new(AtomicUsize::new(0));
    let wake = woken.clone();
    let wake_reader = move || {
        wake.fetch_add(1, Ordering::Relaxed);
    };
    let (writer, reader) = relay(64, wake_reader, || ());

    let (mut home, mut away) = (Room::new(now, 7), Room::new(now, 8));
    let mut output = Output::default();
    let up = home.publish(spec(Source::Transport(TransportKey(99))));
    let copy = away.publish(spec(Source::Relay));
    away.up_mut(copy).unwrap().key_wish = Some(reader.key_wish());
    for n in 0..VIEWERS {
        let spec = DownSpec {
            track,
            transport: TransportKey(n),
            ssrc: 0x9000 + n,
            payload_type: 100,
            rtx: None,
            transport_cc: None,
            playout_delay: None,
        };
        let down = away.subscribe(spec).unwrap();
        away.start(now, down, &mut output);
    }
    assert!(home.relay(now, track, writer.clone(), &mut output));

    let mut slot = Slot::new();
    let mut delivered = 0;
    for batch in 0..BATCHES {
        let before = allocations();
        for n in batch * BATCH..(batch + 1) * BATCH {
            let header = rtp_header(n % 4 == 3, 96, n as u16, n / 4 * 3000, 0x1111);
            let space = slot.space_mut();
            space[..12].copy_from_slice(&header);
            space[12..24].copy_from_slice(&[0x10, u8::from(n % 400 != 0), 0, 0, 0x9d, 1, 0x2a, 64, 0, 64, 0, 0]);
            slot.set_len(1100);
            home.handle_rtp(now, up, false, &mut slot, &mut output);
        }
        writer.announce();
        while let Some((_, mut packet)) = reader.read() {
            away.handle_piped(now, copy, &mut packet, &mut output);
            reader.recycle(packet);
        }
        delivered += output.forwards.len();
        output.forwards.clear();
        let allocated = allocations() - before;
        assert!(batch < WARM_BATCHES || allocated == 0, "batch {batch} allocated {allocated} times");
    }
    assert_eq!(delivered, (BATCH * BATCHES * VIEWERS) as usize);
    assert_eq!(woken.load(Ordering::Relaxed), BATCHES as usize);
}
