//! The end of a tenant: its keys are removed some at a time, then its record.
//!
//! What begins is marked in the record before anything is removed, and the record goes last. So a
//! purge may be cut short anywhere: its keys are unknown already, and whoever finds the mark goes on.

use std::sync::Arc;

use keygate_protocol::ErrorCode;
use keygate_protocol::admin as wire;

use super::{Admin, AdminError, blocking};
use crate::engine::TenantView;
use crate::key::{KeyRecord, TenantRecord, TenantState, Time};
use crate::store::plan::ops_of;
use crate::store::{KeyWrite, OPS_MAX, TenantWrite, Write};

/// Keys that are read at a time and removed in one write.
const PURGE_KEYS: usize = 64;

impl Admin {
    /// Purges the tenants that were deleted longer ago than the retention, and goes on with the
    /// purges that were cut short. Answers how many tenants are gone. One that cannot be purged does
    /// not stop the others.
    ///
    /// # Errors
    /// Of the store; calling it again goes on.
    pub async fn purge_outdated_tenants(&self) -> Result<u64, AdminError> {
        let until_us = self.retained_until_us();
        let outdated = |record: &TenantRecord| {
            let is_old = |at: Time| at.micros_up() <= until_us;
            record.purge_began_at.is_some() || record.deleted_at.is_some_and(is_old)
        };
        let deleted = |view: &TenantView| view.state == TenantState::Deleted && view.recorded;
        let (mut after, mut purged, mut failed) = (None::<Arc<str>>, 0, None);
        loop {
            let (page, next) = self.engine.tenants(after.as_deref(), PURGE_KEYS, deleted);
            for (id, _) in page {
                match self.purge_tenant_if(&id, outdated).await {
                    Ok(gone) => purged += u64::from(gone.is_some()),
                    Err(error) => failed = Some(error),
                }
            }
            let Some(next) = next else { return failed.map_or(Ok(purged), Err) };
            after = Some(next);
        }
    }

    pub(super) async fn purge_tenant(&self, id: &str) -> Result<wire::TenantChanged, AdminError> {
        self.purge_tenant_if(id, |_| true).await?.ok_or_else(|| AdminError::no_tenant(id))
    }

    /// Purges a tenant if it is one that is wanted, which is judged under the lock of tenants: one
    /// that is restored meanwhile is spared.
    pub(super) async fn purge_tenant_if(
        &self,
        id: &str,
        wanted: impl FnOnce(&TenantRecord) -> bool,
    ) -> Result<Option<wire::TenantChanged>, AdminError> {
        let _one = self.purging.lock().await;
        let Some(record) = self.begin_purge(id, wanted).await? else { return Ok(None) };
        let mut changed = self.tenant_changed(&record);
        let mut keys_purged = 0;
        while let Some(removed) = self.purge_some_keys(id).await? {
            keys_purged += removed;
        }
        let _lock = self.tenants.lock().await;
        let write = TenantWrite::Remove { id: id.to_owned(), revision: record.revision };
        self.commit(vec![Write::Tenant(write)]).await?;
        self.engine.remove_tenant(id);
        tracing::info!(tenant = id, keys_purged, "a tenant was purged");
        changed.keys_purged = Some(keys_purged);
        Ok(Some(changed))
    }

    /// Marks the record, first of all: from here on the tenant's keys are unknown, none comes into it
    /// any more, it is not restored, and whoever finds it after a crash goes on.
    async fn begin_purge(
        &self,
        id: &str,
        wanted: impl FnOnce(&TenantRecord) -> bool,
    ) -> Result<Option<TenantRecord>, AdminError> {
        let now = self.time();
        let mut is_wanted = false;
        let begun = |before: &TenantRecord| {
            is_wanted = wanted(before);
            let deleted_at = before.deleted_at.or(Some(now));
            let after = TenantRecord { deleted_at, purge_began_at: Some(now), ..before.clone() };
            Ok((is_wanted && before.purge_began_at.is_none()).then_some(after))
        };
        match self.change_tenant(id, begun).await {
            Ok(record) => Ok(is_wanted.then_some(record)),
            // Somebody else has purged it by now.
            Err(error) if error.code == ErrorCode::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Removes some keys of a tenant whose purge has begun; `None` when there are none left.
    async fn purge_some_keys(&self, tenant: &str) -> Result<Option<u64>, AdminError> {
        let (keys, name) = (self.keys.clone(), tenant.to_owned());
        let ids = blocking(move || keys.ids_of_tenant(&name, PURGE_KEYS)).await;
        let ids = ids.ok_or_else(AdminError::stopping)??;
        let Some(first) = ids.first().copied() else { return Ok(None) };
        // Each change of a key is durable and published under its lock, so that none of these is
        // shown to decisions after it was removed.
        let _locks = self.lock_all(&ids).await;
        let keys = self.keys.clone();
        let read = move || ids.iter().map(|id| keys.get(*id)).collect::<Result<Vec<_>, _>>();
        let records = blocking(read).await.ok_or_else(AdminError::stopping)??;
        let (mut ops, mut removed, mut writes) = (0, Vec::new(), Vec::new());
        for KeyRecord { id, revision, .. } in records.iter().flatten().take_while(|record| {
            ops += ops_of(record);
            ops <= OPS_MAX
        }) {
            removed.push(*id);
            writes.push(Write::Key(KeyWrite::Remove { id: *id, revision: *revision }));
        }
        if removed.is_empty() {
            let message = format!(
                "the index says that key {first} is of tenant {tenant:?}, and there is no such \
                 key; `keygate verify` looks at the whole store"
            );
            return Err(AdminError::new(ErrorCode::Storage, message));
        }
        self.commit(writes).await?;
        removed.iter().for_each(|id| self.engine.remove(*id));
        Ok(Some(removed.len() as u64))
    }
}
