//! Publishes by WHIP: the clip's pictures cut into RTP packets, its AAC turned into Opus, by the server's own bridge.

use std::{
    collections::HashMap,
    rc::Rc,
    time::{Duration, Instant},
};

use media::{
    bridge::rtmp_to_room::RtmpToRoom,
    codec::Codec,
    ids::Kind,
    rtp::{
        packet::{Header, NewHeader, is_rtcp},
        rtcp::{self, ReportBlock, Rtcp, SenderInfo},
    },
    sdp::client::{Offered, offer_publish},
};

use super::{
    LoadError,
    http::Url,
    publish::Sent,
    rtc::{Arrival, Client, Common, Proposal},
    source::Source,
};

/// Bit rate of the Opus that the clip's sound becomes.
const OPUS_BITRATE_BPS: u32 = 96_000;
/// From the answer to the keys.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(20);
/// How often ICE consent is looked after.
const CARE_INTERVAL: Duration = Duration::from_secs(1);
/// Longest header that is written: no extension.
const HEADER_BYTES: usize = 12;

/// Publishes for `duration` from the moment that media can flow.
pub async fn publish(
    sent: &Sent,
    common: Rc<Common>,
    url: &Url,
    token: Option<&str>,
    source: Source,
    duration: Duration,
) -> Result<(), LoadError> {
    let proposal = Proposal::new(&common);
    let (offer, offered) = offer_publish(&proposal.local, "roomcast-load", &[Codec::Opus, Codec::H264]);
    let mut client = Client::agree(common.clone(), url, token, proposal, offer).await?;
    let mut tracks = Tracks::new(&client, &offered);
    let outcome = send(sent, &common, &mut client, &mut tracks, source, duration).await;
    client.close().await;
    outcome
}

async fn send(
    sent: &Sent,
    common: &Common,
    client: &mut Client,
    tracks: &mut Tracks,
    mut source: Source,
    duration: Duration,
) -> Result<(), LoadError> {
    let connecting = Instant::now();
    client.look_after()?;
    while !client.is_connected() {
        client.receive(tokio::time::Instant::now() + CARE_INTERVAL, |_, _| ()).await?;
        if connecting.elapsed() > CONNECT_TIMEOUT {
            return Err(LoadError::new("no connection"));
        }
    }
    sent.ready.set(Some(Instant::now()));
    sent.key_frame_requests.set(Some(0));
    let mut bridge = RtmpToRoom::new(OPUS_BITRATE_BPS, common.wall());
    let mut packets: Vec<(Kind, Vec<u8>)> = Vec::new();
    for tag in source.headers() {
        bridge.handle_tag(common.now(), &tag, &mut |_, _| true);
    }
    let start = tokio::time::Instant::now();
    let mut care_at = start + CARE_INTERVAL;
    let mut next = source.next_tag();
    while start.elapsed() < duration {
        let due = start + Duration::from_millis(next.0);
        while tokio::time::Instant::now() < due {
            client
                .receive(due.min(care_at), |_, arrival| {
                    if let Arrival::Rtcp(compound) = arrival {
                        tracks.feedback(sent, compound);
                    }
                })
                .await?;
            if tokio::time::Instant::now() >= care_at {
                client.look_after()?;
                care_at += CARE_INTERVAL;
            }
        }
        bridge.handle_tag(common.now(), &next.1, &mut |kind, packet| {
            packets.push((kind, packet.to_vec()));
            true
        });
        for (kind, packet) in packets.drain(..) {
            tracks.forward(sent, client, kind, &packet);
        }
        next = source.next_tag();
    }
    Ok(())
}

/// What the bridge's packets become on this session.
struct Tracks {
    outs: Vec<Out>,
    /// The newest cumulative loss by SSRC.
    lost: HashMap<u32, u64>,
}

struct Out {
    kind: Kind,
    payload_type: u8,
    ssrc: u32,
    packets: u32,
    bytes: u32,
}

impl Tracks {
    /// Only of the m-lines that the server took.
    fn new(client: &Client, offered: &[Offered]) -> Tracks {
        let out = |offered: &Offered| {
            let media = client.negotiated.media.iter().find(|media| media.kind == offered.kind)?;
            let payload_type = media.format.payload_type;
            Some(Out { kind: offered.kind, payload_type, ssrc: offered.ssrc, packets: 0, bytes: 0 })
        };
        Tracks { outs: offered.iter().filter_map(out).collect(), lost: HashMap::new() }
    }

    /// Sends a packet of the bridge under our SSRC and payload type; a sender report with our counts.
    fn forward(&mut self, sent: &Sent, client: &mut Client, kind: Kind, packet: &[u8]) {
        let Some(out) = self.outs.iter_mut().find(|out| out.kind == kind) else { return };
        if is_rtcp(packet) {
            let report = rtcp::packets(packet).flatten().find_map(|packet| match packet {
                Rtcp::SenderReport(report) => Some(report),
                _ => None,
            });
            if let Some(report) = report {
                let info = SenderInfo {
                    ssrc: out.ssrc,
                    ntp: report.ntp,
                    rtp_timestamp: report.rtp_timestamp,
                    packets: out.packets,
                    bytes: out.bytes,
                };
                let mut compound = Vec::with_capacity(64);
                rtcp::write_sender_report(&mut compound, &info, &[]);
                rtcp::write_sdes_cname(&mut compound, out.ssrc, "roomcast-load");
                client.send_rtcp(&compound);
            }
            return;
        }
        let Ok(header) = Header::parse(packet) else { return };
        let new = NewHeader {
            marker: header.marker,
            payload_type: out.payload_type,
            seq: header.seq,
            timestamp: header.timestamp,
            ssrc: out.ssrc,
            ext: &[],
        };
        let mut bytes = [0; HEADER_BYTES];
        let payload = header.payload(packet);
        if new.write(&mut bytes).is_some() && client.send_rtp(&bytes, payload) {
            sent.packet(HEADER_BYTES + payload.len());
            out.packets = out.packets.wrapping_add(1);
            out.bytes = out.bytes.wrapping_add(payload.len() as u32);
        }
    }

    /// Reads the server's reports and requests.
    fn feedback(&mut self, sent: &Sent, compound: &[u8]) {
        for packet in rtcp::packets(compound).flatten() {
            match packet {
                Rtcp::ReceiverReport(report) => report.reports.for_each(|block| self.lost(sent, &block)),
                Rtcp::SenderReport(report) => report.reports.for_each(|block| self.lost(sent, &block)),
                Rtcp::Pli { .. } | Rtcp::Fir(_) => {
                    sent.key_frame_requests.set(Some(sent.key_frame_requests.get().unwrap_or(0) + 1));
                }
                _ => {}
            }
        }
    }

    fn lost(&mut self, sent: &Sent, block: &ReportBlock) {
        if self.outs.iter().any(|out| out.ssrc == block.ssrc) {
            self.lost.insert(block.ssrc, u64::try_from(block.cumulative_lost).unwrap_or(0));
            sent.lost.set(Some(self.lost.values().sum()));
        }
    }
}
