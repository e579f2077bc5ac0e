//! Quantities with their unit in the type: time, sequence numbers, rates. No meaning beyond arithmetic lives here.

pub mod rate;
pub mod seq;
pub mod time;
