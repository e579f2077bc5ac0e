use crate::{
    command::{Command, Event},
    config::MediaConfig,
};
use tokio::{net::TcpListener, sync::mpsc};
pub async fn serve(_l: TcpListener, _c: MediaConfig, _: mpsc::Sender<Command>, _: mpsc::Sender<Event>) {}
