//! A publisher offers, we answer: receive only, one codec and its retransmissions per m-line.
//!
//! The answer follows from the offer and the policy alone, so a renegotiation on the same transport needs no memory: the
//! same m-line gets the same codec again. Simulcast is answered without `a=simulcast`, upon which browsers send the first
//! layer only (RFC 8853 §5.3.2).

use super::{
    description::{Description, Direction, FormatLine, MediaSection, Setup},
    error::SdpError,
    format,
    negotiate::{
        Format, LocalSide, Policy, PublishNegotiated, UpMedia, choose, extensions, feedback, kind_of, remote_side,
        rtx_of, usable, without_transport_cc,
    },
    write::{Section, UsedSection, Written, WrittenFormat},
};
use crate::{codec::Codec, ids::Kind};

/// Answers a publisher's offer; for a new transport and for a renegotiation alike.
///
/// M-lines that the publisher does not send on are kept and are inactive. Data channels and m-lines out of use are
/// rejected (port 0).
///
/// # Errors
/// If the offer cannot be read, or an m-line in use cannot be served: see [`SdpError`].
pub fn answer_publish(offer: &str, local: &LocalSide, policy: &Policy) -> Result<PublishNegotiated, SdpError> {
    let offer = Description::parse(offer)?;
    let used = usable(&offer)?;
    let remote = remote_side(&offer, &used, &[Setup::Actpass, Setup::Active])?;
    let mut media = Vec::with_capacity(used.len());
    let mut sections = Vec::with_capacity(offer.media.len());
    for (index, section) in offer.media.iter().enumerate() {
        let answered = match kind_of(section).filter(|_| !section.is_rejected()) {
            Some(kind) => answer_section(section, kind, index, policy)?,
            None => None,
        };
        match answered {
            Some((up, used)) => {
                media.push(up);
                sections.push(Section::Used(used));
            }
            None => sections.push(rejected(section)),
        }
    }
    check_mids(&offer, &media)?;
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
    Ok(PublishNegotiated { answer: written.text(), remote, media })
}

/// `None` where an m-line that nothing is sent on has no codec in common either.
fn answer_section(
    offered: &MediaSection,
    kind: Kind,
    index: usize,
    policy: &Policy,
) -> Result<Option<(UpMedia, UsedSection)>, SdpError> {
    let active = offered.direction.sends();
    let Some((codec, chosen)) = first_common(offered, kind, policy) else {
        return if active { Err(SdpError::NoCodec { kind, line: offered.line }) } else { Ok(None) };
    };
    let (mut ext, mut extmaps) = extensions(&offered.extmaps, kind, false);
    let feedback = feedback(chosen, kind, ext.transport_cc.is_some());
    if !feedback.transport_cc {
        without_transport_cc(&mut ext, &mut extmaps);
    }
    let fmtp = format::answered_fmtp(codec, &chosen.fmtp);
    let format = Format {
        codec,
        payload_type: chosen.payload_type,
        rtx_payload_type: rtx_of(offered, chosen.payload_type).filter(|_| feedback.nack),
        fmtp: fmtp.clone(),
        feedback,
    };
    let used = UsedSection {
        protocol: offered.protocol.clone(),
        mid: offered.mid.clone(),
        direction: if active { Direction::Recvonly } else { Direction::Inactive },
        kind,
        formats: vec![WrittenFormat {
            codec,
            payload_type: format.payload_type,
            rtx_payload_type: format.rtx_payload_type,
            fmtp: with_start_bitrate(fmtp, kind, policy),
            feedback: super::Feedback { remb: false, ..feedback },
        }],
        extmaps,
        sources: None,
    };
    // Sources of an m-line that only receives (Firefox writes one) say who reports, not who sends.
    let ssrc = offered.fid_groups.first().map(|fid| fid.0).or(offered.ssrcs.first().copied()).filter(|_| active);
    let rtx_ssrc = offered.fid_groups.iter().find(|fid| Some(fid.0) == ssrc).map(|fid| fid.1);
    let mid = offered.mid.clone().unwrap_or_else(|| index.to_string());
    Ok(Some((UpMedia { mid, kind, format, ssrc, rtx_ssrc, ext, active }, used)))
}

/// The first codec of the policy that the m-line offers.
fn first_common<'a>(offered: &'a MediaSection, kind: Kind, policy: &Policy) -> Option<(Codec, &'a FormatLine)> {
    let codecs = match kind {
        Kind::Audio => &[Codec::Opus][..],
        Kind::Video => &policy.video_codecs,
    };
    codecs.iter().filter(|c| c.kind() == kind).find_map(|codec| Some((*codec, choose(offered, *codec, None)?)))
}

fn with_start_bitrate(mut fmtp: String, kind: Kind, policy: &Policy) -> String {
    if let (Kind::Video, Some(kbps)) = (kind, policy.start_bitrate_kbps) {
        let separator = if fmtp.is_empty() { "" } else { ";" };
        fmtp.push_str(&format!("{separator}x-google-start-bitrate={kbps}"));
    }
    fmtp
}

/// An m-line of an answer that takes nothing up.
pub(super) fn rejected(offered: &MediaSection) -> Section {
    Section::Rejected {
        media: offered.media.clone(),
        protocol: offered.protocol.clone(),
        format: offered.format_fields.first().cloned().unwrap_or_else(|| "0".to_owned()),
        mid: offered.mid.clone(),
    }
}

/// An m-line without `a=mid` is known by its number, which must not be the mid of another.
fn check_mids(offer: &Description, media: &[UpMedia]) -> Result<(), SdpError> {
    for (index, up) in media.iter().enumerate() {
        if media.iter().take(index).any(|other| other.mid == up.mid) {
            let line = offer.media.iter().rev().find(|m| m.mid.as_ref() == Some(&up.mid)).map_or(0, |m| m.line);
            return Err(SdpError::DuplicateMid { line });
        }
    }
    Ok(())
}
