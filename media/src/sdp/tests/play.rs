use super::{
    super::{SdpError, answer_play},
    *,
};
use crate::ids::Kind;

const BASELINE: &str = "level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42001f";

#[test]
fn a_player_is_answered_in_the_payload_type_of_the_publishers_profile() {
    let wanted = vec![wanted(1, Codec::Opus, "stereo=1"), wanted(1, Codec::H264, BASELINE)];
    let negotiated = answer_play(CHROMIUM_PLAY, &local(), wanted).unwrap();
    let [audio, video] = &negotiated.media[..] else { panic!("two tracks") };
    assert!(audio.accepted && video.accepted);
    assert_eq!((audio.payload_type, video.payload_type, video.rtx_payload_type), (111, 102, Some(103)));
    assert_eq!((video.ext.mid, video.ext.transport_cc), (Some(4), Some(3)));
    let lines = section(&negotiated.answer, 1);
    assert_eq!(lines[0], "video 9 UDP/TLS/RTP/SAVPF 102 103");
    assert!(
        has(&lines, "a=sendonly") && has(&lines, "a=setup:passive") && has(&lines, "a=msid:stream-1 video-stream-1")
    );
    assert!(has(&lines, &format!("a=ssrc-group:FID {} {}", video.ssrc, video.rtx_ssrc.unwrap())));
    assert!(negotiated.answer.contains("a=fmtp:111 minptime=10;sprop-stereo=1;stereo=1;useinbandfec=1\r\n"));
}

#[test]
fn high_profile_is_played_as_constrained_baseline() {
    let wanted = vec![wanted(1, Codec::H264, "profile-level-id=640028;packetization-mode=1")];
    assert_eq!(answer_play(CHROMIUM_PLAY, &local(), wanted).unwrap().media[0].payload_type, 108);
}

#[test]
fn m_lines_for_which_nothing_is_left_are_inactive() {
    let negotiated = answer_play(CHROMIUM_PLAY, &local(), vec![wanted(1, Codec::Vp8, "")]).unwrap();
    assert!(has(&section(&negotiated.answer, 0), "a=inactive"));
    assert_eq!(negotiated.media[0].mid, "1");
    let nothing = answer_play(CHROMIUM_PLAY, &local(), Vec::new()).unwrap();
    assert!(nothing.media.is_empty() && nothing.answer.matches("a=inactive").count() == 2);
}

#[test]
fn a_player_without_h264_gets_the_track_that_it_can_decode() {
    let two = || vec![wanted(1, Codec::Opus, ""), wanted(1, Codec::H264, BASELINE), wanted(2, Codec::Vp8, "")];
    let negotiated = answer_play(FIREFOX_PLAY, &local(), two()).unwrap();
    let keys: Vec<(u64, Kind)> = negotiated.media.iter().map(|m| (m.track.stream.0, m.track.kind)).collect();
    assert_eq!(keys, [(1, Kind::Audio), (2, Kind::Video)]);
    let sound_only = answer_play(FIREFOX_PLAY, &local(), two()[..2].to_vec()).unwrap();
    assert_eq!(sound_only.media.len(), 1);
    assert_eq!(section(&sound_only.answer, 1)[0].split(' ').nth(1), Some("0"));
    let nothing = answer_play(FIREFOX_PLAY, &local(), two()[1..2].to_vec());
    assert!(matches!(nothing, Err(SdpError::NoCodec { kind: Kind::Video, .. })));
}

#[test]
fn an_m_line_that_only_sends_gets_nothing() {
    let negotiated = answer_play(CHROMIUM_PUBLISH, &local(), vec![wanted(1, Codec::Opus, "")]).unwrap();
    assert!(negotiated.media.is_empty());
}
