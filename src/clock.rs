//! The only file that reads time. Everything else is told what time it is.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// One instant, on both clocks. Read once for all the requests of one read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Now {
    /// Nanoseconds since the clock was made; never steps back. Rates are judged by it.
    pub mono_ns: u64,
    /// Microseconds since the start of 1970, UTC; may step. Expiry and windows are judged by it.
    pub wall_us: i64,
}

/// Where time comes from.
pub trait Clock: Send + Sync {
    /// This instant.
    fn now(&self) -> Now;

    /// The monotonic side of it alone, for who measures how long something took.
    fn mono_ns(&self) -> u64 {
        self.now().mono_ns
    }
}

/// The machine's clocks.
#[derive(Debug, Clone, Copy)]
pub struct SystemClock {
    start: Instant,
}

impl Default for SystemClock {
    fn default() -> Self {
        Self { start: Instant::now() }
    }
}

impl SystemClock {
    /// Nanoseconds since this clock was made.
    #[must_use]
    pub fn mono_ns(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }
}

impl Clock for SystemClock {
    fn now(&self) -> Now {
        // A clock set before 1970 is read as 1970: nothing expires early because of it.
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Now {
            mono_ns: self.mono_ns(),
            wall_us: i64::try_from(wall.as_micros()).unwrap_or(i64::MAX),
        }
    }

    fn mono_ns(&self) -> u64 {
        Self::mono_ns(self)
    }
}

/// A clock that a test moves.
#[derive(Debug)]
pub struct ManualClock {
    mono_ns: AtomicU64,
    wall_us: AtomicI64,
}

impl ManualClock {
    /// A clock that stands at this wall time (microseconds since 1970), its monotonic side at 0.
    #[must_use]
    pub const fn new(wall_us: i64) -> Self {
        Self { mono_ns: AtomicU64::new(0), wall_us: AtomicI64::new(wall_us) }
    }

    /// Lets time pass on both sides.
    pub fn advance_us(&self, us: u32) {
        self.mono_ns.fetch_add(u64::from(us) * 1000, Ordering::Relaxed);
        self.wall_us.fetch_add(i64::from(us), Ordering::Relaxed);
    }

    /// Steps the wall clock, as an operator or NTP may.
    pub fn step_wall_us(&self, us: i64) {
        self.wall_us.fetch_add(us, Ordering::Relaxed);
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Now {
        Now {
            mono_ns: self.mono_ns.load(Ordering::Relaxed),
            wall_us: self.wall_us.load(Ordering::Relaxed),
        }
    }
}
