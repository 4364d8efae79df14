//! The keys that were used most.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use keygate_protocol::admin as wire;
use keygate_protocol::admin::{TOP_MAX, TopBy};

use super::super::{Admin, AdminError, Caller, blocking};
use super::history::{Owner, both, by_day, instant};
use super::shown;
use crate::engine::Engine;
use crate::store::Keys;
use crate::usage::{Hour, Tally};

/// What is asked for.
struct Question {
    by: TopBy,
    limit: usize,
    tenant: Option<String>,
    since_us: Option<i64>,
    now: Hour,
}

impl Admin {
    /// The keys with the most of something, deleted ones too, which have no name any more. Walks
    /// all keys, with `since` their rows in the store too; one at a time does.
    ///
    /// # Errors
    /// `INVALID` for an instant or a number; `FORBIDDEN` for a caller that is bound to a tenant and
    /// asks for another's keys or all.
    pub async fn usage_top(
        &self,
        caller: &Caller,
        request: wire::UsageTopRequest,
    ) -> Result<wire::UsageTop, AdminError> {
        match &request.tenant {
            Some(tenant) => drop(self.visible_tenant(caller, tenant).await?),
            None => caller.check_unbound("UsageTop of all keys")?,
        }
        if !(1..=TOP_MAX).contains(&request.limit) {
            return Err(AdminError::invalid(format!("limit: 1 to {TOP_MAX}")));
        }
        let _one = self.ranking.lock().await;
        let question = Question {
            by: request.by,
            limit: request.limit as usize,
            tenant: request.tenant,
            since_us: instant("since", request.since.as_deref())?,
            now: Hour::of(self.clock.now().wall_us),
        };
        let (engine, keys) = (self.engine.clone(), self.keys.clone());
        let top = blocking(move || question.answer(&engine, &keys)).await;
        Ok(wire::UsageTop { keys: top.ok_or_else(AdminError::stopping)?? })
    }
}

impl Question {
    fn answer(&self, engine: &Engine, keys: &Keys) -> Result<Vec<wire::TopKey>, AdminError> {
        // The least of the best stands on top, so it makes room for a better one.
        let mut best = BinaryHeap::<Reverse<(u128, u64)>>::new();
        for id in engine.used_keys() {
            let tenant = engine.tenant_of(id);
            if self.tenant.is_some() && tenant.as_deref() != self.tenant.as_deref() {
                continue;
            }
            let figure = self.figure(&self.tally(engine, keys, id)?);
            if figure > 0 {
                best.push(Reverse((figure, id)));
            }
            if best.len() > self.limit {
                best.pop();
            }
        }
        let best = best.into_sorted_vec().into_iter().map(|Reverse((_, id))| id);
        best.map(|id| self.told(engine, keys, id)).collect()
    }

    fn tally(&self, engine: &Engine, keys: &Keys, id: u64) -> Result<Tally, AdminError> {
        let here = engine.usage(id, false);
        let Some(since_us) = self.since_us else { return Ok(here.total) };
        if here.total.is_empty() {
            return Ok(here.total);
        }
        let (_, open, stored) = both(engine, keys, &Owner::Key(id))?;
        let mut tally = Tally::default();
        let since_hour = Hour::of(since_us);
        // The day in which it begins is told by the hour as long as its hours are there.
        let (early, days) = (since_hour.day(), by_day(&stored, &open, self.now, since_us));
        let first_day_us = early.first_hour().start_us();
        for (start_us, of) in days {
            if start_us > first_day_us || stored.days.iter().any(|(day, _)| *day == early) {
                tally.add(&of);
            }
        }
        if stored.days.iter().all(|(day, _)| *day != early) {
            let hours = stored.hours.iter().chain(&open);
            let hours = hours.filter(|it| it.hour.day() == early && it.hour >= since_hour);
            hours.for_each(|it| tally.add(&it.tally));
        }
        Ok(tally)
    }

    fn figure(&self, tally: &Tally) -> u128 {
        match self.by {
            TopBy::Requests => tally.requests.into(),
            TopBy::Units => tally.units.into(),
            TopBy::Cost => tally.cost_nano,
            TopBy::Denials => tally.more().denied().into(),
            TopBy::Errors => tally.more().errors.into(),
        }
    }

    fn told(&self, engine: &Engine, keys: &Keys, id: u64) -> Result<wire::TopKey, AdminError> {
        let record = keys.get(id)?.filter(|record| record.deleted_at.is_none());
        Ok(wire::TopKey {
            key_id: id.to_string(),
            tenant_id: engine.tenant_of(id).map(|tenant| tenant.to_string()).unwrap_or_default(),
            name: record.map(|record| record.name).unwrap_or_default(),
            sums: shown::sums(&self.tally(engine, keys, id)?),
        })
    }
}
