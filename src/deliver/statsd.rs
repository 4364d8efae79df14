//! Alerts as counters of statsd.

use crate::event::AlertKind;

/// One more of a kind: `keygate.alerts.key_quota_threshold:1|c`. Names hold the kind alone, for a
/// name for each key would be a series for each key.
pub(super) fn counter(kind: AlertKind) -> String {
    format!("keygate.alerts.{}:1|c", kind.name().replace('.', "_"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_has_a_plain_name() {
        for kind in AlertKind::ALL {
            let counter = counter(*kind);
            let name = counter.strip_prefix("keygate.alerts.").and_then(|n| n.strip_suffix(":1|c"));
            let plain = |name: &str| name.bytes().all(|b| b.is_ascii_lowercase() || b == b'_');
            assert!(name.is_some_and(plain), "{counter}");
        }
        assert_eq!(counter(AlertKind::BruteForce), "keygate.alerts.daemon_brute_force:1|c");
    }
}
