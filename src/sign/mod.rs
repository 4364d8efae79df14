//! HTTP message signatures (RFC 9421): what of a request is signed, and whether a signature is right.
//!
//! Pure, and small enough for the client, which signs with it: time comes in as an argument, and
//! nothing here knows a key's record, a socket or a disk. [`Request`] is what is signed, `base` its
//! signature base, [`input`] the two header fields that carry signatures, [`PublicKey`] what verifies
//! and where it is read from, [`Verifiers`] the verification keys of one API key with all that is
//! checked, [`Signer`] the other side.

mod algorithm;
mod base;
mod check;
mod content;
pub mod input;
mod jwk;
mod public_key;
mod request;
mod signer;
mod verify;

pub use algorithm::{Algorithm, Algorithms};
pub use public_key::{KeyError, Kind, PublicKey};
pub use request::{Body, Request};
pub use signer::{SignError, Signed, Signer, Stamp};
pub use verify::{Failure, Material, Policy, Signature, Verifier, Verifiers};

/// Verification keys that one API key may have: two during a rotation, for a few signers.
pub const VERIFIERS_MAX: usize = 8;
/// Longest `keyid`.
pub const KEY_ID_BYTES_MAX: usize = 64;
/// The least that a shared secret may have, in bytes: as many as HMAC-SHA-256 has of strength.
pub const SECRET_BYTES_MIN: usize = 32;
/// The most.
pub const SECRET_BYTES_MAX: usize = 128;

#[cfg(test)]
mod tests;
