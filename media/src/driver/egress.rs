//! A room's stream on its way to RTMP and FLV players, on a thread of its own: packets from a pipe to tags for an outlet.

use std::{
    sync::Arc,
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use tracing::error;

use super::feed::{Feed, Source};
use crate::{
    bridge::{
        room_to_flv::RoomToFlv,
        transcode::{DirectionCounts, Tally},
    },
    buf::pipe::PipeReader,
    codec::Codec,
    config::MediaConfig,
    units::time::Time,
};

/// How often the pipe is looked into. The shard that fills it then never pays for waking a thread; players are far enough
/// behind not to notice. Whoever wants it sooner may unpark the thread.
const POLL: Duration = Duration::from_millis(10);

/// Starts the thread that turns the packets of `pipe` into tags for the players of `feed`, as its newest source. `audio`: the
/// stream has Opus audio; `video`: the codec of its video. Key frames are asked for through the pipe when none is there to
/// start from. The thread ends when the pipe is closed and empty, when another source takes its place, and when the outlet is
/// closed. `counts`: of Opus to AAC.
///
/// # Panics
/// If the system refuses another thread.
pub fn spawn_egress(
    config: &MediaConfig,
    pipe: PipeReader,
    audio: bool,
    video: Option<Codec>,
    feed: Arc<Feed>,
    counts: Arc<DirectionCounts>,
) -> JoinHandle<()> {
    let source = feed.begin();
    let aac_bitrate_bps = config.aac_bitrate_bps;
    thread::Builder::new()
        .name("egress".into())
        .spawn(move || {
            // A panic is a fault of ours; this stream's players are let go, the others do not notice.
            let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                let bridge = RoomToFlv::new(audio, video, aac_bitrate_bps);
                run(bridge, Tally::new(counts), &pipe, &feed, source);
            }));
            if outcome.is_err() {
                error!("an egress thread panicked; its players are let go");
                feed.outlet().close();
            }
        })
        .expect("the system has threads left")
}

fn run(mut bridge: RoomToFlv, mut tally: Tally, pipe: &PipeReader, feed: &Feed, source: Source) {
    let outlet = feed.outlet();
    let origin = Instant::now();
    let time = || Time::from_micros(origin.elapsed().as_micros() as u64);
    loop {
        // Read before the last packets are, so that none is left behind.
        let closed = pipe.is_closed();
        let now = time();
        while let Some((kind, slot)) = pipe.read() {
            bridge.handle_packet(now, kind, slot.data());
            pipe.recycle(slot);
        }
        bridge.handle_timeout(now);
        let (running, made) = bridge.transcoding();
        tally.note(running, made);
        if !bridge.take_tags().all(|tag| feed.push(source, tag)) {
            return;
        }
        if bridge.poll_key_wanted(now) || outlet.take_key_wanted() {
            pipe.want_key();
        }
        if closed || outlet.is_closed() {
            return;
        }
        thread::park_timeout(POLL);
    }
}

#[cfg(all(test, feature = "aac-fdk"))]
mod tests {
    use super::*;
    use crate::{
        bridge::{
            fixture::{BASELINE_AAC44, tags},
            rtmp_to_room::RtmpToRoom,
            tag::TagKind,
        },
        buf::pipe::pipe,
        outlet::Found,
        units::time::WallClock,
    };

    #[test]
    fn a_stream_of_the_room_reaches_a_player_and_the_thread_ends_with_the_pipe() {
        let (writer, reader) = pipe(4_096, || ());
        let feed = Feed::new(Duration::ZERO);
        let mut player = feed.outlet().attach();
        let mut room = RtmpToRoom::new(96_000, WallClock::new(0));
        for tag in tags(BASELINE_AAC44) {
            let now = Time::from_millis(5_000 + u64::from(tag.timestamp_ms));
            room.handle_tag(now, &tag, &mut |kind, packet| writer.write(kind, packet));
        }
        writer.close();
        let counts = Arc::<DirectionCounts>::default();
        let config = MediaConfig::default();
        let thread = spawn_egress(&config, reader, true, Some(Codec::H264), feed.clone(), counts.clone());
        thread.join().unwrap();
        let got = player.tags();
        let pictures = got.iter().filter(|t| t.kind == TagKind::Video && !t.header).count();
        let sounds = got.iter().filter(|t| t.kind == TagKind::Audio && !t.header).count();
        assert_eq!(pictures, 30);
        assert!(sounds > 85, "{sounds}");
        assert_eq!((counts.made(), counts.running()), (sounds as u64, 0));
        assert!(matches!(player.try_next(Instant::now()), Found::Later), "another source may come");
    }

    #[test]
    fn a_key_frame_is_asked_for_while_there_is_none() {
        let (writer, reader) = pipe(16, || ());
        let feed = Feed::new(Duration::ZERO);
        let thread =
            spawn_egress(&MediaConfig::default(), reader, false, Some(Codec::H264), feed.clone(), Arc::default());
        while !writer.take_key_wanted() {
            thread::yield_now();
        }
        writer.close();
        thread.join().unwrap();
        assert_eq!(feed.outlet().players(), 0);
    }
}
