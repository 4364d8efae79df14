//! The calls of the admin socket about tenants (SPEC §9), of both clients.

use keygate_protocol::Opcode;
use keygate_protocol::admin::{
    TenantChanged, TenantCreate, TenantDelete, TenantList, TenantPage, TenantRef, TenantSetStatus,
    TenantUpdate, TenantUsage,
};
use serde_json::Value;

use super::{Client, Error, blocking};

/// What both clients can be asked; the blocking one waits where the other is awaited.
macro_rules! calls {
    ($($(#[$doc:meta])* $name:ident, $opcode:ident: $request:ident: $type:ty => $made:expr, $reply:ty;)+) => {
        /// Tenants. On the data socket the daemon refuses these.
        impl Client {
            $($(#[$doc])*
            pub async fn $name(&self, $request: $type) -> Result<$reply, Error> {
                self.admin(Opcode::$opcode, $made).await
            })+
        }

        /// Tenants. On the data socket the daemon refuses these.
        impl blocking::Client {
            $($(#[$doc])*
            pub fn $name(&mut self, $request: $type) -> Result<$reply, Error> {
                self.admin(Opcode::$opcode, $made)
            })+
        }
    };
}

calls! {
    /// Makes a tenant's record: `id`, and optional `name`, `description`, `organization_id`.
    ///
    /// # Errors
    /// [`Error`]; [`Error::Refused`] with `CONFLICT` if there is another record of that id.
    create_tenant, TenantCreate: tenant: Value => &TenantCreate { tenant }, TenantChanged;

    /// One tenant, with the number of its keys.
    ///
    /// # Errors
    /// [`Error`]; [`Error::Refused`] with `NOT_FOUND` if it has neither a record nor a key.
    tenant, TenantGet: id: &str => &TenantRef { id: id.to_owned() }, Value;

    /// One page of tenants, by ascending id. `next` of the answer is `after` of the next page.
    ///
    /// # Errors
    /// [`Error`].
    tenants, TenantList: list: &TenantList => list, TenantPage;

    /// Changes fields of a tenant's record.
    ///
    /// # Errors
    /// [`Error`]; [`Error::Refused`] with `CONFLICT` if the revision is not the expected one.
    update_tenant, TenantUpdate: update: &TenantUpdate => update, TenantChanged;

    /// Suspends a tenant, or lets it pass again: all its keys, from the next question on.
    ///
    /// # Errors
    /// [`Error`].
    set_tenant_status, TenantSetStatus: status: &TenantSetStatus => status, TenantChanged;

    /// Deletes a tenant: its keys become unknown. With `purge` keys and record are removed for
    /// good, which takes its time where there are many: a call that has timed out goes on all the
    /// same, and may be made again.
    ///
    /// # Errors
    /// [`Error`].
    delete_tenant, TenantDelete: delete: &TenantDelete => delete, TenantChanged;

    /// Brings a deleted tenant back, with all its keys.
    ///
    /// # Errors
    /// [`Error`]; [`Error::Refused`] with `CONFLICT` once its purge has begun.
    restore_tenant, TenantRestore: id: &str => &TenantRef { id: id.to_owned() }, TenantChanged;

    /// How the limits of a tenant stand, which its keys share.
    ///
    /// # Errors
    /// [`Error`]; [`Error::Refused`] with `NOT_FOUND` if it has neither a record nor a key.
    tenant_usage, TenantUsage: id: &str => &TenantRef { id: id.to_owned() }, TenantUsage;
}
