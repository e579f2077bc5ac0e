//! `roomcast sign`, and the ticket of the start-up text: one issuing path for both.

use std::time::{SystemTime, UNIX_EPOCH};

use serde::Serialize;
use signaling::{AppConfig, IssueError, Privilege, RoomName, TicketVersion, issue_private_map_key, issue_user_sig};

use crate::cli::SignArgs;

/// A ticket as the vendor's clients take it.
#[derive(Clone, Debug, Serialize)]
pub struct Ticket {
    #[serde(rename = "sdkAppID")]
    pub sdk_app_id: u32,
    #[serde(rename = "userID")]
    pub user_id: String,
    #[serde(rename = "userSig")]
    pub user_sig: String,
    /// A number where it is one, else text.
    #[serde(rename = "roomID")]
    pub room_id: RoomName,
    #[serde(rename = "privateMapKey")]
    pub private_map_key: String,
}

/// Why there is no ticket.
#[derive(Debug, thiserror::Error)]
pub enum TicketError {
    #[error("no app with sdkAppID {0}; the configuration has {1}")]
    NoSuchApp(u32, String),
    #[error(
        "app {0} is not in the configuration. If it was added by request, the running server issues its tickets: \
         POST /api/v1/apps/{0}/tickets with {{\"userID\",\"roomID\"}} and `Authorization: Bearer <the app's secret>`"
    )]
    AskTheServer(u32),
    #[error("which app? name it with --app; the configuration has {0}")]
    WhichApp(String),
    #[error("app {0} has neither a secret nor a private key to sign with")]
    NothingToSignWith(u32),
    #[error("`{0}` is no room: a number from 1 to 4294967295, or a name of 1 to 64 bytes without control characters")]
    BadRoom(String),
    #[error(transparent)]
    Issue(#[from] IssueError),
}

/// Signs what the command line asks for.
pub fn sign(apps: &[AppConfig], args: &SignArgs, default_room: &RoomName) -> Result<Ticket, TicketError> {
    let known = || apps.iter().map(|app| app.sdk_app_id.to_string()).collect::<Vec<_>>().join(", ");
    let app = match (args.app, apps) {
        (Some(id), _) => {
            apps.iter().find(|app| app.sdk_app_id == id).ok_or_else(|| TicketError::NoSuchApp(id, known()))?
        }
        // The demo app stands first where it is on.
        (None, [first, ..]) if first.sdk_app_id == crate::data::DEMO_SDK_APP_ID => first,
        (None, [only]) => only,
        (None, _) => return Err(TicketError::WhichApp(known())),
    };
    let room = match &args.room {
        Some(text) => RoomName::from_text(text).ok_or_else(|| TicketError::BadRoom(text.clone()))?,
        None => default_room.clone(),
    };
    let version = match args.version {
        Some(1) => TicketVersion::V1,
        Some(_) => TicketVersion::V2,
        None => TicketVersion::of(app).ok_or(TicketError::NothingToSignWith(app.sdk_app_id))?,
    };
    issue(app, version, &args.user, &room, Privilege(args.privilege), u64::from(args.expire))
}

/// A userSig and a privateMapKey of the same life, from now on.
pub fn issue(
    app: &AppConfig,
    version: TicketVersion,
    user: &str,
    room: &RoomName,
    privilege: Privilege,
    life_s: u64,
) -> Result<Ticket, TicketError> {
    let now_s = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    Ok(Ticket {
        sdk_app_id: app.sdk_app_id,
        user_id: user.to_owned(),
        user_sig: issue_user_sig(app, version, user, now_s, life_s)?,
        room_id: room.clone(),
        private_map_key: issue_private_map_key(app, version, user, room, privilege, now_s, life_s)?,
    })
}
