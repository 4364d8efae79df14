//! The life of one key: create, get, update, rotate, status, delete.

use keygate_protocol::admin as wire;

use super::repeat::request_id;
use super::{Admin, AdminError, Caller, RECORD_JSON_BYTES_MAX, random};
use crate::key::{KeyRecord, RecordInput, Status, Time, id};
use crate::store::{KeyWrite, Write};

/// Attempts at an id that nobody has; a second is needed about never.
const ID_ATTEMPTS: usize = 8;
/// Longest reason for a rotation or a change of status.
const REASON_BYTES_MAX: usize = 256;

impl Admin {
    /// Makes a key; the only time its token is seen.
    ///
    /// # Errors
    /// `INVALID` for a field, `READ_ONLY` or `STORAGE` for the store.
    pub async fn create(
        &self,
        caller: &Caller,
        request: wire::KeyCreate,
    ) -> Result<wire::KeyCreated, AdminError> {
        let pepper = self.engine.pepper();
        let mut input = RecordInput::from_value(request.record)?;
        if let Some(tenant) = caller.tenant() {
            input.set_if_absent("tenant_id", tenant);
        }
        let (mut record, passed_over) = input.create(pepper)?;
        caller.check_owns(&record)?;
        record.request_id = request_id(request.request_id)?;
        if let Some(repeated) = self.repeated(caller, &record).await? {
            return Ok(repeated);
        }
        let mut notices = notices(&record);
        if !passed_over.is_empty() {
            notices.push(format!(
                "keygate sets these itself, so they were left out: {}; `keygate import` keeps them",
                passed_over.join(", ")
            ));
        }
        let now = self.time();
        if record.expires_at.is_some_and(|expires| expires <= now) {
            notices.push("expires_at has passed: the key is EXPIRED from the start".to_owned());
        }
        self.engine.check_room(1)?;
        let token = random::token(self.engine.prefixes(), record.is_test_key)?;
        record.key_hash = Some(pepper.seal_token(token.as_bytes()));
        record.key_prefix = self.engine.prefixes().visible(&token);
        record.created_at = Some(now);
        record.updated_at = record.created_at;
        record.revision = 1;
        check_size(&record, self)?;
        let record = match self.insert(&record).await {
            // Perhaps the same request has come twice at once, and the other was first.
            Err(error) if error.is_conflict() => {
                return self.repeated(caller, &record).await?.ok_or(error);
            }
            inserted => inserted?,
        };
        tracing::info!(key = record.id, tenant = record.tenant_id, "a key was created");
        let token = Some(token.to_string());
        Ok(wire::KeyCreated { key: self.json(&record), token, repeated: false, notices })
    }

    async fn insert(&self, record: &KeyRecord) -> Result<KeyRecord, AdminError> {
        let mut record = record.clone();
        for attempt in 1.. {
            record.id = self.ids.make(self.clock.now().wall_us, random::id_bits()?);
            let _lock = self.lock(record.id).await;
            let write = Write::Key(KeyWrite::Insert(Box::new(record.clone())));
            match self.commit(vec![write]).await {
                Ok(()) => {
                    self.publish(&record)?;
                    break;
                }
                // Two daemons, or an import, may have made the id in the same millisecond.
                Err(error) if attempt < ID_ATTEMPTS && error.is_conflict() => {
                    if self.made_by_request(&record).await?.is_some() {
                        return Err(error);
                    }
                }
                Err(error) => return Err(error),
            }
        }
        Ok(record)
    }

    /// One record, with its usage as it stands.
    ///
    /// # Errors
    /// `NOT_FOUND`, `INVALID` for what is no id.
    pub async fn get(
        &self,
        caller: &Caller,
        request: wire::KeyRef,
    ) -> Result<serde_json::Value, AdminError> {
        let record = self.record(caller, key_id(&request.id)?).await?;
        Ok(self.json(&record))
    }

    /// Changes fields of a record.
    ///
    /// # Errors
    /// `NOT_FOUND`; `INVALID` for a field; `CONFLICT` for another revision than expected.
    pub async fn update(
        &self,
        caller: &Caller,
        request: wire::KeyUpdate,
    ) -> Result<wire::KeyChanged, AdminError> {
        let id = key_id(&request.id)?;
        let mut input = RecordInput::from_value(request.set)?;
        if let Some(mask) = &request.mask {
            input = input.masked(mask)?;
        }
        let expected = request.expected_revision;
        let record = self
            .change(caller, id, |before| {
                if let Some(expected) = expected.filter(|expected| *expected != before.revision) {
                    return Err(AdminError::conflict(lost_update(before, expected)));
                }
                Ok(input.update(before, self.engine.pepper())?)
            })
            .await?;
        tracing::info!(key = id, revision = record.revision, "a key was updated");
        Ok(self.changed(&record))
    }

    /// A new token for a key; the old one goes on for the grace, but never past the key's expiry.
    ///
    /// # Errors
    /// `NOT_FOUND`; `CONFLICT` for a revoked key; `INVALID` for too long a reason.
    pub async fn rotate(
        &self,
        caller: &Caller,
        request: wire::KeyRotate,
    ) -> Result<wire::KeyRotated, AdminError> {
        let id = key_id(&request.id)?;
        let reason = reason(request.reason)?;
        let grace_ms = request.grace_ms.unwrap_or(self.rotation_grace_ms);
        let now = self.time();
        let grace_us = i64::try_from(grace_ms.saturating_mul(1000)).unwrap_or(i64::MAX);
        // The end of the year 9999 is as late as a record can say.
        let latest_us = 253_402_300_799_000_000;
        let ends_us = now.micros_up().saturating_add(grace_us).min(latest_us);
        let mut token = None;
        let record = self
            .change(caller, id, |before| {
                before.status.may_become(Status::Active).map_err(|_| {
                    AdminError::conflict(format!("key {id} is REVOKED, which is final"))
                })?;
                let ends_at = Time::from_micros(ends_us);
                let ends_at = before.expires_at.map_or(ends_at, |expires| expires.min(ends_at));
                let fresh = random::token(self.engine.prefixes(), before.is_test_key)?;
                let after = rotated(before, &fresh, self, now, ends_at, &reason);
                token = Some(fresh);
                Ok(after)
            })
            .await?;
        tracing::info!(key = id, "a key was rotated");
        let ends_at = record.previous_key_ends_at.unwrap_or(now);
        Ok(wire::KeyRotated {
            key: self.json(&record),
            token: token.map(|token| token.to_string()).unwrap_or_default(),
            old_token_ends_at: ends_at.to_string(),
        })
    }

    /// Suspends, resumes, revokes, or puts a key into another state.
    ///
    /// # Errors
    /// `NOT_FOUND`; `INVALID` for what is no status; `CONFLICT` for one that may not follow.
    pub async fn set_status(
        &self,
        caller: &Caller,
        request: wire::KeySetStatus,
    ) -> Result<wire::KeyChanged, AdminError> {
        let id = key_id(&request.id)?;
        let status = Status::parse(&request.status)
            .map_err(|error| AdminError::invalid(error.to_string()))?;
        let reason = reason(request.reason)?;
        let record = self
            .change(caller, id, |before| {
                before
                    .status
                    .may_become(status)
                    .map_err(|error| AdminError::conflict(error.to_string()))?;
                Ok(KeyRecord { status, status_reason: reason, ..before.clone() })
            })
            .await?;
        tracing::info!(key = id, status = status.name(), "a key's status was set");
        Ok(self.changed(&record))
    }

    /// Deletes a key softly: its tokens become unknown. Or removes it, for good.
    ///
    /// # Errors
    /// `NOT_FOUND`.
    pub async fn delete(
        &self,
        caller: &Caller,
        request: wire::KeyDelete,
    ) -> Result<wire::KeyChanged, AdminError> {
        let id = key_id(&request.id)?;
        if request.purge {
            return self.purge(caller, id).await;
        }
        let now = self.time();
        let record = self
            .change(caller, id, |before| Ok(KeyRecord { deleted_at: Some(now), ..before.clone() }))
            .await?;
        tracing::info!(key = id, "a key was deleted");
        Ok(self.changed(&record))
    }

    async fn purge(&self, caller: &Caller, id: u64) -> Result<wire::KeyChanged, AdminError> {
        let _lock = self.lock(id).await;
        let record = self.stored(caller, id).await?.ok_or_else(|| AdminError::not_found(id))?;
        let last = self.json(&record);
        let write = KeyWrite::Remove { id, revision: record.revision };
        self.commit(vec![Write::Key(write)]).await?;
        self.engine.remove(id);
        tracing::info!(key = id, "a key was purged");
        Ok(wire::KeyChanged { key: last, notices: Vec::new() })
    }

    /// Reads, changes, writes and publishes one record, under its lock.
    async fn change(
        &self,
        caller: &Caller,
        id: u64,
        change: impl FnOnce(&KeyRecord) -> Result<KeyRecord, AdminError>,
    ) -> Result<KeyRecord, AdminError> {
        let _lock = self.lock(id).await;
        let before = self.record(caller, id).await?;
        let mut after = change(&before)?;
        after.revision = before.revision + 1;
        after.updated_at = Some(self.time());
        caller.check_owns(&after)?;
        check_size(&after, self)?;
        let write =
            KeyWrite::Replace { before_revision: before.revision, after: Box::new(after.clone()) };
        self.commit(vec![Write::Key(write)]).await?;
        self.publish(&after)?;
        Ok(after)
    }

    fn changed(&self, record: &KeyRecord) -> wire::KeyChanged {
        wire::KeyChanged { key: self.json(record), notices: notices(record) }
    }
}

impl AdminError {
    fn is_conflict(&self) -> bool {
        self.code == keygate_protocol::ErrorCode::Conflict
    }
}

/// Both versions, and when the present one was made: nobody's change is written over unseen.
fn lost_update(now: &KeyRecord, expected: u64) -> String {
    let at = now.updated_at.map(|at| format!(", written at {at}")).unwrap_or_default();
    format!(
        "key {} has revision {}{at}, where revision {expected} was expected: it has been changed \
         since it was read; `keygate key get {}` shows it as it is",
        now.id, now.revision, now.id
    )
}

/// What the writer of this record should know.
pub(super) fn notices(record: &KeyRecord) -> Vec<String> {
    let mut notices = Vec::new();
    let kept = record.not_enforced_yet();
    if !kept.is_empty() {
        notices.push(format!(
            "this release keeps these fields without enforcing them yet: {}",
            kept.join(", ")
        ));
    }
    if record.requests_per_second == Some(0) {
        notices.push(
            "requests_per_second is 0: every request is denied; leave it out for no limit"
                .to_owned(),
        );
    }
    notices
}

fn rotated(
    before: &KeyRecord,
    token: &str,
    admin: &Admin,
    now: Time,
    ends_at: Time,
    reason: &str,
) -> KeyRecord {
    let engine = &admin.engine;
    KeyRecord {
        key_hash: Some(engine.pepper().seal_token(token.as_bytes())),
        key_prefix: engine.prefixes().visible(token),
        foreign_token: false,
        previous_key_hash: before.key_hash,
        previous_key_ends_at: Some(ends_at),
        // So it is too if it was made under another brand.
        previous_foreign_token: before.foreign_token
            || !engine.prefixes().begin(&before.key_prefix),
        last_rotated_at: Some(now),
        last_rotation_date: Some(now),
        last_rotation_reason: reason.to_owned(),
        ..before.clone()
    }
}

pub(super) fn key_id(text: &str) -> Result<u64, AdminError> {
    id::parse(text).map_err(AdminError::invalid)
}

fn reason(reason: Option<String>) -> Result<String, AdminError> {
    let reason = reason.unwrap_or_default();
    if reason.len() > REASON_BYTES_MAX {
        return Err(AdminError::invalid(format!(
            "the reason has {} bytes, at most {REASON_BYTES_MAX} are kept",
            reason.len()
        )));
    }
    Ok(reason)
}

/// A record must fit a reply frame, however its characters are escaped.
fn check_size(record: &KeyRecord, admin: &Admin) -> Result<(), AdminError> {
    let bytes = record.to_json(admin.engine.pepper()).to_string().len();
    if bytes > RECORD_JSON_BYTES_MAX {
        return Err(AdminError::invalid(format!(
            "the record has {bytes} bytes as JSON, at most {RECORD_JSON_BYTES_MAX} are taken"
        )));
    }
    Ok(())
}
