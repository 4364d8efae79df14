//! The end of deleted keys: those whose retention is over are purged, at the start and then once in
//! a while. A look costs one read of the store while there is nothing to do.

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::admin::{Admin, LifeRules};
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

/// Looks until `stop`. A purge that has begun is carried to its end.
pub(super) async fn keep(admin: Arc<Admin>, stop: CancellationToken) {
    let mut looks = tokio::time::interval(PERIOD);
    looks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut failing = false;
    while stop.run_until_cancelled(looks.tick()).await.is_some() {
        match admin.purge_outdated(|| !stop.is_cancelled()).await {
            Ok(purged) => {
                if purged > 0 {
                    let days = admin.life_rules().deleted_retention_days;
                    tracing::info!(
                        purged,
                        days,
                        "keys that were deleted longer ago than deleted_retention_days were purged"
                    );
                }
                failing = false;
            }
            // Said once: the next looks meet the same.
            Err(error) if !failing => {
                failing = true;
                tracing::error!(%error, "deleted keys could not be purged; keygate will try again");
            }
            Err(_) => {}
        }
    }
}
