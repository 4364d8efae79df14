//! An alert as JSON, for web hooks and for sinks, and what people read of it.

use serde::Serialize;
use serde_json::Value;

use crate::event::{Alert, Subject};
use crate::key::Time;

/// The body of a web hook (Standard Webhooks, "Payload structure"), and with the id a line of a
/// sink. The same alert has the same bytes at each attempt.
#[derive(Serialize)]
struct Body<'a> {
    /// A web hook has it in a header.
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<&'a str>,
    r#type: &'static str,
    timestamp: String,
    data: Data<'a>,
}

#[derive(Serialize)]
struct Data<'a> {
    subject: &'a Subject,
    #[serde(skip_serializing_if = "str::is_empty")]
    name: &'a str,
    summary: &'a str,
    #[serde(skip_serializing_if = "Value::is_null")]
    detail: &'a Value,
}

/// The body of a web hook.
pub(super) fn webhook(alert: &Alert) -> Result<Vec<u8>, serde_json::Error> {
    serde_json::to_vec(&body(None, alert))
}

/// One line, with its end; JSON has no other line end in it.
pub(super) fn line(alert: &Alert) -> Result<Vec<u8>, serde_json::Error> {
    let mut line = serde_json::to_vec(&body(Some(&alert.id), alert))?;
    line.push(b'\n');
    Ok(line)
}

fn body<'a>(id: Option<&'a str>, alert: &'a Alert) -> Body<'a> {
    Body {
        id,
        r#type: alert.kind.name(),
        timestamp: at(alert),
        data: Data {
            subject: &alert.subject,
            name: &alert.name,
            summary: &alert.summary,
            detail: &alert.detail,
        },
    }
}

/// When it was found, by RFC 3339.
pub(super) fn at(alert: &Alert) -> String {
    Time::from_micros(alert.at_us).to_string()
}

/// What an alert is about, for people.
pub(super) fn about(subject: &Subject) -> String {
    match subject {
        Subject::Key { id, tenant } => format!("key {id} of tenant {}", one_line(tenant)),
        Subject::Tenant { id } => format!("tenant {}", one_line(id)),
        Subject::Configuration => "the configuration".to_owned(),
        Subject::Daemon => "the daemon".to_owned(),
    }
}

/// A text without control characters and line ends: names come from records and may hold anything,
/// and must not begin a line or a header of their own.
pub(super) fn one_line(text: &str) -> String {
    let ends = |char: char| {
        // Ends of lines, and what has a reader see the text in another order.
        char.is_control()
            || matches!(char, '\u{2028}' | '\u{2029}' | '\u{61c}' | '\u{200e}' | '\u{200f}')
            || matches!(char, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    text.chars().map(|char| if ends(char) { ' ' } else { char }).collect()
}

/// The same, cut where it is longer than so many bytes.
pub(super) fn cut(text: &str, bytes_max: usize) -> String {
    let mut line = one_line(text);
    if line.len() > bytes_max {
        line.truncate(line.floor_char_boundary(bytes_max));
        line.push('…');
    }
    line
}

#[cfg(test)]
pub(super) mod tests {
    use serde_json::json;

    use super::*;
    use crate::event::AlertKind;

    pub(in crate::deliver) fn alert(id: &str) -> Alert {
        Alert {
            id: id.to_owned(),
            kind: AlertKind::QuotaThreshold,
            at_us: 1_795_609_805_250_000,
            subject: Subject::Key { id: 42, tenant: "acme".to_owned() },
            name: "billing \"prod\"\r\nBcc: x@example.org".to_owned(),
            summary: "80 % of the month's quota is used".to_owned(),
            detail: json!({"used": "80", "quota": "100"}),
        }
    }

    #[test]
    fn the_body_is_what_standard_webhooks_says() {
        let body = webhook(&alert("msg_1")).expect("JSON");
        let body: Value = serde_json::from_slice(&body).expect("JSON");
        assert_eq!(
            body,
            json!({
                "type": "key.quota_threshold",
                "timestamp": "2026-11-25T12:30:05.250Z",
                "data": {
                    "subject": {"kind": "key", "id": "42", "tenant": "acme"},
                    "name": "billing \"prod\"\r\nBcc: x@example.org",
                    "summary": "80 % of the month's quota is used",
                    "detail": {"used": "80", "quota": "100"},
                },
            })
        );
    }

    #[test]
    fn a_line_is_one_line() {
        let line = line(&alert("msg_1")).expect("JSON");
        assert_eq!(line.iter().position(|byte| *byte == b'\n'), Some(line.len() - 1));
        assert!(line.starts_with(b"{\"id\":\"msg_1\",\"type\":\"key.quota_threshold\","));
    }

    #[test]
    fn texts_for_people_cannot_begin_a_line() {
        for (text, expected) in [
            ("plain", "plain"),
            ("a\r\nBcc: b", "a  Bcc: b"),
            ("a\u{2028}b\u{7}\u{85}c", "a b  c"),
            ("schön", "schön"),
        ] {
            assert_eq!(one_line(text), expected);
        }
        assert_eq!((cut("äää", 3), cut("äää", 6)), ("ä…".to_owned(), "äää".to_owned()));
    }
}
