//! Until when, by this clock, a signature may be used.
//!
//! A crash forgets what was used, and a machine may come up with its clock behind. So an instant that
//! is a little ahead is kept durably, and moved on in time; by a clock that is past it nothing is
//! used. A start after a crash that begins before that instant takes it for now.

use std::sync::atomic::{AtomicI64, Ordering::Relaxed};

/// How far ahead the horizon is put, in seconds: what a crash costs at most beside the lead.
pub const HORIZON_S: i64 = 15;
/// How near it is when it is moved on.
const NEAR_S: i64 = 5;

/// The instant, in seconds since 1970.
#[derive(Debug)]
pub struct Horizon(AtomicI64);

impl Default for Horizon {
    /// None: for whoever keeps nothing over a crash.
    fn default() -> Self {
        Self(AtomicI64::new(i64::MAX))
    }
}

impl Horizon {
    /// Begins with one that is durable.
    pub fn begin(&self, kept_s: i64) {
        self.0.store(kept_s, Relaxed);
    }

    /// Whether something may be used at this time.
    pub(super) fn covers(&self, now_s: i64) -> bool {
        now_s <= self.0.load(Relaxed)
    }

    /// Where it is to be put, if it is near.
    #[must_use]
    pub fn next(&self, now_s: i64) -> Option<i64> {
        let is_near = now_s.saturating_add(NEAR_S) > self.0.load(Relaxed);
        is_near.then(|| now_s.saturating_add(HORIZON_S))
    }

    /// It is durable. It never goes back while anything runs that may have used what is before it.
    pub fn kept(&self, kept_s: i64) {
        self.0.fetch_max(kept_s, Relaxed);
    }
}
