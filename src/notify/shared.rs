//! What the two threads and their callers share.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use crossbeam::channel::{Receiver, Sender, bounded};
use parking_lot::{Mutex, RwLock};
use tokio::sync::{Notify, Semaphore};

use super::endpoints::Endpoints;
use super::sender::{Deliver, TESTS_MAX};
use super::{Settings, Source};
use crate::alert::rules::Stopped;
use crate::alert::{Entry, EntryState, Outbox, Route};
use crate::clock::Clock;
use crate::engine::Engine;
use crate::event::{Alert, Destination, Event, Journal, What};
use crate::store::{CommitError, Committer, Keys, StoreError};
use crate::vault::Vault;

/// Signals that may wait for the monitor; what is beyond is found by a walk.
const SIGNALS_MAX: usize = 16 * 1024;

/// Names what secrets of web hooks were sealed for under the pepper, before there was a vault.
const SEAL_LABEL: &[u8] = b"keygate web hooks 1";

/// What the monitor is told.
pub(super) enum Signal {
    /// Figures of these keys have moved.
    Moved(Vec<u64>),
    /// A key was changed.
    Changed {
        /// Which.
        id: u64,
        /// Whether its status was set.
        status_set: bool,
    },
    /// A key was revoked or suspended.
    Stopped(Box<StoppedKey>),
    /// All records are to be looked through.
    Walk,
    /// An attempt has ended: rows are to be written.
    Settled,
    /// Write what is to be written, and end.
    Stop,
}

/// A key that was revoked or suspended, as much of it as is told, as it was then.
pub(super) struct StoppedKey {
    pub(super) id: u64,
    pub(super) tenant: String,
    pub(super) name: String,
    pub(super) what: Stopped,
    pub(super) at_us: i64,
    /// Those of the record before the change and after it.
    pub(super) to: Vec<Destination>,
}

/// How audit fares: it is looked at, and so nothing of it is lost for want of room.
#[derive(Default)]
pub(super) struct AuditLevel {
    pub(super) failing: bool,
    /// Why it fails or failed, until that was told.
    pub(super) why: Option<String>,
    /// Whether it has worked since the last look.
    pub(super) ended: bool,
}

pub(super) struct Shared {
    pub(super) engine: Arc<Engine>,
    pub(super) keys: Keys,
    pub(super) committer: Arc<Committer>,
    pub(super) clock: Arc<dyn Clock>,
    /// Encrypts the secrets of web hooks.
    pub(super) vault: Arc<Vault>,
    pub(super) settings: RwLock<Settings>,
    pub(super) courier: RwLock<Arc<dyn Deliver>>,
    /// Never held while anything is waited for.
    pub(super) outbox: Mutex<Outbox>,
    pub(super) endpoints: Endpoints,
    pub(super) signals: Sender<Signal>,
    pub(super) audit: Mutex<AuditLevel>,
    /// Keys that were given another web hook, until what was said of it is forgotten.
    pub(super) hooks_set: Mutex<BTreeSet<u64>>,
    /// Whether a signal was lost for want of room.
    pub(super) lost: AtomicBool,
    /// Whether any key's figures are of interest.
    pub(super) watches_figures: AtomicBool,
    /// Keys that somebody is told about.
    pub(super) watched: AtomicU64,
    /// Wakes the sender.
    pub(super) wake: Notify,
    /// Has room for tests.
    pub(super) tests: Semaphore,
    /// Told of alerts when they are made.
    pub(super) journal: OnceLock<Arc<dyn Journal>>,
    /// The total of verdicts on tokens that are no key's.
    pub(super) unknown_total: OnceLock<Box<dyn Fn() -> u64 + Send + Sync>>,
}

impl Shared {
    pub(super) fn open(
        source: Source,
        settings: Settings,
        courier: Arc<dyn Deliver>,
    ) -> Result<(Self, Receiver<Signal>), CommitError> {
        let Source { engine, keys, committer, clock } = source;
        let (signals, received) = bounded(SIGNALS_MAX);
        let vault = engine.vault().cloned();
        let vault = vault.ok_or(StoreError::Unsealed { why: "there is no master key" })?;
        let shared = Self {
            outbox: Mutex::new(load_outbox(&keys, &settings, clock.now().wall_us)?),
            endpoints: Endpoints::load(
                &keys,
                &committer,
                &engine.pepper().derived(SEAL_LABEL),
                &vault,
            )?,
            vault,
            engine,
            keys,
            committer,
            clock,
            settings: RwLock::new(settings),
            courier: RwLock::new(courier),
            signals,
            audit: Mutex::default(),
            hooks_set: Mutex::default(),
            lost: AtomicBool::new(false),
            watches_figures: AtomicBool::new(false),
            watched: AtomicU64::new(0),
            wake: Notify::new(),
            tests: Semaphore::new(TESTS_MAX),
            journal: OnceLock::new(),
            unknown_total: OnceLock::new(),
        };
        Ok((shared, received))
    }

    /// Tells the monitor, without waiting.
    pub(super) fn signal(&self, signal: Signal) {
        if self.signals.try_send(signal).is_err() {
            self.lost.store(true, Ordering::Release);
        }
    }

    /// What has failed at a destination, or at all, is tried now.
    pub(super) fn hurry(&self, route: Option<&Route>) {
        self.outbox.lock().hurry(route, self.clock.now().wall_us);
        self.wake.notify_one();
    }

    /// Tells the journal of an alert that was made, whoever else is told.
    pub(super) fn tell(&self, alert: &Alert) {
        if let Some(journal) = self.journal.get() {
            journal.note(&Event { at_us: alert.at_us, what: What::Alert(alert.clone()) });
        }
    }

    /// Takes alerts in whose rows are written, or cannot be.
    pub(super) fn admit(&self, entries: Vec<Entry>) {
        let mut outbox = self.outbox.lock();
        for entry in entries {
            if matches!(entry.state, EntryState::Failed(_)) {
                outbox.count_failed();
            }
            outbox.add(entry);
        }
        drop(outbox);
        self.wake.notify_one();
    }
}

fn load_outbox(keys: &Keys, settings: &Settings, now_us: i64) -> Result<Outbox, StoreError> {
    let mut outbox = Outbox::new(settings.bounds());
    keys.for_each_alert_out(|seq, row| {
        let entry = row
            .map_err(|error| error.to_string())
            .and_then(|row| Entry::from_row(seq, row).map_err(|error| error.to_string()));
        match entry {
            Ok(entry) => outbox.add(entry),
            Err(error) => {
                tracing::error!(seq, %error, "an alert could not be read and is not sent");
            }
        }
        Ok::<(), StoreError>(())
    })?;
    outbox.sweep(now_us);
    Ok(outbox)
}
