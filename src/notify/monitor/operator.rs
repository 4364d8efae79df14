//! What the operator is told: of the store, of audit, of tokens that are no key's.

use super::super::making::{self, Made};
use super::Monitor;
use crate::alert::brute::Tried;
use crate::clock::Now;
use crate::event::{AlertKind, Destination, Subject};
use crate::store::Write;
use crate::store::rows::{ALERTS, ALERTS_SCHEMA};

impl Monitor {
    pub(super) fn look_at_latch(&mut self) {
        if self.latched_told {
            return;
        }
        if let Some(cause) = self.shared.committer.stats().latched {
            let summary = format!(
                "the store takes no writes since one failed ({cause}): keys go on being judged, \
                 nothing can be changed, and usage since then is in memory; mend the disk and \
                 restart keygate"
            );
            self.latched_told = self.tell_operator(AlertKind::StoreLatched, summary, None);
        }
    }

    pub(super) fn look_at_audit(&mut self) {
        let Some(why) = self.audit_waits.take() else { return };
        if self.audit_told {
            return;
        }
        let summary = format!("audit records cannot be taken: {why}");
        self.audit_told = self.tell_operator(AlertKind::AuditFailing, summary, None);
        self.audit_waits = Some(why).filter(|_| !self.audit_told);
    }

    pub(super) fn look_at_tokens(&mut self, now: Now) {
        let Some(total) = self.shared.unknown_total.get().map(|total| total()) else { return };
        let per_minute = self.shared.settings.read().brute_force_per_minute;
        let mut brute = self.brute.clone();
        let tried = brute.look(total, per_minute, now.mono_ns);
        let before = std::mem::replace(&mut self.daemon.brute_force, brute.is_high());
        let done = match tried {
            Tried::Rises(tried) => {
                let summary = format!(
                    "{tried} requests of the last minute came with tokens that are no key's; \
                     alerts.brute_force_per_minute is {per_minute}"
                );
                let write = self.daemon_write();
                self.tell_operator(AlertKind::BruteForce, summary, write)
            }
            Tried::Ends => {
                let write = self.daemon_write().into_iter().collect();
                if let Err(error) = self.shared.committer.commit(write, false) {
                    tracing::warn!(%error, "that fewer tokens are tried is not stored");
                }
                true
            }
            Tried::Same => true,
        };
        if done {
            self.brute = brute;
        } else {
            self.daemon.brute_force = before;
        }
    }

    /// Tells the operator, with what says that it was told; whether that is done.
    pub(super) fn tell_operator(
        &self,
        kind: AlertKind,
        summary: String,
        state: Option<Write>,
    ) -> bool {
        let now_us = self.shared.clock.now().wall_us;
        tracing::warn!(kind = kind.name(), summary, "the operator is to be told");
        let to: Vec<Destination> = self.shared.settings.read().operator.clone();
        let alert = making::new_alert(kind, Subject::Daemon, "", summary, now_us);
        let Ok(alert) = alert else { return false };
        making::make(&self.shared, vec![alert], &to, state, now_us) == Made::Done
    }

    pub(super) fn daemon_write(&self) -> Option<Write> {
        Write::fact(ALERTS, ALERTS_SCHEMA, &self.daemon).ok()
    }
}
