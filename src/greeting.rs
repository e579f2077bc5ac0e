//! What the program says when it has started: what listens where, one link to open, one line to paste, how to stop.

use std::{
    fmt::Write as _,
    net::{IpAddr, Ipv4Addr, SocketAddr},
};

use signaling::{Privilege, TicketVersion};

use crate::{Addresses, Server, config::Config, data::DEMO_SDK_APP_ID, ticket};

/// Life of the ticket in the ffmpeg line, in seconds: a day.
const PUSH_TICKET_SECONDS: u64 = 24 * 3600;
/// The member that the ffmpeg line enters as.
const PUSH_USER: &str = "ffmpeg";

/// The whole text, with the newline at its end.
pub fn text(config: &Config, server: &Server) -> String {
    let addresses = server.addresses();
    let mut out = format!("roomcast {} is running.\n\n", env!("CARGO_PKG_VERSION"));
    if let Some(link) = page_link(config, addresses) {
        let _ = writeln!(out, "  Open    {link}");
    }
    if let Some(line) = push_line(config, server) {
        let _ = writeln!(out, "  Push    {line}");
    }
    if let Some(password) = server.fresh_console_password() {
        let _ = writeln!(out, "  Console {}", console_line(addresses, password.expose()));
    }
    let _ = writeln!(out, "  Stop    Ctrl-C\n");
    for (what, place) in listening(config, addresses) {
        let _ = writeln!(out, "  {what:<7} {place}");
    }
    let _ = writeln!(out, "  Keys    {}\n", config.data_folder().display());
    out
}

/// The page; in the demo room, where that is on.
fn page_link(config: &Config, addresses: &Addresses) -> Option<String> {
    let origin = origin(addresses)?;
    let room =
        if config.demo.enabled { format!("?roomID={}", in_url(&config.demo.room.to_string())) } else { String::new() };
    Some(format!("{origin}/{room}"))
}

fn origin(addresses: &Addresses) -> Option<String> {
    match (addresses.http, addresses.https) {
        (Some(http), _) => Some(format!("http://{}", local_place(http))),
        (None, Some(https)) => Some(format!("https://{}", local_place(https))),
        (None, None) => None,
    }
}

/// Where the console is, with its password: the only time that it is seen.
fn console_line(addresses: &Addresses, password: &str) -> String {
    let origin = origin(addresses).unwrap_or_default();
    format!("{origin}/console/  password {password}  (shown once; a hash is kept)")
}

/// A line that pushes a test picture and tone into the demo room, as it stands.
fn push_line(config: &Config, server: &Server) -> Option<String> {
    let rtmp = server.addresses().rtmp?;
    let app = server.apps().iter().find(|app| app.sdk_app_id == DEMO_SDK_APP_ID && config.demo.enabled)?;
    let room = &config.demo.room;
    let ticket = ticket::issue(app, TicketVersion::V2, PUSH_USER, room, Privilege::ALL, PUSH_TICKET_SECONDS).ok()?;
    let (place, room) = (local_place(rtmp), in_url(&room.to_string()));
    Some(format!(
        "ffmpeg -re -f lavfi -i testsrc2=size=640x360:rate=30 -f lavfi -i sine=frequency=440:sample_rate=48000 \
         -c:v libx264 -preset veryfast -tune zerolatency -profile:v baseline -pix_fmt yuv420p -g 30 -b:v 800k \
         -c:a aac -b:a 96k -f flv \"rtmp://{place}/push/{room}?sdkappid={}&userid={PUSH_USER}&usersig={}\"",
        ticket.sdk_app_id, ticket.user_sig
    ))
}

fn listening(config: &Config, addresses: &Addresses) -> Vec<(&'static str, String)> {
    let mut lines = Vec::new();
    lines.extend(addresses.http.map(|addr| ("HTTP", addr.to_string())));
    lines.extend(addresses.https.map(|addr| {
        let own = config.https.certificate.as_path().is_some();
        let note = if own { "" } else { "  (self-made certificate: browsers ask once)" };
        ("HTTPS", format!("{addr}{note}"))
    }));
    lines.extend(addresses.rtmp.map(|addr| ("RTMP", format!("{addr}  (RTMPS too)"))));
    lines.extend(addresses.rtmp_also.map(|addr| ("RTMPS", format!("{addr}  (RTMP too)"))));
    let media: Vec<String> = addresses.media.iter().map(SocketAddr::to_string).collect();
    if !media.is_empty() {
        lines.push(("Media", format!("{} (UDP and TCP)", media.join(", "))));
    }
    lines
}

/// How a program on this machine reaches a socket: `localhost` wherever that is enough.
fn local_place(addr: SocketAddr) -> String {
    let ip = addr.ip();
    if ip.is_unspecified() || ip == IpAddr::V4(Ipv4Addr::LOCALHOST) {
        return format!("localhost:{}", addr.port());
    }
    addr.to_string()
}

/// A room's name as part of a URL (RFC 3986 §2.3: what is not unreserved is escaped).
fn in_url(text: &str) -> String {
    let mut out = String::new();
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => out.push(byte as char),
            _ => {
                let _ = write!(out, "%{byte:02X}");
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_link_is_the_one_that_the_readme_names() {
        let http = Some("0.0.0.0:8080".parse().expect("an address"));
        let addresses = Addresses { http, ..Addresses::default() };
        assert_eq!(page_link(&Config::default(), &addresses).as_deref(), Some("http://localhost:8080/?roomID=1001"));
    }

    #[test]
    fn a_socket_of_one_address_is_reached_by_that_address() {
        for (addr, expected) in [
            ("127.0.0.1:1", "localhost:1"),
            ("[::]:2", "localhost:2"),
            ("192.0.2.1:3", "192.0.2.1:3"),
            ("[::1]:4", "[::1]:4"),
        ] {
            assert_eq!(local_place(addr.parse().expect("an address")), expected);
        }
    }

    #[test]
    fn names_are_escaped_in_urls() {
        assert_eq!(in_url("a b&c=中"), "a%20b%26c%3D%E4%B8%AD");
    }
}
