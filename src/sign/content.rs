//! `Content-Digest` (RFC 9530): whether it is that of the body.

use sfv::{Dictionary, ListEntry, Parser};

use super::request::{Body, Request};

/// Whether the request's `Content-Digest` has the digest of its body, by the algorithm that was used.
/// Others that stand there are not looked at: whoever asks has chosen one of those it has.
pub(super) fn is_of_body(request: &Request<'_>, body: Body<'_>) -> bool {
    let Some(field) = request.field("content-digest") else { return false };
    let (name, digest): (_, &[u8]) = match body {
        Body::Checked => return true,
        Body::Sha256(digest) => ("sha-256", digest),
        Body::Sha512(digest) => ("sha-512", digest),
    };
    let Ok(digests) = Parser::new(&field).parse::<Dictionary>() else { return false };
    match digests.get(name) {
        Some(ListEntry::Item(item)) => {
            item.bare_item.as_byte_sequence().is_some_and(|own| own == digest)
        }
        _ => false,
    }
}
