//! RTCP: walking a compound packet without allocation, and appending packets to one (RFC 3550 §6, RFC 4585, RFC 5104,
//! draft-alvestrand-rmcat-remb-03). Reduced-size packets (RFC 5506) are compound packets like any other here.

use super::feedback::{Arrival, NackSeqs, write_nack_pairs, write_twcc_fci};
use crate::{drop_reason::DropReason, units::time::Ntp};

/// The most report blocks, or sources of a BYE, that one packet holds: the count has five bits.
pub const REPORTS_MAX: usize = 31;

/// The longest CNAME: its length has eight bits (RFC 3550 §6.5).
pub const CNAME_LEN_MAX: usize = 255;

const HEADER_LEN: usize = 4;
const REPORT_BLOCK_LEN: usize = 24;
const SENDER_INFO_LEN: usize = 20;
const FIR_ENTRY_LEN: usize = 8;

const SENDER_REPORT: u8 = 200;
const RECEIVER_REPORT: u8 = 201;
const SOURCE_DESCRIPTION: u8 = 202;
const BYE: u8 = 203;
const APPLICATION: u8 = 204;
const TRANSPORT_FEEDBACK: u8 = 205;
const PAYLOAD_FEEDBACK: u8 = 206;

const FMT_NACK: u8 = 1;
const FMT_TWCC: u8 = 15;
const FMT_PLI: u8 = 1;
const FMT_FIR: u8 = 4;
const FMT_APPLICATION: u8 = 15;

/// One packet of a compound packet.
#[derive(Clone, Debug)]
pub enum Rtcp<'a> {
    SenderReport(SenderReport<'a>),
    ReceiverReport(ReceiverReport<'a>),
    Bye(Bye<'a>),
    Nack(Nack<'a>),
    /// Picture loss: the decoder wants a key frame (RFC 4585 §6.3.1).
    Pli {
        sender: u32,
        media: u32,
    },
    Fir(Fir<'a>),
    /// Transport-wide congestion control; the FCI is for [`Twcc::parse`](super::feedback::Twcc::parse).
    TransportFeedback {
        sender: u32,
        media: u32,
        fci: &'a [u8],
    },
    /// The receiver's estimate of what it can take, for all SSRCs that it names together.
    Remb {
        sender: u32,
        bitrate_bps: u64,
    },
    /// How long the pictures of a track are to be held before they are shown, in units of 10 ms: an APP packet of our own (RFC 3550
    /// §6.7), between the bridge and rooms.
    Hold {
        tens: u8,
    },
    /// One that roomcast has no use for (SDES, XR, APP, other feedback), well-formed as far as its length goes.
    Other {
        packet_type: u8,
        count: u8,
    },
}

/// A sender report (RFC 3550 §6.4.1).
#[derive(Clone, Debug)]
pub struct SenderReport<'a> {
    pub ssrc: u32,
    pub ntp: Ntp,
    /// The media clock at the instant of `ntp`.
    pub rtp_timestamp: u32,
    /// Packets and payload bytes sent so far; wrap.
    pub packets: u32,
    pub bytes: u32,
    pub reports: ReportBlocks<'a>,
}

/// A receiver report (RFC 3550 §6.4.2).
#[derive(Clone, Debug)]
pub struct ReceiverReport<'a> {
    pub ssrc: u32,
    pub reports: ReportBlocks<'a>,
}

/// What a receiver says of one source (RFC 3550 §6.4.1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ReportBlock {
    /// The source that this speaks of.
    pub ssrc: u32,
    /// Lost since the last report, in 1/256.
    pub fraction_lost: u8,
    /// Lost since the beginning; negative if duplicates outnumber losses. 24 bits on the wire, written saturated.
    pub cumulative_lost: i32,
    /// The highest sequence number seen, with the number of wraps above it.
    pub highest_seq: u32,
    /// Interarrival jitter in timestamp units.
    pub jitter: u32,
    /// Middle 32 bits of the NTP time of the last sender report; zero: none was seen.
    pub last_sr: u32,
    /// Since that report was received, in 1/65536 s.
    pub delay_since_last_sr: u32,
}

/// Iterator over report blocks.
#[derive(Clone, Debug, Default)]
pub struct ReportBlocks<'a>(&'a [u8]);

/// Sources that leave (RFC 3550 §6.6).
#[derive(Clone, Debug)]
pub struct Bye<'a> {
    ssrcs: &'a [u8],
}

/// Packets asked for again (RFC 4585 §6.2.1).
#[derive(Clone, Debug)]
pub struct Nack<'a> {
    pub sender: u32,
    pub media: u32,
    fci: &'a [u8],
}

/// Demand for a key frame from each source named (RFC 5104 §4.3.1).
#[derive(Clone, Debug)]
pub struct Fir<'a> {
    pub sender: u32,
    fci: &'a [u8],
}

impl Iterator for ReportBlocks<'_> {
    type Item = ReportBlock;

    fn next(&mut self) -> Option<ReportBlock> {
        let (block, rest) = self.0.split_first_chunk::<REPORT_BLOCK_LEN>()?;
        self.0 = rest;
        let loss = word(block, 4);
        Some(ReportBlock {
            ssrc: word(block, 0),
            fraction_lost: (loss >> 24) as u8,
            cumulative_lost: ((loss << 8) as i32) >> 8,
            highest_seq: word(block, 8),
            jitter: word(block, 12),
            last_sr: word(block, 16),
            delay_since_last_sr: word(block, 20),
        })
    }
}

impl<'a> Bye<'a> {
    pub fn ssrcs(&self) -> impl Iterator<Item = u32> + use<'a> {
        self.ssrcs.as_chunks::<4>().0.iter().map(|bytes| u32::from_be_bytes(*bytes))
    }
}

impl<'a> Nack<'a> {
    /// The sequence numbers asked for, in the order of the packet; seventeen for each four bytes at most.
    pub fn seqs(&self) -> NackSeqs<'a> {
        NackSeqs::new(self.fci)
    }
}

impl<'a> Fir<'a> {
    /// The sources and, for each, the command's number: the same number again is the same command.
    pub fn entries(&self) -> impl Iterator<Item = (u32, u8)> + use<'a> {
        self.fci.as_chunks::<FIR_ENTRY_LEN>().0.iter().map(|entry| (word(entry, 0), entry[4]))
    }
}

/// Walks a plaintext compound or reduced-size packet. After an error there is nothing more: what follows has no place
/// of its own any longer.
pub fn packets(compound: &[u8]) -> Packets<'_> {
    Packets { rest: compound }
}

/// Iterator of [`packets`].
#[derive(Clone, Debug)]
pub struct Packets<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for Packets<'a> {
    type Item = Result<Rtcp<'a>, DropReason>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        match next_packet(self.rest) {
            Ok((packet, rest)) => {
                self.rest = rest;
                Some(Ok(packet))
            }
            Err(reason) => {
                self.rest = &[];
                Some(Err(reason))
            }
        }
    }
}

fn next_packet(compound: &[u8]) -> Result<(Rtcp<'_>, &[u8]), DropReason> {
    let &[first, packet_type, words_hi, words_lo] = compound.first_chunk().ok_or(DropReason::TooShort)?;
    if first >> 6 != 2 {
        return Err(DropReason::Malformed);
    }
    let len = HEADER_LEN + 4 * usize::from(u16::from_be_bytes([words_hi, words_lo]));
    let (packet, rest) = compound.split_at_checked(len).ok_or(DropReason::TooShort)?;
    let mut body = packet.get(HEADER_LEN..).unwrap_or_default();
    if first & 0x20 != 0 {
        // The count includes itself. Only the last packet of a compound may be padded, but nothing is lost by reading one
        // that is padded in the middle. It should be whole words (RFC 3550 §6.4.1), but libwebrtc pads its transport-wide
        // reports by one to three bytes.
        let padding = usize::from(body.last().copied().ok_or(DropReason::Malformed)?);
        let kept = body.len().checked_sub(padding).ok_or(DropReason::Malformed)?;
        if padding == 0 {
            return Err(DropReason::Malformed);
        }
        body = body.get(..kept).unwrap_or_default();
    }
    Ok((read(packet_type, first & 0x1f, body)?, rest))
}

fn read(packet_type: u8, count: u8, body: &[u8]) -> Result<Rtcp<'_>, DropReason> {
    let count_len = usize::from(count);
    match (packet_type, count) {
        (SENDER_REPORT, _) => {
            let (ssrc, body) = split_word(body)?;
            let (info, blocks) = body.split_first_chunk::<SENDER_INFO_LEN>().ok_or(DropReason::TooShort)?;
            Ok(Rtcp::SenderReport(SenderReport {
                ssrc,
                ntp: Ntp(u64::from(word(info, 0)) << 32 | u64::from(word(info, 4))),
                rtp_timestamp: word(info, 8),
                packets: word(info, 12),
                bytes: word(info, 16),
                reports: ReportBlocks(blocks.get(..count_len * REPORT_BLOCK_LEN).ok_or(DropReason::TooShort)?),
            }))
        }
        (RECEIVER_REPORT, _) => {
            let (ssrc, blocks) = split_word(body)?;
            let reports = ReportBlocks(blocks.get(..count_len * REPORT_BLOCK_LEN).ok_or(DropReason::TooShort)?);
            Ok(Rtcp::ReceiverReport(ReceiverReport { ssrc, reports }))
        }
        (BYE, _) => Ok(Rtcp::Bye(Bye { ssrcs: body.get(..count_len * 4).ok_or(DropReason::TooShort)? })),
        (APPLICATION, _) => match split_word(body)? {
            (_, [b'h', b'o', b'l', b'd', _, _, _, tens]) => Ok(Rtcp::Hold { tens: *tens }),
            _ => Ok(Rtcp::Other { packet_type, count }),
        },
        (TRANSPORT_FEEDBACK, FMT_NACK) => {
            let (sender, media, fci) = split_feedback(body)?;
            Ok(Rtcp::Nack(Nack { sender, media, fci }))
        }
        (TRANSPORT_FEEDBACK, FMT_TWCC) => {
            let (sender, media, fci) = split_feedback(body)?;
            Ok(Rtcp::TransportFeedback { sender, media, fci })
        }
        (PAYLOAD_FEEDBACK, FMT_PLI) => {
            let (sender, media, _) = split_feedback(body)?;
            Ok(Rtcp::Pli { sender, media })
        }
        (PAYLOAD_FEEDBACK, FMT_FIR) => {
            // "The SSRC of media source is not used and SHALL be set to 0" (RFC 5104 §4.3.1.2).
            let (sender, _, fci) = split_feedback(body)?;
            Ok(Rtcp::Fir(Fir { sender, fci }))
        }
        (PAYLOAD_FEEDBACK, FMT_APPLICATION) => {
            let (sender, _, fci) = split_feedback(body)?;
            match fci.split_first_chunk::<4>() {
                Some((b"REMB", fci)) => Ok(Rtcp::Remb { sender, bitrate_bps: remb_bitrate(fci)? }),
                _ => Ok(Rtcp::Other { packet_type, count }),
            }
        }
        _ => Ok(Rtcp::Other { packet_type, count }),
    }
}

/// `Num SSRC | BR Exp | BR Mantissa`, then the SSRCs (draft-alvestrand-rmcat-remb-03 §2.2).
fn remb_bitrate(fci: &[u8]) -> Result<u64, DropReason> {
    let (value, ssrcs) = split_word(fci)?;
    if ssrcs.len() < 4 * (value >> 24) as usize {
        return Err(DropReason::TooShort);
    }
    let mantissa = u128::from(value & 0x3_ffff);
    Ok(u64::try_from(mantissa << (value >> 18 & 0x3f)).unwrap_or(u64::MAX))
}

fn split_word(bytes: &[u8]) -> Result<(u32, &[u8]), DropReason> {
    let (word, rest) = bytes.split_first_chunk().ok_or(DropReason::TooShort)?;
    Ok((u32::from_be_bytes(*word), rest))
}

fn split_feedback(body: &[u8]) -> Result<(u32, u32, &[u8]), DropReason> {
    let (sender, body) = split_word(body)?;
    let (media, fci) = split_word(body)?;
    Ok((sender, media, fci))
}

/// The word at `at` of a block whose length the caller has checked; zero beyond its end.
fn word(block: &[u8], at: usize) -> u32 {
    block.get(at..).and_then(|rest| rest.first_chunk()).map_or(0, |bytes| u32::from_be_bytes(*bytes))
}

/// The sender's half of a sender report.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SenderInfo {
    pub ssrc: u32,
    pub ntp: Ntp,
    /// The media clock at the instant of `ntp`.
    pub rtp_timestamp: u32,
    pub packets: u32,
    pub bytes: u32,
}

/// Appends a sender report with the first [`REPORTS_MAX`] of `reports`.
pub fn write_sender_report(out: &mut Vec<u8>, info: &SenderInfo, reports: &[ReportBlock]) {
    let reports = &reports[..reports.len().min(REPORTS_MAX)];
    write_packet(out, SENDER_REPORT, reports.len() as u8, |out| {
        push_words(out, &[info.ssrc, (info.ntp.0 >> 32) as u32, info.ntp.0 as u32]);
        push_words(out, &[info.rtp_timestamp, info.packets, info.bytes]);
        reports.iter().for_each(|block| push_report(out, block));
    });
}

/// Appends a receiver report with the first [`REPORTS_MAX`] of `reports`.
pub fn write_receiver_report(out: &mut Vec<u8>, ssrc: u32, reports: &[ReportBlock]) {
    let reports = &reports[..reports.len().min(REPORTS_MAX)];
    write_packet(out, RECEIVER_REPORT, reports.len() as u8, |out| {
        push_words(out, &[ssrc]);
        reports.iter().for_each(|block| push_report(out, block));
    });
}

/// Appends a source description with one CNAME, cut to [`CNAME_LEN_MAX`] bytes.
pub fn write_sdes_cname(out: &mut Vec<u8>, ssrc: u32, cname: &str) {
    let cname = &cname.as_bytes()[..cname.len().min(CNAME_LEN_MAX)];
    write_packet(out, SOURCE_DESCRIPTION, 1, |out| {
        push_words(out, &[ssrc]);
        out.extend_from_slice(&[1, cname.len() as u8]);
        out.extend_from_slice(cname);
        // "The list of items in each chunk MUST be terminated by one or more null octets" (RFC 3550 §6.5): a chunk that
        // ends on a word needs another word of them.
        let padding = 4 - (2 + cname.len()) % 4;
        out.resize(out.len() + padding, 0);
    });
}

/// Appends a BYE for the first [`REPORTS_MAX`] of `ssrcs`.
pub fn write_bye(out: &mut Vec<u8>, ssrcs: &[u32]) {
    let ssrcs = &ssrcs[..ssrcs.len().min(REPORTS_MAX)];
    write_packet(out, BYE, ssrcs.len() as u8, |out| push_words(out, ssrcs));
}

/// Appends how long pictures are to be held, see [`Rtcp::Hold`].
pub fn write_hold(out: &mut Vec<u8>, ssrc: u32, tens: u8) {
    write_packet(out, APPLICATION, 0, |out| push_words(out, &[ssrc, u32::from_be_bytes(*b"hold"), u32::from(tens)]));
}

/// Appends a generic NACK for `seqs`, which ascend on the 16-bit circle. Four bytes for each seventeen numbers at best
/// and for each one at worst: the caller bounds `seqs` so that a datagram holds them. Nothing is written for none.
pub fn write_nack(out: &mut Vec<u8>, sender: u32, media: u32, seqs: &[u16]) {
    if !seqs.is_empty() {
        write_packet(out, TRANSPORT_FEEDBACK, FMT_NACK, |out| {
            push_words(out, &[sender, media]);
            write_nack_pairs(out, seqs);
        });
    }
}

/// Appends a picture loss indication.
pub fn write_pli(out: &mut Vec<u8>, sender: u32, media: u32) {
    write_packet(out, PAYLOAD_FEEDBACK, FMT_PLI, |out| push_words(out, &[sender, media]));
}

/// Appends a full intra request to one source; `command_seq` moves on for each new demand and stays for a repeated one.
pub fn write_fir(out: &mut Vec<u8>, sender: u32, media: u32, command_seq: u8) {
    let command = u32::from(command_seq) << 24;
    write_packet(out, PAYLOAD_FEEDBACK, FMT_FIR, |out| push_words(out, &[sender, 0, media, command]));
}

/// Appends a transport-wide congestion control report and returns how many of `arrivals` it holds; the rest wants
/// another call, with the next feedback count. See [`write_twcc_fci`] for what `base` and `arrivals` must be.
pub fn write_transport_feedback(
    out: &mut Vec<u8>,
    sender: u32,
    media: u32,
    base: u64,
    feedback_count: u8,
    arrivals: &[Arrival],
) -> usize {
    if arrivals.is_empty() {
        return 0;
    }
    write_packet(out, TRANSPORT_FEEDBACK, FMT_TWCC, |out| {
        push_words(out, &[sender, media]);
        write_twcc_fci(out, base, feedback_count, arrivals)
    })
}

/// Appends one packet: the header, then what `body` writes, which is a whole number of words.
fn write_packet<T>(out: &mut Vec<u8>, packet_type: u8, count: u8, body: impl FnOnce(&mut Vec<u8>) -> T) -> T {
    let start = out.len();
    out.extend_from_slice(&[0x80 | count & 0x1f, packet_type, 0, 0]);
    let result = body(out);
    let words = (out.len() - start) / 4 - 1;
    if let Some(place) = out.get_mut(start + 2..start + HEADER_LEN) {
        place.copy_from_slice(&(words as u16).to_be_bytes());
    }
    result
}

fn push_words(out: &mut Vec<u8>, words: &[u32]) {
    words.iter().for_each(|word| out.extend_from_slice(&word.to_be_bytes()));
}

fn push_report(out: &mut Vec<u8>, block: &ReportBlock) {
    let lost = block.cumulative_lost.clamp(-0x80_0000, 0x7f_ffff) as u32 & 0xff_ffff;
    push_words(out, &[block.ssrc, u32::from(block.fraction_lost) << 24 | lost, block.highest_seq]);
    push_words(out, &[block.jitter, block.last_sr, block.delay_since_last_sr]);
}

#[cfg(test)]
mod tests;
