//! The functions `liveroom-…`: rooms of one who shows himself and many who watch. A document of the collection `liveRooms` is kept
//! like those of `webrtcRooms`, without its URLs, which are made anew with every answer: in them are tickets.

use serde_json::{Value, json};

use super::{Call, Collection, Document, Why};
use crate::{
    code::{Code, Fault},
    config::PlayPolicy,
    name::RoomName,
};

/// A whole answer: of these functions each has its own form.
type Answer = Result<Value, Fault>;

impl Call<'_> {
    /// `None`: there is no such function.
    pub(super) fn run_live(&self, name: &str) -> Option<Answer> {
        Some(match name {
            "create-room" => self.create_live(),
            "enter-room" => self.enter_live(),
            "quit-room" => self.quit_live(),
            "get-room-info" => self.live_info(),
            "get-room-list" => self.live_list(),
            _ => return None,
        })
    }

    fn create_live(&self) -> Answer {
        let (Some(user), Some(name)) = (self.user(), self.room_name()) else { return Ok(self.failed(Why::Missing)) };
        let wanted = match self.room() {
            Ok(room) => room,
            Err(why) => return Ok(self.failed(why)),
        };
        // A name that is taken is not refused: another is drawn.
        let document = match wanted {
            Some(room) => self.create(Collection::Live, &room, user, name)?,
            None => None,
        };
        let document = match document {
            Some(document) => document,
            None => self.create_somewhere(Collection::Live, user, name)?,
        };
        Ok(json!({ "code": 0, "message": "success", "data": self.shown(&document)? }))
    }

    /// With a roomName it makes a room; with a roomID it enters that room, or makes it.
    fn enter_live(&self) -> Answer {
        let Some(user) = self.user() else { return Ok(self.failed(Why::Missing)) };
        if let Some(name) = self.text("roomName") {
            let Some(name) = self.room_name().filter(|_| !name.is_empty()) else {
                return Ok(self.failed(Why::Missing));
            };
            let document = self.create_somewhere(Collection::Live, user, name)?;
            return self.entered(&document, "create success");
        }
        let room = match self.room() {
            Ok(Some(room)) => room,
            Ok(None) => return Ok(json!({ "data": {} })),
            Err(why) => return Ok(self.failed(why)),
        };
        let Some(mut document) = self.document(Collection::Live, &room) else {
            let made = self.create(Collection::Live, &room, user, &format!("房间 {room}"))?;
            // A room of this number that is none of these.
            let Some(document) = made else { return Ok(self.failed(Why::NoRoom)) };
            return self.entered(&document, "create success");
        };
        if document.members.len() >= self.hub.config().room_service.audiences {
            return Ok(self.failed(Why::Full));
        }
        if !document.members.iter().any(|one| one == user) {
            document.members.push(user.to_owned());
            self.write(Collection::Live, &room, &document)?;
        }
        self.entered(&document, "enter success")
    }

    fn entered(&self, document: &Document, message: &str) -> Answer {
        // The vendor's function says no code where it succeeds.
        Ok(json!({ "message": message, "data": { "roomInfo": self.shown(document)? } }))
    }

    fn quit_live(&self) -> Answer {
        let failed = |code: u32, message: &str| Ok(json!({ "code": code, "message": message, "data": {} }));
        let (Some(user), Ok(Some(room))) = (self.user(), self.room()) else {
            return failed(10001, "parameters are missing");
        };
        let Some(mut document) = self.document(Collection::Live, &room) else {
            return failed(10002, "there is no such room");
        };
        document.members.retain(|one| one != user);
        if document.members.is_empty() || document.creator == user {
            self.hub.dissolve(self.app.sdk_app_id, &room)?;
        } else {
            self.write(Collection::Live, &room, &document)?;
        }
        let mut data = self.shown(&document)?;
        data["status"] = Value::Null;
        Ok(json!({ "code": 0, "message": "success", "data": data }))
    }

    fn live_info(&self) -> Answer {
        let document = self.room().ok().flatten().and_then(|room| self.document(Collection::Live, &room));
        let mut data = match &document {
            Some(document) => self.shown(document)?,
            None => json!({}),
        };
        let is_creator = document.is_some_and(|document| self.user() == Some(document.creator.as_str()));
        data["isCreator"] = is_creator.into();
        Ok(json!({ "code": 0, "message": "success", "data": data }))
    }

    fn live_list(&self) -> Answer {
        let page = self.page_of(Collection::Live);
        let page = page.iter().map(|document| self.shown(document)).collect::<Result<Vec<_>, _>>()?;
        Ok(json!({ "code": 0, "message": "success", "data": page }))
    }

    fn failed(&self, why: Why) -> Value {
        let (code, message) = why.words();
        json!({ "code": code, "message": message, "data": {} })
    }

    fn room_name(&self) -> Option<&str> {
        self.text("roomName").filter(|name| name.len() <= super::ROOM_NAME_BYTES_MAX)
    }

    /// A document as the functions answer with it. The push URL is for the creator, and good for a day.
    fn shown(&self, document: &Document) -> Result<Value, Fault> {
        let app = self.app.sdk_app_id;
        let room = RoomName::from_text(&document.room).ok_or(Code::NoSuchRoom)?;
        let creator = &document.creator;
        let stream = format!("{app}_{room}_{creator}_main");
        let (rtmp, http) = (self.urls.rtmp(), self.urls.http());
        let ticket = |user: &str| {
            let key = self.private_map_key(user, &room)?;
            Ok::<_, Fault>(format!("userid={user}&usersig={}&privatemapkey={key}", self.user_sig(user)?))
        };
        let push = format!("{rtmp}/push/{room}?sdkappid={app}&{}", ticket(creator)?);
        let query = match self.app.play {
            PlayPolicy::Open => String::new(),
            _ => format!("?{}", ticket(self.user().unwrap_or(creator))?),
        };
        Ok(json!({
            "creator": creator,
            "roomID": document.room,
            "roomName": document.room_name,
            "members": document.members,
            "createTime": document.create_time,
            "streamID": stream,
            "liveAppID": app.to_string(),
            "pushUrl": push,
            "playUrl": [
                format!("{rtmp}/live/{stream}{query}"),
                format!("{http}/live/{stream}.flv{query}"),
                format!("{http}/live/{stream}.m3u8{query}"),
            ],
        }))
    }
}
