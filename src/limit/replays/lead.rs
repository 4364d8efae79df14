//! How far ahead of this clock a signature may have been made that is used.
//!
//! After a crash nothing may be taken that could have been used before: what was made before the
//! start, or as far behind it as signers' clocks are ahead. Hardly any is ahead by much, so how far
//! any was at most is kept durably, as the *lead*, and what is further ahead is not taken before that
//! is kept. A crash then costs as long as the lead, whatever signers are granted.

use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

/// Steps in which the lead is raised, in seconds. It begins with one.
pub const LEAD_STEP_S: u32 = 5;

/// The lead that has room for what is so many seconds ahead: whole steps, and one at least.
#[must_use]
pub fn lead_for(ahead_s: i64) -> u32 {
    let ahead_s = u32::try_from(ahead_s.max(0)).unwrap_or(u32::MAX);
    ahead_s.div_ceil(LEAD_STEP_S).max(1).saturating_mul(LEAD_STEP_S)
}

/// The lead that a start begins with, where signers are granted `skew_s`: the one that was kept. Where
/// none was, one step for data in which nothing can have been used, and else all that is granted.
#[must_use]
pub fn lead_at_start(kept_s: Option<u32>, is_new: bool, skew_s: u32) -> u32 {
    kept_s.unwrap_or(if is_new { LEAD_STEP_S.min(skew_s) } else { skew_s })
}

/// The lead, in seconds: what is kept, and what is asked for.
#[derive(Debug, Default)]
pub struct Lead {
    /// What a crash would leave behind.
    kept_s: AtomicU32,
    /// What was needed at most.
    wanted_s: AtomicU32,
    /// What is being kept, or was.
    asked_s: AtomicU32,
}

impl Lead {
    /// What is kept durably.
    #[must_use]
    pub fn seconds(&self) -> u32 {
        self.kept_s.load(Relaxed)
    }

    /// Whether it covers what is so many seconds ahead; if not, that is noted for [`Lead::ask`].
    pub(super) fn covers(&self, ahead_s: i64) -> bool {
        let covers = ahead_s <= i64::from(self.seconds());
        if !covers {
            self.wanted_s.fetch_max(lead_for(ahead_s), Relaxed);
        }
        covers
    }

    /// What is to be kept now, `skew_s` at most; nothing where that is under way. Whoever takes it
    /// answers with [`Lead::kept`] or [`Lead::not_kept`].
    #[must_use]
    pub fn ask(&self, skew_s: u32) -> Option<u32> {
        let wanted_s = self.wanted_s.load(Relaxed).min(skew_s);
        if wanted_s <= self.asked_s.load(Relaxed) {
            return None;
        }
        (wanted_s > self.asked_s.fetch_max(wanted_s, Relaxed)).then_some(wanted_s)
    }

    /// It is durable.
    pub fn kept(&self, seconds: u32) {
        self.kept_s.fetch_max(seconds, Relaxed);
        self.asked_s.fetch_max(seconds, Relaxed);
    }

    /// What was asked for could not be kept: the next that needs it asks again.
    pub fn not_kept(&self) {
        let kept_s = self.seconds();
        self.wanted_s.store(kept_s, Relaxed);
        self.asked_s.store(kept_s, Relaxed);
    }
}
