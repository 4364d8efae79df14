//! What the operator is told: of the store, of audit, of tokens that are no key's.

use super::super::making::{self, Made};
use super::{Monitor, Said};
use crate::alert::brute::Tried;
use crate::clock::Now;
use crate::event::{AlertKind, Destination, Subject};
use crate::store::Write;
use crate::store::rows::{ALERTS, ALERTS_SCHEMA};

impl Monitor {
    pub(super) fn look_at_latch(&mut self) {
        if self.latched.told {
            return;
        }
        if let Some(cause) = self.shared.committer.stats().latched {
            let summary = format!(
                "the store takes no writes since one failed ({cause}): keys go on being judged, \
                 nothing can be changed, and usage since then is in memory; mend the disk and \
                 restart keygate"
            );
            self.latched = self.say(self.latched, AlertKind::StoreLatched, summary);
        }
    }

    /// Audit records cannot be taken, or could not since the last look.
    pub(super) fn look_at_audit(&mut self) {
        let (why, ended) = {
            let mut audit = self.shared.audit.lock();
            (audit.why.clone(), std::mem::take(&mut audit.ended))
        };
        if ended {
            self.audit = Said::default();
        }
        if let Some(why) = why {
            let summary = format!("audit records cannot be taken: {why}");
            self.audit = self.say(self.audit, AlertKind::AuditFailing, summary);
        }
        let mut audit = self.shared.audit.lock();
        if self.audit.told || self.audit.noted && !audit.failing {
            audit.why = None;
        }
    }

    /// Says something that lasts: once to the journal, and to the operator as soon as there is one
    /// to be told.
    fn say(&self, said: Said, kind: AlertKind, summary: String) -> Said {
        let nobody = self.shared.settings.read().operator.is_empty();
        if said.told || said.noted && nobody {
            return said;
        }
        let noted = self.tell_operator(kind, summary, None);
        Said { noted: noted || said.noted, told: noted && !nobody }
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
