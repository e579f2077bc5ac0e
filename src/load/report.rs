//! What a run has shown: as a table for people, as JSON for programs.

use serde::Serialize;

use super::process::Usage;

/// The result of `play` and `rooms`. What is not known is `null`.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Report {
    /// `whep`, `rtmp`, `flv` or `signal`.
    pub protocol: &'static str,
    /// Length of the measurement.
    pub seconds: f64,
    /// Players, or members, that were in at the end of the measurement.
    pub viewers: usize,
    /// Those that never came in, or that ended by an error.
    pub viewers_failed: usize,
    /// How often somebody came in.
    pub joins: usize,
    /// RTP packets, or RTMP and FLV messages, received by all during the measurement.
    pub packets: u64,
    pub packets_per_second: f64,
    /// RTP packets that never came, by gaps in the sequence numbers. Nothing can be lost over TCP.
    pub lost: Option<u64>,
    /// RTP packets that came behind one with a higher number.
    pub reordered: Option<u64>,
    /// Datagrams, or runs of them, that this process did not take from its sockets in time: they are part of `lost`, but
    /// not by the server's fault.
    pub dropped_here: Option<u64>,
    /// Packets that were opened and found good, and that were not.
    pub verified: Option<u64>,
    pub broken: Option<u64>,
    /// Bits per second received by all, transport headers not counted.
    pub bitrate: u64,
    pub bitrate_per_viewer: u64,
    /// Processor time of the server per packet that arrived here, in microseconds.
    pub server_cpu_us_per_packet: Option<f64>,
    /// Of one processor; 100 is one that is busy all the time.
    pub server_cpu_percent: Option<f64>,
    /// The same of this process.
    pub own_cpu_us_per_packet: Option<f64>,
    pub own_cpu_percent: Option<f64>,
    /// Growth of the server's memory since before the first player, per player.
    pub rss_per_viewer_kb: Option<f64>,
    /// The server's memory at the end, its growth during the measurement, and the most that was seen.
    pub rss_kb: Option<u64>,
    pub rss_grown_kb: Option<i64>,
    pub rss_max_kb: Option<u64>,
    /// From the request (or the connection attempt) to the first media; of a member that publishes, until media can flow.
    pub join_ms_p50: Option<f64>,
    pub join_ms_p95: Option<f64>,
    pub join_ms_p99: Option<f64>,
    /// From the request (of a member: from the offer that has the stream) to the last packet of the first whole key frame,
    /// or to the first sound, if there is no video.
    pub first_frame_ms_p50: Option<f64>,
    pub first_frame_ms_p95: Option<f64>,
    pub first_frame_ms_p99: Option<f64>,
    /// From a picture's sending by a publisher of this tool to the arrival of each of its packets, at players that open
    /// their packets (`--verify`). `null` without such a publisher, or if its clock is another.
    pub delay_ms_p50: Option<f64>,
    pub delay_ms_p95: Option<f64>,
    pub delay_ms_p99: Option<f64>,
    /// Of `--storm`.
    pub storm: Option<StormReport>,
    /// Packets that the publishers of this process sent, from the beginning on.
    pub published: Option<u64>,
}

/// What became of those who came in a storm.
#[derive(Clone, Debug, Serialize)]
pub struct StormReport {
    pub joins: usize,
    pub failed: usize,
    pub join_ms_p50: Option<f64>,
    pub join_ms_p95: Option<f64>,
    pub join_ms_p99: Option<f64>,
    pub first_frame_ms_p95: Option<f64>,
    pub lost: u64,
}

/// The result of `publish`.
#[derive(Clone, Debug, Serialize)]
pub struct PublishReport {
    /// `whip` or `rtmp`.
    pub protocol: &'static str,
    pub seconds: f64,
    /// RTP packets or RTMP messages sent.
    pub packets: u64,
    /// Bits per second sent, transport headers not counted.
    pub bitrate: u64,
    /// RTP packets that the server's reports say it missed.
    pub lost: Option<u64>,
    /// Key frame requests of the server. A recording cannot answer them.
    pub key_frame_requests: Option<u64>,
    /// From the request to the server's readiness for media.
    pub join_ms: f64,
}

impl Report {
    /// Adds what the packets cost, ours and `further` ones: the server between two readings, and this process.
    pub fn price(&mut self, server: Option<(Usage, Usage)>, own_to: Usage, own_from: Usage, further: u64) {
        let packets = self.packets + further;
        let per_packet = |us: f64| (packets > 0).then(|| us / packets as f64);
        let percent = |us: f64| (self.seconds > 0.0).then(|| us / self.seconds / 10_000.0);
        let spent = |to: Usage, from: Usage| to.cpu_us.saturating_sub(from.cpu_us) as f64;
        let own_us = spent(own_to, own_from);
        let server_us = server.map(|(to, from)| spent(to, from));
        let (own_each, own_percent) = (per_packet(own_us), percent(own_us));
        let (server_each, server_percent) = (server_us.and_then(per_packet), server_us.and_then(percent));
        (self.own_cpu_us_per_packet, self.own_cpu_percent) = (own_each, own_percent);
        (self.server_cpu_us_per_packet, self.server_cpu_percent) = (server_each, server_percent);
    }

    /// One row a line: name and value.
    pub fn rows(&self) -> Vec<(&'static str, String)> {
        let who = if self.protocol == "signal" { "members" } else { "viewers" };
        let mut rows = vec![
            ("protocol", self.protocol.to_owned()),
            ("measured", format!("{:.1} s", self.seconds)),
            (who, format!("{} in, {} failed, {} joins", self.viewers, self.viewers_failed, self.joins)),
            ("packets", format!("{} ({:.0}/s)", self.packets, self.packets_per_second)),
            ("lost", self.lost.map_or("-".to_owned(), |lost| self.share(lost))),
            ("reordered", number(self.reordered)),
            ("bitrate", format!("{} in all, {} per viewer", rate(self.bitrate), rate(self.bitrate_per_viewer))),
            ("join", three(self.join_ms_p50, self.join_ms_p95, self.join_ms_p99)),
            ("first frame", three(self.first_frame_ms_p50, self.first_frame_ms_p95, self.first_frame_ms_p99)),
            ("added delay", three(self.delay_ms_p50, self.delay_ms_p95, self.delay_ms_p99)),
            ("server cpu", cpu(self.server_cpu_us_per_packet, self.server_cpu_percent, "- (give --pid)")),
            ("own cpu", cpu(self.own_cpu_us_per_packet, self.own_cpu_percent, "-")),
            ("server memory", self.memory()),
        ];
        if let Some(verified) = self.verified {
            rows.push(("verified", format!("{verified} packets, {} broken", self.broken.unwrap_or(0))));
        }
        if let Some(dropped) = self.dropped_here.filter(|dropped| *dropped > 0) {
            rows.push(("dropped here", format!("{dropped}: this machine is too busy to receive, not only the server")));
        }
        if let Some(storm) = &self.storm {
            rows.push(("storm", format!("{} joins, {} failed, {} lost", storm.joins, storm.failed, storm.lost)));
            rows.push(("storm join", three(storm.join_ms_p50, storm.join_ms_p95, storm.join_ms_p99)));
        }
        rows
    }

    fn share(&self, lost: u64) -> String {
        let all = (self.packets + lost).max(1);
        format!("{lost} ({:.3} %)", lost as f64 * 100.0 / all as f64)
    }

    fn memory(&self) -> String {
        match (self.rss_per_viewer_kb, self.rss_kb, self.rss_grown_kb) {
            (Some(each), Some(all), Some(grown)) => {
                format!("{each:.0} kB per viewer, {} MB in all, {grown:+} kB while measured", all / 1024)
            }
            _ => "-".to_owned(),
        }
    }
}

impl PublishReport {
    /// One row a line: name and value.
    pub fn rows(&self) -> Vec<(&'static str, String)> {
        vec![
            ("protocol", self.protocol.to_owned()),
            ("published", format!("{:.1} s", self.seconds)),
            ("packets", self.packets.to_string()),
            ("lost", number(self.lost)),
            ("bitrate", rate(self.bitrate)),
            ("key frames asked", number(self.key_frame_requests)),
            ("join", ms(Some(self.join_ms))),
        ]
    }
}

/// Prints a report to stdout: one JSON line, or a table.
pub fn print(json: bool, report: &impl Serialize, rows: &[(&'static str, String)]) {
    if json {
        println!("{}", serde_json::to_string(report).expect("a report is plain numbers and text"));
        return;
    }
    let width = rows.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    for (name, value) in rows {
        println!("{name:width$}  {value}");
    }
}

fn number(value: Option<u64>) -> String {
    value.map_or("-".to_owned(), |value| value.to_string())
}

fn cpu(each: Option<f64>, percent: Option<f64>, unknown: &str) -> String {
    match (each, percent) {
        (Some(us), Some(percent)) => format!("{us:.2} us per packet, {percent:.0} % of a processor"),
        _ => unknown.to_owned(),
    }
}

/// A bit rate for people.
pub fn rate(bps: u64) -> String {
    match bps {
        0..1_000_000 => format!("{:.0} kbit/s", bps as f64 / 1e3),
        1_000_000..1_000_000_000 => format!("{:.1} Mbit/s", bps as f64 / 1e6),
        _ => format!("{:.2} Gbit/s", bps as f64 / 1e9),
    }
}

fn ms(value: Option<f64>) -> String {
    value.map_or("-".to_owned(), |ms| if ms < 10.0 { format!("{ms:.2} ms") } else { format!("{ms:.0} ms") })
}

fn three(p50: Option<f64>, p95: Option<f64>, p99: Option<f64>) -> String {
    format!("{} median, {} p95, {} p99", ms(p50), ms(p95), ms(p99))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_has_the_documented_keys_and_null_for_what_is_not_known() {
        let mut report = Report {
            protocol: "whep",
            seconds: 10.0,
            viewers: 2,
            packets: 1000,
            lost: Some(0),
            join_ms_p50: Some(1.0),
            join_ms_p95: Some(2.0),
            join_ms_p99: Some(3.0),
            ..Report::default()
        };
        let json = serde_json::to_value(&report).unwrap();
        for key in ["packets", "lost", "bitrate", "viewers", "join_ms_p50", "join_ms_p95", "join_ms_p99"] {
            assert!(json[key].is_number(), "{key}");
        }
        for key in
            ["server_cpu_us_per_packet", "rss_per_viewer_kb", "first_frame_ms_p95", "delay_ms_p50", "delay_ms_p99"]
        {
            assert!(json.as_object().unwrap().contains_key(key) && json[key].is_null(), "{key}");
        }
        let used = |cpu_us| Usage { cpu_us, rss_kb: 0 };
        report.price(Some((used(5_000), used(2_000))), used(1_500), used(0), 500);
        assert_eq!((report.server_cpu_us_per_packet, report.own_cpu_us_per_packet), (Some(2.0), Some(1.0)));
        assert_eq!(report.server_cpu_percent, Some(0.03));
        assert!(report.rows().iter().any(|(name, value)| *name == "lost" && value == "0 (0.000 %)"));
    }

    #[test]
    fn rates_are_written_in_the_unit_that_fits() {
        assert_eq!([rate(640_400), rate(2_500_000), rate(3_000_000_000)], ["640 kbit/s", "2.5 Mbit/s", "3.00 Gbit/s"]);
    }
}
