use crate::{buf::pipe::PipeReader, codec::Codec, config::MediaConfig, driver::outlet::Outlet};
use std::sync::Arc;
pub fn spawn_egress(_: &MediaConfig, _: PipeReader, _: bool, _: Option<Codec>, _: Arc<Outlet>) {
    todo!()
}
