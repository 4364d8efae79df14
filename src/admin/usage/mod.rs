//! Usage as people see it: what an import carried over, and what was counted here since.

mod carried;
mod history;
mod shown;
mod top;

use keygate_protocol::admin as wire;
use serde_json::Value;

use self::carried::Carried;
use super::{Admin, AdminError, Caller};
use crate::clock::Now;
use crate::engine::{Account, Engine, KeyUsage};
use crate::key::{Credits, KeyRecord, KeyView, Time};

/// Totals over both.
struct Totals {
    requests: u64,
    last_used_at: Option<Time>,
    successes: u64,
    errors: u64,
    success_rate: Option<f64>,
    average_response_time: Option<f64>,
}

impl Admin {
    /// What a key was used for.
    ///
    /// # Errors
    /// `NOT_FOUND`.
    pub async fn usage(
        &self,
        caller: &Caller,
        request: wire::KeyRef,
    ) -> Result<wire::KeyUsage, AdminError> {
        let record = self.named(caller, &request).await?;
        let here = self.engine.usage(record.id, true);
        let totals = Totals::of(&record, &here);
        let all = Carried::of(&record).with(&here);
        Ok(wire::KeyUsage {
            key_id: record.id.to_string(),
            total_requests: totals.requests,
            last_used_at: totals.last_used_at.map(|at| at.to_string()),
            reported_requests: totals.successes.saturating_add(totals.errors),
            total_errors: totals.errors,
            successful_requests_count: totals.successes,
            success_rate: totals.success_rate,
            average_response_time: totals.average_response_time,
            endpoints: all.endpoint_rows(),
            statuses: all.status_counts(),
            recent_errors: all.recent_errors,
            limits: self.limit_usage(&Account::Key(record.id)),
            last_used_from: here.last_used_from.map(|address| address.to_string()),
            sums: shown::sums(&here.total),
        })
    }

    /// The record as JSON, its usage fields as they stand.
    pub(super) fn json(&self, record: &KeyRecord) -> Value {
        json(&self.engine, record, self.clock.now())
    }
}

/// See [`Admin::json`]. The only place where a record that is shown, listed or exported gets what
/// the engine knows better than the record.
pub(super) fn json(engine: &Engine, record: &KeyRecord, now: Now) -> Value {
    let here = engine.usage(record.id, true);
    let totals = Totals::of(record, &here);
    let credits = record.credits.map(|credits| Credits {
        balance: engine.balance(record.id, now).unwrap_or(credits.balance),
        ..credits
    });
    let mut live = KeyRecord {
        credits,
        total_requests: totals.requests,
        last_used_at: totals.last_used_at,
        total_errors: totals.errors,
        successful_requests_count: totals.successes,
        success_rate: totals.success_rate,
        average_response_time: totals.average_response_time,
        ..record.clone()
    };
    // Fields that nothing was added to are handed on as they came.
    if !here.details.is_empty() || !here.total.more().statuses.is_empty() {
        Carried::of(record).with(&here).fill(&mut live);
    }
    live.to_json(&engine.pepper())
}

/// Whether a key's last valid verdict was at `since` or later, here or before it was imported.
pub(super) fn used_since(engine: &Engine, key: &KeyView<'_>, since: Time) -> bool {
    let here_us = engine.last_used_us(key.id);
    here_us > 0 && Time::from_micros(here_us) >= since || key.last_used_at >= Some(since)
}

impl Totals {
    fn of(record: &KeyRecord, here: &KeyUsage) -> Self {
        let used_here = (here.last_used_us > 0).then(|| Time::from_micros(here.last_used_us));
        let mut totals = Self {
            requests: record.total_requests.saturating_add(here.total.requests),
            last_used_at: used_here.max(record.last_used_at),
            successes: record.successful_requests_count,
            errors: record.total_errors,
            // Figures that nothing was added to are handed on as they came.
            success_rate: record.success_rate,
            average_response_time: record.average_response_time,
        };
        if here.total.more().reported > 0 {
            totals.add(here);
        }
        totals
    }

    fn add(&mut self, here: &KeyUsage) {
        let here = here.total.more();
        let before = self.successes.saturating_add(self.errors);
        self.errors = self.errors.saturating_add(here.errors);
        self.successes = self.successes.saturating_add(here.reported.saturating_sub(here.errors));
        let all = self.successes.saturating_add(self.errors);
        self.success_rate = Some(self.successes as f64 / all as f64);
        let (mut count, mut sum_ms) = (0.0, 0.0);
        if let Some(average) = self.average_response_time {
            (count, sum_ms) = (before as f64, before as f64 * average);
        }
        count += here.latency_count as f64;
        sum_ms += here.latency_sum_us as f64 / 1000.0;
        if count > 0.0 {
            self.average_response_time = Some(sum_ms / count);
        }
    }
}
