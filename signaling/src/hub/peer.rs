//! One *down* transport for each member who is watched, for wires whose clients hold a connection per peer. Each is a player of
//! the room, as WHEP's are: it ends with the stream it began with.

use media::{Command, Kind, StreamId, TransportId, command::Wanted};

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

/// An offer of what one member publishes.
#[derive(Clone, Debug)]
pub struct PeerOffer {
    pub transport: TransportId,
    pub sdp: String,
    /// The `a=msid` labels of his streams.
    pub main: Option<String>,
    pub aux: Option<String>,
}

impl Hub {
    /// Offers what `user` publishes, over a new transport or over one of before.
    ///
    /// # Errors
    /// [`Code::NoSuchStream`] if he publishes nothing that the member of this seat may have.
    pub(crate) async fn offer_peer(
        &self,
        seat: &Seat,
        user: &str,
        transport: Option<TransportId>,
        wish: PeerWish,
    ) -> Result<PeerOffer, Fault> {
        let prepared = self.0.with_seat(seat, |cell, _| {
            let room = &cell.room;
            let who = room.members.get(&seat.member).map(|m| &m.who).ok_or(Code::NotEntered)?;
            if transport.is_none() {
                room.check_players()?;
            }
            let stream = |name| room.stream_of(user, name).filter(|stream| stream.is_announced());
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
                audio: false,
                video: wish.screen && stream.video.is_some() && may(StreamName::Aux, Kind::Video),
            });
            let wanted = vec![main_wanted, aux_wanted];
            if transport.is_none() && !wanted.iter().any(|one| one.audio || one.video) {
                return Err(Fault::from(Code::NoSuchStream));
            }
            let owner = main.or(aux).map(|stream| stream.id).ok_or(Code::NoSuchStream)?;
            let label = |stream: Option<&crate::member::Stream>| stream.map(|stream| stream.id.to_string());
            Ok((room.id, wanted, owner, label(main), label(aux), who.reached_at, who.until))
        });
        let (room, wanted, owner, main, aux, reached_at, until) = prepared.ok_or(Code::NotEntered)??;
        let command = |reply| Command::Subscribe { room, transport, wanted, reached_at, restart_ice: false, reply };
        let offer = self.0.ask(command).await?;
        if transport.is_none() {
            let started = self.0.with_cell(&seat.cell, |cell, out| {
                if !cell.room.members.contains_key(&seat.member) {
                    // He left meanwhile: as if the stream had ended.
                    return cell.room.player_started(offer.transport, StreamId(0), None, out);
                }
                cell.room.player_started(offer.transport, owner, until, out)
            });
            started?;
        }
        Ok(PeerOffer { transport: offer.transport, sdp: offer.offer, main, aux })
    }

    /// Takes the client's answer to the newest offer of this transport.
    pub(crate) async fn answer_peer(&self, transport: TransportId, answer: String) -> Result<(), Fault> {
        self.0.ask(|reply| Command::SubscribeAnswer { transport, answer, reply }).await
    }

    /// Ends a transport of [`Hub::offer_peer`]. Nothing happens if it is gone.
    pub(crate) fn close_peer(&self, seat: &Seat, transport: TransportId) {
        self.0.with_cell(&seat.cell, |cell, out| cell.room.end_session(transport, out));
    }
}
