//! Signatures: those of the RFC, those that others have found to trip verifiers, and our own.

mod keys;
mod random;
mod rfc;
mod wycheproof;
