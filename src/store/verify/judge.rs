//! One row, judged by what it says and by what must stand beside it.

use super::super::alerts::open_endpoint;
use super::super::envelope::{self, EnvelopeError};
use super::super::keys::read_format;
use super::super::layout::Whose;
use super::super::plan::{self, FORMAT, IMPORTS, PENDING_IMPORT, RECORD_SCHEMA};
use super::super::rows::{
    ALERT_OUT_SCHEMA, ALERT_STATE_SCHEMA, HISTORY_SCHEMA, IDS_SCHEMA, IdChunk, LEDGER,
    LEDGER_FACT_SCHEMA, LEDGER_SCHEMA, LedgerFact,
};
use super::super::tenants::open_tenant;
use super::super::usage::{open_usage, record_of_usage, tenant_of_sum};
use super::super::write::Fact;
use super::super::{Store, StoreError, layout};
use super::{Kind, Problem};
use crate::alert::{KeyState, OutboxRow};
use crate::key::digest::hex;
use crate::key::{KeyRecord, Time};
use crate::limit::AccountRow;
use crate::usage::{MonthRow, SumRow, Tally};

/// Bytes of a digest that name its row: enough to find it, too few to be the digest.
const DIGEST_BYTES_SHOWN: usize = 4;

/// The first schema of a store that has rows of deleted keys.
const DELETED_ROWS_SCHEMA: u16 = 2;

/// What a row turned out to be.
pub(super) enum Seen {
    Record { schema: u16, index_rows: u64, at_us: Option<i64>, encrypted: bool },
    Index,
    Usage { at_us: Option<i64> },
    Increments { at_us: Option<i64> },
    Account,
    Fact,
    Unknown,
}

pub(super) struct Judged {
    pub(super) seen: Seen,
    pub(super) problems: Vec<Problem>,
}

/// Judges one row, with what must stand beside it.
pub(super) fn judge(store: &dyn Store, key: &[u8], value: &[u8]) -> Result<Judged, StoreError> {
    let of = |kind, what: String| Problem { kind, row: name(key), what };
    let unreadable = |error: EnvelopeError| {
        let newer = matches!(error, EnvelopeError::NewerSchema { .. });
        of(if newer { Kind::NewerSchema } else { Kind::Unreadable }, error.to_string())
    };
    let plain =
        |seen, problem: Option<Problem>| Judged { seen, problems: problem.into_iter().collect() };
    let space = key.first().copied().unwrap_or_default();
    Ok(match space {
        layout::RECORD => judge_record(store, key, value)?,
        layout::USAGE => {
            let row = open_usage(value);
            let at_us = row.as_ref().ok().map(|row| row.last_used_us).filter(|at| *at > 0);
            let mut judged = plain(Seen::Usage { at_us }, row.err().map(unreadable));
            let record = numbered(key).map(layout::record);
            if record.map(|key| store.get(&key)).transpose()?.flatten().is_none() {
                let what = "there is no such key".to_owned();
                judged.problems.push(of(Kind::UsageStray, what));
            }
            judged
        }
        layout::SUM | layout::HOUR | layout::MONTH => judge_history(store, key, value)?,
        layout::LEDGER => {
            let row = envelope::open::<AccountRow>(value, LEDGER_SCHEMA);
            let mut judged = plain(Seen::Account, row.err().map(unreadable));
            match layout::record_of_account(key) {
                Some(record) if store.get(&record)?.is_some() => {}
                Some(_) => {
                    let what = "it has no record".to_owned();
                    judged.problems.push(of(Kind::LedgerStray, what));
                }
                None => {
                    let what = "it names neither a key nor a tenant".to_owned();
                    judged.problems.push(of(Kind::Misplaced, what));
                }
            }
            judged
        }
        layout::ALERT => {
            let unreadable = judge_alert(key, value).map(unreadable);
            let mut judged = plain(Seen::Fact, unreadable);
            if let Some(record) = layout::record_of_alert_state(key)
                && store.get(&record)?.is_none()
            {
                judged.problems.push(of(Kind::AlertStray, "there is no such key".to_owned()));
            }
            judged
        }
        layout::INCREMENTS => {
            let chunk = envelope::open::<IdChunk>(value, IDS_SCHEMA);
            let at_us = chunk.as_ref().ok().map(|chunk| chunk.at_us);
            let mut judged = plain(Seen::Increments { at_us }, chunk.err().map(unreadable));
            if numbered(key).is_none() {
                judged.problems.push(of(Kind::Misplaced, "its number has no 8 bytes".to_owned()));
            }
            judged
        }
        layout::META => plain(Seen::Fact, judge_fact(key, value)),
        layout::TENANT_RECORD => match open_tenant(value) {
            Ok(tenant) => {
                let here = key.get(1..) == Some(tenant.id.as_bytes());
                let misplaced = || of(Kind::Misplaced, format!("it holds tenant {:?}", tenant.id));
                plain(Seen::Fact, (!here).then(misplaced))
            }
            Err(error) => plain(Seen::Fact, Some(unreadable(error))),
        },
        space if layout::INDEXES.contains(&space) => {
            let owner = layout::owner(key, value);
            let lost = || of(Kind::Unreadable, "it names no key".to_owned());
            plain(Seen::Index, owner.is_none().then(lost))
        }
        _ => plain(
            Seen::Unknown,
            Some(of(Kind::Unknown, "this keygate knows no such rows".to_owned())),
        ),
    })
}

fn judge_record(store: &dyn Store, key: &[u8], value: &[u8]) -> Result<Judged, StoreError> {
    let of = |kind, what: String| Problem { kind, row: name(key), what };
    let read = envelope::check(value, RECORD_SCHEMA)
        .and_then(|sealed| Ok((sealed.schema, plan::read_record(value)?)));
    let encrypted = envelope::is_encrypted(value);
    let (schema, record) = match read {
        Ok(read) => read,
        // It is whole; what it says, nobody can tell here.
        Err(EnvelopeError::Encrypted) => {
            let schema = envelope::schema_of(value).unwrap_or_default();
            let seen = Seen::Record { schema, index_rows: 0, at_us: None, encrypted };
            return Ok(Judged { seen, problems: Vec::new() });
        }
        Err(error) => {
            let (kind, schema) = match error {
                EnvelopeError::NewerSchema { found, .. } => (Kind::NewerSchema, found),
                _ => (Kind::Unreadable, 0),
            };
            let problems = vec![of(kind, error.to_string())];
            return Ok(Judged {
                seen: Seen::Record { schema, index_rows: 0, at_us: None, encrypted },
                problems,
            });
        }
    };
    let mut problems = Vec::new();
    if numbered(key) != Some(record.id) {
        problems.push(of(Kind::Misplaced, format!("it holds key {}", record.id)));
    }
    let mut index_rows = 0;
    match plan::index_rows(&record) {
        Ok(rows) => {
            index_rows = rows.len() as u64;
            for (row, value) in rows {
                let Some(what) = lacks(store, &row, &value)? else { continue };
                if row.first() == Some(&layout::DELETED) && is_before_deleted_rows(store)? {
                    index_rows -= 1;
                    continue;
                }
                let shared = row.first() == Some(&layout::DIGEST) && what.1;
                let kind = if shared { Kind::DigestShared } else { Kind::IndexMissing };
                problems.push(of(kind, what.0));
            }
        }
        Err(error) => problems.push(of(Kind::Unreadable, error.to_string())),
    }
    let at_us = written_at(&record);
    Ok(Judged { seen: Seen::Record { schema, index_rows, at_us, encrypted }, problems })
}

/// Whether an older keygate wrote the store, which knew no rows of deleted keys. The first start of
/// this one adds them.
fn is_before_deleted_rows(store: &dyn Store) -> Result<bool, StoreError> {
    let format = store.get(&layout::meta(FORMAT.0))?;
    let format = format.as_deref().and_then(|bytes| read_format(bytes).ok());
    Ok(format.is_some_and(|(schema, _)| schema < DELETED_ROWS_SCHEMA))
}

/// What a record's index row is, where it is not what it must be; and whether another has its place.
fn lacks(
    store: &dyn Store,
    row: &[u8],
    value: &[u8],
) -> Result<Option<(String, bool)>, StoreError> {
    Ok(match store.get(row)? {
        Some(found) if found == value => None,
        Some(found) => {
            let owner = layout::owner(row, &found);
            let other = owner.filter(|owner| Some(*owner) != layout::owner(row, value));
            let what = match other {
                Some(other) => format!("{} belongs to key {other}", name(row)),
                None => format!("{} does not say what it must", name(row)),
            };
            Some((what, other.is_some()))
        }
        None => Some((format!("{} is missing", name(row)), false)),
    })
}

/// When this keygate last wrote a record. One that an import brought says what another clock said.
fn written_at(record: &KeyRecord) -> Option<i64> {
    record.updated_at.filter(|_| record.import == 0).map(Time::micros_up)
}

/// Judges an index row by the record that it names.
pub(super) fn judge_index(
    store: &dyn Store,
    key: &[u8],
    value: &[u8],
) -> Result<Vec<Problem>, StoreError> {
    let stray = |what: String| vec![Problem { kind: Kind::IndexStray, row: name(key), what }];
    // One that names no key was named in the first pass.
    let Some(id) = layout::owner(key, value) else { return Ok(Vec::new()) };
    let Some(row) = store.get(&layout::record(id))? else {
        return Ok(stray(format!("it names key {id}, and there is no such key")));
    };
    let Ok(record) = plan::read_record(&row) else { return Ok(Vec::new()) };
    let has = plan::index_rows(&record).is_ok_and(|rows| rows.get(key).is_some_and(|v| v == value));
    Ok(if has { Vec::new() } else { stray(format!("key {id} does not have it")) })
}

/// What is wrong with a row of alerts by itself, if anything.
fn judge_alert(key: &[u8], value: &[u8]) -> Option<EnvelopeError> {
    if key.starts_with(layout::ALERT_STATES) {
        return envelope::open::<KeyState>(value, ALERT_STATE_SCHEMA).err();
    }
    if key.starts_with(layout::ALERTS_OUT) {
        return envelope::open::<OutboxRow>(value, ALERT_OUT_SCHEMA).err();
    }
    open_endpoint(value).err()
}

/// Usage of a tenant or of the daemon, or what was used in an hour or a month.
fn judge_history(store: &dyn Store, key: &[u8], value: &[u8]) -> Result<Judged, StoreError> {
    let of = |kind, what: String| Problem { kind, row: name(key), what };
    let error = match key.first() {
        Some(&layout::SUM) => envelope::open::<SumRow>(value, HISTORY_SCHEMA).err(),
        Some(&layout::HOUR) => envelope::open::<Tally>(value, HISTORY_SCHEMA).err(),
        _ => envelope::open::<MonthRow>(value, HISTORY_SCHEMA).err(),
    };
    let kind = |error: &EnvelopeError| match error {
        EnvelopeError::NewerSchema { .. } => Kind::NewerSchema,
        _ => Kind::Unreadable,
    };
    let mut problems: Vec<_> =
        error.map(|error| of(kind(&error), error.to_string())).into_iter().collect();
    let is_sum = key.first() == Some(&layout::SUM);
    if !is_sum && Whose::of(key).is_none() {
        problems.push(of(Kind::Misplaced, "it does not say whose it is".to_owned()));
    }
    if let Some(record) = record_of_usage(key)
        && store.get(&record)?.is_none()
    {
        problems.push(of(Kind::UsageStray, "there is no such key".to_owned()));
    }
    Ok(Judged { seen: Seen::Usage { at_us: None }, problems })
}

/// What people call a row of history.
fn name_of_history(key: &[u8]) -> String {
    let whose = |whose| match whose {
        Whose::Key(id) => format!("key {id}"),
        Whose::Tenant(tenant) => format!("tenant {tenant:?}"),
        Whose::All => "all keys".to_owned(),
    };
    match (key.first(), Whose::of(key)) {
        (Some(&layout::SUM), _) => match tenant_of_sum(key) {
            Some(tenant) => format!("usage of tenant {tenant:?}"),
            None => "usage of all keys".to_owned(),
        },
        (Some(&layout::HOUR), Some((of, hour))) => format!("usage of {} in hour {hour}", whose(of)),
        (_, Some((of, month))) => format!("usage of {} in month {month}", whose(of)),
        _ => "a row of usage".to_owned(),
    }
}

fn judge_fact(key: &[u8], value: &[u8]) -> Option<Problem> {
    let of = |kind, what: String| Some(Problem { kind, row: name(key), what });
    let is = |fact: Fact| key.get(1..) == Some(fact.0.as_bytes());
    if is(FORMAT) {
        return match read_format(value) {
            Ok((schema, by)) if schema > RECORD_SCHEMA => {
                of(Kind::NewerSchema, format!("schema {schema}, written by keygate {by}"))
            }
            Ok(_) => None,
            Err(error) => of(Kind::Unreadable, error.to_string()),
        };
    }
    if let Some(fact) = [IMPORTS, PENDING_IMPORT].into_iter().find(|fact| is(*fact)) {
        let unreadable = plan::read_number(fact, value).err();
        return unreadable.and_then(|error| of(Kind::Unreadable, error.to_string()));
    }
    if is(LEDGER) {
        let error = envelope::open::<LedgerFact>(value, LEDGER_FACT_SCHEMA).err()?;
        let newer = matches!(error, EnvelopeError::NewerSchema { .. });
        return of(if newer { Kind::NewerSchema } else { Kind::Unreadable }, error.to_string());
    }
    // What it says is its owner's; that it is whole is told by its envelope.
    let error = envelope::check(value, u16::MAX).err()?;
    of(Kind::Unreadable, error.to_string())
}

/// The number of a row whose key is its space and a number.
fn numbered(key: &[u8]) -> Option<u64> {
    layout::id_of(key).filter(|id| layout::with_id(&key[..1], *id) == key)
}

/// What people call a row. No digest is shown whole.
pub(super) fn name(key: &[u8]) -> String {
    let Some((&space, rest)) = key.split_first() else { return "a row without a key".to_owned() };
    let number = || numbered(key).map_or_else(|| "of no number".to_owned(), |id| id.to_string());
    let text = |rest: &[u8]| {
        let end = rest.len().saturating_sub(9);
        String::from_utf8_lossy(&rest[..end]).into_owned()
    };
    let id = || layout::id_of(key).map_or_else(|| "?".to_owned(), |id| id.to_string());
    match space {
        layout::RECORD => format!("key {}", number()),
        layout::USAGE => format!("usage of key {}", number()),
        layout::SUM | layout::HOUR | layout::MONTH => name_of_history(key),
        layout::LEDGER => match rest.split_first() {
            Some((_, id)) if key.starts_with(layout::ACCOUNTS_OF_KEYS) => {
                let id = id.try_into().map(u64::from_be_bytes);
                format!("ledger of key {}", id.map_or_else(|_| "?".to_owned(), |id| id.to_string()))
            }
            Some((_, tenant)) if key.starts_with(layout::ACCOUNTS_OF_TENANTS) => {
                format!("ledger of tenant {:?}", String::from_utf8_lossy(tenant))
            }
            _ => "a row of the ledger".to_owned(),
        },
        layout::ALERT if key.starts_with(layout::ALERT_STATES) => {
            format!("what alerts have said of key {}", id())
        }
        layout::ALERT if key.starts_with(layout::ALERTS_OUT) => format!("alert {}", id()),
        layout::ALERT => "a web hook's endpoint".to_owned(),
        layout::INCREMENTS => format!("chunk of increments {}", number()),
        layout::TENANT_RECORD => format!("tenant {:?}", String::from_utf8_lossy(rest)),
        layout::META => format!("the fact {:?}", String::from_utf8_lossy(rest)),
        layout::DIGEST => format!("digest {}…", hex(&rest[..rest.len().min(DIGEST_BYTES_SHOWN)])),
        layout::TENANT => format!("key {} in the index of tenant {:?}", id(), text(rest)),
        layout::TAG => format!("key {} in the index of tag {:?}", id(), text(rest)),
        layout::DELETED => format!("key {} in the index of deleted keys", id()),
        layout::REQUEST => {
            let mut parts = rest.splitn(2, |byte| *byte == 0).map(String::from_utf8_lossy);
            let (tenant, request) = (parts.next(), parts.next());
            let (tenant, request) = (tenant.unwrap_or_default(), request.unwrap_or_default());
            format!("request {request:?} in tenant {tenant:?}")
        }
        layout::STATUS => {
            let status = rest.first().copied().unwrap_or_default();
            format!("key {} in the index of status {status}", id())
        }
        space => format!("a row of the unknown space {space:#04x}"),
    }
}
