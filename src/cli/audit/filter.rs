//! What of the audit log is looked for. What is said must all be so.

use crate::audit::Said;
use crate::audit::read::Entry;
use crate::cli::error::CliError;
use crate::cli::when;
use crate::event::{Event, Subject, What};
use crate::key::Time;

#[derive(Debug, Clone, Default, clap::Args)]
pub(super) struct Filter {
    /// About this key
    #[arg(long, value_name = "ID")]
    key: Option<u64>,
    /// About this tenant, or a key of it
    #[arg(long, value_name = "TENANT")]
    tenant: Option<String>,
    /// Changes of this kind, such as create, update, rotate, set_status, delete, purge, reload
    #[arg(long, value_name = "ACTION")]
    action: Option<String>,
    /// Decisions with this code, such as QUOTA_EXCEEDED
    #[arg(long, value_name = "CODE")]
    code: Option<String>,
    /// Not before this time, or this long ago: 2027-03-01T09:00:00Z, 24h
    #[arg(long, value_name = "WHEN", value_parser = when::ago)]
    since: Option<Time>,
    /// Before this time, or this long ago
    #[arg(long, value_name = "WHEN", value_parser = when::ago)]
    until: Option<Time>,
    /// Changes that this user asked for
    #[arg(long, value_name = "UID")]
    actor_uid: Option<u32>,
    /// Only changes, decisions or alerts
    #[arg(long, value_name = "EVENT", value_parser = ["change", "decision", "alert", "refusal"])]
    event: Option<String>,
}

impl Filter {
    /// Refuses what nothing can be.
    pub(super) fn check(&self) -> Result<(), CliError> {
        let of_change = self.action.is_some() || self.actor_uid.is_some();
        if of_change && self.code.is_some() {
            let what = "--action and --actor-uid are of changes, --code is of decisions: no record \
                        is both";
            return Err(CliError::Usage(what.to_owned()));
        }
        Ok(())
    }

    pub(super) fn wants(&self, entry: &Entry) -> bool {
        // What the log says of itself is about nothing that can be asked for.
        let Said::Event(event) = &entry.said else { return false };
        self.is_in_time(event) && self.is_of_kind(event) && self.is_about(event)
    }

    fn is_in_time(&self, event: &Event) -> bool {
        let at = Time::from_micros(event.at_us);
        self.since.is_none_or(|since| at >= since) && self.until.is_none_or(|until| at < until)
    }

    fn is_of_kind(&self, event: &Event) -> bool {
        let (kind, action, code, uid) = match &event.what {
            What::Change(change) => {
                ("change", Some(change.action.as_str()), None, change.actor.uid)
            }
            What::Decision(decision) => ("decision", None, Some(decision.code.as_str()), None),
            What::Alert(_) => ("alert", None, None, None),
            What::Refusal(refusal) => ("refusal", None, None, refusal.actor.uid),
        };
        let same = |wanted: &Option<String>, is: Option<&str>| {
            wanted.as_deref().is_none_or(|wanted| is == Some(wanted))
        };
        same(&self.event, Some(kind))
            && same(&self.action, action)
            && same(&self.code, code)
            && self.actor_uid.is_none_or(|wanted| uid == Some(wanted))
    }

    fn is_about(&self, event: &Event) -> bool {
        let subject = match &event.what {
            What::Change(change) => Some(&change.subject),
            What::Decision(decision) => decision.subject.as_ref(),
            What::Alert(alert) => Some(&alert.subject),
            What::Refusal(_) => None,
        };
        let key = match subject {
            Some(Subject::Key { id, .. }) => Some(*id),
            _ => None,
        };
        let tenant = subject.and_then(Subject::tenant);
        let imported = |wanted| match &event.what {
            What::Change(change) => change.has_imported(wanted),
            What::Decision(_) | What::Alert(_) | What::Refusal(_) => false,
        };
        self.key.is_none_or(|wanted| key == Some(wanted) || imported(wanted))
            && self.tenant.as_deref().is_none_or(|wanted| tenant == Some(wanted))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;
    use crate::event::{Actor, Change, Decision};

    fn entry(at_us: i64, what: What) -> Entry {
        Entry { sequence: 1, said: Said::Event(Box::new(Event { at_us, what })) }
    }

    #[test]
    fn what_is_said_must_all_be_so() {
        let key = || Subject::Key { id: 7, tenant: "acme".to_owned() };
        let change = Change {
            action: "rotate".to_owned(),
            actor: Actor { uid: Some(5), ..Actor::default() },
            subject: key(),
            before: Value::Null,
            after: Value::Null,
            reason: None,
        };
        let decision = Decision { subject: Some(key()), ..Decision::unrecorded("NOT_FOUND", 1) };
        let change = entry(1_000_000, What::Change(change));
        let decision = entry(2_000_000, What::Decision(decision));
        let text = |text: &str| Some(text.to_owned());
        let none = Filter::default;
        let at = |us| Some(Time::from_micros(us));
        for (filter, of_change, of_decision) in [
            (none(), true, true),
            (Filter { key: Some(7), tenant: text("acme"), ..none() }, true, true),
            (Filter { key: Some(8), ..none() }, false, false),
            (Filter { tenant: text("other"), ..none() }, false, false),
            (Filter { action: text("rotate"), ..none() }, true, false),
            (Filter { action: text("rotate"), actor_uid: Some(6), ..none() }, false, false),
            (Filter { code: text("NOT_FOUND"), ..none() }, false, true),
            (Filter { event: text("decision"), ..none() }, false, true),
            (Filter { since: at(1_000_000), until: at(2_000_000), ..none() }, true, false),
            (Filter { since: at(1_000_001), ..none() }, false, true),
        ] {
            let wants = (filter.wants(&change), filter.wants(&decision));
            assert_eq!(wants, (of_change, of_decision), "{filter:?}");
            assert!(filter.check().is_ok());
        }
        let both = Filter { action: text("x"), code: text("y"), ..none() };
        assert!(both.check().is_err());
    }
}
