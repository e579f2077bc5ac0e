//! One publisher: the clip in time, to an RTMP or a WHIP server, and what became of it.

use std::{
    cell::Cell,
    future::Future,
    io::{IsTerminal, Write},
    rc::Rc,
    time::{Duration, Instant},
};

use media::rtmp::url::RtmpUrl;
use tokio::time::interval;

use super::{
    LoadError,
    cli::{MediaArgs, PublishArgs},
    clip::Clip,
    http::Url,
    pool::Pool,
    publish_rtc, publish_rtmp,
    reel::Reel,
    report::{PublishReport, print, rate},
    source::{Footage, Source},
};

/// What a publisher counts. Counters only ever grow.
#[derive(Default)]
pub struct Sent {
    pub packets: Cell<u64>,
    pub bytes: Cell<u64>,
    /// Of the server's newest reports, all tracks together.
    pub lost: Cell<Option<u64>>,
    pub key_frame_requests: Cell<Option<u64>>,
    /// When the server was ready for media.
    pub ready: Cell<Option<Instant>>,
}

/// Where a publisher publishes to.
#[derive(Clone)]
pub enum Goal {
    Whip { url: Url, token: Option<String> },
    Rtmp(RtmpUrl),
}

impl Sent {
    /// Counts one packet or message.
    pub fn packet(&self, bytes: usize) {
        self.packets.set(self.packets.get() + 1);
        self.bytes.set(self.bytes.get() + bytes as u64);
    }
}

impl Goal {
    /// `None` if neither is given.
    pub fn new(whip: Option<&str>, rtmp: Option<&str>, token: Option<String>) -> Result<Option<Goal>, LoadError> {
        match (whip, rtmp) {
            (Some(url), _) => Ok(Some(Goal::Whip { url: Url::parse(url)?, token })),
            (None, Some(url)) => RtmpUrl::parse(url)
                .filter(|url| !url.tls)
                .map(|url| Some(Goal::Rtmp(url)))
                .ok_or_else(|| LoadError::new("rtmp needs an address like rtmp://host/app/stream")),
            (None, None) => Ok(None),
        }
    }
}

/// The clip, or the file, at the wanted rate.
pub fn footage(media: &MediaArgs) -> Result<Rc<Footage>, LoadError> {
    Ok(Rc::new(Footage::new(Clip::load(media.file.as_deref())?, media.video_kbps)?))
}

/// Publishes for `duration` from the server's consent on, or until `stopped`.
pub async fn publish(
    sent: &Rc<Sent>,
    pool: &Rc<Pool>,
    goal: &Goal,
    media: &MediaArgs,
    duration: Duration,
    stopped: impl Future<Output = ()>,
) -> Result<(), LoadError> {
    let footage = footage(media)?;
    match goal {
        Goal::Rtmp(url) => publish_rtmp::publish(sent, url.clone(), Source::new(footage), duration, stopped).await,
        Goal::Whip { url, token } => {
            let cursor = publish_rtc::cursor(&Rc::new(Reel::new(&footage, media.split)?), 0);
            publish_rtc::publish(sent, pool, url, token.as_deref(), cursor, duration, stopped).await
        }
    }
}

/// Publishes, and prints what was sent. True if it went on to the end.
pub async fn run(args: PublishArgs) -> Result<bool, LoadError> {
    let goal = Goal::new(args.whip.as_deref(), args.rtmp.as_deref(), args.token)?;
    // The command line asks for exactly one.
    let goal = goal.ok_or_else(|| LoadError::new("one of --whip and --rtmp is needed"))?;
    let pool = Pool::new(args.pool.sharing())?;
    let sent = Rc::new(Sent::default());
    let began = Instant::now();
    let stopped = async {
        let _ = tokio::signal::ctrl_c().await;
    };
    let outcome = tokio::select! {
        outcome = publish(&sent, &pool, &goal, &args.media, Duration::from_secs(args.seconds), stopped) => outcome,
        () = show(&sent, began) => Ok(()),
    };
    if std::io::stderr().is_terminal() {
        eprintln!();
    }
    let Some(ready) = sent.ready.get() else {
        return Err(outcome.err().unwrap_or_else(|| LoadError::new("stopped before the server was ready")));
    };
    let seconds = ready.elapsed().as_secs_f64();
    let report = PublishReport {
        protocol: if matches!(goal, Goal::Rtmp(_)) { "rtmp" } else { "whip" },
        seconds,
        packets: sent.packets.get(),
        bitrate: (sent.bytes.get() as f64 * 8.0 / seconds.max(0.001)) as u64,
        lost: sent.lost.get(),
        key_frame_requests: sent.key_frame_requests.get(),
        join_ms: ready.duration_since(began).as_secs_f64() * 1000.0,
    };
    print(args.json, &report, &report.rows());
    if let Err(error) = &outcome {
        eprintln!("roomcast-load: {error}");
    }
    Ok(outcome.is_ok())
}

/// The live line, every second; never ends.
async fn show(sent: &Sent, began: Instant) {
    let rewrites = std::io::stderr().is_terminal();
    let mut ticks = interval(Duration::from_secs(1));
    let (mut packets, mut bytes) = (0, 0);
    loop {
        ticks.tick().await;
        let (now_packets, now_bytes) = (sent.packets.get(), sent.bytes.get());
        let line = format!(
            "{:4} s  {}  {} packets/s  {}{}",
            began.elapsed().as_secs(),
            if sent.ready.get().is_some() { "publishing" } else { "connecting" },
            now_packets - packets,
            rate((now_bytes - bytes) * 8),
            sent.lost.get().map_or(String::new(), |lost| format!("  lost {lost}")),
        );
        (packets, bytes) = (now_packets, now_bytes);
        let mut err = std::io::stderr().lock();
        // Nobody reads a broken terminal.
        let _ = if rewrites { write!(err, "\r\x1b[K{line}") } else { writeln!(err, "{line}") };
    }
}
