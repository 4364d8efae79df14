//! When somebody is to be told, and what of it is still to be said. Pure: figures, records and the
//! time come in as arguments.
//!
//! [`rules`] is what a record demands, [`state`] what was said before, so that a crossing is told
//! once, also across restarts. [`quota`], [`spike`] (over a [`window`]) and [`dates`] are the
//! conditions, [`judge()`] all of them of one key; [`brute`] is the one of the daemon. [`words`] says a
//! finding to people and programs. [`outbox`] is what waits for its delivery, each destination in
//! order and each tenant by itself, by the schedule of [`attempts`]; [`endpoint`] what is kept of a web hook.

pub mod attempts;
pub mod brute;
pub mod dates;
pub mod endpoint;
mod entry;
pub mod judge;
pub mod outbox;
mod queue;
pub mod quota;
pub mod rules;
pub mod spike;
pub mod state;
mod turns;
pub mod window;
pub mod words;

pub use endpoint::{EndpointRow, EndpointRow1, SecretRow, StoredEndpoint};
pub use entry::{Entry, EntryState, OutboxRow, Outcome, Route};
pub use judge::{Finding, Sight, judge};
pub use outbox::Outbox;
pub use rules::Rules;
pub use state::KeyState;

/// A share in parts of a million: what is compared is whole.
pub type Ppm = u32;

/// The whole of it.
pub const PPM: u64 = 1_000_000;

/// A share of a record, 0 to 1, in parts of a million.
#[must_use]
pub fn ppm(share: f64) -> Ppm {
    // Rounded and clamped, so it fits; what is no number is 0.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0 to a million")]
    let ppm = (share.clamp(0.0, 1.0) * PPM as f64).round() as Ppm;
    ppm
}

/// Whether `part` of `whole` is at least a share.
#[must_use]
pub(crate) fn reaches(part: u64, whole: u64, share: Ppm) -> bool {
    u128::from(part) * u128::from(PPM) >= u128::from(whole) * u128::from(share)
}
