//! An event on one line, for people.

use std::path::Path;

use serde_json::Value;

use super::output::plain;
use crate::audit::{Note, Said};
use crate::event::{Actor, Alert, Change, Decision, Event, Refusal, Subject, What};
use crate::key::Time;

/// Longest value of a field that is shown whole, in characters.
const VALUE_CHARS: usize = 60;
/// Fields of a change that are shown each.
const FIELDS_SHOWN: usize = 8;

/// Whether lines have colours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Colours(bool);

impl Colours {
    /// As standard output is a terminal, and `NO_COLOR` does not say otherwise.
    pub(super) fn of_stdout() -> Self {
        use std::io::IsTerminal as _;
        Self(std::env::var_os("NO_COLOR").is_none() && std::io::stdout().is_terminal())
    }

    /// None.
    #[cfg(test)]
    pub(super) const fn none() -> Self {
        Self(false)
    }

    fn paint(self, code: u8, text: &str) -> String {
        if self.0 { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }
}

/// What a record of the audit log says.
pub(super) fn said_line(said: &Said, colours: Colours) -> String {
    match said {
        Said::Event(event) => event_line(event, colours),
        Said::Begin(begin) => {
            let what = format!("log      a file begins ({:?})", begin.cause).to_lowercase();
            format!("{} {}", time(begin.at_us), colours.paint(2, &what))
        }
        Said::Note(note) => {
            let (at_us, what) = match note {
                Note::Start { at_us, clean, cut_bytes, .. } => {
                    let how = if *clean { "" } else { " after a run that did not end in order" };
                    let cut = if *cut_bytes == 0 {
                        String::new()
                    } else {
                        format!(", {cut_bytes} bytes of a torn record were cut off")
                    };
                    (at_us, format!("log      the daemon starts{how}{cut}"))
                }
                Note::Stop { at_us } => (at_us, "log      the daemon stops".to_owned()),
                Note::Resumed { at_us } => {
                    (at_us, "log      the disk takes records again".to_owned())
                }
                Note::Lost { at_us, changes, decisions, alerts } => (
                    at_us,
                    format!(
                        "log      not recorded, because the queue was full: {changes} changes, \
                         {decisions} decisions, {alerts} alerts"
                    ),
                ),
            };
            format!("{} {}", time(*at_us), colours.paint(2, &what))
        }
    }
}

/// An event.
pub(super) fn event_line(event: &Event, colours: Colours) -> String {
    let what = match &event.what {
        What::Change(change) => change_line(change, colours),
        What::Decision(decision) => decision_line(decision, colours),
        What::Alert(alert) => alert_line(alert, colours),
        What::Refusal(refusal) => refusal_line(refusal, colours),
    };
    format!("{} {what}", time(event.at_us))
}

fn time(at_us: i64) -> String {
    Time::from_micros(at_us).to_string()
}

fn subject_text(subject: &Subject) -> String {
    match subject {
        Subject::Key { id, tenant } => format!("key {id} of {}", plain(tenant)),
        Subject::Tenant { id } => format!("tenant {}", plain(id)),
        Subject::Configuration => "the configuration".to_owned(),
        Subject::Daemon => "the daemon".to_owned(),
    }
}

fn actor_text(actor: &Actor) -> String {
    if let Some(why) = &actor.daemon {
        return format!("the daemon ({})", plain(why));
    }
    let program = actor.program.as_deref().and_then(|program| Path::new(program).file_name());
    let program = program.map(|name| format!(" {}", plain(&name.to_string_lossy())));
    let pid = actor.pid.map(|pid| format!("[{pid}]"));
    match (actor.uid, &actor.certificate, actor.address) {
        (Some(uid), ..) => {
            format!("uid {uid}{}{}", program.unwrap_or_default(), pid.unwrap_or_default())
        }
        (None, Some(certificate), Some(address)) => {
            format!("certificate {} from {address}", plain(certificate))
        }
        (None, Some(certificate), None) => format!("certificate {}", plain(certificate)),
        (None, None, Some(address)) => address.to_string(),
        (None, None, None) => "somebody".to_owned(),
    }
}

fn refusal_line(refusal: &Refusal, colours: Colours) -> String {
    let request = refusal.request.as_deref().unwrap_or("a connection");
    let lacks = refusal.lacks.map(|role| format!(", lacks {}", role.name()));
    let more = (refusal.count > 1).then(|| format!(", and {} before it", refusal.count - 1));
    format!(
        "{} {} on {} by {}{}{}",
        colours.paint(31, "refusal "),
        plain(request),
        plain(&refusal.socket),
        actor_text(&refusal.actor),
        lacks.unwrap_or_default(),
        more.unwrap_or_default()
    )
}

fn change_line(change: &Change, colours: Colours) -> String {
    let mut line = format!(
        "{} {} {} by {}",
        colours.paint(36, "change  "),
        plain(&change.action),
        subject_text(&change.subject),
        actor_text(&change.actor)
    );
    if let Some(reason) = &change.reason {
        line += &format!(" ({})", plain(reason));
    }
    let fields = fields(&change.before, &change.after);
    if !fields.is_empty() {
        line += &format!(": {}", fields.join(", "));
    }
    line
}

fn fields(before: &Value, after: &Value) -> Vec<String> {
    let (old, new) = (before.as_object(), after.as_object());
    let names: Vec<&String> = new.or(old).into_iter().flat_map(|fields| fields.keys()).collect();
    // All that a key was made with, or had when it was purged, is for --json.
    let (Some(old), Some(new)) = (old, new) else {
        let many = names.iter().take(FIELDS_SHOWN).map(|name| plain(name).into_owned());
        return many.chain((names.len() > FIELDS_SHOWN).then(|| "…".to_owned())).collect();
    };
    let shown = |value: Option<&Value>| short(value.unwrap_or(&Value::Null));
    let field = |name: &&String| {
        format!("{} {} → {}", plain(name), shown(old.get(*name)), shown(new.get(*name)))
    };
    let mut fields: Vec<String> =
        names.iter().filter(|name| **name != "revision").take(FIELDS_SHOWN).map(field).collect();
    fields.extend((names.len() > FIELDS_SHOWN + 1).then(|| "…".to_owned()));
    fields
}

fn short(value: &Value) -> String {
    let text = value.to_string();
    let mut chars = plain(&text).chars().collect::<Vec<_>>();
    if chars.len() > VALUE_CHARS {
        chars.truncate(VALUE_CHARS);
        chars.push('…');
    }
    chars.into_iter().collect()
}

fn decision_line(decision: &Decision, colours: Colours) -> String {
    let colour = if decision.code == "VALID" { 32 } else { 31 };
    let mut line = format!("{} {}", colours.paint(colour, "decision"), plain(&decision.code));
    if let Some(subject) = &decision.subject {
        line += &format!(" {}", subject_text(subject));
    }
    if let Some(limit) = &decision.denied_by {
        line += &format!(" by {}", plain(limit));
    }
    if let Some(ip) = decision.ip {
        line += &format!(" from {ip}");
    }
    if let Some(environment) = &decision.environment {
        line += &format!(" in {}", plain(environment));
    }
    if decision.subject.is_none() && decision.count > 1 {
        return line + &format!(", {} more that were not recorded each", decision.count);
    }
    line + &format!(", cost {}{}", decision.cost, if decision.peek { ", a peek" } else { "" })
}

fn alert_line(alert: &Alert, colours: Colours) -> String {
    format!(
        "{} {} {}: {}",
        colours.paint(33, "alert   "),
        alert.kind.name(),
        subject_text(&alert.subject),
        plain(&alert.summary)
    )
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_event_is_one_line_whatever_others_have_written_into_it() {
        let subject = Subject::Key { id: 7, tenant: "acme".to_owned() };
        let actor = Actor {
            uid: Some(1000),
            pid: Some(12),
            program: Some("/usr/bin/keygate".to_owned()),
            ..Actor::default()
        };
        let change = Change {
            action: "update".to_owned(),
            actor,
            subject: subject.clone(),
            before: json!({"name": "a\nb", "revision": 1}),
            after: json!({"name": "x".repeat(100), "revision": 2}),
            reason: Some("\x1b[31mred".to_owned()),
        };
        let decision = Decision {
            subject: Some(subject),
            cost: 2,
            denied_by: Some("day".to_owned()),
            ..Decision::unrecorded("QUOTA_EXCEEDED", 1)
        };
        for (what, expected) in [
            (
                What::Change(change),
                "change   update key 7 of acme by uid 1000 keygate[12] (\\u{1b}[31mred): name \
                 \"a\\nb\" → \"xxx",
            ),
            (What::Decision(decision), "decision QUOTA_EXCEEDED key 7 of acme by day, cost 2"),
            (
                What::Decision(Decision::unrecorded("NOT_FOUND", 9)),
                "decision NOT_FOUND, 9 more that were not recorded each",
            ),
        ] {
            let line = event_line(&Event { at_us: 0, what }, Colours::none());
            assert!(!line.contains(['\n', '\x1b']), "{line}");
            assert!(line.starts_with(&format!("1970-01-01T00:00:00Z {expected}")), "{line}");
        }
    }
}
