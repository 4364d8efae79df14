//! Keys by the page and by number: walks over the records, or over the rows of an index.

use std::ops::ControlFlow;

use super::keys::{Keys, id_of};
use super::{Store, StoreError, layout, plan};
use crate::key::{KeyRecord, KeyView, Status};

/// Rows that are read at a time.
const CHUNK_ROWS: usize = 512;

/// Bytes of records after which a page ends: each record may have 1 MiB.
const PAGE_BYTES: usize = 4 * 1024 * 1024;

/// Most records that one [`Keys::page`] or [`Keys::tally`] looks at, whether or not they pass the
/// filter.
pub const EXAMINED_MAX: usize = 10_000;

/// Which keys a page shows; what is given is joined by "and".
#[derive(Clone, Copy, Default)]
pub struct Filter<'a> {
    /// Only this tenant's.
    pub tenant: Option<&'a str>,
    /// Only those in this status.
    pub status: Option<Status>,
    /// Only those with this tag.
    pub tag: Option<&'a str>,
    /// Deleted keys too.
    pub deleted: bool,
    /// Only deleted keys.
    pub only_deleted: bool,
    /// What else must hold, of which the store knows nothing and has no index.
    pub also: Option<&'a dyn Fn(&KeyView<'_>) -> bool>,
}

impl std::fmt::Debug for Filter<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { tenant, status, tag, deleted, only_deleted, also } = self;
        f.debug_struct("Filter")
            .field("tenant", tenant)
            .field("status", status)
            .field("tag", tag)
            .field("deleted", deleted)
            .field("only_deleted", only_deleted)
            .field("also", &also.is_some())
            .finish()
    }
}

/// Some keys, by ascending id.
#[derive(Debug, Clone, Default)]
pub struct Page {
    /// The keys: perhaps fewer than were asked for, even none, while `next` says there is more.
    pub records: Vec<KeyRecord>,
    /// Where the next page starts (its `after`); absent at the end.
    pub next: Option<u64>,
    /// Records that were looked at.
    pub examined: usize,
}

/// A count of the keys that pass a filter, and the way to a page by its number. Carried from one
/// [`Keys::tally`] to the next.
#[derive(Debug, Clone, Default)]
pub struct Tally {
    /// Keys that pass, among those that were looked at.
    pub passed: u64,
    /// Records that were looked at.
    pub examined: u64,
    /// Whether all were.
    pub whole: bool,
    /// The last key that was looked at.
    pub last: Option<u64>,
    /// Keys that the page leaves out.
    pub skip: u64,
    /// The last of them: the page starts after it.
    pub skipped_to: Option<u64>,
}

/// How far a walk has come.
struct Walk {
    /// The last key that was taken.
    last: Option<u64>,
    examined: usize,
    /// Whether there is none behind it.
    at_end: bool,
}

/// Takes a record's id and bytes; breaks off before it where it wants it no more.
type Each<'a> = dyn FnMut(u64, &[u8]) -> ControlFlow<()> + 'a;

impl Keys {
    /// At most `limit` keys (at least 1) after the id `after` that pass the filter; fewer when they
    /// are large, or when [`EXAMINED_MAX`] were looked at. A record that cannot be read is logged
    /// and left out.
    ///
    /// # Errors
    /// As [`super::Store::scan`].
    pub fn page(
        &self,
        filter: &Filter<'_>,
        after: Option<u64>,
        limit: usize,
    ) -> Result<Page, StoreError> {
        let limit = limit.max(1);
        let (mut records, mut bytes) = (Vec::new(), 0);
        let walk = self.walk(filter, after, &mut |id, row| {
            if records.len() == limit || bytes >= PAGE_BYTES {
                return ControlFlow::Break(());
            }
            if filter.takes(id, row)
                && let Some(record) = readable(id, plan::stored_record(id, row))
            {
                bytes += row.len();
                records.push(record);
            }
            ControlFlow::Continue(())
        })?;
        let next = walk.last.filter(|_| !walk.at_end);
        Ok(Page { records, next, examined: walk.examined })
    }

    /// Looks at [`EXAMINED_MAX`] more records and counts those that pass the filter.
    ///
    /// # Errors
    /// As [`super::Store::scan`].
    pub fn tally(&self, filter: &Filter<'_>, tally: &mut Tally) -> Result<(), StoreError> {
        let walk = self.walk(filter, tally.last, &mut |id, row| {
            if filter.takes(id, row) {
                tally.passed += 1;
                if tally.passed == tally.skip {
                    tally.skipped_to = Some(id);
                }
            }
            ControlFlow::Continue(())
        })?;
        tally.last = walk.last;
        tally.whole = walk.at_end;
        tally.examined += walk.examined as u64;
        Ok(())
    }

    /// Hands over the records that the filter's index leads to.
    fn walk(
        &self,
        filter: &Filter<'_>,
        after: Option<u64>,
        each: &mut Each<'_>,
    ) -> Result<Walk, StoreError> {
        let prefix = filter.prefix();
        let mut walk = Walk { last: after, examined: 0, at_end: false };
        while walk.examined < EXAMINED_MAX {
            let rows_max = CHUNK_ROWS.min(EXAMINED_MAX - walk.examined);
            let flow = if prefix == [layout::RECORD] {
                self.walk_records(&mut walk, rows_max, each)?
            } else {
                self.walk_index(&prefix, &mut walk, rows_max, each)?
            };
            if walk.at_end || flow.is_break() {
                break;
            }
        }
        Ok(walk)
    }

    /// The records themselves, as they lie there: nothing is copied.
    fn walk_records(
        &self,
        walk: &mut Walk,
        rows_max: usize,
        each: &mut Each<'_>,
    ) -> Result<ControlFlow<()>, StoreError> {
        let from = walk.last.map(layout::record);
        let mut seen = 0;
        let mut flow = ControlFlow::Continue(());
        let mut failed = None;
        walk.at_end = true;
        self.store().scan_each(&[layout::RECORD], from.as_deref(), &mut |key, row| {
            walk.at_end = false;
            if seen == rows_max {
                return ControlFlow::Break(());
            }
            match id_of(key) {
                Ok(id) => {
                    flow = each(id, row);
                    if flow.is_continue() {
                        seen += 1;
                        walk.last = Some(id);
                        walk.at_end = true;
                    }
                }
                Err(error) => {
                    failed = Some(error);
                    flow = ControlFlow::Break(());
                }
            }
            flow
        })?;
        walk.examined += seen;
        failed.map_or(Ok(flow), Err)
    }

    /// The records that an index names.
    fn walk_index(
        &self,
        prefix: &[u8],
        walk: &mut Walk,
        rows_max: usize,
        each: &mut Each<'_>,
    ) -> Result<ControlFlow<()>, StoreError> {
        let from = walk.last.map(|id| layout::with_id(prefix, id));
        let rows = self.store().scan(prefix, from.as_deref(), rows_max)?;
        for (key, _) in &rows {
            let id = id_of(key)?;
            // Not there: it was removed meanwhile.
            if let Some(row) = self.store().get(&layout::record(id))?
                && each(id, &row).is_break()
            {
                return Ok(ControlFlow::Break(()));
            }
            walk.last = Some(id);
            walk.examined += 1;
        }
        walk.at_end = rows.len() < rows_max;
        Ok(ControlFlow::Continue(()))
    }
}

impl Filter<'_> {
    /// The rows to walk: those of the index that leaves the fewest, as a rule.
    fn prefix(&self) -> Vec<u8> {
        match (self.tenant, self.tag, self.status) {
            (Some(tenant), _, _) => layout::tenant(tenant),
            (None, Some(tag), _) => layout::tag(tag),
            (None, None, Some(status)) => layout::status(status.byte()),
            (None, None, None) => vec![layout::RECORD],
        }
    }

    /// Whether a stored record passes. A row of an index may be older than the record: this
    /// decides.
    fn takes(&self, id: u64, row: &[u8]) -> bool {
        plan::with_stored_view(id, row, |view| {
            readable(id, view).is_some_and(|view| self.passes(&view))
        })
    }

    pub(super) fn passes(&self, record: &KeyView<'_>) -> bool {
        self.tenant.is_none_or(|tenant| record.tenant_id == tenant)
            && self.status.is_none_or(|status| record.status == status)
            && self.tag.is_none_or(|tag| record.tags.contains(&tag))
            && (self.deleted || self.only_deleted || record.deleted_at.is_none())
            && (!self.only_deleted || record.deleted_at.is_some())
            && self.also.is_none_or(|also| also(record))
    }
}

/// What was read, or a word in the log: the others must still come out, an export is the backup.
fn readable<T>(id: u64, read: Result<T, StoreError>) -> Option<T> {
    read.inspect_err(|error| tracing::error!(key = id, %error, "a record was passed over")).ok()
}
