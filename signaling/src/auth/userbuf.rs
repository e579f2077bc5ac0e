//! The payload of a privateMapKey: who may do what in which room until when. Big-endian.

use crate::name::RoomName;

/// Format with a numeric room.
const NUMERIC: u8 = 0;
/// Format with a room's name as text behind the rest.
const TEXT: u8 = 1;

/// A privateMapKey's payload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Userbuf {
    pub account: String,
    pub sdk_app_id: u32,
    pub room: RoomName,
    /// Unix seconds, absolute.
    pub expires_at_s: u32,
    /// See [`super::authorise::Privilege`].
    pub privilege: u32,
    /// Written as 0; not compared, since the vendor's generators disagree on it.
    pub account_type: u32,
}

impl Userbuf {
    pub fn write(&self) -> Vec<u8> {
        let account_len = u16::try_from(self.account.len()).expect("a userID has 128 bytes at most");
        let (version, number, text) = match &self.room {
            RoomName::Number(number) => (NUMERIC, *number, None),
            RoomName::Text(text) => (TEXT, 0, Some(text)),
        };
        let mut out = Vec::with_capacity(self.account.len() + 96);
        out.push(version);
        out.extend(account_len.to_be_bytes());
        out.extend(self.account.as_bytes());
        for field in [self.sdk_app_id, number, self.expires_at_s, self.privilege, self.account_type] {
            out.extend(field.to_be_bytes());
        }
        if let Some(text) = text {
            let text_len = u16::try_from(text.len()).expect("a room's name has 64 bytes at most");
            out.extend(text_len.to_be_bytes());
            out.extend(text.as_bytes());
        }
        out
    }

    /// `None` unless the bytes are one payload from first to last.
    pub fn read(bytes: &[u8]) -> Option<Userbuf> {
        let mut reader = Reader(bytes);
        let [version] = reader.array()?;
        let account = reader.text()?;
        let sdk_app_id = reader.u32()?;
        let number = reader.u32()?;
        let expires_at_s = reader.u32()?;
        let privilege = reader.u32()?;
        let account_type = reader.u32()?;
        let room = match version {
            NUMERIC => RoomName::from_number(number.into())?,
            // A number beside the text would make the key mean two rooms.
            TEXT if number == 0 => RoomName::from_text(&reader.text()?)?,
            _ => return None,
        };
        reader.0.is_empty().then_some(Userbuf { account, sdk_app_id, room, expires_at_s, privilege, account_type })
    }
}

struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (head, tail) = self.0.split_first_chunk::<N>()?;
        self.0 = tail;
        Some(*head)
    }

    fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_be_bytes)
    }

    fn text(&mut self) -> Option<String> {
        let len = usize::from(u16::from_be_bytes(self.array()?));
        let (head, tail) = self.0.split_at_checked(len)?;
        self.0 = tail;
        String::from_utf8(head.to_vec()).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(room: RoomName) -> Userbuf {
        Userbuf {
            account: "alice".into(),
            sdk_app_id: 1_400_000_001,
            room,
            expires_at_s: 1_544_000_300,
            privilege: 255,
            account_type: 0,
        }
    }

    #[test]
    fn every_prefix_is_refused_and_so_is_a_byte_more() {
        for room in [RoomName::Number(10001), RoomName::Text("room-A".into())] {
            let bytes = sample(room.clone()).write();
            assert_eq!(Userbuf::read(&bytes), Some(sample(room)));
            for cut in 0..bytes.len() {
                assert_eq!(Userbuf::read(&bytes[..cut]), None, "cut at {cut}");
            }
            assert_eq!(Userbuf::read(&[&bytes[..], &[0]].concat()), None);
        }
    }

    #[test]
    fn a_text_key_for_a_numeric_name_means_the_numeric_room() {
        let mut bytes = sample(RoomName::Text("10001x".into())).write();
        bytes.pop();
        let len = bytes.len() - 5 - 1;
        bytes[len] = 5;
        assert_eq!(Userbuf::read(&bytes).map(|u| u.room), Some(RoomName::Number(10001)));
    }

    #[test]
    fn a_text_key_that_also_names_a_number_is_refused() {
        let mut bytes = sample(RoomName::Text("room-A".into())).write();
        let number_at = 1 + 2 + 5 + 4;
        bytes[number_at + 3] = 1;
        assert_eq!(Userbuf::read(&bytes), None);
    }
}
