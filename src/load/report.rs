//! What a run has shown: as a table for people, as JSON for programs.

use serde::Serialize;

/// The result of `play`. What is not known is `null`.
#[derive(Clone, Debug, Serialize)]
pub struct PlayReport {
    /// `whep`, `rtmp` or `flv`.
    pub protocol: &'static str,
    /// Length of the measurement.
    pub seconds: f64,
    /// Players that received media to the end of the measurement.
    pub viewers: usize,
    /// Players that never received anything, or that ended before the measurement did.
    pub viewers_failed: usize,
    /// RTP packets, or RTMP and FLV messages, received by all during the measurement.
    pub packets: u64,
    pub packets_per_second: f64,
    /// RTP packets that never came, by gaps in the sequence numbers. Nothing can be lost over TCP.
    pub lost: Option<u64>,
    /// Bits per second received by all, transport headers not counted.
    pub bitrate: u64,
    pub bitrate_per_viewer: u64,
    /// Processor time of the server per packet that arrived here, in microseconds.
    pub server_cpu_us_per_packet: Option<f64>,
    /// Of one processor; 100 is one that is busy all the time.
    pub server_cpu_percent: Option<f64>,
    /// Growth of the server's memory since before the first player, per player.
    pub rss_per_viewer_kb: Option<f64>,
    /// From the request (or the connection attempt) to the first media.
    pub join_ms_p50: Option<f64>,
    pub join_ms_p95: Option<f64>,
    pub join_ms_p99: Option<f64>,
    /// From the request to the last packet of the first whole key frame (of the first sound, if there is no video).
    pub first_frame_ms_p50: Option<f64>,
    pub first_frame_ms_p95: Option<f64>,
    /// From the time that the sender reports give a picture to the arrival of its last packet; WHEP only, and only where
    /// both clocks agree, which they do on one machine.
    pub delay_ms_p50: Option<f64>,
    pub delay_ms_p95: Option<f64>,
    pub delay_ms_p99: Option<f64>,
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

impl PlayReport {
    /// One row a line: name and value.
    pub fn rows(&self) -> Vec<(&'static str, String)> {
        vec![
            ("protocol", self.protocol.to_owned()),
            ("measured", format!("{:.1} s", self.seconds)),
            ("viewers", format!("{} in, {} failed", self.viewers, self.viewers_failed)),
            ("packets", format!("{} ({:.0}/s)", self.packets, self.packets_per_second)),
            ("lost", self.lost.map_or("-".to_owned(), |lost| self.share(lost))),
            ("bitrate", format!("{} in all, {} per viewer", rate(self.bitrate), rate(self.bitrate_per_viewer))),
            ("join", three(self.join_ms_p50, self.join_ms_p95, self.join_ms_p99)),
            ("first frame", format!("{} median, {} p95", ms(self.first_frame_ms_p50), ms(self.first_frame_ms_p95))),
            ("delay", three(self.delay_ms_p50, self.delay_ms_p95, self.delay_ms_p99)),
            ("server cpu", self.cpu()),
            ("server memory", self.rss_per_viewer_kb.map_or("-".to_owned(), |kb| format!("{kb:.0} kB per viewer"))),
        ]
    }

    fn share(&self, lost: u64) -> String {
        let all = (self.packets + lost).max(1);
        format!("{lost} ({:.3} %)", lost as f64 * 100.0 / all as f64)
    }

    fn cpu(&self) -> String {
        match (self.server_cpu_us_per_packet, self.server_cpu_percent) {
            (Some(us), Some(percent)) => format!("{us:.2} us per packet, {percent:.0} % of a processor"),
            _ => "- (give --pid)".to_owned(),
        }
    }
}

impl PublishReport {
    /// One row a line: name and value.
    pub fn rows(&self) -> Vec<(&'static str, String)> {
        let number = |value: Option<u64>| value.map_or("-".to_owned(), |value| value.to_string());
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

/// A bit rate for people.
pub fn rate(bps: u64) -> String {
    match bps {
        0..1_000_000 => format!("{:.0} kbit/s", bps as f64 / 1e3),
        1_000_000..1_000_000_000 => format!("{:.1} Mbit/s", bps as f64 / 1e6),
        _ => format!("{:.2} Gbit/s", bps as f64 / 1e9),
    }
}

fn ms(value: Option<f64>) -> String {
    value.map_or("-".to_owned(), |ms| if ms < 10.0 { format!("{ms:.1} ms") } else { format!("{ms:.0} ms") })
}

fn three(p50: Option<f64>, p95: Option<f64>, p99: Option<f64>) -> String {
    format!("{} median, {} p95, {} p99", ms(p50), ms(p95), ms(p99))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_has_the_documented_keys_and_null_for_what_is_not_known() {
        let report = PlayReport {
            protocol: "whep",
            seconds: 10.0,
            viewers: 2,
            viewers_failed: 0,
            packets: 1000,
            packets_per_second: 100.0,
            lost: Some(0),
            bitrate: 1_000_000,
            bitrate_per_viewer: 500_000,
            server_cpu_us_per_packet: None,
            server_cpu_percent: None,
            rss_per_viewer_kb: None,
            join_ms_p50: Some(1.0),
            join_ms_p95: Some(2.0),
            join_ms_p99: Some(3.0),
            first_frame_ms_p50: Some(4.0),
            first_frame_ms_p95: Some(5.0),
            delay_ms_p50: None,
            delay_ms_p95: None,
            delay_ms_p99: None,
        };
        let json = serde_json::to_value(&report).unwrap();
        for key in ["packets", "lost", "bitrate", "viewers", "join_ms_p50", "join_ms_p95", "join_ms_p99"] {
            assert!(json[key].is_number(), "{key}");
        }
        for key in ["server_cpu_us_per_packet", "rss_per_viewer_kb", "delay_ms_p50", "delay_ms_p95"] {
            assert!(json.as_object().unwrap().contains_key(key) && json[key].is_null(), "{key}");
        }
        assert!(report.rows().iter().any(|(name, value)| *name == "lost" && value == "0 (0.000 %)"));
    }

    #[test]
    fn rates_are_written_in_the_unit_that_fits() {
        assert_eq!([rate(640_400), rate(2_500_000), rate(3_000_000_000)], ["640 kbit/s", "2.5 Mbit/s", "3.00 Gbit/s"]);
    }
}
