//! What systemd is told (`sd_notify(3)`), and when: ready, reloading, stopping, alive. Without a
//! `NOTIFY_SOCKET` nobody listens, and nothing is sent.
//!
//! "Alive" (`WatchdogSec=`) is not said by a timer that goes on whatever happens: it is said by
//! [`watch`], each time after everything without which the daemon is of no use has answered.

use std::sync::Arc;
use std::time::Duration;

use sd_notify::NotifyState;
use tokio::sync::oneshot;
use tokio::time::MissedTickBehavior;

use super::worker::Workers;
use crate::store::{Committer, Job, SubmitError};

/// How long the committer's queue is left alone when it is full.
const BUSY_WAIT: Duration = Duration::from_millis(100);

/// Everything accepts.
pub fn ready() {
    tell(&[NotifyState::Ready]);
}

/// A stop has begun.
pub fn stopping() {
    tell(&[NotifyState::Stopping]);
}

/// The configuration is being read again, until this is dropped: then the daemon is ready, as it was
/// or as it is to be. `Type=notify-reload` waits for both, and wants the first with its time
/// (systemd.service(5)).
pub struct Reloading(());

impl Reloading {
    /// Tells that it begins.
    #[must_use]
    pub fn begin() -> Self {
        match NotifyState::monotonic_usec_now() {
            Ok(at) => tell(&[NotifyState::Reloading, at]),
            // Without its time it would be taken for a mistake.
            Err(error) => tracing::warn!(%error, "systemd is not told of the reload"),
        }
        Self(())
    }
}

impl Drop for Reloading {
    fn drop(&mut self) {
        ready();
    }
}

fn tell(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::warn!(%error, "systemd could not be told {states:?}");
    }
}

/// What the daemon is of no use without, beside the control thread, which asks.
pub(super) struct Vitals {
    pub(super) workers: Arc<Workers>,
    pub(super) committer: Arc<Committer>,
}

/// What is asked whether it is alive.
trait Beat {
    /// Comes back when it is.
    fn beat(&self) -> impl Future<Output = ()> + Send;
}

impl Beat for Vitals {
    /// Comes back when every thread of the data plane has come round to its queue, and the committer
    /// has answered a job that has nothing to write. A committer that has given up on a disk that
    /// hangs says so at once, and decisions go on without it: that is for health to tell, and no
    /// reason to be killed.
    async fn beat(&self) {
        self.workers.beat().await;
        self.committed().await;
    }
}

impl Vitals {
    async fn committed(&self) {
        loop {
            let (answer, answered) = oneshot::channel();
            let done = Box::new(move |_| {
                let _ = answer.send(());
            });
            match self.committer.submit(Job { writes: Vec::new(), durable: false, done }) {
                // A sender that is dropped has answered, too.
                Ok(()) => return drop(answered.await),
                Err(SubmitError::Busy { .. }) => tokio::time::sleep(BUSY_WAIT).await,
                Err(SubmitError::Store(_) | SubmitError::Stopped) => return,
            }
        }
    }
}

/// How often it is asked in the time of a watchdog. Often, so that most of that time is for an answer
/// that is slow: of a committer that has two groups to write to a disk that hangs.
const BEATS: u32 = 6;

/// Tells systemd that the daemon is alive for as long as it is, where a watchdog is set: six times
/// in its time, when all answers at once. What does not answer any more is not told alive, and systemd
/// ends the daemon and starts it again.
pub(super) async fn watch(vitals: Vitals) {
    if let Some(time) = sd_notify::watchdog_enabled() {
        let alive = || tell(&[NotifyState::Watchdog]);
        watch_with(&vitals, time / BEATS, alive).await;
    }
}

/// Between two times alive lie at most one period and one beat.
async fn watch_with(vital: &impl Beat, period: Duration, alive: impl Fn()) {
    let mut ticks = tokio::time::interval(period);
    // A beat that took longer than a period is followed by the next at once, and that by a period.
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let beat = vital.beat();
        tokio::pin!(beat);
        if tokio::time::timeout(period, &mut beat).await.is_err() {
            tracing::error!(
                waited_ms = period.as_millis(),
                "a data-plane thread or the committer does not answer; unless it does in time, the \
                 watchdog ends the daemon"
            );
            beat.await;
        }
        alive();
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixStream;
    use std::sync::atomic::{AtomicU32, Ordering};
    use std::sync::mpsc;

    use parking_lot::Mutex;
    use tokio::sync::mpsc::unbounded_channel;
    use tokio_util::sync::CancellationToken;

    use super::super::connection::Shared;
    use super::super::deferred::Desk;
    use super::super::deferred::tests::ByHand;
    use super::super::dispatch::tests::engine;
    use super::super::worker::Accepted;
    use super::*;
    use crate::clock::{Clock, ManualClock, Now};
    use crate::config::Limits;
    use crate::store::{CommitterOptions, Keys, MemoryStore};

    const PERIOD: Duration = Duration::from_secs(20);
    const LONG: Duration = Duration::from_secs(3600);

    /// A clock that whoever reads it waits for.
    struct StuckClock(Mutex<mpsc::Receiver<()>>);

    impl Clock for StuckClock {
        fn now(&self) -> Now {
            // It ends with its sender.
            let _ = self.0.lock().recv();
            ManualClock::new(0).now()
        }
    }

    fn vitals(clock: &Arc<dyn Clock>) -> Vitals {
        let engine = Arc::new(engine());
        let workers = Workers::start(2, &CancellationToken::new(), || Shared {
            engine: Arc::clone(&engine),
            clock: Arc::clone(clock),
            limits: Limits::default(),
            answers: std::cell::RefCell::default(),
            desk: Desk::new(Arc::new(ByHand::default())),
            observer: crate::server::observe::Observers::default().add(),
            gate: crate::server::admit::tests::gate(""),
        });
        let keys = Keys::open(Arc::new(MemoryStore::new())).expect("an empty store");
        let committer = Committer::start(&keys, &CommitterOptions::default()).expect("threads");
        Vitals { workers: Arc::new(workers.expect("threads")), committer: Arc::new(committer) }
    }

    /// Whether the daemon is told alive at all, in an hour that is over at once when nothing moves.
    async fn is_silent(vitals: &Vitals) -> bool {
        let (told, mut heard) = unbounded_channel();
        let watched = watch_with(vitals, PERIOD, || {
            let _ = told.send(());
        });
        assert!(tokio::time::timeout(LONG, watched).await.is_err());
        heard.try_recv().is_err()
    }

    async fn is_told_again_and_again(vitals: &Vitals) {
        let (told, mut heard) = unbounded_channel();
        let three = async {
            for _ in 0..3 {
                heard.recv().await;
            }
        };
        tokio::select! {
            () = watch_with(vitals, PERIOD, || {
            let _ = told.send(());
        }) => {}
            () = three => {}
        }
    }

    /// What the unit gives: `WatchdogSec=120s`.
    const WATCHDOG: Duration = Duration::from_secs(120);

    #[tokio::test(start_paused = true)]
    async fn a_disk_that_is_slow_and_not_given_up_leaves_the_daemon_alive() {
        // Two groups, each just short of being given up (30 s, seen after 37.5 s at the latest).
        const SLOW: Duration = Duration::from_secs(75);
        struct Disk(AtomicU32);
        impl Beat for Disk {
            async fn beat(&self) {
                // Slow after quick ones, and slow after slow.
                if self.0.fetch_add(1, Ordering::Relaxed) % 4 >= 2 {
                    tokio::time::sleep(SLOW).await;
                }
            }
        }
        let disk = Disk(AtomicU32::new(0));
        let gap_max = WATCHDOG / BEATS + SLOW;
        assert!(gap_max < WATCHDOG);
        let (told, mut heard) = unbounded_channel();
        let alive = || {
            let _ = told.send(());
        };
        let forty = async {
            for number in 0..40 {
                // Whoever waits for two things that are due at once hears of the end first.
                let gap_max = gap_max + Duration::from_millis(1);
                let told = tokio::time::timeout(gap_max, heard.recv()).await;
                assert!(told.is_ok(), "silent for {gap_max:?} after {number} times");
            }
        };
        tokio::select! {
            () = watch_with(&disk, WATCHDOG / BEATS, alive) => {}
            () = forty => {}
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_stuck_worker_is_not_told_alive() {
        let (release, stuck) = mpsc::channel();
        let clock: Arc<dyn Clock> = Arc::new(StuckClock(Mutex::new(stuck)));
        let vitals = vitals(&clock);
        is_told_again_and_again(&vitals).await;
        // Whoever serves this reads the clock; the other thread goes on.
        let (_peer, served) = UnixStream::pair().expect("a pair");
        served.set_nonblocking(true).expect("not blocking");
        assert!(vitals.workers.hand_over(Accepted::Unix(served)));
        assert!(is_silent(&vitals).await);
        drop(release);
        is_told_again_and_again(&vitals).await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_stuck_committer_is_not_told_alive_and_one_that_has_given_up_is() {
        let clock: Arc<dyn Clock> = Arc::new(ManualClock::new(0));
        let vitals = vitals(&clock);
        is_told_again_and_again(&vitals).await;
        let (release, stuck) = mpsc::channel::<()>();
        let (held, holds) = mpsc::channel();
        // The thread that writes calls back, and is kept there.
        let done = Box::new(move |_| {
            let _ = held.send(());
            let _ = stuck.recv();
        });
        let kept = vitals.committer.submit(Job { writes: Vec::new(), durable: false, done });
        kept.expect("it takes a job");
        holds.recv().expect("it holds");
        assert!(is_silent(&vitals).await);
        drop(release);
        is_told_again_and_again(&vitals).await;
        vitals.committer.stop().expect("it stops");
        is_told_again_and_again(&vitals).await;
    }
}
