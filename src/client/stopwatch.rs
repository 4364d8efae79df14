//! The only file of the client that reads time. The client lives in other people's processes, so
//! nobody hands it the daemon's clock.

use std::time::{Duration, Instant};

/// The runtime's time, in which deadlines are. Tests advance it by hand.
pub(super) fn now() -> tokio::time::Instant {
    tokio::time::Instant::now()
}

/// Measures how long something took.
#[derive(Debug, Clone, Copy)]
pub(super) struct Stopwatch(Instant);

impl Stopwatch {
    pub(super) fn start() -> Self {
        Self(Instant::now())
    }

    pub(super) fn read(self) -> Duration {
        self.0.elapsed()
    }

    /// What is left of `timeout`, or `None` when nothing is.
    pub(super) fn left_of(self, timeout: Duration) -> Option<Duration> {
        timeout.checked_sub(self.read()).filter(|left| !left.is_zero())
    }
}
