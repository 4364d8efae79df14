//! What is done once a second for signatures that were used: too old ones are forgotten, and the
//! instant until which any may be used is moved on.

use std::sync::Arc;
use std::time::Duration;

use crate::clock::Clock;
use crate::engine::Engine;
use crate::limit::Replays;
use crate::store::rows::{HorizonFact, SIGNING_HORIZON, SIGNING_HORIZON_SCHEMA};
use crate::store::{Committer, Job, StoreError, Write as Row};

const PERIOD: Duration = Duration::from_secs(1);

/// What keeps a horizon.
///
/// # Errors
/// Of the envelope's form.
pub(in crate::server) fn horizon(until_s: i64) -> Result<Row, StoreError> {
    Row::fact(SIGNING_HORIZON, SIGNING_HORIZON_SCHEMA, &HorizonFact { until_s })
        .map_err(|error| StoreError::corrupt(error.to_string()))
}

/// Does it until it is dropped.
pub(in crate::server) async fn keep(
    engine: Arc<Engine>,
    committer: Arc<Committer>,
    clock: Arc<dyn Clock>,
) {
    let mut ticks = tokio::time::interval(PERIOD);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let now = clock.now();
        move_on(&engine, &committer, now.wall_us.div_euclid(1_000_000));
        for _ in 0..Replays::SWEEPS {
            if engine.replays().is_empty() {
                break;
            }
            engine.sweep_replays(now);
            tokio::task::yield_now().await;
        }
    }
}

/// Has the horizon moved on where it is near, and any key demands signatures: others write nothing.
/// Nobody waits for it; one that cannot be written is asked for again with the next tick.
fn move_on(engine: &Arc<Engine>, committer: &Committer, now_s: i64) {
    if !engine.demands_signatures() {
        return;
    }
    let Some(until_s) = engine.replays().horizon().next(now_s) else { return };
    let answered = Arc::clone(engine);
    let done = Box::new(move |written: Result<(), _>| {
        // A failure of the store is told by others.
        if written.is_ok() {
            answered.replays().horizon().kept(until_s);
        }
    });
    let job = horizon(until_s).map(|row| Job { writes: vec![row], durable: true, done });
    if !job.is_ok_and(|job| committer.submit(job).is_ok()) {
        tracing::debug!("the time of used signatures could not be kept; keygate will try again");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limit::{Age, Refusal, Used};
    use crate::store::{CommitterOptions, Keys, MemoryStore};

    const NOW_S: i64 = 1_800_000_000;

    #[test]
    fn the_horizon_is_moved_on_before_it_is_met_and_nothing_is_used_behind_it() {
        let keys = Keys::open(Arc::new(MemoryStore::new())).expect("an empty store");
        let committer = Committer::start(&keys, &CommitterOptions::default()).expect("threads");
        let engine = Arc::new(crate::server::dispatch::tests::engine());
        let replays = engine.replays();
        replays.set_room(1024);
        replays.horizon().begin(NOW_S + 15);
        let used = |now_s: i64| {
            let mut digest = [0; 32];
            digest[..8].copy_from_slice(&now_s.to_le_bytes());
            replays.reserve(&Used::new(7, &digest, now_s), Age { now_s, max_s: 300 })
        };
        let durable = || {
            let fact = keys.fact::<HorizonFact>(SIGNING_HORIZON, SIGNING_HORIZON_SCHEMA);
            fact.expect("readable").map(|fact| fact.until_s)
        };
        let tick = |now_s| {
            move_on(&engine, &committer, now_s);
            // Behind it in the queue, so it is done.
            committer.commit(Vec::new(), true).expect("written");
        };
        assert_eq!((used(NOW_S + 15), used(NOW_S + 16)), (Ok(()), Err(Refusal::Ahead)));
        tick(NOW_S + 16);
        assert_eq!(durable(), None, "no key demands signatures");
        engine.note_demand_of_signatures();
        tick(NOW_S + 10);
        assert_eq!(durable(), None, "it is not near");
        tick(NOW_S + 16);
        assert_eq!((durable(), used(NOW_S + 16)), (Some(NOW_S + 31), Ok(())));
        // The clock is set back: what it was used by before stays covered.
        tick(NOW_S - 3600);
        assert_eq!(durable(), Some(NOW_S + 31));
    }
}
