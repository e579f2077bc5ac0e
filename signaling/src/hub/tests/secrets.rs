//! Nothing secret reaches a log, at any level.

use std::{
    fmt::{Debug, Write},
    sync::{Arc, Mutex},
};

use serde_json::json;
use tracing::{
    Metadata, Subscriber,
    field::{Field, Visit},
    span,
};

use super::*;
use crate::auth::url::{tx_secret, tx_time};

/// Keeps the text of every field of every event.
#[derive(Clone, Default)]
struct Recorder(Arc<Mutex<String>>);

impl Visit for Recorder {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        writeln!(self.0.lock().unwrap(), "{field}={value:?}").unwrap();
    }
}

impl Subscriber for Recorder {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn new_span(&self, attributes: &span::Attributes<'_>) -> span::Id {
        attributes.record(&mut self.clone());
        span::Id::from_u64(1)
    }

    fn record(&self, _: &span::Id, values: &span::Record<'_>) {
        values.record(&mut self.clone());
    }

    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}

    fn event(&self, event: &tracing::Event<'_>) {
        event.record(&mut self.clone());
    }

    fn enter(&self, _: &span::Id) {}

    fn exit(&self, _: &span::Id) {}
}

#[tokio::test]
async fn no_ticket_key_or_signature_is_logged_whether_it_is_good_or_bad() {
    let recorder = Recorder::default();
    // For the whole process: a recorder of one thread misses what another test's thread was the first to log. So this is about
    // what the other tests log meanwhile, too.
    tracing::subscriber::set_global_default(recorder.clone()).expect("no other test records");
    let house = House::new();
    let (sig, key) = (user_sig("eve"), map_key("eve", &RoomName::Number(ROOM), 255));
    let mut eve = house.client();
    let shown = json!({ "userID": "eve", "userSig": sig, "privateMapKey": key });
    assert_eq!(eve.enter_with(shown).await["type"], "ok");
    let bad = json!({ "userID": "eve", "userSig": "canary-user-sig", "privateMapKey": "canary-map-key" });
    assert_eq!(code_of(&house.client().enter_with(bad).await), number(Code::UserSigInvalid));

    let name = format!("{APP}_{ROOM}_cam_main");
    let secret = tx_secret("pushkey", &name, now_s() + 60);
    let query = format!("txSecret={secret}&txTime={}", tx_time(now_s() + 60));
    assert!(house.push("live", &name, &query).await.is_ok());
    assert!(house.push("live", &name, "txSecret=canary-secret&txTime=5C07932C").await.is_err());
    assert!(house.push("push", "1001", "userid=eve&usersig=canary-user-sig").await.is_err());
    assert!(house.play(&name, "userid=eve&usersig=canary-user-sig").await.is_err());
    let http =
        PublishOffer { user_sig: Some("canary-user-sig".into()), ..offer("eve", "privatemapkey=canary-map-key") };
    assert!(house.hub.open_publish(http.clone()).await.is_err());
    assert!(house.hub.open_play(http).await.is_err());

    let token = eve.token.clone().unwrap();
    eve.lose();
    assert!(eve.resume().await.is_ok());
    eve.drain();
    let guess = Resume { token: "canary-token".into(), seq: 0 };
    assert!(house.hub.resume(9, &guess, &eve.link, None).is_err());
    let wanted = json!({ "type": "role", "role": "anchor", "userSig": sig, "privateMapKey": "canary-map-key" });
    assert_eq!(code_of(&eve.ask(wanted).await), number(Code::PrivateMapKeyInvalid));

    let log = recorder.0.lock().unwrap().clone();
    assert!(log.contains("member entered") && log.contains("refused"), "{log}");
    for canary in [&sig, &key, &secret, &token, "canary", "pushkey", "secret=", "PRIVATE KEY"] {
        assert!(!log.contains(canary), "{canary} in {log}");
    }
}
