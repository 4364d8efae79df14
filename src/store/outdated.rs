//! What still needs a secret that is being exchanged, found in the rows themselves before the old
//! one goes: nothing here trusts that the walk has renewed what it should.

use std::ops::ControlFlow;

use super::alerts::open_endpoint;
use super::plan::stored_record;
use super::rotation::Rotating;
use super::sealed::master_of;
use super::{Keys, StoreError, layout};
use crate::alert::StoredEndpoint;
use crate::key::{KeyRecord, Pepper, SigningMaterial};

/// Rows that are named; the others are counted.
const NAMED_MAX: usize = 20;

/// Rows that are not shown to be under the present secret.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Outdated {
    /// How many there are.
    pub rows: u64,
    /// The first of them, for people.
    pub named: Vec<String>,
}

impl Outdated {
    fn add(&mut self, name: impl FnOnce() -> String) {
        self.rows += 1;
        if self.named.len() < NAMED_MAX {
            self.named.push(name());
        }
    }

    /// The rows as a sentence has them.
    #[must_use]
    pub fn words(&self) -> String {
        let named = self.named.join(", ");
        match self.rows - self.named.len() as u64 {
            0 => named,
            more => format!("{named} and {more} more"),
        }
    }
}

impl Keys {
    /// The rows that open under the old secret alone, or that cannot be read and so may. While both
    /// are there; reads every record and every endpoint, or until `stopped` says so.
    ///
    /// # Errors
    /// As [`super::Store::scan_each`].
    pub fn outdated(
        &self,
        of: Rotating,
        stopped: impl Fn() -> bool,
    ) -> Result<Outdated, StoreError> {
        let mut outdated = Outdated::default();
        let Some(seals) = self.seals() else { return Ok(outdated) };
        let (pepper, master) = (seals.pepper().without_retired(), seals.vault().master_id());
        self.store().raw().scan_each(&[layout::RECORD], None, &mut |key, row| {
            let present = layout::id_of(key).is_some_and(|id| {
                master_of(key, row).is_none_or(|under| of == Rotating::Pepper || under == master)
                    && stored_record(id, &self.store().opened(key, row))
                        .is_ok_and(|mut record| is_present(&mut record, of, &pepper, master))
            });
            if !present {
                outdated.add(|| {
                    layout::id_of(key)
                        .map_or_else(|| "a record".to_owned(), |id| format!("key {id}"))
                });
            }
            if stopped() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        })?;
        self.store().raw().scan_each(layout::ENDPOINTS, None, &mut |key, row| {
            let present = match open_endpoint(row) {
                Ok(StoredEndpoint::Present(row)) => {
                    of == Rotating::Pepper
                        || row.secrets.iter().all(|secret| secret.sealed.master == master)
                }
                // Its secrets are under the pepper.
                Ok(StoredEndpoint::Old(_)) => of == Rotating::Master,
                Err(_) => false,
            };
            if !present {
                outdated.add(|| format!("a web hook of tenant {:?}", tenant_of(key)));
            }
            if stopped() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        })?;
        Ok(outdated)
    }
}

fn is_present(record: &mut KeyRecord, of: Rotating, pepper: &Pepper, master: u64) -> bool {
    match of {
        Rotating::Pepper => record.hashes_mut().all(|hash| pepper.open(hash).is_some()),
        Rotating::Master => record.signing_keys.iter().all(|key| match &key.material {
            SigningMaterial::Shared(secret) => secret.master == master,
            _ => true,
        }),
    }
}

/// The tenant in an endpoint's key; the URL is there as a digest alone.
fn tenant_of(key: &[u8]) -> String {
    let rest = key.strip_prefix(layout::ENDPOINTS).unwrap_or_default();
    let tenant = rest.split(|byte| *byte == 0).next().unwrap_or_default();
    String::from_utf8_lossy(tenant).into_owned()
}
