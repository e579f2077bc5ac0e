use crate::{codec::Codec, config::MediaConfig, buf::pipe::PipeReader, driver::outlet::Outlet};
use std::sync::Arc;
pub fn spawn_egress(_: &MediaConfig, _: PipeReader, _: bool, _: Option<Codec>, _: Arc<Outlet>) { todo!() }
