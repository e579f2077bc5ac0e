//! VP9 in RTP payloads: the descriptor before the frame's bytes (RFC 9628 §4.2).

use crate::drop_reason::DropReason;

/// The most references that a flexible descriptor lists (RFC 9628 §4.2, P_DIFF).
const P_DIFFS_MAX: usize = 3;

/// The payload descriptor. Positions count from the start of the payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Descriptor {
    /// Bytes of the descriptor, scalability structure included; the frame's bytes follow.
    pub len: u16,
    /// P: predicted from an earlier picture.
    pub inter_predicted: bool,
    /// F: the references are listed with each picture.
    pub flexible: bool,
    /// B and E: first and last packet of a frame, which is one spatial layer of a picture.
    pub frame_start: bool,
    pub frame_end: bool,
    /// Z: no higher spatial layer is predicted from this frame.
    pub not_layer_reference: bool,
    pub picture_id: Option<PictureId>,
    pub layers: Option<Layers>,
    /// TL0PICIDX and where it lies; only where layers are told and the descriptor is not flexible.
    pub tl0_pic_idx: Option<Tl0PicIdx>,
    /// Width and height in pixels of the highest spatial layer, where the scalability structure tells them.
    pub size: Option<(u16, u16)>,
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

/// Which layers a frame belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layers {
    /// TID, 0..=7.
    pub temporal: u8,
    /// U: this temporal layer may be joined here.
    pub switching_up: bool,
    /// SID, 0..=7.
    pub spatial: u8,
    /// D: predicted from the next lower spatial layer of the same picture.
    pub inter_layer: bool,
}

impl Descriptor {
    /// Reads the descriptor of an RTP payload.
    ///
    /// # Errors
    /// [`DropReason::TooShort`] if the payload ends before the descriptor does, [`DropReason::Malformed`] for a list of
    /// references that goes on behind the third.
    pub fn parse(payload: &[u8]) -> Result<Descriptor, DropReason> {
        let mut reader = Reader { payload, at: 0 };
        let first = reader.byte()?;
        let has = |bit: u8| first & bit != 0;
        let (inter_predicted, flexible) = (has(0x40), has(0x10));
        let picture_id = if has(0x80) { Some(reader.picture_id()?) } else { None };
        let (mut layers, mut tl0_pic_idx) = (None, None);
        if has(0x20) {
            let byte = reader.byte()?;
            layers = Some(Layers {
                temporal: byte >> 5,
                switching_up: byte & 0x10 != 0,
                spatial: byte >> 1 & 7,
                inter_layer: byte & 1 != 0,
            });
            if !flexible {
                let offset = reader.at as u8;
                tl0_pic_idx = Some(Tl0PicIdx { value: reader.byte()?, offset });
            }
        }
        if flexible && inter_predicted {
            let mut listed = 1;
            while reader.byte()? & 1 != 0 {
                listed += 1;
                if listed > P_DIFFS_MAX {
                    return Err(DropReason::Malformed);
                }
            }
        }
        let size = if has(0x02) { reader.scalability_structure()? } else { None };
        Ok(Descriptor {
            len: reader.at as u16,
            inter_predicted,
            flexible,
            frame_start: has(0x08),
            frame_end: has(0x04),
            not_layer_reference: has(0x01),
            picture_id,
            layers,
            tl0_pic_idx,
            size,
        })
    }

    /// The first packet of a picture: of its lowest spatial layer, where layers are told.
    pub fn starts_picture(&self) -> bool {
        self.frame_start && self.layers.is_none_or(|layers| layers.spatial == 0)
    }

    /// The frame's bytes behind the descriptor.
    pub fn frame_bytes<'a>(&self, payload: &'a [u8]) -> &'a [u8] {
        payload.get(usize::from(self.len)..).unwrap_or_default()
    }
}

/// Reads on from `at`, which stays small: the longest descriptor, a scalability structure of 255 pictures with three
/// references each, takes less than 1,100 bytes.
struct Reader<'a> {
    payload: &'a [u8],
    at: usize,
}

impl Reader<'_> {
    fn byte(&mut self) -> Result<u8, DropReason> {
        let byte = self.payload.get(self.at).copied().ok_or(DropReason::TooShort)?;
        self.at += 1;
        Ok(byte)
    }

    fn word(&mut self) -> Result<u16, DropReason> {
        Ok(u16::from_be_bytes([self.byte()?, self.byte()?]))
    }

    fn picture_id(&mut self) -> Result<PictureId, DropReason> {
        let offset = self.at as u8;
        let high = self.byte()?;
        let long = high & 0x80 != 0;
        let value = if long { u16::from(high & 0x7f) << 8 | u16::from(self.byte()?) } else { u16::from(high) };
        Ok(PictureId { value, offset, long })
    }

    /// Sizes of the spatial layers, then the pictures of a group with their references (RFC 9628 §4.2.1). Answers the
    /// last size.
    fn scalability_structure(&mut self) -> Result<Option<(u16, u16)>, DropReason> {
        let byte = self.byte()?;
        let mut size = None;
        if byte & 0x10 != 0 {
            for _ in 0..=byte >> 5 {
                size = Some((self.word()?, self.word()?));
            }
        }
        if byte & 0x08 != 0 {
            for _ in 0..self.byte()? {
                let references = self.byte()? >> 2 & 3;
                for _ in 0..references {
                    self.byte()?;
                }
            }
        }
        Ok(size)
    }
}

/// What an RTP payload says about its picture. A key picture is not predicted from another, and starts with the lowest
/// spatial layer.
pub fn inspect(payload: &[u8]) -> super::Payload {
    let Ok(descriptor) = Descriptor::parse(payload) else { return super::Payload::default() };
    let starts_frame = descriptor.starts_picture();
    super::Payload { starts_frame, key: starts_frame && !descriptor.inter_predicted }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{super::Payload, *};

    /// Not flexible, I L B V, 15-bit id, layers 0/0, one spatial layer of 320x180 and a group of two pictures with one
    /// and two references. Drawn after RFC 9628 §4.2 and §4.2.1.
    const KEY: [u8; 16] = [0xaa, 0x92, 0x34, 0x00, 0x07, 0x18, 0x01, 0x40, 0x00, 0xb4, 2, 0x04, 1, 0x28, 1, 2];

    #[test]
    fn the_descriptor_of_a_key_picture_is_read() {
        let descriptor = Descriptor::parse(&KEY).unwrap();
        assert_eq!(
            descriptor,
            Descriptor {
                len: 16,
                inter_predicted: false,
                flexible: false,
                frame_start: true,
                frame_end: false,
                not_layer_reference: false,
                picture_id: Some(PictureId { value: 0x1234, offset: 1, long: true }),
                layers: Some(Layers { temporal: 0, switching_up: false, spatial: 0, inter_layer: false }),
                tl0_pic_idx: Some(Tl0PicIdx { value: 7, offset: 4 }),
                size: Some((320, 180)),
            }
        );
        assert_eq!(inspect(&KEY), Payload { starts_frame: true, key: true });
        for len in 0..KEY.len() {
            assert_eq!(Descriptor::parse(&KEY[..len]), Err(DropReason::TooShort), "{len}");
        }
    }

    #[test]
    fn a_flexible_descriptor_lists_up_to_three_references() {
        // I P L F B, 7-bit id, layers, no TL0PICIDX.
        let start = [0xf8, 5, 0x20];
        let parse = |references: &[u8]| Descriptor::parse(&[&start[..], references].concat()).map(|d| d.len);
        assert_eq!(parse(&[0x02]), Ok(4));
        assert_eq!(parse(&[0x03, 0x05, 0x06]), Ok(6));
        assert_eq!(parse(&[0x03, 0x05, 0x07, 0x08]), Err(DropReason::Malformed));
        assert_eq!(parse(&[0x03]), Err(DropReason::TooShort));
        assert_eq!(inspect(&[0xf8, 5, 0x20, 2]), Payload { starts_frame: true, key: false });
    }

    #[test]
    fn only_the_lowest_spatial_layer_starts_a_picture() {
        // Not predicted from an earlier picture (P clear), but from the lower layer of the same one (D).
        let upper = [0xa8, 5, 0x03, 1, 0xff];
        assert_eq!(inspect(&upper), Payload { starts_frame: false, key: false });
        let lower = [0xa8, 5, 0x00, 1, 0xff];
        assert_eq!(inspect(&lower), Payload { starts_frame: true, key: true });
        assert_eq!(inspect(&[0x08]), Payload { starts_frame: true, key: true }, "no layers, no id");
        assert_eq!(inspect(&[0x00]), Payload { starts_frame: false, key: false }, "a later packet");
    }

    #[test]
    fn the_highest_layer_of_the_structure_tells_the_size() {
        let payload = [0x0a, 0x30, 0x01, 0x40, 0x00, 0xb4, 0x02, 0x80, 0x01, 0x68];
        assert_eq!(Descriptor::parse(&payload).map(|d| (d.size, d.len)), Ok((Some((640, 360)), 10)));
    }

    #[test]
    fn the_longest_structure_is_read() {
        let mut payload = vec![0x02, 0xf8];
        payload.extend_from_slice(&[0; 32]);
        payload.push(255);
        payload.extend([0x0c, 1, 2, 3].repeat(255));
        assert_eq!(Descriptor::parse(&payload).map(|d| usize::from(d.len)), Ok(payload.len()));
    }

    proptest! {
        #[test]
        fn reading_never_panics(payload in prop::collection::vec(any::<u8>(), 0..48)) {
            let _ = inspect(&payload);
            if let Ok(descriptor) = Descriptor::parse(&payload) {
                prop_assert!(usize::from(descriptor.len) <= payload.len());
            }
        }
    }
}
