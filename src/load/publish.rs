//! One publisher: the clip in time, to an RTMP or a WHIP server, and what became of it.

use std::{
    cell::Cell,
    io::{IsTerminal, Write},
    time::{Duration, Instant},
};

use media::rtmp::url::RtmpUrl;
use tokio::time::interval;

use super::{
    LoadError,
    cli::PublishArgs,
    clip::Clip,
    http::Url,
    publish_rtc, publish_rtmp,
    report::{PublishReport, print, rate},
    rtc::Common,
    source::Source,
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

impl Sent {
    /// Counts one packet or message.
    pub fn packet(&self, bytes: usize) {
        self.packets.set(self.packets.get() + 1);
        self.bytes.set(self.bytes.get() + bytes as u64);
    }
}

/// Publishes, and prints what was sent. True if it went on to the end.
pub async fn run(args: PublishArgs) -> Result<bool, LoadError> {
    let source = Source::new(Clip::load(args.file.as_deref())?, args.video_kbps)?;
    let duration = Duration::from_secs(args.seconds);
    let sent = Sent::default();
    let began = Instant::now();
    let protocol = if args.rtmp.is_some() { "rtmp" } else { "whip" };
    let work = async {
        match (&args.rtmp, &args.whip) {
            (Some(url), _) => {
                let url = RtmpUrl::parse(url)
                    .ok_or_else(|| LoadError::new("--rtmp needs an address like rtmp://host/app/stream"))?;
                publish_rtmp::publish(&sent, url, source, duration).await
            }
            (None, Some(url)) => {
                let url = Url::parse(url)?;
                publish_rtc::publish(&sent, Common::new()?, &url, args.token.as_deref(), source, duration).await
            }
            // The command line asks for exactly one.
            (None, None) => Err(LoadError::new("one of --whip and --rtmp is needed")),
        }
    };
    let outcome = tokio::select! {
        outcome = work => outcome,
        () = show(&sent, began) => Ok(()),
        _ = tokio::signal::ctrl_c() => Ok(()),
    };
    if std::io::stderr().is_terminal() {
        eprintln!();
    }
    let Some(ready) = sent.ready.get() else {
        return Err(outcome.err().unwrap_or_else(|| LoadError::new("stopped before the server was ready")));
    };
    let seconds = ready.elapsed().as_secs_f64();
    let report = PublishReport {
        protocol,
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
