//! What a WebRTC player hears: counts packets and gaps, times first pictures and delays, reports back as a browser would.

use std::{
    rc::Rc,
    time::{Duration, Instant},
};

use media::{
    codec::Codec,
    drop_reason::DropReason,
    ids::Kind,
    rtp::{
        packet::Header,
        rtcp::{self, ReportBlock, Rtcp},
    },
    sdp::client::ClientMedia,
    units::{
        seq::Unwrap16,
        time::{Ntp, Time},
    },
};

use super::{board::Seat, peer::Ear, stamp};

/// The tracks of one player.
pub struct Listener {
    seat: Rc<Seat>,
    /// The first packet says that the client is in.
    joins_by_media: bool,
    /// Open every packet, not only those up to the first picture.
    verifies: bool,
    /// What we sign reports with.
    ssrc: u32,
    tracks: Vec<Track>,
    has_video: bool,
    /// Tracks whose first picture is still missing.
    waiting: usize,
}

struct Track {
    kind: Kind,
    codec: Codec,
    payload_type: u8,
    /// Of the answer, or of the first packet with our payload type.
    ssrc: Option<u32>,
    since: Instant,
    seq: Unwrap16,
    first_seq: Option<u64>,
    received: u64,
    /// Expected and received that the board knows already.
    told: (u64, u64),
    /// Expected and received at the last report.
    reported: (u64, u64),
    last_report: Option<(Ntp, Time)>,
    frame: FirstFrame,
    /// RTP timestamp of the picture that is coming in, and when it was sent, if it says so.
    sent: Option<(u32, Option<u64>)>,
}

/// How much of the first key frame has come.
#[derive(Clone, Copy, PartialEq, Eq)]
enum FirstFrame {
    Waiting,
    /// The next packet of it has this number.
    Inside(u64),
    Seen,
}

impl Listener {
    pub fn new(seat: Rc<Seat>, joins_by_media: bool, verifies: bool) -> Listener {
        let ssrc = std::process::id().wrapping_mul(2_654_435_761) | 1;
        Listener { seat, joins_by_media, verifies, ssrc, tracks: Vec::new(), has_video: false, waiting: 0 }
    }

    /// What flows from now on. Tracks that go on keep their account.
    pub fn expect(&mut self, media: &[ClientMedia]) {
        let since = if self.joins_by_media { self.seat.began() } else { Instant::now() };
        let mut before = std::mem::take(&mut self.tracks);
        for media in media {
            let known = before.iter().position(|track| track.ssrc.is_some() && track.ssrc == media.ssrc);
            self.tracks.push(match known {
                Some(index) => before.swap_remove(index),
                None => Track::new(media, since),
            });
        }
        self.has_video = self.tracks.iter().any(|track| track.kind == Kind::Video);
        self.count_waiting();
    }

    fn count_waiting(&mut self) {
        let shown = if self.has_video { Kind::Video } else { Kind::Audio };
        self.waiting = self.tracks.iter().filter(|t| t.kind == shown && t.frame != FirstFrame::Seen).count();
    }
}

impl Ear for Listener {
    fn wants_plain(&self) -> bool {
        self.verifies || self.waiting > 0
    }

    fn rtp(&mut self, unix_us: u64, header: &Header, len: usize, plain: Result<Option<&[u8]>, DropReason>) {
        match plain {
            Ok(Some(_)) => self.seat.verified(true),
            Ok(None) => {}
            // Before the keys are there nothing can be opened, and nothing is wrong with it. A duplicate is no new packet.
            Err(DropReason::NoKeys | DropReason::SrtpReplay) => return,
            Err(_) => return self.seat.verified(false),
        }
        if self.joins_by_media && self.seat.is_waiting() {
            self.seat.join_before(ago(unix_us));
        }
        self.seat.packet(len);
        let track = self.tracks.iter_mut().find(|track| match track.ssrc {
            Some(ssrc) => ssrc == header.ssrc,
            None => track.payload_type == header.payload_type,
        });
        // Retransmissions have another SSRC; they are packets, but of no sequence of ours.
        let Some(track) = track else { return };
        track.ssrc = Some(header.ssrc);
        let (seq, reordered) = track.count(header.seq);
        let (expected, received) = (track.expected(), track.received);
        self.seat.sequence(expected - track.told.0, received - track.told.1, reordered);
        track.told = (expected, received);
        let Ok(Some(payload)) = plain else { return };
        if track.frame != FirstFrame::Seen && (track.kind == Kind::Video || !self.has_video) {
            track.follow_first_frame(seq, header, payload);
            if track.frame == FirstFrame::Seen {
                self.seat.first_frame(track.since, ago(unix_us));
                self.waiting -= 1;
            }
        }
        if track.kind == Kind::Video {
            // It says so once, at the beginning; behind parameter sets that is not the first packet.
            let known = track.sent.filter(|(timestamp, _)| *timestamp == header.timestamp);
            let sent_us = match known {
                Some((_, Some(sent_us))) => Some(sent_us),
                _ => stamp::read(payload),
            };
            track.sent = Some((header.timestamp, sent_us));
            // All packets of a picture are sent at once, and what counts is when the last one is here, not the first.
            if let Some(sent_us) = sent_us {
                self.seat.delay(sent_us, unix_us);
            }
        }
    }

    fn rtcp(&mut self, now: Time, compound: &[u8]) {
        for packet in rtcp::packets(compound).flatten() {
            if let Rtcp::SenderReport(report) = packet
                && let Some(track) = self.tracks.iter_mut().find(|track| track.ssrc == Some(report.ssrc))
            {
                track.last_report = Some((report.ntp, now));
            }
        }
    }

    /// A receiver report for all tracks, and key frame requests where the picture is still missing.
    fn report(&mut self, now: Time) -> Option<Vec<u8>> {
        let mut out = Vec::with_capacity(128);
        let ssrc = self.ssrc;
        let blocks: Vec<ReportBlock> = self.tracks.iter_mut().filter_map(|track| track.report_block(now)).collect();
        let mut blocks = blocks.chunks(31);
        rtcp::write_receiver_report(&mut out, ssrc, blocks.next().unwrap_or_default());
        blocks.for_each(|more| rtcp::write_receiver_report(&mut out, ssrc, more));
        for track in &self.tracks {
            if let (Kind::Video, Some(video), true) = (track.kind, track.ssrc, track.frame == FirstFrame::Waiting) {
                rtcp::write_pli(&mut out, ssrc, video);
            }
        }
        Some(out)
    }
}

/// How long a packet that came in at `unix_us` has waited to be looked at.
fn ago(unix_us: u64) -> Duration {
    Duration::from_micros(stamp::unix_us().saturating_sub(unix_us))
}

impl Track {
    fn new(media: &ClientMedia, since: Instant) -> Track {
        Track {
            kind: media.kind,
            codec: media.format.codec,
            payload_type: media.format.payload_type,
            ssrc: media.ssrc,
            since,
            seq: Unwrap16::default(),
            first_seq: None,
            received: 0,
            told: (0, 0),
            reported: (0, 0),
            last_report: None,
            frame: FirstFrame::Waiting,
            sent: None,
        }
    }

    /// The whole number of a packet, and whether one with a higher number came before it.
    fn count(&mut self, seq: u16) -> (u64, bool) {
        let highest = self.seq.highest();
        let seq = self.seq.extend(seq);
        let first = *self.first_seq.get_or_insert(seq);
        // What is older than the first packet was not expected either.
        if seq >= first {
            self.received += 1;
        }
        (seq, highest.is_some_and(|highest| seq < highest))
    }

    fn expected(&self) -> u64 {
        match (self.first_seq, self.seq.highest()) {
            (Some(first), Some(highest)) => highest - first.min(highest) + 1,
            _ => 0,
        }
    }

    fn follow_first_frame(&mut self, seq: u64, header: &Header, payload: &[u8]) {
        if self.kind == Kind::Audio {
            self.frame = FirstFrame::Seen;
            return;
        }
        let inside = match self.frame {
            FirstFrame::Inside(next) => next == seq,
            _ => self.codec.inspect(payload).key,
        };
        self.frame = match inside {
            true if header.marker => FirstFrame::Seen,
            true => FirstFrame::Inside(seq + 1),
            false => FirstFrame::Waiting,
        };
    }

    fn report_block(&mut self, now: Time) -> Option<ReportBlock> {
        let ssrc = self.ssrc.filter(|_| self.received > 0)?;
        let (expected, received) = (self.expected(), self.received);
        let (new, came) = (expected - self.reported.0, received - self.reported.1);
        self.reported = (expected, received);
        let fraction = (new.saturating_sub(came) * 256).checked_div(new).unwrap_or(0);
        let since = |at: Time| (now.since(at).as_micros() as u64 * 65_536 / 1_000_000) as u32;
        Some(ReportBlock {
            ssrc,
            fraction_lost: fraction.min(255) as u8,
            cumulative_lost: (expected as i64 - received as i64) as i32,
            // The unwrapper begins one wrap above zero.
            highest_seq: self.seq.highest().unwrap_or(0).wrapping_sub(0x1_0000) as u32,
            jitter: 0,
            last_sr: self.last_report.map_or(0, |(ntp, _)| ntp.middle()),
            delay_since_last_sr: self.last_report.map_or(0, |(_, at)| since(at)),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::{super::board::Board, *};
    use media::sdp::{Feedback, Format};

    fn media(kind: Kind, codec: Codec, ssrc: u32) -> ClientMedia {
        let format = Format {
            codec,
            payload_type: 100,
            rtx_payload_type: None,
            fmtp: String::new(),
            feedback: Feedback::default(),
        };
        let ext = media::rtp::ext::ExtIds::default();
        ClientMedia { mid: "0".to_owned(), kind, format, ssrc: Some(ssrc), rtx_ssrc: None, ext }
    }

    fn header(seq: u16, ssrc: u32, marker: bool) -> Header {
        Header {
            marker,
            payload_type: 100,
            seq,
            timestamp: 1,
            ssrc,
            payload_offset: 12,
            payload_len: 1,
            padding_len: 0,
            ext: None,
        }
    }

    #[test]
    fn gaps_are_lost_until_what_is_late_comes() {
        let board = Board::new();
        let mut listener = Listener::new(Seat::new(board.clone()), true, false);
        listener.expect(&[media(Kind::Audio, Codec::Opus, 7)]);
        assert!(listener.wants_plain());
        for seq in [65_534, 65_535, 2, 3] {
            listener.rtp(0, &header(seq, 7, false), 100, Ok(Some(&[0])));
        }
        assert!(!listener.wants_plain());
        assert_eq!((board.lost(), board.packets.get(), board.reordered.get()), (2, 4, 0));
        listener.rtp(0, &header(0, 7, false), 100, Ok(None));
        // Not of any track: counted, but of no sequence. Broken: not counted at all.
        listener.rtp(0, &header(9, 8, false), 100, Ok(None));
        listener.rtp(0, &header(9, 7, false), 100, Err(DropReason::Malformed));
        assert_eq!((board.lost(), board.packets.get(), board.reordered.get(), board.broken.get()), (1, 6, 1, 1));
        assert_eq!((board.joined.get(), board.pictured.get()), (1, 1));
    }

    #[test]
    fn a_new_offer_keeps_the_account_of_what_goes_on() {
        let board = Board::new();
        let mut listener = Listener::new(Seat::new(board.clone()), false, false);
        listener.expect(&[media(Kind::Audio, Codec::Opus, 7)]);
        listener.rtp(0, &header(1, 7, false), 100, Ok(Some(&[0])));
        listener.expect(&[media(Kind::Audio, Codec::Opus, 8), media(Kind::Audio, Codec::Opus, 7)]);
        listener.rtp(0, &header(3, 7, false), 100, Ok(Some(&[0])));
        assert_eq!((board.lost(), listener.waiting, board.joined.get()), (1, 1, 0));
    }
}
