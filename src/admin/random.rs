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
    let mut random = Zeroizing::new([0; random_bytes_for_token()]);
    loop {
        fill(&mut *random)?;
        if let Some(token) = prefixes.make(test, &*random) {
            return Ok(token);
        }
    }
}

/// The random part of a key's id.
pub(super) fn id_bits() -> Result<u32, AdminError> {
    let mut bytes = [0; 4];
    fill(&mut bytes)?;
    Ok(u32::from_le_bytes(bytes))
}
