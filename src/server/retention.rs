//! The end of deleted keys and tenants: those whose retention is over are purged, at the start and
//! then once in a while, and purges that were cut short go on. A look costs one read of the store and
//! one walk over the tenants in memory while there is nothing to do.

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::admin::{Admin, AdminError, LifeRules};
use crate::config;

/// Between two looks: retention is counted in days.
const PERIOD: Duration = Duration::from_secs(600);

/// What the configuration says of the life of keys.
pub(super) const fn life_rules(keys: &config::Keys) -> LifeRules {
    LifeRules {
        rotation_grace_ms: keys.rotation_grace_ms,
        rotation_grace_max_ms: keys.rotation_grace_max_ms,
        deleted_retention_days: keys.deleted_retention_days,
    }
}

/// Looks until `stop`. A purge of keys that has begun is carried to its end; that of a tenant goes on
/// at the next start.
pub(super) async fn keep(admin: Arc<Admin>, stop: CancellationToken) {
    let mut looks = tokio::time::interval(PERIOD);
    looks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let (mut tenants, mut keys) = (Told::of("tenants"), Told::of("keys"));
    while stop.run_until_cancelled(looks.tick()).await.is_some() {
        let days = admin.life_rules().deleted_retention_days;
        let Some(purged) = stop.run_until_cancelled(admin.purge_outdated_tenants()).await else {
            return;
        };
        tenants.tell(&purged, days);
        let purged = admin.purge_outdated(|| !stop.is_cancelled()).await;
        keys.tell(&purged, days);
    }
}

/// What the log was told of the last look.
struct Told {
    what: &'static str,
    failing: bool,
}

impl Told {
    const fn of(what: &'static str) -> Self {
        Self { what, failing: false }
    }

    fn tell(&mut self, purged: &Result<u64, AdminError>, days: u32) {
        let what = self.what;
        match purged {
            Ok(0) => {}
            Ok(purged) => tracing::info!(
                what,
                purged,
                days,
                "what was deleted longer ago than deleted_retention_days was purged, or its purge \
                 went on"
            ),
            // Said once: the next looks meet the same.
            Err(error) if !self.failing => {
                tracing::error!(what, %error, "a purge could not be done; keygate will try again");
            }
            Err(_) => {}
        }
        self.failing = purged.is_err();
    }
}
