//! Publishes by WebRTC: the packets of the reel in time, each picture as one burst, sender reports, and a key frame when one is asked for.

use std::{
    cell::{Cell, RefCell},
    collections::HashMap,
    future::Future,
    rc::Rc,
    time::Duration,
};

use media::{
    codec::Codec,
    drop_reason::DropReason,
    ids::Kind,
    rtp::{
        packet::{Header, NewHeader},
        rtcp::{self, ReportBlock, Rtcp, SenderInfo},
    },
    sdp::client::{ClientNegotiated, Offered, offer_publish, read_answer},
    units::time::Time,
};
use tokio::time::{Instant, sleep_until, timeout};

use super::{
    LoadError,
    http::{Resource, Url},
    peer::{Ear, Peer, Proposal},
    pool::Pool,
    publish::Sent,
    reel::{Cursor, Reel},
    stamp,
};

/// From the answer to the keys.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(20);
/// Sender reports.
const REPORT_INTERVAL: Duration = Duration::from_secs(1);
/// Shortest time between two key frames that were asked for; an encoder does not make more either.
const KEY_INTERVAL: Duration = Duration::from_millis(300);
/// Longest header that is written: no extension.
const HEADER_BYTES: usize = 12;
/// Longest payload that is sent.
const PAYLOAD_BYTES_MAX: usize = 1_400;
/// What a publisher offers.
pub const CODECS: [Codec; 2] = [Codec::Opus, Codec::H264];

/// Publishes by WHIP for `duration` from the moment that media can flow, or until `stopped`.
pub async fn publish(
    sent: &Rc<Sent>,
    pool: &Rc<Pool>,
    url: &Url,
    token: Option<&str>,
    cursor: Cursor,
    duration: Duration,
    stopped: impl Future<Output = ()>,
) -> Result<(), LoadError> {
    let proposal = Proposal::new(pool);
    let (offer, offered) = offer_publish(&proposal.local, "roomcast-load", &CODECS);
    let (answer, reached, resource) = Resource::create(url, token, offer).await?;
    let work = async {
        let negotiated =
            read_answer(&answer).map_err(|error| LoadError::new(format!("the server's answer: {error}")))?;
        let feedback = Rc::new(RefCell::new(Feedback::new(sent.clone(), &offered)));
        let peer = Peer::open(pool, proposal, &negotiated, reached.ip(), feedback.clone())?;
        let outs = Outs::new(&negotiated, &offered);
        let outcome = tokio::select! {
            outcome = send(sent, pool, &peer, outs, cursor, &feedback, Some(duration)) => outcome,
            error = peer.ended() => Err(error),
            () = stopped => Ok(()),
        };
        peer.close();
        outcome
    };
    let outcome = work.await;
    resource.delete().await;
    outcome
}

/// Sends until `duration` has passed, or without end.
pub async fn send(
    sent: &Sent,
    pool: &Pool,
    peer: &Peer,
    mut outs: Outs,
    mut cursor: Cursor,
    feedback: &RefCell<Feedback>,
    duration: Option<Duration>,
) -> Result<(), LoadError> {
    timeout(CONNECT_TIMEOUT, peer.connected()).await.map_err(|_| LoadError::new("no connection"))??;
    sent.ready.set(Some(std::time::Instant::now()));
    let start = Instant::now();
    let start_time = pool.now();
    let (mut report_at, mut key_at) = (start, start);
    loop {
        let next = cursor.next();
        let due = start + Duration::from_micros(next.at_us);
        if duration.is_some_and(|duration| due - start >= duration) {
            return Ok(());
        }
        sleep_until(due).await;
        if next.kind == Kind::Video && due >= key_at && std::mem::take(&mut feedback.borrow_mut().key_wanted) {
            cursor.jump();
            key_at = due + KEY_INTERVAL;
        }
        for index in 0..cursor.len() {
            if let Some(packet) = cursor.packet(index) {
                outs.queue(sent, peer, next.kind, next.timestamp, packet);
            }
        }
        // What the socket has no room for is lost, as on any network.
        peer.flush_rtp();
        cursor.advance();
        if due >= report_at {
            outs.report(pool, peer, start_time);
            report_at = due + REPORT_INTERVAL;
        }
    }
}

/// The tracks that the server took.
pub struct Outs(Vec<Out>);

struct Out {
    kind: Kind,
    payload_type: u8,
    ssrc: u32,
    seq: u16,
    /// Of the first packet.
    timestamp: u32,
    packets: u32,
    bytes: u32,
}

impl Outs {
    pub fn new(negotiated: &ClientNegotiated, offered: &[Offered]) -> Outs {
        let out = |offered: &Offered| {
            let media = negotiated.media.iter().find(|media| media.kind == offered.kind)?;
            Some(Out {
                kind: offered.kind,
                payload_type: media.format.payload_type,
                ssrc: offered.ssrc,
                // As good as random, and in the lower half, so that no wrap comes soon (RFC 3711 §3.3.1).
                seq: (offered.ssrc >> 8) as u16 & 0x7fff,
                timestamp: offered.ssrc.rotate_left(16),
                packets: 0,
                bytes: 0,
            })
        };
        Outs(offered.iter().filter_map(out).collect())
    }

    fn queue(
        &mut self,
        sent: &Sent,
        peer: &Peer,
        kind: Kind,
        timestamp: u32,
        (marker, payload, stamp_at): (bool, &[u8], Option<usize>),
    ) {
        let Some(out) = self.0.iter_mut().find(|out| out.kind == kind) else { return };
        let new = NewHeader {
            marker,
            payload_type: out.payload_type,
            seq: out.seq,
            timestamp: out.timestamp.wrapping_add(timestamp),
            ssrc: out.ssrc,
            ext: &[],
        };
        let (mut header, mut stamped) = ([0; HEADER_BYTES], [0; PAYLOAD_BYTES_MAX]);
        let payload = match (stamp_at, stamped.get_mut(..payload.len())) {
            (Some(at), Some(copy)) => {
                copy.copy_from_slice(payload);
                stamp::write(copy, at, stamp::unix_us());
                copy
            }
            _ => payload,
        };
        out.seq = out.seq.wrapping_add(1);
        if new.write(&mut header).is_some() && peer.queue_rtp(&header, payload) {
            sent.packet(HEADER_BYTES + payload.len());
            out.packets = out.packets.wrapping_add(1);
            out.bytes = out.bytes.wrapping_add(payload.len() as u32);
        }
    }

    fn report(&self, pool: &Pool, peer: &Peer, start: Time) {
        let now = pool.now();
        let us = now.since(start).as_micros() as u64;
        for out in &self.0 {
            let rate: u64 = if out.kind == Kind::Audio { 48 } else { 90 };
            let info = SenderInfo {
                ssrc: out.ssrc,
                ntp: pool.ntp(now),
                rtp_timestamp: out.timestamp.wrapping_add((us * rate / 1000) as u32),
                packets: out.packets,
                bytes: out.bytes,
            };
            let mut compound = Vec::with_capacity(64);
            rtcp::write_sender_report(&mut compound, &info, &[]);
            rtcp::write_sdes_cname(&mut compound, out.ssrc, "roomcast-load");
            peer.send_rtcp(&compound);
        }
    }
}

/// What the server says of what we send.
pub struct Feedback {
    sent: Rc<Sent>,
    ssrcs: Vec<u32>,
    /// The newest cumulative loss by SSRC.
    lost: HashMap<u32, u64>,
    key_wanted: bool,
}

impl Feedback {
    pub fn new(sent: Rc<Sent>, offered: &[Offered]) -> Feedback {
        sent.key_frame_requests.set(Some(sent.key_frame_requests.get().unwrap_or(0)));
        let ssrcs = offered.iter().map(|offered| offered.ssrc).collect();
        Feedback { sent, ssrcs, lost: HashMap::new(), key_wanted: false }
    }

    fn lost(&mut self, block: &ReportBlock) {
        if self.ssrcs.contains(&block.ssrc) {
            let lost = u64::try_from(block.cumulative_lost).unwrap_or(0);
            let before = self.lost.insert(block.ssrc, lost).unwrap_or(0);
            self.sent.lost.set(Some(self.sent.lost.get().unwrap_or(0) + lost.saturating_sub(before)));
        }
    }
}

impl Ear for Feedback {
    fn wants_plain(&self) -> bool {
        false
    }

    /// Nobody sends media to a publisher.
    fn rtp(&mut self, _: u64, _: &Header, _: usize, _: Result<Option<&[u8]>, DropReason>) {}

    fn rtcp(&mut self, _: Time, compound: &[u8]) {
        for packet in rtcp::packets(compound).flatten() {
            match packet {
                Rtcp::ReceiverReport(report) => report.reports.for_each(|block| self.lost(&block)),
                Rtcp::SenderReport(report) => report.reports.for_each(|block| self.lost(&block)),
                Rtcp::Pli { .. } | Rtcp::Fir(_) => {
                    self.key_wanted = true;
                    bump(&self.sent.key_frame_requests);
                }
                _ => {}
            }
        }
    }

    fn report(&mut self, _: Time) -> Option<Vec<u8>> {
        None
    }
}

fn bump(counter: &Cell<Option<u64>>) {
    counter.set(Some(counter.get().unwrap_or(0) + 1));
}

/// The place on the reel where the publisher of this number begins.
pub fn cursor(reel: &Rc<Reel>, number: usize) -> Cursor {
    // Steps that have nothing in common with the distance of key frames spread the publishers evenly.
    Cursor::new(reel.clone(), number * 37)
}
