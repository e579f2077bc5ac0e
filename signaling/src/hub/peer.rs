//! One *down* transport for each member who is watched, for wires whose clients hold a connection per peer. Each is a player of
//! the room, as WHEP's are: it ends with the stream it began with.

use std::{net::IpAddr, time::Instant};

use media::{Command, Kind, RoomId, StreamId, TransportId, command::Wanted};

use super::{Hub, Seat};
use crate::{
    auth::authorise::Privilege,
    code::{Code, Fault},
    name::StreamName,
};

/// Which media of a peer are wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PeerWish {
    pub audio: bool,
    pub video: bool,
    /// His screen's picture.
    pub screen: bool,
}

impl PeerWish {
    pub const ALL: PeerWish = PeerWish { audio: true, video: true, screen: true };
}

/// Our description for a connection that carries what one member publishes.
#[derive(Clone, Debug)]
pub struct PeerSdp {
    pub transport: TransportId,
    /// An offer or an answer, by what was asked for.
    pub sdp: String,
    /// The `a=msid` labels of his streams.
    pub main: Option<String>,
    pub aux: Option<String>,
}

/// What a connection to a peer is to carry, and under which conditions.
struct Prepared {
    room: RoomId,
    wanted: Vec<Wanted>,
    /// The stream with which it ends.
    owner: StreamId,
    main: Option<String>,
    aux: Option<String>,
    reached_at: Option<IpAddr>,
    until: Option<Instant>,
}

impl Hub {
    /// Offers what `user` publishes, over a new transport or over one of before.
    ///
    /// # Errors
    /// [`Code::NoSuchStream`] if he publishes nothing that the member of this seat may have, [`Code::PlayersFull`] if the room
    /// has as many of these connections as it may.
    pub(crate) async fn offer_peer(
        &self,
        seat: &Seat,
        user: &str,
        transport: Option<TransportId>,
        wish: PeerWish,
    ) -> Result<PeerSdp, Fault> {
        let prepared = self.prepare_peer(seat, user, None, wish, transport.is_none())?;
        let Prepared { room, wanted, owner, main, aux, reached_at, until } = prepared;
        let command = |reply| Command::Subscribe { room, transport, wanted, reached_at, restart_ice: false, reply };
        let offer = self.0.ask(command).await?;
        if transport.is_none() {
            self.peer_started(seat, offer.transport, owner, until)?;
        }
        Ok(PeerSdp { transport: offer.transport, sdp: offer.offer, main, aux })
    }

    /// Answers a client's offer to receive what `user` publishes, or one stream of it.
    ///
    /// # Errors
    /// Those of [`Hub::offer_peer`], and what media has against the offer.
    pub(crate) async fn play_peer(
        &self,
        seat: &Seat,
        user: &str,
        only: Option<StreamName>,
        offer: String,
    ) -> Result<PeerSdp, Fault> {
        let prepared = self.prepare_peer(seat, user, only, PeerWish::ALL, true)?;
        let Prepared { room, wanted, owner, main, aux, reached_at, until } = prepared;
        let answer = self.0.ask(|reply| Command::Play { room, offer, wanted, reached_at, reply }).await?;
        self.peer_started(seat, answer.transport, owner, until)?;
        Ok(PeerSdp { transport: answer.transport, sdp: answer.answer, main, aux })
    }

    fn prepare_peer(
        &self,
        seat: &Seat,
        user: &str,
        only: Option<StreamName>,
        wish: PeerWish,
        is_new: bool,
    ) -> Result<Prepared, Fault> {
        let prepared = self.0.with_seat(seat, |cell, _| {
            let room = &cell.room;
            let who = room.members.get(&seat.member).map(|m| &m.who).ok_or(Code::NotEntered)?;
            if is_new {
                room.check_players()?;
            }
            let stream = |name| {
                let meant = only.is_none_or(|only| only == name);
                room.stream_of(user, name).filter(|stream| meant && stream.is_announced())
            };
            let may = |name, kind| who.privilege.contains(Privilege::to_receive(name, kind));
            let (main, aux) = (stream(StreamName::Main), stream(StreamName::Aux));
            // A stream that there is not keeps the other's place.
            let none = Wanted { stream: StreamId(0), audio: false, video: false };
            let main_wanted = main.map_or(none, |stream| Wanted {
                stream: stream.id,
                audio: wish.audio && stream.audio.is_some() && may(StreamName::Main, Kind::Audio),
                video: wish.video && stream.video.is_some() && may(StreamName::Main, Kind::Video),
            });
            let aux_wanted = aux.map_or(none, |stream| Wanted {
                stream: stream.id,
                // Clients know one sound of a connection: that of the screen only if there is no other.
                audio: wish.audio && main.is_none() && stream.audio.is_some() && may(StreamName::Aux, Kind::Audio),
                video: wish.screen && stream.video.is_some() && may(StreamName::Aux, Kind::Video),
            });
            let wanted = vec![main_wanted, aux_wanted];
            if is_new && !wanted.iter().any(|one| one.audio || one.video) {
                return Err(Fault::from(Code::NoSuchStream));
            }
            let label = |stream: Option<&crate::member::Stream>| stream.map(|stream| stream.id.to_string());
            Ok(Prepared {
                room: room.id,
                wanted,
                owner: main.or(aux).map(|stream| stream.id).ok_or(Code::NoSuchStream)?,
                main: label(main),
                aux: label(aux),
                reached_at: who.reached_at,
                until: who.until,
            })
        });
        prepared.ok_or(Code::NotEntered)?
    }

    /// The room counts the transport, and ends it with the stream, or with the member's rights.
    fn peer_started(
        &self,
        seat: &Seat,
        transport: TransportId,
        owner: StreamId,
        until: Option<Instant>,
    ) -> Result<(), Fault> {
        self.0.with_cell(&seat.cell, |cell, out| {
            // If he left meanwhile, it is as if the stream had ended.
            let is_here = cell.room.members.contains_key(&seat.member);
            let owner = if is_here { owner } else { StreamId(0) };
            cell.room.player_started(transport, owner, until, out)
        })
    }

    /// Takes the client's answer to the newest offer of this transport.
    pub(crate) async fn answer_peer(&self, transport: TransportId, answer: String) -> Result<(), Fault> {
        self.0.ask(|reply| Command::SubscribeAnswer { transport, answer, reply }).await
    }

    /// Ends a transport of [`Hub::offer_peer`] or [`Hub::play_peer`]. Nothing happens if it is gone.
    pub(crate) fn close_peer(&self, seat: &Seat, transport: TransportId) {
        self.0.with_cell(&seat.cell, |cell, out| cell.room.end_session(transport, out));
    }
}
