//! One key: create, get, update. What becomes of it later is in `life.rs`.

use std::sync::Arc;

use keygate_protocol::admin as wire;
use tokio::sync::MutexGuard;

use super::limits::change_of;
use super::repeat::request_id;
use super::room::Places;
use super::signing::signing_notice;
use super::{Admin, AdminError, Caller, RECORD_JSON_BYTES_MAX, publish_change, random};
use crate::engine::{Account, Engine};
use crate::key::{KeyRecord, RecordInput, Rules, Time, id};
use crate::limit::Change;
use crate::store::{KeyWrite, Write};

/// Attempts at an id that nobody has; a second is needed about never.
const ID_ATTEMPTS: usize = 8;

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
        let mut pepper = self.engine.pepper();
        let mut input = RecordInput::from_value(request.record)?;
        if let Some(tenant) = caller.tenant() {
            input.set_if_absent("tenant_id", tenant);
        }
        let mut notices = input.put_right(false, None);
        let (mut record, passed_over) = input.create(&pepper)?;
        caller.check_owns(&record)?;
        record.request_id = request_id(request.request_id)?;
        if let Some(repeated) = self.repeated(caller, &record).await? {
            return Ok(repeated);
        }
        let gate = self.gate().await;
        // A rotation waits for the gate: from here on the pepper is not one that is gone already.
        let sealed_under = std::mem::replace(&mut pepper, self.engine.pepper());
        record.reseal(&sealed_under, &pepper);
        gate.rules.check(&record)?;
        self.check_tenant_takes_keys(&record)?;
        notices.extend(self::notices(&record, &gate.rules));
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
        let mut place = self.room.places();
        place.hold(1, &self.engine)?;
        let token = random::token(self.engine.prefixes(), record.is_test_key)?;
        record.key_hash = Some(pepper.seal_token(token.as_bytes()));
        record.key_prefix = self.engine.prefixes().visible(&token);
        record.created_at = Some(now);
        record.credits = record.credits.map(|credits| credits.granted(None, now));
        record.updated_at = record.created_at;
        record.revision = 1;
        check_size(&record, self)?;
        let record = match self.insert(caller, &record, &mut place).await {
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

    async fn insert(
        &self,
        caller: &Caller,
        record: &KeyRecord,
        place: &mut Places,
    ) -> Result<KeyRecord, AdminError> {
        let mut record = record.clone();
        for attempt in 1.. {
            record.id = self.ids.make(self.clock.now().wall_us, random::id_bits()?);
            let _lock = self.lock(record.id).await;
            let write = Write::Key(KeyWrite::Insert(Box::new(record.clone())));
            match self.commit(vec![write]).await {
                Ok(()) => {
                    self.note_key(caller, "create", None, Some(&record));
                    place.fill(|| self.publish(&record))?;
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
        Ok(self.json(&self.named(caller, &request).await?))
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
        let change = change_of(request.spent, |field| input.names(field));
        let (moves_expiry, grants) = (input.names("expires_at"), input.names("credits"));
        let (mut renewed, mut put_right) = (false, Vec::new());
        let gate = self.gate().await;
        let record = self
            .change_limits(caller, id, change, |before, now| {
                if let Some(expected) = expected.filter(|expected| *expected != before.revision) {
                    return Err(AdminError::conflict(lost_update(before, expected)));
                }
                put_right = input.put_right(false, Some(before));
                let mut after = input.update(before, &self.engine.pepper())?;
                gate.rules.check(&after)?;
                if after.tenant_id != before.tenant_id {
                    self.check_tenant_takes_keys(&after)?;
                }
                if after.client_secret_hash != before.client_secret_hash {
                    after.drop_previous_client_secret();
                }
                renewed = moves_expiry && after.renew(now);
                if grants {
                    // Also where it is what it was: it is what there is again.
                    let before = before.credits.as_ref();
                    after.credits = after.credits.map(|credits| credits.granted(before, now));
                }
                Ok(after)
            })
            .await?;
        tracing::info!(key = id, revision = record.revision, "a key was updated");
        let mut changed = self.changed(&record);
        changed.notices.splice(0..0, put_right);
        if renewed {
            changed.notices.push("the key was EXPIRED and is ACTIVE again".to_owned());
        }
        Ok(changed)
    }

    /// Reads, changes, writes and publishes one record, under its lock. The change is told at which
    /// instant it happens; `action` is what the record of it calls it.
    pub(super) async fn change(
        &self,
        caller: &Caller,
        action: &str,
        id: u64,
        change: impl FnOnce(&KeyRecord, Time) -> Result<KeyRecord, AdminError>,
    ) -> Result<KeyRecord, AdminError> {
        let lock = self.lock(id).await;
        let (before, after) = self.changing(caller, id, change).await?;
        self.replace(caller, action, &before, after, &lock).await
    }

    /// As [`Admin::change`], where limits may change; what was spent of them becomes what `limits`
    /// says.
    async fn change_limits(
        &self,
        caller: &Caller,
        id: u64,
        limits: Change,
        change: impl FnOnce(&KeyRecord, Time) -> Result<KeyRecord, AdminError>,
    ) -> Result<KeyRecord, AdminError> {
        let _lock = self.lock(id).await;
        let (before, after) = self.changing(caller, id, change).await?;
        let after = Arc::new(self.next_revision(caller, &before, after)?);
        let of = (Account::Key(id), self.engine.terms_of(&after));
        let (write, published) = (replacement(&before, &after), Arc::clone(&after));
        let publish = move |engine: &Engine, now| publish_change(engine, &published, &limits, now);
        let published = self.commit_limits(of, limits, write, publish).await?;
        self.note_key(caller, "update", Some(&before), Some(&after));
        published?;
        Ok(Arc::unwrap_or_clone(after))
    }

    /// A record as it is, and as a change has it at this instant.
    async fn changing(
        &self,
        caller: &Caller,
        id: u64,
        change: impl FnOnce(&KeyRecord, Time) -> Result<KeyRecord, AdminError>,
    ) -> Result<(KeyRecord, KeyRecord), AdminError> {
        let before = self.to_change(self.record(caller, id).await)?;
        let now = self.time();
        let mut after = KeyRecord { updated_at: Some(now), ..change(&before, now)? };
        after.wipe_retired_client_secret(now);
        Ok((before, after))
    }

    /// Writes and publishes the next revision of a record, whose lock is held.
    pub(super) async fn replace(
        &self,
        caller: &Caller,
        action: &str,
        before: &KeyRecord,
        after: KeyRecord,
        _lock: &MutexGuard<'_, ()>,
    ) -> Result<KeyRecord, AdminError> {
        let after = Arc::new(self.next_revision(caller, before, after)?);
        self.commit(vec![replacement(before, &after)()]).await?;
        self.note_key(caller, action, Some(before), Some(&after));
        self.publish(&after)?;
        Ok(Arc::unwrap_or_clone(after))
    }

    /// The next revision of a record, if it can be written.
    fn next_revision(
        &self,
        caller: &Caller,
        before: &KeyRecord,
        mut after: KeyRecord,
    ) -> Result<KeyRecord, AdminError> {
        after.revision = before.revision + 1;
        caller.check_owns(&after)?;
        check_size(&after, self)?;
        Ok(after)
    }

    fn changed(&self, record: &KeyRecord) -> wire::KeyChanged {
        let mut notices = notices(record, &self.engine.rules());
        notices.extend(self.present_notices(record));
        wire::KeyChanged { key: self.json(record), notices }
    }
}

/// What writes a record in the place of another, as often as it takes.
fn replacement(before: &KeyRecord, after: &Arc<KeyRecord>) -> impl Fn() -> Write + Send + use<> {
    let (before_revision, after) = (before.revision, Arc::clone(after));
    move || {
        let after = Box::new(KeyRecord::clone(&after));
        Write::Key(KeyWrite::Replace { before_revision, after })
    }
}

impl AdminError {
    fn is_conflict(&self) -> bool {
        self.code == keygate_protocol::ErrorCode::Conflict
    }
}

/// Both versions, and when the present one was made: nobody's change is written over unseen.
pub(super) fn lost_update(now: &KeyRecord, expected: u64) -> String {
    let at = now.updated_at.map(|at| format!(", written at {at}")).unwrap_or_default();
    format!(
        "key {} has revision {}{at}, where revision {expected} was expected: it has been changed \
         since it was read; `keygate key get {}` shows it as it is",
        now.id, now.revision, now.id
    )
}

/// What the writer of this record should know.
pub(super) fn notices(record: &KeyRecord, rules: &Rules) -> Vec<String> {
    let mut notices = Vec::new();
    if record.requests_per_second == Some(0) {
        notices.push(
            "requests_per_second is 0: every request is denied; leave it out for no limit"
                .to_owned(),
        );
    }
    if let (None, Some(_)) = rules.rate_and_burst(record) {
        notices.push(
            "burst does nothing by itself: neither the key nor its tier has requests_per_second"
                .to_owned(),
        );
    }
    if !record.enforce_mutual_tls && !record.client_certificate_hash.is_empty() {
        notices.push(
            "client_certificate_hash does nothing by itself: enforce_mutual_tls demands the \
             certificate"
                .to_owned(),
        );
    }
    if record.requires_client_secret && record.client_secret_hash.is_none() {
        notices.push(
            "the key demands a client secret and has none, so it is denied: `keygate key secret ID` \
             makes one"
                .to_owned(),
        );
    }
    notices.extend(signing_notice(record));
    notices
}

pub(super) fn key_id(text: &str) -> Result<u64, AdminError> {
    id::parse(text).map_err(AdminError::invalid)
}

/// A record must fit a reply frame, however its characters are escaped.
fn check_size(record: &KeyRecord, admin: &Admin) -> Result<(), AdminError> {
    let bytes = record.to_json(&admin.engine.pepper()).to_string().len();
    if bytes > RECORD_JSON_BYTES_MAX {
        return Err(AdminError::invalid(format!(
            "the record has {bytes} bytes as JSON, at most {RECORD_JSON_BYTES_MAX} are taken"
        )));
    }
    Ok(())
}
