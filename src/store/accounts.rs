//! What the ledger has of keys and tenants, read at a start.

use super::keys::Keys;
use super::rows::LEDGER_SCHEMA;
use super::{Store, StoreError, envelope, layout, plan, sweep};
use crate::limit::AccountRow;

/// Rows of tenants that are read at a time.
const CHUNK_ROWS: usize = 512;

/// Whose figures a row of the ledger has.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum AccountOf {
    /// A key's, by its id.
    Key(u64),
    /// A tenant's, by its name.
    Tenant(String),
}

impl Keys {
    /// Every row of the ledger, for start-up: those of keys by ascending id, then those of tenants
    /// by ascending name. One that cannot be read is handed over as the error it is: the callee
    /// decides whether to go on.
    ///
    /// # Errors
    /// As [`super::Store::scan`], and whatever `each` returns.
    pub fn for_each_account<E: From<StoreError>>(
        &self,
        mut each: impl FnMut(AccountOf, Result<AccountRow, StoreError>) -> Result<(), E>,
    ) -> Result<(), E> {
        let of_keys = |id, bytes: &[u8]| read_account(&format!("ledger of key {id}"), bytes);
        let store = self.store();
        sweep::for_each_row(&**store, layout::ACCOUNTS_OF_KEYS, of_keys, |id, row| {
            each(AccountOf::Key(id), row)
        })?;
        let prefix = layout::ACCOUNTS_OF_TENANTS;
        let mut after: Option<Vec<u8>> = None;
        loop {
            let rows = store.scan(prefix, after.as_deref(), CHUNK_ROWS)?;
            let Some((last, _)) = rows.last() else { return Ok(()) };
            after = Some(last.clone());
            for (key, value) in rows {
                let tenant = String::from_utf8_lossy(&key[prefix.len()..]).into_owned();
                let row = read_account(&format!("ledger of tenant {tenant:?}"), &value);
                each(AccountOf::Tenant(tenant), row)?;
            }
        }
    }
}

fn read_account(what: &str, bytes: &[u8]) -> Result<AccountRow, StoreError> {
    envelope::open(bytes, LEDGER_SCHEMA).map_err(|error| plan::from_envelope(what, error))
}
