use proptest::prelude::*;

use super::{
    super::{DownSession, Policy, SdpError, answer_play, answer_publish, description::Description, parse::*},
    *,
};

fn media_line(attributes: &str) -> String {
    format!("v=0\nm=audio 9 UDP/TLS/RTP/SAVPF 111\n{attributes}")
}

fn lines(count: usize, line: impl Fn(usize) -> String) -> String {
    (0..count).map(|i| line(i) + "\n").collect()
}

/// The code at the limit and one over it; `ok` if it was read.
fn at_and_over(max: usize, text: impl Fn(usize) -> String) -> [&'static str; 2] {
    [max, max + 1].map(|count| Description::parse(&text(count)).map_or_else(|error| error.code(), |_| "ok"))
}

#[test]
fn every_limit_holds_at_it_and_refuses_over_it() {
    let size = |bytes: usize| {
        let filler = format!("{}\n", "x=".to_owned() + &"y".repeat(997));
        let mut text = "v=0\n".to_owned() + &filler.repeat((bytes - 4) / filler.len());
        text.push_str(&("x=".to_owned() + &"y".repeat(1000))[..bytes - text.len()]);
        text
    };
    assert_eq!(at_and_over(DESCRIPTION_BYTES_MAX, size), ["ok", "too_large"]);
    assert_eq!(at_and_over(LINES_MAX, |n| "v=0\n".to_owned() + &lines(n - 1, |_| "a=x".into())), ["ok", "too_many"]);
    assert_eq!(at_and_over(LINE_BYTES_MAX, |n| format!("v=0\na={}", "x".repeat(n - 2))), ["ok", "malformed"]);
    let media = |n| "v=0\n".to_owned() + &lines(n, |_| "m=audio 9 UDP/TLS/RTP/SAVPF 0".into());
    assert_eq!(at_and_over(MEDIA_LINES_MAX, media), ["ok", "too_many"]);
    let formats = |n| format!("v=0\nm=video 9 UDP/TLS/RTP/SAVPF{}", " 1".repeat(n));
    assert_eq!(at_and_over(FORMATS_MAX, formats), ["ok", "too_many"]);
    let extmaps = |n| media_line(&lines(n, |i| format!("a=extmap:{} urn:x", i % 14 + 1)));
    assert_eq!(at_and_over(EXTMAPS_MAX, extmaps), ["ok", "too_many"]);
    let ssrcs = |n| media_line(&lines(n, |i| format!("a=ssrc:{i} cname:c")));
    assert_eq!(at_and_over(SSRCS_MAX, ssrcs), ["ok", "too_many"]);
    let groups = |n| media_line(&lines(n, |i| format!("a=ssrc-group:FID {i} 1")));
    assert_eq!(at_and_over(SSRCS_MAX, groups), ["ok", "too_many"]);
    let bundle = |n| format!("v=0\na=group:BUNDLE{}", " 1".repeat(n));
    assert_eq!(at_and_over(MEDIA_LINES_MAX, bundle), ["ok", "too_many"]);
    let bundles = |n| "v=0\n".to_owned() + &lines(n, |_| "a=group:BUNDLE 1".into());
    assert_eq!(at_and_over(MEDIA_LINES_MAX, bundles), ["ok", "too_many"]);
    assert_eq!(at_and_over(MID_BYTES_MAX, |n| media_line(&format!("a=mid:{}", "m".repeat(n)))), ["ok", "malformed"]);
    let ufrag = |n| media_line(&format!("a=ice-ufrag:{}", "u".repeat(n)));
    assert_eq!(at_and_over(*UFRAG_CHARS.end(), ufrag), ["ok", "malformed"]);
    assert_eq!(at_and_over(*UFRAG_CHARS.start() - 1, ufrag), ["malformed", "ok"]);
    let pwd = |n| media_line(&format!("a=ice-pwd:{}", "p".repeat(n)));
    assert_eq!(at_and_over(*PWD_CHARS.end(), pwd), ["ok", "malformed"]);
    assert_eq!(at_and_over(*PWD_CHARS.start() - 1, pwd), ["malformed", "ok"]);
    let payload_type = |n| format!("v=0\nm=video 9 UDP/TLS/RTP/SAVPF {n}");
    assert_eq!(at_and_over(usize::from(PAYLOAD_TYPE_MAX), payload_type), ["ok", "malformed"]);
}

#[test]
fn what_is_only_kept_up_to_a_limit_is_skipped_beyond_it() {
    let candidates =
        media_line(&lines(CANDIDATES_MAX + 5, |i| format!("a=candidate:{i} 1 udp 1 192.0.2.1 {i} typ host")));
    assert_eq!(Description::parse(&candidates).unwrap().media[0].candidates.len(), CANDIDATES_MAX);
    let hash = vec!["AB"; 32].join(":");
    let fingerprints = media_line(&lines(FINGERPRINTS_MAX + 5, |_| format!("a=fingerprint:sha-256 {hash}")));
    assert_eq!(Description::parse(&fingerprints).unwrap().media[0].transport.fingerprints.len(), FINGERPRINTS_MAX);
    let feedback = media_line(&format!("a=rtpmap:111 opus/48000/2\n{}", lines(99, |_| "a=rtcp-fb:111 nack".into())));
    assert_eq!(Description::parse(&feedback).unwrap().media[0].formats[0].feedback.len(), FEEDBACK_MAX);
}

#[test]
fn errors_say_the_line() {
    let text = "v=0\no=- 1 1 IN IP4 0\ns=-\nm=audio 9 UDP/TLS/RTP/SAVPF 111\na=rtpmap:200 opus/48000/2\n";
    let error = Description::parse(text).unwrap_err();
    assert_eq!(error, SdpError::Malformed { line: 5, what: "the payload type is not a number up to 127" });
    assert_eq!(error.to_string(), "line 5: the payload type is not a number up to 127");
}

#[test]
fn names_in_candidates_are_never_resolved_and_hurt_nobody() {
    let text = media_line(
        "a=candidate:1 1 udp 1 8f3c.local 5000 typ host\na=candidate:1 1 udp 1 2001:db8::1 5000 typ host generation 0\n",
    );
    let candidates = Description::parse(&text).unwrap().media[0].candidates.clone();
    assert_eq!(candidates.len(), 1);
    assert!(candidates[0].addr.is_ipv6());
}

#[test]
fn passwords_are_not_in_debug_output() {
    let offer = Description::parse(CHROMIUM_PUBLISH).unwrap();
    let negotiated = answer_publish(CHROMIUM_PUBLISH, &local(), &Policy::default()).unwrap();
    let shown = format!("{offer:?} {:?} {:?}", negotiated.remote, local());
    assert!(!shown.contains("aoIm8NI1C1A") && !shown.contains("ourPassword"));
}

#[test]
fn our_own_descriptions_are_read_back() {
    let mut session = DownSession::new(local(), "cname");
    session.set_wanted(Codec::ALL.map(|codec| wanted(1, codec, "")).to_vec());
    let offer = Description::parse(&session.offer()).unwrap();
    assert_eq!((offer.version, offer.ice_lite, offer.media.len()), (1, true, 2));
    assert_eq!(offer.media[0].candidates.len(), 2);
    let answer = answer_publish(CHROMIUM_PUBLISH, &local(), &Policy::default()).unwrap().answer;
    assert_eq!(Description::parse(&answer).unwrap().media[1].formats[0].payload_type, 108);
}

/// Everything that takes text of a stranger.
fn feed(text: &str) {
    let wanted = || vec![wanted(1, Codec::Opus, ""), wanted(1, Codec::H264, ""), wanted(2, Codec::Vp8, "")];
    if let Ok(negotiated) = answer_publish(text, &local(), &Policy::default()) {
        Description::parse(&negotiated.answer).expect("an answer of ours can be read");
    }
    if let Ok(negotiated) = answer_play(text, &local(), wanted()) {
        Description::parse(&negotiated.answer).expect("an answer of ours can be read");
    }
    let mut session = DownSession::new(local(), text);
    session.set_wanted(wanted()[..2].to_vec());
    session.offer();
    let _ = session.apply_answer(text);
    let _ = super::super::client::read_answer(text);
    Description::parse(&session.offer()).expect("an offer of ours can be read");
}

#[test]
fn every_prefix_of_every_recorded_description_is_survived() {
    for (_, text) in RECORDED {
        for end in (0..text.len()).step_by(7) {
            feed(text.get(..end).unwrap_or_default());
        }
        feed(text);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]

    #[test]
    fn no_text_makes_it_panic(text in "\\PC{0,400}") {
        feed(&text);
        feed(&media_line(&text));
    }

    #[test]
    fn no_attributes_make_it_panic(
        lines in prop::collection::vec("(a|m|o|v)=(mid|rtpmap|fmtp|rtcp-fb|extmap|ssrc|ssrc-group|candidate|group|setup|audio|video|fingerprint)(:| )[0-9a-zA-Z/ :=;*-]{0,30}", 0..40)
    ) {
        feed(&media_line(&lines.join("\n")));
    }

    #[test]
    fn no_mutation_of_a_recorded_description_makes_it_panic(
        which in 0..RECORDED.len(),
        edits in prop::collection::vec((any::<prop::sample::Index>(), 0u8..5, any::<u8>()), 1..8),
    ) {
        let mut lines: Vec<String> = RECORDED[which].1.lines().map(str::to_owned).collect();
        for (place, kind, value) in edits {
            let index = place.index(lines.len());
            match kind {
                0 => drop(lines.remove(index)),
                1 => lines.insert(index, lines[usize::from(value) % lines.len()].clone()),
                2 => { let other = usize::from(value) % lines.len(); lines.swap(index, other); }
                3 => lines[index] = lines[index].chars().take(usize::from(value)).collect(),
                _ => {
                    let mut bytes = lines[index].clone().into_bytes();
                    if !bytes.is_empty() { let at = usize::from(value) % bytes.len(); bytes[at] = value; }
                    lines[index] = String::from_utf8_lossy(&bytes).into_owned();
                }
            }
            if lines.is_empty() { lines.push("v=0".to_owned()); }
        }
        feed(&lines.join("\r\n"));
    }
}
