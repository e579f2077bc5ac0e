//! What the three conversations share: the two sides, the choice of a codec, of feedback and of header extensions.

use std::{fmt, net::SocketAddr};

use super::{
    description::{Description, Direction, ExtMap, FormatLine, MediaSection, Setup},
    error::SdpError,
    format::{self, Fmtp},
};
use crate::{
    codec::Codec,
    ids::{Kind, TrackId},
    rtp::ext::{self, ExtIds},
};

/// What we say of ourselves in a description.
#[derive(Clone)]
pub struct LocalSide {
    /// ICE user name fragment and password, the same for all m-lines.
    pub credentials: (String, String),
    /// `sha-256 AA:BB:…` of our certificate.
    pub fingerprint: String,
    /// Our host candidates, most wanted first.
    pub candidates: Vec<Candidate>,
    /// The number of the `o=` line; the same for the whole life of the transport.
    pub session_id: u64,
}

impl fmt::Debug for LocalSide {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LocalSide")
            .field("ufrag", &self.credentials.0)
            .field("candidates", &self.candidates)
            .field("session_id", &self.session_id)
            .finish_non_exhaustive()
    }
}

/// A host candidate of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Candidate {
    pub addr: SocketAddr,
    /// ICE-TCP, passive (RFC 6544); else UDP.
    pub tcp: bool,
    /// RFC 8445 §5.1.2; larger is preferred.
    pub priority: u32,
}

/// What the peer says of itself. Its candidates are not here: we are ICE-lite and answer where checks come from.
#[derive(Clone, PartialEq, Eq)]
pub struct RemoteSide {
    pub ufrag: String,
    pub pwd: String,
    /// `algorithm AA:BB:…`; SHA-256 if the peer gave several.
    pub fingerprint: String,
    /// As written; `Active` where the line is missing (RFC 4145 §4.1).
    pub setup: Setup,
    pub ice_lite: bool,
}

impl fmt::Debug for RemoteSide {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RemoteSide")
            .field("ufrag", &self.ufrag)
            .field("fingerprint", &self.fingerprint)
            .field("setup", &self.setup)
            .field("ice_lite", &self.ice_lite)
            .finish_non_exhaustive()
    }
}

/// What the operator decides about negotiation.
#[derive(Clone, Debug)]
pub struct Policy {
    /// Video codecs that may be used, most wanted first.
    pub video_codecs: Vec<Codec>,
    /// Where Chromium's estimate of its upstream begins, in kbit/s, by `x-google-start-bitrate`; its own beginning is 300,
    /// from which 720p takes half a minute to arrive. `None` leaves it to the browser. Default 1,000.
    pub start_bitrate_kbps: Option<u32>,
}

impl Default for Policy {
    fn default() -> Self {
        Policy {
            video_codecs: vec![Codec::H264, Codec::Vp8, Codec::Vp9, Codec::Av1, Codec::H265],
            start_bitrate_kbps: Some(1_000),
        }
    }
}

/// One codec as both sides agreed on it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Format {
    pub codec: Codec,
    pub payload_type: u8,
    /// RFC 4588 retransmissions of `payload_type`.
    pub rtx_payload_type: Option<u8>,
    /// What `a=fmtp` of the answer says about the stream; empty if nothing. To be handed on in [`DownWanted::fmtp`].
    pub fmtp: String,
    pub feedback: Feedback,
}

/// RTCP feedback (RFC 4585, 5104) on one payload type.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Feedback {
    pub nack: bool,
    pub pli: bool,
    pub fir: bool,
    /// Both the feedback and its header extension.
    pub transport_cc: bool,
    /// The peer offered it. Our answers never take it up: transport-cc is what we speak.
    pub remb: bool,
}

impl Feedback {
    /// What we offer for a medium.
    pub(super) fn offered(kind: Kind) -> Feedback {
        match kind {
            Kind::Audio => Feedback { transport_cc: true, ..Feedback::default() },
            Kind::Video => Feedback { nack: true, pli: true, fir: true, transport_cc: true, remb: false },
        }
    }
}

/// What came of a publisher's offer.
#[derive(Clone, Debug)]
pub struct PublishNegotiated {
    pub answer: String,
    pub remote: RemoteSide,
    /// The m-lines of audio and video that were not rejected, in order.
    pub media: Vec<UpMedia>,
}

/// One m-line of a publisher.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UpMedia {
    /// `a=mid`; the number of the m-line, from zero, if the offer has none.
    pub mid: String,
    pub kind: Kind,
    pub format: Format,
    /// The source, if the offer names it; else the first packet's mid extension (or payload type) tells.
    pub ssrc: Option<u32>,
    pub rtx_ssrc: Option<u32>,
    pub ext: ExtIds,
    /// False while the publisher sends nothing here (`recvonly`, `inactive`).
    pub active: bool,
}

/// One track that a subscriber is to get.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DownWanted {
    pub key: TrackId,
    pub codec: Codec,
    /// [`Format::fmtp`] of the publisher; may be empty.
    pub fmtp: String,
    /// Tracks of one label are played in sync (`a=msid`, RFC 8830). Characters that are not of a token become `_`.
    pub stream_label: String,
    /// What bits 16 to 23 of the SSRC are, if that matters: some clients read the kind of track there.
    pub ssrc_mark: Option<u8>,
}

/// One m-line that carries a track to a subscriber.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DownMedia {
    pub mid: String,
    pub track: TrackId,
    pub codec: Codec,
    pub payload_type: u8,
    pub rtx_payload_type: Option<u8>,
    pub ssrc: u32,
    pub rtx_ssrc: Option<u32>,
    pub ext: ExtIds,
    /// The client takes it. False before the answer, and where the client rejects or pauses the m-line.
    pub accepted: bool,
}

/// What came of a player's offer.
#[derive(Clone, Debug)]
pub struct PlayNegotiated {
    pub answer: String,
    pub remote: RemoteSide,
    /// The wanted tracks that found an m-line, in the order wanted.
    pub media: Vec<DownMedia>,
}

/// Protocols of m-lines that are DTLS-SRTP with feedback (RFC 5764 §8, RFC 7850 §3).
const PROTOCOLS: [&str; 2] = ["UDP/TLS/RTP/SAVPF", "TCP/DTLS/RTP/SAVPF"];

/// Which medium an m-line is of, if one that we carry.
pub(super) fn kind_of(media: &MediaSection) -> Option<Kind> {
    [Kind::Audio, Kind::Video].into_iter().find(|kind| kind.as_str() == media.media)
}

/// The m-lines of `description` that are audio or video and not rejected by their writer.
///
/// # Errors
/// If one of them cannot be served: wrong protocol, SDES keys, no rtcp-mux, outside the one BUNDLE group.
pub(super) fn usable(description: &Description) -> Result<Vec<&MediaSection>, SdpError> {
    let media: Vec<&MediaSection> =
        description.media.iter().filter(|m| kind_of(m).is_some() && !m.is_rejected()).collect();
    for media in &media {
        if let Some(line) = media.crypto_line {
            return Err(SdpError::SdesOffered { line });
        }
        if !PROTOCOLS.iter().any(|protocol| protocol.eq_ignore_ascii_case(&media.protocol)) {
            return Err(SdpError::UnsupportedProtocol { line: media.line });
        }
        // A bundle-only m-line shares everything with the group's first one (RFC 9143 §7.1.3).
        if !media.rtcp_mux && !media.bundle_only {
            return Err(SdpError::NoRtcpMux { line: media.line });
        }
    }
    let Some((first, others)) = media.split_first() else { return Err(SdpError::NoMedia) };
    for other in others {
        let one_group = description.bundles.iter().any(|group| in_group(group, first) && in_group(group, other));
        // Without any group some stacks still use one transport, and say so by one set of credentials.
        let one_transport = description.bundles.is_empty()
            && first.transport.ufrag.is_some()
            && first.transport.ufrag == other.transport.ufrag
            && first.transport.pwd == other.transport.pwd;
        if !one_group && !one_transport {
            return Err(SdpError::NotBundled { line: other.line });
        }
    }
    Ok(media)
}

fn in_group(group: &[String], media: &MediaSection) -> bool {
    media.mid.as_ref().is_some_and(|mid| group.contains(mid))
}

/// The peer's half of the transport: of the m-line that stands first in the BUNDLE group among `media`, or first at all
/// (RFC 9143 §7.3.1). `media` must not be empty; `roles` are the values of `a=setup` that it may have.
pub(super) fn remote_side(
    description: &Description,
    media: &[&MediaSection],
    roles: &[Setup],
) -> Result<RemoteSide, SdpError> {
    let tagged = description
        .bundles
        .iter()
        .flatten()
        .find_map(|mid| media.iter().find(|m| m.mid.as_ref() == Some(mid) && m.transport.ufrag.is_some()))
        .or(media.first())
        .ok_or(SdpError::NoMedia)?;
    let transport = &tagged.transport;
    let setup = transport.setup.unwrap_or(Setup::Active);
    if !roles.contains(&setup) {
        return Err(SdpError::WrongSetup { line: tagged.line });
    }
    let (Some(ufrag), Some(pwd)) = (transport.ufrag.clone(), transport.pwd.clone()) else {
        return Err(SdpError::NoIceCredentials { line: tagged.line });
    };
    let fingerprint = ["sha-256", "sha-512", "sha-384", "sha-224", "sha-1"]
        .iter()
        .find_map(|algorithm| transport.fingerprints.iter().find(|f| f.split(' ').next() == Some(algorithm)))
        .cloned()
        .ok_or(SdpError::NoFingerprint { line: tagged.line })?;
    Ok(RemoteSide { ufrag, pwd, fingerprint, setup, ice_lite: description.ice_lite })
}

/// The header extensions of `offered` that we use on an m-line, as ids and as the lines of the answer. `we_send` tells the
/// direction of the media.
pub(super) fn extensions(offered: &[ExtMap], kind: Kind, we_send: bool) -> (ExtIds, Vec<ExtMap>) {
    let mut ids = ExtIds::default();
    let mut lines = Vec::new();
    for extmap in offered {
        let direction = extmap.direction.unwrap_or_default();
        if !(if we_send { direction.receives() } else { direction.sends() }) {
            continue;
        }
        let Some(place) = place_of(&mut ids, &extmap.uri, kind) else { continue };
        if place.is_some() {
            continue;
        }
        *place = Some(extmap.id);
        // A direction is answered by its mirror image, none by none (RFC 8285 §6).
        let direction = extmap.direction.map(|_| if we_send { Direction::Sendonly } else { Direction::Recvonly });
        lines.push(ExtMap { id: extmap.id, direction, uri: extmap.uri.clone() });
    }
    (ids, lines)
}

/// Where the id of an extension goes; `None` for those that are of no use on such an m-line.
fn place_of<'a>(ids: &'a mut ExtIds, uri: &str, kind: Kind) -> Option<&'a mut Option<u8>> {
    let useful = match uri {
        ext::URI_MID | ext::URI_TRANSPORT_CC | ext::URI_ABS_CAPTURE_TIME => true,
        ext::URI_AUDIO_LEVEL => kind == Kind::Audio,
        ext::URI_VIDEO_ORIENTATION => kind == Kind::Video,
        ext::URI_PLAYOUT_DELAY => kind == Kind::Video,
        _ => false,
    };
    ids.by_uri(uri).filter(|_| useful)
}

/// Takes the transport-cc extension out of both, for an m-line where the feedback was not agreed on: numbering packets
/// that nobody reports on makes a sender believe that all are lost.
pub(super) fn without_transport_cc(ids: &mut ExtIds, lines: &mut Vec<ExtMap>) {
    ids.transport_cc = None;
    lines.retain(|line| line.uri != ext::URI_TRANSPORT_CC);
}

/// The feedback that both sides speak on `offered`.
pub(super) fn feedback(offered: &FormatLine, kind: Kind, transport_cc_extension: bool) -> Feedback {
    let has = |value: &str| offered.feedback.iter().any(|f| f.eq_ignore_ascii_case(value));
    let video = kind == Kind::Video;
    Feedback {
        nack: video && has("nack"),
        pli: video && has("nack pli"),
        fir: video && has("ccm fir"),
        transport_cc: transport_cc_extension && has("transport-cc"),
        remb: has("goog-remb"),
    }
}

/// The offered format that `codec` is best sent or received in. `like` is the fmtp of a stream that exists already; `None`
/// where the publisher may still choose.
pub(super) fn choose<'a>(media: &'a MediaSection, codec: Codec, like: Option<&str>) -> Option<&'a FormatLine> {
    let like = like.map(Fmtp::parse);
    media
        .formats
        .iter()
        // 64 to 95 cannot be told from RTCP on one port (RFC 5761 §4).
        .filter(|f| !(64..=95).contains(&f.payload_type) && format::codec_of(f) == Some(codec))
        .filter_map(|f| Some((format::rank(codec, &Fmtp::parse(&f.fmtp), like.as_ref())?, f)))
        // Of equal rank the first one wins: it is what the peer prefers.
        .min_by_key(|(rank, _)| *rank)
        .map(|(_, format)| format)
}

/// The payload type of the retransmissions of `payload_type` (RFC 4588 §8.1).
pub(super) fn rtx_of(media: &MediaSection, payload_type: u8) -> Option<u8> {
    media
        .formats
        .iter()
        .filter(|f| f.name.eq_ignore_ascii_case("rtx") && !(64..=95).contains(&f.payload_type))
        .find(|f| Fmtp::parse(&f.fmtp).value("apt").and_then(|apt| apt.parse().ok()) == Some(payload_type))
        .map(|f| f.payload_type)
        .filter(|rtx| *rtx != payload_type)
}
