//! Which tracks are copied to which shards beside their own: made with the first viewer there, gone a while after the last.

use std::{
    collections::{HashMap, HashSet},
    time::{Duration, Instant},
};

use crate::ids::{RoomId, StreamId, TrackId};

/// A track on a shard that is not its own.
pub type Place = (TrackId, usize);

#[derive(Debug)]
struct Copy {
    room: RoomId,
    idle_since: Option<Instant>,
}

/// All copies of the server.
#[derive(Debug)]
pub struct Copies {
    by_place: HashMap<Place, Copy>,
    /// A copy that nobody watches is kept for this long.
    linger: Duration,
}

impl Copies {
    pub fn new(linger: Duration) -> Self {
        Copies { by_place: HashMap::new(), linger }
    }

    /// Notes a viewer; true if the copy is to be made.
    pub fn watch(&mut self, room: RoomId, place: Place) -> bool {
        match self.by_place.get_mut(&place) {
            Some(copy) => {
                copy.idle_since = None;
                false
            }
            None => self.by_place.insert(place, Copy { room, idle_since: None }).is_none(),
        }
    }

    /// The shards that hold copies of a room's tracks.
    pub fn shards_of(&self, room: RoomId) -> Vec<usize> {
        let mut shards: Vec<usize> =
            self.by_place.iter().filter(|(_, copy)| copy.room == room).map(|((_, shard), _)| *shard).collect();
        shards.sort_unstable();
        shards.dedup();
        shards
    }

    /// The tracks that are copied, one entry for each copy.
    pub fn tracks(&self) -> impl Iterator<Item = TrackId> {
        self.by_place.keys().map(|(track, _)| *track)
    }

    /// The shards that hold a copy of a track.
    pub fn shards_with(&self, track: TrackId) -> impl Iterator<Item = usize> {
        self.by_place.keys().filter(move |(of, _)| *of == track).map(|(_, shard)| *shard)
    }

    /// Takes out the copies of a stream.
    pub fn remove_stream(&mut self, stream: StreamId) -> Vec<(RoomId, Place)> {
        self.remove_where(|(track, _), _| track.stream == stream)
    }

    /// Takes out the copies of a track.
    pub fn remove_track(&mut self, track: TrackId) -> Vec<(RoomId, Place)> {
        self.remove_where(|(of, _), _| *of == track)
    }

    pub fn remove_room(&mut self, room: RoomId) {
        self.by_place.retain(|_, copy| copy.room != room);
    }

    /// Takes out the copies that nobody has watched for long enough. `watched`: what is watched now.
    pub fn tidy(&mut self, now: Instant, watched: &HashSet<Place>) -> Vec<(RoomId, Place)> {
        let linger = self.linger;
        self.remove_where(|place, copy| {
            if watched.contains(place) {
                copy.idle_since = None;
                return false;
            }
            now.duration_since(*copy.idle_since.get_or_insert(now)) >= linger
        })
    }

    pub fn is_empty(&self) -> bool {
        self.by_place.is_empty()
    }

    fn remove_where(&mut self, mut gone: impl FnMut(&Place, &mut Copy) -> bool) -> Vec<(RoomId, Place)> {
        let mut removed = Vec::new();
        self.by_place.retain(|place, copy| {
            let gone = gone(place, copy);
            if gone {
                removed.push((copy.room, *place));
            }
            !gone
        });
        removed
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::Kind;

    const ROOM: RoomId = RoomId(7);

    fn track(stream: u64, kind: Kind) -> TrackId {
        TrackId { stream: StreamId(stream), kind }
    }

    #[test]
    fn a_copy_is_made_once_and_goes_a_while_after_its_last_viewer() {
        let start = Instant::now();
        let mut copies = Copies::new(Duration::from_secs(5));
        let place = (track(1, Kind::Video), 2);
        assert!(copies.watch(ROOM, place));
        assert!(!copies.watch(ROOM, place));
        assert_eq!(copies.shards_of(ROOM), [2]);
        let at = |seconds| start + Duration::from_secs(seconds);
        assert!(copies.tidy(at(100), &HashSet::from([place])).is_empty());
        assert!(copies.tidy(at(200), &HashSet::new()).is_empty(), "the wait begins when its end is seen");
        assert!(copies.tidy(at(204), &HashSet::new()).is_empty());
        assert!(!copies.watch(ROOM, place), "a viewer who comes again finds it");
        assert!(copies.tidy(at(206), &HashSet::new()).is_empty());
        assert_eq!(copies.tidy(at(211), &HashSet::new()), [(ROOM, place)]);
        assert!(copies.is_empty());
    }

    #[test]
    fn the_copies_of_a_stream_go_with_it_and_no_others() {
        let mut copies = Copies::new(Duration::ZERO);
        for (stream, kind, shard) in
            [(1, Kind::Audio, 1), (1, Kind::Video, 1), (1, Kind::Video, 2), (2, Kind::Video, 1)]
        {
            copies.watch(ROOM, (track(stream, kind), shard));
        }
        let mut shards: Vec<usize> = copies.shards_with(track(1, Kind::Video)).collect();
        shards.sort_unstable();
        assert_eq!(shards, [1, 2]);
        assert_eq!(copies.remove_track(track(1, Kind::Audio)).len(), 1);
        assert_eq!(copies.remove_stream(StreamId(1)).len(), 2);
        assert_eq!(copies.tracks().count(), 1);
        copies.remove_room(ROOM);
        assert!(copies.is_empty());
    }
}
