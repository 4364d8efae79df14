//! The thread that finds alerts: it looks once a second at what has moved, and alone writes.

mod operator;
mod walk;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use crossbeam::channel::{Receiver, RecvTimeoutError};
use keygate_protocol::LimitName;

use super::endpoints::{self, Of};
use super::making::{self, Made};
use super::shared::{Shared, Signal, StoppedKey};
use super::watched::Keys;
use crate::alert::brute::BruteForce;
use crate::alert::quota::Month;
use crate::alert::state::DaemonState;
use crate::alert::window::Sample;
use crate::alert::{Finding, KeyState, Rules, Sight, judge, rules};
use crate::clock::Now;
use crate::engine::Account;
use crate::limit::FigureOf;
use crate::store::rows::{ALERTS, ALERTS_SCHEMA};
use crate::store::{StoreError, Write};

/// Between two looks.
const TICK: Duration = Duration::from_secs(1);
const TICK_NS: u64 = 1_000_000_000;

/// Keys that are looked at in one tick; the others come in the next.
const LOOKS_MAX: usize = 5_000;

/// Keys that were stopped and wait to be told of while the store is busy.
const STOPPED_WAIT_MAX: usize = 10_000;

/// Rows of the outbox that are written at a time.
const ROWS_MAX: usize = 200;

/// How a record came to be looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Seen {
    /// At the start.
    First,
    /// By a walk over all.
    Walk,
    /// It was changed.
    Changed {
        /// Its status was set.
        status_set: bool,
    },
}

pub(super) struct Monitor {
    shared: Arc<Shared>,
    signals: Receiver<Signal>,
    pub(super) keys: Keys,
    daemon: DaemonState,
    brute: BruteForce,
    latched: Said,
    audit: Said,
    /// Keys that were stopped, and nothing could be written.
    stopped_waits: Vec<StoppedKey>,
    /// Endpoints that no key named at the last walk, nor the operator.
    unnamed: BTreeSet<Of>,
    /// Those of which that is so for the second time.
    unneeded: BTreeSet<Of>,
    ticked_ns: u64,
    /// When all records were last looked through; `None` before the first time.
    walked_ns: Option<u64>,
    /// When a walk that failed is made again.
    walk_again_ns: Option<u64>,
}

/// What was said of something that lasts.
#[derive(Debug, Clone, Copy, Default)]
struct Said {
    /// To the journal.
    noted: bool,
    /// To the operator.
    told: bool,
}

impl Monitor {
    /// With what was said before.
    pub(super) fn open(shared: Arc<Shared>, signals: Receiver<Signal>) -> Result<Self, StoreError> {
        let mut keys = Keys::default();
        shared.keys.for_each_alert_state(|id, state| {
            match state {
                Ok(state) => keys.restore(id, state),
                // It may be said once more.
                Err(error) => tracing::error!(key = id, %error, "what was said is not known"),
            }
            Ok::<(), StoreError>(())
        })?;
        let daemon: DaemonState = shared.keys.fact(ALERTS, ALERTS_SCHEMA)?.unwrap_or_default();
        let brute = BruteForce::restored(daemon.brute_force);
        Ok(Self {
            shared,
            signals,
            keys,
            daemon,
            brute,
            latched: Said::default(),
            audit: Said::default(),
            stopped_waits: Vec::new(),
            unnamed: BTreeSet::new(),
            unneeded: BTreeSet::new(),
            ticked_ns: 0,
            walked_ns: None,
            walk_again_ns: None,
        })
    }

    pub(super) fn run(mut self) {
        self.begin();
        loop {
            match self.signals.recv_timeout(TICK) {
                Ok(Signal::Stop) | Err(RecvTimeoutError::Disconnected) => break,
                Ok(signal) => self.hear(signal),
                Err(RecvTimeoutError::Timeout) => {}
            }
            let now = self.shared.clock.now();
            if now.mono_ns.saturating_sub(self.ticked_ns) >= TICK_NS {
                self.tick(now);
            }
        }
        self.write_rows();
    }

    /// What it is told.
    #[cfg(test)]
    pub(super) fn signals(&self) -> &Receiver<Signal> {
        &self.signals
    }

    /// Before the first look.
    pub(super) fn begin(&mut self) {
        if self.daemon.began_us == 0 {
            self.daemon.began_us = self.shared.clock.now().wall_us;
            if let Some(write) = self.daemon_write()
                && let Err(error) = self.shared.committer.commit(vec![write], true)
            {
                tracing::warn!(%error, "that alerts are looked for from here on is not stored");
            }
        }
        // What is counted from here on is of the first minute.
        self.look_at_tokens(self.shared.clock.now());
        self.walk(self.shared.clock.now());
    }

    pub(super) fn hear(&mut self, signal: Signal) {
        match signal {
            Signal::Moved(ids) => self.keys.moved(&ids),
            Signal::Changed { id, status_set } => self.changed(id, status_set),
            Signal::Stopped(key) => self.stopped(*key),
            Signal::Walk => self.shared.lost.store(true, Ordering::Release),
            Signal::Settled => self.write_rows(),
            Signal::Stop => {}
        }
    }

    /// One look.
    pub(super) fn tick(&mut self, now: Now) {
        self.ticked_ns = now.mono_ns;
        let interval_ns = self.shared.settings.read().walk_interval_ns;
        let walked_ns = self.walked_ns.unwrap_or_default();
        let lost = self.shared.lost.swap(false, Ordering::AcqRel);
        let again = self.walk_again_ns.is_some_and(|at_ns| now.mono_ns >= at_ns);
        if lost || again || now.mono_ns.saturating_sub(walked_ns) >= interval_ns {
            self.walk(now);
        }
        std::mem::take(&mut self.stopped_waits).into_iter().for_each(|key| self.stopped(key));
        self.look_at_hooks();
        self.remove_unneeded();
        self.look_at_latch();
        self.look_at_audit();
        self.keys.turn(now.wall_us);
        for _ in 0..LOOKS_MAX {
            let Some(id) = self.keys.next_to_look() else { break };
            if self.look(id, now) == Made::Later {
                self.keys.look_at(id);
                break;
            }
        }
        self.look_at_tokens(now);
        self.shared.outbox.lock().sweep(now.wall_us);
        self.write_rows();
        // Digests and retries come due by this clock.
        self.shared.wake.notify_one();
    }

    fn changed(&mut self, id: u64, status_set: bool) {
        let record = match self.shared.keys.get(id) {
            Ok(record) => record,
            Err(error) => {
                tracing::error!(key = id, %error, "a key could not be read for alerts");
                return;
            }
        };
        let now = self.shared.clock.now();
        let rules = record.as_ref().and_then(|record| Rules::of(&record.view()));
        self.adopt(id, rules, Seen::Changed { status_set }, now);
        // Its quota may be another.
        self.keys.look_at(id);
        match record {
            Some(record) => self.names(&(record.tenant_id, record.webhook_url)),
            None => self.keys.forget(id),
        }
        self.note_watched();
    }

    /// Tells of a key that was revoked or suspended, as it was then.
    fn stopped(&mut self, key: StoppedKey) {
        let StoppedKey { id, what, at_us, .. } = key;
        let mut state = self.keys.state(id);
        if state.stopped_us.replace(at_us) == Some(at_us) {
            return;
        }
        let now_us = self.shared.clock.now().wall_us;
        let found = [Finding::Stopped { what, at_us }];
        let alerts = making::of_key(id, &key.tenant, &key.name, &found, now_us);
        let made = alerts.map_or(Made::Later, |alerts| {
            let write = Write::alert_state(id, &state).ok();
            making::make(&self.shared, alerts, &key.to, write, now_us)
        });
        match made {
            Made::Done => self.keys.set_state(id, state),
            // The record says so too, as long as it is there.
            Made::Later if self.stopped_waits.len() >= STOPPED_WAIT_MAX => {}
            Made::Later => self.stopped_waits.push(key),
        }
    }

    /// Sends again to web hooks that keys were changed to.
    fn look_at_hooks(&mut self) {
        for _ in 0..LOOKS_MAX {
            let Some(id) = self.shared.hooks_set.lock().pop_first() else { return };
            let Ok(Some(record)) = self.shared.keys.get(id) else { continue };
            if record.webhook_url.is_empty() {
                continue;
            }
            let (tenant, url) = (&record.tenant_id, &record.webhook_url);
            if let Err(error) = endpoints::enable(&self.shared, tenant, url) {
                tracing::warn!(key = id, %error, "a web hook stays disabled");
            }
        }
    }

    /// Watches a key as its record demands now.
    fn adopt(&mut self, id: u64, rules: Option<Rules>, seen: Seen, now: Now) {
        if self.keys.rules(id) == rules.as_ref() {
            return;
        }
        let stopped = rules.as_ref().and_then(|rules| rules.stopped);
        if let Some((_, at_us)) = stopped.filter(|(_, at_us)| self.is_old(id, *at_us, seen)) {
            let mut state = self.keys.state(id);
            state.stopped_us = Some(at_us);
            // At a start the same is found the next time.
            if seen != Seen::First {
                self.write_state(id, &state);
            }
            self.keys.set_state(id, state);
        }
        let engine = Arc::clone(&self.shared.engine);
        self.keys.set(id, rules, now.mono_ns, || totals(&engine, id));
    }

    /// Whether a change of status is none that anybody is to be told: it was before alerts were looked
    /// for, or before anybody was named who could be told.
    fn is_old(&self, id: u64, at_us: i64, seen: Seen) -> bool {
        match seen {
            Seen::First => at_us < self.daemon.began_us,
            Seen::Changed { status_set: true } => false,
            Seen::Walk | Seen::Changed { status_set: false } => !self.keys.contains(id),
        }
    }

    fn note_watched(&self) {
        self.shared.watched.store(self.keys.len() as u64, Ordering::Relaxed);
        self.shared.watches_figures.store(self.keys.wants_figures(), Ordering::Relaxed);
    }

    /// Judges one key.
    fn look(&mut self, id: u64, now: Now) -> Made {
        let Some(rules) = self.keys.rules(id).cloned() else { return Made::Done };
        let sight = self.sight(id, &rules, now);
        let before = self.keys.state(id);
        let mut state = before.clone();
        let requests_min = self.shared.settings.read().error_spike_requests_min;
        let found = judge(&rules, &mut state, &sight, now.wall_us, requests_min);
        self.keys.schedule(id, now.wall_us);
        if state == before {
            return Made::Done;
        }
        if found.is_empty() {
            self.write_state(id, &state);
            self.keys.set_state(id, state);
            return Made::Done;
        }
        let record = match self.shared.keys.get(id) {
            Ok(Some(record)) => record,
            // It was purged just now.
            Ok(None) => return Made::Done,
            Err(error) => {
                tracing::error!(key = id, %error, "a key has an alert and cannot be read");
                return Made::Done;
            }
        };
        let (tenant, name) = (&record.tenant_id, rules::told_name(&record));
        let Ok(alerts) = making::of_key(id, tenant, name, &found, now.wall_us) else {
            return Made::Later;
        };
        let write = Write::alert_state(id, &state).ok();
        let to = rules::destinations(&record);
        let made = making::make(&self.shared, alerts, &to, write, now.wall_us);
        if made == Made::Done {
            self.keys.set_state(id, state);
        }
        made
    }

    fn sight(&mut self, id: u64, rules: &Rules, now: Now) -> Sight {
        let engine = Arc::clone(&self.shared.engine);
        let month = rules.quota.and_then(|_| {
            let all = engine.limit_figures(&Account::Key(id), now);
            let month = FigureOf::Common(LimitName::Month);
            let figures = all.into_iter().find(|figures| figures.limit == month)?;
            Some(Month { number: figures.window, cap: figures.cap, spent: figures.spent })
        });
        let errors = rules.errors.and_then(|_| {
            let window = self.keys.window(id, totals(&engine, id), now.mono_ns)?;
            Some((window.sum(now.mono_ns), window.is_whole(now.mono_ns)))
        });
        Sight { month, errors }
    }

    /// Writes a state that stands for no alert. It becomes durable with the next that does: until then
    /// the same is found again.
    fn write_state(&self, id: u64, state: &KeyState) {
        let Ok(write) = Write::alert_state(id, state) else { return };
        if let Err(error) = self.shared.committer.commit(vec![write], false) {
            tracing::warn!(key = id, %error, "what was said of a key is not stored");
        }
    }

    /// Writes what has become of alerts.
    pub(super) fn write_rows(&self) {
        loop {
            let rows = self.shared.outbox.lock().take_unwritten(ROWS_MAX);
            if rows.is_empty() {
                return;
            }
            let seqs: Vec<u64> = rows.iter().map(|(seq, _)| *seq).collect();
            let writes = rows.into_iter().filter_map(|(seq, row)| match row {
                Some(row) => Write::alert_out(seq, &row).ok(),
                None => Some(Write::remove_alert_out(seq)),
            });
            if self.shared.committer.commit(writes.collect(), false).is_err() {
                // After a restart they are sent again; until then the next tick tries.
                self.shared.outbox.lock().return_unwritten(seqs);
                return;
            }
        }
    }
}

/// What was reported of a key so far.
fn totals(engine: &crate::engine::Engine, id: u64) -> Sample {
    let usage = engine.usage(id, false);
    let reported = usage.total.more.map(|more| (more.reported, more.errors));
    let (requests, errors) = reported.unwrap_or_default();
    Sample { requests, errors }
}
