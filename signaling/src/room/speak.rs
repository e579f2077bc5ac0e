//! Who speaks.

use media::{MemberId, command::Speaker};

use super::{Output, Room};
use crate::message::{Event, SpeakerInfo};

impl Room {
    /// Media hears these now, the loudest first. All members are told, those who speak too.
    pub fn speak(&mut self, speakers: Vec<Speaker>, out: &mut Vec<Output>) {
        self.speakers = Some(speakers);
        out.push(Output::Passing { to: None, event: Event::Speakers { speakers: self.speaker_infos() } });
    }

    /// Tells one member who speaks: he may have missed the last word about it.
    pub fn tell_speakers(&self, to: MemberId, out: &mut Vec<Output>) {
        if self.speakers.is_some() {
            out.push(Output::Passing { to: Some(to), event: Event::Speakers { speakers: self.speaker_infos() } });
        }
    }

    /// Who speaks, by name. A stream that ended does not, though media may not have said so yet.
    pub(super) fn speaker_infos(&self) -> Vec<SpeakerInfo> {
        let info = |speaker: &Speaker| {
            let (user, stream) = self.name_of(speaker.stream)?;
            Some(SpeakerInfo { user, stream, level: -i16::from(speaker.dbov) })
        };
        self.speakers.iter().flatten().filter_map(info).collect()
    }
}
