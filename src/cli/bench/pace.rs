//! When requests are due.

use std::io;
use std::os::fd::OwnedFd;
use std::task::{Context, Poll};

use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create,
    timerfd_settime,
};
use tokio::io::unix::AsyncFd;

const NS_PER_S: u64 = 1_000_000_000;

/// The instants at which one lane's requests are due: the run's requests are spaced evenly and dealt
/// to the lanes in turn. Computed from the start each time, so that rounding never adds up.
#[derive(Debug)]
pub(super) struct Schedule {
    start_ns: u64,
    lane: u32,
    lanes: u32,
    /// Requests a second of all lanes together, at least 1.
    rate: u32,
    /// Which of this lane's requests is next.
    next: u64,
}

impl Schedule {
    pub(super) const fn new(start_ns: u64, lane: u32, lanes: u32, rate: u32) -> Self {
        Self { start_ns, lane, lanes, rate, next: 0 }
    }

    /// When the next request is due.
    pub(super) fn due_ns(&self) -> u64 {
        let number = u128::from(self.next) * u128::from(self.lanes) + u128::from(self.lane);
        let after = number * u128::from(NS_PER_S) / u128::from(self.rate);
        self.start_ns.saturating_add(u64::try_from(after).unwrap_or(u64::MAX))
    }

    /// Takes the next request.
    pub(super) const fn advance(&mut self) {
        self.next += 1;
    }

    /// How many requests from the next on are due before an instant.
    pub(super) fn left_before(&self, until_ns: u64) -> u64 {
        let span = u128::from(until_ns.saturating_sub(self.start_ns));
        // Request n is due before `until` when n × 10⁹ / rate, rounded down, is less than the span.
        let of_all = (span * u128::from(self.rate)).div_ceil(u128::from(NS_PER_S));
        let of_lane = of_all.saturating_sub(u128::from(self.lane)).div_ceil(u128::from(self.lanes));
        u64::try_from(of_lane).unwrap_or(u64::MAX).saturating_sub(self.next)
    }
}

/// Wakes a lane after a span. The runtime's own timers round up to a millisecond, which at ten
/// thousand requests a second would send ten at once.
pub(super) struct Timer {
    fd: AsyncFd<OwnedFd>,
    /// For when it is set; a wake that has come leaves it in the past.
    set_ns: u64,
}

impl Timer {
    /// # Errors
    /// When the system has no descriptor left.
    pub(super) fn new() -> io::Result<Self> {
        let flags = TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC;
        let fd = timerfd_create(TimerfdClockId::Monotonic, flags)?;
        #[expect(
            deprecated,
            reason = "its successor is unsafe code; what that one demands, a descriptor that stays \
                      open and the same, an OwnedFd gives"
        )]
        let fd = AsyncFd::new(fd)?;
        Ok(Self { fd, set_ns: 0 })
    }

    /// Has this task woken at `wake_ns`, which is after `now_ns`; a wake from an earlier call may come
    /// before.
    pub(super) fn wake_at(
        &mut self,
        wake_ns: u64,
        now_ns: u64,
        cx: &mut Context<'_>,
    ) -> io::Result<()> {
        // An answer has come in between; setting it again would cost a system call for nothing.
        if self.set_ns == wake_ns {
            return Ok(());
        }
        // All zero would disarm it.
        let wait_ns = wake_ns.saturating_sub(now_ns).max(1);
        let seconds = i64::try_from(wait_ns / NS_PER_S).unwrap_or(i64::MAX);
        let rest = i64::try_from(wait_ns % NS_PER_S).unwrap_or(0);
        let once = Itimerspec {
            it_interval: Timespec { tv_sec: 0, tv_nsec: 0 },
            it_value: Timespec { tv_sec: seconds, tv_nsec: rest },
        };
        timerfd_settime(self.fd.get_ref(), TimerfdTimerFlags::empty(), &once)?;
        self.set_ns = wake_ns;
        // Setting the timer took back the ticks that had not been read, but not the readiness that
        // the runtime remembers of them.
        while let Poll::Ready(ready) = self.fd.poll_read_ready(cx) {
            ready?.clear_ready();
        }
        Ok(())
    }
}
