//! What a callback says, and its signature.

use std::net::IpAddr;

use aws_lc_rs::hmac;
use serde::{Deserialize, Serialize};

use crate::{
    hub::{Fact, Notice, Play},
    message::{LeaveReason, MemberInfo, StreamInfo},
    name::{RoomName, StreamName},
};

/// The header with the signature: `t=<Unix seconds>,v1=<hex>`.
pub const SIGNATURE_HEADER: &str = "x-roomcast-signature";

/// The JSON of one callback.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Callback {
    /// The same for every attempt, and never used twice: what came already can be told by it.
    pub id: String,
    #[serde(rename = "sdkAppID")]
    pub sdk_app_id: u32,
    #[serde(rename = "roomID")]
    pub room: RoomName,
    /// When it happened, in Unix milliseconds.
    pub time: u64,
    #[serde(flatten)]
    pub what: What,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub enum What {
    RoomCreated,
    RoomDissolved,
    MemberEntered {
        member: MemberInfo,
    },
    MemberLeft {
        #[serde(rename = "userID")]
        user: String,
        reason: LeaveReason,
    },
    PublishStarted {
        #[serde(rename = "userID")]
        user: String,
        stream: StreamInfo,
    },
    PublishStopped {
        #[serde(rename = "userID")]
        user: String,
        stream: StreamName,
    },
    /// By RTMP, FLV or HLS; players by WHEP and in rooms are members.
    PlayStarted {
        #[serde(flatten)]
        play: PlayInfo,
    },
    PlayStopped {
        #[serde(flatten)]
        play: PlayInfo,
    },
}

/// One player of a stream.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PlayInfo {
    /// The same in both callbacks of a player.
    #[serde(rename = "playID")]
    pub id: String,
    /// Whose stream it is.
    #[serde(rename = "userID")]
    pub user: String,
    pub stream: StreamName,
    /// `rtmp`, `flv` or `hls`.
    pub protocol: String,
    /// Who plays, if he showed a ticket.
    #[serde(rename = "playerID", skip_serializing_if = "Option::is_none")]
    pub player: Option<String>,
    /// Where he is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ip: Option<IpAddr>,
}

impl PlayInfo {
    fn of(play: &Play) -> PlayInfo {
        let Play { id, user, stream, protocol, player, ip } = play.clone();
        PlayInfo { id, user, stream, protocol: protocol.to_owned(), player, ip }
    }
}

impl What {
    /// `None` for what callbacks do not tell.
    fn of(fact: &Fact) -> Option<What> {
        Some(match fact {
            Fact::RoomCreated => What::RoomCreated,
            Fact::RoomDissolved => What::RoomDissolved,
            Fact::MemberEntered { member } => What::MemberEntered { member: member.clone() },
            Fact::MemberLeft { user, reason } => What::MemberLeft { user: user.clone(), reason: *reason },
            Fact::PlayStarted(play) => What::PlayStarted { play: PlayInfo::of(play) },
            Fact::PlayStopped(play) => What::PlayStopped { play: PlayInfo::of(play) },
            Fact::PublishStarted { user, stream, .. } => {
                What::PublishStarted { user: user.clone(), stream: stream.clone() }
            }
            Fact::PublishStopped { user, stream } => What::PublishStopped { user: user.clone(), stream: *stream },
            _ => return None,
        })
    }
}

impl Callback {
    pub fn of(id: String, notice: &Notice) -> Option<Callback> {
        let what = What::of(&notice.fact)?;
        Some(Callback { id, sdk_app_id: notice.sdk_app_id, room: notice.room.clone(), time: notice.unix_ms, what })
    }
}

/// The value of [`SIGNATURE_HEADER`]: HMAC-SHA256 of the time, a dot and the body. The time keeps an old callback from being
/// sent again by somebody who overheard it; receivers refuse what is older than some minutes.
pub fn signature(key: &str, unix_s: u64, body: &[u8]) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA256, key.as_bytes());
    let mut context = hmac::Context::with_key(&key);
    context.update(format!("{unix_s}.").as_bytes());
    context.update(body);
    let hex: String = context.sign().as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    format!("t={unix_s},v1={hex}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_signature_covers_time_and_body() {
        // printf '1700000000.{"a":1}' | openssl dgst -sha256 -hmac secret
        let expected = "t=1700000000,v1=49f24e537407743fa4a0242bb63b94b9a47ee99cbbe071ccd8a22550ae411686";
        let made = signature("secret", 1_700_000_000, b"{\"a\":1}");
        assert_eq!(made, expected);
        assert_ne!(made, signature("secret", 1_700_000_001, b"{\"a\":1}"));
        assert_ne!(made, signature("secret", 1_700_000_000, b"{\"a\":2}"));
        assert_ne!(made, signature("other", 1_700_000_000, b"{\"a\":1}"));
    }
}
