//! What a key compiles to when it is loaded: everything its checks need that other keys can share.

use std::collections::BTreeSet;

use super::record::KeyView;
use super::scope::Scopes;

/// The shared part of a compiled key. Keys with equal policies share one in memory, whatever their
/// tenants: whose a key is stands beside it, so that a thousand tenants with the same rules need
/// them once.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Policy {
    /// Granted scopes.
    pub scopes: Scopes,
    /// The tier that the record names; empty for none.
    pub billing_tier: Box<str>,
    /// The profiles that the record names, each once.
    pub compliance_standards: Box<[Box<str>]>,
    /// Its tier was not there: the limits are not known, so its token is not to be found.
    pub withheld: bool,
}

impl Policy {
    /// Compiles a record's rules.
    #[must_use]
    pub fn compile(record: &KeyView<'_>) -> Self {
        // Each once, or a key would count twice among those that use it.
        let profiles: BTreeSet<&str> = record.compliance_standards.iter().copied().collect();
        Self {
            scopes: Scopes::new(record.scopes.iter().copied()),
            billing_tier: record.billing_tier.into(),
            compliance_standards: profiles.into_iter().map(Into::into).collect(),
            withheld: false,
        }
    }
}
