//! What a key compiles to when it is loaded: everything its checks need that other keys can share.

use super::record::KeyView;
use super::scope::Scopes;

/// The shared part of a compiled key. Keys with equal policies share one in memory, whatever their
/// tenants: whose a key is stands beside it, so that a thousand tenants with the same rules need
/// them once.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Policy {
    /// Granted scopes.
    pub scopes: Scopes,
}

impl Policy {
    /// Compiles a record's rules.
    #[must_use]
    pub fn compile(record: &KeyView<'_>) -> Self {
        Self { scopes: Scopes::new(record.scopes.iter().copied()) }
    }
}
