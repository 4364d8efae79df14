//! A start: what the store knows of every account goes back into the engine.

use crate::clock::Now;
use crate::engine::{Account, Engine};
use crate::limit::{AccountRow, Debits, Windows};
use crate::store::rows::{LEDGER, LEDGER_FACT_SCHEMA, LedgerFact};
use crate::store::{AccountOf, Keys, StoreError};

/// What a start found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Recovered {
    /// Accounts with figures.
    pub accounts: u64,
    /// Of these, accounts whose figures could not be read. What they may spend in the present day
    /// and month and in their life counts as spent until it is reset.
    pub unreadable: u64,
    /// Whether the last run ended without a clean stop.
    pub crashed: bool,
    /// Windows until which initial leases are void.
    pub void: Windows,
}

/// Restores every account, and says which initial leases are void.
pub(super) fn recover(engine: &Engine, keys: &Keys, now: Now) -> Result<Recovered, StoreError> {
    let (fact, crashed) = last_run(keys)?;
    let mut void = Windows { day: fact.void_day, month: fact.void_month };
    if crashed {
        let said = Windows { day: fact.last_day, month: fact.last_month };
        void = void.after_crash(now.wall_us, said, []);
    }
    let mut found = Recovered { crashed, ..Recovered::default() };
    keys.for_each_account(|account, row| {
        let account = match account {
            AccountOf::Key(id) => Account::Key(id),
            AccountOf::Tenant(name) => Account::Tenant(name.into()),
        };
        let row = row.unwrap_or_else(|error| {
            found.unreadable += 1;
            tracing::error!(
                ?account, %error,
                "figures of the ledger could not be read; the account's day, month and lifetime \
                 count as spent until they are reset (update --spent reset)"
            );
            exhausted(Windows::at(now.wall_us))
        });
        found.accounts += 1;
        if crashed {
            // Where figures are, leases were.
            void = void.later(Windows::of_row(&row));
        }
        engine.restore_account(&account, &row, now);
        Ok::<_, StoreError>(())
    })?;
    // Behind the keys that were there at the crash: those that come from here on are new.
    engine.set_void(void);
    found.void = void;
    Ok(found)
}

/// What the last run said of itself, and whether it ended without taking it back.
fn last_run(keys: &Keys) -> Result<(LedgerFact, bool), StoreError> {
    match keys.fact::<LedgerFact>(LEDGER, LEDGER_FACT_SCHEMA) {
        Ok(fact) => {
            let fact = fact.unwrap_or_default();
            Ok((fact, fact.open))
        }
        // Whatever it said: a crash is what costs nobody more than was leased.
        Err(StoreError::Corrupt { what }) => {
            tracing::error!(what, "how the ledger was left could not be read: as by a crash, then");
            Ok((LedgerFact::default(), true))
        }
        Err(error) => Err(error),
    }
}

/// Figures of an account of which nothing is known but that it may have spent all.
fn exhausted(today: Windows) -> AccountRow {
    let all = |window| Debits { window, debited: u64::MAX, spent: u64::MAX, stranded: u64::MAX };
    AccountRow {
        day: all(today.day),
        month: all(today.month),
        lifetime: all(1),
        ..AccountRow::default()
    }
}
