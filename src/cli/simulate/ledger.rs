//! The ledger without a disk: what the engine asks for is debited at once, and the rows are what a
//! crash leaves.

use std::collections::HashMap;

use crate::clock::Now;
use crate::engine::{Account, Engine};
use crate::limit::{AccountRow, Windows};

/// The rows of all accounts, and what is said of the whole.
#[derive(Default)]
pub(super) struct Ledger {
    rows: HashMap<Account, AccountRow>,
    void: Windows,
}

impl Ledger {
    /// Debits an account, and grants it what was debited.
    pub(super) fn debit(&mut self, engine: &Engine, account: Account, now: Now) {
        if let Some(debit) = engine.debit(&account, now) {
            engine.grant(&account, &debit);
            self.rows.insert(account, debit.row);
        }
    }

    /// Debits every account whose lease is half spent.
    pub(super) fn debit_asking(&mut self, engine: &Engine, now: Now) {
        if engine.asks() {
            for account in engine.take_asking() {
                self.debit(engine, account, now);
            }
        }
    }

    /// Takes the exact figures of an account, and its leases back.
    pub(super) fn settle(&mut self, engine: &Engine, account: Account, now: Now) {
        if let Some(row) = engine.settle(&account, true, now) {
            self.rows.insert(account, row);
        }
    }

    /// A clean stop: the exact figures of every account that has moved.
    pub(super) fn stop(&mut self, engine: &Engine, now: Now) {
        for account in engine.moved_accounts() {
            self.settle(engine, account, now);
        }
    }

    /// A crash, found at this instant: the rows are what is known, and initial leases that no row
    /// has are void.
    pub(super) fn crash(&mut self, now: Now) {
        // The daemon's ledger looks at the clock in time to have said so.
        let ahead = Windows::at(now.wall_us.saturating_add(Windows::AHEAD_US));
        self.void = self.void.after_crash(Windows::at(now.wall_us), ahead);
    }

    /// A start: an engine that has all its keys and tenants gets the rows.
    pub(super) fn restore(&self, engine: &Engine, now: Now) {
        for (account, row) in &self.rows {
            engine.restore_account(account, row, now);
        }
        // Behind the keys that were there at the crash: those that come from here on are new.
        engine.set_void(self.void);
    }
}
