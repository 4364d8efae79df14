//! What a key compiles to when it is loaded: everything its checks need that other keys can share.

use std::collections::BTreeSet;

use super::access::Access;
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
    /// The rules about where a request comes from and what it is for; none for most keys.
    pub access: Option<Box<Access>>,
    /// What a unit costs, in 10^-9 of the money's unit; a test key's costs nothing.
    pub price_nano: u64,
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
            access: Access::compile(record).map(Box::new),
            price_nano: price_nano(record),
        }
    }
}

/// A record has up to nine decimals and up to a million.
fn price_nano(record: &KeyView<'_>) -> u64 {
    let price = record.cost_per_request.filter(|_| !record.is_test_key).unwrap_or(0.0);
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0 to 10^15")]
    let nano = (price.clamp(0.0, 1e6) * 1e9).round() as u64;
    nano
}
