//! Who may do what in which room: tickets, rooms, members and the wires by which clients ask.
//!
//! Everything that has a name, a password or JSON lives here, and nothing that has a packet. Media is reached through one
//! door: [`media::Command`]s go out over a bounded channel, [`media::Event`]s come in over another, and both sides speak
//! of rooms, streams and transports by number.
//!
//! A request's walk: a *dialect* ([`dialect`], [`connection`], [`rest`]) turns an outside wire into a request; [`auth`] says
//! whether the ticket allows it; [`request`] applies it to a [`room::Room`], which is sans-IO and answers with
//! [`room::Output`]s; the [`hub::Hub`] carries those out.

pub mod api;
pub mod auth;
pub mod callback;
pub mod code;
pub mod config;
pub mod connection;
pub mod dialect;
pub mod fields;
mod frames;
pub mod hub;
pub mod link;
pub mod member;
pub mod message;
pub mod name;
pub mod offer;
pub mod quality;
pub mod relay;
pub mod request;
pub mod rest;
pub mod room;
pub mod store;
mod trust;

pub use api::{Api, ApiConfig};
pub use auth::{
    authorise::Privilege,
    issue::{IssueError, TicketVersion, issue_private_map_key, issue_user_sig},
};
pub use callback::{CallbackConfig, Callbacks, target::Url as CallbackUrl};
pub use code::Code;
pub use config::{AppConfig, ConfigError, PlayPolicy, PrivateMapKeyPolicy, RightsEnd, SignalingConfig};
pub use dialect::weapp::RoomServiceConfig;
pub use hub::Hub;
pub use name::{RoomName, StreamName};
pub use rest::router;
pub use store::{Store, StoreError};

#[cfg(test)]
mod protocol_tests;
