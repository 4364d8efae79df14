//! The rules of a key about where a request comes from and what it is for, compiled. They are
//! judged in `engine/access.rs`, in the order of the specification (SPEC §6.3, "Facts and rules").

use super::address::Blocks;
use super::domain::Domains;
use super::names::{Names, between_commas};
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
        let names = |list: &[&str]| (!list.is_empty()).then(|| Names::new(list.iter().copied()));
        let addresses = &record.allowed_ips;
        let domains = &record.allowed_domains;
        let regions = record.data_residency;
        let version = record.api_version;
        let access = Self {
            https: record.enforce_https,
            test_key: record.is_test_key,
            environments: names(&record.allowed_environments),
            addresses: (!addresses.is_empty()).then(|| Blocks::new(addresses.iter().copied())),
            domains: (!domains.is_empty()).then(|| Domains::new(domains.iter().copied())),
            regions: (!regions.is_empty()).then(|| Names::new(between_commas(regions))),
            integrations: names(&record.approved_integrations),
            api_version: (!version.is_empty()).then(|| version.into()),
            features: names(&record.supported_features),
        };
        (access != Self::default()).then_some(access)
    }
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
