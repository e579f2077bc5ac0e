//! `/weapp/utils`: what the vendor's sample server had besides rooms. It hands tickets and push URLs to strangers, so it does
//! only while the demo is on, and for the demo's app only.

use axum::{
    extract::{Path, State},
    response::Response,
};
use serde_json::{Value, json};

use super::{
    Weapp,
    call::{Call, Why, Words, answer, preflight},
    rooms::{random_id, random_text, unix_ms},
    rtmp_room::random_user,
    urls::name_of,
};
use crate::{
    auth::issue::{TicketVersion, issue_user_sig},
    code::{Code, Fault},
    config::AppConfig,
    name::is_user_id,
};

/// How long the tickets last, in seconds.
const TICKET_LIFE_S: u64 = 24 * 3600;
/// Bytes of a prefix for made-up users.
const PREFIX_BYTES_MAX: usize = 32;

pub async fn handle(State(weapp): State<Weapp>, Path(command): Path<String>, call: Call) -> Response {
    if call.preflight {
        return preflight();
    }
    answer(Words::RtmpRoom, self::command(&weapp, &command, &call))
}

fn command(weapp: &Weapp, command: &str, call: &Call) -> Result<Value, Why> {
    match command {
        "get_login_info" => {
            let app = demo_app(weapp)?;
            let user = match (call.query.value("userid"), call.query.value("useridprefix")) {
                (Some(user), _) if is_user_id(user) => user.to_owned(),
                (Some(_), _) => return Err(Why::Missing("userID")),
                // Who the code stands for only the platform could say.
                (None, Some(prefix)) if is_user_id(prefix) && prefix.len() <= PREFIX_BYTES_MAX => random_text(prefix),
                (None, _) => random_user(),
            };
            let (user_sig, account_type) = (user_sig(&app, &user)?, "0");
            Ok(json!({
                "userID": user,
                "sdkAppID": app.sdk_app_id,
                "accType": account_type,
                "accountType": account_type,
                "userSig": user_sig,
            }))
        }
        "get_test_pushurl" => {
            let app = demo_app(weapp)?.sdk_app_id;
            let (room, user) = (random_id("room"), random_user());
            let push = call.urls.push(weapp, app, &room, &user)?;
            let name = name_of(&push);
            let play = call.urls.play(weapp, app, name);
            Ok(json!({
                "url_push": push,
                "url_play_flv": call.urls.play_flv(weapp, app, name),
                "url_play_rtmp": play,
                "url_play_hls": call.urls.play_hls(weapp, app, name),
                "url_play_acc": play,
            }))
        }
        "get_test_rtmpaccurl" => {
            let app = demo_app(weapp)?.sdk_app_id;
            let (room, user) = (random_id("room"), random_user());
            let push = call.urls.push(weapp, app, &room, &user)?;
            Ok(json!({ "url_rtmpacc": call.urls.play(weapp, app, name_of(&push)) }))
        }
        "check_config" => {
            let apps = weapp.hub().apps();
            let apps =
                apps.iter().map(|app| json!({ "sdkAppID": app.sdk_app_id, "pushSecretKey": app.push_key.is_some() }));
            Ok(json!({ "apps": apps.collect::<Vec<_>>(), "timestamp": unix_ms() }))
        }
        // Statistics of clients; nothing reads them.
        "report" => Ok(json!({})),
        "logfilelist" | "getlogfile" => {
            Err(Fault::with(Code::NotFound, "logs are not shown over HTTP: they go to the server's standard error")
                .into())
        }
        _ => Err(Why::NoSuchCommand),
    }
}

/// The app whose tickets anybody may have.
pub(super) fn demo_app(weapp: &Weapp) -> Result<AppConfig, Why> {
    let apps = weapp.hub().apps();
    let app = apps.first().filter(|_| weapp.hub().config().demo).cloned();
    app.ok_or_else(|| {
        let text = "the demo is off: let your own server issue tickets, for one with POST /sign";
        Fault::with(Code::NotFound, text).into()
    })
}

pub(super) fn user_sig(app: &AppConfig, user: &str) -> Result<String, Why> {
    let version = TicketVersion::of(app).ok_or_else(no_key)?;
    issue_user_sig(app, version, user, unix_ms() / 1000, TICKET_LIFE_S).map_err(|_| no_key())
}

fn no_key() -> Why {
    Fault::with(Code::NotFound, "the app has no key to sign with").into()
}
