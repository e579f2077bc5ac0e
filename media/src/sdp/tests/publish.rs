use super::{
    super::{Policy, SdpError, answer_publish, description::Setup},
    *,
};
use crate::ids::Kind;

fn answered(offer: &str) -> super::super::PublishNegotiated {
    answer_publish(offer, &local(), &Policy::default()).expect("the offer can be served")
}

fn only(codec: Codec) -> Policy {
    Policy { video_codecs: vec![codec], start_bitrate_kbps: None }
}

/// Line by line, so that a test reads as what it changes.
fn changed(offer: &str, change: impl Fn(&str) -> Option<String>) -> String {
    offer.lines().filter_map(change).map(|line| line + "\r\n").collect()
}

fn refusal(offer: &str) -> SdpError {
    answer_publish(offer, &local(), &Policy::default()).expect_err("the offer cannot be served")
}

#[test]
fn chromium_publishes_constrained_baseline_although_baseline_stands_first() {
    let negotiated = answered(CHROMIUM_PUBLISH);
    let [audio, video] = &negotiated.media[..] else { panic!("two m-lines") };
    assert_eq!((audio.mid.as_str(), audio.format.payload_type), ("0", 111));
    assert_eq!(audio.format.fmtp, "minptime=10;useinbandfec=1");
    assert_eq!((audio.ssrc, audio.rtx_ssrc), (Some(1_342_513_268), None));
    assert_eq!((audio.ext.mid, audio.ext.transport_cc, audio.ext.audio_level), (Some(4), Some(3), Some(1)));
    assert_eq!((video.format.codec, video.format.payload_type), (Codec::H264, 108));
    assert_eq!(video.format.rtx_payload_type, Some(109));
    assert_eq!((video.ssrc, video.rtx_ssrc), (Some(766_985_545), Some(425_946_949)));
    assert_eq!(video.ext.video_orientation, Some(13));
    let feedback = video.format.feedback;
    assert!(feedback.nack && feedback.pli && feedback.fir && feedback.transport_cc);
    assert_eq!(negotiated.remote.ufrag, "E75N");
    assert_eq!(negotiated.remote.setup, Setup::Actpass);
    assert!(negotiated.remote.fingerprint.starts_with("sha-256 27:89:FF:"));
}

#[test]
fn an_answer_receives_is_ice_lite_and_is_the_dtls_server() {
    let answer = answered(CHROMIUM_PUBLISH).answer;
    assert!(answer.starts_with("v=0\r\no=- 77 2 IN IP4 127.0.0.1\r\n"));
    assert!(answer.contains("\r\na=group:BUNDLE 0 1\r\n") && answer.contains("\r\na=ice-lite\r\n"));
    let (audio, video) = (section(&answer, 0), section(&answer, 1));
    for line in ["a=recvonly", "a=setup:passive", "a=rtcp-mux", "a=rtcp-rsize", "a=ice-ufrag:ourUfrag"] {
        assert!(has(&audio, line) && has(&video, line), "{line}");
    }
    assert_eq!(video[0], "video 9 UDP/TLS/RTP/SAVPF 108 109");
    assert!(has(&video, "a=fmtp:109 apt=108") && has(&video, "a=rtcp-fb:108 nack pli"));
    assert!(!answer.contains("goog-remb") && !answer.contains("abs-send-time"));
    assert!(video.iter().any(|l| l.ends_with("profile-level-id=42e01f;x-google-start-bitrate=1000")));
}

#[test]
fn candidates_stand_in_the_first_m_line_in_use_only() {
    let answer = answered(CHROMIUM_PUBLISH).answer;
    assert_eq!(answer.matches("a=candidate:").count(), 2);
    assert!(has(&section(&answer, 0), "a=candidate:1 1 udp 2130706431 192.0.2.9 8000 typ host"));
    assert!(has(&section(&answer, 0), "a=candidate:2 1 tcp 1518280447 192.0.2.9 8000 typ host tcptype passive"));
    let answer = answered(CHROMIUM_PUBLISH_STOPPED).answer;
    assert!(!section(&answer, 0).iter().any(|l| l.starts_with("a=candidate")));
    assert!(has(&section(&answer, 1), "a=end-of-candidates"));
}

#[test]
fn the_policys_order_chooses_the_codec_and_its_absence_refuses() {
    for (codec, payload_type) in [(Codec::Vp8, 96), (Codec::Vp9, 98), (Codec::Av1, 45)] {
        let negotiated = answer_publish(CHROMIUM_PUBLISH, &local(), &only(codec)).unwrap();
        assert_eq!((negotiated.media[1].format.codec, negotiated.media[1].format.payload_type), (codec, payload_type));
        assert!(!negotiated.answer.contains("x-google"));
    }
    let error = answer_publish(FIREFOX_PUBLISH, &local(), &only(Codec::H264)).unwrap_err();
    assert!(matches!(error, SdpError::NoCodec { kind: Kind::Video, .. }));
}

#[test]
fn packetization_mode_0_is_the_last_resort_whatever_its_profile() {
    let mode_0 = |l: &str| Some(l.replace("mode=1;profile-level-id=42", "mode=0;profile-level-id=42"));
    assert_eq!(answered(&changed(CHROMIUM_PUBLISH, mode_0)).media[1].format.payload_type, 116);
    let all_0 = |l: &str| Some(l.replace("packetization-mode=1", "packetization-mode=0"));
    assert_eq!(answered(&changed(CHROMIUM_PUBLISH, all_0)).media[1].format.payload_type, 108);
}

#[test]
fn firefox_gets_vp8_and_its_extension_directions_are_mirrored() {
    let negotiated = answered(FIREFOX_PUBLISH_SIMULCAST);
    assert_eq!(negotiated.media[1].format.codec, Codec::Vp8);
    assert_eq!(negotiated.media[1].ssrc, Some(1_901_157_829));
    assert_eq!(negotiated.media[1].rtx_ssrc, Some(1_555_732_798));
    assert!(negotiated.answer.contains("a=fmtp:109 minptime=10;useinbandfec=1;stereo=1\r\n"));
    let sendonly = |l: &str| Some(l.replace("extmap:7 ", "extmap:7/sendonly "));
    let answer = answered(&changed(FIREFOX_PUBLISH, sendonly)).answer;
    assert!(answer.contains("a=extmap:7/recvonly http://www.ietf.org/id/draft-holmer"));
    let recvonly = |l: &str| Some(l.replace("extmap:7 ", "extmap:7/recvonly "));
    let negotiated = answered(&changed(FIREFOX_PUBLISH, recvonly));
    assert_eq!(negotiated.media[1].ext.transport_cc, None);
    assert!(!negotiated.media[1].format.feedback.transport_cc && !negotiated.answer.contains("transport-cc"));
}

#[test]
fn simulcast_is_answered_as_one_layer() {
    for offer in [CHROMIUM_PUBLISH_SIMULCAST, FIREFOX_PUBLISH_SIMULCAST] {
        let answer = answered(offer).answer;
        assert!(!answer.contains("simulcast") && !answer.contains("a=rid") && !answer.contains("rtp-stream-id"));
    }
    assert_eq!(answered(CHROMIUM_PUBLISH_SIMULCAST).media[1].ssrc, None);
}

#[test]
fn data_channels_are_rejected_and_receiving_m_lines_kept_inactive() {
    let negotiated = answered(CHROMIUM_PUBLISH_DATA);
    assert_eq!(negotiated.media.iter().map(|m| m.active).collect::<Vec<_>>(), [true, true, false]);
    assert!(has(&section(&negotiated.answer, 2), "a=inactive"));
    assert_eq!(section(&negotiated.answer, 3)[0], "application 0 UDP/DTLS/SCTP webrtc-datachannel");
    assert!(negotiated.answer.contains("a=group:BUNDLE 0 1 2\r\n"));
}

#[test]
fn a_renegotiation_keeps_what_was_agreed_and_rejects_what_stopped() {
    for offer in [CHROMIUM_PUBLISH_STOPPED, FIREFOX_PUBLISH_STOPPED] {
        let negotiated = answered(offer);
        assert_eq!(section(&negotiated.answer, 0)[0].split(' ').nth(1), Some("0"));
        assert!(negotiated.media.iter().all(|m| m.mid != "0"));
        assert_eq!(negotiated.media[0].mid, "1");
        assert!(negotiated.media[0].active);
    }
}

#[test]
fn independent_stacks_are_answered_with_what_they_have() {
    let aiortc = answered(AIORTC_PUBLISH);
    assert_eq!((aiortc.media[1].format.payload_type, aiortc.media[1].format.rtx_payload_type), (101, Some(102)));
    assert!(!aiortc.media[0].format.feedback.transport_cc && aiortc.remote.fingerprint.starts_with("sha-256 "));
    let werift = answered(WERIFT_PUBLISH);
    assert_eq!((werift.media[1].format.codec, werift.media[1].format.rtx_payload_type), (Codec::H264, None));
    assert_eq!((werift.media[1].ssrc, werift.media[1].ext.mid), (Some(1_323_628_838), None));
    let libdatachannel = answered(LIBDATACHANNEL_PUBLISH);
    assert_eq!(libdatachannel.media[1].format.fmtp, "minptime=10;useinbandfec=1;stereo=1;sprop-stereo=1");
    assert!(!libdatachannel.answer.contains("extmap"));
}

#[test]
fn without_ssrc_lines_or_a_setup_line_an_offer_is_served() {
    let bare =
        changed(WERIFT_PUBLISH, |l| (!l.starts_with("a=ssrc") && !l.starts_with("a=setup")).then(|| l.to_owned()));
    let negotiated = answered(&bare);
    assert_eq!(negotiated.media[0].ssrc, None);
    assert_eq!(negotiated.remote.setup, Setup::Active);
}

#[test]
fn without_a_bundle_group_one_set_of_credentials_means_one_transport() {
    let ungrouped = changed(WERIFT_PUBLISH, |l| (!l.starts_with("a=group")).then(|| l.to_owned()));
    assert!(!answered(&ungrouped).answer.contains("a=group"));
    let (audio, video) = ungrouped.split_once("m=video").unwrap();
    let two = format!("{audio}m=video{}", video.replace("a=ice-ufrag:16a9", "a=ice-ufrag:other"));
    assert_eq!(refusal(&two).code(), "not_bundled");
}

#[test]
fn without_mids_m_lines_are_known_by_their_number() {
    let keep = |l: &str| (!l.starts_with("a=mid") && !l.starts_with("a=group")).then(|| l.to_owned());
    let negotiated = answered(&changed(WERIFT_PUBLISH, keep));
    assert_eq!(negotiated.media.iter().map(|m| m.mid.as_str()).collect::<Vec<_>>(), ["0", "1"]);
    assert!(!negotiated.answer.contains("a=mid"));
    let clash = changed(WERIFT_PUBLISH, |l| {
        (l != "a=mid:1" && !l.starts_with("a=group")).then(|| l.replace("a=mid:0", "a=mid:1"))
    });
    assert_eq!(refusal(&clash).code(), "duplicate_mid");
}

#[test]
fn what_is_not_dtls_srtp_is_refused_by_name_and_line() {
    let without = |prefix: &'static str| {
        refusal(&changed(CHROMIUM_PUBLISH, |l| (!l.starts_with(prefix)).then(|| l.to_owned()))).code()
    };
    let with = |from: &'static str, to: &'static str| {
        refusal(&changed(CHROMIUM_PUBLISH, |l| Some(l.replace(from, to)))).code()
    };
    assert_eq!(without("a=fingerprint"), "no_fingerprint");
    assert_eq!(without("a=ice-ufrag"), "no_ice_credentials");
    assert_eq!(without("a=ice-pwd"), "no_ice_credentials");
    assert_eq!(without("a=rtcp-mux"), "no_rtcp_mux");
    assert_eq!(with("UDP/TLS/RTP/SAVPF", "RTP/AVPF"), "unsupported_protocol");
    assert_eq!(with("UDP/TLS/RTP/SAVPF", "RTP/SAVPF"), "unsupported_protocol");
    assert_eq!(with("a=setup:actpass", "a=setup:passive"), "wrong_setup");
    assert_eq!(with("a=setup:actpass", "a=setup:holdconn"), "wrong_setup");
    assert_eq!(with("a=mid:1", "a=mid:0"), "duplicate_mid");
    assert_eq!(with("SAVPF 111 63", "SAVPF 128 63"), "malformed");
    assert_eq!(with("a=fingerprint:sha-256", "a=fingerprint:md5"), "no_fingerprint");
    let sdes = changed(CHROMIUM_PUBLISH, |l| {
        Some(l.replace(
            "a=rtcp-rsize",
            "a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:WVNfX19zZW1jdGwgKCkgewkyMjA7fQp9CnVubGVz",
        ))
    });
    assert_eq!(refusal(&sdes), SdpError::SdesOffered { line: 28 });
}

#[test]
fn tcp_dtls_rtp_savpf_is_served_under_its_own_name() {
    let tcp = changed(CHROMIUM_PUBLISH, |l| Some(l.replace("UDP/TLS/RTP/SAVPF", "TCP/DTLS/RTP/SAVPF")));
    assert!(answered(&tcp).answer.contains("m=video 9 TCP/DTLS/RTP/SAVPF 108 109"));
}

#[test]
fn a_bundle_only_m_line_is_in_use_although_its_port_is_zero() {
    let offer =
        CHROMIUM_PUBLISH.replace("m=video 9", "m=video 0").replace("a=mid:1\r\n", "a=mid:1\r\na=bundle-only\r\n");
    assert_eq!(answered(&offer).media.len(), 2);
}

#[test]
fn rtx_without_nack_is_not_taken() {
    let offer = changed(CHROMIUM_PUBLISH, |l| (!l.ends_with(" nack")).then(|| l.to_owned()));
    assert_eq!(answered(&offer).media[1].format.rtx_payload_type, None);
}
