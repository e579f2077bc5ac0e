//! The cloud functions of `tcb-demo-video`, as HTTP calls for the app's own server or cloud: `POST /cloud/{function}`, with the
//! app's secret. The functions of the older layout (`webrtc-create-room`) answer with the document itself, those of the newer
//! (`webrtcroom-create-room`) with `{code, message, data}`, and those of live rooms ([`live`]) in forms of their own.
//!
//! A document of the collection `webrtcRooms` is the metadata of a lasting room: it is in the store, and members see it.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{SystemTime, UNIX_EPOCH},
};

use axum::{
    Extension, Json, Router,
    body::Bytes,
    extract::{DefaultBodyLimit, Path, RawQuery, State, rejection::BytesRejection},
    http::{HeaderMap, header},
    response::{IntoResponse, Response},
    routing::post,
};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::{weapp::urls::Urls, whip::bearer};
use crate::{
    auth::{authorise::Privilege, issue, url::Query},
    code::{Code, Fault},
    config::{AppConfig, ReachedAt},
    fields::read_object,
    hub::Hub,
    name::{RoomName, is_user_id},
    rest::{Peer, Refused},
    room::{RoomChange, RoomRecord},
};

/// Bytes of a call.
const BODY_BYTES_MAX: usize = 16 << 10;
/// Members of a document.
const MEMBERS_MAX: usize = 4;
/// Bytes of a roomName.
const ROOM_NAME_BYTES_MAX: usize = 1024;
/// Documents of a page, if nothing is said, and at most.
const LIMIT: usize = 10;
const LIMIT_MAX: usize = 100;
/// How long tickets last, in seconds.
const TICKET_LIFE_S: u64 = 24 * 3600;

/// A document of `webrtcRooms`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Document {
    creator: String,
    #[serde(rename = "roomID")]
    room: String,
    room_name: String,
    members: Vec<String>,
    private_map_key: String,
    /// As JSON writes a date.
    create_time: String,
}

/// What a room's metadata is for rooms from here.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
enum Metadata {
    WebrtcRoom(Document),
    LiveRoom(Document),
}

/// Where a document belongs. A room is in one of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Collection {
    Webrtc,
    Live,
}

/// Why a call is answered with a code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Why {
    Missing,
    NoRoom,
    Full,
}

impl Why {
    fn words(self) -> (&'static str, &'static str) {
        match self {
            Why::Missing => ("10001", "parameters are missing"),
            Why::NoRoom => ("10002", "roomID is not an integer, or there is no such room"),
            Why::Full => ("10005", "the room is full"),
        }
    }
}

#[derive(Clone)]
struct Cloud {
    hub: Hub,
    /// Held while a document is read, changed and written.
    turn: Arc<Mutex<()>>,
}

pub fn routes(hub: &Hub) -> Router<Hub> {
    let cloud = Cloud { hub: hub.clone(), turn: Arc::default() };
    Router::new()
        .route("/cloud/{function}", post(handle))
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .with_state(cloud)
}

async fn handle(
    State(cloud): State<Cloud>,
    Path(function): Path<String>,
    peer: Peer,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
    reached_at: Option<Extension<ReachedAt>>,
    body: Result<Bytes, BytesRejection>,
) -> Result<Response, Refused> {
    let urls = Urls::new(&cloud.hub, &headers, None, reached_at.map(|Extension(at)| at));
    let query = Query::parse(&query.unwrap_or_default());
    let body = body.map_err(|_| Code::MessageTooBig)?;
    let text = std::str::from_utf8(&body).ok().map(|text| if text.trim().is_empty() { "{}" } else { text });
    let event = text.and_then(read_object).ok_or(Code::BadMessage)?;
    let named = |name: &str| event.get(name).and_then(|value| value.as_u64().or_else(|| value.as_str()?.parse().ok()));
    let app = query.value("sdkappid").and_then(|app| app.parse().ok()).or_else(|| named("sdkAppID"));
    let app = app.and_then(|app| u32::try_from(app).ok()).unwrap_or(0);
    cloud.hub.authorise_owner(peer.remote, app, bearer(&headers).as_deref())?;

    let (layout, name) = match function.split_once('-') {
        Some(("webrtc", name)) => (Layout::Older, name),
        Some(("webrtcroom", name)) => (Layout::Newer, name),
        Some(("liveroom", name)) => (Layout::Live, name),
        _ => return Err(Code::NotFound.into()),
    };
    let apps = cloud.hub.apps();
    let app = apps.iter().find(|one| one.sdk_app_id == app).ok_or(Code::OwnerRefused)?;
    let call = Call { hub: &cloud.hub, app, event: &event, is_new: layout == Layout::Newer, urls: &urls };
    let answer = {
        let _turn = cloud.turn.lock().unwrap_or_else(PoisonError::into_inner);
        match layout {
            Layout::Live => call.run_live(name).ok_or(Code::NotFound)??,
            _ => match (call.run(name).ok_or(Code::NotFound)??, layout) {
                (Ok(data), Layout::Newer) => json!({ "code": 0, "message": "ok", "data": data }),
                (Ok(data), _) => data,
                (Err(why), _) => {
                    let (code, message) = why.words();
                    json!({ "code": code, "message": message })
                }
            },
        }
    };
    // What is answered survives a crash.
    cloud.hub.settled().await?;
    Ok(([(header::CACHE_CONTROL, "no-store")], Json(answer)).into_response())
}

/// Which form an answer has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Layout {
    Older,
    Newer,
    Live,
}

/// One call of one app. What it does comes back as data or as a code of the functions; a fault is the server's own.
struct Call<'a> {
    hub: &'a Hub,
    app: &'a AppConfig,
    event: &'a Map<String, Value>,
    is_new: bool,
    urls: &'a Urls,
}

type Done = Result<Result<Value, Why>, Fault>;

impl Call<'_> {
    /// `None`: there is no such function.
    fn run(&self, name: &str) -> Option<Done> {
        Some(match name {
            "create-room" => self.create_room(),
            "enter-room" => self.enter_room(),
            "quit-room" => self.quit_room(),
            "get-room-info" => self.get_room_info(),
            "get-room-list" => self.get_room_list(),
            "sig-api" => self.sign(),
            _ => return None,
        })
    }

    fn create_room(&self) -> Done {
        let (Some(user), Some(name)) = (self.user(), self.text("roomName")) else { return Ok(Err(Why::Missing)) };
        if name.len() > ROOM_NAME_BYTES_MAX {
            return Ok(Err(Why::Missing));
        }
        match self.room() {
            Ok(None) => Ok(Ok(json!(self.create_somewhere(Collection::Webrtc, user, name)?))),
            Ok(Some(room)) => {
                let made = self.create(Collection::Webrtc, &room, user, name)?;
                let document = made.or_else(|| self.document(Collection::Webrtc, &room));
                Ok(document.map(|document| json!(document)).ok_or(Why::NoRoom))
            }
            Err(why) => Ok(Err(why)),
        }
    }

    fn enter_room(&self) -> Done {
        let Some(user) = self.user() else { return Ok(Err(Why::Missing)) };
        let room = match self.room() {
            Ok(Some(room)) => room,
            Ok(None) => return Ok(Err(Why::Missing)),
            Err(why) => return Ok(Err(why)),
        };
        let name = self.text("roomName").unwrap_or_default();
        let found = match self.document(Collection::Webrtc, &room) {
            Some(document) => Some(document),
            None if self.is_new => return Ok(Err(Why::NoRoom)),
            None => self.create(Collection::Webrtc, &room, user, name)?,
        };
        let Some(mut document) = found else { return Ok(Err(Why::NoRoom)) };
        if !document.members.iter().any(|one| one == user) {
            match document.members.len() < MEMBERS_MAX {
                true => {
                    document.members.push(user.to_owned());
                    self.write(Collection::Webrtc, &room, &document)?;
                }
                // The older functions let him in and say nothing.
                false if self.is_new => return Ok(Err(Why::Full)),
                false => {}
            }
        }
        let (user_sig, private_map_key) = (self.user_sig(user)?, self.private_map_key(user, &room)?);
        let sign = json!({
            "userID": user,
            "sdkAppID": self.app.sdk_app_id,
            "userSig": user_sig,
            "privateMapKey": private_map_key,
        });
        Ok(Ok(json!({ "roomInfo": document, "signInfo": sign })))
    }

    fn quit_room(&self) -> Done {
        let Some(user) = self.user() else { return Ok(Err(Why::Missing)) };
        let room = match self.room() {
            Ok(Some(room)) => room,
            Ok(None) => return Ok(Err(Why::Missing)),
            Err(why) => return Ok(Err(why)),
        };
        let Some(mut document) = self.document(Collection::Webrtc, &room) else { return Ok(Err(Why::NoRoom)) };
        let before = document.members.len();
        document.members.retain(|one| one != user);
        let res = match document.members.is_empty() {
            true => {
                self.hub.dissolve(self.app.sdk_app_id, &room)?;
                json!({ "stats": { "removed": 1 } })
            }
            false => {
                self.write(Collection::Webrtc, &room, &document)?;
                json!({ "stats": { "updated": before - document.members.len() } })
            }
        };
        Ok(Ok(json!({ "roomInfo": document, "res": res })))
    }

    fn get_room_info(&self) -> Done {
        let room = match self.room() {
            Ok(Some(room)) => room,
            Ok(None) => return Ok(Err(Why::Missing)),
            Err(why) => return Ok(Err(why)),
        };
        let document = self.document(Collection::Webrtc, &room);
        if document.is_none() && self.is_new {
            return Ok(Err(Why::NoRoom));
        }
        let data: Vec<&Document> = document.iter().collect();
        Ok(Ok(json!({ "data": data, "roomInfo": document })))
    }

    fn get_room_list(&self) -> Done {
        Ok(Ok(json!({ "data": self.page_of(Collection::Webrtc) })))
    }

    /// The documents that `skip` and `limit` ask for.
    fn page_of(&self, collection: Collection) -> Vec<Document> {
        let number = |name: &str| self.event.get(name).and_then(Value::as_u64).and_then(|n| usize::try_from(n).ok());
        let (skip, limit) = (number("skip").unwrap_or(0), number("limit").unwrap_or(LIMIT).min(LIMIT_MAX));
        let rooms = self.hub.rooms(self.app.sdk_app_id);
        let mut documents: Vec<Document> = rooms.iter().filter_map(|view| read(collection, &view.record)).collect();
        // Newest first, as people look for them.
        documents.sort_by(|a, b| b.create_time.cmp(&a.create_time));
        documents.into_iter().skip(skip).take(limit).collect()
    }

    fn sign(&self) -> Done {
        let Some(user) = self.user() else { return Ok(Err(Why::Missing)) };
        let mut reply = self.event.clone();
        reply.insert("userID".into(), user.into());
        reply.insert("sdkAppID".into(), self.app.sdk_app_id.into());
        reply.insert("userSig".into(), self.user_sig(user)?.into());
        match self.room() {
            Ok(Some(room)) => {
                reply.insert("privateMapKey".into(), self.private_map_key(user, &room)?.into());
            }
            Ok(None) => {}
            Err(why) => return Ok(Err(why)),
        }
        Ok(Ok(reply.into()))
    }

    /// The caller's user; the cloud puts the OPENID there.
    fn user(&self) -> Option<&str> {
        self.text("userID").filter(|user| is_user_id(user))
    }

    fn text(&self, name: &str) -> Option<&str> {
        self.event.get(name).and_then(Value::as_str).filter(|text| !text.is_empty())
    }

    /// The roomID, which has up to 11 digits.
    fn room(&self) -> Result<Option<RoomName>, Why> {
        let text = match self.event.get("roomID") {
            None | Some(Value::Null) => return Ok(None),
            Some(Value::String(text)) if text.is_empty() => return Ok(None),
            Some(Value::String(text)) => text.clone(),
            Some(Value::Number(number)) => number.to_string(),
            Some(_) => return Err(Why::NoRoom),
        };
        let digits = text.len() <= 11 && text.bytes().all(|byte| byte.is_ascii_digit());
        RoomName::from_text(&text).filter(|_| digits).map(Some).ok_or(Why::NoRoom)
    }

    fn document(&self, collection: Collection, room: &RoomName) -> Option<Document> {
        read(collection, &self.hub.record(self.app.sdk_app_id, room)?)
    }

    /// A room of eight digits, as the functions draw them.
    fn create_somewhere(&self, collection: Collection, user: &str, name: &str) -> Result<Document, Fault> {
        loop {
            let mut random = [0; 4];
            aws_lc_rs::rand::fill(&mut random).map_err(|_| Code::MediaUnavailable)?;
            let number = 10_000_000 + u32::from_be_bytes(random) % 90_000_000;
            if let Some(document) = self.create(collection, &RoomName::Number(number), user, name)? {
                return Ok(document);
            }
        }
    }

    /// `None`: there is a room of that name.
    fn create(
        &self,
        collection: Collection,
        room: &RoomName,
        user: &str,
        name: &str,
    ) -> Result<Option<Document>, Fault> {
        let document = Document {
            creator: user.to_owned(),
            room: room.to_string(),
            room_name: name.to_owned(),
            members: vec![user.to_owned()],
            private_map_key: String::new(),
            create_time: date_of(unix_ms()),
        };
        let record = RoomRecord {
            owner: Some(user.to_owned()),
            lasting: true,
            metadata: Some(text_of(collection, &document)),
            ..RoomRecord::default()
        };
        match self.hub.create_room(self.app.sdk_app_id, room, record) {
            Ok(()) => Ok(Some(document)),
            Err(fault) if fault.code == Code::RoomExists => Ok(None),
            Err(fault) => Err(fault),
        }
    }

    fn write(&self, collection: Collection, room: &RoomName, document: &Document) -> Result<(), Fault> {
        let change = RoomChange { metadata: Some(text_of(collection, document)), ..RoomChange::default() };
        self.hub.update_room(self.app.sdk_app_id, room, change)
    }

    fn version(&self) -> Result<issue::TicketVersion, Fault> {
        issue::TicketVersion::of(self.app).ok_or_else(|| Fault::with(Code::NotFound, "the app has no key to sign with"))
    }

    fn user_sig(&self, user: &str) -> Result<String, Fault> {
        let now_s = unix_ms() / 1000;
        issue::issue_user_sig(self.app, self.version()?, user, now_s, TICKET_LIFE_S)
            .map_err(|error| Fault::with(Code::NotFound, error.to_string()))
    }

    fn private_map_key(&self, user: &str, room: &RoomName) -> Result<String, Fault> {
        let now_s = unix_ms() / 1000;
        issue::issue_private_map_key(self.app, self.version()?, user, room, Privilege::ALL, now_s, TICKET_LIFE_S)
            .map_err(|error| Fault::with(Code::NotFound, error.to_string()))
    }
}

fn read(collection: Collection, record: &RoomRecord) -> Option<Document> {
    match (collection, serde_json::from_str(record.metadata.as_deref()?).ok()?) {
        (Collection::Webrtc, Metadata::WebrtcRoom(document)) | (Collection::Live, Metadata::LiveRoom(document)) => {
            Some(document)
        }
        _ => None,
    }
}

fn text_of(collection: Collection, document: &Document) -> String {
    crate::message::to_text(&match collection {
        Collection::Webrtc => Metadata::WebrtcRoom(document.clone()),
        Collection::Live => Metadata::LiveRoom(document.clone()),
    })
}

fn unix_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64)
}

/// `2018-12-05T08:53:20.000Z`: how JSON writes a date. Days to a date by Howard Hinnant's `civil_from_days`.
fn date_of(unix_ms: u64) -> String {
    let (days, ms) = (unix_ms / 86_400_000, unix_ms % 86_400_000);
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    let (hour, minute, second) = (ms / 3_600_000, ms / 60_000 % 60, ms / 1000 % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{:03}Z", ms % 1000)
}

mod live;
#[cfg(test)]
mod tests;
