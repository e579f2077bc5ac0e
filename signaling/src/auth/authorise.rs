//! The one judge of tickets, for every way in.

use std::{collections::HashMap, ops::BitOr};

use media::Kind;
use subtle::ConstantTimeEq;

use super::{
    envelope::Envelope,
    key::Keys,
    once::KeyId,
    url,
    userbuf::Userbuf,
    v1::{self, Claims, sha256},
    v2,
};
use crate::{
    code::Code,
    config::{AppConfig, ConfigError, PlayPolicy, PrivateMapKeyPolicy, RightsEnd, SignalingConfig},
    name::{RoomName, StreamName, is_user_id},
};

/// How far a ticket's time of issue may lie ahead of our clock, in seconds.
const CLOCK_SKEW_S: u64 = 60;

/// What somebody may do in a room: the bit map of a privateMapKey.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Privilege(pub u32);

impl Privilege {
    pub const NONE: Privilege = Privilege(0);
    /// Enter a room that does not exist yet.
    pub const CREATE: Privilege = Privilege(1);
    /// Enter a room.
    pub const JOIN: Privilege = Privilege(2);
    pub const SEND_AUDIO: Privilege = Privilege(4);
    pub const RECEIVE_AUDIO: Privilege = Privilege(8);
    pub const SEND_VIDEO: Privilege = Privilege(16);
    pub const RECEIVE_VIDEO: Privilege = Privilege(32);
    /// Send a screen: whatever the stream *aux* carries.
    pub const SEND_AUX: Privilege = Privilege(64);
    pub const RECEIVE_AUX: Privilege = Privilege(128);
    /// The vendor's bits. Ours are given only by a ticket that names them.
    pub const ALL: Privilege = Privilege(255);
    /// Keep order as the room's owner may: kick, mute, ban, lock, dissolve.
    pub const MODERATE: Privilege = Privilege(256);

    pub fn contains(self, needed: Privilege) -> bool {
        self.0 & needed.0 == needed.0
    }

    /// Refuses unless every needed bit is there.
    pub fn require(self, needed: Privilege) -> Result<(), Code> {
        if self.contains(needed) { Ok(()) } else { Err(Code::PrivilegeMissing) }
    }

    /// The bit for sending one medium of one stream.
    pub fn to_send(stream: StreamName, kind: Kind) -> Privilege {
        match (stream, kind) {
            (StreamName::Aux, _) => Privilege::SEND_AUX,
            (StreamName::Main, Kind::Audio) => Privilege::SEND_AUDIO,
            (StreamName::Main, Kind::Video) => Privilege::SEND_VIDEO,
        }
    }

    /// The bit for receiving one medium of one stream.
    pub fn to_receive(stream: StreamName, kind: Kind) -> Privilege {
        match (stream, kind) {
            (StreamName::Aux, _) => Privilege::RECEIVE_AUX,
            (StreamName::Main, Kind::Audio) => Privilege::RECEIVE_AUDIO,
            (StreamName::Main, Kind::Video) => Privilege::RECEIVE_VIDEO,
        }
    }

    /// The bits for sending or receiving a stream whose media are not known beforehand, as by RTMP.
    pub fn whole(stream: StreamName, bit: fn(StreamName, Kind) -> Privilege) -> Privilege {
        bit(stream, Kind::Audio) | bit(stream, Kind::Video)
    }
}

impl BitOr for Privilege {
    type Output = Privilege;

    fn bitor(self, other: Privilege) -> Privilege {
        Privilege(self.0 | other.0)
    }
}

/// What somebody shows at the door.
#[derive(Clone, Copy)]
pub struct Presented<'a> {
    /// `None` means the only app, where there is only one.
    pub sdk_app_id: Option<u32>,
    /// Who he says he is; with a signed URL or none, nobody needs to be anybody.
    pub user: &'a str,
    pub room: &'a RoomName,
    pub credential: Credential<'a>,
    pub purpose: Purpose,
}

/// What he shows it for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// To be in the room, or to send into it.
    Member,
    /// To receive by WHEP.
    Watch,
    /// To play one stream by RTMP or FLV: the app's [`PlayPolicy`] applies.
    Play,
}

/// A proof.
#[derive(Clone, Copy)]
pub enum Credential<'a> {
    None,
    Ticket { user_sig: &'a str, private_map_key: Option<&'a str> },
    Url(UrlSignature<'a>),
}

/// `txSecret` and `txTime` of a URL.
#[derive(Clone, Copy)]
pub struct UrlSignature<'a> {
    /// The stream's full name, which is signed.
    pub stream: &'a str,
    pub secret: &'a str,
    pub time: &'a str,
}

/// Leave to do what was asked, and whatever else the bits allow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Grant {
    pub sdk_app_id: u32,
    pub privilege: Privilege,
    /// When it ends, in Unix seconds; see [`RightsEnd`].
    pub ends_at_s: Option<u64>,
    /// The privateMapKey that must not have been used before, and is used up by this.
    pub once: Option<KeyId>,
}

/// The apps and their keys, ready to judge.
pub struct Authority {
    apps: HashMap<u32, App>,
    ticket_life_max_s: u64,
}

struct App {
    keys: Keys,
    private_map_key: PrivateMapKeyPolicy,
    play: PlayPolicy,
    push_key: Option<String>,
    rights_end: RightsEnd,
    private_map_key_once: bool,
    /// SHA-256 of the secret by which the app's own server is known.
    secret: Option<[u8; 32]>,
}

impl Authority {
    pub fn new(config: &SignalingConfig) -> Result<Authority, ConfigError> {
        let mut apps = HashMap::new();
        for app in &config.apps {
            if app.sdk_app_id == 0 {
                return Err(ConfigError::ZeroApp);
            }
            if apps.insert(app.sdk_app_id, App::new(app)?).is_some() {
                return Err(ConfigError::DuplicateApp(app.sdk_app_id));
            }
        }
        match apps.is_empty() {
            true => Err(ConfigError::NoApp),
            false => Ok(Authority { apps, ticket_life_max_s: config.limits.ticket_life_max.as_secs() }),
        }
    }

    /// Says whether what was shown allows `needed`, and what else it allows. `now_s` is Unix time.
    pub fn authorise(&self, now_s: u64, shown: &Presented<'_>, needed: Privilege) -> Result<Grant, Code> {
        let (sdk_app_id, app) = self.app(shown.sdk_app_id).ok_or(Code::UnknownApp)?;
        let mut grant = Grant { sdk_app_id, privilege: Privilege::ALL, ends_at_s: None, once: None };
        match shown.credential {
            Credential::None if shown.purpose == Purpose::Play && app.play == PlayPolicy::Open => {}
            Credential::None => return Err(Code::TicketMissing),
            Credential::Url(signature) => {
                let key = app.push_key.as_deref().ok_or(Code::UrlSignatureInvalid)?;
                // Its time says until when it opens the door, as everywhere with such URLs, not how long one may stay.
                url::verify(key, &signature, now_s)?;
            }
            Credential::Ticket { .. } if shown.purpose == Purpose::Play && app.play == PlayPolicy::Signed => {
                return Err(Code::TicketMissing);
            }
            Credential::Ticket { user_sig, private_map_key } => {
                let sig_ends_at_s = self.user_sig(now_s, app, sdk_app_id, shown.user, user_sig)?;
                let mut key_ends_at_s = None;
                match (private_map_key, app.private_map_key) {
                    (Some(key), _) => {
                        let (privilege, key) =
                            self.private_map_key(now_s, app, sdk_app_id, shown.user, shown.room, key)?;
                        grant.privilege = privilege;
                        key_ends_at_s = Some(key.expires_at_s);
                        // A player's URL is asked for again whenever the player pleases.
                        let once = app.private_map_key_once && shown.purpose != Purpose::Play;
                        grant.once = once.then_some(key);
                    }
                    (None, PrivateMapKeyPolicy::Optional) => {}
                    (None, PrivateMapKeyPolicy::Required) => return Err(Code::PrivateMapKeyMissing),
                }
                grant.ends_at_s = match app.rights_end {
                    RightsEnd::Key => key_ends_at_s,
                    RightsEnd::Ticket => Some(key_ends_at_s.map_or(sig_ends_at_s, |key| key.min(sig_ends_at_s))),
                    RightsEnd::Never => None,
                };
            }
        };
        grant.privilege.require(needed)?;
        Ok(grant)
    }

    /// Says until when a userSig proves who somebody is, in Unix seconds.
    pub fn user(&self, now_s: u64, sdk_app_id: u32, user: &str, user_sig: &str) -> Result<u64, Code> {
        let (sdk_app_id, app) = self.app(Some(sdk_app_id)).ok_or(Code::UnknownApp)?;
        self.user_sig(now_s, app, sdk_app_id, user, user_sig)
    }

    /// Whether `secret` is the one of this app, by which its own server is known. Takes the same time for an app that is not
    /// known, or has none.
    pub fn is_owner(&self, sdk_app_id: u32, secret: &str) -> bool {
        let known = self.apps.get(&sdk_app_id).and_then(|app| app.secret);
        let same = sha256(secret).ct_eq(&known.unwrap_or_default());
        bool::from(same) & known.is_some()
    }

    fn app(&self, sdk_app_id: Option<u32>) -> Option<(u32, &App)> {
        match sdk_app_id {
            Some(id) => self.apps.get(&id).map(|app| (id, app)),
            None if self.apps.len() == 1 => self.apps.iter().next().map(|(id, app)| (*id, app)),
            None => None,
        }
    }

    fn user_sig(&self, now_s: u64, app: &App, sdk_app_id: u32, user: &str, ticket: &str) -> Result<u64, Code> {
        let claims = self.claims(app, sdk_app_id, user, now_s, ticket).ok_or(Code::UserSigInvalid)?;
        // The two kinds of ticket differ in nothing but the userbuf: one must not pass for the other.
        if claims.userbuf.is_some() {
            return Err(Code::UserSigInvalid);
        }
        let ends_at_s = claims.ends_at_s();
        if ends_at_s < now_s { Err(Code::UserSigExpired) } else { Ok(ends_at_s) }
    }

    fn private_map_key(
        &self,
        now_s: u64,
        app: &App,
        sdk_app_id: u32,
        user: &str,
        room: &RoomName,
        ticket: &str,
    ) -> Result<(Privilege, KeyId), Code> {
        let claims = self.claims(app, sdk_app_id, user, now_s, ticket).ok_or(Code::PrivateMapKeyInvalid)?;
        let userbuf = claims.userbuf.as_deref().and_then(Userbuf::read).ok_or(Code::PrivateMapKeyInvalid)?;
        if userbuf.account != user || userbuf.sdk_app_id != sdk_app_id || userbuf.room != *room {
            return Err(Code::PrivateMapKeyInvalid);
        }
        let expires_at_s = claims.ends_at_s().min(userbuf.expires_at_s.into());
        if expires_at_s < now_s {
            return Err(Code::PrivateMapKeyExpired);
        }
        Ok((Privilege(userbuf.privilege), KeyId { expires_at_s, signed: claims.signed }))
    }

    /// The claims of a ticket of either version that this app's keys made for this user, expired or not.
    fn claims(&self, app: &App, sdk_app_id: u32, user: &str, now_s: u64, ticket: &str) -> Option<Claims> {
        if !is_user_id(user) {
            return None;
        }
        let envelope = Envelope::open(ticket)?;
        let claims = match envelope.text("TLS.ver") {
            Some(v2::VERSION) => v2::verify(&envelope, &app.keys),
            _ => v1::verify(&envelope, &app.keys),
        }
        .ok()?;
        let ours = claims.identifier == user && claims.sdk_app_id == sdk_app_id;
        let sane = claims.issued_at_s <= now_s.saturating_add(CLOCK_SKEW_S) && claims.life_s <= self.ticket_life_max_s;
        (ours && sane).then_some(claims)
    }
}

impl App {
    fn new(app: &AppConfig) -> Result<App, ConfigError> {
        let push_key = app.push_key.clone().filter(|key| !key.is_empty());
        if app.play == PlayPolicy::Signed && push_key.is_none() {
            return Err(ConfigError::NoPushKey(app.sdk_app_id));
        }
        let secret = app.v2_secret.as_deref().filter(|secret| !secret.is_empty());
        Ok(App {
            keys: Keys::read(app)?,
            private_map_key: app.private_map_key,
            play: app.play,
            push_key,
            rights_end: app.rights_end,
            private_map_key_once: app.private_map_key_once,
            secret: secret.map(sha256),
        })
    }
}
