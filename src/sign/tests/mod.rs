//! Signatures: those of the RFC, those that others have found to trip verifiers, and our own.

mod cases;
mod keys;
mod made;
mod random;
mod rfc;
mod wycheproof;
