//! Limits, pure: state and time come in as arguments, nothing is read or kept here.
//!
//! [`judge`] is what is asked of all limits at one instant. [`second`] is the rate per second, by
//! [`gcra`]; [`budget`] has all other limits of a key or a tenant: [`quota`] for those that survive
//! a crash, in windows of the calendar ([`window`]), [`slots`] for the requests under way,
//! `credits` for a balance and `named` for limits with a name. [`terms`] is what a record says of them, [`spent`] what becomes of
//! what was spent when that changes, [`account`] what the ledger keeps. [`throttle`] says how fast lookups may fail,
//! [`replays`] which signatures were used. The state itself lies in the
//! catalog's entries and beside them, each under a lock of its own: the limiter is sharded down to
//! the single key.

pub mod account;
pub mod budget;
mod credits;
mod demand;
pub mod gcra;
pub mod judge;
mod named;
pub mod quota;
pub mod replays;
pub mod second;
pub mod slots;
pub mod spent;
pub mod terms;
pub mod throttle;
pub mod window;

pub use account::{AccountRow, CreditDebits, Debits, NamedDebits, NamedFigures};
pub use budget::{Budget, Debit, FigureOf, Figures, NamedPlaces};
pub use credits::{CreditTerms, RefillTerms};
pub use gcra::{Rate, RateState};
pub use judge::{Ask, Judging, LedgerState, Names, Reports, Windows, code_of};
pub use named::{NamedForm, NamedTerms};
pub use quota::UNLIMITED;
pub use replays::{Age, Refusal, Replays, Room, Used, lead_at_start, lead_for};
pub use second::PerSecond;
pub use slots::{Slot, Slots};
pub use spent::Spent;
pub use terms::{Change, SLOT_TTL_MS, Terms};
pub use throttle::{FailureRate, Throttle};
pub use window::{Calendar, Period, Refill, Window, refill_window};
