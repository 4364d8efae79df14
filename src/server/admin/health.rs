//! How the audit log stands, for health and figures.

use keygate_protocol::admin::Health;

use super::Shared;
use crate::admin::Caller;
use crate::audit::{Audit, AuditStats};

impl Shared {
    /// Whether the daemon can do all its work: what `keygate status`, `/readyz` and the metrics say.
    pub(in crate::server) fn health(&self, caller: &Caller) -> Health {
        let health = self.admin.health(caller, self.unreadable);
        with_audit(health, caller, self.audit.as_deref())
    }
}

/// Adds to the daemon's health that audit records cannot be written, where that is so. A caller that
/// is bound to a tenant is told that something is not well and not what.
fn with_audit(mut health: Health, caller: &Caller, audit: Option<&Audit>) -> Health {
    let Some(why) = audit.and_then(|audit| audit.stats().failing) else { return health };
    let was_healthy = std::mem::replace(&mut health.healthy, false);
    if caller.tenant().is_none() {
        health.reasons.push(format!(
            "audit records cannot be written, so keys that demand audit are denied: {why}; once that \
             is mended, keygate goes on by itself"
        ));
    } else if was_healthy {
        health.reasons.push("the daemon's operator is told what is not well".to_owned());
    }
    health
}

/// The figures of the audit log.
pub(super) fn audit_stats(audit: &Audit) -> [(String, u64); 3] {
    let AuditStats { waiting, lost, failing } = audit.stats();
    [
        ("audit_waiting".to_owned(), waiting),
        ("audit_lost".to_owned(), lost),
        ("audit_failing".to_owned(), u64::from(failing.is_some())),
    ]
}
