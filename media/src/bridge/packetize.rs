//! Frames to RTP packets: numbering, timestamps, sender reports, and how a picture is cut.

mod other;

use std::time::Duration;

use crate::{
    codec::h264::payload::{aggregates, fragment, stap_a_len, write_stap_a},
    ids::Kind,
    rtp::{
        packet::{FIXED_HEADER_LEN, NewHeader},
        rtcp::{SenderInfo, write_hold, write_sender_report},
    },
    units::time::{Time, WallClock},
};

/// Longest RTP payload that is made. With header, extensions, SRTP, UDP and IPv6 it stays below the 1,280 bytes that every
/// path carries.
pub const PAYLOAD_BYTES_MAX: usize = 1_160;

/// The extension in which packets of sound say how loud they are (RFC 6464), between the bridge and the room.
pub const AUDIO_LEVEL_ID: u8 = 1;

/// Bytes of the extension with that one element.
const AUDIO_LEVEL_LEN: usize = 8;

/// How often a sender report is written. The first goes out with the first packet, so that lips and voice agree at once.
const REPORT_INTERVAL: Duration = Duration::from_secs(1);

/// Where packets go. False: there was no room, and the packet counts as never made.
pub type PacketSink<'a> = dyn FnMut(Kind, &[u8]) -> bool + 'a;

/// The sending side of one RTP stream.
#[derive(Debug)]
pub struct RtpStream {
    kind: Kind,
    payload_type: u8,
    rate_hz: i64,
    ssrc: u32,
    next_seq: u16,
    timestamp_offset: u32,
    packets: u32,
    bytes: u32,
    report_at: Option<Time>,
    packet: Vec<u8>,
}

impl RtpStream {
    /// A stream with random SSRC, timestamp and sequence number.
    pub fn new(kind: Kind, payload_type: u8, rate_hz: u32) -> Self {
        RtpStream {
            kind,
            payload_type,
            rate_hz: i64::from(rate_hz),
            ssrc: rand::random(),
            // In the lower half, so that a receiver that misses the start cannot take a wrap for a loss (RFC 3711 §3.3.1).
            next_seq: rand::random::<u16>() & 0x7fff,
            timestamp_offset: rand::random(),
            packets: 0,
            bytes: 0,
            report_at: None,
            packet: vec![0; FIXED_HEADER_LEN + AUDIO_LEVEL_LEN + PAYLOAD_BYTES_MAX],
        }
    }

    /// What the packets carry from here on, see [`Codec::bridged_payload_type`](crate::codec::Codec::bridged_payload_type).
    pub fn set_payload_type(&mut self, payload_type: u8) {
        self.payload_type = payload_type;
    }

    /// The RTP timestamp of a count of this stream's timestamp units on the server's time line.
    pub fn timestamp_of_units(&self, units: i64) -> u32 {
        self.timestamp_offset.wrapping_add(units as u32)
    }

    /// The RTP timestamp of a time on the server's line, in microseconds.
    pub fn timestamp_of_us(&self, us: i64) -> u32 {
        self.timestamp_of_units((i128::from(us) * i128::from(self.rate_hz)).div_euclid(1_000_000) as i64)
    }

    /// Sends one packet whose payload is `prefix` and `data`. False, and no number is used up, if the sink has no room or
    /// the payload is longer than [`PAYLOAD_BYTES_MAX`].
    pub fn send(
        &mut self,
        timestamp: u32,
        marker: bool,
        prefix: &[u8],
        data: &[u8],
        sink: &mut PacketSink<'_>,
    ) -> bool {
        self.send_with(timestamp, marker, prefix, data, &[], sink)
    }

    /// Sends one packet of sound of this loudness, in decibels below overload. Otherwise as [`send`](Self::send).
    pub fn send_audio(&mut self, timestamp: u32, data: &[u8], dbov: u8, sink: &mut PacketSink<'_>) -> bool {
        self.send_with(timestamp, false, &[], data, &[(AUDIO_LEVEL_ID, &[dbov & 0x7f])], sink)
    }

    fn send_with(
        &mut self,
        timestamp: u32,
        marker: bool,
        prefix: &[u8],
        data: &[u8],
        ext: &[(u8, &[u8])],
        sink: &mut PacketSink<'_>,
    ) -> bool {
        let header =
            NewHeader { marker, payload_type: self.payload_type, seq: self.next_seq, timestamp, ssrc: self.ssrc, ext };
        let payload_len = prefix.len() + data.len();
        let Some(header_len) = header.write(&mut self.packet) else { return false };
        let data_at = header_len + prefix.len();
        let (Some(prefix_space), true) = (self.packet.get_mut(header_len..data_at), payload_len <= PAYLOAD_BYTES_MAX)
        else {
            return false;
        };
        prefix_space.copy_from_slice(prefix);
        let end = data_at + data.len();
        let Some(data_space) = self.packet.get_mut(data_at..end) else { return false };
        data_space.copy_from_slice(data);
        if !sink(self.kind, &self.packet[..end]) {
            return false;
        }
        self.next_seq = self.next_seq.wrapping_add(1);
        self.packets = self.packets.wrapping_add(1);
        self.bytes = self.bytes.wrapping_add(payload_len as u32);
        true
    }

    /// Writes a sender report if one is due: the first packet makes the first one due.
    pub fn report(&mut self, now: Time, wall: &WallClock, sink: &mut PacketSink<'_>) {
        if self.packets == 0 || self.report_at.is_some_and(|at| now < at) {
            return;
        }
        let info = SenderInfo {
            ssrc: self.ssrc,
            ntp: wall.ntp(now),
            rtp_timestamp: self.timestamp_of_us(now.as_micros() as i64),
            packets: self.packets,
            bytes: self.bytes,
        };
        let mut report = Vec::with_capacity(28);
        write_sender_report(&mut report, &info, &[]);
        if sink(self.kind, &report) {
            self.report_at = Some(now + REPORT_INTERVAL);
        }
    }

    /// Tells how long pictures are to be held from here on, in units of 10 ms.
    pub fn tell_hold(&self, tens: u8, sink: &mut PacketSink<'_>) {
        let mut packet = Vec::with_capacity(16);
        write_hold(&mut packet, self.ssrc, tens);
        // Without it pictures are held by what browsers find out for themselves.
        let _ = sink(self.kind, &packet);
    }

    /// Sends the NAL units of one picture, the marker on the last packet: parameter sets and what belongs to them together,
    /// a slice alone, a slice that is too long in parts of equal size. False if not all of it could be sent.
    pub fn send_h264(&mut self, timestamp: u32, nals: &[&[u8]], sink: &mut PacketSink<'_>) -> bool {
        let mut rest = nals;
        while let Some((first, others)) = rest.split_first() {
            let together = rest
                .iter()
                .enumerate()
                .take_while(|(n, nal)| {
                    aggregates(nal) && stap_a_len(rest[..=*n].iter().map(|nal| nal.len())) <= PAYLOAD_BYTES_MAX
                })
                .count();
            let sent = if together > 1 {
                let (group, behind) = rest.split_at(together);
                rest = behind;
                let mut payload = Vec::with_capacity(PAYLOAD_BYTES_MAX);
                write_stap_a(&mut payload, group) && self.send(timestamp, rest.is_empty(), &payload, &[], sink)
            } else {
                rest = others;
                self.send_fragments(timestamp, first, others.is_empty(), sink)
            };
            if !sent {
                return false;
            }
        }
        true
    }

    fn send_fragments(&mut self, timestamp: u32, nal: &[u8], last_nal: bool, sink: &mut PacketSink<'_>) -> bool {
        let mut fragments = fragment(nal, PAYLOAD_BYTES_MAX).peekable();
        while let Some(part) = fragments.next() {
            let marker = last_nal && fragments.peek().is_none();
            if !self.send(timestamp, marker, part.prefix(), part.data, sink) {
                return false;
            }
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{
        codec::h264::payload::{Piece, pieces},
        rtp::{
            packet::{Header, is_rtcp},
            rtcp::{Rtcp, packets},
        },
        units::time::Ntp,
    };

    fn sent(nals: &[&[u8]]) -> Vec<(Header, Vec<u8>)> {
        let mut stream = RtpStream::new(Kind::Video, 102, 90_000);
        let mut sent = Vec::new();
        let timestamp = stream.timestamp_of_us(0);
        assert!(stream.send_h264(timestamp, nals, &mut |_, packet| {
            let header = Header::parse(packet).unwrap();
            sent.push((header, header.payload(packet).to_vec()));
            true
        }));
        sent
    }

    #[test]
    fn parameter_sets_share_a_packet_and_a_long_slice_leaves_in_equal_parts() {
        let slice: Vec<u8> = std::iter::once(0x65).chain((0..5_000).map(|n| n as u8)).collect();
        let packets = sent(&[&[0x67, 1, 2, 3], &[0x68, 4], &slice]);
        let lens: Vec<usize> = packets.iter().map(|(_, payload)| payload.len()).collect();
        assert_eq!(lens, [1 + 2 + 4 + 2 + 2, 1_002, 1_002, 1_002, 1_002, 1_002]);
        let markers: Vec<bool> = packets.iter().map(|(header, _)| header.marker).collect();
        assert_eq!(markers, [false, false, false, false, false, true]);
    }

    #[test]
    fn a_packet_that_finds_no_room_uses_no_number() {
        let mut stream = RtpStream::new(Kind::Audio, 111, 48_000);
        let mut seqs = Vec::new();
        for n in 0..4 {
            stream.send(0, false, &[], &[1], &mut |_, packet| {
                seqs.extend((n != 2).then(|| Header::parse(packet).unwrap().seq));
                n != 2
            });
        }
        assert_eq!(seqs, [seqs[0], seqs[0] + 1, seqs[0] + 2]);
    }

    #[test]
    fn reports_come_with_the_first_packet_and_each_second_and_tie_the_clocks() {
        let wall = WallClock::new(1_700_000_000_000_000);
        let mut stream = RtpStream::new(Kind::Video, 102, 90_000);
        let mut reports = Vec::new();
        for ms in (0..3_000u64).step_by(40) {
            let now = Time::from_millis(ms);
            let (timestamp, start) = (stream.timestamp_of_us(now.as_micros() as i64), stream.timestamp_of_us(0));
            if ms == 0 {
                stream.report(now, &wall, &mut |_, _| panic!("nothing was sent yet"));
            }
            stream.send(timestamp, true, &[], &[1], &mut |_, _| true);
            stream.report(now, &wall, &mut |kind, packet| {
                assert!(kind == Kind::Video && is_rtcp(packet));
                let Some(Ok(Rtcp::SenderReport(report))) = packets(packet).next() else { panic!("no report") };
                assert_eq!(report.ntp, wall.ntp(now));
                assert_eq!(report.rtp_timestamp.wrapping_sub(start), ms as u32 * 90);
                reports.push((ms, report.packets));
                true
            });
        }
        assert_eq!(reports.iter().map(|(ms, _)| *ms).collect::<Vec<_>>(), [0, 1_000, 2_000]);
        assert_eq!(reports[1].1, 26);
        assert_ne!(wall.ntp(Time::ZERO), Ntp(0));
    }

    #[test]
    fn timestamps_wrap_at_32_bits_however_long_the_server_runs() {
        let stream = RtpStream::new(Kind::Video, 102, 90_000);
        let year_us = 365 * 86_400 * 1_000_000i64;
        let (a, b) = (stream.timestamp_of_us(year_us), stream.timestamp_of_us(year_us + 1_000_000));
        assert_eq!(b.wrapping_sub(a), 90_000);
    }

    proptest! {
        #[test]
        fn any_picture_is_put_together_again_and_no_payload_is_too_long(
            nals in prop::collection::vec((1u8..24, prop::collection::vec(any::<u8>(), 1..4_000)), 1..6)
        ) {
            let nals: Vec<Vec<u8>> = nals.into_iter().map(|(kind, body)| [&[kind][..], &body].concat()).collect();
            let borrowed: Vec<&[u8]> = nals.iter().map(|nal| &nal[..]).collect();
            let packets = sent(&borrowed);
            let mut joined: Vec<Vec<u8>> = Vec::new();
            for (n, (header, payload)) in packets.iter().enumerate() {
                prop_assert!(payload.len() <= PAYLOAD_BYTES_MAX);
                prop_assert_eq!(header.marker, n + 1 == packets.len());
                for piece in pieces(payload) {
                    match piece.unwrap() {
                        Piece::Whole(nal) => joined.push(nal.to_vec()),
                        Piece::Part { header, start, data, .. } => {
                            if start { joined.push(vec![header]) }
                            joined.last_mut().unwrap().extend_from_slice(data);
                        }
                    }
                }
            }
            prop_assert_eq!(joined, nals);
        }
    }
}
