use proptest::prelude::*;

use super::*;

fn nack_round_trip(seqs: &[u16]) -> (usize, Vec<u16>) {
    let mut fci = Vec::new();
    let pairs = write_nack_pairs(&mut fci, seqs);
    assert_eq!(fci.len(), 4 * pairs);
    (pairs, NackSeqs::new(&fci).collect())
}

#[test]
fn a_pair_names_its_pid_and_sixteen_more() {
    let seqs: Vec<u16> = (100..=116).collect();
    assert_eq!(nack_round_trip(&seqs), (1, seqs.clone()));
    assert_eq!(NackSeqs::new(&[0, 100, 0xff, 0xff]).collect::<Vec<_>>(), seqs);
    assert_eq!(NackSeqs::new(&[0, 100, 0x80, 0x01]).collect::<Vec<_>>(), [100, 101, 116]);
    assert_eq!(NackSeqs::new(&[0, 100, 0, 0, 9]).collect::<Vec<_>>(), [100], "bytes behind the last pair");
}

#[test]
fn the_seventeenth_number_starts_a_pair() {
    assert_eq!(nack_round_trip(&[100, 117]), (2, vec![100, 117]));
    assert_eq!(nack_round_trip(&[65_534, 65_535, 0, 14]), (1, vec![65_534, 65_535, 0, 14]));
    assert_eq!(nack_round_trip(&[]), (0, vec![]));
}

/// Reference time 4 (256 ms), base 0x0102; one-bit vector 1 0 1, two-byte delta absent. By hand after §3.1 of the draft.
const ONE_BIT: [u8; 12] = [0x01, 0x02, 0, 3, 0, 0, 4, 7, 0xa8, 0x00, 8, 4];

#[test]
fn a_one_bit_vector_is_read() {
    let report = Twcc::parse(&ONE_BIT).unwrap();
    assert_eq!((report.base_seq, report.status_count), (0x0102, 3));
    assert_eq!((report.reference_time, report.feedback_count), (4, 7));
    let statuses: Vec<_> = report.statuses().map(|s| (s.seq, s.arrival_us)).collect();
    assert_eq!(statuses, [(0x0102, Some(2_000)), (0x0103, None), (0x0104, Some(3_000))]);
}

/// The draft's own examples of chunks, §3.1.3 and §3.1.4.
#[test]
fn the_chunks_of_the_draft_are_read() {
    let statuses = |chunk: Chunk| (0..chunk.len()).map(|i| chunk.status(i)).collect::<Vec<_>>();
    assert_eq!(statuses(Chunk::read([0x00, 0xdd])), [0; 221]);
    assert_eq!(statuses(Chunk::read([0x60, 0x18])), [3; 24], "0 11 0000000011000: the run of the reserved symbol");
    assert_eq!(statuses(Chunk::read([0x9f, 0x1c])), [0, 1, 1, 1, 1, 1, 0, 0, 0, 1, 1, 1, 0, 0]);
    // The draft's example has 11, reserved, as its second symbol; here it is 10.
    assert_eq!(statuses(Chunk::read([0b1100_1001, 0b0101_0000])), [0, 2, 1, 1, 1, 0, 0]);
}

#[test]
fn a_negative_large_delta_goes_back_in_time() {
    // Two packets by a two-bit vector: small 40 ms, then large -10 ms.
    let fci = [0, 1, 0, 2, 0xff, 0xff, 0xff, 0, 0b1101_1000, 0, 160, 0xff, 0xd8, 0, 0, 0];
    let report = Twcc::parse(&fci).unwrap();
    assert_eq!(report.reference_time, -1);
    let times: Vec<_> = report.statuses().map(|s| s.arrival_us).collect();
    assert_eq!(times, [Some(40_000), Some(30_000)]);
}

#[test]
fn every_prefix_of_a_report_is_too_short() {
    for len in 0..ONE_BIT.len() {
        assert_eq!(Twcc::parse(&ONE_BIT[..len]), Err(DropReason::TooShort), "{len}");
    }
}

#[test]
fn no_statuses_an_empty_run_and_the_reserved_status_are_malformed() {
    let cases = [[0, 0, 0x20, 1], [0, 1, 0, 0], [0, 1, 0x60, 1], [0, 1, 0xf0, 0]];
    for [c0, c1, k0, k1] in cases {
        let fci = [0, 1, c0, c1, 0, 0, 0, 0, k0, k1, 1, 1, 1, 1];
        assert_eq!(Twcc::parse(&fci), Err(DropReason::Malformed), "{fci:?}");
    }
}

#[test]
fn a_report_may_speak_of_the_limit_and_no_more() {
    let report = |count: u16| {
        let [c0, c1] = count.to_be_bytes();
        // Two runs, together 16,382 packets not received.
        Twcc::parse(&[0, 1, c0, c1, 0, 0, 0, 0, 0x1f, 0xff, 0x1f, 0xff]).map(|r| r.statuses().count())
    };
    assert_eq!(report(TWCC_STATUSES_MAX), Ok(usize::from(TWCC_STATUSES_MAX)));
    assert_eq!(report(TWCC_STATUSES_MAX + 1), Err(DropReason::Malformed));
}

fn written(base: u64, arrivals: &[Arrival]) -> (usize, Vec<u8>) {
    let mut fci = Vec::new();
    let held = write_twcc_fci(&mut fci, base, 9, arrivals);
    (held, fci)
}

fn arrival(seq: u64, at_us: u64) -> Arrival {
    Arrival { seq, at: Time::from_micros(at_us) }
}

#[test]
fn a_long_run_takes_one_chunk() {
    let arrivals: Vec<_> = (0..150).map(|i| arrival(70_000 + i, 1_000_000 + i * 1_000)).collect();
    let (held, fci) = written(70_000, &arrivals);
    assert_eq!(held, 150);
    assert_eq!(fci.len(), (8 + 2 + 150usize).next_multiple_of(4));
    assert_eq!(Twcc::parse(&fci).unwrap().base_seq, 70_000u64 as u16);
}

#[test]
fn a_delta_beyond_sixteen_bits_ends_the_report() {
    let far = [arrival(1, 64_000), arrival(2, 64_000 + 32_767 * 250), arrival(3, 64_000 + 65_535 * 250)];
    assert_eq!(written(1, &far).0, 2);
    let (held, fci) = written(3, &far[2..]);
    assert_eq!(held, 1, "the report that follows has a reference time of its own");
    assert!(Twcc::parse(&fci).is_ok());
}

#[test]
fn a_gap_over_the_limit_before_the_first_arrival_is_left_out() {
    let max = u64::from(TWCC_STATUSES_MAX);
    let (_, fci) = written(0, &[arrival(max - 1, 5)]);
    assert_eq!(Twcc::parse(&fci).unwrap().status_count, TWCC_STATUSES_MAX);
    let (held, fci) = written(0, &[arrival(max, 5)]);
    let report = Twcc::parse(&fci).unwrap();
    assert_eq!((held, report.base_seq, report.status_count), (1, TWCC_STATUSES_MAX, 1));
}

#[test]
fn a_report_stays_below_a_datagram_in_the_worst_pattern() {
    // Lost, small, lost, large ... and gaps long enough to be runs of their own.
    for gap in [1u64, 2, 3, 7, 8, 15, 20, 45] {
        let arrivals: Vec<_> = (0..400).map(|i| arrival(i * gap, i * if i % 2 == 0 { 500 } else { 90_000 })).collect();
        let (held, fci) = written(0, &arrivals);
        assert!(held <= TWCC_ARRIVALS_MAX && fci.len() < 1_180, "gap {gap}: {held} in {} bytes", fci.len());
        assert!(Twcc::parse(&fci).is_ok());
    }
}

proptest! {
    #[test]
    fn a_written_report_reads_back(first in 0u64..200_000, lead in 0u64..40, start_us in 0u64..u64::from(u32::MAX),
                                   steps in prop::collection::vec((prop_oneof![8 => Just(1u64), 2 => 2u64..60], -400_000i64..3_000_000), 1..300)) {
        let mut seq = first + lead;
        let mut at = start_us as i64 + 2_000_000_000;
        let mut arrivals = Vec::new();
        for (gap, step_us) in steps {
            arrivals.push(arrival(seq, at as u64));
            seq += gap;
            // Mostly close together, now and then far apart or back.
            at += if step_us % 5 == 0 { step_us } else { step_us.abs() % 5_000 };
        }
        let (held, fci) = written(first, &arrivals);
        prop_assert!(held > 0 && fci.len() % 4 == 0);
        let report = Twcc::parse(&fci).unwrap();
        let reference_us = (arrivals[0].at.as_micros() as i64 / 64_000) * 64_000;
        prop_assert_eq!(report.reference_time & 0xff_ffff, (reference_us / 64_000) as i32 & 0xff_ffff);
        let mut expected = arrivals[..held].iter().peekable();
        for (seq, status) in (first..).zip(report.statuses()) {
            prop_assert_eq!(status.seq, seq as u16);
            match expected.next_if(|a| a.seq == seq) {
                Some(a) => {
                    let error = reference_us + status.arrival_us.unwrap() - a.at.as_micros() as i64;
                    prop_assert!((-250..=0).contains(&error), "{}", error);
                }
                None => prop_assert_eq!(status.arrival_us, None),
            }
        }
        prop_assert!(expected.next().is_none());
    }

    #[test]
    fn reading_a_report_never_panics(bytes in prop::collection::vec(any::<u8>(), 0..80), count in 0u8..40) {
        let mut bytes = bytes;
        if let Some(high) = bytes.get_mut(2) {
            *high = 0; // most counts are over the limit otherwise
        }
        if let Some(low) = bytes.get_mut(3) {
            *low = count;
        }
        if let Ok(report) = Twcc::parse(&bytes) {
            prop_assert_eq!(report.statuses().count(), usize::from(report.status_count));
        }
        let _ = NackSeqs::new(&bytes).count();
    }

    #[test]
    fn pairs_name_exactly_what_was_asked(mut seqs in prop::collection::btree_set(0u16..2_000, 0..80), offset: u16) {
        let seqs: Vec<u16> = std::mem::take(&mut seqs).into_iter().map(|s| s.wrapping_add(offset)).collect();
        prop_assert_eq!(nack_round_trip(&seqs).1, seqs);
    }
}
