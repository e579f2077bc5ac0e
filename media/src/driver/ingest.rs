//! A stream that is fed with FLV tags, by RTMP or from inside the process, on a thread of its own: the tags go unchanged to its
//! players, and as RTP into its room. The thread outlives its publisher, so that the next one goes on where he ended.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    task::{Context, Poll, Wake, Waker},
    thread::{self, Thread},
    time::{Duration, Instant},
};

use tokio::sync::mpsc;
use tracing::error;

use super::feed::{Feed, Source};
use crate::{
    bridge::{
        rtmp_to_room::RtmpToRoom,
        tag::Tag,
        transcode::{DirectionCounts, Tally},
    },
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

/// Called with what the room gets, audio and video, when it becomes known or changes; for each publisher anew.
pub type OnTracks = Box<dyn Fn(Option<Codec>, Option<Codec>) + Send>;

/// How a publisher went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PublisherEnd {
    /// He said that his stream is over, or the room or a fault of ours ended it.
    Over,
    /// His tags just ceased; he may come back.
    Lost,
}

/// Called with the number of a publisher, of [`IngestHandle::attach`], who went by himself.
pub type OnEnd = Box<dyn Fn(u64, PublisherEnd) + Send>;

/// Where a stream's media goes, and who hears of it.
pub struct IngestSink {
    /// Into the room: RTP and sender reports in plaintext, payload types and SSRCs of our own choosing. Its reader is woken once
    /// for each tag.
    pub pipe: PipeWriter,
    /// To the players that take the tags as they are.
    pub feed: Arc<Feed>,
    pub on_tracks: OnTracks,
    /// Called when a publisher's pictures turn out to come in another order than they are shown.
    pub on_b_frames: Box<dyn Fn() + Send>,
    pub on_end: OnEnd,
    /// Of AAC to Opus.
    pub counts: Arc<DirectionCounts>,
    /// The wall clock of sender reports, and the instant that is [`Time::ZERO`].
    pub clock: (WallClock, Instant),
}

/// Changes an ingest's publisher, and ends it when told to, or when dropped.
#[derive(Debug)]
pub struct IngestHandle {
    shared: Arc<Shared>,
    thread: Thread,
}

#[derive(Debug, Default)]
struct Shared {
    stopped: AtomicBool,
    publisher: AtomicU64,
    next: Mutex<Option<Next>>,
}

/// The next publisher's number and tags; without tags, nobody.
type Next = (u64, Option<mpsc::Receiver<Tag>>);

impl Shared {
    fn set_next(&self, tags: Option<mpsc::Receiver<Tag>>) {
        let mut next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
        *next = Some((self.publisher.fetch_add(1, Ordering::AcqRel) + 1, tags));
    }

    fn take_next(&self) -> Option<Next> {
        self.next.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

impl IngestHandle {
    /// Gives the stream a publisher, in the place of the present one if there is one, whose channel closes. Dropping the
    /// sender ends his part; a closed channel says that we ended it.
    pub fn attach(&self) -> mpsc::Sender<Tag> {
        let (sender, receiver) = mpsc::channel(INGEST_TAGS_MAX);
        self.shared.set_next(Some(receiver));
        self.thread.unpark();
        sender
    }

    /// Cuts the publisher, if there is one. Of his end nothing more is heard.
    pub fn detach(&self) {
        self.shared.set_next(None);
        self.thread.unpark();
    }

    /// Whether this is the number of the present publisher.
    pub fn is_publisher(&self, number: u64) -> bool {
        self.shared.publisher.load(Ordering::Acquire) == number
    }

    /// Ends the stream: the channel of tags closes, and the pipe. Does not wait for the thread.
    pub fn stop(&self) {
        self.shared.stopped.store(true, Ordering::Release);
        self.thread.unpark();
    }
}

impl Drop for IngestHandle {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Starts the thread of one stream. It waits for [`IngestHandle::attach`].
///
/// # Panics
/// If the system refuses another thread.
pub fn spawn_ingest(config: &MediaConfig, sink: IngestSink) -> IngestHandle {
    let coding = Coding { opus_bitrate_bps: config.opus_bitrate_bps, reencode_b_frames: config.reencode_b_frames };
    let shared = Arc::new(Shared::default());
    let of_thread = shared.clone();
    let thread = thread::Builder::new()
        .name("ingest".into())
        .spawn(move || run(coding, &sink, &of_thread))
        .expect("the system has threads left")
        .thread()
        .clone();
    IngestHandle { shared, thread }
}

/// What is made of what comes.
#[derive(Clone, Copy)]
struct Coding {
    opus_bitrate_bps: u32,
    /// Has no effect without the feature `reencode`.
    #[cfg_attr(not(feature = "reencode"), allow(dead_code))]
    reencode_b_frames: bool,
}

fn run(coding: Coding, sink: &IngestSink, shared: &Shared) {
    // A panic is a fault of ours; this stream ends as if its publisher had gone, the others do not notice.
    let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        Ingest::new(coding, sink).run(shared);
    }));
    if outcome.is_err() {
        error!("an ingest thread panicked; its stream ends");
    }
    // Who attached meanwhile finds his channel closed.
    drop(shared.take_next());
    sink.pipe.close();
    if !shared.stopped.load(Ordering::Acquire) {
        (sink.on_end)(shared.publisher.load(Ordering::Acquire), PublisherEnd::Over);
    }
}

struct Ingest<'a> {
    sink: &'a IngestSink,
    bridge: RtmpToRoom,
    tally: Tally,
    publisher: Option<Publisher>,
}

struct Publisher {
    number: u64,
    tags: mpsc::Receiver<Tag>,
    source: Source,
    told: (Option<Codec>, Option<Codec>),
    told_b_frames: bool,
    first_track_at: Option<Time>,
    /// The last tag said that it is the last.
    over: bool,
}

impl<'a> Ingest<'a> {
    fn new(coding: Coding, sink: &'a IngestSink) -> Self {
        #[cfg_attr(not(feature = "reencode"), allow(unused_mut))]
        let mut bridge = RtmpToRoom::new(coding.opus_bitrate_bps, sink.clock.0);
        #[cfg(feature = "reencode")]
        bridge.set_reencode_b_frames(coding.reencode_b_frames);
        Ingest { sink, bridge, tally: Tally::new(sink.counts.clone()), publisher: None }
    }

    fn run(&mut self, shared: &Shared) {
        let waker = Waker::from(Arc::new(Unpark(thread::current())));
        let mut context = Context::from_waker(&waker);
        while !shared.stopped.load(Ordering::Acquire) && !self.sink.pipe.is_closed() {
            if let Some((number, tags)) = shared.take_next() {
                self.publisher = tags.map(|tags| Publisher {
                    number,
                    tags,
                    source: self.sink.feed.begin(),
                    told: (None, None),
                    told_b_frames: false,
                    first_track_at: None,
                    over: false,
                });
                self.bridge.begin_publisher();
            }
            let polled =
                self.publisher.as_mut().map_or(Poll::Pending, |publisher| publisher.tags.poll_recv(&mut context));
            match polled {
                Poll::Ready(Some(tag)) => self.take(tag),
                Poll::Ready(None) => {
                    if let Some(Publisher { number, over, .. }) = self.publisher.take() {
                        (self.sink.on_end)(number, if over { PublisherEnd::Over } else { PublisherEnd::Lost });
                    }
                }
                Poll::Pending => thread::park_timeout(IDLE_WAKE),
            }
        }
    }

    fn take(&mut self, tag: Tag) {
        let (sink, bridge) = (self.sink, &mut self.bridge);
        let Some(publisher) = &mut self.publisher else { return };
        sink.feed.push(publisher.source, tag.clone());
        let now = Time::from_micros(sink.clock.1.elapsed().as_micros() as u64);
        bridge.set_listened_to(sink.pipe.is_sound_wanted());
        bridge.handle_tag(now, &tag, &mut |kind, packet| sink.pipe.write(kind, packet));
        // Once for all packets of a tag.
        sink.pipe.announce();
        let (running, made) = bridge.transcoding();
        self.tally.note(running, made);
        publisher.over = tag.is_end();
        if bridge.has_b_frames() && !std::mem::replace(&mut publisher.told_b_frames, true) {
            (sink.on_b_frames)();
        }
        let tracks = bridge.tracks();
        if tracks != publisher.told {
            let since = *publisher.first_track_at.get_or_insert(now);
            if (tracks.0.is_some() && tracks.1.is_some()) || now.since(since) >= TRACKS_WAIT {
                publisher.told = tracks;
                (sink.on_tracks)(tracks.0, tracks.1);
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
        outlet::Found,
        rtp::packet::{Header, is_rtcp},
    };

    struct Rig {
        handle: IngestHandle,
        feed: Arc<Feed>,
        counts: Arc<DirectionCounts>,
        reader: PipeReader,
        tracks: std_mpsc::Receiver<(Option<Codec>, Option<Codec>)>,
        ended: std_mpsc::Receiver<(u64, PublisherEnd)>,
    }

    fn rig() -> Rig {
        let (writer, reader) = pipe(4_096, || ());
        reader.set_sound_wanted(true);
        let feed = Feed::new(Duration::ZERO);
        let counts = Arc::<DirectionCounts>::default();
        let (on_tracks, tracks) = std_mpsc::channel();
        let (on_end, ended) = std_mpsc::channel();
        let sink = IngestSink {
            pipe: writer,
            feed: feed.clone(),
            on_tracks: Box::new(move |audio, video| on_tracks.send((audio, video)).unwrap()),
            on_b_frames: Box::new(|| ()),
            on_end: Box::new(move |number, end| on_end.send((number, end)).unwrap()),
            counts: counts.clone(),
            clock: (WallClock::new(0), Instant::now()),
        };
        Rig { handle: spawn_ingest(&MediaConfig::default(), sink), feed, counts, reader, tracks, ended }
    }

    /// What a publisher sends whom somebody kills.
    fn unfinished() -> Vec<Tag> {
        tags(BASELINE_AAC44).into_iter().filter(|tag| !tag.is_end()).collect()
    }

    fn send(sender: &mpsc::Sender<Tag>, tags: &[Tag]) {
        tags.iter().for_each(|tag| sender.blocking_send(tag.clone()).unwrap());
    }

    #[test]
    fn tags_reach_players_unchanged_and_the_room_as_packets() {
        let rig = rig();
        let mut player = rig.feed.outlet().attach();
        let sent = unfinished();
        let sender = rig.handle.attach();
        send(&sender, &sent);
        drop(sender);
        // As they come: nothing waits for a player for more than two seconds.
        let mut got = Vec::new();
        while got.len() < sent.len() {
            got.extend(player.tags());
            thread::yield_now();
        }
        assert_eq!(rig.ended.recv(), Ok((1, PublisherEnd::Lost)));
        assert_eq!(got.len(), sent.len());
        assert!(got.iter().zip(&sent).all(|(a, b)| a.payload == b.payload && a.timestamp_ms == b.timestamp_ms));
        assert!(matches!(player.try_next(Instant::now()), Found::Later), "he may come back");
        assert_eq!(rig.tracks.recv(), Ok((Some(Codec::Opus), Some(Codec::H264))));
        let (mut audio, mut video) = (0, 0);
        while let Some((kind, _)) = rig.reader.read() {
            *if kind == Kind::Audio { &mut audio } else { &mut video } += 1;
        }
        assert!(audio > 95 && video > 30, "{audio} {video}");
    }

    #[test]
    fn sound_is_made_for_the_room_only_while_the_room_wants_it() {
        let rig = rig();
        let sent = unfinished();
        let half = sent.len() / 2;
        let sender = rig.handle.attach();
        let mut player = rig.feed.outlet().attach();
        // What the player has got, the room has nearly got: one tag more, and it has.
        let mut pass = |tags: &[Tag]| {
            send(&sender, tags);
            let mut got = 0;
            while got < tags.len() {
                got += player.tags().len();
                thread::yield_now();
            }
        };
        let heard = || std::iter::from_fn(|| rig.reader.read()).filter(|(kind, _)| *kind == Kind::Audio).count();
        rig.reader.set_sound_wanted(false);
        pass(&sent[..half]);
        assert_eq!((heard(), rig.counts.running(), rig.counts.made()), (0, 0, 0));
        rig.reader.set_sound_wanted(true);
        pass(&sent[half..]);
        assert!(heard() > 40 && rig.counts.running() == 1 && rig.counts.made() > 40);
        drop(sender);
        rig.ended.recv().unwrap();
    }

    #[test]
    fn the_next_publisher_goes_on_for_players_and_for_the_room() {
        let rig = rig();
        let mut player = rig.feed.outlet().attach();
        let sent = unfinished();
        let mut packets: Vec<Header> = Vec::new();
        let mut times = Vec::new();
        for number in 1..=2 {
            let sender = rig.handle.attach();
            send(&sender, &sent);
            drop(sender);
            assert_eq!(rig.ended.recv(), Ok((number, PublisherEnd::Lost)));
            assert_eq!(rig.tracks.recv(), Ok((Some(Codec::Opus), Some(Codec::H264))), "each publisher is told of");
            times.extend(player.tags().into_iter().filter(|t| !t.header).map(|t| t.timestamp_ms));
            let read = std::iter::from_fn(|| rig.reader.read());
            packets.extend(
                read.filter(|(kind, slot)| *kind == Kind::Video && !is_rtcp(slot.data()))
                    .map(|(_, slot)| Header::parse(slot.data()).unwrap()),
            );
        }
        assert!(times.is_sorted(), "{times:?}");
        assert!(
            packets.windows(2).all(|pair| pair[1].ssrc == pair[0].ssrc && pair[1].seq == pair[0].seq.wrapping_add(1))
        );
        assert!(packets.windows(2).all(|pair| (pair[1].timestamp.wrapping_sub(pair[0].timestamp) as i32) >= 0));
    }

    #[test]
    fn who_takes_a_stream_over_closes_the_channel_of_the_one_before() {
        let rig = rig();
        let sent = unfinished();
        let first = rig.handle.attach();
        send(&first, &sent[..20]);
        let second = rig.handle.attach();
        send(&second, &sent[..20]);
        while !first.is_closed() {
            thread::yield_now();
        }
        drop(first);
        drop(second);
        assert_eq!(rig.ended.recv(), Ok((2, PublisherEnd::Lost)), "the first one's end is no news");
        rig.handle.detach();
        assert!(!rig.handle.is_publisher(2));
    }

    #[test]
    fn a_publisher_who_says_so_is_over() {
        let rig = rig();
        let sender = rig.handle.attach();
        send(&sender, &[Tag::end(5)]);
        drop(sender);
        assert_eq!(rig.ended.recv(), Ok((1, PublisherEnd::Over)));
    }

    #[test]
    fn stopping_closes_the_channel_and_is_no_end_of_its_own() {
        let rig = rig();
        let sender = rig.handle.attach();
        rig.handle.stop();
        // The end is told by the closed channel alone; the callback is dropped unused.
        assert!(rig.ended.recv().is_err());
        assert!(sender.is_closed() && rig.reader.is_closed());
    }

    #[test]
    fn a_room_that_goes_ends_the_stream() {
        let rig = rig();
        let sender = rig.handle.attach();
        drop(rig.reader);
        assert_eq!(rig.ended.recv(), Ok((1, PublisherEnd::Over)));
        assert!(sender.is_closed());
    }
}
