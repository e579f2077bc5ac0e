//! One WebRTC player: counts packets and gaps, times the first picture and the delay, reports back as a browser would.

use std::{rc::Rc, time::Duration};

use media::{
    codec::Codec,
    ids::Kind,
    rtp::{
        packet::Header,
        rtcp::{self, ReportBlock, Rtcp},
    },
    sdp::client::{ClientMedia, offer_play},
    units::{
        seq::Unwrap16,
        time::{Ntp, Time},
    },
};
use tokio::{sync::watch, time::Instant};

use super::{
    LoadError,
    http::Url,
    play::Seat,
    rtc::{Arrival, Client, Common, Proposal},
};

/// Receiver reports, and key frame requests as long as there is no picture.
const REPORT_INTERVAL: Duration = Duration::from_secs(1);
/// What cannot be a delay: the clocks are not the same, or the reports speak of something else.
const DELAY_US_MAX: i64 = 10_000_000;

/// Plays until told to stop.
pub async fn play(
    seat: &Seat,
    common: Rc<Common>,
    url: &Url,
    token: Option<&str>,
    mut stopped: watch::Receiver<bool>,
) -> Result<(), LoadError> {
    let proposal = Proposal::new(&common);
    let offer = offer_play(&proposal.local);
    let mut client = Client::agree(common.clone(), url, token, proposal, offer).await?;
    let mut tracks = Tracks::new(&client.negotiated.media);
    let outcome = tokio::select! {
        outcome = receive(seat, &common, &mut client, &mut tracks) => outcome,
        _ = stopped.wait_for(|stopped| *stopped) => Ok(()),
    };
    client.close().await;
    outcome
}

async fn receive(seat: &Seat, common: &Common, client: &mut Client, tracks: &mut Tracks) -> Result<(), LoadError> {
    client.look_after()?;
    let mut report_at = Instant::now() + REPORT_INTERVAL;
    loop {
        let mut connected = false;
        let in_time = client
            .receive(report_at, |now, arrival| match arrival {
                Arrival::Connected => connected = true,
                Arrival::Rtp(packet) => tracks.rtp(seat, common.ntp(now), packet),
                Arrival::Rtcp(packet) => tracks.rtcp(now, packet),
            })
            .await?;
        if seat.is_overdue() {
            let text = if client.is_connected() { "connected, but no media came" } else { "no connection" };
            return Err(LoadError::new(text));
        }
        if connected || !in_time || Instant::now() >= report_at {
            client.look_after()?;
            if client.is_connected() && (connected || Instant::now() >= report_at) {
                let report = tracks.report(common.now(), seat.has_first_frame());
                client.send_rtcp(&report);
                report_at = Instant::now() + REPORT_INTERVAL;
            }
        }
    }
}

/// The tracks of one player.
struct Tracks {
    /// What we sign reports with.
    ssrc: u32,
    tracks: Vec<Track>,
    has_video: bool,
}

struct Track {
    kind: Kind,
    codec: Codec,
    payload_type: u8,
    /// Of the answer, or of the first packet with our payload type.
    ssrc: Option<u32>,
    seq: Unwrap16,
    first_seq: Option<u64>,
    received: u64,
    /// Expected and received that the board knows already.
    told: (u64, u64),
    /// Expected and received at the last report.
    reported: (u64, u64),
    last_report: Option<(Ntp, u32, Time)>,
    frame: FirstFrame,
}

/// How much of the first key frame has come.
enum FirstFrame {
    Waiting,
    /// The next packet of it has this number.
    Inside(u64),
}

impl Tracks {
    fn new(media: &[ClientMedia]) -> Tracks {
        let tracks: Vec<Track> = media
            .iter()
            .map(|media| Track {
                kind: media.kind,
                codec: media.format.codec,
                payload_type: media.format.payload_type,
                ssrc: media.ssrc,
                seq: Unwrap16::default(),
                first_seq: None,
                received: 0,
                told: (0, 0),
                reported: (0, 0),
                last_report: None,
                frame: FirstFrame::Waiting,
            })
            .collect();
        let has_video = tracks.iter().any(|track| track.kind == Kind::Video);
        Tracks { ssrc: std::process::id().wrapping_mul(2_654_435_761) | 1, tracks, has_video }
    }

    fn rtp(&mut self, seat: &Seat, now: Ntp, packet: &[u8]) {
        let Ok(header) = Header::parse(packet) else { return };
        seat.packet(packet.len());
        let has_video = self.has_video;
        let track = self.tracks.iter_mut().find(|track| match track.ssrc {
            Some(ssrc) => ssrc == header.ssrc,
            None => track.payload_type == header.payload_type,
        });
        // Retransmissions have another SSRC; they are packets, but of no sequence of ours.
        let Some(track) = track else { return };
        track.ssrc = Some(header.ssrc);
        let seq = track.seq.extend(header.seq);
        track.first_seq.get_or_insert(seq);
        track.received += 1;
        let (expected, received) = (track.expected(), track.received);
        seat.sequence(expected - track.told.0, received - track.told.1);
        track.told = (expected, received);
        if track.kind == Kind::Audio {
            if !has_video {
                seat.first_frame();
            }
            return;
        }
        if !seat.has_first_frame() {
            track.follow_first_frame(seat, seq, &header, packet);
        }
        if header.marker
            && let Some(us) = track.delay_us(now, header.timestamp)
        {
            seat.delay(us);
        }
    }

    fn rtcp(&mut self, now: Time, packet: &[u8]) {
        for packet in rtcp::packets(packet).flatten() {
            if let Rtcp::SenderReport(report) = packet
                && let Some(track) = self.tracks.iter_mut().find(|track| track.ssrc == Some(report.ssrc))
            {
                track.last_report = Some((report.ntp, report.rtp_timestamp, now));
            }
        }
    }

    /// A receiver report for all tracks, and a key frame request if the picture is still missing.
    fn report(&mut self, now: Time, has_first_frame: bool) -> Vec<u8> {
        let mut out = Vec::with_capacity(128);
        let ssrc = self.ssrc;
        let blocks: Vec<ReportBlock> = self.tracks.iter_mut().filter_map(|track| track.report_block(now)).collect();
        rtcp::write_receiver_report(&mut out, ssrc, &blocks);
        if !has_first_frame {
            for video in self.tracks.iter().filter(|track| track.kind == Kind::Video).filter_map(|track| track.ssrc) {
                rtcp::write_pli(&mut out, ssrc, video);
            }
        }
        out
    }
}

impl Track {
    fn expected(&self) -> u64 {
        match (self.first_seq, self.seq.highest()) {
            // A packet from before the first one is received without having been expected; it evens out below zero.
            (Some(first), Some(highest)) => highest - first.min(highest) + 1,
            _ => 0,
        }
    }

    fn follow_first_frame(&mut self, seat: &Seat, seq: u64, header: &Header, packet: &[u8]) {
        let payload = self.codec.inspect(header.payload(packet));
        let inside = match self.frame {
            FirstFrame::Inside(next) => next == seq,
            FirstFrame::Waiting => payload.key,
        };
        self.frame = if inside { FirstFrame::Inside(seq + 1) } else { FirstFrame::Waiting };
        if inside && header.marker {
            seat.first_frame();
        }
    }

    /// How long ago, by the sender's reports, what has just arrived was taken.
    fn delay_us(&self, now: Ntp, timestamp: u32) -> Option<u64> {
        let (ntp, reported, _) = self.last_report?;
        let units = i64::from(timestamp.wrapping_sub(reported) as i32);
        let taken = ntp.offset_micros(units * 1_000_000 / i64::from(self.codec.clock_rate()));
        let us = now.as_micros() as i64 - taken.as_micros() as i64;
        // A millisecond of rounding on either side is no different clock.
        (-1_000..=DELAY_US_MAX).contains(&us).then_some(us.max(0) as u64)
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
            last_sr: self.last_report.map_or(0, |(ntp, ..)| ntp.middle()),
            delay_since_last_sr: self.last_report.map_or(0, |(.., at)| since(at)),
        })
    }
}
