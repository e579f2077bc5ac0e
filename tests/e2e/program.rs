//! The program as people meet it: its texts, its exit codes, its end.

use std::{
    fs::OpenOptions,
    io::{BufRead, BufReader},
    net::{Ipv4Addr, SocketAddr, TcpListener},
    path::Path,
    process::{Child, Command, Output, Stdio},
    sync::mpsc,
    thread,
    time::Duration,
};

use serde_json::Value;

/// Longest time that an end may take: `server.stop_seconds` and a little.
pub const STOP_MAX: Duration = Duration::from_secs(5);

pub const FREE_PORTS: [&str; 10] = [
    "--set",
    "http.listen=127.0.0.1:0",
    "--set",
    "https.listen=127.0.0.1:0",
    "--set",
    "rtmp.listen=127.0.0.1:0",
    "--set",
    "media.first_port=0",
    "--set",
    "media.bind=127.0.0.1",
];

fn roomcast(folder: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_roomcast"));
    command.current_dir(folder).env_remove("RUST_LOG").stdin(Stdio::null());
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("ROOMCAST_")) {
        command.env_remove(name);
    }
    command
}

pub fn run(folder: &Path, arguments: &[&str]) -> Output {
    roomcast(folder).args(arguments).output().expect("the program runs")
}

fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

pub fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn the_printed_configuration_is_accepted() {
    let folder = tempfile::tempdir().expect("a folder");
    let printed = run(folder.path(), &["config"]);
    assert!(printed.status.success());
    std::fs::write(folder.path().join("roomcast.toml"), &printed.stdout).expect("written");
    let signed = run(folder.path(), &["--config", "roomcast.toml", "sign", "--user", "alice"]);
    assert!(signed.status.success(), "{}", stderr(&signed));
}

#[test]
fn a_wrong_configuration_is_refused_by_name_and_line_with_exit_code_2() {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("bad.toml"), "[http]\nlisten = \":9080\"\nlistn = 1\n").expect("written");
    let refused = run(folder.path(), &["--config", "bad.toml"]);
    assert_eq!(refused.status.code(), Some(2));
    assert!(stderr(&refused).contains("bad.toml:3: http.listn: no such setting"), "{}", stderr(&refused));
    let refused = roomcast(folder.path()).env("ROOMCAST_HTTP_LISTEN", "nowhere").output().expect("the program runs");
    assert_eq!(refused.status.code(), Some(2));
    assert!(stderr(&refused).contains("ROOMCAST_HTTP_LISTEN: `nowhere` is not an address"), "{}", stderr(&refused));
}

#[test]
fn a_signed_ticket_has_the_fields_of_the_vendors_clients() {
    let folder = tempfile::tempdir().expect("a folder");
    for version in ["1", "2"] {
        let signed = run(folder.path(), &["sign", "--user", "alice", "--room", "lobby", "--version", version]);
        let ticket: Value = serde_json::from_slice(&signed.stdout).expect("JSON");
        assert_eq!(ticket["sdkAppID"], 1_400_000_001_u32);
        assert_eq!(ticket["userID"], "alice");
        assert_eq!(ticket["roomID"], "lobby");
        assert!(ticket["userSig"].as_str().is_some_and(|sig| sig.len() > 100), "{ticket}");
        assert!(ticket["privateMapKey"].as_str().is_some_and(|key| key.len() > 100), "{ticket}");
    }
    let signed = run(folder.path(), &["sign", "--user", "alice"]);
    let ticket: Value = serde_json::from_slice(&signed.stdout).expect("JSON");
    assert_eq!(ticket["roomID"], 1001, "a room of digits is a number");
}

#[test]
fn a_ticket_for_nobody_or_nowhere_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    for arguments in
        [&["sign", "--user", ""][..], &["sign", "--user", "a", "--room", ""], &["sign", "--user", "a", "--app", "5"]]
    {
        let refused = run(folder.path(), arguments);
        assert_eq!(refused.status.code(), Some(1), "{arguments:?}");
        assert!(stdout(&refused).is_empty(), "{arguments:?}");
        assert!(stderr(&refused).starts_with("roomcast: "), "{}", stderr(&refused));
    }
}

#[test]
fn a_port_in_use_is_named_with_the_setting_that_changes_it() {
    let folder = tempfile::tempdir().expect("a folder");
    for setting in ["http.listen", "https.listen", "rtmp.listen"] {
        let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        let addr = taken.local_addr().expect("its address").to_string();
        let mut arguments = FREE_PORTS.to_vec();
        let set = format!("{setting}={addr}");
        arguments.extend(["--set", &set]);
        let refused = run(folder.path(), &arguments);
        assert_eq!(refused.status.code(), Some(1), "{setting}");
        let text = stderr(&refused);
        assert!(text.contains(&addr) && text.contains(&format!("--set {setting}=")), "{setting}: {text}");
    }
}

/// In the folder of a [`Running`].
pub const LOG: &str = "log.txt";

/// A running program; it is ended when the test is.
pub struct Running {
    /// `None` once its end is waited for.
    child: Option<Child>,
    greeting: String,
}

impl Running {
    pub fn start(folder: &Path) -> Running {
        Running::start_with(folder, &[])
    }

    /// What it logs goes to [`LOG`] in the folder, behind what is there.
    pub fn start_with(folder: &Path, arguments: &[&str]) -> Running {
        let log = OpenOptions::new().create(true).append(true).open(folder.join(LOG)).expect("a file");
        let mut child = roomcast(folder)
            .args(FREE_PORTS)
            .args(arguments)
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .expect("it starts");
        let mut lines = BufReader::new(child.stdout.take().expect("its output")).lines();
        let mut greeting = String::new();
        // The last line of the text.
        while !greeting.contains("  Keys ") {
            greeting += &lines.next().expect("the text goes on").expect("a line");
            greeting.push('\n');
        }
        thread::spawn(move || lines.for_each(drop));
        Running { child: Some(child), greeting }
    }

    /// Where it listens.
    pub fn http(&self) -> SocketAddr {
        let line = self.greeting.lines().find_map(|line| line.trim().strip_prefix("HTTP ")).expect("the line is there");
        line.trim().parse().expect("an address")
    }

    pub fn rtmp(&self) -> SocketAddr {
        let line = self.greeting.lines().find_map(|line| line.trim().strip_prefix("RTMP ")).expect("the line is there");
        line.split_whitespace().next().and_then(|addr| addr.parse().ok()).expect("an address")
    }

    pub fn signal(&self, name: &str) {
        let id = self.child.as_ref().expect("it runs").id().to_string();
        let sent = Command::new("kill").args([format!("-{name}"), id]).status();
        assert!(sent.expect("kill runs").success());
    }

    /// The exit code, if the program ends in time.
    pub fn ends_within(mut self, limit: Duration) -> Option<i32> {
        let mut child = self.child.take()?;
        let id = child.id();
        let (sender, ended) = mpsc::channel();
        let waiter = thread::spawn(move || sender.send(child.wait().ok().and_then(|status| status.code())));
        let code = ended.recv_timeout(limit).ok().flatten();
        if code.is_none() {
            let _ = Command::new("kill").args(["-KILL", &id.to_string()]).status();
        }
        let _ = waiter.join();
        code
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

#[test]
fn the_greeting_gives_one_link_one_line_to_paste_and_the_way_out() {
    let folder = tempfile::tempdir().expect("a folder");
    let running = Running::start(folder.path());
    let text = &running.greeting;
    for line in [
        "  Open    http://localhost:",
        "  Push    ffmpeg ",
        "  Stop    Ctrl-C",
        "  HTTP ",
        "  HTTPS ",
        "  RTMP ",
        "  Media ",
    ] {
        assert_eq!(text.matches(line).count(), 1, "{line} in\n{text}");
    }
    assert!(text.contains("/?roomID=1001\n"), "{text}");
    assert!(text.contains("/push/1001?sdkappid=1400000001&userid=ffmpeg&usersig="), "{text}");
}

#[test]
fn both_signals_end_the_program_with_code_0_within_seconds() {
    let folder = tempfile::tempdir().expect("a folder");
    for signal in ["TERM", "INT"] {
        let running = Running::start(folder.path());
        running.signal(signal);
        assert_eq!(running.ends_within(STOP_MAX), Some(0), "SIG{signal}");
    }
}
