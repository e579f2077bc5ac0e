//! The messages of `webim` 1.7: login, groups, texts to one and to all, system notices, by long polling. A group is the room of
//! the same name: what is said in one is heard in the other.
//!
//! The state is sans-IO ([`desk`]); here requests are read and answered, and polls held.

mod desk;
mod video_app;

use std::{
    cell::Cell,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use axum::{
    Json, Router,
    body::Bytes,
    extract::{DefaultBodyLimit, FromRequest, Path, Request, State},
    http::{Method, StatusCode, header},
    response::{IntoResponse, Response},
    routing::any,
};
use serde_json::{Map, Value, json};
use tokio::time::timeout;

use self::desk::{Desk, Login, Poll, Why};
use crate::{
    auth::url::Query,
    fields::read_object,
    hub::{Fact, Hub, Notice},
    member::Protocol,
    message::{Content, Message},
    name::{RoomName, is_user_id},
    rest::Peer,
};

/// Bytes of a request.
const BODY_BYTES_MAX: usize = 64 << 10;
/// How long a poll of one's own messages is held. Clients give up after 60 s.
const POLL_HELD: Duration = Duration::from_secs(50);
/// How long a poll of a group is held, at most.
const GROUP_POLL_HELD_MAX: Duration = Duration::from_secs(90);
/// How often it is looked who polls no more.
const SWEEP: Duration = Duration::from_secs(30);

thread_local! {
    /// A message from here is on its way through a room, whose listeners are called on this thread: it need not come back.
    static CROSSING: Cell<bool> = const { Cell::new(false) };
}

#[derive(Clone)]
struct Im(Arc<Inner>);

struct Inner {
    hub: Hub,
    /// Never held while the hub is called.
    desk: Mutex<Desk>,
}

pub fn routes(hub: &Hub) -> Router<Hub> {
    let config = &hub.config().room_service;
    if !config.enabled {
        return Router::new();
    }
    let im = Im(Arc::new(Inner { hub: hub.clone(), desk: Mutex::new(Desk::new(config.logins)) }));
    let weak = Arc::downgrade(&im.0);
    hub.listen(move |notice| {
        if let Some(im) = weak.upgrade() {
            Im(im).hear(notice);
        }
    });
    let weak = Arc::downgrade(&im.0);
    hub.employ(move |app, _, letter| weak.upgrade().is_some_and(|im| Im(im).take_letter(app, letter)));
    tokio::spawn(sweep(Arc::downgrade(&im.0)));
    router(im)
}

fn router<S: Clone + Send + Sync + 'static>(im: Im) -> Router<S> {
    Router::new()
        .route("/v4/openim/jsonvideoapp", any(video_app::handle))
        .route("/v4/{service}/{command}", any(handle))
        .route("/v1/{service}/{command}", any(handle))
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .with_state(im)
}

async fn sweep(im: Weak<Inner>) {
    let mut interval = tokio::time::interval(SWEEP);
    loop {
        interval.tick().await;
        let Some(im) = im.upgrade() else { return };
        Im(im).desk().sweep(Instant::now());
    }
}

/// A request as it came.
struct Call {
    query: Query,
    body: Option<Map<String, Value>>,
    peer: Peer,
    /// `Host`, for URLs.
    host: String,
    preflight: bool,
}

impl FromRequest<Im> for Call {
    type Rejection = std::convert::Infallible;

    async fn from_request(request: Request, im: &Im) -> Result<Call, Self::Rejection> {
        let (mut parts, body) = request.into_parts();
        let Ok(peer) = <Peer as axum::extract::FromRequestParts<Im>>::from_request_parts(&mut parts, im).await;
        let query = Query::parse(parts.uri.query().unwrap_or_default());
        let preflight = parts.method == Method::OPTIONS;
        let host =
            parts.headers.get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or("localhost").to_owned();
        let bytes = Bytes::from_request(Request::from_parts(parts, body), im).await.ok();
        let body = bytes.and_then(|bytes| match std::str::from_utf8(&bytes).ok()? {
            text if text.trim().is_empty() => Some(Map::new()),
            text => read_object(text),
        });
        Ok(Call { query, body, peer, host, preflight })
    }
}

async fn handle(State(im): State<Im>, Path((service, command)): Path<(String, String)>, call: Call) -> Response {
    if call.preflight {
        return StatusCode::NO_CONTENT.into_response();
    }
    let result = match &call.body {
        Some(body) => im.run(&service, &command, &call, body).await,
        None => Err(Why::BadRequest),
    };
    answer(result)
}

fn answer(result: Result<Value, Why>) -> Response {
    let body = match result {
        Ok(mut body) => {
            body["ActionStatus"] = "OK".into();
            body["ErrorCode"] = 0.into();
            body["ErrorInfo"] = "".into();
            body
        }
        Err(why) => json!({ "ActionStatus": "FAIL", "ErrorCode": why.code(), "ErrorInfo": why.text() }),
    };
    ([(header::CACHE_CONTROL, "no-store")], Json(body)).into_response()
}

impl Im {
    fn hub(&self) -> &Hub {
        &self.0.hub
    }

    fn desk(&self) -> MutexGuard<'_, Desk> {
        self.0.desk.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn run(&self, service: &str, command: &str, call: &Call, body: &Map<String, Value>) -> Result<Value, Why> {
        match (service, command) {
            ("openim", "login") => return self.log_in(call),
            // The key in the body says who polls.
            ("group_open_long_polling_http_noauth_svc", "get_msg") => return self.poll_group(body).await,
            ("imopenstat", "web_report") => return Ok(json!({})),
            _ => {}
        }
        let login = self.desk().check(call.query.value("a2"), Instant::now())?;
        match (service, command) {
            ("openim", "logout" | "longpollinglogout") => {
                self.desk().log_out(&login);
                Ok(json!({}))
            }
            ("openim", "authkey") => Ok(json!({ "AuthKey": "", "IpList": [], "ExpireTime": 0 })),
            ("openim", "getlongpollingid") => {
                Ok(json!({ "LongPollingId": login.tiny_id(), "Timeout": POLL_HELD.as_secs() + 5 }))
            }
            ("openim", "longpolling") => self.poll(&login, body).await,
            ("openim", "getmsg") => Ok(json!({ "MsgList": [], "SyncFlag": 2, "Cookie": "" })),
            ("openim", "msgreaded") | ("group_open_http_svc", "msg_read_report") => Ok(json!({})),
            ("openim", "sendmsg") => self.send_to_one(&login, body),
            ("profile", "portrait_get") => Ok(self.portraits(&login, body)),
            ("profile", "portrait_set") => {
                let items = body.get("ProfileItem").and_then(Value::as_array).into_iter().flatten();
                let nick =
                    items.filter(|item| item["Tag"] == "Tag_Profile_IM_Nick").find_map(|item| item["Value"].as_str());
                if let Some(nick) = nick {
                    self.desk().set_nick(&login, nick);
                }
                Ok(json!({}))
            }
            ("group_open_http_svc" | "group_open_http_noauth_svc", command) => self.group(&login, command, body),
            _ => Err(Why::NoSuchCommand),
        }
    }

    fn log_in(&self, call: &Call) -> Result<Value, Why> {
        let app = call.query.value("sdkappid").and_then(|app| app.parse().ok()).unwrap_or(0);
        let user = call.query.value("identifier").filter(|user| is_user_id(user)).ok_or(Why::BadRequest)?;
        let sig = call.query.value("usersig").unwrap_or_default();
        self.hub().authorise_user(call.peer.remote, app, user, sig).map_err(|code| Why::Ticket(code.into()))?;
        let (login, a2) = self.desk().log_in(app, user, Instant::now())?;
        Ok(json!({ "TinyId": login.tiny_id(), "A2Key": a2 }))
    }

    /// Holds a poll of one's own messages until there is one.
    async fn poll(&self, login: &Login, body: &Map<String, Value>) -> Result<Value, Why> {
        let seen = body.get("Cookie").and_then(|cookie| cookie["NoticeSeq"].as_u64()).unwrap_or(0);
        let asked = body.get("Timeout").and_then(Value::as_u64).map_or(POLL_HELD, Duration::from_secs);
        let held = asked.min(POLL_HELD);
        let polled = async {
            loop {
                let poll = self.desk().mail(login, seen, Instant::now())?;
                match poll {
                    Poll::Ready(mail) => return Ok::<_, Why>(mail),
                    Poll::Wait(bell) => bell.await,
                }
            }
        };
        match timeout(held, polled).await {
            Ok(mail) => Ok(json!({ "EventArray": [{ "Event": 9, "C2cMsgArray": mail? }] })),
            Err(_) => Err(Why::Idle),
        }
    }

    /// Holds a poll of a group until something was said.
    async fn poll_group(&self, body: &Map<String, Value>) -> Result<Value, Why> {
        let key = body.get("Key").and_then(Value::as_str).ok_or(Why::BadRequest)?;
        let from = body.get("StartSeq").and_then(Value::as_u64).unwrap_or(0);
        let held = body.get("HoldTime").and_then(Value::as_u64).map_or(POLL_HELD, Duration::from_secs);
        let polled = async {
            loop {
                let poll = self.desk().group_mail(key, from, Instant::now())?;
                match poll {
                    Poll::Ready(said) => return Ok::<_, Why>(said),
                    Poll::Wait(bell) => bell.await,
                }
            }
        };
        let (next, said) = match timeout(held.min(GROUP_POLL_HELD_MAX), polled).await {
            Ok(said) => {
                let said = said?;
                (said.last().and_then(|one| one["MsgSeq"].as_u64()).map_or(from, |last| last + 1), said)
            }
            Err(_) => (from, Vec::new()),
        };
        Ok(json!({ "NextSeq": next, "HoldTime": GROUP_POLL_HELD_MAX.as_secs(), "Key": key, "RspMsgList": said }))
    }

    fn group(&self, login: &Login, command: &str, body: &Map<String, Value>) -> Result<Value, Why> {
        let group = || {
            let text = body.get("GroupId").and_then(Value::as_str);
            text.and_then(RoomName::from_text).ok_or(Why::BadGroup)
        };
        match command {
            "create_group" => {
                let group = match body.get("GroupId").and_then(Value::as_str) {
                    Some(_) => group()?,
                    None => RoomName::from_text(&format!("@TGS#{}", login.tiny_id())).ok_or(Why::BadGroup)?,
                };
                self.desk().create_group(login, &group)?;
                Ok(json!({ "GroupId": group.to_string() }))
            }
            "apply_join_group" => {
                let key = self.desk().join_group(login, &group()?)?;
                Ok(json!({ "JoinedStatus": "JoinedSuccess", "LongPollingKey": key }))
            }
            "quit_group" => {
                self.desk().quit_group(login, &group()?)?;
                Ok(json!({}))
            }
            "destroy_group" => {
                self.desk().destroy_group(login, &group()?)?;
                Ok(json!({}))
            }
            "get_joined_group_list" => {
                let groups = self.desk().groups_of(login);
                let list: Vec<_> =
                    groups.iter().map(|group| json!({ "GroupId": group, "Type": "AVChatRoom" })).collect();
                Ok(json!({ "TotalCount": list.len(), "GroupIdList": list }))
            }
            "send_group_msg" => self.send_to_group(login, &group()?, body),
            _ => Err(Why::NoSuchCommand),
        }
    }

    fn send_to_group(&self, login: &Login, group: &RoomName, body: &Map<String, Value>) -> Result<Value, Why> {
        let elements = elements(body)?;
        let content = content_of(&elements);
        let limits = &self.hub().config().limits;
        if bytes_of(&elements) > limits.chat_bytes_to_room {
            return Err(Why::TooLong);
        }
        self.desk().may_send(login, limits.chat_per_second, limits.chat_burst, Instant::now())?;
        let (seq, time) = self.desk().say_in_group(login, group, &elements, unix_s())?;
        if let Some(content) = content {
            // There need not be a room: then nobody else is there to hear it.
            let _ = self.crossing(|hub| hub.send_message(login.app, group, Some(&login.user), None, content));
        }
        Ok(json!({ "MsgSeq": seq, "MsgTime": time }))
    }

    fn send_to_one(&self, login: &Login, body: &Map<String, Value>) -> Result<Value, Why> {
        let to = body.get("To_Account").and_then(Value::as_str).filter(|to| is_user_id(to)).ok_or(Why::BadRequest)?;
        let elements = elements(body)?;
        let limits = &self.hub().config().limits;
        if bytes_of(&elements) > limits.chat_bytes_to_one {
            return Err(Why::TooLong);
        }
        self.desk().may_send(login, limits.chat_per_second, limits.chat_burst, Instant::now())?;
        let number = |name: &str| body.get(name).and_then(Value::as_u64).unwrap_or(0);
        let time = unix_s();
        let letter = json!({
            "From_Account": login.user,
            "To_Account": to,
            "MsgSeq": number("MsgSeq"),
            "MsgRandom": number("MsgRandom"),
            "MsgTimeStamp": time,
            "MsgBody": elements,
        });
        let delivered = self.desk().deliver(login.app, to, letter);
        // He may be in a room by another wire, too.
        let rooms = self.hub().rooms(login.app);
        let is_he = |member: &crate::message::MemberInfo| member.user == to && member.protocol == Protocol::Webrtc;
        let room = rooms.iter().find(|view| view.members.iter().any(is_he)).map(|view| view.room.clone());
        let crossed = match (room, content_of(&elements)) {
            (Some(room), Some(content)) => {
                self.crossing(|hub| hub.send_message(login.app, &room, Some(&login.user), Some(to), content)).is_ok()
            }
            _ => false,
        };
        if delivered || crossed { Ok(json!({ "MsgTime": time })) } else { Err(Why::NoSuchUser) }
    }

    fn crossing<T>(&self, f: impl FnOnce(&Hub) -> T) -> T {
        CROSSING.set(true);
        let result = f(self.hub());
        CROSSING.set(false);
        result
    }

    fn portraits(&self, login: &Login, body: &Map<String, Value>) -> Value {
        let asked = body.get("To_Account").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str);
        let desk = self.desk();
        let items = asked.take(100).map(|user| {
            let nick = desk.nick(login.app, user).unwrap_or(user);
            json!({
                "To_Account": user,
                "ProfileItem": [{ "Tag": "Tag_Profile_IM_Nick", "Value": nick }],
                "ResultCode": 0,
                "ResultInfo": "",
            })
        });
        json!({ "UserProfileItem": items.collect::<Vec<_>>(), "CurrentStandardSequence": 0 })
    }

    /// A letter of a member on another wire to somebody who is logged in here.
    fn take_letter(&self, app: u32, letter: &Message) -> bool {
        let (Some(from), Some(to)) = (&letter.from, &letter.to) else { return false };
        let body = json!({
            "From_Account": from,
            "To_Account": to,
            "MsgSeq": letter.id,
            // Clients drop what has the sender, the number, the random number and the time of another.
            "MsgRandom": letter.time & 0xffff_ffff,
            "MsgTimeStamp": letter.time / 1000,
            "MsgBody": elements_of(letter, false),
        });
        self.desk().deliver(app, to, body)
    }

    /// What happens in rooms, for the groups of the same name. The room is locked meanwhile.
    fn hear(&self, notice: &Notice) {
        let (app, room) = (notice.sdk_app_id, &notice.room);
        match &notice.fact {
            Fact::MessageSent(message) if !CROSSING.get() => {
                self.desk().cross(app, room, message, notice.unix_ms / 1000)
            }
            Fact::MemberEntered { .. }
            | Fact::MemberLeft { .. }
            | Fact::PublishStarted { .. }
            | Fact::PublishChanged { .. }
            | Fact::PublishStopped { .. }
            | Fact::ListChanged => {
                let field = r#"{"cmd":"notifyPusherChange","data":""}"#;
                self.desk().notify_group(app, room, 255, field, notice.unix_ms / 1000);
            }
            // Who created the group himself keeps it; those that are only a room's go with it.
            Fact::RoomDissolved => self.desk().room_ended(app, room, notice.unix_ms / 1000),
            _ => {}
        }
    }
}

/// The elements of a message: at least one, each `{MsgType, MsgContent}`.
fn elements(body: &Map<String, Value>) -> Result<Vec<Value>, Why> {
    let list = body.get("MsgBody").and_then(Value::as_array).ok_or(Why::BadRequest)?;
    let good = |one: &Value| one["MsgType"].is_string() && one["MsgContent"].is_object();
    if list.is_empty() || list.len() > 16 || !list.iter().all(good) {
        return Err(Why::BadRequest);
    }
    Ok(list.clone())
}

fn bytes_of(elements: &[Value]) -> usize {
    elements.iter().map(|one| one["MsgContent"].to_string().len()).sum()
}

/// What members by other wires are told: the text if there is one, or else what is an app's own.
fn content_of(elements: &[Value]) -> Option<Content> {
    let of = |kind: &str| elements.iter().find(|one| one["MsgType"] == kind).map(|one| &one["MsgContent"]);
    if let Some(text) = of("TIMTextElem").and_then(|content| content["Text"].as_str()).filter(|text| !text.is_empty()) {
        return Some(Content::Text { text: text.to_owned() });
    }
    let custom = of("TIMCustomElem")?;
    let field = |name: &str| custom[name].as_str().unwrap_or_default().to_owned();
    Some(Content::Custom { data: field("Data"), desc: field("Desc"), ext: field("Ext") })
}

/// The elements of what a member by another wire said. Clients of the room services want the sender's name in front.
fn elements_of(message: &Message, with_name: bool) -> Vec<Value> {
    match &message.content {
        Content::Text { text } => {
            let text = json!({ "MsgType": "TIMTextElem", "MsgContent": { "Text": text } });
            if !with_name {
                return vec![text];
            }
            let name = message.from.as_deref().unwrap_or_default();
            let head = json!({ "cmd": "CustomTextMsg", "data": { "nickName": name, "headPic": "" } }).to_string();
            let content = json!({ "Data": head, "Desc": "", "Ext": "" });
            vec![json!({ "MsgType": "TIMCustomElem", "MsgContent": content }), text]
        }
        Content::Custom { data, desc, ext } => {
            vec![json!({ "MsgType": "TIMCustomElem", "MsgContent": { "Data": data, "Desc": desc, "Ext": ext } })]
        }
    }
}

fn unix_s() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

#[cfg(test)]
mod tests;
