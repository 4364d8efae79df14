//! The rules of a key about where a request comes from and what it is for, compiled. They are
//! judged in `engine/access.rs`, in the order of the specification (SPEC §6.3, "Facts and rules").

use super::address::{self, Blocks};
use super::domain::{self, Domains};
use super::form::fingerprint;
use super::names::{self, Names, between_commas};
use super::record::KeyView;

/// Each rule that a key may have; `None` where it has not.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Access {
    /// Whether the request must have come by HTTPS.
    pub https: bool,
    /// Whether the key is a test key, which does not pass in production.
    pub test_key: bool,
    /// Environments that may be called.
    pub environments: Option<Names>,
    /// Addresses that the client may have.
    pub addresses: Option<Blocks>,
    /// Hosts that the request may come from.
    pub domains: Option<Domains>,
    /// Regions that may be called.
    pub regions: Option<Names>,
    /// Integrations that may call.
    pub integrations: Option<Names>,
    /// The version of the API that the key is pinned to.
    pub api_version: Option<Box<str>>,
    /// Features that may be asked for.
    pub features: Option<Names>,
}

impl Access {
    /// Compiles a record's rules; `None` when it has none. A rule that is set and has no sound
    /// entry is still a rule: it lets nothing pass.
    #[must_use]
    pub fn compile(record: &KeyView<'_>) -> Option<Self> {
        let named = |list: &[&str]| (!list.is_empty()).then(|| Names::new(list.iter().copied()));
        let addresses = &record.allowed_ips;
        let domains = &record.allowed_domains;
        let regions = record.data_residency;
        let version = record.api_version;
        let access = Self {
            https: record.enforce_https,
            test_key: record.is_test_key,
            environments: named(&record.allowed_environments),
            addresses: (!addresses.is_empty()).then(|| Blocks::new(addresses.iter().copied())),
            domains: (!domains.is_empty()).then(|| Domains::new(domains.iter().copied())),
            regions: (!regions.is_empty()).then(|| Names::new(between_commas(regions))),
            integrations: named(&record.approved_integrations),
            api_version: (!version.is_empty()).then(|| version.into()),
            features: named(&record.supported_features),
        };
        (access != Self::default()).then_some(access)
    }
}

/// Whether an entry of a rule can match nothing, as one that was written before entries were
/// checked: where no other matches, the rule denies all.
#[must_use]
pub fn has_unsound_entry(record: &KeyView<'_>) -> bool {
    type Check = fn(&str) -> Result<(), String>;
    let lists: [(&[&str], Check); 5] = [
        (&record.allowed_environments, names::check),
        (&record.allowed_ips, address::check),
        (&record.allowed_domains, domain::check),
        (&record.approved_integrations, names::check),
        (&record.supported_features, names::check),
    ];
    let version = record.api_version;
    let certificate = record.client_certificate_hash;
    lists.iter().any(|(list, check)| list.iter().any(|entry| check(entry).is_err()))
        || names::check_between_commas(record.data_residency).is_err()
        || (!version.is_empty() && names::check(version).is_err())
        || (!certificate.is_empty() && fingerprint(certificate).is_none())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::KeyRecord;

    #[test]
    fn a_record_without_rules_compiles_to_none() {
        assert_eq!(Access::compile(&KeyRecord::default().view()), None);
        let list = || vec!["x".to_owned()];
        let rules = [
            KeyRecord { enforce_https: true, ..KeyRecord::default() },
            KeyRecord { is_test_key: true, ..KeyRecord::default() },
            KeyRecord { allowed_environments: list(), ..KeyRecord::default() },
            KeyRecord { allowed_ips: list(), ..KeyRecord::default() },
            KeyRecord { allowed_domains: list(), ..KeyRecord::default() },
            KeyRecord { data_residency: ",".to_owned(), ..KeyRecord::default() },
            KeyRecord { approved_integrations: list(), ..KeyRecord::default() },
            KeyRecord { api_version: "v1".to_owned(), ..KeyRecord::default() },
            KeyRecord { supported_features: list(), ..KeyRecord::default() },
        ];
        for (at, record) in rules.iter().enumerate() {
            assert!(Access::compile(&record.view()).is_some(), "rule {at}");
        }
    }

    #[test]
    fn an_entry_that_can_match_nothing_is_told() {
        let list = |entry: &str| vec!["10.0.0.1".to_owned(), entry.to_owned()];
        let rules = |entry: &str| {
            [
                KeyRecord { allowed_environments: list(entry), ..KeyRecord::default() },
                KeyRecord { allowed_ips: list(entry), ..KeyRecord::default() },
                KeyRecord { allowed_domains: list(entry), ..KeyRecord::default() },
                KeyRecord { data_residency: list(entry).join(","), ..KeyRecord::default() },
                KeyRecord { approved_integrations: list(entry), ..KeyRecord::default() },
                KeyRecord { api_version: entry.to_owned(), ..KeyRecord::default() },
                KeyRecord { supported_features: list(entry), ..KeyRecord::default() },
            ]
        };
        assert!(!has_unsound_entry(&KeyRecord::default().view()));
        for (at, record) in rules("10.0.0.2").iter().enumerate() {
            assert!(!has_unsound_entry(&record.view()), "rule {at}");
        }
        for (at, record) in rules(&"n".repeat(65)).iter().enumerate() {
            assert!(has_unsound_entry(&record.view()), "rule {at}");
        }
    }

    #[test]
    fn a_rule_without_a_sound_entry_lets_nothing_pass() {
        let record = KeyRecord {
            allowed_ips: vec!["10.0.0.7/8".to_owned()],
            allowed_domains: vec!["https://app.example.com".to_owned()],
            data_residency: " , ".to_owned(),
            ..KeyRecord::default()
        };
        let access = Access::compile(&record.view()).expect("rules");
        let address = "10.0.0.7".parse().expect("an address");
        assert!(!access.addresses.expect("a rule").have(address));
        assert!(!access.domains.expect("a rule").have(b"https://app.example.com"));
        assert!(!access.regions.expect("a rule").have(b""));
    }
}
