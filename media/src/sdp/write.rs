//! Types to SDP text, for what we say ourselves: one codec per m-line, one BUNDLE, ICE-lite or not.

use std::fmt::Write;

use super::{
    description::{Direction, ExtMap, Setup},
    negotiate::{Candidate, Feedback, LocalSide},
};
use crate::{codec::Codec, ids::Kind};

/// A description of ours.
pub(super) struct Written<'a> {
    pub local: &'a LocalSide,
    pub version: u64,
    pub ice_lite: bool,
    /// One- and two-byte header extensions may alternate; an answer says so if the offer does (RFC 8285 §6).
    pub extmap_allow_mixed: bool,
    /// Write `a=group:BUNDLE`. An answer may only do so if the offer did (RFC 9143 §7.3).
    pub bundle: bool,
    pub setup: Setup,
    pub sections: Vec<Section>,
}

/// One m-line.
pub(super) enum Section {
    /// Port zero: out of use, there only to keep the order (RFC 3264 §6).
    Rejected {
        media: String,
        protocol: String,
        format: String,
        mid: Option<String>,
    },
    Used(UsedSection),
}

/// An m-line that is part of the BUNDLE.
pub(super) struct UsedSection {
    pub protocol: String,
    /// `None` where the offer has none.
    pub mid: Option<String>,
    pub direction: Direction,
    pub kind: Kind,
    /// Most wanted first; an answer has one.
    pub formats: Vec<WrittenFormat>,
    pub extmaps: Vec<ExtMap>,
    pub sources: Option<Sources>,
}

/// One codec of an m-line, with its retransmissions.
#[derive(Clone)]
pub(super) struct WrittenFormat {
    pub codec: Codec,
    pub payload_type: u8,
    pub rtx_payload_type: Option<u8>,
    pub fmtp: String,
    pub feedback: Feedback,
}

/// What we send in an m-line.
pub(super) struct Sources {
    pub cname: String,
    pub stream_label: String,
    pub track_label: String,
    pub ssrc: u32,
    pub rtx_ssrc: Option<u32>,
}

impl Written<'_> {
    /// The text, lines ended by CR LF. Candidates stand in the first m-line in use only, which is the one whose transport
    /// all share.
    pub fn text(&self) -> String {
        let mut out = Lines(String::with_capacity(512 + 1024 * self.sections.len()));
        out.line(format_args!("v=0"));
        out.line(format_args!("o=- {} {} IN IP4 127.0.0.1", self.local.session_id, self.version));
        out.line(format_args!("s=-"));
        out.line(format_args!("t=0 0"));
        if self.bundle {
            let mids: Vec<&str> = self.sections.iter().filter_map(Section::mid_in_use).collect();
            if !mids.is_empty() {
                out.line(format_args!("a=group:BUNDLE {}", mids.join(" ")));
            }
        }
        if self.extmap_allow_mixed {
            out.line(format_args!("a=extmap-allow-mixed"));
        }
        out.line(format_args!("a=msid-semantic: WMS *"));
        if self.ice_lite {
            out.line(format_args!("a=ice-lite"));
        }
        let mut first = true;
        for section in &self.sections {
            match section {
                Section::Rejected { media, protocol, format, mid } => {
                    out.line(format_args!("m={media} 0 {protocol} {format}"));
                    out.line(format_args!("c=IN IP4 0.0.0.0"));
                    if let Some(mid) = mid {
                        out.line(format_args!("a=mid:{mid}"));
                    }
                    out.line(format_args!("a=inactive"));
                }
                Section::Used(used) => {
                    self.used(&mut out, used, first);
                    first = false;
                }
            }
        }
        out.0
    }

    fn used(&self, out: &mut Lines, used: &UsedSection, first: bool) {
        let payload_types: String = used
            .formats
            .iter()
            .flat_map(|f| [Some(f.payload_type), f.rtx_payload_type])
            .flatten()
            .map(|payload_type| format!(" {payload_type}"))
            .collect();
        out.line(format_args!("m={} 9 {}{payload_types}", used.kind, used.protocol));
        out.line(format_args!("c=IN IP4 0.0.0.0"));
        out.line(format_args!("a=rtcp:9 IN IP4 0.0.0.0"));
        let LocalSide { credentials: (ufrag, pwd), fingerprint, candidates, .. } = self.local;
        out.line(format_args!("a=ice-ufrag:{ufrag}"));
        out.line(format_args!("a=ice-pwd:{pwd}"));
        out.line(format_args!("a=fingerprint:{fingerprint}"));
        out.line(format_args!("a=setup:{}", self.setup.as_str()));
        if let Some(mid) = &used.mid {
            out.line(format_args!("a=mid:{mid}"));
        }
        for ExtMap { id, direction, uri } in &used.extmaps {
            match direction {
                Some(direction) => out.line(format_args!("a=extmap:{id}/{} {uri}", direction.as_str())),
                None => out.line(format_args!("a=extmap:{id} {uri}")),
            }
        }
        out.line(format_args!("a={}", used.direction.as_str()));
        if let Some(sources) = &used.sources {
            out.line(format_args!("a=msid:{} {}", sources.stream_label, sources.track_label));
        }
        out.line(format_args!("a=rtcp-mux"));
        out.line(format_args!("a=rtcp-rsize"));
        used.formats.iter().for_each(|format| format_lines(out, format));
        if let Some(sources) = &used.sources {
            sources_lines(out, sources);
        }
        if first {
            candidate_lines(candidates).for_each(|line| out.line(format_args!("{line}")));
        }
    }
}

impl Section {
    fn mid_in_use(&self) -> Option<&str> {
        match self {
            Section::Rejected { .. } => None,
            Section::Used(used) => used.mid.as_deref(),
        }
    }
}

/// Our candidates, and that there are no more.
pub(super) fn candidate_lines(candidates: &[Candidate]) -> impl Iterator<Item = String> {
    let line = |(index, candidate): (usize, &Candidate)| {
        let (ip, port) = (candidate.addr.ip(), candidate.addr.port());
        let (protocol, kind) = if candidate.tcp { ("tcp", " tcptype passive") } else { ("udp", "") };
        format!("a=candidate:{} 1 {protocol} {} {ip} {port} typ host{kind}", index + 1, candidate.priority)
    };
    candidates.iter().enumerate().map(line).chain(std::iter::once("a=end-of-candidates".into()))
}

fn format_lines(out: &mut Lines, used: &WrittenFormat) {
    let (payload_type, rate) = (used.payload_type, used.codec.clock_rate());
    let channels = if used.codec == Codec::Opus { "/2" } else { "" };
    out.line(format_args!("a=rtpmap:{payload_type} {}/{rate}{channels}", used.codec.name()));
    let Feedback { nack, pli, fir, transport_cc, remb } = used.feedback;
    for (agreed, value) in
        [(transport_cc, "transport-cc"), (remb, "goog-remb"), (nack, "nack"), (pli, "nack pli"), (fir, "ccm fir")]
    {
        if agreed {
            out.line(format_args!("a=rtcp-fb:{payload_type} {value}"));
        }
    }
    if !used.fmtp.is_empty() {
        out.line(format_args!("a=fmtp:{payload_type} {}", used.fmtp));
    }
    if let Some(rtx) = used.rtx_payload_type {
        out.line(format_args!("a=rtpmap:{rtx} rtx/{rate}"));
        out.line(format_args!("a=fmtp:{rtx} apt={payload_type}"));
    }
}

fn sources_lines(out: &mut Lines, sources: &Sources) {
    let Sources { cname, stream_label, track_label, ssrc, rtx_ssrc } = sources;
    if let Some(rtx) = rtx_ssrc {
        out.line(format_args!("a=ssrc-group:FID {ssrc} {rtx}"));
    }
    for ssrc in [Some(*ssrc), *rtx_ssrc].into_iter().flatten() {
        out.line(format_args!("a=ssrc:{ssrc} cname:{cname}"));
        out.line(format_args!("a=ssrc:{ssrc} msid:{stream_label} {track_label}"));
    }
}

struct Lines(String);

impl Lines {
    fn line(&mut self, line: std::fmt::Arguments<'_>) {
        self.0.write_fmt(line).expect("a String takes everything");
        self.0.push_str("\r\n");
    }
}
