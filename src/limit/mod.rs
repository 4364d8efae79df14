//! Limits, pure: state and time come in as arguments, nothing is read or kept here.
//!
//! [`gcra`] is the rate algorithm; [`set`] judges all limits of a key at one instant and commits
//! all of them or none; [`slots`] are the requests under way, [`window`] the calendar, and [`spent`]
//! says what becomes of what was spent when a limit changes. The state itself lives in the catalog's entries, each under a lock of its
//! own in its own cache line: the limiter is sharded down to the single key.

pub mod account;
pub mod gcra;
pub mod set;
pub mod slots;
pub mod spent;
pub mod window;

pub use account::{AccountRow, CreditDebits, Debits, NamedDebits, NamedFigures};
pub use gcra::{Rate, RateState};
pub use set::{LimitSet, LimitState};
pub use slots::{Slot, Slots};
pub use spent::Spent;
pub use window::{Calendar, Period, Refill, Window, refill_window};
