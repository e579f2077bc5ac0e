//! The JSON of the wire: `{tag_key, data, srctinyid}` from clients, `{cmd, content, srctinyid}` to them.

use serde_json::{Map, Value, json};

use crate::{
    fields::read_object, hub::peer::PeerWish, member::Role, message::StreamInfo, name::RoomName, name::StreamName,
};

/// `cmd` of messages to clients.
pub mod cmd {
    pub const REMOTE_SDP: u32 = 0x02;
    pub const SENT_AWAY: u32 = 0x08;
    pub const CLOSE_PEER_ACK: u32 = 0x0a;
    pub const PEER_JOIN: u32 = 0x10;
    pub const PEER_LEAVE: u32 = 0x12;
    pub const CHANNEL_READY: u32 = 0x13;
    pub const JOIN_RESULT: u32 = 0x14;
    pub const MUTE_STATE: u32 = 0x17;
    pub const SUBSCRIBE_ACK: u32 = 0x1a;
    pub const UPDATE_REMOTE_SDP: u32 = 0x30;
    pub const CHANNEL_REFUSED: u32 = 0x50;
    pub const RECONNECT_RESULT: u32 = 0x202;
}

/// The `a=msid` label of a member's camera and microphone.
const MSID_MAIN: &str = "5Y2wZK8nANNAoVw6dSAHVjNxrD1ObBM2kBPV";
/// That of his screen.
const MSID_AUX: &str = "224d130c-7b5c-415b-aaa2-79c2eb5a6df2";
/// `trtcrole` of somebody who only watches.
const ROLE_AUDIENCE: u64 = 21;

/// What a client says.
#[derive(Clone, Debug, PartialEq)]
pub enum Said {
    Join(Join),
    /// An offer of what he sends; `again` if it changes one of before.
    Offer {
        sdp: String,
        again: bool,
    },
    /// His answer about a peer.
    Answer {
        peer: String,
        sdp: String,
    },
    ClosePeer,
    Mute {
        audio: bool,
        video: bool,
    },
    Subscribe {
        peer: String,
        wish: PeerWish,
    },
    /// A peer's connection broke: he wants another.
    Recreate {
        peer: String,
    },
    /// His channel is back, with all that it had.
    Rebuild,
    /// Reports, settings and what newer builds may add.
    Nothing,
}

/// `on_create_room`.
#[derive(Clone, Debug, PartialEq)]
pub struct Join {
    pub room: RoomName,
    pub private_map_key: Option<String>,
    pub role: Role,
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
            match peer(message.get("srctinyid")) {
                None => Said::Offer { sdp, again: tag != "on_peer_sdp" },
                Some(peer) => Said::Answer { peer, sdp },
            }
        }
        "on_close_peer" => Said::ClosePeer,
        "on_change_av_state" => {
            let flag = data.get("flag")?.as_u64()?;
            Said::Mute { audio: flag & 4 != 0, video: flag & 1 != 0 }
        }
        "on_subscribe" => {
            let wanted = |name: &str| data.get(name).and_then(Value::as_bool).unwrap_or(true);
            let wish = PeerWish { audio: wanted("audio"), video: wanted("bigVideo"), screen: wanted("auxVideo") };
            Said::Subscribe { peer: peer(data.get("srctinyid"))?, wish }
        }
        "on_recreate_down_peerc" => Said::Recreate { peer: peer(data.get("srctinyid"))? },
        "on_rebuild_session" => Said::Rebuild,
        _ => Said::Nothing,
    })
}

fn join(data: &Map<String, Value>) -> Option<Join> {
    let text = match data.get("roomid")? {
        Value::String(text) => text.clone(),
        Value::Number(number) => number.to_string(),
        _ => return None,
    };
    let key = data.get("privMapEncrypt").and_then(Value::as_str).filter(|key| !key.is_empty());
    let audience = data.get("trtcrole").and_then(Value::as_u64) == Some(ROLE_AUDIENCE);
    Some(Join {
        room: RoomName::from_text(&text)?,
        private_map_key: key.map(str::to_owned),
        role: if audience { Role::Audience } else { Role::Anchor },
    })
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

/// Our answer to what he sends.
pub fn uplink_answer(sdp: &str) -> String {
    json!({ "cmd": cmd::REMOTE_SDP, "content": { "type": "answer", "sdp": sdp }, "srctinyid": 0 }).to_string()
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
        let expected = Join { room: RoomName::Number(1001), private_map_key: None, role: Role::Audience };
        assert_eq!(read(join), Some(Said::Join(expected)));
        let offer = r#"{"tag_key":"on_peer_sdp","data":{"type":"offer","sdp":"v=0"},"srctinyid":0}"#;
        assert_eq!(read(offer), Some(Said::Offer { sdp: "v=0".into(), again: false }));
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
