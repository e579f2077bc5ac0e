//! Clients in number: lets them in at a steady rate, measures once all are in, keeps them coming and going if asked.

use std::{
    future::Future,
    io::{IsTerminal, Write},
    pin::Pin,
    rc::Rc,
    time::{Duration, Instant},
};

use tokio::{
    sync::watch,
    task::JoinSet,
    time::{MissedTickBehavior, interval, sleep},
};

use super::{
    LoadError,
    board::{Board, JOIN_TIMEOUT, Seat},
    pool::Pool,
    process::{Usage, own_usage, usage},
    report::{Report, StormReport, rate},
};

/// How long clients may take to say goodbye.
const LEAVE_TIMEOUT: Duration = Duration::from_secs(5);
/// A tick may come this much early or late; a measurement is not made a second longer for it.
const TICK_JITTER: Duration = Duration::from_millis(50);
/// Between one client and the next on its place.
const TURN_PAUSE: Duration = Duration::from_millis(100);
/// From the start of the measurement to the storm.
const CALM: Duration = Duration::from_secs(1);

/// What is to be done.
#[derive(Clone, Debug)]
pub struct Plan {
    pub clients: usize,
    pub joins_per_second: u32,
    pub seconds: u64,
    /// How long a client stays before another takes its place.
    pub churn: Option<Duration>,
    pub storm: Option<Storm>,
    /// The server's process.
    pub pid: Option<u32>,
    /// Between the publisher's first packet and the first client, if memory is measured.
    pub settle: Duration,
}

/// Clients that come in beside those that are measured.
#[derive(Clone, Copy, Debug)]
pub struct Storm {
    pub joins_per_second: u32,
    pub seconds: u64,
}

pub type Life = Pin<Box<dyn Future<Output = ()>>>;

/// Makes clients.
pub trait Crowd {
    /// The whole life of client `number`, until told to stop.
    fn client(&self, seat: Rc<Seat>, number: usize, stopped: watch::Receiver<bool>) -> Life;
    /// `whep`, `rtmp`, `flv` or `signal`.
    fn protocol(&self) -> &'static str;
    /// What the live line calls them.
    fn name(&self) -> &'static str;
    /// First pictures that there are when everybody sees everything, if more than being in is waited for.
    fn pictures(&self) -> usize;
    /// Gaps in sequence numbers can be seen.
    fn sees_loss(&self) -> bool;
}

/// The counters at one moment.
#[derive(Clone, Copy)]
struct Reading {
    at: Instant,
    packets: u64,
    bytes: u64,
    lost: u64,
    reordered: u64,
    dropped_here: u64,
    server: Option<Usage>,
    own: Usage,
}

/// Runs the plan. The report, and whether every client came in and stayed.
pub async fn run(plan: &Plan, crowd: Rc<dyn Crowd>, pool: &Rc<Pool>) -> Result<(Report, bool), LoadError> {
    let before = plan.pid.map(usage).transpose()?;
    let (board, storm_board) = (Board::new(), Board::new());
    let (stop, stopped) = watch::channel(false);
    let mut clients = JoinSet::new();
    let mut live = Live::new(plan.clients, crowd.name(), crowd.sees_loss());
    let read = |board: &Board| -> Result<Reading, LoadError> {
        Ok(Reading {
            at: Instant::now(),
            packets: board.packets.get(),
            bytes: board.bytes.get(),
            lost: board.lost(),
            reordered: board.reordered.get(),
            dropped_here: pool.drops(),
            server: plan.pid.map(usage).transpose()?,
            own: own_usage()?,
        })
    };

    let mut ticks = interval(Duration::from_secs(1));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut doors = interval(Duration::from_secs(1) / plan.joins_per_second);
    doors.set_missed_tick_behavior(MissedTickBehavior::Burst);
    let storm = plan.storm.unwrap_or(Storm { joins_per_second: 1, seconds: 0 });
    let storm_size = storm.joins_per_second as usize * storm.seconds as usize;
    let mut storm_doors = interval(Duration::from_secs(1) / storm.joins_per_second);
    storm_doors.set_missed_tick_behavior(MissedTickBehavior::Burst);
    let (mut started, mut stormed) = (0, 0);
    let mut last_start = Instant::now();
    let mut from: Option<(Reading, Reading)> = None;
    let mut rss_max_kb = 0;
    let ended_early = loop {
        let storming = from.is_some_and(|(from, _)| from.at.elapsed() >= CALM) && stormed < storm_size;
        tokio::select! {
            _ = doors.tick(), if started < plan.clients => {
                let seat = Seat::new(board.clone());
                clients.spawn_local(turns(crowd.clone(), seat, board.clone(), started, plan.churn, stopped.clone()));
                started += 1;
                last_start = Instant::now();
            }
            _ = storm_doors.tick(), if storming => {
                let (seat, number) = (Seat::new(storm_board.clone()), plan.clients + stormed);
                clients.spawn_local(turns(crowd.clone(), seat, storm_board.clone(), number, None, stopped.clone()));
                stormed += 1;
                last_start = Instant::now();
            }
            _ = ticks.tick() => {
                let now = read(&board)?;
                live.show(&board, now, from.is_some());
                rss_max_kb = rss_max_kb.max(now.server.map_or(0, |server| server.rss_kb));
                let over = board.ended.get() - board.ended_joined.get();
                let storm_over = storm_board.joined.get() + storm_board.ended.get() - storm_board.ended_joined.get();
                // Who came in a storm is waited for.
                let calm = storm_over >= storm_size || last_start.elapsed() > JOIN_TIMEOUT;
                let all_in = board.joined.get() + over >= plan.clients && board.pictured.get() >= crowd.pictures();
                match from {
                    None if started == plan.clients && (all_in || last_start.elapsed() > JOIN_TIMEOUT) => {
                        if board.present() == 0 {
                            break true;
                        }
                        board.delays.borrow_mut().clear();
                        from = Some((now, read(&storm_board)?));
                        storm_doors.reset();
                    }
                    Some((from, _)) if calm && from.at.elapsed() + TICK_JITTER >= Duration::from_secs(plan.seconds) => break false,
                    Some(_) if board.present() == 0 && plan.churn.is_none() => break true,
                    _ => {}
                }
            }
            _ = tokio::signal::ctrl_c() => break true,
        }
        if stormed == 0 && !storming {
            storm_doors.reset();
        }
    };
    live.done();
    let (after, storm_after) = (read(&board)?, read(&storm_board)?);
    let (from, storm_from) = from.unwrap_or((after, storm_after));
    let mut report = report(plan, &*crowd, &board, before, from, after);
    // What the storm received was forwarded too.
    let stormed_packets = storm_after.packets - storm_from.packets;
    report.price(after.server.zip(from.server), after.own, from.own, stormed_packets);
    report.rss_max_kb = after.server.map(|server| rss_max_kb.max(server.rss_kb));
    if plan.storm.is_some() {
        report.storm = Some(storm_report(&storm_board, stormed));
    }
    let _ = stop.send(true);
    let _ = tokio::time::timeout(LEAVE_TIMEOUT, async { while clients.join_next().await.is_some() {} }).await;
    for reason in board.reasons().iter().chain(&storm_board.reasons()) {
        eprintln!("roomcast-load: {reason}");
    }
    let complete = !ended_early && report.viewers_failed == 0 && report.storm.as_ref().is_none_or(|s| s.failed == 0);
    Ok((report, complete))
}

/// One place in the crowd: one client, or with `churn` one after another, each for about that long.
async fn turns(
    crowd: Rc<dyn Crowd>,
    first: Rc<Seat>,
    board: Rc<Board>,
    number: usize,
    churn: Option<Duration>,
    mut stopped: watch::Receiver<bool>,
) {
    let mut seat = first;
    let mut turn = 0_u32;
    loop {
        let (leave, left) = watch::channel(false);
        let mut client = crowd.client(seat, number, left);
        let stay = async {
            match churn {
                // Half to one and a half of it, so that not all who came together leave together.
                Some(churn) => sleep(churn / 2 + churn * ((number as u32 * 7 + turn * 3) % 16) / 16).await,
                None => std::future::pending().await,
            }
        };
        let last = tokio::select! {
            () = &mut client => churn.is_none(),
            () = stay => { let _ = leave.send(true); client.await; false }
            _ = stopped.wait_for(|stopped| *stopped) => { let _ = leave.send(true); client.await; true }
        };
        if last || *stopped.borrow() {
            return;
        }
        // A server that refuses everybody is not to be knocked down by it.
        sleep(TURN_PAUSE).await;
        turn += 1;
        seat = Seat::new(board.clone());
    }
}

fn report(plan: &Plan, crowd: &dyn Crowd, board: &Board, before: Option<Usage>, from: Reading, to: Reading) -> Report {
    let seconds = to.at.duration_since(from.at).as_secs_f64();
    let per_second = |amount: f64| if seconds > 0.0 { amount / seconds } else { 0.0 };
    let (packets, bytes) = (to.packets - from.packets, to.bytes - from.bytes);
    let viewers = board.present();
    let bitrate = per_second(bytes as f64 * 8.0) as u64;
    let missing = if plan.churn.is_some() { 0 } else { plan.clients.saturating_sub(viewers) };
    let grown_kb = to.server.zip(before).map(|(to, before)| to.rss_kb as f64 - before.rss_kb as f64);
    let (joins, first, delays) = (board.joins.borrow(), board.first_frames.borrow(), board.delays.borrow());
    let sees_loss = crowd.sees_loss();
    Report {
        protocol: crowd.protocol(),
        seconds,
        viewers,
        viewers_failed: board.failed.get().max(missing),
        joins: board.joined.get(),
        packets,
        packets_per_second: per_second(packets as f64),
        lost: sees_loss.then(|| to.lost.saturating_sub(from.lost)),
        reordered: sees_loss.then_some(to.reordered - from.reordered),
        dropped_here: sees_loss.then(|| to.dropped_here.saturating_sub(from.dropped_here)),
        verified: sees_loss.then_some(board.verified.get()),
        broken: sees_loss.then_some(board.broken.get()),
        bitrate,
        bitrate_per_viewer: bitrate / viewers.max(1) as u64,
        server_cpu_us_per_packet: None,
        server_cpu_percent: None,
        own_cpu_us_per_packet: None,
        own_cpu_percent: None,
        rss_per_viewer_kb: grown_kb.filter(|_| viewers > 0).map(|kb| kb / viewers as f64),
        rss_kb: to.server.map(|server| server.rss_kb),
        rss_grown_kb: to.server.zip(from.server).map(|(to, from)| to.rss_kb as i64 - from.rss_kb as i64),
        rss_max_kb: None,
        join_ms_p50: joins.percentile_ms(50.0),
        join_ms_p95: joins.percentile_ms(95.0),
        join_ms_p99: joins.percentile_ms(99.0),
        first_frame_ms_p50: first.percentile_ms(50.0),
        first_frame_ms_p95: first.percentile_ms(95.0),
        first_frame_ms_p99: first.percentile_ms(99.0),
        delay_ms_p50: delays.percentile_ms(50.0),
        delay_ms_p95: delays.percentile_ms(95.0),
        delay_ms_p99: delays.percentile_ms(99.0),
        storm: None,
        published: None,
    }
}

fn storm_report(board: &Board, started: usize) -> StormReport {
    let (joins, first) = (board.joins.borrow(), board.first_frames.borrow());
    StormReport {
        joins: started,
        failed: started.saturating_sub(board.present()),
        join_ms_p50: joins.percentile_ms(50.0),
        join_ms_p95: joins.percentile_ms(95.0),
        join_ms_p99: joins.percentile_ms(99.0),
        first_frame_ms_p95: first.percentile_ms(95.0),
        lost: board.lost(),
    }
}

/// The live line.
struct Live {
    began: Instant,
    clients: usize,
    name: &'static str,
    sees_loss: bool,
    last: Option<Reading>,
    rewrites: bool,
}

impl Live {
    fn new(clients: usize, name: &'static str, sees_loss: bool) -> Live {
        let rewrites = std::io::stderr().is_terminal();
        Live { began: Instant::now(), clients, name, sees_loss, last: None, rewrites }
    }

    fn show(&mut self, board: &Board, now: Reading, measuring: bool) {
        let last = self.last.replace(now).unwrap_or(now);
        let seconds = now.at.duration_since(last.at).as_secs_f64();
        if seconds <= 0.0 {
            return;
        }
        let per_second = |amount: u64| (amount as f64 / seconds) as u64;
        let percent = |to: Usage, from: Usage| per_second(to.cpu_us.saturating_sub(from.cpu_us)) / 10_000;
        let server = now.server.zip(last.server).map_or(String::new(), |(now, last)| {
            format!("  server {} % cpu, {} MB", percent(now, last), now.rss_kb / 1024)
        });
        let failed = if board.failed.get() > 0 { format!("  failed {}", board.failed.get()) } else { String::new() };
        // Over TCP there is nothing to lose.
        let lost = if self.sees_loss { format!("  lost {}", now.lost) } else { String::new() };
        let line = format!(
            "{:4} s  {}  {} {}/{}  {} packets/s  {}{lost}{failed}{server}  own {} %",
            self.began.elapsed().as_secs(),
            if measuring { "measuring" } else { "joining  " },
            self.name,
            board.present(),
            self.clients,
            per_second(now.packets - last.packets),
            rate(per_second((now.bytes - last.bytes) * 8)),
            percent(now.own, last.own),
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
