//! What the printed file holds, and how wrong configurations are refused.

use std::io::Write as _;

use super::*;

fn load_text(text: &str) -> Result<Config, ConfigError> {
    let mut file = tempfile::NamedTempFile::new().expect("a temporary file");
    file.write_all(text.as_bytes()).expect("written");
    Config::load(Some(file.path()), [], &[]).map_err(|error| ConfigError {
        complaints: error
            .complaints
            .iter()
            .map(|complaint| complaint.replace(&file.path().display().to_string(), "file"))
            .collect(),
    })
}

fn complaint_of(text: &str) -> String {
    let complaints = load_text(text).expect_err(text).complaints;
    assert_eq!(complaints.len(), 1, "{complaints:?}");
    complaints[0].clone()
}

#[test]
fn what_is_shown_is_every_section_without_its_secrets() {
    let set = ["http.metrics_token=opensesame".to_owned()];
    let config = Config::load(None, [], &set).expect("allowed");
    let shown = config.shown();
    let mut names: Vec<&str> = shown.iter().map(|section| section.name).collect();
    let mut expected: Vec<&str> = SECTIONS.iter().map(|section| section.name).collect();
    names.sort_unstable();
    expected.sort_unstable();
    assert_eq!(names, expected);
    assert!(!format!("{shown:?}").contains("opensesame"));
    assert!(format!("{shown:?}").contains("hidden"));
}

#[test]
fn the_printed_file_is_the_defaults() {
    let printed = load_text(&commented_defaults()).expect("the printed file is allowed");
    assert_eq!(format!("{printed:?}"), format!("{:?}", Config::default()));
}

#[test]
fn the_printed_example_of_an_app_is_allowed_once_it_has_a_secret() {
    let text = commented_defaults();
    let (_, example) = text.split_once("to use it.").expect("the example is there");
    let example: String = example
        .lines()
        .map(|line| line.strip_prefix('#').filter(|l| !l.starts_with(' ')).unwrap_or(""))
        .fold(String::new(), |all, line| {
            all + &line.replace("secret = \"\"", "secret = \"0123456789abcdef0123456789abcdef\"") + "\n"
        });
    let config = load_text(&example).expect("the example is allowed");
    assert_eq!(config.apps.len(), 1);
    assert_eq!(config.apps[0].sdk_app_id.get(), 1_400_000_002);
}

#[test]
fn every_setting_is_documented_and_printed() {
    let text = commented_defaults();
    for section in SECTIONS.iter().chain([&AppSettings::SECTION]) {
        for field in section.fields {
            assert!(!field.doc.is_empty());
            assert!(text.contains(&format!("{} = ", field.name)), "{}.{}", section.name, field.name);
        }
    }
}

#[test]
fn the_media_settings_have_the_defaults_of_the_media_crate() {
    assert_eq!(format!("{:?}", Config::default().media()), format!("{:?}", MediaConfig::default()));
}

#[test]
fn the_signaling_settings_have_the_defaults_of_the_signaling_crate() {
    let ours = Config::default().signaling(None).expect("allowed");
    assert_eq!(format!("{ours:?}"), format!("{:?}", SignalingConfig::default()));
}

#[test]
fn wrong_files_are_refused_by_name_and_line() {
    for (text, expected) in [
        ("[http]\nlisten = \":9080\"\nlistn = \":1\"\n", "file:3: http.listn: no such setting; [http] has listen"),
        ("[http]\nlisten = 8080\n", "file:2: http.listen: must be a text in quotes"),
        ("[http]\nlisten = \"8080\"\n", "file:2: http.listen: `8080` is not an address with a port"),
        ("\n[htp]\nlisten = \":1\"\n", "file:2: [htp]: no such section; there are server, demo, http"),
        ("listen = \":1\"\n", "file:1: listen: no such section"),
        ("[media]\nfirst_port = 65001\n", "file:2: media.first_port: `65001` is not a whole number from 0 to 65000"),
        ("[media]\nfirst_port = 0x10\n", "file:2: media.first_port: must be a whole number"),
        ("[media]\nfirst_port = -1\n", "file:2: media.first_port: `-1` is not"),
        ("[media]\npublic_ips = [\"1.2.3\"]\n", "file:2: media.public_ips: `1.2.3` is not an IP address"),
        ("[media]\nvideo_codecs = []\n", "media.video_codecs: name at least one"),
        ("[http]\nlisten = \":1\"\nlisten = \":2\"\n", "file:3: duplicate key"),
        ("[http\n", "file:1: "),
        ("[https]\ncertificate = \"a.pem\"\n", "https.certificate and https.private_key: give both"),
        ("[[app]]\nsecret = \"x\"\n", "file:1: app.sdk_app_id: is missing"),
        ("[[app]]\nsdk_app_id = 5\n", "app 5: needs `keys`, `secret` or both"),
        ("[[app]]\nsdk_app_id = 1400000001\nsecret = \"x\"\n", "app 1400000001: is the demo app's number"),
        ("[app]\nsdk_app_id = 5\n", "file:1: app: write [[app]]"),
        ("[[app]]\nsdk_app_id = 5\nsecret = \"x\"\nplay = \"shut\"\n", "file:4: app.play: `shut` is not one of"),
        ("[[app]]\nsdk_app_id = 5\nsecret = \"x\"\nplay = \"signed\"\n", "app 5: play = \"signed\" needs `push_key`"),
        ("[signaling]\ndead_after_seconds = 10\n", "signaling.dead_after_seconds: must be more"),
        ("[demo]\nenabled = false\n", "demo.enabled is false and there is no [[app]]"),
    ] {
        let complaint = complaint_of(text);
        assert!(complaint.starts_with(expected), "{text:?} gives {complaint:?}, not {expected:?}");
    }
}

#[test]
fn b_frames_are_coded_anew_only_by_a_build_that_can() {
    let text = "[media]\nreencode_b_frames = true\n";
    if cfg!(feature = "reencode") {
        assert!(load_text(text).expect("allowed").media().reencode_b_frames);
    } else {
        assert!(complaint_of(text).starts_with("media.reencode_b_frames: this build cannot"));
    }
}

#[test]
fn a_file_of_certificates_without_one_is_refused_by_the_settings_name() {
    let mut file = tempfile::NamedTempFile::new().expect("a temporary file");
    file.write_all(b"no certificate").expect("written");
    for (setting, path) in [("rtmp.relay_ca", file.path()), ("api.callback_ca", std::path::Path::new("/not/there"))] {
        let config = Config::load(None, [], &[format!("{setting}={}", path.display())]).expect("a path is a path");
        let complaints = config.signaling(None).expect_err("refused").complaints;
        assert!(complaints[0].starts_with(&format!("{setting}: {}: ", path.display())), "{complaints:?}");
    }
}

#[test]
fn every_complaint_is_made_at_once() {
    let complaints = load_text("[http]\na = 1\nb = 2\n[rtmp]\nlisten = true\n").expect_err("refused").complaints;
    assert_eq!(complaints.len(), 3, "{complaints:?}");
}

#[test]
fn the_environment_goes_before_the_file_and_the_command_line_before_both() {
    let mut file = tempfile::NamedTempFile::new().expect("a temporary file");
    write!(file, "[http]\nlisten = \":1\"\n[rtmp]\nlisten = \":2\"\n[media]\nshards = 3\n").expect("written");
    let environment = [("ROOMCAST_RTMP_LISTEN", "off"), ("ROOMCAST_MEDIA_SHARDS", "4"), ("PATH", "/bin")]
        .map(|(name, value)| (name.to_owned(), value.to_owned()));
    let config = Config::load(Some(file.path()), environment, &["media.shards=5".to_owned()]).expect("allowed");
    assert_eq!(config.http.listen.addr().expect("on").port(), 1);
    assert_eq!(config.rtmp.listen, Listen::Off);
    assert_eq!(config.media().shards, 5);
}

#[test]
fn unknown_variables_are_refused_but_not_those_that_kubernetes_sets() {
    let load = |name: &str| Config::load(None, [(name.to_owned(), "1".to_owned())], &[]);
    assert!(load("ROOMCAST_SERVICE_HOST").is_ok());
    assert!(load("ROOMCAST_LOAD_TOKEN").is_ok());
    assert!(load("ROOMCAST_PORT_8080_TCP_ADDR").is_ok());
    let complaints = load("ROOMCAST_HTTP_LISTN").expect_err("refused").complaints;
    assert!(complaints[0].starts_with("environment ROOMCAST_HTTP_LISTN: no such setting"), "{complaints:?}");
}

#[test]
fn a_command_line_setting_is_section_key_value() {
    for text in ["http.listen", "listen=1", "http.listen=x", "htp.listen=:1"] {
        let complaints = Config::load(None, [], &[text.to_owned()]).expect_err(text).complaints;
        assert!(complaints[0].starts_with(&format!("--set {text}: ")), "{complaints:?}");
    }
}

#[test]
fn a_missing_file_is_named() {
    let complaints = Config::load(Some(Path::new("no-such-file.toml")), [], &[]).expect_err("refused").complaints;
    assert!(complaints[0].starts_with("no-such-file.toml: "), "{complaints:?}");
}

#[test]
fn secrets_do_not_show_in_debug_output() {
    let config = load_text("[[app]]\nsdk_app_id = 5\nsecret = \"hush-hush\"\n").expect("allowed");
    assert!(!format!("{config:?}").contains("hush"));
}

#[test]
fn an_app_is_described_in_the_vendors_words_too() {
    let text = "[[app]]\nsdkAppID = 1400000009\nbizid = \"8888\"\npushSecretKey = \"push\"\nAPIKey = \"api\"\naccountType = 36862\n\
                administrator = \"admin\"\nprivateKey = \"\"\"\n-----BEGIN PUBLIC KEY-----\nx\n-----END PUBLIC KEY-----\n\"\"\"\n";
    let config = load_text(text).unwrap_or_else(|error| panic!("{error}"));
    let app = config.apps[0].to_signaling(&mut Vec::new());
    assert_eq!((app.sdk_app_id, app.bizid.as_deref()), (1_400_000_009, Some("8888")));
    assert_eq!((app.push_key.as_deref(), app.callback_key.as_deref()), (Some("push"), Some("api")));
    assert!(app.v1_keys_pem[0].contains("PUBLIC KEY"));
    assert!(!format!("{:?}", config.apps[0]).contains("PUBLIC"), "a key does not show itself");
    let bad = complaint_of("[[app]]\nsdkAppID = 1400000009\nsecret = \"x\"\nprivateKey = \"key.pem\"\n");
    assert!(bad.contains("PEM"), "{bad}");
}
