//! Clients like `webim` over HTTP, and members by other wires.

use axum::{body::Body, body::to_bytes, http::Request as HttpRequest};
use tower::ServiceExt;

use super::*;
use crate::hub::tests::{APP, Client, House, ROOM, map_key, user_sig};

struct Service {
    house: House,
    routes: Router,
}

struct Guest {
    user: String,
    tiny_id: String,
    a2: String,
}

impl Service {
    fn new() -> Service {
        let house = House::new();
        Service { routes: routes(&house.hub).with_state(house.hub.clone()), house }
    }

    async fn post(&self, path: &str, body: Value) -> Value {
        let request = HttpRequest::builder().method("POST").uri(path).header("host", "live.example");
        let response = self.routes.clone().oneshot(request.body(Body::from(body.to_string())).unwrap()).await.unwrap();
        assert_eq!(response.status(), 200, "{path}");
        serde_json::from_slice(&to_bytes(response.into_body(), 1 << 20).await.unwrap()).unwrap()
    }

    async fn log_in(&self, user: &str) -> Guest {
        let path = format!(
            "/v4/openim/login?websdkappid=537048168&v=1.7.0&identifier={user}&usersig={}&contenttype=json&sdkappid={APP}&accounttype=1",
            user_sig(user)
        );
        let answer = self.post(&path, json!({ "State": "Online" })).await;
        assert_eq!((&answer["ActionStatus"], &answer["ErrorCode"]), (&json!("OK"), &json!(0)), "{answer}");
        let text = |field: &str| answer[field].as_str().unwrap().to_owned();
        Guest { user: user.to_owned(), tiny_id: text("TinyId"), a2: text("A2Key") }
    }

    async fn ask(&self, guest: &Guest, command: &str, body: Value) -> Value {
        let Guest { tiny_id, a2, .. } = guest;
        self.post(&format!("/v4/{command}?tinyid={tiny_id}&a2={a2}&sdkappid={APP}"), body).await
    }

    async fn code(&self, guest: &Guest, command: &str, body: Value) -> u64 {
        self.ask(guest, command, body).await["ErrorCode"].as_u64().unwrap()
    }

    async fn join(&self, guest: &Guest) -> String {
        let joined =
            self.ask(guest, "group_open_http_svc/apply_join_group", json!({ "GroupId": ROOM.to_string() })).await;
        assert_eq!(joined["JoinedStatus"], "JoinedSuccess", "{joined}");
        joined["LongPollingKey"].as_str().unwrap().to_owned()
    }

    /// What a group's members hear from `from` on, and from where to go on.
    async fn hear(&self, key: &str, from: u64) -> (Vec<Value>, u64) {
        let body = json!({ "StartSeq": from, "HoldTime": 5, "Key": key });
        let answer = self.post("/v1/group_open_long_polling_http_noauth_svc/get_msg", body).await;
        assert_eq!(answer["ErrorCode"], 0, "{answer}");
        (answer["RspMsgList"].as_array().unwrap().clone(), answer["NextSeq"].as_u64().unwrap())
    }

    async fn letters(&self, guest: &Guest, seen: u64) -> Vec<Value> {
        let body = json!({ "Timeout": 5, "Cookie": { "NotifySeq": 0, "NoticeSeq": seen, "LongPollingId": "x" } });
        let answer = self.ask(guest, "openim/longpolling", body).await;
        assert_eq!(answer["EventArray"][0]["Event"], 9, "{answer}");
        answer["EventArray"][0]["C2cMsgArray"].as_array().unwrap().clone()
    }
}

fn text(text: &str) -> Value {
    json!([{ "MsgType": "TIMTextElem", "MsgContent": { "Text": text } }])
}

fn custom(data: &str, text: &str) -> Value {
    json!([
        { "MsgType": "TIMCustomElem", "MsgContent": { "Data": data, "Desc": "", "Ext": "" } },
        { "MsgType": "TIMTextElem", "MsgContent": { "Text": text } },
    ])
}

async fn said_to(member: &mut Client) -> Value {
    loop {
        let event = member.next().await;
        if event["type"] == "message" {
            return event;
        }
    }
}

#[tokio::test]
async fn two_guests_and_a_member_by_websocket_hear_one_another_in_the_group_that_is_the_room() {
    let service = Service::new();
    let mut member = service.house.member("member").await;
    let (alice, bob) = (service.log_in("alice").await, service.log_in("bob").await);
    let (of_alice, of_bob) = (service.join(&alice).await, service.join(&bob).await);
    let head = r#"{"cmd":"CustomTextMsg","data":{"nickName":"A","headPic":""}}"#;
    let body = json!({ "GroupId": ROOM.to_string(), "MsgBody": custom(head, "hello") });
    let sent = service.ask(&alice, "group_open_http_svc/send_group_msg", body).await;
    assert_eq!(sent["ErrorCode"], 0, "{sent}");
    let heard = said_to(&mut member).await;
    assert_eq!((&heard["from"], &heard["text"]), (&json!("alice"), &json!("hello")));
    let (said, next) = service.hear(&of_bob, 0).await;
    assert_eq!((said.len(), &said[0]["Event"], &said[0]["From_Account"]), (1, &json!(3), &json!("alice")));
    assert_eq!(said[0]["MsgBody"], custom(head, "hello"), "as it was sent, and once");

    // Back: with the name in front, which these clients want.
    let answered = member.ask(json!({ "type": "message", "text": "hi" })).await;
    assert_eq!(answered["type"], "ok", "{answered}");
    let (said, _) = service.hear(&of_bob, next).await;
    assert_eq!(
        (&said[0]["From_Account"], &said[0]["MsgBody"][1]["MsgContent"]["Text"]),
        (&json!("member"), &json!("hi"))
    );
    let data: Value = serde_json::from_str(said[0]["MsgBody"][0]["MsgContent"]["Data"].as_str().unwrap()).unwrap();
    assert_eq!((&data["cmd"], &data["data"]["nickName"]), (&json!("CustomTextMsg"), &json!("member")));
    assert_eq!(service.hear(&of_alice, next).await.0.len(), 1);

    // A poll that waits is answered when something is said.
    let waiting = service.hear(&of_alice, next + 1);
    let later = async {
        tokio::task::yield_now().await;
        member.ask(json!({ "type": "message", "text": "later" })).await
    };
    let ((said, _), _) = tokio::join!(waiting, later);
    assert_eq!(said[0]["MsgBody"][1]["MsgContent"]["Text"], "later");
}

#[tokio::test]
async fn a_change_of_members_is_noticed_at_once_and_so_is_the_end_of_the_room() {
    let service = Service::new();
    let alice = service.log_in("alice").await;
    let key = service.join(&alice).await;
    let waiting = service.hear(&key, 0);
    let push = async {
        tokio::task::yield_now().await;
        let started = Instant::now();
        (service.house.pushed("phone").await, started)
    };
    let ((said, next), (stream, started)) = tokio::join!(waiting, push);
    assert!(started.elapsed() < Duration::from_millis(100), "{:?}", started.elapsed());
    let notice = &said[0];
    assert_eq!((&notice["Event"], &notice["MsgBody"]["ReportType"]), (&json!(5), &json!(255)));
    assert_eq!(notice["MsgBody"]["UserDefinedField"], r#"{"cmd":"notifyPusherChange","data":""}"#);
    service.house.event(media::Event::StreamEnded { stream }).await;
    service.house.settled().await;
    let (said, _) = service.hear(&key, next).await;
    assert_eq!(said.last().unwrap()["MsgBody"]["ReportType"], 5, "{said:?}");
}

#[tokio::test]
async fn what_a_phone_tells_the_room_service_is_noticed_at_once_whether_or_not_it_pushes() {
    let service = Service::new();
    let rooms = crate::dialect::weapp::routes(&service.house.hub).with_state(service.house.hub.clone());
    let post = async |path: String, body: Value| {
        let request = HttpRequest::builder().method("POST").uri(path).header("host", "live.example");
        let response = rooms.clone().oneshot(request.body(Body::from(body.to_string())).unwrap()).await.unwrap();
        let answer: Value = serde_json::from_slice(&to_bytes(response.into_body(), 1 << 20).await.unwrap()).unwrap();
        assert_eq!(answer["code"], 0, "{answer}");
        answer
    };
    let sig = user_sig("phone");
    let login = format!("/weapp/multi_room/login?sdkAppID={APP}&accountType=1&userID=phone&userSig={sig}");
    let token = post(login, json!({})).await["token"].as_str().unwrap().to_owned();
    let alice = service.log_in("alice").await;
    let key = service.join(&alice).await;
    let mut from = 0;
    let url = "rtmp://elsewhere.example/live/1_2?txSecret=3";
    for command in ["add_pusher", "delete_pusher", "add_pusher", "destroy_room"] {
        let waiting = service.hear(&key, from);
        let asked = async {
            tokio::task::yield_now().await;
            let started = Instant::now();
            let body = json!({ "roomID": ROOM.to_string(), "userID": "phone", "userName": "P", "userAvatar": "",
                "pushURL": url });
            post(format!("/weapp/multi_room/{command}?userID=phone&token={token}"), body).await;
            started
        };
        let ((said, next), started) = tokio::join!(waiting, asked);
        assert!(started.elapsed() < Duration::from_millis(100), "{command}: {:?}", started.elapsed());
        let field = &said.last().unwrap()["MsgBody"]["UserDefinedField"];
        assert_eq!(field, r#"{"cmd":"notifyPusherChange","data":""}"#, "{command}");
        from = next;
    }
}

#[tokio::test]
async fn a_letter_finds_a_guest_and_a_member_by_websocket() {
    let service = Service::new();
    let mut member = service.house.member("member").await;
    let (alice, bob) = (service.log_in("alice").await, service.log_in("bob").await);
    let letter = |to: &str| json!({ "To_Account": to, "MsgSeq": 7, "MsgRandom": 8, "MsgBody": text("psst") });
    let link = json!([{ "MsgType": "TIMCustomElem", "MsgContent": { "Data": "{\"cmd\":\"linkmic\"}", "Desc": "", "Ext": "" } }]);
    assert_eq!(service.code(&alice, "openim/sendmsg", letter("bob")).await, 0);
    assert_eq!(service.code(&alice, "openim/sendmsg", json!({ "To_Account": "bob", "MsgBody": link })).await, 0);
    let letters = service.letters(&bob, 0).await;
    assert_eq!((letters.len(), &letters[0]["MsgBody"], &letters[0]["MsgSeq"]), (2, &text("psst"), &json!(7)));
    assert_eq!(letters[1]["MsgBody"], link);
    let seen = letters[0]["NoticeSeq"].as_u64().unwrap();
    assert_eq!(service.letters(&bob, seen).await.len(), 1, "what was seen does not come again");
    assert_eq!(service.code(&alice, "openim/sendmsg", letter("member")).await, 0);
    let heard = said_to(&mut member).await;
    assert_eq!((&heard["from"], &heard["to"], &heard["text"]), (&json!("alice"), &json!("member"), &json!("psst")));
    assert_eq!(service.code(&alice, "openim/sendmsg", letter("nobody")).await, 20003);

    // The member writes back, to her alone.
    let told = member.ask(json!({ "type": "message", "to": "alice", "text": "psst yourself" })).await;
    assert_eq!(told["type"], "ok", "{told}");
    let letters = service.letters(&alice, 0).await;
    assert_eq!((letters.len(), &letters[0]["From_Account"]), (1, &json!("member")));
    assert_eq!((&letters[0]["MsgBody"], &letters[0]["MsgSeq"]), (&text("psst yourself"), &told["messageID"]));
    let custom = json!({ "type": "message", "to": "bob", "data": "{\"cmd\":\"linkmic\"}" });
    assert_eq!(member.ask(custom).await["type"], "ok");
    assert_eq!(service.letters(&bob, seen).await[1]["MsgBody"], link);
    // Who is known nowhere is still unknown.
    assert_eq!(member.ask(json!({ "type": "message", "to": "nobody", "text": "x" })).await["code"], 73014);
    service.house.pushed("phone").await;
    member.drain();
    assert_eq!(member.ask(json!({ "type": "message", "to": "phone", "text": "x" })).await["code"], 73020);
}

#[tokio::test]
async fn every_command_has_its_codes() {
    let service = Service::new();
    let (alice, bob) = (service.log_in("alice").await, service.log_in("bob").await);
    let group = json!({ "GroupId": "77" });
    let say = |body: Value| json!({ "GroupId": "77", "MsgBody": body });
    let table = [
        (&alice, "openim/authkey", json!({}), 0),
        (&alice, "openim/getlongpollingid", json!({}), 0),
        (&alice, "openim/getmsg", json!({ "Cookie": "", "SyncFlag": 0 }), 0),
        (&alice, "openim/msgreaded", json!({}), 0),
        (&alice, "openim/nonsense", json!({}), 60002),
        (&alice, "nonsense/login", json!({}), 60002),
        (&alice, "openim/longpolling", json!({ "Timeout": 0, "Cookie": { "NoticeSeq": 0 } }), 60008),
        (&alice, "openim/sendmsg", json!({ "To_Account": "bob" }), 10004),
        (&alice, "openim/sendmsg", json!({ "To_Account": "bob", "MsgBody": [] }), 10004),
        (&alice, "openim/sendmsg", json!({ "To_Account": "bob", "MsgBody": text(&"x".repeat(12_001)) }), 80002),
        (&alice, "profile/portrait_set", json!({ "ProfileItem": [{ "Tag": "Tag_Profile_IM_Nick", "Value": "A" }] }), 0),
        (&alice, "group_open_http_svc/create_group", json!({ "GroupId": "" }), 10004),
        (&bob, "group_open_http_svc/send_group_msg", say(text("x")), 10010),
        (&alice, "group_open_http_svc/create_group", group.clone(), 0),
        (&alice, "group_open_http_svc/create_group", group.clone(), 10025),
        (&bob, "group_open_http_svc/create_group", group.clone(), 10021),
        (&bob, "group_open_http_svc/send_group_msg", say(text("x")), 10007),
        (&bob, "group_open_http_svc/apply_join_group", group.clone(), 0),
        (&bob, "group_open_http_svc/apply_join_group", group.clone(), 0),
        (&bob, "group_open_http_svc/send_group_msg", say(text("x")), 0),
        (&bob, "group_open_http_svc/send_group_msg", say(text(&"x".repeat(8_898))), 80002),
        (&bob, "group_open_http_svc/destroy_group", group.clone(), 10007),
        (&bob, "group_open_http_svc/get_joined_group_list", json!({}), 0),
        (&bob, "group_open_http_svc/quit_group", group.clone(), 0),
        (&bob, "group_open_http_svc/quit_group", group.clone(), 10007),
        (&alice, "group_open_http_svc/destroy_group", group.clone(), 0),
        (&alice, "group_open_http_svc/nonsense", json!({}), 60002),
        (&alice, "openim/logout", json!({}), 0),
        (&alice, "openim/getmsg", json!({}), 70402),
    ];
    for (step, (guest, command, body, code)) in table.into_iter().enumerate() {
        assert_eq!(service.code(guest, command, body).await, code, "step {step}: {} {command}", guest.user);
    }
    let portraits = service.ask(&bob, "profile/portrait_get", json!({ "To_Account": ["bob", "x"] })).await;
    assert_eq!(portraits["UserProfileItem"][0]["ProfileItem"][0]["Value"], "bob");
    let bad = service.post(&format!("/v4/openim/login?identifier=a&usersig=x&sdkappid={APP}"), json!({})).await;
    assert_eq!((&bad["ActionStatus"], &bad["ErrorCode"]), (&json!("FAIL"), &json!(70003)));
    let key = service.post("/v1/group_open_long_polling_http_noauth_svc/get_msg", json!({ "Key": "x" })).await;
    assert_eq!(key["ErrorCode"], 10018);
    for message in 0..60 {
        let code = service.code(&bob, "openim/sendmsg", json!({ "To_Account": "bob", "MsgBody": text("x") })).await;
        // Two were spent above; one comes back every 50 ms.
        assert!(code == 0 || message >= 57, "{message}: {code}");
    }
}

#[tokio::test]
async fn who_logs_in_twice_sends_the_first_away_and_who_is_silent_is_forgotten() {
    let service = Service::new();
    let first = service.log_in("alice").await;
    let poll = service.ask(&first, "openim/longpolling", json!({ "Timeout": 5, "Cookie": {} }));
    let again = async {
        tokio::task::yield_now().await;
        service.log_in("alice").await
    };
    let (poll, second) = tokio::join!(poll, again);
    assert_eq!(poll["ErrorCode"], 91101);
    assert_eq!(service.code(&first, "openim/getmsg", json!({})).await, 91101);
    assert_eq!(service.code(&second, "openim/getmsg", json!({})).await, 0);

    let (mut desk, now) = (Desk::new(1), Instant::now());
    let (login, a2) = desk.log_in(1, "a", now).unwrap();
    assert_eq!(desk.log_in(1, "b", now).unwrap_err(), Why::TooManyLogins);
    desk.join_group(&login, &RoomName::Number(1)).unwrap();
    desk.sweep(now + Duration::from_secs(300));
    assert!(desk.check(Some(&a2), now).is_ok());
    desk.sweep(now + Duration::from_secs(301));
    assert_eq!(desk.check(Some(&a2), now), Err(Why::NotLoggedIn));
    assert!(desk.log_in(1, "b", now).is_ok());
}

#[tokio::test]
async fn jsonvideoapp_checks_the_tickets_and_answers_with_rtmp_addresses() {
    let service = Service::new();
    let room = RoomName::Number(ROOM);
    let ask = async |user: &str, sig: &str, key: Value, group: Value| {
        let path = format!(
            "/v4/openim/jsonvideoapp?sdkappid={APP}&identifier={user}&usersig={sig}&random=9999&contenttype=json"
        );
        let head = json!({ "Cmd": 1, "SeqNo": 1, "BusType": 7, "GroupId": group });
        service.post(&path, json!({ "ReqHead": head, "ReqBody": { "PrivMapEncrypt": key, "FromType": 3 } })).await
    };
    let (sig, key) = (user_sig("alice"), map_key("alice", &room, 255));
    let good = ask("alice", &sig, json!(key), json!(ROOM)).await;
    assert_eq!(good["RspHead"]["ErrorCode"], 0, "{good}");
    let url = good["RspBody"]["PushUrl"].as_str().unwrap();
    let (path, query) = url.split_once('?').unwrap();
    assert_eq!(path, format!("rtmp://live.example/push/{ROOM}"));
    assert!(service.house.push("push", &ROOM.to_string(), query).await.is_ok(), "it opens the door");
    let of_bob = map_key("bob", &room, 255);
    assert_eq!(ask("alice", &sig, json!(of_bob), json!(ROOM)).await["RspHead"]["ErrorCode"], 87);
    assert_eq!(ask("alice", &sig, json!(map_key("alice", &room, 4)), json!(ROOM)).await["RspHead"]["ErrorCode"], 87);
    assert_eq!(ask("alice", &sig, json!(key), json!(0)).await["RspHead"]["ErrorCode"], 82);
    assert_eq!(ask("alice", "x", json!(key), json!(ROOM)).await["ErrorCode"], 70003);
}
