//! A round of the clip as RTP payloads, made once: its pictures cut into packets and its AAC turned into Opus by the
//! server's own bridge. Any number of publishers then send the same bytes, which costs next to nothing.

use std::rc::Rc;

use media::{
    bridge::rtmp_to_room::RtmpToRoom,
    flv::TagKind,
    ids::Kind,
    rtp::packet::{Header, is_rtcp},
    units::time::{Time, WallClock},
};

use super::{
    LoadError,
    source::Footage,
    split::{Split, evenly},
    stamp,
};

/// Bit rate of the Opus that the clip's sound becomes.
const OPUS_BITRATE_BPS: u32 = 64_000;
/// Length of an Opus packet.
const SOUND_US: u64 = 20_000;
/// Ticks of the RTP clocks in a millisecond.
const VIDEO_TICKS_PER_MS: u64 = 90;
const AUDIO_TICKS_PER_MS: u64 = 48;

/// What all publishers send.
pub struct Reel {
    pictures: Vec<Picture>,
    sounds: Vec<Vec<u8>>,
    /// Between pictures.
    picture_us: u64,
}

struct Picture {
    key: bool,
    packets: Vec<Packet>,
}

struct Packet {
    marker: bool,
    payload: Vec<u8>,
    /// Where the time of sending goes.
    stamp_at: Option<usize>,
}

/// One publisher's place on the reel.
pub struct Cursor {
    reel: Rc<Reel>,
    pictures_sent: u64,
    sounds_sent: u64,
    /// Which picture is next; runs apart from the time, since a request for a key frame makes it jump.
    picture: usize,
    sound: usize,
}

/// A picture or sound that is to be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Next {
    /// Since the start.
    pub at_us: u64,
    pub kind: Kind,
    /// From zero on.
    pub timestamp: u32,
}

impl Reel {
    /// # Errors
    /// If the bridge makes no pictures of it.
    pub fn new(footage: &Footage, split: Split) -> Result<Reel, LoadError> {
        let mut bridge = RtmpToRoom::new(OPUS_BITRATE_BPS, WallClock::new(0));
        for tag in &footage.headers {
            bridge.handle_tag(Time::ZERO, tag, &mut |_, _| true);
        }
        let (mut pictures, mut sounds) = (Vec::new(), Vec::new());
        for tag in &footage.tags {
            let mut payloads = Vec::new();
            let now = Time::from_millis(u64::from(tag.timestamp_ms));
            bridge.handle_tag(now, tag, &mut |kind, packet| {
                if let (false, Ok(header)) = (is_rtcp(packet), Header::parse(packet)) {
                    let payload = header.payload(packet).to_vec();
                    match kind {
                        Kind::Audio => sounds.push(payload),
                        Kind::Video => payloads.push(payload),
                    }
                }
                true
            });
            if tag.kind == TagKind::Video {
                let payloads = if split == Split::Even { evenly(&payloads) } else { payloads };
                pictures.push(Picture { key: tag.key, packets: packets(payloads) });
            }
        }
        if pictures.iter().all(|picture| picture.packets.is_empty()) {
            return Err(LoadError::new("there are no pictures in the file that RTP can carry"));
        }
        let picture_us = footage.round_ms * 1000 / pictures.len() as u64;
        Ok(Reel { pictures, sounds, picture_us })
    }

    pub fn has_sound(&self) -> bool {
        !self.sounds.is_empty()
    }
}

fn packets(payloads: Vec<Vec<u8>>) -> Vec<Packet> {
    let last = payloads.len().saturating_sub(1);
    let packet = |(index, payload): (usize, Vec<u8>)| Packet {
        marker: index == last,
        stamp_at: stamp::position(&payload),
        payload,
    };
    payloads.into_iter().enumerate().map(packet).collect()
}

impl Cursor {
    /// Begins at the key frame at or behind the picture `start`, counted from any: publishers that begin at different ones
    /// do not send their key frames at the same moment.
    pub fn new(reel: Rc<Reel>, start: usize) -> Cursor {
        let mut cursor =
            Cursor { pictures_sent: 0, sounds_sent: 0, picture: start % reel.pictures.len(), sound: 0, reel };
        cursor.jump();
        cursor
    }

    /// Goes on with the nearest key frame ahead, as an encoder that was asked for one.
    pub fn jump(&mut self) {
        let count = self.reel.pictures.len();
        let ahead = (0..count).map(|step| (self.picture + step) % count);
        if let Some(key) = ahead.into_iter().find(|&at| self.reel.pictures.get(at).is_some_and(|picture| picture.key)) {
            self.picture = key;
        }
    }

    pub fn next(&self) -> Next {
        let picture_us = self.pictures_sent * self.reel.picture_us;
        let sound_us = self.sounds_sent * SOUND_US;
        if self.reel.has_sound() && sound_us < picture_us {
            let timestamp = (sound_us * AUDIO_TICKS_PER_MS / 1000) as u32;
            Next { at_us: sound_us, kind: Kind::Audio, timestamp }
        } else {
            let timestamp = (picture_us * VIDEO_TICKS_PER_MS / 1000) as u32;
            Next { at_us: picture_us, kind: Kind::Video, timestamp }
        }
    }

    /// How many packets [`next`](Self::next) has.
    pub fn len(&self) -> usize {
        match self.next().kind {
            Kind::Audio => 1,
            Kind::Video => self.reel.pictures.get(self.picture).map_or(0, |picture| picture.packets.len()),
        }
    }

    /// A packet of [`next`](Self::next): marker, payload, and where the time of sending goes.
    pub fn packet(&self, index: usize) -> Option<(bool, &[u8], Option<usize>)> {
        match self.next().kind {
            Kind::Audio => self.reel.sounds.get(self.sound).map(|sound| (false, &sound[..], None)),
            Kind::Video => {
                let packet = self.reel.pictures.get(self.picture)?.packets.get(index)?;
                Some((packet.marker, &packet.payload, packet.stamp_at))
            }
        }
    }

    /// What was [`next`](Self::next) is done.
    pub fn advance(&mut self) {
        match self.next().kind {
            Kind::Audio => {
                self.sounds_sent += 1;
                self.sound = (self.sound + 1) % self.reel.sounds.len().max(1);
            }
            Kind::Video => {
                self.pictures_sent += 1;
                self.picture = (self.picture + 1) % self.reel.pictures.len();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{super::clip::Clip, *};

    #[test]
    fn a_reel_has_every_picture_with_its_time_and_all_the_sound() {
        let footage = Footage::new(Clip::load(None).unwrap(), Some(1_350)).unwrap();
        let [even, reel] = [Split::Even, Split::ShortLast].map(|split| Rc::new(Reel::new(&footage, split).unwrap()));
        for reel in [&even, &reel] {
            assert_eq!((reel.pictures.len(), reel.picture_us), (400, 40_000));
            assert!((795..=805).contains(&reel.sounds.len()), "{}", reel.sounds.len());
            for picture in &reel.pictures {
                assert_eq!(picture.packets.iter().filter(|packet| packet.marker).count(), 1);
                assert_eq!(picture.packets.iter().filter(|packet| packet.stamp_at.is_some()).count(), 1);
            }
            // 1,350 kbit/s are about 150 packets a second.
            let packets: usize = reel.pictures.iter().map(|picture| picture.packets.len()).sum();
            assert!((130..=185).contains(&(packets / 16)), "{}", packets / 16);
        }

        let mut cursor = Cursor::new(reel.clone(), 0);
        let mut last = (0, 0);
        for _ in 0..3_000 {
            let next = cursor.next();
            assert!(next.at_us >= last.0);
            last = (next.at_us, next.timestamp);
            assert!(cursor.len() > 0 && cursor.packet(cursor.len() - 1).is_some() && cursor.packet(0).is_some());
            cursor.advance();
        }
        assert!(last.0 > 30_000_000);
        cursor.picture = 1;
        cursor.jump();
        assert!(cursor.picture > 1 && reel.pictures[cursor.picture].key);
    }
}
