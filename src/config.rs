//! Every setting of the server: its name, its default, what it does; where values come from and how they are refused.
//!
//! The table in [`settings`] is the only list. The structs, the reading of the file, the environment variables, the
//! command line's `--set` and the text that `roomcast config` prints are all made from it, so none can drift.
//!
//! Order, each over the one before: defaults, file (`--config`), environment (`ROOMCAST_<SECTION>_<KEY>`), command line
//! (`--set section.key=value`).

pub mod setting;

use std::{fmt, fmt::Write as _, fs, net::IpAddr, path::Path, time::Duration};

use media::{codec::Codec, config::MediaConfig};
use rustls::pki_types::{CertificateDer, pem::PemObject};
use signaling::{
    ApiConfig, AppConfig, CallbackConfig, CallbackUrl, ConfigError as SignalingError, PlayPolicy, PrivateMapKeyPolicy,
    RightsEnd, RoomName, RoomServiceConfig, SignalingConfig,
};
use toml::de::{DeTable, DeValue};

use crate::data::DemoKeys;
use setting::{List, Listen, PathSetting, Pem, Secret, Setting, Shape, Whole, to_toml};

/// One line of the table, for those who list settings instead of using them.
#[derive(Clone, Copy, Debug)]
pub struct Field {
    pub name: &'static str,
    /// Lines of documentation.
    pub doc: &'static [&'static str],
    pub shape: Shape,
    /// The default as text.
    pub default: &'static str,
}

/// One section of the file.
#[derive(Clone, Copy, Debug)]
pub struct Section {
    pub name: &'static str,
    pub doc: &'static [&'static str],
    pub fields: &'static [Field],
}

/// A section as it stands.
#[derive(Clone, Debug)]
pub struct ShownSection {
    pub name: &'static str,
    pub settings: Vec<(&'static Field, String)>,
}

macro_rules! settings {
    ($(
        $(#[doc = $section_doc:literal])+
        $section:ident: $type:ident {
            $($(#[doc = $doc:literal])+ $name:ident: $value:ty = $default:literal,)+
        }
    )+) => {
        $(
            $(#[doc = $section_doc])+
            #[derive(Clone, Debug)]
            pub struct $type {
                $($(#[doc = $doc])+ pub $name: $value,)+
            }

            impl Default for $type {
                fn default() -> Self {
                    $type { $($name: by_default(stringify!($section.$name), $default),)+ }
                }
            }

            impl $type {
                /// What may be set here, in the order of the file.
                pub const SECTION: Section = Section {
                    name: stringify!($section),
                    doc: &[$($section_doc),+],
                    fields: &[$(Field {
                        name: stringify!($name),
                        doc: &[$($doc),+],
                        shape: <$value as Setting>::SHAPE,
                        default: $default,
                    }),+],
                };

                /// Every setting with its value, secrets masked.
                fn shown(&self) -> ShownSection {
                    let values = [$(self.$name.to_shown()),+];
                    ShownSection { name: stringify!($section), settings: Self::SECTION.fields.iter().zip(values).collect() }
                }

                fn set(&mut self, name: &str, text: &str) -> Result<(), String> {
                    match name {
                        $(stringify!($name) => self.$name = Setting::from_text(text)?,)+
                        _ => return Err(unknown_key(&Self::SECTION)),
                    }
                    Ok(())
                }
            }
        )+
    };
}

settings! {
    /// The process itself.
    server: ServerSettings {
        /// Folder for keys, the self-made certificate and the store. It is made when missing. Deleting it makes fresh keys, and
        /// forgets the apps, rooms, bans and relays that were made by request; see docs/http-api.md.
        data_folder: PathSetting = "./roomcast-data",
        /// What is logged, to stderr: error, warn, info, debug or trace, also per module, like "info,media=debug".
        /// RUST_LOG and --log go before it.
        log: String = "info",
        /// Longest time for an orderly stop, in seconds.
        stop_seconds: Whole<1, 30> = "3",
    }

    /// The demo app: sdkAppID 1400000001 with keys of its own, and a page that hands out tickets for it.
    demo: DemoSettings {
        /// Switch it off where strangers can reach the server: whoever opens the page may enter any demo room.
        enabled: bool = "true",
        /// The room that the printed link opens: a number, or a name.
        room: RoomName = "1001",
        /// Plays a short clip in that room for ever, as the member "teststream".
        test_stream: bool = "true",
    }

    /// HTTP: the page, signaling, WHIP and WHEP, HTTP-FLV, metrics.
    http: HttpSettings {
        /// Address and port; ":8080" is short for every IPv4 address; "off" switches it off.
        listen: Listen = "0.0.0.0:8080",
        /// Connections at once, HTTP and HTTPS together. Each request that is under way over HTTP/2 counts as one more.
        connections_max: Whole<1, 1000000> = "10000",
        /// Requests under way at once over one HTTP/2 connection. Browsers use one connection for a whole site.
        streams_max: Whole<1, 10000> = "100",
        /// Longest time for the head of a request, in seconds; also the longest idle time of a kept connection.
        head_timeout_seconds: Whole<1, 300> = "8",
        /// Whoever shows it (Authorization: Bearer) may read /metrics. Empty: this machine may, and nobody else. Behind a
        /// reverse proxy on this machine everybody seems to be this machine: set it there.
        metrics_token: Secret = "",
    }

    /// The same over TLS. Browsers give pages the camera only over HTTPS, or on localhost.
    https: HttpsSettings {
        /// Address and port, or "off".
        listen: Listen = "0.0.0.0:8443",
        /// PEM file with the certificate and its chain. Empty: a self-made certificate, kept in the data folder.
        certificate: PathSetting = "",
        /// PEM file with the certificate's private key. Goes with `certificate`.
        private_key: PathSetting = "",
    }

    /// Rooms, and the WebSocket by which browsers enter them.
    signaling: SignalingSettings {
        /// Web pages that may use this server, like "https://example.com". Empty: every page. There are no cookies, so a
        /// page can do only what its visitor's ticket allows.
        origins: List<String> = "",
        /// How often clients send a heartbeat, in seconds.
        heartbeat_seconds: Whole<1, 300> = "10",
        /// A client that sent nothing for this long leaves the room, in seconds.
        dead_after_seconds: Whole<2, 900> = "30",
        /// How long a client whose connection broke stays in the room, so that he can come back unnoticed, in seconds. 0: not.
        resume_seconds: Whole<0, 300> = "15",
        /// How long a stream whose publisher is gone without a word waits for him, in seconds: whoever plays it goes on when
        /// he is back, by whatever way. 0: not.
        republish_seconds: Whole<0, 300> = "15",
        /// Messages that are kept for a client who comes back.
        replay_messages: Whole<1, 65536> = "1024",
        /// Bytes of them.
        replay_bytes: Whole<1024, 67108864> = "1048576",
        /// Bytes of a text message to one member.
        message_bytes_to_one: Whole<1, 65536> = "12000",
        /// Bytes of a text message to a room.
        message_bytes_to_room: Whole<1, 65536> = "8898",
        /// Text messages that a member may send per second for long.
        messages_per_second: Whole<1, 10000> = "20",
        /// Text messages that a member may send at once.
        messages_burst: Whole<1, 10000> = "60",
        /// Bytes of a room's or a member's metadata.
        metadata_bytes: Whole<0, 65536> = "8192",
        /// Users who are banned from one room, and users who are muted in it.
        bans_per_room: Whole<0, 100000> = "1000",
        /// Members of one room.
        members_per_room: Whole<1, 10000> = "300",
        /// Members of one room who publish.
        publishers_per_room: Whole<1, 1000> = "50",
        /// WHEP players of one room, and connections of the vendor's browser libraries to its members.
        players_per_room: Whole<0, 100000> = "5000",
        /// Rooms of one app.
        rooms_per_app: Whole<1, 1000000> = "10000",
        /// Streams that one member may be subscribed to at once.
        subscriptions_per_member: Whole<1, 10000> = "128",
        /// Tracks that one member may publish at once.
        tracks_per_member: Whole<1, 64> = "8",
        /// How long a WebSocket may stay without entering a room, in seconds.
        enter_seconds: Whole<1, 60> = "5",
        /// Bytes of one WebSocket message before a room is entered.
        request_bytes_before_enter: Whole<1024, 16777216> = "65536",
        /// Bytes of one WebSocket message in a room.
        request_bytes: Whole<1024, 16777216> = "262144",
        /// Bytes of a session description.
        sdp_bytes: Whole<1024, 1048576> = "131072",
        /// WebSocket messages of one client per second for long; more is read later.
        requests_per_second: Whole<1, 10000> = "20",
        /// WebSocket messages of one client at once.
        requests_burst: Whole<1, 10000> = "60",
        /// WebSockets from one address; this machine's own are not counted.
        connections_per_ip: Whole<1, 100000> = "50",
        /// Times that one user may enter or publish anew per minute, whatever his address.
        joins_per_user_per_minute: Whole<1, 100000> = "10",
        /// Used privateMapKeys that are remembered, of apps where each may be used once. When so many are remembered and none
        /// has expired, nobody enters with another.
        spent_keys_max: Whole<1, 10000000> = "100000",
        /// Refused tickets per minute from one address, after which it is refused unread until the minute is over.
        failed_auths_per_minute: Whole<1, 100000> = "20",
        /// The longest life of a ticket, in days.
        ticket_days_max: Whole<1, 36500> = "400",
    }

    /// The HTTP API for your own server, and the callbacks to it; see docs/http-api.md.
    api: ApiSettings {
        /// What you show to add, change and remove apps while the server runs. Empty: nobody can.
        admin_key: Secret = "",
        /// Entries of one page of a list, at most.
        page_max: Whole<1, 100000> = "1000",
        /// Bytes of a request's body.
        body_bytes_max: Whole<1024, 67108864> = "1048576",
        /// Longest time for one attempt to deliver a callback, in milliseconds: connecting and the answer.
        callback_timeout_ms: Whole<10, 60000> = "500",
        /// Attempts for one callback. The pause between them begins with a second and doubles.
        callback_attempts: Whole<1, 20> = "6",
        /// PEM file with certificates that vouch for your HTTPS server, beside those that the system believes.
        callback_ca: PathSetting = "",
        /// Callbacks that wait for one app's server. What comes while so many wait is lost.
        callback_queue: Whole<1, 1000000> = "1000",
    }

    /// The vendor's room services for mini-programs (/weapp, /webrtc/weapp); see docs/moving/.
    weapp: WeappSettings {
        /// Whether they are served.
        enabled: bool = "true",
        /// Pushers of a room of double_room.
        double_room_members: Whole<1, 1000> = "2",
        /// Pushers of a room of multi_room.
        multi_room_members: Whole<1, 1000> = "4",
        /// Pushers of a room of live_room.
        live_room_members: Whole<1, 1000> = "4",
        /// Viewers of a room of live_room that are listed.
        audiences_max: Whole<0, 100000> = "30",
        /// A pusher who gave no sign of life for this many seconds and sends nothing is gone.
        heartbeat_timeout_seconds: Whole<5, 3600> = "20",
        /// A room that nobody entered is off the list after this many seconds.
        idle_seconds: Whole<5, 86400> = "30",
        /// Bytes of roomInfo.
        room_info_bytes: Whole<1, 65536> = "1024",
        /// How long push and play URLs are good, in hours.
        url_hours: Whole<1, 87600> = "168",
        /// Users who are logged in at once.
        logins_max: Whole<1, 10000000> = "100000",
    }

    /// The operator's console at /console.
    console: ConsoleSettings {
        /// The first start prints its password, once, and keeps a hash of it in the data folder.
        enabled: bool = "true",
        /// How long one stays logged in, in minutes.
        session_minutes: Whole<1, 43200> = "720",
        /// Passwords that may be tried from one address per minute.
        guesses_per_minute: Whole<1, 1000> = "5",
        /// Lines of the log that are kept to be looked at.
        log_lines: Whole<0, 100000> = "500",
    }

    /// RTMP and RTMPS: push and play. RTMPS is served on the same ports, with the certificate of HTTPS: who begins with TLS gets
    /// it.
    rtmp: RtmpSettings {
        /// Address and port, or "off".
        listen: Listen = "0.0.0.0:1935",
        /// Another address and port for the same, like ":443" for clients that take RTMPS there; or "off".
        listen_also: Listen = "off",
        /// Connections at once.
        connections_max: Whole<1, 1000000> = "2000",
        /// PEM file with certificates that vouch for the servers of relays over RTMPS, beside those that the system believes.
        relay_ca: PathSetting = "",
    }

    /// Low-latency HLS, at /live/{stream}.m3u8.
    hls: HlsSettings {
        /// Longest segment, in seconds. Segments end at key frames, and here where those are further apart. Old players stay
        /// three segments behind; new ones three parts.
        segment_seconds: Whole<1, 10> = "4",
        /// Longest part, in milliseconds. Shorter: less delay, and more requests of each player.
        part_ms: Whole<100, 2000> = "250",
        /// How far playlists go back, in longest segments; what is more than 32 MiB of media goes earlier. From seven on, players
        /// who know the playlist are told what is new only (`_HLS_skip`).
        window_segments: Whole<3, 100> = "12",
        /// A stream that nobody has asked for so many seconds is packaged no more.
        idle_seconds: Whole<5, 600> = "20",
        /// A player that has not asked for the playlist for so many seconds is gone, and the app's callback told so. Players
        /// ask once in a segment at least.
        player_silence_seconds: Whole<1, 600> = "20",
        /// Players at once, of all streams.
        players_max: Whole<0, 1000000> = "10000",
        /// Streams that are packaged at once, each with 32 MiB of media at most. 0: no HLS.
        streams_max: Whole<0, 10000> = "100",
    }

    /// Media over UDP, and over TCP on the same port numbers for clients that UDP does not reach (ICE-TCP).
    media: MediaSettings {
        /// Address that the media sockets bind to. "::" is every address, IPv4 and IPv6; "0.0.0.0" is IPv4 only.
        bind: IpAddr = "::",
        /// Port of the first shard (packet thread); the others follow. 0 picks free ports.
        first_port: Whole<0, 65000> = "8000",
        /// Packet threads, each with a port of its own. 0: one for every two processors.
        shards: Whole<0, 64> = "0",
        /// Addresses that clients are told beside those of this machine's interfaces; --public-ip for short. Needed
        /// behind NAT, and in a container without host networking: the address by which clients reach the machine.
        public_ips: List<IpAddr> = "",
        /// Video codecs that publishers may use, most wanted first: H264, VP8, VP9, AV1, H265. H264 first spares RTMP players
        /// a codec that they cannot play; where they are in the room already, it is first in any case. H265 last: few browsers
        /// decode it.
        video_codecs: List<Codec> = "H264, VP8, VP9, AV1, H265",
        /// Packets remembered per video track, for retransmission. 1024 are two seconds at 5 Mbit/s.
        video_ring_packets: Whole<64, 16384> = "1024",
        /// Packets remembered per audio track. 256 are five seconds.
        audio_ring_packets: Whole<16, 4096> = "256",
        /// Socket buffers asked of the kernel, in bytes.
        socket_buffer_bytes: Whole<65536, 1073741824> = "4194304",
        /// A WebRTC connection without sign of life ends after this many seconds (RFC 7675).
        consent_timeout_seconds: Whole<5, 300> = "30",
        /// A WebRTC connection that never comes up ends after this many seconds.
        connect_timeout_seconds: Whole<5, 300> = "30",
        /// Least time between two key frame requests to one publisher, in milliseconds. Shorter: pictures start
        /// sooner for those who join; longer: the publisher spends less on key frames.
        key_frame_interval_ms: Whole<100, 10000> = "500",
        /// Number packets to viewers over all their tracks, so that browsers report what arrives and when (transport-cc). It
        /// costs 8 bytes a packet, and ten reports a second from each viewer.
        viewer_reports: bool = "true",
        /// Packets from unknown addresses that are tried with the keys of clients that may have moved, per second and group of
        /// source addresses (there are 64). 0: clients are followed by ICE alone, which takes browsers seconds.
        roaming_tries_per_second: Whole<0, 1000> = "8",
        /// Clients whose keys are tried on one such packet.
        roaming_candidates_max: Whole<1, 1000> = "16",
        /// Datagrams of DTLS handled between two looks at the media, per shard. More: storms of joins end sooner, packets wait
        /// longer meanwhile (0.13 ms each at most).
        handshakes_per_turn: Whole<1, 1000> = "4",
        /// Datagrams of DTLS that may wait for that, per shard; what comes on top is lost, and sent again by the client.
        handshakes_waiting_max: Whole<16, 1000000> = "4096",
        /// WebRTC connections at once.
        transports_max: Whole<1, 1000000> = "10000",
        /// Viewers of a room go to another shard than the room's when that one has so many packets per second less to
        /// send. 2000 are ten viewers at 1.3 Mbit/s; 0: always to the one with the least.
        spread_packets_per_second: Whole<0, 10000000> = "2000",
        /// What was copied to another shard for viewers there is kept for this many seconds after the last of them.
        copy_linger_seconds: Whole<0, 3600> = "5",
        /// Memory that packets and WebRTC connections may come to hold, in bytes; beyond it nobody can start to publish.
        /// 0: half of the machine's.
        memory_max_bytes: Whole<0, 1000000000000000> = "0",
        /// Opus bitrate, in bits per second, for WebRTC members who hear an RTMP stream.
        opus_bitrate_bps: Whole<16000, 510000> = "96000",
        /// AAC bitrate, in bits per second, for RTMP and FLV players who hear a WebRTC member.
        aac_bitrate_bps: Whole<16000, 320000> = "128000",
        /// Code pictures of RTMP publishers with B-frames anew for WebRTC, which cannot show B-frames; otherwise those are left
        /// out. Costs a decoder and an encoder for each such stream, and needs a build with the feature `reencode`; see
        /// docs/rtmp.md.
        reencode_b_frames: bool = "false",
        /// What RTMP and FLV players get is gathered for so many milliseconds: longer costs less for each player, and delays
        /// by as much. Pictures that are further apart do not wait. 0: nothing does.
        player_merge_ms: Whole<0, 1000> = "30",
        /// A new RTMP or FLV player gets everything since the last key frame, and shows a picture at once, if that is no
        /// longer than so many milliseconds. Otherwise it waits for the next key frame, and is less behind then. 0: it
        /// always waits.
        player_start_ms: Whole<0, 60000> = "10000",
    }
}

settings! {
    /// One app (tenant) of yours. Repeat the section for each. The vendor's words are taken too: sdkAppID, bizid, pushSecretKey,
    /// APIKey (which is callback_key), privateKey; accountType and administrator are not needed. A request that names no app is meant for the only app, if
    /// there is only one; the demo app counts.
    app: AppSettings {
        /// Its sdkAppID.
        sdk_app_id: Whole<1, 4294967295> = "1400000002",
        /// For people; appears in logs.
        name: String = "",
        /// PEM files with P-256 or secp256k1 keys of version 1 tickets, four at most: public ones are enough to check tickets, a private one lets
        /// `roomcast sign` issue them. A ticket is good if any of the keys verifies it.
        keys: List<PathSetting> = "",
        /// The text of one more such key, where a file is in the way.
        private_key: Pem = "",
        /// Secret of version 2 tickets, as the vendor's console shows it (64 hexadecimal characters).
        secret: Secret = "",
        /// What `secret` was before: tickets that it signed stay good. Empty when the last of them has expired.
        secret_before: Secret = "",
        /// Whether members must show a privateMapKey beside the userSig: "optional" or "required". One that is shown is
        /// always checked.
        private_map_key: PrivateMapKeyPolicy = "optional",
        /// Who may play by RTMP and HTTP-FLV: "open" (whoever knows the URL), "ticket" (who has a userSig, or txSecret and
        /// txTime, in the URL) or "signed" (who has txSecret and txTime).
        play: PlayPolicy = "open",
        /// The key of txSecret/txTime URLs. Without it such URLs are refused.
        push_key: Secret = "",
        /// With what stream names begin that the room services hand out, and the vendor's older names of live streams
        /// (`{bizid}_{md5}`, see docs/players.md). Empty: the sdkAppID.
        bizid: String = "",
        /// How many of the last text messages to a room its newcomers are told. 0: none.
        history_messages: Whole<0, 1000> = "0",
        /// Where your server is told what happens in the app's rooms, like "https://example.com/roomcast".
        callback_url: String = "",
        /// What callbacks are signed with. Empty: `secret`.
        callback_key: Secret = "",
        /// Whether callbacks may go to loopback, link-local and private addresses.
        callback_private: bool = "false",
        /// Whether callbacks have the form of the vendor's live streaming (`event_type` 1 and 0, `t` and `sign`): streams that
        /// begin and end, and nothing else.
        callback_vendor: bool = "false",
        /// Whether relays may lead to loopback, link-local and private addresses.
        relay_private: bool = "false",
        /// When somebody has to leave unless he renewed his ticket: "key" (when his privateMapKey expires; without one,
        /// never), "ticket" (when his userSig or privateMapKey expires) or "never" (tickets are for the door only).
        rights_end: RightsEnd = "key",
        /// Whether each privateMapKey opens the door once only. RTMP pushes with a ticket then cannot reconnect by themselves.
        private_map_key_once: bool = "false",
    }
}

/// All settings. [`Default`] is what `roomcast` runs on without any configuration.
#[derive(Clone, Debug, Default)]
pub struct Config {
    pub server: ServerSettings,
    pub demo: DemoSettings,
    pub http: HttpSettings,
    pub https: HttpsSettings,
    pub signaling: SignalingSettings,
    pub api: ApiSettings,
    pub weapp: WeappSettings,
    pub console: ConsoleSettings,
    pub rtmp: RtmpSettings,
    pub hls: HlsSettings,
    pub media: MediaSettings,
    pub apps: Vec<AppSettings>,
}

impl AppSettings {
    fn to_signaling(&self, complaints: &mut Vec<String>) -> AppConfig {
        let id = self.sdk_app_id.get() as u32;
        let mut v1_keys_pem = Vec::new();
        for path in self.keys.0.iter().filter_map(PathSetting::as_path) {
            match fs::read_to_string(path) {
                Ok(pem) => v1_keys_pem.push(pem),
                Err(error) => complaints.push(format!("app {id}: keys: {}: {error}", path.display())),
            }
        }
        v1_keys_pem.extend(Some(self.private_key.expose().to_owned()).filter(|pem| !pem.is_empty()));
        let text = |secret: &Secret| (!secret.is_empty()).then(|| secret.expose().to_owned());
        AppConfig {
            sdk_app_id: id,
            name: if self.name.is_empty() { format!("app {id}") } else { self.name.clone() },
            v1_keys_pem,
            v2_secret: text(&self.secret),
            v2_secrets_before: text(&self.secret_before).into_iter().collect(),
            private_map_key: self.private_map_key,
            play: self.play,
            push_key: text(&self.push_key),
            bizid: Some(self.bizid.clone()).filter(|bizid| !bizid.is_empty()),
            callback_url: Some(self.callback_url.clone()).filter(|url| !url.is_empty()),
            callback_key: text(&self.callback_key),
            callback_private: self.callback_private,
            relay_private: self.relay_private,
            callback_vendor: self.callback_vendor,
            rights_end: self.rights_end,
            private_map_key_once: self.private_map_key_once,
            history_messages: self.history_messages.get() as usize,
        }
    }
}

/// Signaling's own check of its configuration, in the words of this one.
impl From<SignalingError> for ConfigError {
    fn from(error: SignalingError) -> Self {
        ConfigError { complaints: vec![error.to_string()] }
    }
}

/// The sections that occur once.
const SECTIONS: [Section; 11] = [
    ServerSettings::SECTION,
    DemoSettings::SECTION,
    HttpSettings::SECTION,
    HttpsSettings::SECTION,
    SignalingSettings::SECTION,
    ApiSettings::SECTION,
    WeappSettings::SECTION,
    ConsoleSettings::SECTION,
    RtmpSettings::SECTION,
    HlsSettings::SECTION,
    MediaSettings::SECTION,
];

/// What is wrong with the configuration: every complaint, not the first only, each with its place.
#[derive(Debug, PartialEq, Eq)]
pub struct ConfigError {
    pub complaints: Vec<String>,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "the configuration cannot be used:")?;
        for complaint in &self.complaints {
            writeln!(f, "  {complaint}")?;
        }
        write!(f, "`roomcast config` prints every setting with its default and what it does")
    }
}

impl std::error::Error for ConfigError {}

/// Prefix of environment variables that are settings.
const ENVIRONMENT_PREFIX: &str = "ROOMCAST_";

impl Config {
    /// Reads the file if there is one, then the environment, then `section.key=value` texts of the command line.
    ///
    /// # Errors
    /// Every unknown key, bad value and contradiction, with its name and, for the file, its line.
    pub fn load(
        file: Option<&Path>,
        environment: impl IntoIterator<Item = (String, String)>,
        command_line: &[String],
    ) -> Result<Config, ConfigError> {
        let mut config = Config::default();
        let mut complaints = Vec::new();
        if let Some(path) = file {
            match fs::read_to_string(path) {
                Ok(text) => config.apply_file(&path.display().to_string(), &text, &mut complaints),
                Err(error) => complaints.push(format!("{}: {error}", path.display())),
            }
        }
        for (name, value) in environment {
            config.apply_environment(&name, &value, &mut complaints);
        }
        for text in command_line {
            config.apply_command_line(text, &mut complaints);
        }
        config.check(&mut complaints);
        if complaints.is_empty() { Ok(config) } else { Err(ConfigError { complaints }) }
    }

    /// The media side's share.
    pub fn media(&self) -> MediaConfig {
        let media = &self.media;
        let default = MediaConfig::default();
        MediaConfig {
            shards: match media.shards.get() {
                0 => default.shards,
                n => n as usize,
            },
            bind: media.bind,
            first_port: media.first_port.get() as u16,
            public_ips: media.public_ips.0.clone(),
            rtmp: self.rtmp.listen.addr(),
            rtmp_also: self.rtmp.listen_also.addr(),
            rtmp_tls: None,
            video_codecs: media.video_codecs.0.clone(),
            video_ring_packets: media.video_ring_packets.get() as usize,
            audio_ring_packets: media.audio_ring_packets.get() as usize,
            socket_buffer_bytes: media.socket_buffer_bytes.get() as usize,
            consent_timeout: Duration::from_secs(media.consent_timeout_seconds.get()),
            connect_timeout: Duration::from_secs(media.connect_timeout_seconds.get()),
            key_frame_interval: Duration::from_millis(media.key_frame_interval_ms.get()),
            viewer_reports: media.viewer_reports,
            roaming_tries_per_second: media.roaming_tries_per_second.get() as u32,
            roaming_candidates_max: media.roaming_candidates_max.get() as usize,
            handshakes_per_turn: media.handshakes_per_turn.get() as usize,
            handshakes_waiting_max: media.handshakes_waiting_max.get() as usize,
            rtmp_connections_max: self.rtmp.connections_max.get() as usize,
            transports_max: media.transports_max.get() as usize,
            spread_packets_per_second: media.spread_packets_per_second.get(),
            copy_linger: Duration::from_secs(media.copy_linger_seconds.get()),
            memory_max_bytes: match media.memory_max_bytes.get() {
                0 => default.memory_max_bytes,
                bytes => bytes,
            },
            opus_bitrate_bps: media.opus_bitrate_bps.get() as u32,
            aac_bitrate_bps: media.aac_bitrate_bps.get() as u32,
            reencode_b_frames: media.reencode_b_frames,
            player_start: Duration::from_millis(media.player_start_ms.get()),
            player_merge: Duration::from_millis(media.player_merge_ms.get()),
        }
    }

    /// The signaling side's share: your apps, and the demo app in front of them if it is on.
    ///
    /// # Errors
    /// A key file cannot be read, or holds no key.
    pub fn signaling(&self, demo: Option<&DemoKeys>) -> Result<SignalingConfig, ConfigError> {
        let mut complaints = Vec::new();
        let mut apps: Vec<AppConfig> = demo.map(DemoKeys::app).into_iter().collect();
        apps.extend(self.apps.iter().map(|app| app.to_signaling(&mut complaints)));
        if !complaints.is_empty() {
            return Err(ConfigError { complaints });
        }
        let ours = &self.signaling;
        let mut config = SignalingConfig {
            apps,
            demo: demo.is_some(),
            rtmp_port: self.rtmp.listen.addr().map(|addr| addr.port()),
            heartbeat_s: ours.heartbeat_seconds.get() as u32,
            dead_after: Duration::from_secs(ours.dead_after_seconds.get()),
            resume_within: Duration::from_secs(ours.resume_seconds.get()),
            origins: ours.origins.0.clone(),
            ..SignalingConfig::default()
        };
        let weapp = &self.weapp;
        config.room_service = RoomServiceConfig {
            enabled: weapp.enabled,
            double_members: weapp.double_room_members.get() as usize,
            multi_members: weapp.multi_room_members.get() as usize,
            live_members: weapp.live_room_members.get() as usize,
            audiences: weapp.audiences_max.get() as usize,
            heartbeat_within: Duration::from_secs(weapp.heartbeat_timeout_seconds.get()),
            idle_within: Duration::from_secs(weapp.idle_seconds.get()),
            room_info_bytes: weapp.room_info_bytes.get() as usize,
            url_life: Duration::from_secs(weapp.url_hours.get() * 3600),
            logins: weapp.logins_max.get() as usize,
        };
        let api = &self.api;
        let roots = certificates("api.callback_ca", &api.callback_ca)?;
        config.relay_roots = certificates("rtmp.relay_ca", &self.rtmp.relay_ca)?;
        config.api = ApiConfig {
            admin_key: (!api.admin_key.is_empty()).then(|| api.admin_key.expose().to_owned()),
            page_max: api.page_max.get() as usize,
            body_bytes: api.body_bytes_max.get() as usize,
        };
        config.callbacks = CallbackConfig {
            attempt_max: Duration::from_millis(api.callback_timeout_ms.get()),
            attempts: api.callback_attempts.get() as u32,
            queue: api.callback_queue.get() as usize,
            roots,
            ..CallbackConfig::default()
        };
        let limits = &mut config.limits;
        limits.members_per_room = ours.members_per_room.get() as usize;
        limits.publishers_per_room = ours.publishers_per_room.get() as usize;
        limits.players_per_room = ours.players_per_room.get() as usize;
        limits.subscriptions_per_member = ours.subscriptions_per_member.get() as usize;
        limits.tracks_per_publish = ours.tracks_per_member.get() as usize;
        limits.enter_within = Duration::from_secs(ours.enter_seconds.get());
        limits.message_bytes_before_enter = ours.request_bytes_before_enter.get() as usize;
        limits.message_bytes = ours.request_bytes.get() as usize;
        limits.sdp_bytes = ours.sdp_bytes.get() as usize;
        limits.messages_per_second = ours.requests_per_second.get() as u32;
        limits.messages_burst = ours.requests_burst.get() as u32;
        limits.rooms_per_app = ours.rooms_per_app.get() as usize;
        limits.republish_within = Duration::from_secs(ours.republish_seconds.get());
        limits.replay_messages = ours.replay_messages.get() as usize;
        limits.replay_bytes = ours.replay_bytes.get() as usize;
        limits.chat_bytes_to_one = ours.message_bytes_to_one.get() as usize;
        limits.chat_bytes_to_room = ours.message_bytes_to_room.get() as usize;
        limits.chat_per_second = ours.messages_per_second.get() as u32;
        limits.chat_burst = ours.messages_burst.get() as u32;
        limits.metadata_bytes = ours.metadata_bytes.get() as usize;
        limits.bans_per_room = ours.bans_per_room.get() as usize;
        limits.connections_per_ip = ours.connections_per_ip.get() as usize;
        limits.joins_per_user_per_minute = ours.joins_per_user_per_minute.get() as u32;
        limits.spent_keys_max = ours.spent_keys_max.get() as usize;
        limits.failed_auths_per_minute = ours.failed_auths_per_minute.get() as u32;
        limits.ticket_life_max = Duration::from_secs(ours.ticket_days_max.get() * 24 * 3600);
        Ok(config)
    }

    /// Everything as it stands, for people to look at: secrets are masked.
    pub fn shown(&self) -> Vec<ShownSection> {
        let mut sections = vec![
            self.server.shown(),
            self.demo.shown(),
            self.http.shown(),
            self.https.shown(),
            self.signaling.shown(),
            self.api.shown(),
            self.weapp.shown(),
            self.console.shown(),
            self.rtmp.shown(),
            self.hls.shown(),
            self.media.shown(),
        ];
        sections.extend(self.apps.iter().map(AppSettings::shown));
        sections
    }

    /// The data folder; it always has a name.
    pub fn data_folder(&self) -> &Path {
        self.server.data_folder.as_path().unwrap_or(Path::new("."))
    }

    fn set(&mut self, section: &str, name: &str, text: &str) -> Result<(), String> {
        match section {
            "server" => self.server.set(name, text),
            "demo" => self.demo.set(name, text),
            "http" => self.http.set(name, text),
            "https" => self.https.set(name, text),
            "signaling" => self.signaling.set(name, text),
            "api" => self.api.set(name, text),
            "weapp" => self.weapp.set(name, text),
            "console" => self.console.set(name, text),
            "rtmp" => self.rtmp.set(name, text),
            "hls" => self.hls.set(name, text),
            "media" => self.media.set(name, text),
            _ => Err(unknown_section()),
        }
    }

    fn apply_file(&mut self, file: &str, text: &str, complaints: &mut Vec<String>) {
        let place = |offset: usize| format!("{file}:{}", line_of(text, offset));
        let document = match DeTable::parse(text) {
            Ok(document) => document.into_inner(),
            Err(error) => {
                let offset = error.span().map_or(0, |span| span.start);
                return complaints.push(format!("{}: {}", place(offset), error.message()));
            }
        };
        for (key, value) in &document {
            let section = key.get_ref().as_ref();
            match (section, value.get_ref()) {
                ("app", DeValue::Array(apps)) => {
                    for app in apps.iter() {
                        let at = place(app.span().start);
                        let DeValue::Table(table) = app.get_ref() else {
                            complaints.push(format!("{at}: app: each is a section [[app]]"));
                            continue;
                        };
                        let mut settings = AppSettings::default();
                        if table.keys().all(|key| ours(key.get_ref().as_ref()) != Some("sdk_app_id")) {
                            complaints.push(format!("{at}: app.sdk_app_id: is missing"));
                        }
                        apply_table(&AppSettings::SECTION, table, &place, complaints, |name, text| {
                            settings.set(name, text)
                        });
                        self.apps.push(settings);
                    }
                }
                ("app", _) => complaints.push(format!("{}: app: write [[app]]", place(key.span().start))),
                (_, DeValue::Table(table)) => match SECTIONS.iter().find(|known| known.name == section) {
                    Some(known) => {
                        apply_table(known, table, &place, complaints, |name, text| self.set(section, name, text))
                    }
                    None => complaints.push(format!("{}: [{section}]: {}", place(key.span().start), unknown_section())),
                },
                _ => complaints.push(format!("{}: {section}: {}", place(key.span().start), unknown_section())),
            }
        }
    }

    fn apply_environment(&mut self, variable: &str, value: &str, complaints: &mut Vec<String>) {
        let Some(rest) = variable.strip_prefix(ENVIRONMENT_PREFIX) else { return };
        // The place of the file itself, which the command line has read already.
        if rest == "CONFIG" {
            return;
        }
        // Kubernetes and container links put these into every container beside a service called roomcast.
        if rest == "PORT" || rest.starts_with("PORT_") || rest.starts_with("SERVICE_") {
            return;
        }
        // Of the load tool, which may well be run from the same shell.
        if rest.starts_with("LOAD_") {
            return;
        }
        let rest = rest.to_ascii_lowercase();
        let result = match rest.split_once('_') {
            Some((section, name)) => self.set(section, name, value),
            None => Err(unknown_section()),
        };
        complaints.extend(result.err().map(|why| format!("environment {variable}: {why}")));
    }

    fn apply_command_line(&mut self, text: &str, complaints: &mut Vec<String>) {
        let parts = text.split_once('=').and_then(|(key, value)| Some((key.split_once('.')?, value)));
        let result = match parts {
            Some(((section, name), value)) => self.set(section.trim(), name.trim(), value.trim()),
            None => Err("write it as section.key=value, like http.listen=:9080".to_owned()),
        };
        complaints.extend(result.err().map(|why| format!("--set {text}: {why}")));
    }

    /// What no single value shows.
    fn check(&self, complaints: &mut Vec<String>) {
        if self.server.data_folder.as_path().is_none() {
            complaints.push("server.data_folder: must not be empty".to_owned());
        }
        if self.https.certificate.as_path().is_some() != self.https.private_key.as_path().is_some() {
            complaints.push("https.certificate and https.private_key: give both, or neither".to_owned());
        }
        if self.signaling.dead_after_seconds.get() <= self.signaling.heartbeat_seconds.get() {
            complaints.push("signaling.dead_after_seconds: must be more than heartbeat_seconds".to_owned());
        }
        if self.media.video_codecs.0.is_empty() {
            complaints.push("media.video_codecs: name at least one".to_owned());
        }
        if self.media.reencode_b_frames && !cfg!(feature = "reencode") {
            complaints.push(
                "media.reencode_b_frames: this build cannot; build it with `cargo build --release --features reencode`"
                    .to_owned(),
            );
        }
        if self.http.listen == Listen::Off && self.https.listen == Listen::Off {
            complaints.push("http.listen and https.listen: one of them has to listen".to_owned());
        }
        if !self.demo.enabled && self.apps.is_empty() {
            complaints.push("demo.enabled is false and there is no [[app]]: nobody could enter".to_owned());
        }
        for (index, app) in self.apps.iter().enumerate() {
            let id = app.sdk_app_id.get();
            if app.keys.0.is_empty() && app.private_key.expose().is_empty() && app.secret.is_empty() {
                complaints.push(format!("app {id}: needs `keys`, `secret` or both"));
            }
            if app.play == PlayPolicy::Signed && app.push_key.is_empty() {
                complaints.push(format!("app {id}: play = \"signed\" needs `push_key`"));
            }
            if !app.callback_url.is_empty() {
                if let Err(why) = CallbackUrl::read(&app.callback_url, app.callback_private) {
                    complaints.push(format!("app {id}: callback_url: {why}"));
                }
                if app.callback_key.is_empty() && app.secret.is_empty() {
                    complaints.push(format!("app {id}: callback_url needs `callback_key` or `secret`"));
                }
            }
            if self.apps[..index].iter().any(|other| other.sdk_app_id == app.sdk_app_id) {
                complaints.push(format!("app {id}: is there twice"));
            }
            if self.demo.enabled && id == u64::from(crate::data::DEMO_SDK_APP_ID) {
                complaints.push(format!("app {id}: is the demo app's number; set demo.enabled to false to use it"));
            }
        }
    }
}

/// The certificates in the file that this setting names; none if it names none.
fn certificates(setting: &str, file: &PathSetting) -> Result<Vec<CertificateDer<'static>>, ConfigError> {
    let Some(path) = file.as_path() else { return Ok(Vec::new()) };
    let found = CertificateDer::pem_file_iter(path).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    let complaint = match found {
        Ok(found) if !found.is_empty() => return Ok(found),
        Ok(_) => format!("{setting}: {}: there is no certificate in it", path.display()),
        Err(error) => format!("{setting}: {}: {error}", path.display()),
    };
    Err(ConfigError { complaints: vec![complaint] })
}

/// The file with every setting at its default, and what each does.
pub fn commented_defaults() -> String {
    let mut out = String::from(
        "# roomcast configuration: every setting with its default.\n\
         # Use it with `roomcast --config roomcast.toml`; what you leave out keeps its default.\n\
         # The environment goes before the file: ROOMCAST_<SECTION>_<KEY>, lists with commas, like ROOMCAST_HTTP_LISTEN=:9080.\n\
         # The command line goes before both: --set http.listen=:9080\n",
    );
    for section in SECTIONS {
        write_section(&mut out, &section, &format!("[{}]", section.name), "");
    }
    out.push_str("\n# An example; take away the leading # to use it.");
    write_section(&mut out, &AppSettings::SECTION, "[[app]]", "#");
    out
}

fn write_section(out: &mut String, section: &Section, heading: &str, mark: &str) {
    let mut line = |text: fmt::Arguments| writeln!(out, "{text}").expect("writing to a String");
    line(format_args!(""));
    for doc in section.doc {
        line(format_args!("#{doc}"));
    }
    line(format_args!("{mark}{heading}"));
    for field in section.fields {
        for doc in field.doc {
            line(format_args!("#{doc}"));
        }
        line(format_args!("{mark}{} = {}", field.name, to_toml(field.shape, field.default)));
    }
}

/// Sets the keys of one table of the file, and complains of those that cannot be.
fn apply_table(
    section: &Section,
    table: &DeTable<'_>,
    place: &dyn Fn(usize) -> String,
    complaints: &mut Vec<String>,
    mut set: impl FnMut(&str, &str) -> Result<(), String>,
) {
    for (key, value) in table {
        let name = match section.name {
            "app" => match ours(key.get_ref().as_ref()) {
                Some(name) => name,
                None => continue,
            },
            _ => key.get_ref().as_ref(),
        };
        let result = match section.fields.iter().find(|field| field.name == name) {
            Some(field) => text_of(field.shape, value.get_ref()).and_then(|text| set(name, &text)),
            None => Err(unknown_key(section)),
        };
        complaints
            .extend(result.err().map(|why| format!("{}: {}.{name}: {why}", place(key.span().start), section.name)));
    }
}

/// A setting of an app by the vendor's word for it. `None`: it says nothing that is needed here.
fn ours(name: &str) -> Option<&str> {
    match name {
        "sdkAppID" => Some("sdk_app_id"),
        "pushSecretKey" => Some("push_key"),
        "APIKey" => Some("callback_key"),
        "privateKey" => Some("private_key"),
        // Tickets are not compared with it; and nobody is an administrator who shows no secret.
        "accountType" | "administrator" => None,
        name => Some(name),
    }
}

/// A TOML value as text, if its type is the one wanted.
fn text_of(shape: Shape, value: &DeValue<'_>) -> Result<String, String> {
    match (shape, value) {
        (Shape::Text, DeValue::String(text)) => Some(text.to_string()),
        // Only decimal numbers: the others would be read with the wrong base.
        (Shape::Number, DeValue::Integer(number)) if number.radix() == 10 => Some(number.as_str().replace('_', "")),
        (Shape::Flag, DeValue::Boolean(flag)) => Some(flag.to_string()),
        (Shape::List, DeValue::Array(items)) => {
            items.iter().map(|item| item.get_ref().as_str()).collect::<Option<Vec<_>>>().map(|items| items.join(","))
        }
        _ => None,
    }
    .ok_or_else(|| format!("must be {shape}"))
}

fn by_default<T: Setting>(name: &str, text: &str) -> T {
    T::from_text(text).unwrap_or_else(|why| panic!("the default of {name} is not allowed: {why}"))
}

fn unknown_key(section: &Section) -> String {
    let names: Vec<&str> = section.fields.iter().map(|field| field.name).collect();
    format!("no such setting; [{}] has {}", section.name, names.join(", "))
}

fn unknown_section() -> String {
    let names: Vec<&str> = SECTIONS.iter().map(|section| section.name).collect();
    format!("no such section; there are {} and [[app]]", names.join(", "))
}

/// Lines count from 1.
fn line_of(text: &str, offset: usize) -> usize {
    text.bytes().take(offset).filter(|byte| *byte == b'\n').count() + 1
}

#[cfg(test)]
mod tests;
