use super::*;
use crate::bridge::tag::TagKind;

fn tag(kind: TagKind, timestamp_ms: u32, len: usize, key: bool, header: bool) -> Tag {
    Tag { kind, timestamp_ms, payload: vec![0; len].into(), key, header }
}

fn video(timestamp_ms: u32, key: bool) -> Tag {
    tag(TagKind::Video, timestamp_ms, 100, key, false)
}

fn audio(timestamp_ms: u32) -> Tag {
    tag(TagKind::Audio, timestamp_ms, 10, false, false)
}

/// Everything that waits, as timestamps; a header's with 1,000,000 on top.
fn drain(player: &mut Player) -> Vec<u32> {
    drain_at(Instant::now(), player)
}

fn drain_at(now: Instant, player: &mut Player) -> Vec<u32> {
    let found = std::iter::from_fn(|| match player.try_next(now) {
        Found::Here(given) => Some(given.tags()),
        Found::Later | Found::Over => None,
    });
    found.flatten().map(|t| t.timestamp_ms + if t.header { 1_000_000 } else { 0 }).collect()
}

fn kept_bytes(outlet: &Outlet) -> u64 {
    let state = outlet.lock();
    state.log.bytes_from(state.log.first())
}

fn is_over(player: &mut Player) -> bool {
    matches!(player.try_next(Instant::now()), Found::Over)
}

#[test]
fn a_new_player_gets_headers_and_the_kept_group_at_once_and_then_what_is_live() {
    let outlet = Outlet::new();
    outlet.push(tag(TagKind::Script, 1, 5, false, true));
    outlet.push(tag(TagKind::Audio, 3, 4, false, true));
    outlet.push(tag(TagKind::Video, 2, 40, true, true));
    for t in [video(10, true), audio(15), video(50, false)] {
        outlet.push(t);
    }
    let mut player = outlet.attach();
    assert_eq!(drain(&mut player), [1_000_001, 1_000_002, 1_000_003, 10, 15, 50]);
    outlet.push(video(90, false));
    assert_eq!(drain(&mut player), [90]);
    assert!(!outlet.take_key_wanted());
}

#[test]
fn merged_tags_come_together_once_each_and_newcomers_get_them_from_the_kept_group() {
    let outlet = Outlet::new();
    outlet.set_merge(Duration::from_millis(40));
    let start = Instant::now();
    let at = |ms: u64| start + Duration::from_millis(ms);
    let mut first = outlet.attach_at(start);
    for (ms, tag) in [(0, video(0, true)), (10, audio(10)), (20, audio(20))] {
        outlet.push_at(at(ms), tag);
    }
    assert!(drain(&mut first).is_empty());
    outlet.push_at(at(39), audio(39));
    assert!(drain(&mut first).is_empty());
    outlet.push_at(at(40), audio(40));
    assert_eq!(drain(&mut first), [0, 10, 20, 39, 40]);
    outlet.push_at(at(43), audio(43));
    let mut second = outlet.attach_at(at(45));
    assert_eq!((drain(&mut first), drain(&mut second)), (vec![43], vec![0, 10, 20, 39, 40, 43]));
    outlet.push_at(at(50), audio(50));
    outlet.close();
    assert_eq!((drain(&mut first), drain(&mut second)), (vec![50], vec![50]));
}

#[test]
fn without_a_kept_group_video_waits_for_a_key_frame_and_audio_does_not() {
    let outlet = Outlet::new();
    outlet.push(video(0, false));
    let mut player = outlet.attach();
    assert!(outlet.take_key_wanted() && !outlet.take_key_wanted());
    for t in [video(10, false), audio(15), video(20, true), video(30, false)] {
        outlet.push(t);
    }
    assert_eq!(drain(&mut player), [15, 20, 30]);
}

#[test]
fn a_slow_player_skips_to_a_recent_key_frame_and_disturbs_no_one() {
    let outlet = Outlet::new();
    let start = Instant::now();
    let at = |n: u32| start + Duration::from_millis(u64::from(n) * 20);
    let (mut slow, mut fast) = (outlet.attach_at(start), outlet.attach_at(start));
    // 50 pictures a second, a key frame each second.
    for n in 0..1_000 {
        outlet.push_at(at(n), video(n, n % 50 == 0));
        assert_eq!(drain_at(at(n), &mut fast), [n]);
        // He reads once in 1.8 s, and then once in 2.2.
        match n {
            0..450 if n % 90 == 89 => assert_eq!(drain_at(at(n), &mut slow), (n - 89..=n).collect::<Vec<_>>()),
            559 => assert_eq!(drain_at(at(n), &mut slow), (550..560).collect::<Vec<_>>()),
            _ => {}
        }
    }
}

#[test]
fn a_stalled_player_holds_nothing_and_two_seconds_are_kept_for_it() {
    let outlet = Outlet::new();
    let start = Instant::now();
    let at = |n: u32| start + Duration::from_millis(u64::from(n) * 20);
    let mut stalled: Vec<_> = (0..500).map(|_| outlet.attach_at(start)).collect();
    for n in 0..600 {
        outlet.push_at(at(n), video(n, n == 0 || n == 560));
    }
    // What is older than two seconds and before the last key frame is forgotten.
    let first = outlet.lock().log.first();
    assert_eq!(first, 500);
    for player in &mut stalled {
        assert_eq!(drain_at(at(599), player), (560..600).collect::<Vec<_>>());
    }
}

#[test]
fn a_player_that_reads_again_after_a_stall_goes_on_with_a_key_frame() {
    let outlet = Outlet::new();
    let start = Instant::now();
    let mut player = outlet.attach_at(start);
    let mut got = Vec::new();
    for n in 0..400u32 {
        let now = start + Duration::from_millis(u64::from(n) * 20);
        // The newest key frame is too old when he comes back.
        outlet.push_at(now, video(n, n == 0 || n == 300));
        if !(100..275).contains(&n) {
            got.extend(drain_at(now, &mut player));
        }
    }
    let expected: Vec<u32> = (0..100).chain(300..400).collect();
    assert_eq!(got, expected);
}

#[test]
fn a_newcomer_may_be_late_with_what_was_kept_for_it() {
    let outlet = Outlet::new();
    let start = Instant::now();
    let at = |ms: u64| start + Duration::from_millis(ms);
    for n in 0..10 {
        outlet.push_at(at(n * 1_000), video(n as u32 * 1_000, n == 0));
    }
    let mut player = outlet.attach_at(at(9_000));
    assert_eq!(drain_at(at(10_900), &mut player).len(), 10);
}

#[test]
fn a_paused_player_gets_nothing_and_resumes_at_a_key_frame_with_headers_that_changed() {
    let outlet = Outlet::new();
    let mut player = outlet.attach();
    outlet.push(video(0, true));
    outlet.push(video(10, false));
    assert_eq!(drain(&mut player), [0, 10]);
    player.set_paused(true);
    outlet.push(tag(TagKind::Video, 15, 40, false, true));
    for t in [video(20, true), audio(25)] {
        outlet.push(t);
    }
    assert!(drain(&mut player).is_empty());
    player.set_paused(false);
    for t in [video(30, false), audio(35)] {
        outlet.push(t);
    }
    assert!(drain(&mut player).is_empty());
    for t in [video(40, true), audio(45)] {
        outlet.push(t);
    }
    assert_eq!(drain(&mut player), [1_000_015, 40, 45]);
}

#[test]
fn a_kept_group_that_is_too_long_is_not_sent_and_a_key_frame_is_wanted_instead() {
    for (longest, expected, wanted) in [(3_000, vec![0, 1_000, 3_000], false), (2_999, vec![], true)] {
        let outlet = Outlet::new();
        outlet.set_start(Duration::from_millis(longest));
        for tag in [video(0, true), video(1_000, false), video(3_000, false)] {
            outlet.push(tag);
        }
        let mut player = outlet.attach();
        assert_eq!((drain(&mut player), outlet.take_key_wanted()), (expected, wanted));
    }
}

#[test]
fn a_player_may_be_behind_by_so_many_bytes_and_no_more() {
    for (more, expected) in [(0, vec![1, 2]), (1, vec![])] {
        let outlet = Outlet::new();
        let mut player = outlet.attach();
        outlet.push(video(0, true));
        assert_eq!(drain(&mut player), [0]);
        outlet.push(tag(TagKind::Video, 1, PLAYER_BYTES_MAX / 2, false, false));
        outlet.push(tag(TagKind::Video, 2, PLAYER_BYTES_MAX / 2 + more, false, false));
        assert_eq!(drain(&mut player), expected);
    }
}

#[test]
fn a_slow_player_of_audio_goes_on_with_the_newest_tag() {
    let outlet = Outlet::new();
    let start = Instant::now();
    let at = |n: u32| start + Duration::from_millis(u64::from(n) * 20);
    let mut player = outlet.attach_at(start);
    outlet.push_at(at(0), audio(0));
    assert_eq!(drain_at(at(0), &mut player), [0]);
    (1..400).for_each(|n| outlet.push_at(at(n), audio(n)));
    assert_eq!(drain_at(at(399), &mut player), [399]);
    outlet.push_at(at(400), audio(400));
    assert_eq!(drain_at(at(400), &mut player), [400]);
}

#[test]
fn headers_that_changed_while_a_player_skipped_come_before_its_key_frame() {
    let outlet = Outlet::new();
    let start = Instant::now();
    let at = |n: u32| start + Duration::from_millis(u64::from(n) * 20);
    let mut player = outlet.attach_at(start);
    outlet.push_at(at(0), video(0, true));
    assert_eq!(drain_at(at(0), &mut player), [0]);
    (1..300).for_each(|n| outlet.push_at(at(n), video(n, false)));
    outlet.push_at(at(300), tag(TagKind::Video, 300, 40, false, true));
    assert!(drain_at(at(300), &mut player).is_empty());
    outlet.push_at(at(301), video(301, true));
    assert_eq!(drain_at(at(301), &mut player), [1_000_300, 301]);
}

#[test]
fn a_changed_video_header_ends_the_group_and_a_repeated_one_does_not() {
    let header = |ms, len| tag(TagKind::Video, ms, len, false, true);
    let outlet = Outlet::new();
    for t in [header(0, 40), video(10, true), header(20, 40), video(30, false)] {
        outlet.push(t);
    }
    assert_eq!(drain(&mut outlet.attach()), [1_000_020, 10, 1_000_020, 30]);
    outlet.push(header(40, 41));
    outlet.push(video(50, false));
    assert_eq!(drain(&mut outlet.attach()), [1_000_040]);
}

#[test]
fn without_video_a_newcomer_gets_the_last_second() {
    let outlet = Outlet::new();
    let start = Instant::now();
    let at = |n: u32| start + Duration::from_millis(u64::from(n) * 20);
    (0..200).for_each(|n| outlet.push_at(at(n), audio(n * 20)));
    let got = drain_at(at(199), &mut outlet.attach_at(at(199)));
    assert_eq!(got, (149..200).map(|n| n * 20).collect::<Vec<_>>());
    // Video that joins takes over: sound of before is of no use with it.
    outlet.push_at(at(200), video(4_000, true));
    assert_eq!(drain_at(at(200), &mut outlet.attach_at(at(200))), [4_000]);
}

#[test]
fn a_group_at_its_bounds_is_kept_and_over_them_dropped_until_the_next_key_frame() {
    let half = log::GROUP_BYTES_MAX / 2;
    let at_bytes = vec![tag(TagKind::Video, 0, half, true, false), tag(TagKind::Video, 1, half, false, false)];
    let mut at_tags = vec![video(0, true)];
    at_tags.extend((1..log::GROUP_TAGS_MAX as u32).map(|n| video(n, false)));
    for group in [at_bytes, at_tags] {
        let outlet = Outlet::new();
        let count = group.len();
        group.into_iter().for_each(|tag| outlet.push(tag));
        assert_eq!(drain(&mut outlet.attach()).len(), count);
        outlet.push(audio(count as u32));
        assert!(drain(&mut outlet.attach()).is_empty());
        assert!(outlet.take_key_wanted());
        outlet.push(video(count as u32 + 1, true));
        assert_eq!(drain(&mut outlet.attach()), [count as u32 + 1]);
        assert!(kept_bytes(&outlet) <= PLAYER_BYTES_MAX as u64);
    }
}

#[test]
fn the_bytes_of_a_piece_are_those_of_its_tags_and_made_once() {
    let outlet = Outlet::new();
    outlet.set_merge(Duration::from_secs(1));
    let (mut flv, mut rtmp) = (outlet.attach(), outlet.attach());
    let tags = [video(5, true), audio(10), video(45, false)];
    tags.iter().for_each(|tag| outlet.push(tag.clone()));
    outlet.close();
    let given = |player: &mut Player| match player.try_next(Instant::now()) {
        Found::Here(given) => given,
        other => panic!("{other:?}"),
    };
    let (one, other) = (given(&mut flv), given(&mut rtmp));
    let mut file = flv::file_header(true, true).to_vec();
    tags.iter().for_each(|tag| flv::write_tag(tag, &mut file));
    assert_eq!(flv.bytes(&one, Form::Flv), file);
    let chunks: Vec<u8> = tags
        .iter()
        .flat_map(|t| crate::rtmp::chunk::write_media(1, t.media_kind(), t.timestamp_ms, &t.payload))
        .collect();
    assert_eq!(rtmp.bytes(&other, Form::Rtmp), chunks);
    assert_eq!(one.bytes(Form::Rtmp).as_ptr(), other.bytes(Form::Rtmp).as_ptr());
    assert!(is_over(&mut flv) && is_over(&mut rtmp));
}

#[test]
fn headers_without_a_frame_are_bounded() {
    let outlet = Outlet::new();
    let mut player = outlet.attach();
    (0..1_000).for_each(|n| outlet.push(tag(TagKind::Script, n, 100_000, false, true)));
    assert!(drain(&mut player).is_empty());
    assert!(kept_bytes(&outlet) <= PLAYER_BYTES_MAX as u64);
    outlet.push(video(0, true));
    assert_eq!(drain(&mut player), [1_000_999, 0]);
}

#[test]
fn a_quiet_stream_lets_nobody_go() {
    let outlet = Outlet::new();
    let start = Instant::now();
    let mut player = outlet.attach_at(start);
    outlet.push_at(start + Duration::from_secs(60), audio(0));
    assert_eq!((outlet.players(), drain(&mut player)), (1, vec![0]));
}

#[test]
fn closing_lets_players_read_to_the_end_and_dropping_one_detaches_it() {
    let outlet = Outlet::new();
    let mut player = outlet.attach();
    drop(outlet.attach());
    outlet.push(audio(1));
    assert_eq!(outlet.players(), 1);
    outlet.close();
    assert_eq!(drain(&mut player), [1]);
    assert!(is_over(&mut player) && is_over(&mut outlet.attach()));
}

#[test]
fn pictures_wait_only_if_another_could_come_meanwhile_and_nothing_waits_longer_than_merging() {
    for (merge_ms, at_once) in [(30, true), (33, true), (34, false), (40, false), (110, false)] {
        let outlet = Outlet::new();
        outlet.set_merge(Duration::from_millis(merge_ms));
        let start = Instant::now();
        let mut player = outlet.attach_at(start);
        let mut longest_ms = 0;
        let mut pieces = 0;
        // Sound every 17 ms, a picture with every second one; the first two tell how fast they come.
        for ms in (0..68 * 17).step_by(17) {
            let at = start + Duration::from_millis(ms.into());
            outlet.push_at(at, audio(ms));
            if ms % 34 == 0 {
                outlet.push_at(at, video(ms, ms == 0));
            }
            let got = drain_at(at, &mut player);
            if ms > 300 && !got.is_empty() {
                pieces += 1;
                longest_ms = longest_ms.max(ms - got[0]);
            }
        }
        // Here nobody keeps the time between two tags, as `fan_out` does.
        let bound_ms = if at_once { 17 } else { merge_ms as u32 + 16 };
        assert!(longest_ms <= bound_ms, "merged for {merge_ms} ms: {longest_ms} ms");
        let most = if at_once { 26 } else { 25 * 34 / merge_ms + 1 };
        assert!(pieces <= most && pieces * 2 > most, "merged for {merge_ms} ms: {pieces} pieces of at most {most}");
    }
}
