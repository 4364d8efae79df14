//! What is kept of a web hook of a tenant: its secrets, and that it wants no more.

use serde::{Deserialize, Serialize};

use crate::key::{SealedHash, StoredSecret};

/// Secrets of an endpoint at a time: the present one, and those of rotations whose overlap has not
/// ended.
pub const SECRETS_MAX: usize = 4;

/// One secret of an endpoint.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SecretRow {
    /// The 32 bytes, encrypted for [`EndpointRow::owner`].
    pub sealed: StoredSecret,
    /// Until when it signs too; `None` for the present one. Microseconds since 1970.
    pub until_us: Option<i64>,
}

/// An endpoint: one URL of one tenant. On disk in an envelope.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct EndpointRow {
    /// Its tenant; empty for the operator's own.
    pub tenant: String,
    /// Its URL.
    pub url: String,
    /// Its secrets, the present one first.
    pub secrets: Vec<SecretRow>,
    /// Since when nothing is sent to it, because it answered that it wants no more (410).
    pub disabled_us: Option<i64>,
}

/// An endpoint as schema 1 had it: its secrets sealed under a secret derived from the pepper.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct EndpointRow1 {
    /// Its tenant; empty for the operator's own.
    pub tenant: String,
    /// Its URL.
    pub url: String,
    /// Its secrets, the present one first, each with when it ends to sign.
    pub secrets: Vec<(SealedHash, Option<i64>)>,
    /// Since when nothing is sent to it.
    pub disabled_us: Option<i64>,
}

/// An endpoint of either schema.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StoredEndpoint {
    /// Of this release.
    Present(EndpointRow),
    /// Of one before; to be rewritten.
    Old(EndpointRow1),
}

impl EndpointRow {
    /// Whose its secrets are, to the vault.
    #[must_use]
    pub fn owner(&self) -> Vec<u8> {
        [self.tenant.as_bytes(), &[0], self.url.as_bytes()].concat()
    }

    /// The secrets that sign now, the present one first.
    pub fn signing(&self, now_us: i64) -> impl Iterator<Item = &SecretRow> {
        self.secrets.iter().filter(move |one| one.until_us.is_none_or(|until| now_us < until))
    }

    /// Has another secret sign from here on; the present one signs too until then. Of those before it
    /// the newest stay.
    pub fn rotate(&mut self, sealed: StoredSecret, now_us: i64, until_us: i64) {
        for secret in &mut self.secrets {
            let until = secret.until_us.get_or_insert(until_us);
            *until = (*until).min(until_us);
        }
        self.secrets.retain(|one| one.until_us.is_none_or(|until| now_us < until));
        self.secrets.insert(0, SecretRow { sealed, until_us: None });
        self.secrets.truncate(SECRETS_MAX);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rotation_has_two_secrets_sign_until_its_overlap_ends() {
        let sealed = |byte: u8| StoredSecret { master: 1, nonce: [byte; 24], sealed: vec![byte] };
        let mut endpoint = EndpointRow::default();
        let signing = |endpoint: &EndpointRow, now| -> Vec<StoredSecret> {
            endpoint.signing(now).map(|secret| secret.sealed.clone()).collect()
        };
        endpoint.rotate(sealed(1), 0, 0);
        assert_eq!(signing(&endpoint, 5), [sealed(1)]);
        endpoint.rotate(sealed(2), 10, 20);
        assert_eq!(signing(&endpoint, 19), [sealed(2), sealed(1)]);
        assert_eq!(signing(&endpoint, 20), [sealed(2)]);
        // Without an overlap the one before ends at once, and so do those before it.
        endpoint.rotate(sealed(3), 15, 15);
        assert_eq!(signing(&endpoint, 15), [sealed(3)]);
        for byte in 4..20 {
            endpoint.rotate(sealed(byte), 15, 1000);
        }
        assert_eq!(endpoint.secrets.len(), SECRETS_MAX);
        assert_eq!(signing(&endpoint, 15)[0], sealed(19));
    }
}
