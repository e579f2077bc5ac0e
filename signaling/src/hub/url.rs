//! Pushing and playing by URL: RTMP in both directions, HTTP-FLV, WebSocket-FLV and HLS out.

use std::{net::IpAddr, sync::Arc, time::Instant};

use media::{
    StreamId,
    command::{PlayGrant, PlayWatch, PushGrant, StreamUrl},
};

use super::{
    Hub, Inner,
    notice::{Fact, Notice, Play, PushOrigin},
    rights::instant_of,
    session::random_name,
    unix_ms,
};
use crate::{
    auth::{
        authorise::{Credential, Presented, Privilege, Purpose, UrlSignature},
        url::{Query, percent_decode},
    },
    code::{Code, Fault},
    member::{Newcomer, Protocol, Role},
    name::{DISPLAY_NAME_BYTES_MAX, RoomName, StreamName, StreamPath, has_control, is_user_id, strict_decimal},
};

/// The RTMP application under which a room's name is pushed to.
const APP_PUSH: &str = "push";
/// The RTMP application of streams by their full name.
const APP_LIVE: &str = "live";

/// Leave to play a stream by HLS, whose players come and go with single requests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HlsGrant {
    pub stream: StreamId,
    /// When the player has to go, if he has to.
    pub until: Option<Instant>,
    /// Who plays, if he showed a ticket.
    pub player: Option<String>,
}

impl Hub {
    /// Whether somebody may play the stream of this full name by HTTP-FLV, and which stream it is. `query` is what stood
    /// behind the `?`, not decoded.
    ///
    /// Without a valid ticket, where the app wants one, streams that exist and streams that do not are refused alike.
    pub fn authorise_play(&self, name: &str, query: &str, remote: Option<IpAddr>) -> Result<PlayGrant, Code> {
        self.0.play("flv", name, query, remote)
    }

    /// The same for HLS. Nobody is told of anything yet: see [`Hub::watch_hls`].
    pub fn authorise_hls(&self, name: &str, query: &str, remote: Option<IpAddr>) -> Result<HlsGrant, Code> {
        let Allowed { stream, until, player, .. } = self.0.allow_play(name, query, remote)?;
        Ok(HlsGrant { stream, until, player })
    }

    /// Whom to tell of an HLS player that begins, and when it is gone; `None` unless `stream` is there under this name, which is
    /// decoded already. `player`: of its grant. What this gives is good for one player, once.
    pub fn watch_hls(
        &self,
        name: &str,
        stream: StreamId,
        player: Option<&str>,
        remote: Option<IpAddr>,
    ) -> Option<PlayWatch> {
        let named = self.0.find_stream(name).filter(|named| named.stream == Some(stream))?;
        Some(self.0.watch_play(&named.path, "hls", player, remote))
    }
}

/// A stream that somebody may play.
struct Allowed {
    path: StreamPath,
    stream: StreamId,
    until: Option<Instant>,
    player: Option<String>,
}

/// What a name means.
struct Named {
    path: StreamPath,
    /// None if there is no such stream now.
    stream: Option<StreamId>,
    /// It is not the stream's full name, but one that a room service gave.
    made_up: bool,
}

impl Inner {
    /// Lets an RTMP publisher into a room.
    pub(super) fn push(self: &Arc<Self>, url: &StreamUrl) -> Result<PushGrant, Fault> {
        let query = Query::parse(&url.query);
        let remote = Some(url.remote.ip());
        let made_up = (url.app == APP_LIVE).then(|| percent_decode(&url.name));
        let made_up = made_up.and_then(|name| Some((self.push_names.path(&name)?, name)));
        let (path, grant) = match made_up {
            Some((path, name)) => {
                let grant = self.authorise_named(remote, &path, &name, &query)?;
                (path, grant)
            }
            None => {
                let old = (url.app == APP_LIVE).then(|| percent_decode(&url.name));
                let old = old.and_then(|name| Some((self.old_push(&name, &query)?, name)));
                // Signed is the name that the URL says.
                let (path, full_name) = match old {
                    Some((path, name)) => (path?, name),
                    None => {
                        let path = push_path(url, &query, self.only_app())?;
                        let full_name = path.to_string();
                        (path, full_name)
                    }
                };
                let shown = Presented {
                    sdk_app_id: Some(path.sdk_app_id),
                    user: &path.user,
                    room: &path.room,
                    credential: credential(&query, &full_name),
                    purpose: Purpose::Member,
                };
                // RTMP cannot say beforehand what it will carry, so it needs the bits for both media.
                let needed = Privilege::JOIN | Privilege::whole(path.stream, Privilege::to_send);
                let grant = self.authorise(remote, &shown, needed)?;
                (path, grant)
            }
        };
        let name = query.value("name").filter(|name| name.len() <= DISPLAY_NAME_BYTES_MAX && !has_control(name));
        let who = Newcomer {
            user: path.user.clone(),
            name: name.map(str::to_owned),
            role: Role::Anchor,
            protocol: Protocol::Rtmp,
            privilege: grant.privilege,
            until: grant.ends_at_s.and_then(instant_of),
            reached_at: None,
        };
        let until = who.until;
        let (full_name, origin) = (path.to_string(), origin_of(url));
        let opened = self.in_room(&(grant.sdk_app_id, path.room), |cell, out| {
            let stream = cell.room.push(Instant::now(), who, path.stream, out)?;
            // Here, where the room is still locked: its beginning is told with it.
            self.origins.insert(full_name, origin);
            Ok(PushGrant { room: cell.room.id, stream })
        });
        opened.map(|(grant, cell)| {
            self.watch_rights(&cell, until);
            grant
        })
    }

    /// Lets an RTMP player have a stream.
    pub(super) fn play_rtmp(self: &Arc<Self>, url: &StreamUrl) -> Result<PlayGrant, Fault> {
        if url.app != APP_LIVE {
            return Err(Code::NotFound.into());
        }
        Ok(self.play("rtmp", &url.name, &url.query, Some(url.remote.ip()))?)
    }

    fn play(
        self: &Arc<Self>,
        protocol: &'static str,
        name: &str,
        query: &str,
        remote: Option<IpAddr>,
    ) -> Result<PlayGrant, Code> {
        let Allowed { path, stream, until, player } = self.allow_play(name, query, remote)?;
        let watch = self.watch_play(&path, protocol, player.as_deref(), remote);
        Ok(PlayGrant { stream, until, watch })
    }

    fn allow_play(&self, name: &str, query: &str, remote: Option<IpAddr>) -> Result<Allowed, Code> {
        let name = percent_decode(name);
        let query = Query::parse(query);
        let Named { path, stream, made_up } = self.find_stream(&name).ok_or(Code::NoSuchStream)?;
        if made_up && query.value("txsecret").is_some() {
            self.authorise_named(remote, &path, &name, &query)?;
            return Ok(Allowed { path, stream: stream.ok_or(Code::NoSuchStream)?, until: None, player: None });
        }
        let shown = Presented {
            sdk_app_id: Some(path.sdk_app_id),
            user: query.value("userid").unwrap_or_default(),
            room: &path.room,
            credential: credential(&query, &name),
            purpose: Purpose::Play,
        };
        let needed = Privilege::JOIN | Privilege::whole(path.stream, Privilege::to_receive);
        let grant = self.authorise(remote, &shown, needed)?;
        let player = query.value("userid").filter(|_| query.value("usersig").is_some()).map(str::to_owned);
        let until = grant.ends_at_s.and_then(instant_of);
        Ok(Allowed { path, stream: stream.ok_or(Code::NoSuchStream)?, until, player })
    }

    /// `None` if the name can mean no stream.
    fn find_stream(&self, name: &str) -> Option<Named> {
        // A live stream's name means its room and user, however many `_` they contain; other names are taken apart.
        let made_up = self.push_names.path(name);
        let full_name = made_up.as_ref().map_or_else(|| name.to_owned(), StreamPath::to_string);
        let (path, stream) = match (self.by_path.get(&full_name), made_up) {
            (Some(entry), _) => (entry.0.clone(), Some(entry.1)),
            (None, Some(path)) => (path, None),
            (None, None) => match StreamPath::parse(name, None) {
                Some(path) => (path, None),
                None => self.old_name(name)?,
            },
        };
        Some(Named { path, stream, made_up: full_name != name })
    }

    /// Tells listeners when a player begins and when it is gone.
    fn watch_play(
        self: &Arc<Self>,
        path: &StreamPath,
        protocol: &'static str,
        player: Option<&str>,
        ip: Option<IpAddr>,
    ) -> PlayWatch {
        let (hub, path, player) = (Arc::downgrade(self), path.clone(), player.map(str::to_owned));
        let play = Play {
            id: random_name(),
            user: path.user,
            stream: path.stream,
            protocol,
            player,
            ip: ip.map(|ip| ip.to_canonical()),
        };
        PlayWatch::new(move |begins| {
            let Some(hub) = hub.upgrade() else { return };
            let fact = if begins { Fact::PlayStarted(play.clone()) } else { Fact::PlayStopped(play.clone()) };
            let (sdk_app_id, room) = (path.sdk_app_id, path.room.clone());
            hub.listeners.tell(&Notice { sdk_app_id, room, unix_ms: unix_ms(), fact });
        })
    }
}

/// Parts of a query that prove who somebody is.
const PROOFS: [&str; 4] = ["usersig", "privatemapkey", "txsecret", "sig"];

fn origin_of(url: &StreamUrl) -> PushOrigin {
    let is_proof = |part: &&str| {
        let name = part.split('=').next().unwrap_or_default();
        PROOFS.iter().any(|proof| percent_decode(name).eq_ignore_ascii_case(proof))
    };
    let param: Vec<&str> = url.query.split('&').filter(|part| !is_proof(part)).collect();
    let ip = url.remote.ip().to_canonical();
    PushOrigin { ip, host: url.host.clone(), node: url.local, app: url.app.clone(), param: param.join("&") }
}

/// Whom and what a push URL names: `push/{roomID}?sdkappid=&userid=[&stream=aux]`, or `live/{full name}[?userid=]`.
fn push_path(url: &StreamUrl, query: &Query, only_app: Option<u32>) -> Result<StreamPath, Fault> {
    let name = percent_decode(&url.name);
    match url.app.as_str() {
        APP_LIVE => StreamPath::parse(&name, query.value("userid")).ok_or_else(|| {
            Fault::with(Code::NotFound, "the stream's name is not {sdkAppID}_{roomID}_{userID}_{main or aux}")
        }),
        APP_PUSH => {
            let user = query.value("userid").filter(|user| is_user_id(user));
            let stream = query.value("stream").map_or(Some(StreamName::Main), StreamName::from_text);
            Ok(StreamPath {
                sdk_app_id: sdk_app_id(query, only_app)?,
                room: RoomName::from_text(&name).ok_or_else(|| Fault::field("roomID", "a room's name"))?,
                user: user.ok_or_else(|| Fault::field("userid", "a userID in the query"))?.to_owned(),
                stream: stream.ok_or_else(|| Fault::field("stream", "main or aux"))?,
            })
        }
        _ => Err(Fault::with(Code::NotFound, "push to /push/{roomID} or /live/{stream}")),
    }
}

/// The app that a query names, or the only one there is.
pub(super) fn sdk_app_id(query: &Query, only_app: Option<u32>) -> Result<u32, Fault> {
    match query.value("sdkappid") {
        Some(text) => match strict_decimal(text).and_then(|id| u32::try_from(id).ok()) {
            Some(id) => Ok(id),
            None => Err(Code::UnknownApp.into()),
        },
        None => only_app.ok_or_else(|| Code::UnknownApp.into()),
    }
}

/// What a query shows: a userSig before a signature, if it has both.
fn credential<'a>(query: &'a Query, full_name: &'a str) -> Credential<'a> {
    if let Some(user_sig) = query.value("usersig") {
        return Credential::Ticket { user_sig, private_map_key: query.value("privatemapkey") };
    }
    match (query.value("txsecret"), query.value("txtime")) {
        (None, None) => Credential::None,
        (secret, time) => Credential::Url(UrlSignature {
            stream: full_name,
            secret: secret.unwrap_or_default(),
            time: time.unwrap_or_default(),
        }),
    }
}
