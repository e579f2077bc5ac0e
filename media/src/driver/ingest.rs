//! One publisher of FLV tags, by RTMP or from inside the process, on a thread of its own: its tags go unchanged to its players,
//! and as RTP into its room.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, Wake, Waker},
    thread::{self, Thread},
    time::{Duration, Instant},
};

use tokio::sync::mpsc;
use tracing::error;

use super::outlet::Outlet;
use crate::{
    bridge::{rtmp_to_room::RtmpToRoom, tag::Tag},
    buf::pipe::PipeWriter,
    codec::Codec,
    config::MediaConfig,
    units::time::{Time, WallClock},
};

/// Tags that may wait for the thread: a burst of kept tags from a publisher that just connected. Behind a full channel the
/// RTMP connection waits, and TCP makes the publisher wait.
pub const INGEST_TAGS_MAX: usize = 256;

/// How often an idle thread looks whether its room still is.
const IDLE_WAKE: Duration = Duration::from_millis(500);

/// How long the first word about tracks waits for the second track, so that subscribers need not renegotiate twice.
const TRACKS_WAIT: Duration = Duration::from_millis(300);

/// Called with what the room gets, audio and video, when it becomes known or changes.
pub type OnTracks = Box<dyn Fn(Option<Codec>, Option<Codec>) + Send>;

/// Where a publisher's media goes, and who hears of it.
pub struct IngestSink {
    /// Into the room: RTP and sender reports in plaintext, payload types and SSRCs of our own choosing.
    pub pipe: PipeWriter,
    /// To the players that take the tags as they are.
    pub outlet: Arc<Outlet>,
    pub on_tracks: OnTracks,
    /// Called once when the stream ended by itself: the sender of tags was dropped, or the room closed the pipe. Not called
    /// after [`IngestHandle::stop`].
    pub on_end: Box<dyn FnOnce() + Send>,
    /// The wall clock of sender reports, and the instant that is [`Time::ZERO`].
    pub clock: (WallClock, Instant),
}

/// Ends an ingest from our side when told to, or when dropped.
#[derive(Debug)]
pub struct IngestHandle {
    stopped: Arc<AtomicBool>,
    thread: Thread,
}

impl IngestHandle {
    /// Ends the stream: the channel of tags closes, the outlet and the pipe too. Does not wait for the thread.
    pub fn stop(&self) {
        self.stopped.store(true, Ordering::Release);
        self.thread.unpark();
    }
}

impl Drop for IngestHandle {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Starts the thread of one publisher. Dropping the sender ends the stream; a closed channel says that we ended it.
///
/// # Panics
/// If the system refuses another thread.
pub fn spawn_ingest(config: &MediaConfig, sink: IngestSink) -> (mpsc::Sender<Tag>, IngestHandle) {
    let (sender, receiver) = mpsc::channel(INGEST_TAGS_MAX);
    let opus_bitrate_bps = config.opus_bitrate_bps;
    let stopped = Arc::new(AtomicBool::new(false));
    let is_stopped = stopped.clone();
    let thread = thread::Builder::new()
        .name("ingest".into())
        .spawn(move || run(opus_bitrate_bps, sink, receiver, &is_stopped))
        .expect("the system has threads left")
        .thread()
        .clone();
    (sender, IngestHandle { stopped, thread })
}

fn run(opus_bitrate_bps: u32, sink: IngestSink, mut tags: mpsc::Receiver<Tag>, stopped: &AtomicBool) {
    let IngestSink { pipe, outlet, on_tracks, on_end, clock: (wall, origin) } = sink;
    // A panic is a fault of ours; this stream ends as if its publisher had gone, the others do not notice.
    let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        feed(RtmpToRoom::new(opus_bitrate_bps, wall), &pipe, &outlet, &on_tracks, origin, &mut tags, stopped);
    }));
    if outcome.is_err() {
        error!("an ingest thread panicked; its stream ends");
    }
    drop(tags);
    outlet.close();
    pipe.close();
    if !stopped.load(Ordering::Acquire) {
        on_end();
    }
}

fn feed(
    mut bridge: RtmpToRoom,
    pipe: &PipeWriter,
    outlet: &Outlet,
    on_tracks: &OnTracks,
    origin: Instant,
    tags: &mut mpsc::Receiver<Tag>,
    stopped: &AtomicBool,
) {
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let mut context = Context::from_waker(&waker);
    let mut known = (None, None);
    let mut first_track_at = None;
    while !stopped.load(Ordering::Acquire) && !pipe.is_closed() {
        let tag = match tags.poll_recv(&mut context) {
            Poll::Ready(Some(tag)) => tag,
            Poll::Ready(None) => return,
            Poll::Pending => {
                thread::park_timeout(IDLE_WAKE);
                continue;
            }
        };
        outlet.push(tag.clone());
        let now = Time::from_micros(origin.elapsed().as_micros() as u64);
        bridge.handle_tag(now, &tag, &mut |kind, packet| pipe.write(kind, packet));
        let tracks = bridge.tracks();
        if tracks != known {
            let since = *first_track_at.get_or_insert(now);
            if (tracks.0.is_some() && tracks.1.is_some()) || now.since(since) >= TRACKS_WAIT {
                known = tracks;
                on_tracks(tracks.0, tracks.1);
            }
        }
    }
}

/// Wakes a parked thread when a channel has something for it.
struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.0.unpark();
    }
}

#[cfg(all(test, feature = "aac-fdk"))]
mod tests {
    use std::sync::mpsc as std_mpsc;

    use super::*;
    use crate::{
        bridge::fixture::{BASELINE_AAC44, tags},
        buf::pipe::{PipeReader, pipe},
        ids::Kind,
    };

    struct Rig {
        sender: mpsc::Sender<Tag>,
        handle: IngestHandle,
        outlet: Arc<Outlet>,
        reader: PipeReader,
        tracks: std_mpsc::Receiver<(Option<Codec>, Option<Codec>)>,
        ended: std_mpsc::Receiver<()>,
    }

    fn rig() -> Rig {
        let (writer, reader) = pipe(4_096, || ());
        let outlet = Outlet::new();
        let (on_tracks, tracks) = std_mpsc::channel();
        let (on_end, ended) = std_mpsc::channel();
        let sink = IngestSink {
            pipe: writer,
            outlet: outlet.clone(),
            on_tracks: Box::new(move |audio, video| on_tracks.send((audio, video)).unwrap()),
            on_end: Box::new(move || on_end.send(()).unwrap()),
            clock: (WallClock::new(0), Instant::now()),
        };
        let (sender, handle) = spawn_ingest(&MediaConfig::default(), sink);
        Rig { sender, handle, outlet, reader, tracks, ended }
    }

    #[test]
    fn tags_reach_players_unchanged_and_the_room_as_packets() {
        let rig = rig();
        let mut player = rig.outlet.attach();
        let sent = tags(BASELINE_AAC44);
        sent.iter().for_each(|tag| rig.sender.blocking_send(tag.clone()).unwrap());
        drop(rig.sender);
        rig.ended.recv().unwrap();
        let got: Vec<Tag> = std::iter::from_fn(|| player.try_recv().ok()).collect();
        assert_eq!(got.len(), sent.len());
        assert!(got.iter().zip(&sent).all(|(a, b)| a.payload == b.payload && a.timestamp_ms == b.timestamp_ms));
        assert!(player.is_closed());
        assert_eq!(rig.tracks.iter().collect::<Vec<_>>(), [(Some(Codec::Opus), Some(Codec::H264))]);
        let (mut audio, mut video) = (0, 0);
        while let Some((kind, _)) = rig.reader.read() {
            *if kind == Kind::Audio { &mut audio } else { &mut video } += 1;
        }
        assert!(audio > 95 && video > 30, "{audio} {video}");
        assert!(rig.reader.is_closed());
    }

    #[test]
    fn stopping_closes_the_channel_and_is_no_end_of_its_own() {
        let rig = rig();
        let player = rig.outlet.attach();
        rig.handle.stop();
        // The end is told by the closed channel alone; the callback is dropped unused.
        assert!(rig.ended.recv().is_err());
        assert!(rig.sender.is_closed() && player.is_closed() && rig.reader.is_closed());
    }

    #[test]
    fn a_room_that_goes_ends_the_stream() {
        let rig = rig();
        drop(rig.reader);
        rig.ended.recv().unwrap();
        assert!(rig.sender.is_closed());
    }
}
