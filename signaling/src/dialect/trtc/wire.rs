//! The JSON of the wire: `{tag_key, data, srctinyid}` from clients, `{cmd, content, srctinyid}` to them.

use serde_json::{Map, Value, json};

use crate::{
    fields::read_object,
    hub::peer::PeerWish,
    member::Role,
    message::{StreamInfo, TrackKind},
    name::{RoomName, StreamName},
    quality::Quality,
};

/// `cmd` of messages to clients.
pub mod cmd {
    pub const REMOTE_SDP: u32 = 0x02;
    pub const SENT_AWAY: u32 = 0x08;
    pub const CLOSE_PEER_ACK: u32 = 0x0a;
    pub const PEER_JOIN: u32 = 0x10;
    pub const CREATE_PEER_RESULT: u32 = 0x11;
    pub const PEER_LEAVE: u32 = 0x12;
    pub const CHANNEL_READY: u32 = 0x13;
    pub const JOIN_RESULT: u32 = 0x14;
    pub const MUTE_STATE: u32 = 0x17;
    pub const SUBSCRIBE_ACK: u32 = 0x1a;
    pub const CHANGE_CONSTRAINTS: u32 = 0x20;
    pub const UPDATE_REMOTE_SDP: u32 = 0x30;
    pub const CHANNEL_REFUSED: u32 = 0x50;
    pub const RECONNECT_RESULT: u32 = 0x202;
    /// Of ours: something was refused, and the wire has no word for it. The vendor's clients pass over what they do not know,
    /// and write it to their log.
    pub const REFUSED: u32 = 0x7000;
}

/// The `a=msid` label of a member's camera and microphone.
const MSID_MAIN: &str = "5Y2wZK8nANNAoVw6dSAHVjNxrD1ObBM2kBPV";
/// That of his screen.
const MSID_AUX: &str = "224d130c-7b5c-415b-aaa2-79c2eb5a6df2";
/// `trtcrole` of somebody who only watches.
const ROLE_AUDIENCE: u64 = 21;
/// How much of an unknown tag is said back, in characters.
const TAG_CHARS_MAX: usize = 64;

/// The build of `trtc-js-sdk` that is the first of its kind: what has a smaller number is a `WebRTCAPI`.
const FIRST_TRTC: u32 = 4000;
/// From this build on, clients of `WebRTCAPI` answer offers; before, they make them.
const FIRST_TO_ANSWER: u32 = 1001;

/// What is said of a client's library by its `jsSdkVersion`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Library(u32);

impl Library {
    /// What is taken for granted until it says otherwise.
    pub const UNKNOWN: Library = Library(FIRST_TRTC);

    /// Offers to receive a peer whom it is told of, in the place of answering our offer. Its connections hold one picture, so
    /// that each stream has one.
    pub fn offers(self) -> bool {
        self.0 < FIRST_TO_ANSWER
    }

    /// It is `WebRTCAPI`, of whichever kind.
    pub fn is_web_rtc_api(self) -> bool {
        self.0 < FIRST_TRTC
    }
}

/// What a client says.
#[derive(Clone, Debug, PartialEq)]
pub enum Said {
    Join(Join),
    /// An offer of what he sends, the first or one that changes it.
    Offer {
        sdp: String,
    },
    /// An offer to receive a peer.
    PeerOffer {
        peer: String,
        sdp: String,
    },
    /// His answer about a peer.
    Answer {
        peer: String,
        sdp: String,
    },
    /// He sends no more.
    ClosePeer,
    /// He wants to be told of a peer again, before he connects to him.
    CreatePeer {
        peer: String,
    },
    Mute {
        audio: bool,
        video: bool,
    },
    MuteOne {
        kind: TrackKind,
        muted: bool,
    },
    Subscribe {
        peer: String,
        wish: PeerWish,
    },
    /// A peer's connection broke: he wants another.
    Recreate {
        peer: String,
    },
    /// What he sends is to be encoded by another profile, or he changes between anchor and audience.
    SpearRole(String),
    /// How his connections do; the users in it are peers' numbers.
    Quality(Box<Quality>),
    /// His channel is back, with all that it had.
    Rebuild,
    /// Reports and settings.
    Nothing,
    /// Nothing that we know.
    Unknown(String),
}

/// Reports of what happens in a client and settings of its encoder: nothing is answered to them.
const REPORTS: &[&str] = &[
    "init_end_report",
    "on_constraints_config",
    "on_create_peerconnection_failed",
    "on_end_report",
    "on_get_local_candidate_failed",
    "on_get_local_sdp_failed",
    "on_get_srctinyid_peerconnection_failed",
    "on_get_user_media",
    "on_get_user_media_failed",
    "on_get_user_media_ok",
    "on_ice_complete",
    "on_not_support_h264",
    // We learn of candidates from the checks themselves.
    "on_peer_candidate",
    "on_set_remote_candidate_failed",
    "on_set_remote_candidate_suc",
    "on_set_remote_sdp_failed",
    "on_set_remote_sdp_suc",
    "on_start_webrtc",
    "on_start_webrtc_failed_without_callback",
    "on_stream_notify",
    "on_stun_failed",
    "on_test_ws_broken",
    "on_upload_web_log",
];

/// `on_create_room`.
#[derive(Clone, Debug, PartialEq)]
pub struct Join {
    pub room: RoomName,
    pub private_map_key: Option<String>,
    pub role: Role,
    pub library: Library,
    /// What he sends is a screen: a second client of somebody, which is a member of its own.
    pub aux: bool,
}

/// Reads one message. `None` is a broken client.
pub fn read(text: &str) -> Option<Said> {
    let message = read_object(text)?;
    let tag = message.get("tag_key")?.as_str()?;
    let nothing = Map::new();
    let data = message.get("data").and_then(Value::as_object).unwrap_or(&nothing);
    Some(match tag {
        "on_create_room" => Said::Join(join(data)?),
        "on_peer_sdp" | "on_update_peer_sdp" | "on_reexchange_sdp" => {
            let sdp = data.get("sdp")?.as_str()?.to_owned();
            let offers = data.get("type").and_then(Value::as_str) == Some("offer");
            match peer(message.get("srctinyid")) {
                None => Said::Offer { sdp },
                Some(peer) if offers => Said::PeerOffer { peer, sdp },
                Some(peer) => Said::Answer { peer, sdp },
            }
        }
        "on_close_peer" => Said::ClosePeer,
        "on_create_peer" => Said::CreatePeer { peer: peer(data.get("srctinyid"))? },
        "on_change_av_state" => {
            let flag = data.get("flag")?.as_u64()?;
            Said::Mute { audio: flag & 4 != 0, video: flag & 1 != 0 }
        }
        "on_media_change" => match data.get("mediatype")?.as_u64()? {
            1 => Said::MuteOne { kind: TrackKind::Video, muted: false },
            2 => Said::MuteOne { kind: TrackKind::Video, muted: true },
            3 => Said::MuteOne { kind: TrackKind::Audio, muted: false },
            4 => Said::MuteOne { kind: TrackKind::Audio, muted: true },
            _ => return None,
        },
        "on_subscribe" => {
            let wanted = |name: &str| data.get(name).and_then(Value::as_bool).unwrap_or(true);
            let wish = PeerWish { audio: wanted("audio"), video: wanted("bigVideo"), screen: wanted("auxVideo") };
            Said::Subscribe { peer: peer(data.get("srctinyid"))?, wish }
        }
        "on_recreate_down_peerc" => Said::Recreate { peer: peer(data.get("srctinyid"))? },
        // `disconnected` may pass by itself; of his own connection he begins anew himself.
        "on_ice_broken" => {
            match (peer(data.get("srctinyid")), data.get("iceConnectionState").and_then(Value::as_str)) {
                (Some(peer), Some("failed")) => Said::Recreate { peer },
                _ => Said::Nothing,
            }
        }
        "on_spear_role_change" => Said::SpearRole(data.get("role")?.as_str()?.to_owned()),
        "on_quality_report" => {
            super::report::read(data).map_or(Said::Nothing, |quality| Said::Quality(Box::new(quality)))
        }
        "on_rebuild_session" => Said::Rebuild,
        report if REPORTS.contains(&report) => Said::Nothing,
        unknown => Said::Unknown(unknown.chars().take(TAG_CHARS_MAX).collect()),
    })
}

fn join(data: &Map<String, Value>) -> Option<Join> {
    let text = match data.get("roomid")? {
        Value::String(text) => text.clone(),
        Value::Number(number) => number.to_string(),
        _ => return None,
    };
    let key = data.get("privMapEncrypt").and_then(Value::as_str).filter(|key| !key.is_empty());
    let number = |name: &str| match data.get(name)? {
        Value::String(text) => text.parse().ok(),
        value => value.as_u64(),
    };
    // 3.x says it in words, in the field of the encoding profile.
    let audience = number("trtcrole") == Some(ROLE_AUDIENCE) || data.get("role") == Some(&Value::from("audience"));
    let version = number("jsSdkVersion").and_then(|number| number.try_into().ok());
    Some(Join {
        room: RoomName::from_text(&text)?,
        private_map_key: key.map(str::to_owned),
        role: if audience { Role::Audience } else { Role::Anchor },
        library: version.map_or(Library::UNKNOWN, Library),
        aux: number("isAuxUser") == Some(1),
    })
}

/// Sizes of the encoding profiles that are known by name: width and height in pixels, pictures in a second.
pub fn profile(role: &str) -> Option<(u32, u32, u32)> {
    match role {
        "user" => Some((640, 368, 20)),
        "wp1280" => Some((1280, 720, 20)),
        _ => None,
    }
}

/// A peer's number; the client's own uplink is 0.
fn peer(value: Option<&Value>) -> Option<String> {
    let text = match value? {
        Value::String(text) => text.clone(),
        Value::Number(number) => number.to_string(),
        _ => return None,
    };
    (text != "0" && !text.is_empty()).then_some(text)
}

/// The number by which clients know a user: the same wherever he comes from, below 2^53 as JavaScript wants it.
pub fn tiny_id(user: &str) -> String {
    let hash = user
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325, |hash: u64, byte| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3));
    // Never 0, which is the uplink.
    ((hash >> 12) | 1).to_string()
}

pub fn message(cmd: u32, content: Value) -> String {
    json!({ "cmd": cmd, "content": content }).to_string()
}

/// Our answer to what he sends, or to his offer to receive a peer.
pub fn answer(peer: Option<&str>, sdp: &str) -> String {
    let from = peer.map_or(Value::from(0), Value::from);
    json!({ "cmd": cmd::REMOTE_SDP, "content": { "type": "answer", "sdp": sdp }, "srctinyid": from }).to_string()
}

/// Why something did not happen that the wire has no word for.
pub fn refused(about: &str, code: u32, message: &str) -> String {
    self::message(cmd::REFUSED, json!({ "tag_key": about, "errorCode": code, "errorMsg": message }))
}

/// The flags of `0x17`: what there is, and what of it is muted.
pub fn flags(streams: &[StreamInfo]) -> u32 {
    let (mut flags, main) = (0, streams.iter().find(|one| one.stream == StreamName::Main));
    if let Some(video) = main.and_then(|main| main.video.as_ref()) {
        flags |= if video.muted { 1 | 16 } else { 1 };
    }
    if let Some(audio) = main.and_then(|main| main.audio.as_ref()) {
        flags |= if audio.muted { 8 | 64 } else { 8 };
    }
    if streams.iter().any(|one| one.stream == StreamName::Aux && one.video.is_some()) {
        flags |= 4;
    }
    flags
}

/// Gives the streams of an offer the labels by which clients know main and aux.
pub fn relabel(sdp: &str, main: Option<&str>, aux: Option<&str>) -> String {
    let mut sdp = sdp.to_owned();
    for (label, known) in [(main, MSID_MAIN), (aux, MSID_AUX)] {
        if let Some(label) = label {
            sdp = sdp.replace(&format!("msid:{label} "), &format!("msid:{known} "));
        }
    }
    sdp
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_of_the_library_are_read() {
        let join = r#"{"tag_key":"on_create_room","data":{"roomid":"1001","sdkAppID":"7","useStrRoomid":0,
            "privMapEncrypt":"","trtcrole":21},"openid":"a","tinyid":"5","report":{}}"#;
        let expected = Join {
            room: RoomName::Number(1001),
            private_map_key: None,
            role: Role::Audience,
            library: Library::UNKNOWN,
            aux: false,
        };
        assert_eq!(read(join), Some(Said::Join(expected)));
        let offer = r#"{"tag_key":"on_peer_sdp","data":{"type":"offer","sdp":"v=0"},"srctinyid":0}"#;
        assert_eq!(read(offer), Some(Said::Offer { sdp: "v=0".into() }));
        let answer = r#"{"tag_key":"on_peer_sdp","data":{"type":"answer","sdp":"v=0"},"srctinyid":"17"}"#;
        assert_eq!(read(answer), Some(Said::Answer { peer: "17".into(), sdp: "v=0".into() }));
        let mute = r#"{"tag_key":"on_change_av_state","data":{"srctinyid":0,"userid":"a","flag":4}}"#;
        assert_eq!(read(mute), Some(Said::Mute { audio: true, video: false }));
        let wish =
            r#"{"tag_key":"on_subscribe","data":{"srctinyid":"17","audio":false,"bigVideo":true,"auxVideo":true}}"#;
        let wanted = PeerWish { audio: false, video: true, screen: true };
        assert_eq!(read(wish), Some(Said::Subscribe { peer: "17".into(), wish: wanted }));
        assert_eq!(read(r#"{"tag_key":"on_close_peer","data":""}"#), Some(Said::ClosePeer));
        assert_eq!(read(r#"{"tag_key":"on_quality_report","data":{}}"#), Some(Said::Nothing));
        for bad in
            ["", "[]", "{}", r#"{"tag_key":5}"#, r#"{"tag_key":"on_peer_sdp"}"#, r#"{"tag_key":"on_create_room"}"#]
        {
            assert_eq!(read(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_user_has_one_number_that_javascript_can_hold() {
        assert_eq!(tiny_id("alice"), tiny_id("alice"));
        assert_ne!(tiny_id("alice"), tiny_id("bob"));
        assert!(tiny_id("李雷").parse::<u64>().unwrap() < 1 << 53);
    }

    #[test]
    fn labels_become_those_that_clients_know() {
        let sdp = "a=msid:s12 audio-s12\r\na=ssrc:5 msid:s12 x\r\na=msid:s1 video-s1\r\n";
        let out = relabel(sdp, Some("s12"), Some("s1"));
        assert_eq!(
            out,
            format!("a=msid:{MSID_MAIN} audio-s12\r\na=ssrc:5 msid:{MSID_MAIN} x\r\na=msid:{MSID_AUX} video-s1\r\n")
        );
    }
}
