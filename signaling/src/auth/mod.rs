//! Tickets: reading them, judging them, making them.
//!
//! A *userSig* says who somebody is, a *privateMapKey* what he may do in one room; both come signed by the app's server, in
//! version 1 (ECDSA) or version 2 (HMAC). A *signed URL* (`txSecret`, `txTime`) stands for both where a client can carry
//! nothing but a URL. [`authorise::Authority::authorise`] is the only judge, for every protocol.
//!
//! What lives here never sees a connection, a room's state or a clock: texts and the Unix time in, a grant or a code out.

pub mod authorise;
pub mod envelope;
pub mod issue;
pub mod key;
pub mod once;
pub mod rate;
pub mod url;
pub mod userbuf;
pub mod v1;
pub mod v2;

#[cfg(test)]
pub(crate) mod tests;
