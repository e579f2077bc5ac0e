//! A message of RTMP, which is a tag of FLV: the unit in which streams reach players. Defined by [`flv`](crate::flv).

pub use crate::flv::{Tag, TagKind};
