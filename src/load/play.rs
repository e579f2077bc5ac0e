//! Players in number: lets them in at a steady rate, measures once all are in, reports.

use std::{
    cell::{Cell, RefCell},
    io::{IsTerminal, Write},
    rc::Rc,
    time::{Duration, Instant},
};

use tokio::{sync::watch, time::interval};

use super::{
    LoadError,
    cli::PlayArgs,
    histogram::Histogram,
    http::Url,
    play_rtc, play_tcp,
    process::{Usage, usage},
    report::{PlayReport, print, rate},
    rtc::Common,
};
use media::rtmp::url::RtmpUrl;

/// A player that has no media this long after it began has failed; so has the run if none gets any.
const JOIN_TIMEOUT: Duration = Duration::from_secs(20);
/// How long players may take to say goodbye.
const LEAVE_TIMEOUT: Duration = Duration::from_secs(5);
/// A tick may come this much early or late; a measurement is not made a second longer for it.
const TICK_JITTER: Duration = Duration::from_millis(50);
/// Reasons of failure that are shown; more would be the same again.
const REASONS_MAX: usize = 5;

/// What all players write into and the report is made from. Counters only ever grow.
pub struct Board {
    pub packets: Cell<u64>,
    pub bytes: Cell<u64>,
    /// By the sequence numbers, how many packets there should be in all, and how many of these came.
    pub expected: Cell<u64>,
    pub received: Cell<u64>,
    pub joins: RefCell<Histogram>,
    pub first_frames: RefCell<Histogram>,
    pub delays: RefCell<Histogram>,
    pub joined: Cell<usize>,
    /// Players that have ended, before or after they had media.
    pub ended: Cell<usize>,
    pub ended_joined: Cell<usize>,
    reasons: RefCell<Vec<String>>,
}

/// One player's entry on the board.
pub struct Seat {
    board: Rc<Board>,
    began: Instant,
    joined: Cell<bool>,
    first_frame: Cell<bool>,
}

/// Where players play from.
enum Stream {
    Whep { url: Url, common: Rc<Common> },
    Rtmp(RtmpUrl),
    Flv(Url),
}

/// The counters at one moment.
#[derive(Clone, Copy)]
struct Reading {
    at: Instant,
    packets: u64,
    bytes: u64,
    lost: u64,
    server: Option<Usage>,
}

/// Plays, and prints what was seen. True if every player came in and stayed.
pub async fn run(args: PlayArgs) -> Result<bool, LoadError> {
    let (stream, protocol) = Stream::of(&args)?;
    let before = args.pid.map(usage).transpose()?;
    let board = Rc::new(Board::new());
    let (stop, stopped) = watch::channel(false);
    let mut players = tokio::task::JoinSet::new();
    let mut progress = Progress::new(args.viewers as usize);

    let mut ticks = interval(Duration::from_secs(1));
    let mut doors = interval(Duration::from_secs(1) / args.joins_per_second);
    doors.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Burst);
    let mut started = 0;
    let mut last_start = Instant::now();
    let mut measuring: Option<Reading> = None;
    let ended_early = loop {
        tokio::select! {
            _ = doors.tick(), if started < args.viewers => {
                started += 1;
                last_start = Instant::now();
                players.spawn_local(stream.player(Seat::new(board.clone()), args.token.clone(), stopped.clone()));
            }
            _ = ticks.tick() => {
                let now = board.read(args.pid)?;
                progress.show(&board, now, measuring.is_some());
                let settled = board.joined.get() + board.ended.get() - board.ended_joined.get() >= args.viewers as usize;
                match measuring {
                    None if started == args.viewers && (settled || last_start.elapsed() > JOIN_TIMEOUT) => {
                        if board.present() == 0 {
                            break true;
                        }
                        board.delays.borrow_mut().clear();
                        measuring = Some(now);
                    }
                    Some(from) if from.at.elapsed() + TICK_JITTER >= Duration::from_secs(args.seconds) => break false,
                    Some(_) if board.present() == 0 => break true,
                    _ => {}
                }
            }
            _ = tokio::signal::ctrl_c() => break true,
        }
    };
    progress.done();
    let after = board.read(args.pid)?;
    let viewers = board.present();
    let report = board.report(&args, protocol, before, measuring.unwrap_or(after), after);
    let _ = stop.send(true);
    let _ = tokio::time::timeout(LEAVE_TIMEOUT, async { while players.join_next().await.is_some() {} }).await;
    for reason in board.reasons.borrow().iter() {
        eprintln!("roomcast-load: {reason}");
    }
    print(args.json, &report, &report.rows());
    Ok(!ended_early && viewers == args.viewers as usize)
}

impl Stream {
    fn of(args: &PlayArgs) -> Result<(Stream, &'static str), LoadError> {
        match (&args.whep, &args.rtmp, &args.flv) {
            (Some(url), _, _) => Ok((Stream::Whep { url: Url::parse(url)?, common: Common::new()? }, "whep")),
            (_, Some(url), _) => {
                let url = RtmpUrl::parse(url)
                    .ok_or_else(|| LoadError::new("--rtmp needs an address like rtmp://host/app/stream"))?;
                Ok((Stream::Rtmp(url), "rtmp"))
            }
            (_, _, Some(url)) => Ok((Stream::Flv(Url::parse(url)?), "flv")),
            // The command line asks for exactly one.
            (None, None, None) => Err(LoadError::new("one of --whep, --rtmp and --flv is needed")),
        }
    }

    /// The whole life of one player.
    fn player(
        &self,
        seat: Seat,
        token: Option<String>,
        stopped: watch::Receiver<bool>,
    ) -> impl Future<Output = ()> + use<> {
        let stream = match self {
            Stream::Whep { url, common } => Stream::Whep { url: url.clone(), common: common.clone() },
            Stream::Rtmp(url) => Stream::Rtmp(url.clone()),
            Stream::Flv(url) => Stream::Flv(url.clone()),
        };
        async move {
            let outcome = match stream {
                Stream::Whep { url, common } => play_rtc::play(&seat, common, &url, token.as_deref(), stopped).await,
                Stream::Rtmp(url) => play_tcp::play_rtmp(&seat, url, stopped).await,
                Stream::Flv(url) => play_tcp::play_flv(&seat, &url, token.as_deref(), stopped).await,
            };
            seat.end(outcome);
        }
    }
}

impl Board {
    pub fn new() -> Board {
        Board {
            packets: Cell::new(0),
            bytes: Cell::new(0),
            expected: Cell::new(0),
            received: Cell::new(0),
            joins: RefCell::new(Histogram::new()),
            first_frames: RefCell::new(Histogram::new()),
            delays: RefCell::new(Histogram::new()),
            joined: Cell::new(0),
            ended: Cell::new(0),
            ended_joined: Cell::new(0),
            reasons: RefCell::new(Vec::new()),
        }
    }

    /// Players that have media.
    fn present(&self) -> usize {
        self.joined.get() - self.ended_joined.get()
    }

    fn read(&self, pid: Option<u32>) -> Result<Reading, LoadError> {
        Ok(Reading {
            at: Instant::now(),
            packets: self.packets.get(),
            bytes: self.bytes.get(),
            lost: self.expected.get().saturating_sub(self.received.get()),
            server: pid.map(usage).transpose()?,
        })
    }

    fn report(
        &self,
        args: &PlayArgs,
        protocol: &'static str,
        before: Option<Usage>,
        from: Reading,
        to: Reading,
    ) -> PlayReport {
        let seconds = to.at.duration_since(from.at).as_secs_f64();
        let per_second = |amount: f64| if seconds > 0.0 { amount / seconds } else { 0.0 };
        let (packets, bytes) = (to.packets - from.packets, to.bytes - from.bytes);
        let viewers = self.present();
        let bitrate = per_second(bytes as f64 * 8.0) as u64;
        let cpu_us = to.server.zip(from.server).map(|(to, from)| to.cpu_us.saturating_sub(from.cpu_us) as f64);
        let grown_kb = to.server.zip(before).map(|(to, before)| to.rss_kb as f64 - before.rss_kb as f64);
        let (joins, first, delays) = (self.joins.borrow(), self.first_frames.borrow(), self.delays.borrow());
        PlayReport {
            protocol,
            seconds,
            viewers,
            viewers_failed: (args.viewers as usize).saturating_sub(viewers),
            packets,
            packets_per_second: per_second(packets as f64),
            lost: (protocol == "whep").then(|| to.lost.saturating_sub(from.lost)),
            bitrate,
            bitrate_per_viewer: bitrate / viewers.max(1) as u64,
            server_cpu_us_per_packet: cpu_us.filter(|_| packets > 0).map(|us| us / packets as f64),
            server_cpu_percent: cpu_us.filter(|_| seconds > 0.0).map(|us| us / seconds / 10_000.0),
            rss_per_viewer_kb: grown_kb.filter(|_| viewers > 0).map(|kb| kb / viewers as f64),
            join_ms_p50: joins.percentile_ms(50.0),
            join_ms_p95: joins.percentile_ms(95.0),
            join_ms_p99: joins.percentile_ms(99.0),
            first_frame_ms_p50: first.percentile_ms(50.0),
            first_frame_ms_p95: first.percentile_ms(95.0),
            delay_ms_p50: delays.percentile_ms(50.0),
            delay_ms_p95: delays.percentile_ms(95.0),
            delay_ms_p99: delays.percentile_ms(99.0),
        }
    }
}

impl Seat {
    /// A player that begins now.
    pub fn new(board: Rc<Board>) -> Seat {
        Seat { board, began: Instant::now(), joined: Cell::new(false), first_frame: Cell::new(false) }
    }

    /// Counts one packet or message; the first one says that the player is in.
    pub fn packet(&self, bytes: usize) {
        if !self.joined.replace(true) {
            self.board.joins.borrow_mut().add(self.began.elapsed().as_micros() as u64);
            self.board.joined.set(self.board.joined.get() + 1);
        }
        self.board.packets.set(self.board.packets.get() + 1);
        self.board.bytes.set(self.board.bytes.get() + bytes as u64);
    }

    /// The first picture (or sound) is whole.
    pub fn first_frame(&self) {
        if !self.first_frame.replace(true) {
            self.board.first_frames.borrow_mut().add(self.began.elapsed().as_micros() as u64);
        }
    }

    pub fn has_first_frame(&self) -> bool {
        self.first_frame.get()
    }

    /// Adds to the account of sequence numbers.
    pub fn sequence(&self, expected: u64, received: u64) {
        self.board.expected.set(self.board.expected.get() + expected);
        self.board.received.set(self.board.received.get() + received);
    }

    pub fn delay(&self, us: u64) {
        self.board.delays.borrow_mut().add(us);
    }

    /// The player waited long enough for its first packet.
    pub fn is_overdue(&self) -> bool {
        !self.joined.get() && self.began.elapsed() > JOIN_TIMEOUT
    }

    fn end(self, outcome: Result<(), LoadError>) {
        self.board.ended.set(self.board.ended.get() + 1);
        if self.joined.get() {
            self.board.ended_joined.set(self.board.ended_joined.get() + 1);
        }
        if let Err(LoadError(reason)) = outcome {
            let mut reasons = self.board.reasons.borrow_mut();
            if reasons.len() < REASONS_MAX && !reasons.contains(&reason) {
                reasons.push(reason);
            }
        }
    }
}

/// The live line.
struct Progress {
    began: Instant,
    viewers: usize,
    last: Option<Reading>,
    rewrites: bool,
}

impl Progress {
    fn new(viewers: usize) -> Progress {
        Progress { began: Instant::now(), viewers, last: None, rewrites: std::io::stderr().is_terminal() }
    }

    fn show(&mut self, board: &Board, now: Reading, measuring: bool) {
        let last = self.last.replace(now).unwrap_or(now);
        let seconds = now.at.duration_since(last.at).as_secs_f64();
        if seconds <= 0.0 {
            return;
        }
        let per_second = |amount: u64| (amount as f64 / seconds) as u64;
        let server = now.server.zip(last.server).map_or(String::new(), |(now, last)| {
            let cpu = per_second(now.cpu_us.saturating_sub(last.cpu_us)) / 10_000;
            format!("  server {cpu} % cpu, {} MB", now.rss_kb / 1024)
        });
        // Over TCP there is nothing to lose.
        let lost = if board.expected.get() > 0 { format!("  lost {}", now.lost) } else { String::new() };
        let line = format!(
            "{:4} s  {}  viewers {}/{}  {} packets/s  {}{lost}{server}",
            self.began.elapsed().as_secs(),
            if measuring { "measuring" } else { "joining  " },
            board.present(),
            self.viewers,
            per_second(now.packets - last.packets),
            rate(per_second((now.bytes - last.bytes) * 8)),
        );
        let mut err = std::io::stderr().lock();
        // Nobody reads a broken terminal.
        let _ = if self.rewrites { write!(err, "\r\x1b[K{line}") } else { writeln!(err, "{line}") };
    }

    fn done(&self) {
        if self.rewrites {
            eprintln!();
        }
    }
}
