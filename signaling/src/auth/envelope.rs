//! The wrapping of a ticket: JSON, in a zlib stream, in base64 with `+/=` written as `*-_`.
//!
//! Everything here works on unauthenticated bytes, so every step is bounded: the text, what it inflates to, and the shape of
//! the JSON, which is one flat object.

use std::{collections::BTreeMap, fmt};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress, Status};
use serde::{
    Deserialize,
    de::{Error as _, MapAccess, Visitor},
};

/// Bytes of an encoded ticket. Real ones have 200 to 600.
pub const ENCODED_BYTES_MAX: usize = 2 << 10;
/// Bytes that a ticket may inflate to. Real ones have 200 to 700; zlib could make 2 MiB of 2 KiB.
pub const INFLATED_BYTES_MAX: usize = 4 << 10;

/// One value of a ticket's JSON. Version 1 writes everything as text, version 2 numbers as numbers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Field {
    Text(String),
    /// A number written without sign, fraction or exponent.
    Number(u64),
    /// `null`, `true`, `false`: nothing that a ticket needs, but no reason to refuse one that carries it beside.
    Other,
}

/// A ticket's JSON: its fields by name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Envelope(pub BTreeMap<String, Field>);

impl Envelope {
    /// Unwraps a ticket. `None` for whatever is not exactly one, down to trailing bytes and repeated keys.
    pub fn open(ticket: &str) -> Option<Envelope> {
        let json = inflate(&unwrap_base64(ticket)?)?;
        serde_json::from_slice(&json).ok()
    }

    /// Wraps JSON text as a ticket.
    pub fn seal(json: &[u8]) -> String {
        let mut packed = Vec::with_capacity(json.len() + 64);
        let mut zlib = Compress::new(Compression::default(), true);
        // The room is enough for the worst case of such short input, so that one call finishes it.
        let status = zlib.compress_vec(json, &mut packed, FlushCompress::Finish);
        assert!(matches!(status, Ok(Status::StreamEnd)), "a buffer larger than the input holds its zlib stream");
        let mut text = STANDARD.encode(packed);
        replace(&mut text, [('+', '*'), ('/', '-'), ('=', '_')]);
        text
    }

    pub fn text(&self, name: &str) -> Option<&str> {
        match self.0.get(name) {
            Some(Field::Text(text)) => Some(text),
            _ => None,
        }
    }

    pub fn number(&self, name: &str) -> Option<u64> {
        match self.0.get(name) {
            Some(Field::Number(number)) => Some(*number),
            _ => None,
        }
    }

    pub fn has(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }
}

/// Base64 of the standard alphabet, as inner fields carry it. Strict: canonical padding, no foreign characters.
pub fn base64(text: &str) -> Option<Vec<u8>> {
    STANDARD.decode(text).ok()
}

fn unwrap_base64(ticket: &str) -> Option<Vec<u8>> {
    if ticket.is_empty() || ticket.len() > ENCODED_BYTES_MAX {
        return None;
    }
    // Some generators break the base64 into lines; the vendor's C++ reader strips CR, LF and spaces, and so do we.
    let mut text: String = ticket.chars().filter(|c| !matches!(c, '\r' | '\n' | ' ')).collect();
    replace(&mut text, [('*', '+'), ('-', '/'), ('_', '=')]);
    base64(&text)
}

fn replace(text: &mut String, table: [(char, char); 3]) {
    *text = text.chars().map(|c| table.iter().find(|(from, _)| *from == c).map_or(c, |(_, to)| *to)).collect();
}

fn inflate(packed: &[u8]) -> Option<Vec<u8>> {
    // One byte more than allowed, so that "exactly the limit" and "over it" can be told apart.
    let mut out = Vec::with_capacity(INFLATED_BYTES_MAX + 1);
    let mut zlib = Decompress::new(true);
    let status = zlib.decompress_vec(packed, &mut out, FlushDecompress::Finish).ok()?;
    let whole = status == Status::StreamEnd && zlib.total_in() == packed.len() as u64;
    (whole && out.len() <= INFLATED_BYTES_MAX).then_some(out)
}

impl<'de> Deserialize<'de> for Envelope {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Fields;

        impl<'de> Visitor<'de> for Fields {
            type Value = Envelope;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a flat JSON object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Envelope, A::Error> {
                let mut fields = BTreeMap::new();
                while let Some((name, value)) = map.next_entry::<String, Field>()? {
                    // Readers differ in which of two equal keys they take; a ticket with both means two things.
                    if fields.insert(name, value).is_some() {
                        return Err(A::Error::custom("a key stands twice"));
                    }
                }
                Ok(Envelope(fields))
            }
        }

        deserializer.deserialize_map(Fields)
    }
}

impl<'de> Deserialize<'de> for Field {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Scalar;

        impl Visitor<'_> for Scalar {
            type Value = Field;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("text or a whole number")
            }

            fn visit_str<E>(self, text: &str) -> Result<Field, E> {
                Ok(Field::Text(text.to_owned()))
            }

            fn visit_u64<E>(self, number: u64) -> Result<Field, E> {
                Ok(Field::Number(number))
            }

            fn visit_bool<E>(self, _: bool) -> Result<Field, E> {
                Ok(Field::Other)
            }

            fn visit_unit<E>(self) -> Result<Field, E> {
                Ok(Field::Other)
            }
        }

        deserializer.deserialize_any(Scalar)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seal(json: &str) -> String {
        Envelope::seal(json.as_bytes())
    }

    #[test]
    fn what_was_sealed_opens() {
        let envelope = Envelope::open(&seal(r#"{"a":"x","b":5,"c":null}"#)).unwrap();
        assert_eq!(envelope.text("a"), Some("x"));
        assert_eq!(envelope.number("b"), Some(5));
        assert!(envelope.has("c") && !envelope.has("d"));
        assert_eq!(envelope.number("a"), None);
    }

    #[test]
    fn line_breaks_and_spaces_between_characters_do_not_matter() {
        let ticket = seal(r#"{"a":"x"}"#);
        let broken = ticket.chars().flat_map(|c| [c, '\r', '\n', ' ']).collect::<String>();
        assert_eq!(Envelope::open(&broken), Envelope::open(&ticket));
    }

    #[test]
    fn only_one_flat_object_without_repeated_keys_is_a_ticket() {
        for bad in [
            "null",
            "[]",
            "5",
            r#"{"a":"x","a":"x"}"#,
            r#"{"a":{"b":1}}"#,
            r#"{"a":[1]}"#,
            r#"{"a":1.5}"#,
            r#"{"a":1e3}"#,
            r#"{"a":-1}"#,
            r#"{"a":01}"#,
            r#"{"a":1} {"#,
            r#"{"a":1}{"b":2}"#,
            "",
        ] {
            assert_eq!(Envelope::open(&seal(bad)), None, "{bad}");
        }
        assert!(Envelope::open(&seal("{\"a\":1}\n")).is_some(), "the Go generator ends its JSON with a line break");
    }

    #[test]
    fn a_ticket_inflates_to_4_kib_and_not_to_a_byte_more() {
        let frame = r#"{"a":""}"#.len();
        let at = format!(r#"{{"a":"{}"}}"#, "x".repeat(INFLATED_BYTES_MAX - frame));
        assert!(Envelope::open(&seal(&at)).is_some());
        let over = format!(r#"{{"a":"{}"}}"#, "x".repeat(INFLATED_BYTES_MAX - frame + 1));
        assert_eq!(Envelope::open(&seal(&over)), None);
        // What zlib makes of a million zeros still fits the text limit, and is still refused.
        let bomb = seal(&"0".repeat(1 << 20));
        assert!(bomb.len() <= ENCODED_BYTES_MAX, "{}", bomb.len());
        assert_eq!(Envelope::open(&bomb), None);
    }

    #[test]
    fn an_encoded_ticket_has_2_kib_at_most() {
        let ticket = seal(r#"{"a":"x"}"#);
        let padded = |len: usize| format!("{ticket}{}", " ".repeat(len - ticket.len()));
        assert!(Envelope::open(&padded(ENCODED_BYTES_MAX)).is_some());
        assert_eq!(Envelope::open(&padded(ENCODED_BYTES_MAX + 1)), None);
    }

    #[test]
    fn no_byte_may_follow_the_zlib_stream_or_be_missing() {
        let packed = unwrap_base64(&seal(r#"{"a":"x"}"#)).unwrap();
        let wrap = |bytes: &[u8]| {
            let mut text = STANDARD.encode(bytes);
            replace(&mut text, [('+', '*'), ('/', '-'), ('=', '_')]);
            text
        };
        assert!(Envelope::open(&wrap(&packed)).is_some());
        assert_eq!(Envelope::open(&wrap(&[&packed[..], &[0]].concat())), None);
        for cut in 0..packed.len() {
            assert_eq!(Envelope::open(&wrap(&packed[..cut])), None, "cut at {cut}");
        }
    }
}
