//! Holds `PROTOCOL.md` to the code: every example is read and written as its type, and the table of codes is the table.

use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;

use crate::{
    code::{Code, FaultBody},
    config::Limits,
    dialect::native,
    message::{Event, Reply},
    rest::{DemoTicket, SignedTicket},
};

const PAGE: &str = include_str!("../PROTOCOL.md");

/// The examples with the heading above each: `("request", "enter", text)`.
fn examples() -> Vec<(&'static str, &'static str, &'static str)> {
    let mut found = Vec::new();
    let (mut class, mut name, mut inside) = ("", "", false);
    for line in PAGE.lines() {
        match line {
            "```json" => inside = true,
            "```" => inside = false,
            _ if inside => found.push((class, name, line)),
            _ => {
                if let Some(heading) = line.strip_prefix("### ") {
                    (class, name) = heading.split_once(": ").expect("headings of examples are `class: name`");
                }
            }
        }
    }
    found
}

/// Reads an example as `T` and compares what `T` writes.
fn same_as<T: Serialize + DeserializeOwned>(text: &str) {
    let read: T = serde_json::from_str(text).unwrap_or_else(|e| panic!("{text}: {e}"));
    let example: Value = serde_json::from_str(text).unwrap();
    assert_eq!(serde_json::to_value(&read).unwrap(), example, "{text}");
}

#[test]
fn every_example_is_what_the_code_reads_and_writes() {
    let mut requests = Vec::new();
    let mut events = Vec::new();
    for (class, name, text) in examples() {
        match class {
            "request" => {
                let message = native::read(text, &Limits::default()).unwrap();
                let request = message.request.unwrap_or_else(|fault| panic!("{text}: {fault:?}"));
                let mut written = serde_json::to_value(&request).unwrap();
                written["id"] = message.id.into();
                let mut example: Value = serde_json::from_str(text).unwrap();
                if name == "subscribe" {
                    example["streams"][0]["audio"] = true.into();
                    example["streams"][0]["video"] = true.into();
                }
                // Empty text is left out where it means nothing.
                if name == "message" && example["ext"] == "" {
                    example.as_object_mut().unwrap().remove("ext");
                }
                assert_eq!(written, example, "no field of the example is ignored");
                assert_eq!(example["type"], name);
                requests.push(name);
            }
            "reply" => same_as::<Reply>(text),
            "event" => {
                same_as::<Event>(text);
                assert_eq!(serde_json::from_str::<Value>(text).unwrap()["type"], name);
                events.push(name);
            }
            "body" if name == "demo ticket" => same_as::<DemoTicket>(text),
            "body" if name == "signed ticket" => same_as::<SignedTicket>(text),
            "body" => same_as::<FaultBody>(text),
            _ => panic!("{class}: {name}"),
        }
    }
    requests.sort_unstable();
    requests.dedup();
    let all = [
        "answer",
        "ban",
        "dissolve",
        "enter",
        "heartbeat",
        "kick",
        "leave",
        "message",
        "mute",
        "mute-member",
        "publish",
        "restart",
        "resume",
        "role",
        "set-metadata",
        "subscribe",
        "unban",
        "unpublish",
        "unsubscribe",
        "update-room",
    ];
    assert_eq!(requests, all);
    events.sort_unstable();
    events.dedup();
    let all = [
        "closed",
        "member-changed",
        "member-entered",
        "member-left",
        "message",
        "muted",
        "offer",
        "room-changed",
        "speakers",
        "stream-added",
        "stream-changed",
        "stream-removed",
        "transport",
    ];
    assert_eq!(events, all);
}

#[test]
fn examples_of_refusals_say_what_the_table_says() {
    for (_, _, text) in examples() {
        let Ok(body) = serde_json::from_str::<FaultBody>(text) else { continue };
        let code = Code::ALL.iter().find(|code| code.number() == body.code).unwrap();
        assert_eq!(body.advice, code.advice());
        assert!(body.field.is_some() || body.message == code.message(), "{text}");
    }
}

#[test]
fn the_table_of_codes_is_the_table() {
    let rows: String = Code::ALL
        .iter()
        .map(|c| {
            format!("| {} | {} | {} | {} | {} |\n", c.number(), c.http_status(), c.name(), c.message(), c.advice())
        })
        .collect();
    assert!(PAGE.contains(&rows), "the table should be:\n{rows}");
}
