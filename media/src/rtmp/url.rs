//! Where a stream is: the parts of an RTMP URL as clients cut them, put together again.

use std::fmt;

/// Bytes of app, name and query together. A name with two tickets has under 2 KiB.
pub const PATH_BYTES_MAX: usize = 4096;
/// Where RTMP listens if the URL does not say.
pub const PORT_DEFAULT: u16 = 1935;
/// And RTMPS.
pub const TLS_PORT_DEFAULT: u16 = 443;

/// Names a stream as the client meant it: `rtmp://host/{app}/{name}?{query}`.
#[derive(Clone, PartialEq, Eq)]
pub struct StreamPath {
    /// The first segment of the path.
    pub app: String,
    /// All further segments, without query. Empty if there are none.
    pub name: String,
    /// Of the name, of the app, or of `tcUrl`, the first that is not empty; without `?`, not decoded. Carries tickets.
    pub query: String,
    /// The name or address that `tcUrl` says the server has; empty if it says none.
    pub host: String,
}

impl StreamPath {
    /// Puts together what `connect` gave as `app` and `tcUrl` and `publish` or `play` as the name.
    ///
    /// Clients cut a URL where they like: `rtmp://host/push/1001?k=v` arrives as app `push`, name `1001?k=v`; as app
    /// `push/1001?k=v` with an empty name; or with the query on the app alone. `None` if it is longer than
    /// [`PATH_BYTES_MAX`].
    pub fn from_parts(app: &str, tc_url: &str, name: &str) -> Option<StreamPath> {
        if app.len() + name.len() > PATH_BYTES_MAX {
            return None;
        }
        let (app, app_query) = split_query(app);
        let (name, name_query) = split_query(name);
        let (_, url_query) = split_query(tc_url);
        let query = [name_query, app_query, url_query].into_iter().find(|query| !query.is_empty()).unwrap_or("");
        if query.len() > PATH_BYTES_MAX {
            return None;
        }
        let mut segments = app.split('/').chain(name.split('/')).filter(|segment| !segment.is_empty());
        let app = segments.next().unwrap_or("").to_owned();
        let name = segments.collect::<Vec<_>>().join("/");
        Some(StreamPath { app, name, query: query.to_owned(), host: host_of(tc_url).to_owned() })
    }
}

/// Without the query, which carries tickets.
impl fmt::Debug for StreamPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StreamPath").field("app", &self.app).field("name", &self.name).finish_non_exhaustive()
    }
}

/// An `rtmp://` or `rtmps://` URL as a client needs it.
#[derive(Clone, PartialEq, Eq)]
pub struct RtmpUrl {
    /// Over TLS.
    pub tls: bool,
    /// A name or an address; of an IPv6 address without its brackets.
    pub host: String,
    pub port: u16,
    /// The first segment of the path.
    pub app: String,
    /// All further segments and the query: what `publish` and `play` are given.
    pub name: String,
}

impl RtmpUrl {
    /// `None` if it is not `rtmp://host[:port]/app/name[?query]`, or the same with `rtmps`.
    pub fn parse(url: &str) -> Option<RtmpUrl> {
        let (scheme, rest) = url.split_once("://")?;
        let tls = match scheme {
            _ if scheme.eq_ignore_ascii_case("rtmp") => false,
            _ if scheme.eq_ignore_ascii_case("rtmps") => true,
            _ => return None,
        };
        let (authority, path) = rest.split_once('/')?;
        let (host, port) = match authority.strip_prefix('[') {
            Some(rest) => rest.split_once(']').map(|(host, port)| (host, port.strip_prefix(':')))?,
            None => authority.split_once(':').map_or((authority, None), |(host, port)| (host, Some(port))),
        };
        let port = match port {
            Some(port) => port.parse().ok()?,
            None if tls => TLS_PORT_DEFAULT,
            None => PORT_DEFAULT,
        };
        let (app, name) = path.split_once('/')?;
        if host.is_empty() || app.is_empty() || name.is_empty() || app.contains('?') {
            return None;
        }
        Some(RtmpUrl { tls, host: host.to_owned(), port, app: app.to_owned(), name: name.to_owned() })
    }

    /// What `connect` carries as `tcUrl`.
    pub fn tc_url(&self) -> String {
        let (open, close) = if self.host.contains(':') { ("[", "]") } else { ("", "") };
        let scheme = if self.tls { "rtmps" } else { "rtmp" };
        format!("{scheme}://{open}{}{close}:{}/{}", self.host, self.port, self.app)
    }
}

/// Without the query, which carries tickets.
impl fmt::Debug for RtmpUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.tc_url(), split_query(&self.name).0)
    }
}

/// `host` of `scheme://host[:port]/…`, of an IPv6 address without its brackets.
fn host_of(url: &str) -> &str {
    let rest = url.split_once("://").map_or("", |(_, rest)| rest);
    let authority = rest.split(['/', '?']).next().unwrap_or("");
    match authority.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or(""),
        None => authority.split(':').next().unwrap_or(""),
    }
}

fn split_query(text: &str) -> (&str, &str) {
    text.split_once('?').unwrap_or((text, ""))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(app: &str, tc_url: &str, name: &str) -> (String, String, String) {
        let path = StreamPath::from_parts(app, tc_url, name).unwrap();
        (path.app, path.name, path.query)
    }

    fn is(app: &str, name: &str, query: &str) -> (String, String, String) {
        (app.into(), name.into(), query.into())
    }

    #[test]
    fn the_host_is_what_tc_url_says() {
        let host = |tc_url| StreamPath::from_parts("live", tc_url, "s").unwrap().host;
        assert_eq!(host("rtmp://push.example.com:1935/live?a=b/c"), "push.example.com");
        assert_eq!(host("rtmps://[2001:db8::1]:443/live"), "2001:db8::1");
        assert_eq!((host("push.example.com/live"), host("")), (String::new(), String::new()));
    }

    #[test]
    fn every_way_to_cut_a_url_names_the_same_stream() {
        let expected = is("push", "1001", "usersig=a&x=b");
        assert_eq!(path("push", "rtmp://h/push", "1001?usersig=a&x=b"), expected);
        assert_eq!(path("push/1001?usersig=a&x=b", "rtmp://h/push/1001?usersig=a&x=b", ""), expected);
        assert_eq!(path("push?usersig=a&x=b", "rtmp://h/push", "1001"), expected);
        assert_eq!(path("push", "rtmp://h/push?usersig=a&x=b", "1001"), expected);
        assert_eq!(path("push/", "rtmp://h/push", "/1001?usersig=a&x=b"), expected);
    }

    #[test]
    fn the_query_of_the_name_wins_over_that_of_the_app_over_that_of_the_url() {
        assert_eq!(path("live?b=2", "rtmp://h/live?c=3", "s?a=1"), is("live", "s", "a=1"));
        assert_eq!(path("live?b=2", "rtmp://h/live?c=3", "s?"), is("live", "s", "b=2"));
        assert_eq!(path("live", "rtmp://h/live?c=3", "s"), is("live", "s", "c=3"));
    }

    #[test]
    fn missing_parts_are_empty() {
        assert_eq!(path("", "", ""), is("", "", ""));
        assert_eq!(path("live", "", ""), is("live", "", ""));
        assert_eq!(path("a/b", "", "c/d"), is("a", "b/c/d", ""));
    }

    #[test]
    fn a_path_at_the_limit_is_read_and_one_over_it_is_not() {
        let name = "n".repeat(PATH_BYTES_MAX - 4);
        assert!(StreamPath::from_parts("live", "", &name).is_some());
        assert!(StreamPath::from_parts("live", "", &(name + "n")).is_none());
        let query = "q".repeat(PATH_BYTES_MAX);
        assert!(StreamPath::from_parts("live", &format!("?{query}"), "s").is_some());
        assert!(StreamPath::from_parts("live", &format!("?{query}q"), "s").is_none());
    }

    #[test]
    fn a_ticket_does_not_show_in_debug_text() {
        let path = StreamPath::from_parts("live", "", "s?usersig=SECRET").unwrap();
        assert!(!format!("{path:?}").contains("SECRET"));
        let url = RtmpUrl::parse("rtmp://h/live/s?usersig=SECRET").unwrap();
        assert_eq!(format!("{url:?}"), "rtmp://h:1935/live/s");
    }

    #[test]
    fn urls_are_cut_at_the_first_segment() {
        let url = RtmpUrl::parse("rtmp://127.0.0.1:1936/push/1001?a=b/c").unwrap();
        assert_eq!((&*url.host, url.port, &*url.app, &*url.name), ("127.0.0.1", 1936, "push", "1001?a=b/c"));
        let url = RtmpUrl::parse("RTMP://[::1]/live/s").unwrap();
        assert_eq!((&*url.host, url.port, &*url.tc_url()), ("::1", 1935, "rtmp://[::1]:1935/live"));
        let url = RtmpUrl::parse("rtmps://h/live/s?key=SECRET").unwrap();
        assert_eq!((url.tls, url.port, &*url.tc_url()), (true, 443, "rtmps://h:443/live"));
        assert_eq!(format!("{url:?}"), "rtmps://h:443/live/s");
        for bad in [
            "",
            "rtmp",
            "rtmpe://h/a/b",
            "rtmp://",
            "http://h/a/b",
            "rtmp://h/a",
            "rtmp://h:x/a/b",
            "rtmp:///a/b",
            "rtmp://h/a/",
            "rtmp://[::1/a/b",
        ] {
            assert_eq!(RtmpUrl::parse(bad), None, "{bad}");
        }
    }
}
