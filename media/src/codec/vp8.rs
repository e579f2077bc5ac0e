//! VP8 in RTP payloads: the descriptor before the frame's bytes, and where its counters lie so that they can be rewritten
//! (RFC 7741 §4.2), and the frame's own header (RFC 6386 §9.1).

use crate::drop_reason::DropReason;

/// The payload descriptor. Positions count from the start of the payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Descriptor {
    /// Bytes of the descriptor; the frame's bytes follow.
    pub len: u8,
    /// N: no other frame is predicted from this one.
    pub non_reference: bool,
    /// S: a partition starts in this packet.
    pub partition_start: bool,
    /// PID, 0..=7: which partition. Zero and a start is the start of the frame.
    pub partition: u8,
    pub picture_id: Option<PictureId>,
    /// TL0PICIDX: counts the frames of the base layer.
    pub tl0_pic_idx: Option<Tl0PicIdx>,
    /// TID, 0..=3: the temporal layer.
    pub temporal_layer: Option<u8>,
    /// Y: the frame depends on the base layer only, so that its layer may be joined here. False without a TID.
    pub layer_sync: bool,
}

/// A picture id and where it lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PictureId {
    /// 7 or 15 bits.
    pub value: u16,
    pub offset: u8,
    /// Two bytes, 15 bits, first bit of the first byte set; else one byte, 7 bits.
    pub long: bool,
}

/// A base layer index and where it lies: one byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tl0PicIdx {
    pub value: u8,
    pub offset: u8,
}

impl Descriptor {
    /// Reads the descriptor of an RTP payload.
    ///
    /// # Errors
    /// [`DropReason::TooShort`] if the payload ends before the descriptor does.
    pub fn parse(payload: &[u8]) -> Result<Descriptor, DropReason> {
        let mut at = 0u8;
        let mut next = || {
            let byte = payload.get(usize::from(at)).copied().ok_or(DropReason::TooShort);
            at += 1;
            byte.map(|byte| (byte, at - 1))
        };
        let (first, _) = next()?;
        let extension = if first & 0x80 != 0 { next()?.0 } else { 0 };
        let picture_id = if extension & 0x80 != 0 {
            let (high, offset) = next()?;
            let long = high & 0x80 != 0;
            let value = if long { u16::from(high & 0x7f) << 8 | u16::from(next()?.0) } else { u16::from(high) };
            Some(PictureId { value, offset, long })
        } else {
            None
        };
        let tl0_pic_idx = if extension & 0x40 != 0 {
            let (value, offset) = next()?;
            Some(Tl0PicIdx { value, offset })
        } else {
            None
        };
        // One byte for TID, Y and KEYIDX together, there if either T or K says so (RFC 7741 §4.2).
        let layers = if extension & 0x30 != 0 { next()?.0 } else { 0 };
        let has_layer = extension & 0x20 != 0;
        Ok(Descriptor {
            len: at,
            non_reference: first & 0x20 != 0,
            partition_start: first & 0x10 != 0,
            partition: first & 0x07,
            picture_id,
            tl0_pic_idx,
            temporal_layer: has_layer.then_some(layers >> 6),
            layer_sync: has_layer && layers & 0x20 != 0,
        })
    }

    /// The first packet of a frame.
    pub fn starts_frame(&self) -> bool {
        self.partition_start && self.partition == 0
    }

    /// The frame's bytes behind the descriptor.
    pub fn frame_bytes<'a>(&self, payload: &'a [u8]) -> &'a [u8] {
        payload.get(usize::from(self.len)..).unwrap_or_default()
    }

    /// Writes another picture id over the one that is there, in its own length. Nothing happens where there is none.
    pub fn set_picture_id(&self, payload: &mut [u8], value: u16) {
        let Some(id) = self.picture_id else { return };
        let place = payload.get_mut(usize::from(id.offset)..).unwrap_or_default();
        match place {
            [high, low, ..] if id.long => (*high, *low) = (0x80 | (value >> 8) as u8, value as u8),
            [only, ..] if !id.long => *only = value as u8 & 0x7f,
            _ => {}
        }
    }

    /// Writes another base layer index over the one that is there. Nothing happens where there is none.
    pub fn set_tl0_pic_idx(&self, payload: &mut [u8], value: u8) {
        if let Some(place) = self.tl0_pic_idx.and_then(|index| payload.get_mut(usize::from(index.offset))) {
            *place = value;
        }
    }
}

/// What an RTP payload says about its frame. A key frame is told by P, the first bit of the frame's own header.
pub fn inspect(payload: &[u8]) -> super::Payload {
    let Ok(descriptor) = Descriptor::parse(payload) else { return super::Payload::default() };
    let starts_frame = descriptor.starts_frame();
    let key = starts_frame && descriptor.frame_bytes(payload).first().is_some_and(|byte| byte & 1 == 0);
    super::Payload { starts_frame, key }
}

/// Width and height in pixels, at the start of a key frame; `None` for any other bytes (RFC 6386 §9.1).
pub fn key_frame_size(frame: &[u8]) -> Option<(u16, u16)> {
    match frame {
        [tag, _, _, 0x9d, 0x01, 0x2a, w0, w1, h0, h1, ..] if tag & 1 == 0 => {
            // The upper two bits of each are a scale for display, which nobody sends.
            Some((u16::from_le_bytes([*w0, *w1]) & 0x3fff, u16::from_le_bytes([*h0, *h1]) & 0x3fff))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{super::Payload, *};

    /// Start of a key frame as libvpx (ffmpeg 5.1) writes it, 320x180.
    const KEY_FRAME: [u8; 12] = [0x10, 0x62, 0x00, 0x9d, 0x01, 0x2a, 0x40, 0x01, 0xb4, 0x00, 0x00, 0x07];

    #[test]
    fn a_key_frame_says_its_size() {
        assert_eq!(key_frame_size(&KEY_FRAME), Some((320, 180)));
        for len in 0..10 {
            assert_eq!(key_frame_size(&KEY_FRAME[..len]), None);
        }
        let mut inter = KEY_FRAME;
        inter[0] |= 1;
        assert_eq!(key_frame_size(&inter), None);
    }

    /// The descriptor of Chromium: X, S, PID 0; I (15 bits), L, T; layer 1 with sync. Drawn after RFC 7741 §4.2.
    const FULL: [u8; 6] = [0x90, 0xe0, 0x92, 0x34, 0x56, 0x60];

    #[test]
    fn every_field_of_a_full_descriptor_is_read() {
        let descriptor = Descriptor::parse(&FULL).unwrap();
        assert_eq!(
            descriptor,
            Descriptor {
                len: 6,
                non_reference: false,
                partition_start: true,
                partition: 0,
                picture_id: Some(PictureId { value: 0x1234, offset: 2, long: true }),
                tl0_pic_idx: Some(Tl0PicIdx { value: 0x56, offset: 4 }),
                temporal_layer: Some(1),
                layer_sync: true,
            }
        );
        for len in 0..FULL.len() {
            assert_eq!(Descriptor::parse(&FULL[..len]), Err(DropReason::TooShort), "{len}");
        }
    }

    /// The descriptors of RFC 7741's examples: a 7-bit id, none, a later partition, and the 15-bit id 4711.
    #[test]
    fn the_examples_of_the_rfc_are_read() {
        let one = Descriptor::parse(&[0x90, 0x80, 17]).unwrap();
        assert_eq!((one.len, one.picture_id.map(|id| (id.value, id.long))), (3, Some((17, false))));
        assert_eq!(Descriptor::parse(&[0x10]).map(|d| (d.len, d.starts_frame())), Ok((1, true)));
        assert_eq!(Descriptor::parse(&[0x11]).map(|d| d.starts_frame()), Ok(false), "a later partition");
        let long = Descriptor::parse(&[0x90, 0x80, 0x92, 0x67]).unwrap();
        assert_eq!((long.len, long.picture_id.map(|id| id.value)), (4, Some(4_711)));
    }

    #[test]
    fn a_key_index_alone_takes_its_byte_and_names_no_layer() {
        let descriptor = Descriptor::parse(&[0x80, 0x10, 0xff]).unwrap();
        assert_eq!((descriptor.len, descriptor.temporal_layer, descriptor.layer_sync), (3, None, false));
    }

    #[test]
    fn only_the_first_packet_of_a_frame_that_is_not_predicted_is_key() {
        let with = |descriptor: &[u8], frame: &[u8]| inspect(&[descriptor, frame].concat());
        assert_eq!(with(&FULL, &KEY_FRAME), Payload { starts_frame: true, key: true });
        assert_eq!(with(&FULL, &[0x11, 0, 0]), Payload { starts_frame: true, key: false });
        assert_eq!(with(&[0x00], &KEY_FRAME), Payload { starts_frame: false, key: false });
        assert_eq!(with(&[0x12], &KEY_FRAME), Payload { starts_frame: false, key: false });
        assert_eq!(with(&FULL, &[]), Payload { starts_frame: true, key: false });
    }

    #[test]
    fn counters_are_rewritten_where_they_lie_and_nowhere_else() {
        let mut payload = FULL;
        let descriptor = Descriptor::parse(&payload).unwrap();
        descriptor.set_picture_id(&mut payload, 0x7fff);
        descriptor.set_tl0_pic_idx(&mut payload, 9);
        assert_eq!(payload, [0x90, 0xe0, 0xff, 0xff, 9, 0x60]);
        let mut short = [0x90, 0x80, 17];
        Descriptor::parse(&short).unwrap().set_picture_id(&mut short, 0x1ff);
        assert_eq!(short, [0x90, 0x80, 0x7f]);
        let mut none = [0x10, 0xaa];
        let descriptor = Descriptor::parse(&none).unwrap();
        descriptor.set_picture_id(&mut none, 1);
        descriptor.set_tl0_pic_idx(&mut none, 1);
        assert_eq!(none, [0x10, 0xaa]);
    }

    proptest! {
        #[test]
        fn reading_never_panics_and_rewriting_reads_back(mut payload in prop::collection::vec(any::<u8>(), 0..24), id: u16, index: u8) {
            let _ = (inspect(&payload), key_frame_size(&payload));
            if let Ok(descriptor) = Descriptor::parse(&payload) {
                descriptor.set_picture_id(&mut payload, id);
                descriptor.set_tl0_pic_idx(&mut payload, index);
                let again = Descriptor::parse(&payload).unwrap();
                prop_assert_eq!(again.len, descriptor.len);
                prop_assert_eq!(again.tl0_pic_idx.map(|i| i.value), descriptor.tl0_pic_idx.map(|_| index));
                let wanted = descriptor.picture_id.map(|p| if p.long { id & 0x7fff } else { id & 0x7f });
                prop_assert_eq!(again.picture_id.map(|p| p.value), wanted);
                // The descriptor does not fit a shorter payload: nothing may be written outside.
                descriptor.set_picture_id(&mut payload[..1], id);
            }
        }
    }
}
