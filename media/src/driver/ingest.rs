//! A stream that is fed with FLV tags, by RTMP or from inside the process: the tags go unchanged to its players, and as RTP into
//! its room. Whoever brings the tags does the work, sound made into Opus included: no thread has to be woken for a tag, and a
//! publisher who is faster than we are is held up by TCP. The stream outlives its publisher, so that the next one goes on where he
//! ended.

use std::{
    fmt,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

#[cfg(feature = "reencode")]
use tokio::runtime::{Handle, RuntimeFlavor};
use tokio::sync::watch;
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
    inlet::{Inlet, Intake, OVER},
    units::time::{Time, WallClock},
};

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

/// Called with the number of a publisher, of [`Ingest::attach`], who went by himself.
pub type OnEnd = Box<dyn Fn(u64, PublisherEnd) + Send>;

/// Where a stream's media goes, and who hears of it. None of them may wait, or call back.
pub struct IngestSink {
    /// Into the room: RTP and sender reports in plaintext, payload types and SSRCs of our own choosing. Its reader is woken once
    /// for all that a publisher brings at once.
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

/// One stream that is fed with tags: changes its publisher, and ends it when told to, or when dropped.
pub struct Ingest(Arc<Shared>);

struct Shared {
    /// The number of the present publisher, 0 before the first; [`OVER`] in the end.
    present: watch::Sender<u64>,
    state: Mutex<State>,
}

struct State {
    sink: IngestSink,
    bridge: RtmpToRoom,
    tally: Tally,
    publisher: Option<Publisher>,
}

/// He whose tags are taken.
struct Publisher {
    number: u64,
    source: Source,
    told: (Option<Codec>, Option<Codec>),
    told_b_frames: bool,
    first_track_at: Option<Time>,
    /// The last tag said that it is the last.
    over: bool,
}

impl Ingest {
    /// A stream without a publisher. It waits for [`attach`](Self::attach).
    pub fn new(config: &MediaConfig, sink: IngestSink) -> Ingest {
        #[cfg_attr(not(feature = "reencode"), allow(unused_mut))]
        let mut bridge = RtmpToRoom::new(config.opus_bitrate_bps, sink.clock.0);
        #[cfg(feature = "reencode")]
        bridge.set_reencode_b_frames(config.reencode_b_frames);
        let tally = Tally::new(sink.counts.clone());
        let state = Mutex::new(State { sink, bridge, tally, publisher: None });
        Ingest(Arc::new(Shared { present: watch::Sender::new(0), state }))
    }

    /// Gives the stream a publisher, in the place of the present one if there is one, whose inlet closes. A stream that is over
    /// gives one that is closed.
    pub fn attach(&self) -> Inlet {
        let mut state = self.0.lock();
        let number = self.0.next_publisher();
        if number != OVER {
            state.publisher = Some(Publisher {
                number,
                source: state.sink.feed.begin(),
                told: (None, None),
                told_b_frames: false,
                first_track_at: None,
                over: false,
            });
            state.bridge.begin_publisher();
        }
        Inlet::new(self.0.clone(), number, self.0.present.subscribe())
    }

    /// Cuts the publisher, if there is one. Of his end nothing more is heard.
    pub fn detach(&self) {
        let mut state = self.0.lock();
        self.0.next_publisher();
        state.publisher = None;
    }

    /// Whether this is the number of the present publisher.
    pub fn is_publisher(&self, number: u64) -> bool {
        *self.0.present.borrow() == number
    }

    /// Ends the stream: the publisher's inlet closes, and the pipe.
    pub fn stop(&self) {
        let mut state = self.0.lock();
        self.0.present.send_replace(OVER);
        state.publisher = None;
        state.sink.pipe.close();
    }
}

impl fmt::Debug for Ingest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ingest").field("publisher", &*self.0.present.borrow()).finish_non_exhaustive()
    }
}

impl Drop for Ingest {
    fn drop(&mut self) {
        self.stop();
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        // After a panic nothing but the sink is used, see `push`.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Only under the lock of the state.
    fn next_publisher(&self) -> u64 {
        self.present.send_if_modified(|number| {
            let goes_on = *number != OVER;
            *number += u64::from(goes_on);
            goes_on
        });
        *self.present.borrow()
    }
}

impl Intake for Shared {
    fn push(&self, publisher: u64, tag: Tag) -> bool {
        let mut state = self.lock();
        if state.publisher.as_ref().is_none_or(|present| present.number != publisher) {
            return false;
        }
        // A panic is a fault of ours; this stream ends as if its publisher had gone, the others do not notice.
        let taken = catch_unwind(AssertUnwindSafe(|| state.take_in_time(tag)));
        if taken.is_err() {
            error!("the bridge panicked; its stream ends");
        }
        if taken.is_err() || state.sink.pipe.is_closed() {
            self.present.send_replace(OVER);
            state.publisher = None;
            state.sink.pipe.close();
            (state.sink.on_end)(OVER, PublisherEnd::Over);
            return false;
        }
        true
    }

    fn announce(&self) {
        self.lock().sink.pipe.announce();
    }

    fn leave(&self, publisher: u64) {
        let mut state = self.lock();
        state.sink.pipe.announce();
        if let Some(Publisher { over, .. }) = state.publisher.take_if(|present| present.number == publisher) {
            (state.sink.on_end)(publisher, if over { PublisherEnd::Over } else { PublisherEnd::Lost });
        }
    }
}

impl State {
    /// As [`take`](Self::take), and other tasks have their turn meanwhile if it takes long.
    fn take_in_time(&mut self, tag: Tag) {
        #[cfg(feature = "reencode")]
        if self.bridge.is_reencoding()
            && Handle::try_current().is_ok_and(|runtime| runtime.runtime_flavor() == RuntimeFlavor::MultiThread)
        {
            return tokio::task::block_in_place(|| self.take(tag));
        }
        self.take(tag);
    }

    fn take(&mut self, tag: Tag) {
        let State { sink, bridge, tally, publisher } = self;
        let Some(publisher) = publisher else { return };
        sink.feed.push(publisher.source, tag.clone());
        let now = Time::from_micros(sink.clock.1.elapsed().as_micros() as u64);
        bridge.set_listened_to(sink.pipe.is_sound_wanted());
        if sink.pipe.take_key_wanted() {
            bridge.want_key();
        }
        bridge.handle_tag(now, &tag, &mut |kind, packet| sink.pipe.write(kind, packet));
        sink.pipe.set_makes_keys(bridge.makes_keys());
        let (running, made) = bridge.transcoding();
        tally.note(running, made);
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

#[cfg(all(test, feature = "aac-fdk"))]
mod tests {
    use std::sync::mpsc;

    use super::*;
    use crate::{
        bridge::fixture::{BASELINE_AAC44, tags},
        buf::pipe::{PipeReader, pipe},
        ids::Kind,
        outlet::Found,
        rtp::packet::{Header, is_rtcp},
    };

    struct Rig {
        ingest: Ingest,
        feed: Arc<Feed>,
        counts: Arc<DirectionCounts>,
        reader: PipeReader,
        tracks: mpsc::Receiver<(Option<Codec>, Option<Codec>)>,
        ended: mpsc::Receiver<(u64, PublisherEnd)>,
    }

    fn rig() -> Rig {
        rig_told(|| ())
    }

    /// `at_tracks` is called when the tracks are told.
    fn rig_told(at_tracks: impl Fn() + Send + 'static) -> Rig {
        let (writer, reader) = pipe(4_096, || ());
        reader.set_sound_wanted(true);
        let feed = Feed::new(Duration::ZERO);
        let counts = Arc::<DirectionCounts>::default();
        let (on_tracks, tracks) = mpsc::channel();
        let (on_end, ended) = mpsc::channel();
        let sink = IngestSink {
            pipe: writer,
            feed: feed.clone(),
            on_tracks: Box::new(move |audio, video| {
                on_tracks.send((audio, video)).unwrap();
                at_tracks();
            }),
            on_b_frames: Box::new(|| ()),
            on_end: Box::new(move |number, end| on_end.send((number, end)).unwrap()),
            counts: counts.clone(),
            clock: (WallClock::new(0), Instant::now()),
        };
        Rig { ingest: Ingest::new(&MediaConfig::default(), sink), feed, counts, reader, tracks, ended }
    }

    /// What a publisher sends whom somebody kills.
    fn unfinished() -> Vec<Tag> {
        tags(BASELINE_AAC44).into_iter().filter(|tag| !tag.is_end()).collect()
    }

    fn send(inlet: &Inlet, tags: &[Tag]) {
        assert!(tags.iter().all(|tag| inlet.push(tag.clone())));
    }

    #[test]
    fn tags_reach_players_unchanged_and_the_room_as_packets() {
        let rig = rig();
        let mut player = rig.feed.outlet().attach();
        let sent = unfinished();
        let inlet = rig.ingest.attach();
        send(&inlet, &sent);
        drop(inlet);
        assert_eq!(rig.ended.try_recv(), Ok((1, PublisherEnd::Lost)));
        let got = player.tags();
        assert_eq!(got.len(), sent.len());
        assert!(got.iter().zip(&sent).all(|(a, b)| a.payload == b.payload && a.timestamp_ms == b.timestamp_ms));
        assert!(matches!(player.try_next(Instant::now()), Found::Later), "he may come back");
        assert_eq!(rig.tracks.try_recv(), Ok((Some(Codec::Opus), Some(Codec::H264))));
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
        let inlet = rig.ingest.attach();
        let heard = || std::iter::from_fn(|| rig.reader.read()).filter(|(kind, _)| *kind == Kind::Audio).count();
        rig.reader.set_sound_wanted(false);
        send(&inlet, &sent[..half]);
        assert_eq!((heard(), rig.counts.running(), rig.counts.made()), (0, 0, 0));
        rig.reader.set_sound_wanted(true);
        send(&inlet, &sent[half..]);
        assert!(heard() > 40 && rig.counts.running() == 1 && rig.counts.made() > 40);
    }

    #[test]
    fn the_next_publisher_goes_on_for_players_and_for_the_room() {
        let rig = rig();
        let mut player = rig.feed.outlet().attach();
        let sent = unfinished();
        let mut packets: Vec<Header> = Vec::new();
        let mut times = Vec::new();
        for number in 1..=2 {
            let inlet = rig.ingest.attach();
            send(&inlet, &sent);
            drop(inlet);
            assert_eq!(rig.ended.try_recv(), Ok((number, PublisherEnd::Lost)));
            assert_eq!(rig.tracks.try_recv(), Ok((Some(Codec::Opus), Some(Codec::H264))), "each publisher is told of");
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

    #[tokio::test]
    async fn who_takes_a_stream_over_closes_the_inlet_of_the_one_before() {
        let rig = rig();
        let sent = unfinished();
        let mut first = rig.ingest.attach();
        send(&first, &sent[..20]);
        let second = rig.ingest.attach();
        send(&second, &sent[..20]);
        assert!(first.is_closed() && !first.push(sent[20].clone()));
        first.closed().await;
        drop(first);
        drop(second);
        assert_eq!(rig.ended.try_recv(), Ok((2, PublisherEnd::Lost)), "the first one's end is no news");
        rig.ingest.detach();
        assert!(!rig.ingest.is_publisher(2));
    }

    #[test]
    fn who_was_cut_is_closed_and_his_end_is_no_news() {
        let rig = rig();
        let cut = rig.ingest.attach();
        rig.ingest.detach();
        assert!(cut.is_closed() && !cut.push(unfinished()[0].clone()));
        drop(cut);
        assert!(rig.ended.try_recv().is_err());
        assert!(!rig.ingest.attach().is_closed(), "another one may come");
    }

    #[test]
    fn a_publisher_who_says_so_is_over() {
        let rig = rig();
        let inlet = rig.ingest.attach();
        send(&inlet, &[Tag::end(5)]);
        drop(inlet);
        assert_eq!(rig.ended.try_recv(), Ok((1, PublisherEnd::Over)));
    }

    #[tokio::test]
    async fn stopping_closes_the_inlet_and_is_no_end_of_its_own() {
        let rig = rig();
        let mut inlet = rig.ingest.attach();
        rig.ingest.stop();
        inlet.closed().await;
        assert!(inlet.is_closed() && rig.reader.is_closed());
        drop(inlet);
        assert!(rig.ended.try_recv().is_err());
        let mut late = rig.ingest.attach();
        assert!(late.is_closed() && !late.push(unfinished()[0].clone()));
        late.closed().await;
    }

    #[test]
    fn a_room_that_goes_ends_the_stream() {
        let rig = rig();
        let inlet = rig.ingest.attach();
        drop(rig.reader);
        assert!(!inlet.push(unfinished()[0].clone()) && inlet.is_closed());
        let (number, end) = rig.ended.try_recv().unwrap();
        assert!(rig.ingest.is_publisher(number));
        assert_eq!(end, PublisherEnd::Over);
    }

    #[test]
    fn a_fault_of_the_bridge_ends_its_stream_and_nothing_else() {
        let rig = rig_told(|| panic!("as a fault of the bridge would"));
        let inlet = rig.ingest.attach();
        let taken = unfinished().into_iter().take_while(|tag| inlet.push(tag.clone())).count();
        assert!(taken > 0 && inlet.is_closed() && rig.reader.is_closed());
        let (number, end) = rig.ended.try_recv().unwrap();
        assert!(rig.ingest.is_publisher(number) && end == PublisherEnd::Over);
        assert!(rig.ingest.attach().is_closed());
    }
}
