//! The push and play URLs that room services hand out. They lead to the host that the client asked.

use std::time::{SystemTime, UNIX_EPOCH};

use axum::http::{HeaderMap, header};

use super::{Weapp, call::Why};
use crate::{
    config::{AppConfig, PlayPolicy, ReachedAt},
    hub::{
        Hub,
        push_name::{SignedName, main_stream},
    },
    name::RoomName,
};

/// The port that an `rtmp://` URL need not name.
const RTMP_PORT: u16 = 1935;

/// Where a client reached us, as URLs say it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Urls {
    /// `http://host:port`.
    http: String,
    /// `rtmp://host`, with the port if it is not the usual one.
    rtmp: String,
}

impl Urls {
    /// `authority` is that of the request's own URI, for clients that send no `Host`.
    pub fn new(hub: &Hub, headers: &HeaderMap, authority: Option<&str>, reached_at: Option<ReachedAt>) -> Urls {
        let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
        let host = header(header::HOST.as_str()).or(authority).unwrap_or("localhost");
        let secure = reached_at.is_some_and(|at| at.over_tls) || header("x-forwarded-proto") == Some("https");
        Urls::of(host, secure, hub.config().rtmp_port)
    }

    /// `rtmp://host`, with the port if it is not the usual one.
    pub fn rtmp(&self) -> &str {
        &self.rtmp
    }

    /// `http://host:port` or `https://host:port`.
    pub fn http(&self) -> &str {
        &self.http
    }

    fn of(host: &str, secure: bool, rtmp_port: Option<u16>) -> Urls {
        let name = match host.rsplit_once(':') {
            Some((name, port)) if !port.contains(']') => name,
            _ => host,
        };
        let port = rtmp_port.filter(|port| *port != RTMP_PORT).map(|port| format!(":{port}"));
        Urls {
            http: format!("{}://{host}", if secure { "https" } else { "http" }),
            rtmp: format!("rtmp://{name}{}", port.unwrap_or_default()),
        }
    }

    /// A URL by which a user pushes into a room, and the name in it.
    pub fn push(&self, weapp: &Weapp, app: u32, room: &RoomName, user: &str) -> Result<String, Why> {
        let bizid = bizid(weapp, app);
        let expires_at_s = unix_s() + weapp.config().url_life.as_secs();
        let named = weapp.hub().name_push(&bizid, main_stream(app, room, user), expires_at_s);
        let named = named.map_err(|code| Why::Other(code.into()))?;
        Ok(format!("{}/live/{}?bizid={bizid}&{}", self.rtmp, named.name, signature(&named)))
    }

    /// The RTMP URL of a stream: signed where the app does not let everybody play.
    pub fn play(&self, weapp: &Weapp, app: u32, name: &str) -> String {
        format!("{}/live/{name}{}", self.rtmp, self.query(weapp, app, name))
    }

    /// The same over HTTP-FLV.
    pub fn play_flv(&self, weapp: &Weapp, app: u32, name: &str) -> String {
        format!("{}/live/{name}.flv{}", self.http, self.query(weapp, app, name))
    }

    /// The same as HLS.
    pub fn play_hls(&self, weapp: &Weapp, app: u32, name: &str) -> String {
        format!("{}/live/{name}.m3u8{}", self.http, self.query(weapp, app, name))
    }

    fn query(&self, weapp: &Weapp, app: u32, name: &str) -> String {
        let apps = weapp.hub().apps();
        let open = apps.iter().any(|one| one.sdk_app_id == app && one.play == PlayPolicy::Open);
        if open {
            // With bizid and txSecret in it, live-player would ask the vendor's servers for a nearer address first.
            return String::new();
        }
        let expires_at_s = unix_s() + weapp.config().url_life.as_secs();
        format!("?{}", signature(&weapp.hub().sign_name(app, name, expires_at_s)))
    }
}

fn signature(named: &SignedName) -> String {
    format!("txSecret={}&txTime={}", named.tx_secret, named.tx_time)
}

fn bizid(weapp: &Weapp, app: u32) -> String {
    let apps = weapp.hub().apps();
    apps.iter().find(|one| one.sdk_app_id == app).map_or_else(|| app.to_string(), AppConfig::bizid)
}

/// The stream name of a push URL: what stands between its last `/` and its `?`.
pub fn name_of(push_url: &str) -> &str {
    let path = push_url.split('?').next().unwrap_or_default();
    path.rsplit('/').next().unwrap_or_default()
}

fn unix_s() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_lead_to_the_host_that_was_asked_and_to_the_rtmp_port() {
        for (host, secure, port, http, rtmp) in [
            ("a.example", true, Some(1935), "https://a.example", "rtmp://a.example"),
            ("a.example:8080", false, Some(2935), "http://a.example:8080", "rtmp://a.example:2935"),
            ("[::1]:8080", false, Some(1935), "http://[::1]:8080", "rtmp://[::1]"),
            ("[::1]", false, None, "http://[::1]", "rtmp://[::1]"),
        ] {
            let urls = Urls::of(host, secure, port);
            assert_eq!((urls.http.as_str(), urls.rtmp.as_str()), (http, rtmp), "{host}");
        }
    }

    #[test]
    fn a_push_urls_name_is_found_with_and_without_a_query() {
        assert_eq!(name_of("rtmp://h/live/8888_alice_0001?txSecret=a/b"), "8888_alice_0001");
        assert_eq!(name_of("rtmp://h/live/8888_alice_0001"), "8888_alice_0001");
        assert_eq!(name_of(""), "");
    }
}
