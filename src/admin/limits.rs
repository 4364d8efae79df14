//! Limits as people see them, and changes of limits of which something was spent.

use keygate_protocol::admin as wire;

use super::{Admin, AdminError, Caller, blocking};
use crate::engine::Account;
use crate::key::Time;
use crate::limit::{Change, FigureOf, Figures, Spent};

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

    /// Has the ledger know exactly what was spent of an account. Before its limits change, because
    /// what a crash charges to an account without figures goes by its limits; and after a change
    /// that gives something back, because a crash must not take that.
    pub(super) async fn settle(&self, account: Account) -> Result<(), AdminError> {
        let moved = self.engine.has_moved(&account, self.clock.now());
        let Some(ledger) = self.ledger.clone().filter(|_| moved) else {
            return Ok(());
        };
        let settled = blocking(move || ledger.settle(&account)).await;
        Ok(settled.ok_or_else(AdminError::stopping)??)
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
    let Figures { limit, cap, spent, remaining, leased, stranded, ends_us } = figures;
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
