//! The end of a tenant: its keys are removed some at a time, then its record.
//!
//! What begins is marked in the record before anything is removed, and the record goes last. So a
//! purge may be cut short anywhere: its keys are unknown already, and whoever finds the mark goes on.

use std::sync::Arc;

use keygate_protocol::ErrorCode;
use keygate_protocol::admin as wire;

use super::{Admin, AdminError, Caller, blocking};
use crate::engine::TenantView;
use crate::key::{KeyRecord, TenantRecord, TenantState, Time};
use crate::store::plan::ops_of;
use crate::store::{KeyWrite, OPS_MAX, StoreError, TenantWrite, Whose, Write};

/// Keys that are read at a time and removed in one write.
const PURGE_KEYS: usize = 64;

/// Endpoints that are removed in one write.
const PURGE_ENDPOINTS: usize = 400;

impl Admin {
    /// Goes on with the purges that were cut short, and purges the tenants that were deleted by an
    /// instant, one after the other while `go_on` says so. Answers how many are gone. One that cannot
    /// be purged is logged and does not stop the others.
    ///
    /// # Errors
    /// When the store takes nothing; calling it again goes on.
    pub(super) async fn sweep_tenants(
        &self,
        until: Time,
        go_on: &(impl Fn() -> bool + Sync),
    ) -> Result<u64, AdminError> {
        let deleted = |view: &TenantView| view.state == TenantState::Deleted && view.recorded;
        let wanted = |record: &TenantRecord| {
            record.purge_began_at.is_some() || record.deleted_at.is_some_and(|at| at <= until)
        };
        let (mut after, mut purged) = (None::<Arc<str>>, 0);
        loop {
            let (page, next) = self.engine.tenants(after.as_deref(), PURGE_KEYS, deleted);
            for (id, _) in page {
                if !go_on() {
                    return Ok(purged);
                }
                match self.sweep_tenant(&id, wanted, go_on).await {
                    Ok(gone) => purged += u64::from(gone),
                    // A command has purged it meanwhile.
                    Err(error) if error.code == ErrorCode::NotFound => {}
                    // What cannot be read is in nobody's way but its own.
                    Err(error) if error.code == ErrorCode::Storage && self.writable() => {
                        tracing::error!(tenant = &*id, %error, "a tenant could not be purged");
                    }
                    Err(error) => return Err(error),
                }
            }
            let Some(next) = next else { return Ok(purged) };
            after = Some(next);
        }
    }

    async fn sweep_tenant(
        &self,
        id: &str,
        wanted: impl Fn(&TenantRecord) -> bool,
        go_on: &(impl Fn() -> bool + Sync),
    ) -> Result<bool, AdminError> {
        // Most are not, and wait for no other purge to learn it.
        if !self.stored_tenant(id).await?.is_some_and(|record| wanted(&record)) {
            return Ok(false);
        }
        let caller = Caller::daemon("retention");
        Ok(self.purge_tenant_if(&caller, id, wanted, go_on).await?.is_some())
    }

    /// Purges a tenant whatever its state, to the end.
    pub(super) async fn purge_tenant(
        &self,
        caller: &Caller,
        id: &str,
    ) -> Result<wire::TenantChanged, AdminError> {
        let purged = self.purge_tenant_if(caller, id, |_| true, &|| true).await?;
        purged.ok_or_else(|| AdminError::no_tenant(id))
    }

    /// Purges a tenant if its record, as it is once no other purge is under way, is one that is
    /// wanted: it may have been restored since it was looked at. `None` if it is not, and when
    /// `go_on` has broken the purge off, which then goes on at the next look.
    pub(super) async fn purge_tenant_if(
        &self,
        caller: &Caller,
        id: &str,
        wanted: impl Fn(&TenantRecord) -> bool,
        go_on: &(impl Fn() -> bool + Sync),
    ) -> Result<Option<wire::TenantChanged>, AdminError> {
        let _one = self.purging.lock().await;
        let now = self.time();
        let mut is_wanted = false;
        // First of all: from here on its keys are unknown, none comes into it any more, it is not
        // restored, and whoever finds it after a crash goes on.
        let begun = |before: &TenantRecord| {
            is_wanted = wanted(before);
            let deleted_at = before.deleted_at.or(Some(now));
            let after = TenantRecord { deleted_at, purge_began_at: Some(now), ..before.clone() };
            Ok((is_wanted && before.purge_began_at.is_none()).then_some(after))
        };
        let record = self.change_tenant(caller, "purge_begin", id, begun).await?;
        if !is_wanted {
            return Ok(None);
        }
        let mut changed = self.tenant_changed(&record);
        let unfinished = |error: AdminError| error.of_a_part("the purge");
        let mut keys_purged = 0;
        while let Some(removed) = self.purge_some_keys(caller, id).await.map_err(unfinished)? {
            keys_purged += removed;
            if !go_on() {
                return Ok(None);
            }
        }
        let _lock = self.tenants.lock().await;
        // Before the record goes and after: whoever writes usage must not bring sums back.
        self.engine.forget_sum(id);
        let write = TenantWrite::Remove { id: id.to_owned(), revision: record.revision };
        let mut writes = self.endpoint_removals(id).await.map_err(unfinished)?;
        writes.push(Write::Tenant(write));
        self.commit(writes).await.map_err(unfinished)?;
        if let Ok(notifier) = self.notifier() {
            notifier.forget_endpoints(id);
        }
        self.engine.remove_tenant(id);
        self.engine.forget_sum(id);
        self.note_tenant(caller, "purge", &record, None);
        tracing::info!(tenant = id, keys_purged, "a tenant was purged");
        changed.keys_purged = Some(keys_purged);
        Ok(Some(changed))
    }

    /// What removes the endpoints of a tenant's web hooks together with its record. Of very many the
    /// first are removed before it.
    async fn endpoint_removals(&self, id: &str) -> Result<Vec<Write>, AdminError> {
        let Ok(notifier) = self.notifier() else { return Ok(Vec::new()) };
        let mut writes = notifier.endpoint_removals(id);
        while writes.len() > PURGE_ENDPOINTS {
            let rest = writes.split_off(PURGE_ENDPOINTS);
            self.commit(std::mem::replace(&mut writes, rest)).await?;
        }
        Ok(writes)
    }

    /// Removes some keys of a tenant whose purge has begun; `None` when there are none left.
    async fn purge_some_keys(
        &self,
        caller: &Caller,
        tenant: &str,
    ) -> Result<Option<u64>, AdminError> {
        let (keys, name) = (self.keys.clone(), tenant.to_owned());
        let ids = blocking(move || keys.ids_of_tenant(&name, PURGE_KEYS)).await;
        let ids = ids.ok_or_else(AdminError::stopping)??;
        let Some(first) = ids.first().copied() else { return Ok(None) };
        // Each change of a key is durable and published under its lock, so that none of these is
        // shown to decisions after it was removed.
        let _locks = self.lock_all(&ids).await;
        let keys = self.keys.clone();
        // With what each takes of a batch.
        let read_one = move |id: &u64| {
            let history = keys.history_rows(Whose::Key(*id))?;
            Ok::<_, StoreError>(keys.get(*id)?.map(|record| (ops_of(&record) + history, record)))
        };
        let read = move || ids.iter().map(read_one).collect::<Result<Vec<_>, _>>();
        let records = blocking(read).await.ok_or_else(AdminError::stopping)??;
        let (mut ops, mut removed, mut writes) = (0, Vec::new(), Vec::new());
        for (_, record) in records.iter().flatten().take_while(|(takes, _)| {
            ops += takes;
            ops <= OPS_MAX
        }) {
            let KeyRecord { id, revision, .. } = *record;
            removed.push(record);
            writes.push(Write::Key(KeyWrite::Remove { id, revision }));
        }
        if removed.is_empty() {
            let message = format!(
                "the index says that key {first} is of tenant {tenant:?}, and there is no such \
                 key; `keygate verify` looks at the whole store"
            );
            return Err(AdminError::new(ErrorCode::Storage, message));
        }
        self.commit(writes).await?;
        for record in &removed {
            self.engine.remove(record.id);
            self.note_key(caller, "purge", Some(record), None);
        }
        Ok(Some(removed.len() as u64))
    }
}
