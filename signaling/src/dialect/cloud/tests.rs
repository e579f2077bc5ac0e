//! The functions over HTTP, by an app's own server.

use axum::{
    body::{Body, to_bytes},
    http::Request,
};
use tower::ServiceExt;

use super::*;
use crate::hub::tests::{APP, House};

struct Owner {
    house: House,
    routes: Router,
}

impl Owner {
    fn new() -> Owner {
        let house = House::new();
        Owner { routes: routes(&house.hub).with_state(house.hub.clone()), house }
    }

    async fn call_as(&self, secret: &str, function: &str, event: Value) -> (u16, Value) {
        let request = Request::builder().method("POST").uri(format!("/cloud/{function}?sdkAppID={APP}"));
        let request = request.header("authorization", format!("Bearer {secret}"));
        let request = request.body(Body::from(event.to_string())).unwrap();
        let response = self.routes.clone().oneshot(request).await.unwrap();
        let status = response.status().as_u16();
        (status, serde_json::from_slice(&to_bytes(response.into_body(), 1 << 20).await.unwrap()).unwrap())
    }

    async fn call(&self, function: &str, event: Value) -> Value {
        let (status, answer) = self.call_as("secret", function, event).await;
        assert_eq!(status, 200, "{function}: {answer}");
        answer
    }
}

#[tokio::test]
async fn the_older_functions_answer_with_documents() {
    let owner = Owner::new();
    let made = owner.call("webrtc-create-room", json!({ "userID": "a", "roomName": "talk" })).await;
    let room = made["roomID"].as_str().unwrap().to_owned();
    assert!(room.len() == 8 && room.bytes().all(|b| b.is_ascii_digit()), "{room}");
    assert_eq!((&made["creator"], &made["members"], &made["privateMapKey"]), (&json!("a"), &json!(["a"]), &json!("")));
    assert!(made["createTime"].as_str().unwrap().ends_with('Z'));

    for user in ["b", "b", "c", "d", "e"] {
        let entered = owner.call("webrtc-enter-room", json!({ "userID": user, "roomID": room, "roomName": "" })).await;
        assert_eq!(entered["signInfo"]["userID"], user);
    }
    let info = owner.call("webrtc-get-room-info", json!({ "roomID": room })).await;
    assert_eq!(info["roomInfo"]["members"], json!(["a", "b", "c", "d"]), "the fifth is let in and not listed");
    assert_eq!(info["data"].as_array().unwrap().len(), 1);

    // The tickets open the room of that number, over our own wire.
    let sign = owner.call("webrtc-sig-api", json!({ "userID": "b", "roomID": room, "x": 1 })).await;
    assert_eq!((&sign["x"], &sign["sdkAppID"]), (&json!(1), &json!(APP)));
    let mut page = owner.house.client();
    let number: u32 = room.parse().unwrap();
    let shown =
        json!({ "userID": "b", "userSig": sign["userSig"], "roomID": number, "privateMapKey": sign["privateMapKey"] });
    let entered = page.enter_with(shown).await;
    assert_eq!(entered["type"], "ok", "{entered}");
    assert!(entered["metadata"].as_str().unwrap().contains("talk"));

    for (user, res) in [("b", "updated"), ("c", "updated"), ("d", "updated"), ("a", "removed")] {
        let quit = owner.call("webrtc-quit-room", json!({ "userID": user, "roomID": room })).await;
        assert_eq!(quit["res"]["stats"][res], 1, "{quit}");
    }
    assert_eq!(
        owner.call("webrtc-get-room-info", json!({ "roomID": room })).await,
        json!({ "data": [], "roomInfo": null })
    );
    // Entering makes a room that is not there.
    let entered = owner.call("webrtc-enter-room", json!({ "userID": "z", "roomID": "77", "roomName": "new" })).await;
    assert_eq!((&entered["roomInfo"]["creator"], &entered["roomInfo"]["roomName"]), (&json!("z"), &json!("new")));
}

#[tokio::test]
async fn the_newer_functions_answer_with_codes() {
    let owner = Owner::new();
    let made = owner.call("webrtcroom-create-room", json!({ "userID": "a", "roomName": "n", "roomID": 77 })).await;
    assert_eq!((&made["code"], &made["data"]["roomID"]), (&json!(0), &json!("77")));
    let of = |user: &str, room: &str| json!({ "userID": user, "roomID": room });
    for (function, event, code) in [
        ("create-room", json!({ "userID": "a" }), json!("10001")),
        ("create-room", json!({ "roomName": "n" }), json!("10001")),
        ("create-room", json!({ "userID": "a", "roomName": "x".repeat(1025) }), json!("10001")),
        ("enter-room", json!({ "userID": "b" }), json!("10001")),
        ("enter-room", of("b", "x1"), json!("10002")),
        ("enter-room", of("b", "123456789012"), json!("10002")),
        ("enter-room", of("b", "78"), json!("10002")),
        ("enter-room", of("b", "77"), json!(0)),
        ("enter-room", of("c", "77"), json!(0)),
        ("enter-room", of("d", "77"), json!(0)),
        ("enter-room", of("e", "77"), json!("10005")),
        ("enter-room", of("d", "77"), json!(0)),
        ("quit-room", of("a", "78"), json!("10002")),
        ("quit-room", of("a", "77"), json!(0)),
        ("get-room-info", json!({}), json!("10001")),
        ("get-room-info", json!({ "roomID": "78" }), json!("10002")),
        ("get-room-info", json!({ "roomID": "77" }), json!(0)),
        ("sig-api", json!({}), json!("10001")),
        ("sig-api", json!({ "userID": "a" }), json!(0)),
    ] {
        let answer = owner.call(&format!("webrtcroom-{function}"), event.clone()).await;
        assert_eq!(answer["code"], code, "{function} {event}: {answer}");
    }
    for number in 100..112 {
        owner.call("webrtc-create-room", json!({ "userID": "a", "roomName": "n", "roomID": number.to_string() })).await;
    }
    let list =
        |skip: u64, limit: Option<u64>| owner.call("webrtcroom-get-room-list", json!({ "skip": skip, "limit": limit }));
    assert_eq!(list(0, None).await["data"]["data"].as_array().unwrap().len(), 10);
    assert_eq!(list(10, None).await["data"]["data"].as_array().unwrap().len(), 3);
    assert_eq!(list(0, Some(2)).await["data"]["data"].as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn nobody_calls_without_the_apps_secret_and_there_are_six_functions() {
    let owner = Owner::new();
    for function in ["webrtc-create-room", "webrtcroom-sig-api", "nonsense"] {
        let (status, answer) = owner.call_as("wrong", function, json!({ "userID": "a" })).await;
        assert_eq!((status, &answer["code"]), (401, &json!(71010)), "{function}");
    }
    for function in ["webrtc-drop-room", "webrtcroom", "other-create-room"] {
        assert_eq!(owner.call_as("secret", function, json!({})).await.0, 404, "{function}");
    }
}

#[test]
fn dates_are_written_as_json_writes_them() {
    for (unix_ms, text) in [
        (0, "1970-01-01T00:00:00.000Z"),
        (1_544_000_000_123, "2018-12-05T08:53:20.123Z"),
        (1_582_934_400_000, "2020-02-29T00:00:00.000Z"),
        (4_102_444_799_999, "2099-12-31T23:59:59.999Z"),
    ] {
        assert_eq!(date_of(unix_ms), text);
    }
}
