//! `publish`: an offer of what the member sends; answered with our description. Sent again it renegotiates.

use std::collections::BTreeMap;

use media::{MemberId, StreamId, command::PublishTrack};
use serde::Serialize;

use super::Answered;
use crate::{
    auth::authorise::Privilege,
    code::{Code, Fault},
    config::Limits,
    fields::Fields,
    member::Role,
    name::StreamName,
    offer,
    room::{Action, Output, Room},
};

/// Bytes of an `a=mid` value.
const MID_BYTES_MAX: usize = 16;

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Publish {
    /// The offer.
    pub sdp: String,
    pub tracks: Vec<TrackOf>,
}

/// Which stream an m-line belongs to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct TrackOf {
    pub mid: String,
    pub stream: StreamName,
}

impl Publish {
    pub fn read(fields: &Fields<'_>, limits: &Limits) -> Result<Publish, Fault> {
        let track = |track: Fields<'_>| {
            Ok(TrackOf { mid: track.text("mid", MID_BYTES_MAX)?.to_owned(), stream: track.stream("stream")? })
        };
        Ok(Publish {
            sdp: fields.text("sdp", limits.sdp_bytes)?.to_owned(),
            tracks: fields
                .objects("tracks", limits.tracks_per_publish)?
                .into_iter()
                .map(track)
                .collect::<Result<_, Fault>>()?,
        })
    }

    pub(super) fn apply(self, room: &mut Room, member: MemberId, id: u64, out: &mut Vec<Output>) -> Answered {
        let m = room.members.get(&member).ok_or(Code::NotEntered)?;
        if m.who.role == Role::Audience {
            return Err(Code::RoleMayNotPublish.into());
        }
        if m.up.busy {
            return Err(Code::PublishPending.into());
        }
        let lines = offer::media_lines(&self.sdp);
        for track in &self.tracks {
            let line = lines.iter().find(|line| line.mid == track.mid);
            let line = line.ok_or_else(|| Fault::field("tracks", "m-lines of the offer"))?;
            if let Some(kind) = line.kind.filter(|_| line.sends) {
                m.who.privilege.require(Privilege::to_send(track.stream, kind))?;
            }
        }
        room.check_publishers(Some(member))?;

        let mut streams: BTreeMap<StreamName, StreamId> = m.streams.iter().map(|(name, s)| (*name, s.id)).collect();
        let ids = room.ids.clone();
        let tracks = self.tracks.into_iter().map(|track| {
            let stream = *streams.entry(track.stream).or_insert_with(|| ids.stream());
            PublishTrack { mid: track.mid, stream }
        });
        let tracks = tracks.collect();
        let m = room.members.get_mut(&member).ok_or(Code::NotEntered)?;
        m.up.busy = true;
        m.up.pending = streams;
        let transport = m.up.transport;
        out.push(Output::Media(Action::Publish { member, request: id, transport, offer: self.sdp, tracks }));
        Ok(None)
    }
}
