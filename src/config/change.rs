//! What is different between two configurations, and which of it can be applied while the daemon
//! runs.

use serde_json::{Map, Value};

use super::Config;
use super::bounds::dotted;

/// Settings that a reload applies. All others size, place or guard something when the daemon starts,
/// one that is added later among them until it stands here and is applied.
const LIVE: &[&str] = &[
    "tiers",
    "profiles",
    "regions",
    "sinks",
    "keys.expiry_warning_days",
    "keys.rotation_grace_ms",
];

/// Longest rendering of a value in a line.
const VALUE_BYTES_MAX: usize = 96;

/// One setting that has another value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// The setting, with its section.
    pub name: String,
    /// Whether it needs a restart.
    pub restart: bool,
    /// For people: `tiers.free.burst: 100 → 200`.
    pub line: String,
}

/// What is different, in the order of names.
#[must_use]
pub fn changes(before: &Config, after: &Config) -> Vec<Change> {
    let mut changes = Vec::new();
    // Numbers, texts, lists and tables by text: nothing of it can fail to become JSON.
    let of = |config| serde_json::to_value(config).unwrap_or_default();
    compare(&mut Vec::new(), Some(&of(before)), Some(&of(after)), &mut changes);
    changes
}

fn compare(
    path: &mut Vec<String>,
    before: Option<&Value>,
    after: Option<&Value>,
    changes: &mut Vec<Change>,
) {
    match (before, after) {
        (Some(Value::Object(before)), Some(Value::Object(after))) => {
            for name in names(before, after) {
                path.push(name.clone());
                compare(path, before.get(name), after.get(name), changes);
                path.pop();
            }
        }
        (before, after) if before == after => {}
        (before, after) => {
            let name = dotted(path);
            let line = format!("{name}: {} → {}", shown(before), shown(after));
            changes.push(Change { restart: !is_live(path), name, line });
        }
    }
}

/// The names of both, each once.
fn names<'a>(before: &'a Map<String, Value>, after: &'a Map<String, Value>) -> Vec<&'a String> {
    let mut names: Vec<_> = before.keys().chain(after.keys()).collect();
    names.sort_unstable();
    names.dedup();
    names
}

fn is_live(path: &[String]) -> bool {
    LIVE.iter().any(|live| {
        let mut live = live.split('.');
        let mut path = path.iter();
        live.all(|part| path.next().is_some_and(|name| name == part))
    })
}

fn shown(value: Option<&Value>) -> String {
    let mut text = match value {
        None | Some(Value::Null) => return "not set".to_owned(),
        Some(value) => value.to_string(),
    };
    if text.len() > VALUE_BYTES_MAX {
        text.truncate(text.floor_char_boundary(VALUE_BYTES_MAX));
        text.push('…');
    }
    text
}
