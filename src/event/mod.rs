//! What happens that somebody may want to know: changes, decisions, alerts. Pure values, made where
//! they happen, and read by whoever keeps them (the audit log), sends them (alerts) or shows them
//! (`keygate watch`).

mod actor;
mod alert;
mod change;

pub use actor::Actor;
pub use alert::{Alert, AlertKind, Destination};
pub use change::{Change, Decision, IMPORT, KEY_IDS, Subject};

use serde::{Deserialize, Serialize};

/// One of them, with its instant.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// Microseconds since 1970.
    pub at_us: i64,
    /// What happened.
    #[serde(flatten)]
    pub what: What,
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum What {
    /// A key, a tenant or the configuration was changed.
    Change(Change),
    /// A question was decided.
    Decision(Decision),
    /// Somebody is to be told.
    Alert(Alert),
}

/// Takes note of events. It is called where they happen, on whatever thread that is, so it never
/// waits: what it cannot take it counts.
pub trait Journal: Send + Sync {
    /// Takes note of one.
    fn note(&self, event: &Event);
}

/// Several, each told of every event, in order.
impl Journal for Vec<std::sync::Arc<dyn Journal>> {
    fn note(&self, event: &Event) {
        self.iter().for_each(|journal| journal.note(event));
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    /// What one part of keygate writes another reads: each kind of event comes back from its JSON.
    #[test]
    fn every_event_comes_back_from_its_json() {
        let subject = || Subject::Key { id: 7, tenant: "acme".to_owned() };
        let change = Change {
            action: "set_status".to_owned(),
            actor: Actor::daemon("signal"),
            subject: Subject::Configuration,
            before: json!({"status": "STATUS_ACTIVE"}),
            after: Value::Null,
            reason: Some("unpaid".to_owned()),
        };
        let decision = Decision {
            code: "EXPIRED".to_owned(),
            subject: Some(subject()),
            cost: 2,
            peek: true,
            denied_by: Some("day".to_owned()),
            ip: Some("2001:db8::1".parse().expect("an address")),
            environment: None,
            count: 3,
        };
        let alert = Alert {
            id: "msg_1".to_owned(),
            kind: AlertKind::KeyExpiring,
            at_us: 5,
            subject: subject(),
            name: String::new(),
            summary: "soon".to_owned(),
            detail: json!({"days": 7}),
        };
        for what in [What::Change(change), What::Decision(decision), What::Alert(alert)] {
            let event = Event { at_us: 9, what };
            let text = serde_json::to_string(&event).expect("JSON");
            // No member twice: readers differ in what they make of that.
            let members: serde_json::Map<String, Value> =
                serde_json::from_str(&text).expect("an object");
            assert_eq!(
                text.matches("_us\":").count(),
                members.keys().filter(|name| name.ends_with("_us")).count()
            );
            assert_eq!(serde_json::from_str::<Event>(&text).expect("an event"), event, "{text}");
        }
    }
}
