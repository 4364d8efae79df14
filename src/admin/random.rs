//! The system's random source.

use keygate_protocol::ErrorCode;
use zeroize::Zeroizing;

use super::AdminError;
use crate::key::token::{Prefixes, random_bytes_for_token};

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
