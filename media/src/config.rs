//! What the operator decides about media. Files and environment are read in `src/config.rs`; here are only the values.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    time::Duration,
};

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
    /// Video codecs that publishers may use, most wanted first. H.264 leads so that RTMP players need no transcoding.
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
    /// RTMP connections at once. Default 2,000.
    pub rtmp_connections_max: usize,
    /// Transports at once. Default 10,000.
    pub transports_max: usize,
    /// Opus bitrate, in bits per second, of streams that come with AAC. Default 96,000.
    pub opus_bitrate_bps: u32,
    /// AAC bitrate, in bits per second, of streams that come with Opus. Default 128,000.
    pub aac_bitrate_bps: u32,
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
            video_codecs: vec![Codec::H264, Codec::Vp8, Codec::Vp9, Codec::Av1],
            video_ring_packets: 1024,
            audio_ring_packets: 256,
            socket_buffer_bytes: 4 << 20,
            consent_timeout: Duration::from_secs(30),
            connect_timeout: Duration::from_secs(30),
            key_frame_interval: Duration::from_millis(500),
            rtmp_connections_max: 2_000,
            transports_max: 10_000,
            opus_bitrate_bps: 96_000,
            aac_bitrate_bps: 128_000,
        }
    }
}
