//! Limits as people see them, and changes of limits of which something was spent.

use std::sync::Arc;

use keygate_protocol::admin as wire;

use super::{Admin, AdminError, Caller, blocking};
use crate::clock::Now;
use crate::engine::{Account, Engine};
use crate::key::Time;
use crate::limit::{Change, FigureOf, Figures, Spent, Terms};
use crate::store::Write;

impl Admin {
    /// How the limits stand that the keys of a tenant share.
    ///
    /// # Errors
    /// `NOT_FOUND` for a tenant that has neither a record nor a key.
    pub async fn tenant_usage(
        &self,
        caller: &Caller,
        request: wire::TenantRef,
    ) -> Result<wire::TenantUsage, AdminError> {
        let record = self.visible_tenant(caller, &request.id).await?;
        let limits = self.limit_usage(&Account::Tenant(record.id.as_str().into()));
        Ok(wire::TenantUsage { id: record.id, limits })
    }

    /// How the limits of an account stand.
    pub(super) fn limit_usage(&self, account: &Account) -> Vec<wire::LimitUsage> {
        self.engine.limit_figures(account, self.clock.now()).into_iter().map(shown).collect()
    }

    /// Writes a record whose limits change in one with what that makes of what was spent; then
    /// `publish` has decisions obey it.
    pub(super) async fn commit_limits<T: Send + 'static>(
        &self,
        (account, terms): (Account, Terms),
        change: Change,
        record: impl Fn() -> Write + Send + 'static,
        publish: impl FnOnce(&Engine, Now) -> T + Send + 'static,
    ) -> Result<T, AdminError> {
        let engine = Arc::clone(&self.engine);
        let Some(ledger) = self.ledger.clone() else {
            self.commit(vec![record()]).await?;
            return Ok(publish(&engine, self.clock.now()));
        };
        let changed = blocking(move || {
            let records = || vec![record()];
            ledger.change(&[(account, terms)], &change, records, |now| publish(&engine, now))
        });
        let changed = changed.await.ok_or_else(AdminError::stopping)?;
        self.written(changed.map_err(AdminError::from))
    }
}

/// What becomes of what was spent of the limits that a change names.
pub(super) fn change_of(spent: Option<wire::SpentPolicy>, names: impl Fn(&str) -> bool) -> Change {
    let spent = match spent.unwrap_or_default() {
        wire::SpentPolicy::Keep => Spent::Keep,
        wire::SpentPolicy::Proportional => Spent::Proportional,
        wire::SpentPolicy::Reset => Spent::Reset,
    };
    Change::naming(spent, names)
}

fn shown(figures: Figures) -> wire::LimitUsage {
    let Figures { limit, cap, spent, remaining, leased, stranded, ends_us, window: _ } = figures;
    wire::LimitUsage {
        name: match limit {
            FigureOf::Common(name) => name.name().to_owned(),
            FigureOf::Named(name) => name.into(),
        },
        limit: cap,
        spent,
        remaining,
        leased,
        stranded,
        ends_at: ends_us.map(|us| Time::from_micros(us).to_string()),
    }
}
