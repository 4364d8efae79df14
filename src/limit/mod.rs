//! Limits, pure: state and time come in as arguments, nothing is read or kept here.
//!
//! [`gcra`] is the rate algorithm; [`set`] judges all limits of a key at one instant and commits
//! all of them or none. The state itself lives in the catalog's entries, each under a lock of its
//! own in its own cache line: the limiter is sharded down to the single key.

pub mod account;
pub mod gcra;
pub mod set;
pub mod window;

pub use account::{AccountRow, CreditDebits, Debits, NamedDebits, NamedFigures};
pub use gcra::{Rate, RateState};
pub use set::{LimitSet, LimitState};
pub use window::Period;
