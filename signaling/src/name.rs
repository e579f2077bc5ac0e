//! The names that people give: of users, of rooms, of streams. Each is checked once, where it comes in.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Bytes of a userID, from the ticket format's practice.
pub const USER_ID_BYTES_MAX: usize = 128;
/// Bytes of a room's name.
pub const ROOM_NAME_BYTES_MAX: usize = 64;
/// Bytes of the name that a member shows to others.
pub const DISPLAY_NAME_BYTES_MAX: usize = 128;
/// The greatest room number: the vendor's clients send 1..=4294967294.
const ROOM_NUMBER_MAX: u32 = u32::MAX - 1;

/// Whether this can be a userID: 1 to 128 bytes without control characters. A line break in it would let one signature fit
/// two different tickets, since the signed text is made of lines.
pub fn is_user_id(text: &str) -> bool {
    !text.is_empty() && text.len() <= USER_ID_BYTES_MAX && !has_control(text)
}

/// No byte below 0x20, no 0x7f.
pub fn has_control(text: &str) -> bool {
    text.bytes().any(|b| b < 0x20 || b == 0x7f)
}

/// A decimal number without sign, leading zero or anything else that a lax reader would take.
pub fn strict_decimal(text: &str) -> Option<u64> {
    let digits = !text.is_empty() && text.len() <= 20 && text.bytes().all(|b| b.is_ascii_digit());
    if !digits || (text.len() > 1 && text.starts_with('0')) {
        return None;
    }
    text.parse().ok()
}

/// A room's name: a number as the older clients use it, or text. The text `"1001"` and the number 1001 are the same room,
/// since a URL cannot tell them apart.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum RoomName {
    /// 1..=4294967294.
    Number(u32),
    /// 1 to 64 bytes without control characters, never a number of the range above.
    Text(String),
}

impl RoomName {
    /// `None` if it is empty, too long or has control characters.
    pub fn from_text(text: &str) -> Option<RoomName> {
        if let Some(number) = strict_decimal(text).and_then(RoomName::from_number) {
            return Some(number);
        }
        let fits = !text.is_empty() && text.len() <= ROOM_NAME_BYTES_MAX && !has_control(text);
        fits.then(|| RoomName::Text(text.to_owned()))
    }

    /// `None` outside 1..=4294967294.
    pub fn from_number(number: u64) -> Option<RoomName> {
        let number = u32::try_from(number).ok()?;
        (1..=ROOM_NUMBER_MAX).contains(&number).then_some(RoomName::Number(number))
    }
}

impl fmt::Display for RoomName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RoomName::Number(n) => n.fmt(f),
            RoomName::Text(t) => f.write_str(t),
        }
    }
}

impl Serialize for RoomName {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            RoomName::Number(n) => serializer.serialize_u32(*n),
            RoomName::Text(t) => serializer.serialize_str(t),
        }
    }
}

impl<'de> Deserialize<'de> for RoomName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Wire {
            Number(u64),
            Text(String),
        }
        let name = match Wire::deserialize(deserializer)? {
            Wire::Number(n) => RoomName::from_number(n),
            Wire::Text(t) => RoomName::from_text(&t),
        };
        name.ok_or_else(|| serde::de::Error::custom("not a room name"))
    }
}

/// Which of a member's streams: the camera and microphone, or the screen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum StreamName {
    Main,
    Aux,
}

impl StreamName {
    pub const ALL: [StreamName; 2] = [StreamName::Main, StreamName::Aux];

    pub fn as_str(self) -> &'static str {
        match self {
            StreamName::Main => "main",
            StreamName::Aux => "aux",
        }
    }

    pub fn from_text(text: &str) -> Option<StreamName> {
        StreamName::ALL.into_iter().find(|s| s.as_str() == text)
    }
}

impl fmt::Display for StreamName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A stream as URLs name it: `{sdkAppID}_{roomID}_{userID}_{main or aux}`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamPath {
    pub sdk_app_id: u32,
    pub room: RoomName,
    pub user: String,
    pub stream: StreamName,
}

impl StreamPath {
    /// Reads a stream's full name.
    ///
    /// Rooms and users may contain `_` themselves. With `user` the split is where that user's name begins; without, the
    /// room ends at its first `_`. There is one reading for each pair of arguments, so a signature over the whole name can
    /// not be used for another room.
    pub fn parse(text: &str, user: Option<&str>) -> Option<StreamPath> {
        let (app, rest) = text.split_once('_')?;
        let sdk_app_id = u32::try_from(strict_decimal(app)?).ok()?;
        let (rest, stream) = rest.rsplit_once('_')?;
        let stream = StreamName::from_text(stream)?;
        let (room, user) = match user {
            Some(user) => (rest.strip_suffix(user)?.strip_suffix('_')?, user),
            None => rest.split_once('_')?,
        };
        let room = RoomName::from_text(room)?;
        is_user_id(user).then(|| StreamPath { sdk_app_id, room, user: user.to_owned(), stream })
    }
}

impl fmt::Display for StreamPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}_{}_{}_{}", self.sdk_app_id, self.room, self.user, self.stream)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_in_text_is_the_number() {
        assert_eq!(RoomName::from_text("1001"), Some(RoomName::Number(1001)));
        assert_eq!(RoomName::from_text("4294967294"), Some(RoomName::Number(u32::MAX - 1)));
        assert_eq!(RoomName::from_text("4294967295"), Some(RoomName::Text("4294967295".into())));
        assert_eq!(RoomName::from_text("007"), Some(RoomName::Text("007".into())));
        assert_eq!(RoomName::from_number(0), None);
        assert_eq!(RoomName::from_text(&"r".repeat(ROOM_NAME_BYTES_MAX)).map(|r| r.to_string().len()), Some(64));
        assert_eq!(RoomName::from_text(&"r".repeat(ROOM_NAME_BYTES_MAX + 1)), None);
        assert_eq!(RoomName::from_text("a\nb"), None);
    }

    #[test]
    fn a_user_id_has_no_control_bytes_and_at_most_128() {
        assert!(is_user_id(&"u".repeat(USER_ID_BYTES_MAX)));
        assert!(!is_user_id(&"u".repeat(USER_ID_BYTES_MAX + 1)));
        assert!(!is_user_id(""));
        assert!(!is_user_id("a\nTLS.sdk_appid:1"));
        assert!(!is_user_id("a\u{7f}"));
        assert!(is_user_id("李雷"));
    }

    #[test]
    fn strict_decimal_takes_only_canonical_digits() {
        assert_eq!(strict_decimal("0"), Some(0));
        assert_eq!(strict_decimal("1544000000"), Some(1_544_000_000));
        for bad in ["", "01", "+1", "-1", "1 ", " 1", "1.0", "1e3", "0x1", "١", "99999999999999999999999"] {
            assert_eq!(strict_decimal(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn a_stream_name_is_split_in_one_way() {
        let plain = StreamPath::parse("1400000001_1001_alice_main", None).unwrap();
        assert_eq!(plain.to_string(), "1400000001_1001_alice_main");
        let first = StreamPath::parse("7_a_b_c_aux", None).unwrap();
        assert_eq!((first.room.to_string().as_str(), first.user.as_str()), ("a", "b_c"));
        let told = StreamPath::parse("7_a_b_c_aux", Some("c")).unwrap();
        assert_eq!((told.room.to_string().as_str(), told.user.as_str()), ("a_b", "c"));
        assert_eq!(told.stream, StreamName::Aux);
        for bad in ["", "7", "7_a_main", "x_a_b_main", "7_a_b_third", "7__b_main", "7_a__main", "07_a_b_main"] {
            assert_eq!(StreamPath::parse(bad, None), None, "{bad:?}");
        }
        assert_eq!(StreamPath::parse("7_a_b_main", Some("x")), None);
    }
}
