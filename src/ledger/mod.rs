//! The ledger: units of durable limits are debited on disk before the first of them is spent.
//!
//! The engine spends from leases and says which accounts want the next one; here the rows that debit
//! them are written, and what is durable is granted. [`recovery`] reads the rows back at a start,
//! [`keeper`] is the thread that writes them, [`waiting`] who waits for one.
//!
//! Invariants:
//! 1. A lease is granted after the row that debits it is durable.
//! 2. Rows are absolute figures of a whole account. They are computed and handed to the committer
//!    under one lock, and it writes in the order in which it is handed them: no row overtakes
//!    another.
//! 3. The store says that leases are out, durably, before anything is served, and takes it back after
//!    the exact figures of a clean stop. A start that finds it said follows a crash: what rows had
//!    debited counts as spent, and the initial leases of the windows until now are void.
//! 4. A change of limits is written in one with what it makes of the figures, and no row comes between
//!    that and the moment from which decisions obey it.
//! 5. Who waits is called, whatever happens: after the debit, when it failed, when the ledger ends.
//!
//! Dropped without [`Ledger::stop`], it leaves the store as a crash does.

mod keeper;
mod recovery;
#[cfg(test)]
mod tests;
mod waiting;

use std::sync::Arc;
use std::thread::{self, JoinHandle};

use crossbeam::channel::{Receiver, RecvError, bounded};
use parking_lot::Mutex;

use crate::clock::{Clock, Now};
use crate::engine::{Account, Engine};
use crate::limit::{AccountRow, Change, LedgerState, Terms};
use crate::store::envelope::EnvelopeError;
use crate::store::rows::LEDGER_SCHEMA;
use crate::store::{CommitError, Committer, Job, Keys, StoreError, SubmitError, Write, WriteError};
use keeper::Keeper;
pub use recovery::Recovered;
use waiting::Waiting;

/// Called once: when the accounts that it waits for were debited, or could not be. It must be short,
/// and must not call the ledger.
pub type Waiter = Box<dyn FnOnce() + Send>;

/// The outcome of a job, once there is one.
type Answer = Receiver<Result<(), WriteError>>;

/// What the ledger has done since it started.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct LedgerStats {
    /// Debits that are durable: leases that were granted.
    pub debits: u64,
    /// Rows written, those without a new lease among them.
    pub rows: u64,
    /// Jobs of the committer that wrote them.
    pub commits: u64,
    /// Requests that wait for a debit.
    pub waiting: u64,
}

/// The ledger of a daemon. One for each store.
pub struct Ledger {
    keeper: Arc<Keeper>,
    /// The thread, while it runs.
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Ledger {
    /// Accounts that change at a time.
    pub const CHANGES_MAX: usize = 256;

    /// Reads the store's figures back into an engine that has all its keys and tenants. Nothing is
    /// written yet. `unavailable` is what becomes of a cost that is not leased while the store takes
    /// no writes: [`LedgerState::Denies`] or [`LedgerState::Allows`].
    ///
    /// # Errors
    /// Those of reading; rows that cannot be read are none, see [`Recovered::unreadable`].
    pub fn open(
        engine: Arc<Engine>,
        keys: &Keys,
        committer: Arc<Committer>,
        clock: Arc<dyn Clock>,
        unavailable: LedgerState,
    ) -> Result<(Self, Recovered), StoreError> {
        let recovered = recovery::recover(&engine, keys, clock.now())?;
        let keeper = Keeper::new(engine, committer, clock, unavailable, recovered.void);
        Ok((Self { keeper: Arc::new(keeper), thread: Mutex::new(None) }, recovered))
    }

    /// Says durably that leases are out, and starts to debit. Before anything is served.
    ///
    /// # Errors
    /// [`CommitError`]: the store takes no writes, or the system gives no thread.
    pub fn start(&self) -> Result<(), CommitError> {
        self.keeper.say(true)?;
        let keeper = Arc::clone(&self.keeper);
        let run = move || keeper.run();
        let thread = thread::Builder::new().name("keygate-ledger".to_owned()).spawn(run);
        let thread = thread.map_err(|error| StoreError::io("start", "a thread".as_ref(), error))?;
        *self.thread.lock() = Some(thread);
        Ok(())
    }

    /// Has the accounts that a request waits for debited at once; `waiter` is called when that is
    /// done for all of them, or failed. The request is then judged anew.
    pub fn want(&self, accounts: impl IntoIterator<Item = Account>, waiter: Waiter) {
        self.keeper.want(accounts, &Arc::new(Waiting::new(waiter, &self.keeper.counts)));
    }

    /// Has accounts debited that the engine says ask for it ([`Engine::asks`]); those of a hundredth
    /// of a second together. Never waits, and costs next to nothing when it was said already.
    pub fn nudge(&self) {
        self.keeper.nudge();
    }

    /// Changes the limits of accounts to these terms: has `records` written in one batch with what
    /// `change` makes of what was spent, and calls `publish` when that is durable. The accounts have
    /// no lease meanwhile, and nothing is debited. At most [`Ledger::CHANGES_MAX`] at a time, and not
    /// by a thread that serves a connection.
    ///
    /// # Errors
    /// [`CommitError`]; nothing has changed then, as far as the store can tell.
    pub fn change<T>(
        &self,
        accounts: &[(Account, Terms)],
        change: &Change,
        records: impl Fn() -> Vec<Write>,
        publish: impl FnOnce(Now) -> T,
    ) -> Result<T, CommitError> {
        self.keeper.change(accounts, change, records, publish)
    }

    /// What becomes of a cost that is not leased while the store takes no writes, from here on.
    pub fn set_unavailable(&self, unavailable: LedgerState) {
        self.keeper.set_unavailable(unavailable);
    }

    /// What has been done.
    #[must_use]
    pub fn stats(&self) -> LedgerStats {
        self.keeper.counts.stats()
    }

    /// The clean stop, when nothing is served any more: writes the exact figures of every account
    /// that has moved, and then, durably, that no lease is out.
    ///
    /// # Errors
    /// [`CommitError`]: the next start finds a crash.
    pub fn stop(&self) -> Result<(), CommitError> {
        self.end_thread();
        self.keeper.settle_all()?;
        self.keeper.say(false)
    }

    fn end_thread(&self) {
        self.keeper.close();
        if let Some(thread) = self.thread.lock().take() {
            // It calls whoever waits, also when it panics.
            let _ = thread.join();
        }
    }
}

impl Drop for Ledger {
    fn drop(&mut self) {
        self.end_thread();
    }
}

/// The row of an account.
fn write_of(account: &Account, row: &AccountRow) -> Result<Write, EnvelopeError> {
    match account {
        Account::Key(id) => Write::account_of_key(*id, LEDGER_SCHEMA, row),
        Account::Tenant(name) => Write::account_of_tenant(name, LEDGER_SCHEMA, row),
    }
}

/// A job, and where its answer will come.
fn job(writes: Vec<Write>, durable: bool) -> (Job, Answer) {
    let (answer, answered) = bounded(1);
    let done = Box::new(move |outcome| {
        let _ = answer.send(outcome);
    });
    (Job { writes, durable, done }, answered)
}

/// Waits for an answer. It stays away only if the committer is gone.
fn wait(answer: &Answer) -> Result<(), CommitError> {
    let gone = |_: RecvError| CommitError::from(SubmitError::Stopped);
    Ok(answer.recv().map_err(gone)??)
}
