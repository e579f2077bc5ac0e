//! Making tickets: for `roomcast sign`, the demo page and the tests.

use std::fmt;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::{Map, Value, json};

use super::{
    authorise::Privilege,
    envelope::Envelope,
    key::{Keys, v2_key},
    userbuf::Userbuf,
    v1::SignedText,
    v2,
};
use crate::{
    config::{AppConfig, ConfigError},
    name::{RoomName, is_user_id},
};

/// What the vendor's own generators write as `TLS.version`; readers pay no attention to it.
const V1_VERSION: &str = "201512300000";

/// Which of the two kinds of signature a ticket carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TicketVersion {
    /// ECDSA with the app's first private key.
    V1,
    /// HMAC with the app's secret.
    V2,
}

impl TicketVersion {
    /// The version that `app` can sign: 2 if it has a secret, else 1 if it has a private key.
    pub fn of(app: &AppConfig) -> Option<TicketVersion> {
        if app.v2_secret.as_deref().is_some_and(|s| !s.is_empty()) {
            return Some(TicketVersion::V2);
        }
        let keys = Keys::read(app).ok()?;
        keys.signs_v1().then_some(TicketVersion::V1)
    }
}

impl fmt::Display for TicketVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            TicketVersion::V1 => "1",
            TicketVersion::V2 => "2",
        })
    }
}

/// Why no ticket could be made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IssueError {
    #[error("a userID has 1 to 128 bytes and no control characters")]
    BadUser,
    #[error("app {0} has no key that signs version {1} tickets")]
    NoKey(u32, TicketVersion),
    #[error(transparent)]
    BadKey(#[from] ConfigError),
}

/// Makes a userSig that is good from `now_s` (Unix seconds) for `life_s` seconds.
pub fn issue_user_sig(
    app: &AppConfig,
    version: TicketVersion,
    user: &str,
    now_s: u64,
    life_s: u64,
) -> Result<String, IssueError> {
    issue(app, version, user, now_s, life_s, None)
}

/// Makes a privateMapKey for one room, good from `now_s` (Unix seconds) for `life_s` seconds.
///
/// Its payload counts expiry in 32 bits: a life beyond the year 2106 is cut there.
pub fn issue_private_map_key(
    app: &AppConfig,
    version: TicketVersion,
    user: &str,
    room: &RoomName,
    privilege: Privilege,
    now_s: u64,
    life_s: u64,
) -> Result<String, IssueError> {
    if !is_user_id(user) {
        return Err(IssueError::BadUser);
    }
    let userbuf = Userbuf {
        account: user.to_owned(),
        sdk_app_id: app.sdk_app_id,
        room: room.clone(),
        expires_at_s: u32::try_from(now_s.saturating_add(life_s)).unwrap_or(u32::MAX),
        privilege: privilege.0,
        account_type: 0,
    };
    issue(app, version, user, now_s, life_s, Some(STANDARD.encode(userbuf.write())))
}

fn issue(
    app: &AppConfig,
    version: TicketVersion,
    user: &str,
    now_s: u64,
    life_s: u64,
    userbuf: Option<String>,
) -> Result<String, IssueError> {
    if !is_user_id(user) {
        return Err(IssueError::BadUser);
    }
    let no_key = || IssueError::NoKey(app.sdk_app_id, version);
    let json = match version {
        TicketVersion::V1 => {
            let keys = Keys::read(app)?;
            let sign = |text: &[u8]| keys.sign_v1(text).ok_or_else(no_key);
            v1_json(app.sdk_app_id, user, now_s, life_s, userbuf.as_deref(), sign)?
        }
        TicketVersion::V2 => {
            let key = v2_key(app.v2_secret.as_deref().filter(|s| !s.is_empty()).ok_or_else(no_key)?);
            v2_json(app.sdk_app_id, user, now_s, life_s, userbuf.as_deref(), |text| {
                aws_lc_rs::hmac::sign(&key, text).as_ref().to_vec()
            })
        }
    };
    Ok(Envelope::seal(Value::Object(json).to_string().as_bytes()))
}

fn v1_json(
    sdk_app_id: u32,
    user: &str,
    now_s: u64,
    life_s: u64,
    userbuf: Option<&str>,
    sign: impl FnOnce(&[u8]) -> Result<Vec<u8>, IssueError>,
) -> Result<Map<String, Value>, IssueError> {
    let (app, time, life) = (sdk_app_id.to_string(), now_s.to_string(), life_s.to_string());
    let signed = SignedText {
        appid_at_3rd: Some("0"),
        account_type: "0",
        identifier: user,
        sdk_appid: &app,
        time: &time,
        expire_after: &life,
        userbuf,
    };
    let signature = STANDARD.encode(sign(signed.text().as_bytes())?);
    Ok(fields(
        json!({
            "TLS.account_type": "0",
            "TLS.identifier": user,
            "TLS.appid_at_3rd": "0",
            "TLS.sdk_appid": app,
            "TLS.expire_after": life,
            "TLS.version": V1_VERSION,
            "TLS.time": time,
            "TLS.sig": signature,
        }),
        userbuf,
    ))
}

fn v2_json(
    sdk_app_id: u32,
    user: &str,
    now_s: u64,
    life_s: u64,
    userbuf: Option<&str>,
    sign: impl FnOnce(&[u8]) -> Vec<u8>,
) -> Map<String, Value> {
    let signature = STANDARD.encode(sign(v2::signed_text(user, sdk_app_id, now_s, life_s, userbuf).as_bytes()));
    fields(
        json!({
            "TLS.ver": v2::VERSION,
            "TLS.identifier": user,
            "TLS.sdkappid": sdk_app_id,
            "TLS.expire": life_s,
            "TLS.time": now_s,
            "TLS.sig": signature,
        }),
        userbuf,
    )
}

fn fields(json: Value, userbuf: Option<&str>) -> Map<String, Value> {
    let Value::Object(mut map) = json else { unreachable!("json!({{…}}) makes an object") };
    if let Some(userbuf) = userbuf {
        map.insert("TLS.userbuf".into(), userbuf.into());
    }
    map
}
