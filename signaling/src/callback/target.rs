//! Where callbacks go: the URL, and which addresses it may lead to.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use axum::http::Uri;

/// Bytes of a callback URL.
pub const URL_BYTES_MAX: usize = 2048;

/// A callback URL that has been read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Url {
    pub tls: bool,
    /// A name or an address, without brackets.
    pub host: String,
    pub port: u16,
    /// For the `Host` header, as it was written.
    pub authority: String,
    /// Path and query.
    pub path: String,
}

/// Why a callback URL is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UrlError {
    #[error("a callback URL looks like https://example.com/path and has at most {URL_BYTES_MAX} bytes")]
    Form,
    #[error("callbacks to loopback, link-local and private addresses have to be allowed with callback_private")]
    Private,
}

impl Url {
    /// Reads a URL. With `private` it may name an address of this machine or its network. Names are looked at when they are
    /// resolved, see [`is_public`].
    pub fn read(text: &str, private: bool) -> Result<Url, UrlError> {
        if text.len() > URL_BYTES_MAX {
            return Err(UrlError::Form);
        }
        let uri: Uri = text.parse().map_err(|_| UrlError::Form)?;
        let tls = match uri.scheme_str() {
            Some("http") => false,
            Some("https") => true,
            _ => return Err(UrlError::Form),
        };
        let authority = uri.authority().ok_or(UrlError::Form)?;
        let host = authority.host().trim_start_matches('[').trim_end_matches(']').to_owned();
        // What stands before an @ is a password, and would stand in logs.
        if host.is_empty() || authority.as_str().contains('@') {
            return Err(UrlError::Form);
        }
        if !private && host.parse::<IpAddr>().is_ok_and(|ip| !is_public(ip)) {
            return Err(UrlError::Private);
        }
        let path = uri.path_and_query().map_or("/", |path| path.as_str()).to_owned();
        let port = authority.port_u16().unwrap_or(if tls { 443 } else { 80 });
        Ok(Url { tls, host, port, authority: authority.to_string(), path })
    }
}

/// Whether this is an address of the open internet: not of this machine, not of its networks, and not a way to write such
/// an address in another form (IPv4 within IPv6).
pub fn is_public(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => is_public_v4(ip),
        IpAddr::V6(ip) => is_public_v6(ip),
    }
}

fn is_public_v4(ip: Ipv4Addr) -> bool {
    let [a, b, c, _] = ip.octets();
    let special = ip.is_loopback()
        || ip.is_private()
        || ip.is_link_local()
        || ip.is_multicast()
        || ip.is_broadcast()
        || ip.is_documentation()
        // "This network" (RFC 791), carrier-grade NAT (RFC 6598), IETF assignments (RFC 6890), benchmarks (RFC 2544),
        // reserved (RFC 1112).
        || a == 0
        || (a == 100 && (64..128).contains(&b))
        || (a == 192 && b == 0 && c == 0)
        || (a == 198 && (18..20).contains(&b))
        || a >= 240;
    !special
}

fn is_public_v6(ip: Ipv6Addr) -> bool {
    let parts = ip.segments();
    let embedded = |high: u16, low: u16| {
        let [a, b] = high.to_be_bytes();
        let [c, d] = low.to_be_bytes();
        is_public_v4(Ipv4Addr::new(a, b, c, d))
    };
    if let Some(ip) = ip.to_ipv4_mapped() {
        return is_public_v4(ip);
    }
    match parts {
        // NAT64 (RFC 6052) and 6to4 (RFC 3056) lead to the IPv4 address within.
        [0x64, 0xff9b, 0, 0, 0, 0, high, low] => embedded(high, low),
        [0x2002, high, low, ..] => embedded(high, low),
        // Teredo (RFC 4380) and documentation (RFC 3849).
        [0x2001, 0 | 0xdb8, ..] => false,
        // Global unicast is 2000::/3 (RFC 4291 §2.4); loopback, link-local, private and multicast are outside of it.
        [first, ..] => first & 0xe000 == 0x2000,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_addresses_of_the_open_internet_are_public() {
        for ip in
            ["8.8.8.8", "93.184.216.34", "2606:4700::1111", "64:ff9b::808:808", "2002:808:808::1", "::ffff:8.8.8.8"]
        {
            assert!(is_public(ip.parse().unwrap()), "{ip}");
        }
        for ip in [
            "127.0.0.1",
            "127.255.0.1",
            "0.0.0.0",
            "0.1.2.3",
            "10.0.0.1",
            "172.16.0.1",
            "172.31.255.255",
            "192.168.1.1",
            "169.254.169.254",
            "100.64.0.1",
            "192.0.0.1",
            "198.18.0.1",
            "224.0.0.1",
            "255.255.255.255",
            "240.0.0.1",
            "::1",
            "::",
            "fe80::1",
            "fc00::1",
            "fd12:3456::1",
            "ff02::1",
            "::ffff:127.0.0.1",
            "::ffff:10.0.0.1",
            "::127.0.0.1",
            "64:ff9b::7f00:1",
            "2002:7f00:1::",
            "2001:0:1::1",
            "2001:db8::1",
        ] {
            assert!(!is_public(ip.parse().unwrap()), "{ip}");
        }
    }

    #[test]
    fn urls_are_read_or_refused() {
        let url = Url::read("https://example.com/hook?a=1", false).unwrap();
        assert_eq!((url.tls, url.host.as_str(), url.port, url.path.as_str()), (true, "example.com", 443, "/hook?a=1"));
        let url = Url::read("http://[2606:4700::1111]:8080", false).unwrap();
        assert_eq!((url.tls, url.host.as_str(), url.port, url.path.as_str()), (false, "2606:4700::1111", 8080, "/"));
        for bad in [
            "",
            "example.com",
            "/path",
            "ftp://example.com/",
            "http:///x",
            "https://user:pw@example.com/",
            "http://a b/",
        ] {
            assert_eq!(Url::read(bad, true), Err(UrlError::Form), "{bad:?}");
        }
        for private in ["http://127.0.0.1/", "http://[::1]:80/", "http://10.1.2.3/x", "https://[::ffff:10.0.0.1]/"] {
            assert_eq!(Url::read(private, false), Err(UrlError::Private), "{private}");
            assert!(Url::read(private, true).is_ok(), "{private}");
        }
    }

    #[test]
    fn a_url_of_2048_bytes_is_read_and_a_byte_more_is_not() {
        let of = |len: usize| format!("http://example.com/{}", "x".repeat(len - 19));
        assert!(Url::read(&of(URL_BYTES_MAX), false).is_ok());
        assert_eq!(Url::read(&of(URL_BYTES_MAX + 1), false), Err(UrlError::Form));
    }
}
