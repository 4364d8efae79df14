//! The end of what was deleted: keys and tenants whose retention is over. And of tenants whose purge
//! was cut short: their keys are unknown already, and nobody waits for it.

use std::sync::Arc;

use keygate_protocol::ErrorCode;
use tokio::task::JoinSet;

use super::{Admin, AdminError, Caller, blocking};
use crate::clock::Now;
use crate::key::{KeyRecord, Time};

const DAY_US: i64 = 86_400_000_000;
/// Keys that are purged together: they share a sync, and hold nobody up for long.
const PURGES_AT_A_TIME: usize = 32;
/// How far the wall clock may get ahead of the monotonic one between two looks: more than a clock
/// that is being corrected drifts.
const CLOCK_SLACK_US: i64 = 60_000_000;

/// Looks for what is to be purged, now and then.
pub struct Retention {
    admin: Arc<Admin>,
    /// The look before.
    last: Option<Now>,
}

/// What a look has purged.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Swept {
    /// Keys whose retention was over.
    pub keys: u64,
    /// Tenants whose retention was over, or whose purge had begun.
    pub tenants: u64,
    /// Client secrets whose overlap was over.
    pub secrets: u64,
}

impl Retention {
    /// No look yet: the first one takes the wall clock as it is.
    #[must_use]
    pub const fn new(admin: Arc<Admin>) -> Self {
        Self { admin, last: None }
    }

    /// Goes on with purges of tenants that were cut short, and purges the tenants and keys that were
    /// deleted longer ago than the retention, some at a time while `go_on` says so.
    ///
    /// # Errors
    /// When the store takes nothing; the next look goes on.
    pub async fn look(&mut self, go_on: &(impl Fn() -> bool + Sync)) -> Result<Swept, AdminError> {
        let until = self.until();
        // Neither keeps the other from its own.
        let tenants = self.admin.sweep_tenants(until, go_on).await;
        let keys = self.admin.purge_outdated(until, go_on).await;
        let secrets = self.admin.wipe_retired_secrets(go_on).await;
        Ok(Swept { keys: keys?, tenants: tenants?, secrets })
    }

    /// What was deleted by then is purged. A purge is for good, so a wall clock that has jumped ahead
    /// is believed only if it still says so at the look after.
    fn until(&mut self) -> Time {
        let now = self.admin.clock.now();
        let believed_us = self.last.replace(now).map_or(now.wall_us, |last| {
            let passed_us = now.mono_ns.saturating_sub(last.mono_ns) / 1000;
            let passed_us = i64::try_from(passed_us).unwrap_or(i64::MAX);
            let expected_us = last.wall_us.saturating_add(passed_us);
            if now.wall_us <= expected_us.saturating_add(CLOCK_SLACK_US) {
                return now.wall_us;
            }
            let ahead_s = now.wall_us.saturating_sub(expected_us) / 1_000_000;
            tracing::warn!(
                ahead_s,
                "the wall clock has jumped ahead: what is purged by it waits for the next look"
            );
            expected_us
        });
        let days = self.admin.life_rules().deleted_retention_days;
        Time::from_micros(believed_us.saturating_sub(i64::from(days) * DAY_US))
    }
}

impl Admin {
    /// Purges the keys that were deleted by an instant, some at a time while `go_on` says so; answers
    /// how many. One that cannot be purged is logged and does not stop the others.
    async fn purge_outdated(
        self: &Arc<Self>,
        until: Time,
        go_on: &(impl Fn() -> bool + Sync),
    ) -> Result<u64, AdminError> {
        let until_us = until.micros_up();
        let (mut purged, mut after) = (0, None);
        while go_on() {
            let keys = self.keys.clone();
            let rows = blocking(move || keys.deleted_until(until_us, after, PURGES_AT_A_TIME));
            let rows = rows.await.ok_or_else(AdminError::stopping)??;
            let Some(last) = rows.last().copied() else { break };
            after = Some(last);
            purged += self.purge_all(rows.into_iter().map(|(_, id)| id), until_us).await?;
        }
        Ok(purged)
    }

    /// Purges keys that are still deleted since then. All are seen to their end: nothing may break
    /// off between store and catalog.
    async fn purge_all(
        self: &Arc<Self>,
        ids: impl Iterator<Item = u64>,
        until_us: i64,
    ) -> Result<u64, AdminError> {
        let mut purges = JoinSet::new();
        for id in ids {
            let admin = Arc::clone(self);
            purges.spawn(async move {
                let outdated = |record: &KeyRecord| {
                    record.deleted_at.is_some_and(|at| at.micros_up() <= until_us)
                };
                (id, admin.purge_if(&Caller::daemon("retention"), id, outdated).await)
            });
        }
        let (mut purged, mut failed) = (0, None);
        while let Some(ended) = purges.join_next().await {
            match ended {
                Ok((_, Ok(gone))) => purged += u64::from(gone.is_some()),
                // A record that cannot be read is in nobody's way but its own.
                Ok((id, Err(error))) if error.code == ErrorCode::Storage && self.writable() => {
                    tracing::error!(key = id, %error, "a deleted key could not be purged");
                }
                Ok((_, Err(error))) => failed = Some(error),
                Err(_) => failed = Some(AdminError::stopping()),
            }
        }
        failed.map_or(Ok(purged), Err)
    }

    pub(super) fn writable(&self) -> bool {
        self.committer.stats().latched.is_none()
    }
}
