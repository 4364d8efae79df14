//! The system's random source.

use keygate_protocol::ErrorCode;
use zeroize::Zeroizing;

use super::AdminError;
use crate::key::token::{Prefixes, random_bytes_for_token};
use crate::sign::SECRET_BYTES_MIN;

fn fill(bytes: &mut [u8]) -> Result<(), AdminError> {
    getrandom::fill(bytes).map_err(|error| {
        AdminError::new(ErrorCode::Busy, format!("the system's random source failed: {error}"))
    })
}

/// A new token.
pub(super) fn token(prefixes: &Prefixes, test: bool) -> Result<Zeroizing<String>, AdminError> {
    make(|random| prefixes.make(test, random))
}

/// A new client secret.
pub(super) fn client_secret(prefixes: &Prefixes) -> Result<Zeroizing<String>, AdminError> {
    make(|random| prefixes.make_secret(random))
}

/// A new secret that the signers of requests share with the daemon, of as many bytes as HMAC-SHA-256
/// has of strength.
pub(super) fn shared_secret() -> Result<Zeroizing<Vec<u8>>, AdminError> {
    let mut secret = Zeroizing::new(vec![0; SECRET_BYTES_MIN]);
    fill(&mut secret)?;
    Ok(secret)
}

fn make(
    make: impl Fn(&[u8]) -> Option<Zeroizing<String>>,
) -> Result<Zeroizing<String>, AdminError> {
    let mut random = Zeroizing::new([0; random_bytes_for_token()]);
    loop {
        fill(&mut *random)?;
        if let Some(made) = make(&*random) {
            return Ok(made);
        }
    }
}

/// The random part of a key's id.
pub(super) fn id_bits() -> Result<u32, AdminError> {
    let mut bytes = [0; 4];
    fill(&mut bytes)?;
    Ok(u32::from_le_bytes(bytes))
}
