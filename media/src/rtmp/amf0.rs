//! AMF0 (Adobe, "Action Message Format -- AMF 0", 2007), read with a budget and written without one.
//!
//! Reading happens before anybody is authenticated, so three limits hold for each message: how deep values nest, how many
//! there are in all, and how long one string is. Whatever is read can be written again; that is how a publisher's metadata
//! reaches players in a form of ours.

/// Containers inside one another. Real commands use three; the bound keeps the recursion of reader and destructor small.
pub const DEPTH_MAX: usize = 32;
/// Values in one message, members of containers included; also the highest count that an array may announce.
pub const ELEMENTS_MAX: usize = 1024;
/// Bytes of one string on the wire. A userSig is under 1 KiB.
pub const STRING_BYTES_MAX: usize = 64 << 10;

/// Why bytes are not AMF0 that we accept. All are the peer's fault, and end its connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AmfError {
    #[error("AMF0 value is cut short")]
    Truncated,
    #[error("AMF0 marker {0:#04x} is not supported")]
    Marker(u8),
    #[error("AMF0 values nest deeper than {DEPTH_MAX}")]
    TooDeep,
    #[error("AMF0 message has more than {ELEMENTS_MAX} values")]
    TooManyElements,
    #[error("AMF0 string is longer than {STRING_BYTES_MAX} bytes")]
    StringTooLong,
}

/// One value. What scripts of 2007 could send beyond this is read as the nearest of these: a typed object as an object, XML
/// as a string, references and `unsupported` as undefined.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    Number(f64),
    Boolean(bool),
    /// Bytes that are not UTF-8 were replaced by U+FFFD.
    String(String),
    /// In the order of the wire; names may repeat.
    Object(Vec<(String, Value)>),
    /// An object that announces its size; `onMetaData` uses it.
    EcmaArray(Vec<(String, Value)>),
    StrictArray(Vec<Value>),
    Null,
    Undefined,
    /// Milliseconds since the Unix epoch. The time zone of the wire is reserved and ignored.
    Date(f64),
}

impl Value {
    pub fn string(text: &str) -> Value {
        Value::String(text.to_owned())
    }

    pub fn as_str(&self) -> Option<&str> {
        match self {
            Value::String(text) => Some(text),
            _ => None,
        }
    }

    pub fn as_number(&self) -> Option<f64> {
        match self {
            Value::Number(number) => Some(*number),
            _ => None,
        }
    }

    pub fn as_bool(&self) -> Option<bool> {
        match self {
            Value::Boolean(flag) => Some(*flag),
            _ => None,
        }
    }

    /// The first member of that name of an object or ECMA array.
    pub fn member(&self, name: &str) -> Option<&Value> {
        match self {
            Value::Object(members) | Value::EcmaArray(members) => {
                members.iter().find(|(key, _)| key == name).map(|(_, value)| value)
            }
            _ => None,
        }
    }

    /// Appends the value as it goes on the wire.
    pub fn write(&self, out: &mut Vec<u8>) {
        match self {
            Value::Number(number) => {
                out.push(NUMBER);
                out.extend_from_slice(&number.to_be_bytes());
            }
            Value::Boolean(flag) => out.extend_from_slice(&[BOOLEAN, u8::from(*flag)]),
            Value::String(text) => match u16::try_from(text.len()) {
                Ok(length) => {
                    out.push(STRING);
                    out.extend_from_slice(&length.to_be_bytes());
                    out.extend_from_slice(text.as_bytes());
                }
                Err(_) => {
                    out.push(LONG_STRING);
                    out.extend_from_slice(&(text.len() as u32).to_be_bytes());
                    out.extend_from_slice(text.as_bytes());
                }
            },
            Value::Object(members) => {
                out.push(OBJECT);
                write_members(members, out);
            }
            Value::EcmaArray(members) => {
                out.push(ECMA_ARRAY);
                out.extend_from_slice(&(members.len() as u32).to_be_bytes());
                write_members(members, out);
            }
            Value::StrictArray(items) => {
                out.push(STRICT_ARRAY);
                out.extend_from_slice(&(items.len() as u32).to_be_bytes());
                items.iter().for_each(|item| item.write(out));
            }
            Value::Null => out.push(NULL),
            Value::Undefined => out.push(UNDEFINED),
            Value::Date(unix_ms) => {
                out.push(DATE);
                out.extend_from_slice(&unix_ms.to_be_bytes());
                out.extend_from_slice(&[0, 0]);
            }
        }
    }
}

/// Reads every value of a message body.
pub fn read_all(body: &[u8]) -> Result<Vec<Value>, AmfError> {
    let mut reader = Reader::new(body);
    let mut values = Vec::new();
    while let Some(value) = reader.next_value()? {
        values.push(value);
    }
    Ok(values)
}

/// Appends the values one behind the other.
pub fn write_all(values: &[Value], out: &mut Vec<u8>) {
    values.iter().for_each(|value| value.write(out));
}

/// Reads values one by one within one budget.
#[derive(Clone, Debug)]
pub struct Reader<'a> {
    rest: &'a [u8],
    elements_left: usize,
}

const NUMBER: u8 = 0x00;
const BOOLEAN: u8 = 0x01;
const STRING: u8 = 0x02;
const OBJECT: u8 = 0x03;
const NULL: u8 = 0x05;
const UNDEFINED: u8 = 0x06;
const REFERENCE: u8 = 0x07;
const ECMA_ARRAY: u8 = 0x08;
const OBJECT_END: u8 = 0x09;
const STRICT_ARRAY: u8 = 0x0a;
const DATE: u8 = 0x0b;
const LONG_STRING: u8 = 0x0c;
const UNSUPPORTED: u8 = 0x0d;
const XML: u8 = 0x0f;
const TYPED_OBJECT: u8 = 0x10;

impl<'a> Reader<'a> {
    pub fn new(body: &'a [u8]) -> Self {
        Reader { rest: body, elements_left: ELEMENTS_MAX }
    }

    /// The next value, or `None` at the end. After an error the reader is of no use.
    pub fn next_value(&mut self) -> Result<Option<Value>, AmfError> {
        if self.rest.is_empty() { Ok(None) } else { self.value(0).map(Some) }
    }

    /// `depth` counts the containers around this value.
    fn value(&mut self, depth: usize) -> Result<Value, AmfError> {
        self.elements_left = self.elements_left.checked_sub(1).ok_or(AmfError::TooManyElements)?;
        let [marker] = self.take()?;
        if matches!(marker, OBJECT | ECMA_ARRAY | STRICT_ARRAY | TYPED_OBJECT) && depth >= DEPTH_MAX {
            return Err(AmfError::TooDeep);
        }
        Ok(match marker {
            NUMBER => Value::Number(f64::from_be_bytes(self.take()?)),
            BOOLEAN => Value::Boolean(self.take::<1>()? != [0]),
            STRING => Value::String(self.short_string()?),
            LONG_STRING | XML => {
                let length = u32::from_be_bytes(self.take()?) as usize;
                Value::String(self.string(length)?)
            }
            OBJECT => Value::Object(self.members(depth, false)?),
            TYPED_OBJECT => {
                self.short_string()?;
                Value::Object(self.members(depth, false)?)
            }
            ECMA_ARRAY => {
                self.announced()?;
                Value::EcmaArray(self.members(depth, true)?)
            }
            STRICT_ARRAY => {
                let count = self.announced()?;
                // No reservation by the announced count: an item costs at least a byte on the wire, the count does not.
                let mut items = Vec::new();
                for _ in 0..count {
                    items.push(self.value(depth + 1)?);
                }
                Value::StrictArray(items)
            }
            NULL => Value::Null,
            UNDEFINED | UNSUPPORTED => Value::Undefined,
            REFERENCE => {
                self.take::<2>()?;
                Value::Undefined
            }
            DATE => {
                let unix_ms = f64::from_be_bytes(self.take()?);
                self.take::<2>()?;
                Value::Date(unix_ms)
            }
            other => return Err(AmfError::Marker(other)),
        })
    }

    /// Members up to the end marker. ECMA arrays of some encoders leave it out at the end of the message.
    fn members(&mut self, depth: usize, end_optional: bool) -> Result<Vec<(String, Value)>, AmfError> {
        let mut members = Vec::new();
        loop {
            if end_optional && self.rest.is_empty() {
                return Ok(members);
            }
            let name = self.short_string()?;
            if name.is_empty() && self.rest.first() == Some(&OBJECT_END) {
                self.take::<1>()?;
                return Ok(members);
            }
            members.push((name, self.value(depth + 1)?));
        }
    }

    /// The count in front of an array.
    fn announced(&mut self) -> Result<u32, AmfError> {
        let count = u32::from_be_bytes(self.take()?);
        if count as usize > ELEMENTS_MAX { Err(AmfError::TooManyElements) } else { Ok(count) }
    }

    fn short_string(&mut self) -> Result<String, AmfError> {
        let length = u16::from_be_bytes(self.take()?);
        self.string(usize::from(length))
    }

    fn string(&mut self, length: usize) -> Result<String, AmfError> {
        if length > STRING_BYTES_MAX {
            return Err(AmfError::StringTooLong);
        }
        let (bytes, rest) = self.rest.split_at_checked(length).ok_or(AmfError::Truncated)?;
        self.rest = rest;
        Ok(String::from_utf8_lossy(bytes).into_owned())
    }

    fn take<const N: usize>(&mut self) -> Result<[u8; N], AmfError> {
        let (bytes, rest) = self.rest.split_first_chunk::<N>().ok_or(AmfError::Truncated)?;
        self.rest = rest;
        Ok(*bytes)
    }
}

fn write_members(members: &[(String, Value)], out: &mut Vec<u8>) {
    for (name, value) in members {
        // A name has 16 bits of length and no long form; a longer one is cut at a character.
        let mut end = name.len().min(usize::from(u16::MAX));
        while !name.is_char_boundary(end) {
            end -= 1;
        }
        let name = &name.as_bytes()[..end];
        out.extend_from_slice(&(name.len() as u16).to_be_bytes());
        out.extend_from_slice(name);
        value.write(out);
    }
    out.extend_from_slice(&[0, 0, OBJECT_END]);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn nested(depth: usize, open: &[u8], close: &[u8]) -> Vec<u8> {
        let mut bytes = open.repeat(depth);
        bytes.push(NULL);
        bytes.extend_from_slice(&close.repeat(depth));
        bytes
    }

    #[test]
    fn depth_32_is_read_and_33_and_70_000_are_refused() {
        for (open, close) in [
            (&[OBJECT, 0, 1, b'a'][..], &[0, 0, OBJECT_END][..]),
            (&[ECMA_ARRAY, 0, 0, 0, 1, 0, 1, b'a'], &[0, 0, OBJECT_END]),
            (&[STRICT_ARRAY, 0, 0, 0, 1], &[]),
            (&[TYPED_OBJECT, 0, 1, b'T', 0, 1, b'a'], &[0, 0, OBJECT_END]),
        ] {
            assert!(read_all(&nested(DEPTH_MAX, open, close)).is_ok());
            assert_eq!(read_all(&nested(DEPTH_MAX + 1, open, close)), Err(AmfError::TooDeep));
            assert_eq!(read_all(&nested(70_000, open, close)), Err(AmfError::TooDeep));
        }
    }

    #[test]
    fn element_1_024_is_read_and_1_025_is_refused() {
        assert_eq!(read_all(&[NULL; ELEMENTS_MAX]).map(|v| v.len()), Ok(ELEMENTS_MAX));
        assert_eq!(read_all(&[NULL; ELEMENTS_MAX + 1]), Err(AmfError::TooManyElements));
        // The budget is of the message: the array and its items together.
        let mut bytes = vec![STRICT_ARRAY, 0, 0, 3, 255];
        bytes.extend_from_slice(&[NULL; 1023]);
        assert!(read_all(&bytes).is_ok());
        bytes.push(NULL);
        assert_eq!(read_all(&bytes), Err(AmfError::TooManyElements));
    }

    #[test]
    fn an_announced_count_above_the_limit_is_refused_whatever_follows() {
        for marker in [STRICT_ARRAY, ECMA_ARRAY] {
            assert_eq!(read_all(&[marker, 255, 255, 255, 255]), Err(AmfError::TooManyElements));
            assert_eq!(read_all(&[marker, 0, 0, 4, 1]), Err(AmfError::TooManyElements));
        }
        assert_eq!(read_all(&[STRICT_ARRAY, 0, 0, 4, 0]), Err(AmfError::Truncated));
    }

    #[test]
    fn a_string_of_64_kib_is_read_and_a_longer_one_refused() {
        let text = Value::String("x".repeat(STRING_BYTES_MAX));
        let mut bytes = Vec::new();
        text.write(&mut bytes);
        assert_eq!(read_all(&bytes), Ok(vec![text]));
        let mut bytes = Vec::new();
        Value::String("x".repeat(STRING_BYTES_MAX + 1)).write(&mut bytes);
        assert_eq!(read_all(&bytes), Err(AmfError::StringTooLong));
    }

    #[test]
    fn an_ecma_array_without_end_marker_ends_with_the_message() {
        let bytes = [ECMA_ARRAY, 0, 0, 0, 1, 0, 1, b'a', BOOLEAN, 1];
        assert_eq!(read_all(&bytes), Ok(vec![Value::EcmaArray(vec![("a".into(), Value::Boolean(true))])]));
        let object = [OBJECT, 0, 1, b'a', BOOLEAN, 1];
        assert_eq!(read_all(&object), Err(AmfError::Truncated));
    }

    #[test]
    fn avmplus_and_reserved_markers_are_refused() {
        for marker in [0x04, 0x09, 0x0e, 0x11, 0x12, 0xff] {
            assert_eq!(read_all(&[marker]), Err(AmfError::Marker(marker)));
        }
    }

    fn any_value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            any::<f64>().prop_filter("NaN is not equal to itself", |n| !n.is_nan()).prop_map(Value::Number),
            any::<bool>().prop_map(Value::Boolean),
            ".{0,20}".prop_map(Value::String),
            Just(Value::Null),
            Just(Value::Undefined),
            (0.0..1e13f64).prop_map(Value::Date),
        ];
        leaf.prop_recursive(5, 60, 5, |inner| {
            let members = prop::collection::vec(("[a-z]{1,8}", inner.clone()), 0..5);
            prop_oneof![
                members.clone().prop_map(Value::Object),
                members.prop_map(Value::EcmaArray),
                prop::collection::vec(inner, 0..5).prop_map(Value::StrictArray),
            ]
        })
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(values in prop::collection::vec(any_value(), 0..6)) {
            let mut bytes = Vec::new();
            write_all(&values, &mut bytes);
            prop_assert_eq!(read_all(&bytes), Ok(values));
        }

        #[test]
        fn every_prefix_and_bit_flip_is_an_answer_not_a_panic(value in any_value(), flip in any::<(prop::sample::Index, u8)>()) {
            let mut bytes = Vec::new();
            value.write(&mut bytes);
            for end in 0..bytes.len() {
                let _ = read_all(&bytes[..end]);
            }
            let at = flip.0.index(bytes.len());
            bytes[at] ^= flip.1;
            let _ = read_all(&bytes);
        }

        #[test]
        fn random_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = read_all(&bytes);
        }
    }
}
