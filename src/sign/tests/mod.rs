//! Signatures: those of the RFC, those that others have found to trip verifiers, and our own.

mod rfc;
