//! `resume`: comes back after the connection was lost. Like `enter` it is the first request of a connection, and
//! [`crate::hub`] applies it.

use std::fmt;

use serde::Serialize;

use crate::{code::Fault, fields::Fields};

/// Its `Debug` form has no token.
#[derive(Clone, PartialEq, Serialize)]
pub struct Resume {
    #[serde(rename = "resumeToken")]
    pub token: String,
    /// Of the last message that arrived; 0 if none.
    pub seq: u64,
}

impl Resume {
    pub fn read(fields: &Fields<'_>) -> Result<Resume, Fault> {
        /// Bytes of a token. Ours are shorter.
        const TOKEN_BYTES_MAX: usize = 64;
        const SEQ_MAX: u64 = (1 << 53) - 1;
        let token = fields.text("resumeToken", TOKEN_BYTES_MAX)?.to_owned();
        Ok(Resume { token, seq: fields.number("seq", SEQ_MAX)? })
    }
}

impl fmt::Debug for Resume {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Resume").field("seq", &self.seq).finish_non_exhaustive()
    }
}
