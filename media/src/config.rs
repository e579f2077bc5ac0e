//! What the operator decides about media. Files and environment are read in `src/config.rs`; here are only the values.

use std::{
    fs,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::{Arc, OnceLock},
    time::Duration,
};

use rustls::ServerConfig;

use crate::codec::Codec;

/// Settings of the media side. [`Default`] is what `roomcast` runs on without any configuration.
#[derive(Clone, Debug)]
pub struct MediaConfig {
    /// How many shards (packet threads) run; each has a UDP port of its own. Default: one for every two processors.
    pub shards: usize,
    /// Address that the media sockets bind to. Default `::`, which is every address of the machine, IPv4 and IPv6 (or IPv4
    /// only, where there is no IPv6); `0.0.0.0` is every IPv4 address.
    pub bind: IpAddr,
    /// UDP (and ICE-TCP) port of the first shard; the others follow. Default 8000. 0 picks free ports.
    pub first_port: u16,
    /// Addresses to advertise beside those of the machine's interfaces, which clients from outside are then not told.
    /// Default: none.
    pub public_ips: Vec<IpAddr>,
    /// Where RTMP listens. Default `0.0.0.0:1935`; `None` switches RTMP off.
    pub rtmp: Option<SocketAddr>,
    /// A second address for RTMP. Default: none.
    pub rtmp_also: Option<SocketAddr>,
    /// What RTMPS is served with, on the same addresses: who begins with a TLS handshake gets one. Default: nothing.
    pub rtmp_tls: Option<Arc<ServerConfig>>,
    /// Video codecs that publishers may use, most wanted first. H.264 leads so that every player can play; H.265, which few
    /// browsers decode, is for those who offer nothing else.
    pub video_codecs: Vec<Codec>,
    /// Packets kept per video track. Default 1024: two seconds at 5 Mbit/s.
    pub video_ring_packets: usize,
    /// Packets kept per audio track. Default 256: five seconds.
    pub audio_ring_packets: usize,
    /// Socket buffers asked of the kernel, in bytes. Default 4 MiB.
    pub socket_buffer_bytes: usize,
    /// A transport without sign of life for this long ends (RFC 7675 §5.1). Default 30 s.
    pub consent_timeout: Duration,
    /// A transport that never came up ends after this. Default 30 s.
    pub connect_timeout: Duration,
    /// Least time between two key frame requests to one publisher. Default 500 ms.
    pub key_frame_interval: Duration,
    /// Whether packets to viewers are numbered over all their tracks, so that those who can report what arrives and when
    /// (transport-cc). Default true.
    pub viewer_reports: bool,
    /// Packets from unknown addresses that are tried with the keys of clients that may have moved, per second and group of
    /// source addresses, of which there are 64. A client that moved sends this many in 40 ms to some seconds, and one that is
    /// tried is enough. Default 8; 0: clients are followed by ICE alone.
    pub roaming_tries_per_second: u32,
    /// Clients whose keys are tried on one such packet. Default 16.
    pub roaming_candidates_max: usize,
    /// Datagrams of DTLS that are handled between two looks at the media. The dearest takes 0.13 ms (`benches/handshake.rs`), so
    /// that with the default, 4, a storm of joins delays packets by about half a millisecond; more would finish it sooner by as
    /// much as packets wait longer.
    pub handshakes_per_turn: usize,
    /// Datagrams of DTLS that may wait for that; what comes on top is lost, and repeated by its sender. Default 4,096: a
    /// second's work, and 6 MB at most.
    pub handshakes_waiting_max: usize,
    /// RTMP connections at once. Default 2,000.
    pub rtmp_connections_max: usize,
    /// Transports at once. Default 10,000.
    pub transports_max: usize,
    /// Viewers of a room go to another shard than the room's when that one has so many packets per second less to send.
    /// Default 2,000: ten viewers at 1.3 Mbit/s. 0: always to the one with the least.
    pub spread_packets_per_second: u64,
    /// A copy of a track on another shard is kept this long after its last viewer. Default 5 s.
    pub copy_linger: Duration,
    /// Memory that packets and transports may come to hold, in bytes; beyond it nobody can start to publish. Default: half
    /// of the machine's.
    pub memory_max_bytes: u64,
    /// Opus bitrate, in bits per second, of streams that come with AAC. Default 96,000.
    pub opus_bitrate_bps: u32,
    /// AAC bitrate, in bits per second, of streams that come with Opus. Default 128,000.
    pub aac_bitrate_bps: u32,
    /// Pictures of RTMP publishers with B-frames are coded anew without them for WebRTC, instead of the B-frames left out. Has no
    /// effect without the feature `reencode`. Default false.
    pub reencode_b_frames: bool,
    /// What RTMP and FLV players get is gathered for so long. Default 30 ms.
    pub player_merge: Duration,
    /// A new RTMP or FLV player gets what was kept since the last key frame if that is no longer than this. Default 10 s.
    pub player_start: Duration,
}

impl Default for MediaConfig {
    fn default() -> Self {
        let cores = std::thread::available_parallelism().map_or(1, |n| n.get());
        MediaConfig {
            shards: (cores / 2).max(1),
            bind: IpAddr::V6(Ipv6Addr::UNSPECIFIED),
            first_port: 8000,
            public_ips: Vec::new(),
            rtmp: Some(SocketAddr::from((Ipv4Addr::UNSPECIFIED, 1935))),
            rtmp_also: None,
            rtmp_tls: None,
            video_codecs: vec![Codec::H264, Codec::Vp8, Codec::Vp9, Codec::Av1, Codec::H265],
            video_ring_packets: 1024,
            audio_ring_packets: 256,
            socket_buffer_bytes: 4 << 20,
            consent_timeout: Duration::from_secs(30),
            connect_timeout: Duration::from_secs(30),
            key_frame_interval: Duration::from_millis(500),
            viewer_reports: true,
            roaming_tries_per_second: 8,
            roaming_candidates_max: 16,
            handshakes_per_turn: 4,
            handshakes_waiting_max: 4096,
            rtmp_connections_max: 2_000,
            transports_max: 10_000,
            spread_packets_per_second: 2_000,
            copy_linger: Duration::from_secs(5),
            memory_max_bytes: machine_memory_bytes() / 2,
            opus_bitrate_bps: 96_000,
            aac_bitrate_bps: 128_000,
            reencode_b_frames: false,
            player_merge: Duration::from_millis(30),
            player_start: Duration::from_secs(10),
        }
    }
}

/// Memory to assume on a machine that does not say.
const UNKNOWN_MEMORY_BYTES: u64 = 1 << 30;

/// The memory of this machine, or of the container that we are in, if that is less.
fn machine_memory_bytes() -> u64 {
    static BYTES: OnceLock<u64> = OnceLock::new();
    *BYTES.get_or_init(|| {
        let machine = fs::read_to_string("/proc/meminfo").ok().and_then(|text| total_of_meminfo(&text));
        let container = fs::read_to_string("/sys/fs/cgroup/memory.max").ok().and_then(|text| text.trim().parse().ok());
        [machine, container].into_iter().flatten().min().unwrap_or(UNKNOWN_MEMORY_BYTES)
    })
}

/// Reads the line `MemTotal:  16384 kB`.
fn total_of_meminfo(text: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim_end().parse().ok()?;
    kib.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_machines_memory_is_read_from_its_line() {
        let text = "MemFree:  5 kB\nMemTotal:       16384256 kB\nMemAvailable: 7 kB\n";
        assert_eq!(total_of_meminfo(text), Some(16_384_256 * 1024));
        for wrong in ["", "MemTotal: 5", "MemTotal: x kB", "MemTotal: 18446744073709551615 kB"] {
            assert_eq!(total_of_meminfo(wrong), None, "{wrong}");
        }
        assert!(machine_memory_bytes() > 0);
    }
}
