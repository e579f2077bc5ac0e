use proptest::prelude::*;

use super::{super::feedback::Twcc, *};
use crate::units::time::Time;

fn one(bytes: &[u8]) -> Result<Rtcp<'_>, DropReason> {
    let mut all = packets(bytes);
    let first = all.next().expect("one packet");
    assert!(all.next().is_none(), "only one packet");
    first
}

/// A sender report and a source description as a browser sends them, put together by hand after RFC 3550 §6.4.1, §6.5.
const COMPOUND: [u8; 44] = [
    0x80, 200, 0, 6, 0x11, 0x22, 0x33, 0x44, 0xe3, 0x1b, 0x14, 0x45, 0x80, 0, 0, 0, 0, 1, 0x5f, 0x90, 0, 0, 0, 10, 0,
    0, 0x30, 0x39, // sender report without blocks
    0x81, 202, 0, 3, 0x11, 0x22, 0x33, 0x44, 1, 4, b'n', b'a', b'm', b'e', 0, 0, // source description
];

#[test]
fn a_compound_of_sender_report_and_description_is_walked() {
    let mut all = packets(&COMPOUND);
    let Some(Ok(Rtcp::SenderReport(report))) = all.next() else { panic!("a sender report") };
    assert_eq!((report.ssrc, report.ntp), (0x1122_3344, Ntp(0xe31b_1445_8000_0000)));
    assert_eq!((report.rtp_timestamp, report.packets, report.bytes), (90_000, 10, 12_345));
    assert_eq!(report.reports.count(), 0);
    assert!(matches!(all.next(), Some(Ok(Rtcp::Other { packet_type: 202, count: 1 }))));
    assert!(all.next().is_none());
}

#[test]
fn the_writers_make_the_same_compound() {
    let mut out = Vec::new();
    let ntp = Ntp(0xe31b_1445_8000_0000);
    let info = SenderInfo { ssrc: 0x1122_3344, ntp, rtp_timestamp: 90_000, packets: 10, bytes: 12_345 };
    write_sender_report(&mut out, &info, &[]);
    write_sdes_cname(&mut out, 0x1122_3344, "name");
    assert_eq!(out, COMPOUND);
}

#[test]
fn every_prefix_ends_in_an_error_or_at_a_packet_boundary() {
    for len in 0..COMPOUND.len() {
        let last = packets(&COMPOUND[..len]).last();
        match len {
            0 => assert!(last.is_none()),
            28 => assert!(matches!(last, Some(Ok(_)))),
            _ => assert!(matches!(last, Some(Err(DropReason::TooShort))), "{len}"),
        }
    }
}

#[test]
fn report_blocks_read_back_with_a_negative_loss() {
    let blocks = [
        ReportBlock {
            ssrc: 7,
            fraction_lost: 128,
            cumulative_lost: -3,
            highest_seq: 0x0001_fffe,
            jitter: 30,
            last_sr: 0xaabb_ccdd,
            delay_since_last_sr: 65_536,
        },
        ReportBlock { ssrc: 8, cumulative_lost: 0x7f_ffff, ..Default::default() },
    ];
    let mut out = Vec::new();
    write_receiver_report(&mut out, 1, &blocks);
    let Ok(Rtcp::ReceiverReport(report)) = one(&out) else { panic!("a receiver report") };
    assert_eq!(report.ssrc, 1);
    assert_eq!(report.reports.collect::<Vec<_>>(), blocks);
}

#[test]
fn a_loss_beyond_its_field_is_written_saturated() {
    let mut out = Vec::new();
    let block = |cumulative_lost| ReportBlock { cumulative_lost, ..Default::default() };
    write_receiver_report(&mut out, 1, &[block(i32::MAX), block(i32::MIN)]);
    let Ok(Rtcp::ReceiverReport(report)) = one(&out) else { panic!("a receiver report") };
    let lost: Vec<_> = report.reports.map(|b| b.cumulative_lost).collect();
    assert_eq!(lost, [0x7f_ffff, -0x80_0000]);
}

#[test]
fn one_packet_holds_thirty_one_blocks_and_no_more() {
    for (given, held) in [(31, 31), (32, 31)] {
        let mut out = Vec::new();
        write_receiver_report(&mut out, 1, &vec![ReportBlock::default(); given]);
        let Ok(Rtcp::ReceiverReport(report)) = one(&out) else { panic!("a receiver report") };
        assert_eq!(report.reports.count(), held);
    }
}

#[test]
fn a_count_beyond_the_body_is_too_short() {
    let mut report = vec![];
    write_receiver_report(&mut report, 1, &[ReportBlock::default()]);
    report[0] = 0x82;
    assert!(matches!(one(&report), Err(DropReason::TooShort)));
    assert!(matches!(one(&[0x82, 203, 0, 1, 0, 0, 0, 1]), Err(DropReason::TooShort)), "BYE");
    assert!(matches!(one(&[0x81, 206, 0, 1, 0, 0, 0, 1]), Err(DropReason::TooShort)), "PLI");
}

#[test]
fn a_cname_is_followed_by_at_least_one_zero() {
    for len in 0..12 {
        let mut out = Vec::new();
        write_sdes_cname(&mut out, 9, &"x".repeat(len));
        assert_eq!(out.len() % 4, 0);
        assert_eq!(out.last(), Some(&0), "{len}");
        assert!(one(&out).is_ok());
    }
    let mut out = Vec::new();
    write_sdes_cname(&mut out, 9, &"x".repeat(CNAME_LEN_MAX + 1));
    assert_eq!(out[9], 255);
    assert!(one(&out).is_ok());
}

#[test]
fn how_long_pictures_are_held_reads_back_and_other_applications_are_none_of_ours() {
    let mut out = Vec::new();
    write_hold(&mut out, 7, 250);
    assert!(matches!(one(&out), Ok(Rtcp::Hold { tens: 250 })));
    out[8] = b'H';
    assert!(matches!(one(&out), Ok(Rtcp::Other { packet_type: 204, count: 0 })));
    assert!(matches!(one(&[0x80, 204, 0, 0]), Err(DropReason::TooShort)));
    assert!(matches!(one(&[0x80, 204, 0, 1, 0, 0, 0, 7]), Ok(Rtcp::Other { packet_type: 204, .. })));
}

#[test]
fn feedback_reads_back() {
    let mut out = Vec::new();
    write_nack(&mut out, 1, 2, &[65_535, 0, 40]);
    write_pli(&mut out, 3, 4);
    write_fir(&mut out, 5, 6, 200);
    write_bye(&mut out, &[7, 8]);
    let all: Vec<_> = packets(&out).collect::<Result<_, _>>().unwrap();
    let [Rtcp::Nack(nack), Rtcp::Pli { sender: 3, media: 4 }, Rtcp::Fir(fir), Rtcp::Bye(bye)] = all.as_slice() else {
        panic!("{all:?}")
    };
    assert_eq!((nack.sender, nack.media, nack.seqs().collect::<Vec<_>>()), (1, 2, vec![65_535, 0, 40]));
    assert_eq!((fir.sender, fir.entries().collect::<Vec<_>>()), (5, vec![(6, 200)]));
    assert_eq!(bye.ssrcs().collect::<Vec<_>>(), [7, 8]);
}

#[test]
fn nothing_is_written_for_nothing() {
    let mut out = Vec::new();
    write_nack(&mut out, 1, 2, &[]);
    assert_eq!(write_transport_feedback(&mut out, 1, 2, 0, 0, &[]), 0);
    assert!(out.is_empty());
}

#[test]
fn a_transport_feedback_packet_reads_back() {
    let arrivals = [Arrival { seq: 10, at: Time::from_millis(100) }, Arrival { seq: 12, at: Time::from_millis(101) }];
    let mut out = Vec::new();
    assert_eq!(write_transport_feedback(&mut out, 1, 2, 9, 3, &arrivals), 2);
    let Ok(Rtcp::TransportFeedback { sender: 1, media: 2, fci }) = one(&out) else { panic!("a report") };
    let arrived: Vec<_> = Twcc::parse(fci).unwrap().statuses().map(|s| s.arrival_us.is_some()).collect();
    assert_eq!(arrived, [false, true, false, true]);
}

#[test]
fn an_estimate_is_mantissa_times_power_of_two() {
    // 0b00_1010 (10) << 18 | 1,000: 1,024,000 bit/s for one source.
    let remb = |exponent: u32, mantissa: u32, ssrcs: u32| {
        let mut bytes = vec![0x8f, 206, 0, 5, 0, 0, 0, 1, 0, 0, 0, 0];
        bytes.extend_from_slice(b"REMB");
        push_words(&mut bytes, &[ssrcs << 24 | exponent << 18 | mantissa, 0xabcd]);
        match one(&bytes) {
            Ok(Rtcp::Remb { sender: 1, bitrate_bps }) => Ok(bitrate_bps),
            Ok(other) => panic!("{other:?}"),
            Err(reason) => Err(reason),
        }
    };
    assert_eq!(remb(10, 1_000, 1), Ok(1_024_000));
    assert_eq!(remb(63, 0x3_ffff, 1), Ok(u64::MAX), "saturates");
    assert_eq!(remb(0, 0, 0), Ok(0));
    assert_eq!(remb(10, 1_000, 2), Err(DropReason::TooShort), "names more sources than there are");
}

#[test]
fn other_application_feedback_is_passed_over() {
    let bytes = [0x8f, 206, 0, 3, 0, 0, 0, 1, 0, 0, 0, 0, b'X', b'X', b'X', b'X'];
    assert!(matches!(one(&bytes), Ok(Rtcp::Other { packet_type: 206, count: 15 })));
}

#[test]
fn padding_is_cut_off_and_its_count_is_checked() {
    let padded = |count: u8| [0xa1, 203, 0, 3, 0, 0, 0, 9, 0, 0, 0, 0, 0, 0, 0, count];
    assert!(matches!(one(&padded(8)), Ok(Rtcp::Bye(bye)) if bye.ssrcs().eq([9])));
    assert!(matches!(one(&padded(12)), Err(DropReason::TooShort)), "the source is padding as well");
    for count in [0, 13, 255] {
        assert!(matches!(one(&padded(count)), Err(DropReason::Malformed)), "{count}");
    }
    assert!(matches!(one(&[0xa0, 203, 0, 0]), Err(DropReason::Malformed)), "no room for a count");
}

#[test]
fn a_transport_wide_report_may_be_padded_by_less_than_a_word() {
    // A run of one small delta, of 4 units; the last byte says that it is padding.
    let report = [0xaf, 205, 0, 5, 0, 0, 0, 1, 0, 0, 0, 2, 0, 7, 0, 1, 0, 0, 9, 4, 0x20, 1, 4, 1];
    let Ok(Rtcp::TransportFeedback { fci, .. }) = one(&report) else { panic!("it is read") };
    let statuses: Vec<_> = Twcc::parse(fci).unwrap().statuses().map(|s| (s.seq, s.arrival_us)).collect();
    assert_eq!(statuses, [(7, Some(1_000))]);
}

#[test]
fn only_version_two_is_rtcp() {
    for first in [0x00, 0x40, 0xc0] {
        assert!(matches!(one(&[first, 203, 0, 0]), Err(DropReason::Malformed)));
    }
}

fn read_all(bytes: &[u8]) {
    for packet in packets(bytes).flatten() {
        match packet {
            Rtcp::SenderReport(report) => drop(report.reports.count()),
            Rtcp::ReceiverReport(report) => drop(report.reports.count()),
            Rtcp::Bye(bye) => drop(bye.ssrcs().count()),
            Rtcp::Nack(nack) => drop(nack.seqs().count()),
            Rtcp::Fir(fir) => drop(fir.entries().count()),
            Rtcp::TransportFeedback { fci, .. } => drop(Twcc::parse(fci).map(|report| report.statuses().count())),
            Rtcp::Pli { .. } | Rtcp::Remb { .. } | Rtcp::Hold { .. } | Rtcp::Other { .. } => {}
        }
    }
}

#[test]
fn short_packets_of_every_first_byte_and_type_are_read_without_panic() {
    for first in 0..=255u8 {
        for packet_type in 192..=223u8 {
            let mut bytes = [0xffu8; 40];
            bytes[..2].copy_from_slice(&[first, packet_type]);
            for len in 0..bytes.len() {
                if let [_, _, hi, lo, rest @ ..] = &mut bytes[..len] {
                    (*hi, *lo) = (0, (rest.len() / 4) as u8);
                }
                read_all(&bytes[..len]);
            }
        }
    }
}

proptest! {
    #[test]
    fn walking_never_panics(mut bytes in prop::collection::vec(any::<u8>(), 0..120), packet_type in 198u8..208) {
        read_all(&bytes);
        if let [first, kind, hi, lo, rest @ ..] = bytes.as_mut_slice() {
            (*first, *kind, *hi, *lo) = (0x80 | *first & 0x3f, packet_type, 0, (rest.len() / 4) as u8);
        }
        read_all(&bytes);
    }
}
