//! The change of what the configuration says of keys, while keys are written and judged.

use std::collections::BTreeSet;
use std::fmt::Display;
use std::sync::Arc;

use keygate_protocol::ErrorCode;
use tokio::sync::RwLockReadGuard;

use super::{Admin, AdminError, LifeRules, blocking};
use crate::engine::{Account, Count, Engine};
use crate::key::rules::{TomlKey, list};
use crate::key::{KeyRecord, Rules};
use crate::ledger::Ledger;
use crate::limit::{Change, LedgerState};

/// Unknown tiers that health names; the rest is a number.
const TIERS_NAMED: usize = 10;

/// Everything that a reload hands over.
#[derive(Debug, Clone)]
pub struct Live {
    /// What the configuration says of keys.
    pub rules: Rules,
    /// What may be done with keys, and when.
    pub life: LifeRules,
    /// Whether a key whose rotation is overdue is denied.
    pub deny_rotation_overdue: bool,
    /// A verdict warns when the key expires within this time, in microseconds.
    pub expiry_warning_us: i64,
    /// What becomes of units that are not leased while the store takes no writes: denied or allowed.
    pub ledger_unavailable: LedgerState,
}

/// What came of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Applied {
    /// Keys that were compiled anew.
    pub keys: u64,
    /// Keys that could not be and keep the limits that they had.
    pub failed: u64,
}

impl Applied {
    fn fail(&mut self, keys: &[u64], error: &dyn Display) {
        self.failed += keys.len() as u64;
        tracing::error!(?keys, %error, "keys keep the limits that they had");
    }
}

/// What a writer holds who checks a record against the rules, from the check until the record
/// stands in the catalog. Meanwhile no reload exchanges them, so no key comes that names what is not
/// there any more. Taken before the lock of a key.
pub(super) struct Gate<'a> {
    pub(super) rules: Arc<Rules>,
    _held: RwLockReadGuard<'a, ()>,
}

impl Admin {
    /// What decides.
    #[must_use]
    pub const fn engine(&self) -> &Arc<Engine> {
        &self.engine
    }

    /// The rules, to check a record by. An import holds them by its own lock.
    pub(super) async fn gate(&self) -> Gate<'_> {
        let held = self.rules_gate.read().await;
        Gate { rules: self.engine.rules(), _held: held }
    }

    /// Exchanges the rules and settings as a whole, and compiles the keys of every tier that has
    /// changed: when this returns, the next question is judged by the new limits, from which what
    /// was spent of the old ones is taken.
    ///
    /// # Errors
    /// `CONFLICT` when keys use a tier or a profile that the new rules do not have; `BUSY` while an
    /// import is under way. Nothing has changed then.
    pub async fn apply(self: &Arc<Self>, live: Live) -> Result<Applied, AdminError> {
        // An import's records were checked as they came and are published at its end.
        let _no_import = Arc::clone(&self.importing).try_lock_owned().map_err(|_| {
            let message = "an import is under way; nothing was applied: reload when it has ended";
            AdminError::new(ErrorCode::Busy, message)
        })?;
        let changed = {
            let _gate = self.rules_gate.write().await;
            let before = self.engine.rules();
            self.check_unused(&before, &live.rules)?;
            let changed = changed_tiers(&before, &live.rules);
            self.engine.set_rules(Arc::new(live.rules));
            self.engine.set_expiry_warning_us(live.expiry_warning_us);
            self.engine.set_deny_rotation_overdue(live.deny_rotation_overdue);
            self.set_life_rules(live.life);
            if let Some(ledger) = &self.ledger {
                ledger.set_unavailable(live.ledger_unavailable);
            }
            changed
        };
        if changed.is_empty() {
            return Ok(Applied::default());
        }
        let admin = Arc::clone(self);
        let compiled = blocking(move || admin.compile_again_blocking(&changed));
        compiled.await.ok_or_else(AdminError::stopping)
    }

    /// Refuses to lose what keys use, deleted ones too: they may be restored.
    fn check_unused(&self, before: &Rules, after: &Rules) -> Result<(), AdminError> {
        let mut used = Vec::new();
        let mut look = |table: &str, name: &str, count: Count| {
            if count.all() > 0 {
                let name = TomlKey(name);
                used.push(format!("[{table}.{name}] is used by {}", keys_text(count)));
            }
        };
        for name in before.tiers.keys().filter(|name| !after.tiers.contains_key(*name)) {
            look("tiers", name, self.engine.keys_with_tier(name));
        }
        for name in before.profiles.keys().filter(|name| !after.profiles.contains_key(*name)) {
            look("profiles", name, self.engine.keys_with_profile(name));
        }
        if used.is_empty() {
            return Ok(());
        }
        Err(AdminError::conflict(format!(
            "{}; nothing was applied: keep what is used, or give these keys another name first",
            list(used.iter())
        )))
    }

    /// Puts the keys of these tiers into the catalog again, each as it is now and under its lock: a
    /// change that is made meanwhile is not undone.
    fn compile_again_blocking(&self, tiers: &BTreeSet<String>) -> Applied {
        let mut applied = Applied::default();
        for ids in self.engine.keys_of_tiers(tiers).chunks(Ledger::CHANGES_MAX) {
            let _locks = self.lock_all_blocking(ids);
            let mut records = Vec::new();
            for id in ids {
                match self.keys.get(*id) {
                    Ok(Some(record)) if tiers.contains(&record.billing_tier) => {
                        records.push(record);
                    }
                    Ok(_) => {}
                    Err(error) => applied.fail(&[*id], &error),
                }
            }
            self.put_again(&records, &mut applied);
        }
        applied
    }

    /// Puts keys under other rules, when the ledger knows what that makes of what was spent.
    fn put_again(&self, records: &[KeyRecord], applied: &mut Applied) {
        let mut publish = || {
            for record in records {
                match self.publish(record) {
                    Ok(()) => applied.keys += 1,
                    // The others have their new limits all the same.
                    Err(error) => applied.fail(&[record.id], &error),
                }
            }
        };
        let Some(ledger) = &self.ledger else { return publish() };
        let of = |record: &KeyRecord| (Account::Key(record.id), self.engine.terms_of(record));
        let accounts: Vec<_> = records.iter().map(of).collect();
        let changed = ledger.change(&accounts, &Change::default(), Vec::new, |_| publish());
        if let Err(error) = changed {
            let ids: Vec<u64> = records.iter().map(|record| record.id).collect();
            applied.fail(&ids, &error);
        }
    }

    /// A line of health for each tier that keys name and that is not there.
    pub(super) fn withheld(&self) -> Vec<String> {
        let unknown = self.engine.unknown_tiers();
        let line = |(name, count): &(String, usize)| {
            format!(
                "{} of the tier {name:?}, which the configuration does not have, are unknown to \
                 decisions; add [tiers.{}] to it and run `keygate reload`",
                keys_text(Count { live: *count, deleted: 0 }),
                TomlKey(name)
            )
        };
        let mut lines: Vec<String> = unknown.iter().take(TIERS_NAMED).map(line).collect();
        if unknown.len() > TIERS_NAMED {
            let more = unknown.len() - TIERS_NAMED;
            lines.push(format!("keys of {more} more tiers are withheld; the log names them"));
        }
        lines
    }
}

/// The tiers that one side does not have, or that are not the same on both.
fn changed_tiers(before: &Rules, after: &Rules) -> BTreeSet<String> {
    let names = before.tiers.keys().chain(after.tiers.keys());
    names.filter(|name| before.tiers.get(*name) != after.tiers.get(*name)).cloned().collect()
}

fn keys_text(count: Count) -> String {
    let keys = if count.all() == 1 { "1 key".to_owned() } else { format!("{} keys", count.all()) };
    match count.deleted {
        0 => keys,
        deleted => format!("{keys}, {deleted} of them deleted"),
    }
}
