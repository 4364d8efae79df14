//! What a key compiles to when it is loaded: everything its checks need that other keys can share.

use super::access::Access;
use super::record::KeyView;
use super::scope::Scopes;

/// The shared part of a compiled key. Keys with equal policies share one in memory.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Policy {
    /// The tenant, for answers.
    pub tenant_id: Box<str>,
    /// Granted scopes.
    pub scopes: Scopes,
    /// The rules about where a request comes from and what it is for; none for most keys.
    pub access: Option<Box<Access>>,
}

impl Policy {
    /// Compiles a record's rules.
    #[must_use]
    pub fn compile(record: &KeyView<'_>) -> Self {
        Self {
            tenant_id: record.tenant_id.into(),
            scopes: Scopes::new(record.scopes.iter().copied()),
            access: Access::compile(record).map(Box::new),
        }
    }
}
