//! Rooms and who is in them.

use axum::{
    http::Method,
    routing::{MethodRouter, delete, get, patch, post, put},
};
use serde_json::{Value, json};

use super::{
    Answer, Api,
    call::Call,
    openapi::{Field, Kind, Operation, optional, required},
    unix_ms,
};
use crate::{
    code::{Code, Fault},
    fields::Fields,
    hub::RoomView,
    member::Role,
    message::Content,
    name::{USER_ID_BYTES_MAX, is_user_id},
    rest::{Refused, issue_ticket},
    room::{RoomChange, RoomRecord, Silence},
};

type Answered = Result<Answer, Refused>;

const LIMIT: Field = optional("limit", Kind::Number, "entries of a page; 100 if left out");
const AFTER: Field = optional("after", Kind::Text, "`next` of the page before");
const PAGE: &[Field] = &[LIMIT, AFTER];
const ROOMS_QUERY: &[Field] = &[
    LIMIT,
    AFTER,
    optional("prefix", Kind::Text, "rooms whose name begins so"),
    optional("userID", Kind::Text, "rooms in which this user is"),
    optional("state", Kind::Text, "`occupied`: somebody is in; `empty`: nobody; `locked`"),
];
const MEMBERS_MAX: Field =
    optional("membersMax", Kind::Number, "how many members it may have; 0 or left out: as many as the server lets in");
const PUBLISHERS_MAX: Field =
    optional("publishersMax", Kind::Number, "how many of them may publish; 0 or left out: as many as the server lets");
const ROOM_BODY: &[Field] = &[
    required("roomID", Kind::Room, "a number from 1 to 4294967294, or 1 to 64 bytes of text"),
    optional("owner", Kind::Text, "the userID of the owner, who may keep order"),
    optional("locked", Kind::Flag, "nobody new gets in but the owner and moderators"),
    optional("metadata", Kind::Text, "your own words about the room"),
    MEMBERS_MAX,
    PUBLISHERS_MAX,
];
const CHANGE_BODY: &[Field] = &[
    optional("locked", Kind::Flag, "nobody new gets in but the owner and moderators"),
    optional("metadata", Kind::Text, "your own words about the room; empty removes them"),
    MEMBERS_MAX,
    PUBLISHERS_MAX,
];
const SILENCE_BODY: &[Field] = &[
    optional("audio", Kind::Flag, "others do not hear him; true if left out"),
    optional("video", Kind::Flag, "others do not see him; false if left out"),
    optional("messages", Kind::Flag, "he may not send messages; false if left out"),
];
const BAN_BODY: &[Field] =
    &[optional("seconds", Kind::Number, "for how long; for as long as the room exists if left out")];
const MESSAGE_BODY: &[Field] = &[
    optional("from", Kind::Text, "what receivers are told; the server itself if left out"),
    optional("to", Kind::Text, "one member; everybody if left out"),
    optional("text", Kind::Text, "either this"),
    optional("data", Kind::Text, "or this, for apps"),
    optional("desc", Kind::Text, "beside data"),
    optional("ext", Kind::Text, "beside data"),
];
const STREAMS_QUERY: &[Field] = &[
    LIMIT,
    AFTER,
    optional("roomID", Kind::Text, "streams of this room"),
    optional("userID", Kind::Text, "of this user"),
];
const TICKET_BODY: &[Field] = &[
    required("userID", Kind::Text, "who it is for"),
    optional("roomID", Kind::Room, "with a privateMapKey for this room"),
    optional("expire", Kind::Number, "seconds; 300 if left out"),
    optional("privilege", Kind::Number, "bits of the privateMapKey; 255 if left out"),
    optional("version", Kind::Number, "1 or 2; what the app has a key for if left out"),
];
/// Longest ban with an end, in seconds: a hundred years. Longer ones have none.
const BAN_SECONDS_MAX: u64 = 100 * 366 * 24 * 3600;

pub(super) fn operations() -> Vec<(Operation, MethodRouter<Api>)> {
    const ROOMS: &str = "/apps/{sdkAppID}/rooms";
    const ROOM: &str = "/apps/{sdkAppID}/rooms/{roomID}";
    const MEMBERS: &str = "/apps/{sdkAppID}/rooms/{roomID}/members";
    const KICK: &str = "/apps/{sdkAppID}/rooms/{roomID}/members/{userID}/kick";
    const MUTE: &str = "/apps/{sdkAppID}/rooms/{roomID}/members/{userID}/mute";
    const BANS: &str = "/apps/{sdkAppID}/rooms/{roomID}/bans";
    const BAN: &str = "/apps/{sdkAppID}/rooms/{roomID}/bans/{userID}";
    const MESSAGES: &str = "/apps/{sdkAppID}/rooms/{roomID}/messages";
    const STREAMS: &str = "/apps/{sdkAppID}/streams";
    const TICKETS: &str = "/apps/{sdkAppID}/tickets";
    let of = Operation::new;
    let done = |operation: Operation| Operation { success: 204, ..operation };
    vec![
        (Operation { query: ROOMS_QUERY, ..of(Method::GET, ROOMS, "list rooms by name") }, get(list_rooms)),
        (
            Operation {
                body: ROOM_BODY,
                success: 201,
                ..of(Method::POST, ROOMS, "make a room that stays when nobody is in it")
            },
            post(create_room),
        ),
        (of(Method::GET, ROOM, "one room, with its members"), get(one_room)),
        (
            done(Operation {
                body: CHANGE_BODY,
                ..of(Method::PATCH, ROOM, "lock, unlock, change metadata and capacity")
            }),
            patch(change_room),
        ),
        (done(of(Method::DELETE, ROOM, "dissolve: everybody is sent away, nothing is kept")), delete(dissolve)),
        (Operation { query: PAGE, ..of(Method::GET, MEMBERS, "list members by userID") }, get(list_members)),
        (done(of(Method::POST, KICK, "send a member away; he may come back")), post(kick)),
        (
            done(Operation { body: SILENCE_BODY, ..of(Method::PUT, MUTE, "mute; it holds when he comes back") }),
            put(mute),
        ),
        (done(of(Method::DELETE, MUTE, "unmute")), delete(unmute)),
        (Operation { query: PAGE, ..of(Method::GET, BANS, "list bans by userID") }, get(list_bans)),
        (done(Operation { body: BAN_BODY, ..of(Method::PUT, BAN, "send away and keep out") }), put(ban)),
        (done(of(Method::DELETE, BAN, "let in again")), delete(unban)),
        (Operation { body: MESSAGE_BODY, ..of(Method::POST, MESSAGES, "send a message") }, post(send_message)),
        (Operation { query: STREAMS_QUERY, ..of(Method::GET, STREAMS, "list streams by name") }, get(list_streams)),
        (Operation { body: TICKET_BODY, ..of(Method::POST, TICKETS, "issue a ticket") }, post(ticket)),
    ]
}

async fn list_rooms(call: Call) -> Answered {
    let prefix = call.query.value("prefix").unwrap_or_default();
    let user = call.query.value("userid");
    let state = call.query.value("state");
    let in_state: fn(&RoomView) -> bool = match state {
        None => |_| true,
        Some("occupied") => |view| !view.members.is_empty(),
        Some("empty") => |view| view.members.is_empty(),
        Some("locked") => |view| view.record.locked,
        Some(_) => return Err(Fault::field("state", "occupied, empty or locked").into()),
    };
    let mut rooms = call.hub().rooms(call.app);
    rooms.retain(|view| {
        let here = user.is_none_or(|user| view.members.iter().any(|member| member.user == user));
        here && in_state(view) && view.room.to_string().starts_with(prefix)
    });
    let (rooms, next) = call.page(rooms, |view| view.room.to_string())?;
    Ok(Answer::Ok(json!({ "rooms": rooms.iter().map(summary).collect::<Vec<_>>(), "next": next })))
}

async fn create_room(call: Call) -> Answered {
    let fields = call.fields();
    let room = fields.room("roomID")?;
    let owner = fields.optional_text("owner", USER_ID_BYTES_MAX)?;
    if owner.is_some_and(|owner| !is_user_id(owner)) {
        return Err(Fault::field("owner", "without control characters").into());
    }
    let mut record = RoomRecord { owner: owner.map(str::to_owned), lasting: true, ..RoomRecord::default() };
    change(&call)?.apply(&mut record);
    call.hub().create_room(call.app, &room, record)?;
    call.api.settled().await?;
    let view = call.hub().room(call.app, &room).ok_or(Code::NoSuchRoom)?;
    Ok(Answer::Created(summary(&view)))
}

async fn one_room(call: Call) -> Answered {
    let view = call.hub().room(call.app, call.room()?).ok_or(Code::NoSuchRoom)?;
    let mut json = summary(&view);
    json["members"] = json!(view.members);
    Ok(Answer::Ok(json))
}

async fn change_room(call: Call) -> Answered {
    call.hub().update_room(call.app, call.room()?, change(&call)?)?;
    done(&call).await
}

async fn dissolve(call: Call) -> Answered {
    call.hub().dissolve(call.app, call.room()?)?;
    done(&call).await
}

async fn list_members(call: Call) -> Answered {
    let mut members = call.hub().room(call.app, call.room()?).ok_or(Code::NoSuchRoom)?.members;
    members.sort_by(|a, b| a.user.cmp(&b.user));
    let (members, next) = call.page(members, |member| member.user.clone())?;
    Ok(Answer::Ok(json!({ "members": members, "next": next })))
}

async fn kick(call: Call) -> Answered {
    call.hub().kick(call.app, call.room()?, call.user()?)?;
    done(&call).await
}

async fn mute(call: Call) -> Answered {
    let flag = |name, otherwise| Ok::<_, Fault>(call.fields().optional_boolean(name)?.unwrap_or(otherwise));
    let silence =
        Silence { audio: flag("audio", true)?, video: flag("video", false)?, messages: flag("messages", false)? };
    call.hub().silence(call.app, call.room()?, call.user()?, silence)?;
    done(&call).await
}

async fn unmute(call: Call) -> Answered {
    call.hub().silence(call.app, call.room()?, call.user()?, Silence::NONE)?;
    done(&call).await
}

async fn list_bans(call: Call) -> Answered {
    let view = call.hub().room(call.app, call.room()?).ok_or(Code::NoSuchRoom)?;
    let now_ms = unix_ms();
    let bans = view.record.bans.into_iter().filter(|(_, until)| until.is_none_or(|until| now_ms < until)).collect();
    let (bans, next) = call.page(bans, |(user, _): &(String, Option<u64>)| user.clone())?;
    let bans: Vec<Value> = bans.iter().map(|(user, until)| json!({ "userID": user, "until": until })).collect();
    Ok(Answer::Ok(json!({ "bans": bans, "next": next })))
}

async fn ban(call: Call) -> Answered {
    let seconds = call.fields().optional_number("seconds", BAN_SECONDS_MAX)?;
    let until = seconds.map(|seconds| unix_ms() + seconds * 1000);
    call.hub().ban(call.app, call.room()?, call.user()?, until)?;
    done(&call).await
}

async fn unban(call: Call) -> Answered {
    call.hub().unban(call.app, call.room()?, call.user()?)?;
    done(&call).await
}

async fn send_message(call: Call) -> Answered {
    let fields = call.fields();
    let user = |name| -> Result<Option<&str>, Fault> {
        match fields.optional_text(name, USER_ID_BYTES_MAX)? {
            Some(user) if !is_user_id(user) => Err(Fault::field(name, "without control characters")),
            user => Ok(user),
        }
    };
    let (from, to) = (user("from")?, user("to")?);
    let content = content(fields, call.hub().config().limits.message_bytes)?;
    let (id, time) = call.hub().send_message(call.app, call.room()?, from, to, content)?;
    call.api.settled().await?;
    Ok(Answer::Ok(json!({ "messageID": id, "time": time })))
}

async fn list_streams(call: Call) -> Answered {
    let (room, user) = (call.query.value("roomid"), call.query.value("userid"));
    let mut streams = Vec::new();
    for view in call.hub().rooms(call.app) {
        if room.is_some_and(|room| view.room.to_string() != room) {
            continue;
        }
        for member in view.members.iter().filter(|member| user.is_none_or(|user| member.user == user)) {
            for stream in &member.streams {
                let name = format!("{}_{}_{}_{}", view.sdk_app_id, view.room, member.user, stream.stream);
                let json = json!({
                    "name": name, "roomID": view.room, "userID": member.user, "stream": stream.stream,
                    "protocol": member.protocol, "audio": stream.audio, "video": stream.video,
                });
                streams.push((name, json));
            }
        }
    }
    streams.sort_by(|a, b| a.0.cmp(&b.0));
    let (streams, next) = call.page(streams, |(name, _)| name.clone())?;
    Ok(Answer::Ok(json!({ "streams": streams.into_iter().map(|(_, json)| json).collect::<Vec<_>>(), "next": next })))
}

async fn ticket(call: Call) -> Answered {
    let ticket = issue_ticket(call.hub(), call.app, &call.body)?;
    Ok(Answer::Ok(serde_json::to_value(ticket).expect("a ticket has text keys")))
}

/// The answer once what was done is durable.
async fn done(call: &Call) -> Answered {
    call.api.settled().await?;
    Ok(Answer::Done)
}

fn change(call: &Call) -> Result<RoomChange, Fault> {
    RoomChange::read(&call.fields(), &call.hub().config().limits)
}

fn text(fields: Fields<'_>, name: &'static str, bytes_max: usize) -> Result<Option<String>, Fault> {
    match fields.0.get(name) {
        Some(Value::String(text)) if text.is_empty() => Ok(Some(String::new())),
        _ => Ok(fields.optional_text(name, bytes_max)?.map(str::to_owned)),
    }
}

/// What a message says; whether it is too big is the room's matter.
fn content(fields: Fields<'_>, bytes_max: usize) -> Result<Content, Fault> {
    let owned = |name| Ok::<_, Fault>(text(fields, name, bytes_max)?.unwrap_or_default());
    match (text(fields, "text", bytes_max)?, text(fields, "data", bytes_max)?) {
        (Some(text), None) if !text.is_empty() => Ok(Content::Text { text }),
        (None, Some(data)) => Ok(Content::Custom { data, desc: owned("desc")?, ext: owned("ext")? }),
        _ => Err(Fault::field("text", "there and not empty, or else data")),
    }
}

/// A room without its members.
fn summary(view: &RoomView) -> Value {
    let anchors = view.members.iter().filter(|member| member.role == Role::Anchor).count();
    json!({
        "roomID": view.room,
        "owner": view.record.owner,
        "locked": view.record.locked,
        "metadata": view.record.metadata,
        "membersMax": view.record.members_max,
        "publishersMax": view.record.publishers_max,
        "lasting": view.record.lasting,
        "memberCount": view.members.len(),
        "anchorCount": anchors,
        "streamCount": view.members.iter().map(|member| member.streams.len()).sum::<usize>(),
    })
}
