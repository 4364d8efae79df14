//! The life of a tenant: create, get, list, update, status, delete, restore.
//!
//! A tenant is there as soon as a key names it. It has a record once somebody has made one, or has
//! changed its standing. To ask for what is so already is no error and changes nothing.

use std::sync::Arc;

use keygate_protocol::admin as wire;
use serde_json::Value;

use super::limits::change_of;
use super::{Admin, AdminError, Caller, blocking};
use crate::engine::{Account, Engine, NamedTenant, TenantView};
use crate::key::json::canonical;
use crate::key::tenant::{STATUS_REASON_BYTES_MAX, read_id};
use crate::key::{FieldError, KeyRecord, TenantRecord, TenantState, TenantStatus};
use crate::limit::{Change, Spent};
use crate::store::{TenantWrite, Write};

/// A page's default length.
const LIMIT_DEFAULT: u32 = 100;
/// JSON of one page, which is one frame; a tenant more may stand above it and still fits.
const PAGE_JSON_BYTES: usize = 512 * 1024;

impl Admin {
    /// Makes a tenant's record. What is there as it is asked for is answered as it is.
    ///
    /// # Errors
    /// `FORBIDDEN` for a bound caller; `INVALID` for a field; `CONFLICT` for a tenant that has
    /// another record or is deleted; `READ_ONLY` or `STORAGE` for the store.
    pub async fn create_tenant(
        &self,
        caller: &Caller,
        request: wire::TenantCreate,
    ) -> Result<wire::TenantChanged, AdminError> {
        caller.check_unbound("TenantCreate")?;
        let asked = TenantRecord::create(request.tenant)?;
        let id = asked.id.clone();
        let _lock = self.tenants.lock().await;
        let Some(stored) = self.to_change(self.stored_tenant(&id).await)? else {
            self.engine.check_room_for_tenant(&id)?;
            let before = TenantRecord::unrecorded(&id);
            let record =
                self.write_tenant(caller, "create", &before, asked, Change::default()).await?;
            tracing::info!(tenant = id, "a tenant was created");
            return Ok(self.tenant_changed(&record));
        };
        check_not_deleted(&stored)?;
        if !stored.has_the_fields_of(&asked) {
            return Err(AdminError::conflict(format!(
                "the tenant {id} exists already, with other fields; `keygate tenant update {id}` \
                 changes them"
            )));
        }
        let mut changed = self.tenant_changed(&stored);
        changed.notices.push(format!("the tenant {id} was there already, as it is asked for"));
        Ok(changed)
    }

    /// One tenant, a deleted one too.
    ///
    /// # Errors
    /// `NOT_FOUND`; `INVALID` for what is no id.
    pub async fn get_tenant(
        &self,
        caller: &Caller,
        request: wire::TenantRef,
    ) -> Result<Value, AdminError> {
        let id = visible_id(caller, &request.id)?;
        Ok(self.tenant_json(&self.tenant_record(&id).await?))
    }

    /// The record of a tenant that a caller may see.
    pub(super) async fn visible_tenant(
        &self,
        caller: &Caller,
        id: &str,
    ) -> Result<TenantRecord, AdminError> {
        self.tenant_record(&visible_id(caller, id)?).await
    }

    /// One page of tenants: those that have a record and those that only keys name.
    ///
    /// # Errors
    /// `INVALID` for a filter.
    pub async fn list_tenants(
        &self,
        caller: &Caller,
        request: wire::TenantList,
    ) -> Result<wire::TenantPage, AdminError> {
        let limit = request.limit.unwrap_or(LIMIT_DEFAULT);
        if !(1..=wire::LIST_PAGE_MAX).contains(&limit) {
            let max = wire::LIST_PAGE_MAX;
            return Err(AdminError::invalid(format!("limit is {limit}; it is 1 to {max}")));
        }
        let status = request.status.as_deref().map(TenantStatus::parse).transpose();
        let status = status.map_err(AdminError::invalid)?;
        let deleted = request.deleted;
        let wanted = move |view: &TenantView| match (view.state, status) {
            // Whether a deleted tenant is suspended beside is told by its record.
            (TenantState::Deleted, _) => deleted,
            (TenantState::Suspended, status) => status != Some(TenantStatus::Active),
            (TenantState::Active, status) => status != Some(TenantStatus::Suspended),
        };
        let after = request.after.as_deref();
        let (found, next) = match caller.tenant_shared() {
            None => self.engine.tenants(after, limit as usize, wanted),
            Some(own) => {
                let behind = after.is_none_or(|after| after < &*own);
                let view = self.engine.tenant(&own).filter(|view| behind && wanted(view));
                (view.map(|view| (own, view)).into_iter().collect(), None)
            }
        };
        self.tenant_page(found, next, status).await
    }

    /// Reads the records of a page, and ends it where it would outgrow a frame.
    async fn tenant_page(
        &self,
        found: Vec<NamedTenant>,
        next: Option<Arc<str>>,
        status: Option<TenantStatus>,
    ) -> Result<wire::TenantPage, AdminError> {
        let keys = self.keys.clone();
        let page = blocking(move || {
            let mut page =
                wire::TenantPage { next: next.map(|next| next.to_string()), ..Default::default() };
            let (mut bytes, mut last) = (0, None);
            for (id, view) in found {
                if bytes >= PAGE_JSON_BYTES {
                    page.next = last;
                    break;
                }
                last = Some(id.to_string());
                let stored = if view.recorded { keys.tenant(&id) } else { Ok(None) };
                let record = match stored {
                    Ok(stored) => stored.unwrap_or_else(|| TenantRecord::unrecorded(&id)),
                    Err(error) => {
                        tracing::error!(tenant = &*id, %error, "a tenant was passed over");
                        continue;
                    }
                };
                if status.is_some_and(|status| status != record.status) {
                    continue;
                }
                let tenant = record.to_json(view.keys, view.keys_deleted);
                bytes += tenant.to_string().len();
                page.tenants.push(tenant);
            }
            page
        });
        page.await.ok_or_else(AdminError::stopping)
    }

    /// Changes fields of a tenant's record, which is made if there is none. A bound caller may
    /// change its own, but not which organization it belongs to, nor the limits that are laid upon
    /// it.
    ///
    /// # Errors
    /// `NOT_FOUND`; `INVALID` for a field; `FORBIDDEN`; `CONFLICT` for another revision than
    /// expected, and for a deleted tenant.
    pub async fn update_tenant(
        &self,
        caller: &Caller,
        request: wire::TenantUpdate,
    ) -> Result<wire::TenantChanged, AdminError> {
        let id = visible_id(caller, &request.id)?;
        let expected = request.expected_revision;
        let named: Vec<String> = request
            .set
            .as_object()
            .into_iter()
            .flatten()
            .map(|(name, _)| canonical(name))
            .collect();
        let change = change_of(request.spent, |field| named.iter().any(|name| name == field));
        let record = self
            .change_tenant_and_limits(caller, "update", &id, change, |before| {
                check_not_deleted(before)?;
                if let Some(expected) = expected.filter(|expected| *expected != before.revision) {
                    return Err(AdminError::conflict(format!(
                        "tenant {id} has revision {}, not {expected}: somebody changed it \
                         meanwhile; read it again",
                        before.revision
                    )));
                }
                let after = before.clone().update(request.set)?;
                if after.organization_id != before.organization_id {
                    caller.check_unbound("a change of a tenant's organization_id")?;
                }
                if after.limits != before.limits || change.spent != Spent::Keep {
                    caller.check_unbound("a change of a tenant's limits")?;
                }
                Ok(Some(after))
            })
            .await?;
        tracing::info!(tenant = id, revision = record.revision, "a tenant was updated");
        Ok(self.tenant_changed(&record))
    }

    /// Suspends a tenant, or lets it pass again: all its keys at once, from the next question on.
    ///
    /// # Errors
    /// `FORBIDDEN` for a bound caller, who could lift what is laid upon it; `NOT_FOUND`; `INVALID`
    /// for what is no status and for too long a reason; `CONFLICT` for a deleted tenant.
    pub async fn set_tenant_status(
        &self,
        caller: &Caller,
        request: wire::TenantSetStatus,
    ) -> Result<wire::TenantChanged, AdminError> {
        caller.check_unbound("TenantSetStatus")?;
        let id = visible_id(caller, &request.id)?;
        let status = TenantStatus::parse(&request.status).map_err(AdminError::invalid)?;
        let status_reason = bounded_reason(request.reason)?;
        let record = self
            .change_tenant(caller, "set_status", &id, |before| {
                check_not_deleted(before)?;
                let after = TenantRecord { status, status_reason, ..before.clone() };
                Ok((after != *before).then_some(after))
            })
            .await?;
        tracing::info!(tenant = id, status = status.name(), "a tenant's status was set");
        Ok(self.tenant_changed(&record))
    }

    /// Deletes a tenant softly: its keys become unknown, until it is restored. Or purges it: removes
    /// its keys and its record, for good.
    ///
    /// # Errors
    /// `FORBIDDEN` for a bound caller; `NOT_FOUND`. A purge that fails has removed a part; to ask
    /// for it again goes on, and so does the daemon's next start.
    pub async fn delete_tenant(
        &self,
        caller: &Caller,
        request: wire::TenantDelete,
    ) -> Result<wire::TenantChanged, AdminError> {
        caller.check_unbound("TenantDelete")?;
        let id = visible_id(caller, &request.id)?;
        if request.purge {
            return self.purge_tenant(caller, &id).await;
        }
        let now = self.time();
        let deleted = |before: &TenantRecord| {
            let after = TenantRecord { deleted_at: Some(now), ..before.clone() };
            Ok(before.deleted_at.is_none().then_some(after))
        };
        let record = self.change_tenant(caller, "delete", &id, deleted).await?;
        tracing::info!(tenant = id, "a tenant was deleted");
        Ok(self.tenant_changed(&record))
    }

    /// Brings a deleted tenant back, with all its keys.
    ///
    /// # Errors
    /// `FORBIDDEN` for a bound caller; `NOT_FOUND`; `CONFLICT` once its purge has begun.
    pub async fn restore_tenant(
        &self,
        caller: &Caller,
        request: wire::TenantRef,
    ) -> Result<wire::TenantChanged, AdminError> {
        caller.check_unbound("TenantRestore")?;
        let id = visible_id(caller, &request.id)?;
        let restored = |before: &TenantRecord| {
            if before.purge_began_at.is_some() {
                return Err(AdminError::conflict(format!(
                    "the purge of tenant {id} has begun, so some of its keys are gone; \
                     `keygate tenant purge {id}` goes on with it"
                )));
            }
            let after = TenantRecord { deleted_at: None, ..before.clone() };
            Ok(before.deleted_at.is_some().then_some(after))
        };
        let record = self.change_tenant(caller, "restore", &id, restored).await?;
        tracing::info!(tenant = id, "a tenant was restored");
        Ok(self.tenant_changed(&record))
    }

    /// Reads, changes, writes and publishes one tenant's record, under the lock of tenants. A change
    /// that answers nothing leaves it as it is.
    pub(super) async fn change_tenant(
        &self,
        caller: &Caller,
        action: &str,
        id: &str,
        change: impl FnOnce(&TenantRecord) -> Result<Option<TenantRecord>, AdminError>,
    ) -> Result<TenantRecord, AdminError> {
        self.change_tenant_and_limits(caller, action, id, Change::default(), change).await
    }

    /// As [`Admin::change_tenant`]; what was spent of limits becomes what `limits` says.
    async fn change_tenant_and_limits(
        &self,
        caller: &Caller,
        action: &str,
        id: &str,
        limits: Change,
        change: impl FnOnce(&TenantRecord) -> Result<Option<TenantRecord>, AdminError>,
    ) -> Result<TenantRecord, AdminError> {
        let _lock = self.tenants.lock().await;
        let before = self.to_change(self.tenant_record(id).await)?;
        match change(&before)? {
            Some(after) => self.write_tenant(caller, action, &before, after, limits).await,
            None => Ok(before),
        }
    }

    /// Writes a record durably and lets decisions obey it. The caller holds the lock of tenants.
    async fn write_tenant(
        &self,
        caller: &Caller,
        action: &str,
        before: &TenantRecord,
        mut after: TenantRecord,
        limits: Change,
    ) -> Result<TenantRecord, AdminError> {
        let now = Some(self.time());
        after.revision = before.revision + 1;
        after.created_at = before.created_at.or(now);
        after.updated_at = now;
        let (before_revision, record) = (before.revision, after.clone());
        let write = move || {
            let after = Box::new(record.clone());
            Write::Tenant(match before_revision {
                0 => TenantWrite::Insert(after),
                before_revision => TenantWrite::Replace { before_revision, after },
            })
        };
        let of = (Account::Tenant(after.id.as_str().into()), Engine::terms_of_tenant(&after));
        let published = after.clone();
        let publish = move |engine: &Engine, now| engine.change_tenant(&published, &limits, now);
        self.commit_limits(of, limits, write, publish).await?;
        self.note_tenant(caller, action, before, Some(&after));
        Ok(after)
    }

    /// The record of a tenant, or what stands for it where only keys name the tenant.
    async fn tenant_record(&self, id: &str) -> Result<TenantRecord, AdminError> {
        if let Some(record) = self.stored_tenant(id).await? {
            return Ok(record);
        }
        let (keys, name) = (self.keys.clone(), id.to_owned());
        let named = blocking(move || keys.ids_of_tenant(&name, 1)).await;
        if named.ok_or_else(AdminError::stopping)??.is_empty() {
            return Err(AdminError::no_tenant(id));
        }
        Ok(TenantRecord::unrecorded(id))
    }

    pub(super) async fn stored_tenant(&self, id: &str) -> Result<Option<TenantRecord>, AdminError> {
        let (keys, id) = (self.keys.clone(), id.to_owned());
        let record =
            blocking(move || keys.tenant(&id)).await.ok_or_else(AdminError::stopping)??;
        // One of an import that is not whole yet is not there for anybody.
        Ok(record.filter(|record| self.is_of_no_pending_import(record.import)))
    }

    fn tenant_json(&self, record: &TenantRecord) -> Value {
        let view = self.engine.tenant(&record.id);
        let (keys, deleted) = view.map_or((0, 0), |view| (view.keys, view.keys_deleted));
        record.to_json(keys, deleted)
    }

    pub(super) fn tenant_changed(&self, record: &TenantRecord) -> wire::TenantChanged {
        let tenant = self.tenant_json(record);
        wire::TenantChanged { tenant, keys_purged: None, notices: record.limits.notices() }
    }

    /// Refuses a key of a deleted tenant, or of one for which there is no room, before anything is
    /// made or written for it. Of what is deleted meanwhile the committer has the last word.
    pub(super) fn check_tenant_takes_keys(&self, record: &KeyRecord) -> Result<(), AdminError> {
        let id = &record.tenant_id;
        self.engine.check_room_for_tenant(id)?;
        match self.engine.tenant(id) {
            Some(TenantView { state: TenantState::Deleted, .. }) => {
                Err(crate::store::Conflict::TenantDeleted { id: id.clone() }.into())
            }
            _ => Ok(()),
        }
    }
}

/// The id of a tenant that the caller may know of.
fn visible_id(caller: &Caller, id: &str) -> Result<String, AdminError> {
    let id = read_id(&id.into()).map_err(|reason| FieldError::of("id", reason))?;
    if caller.sees(&id) { Ok(id) } else { Err(AdminError::no_tenant(&id)) }
}

fn check_not_deleted(record: &TenantRecord) -> Result<(), AdminError> {
    if record.deleted_at.is_none() {
        return Ok(());
    }
    let id = &record.id;
    Err(AdminError::conflict(format!(
        "the tenant {id} is deleted; `keygate tenant restore {id}` brings it back, `keygate tenant \
         purge {id}` removes it for good"
    )))
}

fn bounded_reason(reason: Option<String>) -> Result<String, AdminError> {
    let reason = reason.unwrap_or_default();
    let bytes = reason.len();
    if bytes > STATUS_REASON_BYTES_MAX {
        return Err(AdminError::invalid(format!(
            "the reason has {bytes} bytes, at most {STATUS_REASON_BYTES_MAX} are kept"
        )));
    }
    Ok(reason)
}
