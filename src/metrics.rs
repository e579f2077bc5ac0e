//! `/metrics`: numbers for Prometheus, as text (exposition format 0.0.4).
//!
//! Each part of the server that counts has one function here that lays its numbers out; [`Metrics::text`] lists them. No
//! label comes from the network, so the number of series has a bound.

use std::{
    fmt::{Display, Write as _},
    fs,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::SystemTime,
};

use media::{bridge::transcode::TranscodeCounts, control::Counters, driver::shard::Counts, drop_reason::DropReason};
use serde_json::{Value, json};
use signaling::{Callbacks, Hub, callback::CallbackCounts, hub};
use tokio::sync::Semaphore;

/// Media type of the answer.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Everything that is counted.
pub struct Metrics {
    started: SystemTime,
    /// The places of open HTTP connections, and how many there are in all.
    places: Arc<Semaphore>,
    places_max: usize,
    /// The media side's own counters, one set for each shard.
    media: Counters,
    hub: Hub,
    callbacks: Callbacks,
    pub flv: Arc<FlvCounts>,
    pub hls: Arc<HlsCounts>,
}

/// What HLS is counted by.
#[derive(Debug, Default)]
pub struct HlsCounts {
    streams: AtomicU64,
    playing: AtomicU64,
    admitted: AtomicU64,
    refused: AtomicU64,
    whole: AtomicU64,
    updates: AtomicU64,
}

/// One HLS player; it stops counting as playing when this is dropped.
#[derive(Debug)]
pub struct HlsPlayer(Arc<HlsCounts>);

impl Drop for HlsPlayer {
    fn drop(&mut self) {
        self.0.playing.fetch_sub(1, Ordering::Relaxed);
    }
}

impl HlsCounts {
    /// A stream is packaged from now on.
    pub fn begin(&self) {
        self.streams.fetch_add(1, Ordering::Relaxed);
    }

    pub fn end(&self) {
        self.streams.fetch_sub(1, Ordering::Relaxed);
    }

    pub fn admit(self: &Arc<Self>) -> HlsPlayer {
        self.admitted.fetch_add(1, Ordering::Relaxed);
        self.playing.fetch_add(1, Ordering::Relaxed);
        HlsPlayer(self.clone())
    }

    /// A media playlist is answered, whole or with what the player knows left out.
    pub fn answer(&self, is_update: bool) {
        let count = if is_update { &self.updates } else { &self.whole };
        count.fetch_add(1, Ordering::Relaxed);
    }

    pub fn refuse(&self) {
        self.refused.fetch_add(1, Ordering::Relaxed);
    }
}

/// What FLV players are counted by.
#[derive(Debug, Default)]
pub struct FlvCounts {
    playing: AtomicU64,
    admitted: AtomicU64,
    refused: AtomicU64,
}

/// One FLV player; it stops counting as playing when this is dropped.
#[derive(Debug)]
pub struct FlvPlayer(Arc<FlvCounts>);

impl FlvCounts {
    pub fn admit(self: &Arc<Self>) -> FlvPlayer {
        self.admitted.fetch_add(1, Ordering::Relaxed);
        self.playing.fetch_add(1, Ordering::Relaxed);
        FlvPlayer(self.clone())
    }

    pub fn refuse(&self) {
        self.refused.fetch_add(1, Ordering::Relaxed);
    }
}

impl Drop for FlvPlayer {
    fn drop(&mut self) {
        self.0.playing.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Metrics {
    pub fn new(places: Arc<Semaphore>, media: Counters, hub: Hub, callbacks: Callbacks) -> Metrics {
        let places_max = places.available_permits();
        Metrics {
            started: SystemTime::now(),
            places,
            places_max,
            media,
            hub,
            callbacks,
            flv: Arc::default(),
            hls: Arc::default(),
        }
    }

    /// The whole answer.
    pub fn text(&self) -> String {
        let mut out = Exposition::default();
        self.process(&mut out);
        self.http(&mut out);
        members(self.hub.counts(), &mut out);
        callbacks(self.callbacks.counts(), &mut out);
        media_families(&self.media.read(), &mut out);
        transcodes(&self.media.transcodes, &mut out);
        out.text
    }

    /// The same numbers, added up and as JSON, for the console.
    pub fn overview(&self) -> Value {
        let counts = self.hub.counts();
        let shards: Vec<Value> = self.media.read().iter().map(shard_overview).collect();
        let since_1970 =
            |time: SystemTime| time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_millis() as u64;
        json!({
            "version": env!("CARGO_PKG_VERSION"),
            "now": since_1970(SystemTime::now()),
            "startedAt": since_1970(self.started),
            "rooms": counts.rooms,
            "members": counts.members,
            "streams": counts.streams,
            "sessions": counts.sessions,
            "flvPlayers": self.flv.playing.load(Ordering::Relaxed),
            "hlsPlayers": self.hls.playing.load(Ordering::Relaxed),
            "httpConnections": self.places_max - self.places.available_permits(),
            "httpConnectionsMax": self.places_max,
            "memoryBytes": memory_bytes(),
            "processorSeconds": processor_seconds(),
            "shards": shards,
        })
    }

    fn process(&self, out: &mut Exposition) {
        out.family("roomcast_build_info", Kind::Gauge, "Always 1; the label says which version runs.");
        out.sample("roomcast_build_info", &[("version", env!("CARGO_PKG_VERSION"))], 1);
        out.family("process_start_time_seconds", Kind::Gauge, "When the server started, in seconds since 1970.");
        let started = self.started.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        out.sample("process_start_time_seconds", &[], started.as_secs());
    }

    fn http(&self, out: &mut Exposition) {
        let open = self.places_max - self.places.available_permits();
        out.family(
            "roomcast_http_connections",
            Kind::Gauge,
            "Open HTTP, HTTPS and WebSocket connections, and requests under way over HTTP/2.",
        );
        out.sample("roomcast_http_connections", &[], open);
        out.family("roomcast_http_connections_max", Kind::Gauge, "How many there may be (http.connections_max).");
        out.sample("roomcast_http_connections_max", &[], self.places_max);
        out.family("roomcast_flv_players", Kind::Gauge, "FLV players attached over HTTP and WebSocket.");
        out.sample("roomcast_flv_players", &[], self.flv.playing.load(Ordering::Relaxed));
        out.family(
            "roomcast_flv_plays_total",
            Kind::Counter,
            "FLV players since the start, by whether they were let in.",
        );
        for (result, count) in [("admitted", &self.flv.admitted), ("refused", &self.flv.refused)] {
            out.sample("roomcast_flv_plays_total", &[("result", result)], count.load(Ordering::Relaxed));
        }
        out.family("roomcast_hls_streams", Kind::Gauge, "Streams that are packaged for HLS players.");
        out.sample("roomcast_hls_streams", &[], self.hls.streams.load(Ordering::Relaxed));
        out.family("roomcast_hls_players", Kind::Gauge, "HLS players that ask for playlists.");
        out.sample("roomcast_hls_players", &[], self.hls.playing.load(Ordering::Relaxed));
        out.family("roomcast_hls_plays_total", Kind::Counter, "HLS players that came, by whether they were let in.");
        for (result, count) in [("admitted", &self.hls.admitted), ("refused", &self.hls.refused)] {
            out.sample("roomcast_hls_plays_total", &[("result", result)], count.load(Ordering::Relaxed));
        }
        out.family(
            "roomcast_hls_playlists_total",
            Kind::Counter,
            "HLS media playlists, by whether what the player knows was left out.",
        );
        for (kind, count) in [("whole", &self.hls.whole), ("update", &self.hls.updates)] {
            out.sample("roomcast_hls_playlists_total", &[("kind", kind)], count.load(Ordering::Relaxed));
        }
    }
}

fn shard_overview(counts: &Counts) -> Value {
    let dropped: u64 = DropReason::ALL.iter().map(|reason| counts.drops.get(*reason)).sum();
    json!({
        "transports": counts.transports,
        "upTracks": counts.up_tracks,
        "downTracks": counts.down_tracks,
        "packetsIn": counts.packets_in,
        "packetsOut": counts.packets_out,
        "bytesIn": counts.bytes_in,
        "bytesOut": counts.bytes_out,
        "retransmissions": counts.retransmissions,
        "dropped": dropped,
    })
}

/// What the process holds in memory (proc(5), `statm`); none where the system does not tell.
fn memory_bytes() -> Option<u64> {
    let text = fs::read_to_string("/proc/self/statm").ok()?;
    let pages: u64 = text.split(' ').nth(1)?.parse().ok()?;
    Some(pages * 4096)
}

/// Processor time so far (proc(5), `stat`, fields 14 and 15 in hundredths of a second).
fn processor_seconds() -> Option<f64> {
    let text = fs::read_to_string("/proc/self/stat").ok()?;
    let mut fields = text.rsplit_once(')')?.1.split_whitespace().skip(11);
    let mut ticks = || fields.next()?.parse::<f64>().ok();
    Some((ticks()? + ticks()?) / 100.0)
}

fn members(counts: hub::Counts, out: &mut Exposition) {
    for (name, help, count) in [
        ("roomcast_rooms", "Rooms that have a member.", counts.rooms),
        ("roomcast_members", "Members of all rooms.", counts.members),
        ("roomcast_streams", "Streams that members publish.", counts.streams),
        ("roomcast_sessions", "WHIP and WHEP sessions.", counts.sessions),
    ] {
        out.family(name, Kind::Gauge, help);
        out.sample(name, &[], count);
    }
}

fn callbacks(counts: CallbackCounts, out: &mut Exposition) {
    let name = "roomcast_callbacks_total";
    out.family(name, Kind::Counter, "Callbacks to apps' own servers that came to an end, by which.");
    for (result, count) in [("delivered", counts.delivered), ("failed", counts.failed), ("dropped", counts.dropped)] {
        out.sample(name, &[("result", result)], count);
    }
    out.family("roomcast_callback_retries_total", Kind::Counter, "Attempts to deliver a callback after the first.");
    out.sample("roomcast_callback_retries_total", &[], counts.retried);
    out.family("roomcast_callbacks_waiting", Kind::Gauge, "Callbacks that wait to be sent.");
    out.sample("roomcast_callbacks_waiting", &[], counts.queued);
}

/// One row of the table below: name, kind, help, and where the number stands.
type MediaFamily = (&'static str, Kind, &'static str, fn(&Counts) -> u64);

const MEDIA_FAMILIES: &[MediaFamily] = &[
    ("roomcast_transports", Kind::Gauge, "WebRTC connections.", |c| c.transports as u64),
    ("roomcast_up_tracks", Kind::Gauge, "Tracks that arrive from publishers.", |c| c.up_tracks as u64),
    ("roomcast_down_tracks", Kind::Gauge, "Tracks that leave to subscribers.", |c| c.down_tracks as u64),
    ("roomcast_copies", Kind::Gauge, "Tracks that arrive from another shard for viewers here.", |c| c.copies as u64),
    ("roomcast_relayed_packets_total", Kind::Counter, "RTP packets from other shards.", |c| c.packets_relayed),
    ("roomcast_datagrams_received_total", Kind::Counter, "UDP datagrams that arrived.", |c| c.datagrams_in),
    (
        "roomcast_receive_runs_total",
        Kind::Counter,
        "The same as the kernel handed them over; datagrams by these is the gain of offload.",
        |c| c.messages_in,
    ),
    ("roomcast_packets_received_total", Kind::Counter, "RTP packets that arrived.", |c| c.packets_in),
    ("roomcast_packets_sent_total", Kind::Counter, "RTP packets that left.", |c| c.packets_out),
    ("roomcast_received_bytes_total", Kind::Counter, "Bytes of media that arrived.", |c| c.bytes_in),
    ("roomcast_sent_bytes_total", Kind::Counter, "Bytes of media that left.", |c| c.bytes_out),
    (
        "roomcast_send_runs_total",
        Kind::Counter,
        "Runs of packets to one destination, as handed to the kernel; packets by runs is the gain of offload.",
        |c| c.runs_out,
    ),
    ("roomcast_send_calls_total", Kind::Counter, "System calls that sent.", |c| c.send_calls),
    ("roomcast_retransmissions_total", Kind::Counter, "Packets sent again for a NACK.", |c| c.retransmissions),
    ("roomcast_viewer_packets_arrived_total", Kind::Counter, "Packets that viewers reported as arrived.", |c| {
        c.viewer_arrived
    }),
    ("roomcast_viewer_bytes_arrived_total", Kind::Counter, "Bytes of them.", |c| c.viewer_arrived_bytes),
    (
        "roomcast_viewer_packets_lost_total",
        Kind::Counter,
        "Packets that viewers reported as missing; some are found later, see the next.",
        |c| c.viewer_lost,
    ),
    (
        "roomcast_viewer_packets_found_total",
        Kind::Counter,
        "Packets that arrived after they were reported missing.",
        |c| c.viewer_found,
    ),
    ("roomcast_path_moves_total", Kind::Counter, "Clients that were followed to a new address by their media.", |c| {
        c.paths_moved
    }),
    ("roomcast_gso", Kind::Gauge, "1 where the kernel takes many packets in one call.", |c| u64::from(c.gso)),
    ("roomcast_gro", Kind::Gauge, "1 where the kernel hands over many packets in one call.", |c| u64::from(c.gro)),
];

fn media_families(shards: &[Counts], out: &mut Exposition) {
    let numbers: Vec<String> = (0..shards.len()).map(|index| index.to_string()).collect();
    let shards = || numbers.iter().map(String::as_str).zip(shards);
    for (name, kind, help, number) in MEDIA_FAMILIES.iter().copied() {
        out.family(name, kind, help);
        for (shard, counts) in shards() {
            out.sample(name, &[("shard", shard)], number(counts));
        }
    }
    let name = "roomcast_packets_dropped_total";
    out.family(name, Kind::Counter, "Packets that were not forwarded, by reason.");
    for (shard, counts) in shards() {
        for reason in DropReason::ALL {
            out.sample(name, &[("shard", shard), ("reason", reason.as_str())], counts.drops.get(*reason));
        }
    }
}

fn transcodes(counts: &TranscodeCounts, out: &mut Exposition) {
    let directions = [("opus", &counts.to_opus), ("aac", &counts.to_aac)];
    let name = "roomcast_transcodes";
    out.family(name, Kind::Gauge, "Streams whose sound is transcoded now, by what it becomes.");
    directions.iter().for_each(|(to, counts)| out.sample(name, &[("to", to)], counts.running()));
    let name = "roomcast_transcoded_frames_total";
    out.family(name, Kind::Counter, "Opus packets and AAC access units that were made.");
    directions.iter().for_each(|(to, counts)| out.sample(name, &[("to", to)], counts.made()));
}

#[derive(Clone, Copy, Debug)]
enum Kind {
    Counter,
    Gauge,
}

/// The text as it grows. Each family is announced once, its samples follow it.
#[derive(Default)]
struct Exposition {
    text: String,
}

impl Exposition {
    fn family(&mut self, name: &str, kind: Kind, help: &str) {
        let kind = match kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
        };
        writeln!(self.text, "# HELP {name} {help}\n# TYPE {name} {kind}").expect("writing to a String");
    }

    /// Label values are words of ours: nothing in them needs escaping.
    fn sample(&mut self, name: &str, labels: &[(&str, &str)], value: impl Display) {
        let labels: Vec<String> = labels.iter().map(|(name, value)| format!("{name}=\"{value}\"")).collect();
        let labels = if labels.is_empty() { String::new() } else { format!("{{{}}}", labels.join(",")) };
        writeln!(self.text, "{name}{labels} {value}").expect("writing to a String");
    }
}

#[cfg(test)]
mod tests {
    use signaling::SignalingConfig;
    use tokio::sync::mpsc;

    use super::*;
    use crate::config::setting::Secret;

    fn silent() -> Callbacks {
        Callbacks::new(signaling::CallbackConfig::default(), &[])
    }

    fn hub() -> Hub {
        let keys = crate::data::DemoKeys { private_key_pem: Default::default(), secret: Secret::new("0".repeat(64)) };
        let app = signaling::AppConfig { v1_keys_pem: Vec::new(), ..keys.app() };
        let config = SignalingConfig { apps: vec![app], ..SignalingConfig::default() };
        Hub::start(config, mpsc::channel(1).0, mpsc::channel(1).1).expect("the hub starts")
    }

    #[tokio::test]
    async fn players_and_connections_are_counted_while_they_last() {
        let places = Arc::new(Semaphore::new(10));
        let metrics = Metrics::new(places.clone(), Counters::default(), hub(), silent());
        let place = places.try_acquire_owned().expect("a place");
        let player = metrics.flv.admit();
        metrics.flv.refuse();
        let text = metrics.text();
        for line in [
            "roomcast_http_connections 1",
            "roomcast_http_connections_max 10",
            "roomcast_flv_players 1",
            "roomcast_flv_plays_total{result=\"admitted\"} 1",
            "roomcast_flv_plays_total{result=\"refused\"} 1",
            "roomcast_callbacks_total{result=\"delivered\"} 0",
            "roomcast_callbacks_waiting 0",
        ] {
            assert!(text.lines().any(|l| l == line), "{line} is not in\n{text}");
        }
        drop((place, player));
        assert!(metrics.text().contains("roomcast_http_connections 0\n"));
        assert!(metrics.text().contains("roomcast_flv_players 0\n"));
    }

    #[tokio::test]
    async fn every_sample_follows_its_family() {
        let text = Metrics::new(Arc::new(Semaphore::new(1)), Counters::default(), hub(), silent()).text();
        let mut family = "";
        for line in text.lines() {
            match line.strip_prefix("# TYPE ") {
                Some(rest) => family = rest.split(' ').next().unwrap_or_default(),
                None if line.starts_with('#') => {}
                None => assert!(line.starts_with(family), "{line}"),
            }
        }
    }
}
