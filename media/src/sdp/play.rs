//! A player offers to receive (WHEP), we answer: send only, the wanted tracks in the order of its m-lines.

use super::{
    description::{Description, Direction, MediaSection, Setup},
    down::{SsrcSource, labels},
    error::SdpError,
    format,
    negotiate::{
        DownMedia, DownWanted, Feedback, LocalSide, PlayNegotiated, choose, extensions, feedback, kind_of, remote_side,
        rtx_of, usable, without_transport_cc,
    },
    publish::rejected,
    write::{Section, Sources, UsedSection, Written, WrittenFormat},
};
use crate::{codec::Codec, ids::Kind};

/// Answers a player's offer. Each m-line that receives gets the first wanted track of its kind that it has a codec for; what
/// finds no m-line is not in the result, m-lines for which nothing is left are inactive.
///
/// `cname` is chosen by us at random: a transport has one.
///
/// # Errors
/// If the offer cannot be read or served, or not one wanted track has a codec in common with it: see [`SdpError`].
pub fn answer_play(offer: &str, local: &LocalSide, wanted: Vec<DownWanted>) -> Result<PlayNegotiated, SdpError> {
    let offer = Description::parse(offer)?;
    let used = usable(&offer)?;
    let remote = remote_side(&offer, &used, &[Setup::Actpass, Setup::Active])?;
    let mut ssrcs = SsrcSource::default();
    let cname = format!("{:016x}", rand::random::<u64>());
    let mut waiting: Vec<Option<DownWanted>> = wanted.into_iter().map(Some).collect();
    let mut media: Vec<(usize, DownMedia)> = Vec::new();
    let mut sections = Vec::with_capacity(offer.media.len());
    let mut refused = None;
    for (index, section) in offer.media.iter().enumerate() {
        let Some(kind) = kind_of(section).filter(|_| !section.is_rejected()) else {
            sections.push(rejected(section));
            continue;
        };
        let waits = |w: &Option<DownWanted>| w.as_ref().is_some_and(|w| w.key.kind == kind);
        if !section.direction.receives() || !waiting.iter().any(waits) {
            sections.push(inactive(section, kind));
            continue;
        }
        let mid = section.mid.clone().unwrap_or_else(|| index.to_string());
        let carried = waiting.iter_mut().enumerate().filter(|(_, w)| waits(w)).find_map(|(order, slot)| {
            let (down, used) = carry(section, slot.as_ref()?, &mid, &cname, &mut ssrcs)?;
            *slot = None;
            Some((order, down, used))
        });
        match carried {
            Some((order, down, used)) => {
                media.push((order, down));
                sections.push(Section::Used(used));
            }
            None => {
                refused = Some(SdpError::NoCodec { kind, line: section.line });
                sections.push(rejected(section));
            }
        }
    }
    if let (true, Some(error)) = (media.is_empty(), refused) {
        return Err(error);
    }
    media.sort_by_key(|(order, _)| *order);
    let (bundle, extmap_allow_mixed) = (!offer.bundles.is_empty(), offer.allows_mixed());
    let written = Written {
        local,
        version: offer.version,
        ice_lite: true,
        extmap_allow_mixed,
        bundle,
        setup: Setup::Passive,
        sections,
    };
    Ok(PlayNegotiated { answer: written.text(), remote, media: media.into_iter().map(|(_, down)| down).collect() })
}

/// `None` if the m-line does not offer the track's codec.
fn carry(
    offered: &MediaSection,
    wanted: &DownWanted,
    mid: &str,
    cname: &str,
    ssrcs: &mut SsrcSource,
) -> Option<(DownMedia, UsedSection)> {
    let codec = wanted.codec;
    let chosen = choose(offered, codec, Some(&wanted.fmtp))?;
    let (mut ext, mut extmaps) = extensions(&offered.extmaps, codec.kind(), true);
    let feedback = feedback(chosen, codec.kind(), ext.transport_cc.is_some());
    if !feedback.transport_cc {
        without_transport_cc(&mut ext, &mut extmaps);
    }
    let rtx_payload_type = rtx_of(offered, chosen.payload_type).filter(|_| feedback.nack);
    let down = DownMedia {
        mid: mid.to_owned(),
        track: wanted.key,
        codec,
        payload_type: chosen.payload_type,
        rtx_payload_type,
        ssrc: ssrcs.draw_marked(wanted.ssrc_mark),
        rtx_ssrc: rtx_payload_type.map(|_| ssrcs.draw()),
        ext,
        accepted: true,
    };
    let fmtp = match codec {
        // What a sender says of Opus is about the stream, not about the offer.
        Codec::Opus => format::offered_as(codec, &wanted.fmtp).fmtp.to_owned(),
        _ => format::answered_fmtp(codec, &chosen.fmtp),
    };
    let (stream_label, track_label) = labels(wanted);
    let used = UsedSection {
        protocol: offered.protocol.clone(),
        mid: offered.mid.clone(),
        direction: Direction::Sendonly,
        kind: codec.kind(),
        formats: vec![WrittenFormat {
            codec,
            payload_type: down.payload_type,
            rtx_payload_type,
            fmtp,
            feedback: Feedback { remb: false, ..feedback },
        }],
        extmaps,
        sources: Some(Sources {
            cname: cname.to_owned(),
            stream_label,
            track_label,
            ssrc: down.ssrc,
            rtx_ssrc: down.rtx_ssrc,
        }),
    };
    Some((down, used))
}

/// An m-line that is kept without anything on it; rejected if it offers nothing that we speak.
fn inactive(offered: &MediaSection, kind: Kind) -> Section {
    let common = Codec::ALL
        .into_iter()
        .filter(|codec| codec.kind() == kind)
        .find_map(|codec| Some((codec, choose(offered, codec, None)?)));
    let Some((codec, chosen)) = common else { return rejected(offered) };
    Section::Used(UsedSection {
        protocol: offered.protocol.clone(),
        mid: offered.mid.clone(),
        direction: Direction::Inactive,
        kind,
        formats: vec![WrittenFormat {
            codec,
            payload_type: chosen.payload_type,
            rtx_payload_type: None,
            fmtp: format::answered_fmtp(codec, &chosen.fmtp),
            feedback: Feedback::default(),
        }],
        extmaps: Vec::new(),
        sources: None,
    })
}
