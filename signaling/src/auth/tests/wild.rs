//! Bytes that nobody meant: whatever comes, it is refused without a panic.

use proptest::prelude::*;

use super::*;

/// A ticket around these bytes.
fn wrapped(packed: &[u8]) -> String {
    STANDARD.encode(packed).replace('+', "*").replace('/', "-").replace('=', "_")
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_text_is_refused(text in "\\PC{0,3000}") {
        prop_assert!(judge(&text, "alice", NOW).is_err());
    }

    #[test]
    fn any_bytes_in_base64_are_refused(bytes in prop::collection::vec(any::<u8>(), 0..1600)) {
        prop_assert!(judge(&wrapped(&bytes), "alice", NOW).is_err());
    }

    #[test]
    fn any_json_is_refused(text in "[\\[\\]{}\",:0-9a-zTLS.\\\\u-]{0,500}") {
        prop_assert!(judge(&Envelope::seal(text.as_bytes()), "alice", NOW).is_err());
    }

    #[test]
    fn any_values_in_the_fields_of_a_ticket_are_refused(
        values in prop::collection::btree_map(
            "TLS\\.(ver|sig|time|expire|expire_after|identifier|sdkappid|sdk_appid|account_type|appid_at_3rd|userbuf)",
            prop_oneof![
                "\\PC{0,40}".prop_map(serde_json::Value::from),
                any::<u64>().prop_map(serde_json::Value::from),
                Just(json!(null)), Just(json!("2.0")), Just(json!("1400000001")), Just(json!(APP)), Just(json!("alice")),
            ],
            0..11,
        )
    ) {
        let text = serde_json::to_string(&values).unwrap();
        prop_assert!(judge(&Envelope::seal(text.as_bytes()), "alice", NOW).is_err());
    }

    #[test]
    fn a_changed_byte_anywhere_in_a_ticket_is_refused_or_means_the_same(at in 0usize..400, to in any::<u8>()) {
        let mut bytes = V2_USER_SIG.as_bytes().to_vec();
        let at = at % bytes.len();
        bytes[at] = to;
        let changed = String::from_utf8_lossy(&bytes).into_owned();
        if judge(&changed, "alice", NOW).is_ok() {
            prop_assert_eq!(Envelope::open(&changed), Envelope::open(V2_USER_SIG));
        }
    }

    #[test]
    fn any_userbuf_is_refused_or_written_back_as_it_was_read(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        if let Some(userbuf) = Userbuf::read(&bytes) {
            // Text that names a number is the number, which is written shorter.
            prop_assert!(userbuf.write().len() <= bytes.len());
        }
    }

    #[test]
    fn a_changed_byte_in_a_userbuf_changes_what_it_says(at in 0usize..100, to in any::<u8>()) {
        let good = userbuf(RoomName::Text("room-A".into()));
        let mut bytes = good.clone();
        let at = at % bytes.len();
        bytes[at] = to;
        if bytes != good {
            prop_assert_ne!(Userbuf::read(&bytes), Userbuf::read(&good));
        }
    }

    #[test]
    fn any_query_is_read(text in "\\PC{0,600}") {
        let query = crate::auth::url::Query::parse(&text);
        let _ = (query.value("usersig"), query.value("txtime"));
    }
}
