//! WHIP and WHEP: publishing and playing without a signaling connection. The session's URL is all that stays, and whoever
//! knows it may end the session; so its name cannot be guessed.

use std::{
    net::IpAddr,
    sync::{Arc, Mutex, Weak},
    time::Instant,
};

use aws_lc_rs::rand;
use media::{
    Command, TransportId,
    command::{PublishTrack, Wanted},
};
use tracing::info;

use super::{Cell, Hub, Inner, rights::instant_of, url::sdk_app_id};
use crate::{
    auth::{
        authorise::{Credential, Grant, Presented, Privilege, Purpose},
        url::Query,
    },
    code::{Code, Fault},
    member::{Newcomer, Protocol, Role},
    message::OkBody,
    name::{DISPLAY_NAME_BYTES_MAX, RoomName, StreamName, has_control},
    offer,
};

/// Bytes of randomness in a name that cannot be guessed: a session's, or a member's resume token.
const RANDOM_NAME_BYTES: usize = 16;

/// Which of the two it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SessionKind {
    Whip,
    Whep,
}

/// What a WHIP client asks.
#[derive(Clone)]
pub struct PublishOffer {
    pub room: RoomName,
    /// Who publishes.
    pub user: String,
    /// The URL's query: `sdkappid`, `privatemapkey`, `name`, `stream` (main or aux).
    pub query: String,
    /// From `Authorization: Bearer`.
    pub user_sig: Option<String>,
    pub sdp: String,
    pub remote: Option<IpAddr>,
    pub reached_at: Option<IpAddr>,
}

/// What a WHEP client asks: the same, with `play` (a userID) or `stream` (`{userID}_{main or aux}`) in the query to say
/// whom; without, whoever published first.
pub type PlayOffer = PublishOffer;

/// A session that began.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionOpened {
    /// The last part of the session's URL.
    pub name: String,
    /// Our description.
    pub sdp: String,
    /// The entity tag of the session's ICE generation, in quotes.
    pub tag: String,
}

pub(super) struct Session {
    kind: SessionKind,
    cell: Weak<Mutex<Cell>>,
    transport: TransportId,
    /// The client's newest; a fragment with another one wants an ICE restart.
    ice_ufrag: Option<String>,
    /// ICE restarts so far.
    generation: u32,
}

/// What a fragment is about, as its sender says by `If-Match` (RFC 9725 §4.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trickle<'a> {
    /// The session as it is; what its fragment holds decides.
    Any,
    /// The session of this entity tag.
    Tag(&'a str),
    /// An ICE restart.
    Restart,
}

/// What became of a fragment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trickled {
    /// Nothing else is to be done.
    Taken,
    /// ICE was restarted: our fragment, and the session's new entity tag.
    Restarted { fragment: String, tag: String },
}

impl Hub {
    /// Begins a WHIP session: the user enters the room and publishes. Carries on to the end even if nobody waits for it.
    pub async fn open_publish(&self, offer: PublishOffer) -> Result<SessionOpened, Fault> {
        let hub = self.clone();
        // A client that hangs up in the middle drops this future; the work must still come to an end.
        let work = tokio::spawn(async move { hub.publish(offer).await });
        work.await.unwrap_or_else(|_| Err(Code::MediaUnavailable.into()))
    }

    /// Begins a WHEP session: one stream of the room is played. Players are not members. Carries on like the other.
    pub async fn open_play(&self, offer: PlayOffer) -> Result<SessionOpened, Fault> {
        let hub = self.clone();
        let work = tokio::spawn(async move { hub.play(offer).await });
        work.await.unwrap_or_else(|_| Err(Code::MediaUnavailable.into()))
    }

    /// Ends a session.
    pub fn close_session(&self, kind: SessionKind, name: &str) -> Result<(), Code> {
        let (cell, transport) = self.0.session(kind, name, |session| (session.cell.clone(), session.transport))?;
        if let Some(cell) = cell.upgrade() {
            self.0.with_cell(&cell, |cell, out| cell.room.end_session(transport, out));
        }
        self.0.sessions.remove(name);
        Ok(())
    }

    /// Takes a fragment of a client. We are ICE-lite and learn its candidates from its checks, so there is nothing to do with
    /// those; a fragment of another ICE generation is a restart, whatever its sender calls it.
    ///
    /// # Errors
    /// [`Code::SessionNotFound`]; [`Code::SessionChanged`] if the session has another tag; [`Code::BadSdp`] if the credentials
    /// for a restart are missing or not valid.
    pub async fn trickle(
        &self,
        kind: SessionKind,
        name: &str,
        about: Trickle<'_>,
        fragment: &str,
        reached_at: Option<IpAddr>,
    ) -> Result<Trickled, Fault> {
        let ufrag = offer::ice_ufrag(fragment);
        let (transport, tag, known) = self.0.session(kind, name, |session| {
            let known = ufrag.is_none_or(|ufrag| session.ice_ufrag.as_deref() == Some(ufrag));
            (session.transport, tag(name, session.generation), known)
        })?;
        match about {
            Trickle::Tag(given) if given != tag => return Err(Code::SessionChanged.into()),
            Trickle::Tag(_) | Trickle::Any if known => return Ok(Trickled::Taken),
            _ => {}
        }
        let theirs = fragment.to_owned();
        let ours = self.0.ask(|reply| Command::RestartIce { transport, fragment: theirs, reached_at, reply }).await?;
        let mut session = self.0.sessions.get_mut(name).ok_or(Code::SessionNotFound)?;
        session.ice_ufrag = ufrag.map(str::to_owned);
        session.generation += 1;
        Ok(Trickled::Restarted { fragment: ours, tag: self::tag(name, session.generation) })
    }

    async fn publish(self, offer: PublishOffer) -> Result<SessionOpened, Fault> {
        let hub = &self.0;
        let query = Query::parse(&offer.query);
        let name = query.value("stream").map_or(Some(StreamName::Main), StreamName::from_text);
        let name = name.ok_or_else(|| Fault::field("stream", "main or aux"))?;
        let lines = offer::media_lines(&offer.sdp);
        let sent = lines.iter().filter(|line| line.sends).filter_map(|line| line.kind);
        let needed = sent.fold(Privilege::JOIN, |all, kind| all | Privilege::to_send(name, kind));
        let grant = hub.judge(&offer, &query, Purpose::Member, needed)?;
        let until = grant.ends_at_s.and_then(instant_of);
        let display = query.value("name").filter(|name| name.len() <= DISPLAY_NAME_BYTES_MAX && !has_control(name));
        let who = Newcomer {
            user: offer.user.clone(),
            name: display.map(str::to_owned),
            role: Role::Anchor,
            protocol: Protocol::Whip,
            privilege: grant.privilege,
            until,
            reached_at: offer.reached_at,
        };
        let entered = hub.in_room(&(grant.sdk_app_id, offer.room.clone()), |cell, out| {
            let (member, stream) = cell.room.enter_to_publish(who, name, out)?;
            Ok((cell.room.id, member, stream))
        });
        let ((room, member, stream), cell) = entered?;
        hub.watch_rights(&cell, until);

        // One stream only, so that it gets every m-line whatever its mid is.
        let tracks = vec![PublishTrack { mid: String::new(), stream }];
        let (sdp, reached_at) = (offer.sdp.clone(), offer.reached_at);
        let command = |reply| Command::Publish { room, transport: None, offer: sdp, tracks, reached_at, reply };
        let answer = hub.ask(command).await;
        let transport = answer.as_ref().map(|answer| answer.transport).ok();
        let result = hub.with_cell(&cell, |cell, out| {
            let result = cell.room.published(Instant::now(), member, answer, out);
            if result.is_err() {
                cell.room.publish_failed(member, out);
            }
            result
        });
        match (result?, transport) {
            (OkBody::Published { sdp }, Some(transport)) => {
                Ok(hub.add_session(SessionKind::Whip, &cell, transport, &offer.sdp, sdp))
            }
            _ => Err(Code::MediaUnavailable.into()),
        }
    }

    async fn play(self, offer: PlayOffer) -> Result<SessionOpened, Fault> {
        let hub = &self.0;
        let query = Query::parse(&offer.query);
        let (user, name) = match (query.value("play"), query.value("stream")) {
            (Some(user), _) => (Some(user), None),
            (None, Some(stream)) => {
                let parts = stream.rsplit_once('_').and_then(|(user, name)| Some((user, StreamName::from_text(name)?)));
                let (user, name) = parts.ok_or_else(|| Fault::field("stream", "{userID}_{main or aux}"))?;
                (Some(user), Some(name))
            }
            (None, None) => (None, None),
        };
        let grant = hub.judge(&offer, &query, Purpose::Watch, Privilege::JOIN)?;
        let (app, until) = (grant.sdk_app_id, grant.ends_at_s.and_then(instant_of));

        let cell = hub.rooms.get(&(app, offer.room.clone())).map(|cell| cell.clone()).ok_or(Code::NoSuchStream)?;
        let (room, playable) = hub.with_cell(&cell, |cell, _| {
            cell.room.check_players()?;
            let playable = cell.room.playable(user, name).ok_or(Code::NoSuchStream)?;
            Ok::<_, Fault>((cell.room.id, playable))
        })?;
        let received = offer::media_lines(&offer.sdp).into_iter().filter(|line| line.receives).filter_map(|l| l.kind);
        grant
            .privilege
            .require(received.fold(Privilege::NONE, |all, kind| all | Privilege::to_receive(playable.name, kind)))?;

        let wanted = vec![Wanted { stream: playable.stream, audio: playable.audio, video: playable.video }];
        let (sdp, reached_at) = (offer.sdp.clone(), offer.reached_at);
        let answer = hub.ask(|reply| Command::Play { room, offer: sdp, wanted, reached_at, reply }).await?;
        let transport = answer.transport;
        hub.with_cell(&cell, |cell, out| cell.room.player_started(transport, playable.stream, until, out))?;
        hub.watch_rights(&cell, until);
        info!(app, room = %offer.room, user = %offer.user, stream = %playable.stream, "player came");
        Ok(hub.add_session(SessionKind::Whep, &cell, transport, &offer.sdp, answer.answer))
    }
}

impl Inner {
    fn judge(&self, offer: &PublishOffer, query: &Query, purpose: Purpose, needed: Privilege) -> Result<Grant, Fault> {
        let credential = match &offer.user_sig {
            Some(user_sig) => Credential::Ticket { user_sig, private_map_key: query.value("privatemapkey") },
            None => Credential::None,
        };
        let shown = Presented {
            sdk_app_id: Some(sdk_app_id(query, self.only_app())?),
            user: &offer.user,
            room: &offer.room,
            credential,
            purpose,
        };
        Ok(self.authorise(offer.remote, &shown, needed)?)
    }

    fn add_session(
        &self,
        kind: SessionKind,
        cell: &Arc<Mutex<Cell>>,
        transport: TransportId,
        offer: &str,
        answer: String,
    ) -> SessionOpened {
        let name = random_name();
        let ice_ufrag = offer::ice_ufrag(offer).map(str::to_owned);
        let session = Session { kind, cell: Arc::downgrade(cell), transport, ice_ufrag, generation: 0 };
        self.sessions.insert(name.clone(), session);
        match self.by_transport.get_mut(&transport) {
            Some(mut route) => route.session = Some(name.clone()),
            // The transport is gone already; so is the session.
            None => drop(self.sessions.remove(&name)),
        }
        let tag = tag(&name, 0);
        SessionOpened { name, sdp: answer, tag }
    }

    fn session<T>(&self, kind: SessionKind, name: &str, f: impl FnOnce(&Session) -> T) -> Result<T, Code> {
        let session = self.sessions.get(name).filter(|session| session.kind == kind).ok_or(Code::SessionNotFound)?;
        Ok(f(&session))
    }
}

/// The entity tag of a session's ICE generation (RFC 9725 §4.3.1).
fn tag(session: &str, generation: u32) -> String {
    format!("\"{session}-{generation}\"")
}

/// A name that cannot be guessed.
pub(super) fn random_name() -> String {
    let mut bytes = [0; RANDOM_NAME_BYTES];
    rand::fill(&mut bytes).expect("the system's random source works once the process runs");
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
