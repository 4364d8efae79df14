//! The end of what was deleted: keys and tenants whose retention is over are purged, at the start and
//! then once in a while; so are tenants whose purge was cut short. A look costs one read of the store
//! while there is nothing to do, and one for each deleted tenant.

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::admin::{Admin, LifeRules, Retention, Swept};
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

/// Looks until `stop`. What has begun is carried to its end, but for the purge of a tenant, which the
/// next start goes on with.
pub(super) async fn keep(admin: Arc<Admin>, stop: CancellationToken) {
    let mut looks = tokio::time::interval(PERIOD);
    looks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut retention = Retention::new(Arc::clone(&admin));
    let mut failing = false;
    while stop.run_until_cancelled(looks.tick()).await.is_some() {
        match retention.look(&|| !stop.is_cancelled()).await {
            Ok(swept) => {
                if swept != Swept::default() {
                    let Swept { keys, tenants, secrets } = swept;
                    let days = admin.life_rules().deleted_retention_days;
                    tracing::info!(
                        purged = keys,
                        tenants,
                        secrets,
                        days,
                        "keys and tenants that were deleted longer ago than deleted_retention_days \
                         were purged, tenants whose purge was cut short, and client secrets whose \
                         overlap is over"
                    );
                }
                failing = false;
            }
            // Said once: the next looks meet the same.
            Err(error) if !failing => {
                failing = true;
                tracing::error!(
                    %error,
                    "what was deleted could not be purged; keygate will try again"
                );
            }
            Err(_) => {}
        }
    }
}
