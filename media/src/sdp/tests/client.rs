use super::{
    super::{
        DownSession, Policy, answer_play, answer_publish,
        client::{answer_receive, offer_play, offer_publish, read_answer},
    },
    *,
};
use crate::ids::Kind;

#[test]
fn a_player_and_our_answer_understand_one_another() {
    let wanted = vec![wanted(1, Codec::Opus, ""), wanted(1, Codec::H264, "profile-level-id=4d001f")];
    let negotiated = answer_play(&offer_play(&local()), &local(), wanted).unwrap();
    let read = read_answer(&negotiated.answer).unwrap();
    assert_eq!((read.remote.ufrag.as_str(), read.candidates.len()), ("ourUfrag", 2));
    for (theirs, ours) in negotiated.media.iter().zip(&read.media) {
        assert_eq!((ours.kind, ours.format.codec), (theirs.track.kind, theirs.codec));
        assert_eq!((ours.ssrc, ours.rtx_ssrc), (Some(theirs.ssrc), theirs.rtx_ssrc));
        assert_eq!((ours.format.payload_type, ours.ext), (theirs.payload_type, theirs.ext));
    }
    assert_eq!(read.media[1].format.payload_type, 116);
}

#[test]
fn a_publisher_and_our_answer_understand_one_another() {
    let (offer, offered) = offer_publish(&local(), "c", &[Codec::Opus, Codec::H264]);
    let negotiated = answer_publish(&offer, &local(), &Policy::default()).unwrap();
    let read = read_answer(&negotiated.answer).unwrap();
    assert_eq!(read.media.iter().map(|m| m.kind).collect::<Vec<_>>(), [Kind::Audio, Kind::Video]);
    assert_eq!(
        negotiated.media.iter().map(|m| m.ssrc.unwrap()).collect::<Vec<_>>(),
        offered.iter().map(|o| o.ssrc).collect::<Vec<_>>()
    );
    assert!(read.media[1].ext == negotiated.media[1].ext && read.media[1].ext.mid.is_some());
}

#[test]
fn what_the_server_leaves_empty_is_not_there() {
    let negotiated = answer_play(&offer_play(&local()), &local(), vec![wanted(1, Codec::Vp8, "")]).unwrap();
    let media = read_answer(&negotiated.answer).unwrap().media;
    assert_eq!(media.len(), 1);
    assert_eq!(media[0].format.codec, Codec::Vp8);
}

#[test]
fn a_server_that_would_be_the_dtls_client_is_refused() {
    let answer = answer_play(&offer_play(&local()), &local(), vec![wanted(1, Codec::Vp8, "")]).unwrap().answer;
    assert_eq!(read_answer(&answer.replace("setup:passive", "setup:active")).unwrap_err().code(), "wrong_setup");
}

#[test]
fn what_a_client_answers_is_what_the_server_understands() {
    let mut session = DownSession::new(local(), "c");
    session.set_wanted(vec![wanted(1, Codec::Opus, ""), wanted(1, Codec::H264, ""), wanted(2, Codec::Vp8, "")]);
    let (answer, theirs) = answer_receive(&session.offer(), &local(), 1).unwrap();
    let (_, ours) = session.apply_answer(&answer).unwrap();
    assert_eq!((ours.len(), theirs.media.len(), theirs.candidates.len()), (3, 3, 2));
    for (ours, theirs) in ours.iter().zip(&theirs.media) {
        assert!(ours.accepted);
        assert_eq!((theirs.kind, theirs.format.codec), (ours.track.kind, ours.codec));
        assert_eq!((theirs.ssrc, theirs.rtx_ssrc), (Some(ours.ssrc), ours.rtx_ssrc));
        assert_eq!((theirs.format.payload_type, theirs.ext), (ours.payload_type, ours.ext));
    }
    // A track that ends leaves an m-line on which nothing flows.
    session.set_wanted(vec![wanted(2, Codec::Vp8, "")]);
    let (answer, theirs) = answer_receive(&session.offer(), &local(), 2).unwrap();
    let (_, ours) = session.apply_answer(&answer).unwrap();
    assert_eq!((ours.len(), theirs.media.len()), (1, 1));
    assert!(ours[0].accepted && theirs.media[0].ssrc == Some(ours[0].ssrc));
}
