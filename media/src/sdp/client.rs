//! The client's end of WHIP and WHEP: what the load tool and tests offer, and how they read the answer.

use super::{
    description::{CandidateLine, Description, Direction, Setup},
    down::{PROTOCOL, SsrcSource, offered_extmaps},
    error::SdpError,
    format,
    negotiate::{Feedback, Format, LocalSide, RemoteSide, extensions, feedback, kind_of, remote_side, rtx_of},
    write::{Section, Sources, UsedSection, Written, WrittenFormat},
};
use crate::{codec::Codec, ids::Kind, rtp::ext::ExtIds};

/// A track that a client wants to publish.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Offered {
    pub kind: Kind,
    pub codec: Codec,
    /// What it will be sent with, drawn at random.
    pub ssrc: u32,
}

/// What the server answered.
#[derive(Clone, Debug)]
pub struct ClientNegotiated {
    pub remote: RemoteSide,
    /// Of the transport that all m-lines share, as written.
    pub candidates: Vec<CandidateLine>,
    /// The m-lines on which media flows, in order.
    pub media: Vec<ClientMedia>,
}

/// One m-line on which media flows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientMedia {
    pub mid: String,
    pub kind: Kind,
    pub format: Format,
    /// Of a player: what the server sends with, if it says so.
    pub ssrc: Option<u32>,
    pub rtx_ssrc: Option<u32>,
    pub ext: ExtIds,
}

/// Offers to receive one audio and one video track, in any codec that we know.
pub fn offer_play(local: &LocalSide) -> String {
    let video = [
        (Codec::H264, "profile-level-id=42e01f"),
        (Codec::H264, "profile-level-id=42001f"),
        (Codec::H264, "profile-level-id=4d001f"),
        (Codec::Vp8, ""),
        (Codec::Vp9, ""),
        (Codec::Av1, ""),
    ];
    let audio = vec![written(Codec::Opus, "")];
    let video = video.map(|(codec, fmtp)| written(codec, fmtp)).to_vec();
    let section = |mid: &str, kind, formats| used(mid, Direction::Recvonly, kind, formats, None);
    offer(local, vec![section("0", Kind::Audio, audio), section("1", Kind::Video, video)])
}

/// Offers to send one track for each codec of `tracks`, without retransmissions.
pub fn offer_publish(local: &LocalSide, cname: &str, tracks: &[Codec]) -> (String, Vec<Offered>) {
    let mut ssrcs = SsrcSource::default();
    let mut offered = Vec::new();
    let mut sections = Vec::new();
    for (index, &codec) in tracks.iter().enumerate() {
        let (kind, ssrc) = (codec.kind(), ssrcs.draw());
        let sources = Sources {
            cname: cname.to_owned(),
            stream_label: "load".to_owned(),
            track_label: kind.to_string(),
            ssrc,
            rtx_ssrc: None,
        };
        let mut format = written(codec, "");
        format.rtx_payload_type = None;
        sections.push(used(&index.to_string(), Direction::Sendonly, kind, vec![format], Some(sources)));
        offered.push(Offered { kind, codec, ssrc });
    }
    (offer(local, sections), offered)
}

/// Reads the answer to an offer of this module: m-lines that were rejected, or on which nothing flows, are left out.
///
/// # Errors
/// If the answer cannot be read, or its transport is none that a client of ours can use.
pub fn read_answer(answer: &str) -> Result<ClientNegotiated, SdpError> {
    let answer = Description::parse(answer)?;
    let in_use: Vec<_> = answer.media.iter().filter(|m| kind_of(m).is_some() && !m.is_rejected()).collect();
    let remote = remote_side(&answer, &in_use, &[Setup::Passive]).map_err(|error| match error {
        SdpError::NoMedia => SdpError::NothingAccepted,
        other => other,
    })?;
    let candidates = in_use.iter().map(|m| &m.candidates).find(|c| !c.is_empty()).cloned().unwrap_or_default();
    let mut media = Vec::new();
    for (index, section) in answer.media.iter().enumerate() {
        let Some(kind) = kind_of(section).filter(|_| !section.is_rejected()) else { continue };
        if section.direction == Direction::Inactive {
            continue;
        }
        let chosen = section.formats.iter().find_map(|f| Some((format::codec_of(f)?, f)));
        let Some((codec, chosen)) = chosen else { return Err(SdpError::NoCodec { kind, line: section.line }) };
        let (ext, _) = extensions(&section.extmaps, kind, section.direction.receives());
        let ssrc = section.fid_groups.first().map(|fid| fid.0).or(section.ssrcs.first().copied());
        media.push(ClientMedia {
            mid: section.mid.clone().unwrap_or_else(|| index.to_string()),
            kind,
            format: Format {
                codec,
                payload_type: chosen.payload_type,
                rtx_payload_type: rtx_of(section, chosen.payload_type),
                fmtp: chosen.fmtp.clone(),
                feedback: feedback(chosen, kind, ext.transport_cc.is_some()),
            },
            ssrc,
            rtx_ssrc: section.fid_groups.iter().find(|fid| Some(fid.0) == ssrc).map(|fid| fid.1),
            ext,
        });
    }
    Ok(ClientNegotiated { remote, candidates, media })
}

/// Answers the offer of a server that sends, as a browser would: every m-line is taken in its first codec that we know.
/// Both the answer and what to expect are returned; m-lines on which nothing flows are left out of the latter.
///
/// # Errors
/// If the offer cannot be read, or its transport is none that a client of ours can use.
pub fn answer_receive(offer: &str, local: &LocalSide, version: u64) -> Result<(String, ClientNegotiated), SdpError> {
    let offer = Description::parse(offer)?;
    let in_use: Vec<_> = offer.media.iter().filter(|m| kind_of(m).is_some() && !m.is_rejected()).collect();
    let remote = remote_side(&offer, &in_use, &[Setup::Actpass, Setup::Passive])?;
    let candidates = in_use.iter().map(|m| &m.candidates).find(|c| !c.is_empty()).cloned().unwrap_or_default();
    let (mut media, mut sections) = (Vec::new(), Vec::new());
    for (index, section) in offer.media.iter().enumerate() {
        let chosen = section.formats.iter().find_map(|f| Some((format::codec_of(f)?, f)));
        let taken = kind_of(section).filter(|_| !section.is_rejected()).zip(chosen);
        let Some((kind, (codec, chosen))) = taken else {
            sections.push(Section::Rejected {
                media: section.media.clone(),
                protocol: section.protocol.clone(),
                format: section.format_fields.first().cloned().unwrap_or_else(|| "0".to_owned()),
                mid: section.mid.clone(),
            });
            continue;
        };
        let flows = section.direction.sends();
        let (ext, extmaps) = extensions(&section.extmaps, kind, false);
        let feedback = feedback(chosen, kind, ext.transport_cc.is_some());
        let rtx_payload_type = rtx_of(section, chosen.payload_type);
        sections.push(Section::Used(UsedSection {
            protocol: section.protocol.clone(),
            mid: section.mid.clone(),
            direction: if flows { Direction::Recvonly } else { Direction::Inactive },
            kind,
            formats: vec![WrittenFormat {
                codec,
                payload_type: chosen.payload_type,
                rtx_payload_type,
                fmtp: chosen.fmtp.clone(),
                feedback,
            }],
            extmaps,
            sources: None,
        }));
        if flows {
            let ssrc = section.fid_groups.first().map(|fid| fid.0).or(section.ssrcs.first().copied());
            media.push(ClientMedia {
                mid: section.mid.clone().unwrap_or_else(|| index.to_string()),
                kind,
                format: Format {
                    codec,
                    payload_type: chosen.payload_type,
                    rtx_payload_type,
                    fmtp: chosen.fmtp.clone(),
                    feedback,
                },
                ssrc,
                rtx_ssrc: section.fid_groups.iter().find(|fid| Some(fid.0) == ssrc).map(|fid| fid.1),
                ext,
            });
        }
    }
    let answer = Written {
        local,
        version,
        ice_lite: false,
        extmap_allow_mixed: offer.extmap_allow_mixed,
        bundle: !offer.bundles.is_empty(),
        setup: Setup::Active,
        sections,
    };
    Ok((answer.text(), ClientNegotiated { remote, candidates, media }))
}

fn offer(local: &LocalSide, sections: Vec<Section>) -> String {
    Written {
        local,
        version: 1,
        ice_lite: false,
        extmap_allow_mixed: true,
        bundle: true,
        setup: Setup::Actpass,
        sections,
    }
    .text()
}

fn used(mid: &str, direction: Direction, kind: Kind, formats: Vec<WrittenFormat>, sources: Option<Sources>) -> Section {
    Section::Used(UsedSection {
        protocol: PROTOCOL.to_owned(),
        mid: Some(mid.to_owned()),
        direction,
        kind,
        formats,
        extmaps: offered_extmaps(kind),
        sources,
    })
}

fn written(codec: Codec, fmtp: &str) -> WrittenFormat {
    let offered = format::offered_as(codec, fmtp);
    WrittenFormat {
        codec,
        payload_type: offered.payload_type,
        rtx_payload_type: offered.rtx_payload_type,
        fmtp: offered.fmtp.to_owned(),
        feedback: Feedback::offered(codec.kind()),
    }
}
