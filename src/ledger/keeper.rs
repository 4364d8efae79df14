//! The thread of the ledger, and the one place that computes rows.

use std::collections::{HashMap, HashSet, VecDeque};
use std::fmt::Display;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::{Condvar, Mutex, MutexGuard};

use super::waiting::{Counts, Waiting};
use super::{Answer, job, wait, write_of};
use crate::clock::{Clock, Now};
use crate::engine::{Account, Engine};
use crate::limit::{AccountRow, Change, Debit, LedgerState, Terms, Windows};
use crate::store::envelope::EnvelopeError;
use crate::store::rows::{LEDGER, LEDGER_FACT_SCHEMA, LedgerFact};
use crate::store::{CommitError, Committer, OPS_MAX, StoreError, SubmitError, Write};

/// For how long accounts are gathered whose lease is half spent, when nobody waits.
const GATHER: Duration = Duration::from_millis(10);
/// Between two looks at the clock, when there is nothing else to do.
const LOOK: Duration = Duration::from_secs(30);
/// Between two looks whether a store that has failed takes writes again.
const PROBE: Duration = Duration::from_secs(1);
/// Between two tries to hand a job to a busy store.
const BUSY_PAUSE: Duration = Duration::from_millis(2);
/// Such tries: about a second.
const BUSY_TRIES: u32 = 500;
/// Jobs that are on their way at a time; each has [`OPS_MAX`] rows at most.
const JOBS_IN_FLIGHT: usize = 8;

/// What the handle and the thread share.
pub(super) struct Keeper {
    engine: Arc<Engine>,
    committer: Arc<Committer>,
    clock: Arc<dyn Clock>,
    pub(super) counts: Arc<Counts>,
    /// What the store says of the ledger.
    fact: Mutex<LedgerFact>,
    /// Held from the computing of rows until the committer has them. Taken before the desk's.
    order: Mutex<()>,
    /// Protects what the thread has to do. Held for no longer than that takes to note.
    desk: Mutex<Desk>,
    /// Rung when there is something to do.
    bell: Condvar,
    /// Rung at the end alone.
    closing: Condvar,
    /// Whether accounts ask that the thread has not looked for yet.
    nudged: AtomicBool,
    /// What the engine is told when a debit fails.
    unavailable: Mutex<Unavailable>,
}

#[derive(Default)]
struct Desk {
    /// Accounts that somebody waits for.
    wanted: HashMap<Account, Vec<Arc<Waiting>>>,
    closed: bool,
}

struct Unavailable {
    state: LedgerState,
    /// Whether it is in force.
    is: bool,
}

/// An account to be debited, and who waits for it.
struct Claim {
    account: Account,
    /// Called when this is let go of, unless they wait for another account too.
    waiting: Vec<Arc<Waiting>>,
}

/// Debits on their way to the disk.
type Sent = (Vec<(Claim, Debit)>, Result<Answer, SubmitError>);

/// Closes the desk when the thread ends, however it ends.
struct Closes<'a>(&'a Keeper);

impl Drop for Closes<'_> {
    fn drop(&mut self) {
        self.0.close();
    }
}

impl Keeper {
    pub(super) fn new(
        engine: Arc<Engine>,
        committer: Arc<Committer>,
        clock: Arc<dyn Clock>,
        unavailable: LedgerState,
        void: Windows,
    ) -> Self {
        Self {
            engine,
            committer,
            clock,
            counts: Arc::default(),
            fact: Mutex::new(LedgerFact {
                void_day: void.day,
                void_month: void.month,
                ..LedgerFact::default()
            }),
            order: Mutex::new(()),
            desk: Mutex::default(),
            bell: Condvar::new(),
            closing: Condvar::new(),
            nudged: AtomicBool::new(false),
            unavailable: Mutex::new(Unavailable { state: unavailable, is: false }),
        }
    }

    pub(super) fn want(&self, accounts: impl IntoIterator<Item = Account>, waiting: &Arc<Waiting>) {
        let mut desk = self.desk.lock();
        if !desk.closed {
            for account in accounts {
                desk.wanted.entry(account).or_default().push(Arc::clone(waiting));
            }
        }
        drop(desk);
        self.bell.notify_one();
    }

    pub(super) fn nudge(&self) {
        if !self.nudged.swap(true, Ordering::AcqRel) {
            // The thread is either before its look at the flag or waits for the bell.
            drop(self.desk.lock());
            self.bell.notify_one();
        }
    }

    /// Nobody is waited for any more, and whoever waits is called. What is not leased is denied.
    pub(super) fn close(&self) {
        self.engine.set_ledger(LedgerState::Denies);
        let mut desk = self.desk.lock();
        desk.closed = true;
        let wanted = std::mem::take(&mut desk.wanted);
        drop(desk);
        self.bell.notify_all();
        self.closing.notify_all();
        drop(wanted);
    }

    /// The thread: until the desk is closed.
    pub(super) fn run(&self) {
        let _closes = Closes(self);
        let mut backlog = VecDeque::new();
        while let Some(claims) = self.next(&mut backlog) {
            self.look();
            self.debit_all(claims);
        }
    }

    /// Waits until there is something to debit, or it is time for a look: what is waited for comes
    /// first, then some of what asks. `None` at the end.
    fn next(&self, backlog: &mut VecDeque<Account>) -> Option<Vec<Claim>> {
        let mut desk = self.desk.lock();
        while !desk.closed && desk.wanted.is_empty() && backlog.is_empty() {
            if self.nudged.load(Ordering::Acquire) {
                self.bell.wait_for(&mut desk, GATHER);
                break;
            }
            let patience = if self.is_unavailable() { PROBE } else { LOOK };
            if self.bell.wait_for(&mut desk, patience).timed_out() {
                break;
            }
        }
        if desk.closed {
            return None;
        }
        let wanted = std::mem::take(&mut desk.wanted);
        drop(desk);
        if self.nudged.swap(false, Ordering::AcqRel) {
            backlog.extend(self.engine.take_asking());
        }
        // Each once: a second debit would not know of the first before that is granted.
        let some = JOBS_IN_FLIGHT * OPS_MAX;
        let some = backlog.len().min(some.saturating_sub(wanted.len()));
        let mut seen: HashSet<Account> = wanted.keys().cloned().collect();
        let asking = backlog.drain(..some).filter(|account| seen.insert(account.clone()));
        let asking = asking.map(|account| Claim { account, waiting: Vec::new() });
        let wanted = wanted.into_iter().map(|(account, waiting)| Claim { account, waiting });
        Some(wanted.chain(asking).collect())
    }

    /// Debits accounts, each of which is here once; grants what is durable.
    fn debit_all(&self, claims: Vec<Claim>) {
        let mut claims = claims.into_iter().peekable();
        let mut in_flight = VecDeque::new();
        while claims.peek().is_some() {
            in_flight.extend(self.send(claims.by_ref().take(OPS_MAX)));
            if in_flight.len() >= JOBS_IN_FLIGHT {
                in_flight.pop_front().into_iter().for_each(|sent| self.finish(sent));
            }
        }
        in_flight.into_iter().for_each(|sent| self.finish(sent));
    }

    /// Computes rows and hands them to the committer. Who waits for an account without a debit is
    /// called: its lease suffices, its cap is reached, or it is gone.
    fn send(&self, claims: impl Iterator<Item = Claim>) -> Option<Sent> {
        let (mut debits, mut idle) = (Vec::new(), Vec::new());
        let order = self.order.lock();
        let now = self.clock.now();
        for claim in claims {
            match self.engine.debit(&claim.account, now) {
                Some(debit) => debits.push((claim, debit)),
                None => idle.push(claim),
            }
        }
        let rows = || debits.iter().map(|(claim, debit)| (&claim.account, &debit.row));
        let answer = (!debits.is_empty()).then(|| self.submit_rows(&order, rows, true));
        // Before anybody is called.
        drop(order);
        drop(idle);
        Some((debits, answer?))
    }

    /// Waits until debits are durable, grants them, and calls who waits.
    fn finish(&self, (debits, answer): Sent) {
        match answer.map_err(CommitError::from).and_then(|answer| wait(&answer)) {
            Ok(()) => {
                for (claim, debit) in &debits {
                    self.engine.grant(&claim.account, debit);
                }
                self.counts.debits.fetch_add(debits.len() as u64, Ordering::Relaxed);
                self.counts.wrote(debits.len());
                self.recovered();
            }
            // Who waits is judged anew and may wait again.
            Err(CommitError::Submit(SubmitError::Busy { waiting })) => {
                tracing::warn!(waiting, "the store is busy; debits of the ledger are put off");
            }
            Err(error) => self.failed(&error),
        }
        debits.into_iter().for_each(|(claim, _)| drop(claim.waiting));
    }

    /// Writes changes of limits, with what they make of what was spent, in one and durably; then
    /// `publish` has decisions obey them. No other row comes in between.
    pub(super) fn change<T>(
        &self,
        accounts: &[(Account, Terms)],
        change: &Change,
        records: impl Fn() -> Vec<Write>,
        publish: impl FnOnce(Now) -> T,
    ) -> Result<T, CommitError> {
        let _order = self.order.lock();
        let now = self.clock.now();
        let settled = accounts.iter().filter_map(|(account, terms)| {
            Some((account, self.engine.settle_change(account, terms, change, now)?))
        });
        let settled: Vec<(&Account, AccountRow)> = settled.collect();
        let written = self.write(records, &settled);
        if written.is_err() {
            settled.iter().for_each(|(account, _)| self.engine.unsettle(account));
        }
        written.map(|()| publish(now))
    }

    /// Writes records and rows in one, durably, if there are any.
    fn write(
        &self,
        records: impl Fn() -> Vec<Write>,
        rows: &[(&Account, AccountRow)],
    ) -> Result<(), CommitError> {
        let of_rows = || rows.iter().map(|(account, row)| write_of(account, row));
        let writes = || records().into_iter().map(Ok).chain(of_rows()).collect();
        if rows.is_empty() && records().is_empty() {
            return Ok(());
        }
        wait(&self.submit(writes, true)?)?;
        if !rows.is_empty() {
            self.counts.wrote(rows.len());
        }
        Ok(())
    }

    /// Writes the exact figures of all accounts that have moved; durable with the next job that is.
    pub(super) fn settle_all(&self) -> Result<(), CommitError> {
        let (moved, now) = (self.engine.moved_accounts(), self.clock.now());
        for accounts in moved.chunks(OPS_MAX) {
            let order = self.order.lock();
            let settled = accounts.iter().filter_map(|account| {
                let row = self.engine.settle(account, true, now)?;
                Some((account, row))
            });
            let settled: Vec<(&Account, AccountRow)> = settled.collect();
            let rows = || settled.iter().map(|(account, row)| (*account, row));
            let answer = self.submit_rows(&order, rows, false)?;
            drop(order);
            wait(&answer)?;
            self.counts.wrote(settled.len());
        }
        Ok(())
    }

    /// Says durably whether leases are out, and until which windows.
    pub(super) fn say(&self, open: bool) -> Result<(), CommitError> {
        let mut fact = self.fact.lock();
        let ahead = if open { self.windows_ahead() } else { Windows::default() };
        let next = LedgerFact { open, last_day: ahead.day, last_month: ahead.month, ..*fact };
        let write = || Ok(vec![Write::fact(LEDGER, LEDGER_FACT_SCHEMA, &next)?]);
        wait(&self.submit(write, true)?)?;
        *fact = next;
        self.engine.set_said(ahead);
        Ok(())
    }

    /// The latest windows in which an initial lease may be spent before the next look.
    fn windows_ahead(&self) -> Windows {
        Windows::at(self.clock.now().wall_us.saturating_add(Windows::AHEAD_US))
    }

    /// Looks at the clock, and at a store that has failed.
    fn look(&self) {
        if self.is_unavailable() {
            return self.probe();
        }
        let LedgerFact { last_day, last_month, .. } = *self.fact.lock();
        let Windows { day, month } = self.windows_ahead();
        if day > last_day || month > last_month {
            match self.say(true) {
                Ok(()) | Err(CommitError::Submit(SubmitError::Busy { .. })) => {}
                Err(error) => self.failed(&error),
            }
        }
    }

    /// Hands rows to the committer, in the order in which they were computed: `_order` is held since
    /// then.
    fn submit_rows<'r, R: Iterator<Item = (&'r Account, &'r AccountRow)>>(
        &self,
        _order: &MutexGuard<'_, ()>,
        rows: impl Fn() -> R,
        durable: bool,
    ) -> Result<Answer, SubmitError> {
        self.submit(|| rows().map(|(account, row)| write_of(account, row)).collect(), durable)
    }

    /// Hands writes to the committer. Waits a little while the store is busy.
    fn submit(
        &self,
        writes: impl Fn() -> Result<Vec<Write>, EnvelopeError>,
        durable: bool,
    ) -> Result<Answer, SubmitError> {
        let mut tries = 0;
        loop {
            // A row has at most a few KiB, so this does not fail.
            let writes = writes().map_err(|error| StoreError::corrupt(error.to_string()));
            let (job, answer) = job(writes.map_err(SubmitError::Store)?, durable);
            match self.committer.submit(job) {
                Err(SubmitError::Busy { .. }) if tries < BUSY_TRIES => tries += 1,
                outcome => return outcome.map(|()| answer),
            }
            self.closing.wait_for(&mut self.desk.lock(), BUSY_PAUSE);
        }
    }

    fn is_unavailable(&self) -> bool {
        self.unavailable.lock().is
    }

    pub(super) fn set_unavailable(&self, state: LedgerState) {
        let mut unavailable = self.unavailable.lock();
        unavailable.state = state;
        if unavailable.is {
            self.engine.set_ledger(state);
        }
    }

    /// A debit could not be written: what is held may be spent, and what is not leased is denied or
    /// allowed.
    fn failed(&self, error: &dyn Display) {
        let mut unavailable = self.unavailable.lock();
        if !std::mem::replace(&mut unavailable.is, true) {
            tracing::error!(%error, "the ledger cannot debit: leases that are out may be spent");
        }
        self.engine.set_ledger(unavailable.state);
    }

    fn recovered(&self) {
        let mut unavailable = self.unavailable.lock();
        if std::mem::replace(&mut unavailable.is, false) {
            tracing::info!("the ledger debits again");
            self.engine.set_ledger(LedgerState::Open);
        }
    }

    /// Looks whether a store that has failed takes writes again. One that is latched never does.
    fn probe(&self) {
        if self.committer.stats().latched.is_none()
            && self.committer.commit(Vec::new(), true).is_ok()
        {
            self.recovered();
        }
    }
}
