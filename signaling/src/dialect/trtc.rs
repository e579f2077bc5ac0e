//! The wire of `trtc-js-sdk` 4.0 to 4.6 and of `WebRTCAPI` 2.6 and 3: a WebSocket on the root path of the TLS port, so that
//! `client.setProxyServer('wss://host:8443')` is all that a page changes.
//!
//! A client has one connection for what he sends, which he offers, and one for each member who publishes, which we offer; the
//! oldest builds offer these too.
//! What he says becomes the requests of `/signal`, and what a member of `/signal` would be told becomes what he is told.

mod peers;
mod report;
mod session;
mod wire;

use std::{
    net::{IpAddr, Ipv4Addr},
    time::Duration,
};

use axum::{
    extract::ws::{Message, WebSocket, WebSocketUpgrade},
    response::{IntoResponse, Response},
};
use futures_util::SinkExt;
use serde_json::json;
use tokio::time::timeout;

use self::{session::Session, wire::cmd};
use crate::{
    auth::url::Query,
    code::Code,
    hub::Hub,
    name::is_user_id,
    rest::{Peer, Refused},
};

/// How long a refusal may take to be written.
const FAREWELL_MAX: Duration = Duration::from_secs(1);

/// Browsers do not accept the URL that `WebRTCAPI` makes of this and our address if it is 0. Nobody need listen there: what a
/// client learns of itself by STUN is not needed, for we learn it from its checks.
const STUN_PORT: u16 = 3478;

/// Who connects, by the URL's query.
#[derive(Clone, Debug)]
struct Caller {
    app: u32,
    user: String,
    user_sig: String,
    /// He had a channel before, which broke.
    again: bool,
    remote: Option<IpAddr>,
    reached_at: Option<IpAddr>,
}

/// Whether a WebSocket with this query is one of these clients.
pub fn is_meant(query: &str) -> bool {
    let query = Query::parse(query);
    query.value("sdkappid").is_some() && query.value("identifier").is_some()
}

/// Serves such a WebSocket.
pub fn upgrade(hub: Hub, peer: Peer, query: &str, upgrade: WebSocketUpgrade) -> Response {
    let guard = match hub.count_connection(peer.remote) {
        Ok(guard) => guard,
        Err(code) => return Refused(code.into()).into_response(),
    };
    let query = Query::parse(query);
    let value = |name| query.value(name).unwrap_or_default().to_owned();
    let caller = Caller {
        app: query.value("sdkappid").and_then(|app| app.parse().ok()).unwrap_or(0),
        user: value("identifier"),
        user_sig: value("usersig"),
        again: query.value("rc") == Some("1"),
        remote: peer.remote,
        reached_at: peer.reached_at,
    };
    let bytes_max = hub.config().limits.message_bytes;
    upgrade.max_message_size(bytes_max).max_frame_size(bytes_max).on_upgrade(move |socket| async move {
        serve(socket, hub, caller).await;
        drop(guard);
    })
}

async fn serve(mut socket: WebSocket, hub: Hub, caller: Caller) {
    let judged = match is_user_id(&caller.user) {
        true => hub.authorise_user(caller.remote, caller.app, &caller.user, &caller.user_sig).map(|_| ()),
        false => Err(Code::UserSigInvalid),
    };
    if let Err(code) = judged {
        let content = json!({ "errorCode": code.number(), "errorMsg": code.message() });
        return farewell(socket, wire::message(cmd::CHANNEL_REFUSED, content)).await;
    }
    if caller.again {
        match hub.waiting_sessions().take(caller.app, &caller.user) {
            Some(waiting) => {
                // Who waits there goes on with this socket; if he gave up in this moment, the client is told.
                if let Err(back) = waiting.send(socket) {
                    farewell(back, wire::message(cmd::RECONNECT_RESULT, json!({ "result": -1 }))).await;
                }
                return;
            }
            None => return farewell(socket, wire::message(cmd::RECONNECT_RESULT, json!({ "result": -1 }))).await,
        }
    }
    if socket.send(Message::text(ready(&caller, false))).await.is_ok() {
        Session::new(hub, caller).run(socket).await;
    }
}

/// `0x13`: the channel stands. We have no other servers to name; candidates come with the session descriptions.
fn ready(caller: &Caller, again: bool) -> String {
    let ours = caller.reached_at.unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST));
    // A part of a URL there.
    let ours = if ours.is_ipv6() { format!("[{ours}]") } else { ours.to_string() };
    let content = json!({
        "openid": caller.user,
        "tinyid": wire::tiny_id(&caller.user),
        "socketid": "0",
        "relayip": ours,
        "innerip": "0",
        "localip": caller.remote.map(|ip| ip.to_string()).unwrap_or_default(),
        "signalip": ours,
        "dataport": 0,
        "stunport": STUN_PORT,
        "stunportList": [],
        "checkSigSeq": "0",
        "rc": u8::from(again),
    });
    wire::message(cmd::CHANNEL_READY, content)
}

async fn farewell(mut socket: WebSocket, text: String) {
    let said = async {
        socket.send(Message::text(text)).await?;
        socket.close().await
    };
    let _ = timeout(FAREWELL_MAX, said).await;
}
