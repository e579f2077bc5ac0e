//! What is answered is in the store already.

use super::*;
use crate::store::Store;

fn record(store: &Store) -> Option<Value> {
    store.read().rooms.get(&(APP, RoomName::Number(ROOM))).map(|json| serde_json::from_str(json).unwrap())
}

#[tokio::test]
async fn every_durable_fact_is_in_the_store_when_its_answer_comes() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).unwrap();
    let house = House::new();
    house.hub.keep_in(&store);
    let mut owner = house.member("owner").await;
    assert_eq!(record(&store).unwrap()["owner"], "owner", "who creates a room owns it");
    let mut bob = house.member("bob").await;
    owner.drain();
    owner.send(json!({ "type": "mute-member", "userID": "bob", "audio": true }));
    assert_eq!(owner.event("member-changed").await["type"], "member-changed");
    assert_eq!(owner.next().await["type"], "ok");
    assert_eq!(record(&store).unwrap()["silenced"]["bob"]["audio"], true);
    owner.send(json!({ "type": "ban", "userID": "eve" }));
    assert_eq!(owner.next().await["type"], "ok");
    assert_eq!(record(&store).unwrap()["bans"], json!({ "eve": null }));
    owner.send(json!({ "type": "dissolve" }));
    assert_eq!(owner.next().await["type"], "ok");
    assert_eq!(record(&store), None);
    assert_eq!(code_of(&owner.event("closed").await), number(Code::RoomDissolved), "and then his connection ends");
    bob.drain();
    assert_eq!(house.hub.counts().rooms, 0);
    let _next = house.member("bob").await;
    assert_eq!(record(&store).unwrap()["owner"], "bob", "the next room of that name is another");
}

#[tokio::test]
async fn who_gives_up_while_his_answer_waits_for_the_store_does_not_stay_behind() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).unwrap();
    let house = House::new();
    house.hub.keep_in(&store);
    // The store cannot finish while somebody reads from it.
    let reading = store.read();
    let mut alice = house.client();
    assert!(alice.enter("alice").now_or_never().is_none(), "the answer waits");
    assert_eq!(house.hub.counts().members, 0, "and who does not wait for it is gone");
    drop(reading);
}
