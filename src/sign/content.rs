//! `Content-Digest` (RFC 9530): whether it is that of the body.

use sfv::{Dictionary, ListEntry, Parser};
use sha2::{Digest as _, Sha256, Sha512};

use super::request::{Body, Request};

/// Whether the request's `Content-Digest` has the digest of its body, by the algorithm that was used.
/// Others that stand there are not looked at: whoever asks has chosen one of those it has. Where
/// nobody speaks of a body, the digest is that of none: whoever forgets to state it is told.
pub(super) fn is_of_body(request: &Request<'_>) -> bool {
    let Some(field) = request.field("content-digest") else { return false };
    if request.body == Some(Body::Checked) {
        return true;
    }
    let Ok(digests) = Parser::new(&field).parse::<Dictionary>() else { return false };
    let is = |name, digest: &[u8]| match digests.get(name) {
        Some(ListEntry::Item(item)) => {
            item.bare_item.as_byte_sequence().is_some_and(|own| own == digest)
        }
        _ => false,
    };
    match request.body {
        Some(Body::Checked) => true,
        Some(Body::Sha256(digest)) => is("sha-256", digest),
        Some(Body::Sha512(digest)) => is("sha-512", digest),
        None => is("sha-256", &Sha256::digest([])) || is("sha-512", &Sha512::digest([])),
    }
}
