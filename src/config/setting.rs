//! The kinds of value that a setting may have: how each is read from text, checked and written back.
//!
//! A value comes from the file (where it has a TOML type) or from the environment or the command line (where it is text
//! only). Both end in [`Setting::from_text`], so a value is allowed or refused in one place, in one set of words.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    str::FromStr,
};

use media::codec::Codec;
use signaling::{PlayPolicy, PrivateMapKeyPolicy, RightsEnd, RoomName};

/// What a value looks like in a TOML file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// In quotes.
    Text,
    /// A whole number without quotes.
    Number,
    /// `true` or `false`.
    Flag,
    /// Texts in quotes, separated by commas, in brackets. As text: separated by commas.
    List,
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Shape::Text => "a text in quotes",
            Shape::Number => "a whole number without quotes",
            Shape::Flag => "true or false",
            Shape::List => "a list of texts like [\"a\", \"b\"]",
        })
    }
}

/// One kind of value.
pub trait Setting: Sized {
    const SHAPE: Shape;

    /// Reads and checks. The error says what would have been allowed.
    fn from_text(text: &str) -> Result<Self, String>;

    /// The value as text; `from_text` of it gives the same value.
    fn to_text(&self) -> String;

    /// The value for people to look at, without what nobody should see.
    fn to_shown(&self) -> String {
        self.to_text()
    }
}

/// Writes a value as TOML, as its shape wants it.
pub fn to_toml(shape: Shape, text: &str) -> String {
    let quoted = |text: &str| toml::Value::String(text.to_owned()).to_string();
    match shape {
        Shape::Text => quoted(text),
        Shape::Number | Shape::Flag => text.to_owned(),
        Shape::List => {
            let items: Vec<String> = list_items(text).map(quoted).collect();
            format!("[{}]", items.join(", "))
        }
    }
}

fn list_items(text: &str) -> impl Iterator<Item = &str> {
    text.split(',').map(str::trim).filter(|item| !item.is_empty())
}

impl Setting for bool {
    const SHAPE: Shape = Shape::Flag;

    fn from_text(text: &str) -> Result<Self, String> {
        text.parse().map_err(|_| format!("`{text}` is neither true nor false"))
    }

    fn to_text(&self) -> String {
        self.to_string()
    }
}

impl Setting for String {
    const SHAPE: Shape = Shape::Text;

    fn from_text(text: &str) -> Result<Self, String> {
        match text.chars().any(char::is_control) {
            true => Err("control characters are not allowed".to_owned()),
            false => Ok(text.to_owned()),
        }
    }

    fn to_text(&self) -> String {
        self.clone()
    }
}

impl Setting for IpAddr {
    const SHAPE: Shape = Shape::Text;

    fn from_text(text: &str) -> Result<Self, String> {
        text.parse().map_err(|_| format!("`{text}` is not an IP address like 192.0.2.1 or 2001:db8::1"))
    }

    fn to_text(&self) -> String {
        self.to_string()
    }
}

impl Setting for Codec {
    const SHAPE: Shape = Shape::Text;

    fn from_text(text: &str) -> Result<Self, String> {
        Codec::from_name(text)
            .filter(|codec| codec.kind() == media::Kind::Video)
            .ok_or_else(|| format!("`{text}` is not one of H264, VP8, VP9, AV1, H265"))
    }

    fn to_text(&self) -> String {
        self.name().to_owned()
    }
}

impl Setting for PrivateMapKeyPolicy {
    const SHAPE: Shape = Shape::Text;

    fn from_text(text: &str) -> Result<Self, String> {
        choice(text, [PrivateMapKeyPolicy::Optional, PrivateMapKeyPolicy::Required])
    }

    fn to_text(&self) -> String {
        match self {
            PrivateMapKeyPolicy::Optional => "optional",
            PrivateMapKeyPolicy::Required => "required",
        }
        .to_owned()
    }
}

impl Setting for PlayPolicy {
    const SHAPE: Shape = Shape::Text;

    fn from_text(text: &str) -> Result<Self, String> {
        choice(text, [PlayPolicy::Open, PlayPolicy::Ticket, PlayPolicy::Signed])
    }

    fn to_text(&self) -> String {
        match self {
            PlayPolicy::Open => "open",
            PlayPolicy::Ticket => "ticket",
            PlayPolicy::Signed => "signed",
        }
        .to_owned()
    }
}

impl Setting for RightsEnd {
    const SHAPE: Shape = Shape::Text;

    fn from_text(text: &str) -> Result<Self, String> {
        choice(text, [RightsEnd::Key, RightsEnd::Ticket, RightsEnd::Never])
    }

    fn to_text(&self) -> String {
        match self {
            RightsEnd::Key => "key",
            RightsEnd::Ticket => "ticket",
            RightsEnd::Never => "never",
        }
        .to_owned()
    }
}

impl Setting for RoomName {
    const SHAPE: Shape = Shape::Text;

    fn from_text(text: &str) -> Result<Self, String> {
        RoomName::from_text(text).ok_or_else(|| format!("`{text}` is not a room's number or name"))
    }

    fn to_text(&self) -> String {
        self.to_string()
    }
}

/// One of a few words.
fn choice<T: Setting, const N: usize>(text: &str, allowed: [T; N]) -> Result<T, String> {
    let words = allowed.each_ref().map(T::to_text).join(", ");
    allowed.into_iter().find(|value| value.to_text() == text).ok_or_else(|| format!("`{text}` is not one of {words}"))
}

/// A whole number from `MIN` to `MAX`, both allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Whole<const MIN: u64, const MAX: u64>(u64);

impl<const MIN: u64, const MAX: u64> Whole<MIN, MAX> {
    pub fn get(self) -> u64 {
        self.0
    }
}

impl<const MIN: u64, const MAX: u64> Setting for Whole<MIN, MAX> {
    const SHAPE: Shape = Shape::Number;

    fn from_text(text: &str) -> Result<Self, String> {
        match u64::from_str(text) {
            Ok(value) if (MIN..=MAX).contains(&value) => Ok(Whole(value)),
            _ => Err(format!("`{text}` is not a whole number from {MIN} to {MAX}")),
        }
    }

    fn to_text(&self) -> String {
        self.0.to_string()
    }
}

/// A text that the program must never show: its `Debug` hides it.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    pub fn new(text: String) -> Self {
        Secret(text)
    }

    pub fn expose(&self) -> &str {
        &self.0
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// A key in PEM, which has several lines. It does not show itself.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Pem(String);

impl Pem {
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Pem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_empty() { "none" } else { "hidden" })
    }
}

impl Setting for Pem {
    const SHAPE: Shape = Shape::Text;

    fn from_text(text: &str) -> Result<Self, String> {
        match text.is_empty() || text.trim_start().starts_with("-----BEGIN") {
            true => Ok(Pem(text.to_owned())),
            false => Err("must be the text of a PEM file, from -----BEGIN on".to_owned()),
        }
    }

    fn to_text(&self) -> String {
        self.0.clone()
    }

    fn to_shown(&self) -> String {
        if self.0.is_empty() { String::new() } else { "hidden".to_owned() }
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_empty() { "none" } else { "hidden" })
    }
}

impl Setting for Secret {
    const SHAPE: Shape = Shape::Text;

    fn from_text(text: &str) -> Result<Self, String> {
        String::from_text(text).map(Secret)
    }

    fn to_text(&self) -> String {
        self.0.clone()
    }

    fn to_shown(&self) -> String {
        if self.0.is_empty() { String::new() } else { "hidden".to_owned() }
    }
}

/// A file or folder; empty text means none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PathSetting(Option<PathBuf>);

impl PathSetting {
    pub fn as_path(&self) -> Option<&Path> {
        self.0.as_deref()
    }
}

impl From<PathBuf> for PathSetting {
    fn from(path: PathBuf) -> Self {
        PathSetting(Some(path))
    }
}

impl Setting for PathSetting {
    const SHAPE: Shape = Shape::Text;

    fn from_text(text: &str) -> Result<Self, String> {
        match text.contains('\0') {
            true => Err("a path has no NUL character".to_owned()),
            false => Ok(PathSetting((!text.is_empty()).then(|| PathBuf::from(text)))),
        }
    }

    fn to_text(&self) -> String {
        self.0.as_ref().map_or_else(String::new, |path| path.display().to_string())
    }
}

/// Where a service listens, or that it does not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Listen {
    Off,
    At(SocketAddr),
}

impl Listen {
    pub fn addr(self) -> Option<SocketAddr> {
        match self {
            Listen::Off => None,
            Listen::At(addr) => Some(addr),
        }
    }
}

impl Setting for Listen {
    const SHAPE: Shape = Shape::Text;

    fn from_text(text: &str) -> Result<Self, String> {
        if text == "off" {
            return Ok(Listen::Off);
        }
        let port_only = || text.strip_prefix(':').and_then(|port| port.parse::<u16>().ok());
        let addr = text.parse().ok().or_else(|| port_only().map(|port| (Ipv4Addr::UNSPECIFIED, port).into()));
        addr.map(Listen::At).ok_or_else(|| {
            format!("`{text}` is not an address with a port like 0.0.0.0:8080, [::]:8080 or :8080, nor the word off")
        })
    }

    fn to_text(&self) -> String {
        match self {
            Listen::Off => "off".to_owned(),
            Listen::At(addr) => addr.to_string(),
        }
    }
}

/// Several values of one kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct List<T>(pub Vec<T>);

impl<T: Setting> Setting for List<T> {
    const SHAPE: Shape = Shape::List;

    fn from_text(text: &str) -> Result<Self, String> {
        list_items(text).map(T::from_text).collect::<Result<_, _>>().map(List)
    }

    fn to_text(&self) -> String {
        let items: Vec<String> = self.0.iter().map(T::to_text).collect();
        items.join(", ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_whole_number_is_allowed_at_its_bounds_and_refused_beyond_them() {
        for (text, allowed) in [("1", true), ("10", true), ("0", false), ("11", false), ("-1", false), ("", false)] {
            assert_eq!(Whole::<1, 10>::from_text(text).is_ok(), allowed, "{text}");
        }
    }

    #[test]
    fn a_listening_place_is_an_address_a_port_or_off() {
        let at = |text: &str| Listen::At(text.parse().unwrap());
        for (text, expected) in [
            ("off", Some(Listen::Off)),
            (":8080", Some(at("0.0.0.0:8080"))),
            ("127.0.0.1:0", Some(at("127.0.0.1:0"))),
            ("[::]:443", Some(at("[::]:443"))),
            ("8080", None),
            (":65536", None),
            ("localhost", None),
        ] {
            assert_eq!(Listen::from_text(text).ok(), expected, "{text}");
        }
    }

    #[test]
    fn a_list_is_read_with_or_without_blanks_and_written_as_toml() {
        let list = List::<Codec>::from_text("vp8,  H264,").unwrap();
        assert_eq!(list.0, [Codec::Vp8, Codec::H264]);
        assert_eq!(to_toml(Shape::List, &list.to_text()), r#"["VP8", "H264"]"#);
        assert!(List::<Codec>::from_text("opus").is_err());
        assert!(List::<IpAddr>::from_text("").unwrap().0.is_empty());
    }

    #[test]
    fn a_text_is_quoted_for_toml() {
        assert_eq!(to_toml(Shape::Text, r"a\b"), toml::Value::String(r"a\b".to_owned()).to_string());
        assert!(String::from_text("a\nb").is_err());
    }

    #[test]
    fn a_secret_does_not_show_itself() {
        let secret = Secret::from_text("0123").unwrap();
        assert_eq!(format!("{secret:?}"), "hidden");
        assert_eq!(secret.expose(), "0123");
    }
}
