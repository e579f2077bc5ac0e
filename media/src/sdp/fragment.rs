//! What a client sends beside a description: candidates and ICE credentials alone (RFC 8840 §9). In WHIP and WHEP such a
//! fragment asks for an ICE restart (RFC 9725 §4.3.3), and another one grants it.

use super::{
    LocalSide, SdpError,
    parse::{PWD_CHARS, UFRAG_CHARS, ice_chars},
    write::candidate_lines,
};

/// The ICE user name fragment and password of a fragment.
///
/// # Errors
/// [`SdpError::Malformed`] if one of them is not valid (RFC 8839 §5.4), [`SdpError::NoIceCredentials`] if one is missing.
pub fn read_credentials(fragment: &str) -> Result<(String, String), SdpError> {
    let (mut ufrag, mut pwd) = (None, None);
    for (number, line) in (1..).zip(fragment.lines()) {
        let line = line.trim_end();
        if let Some(value) = line.strip_prefix("a=ice-ufrag:") {
            ufrag = Some(ice_chars(number, value, UFRAG_CHARS, "a=ice-ufrag is not valid")?);
        } else if let Some(value) = line.strip_prefix("a=ice-pwd:") {
            pwd = Some(ice_chars(number, value, PWD_CHARS, "a=ice-pwd is not valid")?);
        }
    }
    ufrag.zip(pwd).ok_or(SdpError::NoIceCredentials { line: 1 })
}

/// Our half of a restarted session: credentials and candidates, for all m-lines.
pub fn write(local: &LocalSide) -> String {
    let (ufrag, pwd) = &local.credentials;
    let mut out = format!("a=ice-lite\r\na=ice-ufrag:{ufrag}\r\na=ice-pwd:{pwd}\r\n");
    for line in candidate_lines(&local.candidates) {
        out.push_str(&line);
        out.push_str("\r\n");
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sdp::Candidate;

    #[test]
    fn credentials_are_read_wherever_they_stand_and_refused_where_they_are_not_valid() {
        // The example of RFC 9725 §4.3.3, with an m-line as RFC 8840 has it.
        let pwd = "P2uYro0UCOQ4zxjKXaWCBui1";
        let fragment = format!("m=audio 9 RTP/AVP 0\r\na=mid:0\r\na=ice-ufrag:ysXw\r\na=ice-pwd:{pwd}\r\n");
        assert_eq!(read_credentials(&fragment), Ok(("ysXw".into(), pwd.into())));
        assert_eq!(read_credentials(&format!("a=ice-pwd:{pwd}\na=ice-ufrag:ysXw\n")), Ok(("ysXw".into(), pwd.into())));
        let code = |fragment: &str| read_credentials(fragment).unwrap_err().code();
        assert_eq!(code(""), "no_ice_credentials");
        assert_eq!(code("a=ice-ufrag:ysXw"), "no_ice_credentials");
        assert_eq!(code(&format!("a=ice-pwd:{pwd}")), "no_ice_credentials");
        for (ufrag, pwd) in [("ysX", pwd), ("ys w", pwd), ("ysXw", "short"), ("ysXw", &"p".repeat(257))] {
            assert_eq!(code(&format!("a=ice-ufrag:{ufrag}\r\na=ice-pwd:{pwd}")), "malformed", "{ufrag} {pwd}");
        }
    }

    #[test]
    fn what_is_written_can_be_read_and_names_every_candidate() {
        let local = LocalSide {
            credentials: ("abcd".into(), "p".repeat(22)),
            fingerprint: String::new(),
            candidates: vec![
                Candidate { addr: "192.0.2.1:3000".parse().unwrap(), tcp: false, priority: 7 },
                Candidate { addr: "[2001:db8::1]:3001".parse().unwrap(), tcp: true, priority: 6 },
            ],
            session_id: 1,
        };
        let fragment = write(&local);
        assert_eq!(read_credentials(&fragment), Ok(local.credentials));
        assert!(fragment.contains("a=candidate:1 1 udp 7 192.0.2.1 3000 typ host\r\n"), "{fragment}");
        assert!(fragment.contains("a=candidate:2 1 tcp 6 2001:db8::1 3001 typ host tcptype passive\r\n"), "{fragment}");
        assert!(fragment.ends_with("a=end-of-candidates\r\n"), "{fragment}");
        assert!(!fragment.contains("fingerprint"), "keys stay as they are");
    }
}
