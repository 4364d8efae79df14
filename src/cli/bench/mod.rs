//! The load generator: asks a running daemon over its data socket, and a bare echo beside it.
//!
//! Closed loop: each connection keeps `depth` requests in flight and asks again as answers come.
//! Open loop (`rate`): requests are due at fixed instants whether or not answers have come, and a
//! latency is counted from the instant at which its request was *due*, so that time spent queueing
//! behind a slow answer is in the figures ("coordinated omission" is not).
//!
//! The echo is the yardstick: what a Unix socket and this generator cost with nothing behind them.
//! A run is made of rounds, each with new connections and threads, and the echo is measured before
//! and after the daemon in each: machines drift, and on some a round trip costs ten times as much
//! when the scheduler puts its two ends on two cores. The ratio of a round stands on equal ground;
//! the median of those ratios is the figure to trust.
//!
//! It shares no machinery with the client on purpose: what is measured here is the
//! daemon. In reading order: [`run`], `lane` (one connection), `pace` (when requests are due),
//! `echo`, `tally` (what was counted), [`Report`].

mod echo;
mod error;
mod lane;
mod pace;
mod report;
mod tally;
#[cfg(test)]
mod tests;

use std::cell::RefCell;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use keygate_protocol::limits::TOKEN_BYTES_MAX;
use tokio::runtime;
use tokio::task::{JoinSet, LocalSet};
use zeroize::Zeroizing;

pub use error::BenchError;
pub use report::{Figures, Latency, Report, Round, Shape};

use crate::clock::SystemClock;
use lane::{Lane, Peer};
use tally::Tally;

/// Most connections of one run.
pub const CONNECTIONS_MAX: u32 = 10_000;
/// Most requests in flight on one connection.
pub const DEPTH_MAX: u32 = 10_000;
/// Most requests a second, over all connections.
pub const RATE_MAX: u32 = 100_000_000;
/// Most rounds of one run.
pub const ROUNDS_MAX: u32 = 1000;
/// Longest run.
pub const DURATION_MAX: Duration = Duration::from_secs(24 * 60 * 60);

/// What to measure. Has no `Debug`: it holds tokens.
pub struct Plan {
    /// The daemon's data socket.
    pub socket: PathBuf,
    /// Tokens to ask about, picked at random: at least one, each at most 512 bytes.
    pub tokens: Vec<Zeroizing<String>>,
    /// Connections: 1 to [`CONNECTIONS_MAX`].
    pub connections: u32,
    /// Most requests in flight on each connection: 1 to [`DEPTH_MAX`].
    pub depth: u32,
    /// Requests a second over all connections, 1 to [`RATE_MAX`]; `None` is the closed loop.
    pub rate: Option<u32>,
    /// How long the daemon is measured, over all rounds; the echo takes half as long again.
    pub duration: Duration,
    /// Into how many rounds that is divided: 1 to [`ROUNDS_MAX`].
    pub rounds: u32,
    /// Load that is not measured, before each measurement of each round.
    pub warmup: Duration,
    /// How long to wait, when all has been asked, for the last answers.
    pub patience: Duration,
}

impl Plan {
    /// One connection, one request in flight, closed loop, ten seconds in ten rounds.
    #[must_use]
    pub const fn new(socket: PathBuf, tokens: Vec<Zeroizing<String>>) -> Self {
        Self {
            socket,
            tokens,
            connections: 1,
            depth: 1,
            rate: None,
            duration: Duration::from_secs(10),
            rounds: 10,
            warmup: Duration::from_millis(50),
            patience: Duration::from_secs(5),
        }
    }

    /// Shows the plan to be within its bounds; [`run`] does so too.
    pub(super) fn check(&self) -> Result<(), BenchError> {
        let wrong = |what| Err(BenchError::Plan { what });
        if !(1..=CONNECTIONS_MAX).contains(&self.connections) {
            return wrong("connections must be 1 to 10,000");
        }
        if !(1..=DEPTH_MAX).contains(&self.depth) {
            return wrong("depth must be 1 to 10,000");
        }
        if self.rate.is_some_and(|rate| !(1..=RATE_MAX).contains(&rate)) {
            return wrong("rate must be 1 to 100,000,000 requests a second");
        }
        if !(1..=ROUNDS_MAX).contains(&self.rounds) {
            return wrong("rounds must be 1 to 1,000");
        }
        if self.duration.is_zero() || self.duration > DURATION_MAX || self.warmup > DURATION_MAX {
            return wrong("duration must be above 0 and at most a day");
        }
        if self.tokens.is_empty() || self.tokens.iter().any(|it| it.len() > TOKEN_BYTES_MAX) {
            return wrong("there must be at least one token, and none longer than 512 bytes");
        }
        Ok(())
    }

    /// Threads that ask. Half of the machine is left to the daemon, which runs on it too.
    fn threads(&self) -> u32 {
        let cores = thread::available_parallelism().map_or(1, usize::from);
        u32::try_from(cores / 2).unwrap_or(u32::MAX).clamp(1, self.connections)
    }
}

/// Measures as planned: echo, daemon, echo, daemon, …, echo. Blocks its thread; makes threads of
/// its own.
///
/// # Errors
/// [`BenchError`] when the plan is out of bounds, the daemon cannot be reached, closes a connection,
/// answers something else than it was asked, or does not answer in time.
pub fn run(plan: Plan) -> Result<Report, BenchError> {
    plan.check()?;
    let plan = Arc::new(plan);
    let clock = SystemClock::default();
    let slice = plan.duration / plan.rounds;
    let mut echo = vec![measure_echo(&plan, clock, slice / 2)?];
    let mut keygate = Vec::new();
    for _ in 0..plan.rounds {
        let streams = connect(&plan)?;
        keygate.push(measure(&plan, clock, Peer::Keygate, slice, streams)?);
        echo.push(measure_echo(&plan, clock, slice / 2)?);
    }
    Ok(Report::new(Shape::of(&plan), &keygate, &echo))
}

fn connect(plan: &Plan) -> Result<Vec<UnixStream>, BenchError> {
    let one = |_| UnixStream::connect(&plan.socket);
    (0..plan.connections)
        .map(one)
        .collect::<Result<_, _>>()
        .map_err(|source| BenchError::Connect { socket: plan.socket.clone(), source })
}

fn measure_echo(
    plan: &Arc<Plan>,
    clock: SystemClock,
    duration: Duration,
) -> Result<Tally, BenchError> {
    let (streams, echo) = echo::start(plan.connections).map_err(BenchError::Machine)?;
    let tally = measure(plan, clock, Peer::Echo, duration, streams);
    // The lanes are gone and their sockets with them, which ends the echo.
    echo.join().map_err(BenchError::Machine)?;
    tally
}

/// What every lane of one measurement shares.
#[derive(Clone)]
struct Course {
    plan: Arc<Plan>,
    clock: SystemClock,
    peer: Peer,
    /// When the first request is due.
    start_ns: u64,
    /// Requests are measured from here, when the warm-up is over …
    from_ns: u64,
    /// … and none is asked from here on.
    until_ns: u64,
}

impl Course {
    const fn duration(&self) -> Duration {
        Duration::from_nanos(self.until_ns - self.from_ns)
    }
}

fn measure(
    plan: &Arc<Plan>,
    clock: SystemClock,
    peer: Peer,
    duration: Duration,
    streams: Vec<UnixStream>,
) -> Result<Tally, BenchError> {
    let start_ns = clock.mono_ns();
    let from_ns = start_ns + nanoseconds(plan.warmup);
    let until_ns = from_ns + nanoseconds(duration);
    let course = Course { plan: Arc::clone(plan), clock, peer, start_ns, from_ns, until_ns };
    let threads = plan.threads();
    let mut shares: Vec<Vec<(u32, UnixStream)>> = (0..threads).map(|_| Vec::new()).collect();
    for (number, stream) in (0..).zip(streams) {
        shares[(number % threads) as usize].push((number, stream));
    }
    thread::scope(|scope| {
        let course = &course;
        let begin = |share| scope.spawn(move || lanes(share, course));
        let running: Vec<_> = shares.into_iter().map(begin).collect();
        let mut sum = Tally::new(course.duration());
        for thread in running {
            let part = thread.join().map_err(|_| BenchError::Panicked)??;
            sum.add(&part);
        }
        Ok(sum)
    })
}

/// Drives one thread's share of the connections.
fn lanes(share: Vec<(u32, UnixStream)>, course: &Course) -> Result<Tally, BenchError> {
    let runtime =
        runtime::Builder::new_current_thread().enable_all().build().map_err(BenchError::Machine)?;
    let tally = Rc::new(RefCell::new(Tally::new(course.duration())));
    let local = LocalSet::new();
    local.block_on(&runtime, async {
        let mut running = JoinSet::new();
        for (number, stream) in share {
            let lane = Lane::new(number, stream, course.clone(), Rc::clone(&tally));
            running.spawn_local(lane.map_err(BenchError::Machine)?.drive());
        }
        while let Some(lane) = running.join_next().await {
            lane.map_err(|_| BenchError::Panicked)??;
        }
        Ok::<(), BenchError>(())
    })?;
    Ok(tally.replace(Tally::new(Duration::ZERO)))
}

fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
