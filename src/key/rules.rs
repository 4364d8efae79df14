//! What the configuration says of keys: tiers, profiles, regions, sinks. Given to whoever writes
//! records, which must not contradict it, and to the compile, which takes limits from tiers.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use super::allowance::{Allowance, rate_and_burst};
use super::json::FieldError;
use super::limits::check_burst;
use super::names::between_commas;
use super::record::{Class, KeyRecord, KeyView};

/// Names that a refusal lists; there may be a thousand.
const NAMES_SHOWN: usize = 20;

/// The names that records may use, and what stands behind them. Empty unless configured.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Rules {
    /// Billing tiers by name.
    pub tiers: BTreeMap<String, Allowance>,
    /// Compliance profiles by name: the fields that each demands.
    pub profiles: BTreeMap<String, Vec<String>>,
    /// Regions that `data_residency` may name; empty for any.
    pub regions: BTreeSet<String>,
    /// Sinks that `monitoring_integrations` may name.
    pub sinks: BTreeSet<String>,
}

impl Rules {
    /// What a key may use in all; `None` when its tier is not there.
    #[must_use]
    pub fn allowance(&self, record: &KeyView<'_>) -> Option<Allowance> {
        let own = Allowance::of(record);
        match record.billing_tier {
            "" => Some(own),
            tier => self.tiers.get(tier).map(|tier| own.or(tier)),
        }
    }

    /// Shows that a record names nothing unknown and has what its profiles demand.
    ///
    /// # Errors
    /// [`FieldError`] with the names that there are, or the fields that are lacking.
    pub fn check(&self, record: &KeyRecord) -> Result<(), FieldError> {
        let tier = &record.billing_tier;
        if !tier.is_empty() && !self.tiers.contains_key(tier) {
            return Err(unknown(&TIER, tier, self.tiers.keys()));
        }
        let (rate, burst) = self.rate_and_burst(record);
        check_burst(rate, burst).map_err(|reason| FieldError::of("burst", reason))?;
        let mut profiles = record.compliance_standards.iter();
        if let Some(name) = profiles.find(|name| !self.profiles.contains_key(*name)) {
            return Err(unknown(&PROFILE, name, self.profiles.keys()));
        }
        let mut sinks = record.monitoring_integrations.iter();
        if let Some(name) = sinks.find(|name| !self.sinks.contains(*name)) {
            return Err(unknown(&SINK, name, self.sinks.iter()));
        }
        let mut regions = between_commas(&record.data_residency);
        if !self.regions.is_empty()
            && let Some(name) = regions.find(|name| !self.regions.contains(*name))
        {
            return Err(unknown(&REGION, name, self.regions.iter()));
        }
        self.check_profiles(record)
    }

    /// The requests per second that a key has, its own or its tier's, and what it admits at once if
    /// it is not as many.
    #[must_use]
    pub fn rate_and_burst(&self, record: &KeyRecord) -> (Option<u32>, Option<u64>) {
        let own = (record.requests_per_second, record.burst);
        rate_and_burst(own, self.tiers.get(&record.billing_tier))
    }

    fn check_profiles(&self, record: &KeyRecord) -> Result<(), FieldError> {
        for name in &record.compliance_standards {
            let demanded = self.profiles.get(name).map(Vec::as_slice).unwrap_or_default();
            let lacking: Vec<&str> = demanded
                .iter()
                .map(String::as_str)
                .filter(|field| !record.is_set(field).unwrap_or(false))
                .collect();
            if !lacking.is_empty() {
                return Err(FieldError::of(
                    "compliance_standards",
                    format!(
                        "the profile {name:?} demands {}, and this record leaves unset: {}; set \
                         them, or leave the profile out",
                        demanded.join(", "),
                        lacking.join(", ")
                    ),
                ));
            }
        }
        Ok(())
    }
}

/// A kind of name that the configuration gives.
struct Kind {
    field: &'static str,
    noun: &'static str,
    /// What in the configuration makes such a name.
    section: Section,
}

enum Section {
    Table(&'static str),
    Regions,
}

const TIER: Kind = Kind { field: "billing_tier", noun: "tier", section: Section::Table("tiers") };
const PROFILE: Kind =
    Kind { field: "compliance_standards", noun: "profile", section: Section::Table("profiles") };
const SINK: Kind =
    Kind { field: "monitoring_integrations", noun: "sink", section: Section::Table("sinks") };
const REGION: Kind = Kind { field: "data_residency", noun: "region", section: Section::Regions };

fn unknown<'a>(
    kind: &Kind,
    name: &str,
    known: impl ExactSizeIterator<Item = &'a String>,
) -> FieldError {
    let add = match kind.section {
        Section::Table(table) => format!("[{table}.{}]", TomlKey(name)),
        Section::Regions => format!("{name:?} to `regions`"),
    };
    let noun = kind.noun;
    let reason = format!(
        "there is no {noun} {name:?}; {}; add {add} to the daemon's configuration, and \
         `keygate reload` applies it",
        Known { noun, names: &list(known) }
    );
    FieldError::of(kind.field, reason)
}

/// Some names for people, cut short where they are many.
#[must_use]
pub fn list<'a>(names: impl ExactSizeIterator<Item = &'a String>) -> String {
    let all = names.len();
    let mut shown: Vec<&str> = names.take(NAMES_SHOWN).map(String::as_str).collect();
    let more = format!("and {} more", all.saturating_sub(NAMES_SHOWN));
    if all > NAMES_SHOWN {
        shown.push(&more);
    }
    shown.join(", ")
}

struct Known<'a> {
    noun: &'static str,
    names: &'a str,
}

impl fmt::Display for Known<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.names {
            "" => write!(f, "the configuration has no {}s", self.noun),
            names => write!(f, "those there are: {names}"),
        }
    }
}

/// A name as a key of TOML: quoted where it must be.
#[derive(Debug, Clone, Copy)]
pub struct TomlKey<'a>(pub &'a str);

impl fmt::Display for TomlKey<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bare = |byte: u8| byte.is_ascii_alphanumeric() || b"_-".contains(&byte);
        if !self.0.is_empty() && self.0.bytes().all(bare) {
            f.write_str(self.0)
        } else {
            write!(f, "{:?}", self.0)
        }
    }
}

impl KeyRecord {
    /// Whether a profile may demand this field: a writer sets it, and it can be unset.
    #[must_use]
    pub fn may_be_demanded(name: &str) -> bool {
        let of_writer = |class| class != Class::Derived;
        // Every key has a status and a tenant.
        !matches!(name, "status" | "tenant_id" | "compliance_standards")
            && Self::FIELDS.iter().any(|spec| spec.name == name && of_writer(spec.class))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules() -> Rules {
        let demanded = ["enforce_https", "allowed_ips", "requests_per_day", "support_contact"];
        Rules {
            tiers: [("free".to_owned(), Allowance::default())].into(),
            profiles: [
                ("PCI DSS".to_owned(), demanded.map(str::to_owned).to_vec()),
                ("SOC2".to_owned(), Vec::new()),
            ]
            .into(),
            regions: ["eu-west-1".to_owned(), "eu-west-2".to_owned()].into(),
            sinks: ["statsd".to_owned()].into(),
        }
    }

    #[test]
    fn a_key_has_its_own_limits_and_its_tiers_for_what_it_leaves_unset() {
        let tier = Allowance {
            requests_per_second: Some(100),
            burst: Some(500),
            requests_per_day: Some(1000),
            max_uses: Some(7),
            ..Allowance::default()
        };
        let rules = Rules { tiers: [("t".to_owned(), tier.clone())].into(), ..Rules::default() };
        let record = |change: fn(&mut KeyRecord)| {
            let mut record = KeyRecord { billing_tier: "t".to_owned(), ..KeyRecord::default() };
            change(&mut record);
            rules.allowance(&record.view())
        };
        assert_eq!(record(|_| {}), Some(tier));
        let own = record(|r| (r.requests_per_second, r.max_uses) = (Some(5), Some(0)));
        let own = own.expect("the tier is there");
        assert_eq!((own.requests_per_second, own.burst), (Some(5), None), "its own rate's burst");
        assert_eq!((own.requests_per_day, own.max_uses), (Some(1000), Some(0)));
        assert_eq!(own.monthly_request_quota, None);
        assert_eq!(record(|r| r.billing_tier.clear()), Some(Allowance::default()));
        assert_eq!(record(|r| r.billing_tier = "gone".to_owned()), None);
    }

    #[test]
    fn a_burst_of_its_own_goes_with_the_tiers_rate_and_must_come_back_in_time() {
        let tier = Allowance { requests_per_second: Some(1), burst: Some(9), ..Default::default() };
        let rules = Rules { tiers: [("t".to_owned(), tier)].into(), ..Rules::default() };
        for (rate, burst, expected, good) in [
            (None, None, (Some(1), Some(9)), true),
            (None, Some(5), (Some(1), Some(5)), true),
            (Some(2), None, (Some(2), None), true),
            (Some(1 << 30), Some(1 << 62), (Some(1 << 30), Some(1 << 62)), true),
            (None, Some(1 << 62), (Some(1), Some(1 << 62)), false),
        ] {
            let record = KeyRecord {
                billing_tier: "t".to_owned(),
                requests_per_second: rate,
                burst,
                ..KeyRecord::default()
            };
            assert_eq!(rules.rate_and_burst(&record), expected);
            let whole = rules.allowance(&record.view()).expect("the tier is there");
            assert_eq!((whole.requests_per_second, whole.burst), expected);
            let checked = rules.check(&record).map_err(|error| error.field);
            assert_eq!(checked, if good { Ok(()) } else { Err(Some("burst".to_owned())) });
        }
    }

    #[test]
    fn what_is_not_configured_is_refused_with_what_there_is_and_what_to_add() {
        type Change = fn(&mut KeyRecord);
        let cases: [(Change, &str, &[&str]); 7] = [
            (
                |r| r.billing_tier = "gold".to_owned(),
                "billing_tier",
                &["no tier \"gold\"", "free", "[tiers.gold]", "keygate reload"],
            ),
            (
                |r| r.compliance_standards = vec!["SOC2".to_owned(), "ISO 27001".to_owned()],
                "compliance_standards",
                &["no profile \"ISO 27001\"", "PCI DSS, SOC2", "[profiles.\"ISO 27001\"]"],
            ),
            (
                |r| r.monitoring_integrations = vec!["journald".to_owned()],
                "monitoring_integrations",
                &["no sink \"journald\"", "statsd", "[sinks.journald]"],
            ),
            (
                |r| r.data_residency = "eu-west-1, us-east-1".to_owned(),
                "data_residency",
                &["no region \"us-east-1\"", "eu-west-1, eu-west-2", "`regions`"],
            ),
            (
                |r| r.compliance_standards = vec!["PCI DSS".to_owned()],
                "compliance_standards",
                &[
                    "\"PCI DSS\"",
                    "unset: enforce_https, allowed_ips, requests_per_day, support_contact",
                ],
            ),
            (
                |r| {
                    r.compliance_standards = vec!["PCI DSS".to_owned()];
                    r.enforce_https = true;
                    r.allowed_ips = vec!["10.0.0.1".to_owned()];
                    r.requests_per_day = Some(0);
                },
                "compliance_standards",
                &["unset: support_contact"],
            ),
            (
                |r| r.compliance_standards = vec!["pci dss".to_owned()],
                "compliance_standards",
                &["no profile \"pci dss\""],
            ),
        ];
        for (change, field, words) in cases {
            let mut record = KeyRecord::default();
            change(&mut record);
            let error = rules().check(&record).expect_err(field);
            assert_eq!(error.field.as_deref(), Some(field));
            for words in words {
                assert!(error.reason.contains(words), "nothing of {words:?} in {error}");
            }
        }
        let nothing = Rules::default();
        let record = KeyRecord { billing_tier: "gold".to_owned(), ..KeyRecord::default() };
        let error = nothing.check(&record).expect_err("nothing is known").to_string();
        assert!(error.contains("the configuration has no tiers; add [tiers.gold]"), "{error}");
    }

    #[test]
    fn what_is_configured_passes_and_without_regions_any_does() {
        let record = KeyRecord {
            billing_tier: "free".to_owned(),
            compliance_standards: vec!["SOC2".to_owned()],
            monitoring_integrations: vec!["statsd".to_owned()],
            data_residency: "eu-west-2,eu-west-1".to_owned(),
            ..KeyRecord::default()
        };
        assert_eq!(rules().check(&record), Ok(()));
        let anywhere = Rules { regions: BTreeSet::new(), ..rules() };
        let record = KeyRecord { data_residency: "the moon".to_owned(), ..record };
        assert_eq!(anywhere.check(&record), Ok(()));
    }

    #[test]
    fn names_are_cut_short_where_they_are_many() {
        let names: Vec<String> = (0..25).map(|n| n.to_string()).collect();
        assert!(list(names.iter()).ends_with("18, 19, and 5 more"));
        assert_eq!(list(names[..2].iter()), "0, 1");
    }
}
