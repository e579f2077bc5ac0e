//! Apps added at run time, by the operator. Their keys are changed by putting the app again: tickets are judged by the new
//! ones from then on, and whoever is in a room stays.

use axum::{
    http::Method,
    routing::{MethodRouter, delete, get, put},
};
use serde_json::{Value, json};

use super::{
    Answer, Api,
    call::AdminCall,
    openapi::{Field, Kind, Operation, optional},
};
use crate::{
    callback::target::{URL_BYTES_MAX, Url},
    code::{Code, Fault},
    fields::Fields,
    rest::Refused,
    store::{AppRecord, Change},
};

/// Bytes of a secret or key that is a text.
const SECRET_BYTES_MAX: usize = 256;
/// Bytes of a PEM text.
const PEM_BYTES_MAX: usize = 8 << 10;
/// Bytes of an app's name.
const NAME_BYTES_MAX: usize = 128;
/// Bytes of a bizid; real ones are numbers.
const BIZID_BYTES_MAX: usize = 32;
/// Keys of one app, and secrets.
const KEYS_MAX: usize = 4;

const APP_BODY: &[Field] = &[
    optional("name", Kind::Text, "for people"),
    optional("secret", Kind::Text, "of version 2 tickets, and of this API"),
    optional("secretsBefore", Kind::Texts, "what the secret was before; tickets that they signed stay good"),
    optional("keys", Kind::Texts, "PEM texts, of version 1 tickets"),
    optional("privateMapKey", Kind::Text, "`optional` or `required`"),
    optional("play", Kind::Text, "`open`, `ticket` or `signed`"),
    optional("pushKey", Kind::Text, "of txSecret/txTime URLs"),
    optional("callbackURL", Kind::Text, "where your server is told what happens"),
    optional("callbackKey", Kind::Text, "what callbacks are signed with; the secret if left out"),
    optional("callbackPrivate", Kind::Flag, "callbacks may go to loopback and private addresses"),
    optional("relayPrivate", Kind::Flag, "relays may reach loopback and private addresses"),
    optional(
        "bizid",
        Kind::Text,
        "with what stream names begin that are handed out, and older names; letters and digits",
    ),
    optional("historyMessages", Kind::Number, "how many messages to a room its newcomers are told, up to 1000"),
];

pub(super) fn operations() -> Vec<(Operation, MethodRouter<Api>)> {
    const APP: &str = "/apps/{sdkAppID}";
    let of = |method, path, summary| Operation { admin: true, ..Operation::new(method, path, summary) };
    vec![
        (of(Method::GET, "/apps", "list apps, without their keys"), get(list)),
        (
            Operation {
                body: APP_BODY,
                success: 204,
                ..of(Method::PUT, APP, "add an app, or replace it and its keys")
            },
            put(put_app),
        ),
        (Operation { success: 204, ..of(Method::DELETE, APP, "remove an app that was added here") }, delete(remove)),
    ]
}

async fn list(call: AdminCall) -> Result<Answer, Refused> {
    let apps = call.api.0.hub.apps();
    let apps: Vec<Value> = apps
        .iter()
        .map(|app| {
            let configured = call.api.is_configured(app.sdk_app_id);
            json!({ "sdkAppID": app.sdk_app_id, "name": app.name, "configured": configured })
        })
        .collect();
    Ok(Answer::Ok(json!({ "apps": apps })))
}

async fn put_app(call: AdminCall) -> Result<Answer, Refused> {
    let id = call.app.ok_or(Code::NotFound)?;
    if call.api.is_configured(id) {
        return Err(Code::AppConfigured.into());
    }
    let record = read(id, Fields(&call.body))?;
    // A key that cannot be used is refused before anything is kept.
    let config = crate::SignalingConfig { apps: vec![record.to_config()], ..call.api.0.hub.config().clone() };
    if let Err(error) = crate::auth::authorise::Authority::new(&config) {
        return Err(Fault::with(Code::BadField, error.to_string()).into());
    }
    call.api.0.store.write(Change::PutApp(record)).await?;
    apply(&call.api)
}

async fn remove(call: AdminCall) -> Result<Answer, Refused> {
    let id = call.app.ok_or(Code::NotFound)?;
    if call.api.is_configured(id) {
        return Err(Code::AppConfigured.into());
    }
    if !call.api.0.store.read().apps.contains_key(&id) {
        return Err(Code::UnknownApp.into());
    }
    // Under the same number there may once be another app, whose relays these are not.
    let changes = {
        let facts = call.api.0.store.read();
        let relays = facts.relays.iter().filter(|(_, relay)| relay.sdk_app_id == id);
        relays.map(|(number, _)| Change::RemoveRelay(*number)).chain([Change::RemoveApp(id)]).collect()
    };
    call.api.0.store.write_all(changes).await?;
    apply(&call.api)
}

fn apply(api: &Api) -> Result<Answer, Refused> {
    api.put_apps_together().map_err(|error| Fault::with(Code::BadField, error.to_string()))?;
    api.relays().follow(&api.0.hub.apps());
    Ok(Answer::Done)
}

fn read(sdk_app_id: u32, fields: Fields<'_>) -> Result<AppRecord, Fault> {
    let text = |name, bytes_max| Ok::<_, Fault>(fields.optional_text(name, bytes_max)?.unwrap_or_default().to_owned());
    let texts = |name: &'static str, bytes_max: usize| -> Result<Vec<String>, Fault> {
        let fault = || Fault::field(name, &format!("a list of up to {KEYS_MAX} texts of 1 to {bytes_max} bytes"));
        match fields.0.get(name) {
            None | Some(Value::Null) => Ok(Vec::new()),
            Some(Value::Array(list)) if list.len() <= KEYS_MAX => {
                let one =
                    |value: &Value| value.as_str().filter(|t| (1..=bytes_max).contains(&t.len())).map(str::to_owned);
                list.iter().map(|value| one(value).ok_or_else(fault)).collect()
            }
            Some(_) => Err(fault()),
        }
    };
    let choice = |name: &'static str, allowed: &[&str]| -> Result<String, Fault> {
        let text = text(name, SECRET_BYTES_MAX)?;
        match text.is_empty() || allowed.contains(&text.as_str()) {
            true => Ok(text),
            false => Err(Fault::field(name, &allowed.join(" or "))),
        }
    };
    let callback_private = fields.optional_boolean("callbackPrivate")?.unwrap_or(false);
    let callback_url = text("callbackURL", URL_BYTES_MAX)?;
    if !callback_url.is_empty()
        && let Err(error) = Url::read(&callback_url, callback_private)
    {
        return Err(Fault { field: Some("callbackURL"), ..Fault::with(Code::CallbackRefused, error.to_string()) });
    }
    let bizid = text("bizid", BIZID_BYTES_MAX)?;
    if !bizid.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
        return Err(Fault::field("bizid", &format!("up to {BIZID_BYTES_MAX} letters and digits")));
    }
    Ok(AppRecord {
        sdk_app_id,
        name: text("name", NAME_BYTES_MAX)?,
        keys: texts("keys", PEM_BYTES_MAX)?,
        secret: text("secret", SECRET_BYTES_MAX)?,
        secrets_before: texts("secretsBefore", SECRET_BYTES_MAX)?,
        private_map_key_required: choice("privateMapKey", &["optional", "required"])? == "required",
        play: choice("play", &["open", "ticket", "signed"])?,
        push_key: text("pushKey", SECRET_BYTES_MAX)?,
        callback_url,
        callback_key: text("callbackKey", SECRET_BYTES_MAX)?,
        callback_private,
        relay_private: fields.optional_boolean("relayPrivate")?.unwrap_or(false),
        bizid,
        history_messages: fields.optional_number("historyMessages", 1000)?.unwrap_or(0),
    })
}
