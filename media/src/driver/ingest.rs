use crate::{
    bridge::tag::Tag, buf::pipe::PipeWriter, codec::Codec, config::MediaConfig, driver::outlet::Outlet,
    units::time::WallClock,
};
use std::{sync::Arc, time::Instant};
pub struct IngestHandle;
impl IngestHandle {
    pub fn stop(&self) {}
}
pub struct IngestSink {
    pub pipe: PipeWriter,
    pub outlet: Arc<Outlet>,
    pub on_tracks: Box<dyn Fn(Option<Codec>, Option<Codec>) + Send>,
    pub on_end: Box<dyn FnOnce() + Send>,
    pub clock: (WallClock, Instant),
}
pub fn spawn_ingest(_: &MediaConfig, _s: IngestSink) -> (tokio::sync::mpsc::Sender<Tag>, IngestHandle) {
    todo!()
}
