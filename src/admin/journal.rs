//! What was changed, told to whoever keeps records of it: after it is durable, and once.
//!
//! A change says what was and what is of the fields that changed; what is left out of that is said in
//! [`told`](super::told).

use std::sync::Arc;

use serde_json::{Value, json};

use super::told::{key_fields, tenant_fields};
use super::{Admin, Caller};
use crate::event::{Change, Event, IMPORT, Journal, KEY_IDS, Subject, What};
use crate::key::{KeyRecord, TenantRecord};

/// Ids of keys in one record: some 20 KiB.
const IDS_IN_A_RECORD: usize = 1000;

impl Admin {
    /// The same, telling somebody of every change.
    #[must_use]
    pub fn with_journal(self, journal: Arc<dyn Journal>) -> Self {
        Self { journal: Some(journal), ..self }
    }

    /// Tells of a change, or of anything else that was done and is worth a record.
    pub fn note(&self, change: Change) {
        let Some(journal) = &self.journal else { return };
        journal.note(&Event { at_us: self.clock.now().wall_us, what: What::Change(change) });
    }

    /// Tells of an import: its figures, then the ids of the keys that it has brought, as many to a
    /// record as fit it.
    pub(super) fn note_import(&self, caller: &Caller, counts: Value, ids: &[u64]) {
        self.note_whole(caller, IMPORT, counts);
        for ids in ids.chunks(IDS_IN_A_RECORD) {
            let ids: Vec<String> = ids.iter().map(u64::to_string).collect();
            self.note_whole(caller, IMPORT, json!({ KEY_IDS: ids }));
        }
    }

    /// Tells of what was done to the daemon as a whole, and with which figures.
    pub(super) fn note_whole(&self, caller: &Caller, action: &str, after: Value) {
        let actor = caller.actor();
        // What a caller does who is bound to a tenant concerns that tenant alone.
        let of_tenant = |id: &str| Subject::Tenant { id: id.to_owned() };
        let subject = caller.tenant().map_or(Subject::Daemon, of_tenant);
        let action = action.to_owned();
        let before = Value::Null;
        self.note(Change { action, actor, subject, before, after, reason: None });
    }

    /// Tells what became of a key; nothing stands for one that is not there.
    pub(super) fn note_key(
        &self,
        caller: &Caller,
        action: &str,
        before: Option<&KeyRecord>,
        after: Option<&KeyRecord>,
    ) {
        if let (Some(notifier), Some(before), Some(after)) = (&self.notifier, before, after) {
            notifier.key_changed(before, after);
        }
        let (Some(_), Some(one)) = (&self.journal, after.or(before)) else { return };
        let subject = Subject::Key { id: one.id, tenant: one.tenant_id.clone() };
        let reason = match action {
            "rotate" => after.map(|after| &after.last_rotation_reason),
            "set_status" => after.map(|after| &after.status_reason),
            _ => None,
        };
        let reason = reason.filter(|reason| !reason.is_empty()).cloned();
        let (before, after) = key_fields(before, after, &self.engine.pepper());
        let (action, actor) = (action.to_owned(), caller.actor());
        self.note(Change { action, actor, subject, before, after, reason });
    }

    /// Tells what became of a tenant's record.
    pub(super) fn note_tenant(
        &self,
        caller: &Caller,
        action: &str,
        before: &TenantRecord,
        after: Option<&TenantRecord>,
    ) {
        if self.journal.is_none() {
            return;
        }
        let reason = after.filter(|_| action == "set_status").map(|after| &after.status_reason);
        let reason = reason.filter(|reason| !reason.is_empty()).cloned();
        let subject = Subject::Tenant { id: before.id.clone() };
        let (before, after) = tenant_fields(Some(before).filter(|it| it.revision > 0), after);
        let (action, actor) = (action.to_owned(), caller.actor());
        self.note(Change { action, actor, subject, before, after, reason });
    }
}
