//! Who asks for an operation, and what of the keys it may see.

use std::sync::Arc;

use keygate_protocol::ErrorCode;

use super::AdminError;
use crate::event::Actor;
use crate::key::KeyRecord;

/// The right of one caller. What it may not see is unknown to it: nothing tells it apart from what
/// is not there.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Caller {
    tenant: Option<Arc<str>>,
    actor: Option<Arc<Actor>>,
}

impl Caller {
    /// One that sees everything.
    #[must_use]
    pub const fn unbound() -> Self {
        Self { tenant: None, actor: None }
    }

    /// One that sees one tenant and nothing else.
    #[must_use]
    pub fn of_tenant(tenant: &str) -> Self {
        Self { tenant: Some(tenant.into()), actor: None }
    }

    /// The daemon itself, which sees everything; why it acts is for the records of what it does.
    #[must_use]
    pub fn daemon(why: &str) -> Self {
        Self::unbound().acting_as(Actor::daemon(why))
    }

    /// The same, by this actor.
    #[must_use]
    pub fn acting_as(self, actor: Actor) -> Self {
        Self { actor: Some(Arc::new(actor)), ..self }
    }

    /// Who it is, for the records of what it does.
    #[must_use]
    pub fn actor(&self) -> Actor {
        let actor = self.actor.as_deref().cloned().unwrap_or_default();
        Actor { tenant: self.tenant().map(str::to_owned), ..actor }
    }

    /// The tenant that it is bound to.
    #[must_use]
    pub fn tenant(&self) -> Option<&str> {
        self.tenant.as_deref()
    }

    /// The same, to be shared.
    #[must_use]
    pub fn tenant_shared(&self) -> Option<Arc<str>> {
        self.tenant.clone()
    }

    /// Binds the caller to a tenant; whether it is bound to that one now. Once bound it stays so.
    #[must_use]
    pub fn bind(&mut self, tenant: &str) -> bool {
        &**self.tenant.get_or_insert_with(|| tenant.into()) == tenant
    }

    /// Refuses what concerns more than one tenant, or what a tenant may not do to itself. Before
    /// anything is looked up, so that the refusal tells nothing.
    ///
    /// # Errors
    /// `FORBIDDEN`, which names `what` and what the caller lacks.
    pub fn check_unbound(&self, what: &str) -> Result<(), AdminError> {
        let Some(own) = self.tenant() else { return Ok(()) };
        Err(AdminError::new(
            ErrorCode::Forbidden,
            format!(
                "{what} takes a caller that is not bound to a tenant, and this one is bound to \
                 {own:?}: a [[rights]] entry of the daemon's configuration or the tenant of \
                 its Hello binds it"
            ),
        ))
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
