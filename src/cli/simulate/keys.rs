//! The records of a simulation: read as an import reads them, without their tokens.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::Path;

use serde_json::value::RawValue;

use super::super::error::CliError;
use super::super::records::{Entry, name_of, open, read_all};
use super::world::pepper;
use crate::key::limits::check_burst;
use crate::key::{FieldError, KeyRecord, RecordInput, Rules, TenantRecord};
use crate::store::envelope::{self, EnvelopeError};

/// Records of tenants, by their ids.
pub(super) type Tenants = BTreeMap<String, TenantRecord>;

/// The schema of a record in memory; no other program reads it.
const SCHEMA: u16 = 1;

/// Records of keys by their ids, as small as on disk: there may be a million of them.
#[derive(Default)]
pub(super) struct Records(BTreeMap<u64, Box<[u8]>>);

impl Records {
    /// The record of a key.
    pub(super) fn get(&self, id: u64) -> Option<KeyRecord> {
        self.0.get(&id).and_then(|bytes| envelope::open(bytes, SCHEMA).ok())
    }

    /// Whether there is a key of this id.
    pub(super) fn have(&self, id: u64) -> bool {
        self.0.contains_key(&id)
    }

    /// All of them, by ascending id.
    pub(super) fn iter(&self) -> impl Iterator<Item = KeyRecord> + '_ {
        self.0.values().filter_map(|bytes| envelope::open(bytes, SCHEMA).ok())
    }

    /// All their ids, ascending.
    pub(super) fn ids(&self) -> Vec<u64> {
        self.0.keys().copied().collect()
    }

    /// Takes a record, in place of that of the same id.
    pub(super) fn put(&mut self, record: &KeyRecord) -> Result<(), EnvelopeError> {
        self.0.insert(record.id, envelope::seal(SCHEMA, record)?.into());
        Ok(())
    }
}

/// Reads all records of a file.
pub(super) fn read(path: &Path, rules: &Rules) -> Result<(Records, Tenants), CliError> {
    read_from(open(path)?, &name_of(path), rules)
}

/// Reads all records of an input, which messages call by this name.
pub(super) fn read_from(
    input: impl Read,
    name: &str,
    rules: &Rules,
) -> Result<(Records, Tenants), CliError> {
    let refused = |reason: String| CliError::Input { from: name.to_owned(), reason };
    let (mut records, mut tenants) = (Records::default(), Tenants::new());
    let (mut keys_seen, mut tenants_seen) = (0_u64, 0_u64);
    let mut refusal = None;
    let read = read_all(input, &mut |entry| {
        let (name, taken) = match entry {
            Entry::Key(raw) => {
                keys_seen += 1;
                (format!("record {keys_seen}"), take_key(&raw, rules, &mut records))
            }
            Entry::Tenant(raw) => {
                tenants_seen += 1;
                (format!("tenant record {tenants_seen}"), take_tenant(&raw, &mut tenants))
            }
        };
        refusal = taken.err().map(|error| format!("{name}: {error}"));
        refusal.is_none()
    });
    // A refusal ends the reading, which is no error of the file then.
    match refusal {
        Some(reason) => return Err(refused(reason)),
        None => read.map_err(|error| refused(error.to_string()))?,
    }
    // Every verdict would be NOT_FOUND.
    if keys_seen == 0 {
        return Err(refused("there are no keys in it".to_owned()));
    }
    Ok((records, tenants))
}

fn whole(reason: &dyn std::fmt::Display) -> FieldError {
    FieldError { field: None, reason: format!("{reason}") }
}

fn take_key(raw: &RawValue, rules: &Rules, records: &mut Records) -> Result<(), FieldError> {
    let mut input: RecordInput = serde_json::from_str(raw.get()).map_err(|error| whole(&error))?;
    // As on import. What was put right is nothing that decides.
    input.put_right(true, None);
    let record = input.import_without_token(pepper())?;
    check(&record, rules)?;
    if records.have(record.id) {
        return Err(FieldError::of("id", format!("there are two records of key {}", record.id)));
    }
    records.put(&record).map_err(|error| whole(&error))
}

fn take_tenant(raw: &RawValue, tenants: &mut Tenants) -> Result<(), FieldError> {
    let input: RecordInput = serde_json::from_str(raw.get()).map_err(|error| whole(&error))?;
    let (record, _) = TenantRecord::import(input)?;
    let id = record.id.clone();
    if tenants.insert(id.clone(), record).is_some_and(|before| !before.says_the_same(&tenants[&id]))
    {
        return Err(FieldError::of("id", format!("there are two records of tenant {id}")));
    }
    Ok(())
}

/// Shows that the limits of a record are known and can be kept. Names that decide nothing (profiles,
/// sinks, regions) may be unknown here.
pub(super) fn check(record: &KeyRecord, rules: &Rules) -> Result<(), FieldError> {
    let tier = &record.billing_tier;
    if !tier.is_empty() && !rules.tiers.contains_key(tier) {
        return Err(FieldError::of(
            "billing_tier",
            format!(
                "key {} has the tier {tier:?}, which is not there; give the configuration that has \
                 it with --config FILE",
                record.id
            ),
        ));
    }
    let (rate, burst) = rules.rate_and_burst(record);
    check_burst(rate, burst).map_err(|reason| FieldError::of("burst", reason))
}
