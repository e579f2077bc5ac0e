use super::{
    super::{DownMedia, DownSession, SdpError, parse::MEDIA_LINES_MAX},
    *,
};

const BASELINE: &str = "profile-level-id=42e01f";

/// What was wanted when the recorded answers were made.
fn first() -> Vec<DownWanted> {
    vec![wanted(1, Codec::Opus, ""), wanted(1, Codec::H264, BASELINE)]
}

fn more() -> Vec<DownWanted> {
    let mut all = first();
    all.extend([
        wanted(2, Codec::Opus, "stereo=1"),
        wanted(2, Codec::Vp8, ""),
        wanted(3, Codec::H264, "profile-level-id=42001f"),
        wanted(4, Codec::H264, "profile-level-id=640028"),
        wanted(5, Codec::Vp9, ""),
        wanted(6, Codec::Av1, ""),
    ]);
    all
}

fn less() -> Vec<DownWanted> {
    vec![wanted(2, Codec::Opus, "stereo=1"), wanted(2, Codec::Vp8, "")]
}

fn step(session: &mut DownSession, wanted: Vec<DownWanted>, answer: &str) -> (String, Vec<DownMedia>) {
    session.set_wanted(wanted);
    let offer = session.offer();
    (offer, session.apply_answer(answer).expect("the answer fits").1)
}

fn session() -> DownSession {
    DownSession::new(local(), "cname")
}

#[test]
fn an_offer_names_its_sources_and_leaves_the_dtls_role_to_the_client() {
    let mut session = session();
    let media = session.set_wanted(first());
    let offer = session.offer();
    assert!(offer.contains("a=group:BUNDLE 0 1\r\n") && offer.contains("a=ice-lite\r\n"));
    let video = section(&offer, 1);
    for line in [
        "video 9 UDP/TLS/RTP/SAVPF 108 109",
        "a=sendonly",
        "a=setup:actpass",
        "a=msid:stream-1 video-stream-1",
        "a=fmtp:108 level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42e01f",
        "a=rtcp-fb:108 nack",
        "a=extmap:4 urn:ietf:params:rtp-hdrext:sdes:mid",
    ] {
        assert!(has(&video, line), "{line}");
    }
    let (ssrc, rtx) = (media[1].ssrc, media[1].rtx_ssrc.unwrap());
    assert!(has(&video, &format!("a=ssrc-group:FID {ssrc} {rtx}")));
    assert!(has(&video, &format!("a=ssrc:{rtx} cname:cname")));
    assert!(media.iter().all(|m| !m.accepted));
}

#[test]
fn chromium_takes_all_and_what_stays_keeps_its_m_line_and_its_ssrc() {
    let mut session = session();
    let (_, before) = step(&mut session, first(), CHROMIUM_DOWN_FIRST);
    let (_, after) = step(&mut session, more(), CHROMIUM_DOWN_MORE);
    assert_eq!(after[..2], before[..]);
    assert_eq!(after.len(), 8);
    assert!(after.iter().all(|m| m.accepted && m.ext.mid == Some(4) && m.ext.transport_cc == Some(3)));
    let types: Vec<u8> = after.iter().map(|m| m.payload_type).collect();
    // Two profiles of H.264 have two payload types; High goes as Constrained Baseline.
    assert_eq!(types, [111, 108, 112, 96, 102, 108, 98, 45]);
}

#[test]
fn an_m_line_out_of_use_is_inactive_and_filled_again_later() {
    let mut session = session();
    step(&mut session, first(), CHROMIUM_DOWN_FIRST);
    step(&mut session, more(), CHROMIUM_DOWN_MORE);
    let (offer, media) = step(&mut session, less(), CHROMIUM_DOWN_LESS);
    assert!(has(&section(&offer, 1), "a=inactive") && !section(&offer, 1).iter().any(|l| l.starts_with("a=ssrc")));
    assert_eq!(media.iter().map(|m| m.mid.as_str()).collect::<Vec<_>>(), ["2", "3"]);
    let media = session.set_wanted(vec![wanted(9, Codec::Vp9, ""), wanted(9, Codec::Opus, "")]);
    assert_eq!(media.iter().map(|m| m.mid.as_str()).collect::<Vec<_>>(), ["0", "1"]);
}

#[test]
fn a_track_does_not_take_over_an_m_line_that_the_client_still_knows_as_another_track() {
    let mut session = session();
    session.set_wanted(vec![wanted(1, Codec::Vp8, "")]);
    session.offer();
    let media = session.set_wanted(vec![wanted(2, Codec::Vp8, "")]);
    assert_eq!(media[0].mid, "1");
    session.offer();
    assert_eq!(session.set_wanted(vec![wanted(3, Codec::Vp8, "")])[0].mid, "0");
}

#[test]
fn a_track_whose_codec_changed_gets_new_ssrcs() {
    let mut session = session();
    let before = session.set_wanted(vec![wanted(1, Codec::Vp8, "")]);
    session.offer();
    let after = session.set_wanted(vec![wanted(1, Codec::H264, BASELINE)]);
    assert_ne!(before[0].ssrc, after[0].ssrc);
    assert_eq!(after[0].codec, Codec::H264);
}

#[test]
fn firefox_rejects_h264_once_and_is_not_offered_it_again() {
    let mut session = session();
    let (_, media) = step(&mut session, first(), FIREFOX_DOWN_FIRST);
    assert_eq!(media.iter().map(|m| m.accepted).collect::<Vec<_>>(), [true, false]);
    let (offer, media) = step(&mut session, more(), FIREFOX_DOWN_MORE);
    assert_eq!(section(&offer, 1)[0], "video 0 UDP/TLS/RTP/SAVPF 108");
    assert!(offer.contains("a=group:BUNDLE 0 2 3 4 5 6\r\n"), "{offer}");
    let taken: Vec<(Codec, bool)> = media.iter().map(|m| (m.codec, m.accepted)).collect();
    assert!(taken.iter().all(|(codec, accepted)| *accepted != (*codec == Codec::H264)), "{taken:?}");
    assert_eq!(session.unplaced(), [wanted(4, Codec::H264, "").key]);
    let (offer, media) = step(&mut session, less(), FIREFOX_DOWN_LESS);
    assert_eq!(section(&offer, 1)[0], "video 0 UDP/TLS/RTP/SAVPF 108");
    assert!(media.iter().all(|m| m.accepted));
}

#[test]
fn an_answer_that_rejects_everything_is_an_error_and_remembered() {
    let mut session = session();
    session.set_wanted(vec![wanted(1, Codec::H264, BASELINE)]);
    session.offer();
    let answer = "v=0\r\nm=video 0 UDP/TLS/RTP/SAVPF 108\r\na=mid:0\r\n";
    assert_eq!(session.apply_answer(answer).unwrap_err(), SdpError::NothingAccepted);
    assert!(session.set_wanted(vec![wanted(2, Codec::H264, BASELINE)]).is_empty());
}

#[test]
fn a_paused_m_line_is_not_accepted_but_lives() {
    let mut session = session();
    let paused = CHROMIUM_DOWN_FIRST.replace("a=recvonly", "a=inactive");
    let (_, media) = step(&mut session, first(), &paused);
    assert!(media.iter().all(|m| !m.accepted));
    assert!(step(&mut session, first(), CHROMIUM_DOWN_FIRST).1.iter().all(|m| m.accepted));
}

#[test]
fn answers_that_do_not_fit_change_nothing() {
    let mut session = session();
    let (_, before) = step(&mut session, first(), CHROMIUM_DOWN_FIRST);
    let codes: Vec<&str> = [
        CHROMIUM_DOWN_MORE.to_owned(),
        CHROMIUM_DOWN_FIRST.replace("a=mid:1", "a=mid:7"),
        CHROMIUM_DOWN_FIRST.replace("m=video", "m=audio"),
        CHROMIUM_DOWN_FIRST.replace("a=setup:active", "a=setup:passive"),
        CHROMIUM_DOWN_FIRST.replace("a=setup:active", "a=setup:actpass"),
        CHROMIUM_DOWN_FIRST.replace("a=rtcp-mux\r\n", ""),
        CHROMIUM_DOWN_FIRST.replace("a=fingerprint", "a=xfingerprint"),
    ]
    .iter()
    .map(|answer| session.apply_answer(answer).unwrap_err().code())
    .collect();
    let mismatch = "answer_mismatch";
    assert_eq!(codes, [mismatch, mismatch, mismatch, "wrong_setup", "wrong_setup", "no_rtcp_mux", "no_fingerprint"]);
    assert_eq!(session.media(), before);
}

#[test]
fn payload_types_are_those_of_the_answer_and_rtx_needs_its_consent() {
    let mut session = session();
    let renumbered = CHROMIUM_DOWN_FIRST
        .replace(" 108 109", " 120")
        .replace(":108 ", ":120 ")
        .replace("a=rtpmap:109 rtx/90000\r\n", "");
    let (_, media) = step(&mut session, first(), &renumbered);
    assert_eq!((media[1].payload_type, media[1].rtx_payload_type, media[1].rtx_ssrc), (120, None, None));
}

#[test]
fn the_64th_m_line_is_the_last() {
    let mut session = session();
    let all = |count| (0..count).map(|stream| wanted(stream, Codec::Vp8, "")).collect::<Vec<_>>();
    assert_eq!(session.set_wanted(all(MEDIA_LINES_MAX as u64)).len(), MEDIA_LINES_MAX);
    assert!(session.unplaced().is_empty());
    assert_eq!(session.set_wanted(all(MEDIA_LINES_MAX as u64 + 1)).len(), MEDIA_LINES_MAX);
    assert_eq!(session.unplaced().len(), 1);
    // Room is made for others by those that go, within the same offer if there is no other room.
    session.offer();
    let others: Vec<_> = (100..110).map(|stream| wanted(stream, Codec::Vp8, "")).collect();
    assert_eq!(session.set_wanted(others).len(), 10);
}

#[test]
fn no_ssrc_is_drawn_twice() {
    let mut session = session();
    let mut seen = std::collections::HashSet::new();
    for stream in 0..300 {
        for media in session.set_wanted(vec![wanted(stream, Codec::Vp8, "")]) {
            assert!(seen.insert(media.ssrc) && seen.insert(media.rtx_ssrc.unwrap()));
        }
        session.offer();
    }
}

#[test]
fn labels_cannot_break_out_of_their_line() {
    let mut session = DownSession::new(local(), "c\r\na=evil");
    let mut want = wanted(1, Codec::Vp8, "x\r\na=evil");
    want.stream_label = "a b\r\na=evil".to_owned();
    session.set_wanted(vec![want]);
    let offer = session.offer();
    assert!(!offer.contains("a=evil\r") && offer.contains("a=msid:a_b__a_evil video-stream-1\r\n"), "{offer}");
}

#[test]
fn an_ssrc_carries_the_mark_that_is_asked_for_and_the_rest_of_it_is_drawn() {
    let marked = |mark| DownWanted { ssrc_mark: Some(mark), ..wanted(1, Codec::H264, BASELINE) };
    let mut ssrcs = Vec::new();
    for mark in [2, 7] {
        for _ in 0..8 {
            let [media] = session().set_wanted(vec![marked(mark)]).try_into().expect("one m-line");
            assert_eq!((media.ssrc >> 16) as u8, mark, "{:#x}", media.ssrc);
            ssrcs.push(media.ssrc & 0xff00_ffff);
        }
    }
    ssrcs.dedup();
    assert!(ssrcs.len() > 1, "{ssrcs:x?}");
}
