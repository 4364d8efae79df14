//! A start: what the store knows of every account goes back into the engine.

use crate::clock::Now;
use crate::engine::{Account, Engine};
use crate::limit::{AccountRow, Windows};
use crate::store::rows::{LEDGER, LEDGER_FACT_SCHEMA, LedgerFact};
use crate::store::{AccountOf, Keys, StoreError};

/// What a start found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Recovered {
    /// Accounts with figures: those that were debited. What has spent no more than its initial
    /// leases has none before a clean stop.
    pub accounts: u64,
    /// Of these, accounts whose figures could not be read. Whatever they may spend now counts as
    /// spent: of a window until the next one, of a balance, a life and a rolling limit until it is
    /// set or reset, or has come back.
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
        void = void.after_crash(Windows::at(now.wall_us), said);
    }
    let mut found = Recovered { crashed, ..Recovered::default() };
    keys.for_each_account(|account, row| {
        let account = match account {
            AccountOf::Key(id) => Account::Key(id),
            AccountOf::Tenant(name) => Account::Tenant(name.into()),
        };
        let mut unread = false;
        let row = row.unwrap_or_else(|error| {
            found.unreadable += 1;
            tracing::error!(
                ?account, %error,
                "figures of the ledger could not be read; all that the account may spend now \
                 counts as spent (update --spent reset, or a new balance, sets it right)"
            );
            unread = true;
            AccountRow::default()
        });
        found.accounts += 1;
        if unread {
            engine.exhaust_account(&account, now);
        } else {
            engine.restore_account(&account, &row, now);
        }
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
