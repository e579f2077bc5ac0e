//! RTP header extensions: which id means what, finding an element, and the elements that roomcast reads (RFC 8285).

use super::packet::{Header, PROFILE_ONE_BYTE, PROFILE_TWO_BYTE};

/// The m-line that a packet belongs to (RFC 8843 §15).
pub const URI_MID: &str = "urn:ietf:params:rtp-hdrext:sdes:mid";
/// The simulcast layer that a packet belongs to (RFC 8852 §3.1).
pub const URI_RID: &str = "urn:ietf:params:rtp-hdrext:sdes:rtp-stream-id";
/// The simulcast layer that a retransmission belongs to (RFC 8852 §3.2).
pub const URI_REPAIRED_RID: &str = "urn:ietf:params:rtp-hdrext:sdes:repaired-rtp-stream-id";
/// The transport-wide sequence number (draft-holmer-rmcat-transport-wide-cc-extensions-01 §2).
pub const URI_TRANSPORT_CC: &str = "http://www.ietf.org/id/draft-holmer-rmcat-transport-wide-cc-extensions-01";
/// Loudness of the packet's audio (RFC 6464).
pub const URI_AUDIO_LEVEL: &str = "urn:ietf:params:rtp-hdrext:ssrc-audio-level";
/// Rotation of the picture (3GPP TS 26.114 §7.4.5).
pub const URI_VIDEO_ORIENTATION: &str = "urn:3gpp:video-orientation";
/// When the packet left, in 6.18 fixed-point seconds.
pub const URI_ABS_SEND_TIME: &str = "http://www.webrtc.org/experiments/rtp-hdrext/abs-send-time";
/// When the frame was captured, as NTP time.
pub const URI_ABS_CAPTURE_TIME: &str = "http://www.webrtc.org/experiments/rtp-hdrext/abs-capture-time";

/// How long a picture is to be held at least, and at most, before it is shown (libwebrtc's `playout-delay`: twice 12 bits, in units of
/// 10 ms).
pub const URI_PLAYOUT_DELAY: &str = "http://www.webrtc.org/experiments/rtp-hdrext/playout-delay";

/// Which id a negotiation gave to each extension that roomcast reads or writes; `None`: not negotiated.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ExtIds {
    pub mid: Option<u8>,
    pub rid: Option<u8>,
    pub repaired_rid: Option<u8>,
    pub transport_cc: Option<u8>,
    pub audio_level: Option<u8>,
    pub video_orientation: Option<u8>,
    pub abs_send_time: Option<u8>,
    pub abs_capture_time: Option<u8>,
    pub playout_delay: Option<u8>,
}

impl ExtIds {
    /// The place of the extension that `uri` names; `None` for one that roomcast has no use for.
    pub fn by_uri(&mut self, uri: &str) -> Option<&mut Option<u8>> {
        match uri {
            URI_MID => Some(&mut self.mid),
            URI_RID => Some(&mut self.rid),
            URI_REPAIRED_RID => Some(&mut self.repaired_rid),
            URI_TRANSPORT_CC => Some(&mut self.transport_cc),
            URI_AUDIO_LEVEL => Some(&mut self.audio_level),
            URI_VIDEO_ORIENTATION => Some(&mut self.video_orientation),
            URI_ABS_SEND_TIME => Some(&mut self.abs_send_time),
            URI_ABS_CAPTURE_TIME => Some(&mut self.abs_capture_time),
            URI_PLAYOUT_DELAY => Some(&mut self.playout_delay),
            _ => None,
        }
    }
}

/// The first element with this id, in either form. `None` as well for an extension of another profile.
pub fn find<'a>(packet: &'a [u8], header: &Header, id: u8) -> Option<&'a [u8]> {
    elements(packet, header).find(|(found, _)| *found == id).map(|(_, data)| data)
}

/// Every element of the header extension, in order. Ends at the first one that does not fit.
pub fn elements<'a>(packet: &'a [u8], header: &Header) -> Elements<'a> {
    let Some(ext) = header.ext else { return Elements { rest: &[], two_byte: false } };
    let known = ext.profile == PROFILE_ONE_BYTE || ext.profile & 0xfff0 == PROFILE_TWO_BYTE;
    let start = usize::from(ext.offset);
    let rest = if known { packet.get(start..start + usize::from(ext.len)).unwrap_or_default() } else { &[] };
    Elements { rest, two_byte: ext.profile != PROFILE_ONE_BYTE }
}

/// Iterator of [`elements`].
#[derive(Clone, Debug)]
pub struct Elements<'a> {
    rest: &'a [u8],
    two_byte: bool,
}

impl<'a> Iterator for Elements<'a> {
    type Item = (u8, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let (&first, behind) = self.rest.split_first()?;
            // A zero byte is padding, between elements too (RFC 8285 §4.1).
            if first == 0 {
                self.rest = behind;
                continue;
            }
            let (id, len, body) = if self.two_byte {
                let (&len, body) = behind.split_first()?;
                (first, usize::from(len), body)
            } else {
                (first >> 4, usize::from(first & 0x0f) + 1, behind)
            };
            // One-byte form: id 15 stops the reading, and so does id 0 with a length (RFC 8285 §4.2).
            if (!self.two_byte && matches!(id, 0 | 15)) || len > body.len() {
                self.rest = &[];
                return None;
            }
            let (data, rest) = body.split_at(len);
            self.rest = rest;
            return Some((id, data));
        }
    }
}

/// Loudness of one packet's audio (RFC 6464 §3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AudioLevel {
    /// The encoder believes that there is speech.
    pub voice: bool,
    /// Decibels below overload, 0 (loudest) to 127 (digital silence).
    pub dbov: u8,
}

/// How the receiver must turn the picture to show it upright (3GPP TS 26.114 §7.4.5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VideoOrientation {
    /// Taken by the camera at the back.
    pub back_camera: bool,
    /// To be mirrored left to right.
    pub flip: bool,
    /// Clockwise, in degrees: 0, 90, 180 or 270.
    pub rotation_degrees: u16,
}

/// Reads the transport-wide sequence number.
pub fn transport_cc(element: &[u8]) -> Option<u16> {
    // Version 2 of the extension appends a feedback request; the number comes first in both.
    element.first_chunk().copied().map(u16::from_be_bytes)
}

/// Reads the loudness.
pub fn audio_level(element: &[u8]) -> Option<AudioLevel> {
    element.first().map(|byte| AudioLevel { voice: byte & 0x80 != 0, dbov: byte & 0x7f })
}

/// Reads the rotation.
pub fn video_orientation(element: &[u8]) -> Option<VideoOrientation> {
    element.first().map(|byte| VideoOrientation {
        back_camera: byte & 0x08 != 0,
        flip: byte & 0x04 != 0,
        rotation_degrees: u16::from(byte & 0x03) * 90,
    })
}

/// Reads the departure time: seconds in 6.18 fixed point, wraps after 64 s.
pub fn abs_send_time(element: &[u8]) -> Option<u32> {
    let [a, b, c] = element.first_chunk::<3>().copied()?;
    Some(u32::from_be_bytes([0, a, b, c]))
}

/// Reads a MID, RID or repaired RID: letters, digits and the other characters of an SDP token, at least one.
pub fn text(element: &[u8]) -> Option<&str> {
    let token =
        |b: &u8| b.is_ascii_graphic() && !matches!(b, b'"' | b'(' | b')' | b',' | b'/' | b':'..=b'@' | b'['..=b']');
    if element.is_empty() || !element.iter().all(token) { None } else { std::str::from_utf8(element).ok() }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn packet(profile: u16, ext: &[u8]) -> Vec<u8> {
        let mut packet = vec![0x90, 96, 0, 1, 0, 0, 0, 2, 0, 0, 0, 3];
        packet.extend_from_slice(&profile.to_be_bytes());
        packet.extend_from_slice(&((ext.len() / 4) as u16).to_be_bytes());
        packet.extend_from_slice(ext);
        packet
    }

    fn read(packet: &[u8]) -> Vec<(u8, Vec<u8>)> {
        elements(packet, &Header::parse(packet).unwrap()).map(|(id, data)| (id, data.to_vec())).collect()
    }

    /// The drawing of RFC 8285 §4.2: one byte, two bytes, padding between, four bytes.
    #[test]
    fn the_one_byte_example_of_the_rfc_is_read() {
        let packet = packet(PROFILE_ONE_BYTE, &[0x10, 0xaa, 0x21, 0xbb, 0xbb, 0, 0, 0x33, 0xcc, 0xcc, 0xcc, 0xcc]);
        assert_eq!(read(&packet), [(1, vec![0xaa]), (2, vec![0xbb, 0xbb]), (3, vec![0xcc; 4])]);
        let header = Header::parse(&packet).unwrap();
        assert_eq!(find(&packet, &header, 3), Some(&[0xcc; 4][..]));
        assert_eq!(find(&packet, &header, 4), None);
    }

    /// The drawing of RFC 8285 §4.3: no byte, one byte, padding, four bytes; `appbits` are of no concern.
    #[test]
    fn the_two_byte_example_of_the_rfc_is_read() {
        let packet = packet(0x1005, &[1, 0, 2, 1, 0xbb, 0, 3, 4, 0xcc, 0xcc, 0xcc, 0xcc]);
        assert_eq!(read(&packet), [(1, vec![]), (2, vec![0xbb]), (3, vec![0xcc; 4])]);
    }

    #[test]
    fn reading_ends_at_id_fifteen_and_at_id_zero_with_a_length() {
        assert_eq!(read(&packet(PROFILE_ONE_BYTE, &[0x10, 7, 0xf0, 1, 0x20, 9, 0, 0])), [(1, vec![7])]);
        assert_eq!(read(&packet(PROFILE_ONE_BYTE, &[0x10, 7, 0x01, 1, 0x20, 9, 0, 0])), [(1, vec![7])]);
    }

    #[test]
    fn an_element_longer_than_the_extension_is_not_read() {
        assert_eq!(read(&packet(PROFILE_ONE_BYTE, &[0x10, 7, 0x22, 1])), [(1, vec![7])]);
        assert_eq!(read(&packet(PROFILE_TWO_BYTE, &[1, 1, 7, 5])), [(1, vec![7])]);
    }

    #[test]
    fn an_extension_of_another_profile_has_no_elements() {
        assert_eq!(read(&packet(0x2000, &[0x10, 7, 0, 0])), []);
    }

    #[test]
    fn typed_readers_read_their_fields_and_refuse_what_is_short() {
        assert_eq!(transport_cc(&[0x12, 0x34]), Some(0x1234));
        assert_eq!(transport_cc(&[0x12]), None);
        assert_eq!(audio_level(&[0x80 | 42]), Some(AudioLevel { voice: true, dbov: 42 }));
        assert_eq!(audio_level(&[]), None);
        let back = VideoOrientation { back_camera: true, flip: false, rotation_degrees: 270 };
        assert_eq!(video_orientation(&[0x0b]), Some(back));
        assert_eq!(abs_send_time(&[1, 2, 3]), Some(0x01_0203));
        assert_eq!(text(b"0"), Some("0"));
        for bad in [&b""[..], b"a b", b"a\r\n", b"\xff", b"a:b"] {
            assert_eq!(text(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn each_uri_has_its_own_place() {
        let mut ids = ExtIds::default();
        for (id, uri) in [URI_MID, URI_RID, URI_REPAIRED_RID, URI_TRANSPORT_CC].into_iter().enumerate() {
            *ids.by_uri(uri).unwrap() = Some(id as u8 + 1);
        }
        assert_eq!((ids.mid, ids.rid, ids.repaired_rid, ids.transport_cc), (Some(1), Some(2), Some(3), Some(4)));
        assert!(ids.by_uri("urn:ietf:params:rtp-hdrext:toffset").is_none());
    }

    proptest! {
        #[test]
        fn reading_elements_never_panics(profile in prop_oneof![Just(PROFILE_ONE_BYTE), Just(PROFILE_TWO_BYTE), any::<u16>()],
                                         words in prop::collection::vec(any::<[u8; 4]>(), 0..12), id: u8) {
            let packet = packet(profile, &words.concat());
            let header = Header::parse(&packet).unwrap();
            for (_, data) in elements(&packet, &header) {
                let _ = (transport_cc(data), audio_level(data), video_orientation(data), abs_send_time(data), text(data));
            }
            let _ = find(&packet, &header, id);
            // A header must not read past a packet that it does not belong to.
            let _ = find(&packet[..12], &header, id);
        }
    }
}
