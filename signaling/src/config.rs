//! What the operator decides about tickets, rooms and connections. Files and environment are read elsewhere; here are only
//! the values, their defaults and what they cost.

use std::{fmt, net::IpAddr, time::Duration};

use tokio_rustls::rustls::pki_types::CertificateDer;

use crate::{api::ApiConfig, callback::CallbackConfig, dialect::weapp::RoomServiceConfig};

/// Settings of the signaling side. [`Default`] has no app: at least one must be given.
#[derive(Clone, Debug)]
pub struct SignalingConfig {
    /// The tenants. A request that names no app is meant for the only one, if there is only one.
    pub apps: Vec<AppConfig>,
    /// Hands out tickets of the first app to whoever asks `GET /demo/ticket`. Default: off. Never on for an app whose
    /// rooms matter.
    pub demo: bool,
    /// The RTMP port that `/demo/ticket` tells the demo page. Default 1935; `None` when RTMP is off.
    pub rtmp_port: Option<u16>,
    /// How often a WebSocket client should send `heartbeat`, in seconds. Default 10.
    pub heartbeat_s: u32,
    /// A WebSocket that sent nothing for this long is closed and its member leaves. Default 30 s, three heartbeats:
    /// nobody is listed longer who is not there.
    pub dead_after: Duration,
    /// How long a member whose WebSocket is lost stays, so that he can come back unnoticed; never longer than
    /// `dead_after` since he was heard. Zero: not at all. Default 15 s.
    pub resume_within: Duration,
    /// Origins (`https://example.com`) whose pages may open `/signal` and read the answers of WHIP and WHEP. Empty, the
    /// default, admits every page: there are no cookies, a page can do only what its ticket allows.
    pub origins: Vec<String>,
    /// Bounds on what clients may ask for.
    pub limits: Limits,
    /// The HTTP API for the owner's server.
    pub api: ApiConfig,
    /// How the owner's server is told what happens.
    pub callbacks: CallbackConfig,
    /// Certificates that vouch for the servers of relays over RTMPS, beside those of the system. Default: none.
    pub relay_roots: Vec<CertificateDer<'static>>,
    /// The vendor's room services.
    pub room_service: RoomServiceConfig,
}

impl Default for SignalingConfig {
    fn default() -> Self {
        SignalingConfig {
            apps: Vec::new(),
            demo: false,
            rtmp_port: Some(1935),
            heartbeat_s: 10,
            dead_after: Duration::from_secs(30),
            resume_within: Duration::from_secs(15),
            origins: Vec::new(),
            limits: Limits::default(),
            api: ApiConfig::default(),
            callbacks: CallbackConfig::default(),
            relay_roots: Vec::new(),
            room_service: RoomServiceConfig::default(),
        }
    }
}

/// One tenant and its keys. Its `Debug` form shows no key.
#[derive(Clone)]
pub struct AppConfig {
    /// The number by which clients name the app. Not 0.
    pub sdk_app_id: u32,
    /// For people; appears in logs.
    pub name: String,
    /// P-256 or secp256k1 keys of version 1 tickets, in PEM: private (PKCS#8 or SEC 1) or public (SPKI); 4 at most. A
    /// ticket is good if any of them verifies it, so that keys can be replaced without a gap; the first private one signs.
    pub v1_keys_pem: Vec<String>,
    /// The HMAC secret of version 2 tickets, used as the text it is.
    pub v2_secret: Option<String>,
    /// Secrets that were the secret before: tickets that they signed stay good. With the secret 4 at most.
    pub v2_secrets_before: Vec<String>,
    /// Whether members must show a privateMapKey. One that is shown is always checked. Default: optional.
    pub private_map_key: PrivateMapKeyPolicy,
    /// Who may play by RTMP, HTTP-FLV and WebSocket-FLV. Default: open.
    pub play: PlayPolicy,
    /// How many of the last messages to a room its newcomers are told. Default 0.
    pub history_messages: usize,
    /// The key of `txSecret`/`txTime` URLs. Without it such URLs are refused.
    pub push_key: Option<String>,
    /// With what the stream names of push URLs begin that the room services hand out, and older names of live streams. Default:
    /// the sdkAppID.
    pub bizid: Option<String>,
    /// When what a ticket allows ends for somebody who is in. Default: with the privateMapKey.
    pub rights_end: RightsEnd,
    /// Each privateMapKey opens the door once. Default: as often as wanted until it expires.
    pub private_map_key_once: bool,
    /// Where the app's own server is told what happens in its rooms. Default: nowhere.
    pub callback_url: Option<String>,
    /// What callbacks are signed with. Default: the version 2 secret.
    pub callback_key: Option<String>,
    /// Whether callbacks may go to loopback, link-local and private addresses. Default: no, so that nobody who may set a URL
    /// reaches what only this machine can reach.
    pub callback_private: bool,
    /// The same for relays.
    pub relay_private: bool,
    /// Whether callbacks have the form of the vendor's live streaming: streams that begin and end, and nothing else.
    pub callback_vendor: bool,
}

impl AppConfig {
    /// With what stream names begin.
    pub fn bizid(&self) -> String {
        self.bizid.clone().unwrap_or_else(|| self.sdk_app_id.to_string())
    }

    /// What callbacks are signed with; `None` if there is nothing.
    pub fn callback_key(&self) -> Option<&str> {
        [&self.callback_key, &self.v2_secret].into_iter().flatten().map(String::as_str).find(|key| !key.is_empty())
    }
}

impl Default for AppConfig {
    fn default() -> Self {
        AppConfig {
            sdk_app_id: 1_400_000_001,
            name: "demo".into(),
            v1_keys_pem: Vec::new(),
            v2_secret: None,
            v2_secrets_before: Vec::new(),
            private_map_key: PrivateMapKeyPolicy::Optional,
            play: PlayPolicy::Open,
            history_messages: 0,
            push_key: None,
            bizid: None,
            callback_url: None,
            callback_key: None,
            callback_private: false,
            callback_vendor: false,
            relay_private: false,
            rights_end: RightsEnd::Key,
            private_map_key_once: false,
        }
    }
}

impl fmt::Debug for AppConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AppConfig")
            .field("sdk_app_id", &self.sdk_app_id)
            .field("name", &self.name)
            .field("v1_keys", &self.v1_keys_pem.len())
            .field("v2_secret", &self.v2_secret.is_some())
            .field("private_map_key", &self.private_map_key)
            .field("play", &self.play)
            .field("push_key", &self.push_key.is_some())
            .field("callbacks", &self.callback_url.is_some())
            .field("rights_end", &self.rights_end)
            .field("private_map_key_once", &self.private_map_key_once)
            .finish()
    }
}

/// Whether a member must show a privateMapKey.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PrivateMapKeyPolicy {
    /// Who shows none has every privilege; who shows one has those of the key.
    #[default]
    Optional,
    /// Who shows none is refused.
    Required,
}

/// Who may play a stream by URL. A ticket or signature that is shown is checked under every policy.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PlayPolicy {
    /// Whoever knows the stream's name.
    #[default]
    Open,
    /// Who shows a userSig (and privateMapKey where the app wants one), or a signed URL.
    Ticket,
    /// Who has a URL signed with `txSecret`/`txTime`.
    Signed,
}

/// When what a ticket allows ends for somebody who is in. He leaves then, unless he renewed it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RightsEnd {
    /// With the privateMapKey. Who showed none stays as long as he likes: a userSig says who he is, at the door.
    #[default]
    Key,
    /// With the userSig or the privateMapKey, whichever expires first.
    Ticket,
    /// Never: tickets are for the door only, as in the vendor's cloud.
    Never,
}

/// Bounds on what clients may ask for. Each is refused with a code of its own when it is reached.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Members of one room. Default 300.
    pub members_per_room: usize,
    /// Members of one room that publish. Default 50.
    pub publishers_per_room: usize,
    /// WHEP players of one room; they are not members. Default 5,000.
    pub players_per_room: usize,
    /// Rooms of one app. Default 10,000.
    pub rooms_per_app: usize,
    /// Streams that one member may be subscribed to at once, and that one `subscribe` may name. Default 128.
    pub subscriptions_per_member: usize,
    /// M-lines that one `publish` may name. Default 8.
    pub tracks_per_publish: usize,
    /// Bytes of one WebSocket message before `enter`. Default 64 KiB.
    pub message_bytes_before_enter: usize,
    /// Bytes of one WebSocket message after `enter`. Default 256 KiB.
    pub message_bytes: usize,
    /// Bytes of a session description. Default 128 KiB.
    pub sdp_bytes: usize,
    /// A WebSocket that has not entered a room after this is closed. Default 5 s.
    pub enter_within: Duration,
    /// Messages per second that one WebSocket may send for long; more is read later. Default 20.
    pub messages_per_second: u32,
    /// Messages that it may send at once. Default 60.
    pub messages_burst: u32,
    /// Bytes of a message's content to one member. Default 12,000.
    pub chat_bytes_to_one: usize,
    /// Bytes of a message's content to the room. Default 8,898.
    pub chat_bytes_to_room: usize,
    /// Messages to others that one member may send per second for long; more is refused. Default 20.
    pub chat_per_second: u32,
    /// Messages to others that he may send at once. Default 60.
    pub chat_burst: u32,
    /// Bytes of a room's or a member's metadata. Default 8 KiB.
    pub metadata_bytes: usize,
    /// Users who are banned from one room, and users who are muted in it. Default 1,000 each.
    pub bans_per_room: usize,
    /// How long a stream whose publisher is gone without a word waits for him, or for the same user by another way. Default
    /// 15 s; 0: not at all.
    pub republish_within: Duration,
    /// Messages to one member that are kept for his `resume`. Default 1,024.
    pub replay_messages: usize,
    /// Their bytes. Default 1 MiB.
    pub replay_bytes: usize,
    /// WebSockets from one address; loopback is exempt, since a reverse proxy's clients all come from there. Default 50.
    pub connections_per_ip: usize,
    /// Refused tickets per minute from one address, after which it is refused unread until the minute is over; loopback
    /// is exempt for the same reason. Default 20.
    pub failed_auths_per_minute: u32,
    /// Times that one user of an app may enter or publish anew per minute, whatever his address. Default 10.
    pub joins_per_user_per_minute: u32,
    /// privateMapKeys that are remembered as used, where each may be used once. When so many are remembered and none has
    /// expired, nobody enters with another. Default 100,000.
    pub spent_keys_max: usize,
    /// The longest life of a ticket, from `TLS.time` to its expiry. Default 400 days.
    pub ticket_life_max: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            members_per_room: 300,
            publishers_per_room: 50,
            players_per_room: 5_000,
            rooms_per_app: 10_000,
            subscriptions_per_member: 128,
            tracks_per_publish: 8,
            message_bytes_before_enter: 64 << 10,
            message_bytes: 256 << 10,
            sdp_bytes: 128 << 10,
            enter_within: Duration::from_secs(5),
            messages_per_second: 20,
            messages_burst: 60,
            chat_bytes_to_one: 12_000,
            chat_bytes_to_room: 8_898,
            chat_per_second: 20,
            chat_burst: 60,
            metadata_bytes: 8 << 10,
            bans_per_room: 1_000,
            republish_within: Duration::from_secs(15),
            replay_messages: 1_024,
            replay_bytes: 1 << 20,
            connections_per_ip: 50,
            failed_auths_per_minute: 20,
            joins_per_user_per_minute: 10,
            spent_keys_max: 100_000,
            ticket_life_max: Duration::from_secs(400 * 24 * 3600),
        }
    }
}

/// The address by which a client reached us. Whoever accepts the connection may put it among the request's extensions, so
/// that the media candidate of the same address leads; without it the `Host` header is asked.
#[derive(Clone, Copy, Debug)]
pub struct ReachedAt {
    pub ip: IpAddr,
    /// Whether he came over TLS.
    pub over_tls: bool,
}

impl ReachedAt {
    pub fn plain(ip: IpAddr) -> ReachedAt {
        ReachedAt { ip, over_tls: false }
    }

    pub fn secure(ip: IpAddr) -> ReachedAt {
        ReachedAt { ip, over_tls: true }
    }
}

/// Why the settings cannot be used. No message contains a key.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    #[error("no app is configured")]
    NoApp,
    #[error("sdkAppID 0 is not allowed")]
    ZeroApp,
    #[error("sdkAppID {0} is configured twice")]
    DuplicateApp(u32),
    #[error("app {0} has neither a version 1 key nor a version 2 secret")]
    NoKey(u32),
    #[error("app {0} has more than 4 version 1 keys or version 2 secrets")]
    TooManyKeys(u32),
    #[error("key {index} of app {app} is not a P-256 or secp256k1 key in PEM (PKCS#8, SEC 1 or SPKI)")]
    BadKey {
        app: u32,
        /// Counted from 1.
        index: usize,
    },
    #[error("app {0}: play = signed needs a push_key")]
    NoPushKey(u32),
}
