//! The two playlists (RFC 8216bis): which encodings there are (one), and which segments and parts.

use std::fmt::Write as _;

use super::{
    Packager,
    packager::{Segment, Variant},
};

/// Players keep this many parts behind the end (RFC 8216bis §4.4.3.8 asks for two at least and recommends three).
const PART_HOLD_BACK: f64 = 3.0;

/// What a player knows already is left out of an update from so many times the longest segment before the end (RFC 8216bis
/// §4.4.3.8: six at least).
const SKIP_WINDOW: u32 = 6;

/// Parts are named up to this many times the longest segment from the end (RFC 8216bis §4.4.4.9).
const PART_WINDOW: i64 = 3;

/// A media playlist.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MediaPlaylist {
    pub text: String,
    /// Segments at its beginning that are only counted; none if it is whole.
    pub skipped: usize,
}

impl Packager {
    /// The multivariant playlist, which names the media playlist at `media`; `None` while there is nothing to play.
    pub fn multivariant(&self, media: &str) -> Option<String> {
        let Variant { codecs, size, peak_bps } = self.variant()?;
        let mut text = "#EXTM3U\n#EXT-X-VERSION:6\n".to_owned();
        let resolution = size.map(|(width, height)| format!(",RESOLUTION={width}x{height}")).unwrap_or_default();
        // A stream's first second may be an easy one.
        let bandwidth = peak_bps.max(64_000);
        writeln!(text, "#EXT-X-STREAM-INF:BANDWIDTH={bandwidth},CODECS=\"{codecs}\"{resolution}\n{media}").ok()?;
        Some(text)
    }

    /// The media playlist. Its addresses are relative: files stand beside it. `update`: for a player who has an earlier one, not
    /// older than half the skip boundary; what he knows by it may be left out (RFC 8216bis §6.2.5.1).
    pub fn media(&self, update: bool) -> MediaPlaylist {
        let skipped = if update { self.skippable() } else { 0 };
        let mut text = String::with_capacity(4096);
        // A `String` takes everything that is written to it.
        let _ = self.write_media(&mut text, skipped);
        MediaPlaylist { text, skipped }
    }

    /// None if the playlist is too short for updates ever.
    fn skip_boundary_us(&self) -> Option<i64> {
        let boundary_us = self.settings.segment.as_micros() as i64 * i64::from(SKIP_WINDOW);
        (self.settings.window > SKIP_WINDOW).then_some(boundary_us)
    }

    /// How many segments end before the skip boundary.
    fn skippable(&self) -> usize {
        let Some(boundary_us) = self.skip_boundary_us().filter(|_| !self.ended) else { return 0 };
        let listed = self.segments.iter().skip(self.unlisted);
        let mut from_end_us: i64 = listed.clone().map(Segment::duration_us).sum();
        let is_before = |segment: &&Segment| {
            from_end_us -= segment.duration_us();
            segment.complete && from_end_us > boundary_us
        };
        listed.take_while(is_before).count()
    }

    fn write_media(&self, text: &mut String, skipped: usize) -> std::fmt::Result {
        let segments: Vec<&Segment> = self.segments.iter().skip(self.unlisted).collect();
        let target_us = self.settings.segment.as_micros() as i64;
        // What is promised must not shrink; it grows only where a publisher without sound sends a picture now and then.
        let part_target = seconds(self.longest_part_us);
        let version = if skipped > 0 { 9 } else { 6 };
        writeln!(text, "#EXTM3U\n#EXT-X-VERSION:{version}")?;
        writeln!(text, "#EXT-X-TARGETDURATION:{}", self.settings.segment.as_secs().max(1))?;
        write!(text, "#EXT-X-SERVER-CONTROL:CAN-BLOCK-RELOAD=YES,PART-HOLD-BACK={:.3}", PART_HOLD_BACK * part_target)?;
        if let Some(boundary_us) = self.skip_boundary_us() {
            write!(text, ",CAN-SKIP-UNTIL={:.3}", seconds(boundary_us))?;
        }
        writeln!(text)?;
        writeln!(text, "#EXT-X-PART-INF:PART-TARGET={part_target:.3}")?;
        writeln!(text, "#EXT-X-MEDIA-SEQUENCE:{}", segments.first().map_or(0, |segment| segment.number))?;
        if self.discontinuities_gone > 0 {
            writeln!(text, "#EXT-X-DISCONTINUITY-SEQUENCE:{}", self.discontinuities_gone)?;
        }
        let mut from_end_us: i64 = segments.iter().map(|segment| segment.duration_us()).sum();
        // What is left out had said which one it needs, and the player remembers.
        let mut init = skipped.checked_sub(1).map(|last| segments[last].init);
        if skipped > 0 {
            writeln!(text, "#EXT-X-SKIP:SKIPPED-SEGMENTS={skipped}")?;
            from_end_us -= segments[..skipped].iter().map(|segment| segment.duration_us()).sum::<i64>();
        }
        for segment in &segments[skipped..] {
            if segment.discontinuity && (segment.complete || !segment.parts.is_empty()) {
                writeln!(text, "#EXT-X-DISCONTINUITY")?;
            }
            if init != Some(segment.init) && !segment.parts.is_empty() {
                init = Some(segment.init);
                writeln!(text, "#EXT-X-MAP:URI=\"init-{}.mp4\"", segment.init)?;
            }
            let number = segment.number;
            if from_end_us <= PART_WINDOW * target_us && !self.ended {
                for (index, part) in segment.parts.iter().enumerate() {
                    let independent = if part.independent { ",INDEPENDENT=YES" } else { "" };
                    let duration = seconds(part.duration_us);
                    writeln!(text, "#EXT-X-PART:DURATION={duration:.6},URI=\"{number}.{index}.m4s\"{independent}")?;
                }
            }
            from_end_us -= segment.duration_us();
            if segment.complete {
                writeln!(text, "#EXTINF:{:.6},\n{number}.m4s", seconds(segment.duration_us()))?;
            }
        }
        if self.ended {
            return writeln!(text, "#EXT-X-ENDLIST");
        }
        let (number, part) = match segments.last() {
            Some(segment) if !segment.complete => (segment.number, segment.parts.len()),
            Some(segment) => (segment.number + 1, 0),
            None => (0, 0),
        };
        writeln!(text, "#EXT-X-PRELOAD-HINT:TYPE=PART,URI=\"{number}.{part}.m4s\"")
    }
}

fn seconds(us: i64) -> f64 {
    us as f64 / 1e6
}
