//! What records say: events, and what the log says of itself.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::frame::PAYLOAD_BYTES_MAX;
use crate::event::{Change, Event, What};

/// The end of a chain: a record's sequence, and its MAC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Link {
    /// Its sequence; 0 is that of no record.
    pub sequence: u64,
    /// Its MAC, in hexadecimal in JSON.
    #[serde(with = "hexadecimal")]
    pub mac: [u8; 32],
}

/// Why a file was begun.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Cause {
    /// There was none.
    First,
    /// The one before had its size.
    Size,
    /// The one before had its age.
    Age,
    /// The one before could not be written. What stands there behind [`Begin::previous`] was not
    /// accepted, and what stands there behind [`Begin::sure`] may be lost.
    Failure,
    /// The one before was found damaged at a start.
    Damage,
    /// At a start the head was missing, or a place of it was spoiled: what stood behind the last
    /// record that was found may have been removed, and nobody can tell any more.
    Head,
}

/// The first record of a file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Begin {
    /// Of the format.
    pub version: u32,
    /// Why there is a new file.
    pub cause: Cause,
    /// When, microseconds since 1970.
    pub at_us: i64,
    /// The record before: a chain goes on over files, also when those before are gone.
    pub previous: Link,
    /// The last record that was known to be on disk.
    pub sure: u64,
    /// Records up to this one were removed, or are about to be, because their time is over.
    pub removed: u64,
    /// The release.
    pub written_by: String,
}

/// What the log says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "note", rename_all = "snake_case")]
pub enum Note {
    /// A daemon goes on here.
    Start {
        /// When, microseconds since 1970.
        at_us: i64,
        /// Whether the run before had ended with [`Note::Stop`].
        clean: bool,
        /// Bytes of a record that was not whole and was cut off.
        cut_bytes: u64,
        /// A keyed digest of the configuration in force: another one is another configuration.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        configuration: String,
    },
    /// A daemon has ended in order.
    Stop {
        /// When, microseconds since 1970.
        at_us: i64,
    },
    /// The disk takes records again.
    Resumed {
        /// When, microseconds since 1970.
        at_us: i64,
    },
    /// What could not be taken, because the queue was full.
    Lost {
        /// When it is said, microseconds since 1970.
        at_us: i64,
        /// Changes.
        changes: u64,
        /// Decisions, none of them of a key that demands audit and was answered as valid.
        decisions: u64,
        /// Alerts.
        alerts: u64,
    },
}

/// What any record says.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Said {
    /// See [`Begin`].
    Begin(Begin),
    /// See [`Note`].
    Note(Note),
    /// See [`Event`].
    Event(Box<Event>),
}

/// What a value is replaced by that would make a record too long.
fn cut(value: &Value) -> Value {
    format!("(cut: {} bytes)", value.to_string().len()).into()
}

/// An event as JSON that fits a record: values of a change that are too long are cut, and say so.
#[must_use]
pub fn to_json(event: &Event) -> Vec<u8> {
    let json = |event: &Event| serde_json::to_vec(event).unwrap_or_default();
    let whole = json(event);
    if whole.len() <= PAYLOAD_BYTES_MAX {
        return whole;
    }
    let mut event = event.clone();
    for value_bytes_max in [1024, 128, 0] {
        match &mut event.what {
            What::Change(change) => shorten(change, value_bytes_max),
            What::Alert(alert) => alert.detail = cut(&alert.detail),
            What::Decision(_) | What::Refusal(_) => {}
        }
        let short = json(&event);
        if short.len() <= PAYLOAD_BYTES_MAX {
            return short;
        }
    }
    // No name, reason or summary has a tenth of that: what makes them bounds them.
    Vec::new()
}

fn shorten(change: &mut Change, value_bytes_max: usize) {
    for side in [&mut change.before, &mut change.after] {
        let Value::Object(fields) = side else { continue };
        if value_bytes_max == 0 {
            let gone = Value::Object(std::mem::take(fields));
            *side = cut(&gone);
            continue;
        }
        let long = |value: &Value| value.to_string().len() > value_bytes_max;
        let shorter = |(name, value): (String, Value)| {
            let value = if long(&value) { cut(&value) } else { value };
            (name, value)
        };
        *fields = std::mem::take(fields).into_iter().map(shorter).collect::<Map<_, _>>();
    }
}

mod hexadecimal {
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    use super::super::mac::Mac;

    pub(super) fn serialize<S: Serializer>(mac: &Mac, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&crate::key::digest::hex(mac))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Mac, D::Error> {
        let text = <std::borrow::Cow<'de, str>>::deserialize(from)?;
        crate::key::digest::parse_hex(&text).ok_or_else(|| D::Error::custom("no MAC"))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::event::{Actor, Subject};

    fn change(before: Value, after: Value) -> Event {
        let subject = Subject::Configuration;
        let (action, actor, reason) = ("reload".to_owned(), Actor::default(), None);
        let what = What::Change(Change { action, actor, subject, before, after, reason });
        Event { at_us: 1, what }
    }

    #[test]
    fn a_long_change_is_cut_and_says_so() {
        let long = "x".repeat(60_000);
        let event = change(json!({"a": long, "b": 1}), json!({"a": long, "b": 2}));
        let json: Value = serde_json::from_slice(&to_json(&event)).expect("JSON");
        assert_eq!(json["before"], json!({"a": "(cut: 60002 bytes)", "b": 1}));
        assert_eq!(json["after"]["b"], 2);
        let many: Map<String, Value> =
            (0..20_000).map(|n| (format!("name-{n}"), json!(n))).collect();
        let bytes = to_json(&change(Value::Null, Value::Object(many)));
        assert!((1..=PAYLOAD_BYTES_MAX).contains(&bytes.len()));
        let json: Value = serde_json::from_slice(&bytes).expect("JSON");
        assert!(json["after"].as_str().is_some_and(|text| text.starts_with("(cut: ")));
        let short = change(json!({"a": 1}), json!({"a": 2}));
        let back: Event = serde_json::from_slice(&to_json(&short)).expect("an event");
        assert_eq!(back, short);
    }
}
