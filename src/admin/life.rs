//! What becomes of a key after it was made: its states, its rotation, its review, its end.

use keygate_protocol::ErrorCode;
use keygate_protocol::admin as wire;
use serde_json::Value;

use super::keys::key_id;
use super::{Admin, AdminError, Caller, random};
use crate::engine::Engine;
use crate::key::reason::{REASON_BYTES_MAX, ReasonError};
use crate::key::{KeyRecord, Reason, Status, Time};
use crate::store::{KeyWrite, Write};

/// The last second of the year 9999: as late as a record can say.
pub(super) const LATEST_US: i64 = 253_402_300_799_000_000;

/// How the life of keys goes. Set anew while the daemon runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LifeRules {
    /// How long a rotated-out token goes on if the rotation does not say.
    pub rotation_grace_ms: u64,
    /// The longest that a rotation may ask for.
    pub rotation_grace_max_ms: u64,
    /// How long a deleted key or tenant is kept. 0: until the next look.
    pub deleted_retention_days: u32,
}

impl Admin {
    /// The rules as they stand.
    #[must_use]
    pub fn life_rules(&self) -> LifeRules {
        *self.life_rules.read()
    }

    /// Other rules, for whatever is asked from here on.
    pub fn set_life_rules(&self, rules: LifeRules) {
        *self.life_rules.write() = rules;
    }

    /// A new token for a key; the old one goes on for the grace, but never past the key's expiry.
    ///
    /// # Errors
    /// `NOT_FOUND`; `CONFLICT` for a revoked key; `INVALID` for too long a grace or reason.
    pub async fn rotate(
        &self,
        caller: &Caller,
        request: wire::KeyRotate,
    ) -> Result<wire::KeyRotated, AdminError> {
        let id = key_id(&request.id)?;
        let reason = rotation_reason(request.reason)?;
        let grace_us = self.grace_us(request.grace_ms)?;
        let mut token = None;
        let record = self
            .change(caller, "rotate", id, |before, now| {
                if before.status == Status::Revoked {
                    return Err(AdminError::conflict(format!(
                        "key {id} is REVOKED, which is final, so a new token would be denied too; \
                         create a new key"
                    )));
                }
                let ends_us = now.micros_up().saturating_add(grace_us).min(LATEST_US);
                let ends_at = Time::from_micros(ends_us);
                let ends_at = before.expires_at.map_or(ends_at, |expires| expires.min(ends_at));
                let fresh = random::token(self.engine.prefixes(), before.is_test_key)?;
                let after = rotated(before, &fresh, &self.engine, now, ends_at, &reason);
                token = Some(fresh);
                Ok(after)
            })
            .await?;
        tracing::info!(key = id, "a key was rotated");
        let ends_at = record.previous_key_ends_at.map(|at| at.to_string());
        Ok(wire::KeyRotated {
            key: self.json(&record),
            token: token.map(|token| token.to_string()).unwrap_or_default(),
            old_token_ends_at: ends_at.unwrap_or_default(),
            notices: self.present_notices(&record),
        })
    }

    pub(super) fn grace_us(&self, asked_ms: Option<u64>) -> Result<i64, AdminError> {
        let rules = self.life_rules();
        let max_ms = rules.rotation_grace_max_ms;
        let grace_ms = asked_ms.unwrap_or(rules.rotation_grace_ms.min(max_ms));
        if grace_ms > max_ms {
            return Err(AdminError::invalid(format!(
                "a grace of {grace_ms} ms is asked for, and keys.rotation_grace_max_ms allows \
                 {max_ms} ms"
            )));
        }
        Ok(i64::try_from(grace_ms.saturating_mul(1000)).unwrap_or(i64::MAX))
    }

    /// Suspends, resumes, revokes, or puts a key into another state.
    ///
    /// # Errors
    /// `NOT_FOUND`; `INVALID` for what is no status or no reason; `CONFLICT` for a status that may
    /// not follow.
    pub async fn set_status(
        &self,
        caller: &Caller,
        request: wire::KeySetStatus,
    ) -> Result<wire::KeyChanged, AdminError> {
        let id = key_id(&request.id)?;
        let status = Status::parse(&request.status)
            .map_err(|error| AdminError::invalid(error.to_string()))?;
        let reason = Reason::new(request.reason_code.as_deref(), request.reason)
            .map_err(|error| AdminError::invalid(error.to_string()))?;
        let record = self
            .change(caller, "set_status", id, |before, now| {
                let mut after = before.clone();
                after
                    .set_status(status, reason, now)
                    .map_err(|error| AdminError::conflict(error.to_string()))?;
                Ok(after)
            })
            .await?;
        let reason = record.status_reason_code.as_str();
        tracing::info!(key = id, status = status.name(), reason, "a key's status was set");
        Ok(self.outcome(&record))
    }

    /// Notes that the key's security was reviewed now.
    ///
    /// # Errors
    /// `NOT_FOUND`.
    pub async fn review(
        &self,
        caller: &Caller,
        request: wire::KeyReview,
    ) -> Result<wire::KeyChanged, AdminError> {
        let id = key_id(&request.id)?;
        let record = self
            .change(caller, "review", id, |before, now| {
                Ok(KeyRecord { last_security_review_at: Some(now), ..before.clone() })
            })
            .await?;
        tracing::info!(key = id, "a key was reviewed");
        Ok(self.outcome(&record))
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
            let last = self.purge_if(caller, id, |_| true).await?;
            let key = last.ok_or_else(|| AdminError::not_found(id))?;
            return Ok(wire::KeyChanged { key, notices: Vec::new() });
        }
        let record = self
            .change(caller, "delete", id, |before, now| {
                Ok(KeyRecord { deleted_at: Some(now), ..before.clone() })
            })
            .await?;
        tracing::info!(key = id, "a key was deleted");
        Ok(wire::KeyChanged { key: self.json(&record), notices: Vec::new() })
    }

    /// Takes a soft delete back: the key is what it was, with its tokens.
    ///
    /// # Errors
    /// `NOT_FOUND`; `CONFLICT` for a key that is not deleted, and when another key has one of its
    /// tokens by now.
    pub async fn restore(
        &self,
        caller: &Caller,
        request: wire::KeyRestore,
    ) -> Result<wire::KeyChanged, AdminError> {
        let id = key_id(&request.id)?;
        let lock = self.lock(id).await;
        let before = self.to_change(self.stored(caller, id).await)?;
        let before = before.ok_or_else(|| AdminError::not_found(id))?;
        if before.deleted_at.is_none() {
            return Err(AdminError::conflict(format!("key {id} is not deleted")));
        }
        let updated_at = Some(self.time());
        let after = KeyRecord { deleted_at: None, updated_at, ..before.clone() };
        let restored = self.replace(caller, "restore", &before, after, &lock).await;
        let record = restored.map_err(|error| match error.code {
            ErrorCode::Conflict => not_restored(caller, id, &error),
            _ => error,
        })?;
        tracing::info!(key = id, "a key was restored");
        Ok(self.outcome(&record))
    }

    /// Removes a key for good if it is one that is wanted; answers the record as it last was.
    pub(super) async fn purge_if(
        &self,
        caller: &Caller,
        id: u64,
        wanted: impl FnOnce(&KeyRecord) -> bool,
    ) -> Result<Option<Value>, AdminError> {
        let _lock = self.lock(id).await;
        let record = self.to_change(self.stored(caller, id).await)?.filter(wanted);
        let Some(record) = record else { return Ok(None) };
        let last = self.json(&record);
        let write = KeyWrite::Remove { id, revision: record.revision };
        self.commit(vec![Write::Key(write)]).await?;
        self.engine.remove(id);
        self.note_key(caller, "purge", Some(&record), None);
        tracing::info!(key = id, "a key was purged");
        Ok(Some(last))
    }

    /// The answer to a change that was no change of fields: what is to be known of those was said
    /// when they were written.
    fn outcome(&self, record: &KeyRecord) -> wire::KeyChanged {
        wire::KeyChanged { key: self.json(record), notices: self.present_notices(record) }
    }

    /// Why a key is denied, or soon is, at this instant, whatever was asked of it just now.
    pub(super) fn present_notices(&self, record: &KeyRecord) -> Vec<String> {
        let now = self.time();
        let mut notices = Vec::new();
        // Its state says it louder.
        if record.has_expired(now) && !matches!(record.status, Status::Revoked | Status::Expired) {
            notices.push(
                "expires_at has passed: the key is denied as EXPIRED whatever its status; \
                 `keygate key update ID --expires 90d` puts it off"
                    .to_owned(),
            );
        }
        if let Some(due) = record.rotation_due_at().filter(|due| *due <= now) {
            let what = if self.engine.denies_rotation_overdue() { "denied" } else { "warned of" };
            notices.push(format!(
                "the key's rotation is overdue since {due}, so it is {what}; `keygate key rotate \
                 ID` mends it"
            ));
        }
        notices
    }
}

/// The words of a rotation: they have no code.
fn rotation_reason(reason: Option<String>) -> Result<String, AdminError> {
    let reason = reason.unwrap_or_default();
    if reason.len() > REASON_BYTES_MAX {
        let error = ReasonError::TooLong { bytes: reason.len() };
        return Err(AdminError::invalid(error.to_string()));
    }
    Ok(reason)
}

fn rotated(
    before: &KeyRecord,
    token: &str,
    engine: &Engine,
    now: Time,
    ends_at: Time,
    reason: &str,
) -> KeyRecord {
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

/// Why a key stays deleted. A bound caller is not told which key of another tenant is in its way.
fn not_restored(caller: &Caller, id: u64, error: &AdminError) -> AdminError {
    let why = match caller.tenant() {
        None => error.message.as_str(),
        Some(_) => "another key has its token",
    };
    AdminError::conflict(format!(
        "key {id} cannot be restored: {why}; delete the other key first, or create a new one"
    ))
}
