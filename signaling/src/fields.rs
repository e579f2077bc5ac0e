//! The strict reading of JSON: one object, no key twice, no bottomless nesting; and its fields by name and type, so that a
//! refusal can say which one is wrong.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

use crate::{
    code::Fault,
    name::{RoomName, StreamName},
};

/// Levels of nesting in a message; the outermost object is the first. What we define needs three.
pub const DEPTH_MAX: usize = 32;

/// Reads one JSON object: depth at most [`DEPTH_MAX`], no key twice, nothing behind it. `None` is a broken client.
pub fn read_object(text: &str) -> Option<Map<String, Value>> {
    let mut reader = serde_json::Deserializer::from_str(text);
    let value = Strict { depth: 1 }.deserialize(&mut reader).ok()?;
    reader.end().ok()?;
    match value {
        Value::Object(map) => Some(map),
        _ => None,
    }
}

/// Builds a [`Value`] and refuses what serde_json would let pass.
#[derive(Clone, Copy)]
struct Strict {
    depth: usize,
}

impl Strict {
    /// For what lies inside the container being read.
    fn inside<E: serde::de::Error>(self) -> Result<Strict, E> {
        if self.depth > DEPTH_MAX {
            return Err(E::custom("nested too deeply"));
        }
        Ok(Strict { depth: self.depth + 1 })
    }
}

impl<'de> DeserializeSeed<'de> for Strict {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Strict {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, v: bool) -> Result<Value, E> {
        Ok(Value::Bool(v))
    }

    fn visit_u64<E>(self, v: u64) -> Result<Value, E> {
        Ok(Value::Number(v.into()))
    }

    fn visit_i64<E>(self, v: i64) -> Result<Value, E> {
        Ok(Value::Number(v.into()))
    }

    fn visit_f64<E>(self, v: f64) -> Result<Value, E> {
        Ok(Number::from_f64(v).map_or(Value::Null, Value::Number))
    }

    fn visit_str<E>(self, v: &str) -> Result<Value, E> {
        Ok(Value::String(v.to_owned()))
    }

    fn visit_string<E>(self, v: String) -> Result<Value, E> {
        Ok(Value::String(v))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Value, A::Error> {
        let inside = self.inside()?;
        let mut list = Vec::new();
        while let Some(value) = seq.next_element_seed(inside)? {
            list.push(value);
        }
        Ok(Value::Array(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let inside = self.inside()?;
        let mut fields = Map::new();
        while let Some(name) = map.next_key::<String>()? {
            let value = map.next_value_seed(inside)?;
            if fields.insert(name, value).is_some() {
                return Err(A::Error::custom("a key stands twice"));
            }
        }
        Ok(Value::Object(fields))
    }
}

/// The fields of a request. Each reader refuses a wrong type with the field's name; fields that nobody reads are ignored,
/// so that a newer client can talk to an older server. `null` is the same as absent.
#[derive(Clone, Copy)]
pub struct Fields<'a>(pub &'a Map<String, Value>);

impl<'a> Fields<'a> {
    /// Text of 1 to `bytes_max` bytes.
    pub fn text(&self, name: &'static str, bytes_max: usize) -> Result<&'a str, Fault> {
        self.optional_text(name, bytes_max)?.ok_or_else(|| text_fault(name, bytes_max))
    }

    pub fn optional_text(&self, name: &'static str, bytes_max: usize) -> Result<Option<&'a str>, Fault> {
        match self.value(name) {
            None => Ok(None),
            Some(Value::String(text)) if (1..=bytes_max).contains(&text.len()) => Ok(Some(text)),
            Some(_) => Err(text_fault(name, bytes_max)),
        }
    }

    /// Text of at most `bytes_max` bytes, perhaps of none.
    pub fn optional_text_or_empty(&self, name: &'static str, bytes_max: usize) -> Result<Option<&'a str>, Fault> {
        match self.value(name) {
            None => Ok(None),
            Some(Value::String(text)) if text.len() <= bytes_max => Ok(Some(text)),
            Some(_) => Err(Fault::field(name, &format!("a string of 0 to {bytes_max} bytes"))),
        }
    }

    /// A whole number of at most `max`.
    pub fn number(&self, name: &'static str, max: u64) -> Result<u64, Fault> {
        self.optional_number(name, max)?.ok_or_else(|| number_fault(name, max))
    }

    pub fn optional_number(&self, name: &'static str, max: u64) -> Result<Option<u64>, Fault> {
        match self.value(name) {
            None => Ok(None),
            Some(value) => match value.as_u64() {
                Some(number) if number <= max => Ok(Some(number)),
                _ => Err(number_fault(name, max)),
            },
        }
    }

    pub fn boolean(&self, name: &'static str) -> Result<bool, Fault> {
        self.optional_boolean(name)?.ok_or_else(|| Fault::field(name, "true or false"))
    }

    pub fn optional_boolean(&self, name: &'static str) -> Result<Option<bool>, Fault> {
        match self.value(name) {
            None => Ok(None),
            Some(Value::Bool(value)) => Ok(Some(*value)),
            Some(_) => Err(Fault::field(name, "true or false")),
        }
    }

    /// A list of 1 to `len_max` objects.
    pub fn objects(&self, name: &'static str, len_max: usize) -> Result<Vec<Fields<'a>>, Fault> {
        let fault = || Fault::field(name, &format!("a list of 1 to {len_max} objects"));
        let Some(Value::Array(list)) = self.value(name) else { return Err(fault()) };
        if !(1..=len_max).contains(&list.len()) {
            return Err(fault());
        }
        list.iter().map(|item| item.as_object().map(Fields).ok_or_else(fault)).collect()
    }

    /// `"main"` or `"aux"`.
    pub fn stream(&self, name: &'static str) -> Result<StreamName, Fault> {
        let text = self.value(name).and_then(Value::as_str);
        text.and_then(StreamName::from_text).ok_or_else(|| Fault::field(name, "\"main\" or \"aux\""))
    }

    /// A room: its number, or its name as text.
    pub fn room(&self, name: &'static str) -> Result<RoomName, Fault> {
        let room = match self.value(name) {
            Some(Value::Number(number)) => number.as_u64().and_then(RoomName::from_number),
            Some(Value::String(text)) => RoomName::from_text(text),
            _ => None,
        };
        room.ok_or_else(|| {
            Fault::field(name, "a number from 1 to 4294967294 or a string of 1 to 64 bytes without control characters")
        })
    }

    fn value(&self, name: &str) -> Option<&'a Value> {
        self.0.get(name).filter(|value| !value.is_null())
    }
}

fn text_fault(name: &'static str, bytes_max: usize) -> Fault {
    Fault::field(name, &format!("a string of 1 to {bytes_max} bytes"))
}

fn number_fault(name: &'static str, max: u64) -> Fault {
    Fault::field(name, &format!("a whole number up to {max}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn depth_32_is_read_and_33_is_not() {
        let nested = |levels: usize| format!(r#"{{"a":{}{}}}"#, "[".repeat(levels - 1), "]".repeat(levels - 1));
        assert!(read_object(&nested(DEPTH_MAX)).is_some());
        assert!(read_object(&nested(DEPTH_MAX + 1)).is_none());
        assert!(read_object(&nested(70_000)).is_none());
    }

    #[test]
    fn anything_but_one_object_without_repeated_keys_is_refused() {
        for bad in
            ["null", "", "[]", "1", r#"{"a":1,"a":1}"#, r#"{"b":{"a":1,"a":2}}"#, "{} {}", "{}x", "{\"a\":\"\u{1}\"}"]
        {
            assert!(read_object(bad).is_none(), "{bad:?}");
        }
    }

    #[test]
    fn a_wrong_type_is_refused_by_the_name_of_its_field() {
        let map = read_object(
            r#"{"text":5,"number":"5","big":4294967296,"flag":1,"list":[1],"empty":"","room":0,"none":null}"#,
        )
        .unwrap();
        let fields = Fields(&map);
        let named = |fault: Fault| fault.field.unwrap();
        assert_eq!(named(fields.text("text", 9).unwrap_err()), "text");
        assert_eq!(named(fields.text("empty", 9).unwrap_err()), "empty");
        assert_eq!(named(fields.text("absent", 9).unwrap_err()), "absent");
        assert_eq!(named(fields.number("number", 9).unwrap_err()), "number");
        assert_eq!(named(fields.number("big", u32::MAX.into()).unwrap_err()), "big");
        assert_eq!(named(fields.optional_boolean("flag").unwrap_err()), "flag");
        assert_eq!(named(fields.objects("list", 9).err().unwrap()), "list");
        assert_eq!(named(fields.room("room").unwrap_err()), "room");
        assert_eq!(named(fields.stream("text").unwrap_err()), "text");
        assert_eq!(fields.optional_text("none", 9), Ok(None));
    }

    #[test]
    fn text_and_lists_are_taken_at_their_limit_and_not_over_it() {
        let map = read_object(r#"{"text":"12345","list":[{},{}]}"#).unwrap();
        let fields = Fields(&map);
        assert!(fields.text("text", 5).is_ok() && fields.text("text", 4).is_err());
        assert!(fields.objects("list", 2).is_ok() && fields.objects("list", 1).is_err());
    }
}
