//! What happens that somebody may want to know: changes, decisions, alerts, refusals. Pure values, made where
//! they happen, and read by whoever keeps them (the audit log), sends them (alerts) or shows them
//! (`keygate watch`).

mod actor;
mod alert;
mod change;
mod refusal;

pub use actor::Actor;
pub use alert::{Alert, AlertKind, Destination};
pub use change::{Change, Decision, IMPORT, KEY_IDS, Subject};
pub use refusal::Refusal;

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
    /// Somebody had no right to what was asked.
    Refusal(Refusal),
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
        let refusal = Refusal {
            actor: Actor {
                certificate: Some("ab".repeat(32)),
                address: Some("[2001:db8::1]:5".parse().expect("an address")),
                ..Actor::default()
            },
            socket: "tls".to_owned(),
            request: None,
            lacks: Some(keygate_protocol::Role::Manage),
            has: vec![keygate_protocol::Role::Check],
            count: 2,
        };
        let refusal = What::Refusal(refusal.of_request(keygate_protocol::Opcode::KeyCreate));
        for what in [What::Change(change), What::Decision(decision), What::Alert(alert), refusal] {
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
