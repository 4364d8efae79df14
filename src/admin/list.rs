//! Records by the page: lists and exports.
//!
//! A listing reads a page of the store at a time, each on a thread that may wait for the disk, and
//! holds no more than that. It is no snapshot: what is written meanwhile may or may not be seen.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use keygate_protocol::admin as wire;
use serde_json::Value;
use serde_json::value::{RawValue, to_raw_value};

use super::{Admin, AdminError, Caller, blocking};
use crate::admin::keys::key_id;
use crate::admin::usage::{json, used_since};
use crate::engine::Engine;
use crate::key::{KeyView, Search, Selection, Status, TenantRecord, Time};
use crate::store::{Filter, StoreError, Tally};

/// A page's default length.
const LIMIT_DEFAULT: u32 = 100;
/// Records of one exported page.
const EXPORT_PAGE: usize = 200;
/// Records of tenants that are read at a time for an export.
const EXPORT_TENANTS: usize = 200;
/// JSON in one frame; a record more may stand above it and still fits.
const FRAME_JSON_BYTES: usize = 400 * 1024;

/// One frame, its records written as JSON already: they are written once.
type Frame = wire::KeyPage<Box<RawValue>>;

/// A list or an export on its way to one caller.
pub struct Listing {
    /// Records of tenants that come first.
    tenants: Option<Tenants>,
    /// What is listed; nothing where the caller may see nothing of it.
    query: Option<Arc<Query>>,
    after: Option<u64>,
    /// Records that are still wanted; all there are where it is not said.
    left: Option<usize>,
    /// Records that may still be looked at, before it ends short of what was wanted; within the
    /// store's own bound for one page.
    examine: u64,
    totals: Frame,
    ended: bool,
}

/// Which tenants' records are still to come.
enum Tenants {
    /// All after an id.
    After(Option<String>),
    /// This one's.
    Only(String),
}

/// Which records are listed, free of its wire form.
#[derive(Debug, Default)]
struct Query {
    tenant: Option<String>,
    status: Option<Status>,
    tag: Option<String>,
    deleted: bool,
    only_deleted: bool,
    selection: Selection,
    not_used_since: Option<Time>,
}

/// A page by its number.
#[derive(Clone, Copy)]
struct Numbered {
    /// Records of the pages before.
    skip: u64,
    size: u32,
}

impl Admin {
    /// Begins a list: counts what is to be counted and finds where its page starts.
    ///
    /// # Errors
    /// `INVALID` for a filter or a page; `STORAGE`.
    pub async fn list(
        &self,
        caller: &Caller,
        request: wire::KeyList,
    ) -> Result<Listing, AdminError> {
        let numbered = numbered(&request)?;
        let limit = records_of("limit", request.limit)?;
        let after = request.after.as_deref().map(key_id).transpose()?;
        let count = request.count;
        let query = Query::of(request, caller, self.time())?.map(Arc::new);
        let mut listing = Listing {
            tenants: None,
            query,
            after,
            left: Some(numbered.map_or(limit, |page| page.size) as usize),
            examine: 0,
            totals: Frame::default(),
            ended: false,
        };
        let skip = numbered.map_or(0, |page| page.skip);
        if let Some(query) = listing.query.clone()
            && (count || skip > 0)
        {
            let tally = self.tally(&query, skip, count).await?;
            if tally.passed < skip && !tally.whole {
                return Err(AdminError::invalid(format!(
                    "page: it lies behind the first {} records, more are not looked at to find a \
                     page by its number; go on by `after` instead",
                    tally.examined
                )));
            }
            // Behind the last record there is nothing, which a page without any says.
            listing.ended = tally.passed < skip;
            listing.after = listing.after.or(tally.skipped_to);
            listing.count(&tally, numbered, count);
        } else if count {
            listing.count(&Tally { whole: true, ..Tally::default() }, numbered, count);
        }
        if numbered.is_some() {
            listing.examine = wire::LIST_EXAMINED_MAX;
        }
        Ok(listing)
    }

    /// Begins an export: every record that the caller may see, deleted ones too, tenants first.
    pub fn export(&self, caller: &Caller) -> Listing {
        // At its beginning: who breaks it off has what came until then.
        self.note_whole(caller, "export", serde_json::Value::Null);
        let tenant = caller.tenant().map(str::to_owned);
        Listing {
            tenants: Some(tenant.clone().map_or(Tenants::After(None), Tenants::Only)),
            query: Some(Arc::new(Query { tenant, deleted: true, ..Query::default() })),
            after: None,
            left: None,
            examine: u64::MAX,
            totals: Frame::default(),
            ended: false,
        }
    }

    /// The next frames of a listing, and whether there are more behind them.
    ///
    /// # Errors
    /// `STORAGE`.
    pub async fn next_page(&self, listing: &mut Listing) -> Result<(Vec<Frame>, bool), AdminError> {
        while let Some(tenants) = listing.tenants.take() {
            let (frames, rest) = self.next_tenants(tenants).await?;
            listing.tenants = rest;
            if !frames.is_empty() {
                return Ok((frames, true));
            }
        }
        let query = listing.query.clone().filter(|_| !listing.ended);
        let Some(query) = query else {
            listing.ended = true;
            return Ok((vec![std::mem::take(&mut listing.totals)], false));
        };
        let (after, wanted) = (listing.after, listing.left.unwrap_or(EXPORT_PAGE));
        let (keys, engine) = (self.keys.clone(), Arc::clone(&self.engine));
        let pending = self.pending_import.load(Ordering::Acquire);
        let now = self.clock.now();
        let page = blocking(move || {
            let read = |filter: &Filter<'_>| keys.page(filter, after, wanted);
            let page = query.ask(&engine, pending, read)?;
            let frames =
                frames(page.records.iter().map(|record| json(&engine, record, now)), |frame| {
                    &mut frame.keys
                })?;
            Ok::<_, StoreError>((frames, page))
        });
        let (mut frames, page) = page.await.ok_or_else(AdminError::stopping)??;
        listing.take(page.records.len(), page.examined, page.next);
        if let Some(last) = frames.last_mut()
            && listing.ended
        {
            let keys = std::mem::take(&mut last.keys);
            *last = Frame { keys, ..std::mem::take(&mut listing.totals) };
        }
        Ok((frames, !listing.ended))
    }

    /// The next tenants of an export, and those behind them. One that cannot be read ends it: its
    /// keys would pass elsewhere as though nothing stood above them.
    async fn next_tenants(
        &self,
        tenants: Tenants,
    ) -> Result<(Vec<Frame>, Option<Tenants>), AdminError> {
        let (keys, pending) = (self.keys.clone(), self.pending_import.load(Ordering::Acquire));
        let page = blocking(move || {
            let (records, rest) = match tenants {
                Tenants::Only(id) => (Vec::from_iter(keys.tenant(&id)?), None),
                Tenants::After(after) => {
                    let records = keys.tenants(after.as_deref(), EXPORT_TENANTS)?;
                    let last = records.last().filter(|_| records.len() == EXPORT_TENANTS);
                    let rest = last.map(|last| Tenants::After(Some(last.id.clone())));
                    (records, rest)
                }
            };
            let there = |it: &&TenantRecord| it.import == 0 || it.import != pending;
            let there = records.iter().filter(there).map(TenantRecord::to_export);
            let mut frames = frames(there, |frame| &mut frame.tenants)?;
            frames.retain(|frame| !frame.tenants.is_empty());
            Ok::<_, StoreError>((frames, rest))
        });
        Ok(page.await.ok_or_else(AdminError::stopping)??)
    }

    /// Counts what passes, and finds the last of the records to leave out; goes on to the end only
    /// where it is to count. One at a time: it takes a thread's whole time, for seconds perhaps.
    async fn tally(&self, query: &Arc<Query>, skip: u64, whole: bool) -> Result<Tally, AdminError> {
        let _one = self.tallying.lock().await;
        let mut tally = Tally { skip, ..Tally::default() };
        while !tally.whole
            && tally.examined < wire::LIST_EXAMINED_MAX
            && (whole || tally.passed < skip)
        {
            let (keys, engine) = (self.keys.clone(), Arc::clone(&self.engine));
            let pending = self.pending_import.load(Ordering::Acquire);
            let query = Arc::clone(query);
            let further = blocking(move || {
                query.ask(&engine, pending, |filter| keys.tally(filter, &mut tally))?;
                Ok::<_, StoreError>(tally)
            });
            tally = further.await.ok_or_else(AdminError::stopping)??;
        }
        Ok(tally)
    }
}

impl Listing {
    fn count(&mut self, tally: &Tally, numbered: Option<Numbered>, count: bool) {
        if count {
            self.totals.total = Some(tally.passed);
            self.totals.total_is_lower_bound = !tally.whole;
            let pages = |page: Numbered| tally.passed.div_ceil(u64::from(page.size));
            self.totals.total_pages = numbered.map(pages);
        }
    }

    /// Goes on behind a page of the store.
    fn take(&mut self, taken: usize, examined: usize, next: Option<u64>) {
        self.after = next;
        self.left = self.left.map(|left| left.saturating_sub(taken));
        self.examine = self.examine.saturating_sub(examined as u64);
        self.ended = next.is_none() || self.left == Some(0) || self.examine == 0;
        if self.ended {
            self.totals.next = next.map(|id| id.to_string());
        }
    }
}

impl Query {
    /// `None` where the caller may see nothing of what is asked for.
    fn of(request: wire::KeyList, caller: &Caller, now: Time) -> Result<Option<Self>, AdminError> {
        let status = request.status.as_deref().map(Status::parse).transpose();
        let query = Self {
            status: status.map_err(|error| AdminError::invalid(error.to_string()))?,
            tag: request.tag,
            deleted: request.deleted,
            only_deleted: request.only_deleted,
            selection: Selection {
                prefix: request.prefix,
                expiring_before: instant("expiring_before", request.expiring_before)?,
                not_reviewed_since: instant("not_reviewed_since", request.not_reviewed_since)?,
                rotation_overdue_at: request.rotation_overdue.then_some(now),
                search: request.search.as_deref().map(search).transpose()?,
            },
            not_used_since: instant("not_used_since", request.not_used_since)?,
            tenant: request.tenant_id.or_else(|| caller.tenant().map(str::to_owned)),
        };
        let seen = query.tenant.as_deref().is_none_or(|tenant| caller.sees(tenant));
        Ok(seen.then_some(query))
    }

    /// Asks the store with this as its filter. The store knows no usage, and nothing of an import
    /// that is `pending`, of which nothing is there yet: both are judged here.
    fn ask<T>(&self, engine: &Engine, pending: u64, read: impl FnOnce(&Filter<'_>) -> T) -> T {
        let also = |key: &KeyView<'_>| {
            (pending == 0 || key.import != pending)
                && self.selection.shows(key)
                && self.not_used_since.is_none_or(|since| !used_since(engine, key, since))
        };
        let all = pending == 0 && self.selection.is_all() && self.not_used_since.is_none();
        read(&Filter {
            tenant: self.tenant.as_deref(),
            status: self.status,
            tag: self.tag.as_deref(),
            deleted: self.deleted,
            only_deleted: self.only_deleted,
            also: if all { None } else { Some(&also) },
        })
    }
}

/// The page that a list asks for by its number.
fn numbered(request: &wire::KeyList) -> Result<Option<Numbered>, AdminError> {
    let Some(page) = request.page else {
        return match request.page_size {
            Some(_) => Err(AdminError::invalid("page_size: it needs page beside it, from 1")),
            None => Ok(None),
        };
    };
    if page == 0 {
        return Err(AdminError::invalid("page: the first is 1"));
    }
    if request.after.is_some() || request.limit.is_some() {
        return Err(AdminError::invalid(
            "page: it takes page_size beside it; after and limit are of the other way to page",
        ));
    }
    let size = records_of("page_size", request.page_size)?;
    let skip = (page - 1).saturating_mul(u64::from(size));
    Ok(Some(Numbered { skip, size }))
}

fn records_of(member: &str, given: Option<u32>) -> Result<u32, AdminError> {
    let records = given.unwrap_or(LIMIT_DEFAULT);
    if (1..=wire::LIST_PAGE_MAX).contains(&records) {
        return Ok(records);
    }
    Err(AdminError::invalid(format!("{member} is {records}; it is 1 to {}", wire::LIST_PAGE_MAX)))
}

fn instant(member: &str, given: Option<String>) -> Result<Option<Time>, AdminError> {
    let read = given.map(|text| Time::parse(&text)).transpose();
    read.map_err(|reason| AdminError::invalid(format!("{member}: {reason}")))
}

fn search(text: &str) -> Result<Search, AdminError> {
    if !(1..=wire::SEARCH_BYTES_MAX).contains(&text.len()) {
        return Err(AdminError::invalid(format!(
            "search: it has {} bytes; it is a text of 1 to {}",
            text.len(),
            wire::SEARCH_BYTES_MAX
        )));
    }
    Ok(Search::new(text))
}

/// Frames of records, each written as JSON, in the member that is theirs; one at the least.
fn frames(
    records: impl Iterator<Item = Value>,
    member: impl Fn(&mut Frame) -> &mut Vec<Box<RawValue>>,
) -> Result<Vec<Frame>, StoreError> {
    let (mut frames, mut frame, mut bytes) = (Vec::new(), Frame::default(), 0);
    for record in records {
        // Names, texts and finite numbers: what is written always becomes JSON.
        let record = to_raw_value(&record)
            .map_err(|error| StoreError::corrupt(format!("a record is no JSON: {error}")))?;
        let more = record.get().len();
        if bytes > 0 && bytes + more > FRAME_JSON_BYTES {
            frames.push(std::mem::take(&mut frame));
            bytes = 0;
        }
        bytes += more;
        member(&mut frame).push(record);
    }
    frames.push(frame);
    Ok(frames)
}
