//! What signaling must know of a client's offer to hold privileges against it: of each m-line the medium, the mid and the
//! direction. Everything else in a session description is media's matter, and media judges whether it is one.

use media::Kind;

/// M-lines looked at; media refuses offers with more.
const LINES_MAX: usize = 64;

/// One m-line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MediaLine {
    /// `None` for data channels and what else there is.
    pub kind: Option<Kind>,
    /// Empty if it has none.
    pub mid: String,
    /// The client means to send on it.
    pub sends: bool,
    /// The client means to receive on it.
    pub receives: bool,
}

/// The m-lines of an offer, in order.
pub fn media_lines(sdp: &str) -> Vec<MediaLine> {
    let mut lines: Vec<MediaLine> = Vec::new();
    // RFC 8866 §6.7: without a direction, both; one before the first m-line is the default of all.
    let (mut sends, mut receives) = (true, true);
    for line in sdp.lines() {
        if let Some(media) = line.strip_prefix("m=") {
            if lines.len() == LINES_MAX {
                break;
            }
            let kind = match media.split(' ').next() {
                Some("audio") => Some(Kind::Audio),
                Some("video") => Some(Kind::Video),
                _ => None,
            };
            lines.push(MediaLine { kind, mid: String::new(), sends, receives });
            continue;
        }
        let direction = match line.trim_end() {
            "a=sendrecv" => Some((true, true)),
            "a=sendonly" => Some((true, false)),
            "a=recvonly" => Some((false, true)),
            "a=inactive" => Some((false, false)),
            _ => None,
        };
        match (lines.last_mut(), direction, line.strip_prefix("a=mid:")) {
            (Some(last), Some((s, r)), _) => (last.sends, last.receives) = (s, r),
            (None, Some((s, r)), _) => (sends, receives) = (s, r),
            (Some(last), None, Some(mid)) => last.mid = mid.trim_end().to_owned(),
            _ => {}
        }
    }
    lines
}

/// The value of the first `a=ice-ufrag`, of an offer or of a trickled fragment.
pub fn ice_ufrag(sdp: &str) -> Option<&str> {
    sdp.lines().find_map(|line| line.strip_prefix("a=ice-ufrag:")).map(str::trim_end)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn media_mid_and_direction_are_found_whatever_the_line_ends() {
        for end in ["\r\n", "\n"] {
            let sdp =
                ["v=0", "a=recvonly", "m=audio 9 UDP/TLS/RTP/SAVPF 111", "a=ice-ufrag:ab", "a=mid:0", "a=sendonly"]
                    .into_iter()
                    .chain(["m=video 9 UDP/TLS/RTP/SAVPF 96", "a=mid:1", "m=application 9 x", "a=mid:2", "a=inactive"])
                    .flat_map(|line| [line, end])
                    .collect::<String>();
            let lines = media_lines(&sdp);
            let of = |i: usize| (lines[i].kind, lines[i].mid.as_str(), lines[i].sends, lines[i].receives);
            assert_eq!(of(0), (Some(Kind::Audio), "0", true, false));
            assert_eq!(of(1), (Some(Kind::Video), "1", false, true), "the session's direction is the default");
            assert_eq!(of(2), (None, "2", false, false));
            assert_eq!(ice_ufrag(&sdp), Some("ab"));
        }
    }

    #[test]
    fn only_64_m_lines_are_looked_at() {
        assert_eq!(media_lines(&"m=audio 9 x 0\n".repeat(LINES_MAX)).len(), LINES_MAX);
        assert_eq!(media_lines(&"m=audio 9 x 0\n".repeat(LINES_MAX + 1)).len(), LINES_MAX);
    }
}
