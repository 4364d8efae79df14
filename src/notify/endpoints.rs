//! Endpoints of web hooks: their secrets, and those that want no more.

use std::collections::{BTreeMap, BTreeSet};

use parking_lot::{Mutex, MutexGuard};
use zeroize::Zeroizing;

use super::shared::Shared;
use crate::alert::{EndpointRow, EndpointRow1, SecretRow, StoredEndpoint};
use crate::deliver::WebhookSecret;
use crate::key::{Pepper, StoredSecret};
use crate::store::{CommitError, Committer, Keys, StoreError, Write};
use crate::vault::{Purpose, Vault, VaultError};

/// Endpoints that are kept; one more is refused.
pub(super) const ENDPOINTS_MAX: usize = 100_000;

/// Of one tenant.
pub(super) const ENDPOINTS_OF_TENANT_MAX: usize = 1_000;

/// Bytes of a secret that is made here.
const SECRET_BYTES: usize = 32;

/// Endpoints that are rewritten in one commit.
const ROWS_AT_A_TIME: usize = 256;

/// Why an endpoint could not be asked or changed.
#[derive(Debug, thiserror::Error)]
pub enum EndpointError {
    /// Its row could not be written.
    #[error(transparent)]
    Commit(#[from] CommitError),
    /// There are too many.
    #[error(
        "there are {ENDPOINTS_MAX} endpoints of web hooks, which is the most: keys may share a URL"
    )]
    Full,
    /// Its tenant has too many.
    #[error(
        "the tenant has {ENDPOINTS_OF_TENANT_MAX} endpoints of web hooks, which is the most: keys may \
         share a URL, and one that no key names any more goes within two days"
    )]
    FullOfTenant,
    /// The system's random source failed.
    #[error("the system's random source failed: {0}")]
    Random(#[from] getrandom::Error),
    /// It cannot be encrypted.
    #[error("the web hook's secret cannot be kept: {0}")]
    Vault(#[from] VaultError),
    /// The daemon is stopping, or has not started.
    #[error("the daemon is stopping, or has not started to send alerts; try again")]
    Stopping,
}

/// A secret as its receiver writes it down, and until when it signs.
pub struct ShownSecret {
    /// `whsec_…`
    pub text: Zeroizing<String>,
    /// Until when; `None` for the present one. Microseconds since 1970.
    pub until_us: Option<i64>,
}

/// A tenant and a URL.
pub(super) type Of = (String, String);

/// All of them, in memory; secrets stay sealed.
#[derive(Default)]
pub(super) struct Endpoints {
    /// By tenant and URL. Held for a look.
    all: Mutex<BTreeMap<Of, EndpointRow>>,
    /// Held by whoever changes one, from the look to the commit.
    writing: Mutex<()>,
}

/// The right to change endpoints.
pub(super) struct Writing<'a> {
    endpoints: &'a Endpoints,
    _held: MutexGuard<'a, ()>,
}

impl Endpoints {
    /// Reads all of them. What an earlier release had sealed under the pepper is encrypted by the
    /// vault, durably, before anything else is done with it.
    pub(super) fn load(
        keys: &Keys,
        committer: &Committer,
        pepper: &Pepper,
        vault: &Vault,
    ) -> Result<Self, CommitError> {
        let (mut all, mut moved) = (BTreeMap::new(), Vec::new());
        keys.for_each_endpoint(|row| {
            let row = match row {
                Ok(StoredEndpoint::Present(row)) => row,
                Ok(StoredEndpoint::Old(old)) => {
                    let row = encrypted(old, pepper, vault);
                    moved.push((row.tenant.clone(), row.url.clone()));
                    row
                }
                Err(error) => {
                    tracing::error!(%error, "an endpoint could not be read");
                    return Ok(());
                }
            };
            all.insert((row.tenant.clone(), row.url.clone()), row);
            Ok::<(), StoreError>(())
        })?;
        for some in moved.chunks(ROWS_AT_A_TIME) {
            let rows = some.iter().filter_map(|of| all.get(of)).map(Write::endpoint);
            let rows: Result<Vec<_>, _> = rows.collect();
            committer
                .commit(rows.map_err(|error| StoreError::corrupt(error.to_string()))?, true)?;
        }
        if !moved.is_empty() {
            tracing::info!(
                endpoints = moved.len(),
                "secrets of web hooks are under the master key"
            );
        }
        Ok(Self { all: Mutex::new(all), writing: Mutex::default() })
    }

    /// Has every secret be under the present master key. Each endpoint is held for its own commit.
    /// What cannot be renewed stays as it is: the rotation finds it in the rows, and does not end.
    pub(super) fn renew(&self, committer: &Committer, vault: &Vault) -> Result<(), CommitError> {
        // One that is being made is sealed already and not among the names yet.
        drop(self.write());
        for of in self.names() {
            let writing = self.write();
            let Some(mut row) = self.get(&of.0, &of.1) else { continue };
            let (owner, mut renewed) = (row.owner(), false);
            for secret in &mut row.secrets {
                match vault.renewed(Purpose::Webhook, &owner, &secret.sealed) {
                    Ok(Some(new)) => {
                        secret.sealed = new;
                        renewed = true;
                    }
                    Ok(None) => {}
                    Err(error) => {
                        tracing::error!(tenant = of.0, %error, "a web hook's secret is not renewed");
                    }
                }
            }
            if renewed {
                let write = Write::endpoint(&row)
                    .map_err(|error| StoreError::corrupt(error.to_string()))?;
                committer.commit(vec![write], false)?;
                writing.put(row);
            }
        }
        Ok(())
    }

    pub(super) fn get(&self, tenant: &str, url: &str) -> Option<EndpointRow> {
        self.all.lock().get(&(tenant.to_owned(), url.to_owned())).cloned()
    }

    /// All of them.
    pub(super) fn names(&self) -> BTreeSet<Of> {
        self.all.lock().keys().cloned().collect()
    }

    /// The URLs of a tenant.
    pub(super) fn urls_of(&self, tenant: &str) -> Vec<String> {
        let all = self.all.lock();
        let of = all.range((tenant.to_owned(), String::new())..);
        of.map(|(of, _)| of).take_while(|of| of.0 == tenant).map(|of| of.1.clone()).collect()
    }

    /// The secrets that sign now, the present one first.
    pub(super) fn signing(
        &self,
        vault: &Vault,
        tenant: &str,
        url: &str,
        now_us: i64,
    ) -> Vec<WebhookSecret> {
        let endpoint = self.get(tenant, url).unwrap_or_default();
        let owner = endpoint.owner();
        let opened = endpoint.signing(now_us).filter_map(|row| open(vault, &owner, &row.sealed));
        opened.collect()
    }

    /// Begins a change.
    pub(super) fn write(&self) -> Writing<'_> {
        Writing { endpoints: self, _held: self.writing.lock() }
    }
}

impl Writing<'_> {
    /// An endpoint as it is, or a new one with a secret, which is to be written; the flag says that.
    pub(super) fn of(
        &self,
        vault: &Vault,
        (tenant, url): (&str, &str),
        now_us: i64,
    ) -> Result<(EndpointRow, bool), EndpointError> {
        if let Some(known) = self.endpoints.get(tenant, url) {
            return Ok((known, false));
        }
        if self.endpoints.all.lock().len() >= ENDPOINTS_MAX {
            return Err(EndpointError::Full);
        }
        if self.endpoints.urls_of(tenant).len() >= ENDPOINTS_OF_TENANT_MAX {
            return Err(EndpointError::FullOfTenant);
        }
        let (tenant, url) = (tenant.to_owned(), url.to_owned());
        let mut made = EndpointRow { tenant, url, ..EndpointRow::default() };
        made.rotate(new_secret(vault, &made.owner())?, now_us, now_us);
        Ok((made, true))
    }

    /// From here on the endpoint is this.
    pub(super) fn put(&self, row: EndpointRow) {
        self.endpoints.all.lock().insert((row.tenant.clone(), row.url.clone()), row);
    }

    /// From here on there is none.
    pub(super) fn remove(&self, of: &Of) {
        self.endpoints.all.lock().remove(of);
    }
}

fn new_secret(vault: &Vault, owner: &[u8]) -> Result<StoredSecret, EndpointError> {
    let mut secret = Zeroizing::new([0; SECRET_BYTES]);
    getrandom::fill(&mut *secret)?;
    Ok(vault.seal(Purpose::Webhook, owner, &*secret)?)
}

fn open(vault: &Vault, owner: &[u8], sealed: &StoredSecret) -> Option<WebhookSecret> {
    let opened = vault.open(Purpose::Webhook, owner, sealed);
    let bytes = opened.inspect_err(|error| tracing::error!(%error, "a web hook's secret")).ok()?;
    WebhookSecret::from_bytes(&bytes).ok()
}

/// An endpoint of schema 1 with its secrets under the vault; those that do not open are left out.
fn encrypted(old: EndpointRow1, pepper: &Pepper, vault: &Vault) -> EndpointRow {
    let EndpointRow1 { tenant, url, secrets, disabled_us } = old;
    let mut row = EndpointRow { tenant, url, secrets: Vec::new(), disabled_us };
    let owner = row.owner();
    let moved = secrets.into_iter().filter_map(|(sealed, until_us)| {
        let bytes = Zeroizing::new(pepper.open(&sealed)?);
        let sealed = vault.seal(Purpose::Webhook, &owner, &*bytes).ok()?;
        Some(SecretRow { sealed, until_us })
    });
    row.secrets = moved.collect();
    row
}

/// The secrets of an endpoint; with an overlap, another from here on.
pub(super) fn secrets(
    shared: &Shared,
    tenant: &str,
    url: &str,
    overlap_us: Option<i64>,
) -> Result<Vec<ShownSecret>, EndpointError> {
    let writing = shared.endpoints.write();
    let now_us = shared.clock.now().wall_us;
    let (mut row, mut changed) = writing.of(&shared.vault, (tenant, url), now_us)?;
    if let Some(overlap_us) = overlap_us.filter(|_| !changed) {
        row.rotate(
            new_secret(&shared.vault, &row.owner())?,
            now_us,
            now_us.saturating_add(overlap_us),
        );
        changed = true;
    }
    if changed {
        commit(shared, &row)?;
        writing.put(row.clone());
    }
    let owner = row.owner();
    let shown = row.signing(now_us).filter_map(|secret| {
        let text = open(&shared.vault, &owner, &secret.sealed)?.reveal();
        Some(ShownSecret { text, until_us: secret.until_us })
    });
    Ok(shown.collect())
}

/// Sends to an endpoint again; since when nothing was sent.
pub(super) fn enable(
    shared: &Shared,
    tenant: &str,
    url: &str,
) -> Result<Option<i64>, EndpointError> {
    set_disabled(shared, tenant, url, None)
}

/// Says since when nothing is sent to an endpoint, and answers what was said before. One that is not
/// known is left alone.
pub(super) fn set_disabled(
    shared: &Shared,
    tenant: &str,
    url: &str,
    disabled_us: Option<i64>,
) -> Result<Option<i64>, EndpointError> {
    let writing = shared.endpoints.write();
    let Some(mut row) = shared.endpoints.get(tenant, url) else { return Ok(None) };
    let before = std::mem::replace(&mut row.disabled_us, disabled_us);
    if before != disabled_us {
        let committed = commit(shared, &row);
        // What it said holds also where it cannot be written; what a person asks for must be.
        if disabled_us.is_some() || committed.is_ok() {
            writing.put(row);
        }
        committed?;
    }
    Ok(before)
}

fn commit(shared: &Shared, row: &EndpointRow) -> Result<(), CommitError> {
    let write = Write::endpoint(row).map_err(|error| StoreError::corrupt(error.to_string()))?;
    shared.committer.commit(vec![write], true)
}
