//! Records of tenants in an import: read as they come, held until its end, and written then.
//!
//! They are written under the import's mark, behind the last of its keys: until then a deleted
//! tenant takes the keys that come with it. Decisions obey them before they see the first key, so
//! that nothing passes on the way that passes neither here nor there.

use std::collections::BTreeMap;

use keygate_protocol::admin::IMPORT_TENANTS_MAX;
use serde_json::value::RawValue;

use super::AdminError;
use super::import::Import;
use crate::key::tenant::TENANT_JSON_BYTES_MAX;
use crate::key::{FieldError, RecordInput, TenantRecord, Time};
use crate::store::{TenantWrite, Write};

/// Records that are written at a time.
const WRITTEN_AT_A_TIME: usize = 100;
/// Tenants of which a notice is told each.
const LINES_MAX: usize = 10;

/// The records of tenants of one import.
#[derive(Default)]
pub(super) struct Tenants {
    /// How many have come.
    seen: u64,
    /// What is to be written, by id, each with its number among those that came.
    held: BTreeMap<String, (u64, TenantRecord)>,
    /// What was written, and how each is to stand for decisions.
    written: Vec<TenantRecord>,
    /// Those that had begun to be purged where they come from.
    were_purged: usize,
}

impl Import {
    /// Reads records of tenants and holds them. A problem is noted; without `skip_bad` the rest is
    /// not looked at.
    ///
    /// # Errors
    /// `INVALID` for more than an import takes; of the store.
    pub(super) fn take_tenants(&mut self, given: &[Box<RawValue>]) -> Result<(), AdminError> {
        if given.is_empty() {
            return Ok(());
        }
        // What is wrong with the keys before is told first.
        self.settle()?;
        let now = Time::from_micros(self.admin.clock.now().wall_us);
        for raw in given {
            if self.failed() {
                break;
            }
            self.tenants.seen += 1;
            let number = self.tenants.seen;
            let (named, read) = self.read_tenant(raw, now);
            match read {
                Ok(record) => self.hold(number, record)?,
                Err(error) => self.problem(number, Some(named), error),
            }
        }
        Ok(())
    }

    /// One record, and the id that it gives itself, whatever is wrong with it.
    fn read_tenant(
        &mut self,
        raw: &RawValue,
        now: Time,
    ) -> (String, Result<TenantRecord, FieldError>) {
        let whole = |reason| FieldError { field: None, reason };
        let bytes = raw.get().len();
        if bytes > TENANT_JSON_BYTES_MAX {
            let reason = format!("it has {bytes} bytes, at most {TENANT_JSON_BYTES_MAX} are taken");
            return (String::new(), Err(whole(reason)));
        }
        let input: RecordInput = match serde_json::from_str(raw.get()) {
            Ok(input) => input,
            Err(error) => return (String::new(), Err(whole(error.to_string()))),
        };
        let named = input.text("id").unwrap_or_default().to_owned();
        if let Some(own) = self.caller.tenant() {
            let reason = format!(
                "this caller is bound to the tenant {own:?}, and a bound caller imports no \
                 tenant's record"
            );
            return (named, Err(whole(reason)));
        }
        let read = TenantRecord::import(input).map(|(mut record, was_purged)| {
            self.say_purged(&record.id, was_purged);
            record.import = self.number;
            record.created_at = record.created_at.or(Some(now));
            record.updated_at = record.updated_at.or(record.created_at);
            record
        });
        (named, read)
    }

    fn say_purged(&mut self, id: &str, was_purged: bool) {
        self.tenants.were_purged += usize::from(was_purged);
        if was_purged && self.tenants.were_purged <= LINES_MAX {
            self.report.notices.push(format!(
                "tenant {id}: its purge had begun where it comes from; here it is deleted, and \
                 `keygate tenant purge {id}` purges it"
            ));
        }
    }

    fn hold(&mut self, number: u64, record: TenantRecord) -> Result<(), AdminError> {
        let held = &mut self.tenants.held;
        if let Some((_, before)) = held.get(&record.id) {
            if before.says_the_same(&record) {
                return Ok(());
            }
            let reason = "the same import has another record of this tenant".to_owned();
            self.problem(number, Some(record.id), FieldError { field: None, reason });
            return Ok(());
        }
        if held.len() >= IMPORT_TENANTS_MAX {
            return Err(AdminError::invalid(format!(
                "more than {IMPORT_TENANTS_MAX} records of tenants: import the others, with their \
                 keys, from a file of their own"
            )));
        }
        held.insert(record.id.clone(), (number, record));
        Ok(())
    }

    /// Writes what is held and not there yet, under the import's mark. Whoever calls this holds the
    /// lock of tenants until decisions obey them.
    ///
    /// # Errors
    /// `CONFLICT` for more tenants than there may be; of the store.
    pub(super) fn write_tenants(&mut self) -> Result<(), AdminError> {
        if self.failed() {
            return Ok(());
        }
        let mut new = Vec::new();
        for (id, (number, record)) in std::mem::take(&mut self.tenants.held) {
            match self.admin.keys.tenant(&id)? {
                None => new.push(record),
                Some(stored) if stored.says_the_same(&record) => self.report.tenants_imported += 1,
                Some(_) => {
                    let reason = format!(
                        "it has another record here already (`keygate tenant get {id}`); make the \
                         two alike, or leave this one out"
                    );
                    self.problem(number, Some(id), FieldError { field: None, reason });
                    if self.failed() {
                        return Ok(());
                    }
                }
            }
        }
        self.admin.engine.check_room_for_tenants(new.iter().map(|record| &*record.id))?;
        for some in new.chunks(WRITTEN_AT_A_TIME) {
            let insert =
                |it: &TenantRecord| Write::Tenant(TenantWrite::Insert(Box::new(it.clone())));
            // The end of the import makes all of them durable.
            self.admin.committer.commit(some.iter().map(insert).collect(), false)?;
        }
        self.report.tenants_imported += new.len() as u64;
        // What decisions do not need is not held until the import ends.
        self.tenants.written = new
            .into_iter()
            .map(|record| TenantRecord {
                name: String::new(),
                description: String::new(),
                status_reason: String::new(),
                ..record
            })
            .collect();
        Ok(())
    }

    /// Lets decisions obey the tenants that were written.
    pub(super) fn publish_tenants(&self) {
        for record in &self.tenants.written {
            self.admin.engine.put_tenant(record, self.admin.clock.now());
        }
    }
}
