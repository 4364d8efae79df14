//! Who asks for an operation, and what of the keys it may see.

use std::sync::Arc;

use super::AdminError;
use crate::key::KeyRecord;

/// The right of one caller. What it may not see is unknown to it: nothing tells it apart from what
/// is not there.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Caller {
    tenant: Option<Arc<str>>,
}

impl Caller {
    /// One that sees everything.
    #[must_use]
    pub const fn unbound() -> Self {
        Self { tenant: None }
    }

    /// One that sees one tenant and nothing else.
    #[must_use]
    pub fn of_tenant(tenant: &str) -> Self {
        Self { tenant: Some(tenant.into()) }
    }

    /// The tenant that it is bound to.
    #[must_use]
    pub fn tenant(&self) -> Option<&str> {
        self.tenant.as_deref()
    }

    /// Whether it may see what belongs to a tenant.
    #[must_use]
    pub fn sees(&self, tenant: &str) -> bool {
        self.tenant().is_none_or(|own| own == tenant)
    }

    /// Refuses a record that this caller could not see once it is written.
    pub(super) fn check_owns(&self, record: &KeyRecord) -> Result<(), AdminError> {
        match self.tenant() {
            Some(own) if own != record.tenant_id => Err(AdminError::invalid(format!(
                "tenant_id: this caller is bound to the tenant {own:?} and can write for no other"
            ))),
            _ => Ok(()),
        }
    }
}
