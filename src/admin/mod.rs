//! The operations of the admin socket: the store first, then the catalog.
//!
//! Each change reads the record, writes the new one durably, and only then lets decisions see it,
//! under a lock of that key; so what was answered survives, and the next call obeys it. Nothing
//! here knows a socket or a frame.

mod alerts;
mod batch;
mod caller;
mod error;
mod import;
mod journal;
mod keys;
mod life;
mod limits;
mod list;
mod random;
mod repeat;
mod retention;
mod room;
mod rotation;
mod rules;
mod secret;
mod signing;
mod tenant_import;
mod tenant_purge;
mod tenants;
#[cfg(test)]
mod tests;
mod told;
mod usage;
mod whole;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use keygate_protocol::ErrorCode;
use keygate_protocol::admin as wire;
use tokio::sync::{Mutex, MutexGuard, RwLock, oneshot};

pub use alerts::wipe;
pub use caller::Caller;
pub use error::AdminError;
pub use import::Import;
pub use life::LifeRules;
pub use list::Listing;
pub use retention::{Retention, Swept};
pub use rotation::SecretFiles;
pub use rules::{Applied, Live};
pub use whole::{EachFrame, Origin, verify_report};

use crate::clock::{Clock, Now};
use crate::engine::Engine;
use crate::event::Journal;
use crate::key::id::IdMaker;
use crate::key::{KeyRecord, Time};
use crate::ledger::{Ledger, LedgerStats};
use crate::limit::Change;
use crate::notify::{self, Notifier};
use crate::store::{Committer, Job, Keys, MEND, Write};

/// Locks of keys: enough that two changes of different keys rarely wait for each other.
const LOCKS: usize = 64;
/// Longest record, as JSON: what fits a frame with room to spare.
const RECORD_JSON_BYTES_MAX: usize = 512 * 1024;

/// Carries admin operations out. Shared by all admin connections.
pub struct Admin {
    engine: Arc<Engine>,
    keys: Keys,
    committer: Arc<Committer>,
    clock: Arc<dyn Clock>,
    ids: IdMaker,
    /// Each serialises the changes of the keys that fall to it, across read, commit and catalog.
    locks: Box<[Mutex<()>]>,
    /// Serialises the changes of tenants' records, across read, commit and catalog.
    tenants: Mutex<()>,
    /// One purge of a tenant at a time.
    purging: Mutex<()>,
    /// One count of keys at a time.
    tallying: Mutex<()>,
    /// One ranking of keys by their usage at a time.
    ranking: Mutex<()>,
    room: room::Room,
    /// One import at a time.
    importing: Arc<Mutex<()>>,
    /// The import whose keys are in the store and not there yet for anybody; 0 for none.
    pending_import: AtomicU64,
    life_rules: parking_lot::RwLock<LifeRules>,
    /// See [`rules::Gate`].
    rules_gate: RwLock<()>,
    started: Now,
    /// What a backup is of; absent where the store lives in memory.
    origin: Option<Origin>,
    /// What debits durable limits; absent where nothing is spent of them.
    ledger: Option<Arc<Ledger>>,
    /// Held by a backup, a verification or the exchange of a secret: one at a time.
    whole: Arc<Mutex<()>>,
    /// The exchange of pepper or master key.
    rotations: rotation::Rotations,
    /// Told of every change once it is durable.
    journal: Option<Arc<dyn Journal>>,
    /// What finds alerts and sends them.
    notifier: Option<Arc<Notifier>>,
}

impl Admin {
    /// Operations on this engine and store.
    pub fn new(
        engine: Arc<Engine>,
        keys: Keys,
        committer: Arc<Committer>,
        clock: Arc<dyn Clock>,
        life_rules: LifeRules,
    ) -> Self {
        let started = clock.now();
        Self {
            engine,
            keys,
            committer,
            clock,
            ids: IdMaker::default(),
            locks: std::iter::repeat_with(Mutex::default).take(LOCKS).collect(),
            tenants: Mutex::default(),
            purging: Mutex::default(),
            tallying: Mutex::default(),
            ranking: Mutex::default(),
            room: room::Room::default(),
            importing: Arc::default(),
            pending_import: AtomicU64::new(0),
            life_rules: parking_lot::RwLock::new(life_rules),
            rules_gate: RwLock::default(),
            started,
            origin: None,
            ledger: None,
            whole: Arc::default(),
            rotations: rotation::Rotations::default(),
            journal: None,
            notifier: None,
        }
    }

    /// The same, over a store on disk, which can be backed up.
    #[must_use]
    pub fn with_origin(self, origin: Origin) -> Self {
        Self { origin: Some(origin), ..self }
    }

    /// The same, with the files of the secrets that the store is written under.
    #[must_use]
    pub fn with_secret_files(mut self, files: Arc<dyn SecretFiles>) -> Self {
        self.rotations.files = Some(files);
        self
    }

    /// The same, beside the ledger of the daemon.
    #[must_use]
    pub fn with_ledger(self, ledger: Arc<Ledger>) -> Self {
        Self { ledger: Some(ledger), ..self }
    }

    /// Figures of the daemon; the server adds its own.
    ///
    /// # Errors
    /// `FORBIDDEN` for a caller that is bound to a tenant: the figures are those of all.
    pub async fn stats(&self, caller: &Caller) -> Result<wire::Stats, AdminError> {
        caller.check_unbound("Stats")?;
        let commit = self.committer.stats();
        let keys = self.keys.clone();
        // Walks a directory; a figure that cannot be read is left out.
        let disk = blocking(move || keys.bytes_on_disk()).await.and_then(Result::ok);
        let uptime_ns = self.clock.now().mono_ns - self.started.mono_ns;
        let mut stats = wire::Stats::from([
            ("keys".to_owned(), self.engine.key_count() as u64),
            ("tenants".to_owned(), self.engine.tenant_count() as u64),
            ("slots_held".to_owned(), self.engine.slots_held() as u64),
            ("uptime_ms".to_owned(), uptime_ns / 1_000_000),
            ("commits".to_owned(), commit.commits),
            ("commits_refused".to_owned(), commit.refused),
            ("commit_groups".to_owned(), commit.groups),
            ("commit_ops".to_owned(), commit.ops),
            ("commits_waiting".to_owned(), commit.waiting as u64),
            ("store_latched".to_owned(), u64::from(commit.latched.is_some())),
            ("rotation_under_way".to_owned(), u64::from(self.rotation().0)),
        ]);
        stats.extend(disk.map(|bytes| ("store_bytes".to_owned(), bytes)));
        if let Some(ledger) = &self.ledger {
            let LedgerStats { debits, rows, commits, waiting } = ledger.stats();
            stats.extend([
                ("ledger_debits".to_owned(), debits),
                ("ledger_rows".to_owned(), rows),
                ("ledger_commits".to_owned(), commits),
                ("ledger_waiting".to_owned(), waiting),
            ]);
        }
        if let Some(notifier) = &self.notifier {
            let notify::Stats {
                waiting,
                failed_kept,
                delivered,
                failed,
                retried,
                put_out,
                watched,
            } = notifier.stats();
            stats.extend([
                ("alerts_waiting".to_owned(), waiting),
                ("alerts_failed_kept".to_owned(), failed_kept),
                ("alerts_delivered".to_owned(), delivered),
                ("alerts_failed".to_owned(), failed),
                ("alerts_retried".to_owned(), retried),
                ("alerts_put_out".to_owned(), put_out),
                ("keys_with_alerts".to_owned(), watched),
            ]);
        }
        Ok(stats)
    }

    /// Whether the daemon can do its work. `unreadable` records were left out at start. A caller
    /// that is bound to a tenant is told that something is not well and not what: it may be
    /// another's.
    pub fn health(&self, caller: &Caller, unreadable: u64) -> wire::Health {
        let mut reasons = Vec::new();
        let latched = self.committer.stats().latched;
        if let Some(cause) = &latched {
            reasons.push(error::latched(cause.clone()).to_string());
        }
        if unreadable > 0 {
            reasons.push(format!(
                "{unreadable} records could not be read at start: keys are unknown to decisions, \
                 those of tenants are denied, and limits whose figures are lost count as spent; the \
                 log names them; restore them from a backup or an export"
            ));
        }
        reasons.extend(self.withheld());
        reasons.extend(self.rotation_reasons());
        if self.notifier.as_ref().is_some_and(|notifier| notifier.has_failed()) {
            reasons.push(
                "no alerts are found or sent, since a thread of theirs failed inside (the log has \
                 more); restart keygate"
                    .to_owned(),
            );
        }
        let healthy = reasons.is_empty();
        if !healthy && caller.tenant().is_some() {
            reasons = vec!["the daemon's operator is told what is not well".to_owned()];
        }
        wire::Health { healthy, writable: latched.is_none(), reasons }
    }

    /// The present instant, as records write it.
    fn time(&self) -> Time {
        Time::from_micros(self.clock.now().wall_us)
    }

    fn lock_of(&self, id: u64) -> &Mutex<()> {
        // Ids end in random bits.
        &self.locks[usize::try_from(id % LOCKS as u64).unwrap_or(0)]
    }

    async fn lock(&self, id: u64) -> MutexGuard<'_, ()> {
        self.lock_of(id).lock().await
    }

    /// The locks of some keys. In one order, so that two who take several never wait for each other.
    async fn lock_all(&self, ids: &[u64]) -> Vec<MutexGuard<'_, ()>> {
        let mut locks = Vec::new();
        for at in places(ids) {
            locks.push(self.lock(at).await);
        }
        locks
    }

    /// The same for a thread that may wait.
    fn lock_all_blocking(&self, ids: &[u64]) -> Vec<MutexGuard<'_, ()>> {
        places(ids).into_iter().map(|at| self.lock_of(at).blocking_lock()).collect()
    }

    /// The stored record of a key that the caller may see, deleted or not.
    async fn stored(&self, caller: &Caller, id: u64) -> Result<Option<KeyRecord>, AdminError> {
        let keys = self.keys.clone();
        let record = blocking(move || keys.get(id)).await.ok_or_else(AdminError::stopping)??;
        let seen = |record: &KeyRecord| self.is_there(record) && caller.sees(&record.tenant_id);
        Ok(record.filter(seen))
    }

    /// Whether a stored record is more than a part of an import that may yet be rolled back: to
    /// change such a one would let decisions see it.
    fn is_there(&self, record: &KeyRecord) -> bool {
        self.is_of_no_pending_import(record.import)
    }

    fn is_of_no_pending_import(&self, import: u64) -> bool {
        import == 0 || import != self.pending_import.load(Ordering::Acquire)
    }

    /// The stored record of a key that the caller may see and that is not deleted.
    async fn record(&self, caller: &Caller, id: u64) -> Result<KeyRecord, AdminError> {
        let record = self.stored(caller, id).await?.ok_or_else(|| AdminError::not_found(id))?;
        if record.deleted_at.is_some() { Err(AdminError::deleted(id)) } else { Ok(record) }
    }

    /// The stored record that a request names: a deleted one only where it asks for such.
    async fn named(&self, caller: &Caller, key: &wire::KeyRef) -> Result<KeyRecord, AdminError> {
        let id = keys::key_id(&key.id)?;
        if key.deleted {
            return self.stored(caller, id).await?.ok_or_else(|| AdminError::not_found(id));
        }
        self.record(caller, id).await
    }

    /// The outcome of a read that a change begins with: that the store takes no writes says more
    /// than that it cannot be read.
    fn to_change<T>(&self, read: Result<T, AdminError>) -> Result<T, AdminError> {
        read.map_err(|error| match self.committer.stats().latched {
            Some(cause) if error.code == ErrorCode::Storage => error::latched(cause).into(),
            _ => error,
        })
    }

    /// The outcome of a write: one that failed is the last that the store has tried.
    fn written<T>(&self, outcome: Result<T, AdminError>) -> Result<T, AdminError> {
        outcome.map_err(|mut error| {
            if error.code == ErrorCode::Storage && self.committer.stats().latched.is_some() {
                error.message = format!(
                    "{error}; whether this change is on disk is known after a restart, and the \
                     store takes no writes from here on: {MEND}"
                );
            }
            error
        })
    }

    /// Writes and waits until the writes are durable.
    async fn commit(&self, writes: Vec<Write>) -> Result<(), AdminError> {
        self.written(self.try_commit(writes).await)
    }

    async fn try_commit(&self, writes: Vec<Write>) -> Result<(), AdminError> {
        let (answer, answered) = oneshot::channel();
        let done = Box::new(move |outcome| {
            // A requester that is gone needs no answer.
            let _ = answer.send(outcome);
        });
        self.committer.submit(Job { writes, durable: true, done })?;
        Ok(answered.await.map_err(|_| AdminError::stopping())??)
    }

    /// Lets decisions see a record that is durable.
    ///
    /// # Errors
    /// `INTERNAL`: no `CONFLICT`, which would say that nothing was done. Why is for the log: it may
    /// name another tenant's key.
    fn publish(&self, record: &KeyRecord) -> Result<(), AdminError> {
        publish_change(&self.engine, record, &Change::default(), self.clock.now())
    }
}

/// As [`Admin::publish`]; what was spent of limits becomes what the change says.
fn publish_change(
    engine: &Engine,
    record: &KeyRecord,
    change: &Change,
    now: Now,
) -> Result<(), AdminError> {
    let id = record.id;
    engine.change(record, change, now).map_err(|error| {
        tracing::error!(key = id, %error, "a key is stored and could not be loaded");
        AdminError::new(
            ErrorCode::Internal,
            format!(
                "key {id} is stored as it was asked for, and decisions could not be told; the \
                 daemon's log says why"
            ),
        )
    })
}

/// Which locks some keys fall to, ascending.
fn places(ids: &[u64]) -> BTreeSet<u64> {
    ids.iter().map(|id| id % LOCKS as u64).collect()
}

/// Runs what may wait for the disk on a thread of its own; `None` when the daemon is stopping.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Option<T> {
    tokio::task::spawn_blocking(work).await.ok()
}
