//! What is different between two configurations, and which of it can be applied while the daemon
//! runs.

use serde_json::{Map, Value};

use super::Config;
use super::bounds::dotted;

/// Settings that a reload applies. All others size, place or guard something when the daemon starts,
/// one that is added later among them until it stands here and is applied.
pub const LIVE: &[&str] = &[
    "tiers",
    "profiles",
    "regions",
    "sinks",
    "alerts",
    "keys.expiry_warning_days",
    "keys.rotation_grace_ms",
    "keys.rotation_grace_max_ms",
    "keys.deny_rotation_overdue",
    "keys.deleted_retention_days",
    "ledger.unavailable",
    "signing",
    "tls.certificate_file",
    "tls.key_file",
    "tls.client_ca_file",
    "tls.client_crl_file",
    "tls.client_certificates",
];

/// Longest rendering of a value in a line.
const VALUE_BYTES_MAX: usize = 96;

/// One setting that has another value.
#[derive(Debug, Clone, PartialEq)]
pub struct Change {
    /// The setting, with its section.
    pub name: String,
    /// Whether it needs a restart.
    pub restart: bool,
    /// For people: `tiers.free.burst: 100 → 200`.
    pub line: String,
    /// The value that it had; `null` where it was not set.
    pub before: Value,
    /// The value that it has; `null` where it is not set.
    pub after: Value,
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
            let told = |value: Option<&Value>| redacted(value.cloned().unwrap_or_default());
            let (before, after) = (told(before), told(after));
            let line = format!("{name}: {} → {}", shown(&before), shown(&after));
            changes.push(Change { restart: !is_live(path), name, line, before, after });
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

/// A value without what stands in its URLs before and behind the host: either may be a secret.
fn redacted(value: Value) -> Value {
    match value {
        Value::String(text) if text.contains("://") => host_of(&text).into(),
        Value::Array(all) => all.into_iter().map(redacted).collect(),
        Value::Object(all) => all.into_iter().map(|(name, one)| (name, redacted(one))).collect(),
        other => other,
    }
}

fn host_of(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else { return url.to_owned() };
    let end = rest.find(['/', '?', '#', '\\']).unwrap_or(rest.len());
    let host = rest[..end].rsplit('@').next().unwrap_or_default();
    let more = if end < rest.len() { "/…" } else { "" };
    format!("{scheme}://{host}{more}")
}

fn shown(value: &Value) -> String {
    let mut text = match value {
        Value::Null => return "not set".to_owned(),
        value => value.to_string(),
    };
    if text.len() > VALUE_BYTES_MAX {
        text.truncate(text.floor_char_boundary(VALUE_BYTES_MAX));
        text.push('…');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::super::document;
    use super::*;

    /// Beginnings of lines, and whether each needs a restart.
    type Lines = &'static [(&'static str, bool)];

    #[test]
    fn of_a_url_the_host_is_told_and_that_another_is_set() {
        let of = |hook: &str| {
            let text = format!("alerts.operator_webhook = 'https://{hook}'");
            document::parse(&text).expect("a configuration")
        };
        let told = changes(&of("hooks.example.org/T/SECRET?k=SECRET"), &of("b.example"));
        let [change] = told.as_slice() else { panic!("{told:?}") };
        let line =
            "alerts.operator_webhook: \"https://hooks.example.org/…\" → \"https://b.example\"";
        assert_eq!(change.line, line);
        assert!(!format!("{told:?}").contains("SECRET"), "{told:?}");
        let same = changes(&of("hooks.example.org/T/SECRET"), &of("hooks.example.org/T/SECRET2"));
        assert_eq!(same.len(), 1);
        assert_eq!((&same[0].before, &same[0].after), (&same[0].after, &same[0].before));
    }

    #[test]
    fn changes_are_told_by_name_with_both_values() {
        let of = |text: &str| document::parse(text).expect("a configuration");
        #[rustfmt::skip]
        let cases: &[(&str, &str, Lines)] = &[
            ("", "", &[]),
            ("threads = 0", "", &[]),
            ("", "threads = 2", &[("threads: 0 → 2", true)]),
            ("", "[limits]\nkeys_max = 5\nidle_timeout_ms = 100", &[("limits.idle_timeout_ms: 600000 → 100", true), ("limits.keys_max: 20000000 → 5", true)]),
            ("", "[keys]\nexpiry_warning_days = 1", &[("keys.expiry_warning_days: 14 → 1", false)]),
            ("", "[keys]\nrotation_grace_ms = 0", &[("keys.rotation_grace_ms: 86400000 → 0", false)]),
            ("[tiers.a]\nburst=1\nrequests_per_second=1", "[tiers.a]\nrequests_per_second=2", &[("tiers.a.burst: 1 → not set", false), ("tiers.a.requests_per_second: 1 → 2", false)]),
            ("[tiers.a]", "[tiers.'b c']", &[("tiers.a: {} → not set", false), ("tiers.\"b c\": not set → {}", false)]),
            ("", "[tiers.a]\nslot_ttl_seconds=5\nlimits=[{name='x',count=1,period='60m'}]", &[("tiers.a: not set → {\"slot_ttl_seconds\":5,\"limits\":[{\"name\":\"x\",\"count\":1,\"period\":\"1h\"}]}", false)]),
            ("[profiles.a]\nrequires=['name']", "[profiles.a]\nrequires=[]", &[("profiles.a.requires: [\"name\"] → []", false)]),
            ("regions=['a']", "regions=['a','b']", &[("regions: [\"a\"] → [\"a\",\"b\"]", false)]),
            ("", "ledger.unavailable='allow'", &[("ledger.unavailable: \"deny\" → \"allow\"", false)]),
            ("", "alerts.sink_timeout_ms=50\nalerts.smtp.host='mx.example.org'\nalerts.smtp.from='a@example.org'",
             &[("alerts.sink_timeout_ms: 1000 → 50", false), ("alerts.smtp.from: ", false), ("alerts.smtp.host: ", false)]),
            ("", "tls.certificate_file='/c'", &[("tls.certificate_file: \"\" → \"/c\"", false)]),
            ("", "tls.listen=['127.0.0.1:1']\ntls.key_file='/k'\ntls.certificate_file='/c'", &[("tls.certificate_file", false), ("tls.key_file", false), ("tls.listen", true)]),
            ("", "[[rights]]\nuid=1\nroles=['read']\nall_tenants=true", &[("rights: [] → ", true)]),
            ("", "[sinks.s]\nkind='journald'", &[("sinks.s: not set → {\"kind\":\"journald\"}", false)]),
            ("", "data_dir = '/x'\nsocket='/y'\nadmin_socket='/z'\ntcp=['127.0.0.1:1']\ntoken_brand='ab'\nstore.cache_bytes=1048576",
             &[("admin_socket", true), ("data_dir", true), ("socket", true), ("store.cache_bytes", true), ("tcp", true), ("token_brand", true)]),
        ];
        for (before, after, expected) in cases {
            let changes = changes(&of(before), &of(after));
            assert_eq!(changes.len(), expected.len(), "{before:?} {after:?}: {changes:#?}");
            for (change, (line, restart)) in changes.iter().zip(*expected) {
                assert!(change.line.starts_with(line), "{line}: {change:?}");
                assert_eq!(change.restart, *restart, "{line}");
            }
        }
    }
}
