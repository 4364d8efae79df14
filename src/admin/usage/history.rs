//! What was used by the hour and by the day.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use keygate_protocol::admin as wire;

use super::super::{Admin, AdminError, Caller, blocking};
use super::shown;
use crate::engine::Engine;
use crate::key::Time;
use crate::store::{History, Keys, StoreError, Whose};
use crate::usage::{DAYS_KEPT, Day, HOURS_KEPT, Hour, HourTally, Tally};

/// Bytes of spans in one reply, about: it fits a frame with room to spare.
const REPLY_BYTES: usize = 512 * 1024;

/// How often a read is repeated while usage is written, and after which pause.
const READS_MAX: u32 = 200;
const READ_AGAIN: Duration = Duration::from_millis(5);

/// Whose usage is asked for.
#[derive(Clone)]
pub(super) enum Owner {
    Key(u64),
    Tenant(String),
    All,
}

impl Owner {
    fn whose(&self) -> Whose<'_> {
        match self {
            Self::Key(id) => Whose::Key(*id),
            Self::Tenant(tenant) => Whose::Tenant(tenant),
            Self::All => Whose::All,
        }
    }
}

impl Admin {
    /// What a key, a tenant or all keys were used for, by the hour or the day.
    ///
    /// # Errors
    /// `NOT_FOUND`; `INVALID` for an instant; `FORBIDDEN` for a caller that is bound to a tenant and
    /// asks for all keys.
    pub async fn usage_history(
        &self,
        caller: &Caller,
        request: wire::UsageHistoryRequest,
    ) -> Result<wire::UsageHistory, AdminError> {
        let owner = self.owner(caller, &request).await?;
        let (engine, keys) = (Arc::clone(&self.engine), self.keys.clone());
        let read = blocking(move || both(&engine, &keys, &owner)).await;
        let (total, open, stored) = read.ok_or_else(AdminError::stopping)??;
        let now = Hour::of(self.clock.now().wall_us);
        let since = instant("since", request.since.as_deref())?.unwrap_or(0);
        let until = instant("until", request.until.as_deref())?.unwrap_or(i64::MAX);
        let spans = match request.by {
            wire::Span::Hour => by_hour(&stored, &open, now, since),
            wire::Span::Day => by_day(&stored, &open, now, since),
        };
        let total = shown::sums(&total);
        Ok(told(total, spans.into_iter().filter(|(start_us, _)| *start_us < until)))
    }

    async fn owner(
        &self,
        caller: &Caller,
        request: &wire::UsageHistoryRequest,
    ) -> Result<Owner, AdminError> {
        match (&request.key_id, &request.tenant) {
            (Some(_), Some(_)) => Err(AdminError::invalid("key_id or tenant, not both")),
            (Some(id), None) => {
                let named = wire::KeyRef { id: id.clone(), deleted: request.deleted };
                Ok(Owner::Key(self.named(caller, &named).await?.id))
            }
            (None, Some(tenant)) => {
                Ok(Owner::Tenant(self.visible_tenant(caller, tenant).await?.id))
            }
            (None, None) => {
                caller.check_unbound("UsageHistory of all keys")?;
                Ok(Owner::All)
            }
        }
    }
}

/// What is in memory and what is stored of it, each hour in one of them: read again while hours are on
/// their way from one to the other.
pub(super) fn both(
    engine: &Engine,
    keys: &Keys,
    owner: &Owner,
) -> Result<(Tally, Vec<HourTally>, History), StoreError> {
    let read = || {
        let (total, open) = match owner {
            Owner::Key(id) => {
                let usage = engine.usage(*id, false);
                (usage.total, usage.hours)
            }
            Owner::Tenant(tenant) => engine.sum(Some(tenant)),
            Owner::All => engine.sum(None),
        };
        Ok((total, open, keys.history(owner.whose())?))
    };
    for _ in 0..READS_MAX {
        if let Some(found) = engine.read_usage(read) {
            return found;
        }
        std::thread::sleep(READ_AGAIN);
    }
    read()
}

/// An instant of a request, in microseconds since 1970.
pub(super) fn instant(field: &str, text: Option<&str>) -> Result<Option<i64>, AdminError> {
    let parse = |text: &str| {
        Time::parse(text).map(Time::micros_up).map_err(|_| {
            AdminError::invalid(format!("{field}: an instant as RFC 3339 has it, not {text:?}"))
        })
    };
    text.map(parse).transpose()
}

/// Hours from `since` on, by their beginning.
pub(super) fn by_hour(
    stored: &History,
    open: &[HourTally],
    now: Hour,
    since_us: i64,
) -> BTreeMap<i64, Tally> {
    let first = Hour::of(since_us).max(now.before(HOURS_KEPT));
    let mut spans = BTreeMap::<i64, Tally>::new();
    for HourTally { hour, tally } in stored.hours.iter().chain(open).filter(|it| it.hour >= first) {
        spans.entry(hour.start_us()).or_default().add(tally);
    }
    spans
}

/// Days from `since` on, by their beginning.
pub(super) fn by_day(
    stored: &History,
    open: &[HourTally],
    now: Hour,
    since_us: i64,
) -> BTreeMap<i64, Tally> {
    let first = Hour::of(since_us).day().max(now.day().before(DAYS_KEPT));
    let hours = stored.hours.iter().chain(open).map(|it| (it.hour.day(), &it.tally));
    let days = stored.days.iter().map(|(day, tally)| (*day, tally)).chain(hours);
    let mut spans = BTreeMap::<i64, Tally>::new();
    for (day, tally) in days.filter(|(day, _): &(Day, _)| *day >= first) {
        spans.entry(day.first_hour().start_us()).or_default().add(tally);
    }
    spans
}

/// As many spans as one reply takes.
fn told(total: wire::UsageSums, spans: impl Iterator<Item = (i64, Tally)>) -> wire::UsageHistory {
    let mut history = wire::UsageHistory { total, spans: Vec::new(), next: None };
    let mut bytes = 0;
    for (start_us, tally) in spans {
        let start = Time::from_micros(start_us).to_string();
        if bytes > REPLY_BYTES {
            history.next = Some(start);
            break;
        }
        let span = wire::UsageSpan { start, sums: shown::sums(&tally) };
        bytes += serde_json::to_vec(&span).map_or(0, |json| json.len());
        history.spans.push(span);
    }
    history
}
