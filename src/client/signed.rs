//! What a question states of the HTTP request that somebody signed.

use keygate_protocol::limits::HEADERS_MAX;
use keygate_protocol::validate::{Body, RequestPart, ValidateWriter};

use super::request::TLV_BYTES;
use crate::sign;

/// What the facts of one request may take together: with all else that a question may have, it still
/// fits a frame.
const SIGNED_BYTES_MAX: usize = 48 * 1024;

/// The fields that carry a signature, and the one that ties a body to it.
const ALWAYS: [&str; 3] = ["signature-input", "signature", "content-digest"];

/// A request whose facts are within their bounds.
#[derive(Clone, Copy)]
pub(super) struct SignedFacts<'a> {
    request: sign::Request<'a>,
    bytes: usize,
}

impl<'a> SignedFacts<'a> {
    /// `None` where a part is out of its bounds: no part is left out alone, since a signature could
    /// then be right of another request than the one that came.
    pub(super) fn new(request: &sign::Request<'a>) -> Option<Self> {
        let facts = Self { request: *request, bytes: 0 };
        let (mut bytes, mut headers) = (TLV_BYTES + 64, 0);
        for part in facts.parts() {
            if !part.fits() {
                return None;
            }
            bytes += TLV_BYTES
                + match part {
                    RequestPart::Header(name, value) => {
                        headers += 1;
                        1 + name.len() + value.len()
                    }
                    RequestPart::Method(text)
                    | RequestPart::Scheme(text)
                    | RequestPart::Authority(text)
                    | RequestPart::Path(text)
                    | RequestPart::Query(text) => text.len(),
                };
        }
        (headers <= HEADERS_MAX && bytes <= SIGNED_BYTES_MAX).then_some(Self { bytes, ..facts })
    }

    /// Its parts, but for the body: of the header fields those that a signature covers.
    fn parts(&self) -> impl Iterator<Item = RequestPart<'a>> {
        let request = self.request;
        // RFC 9421, section 2.2.6: an empty path is a slash.
        let path = request.path.map(|path| if path.is_empty() { "/" } else { path });
        let parts = [
            request.method.map(RequestPart::Method),
            request.scheme.map(RequestPart::Scheme),
            request.authority.map(RequestPart::Authority),
            path.map(RequestPart::Path),
            request.query.map(RequestPart::Query),
        ];
        let covered = move |(name, _): &&(&str, &[u8])| is_covered(name, request.headers);
        let headers = request.headers.iter().filter(covered);
        let headers = headers.map(|(name, value)| RequestPart::Header(name, value));
        parts.into_iter().flatten().chain(headers)
    }

    /// Bounds what `write` appends.
    pub(super) const fn bytes_max(&self) -> usize {
        self.bytes
    }

    pub(super) fn write(&self, writer: &mut ValidateWriter<'_>) {
        for part in self.parts() {
            match part {
                RequestPart::Method(text) => writer.method(text),
                RequestPart::Scheme(text) => writer.scheme(text),
                RequestPart::Authority(text) => writer.authority(text),
                RequestPart::Path(text) => writer.path(text),
                RequestPart::Query(text) => writer.query(text),
                RequestPart::Header(name, value) => writer.header(name, value),
            }
        }
        match self.request.body {
            None => {}
            Some(sign::Body::Checked) => writer.body(Body::Checked),
            Some(sign::Body::Sha256(digest)) => writer.body(Body::Sha256(digest)),
            Some(sign::Body::Sha512(digest)) => writer.body(Body::Sha512(digest)),
        }
    }
}

/// Whether a signature may cover a field: a `Signature-Input` has its name in quotes. The daemon need
/// not be told of others, which may be secret.
fn is_covered(name: &str, headers: &[(&str, &[u8])]) -> bool {
    let quoted = |value: &[u8]| {
        value.windows(name.len() + 2).any(|window| {
            let (first, rest) = (window[0], &window[1..]);
            let (own, last) = (&rest[..name.len()], rest[name.len()]);
            first == b'"' && last == b'"' && own.eq_ignore_ascii_case(name.as_bytes())
        })
    };
    let is_input = |own: &str| own.eq_ignore_ascii_case(ALWAYS[0]);
    ALWAYS.iter().any(|always| name.eq_ignore_ascii_case(always))
        || headers.iter().any(|(own, value)| is_input(own) && quoted(value))
}

#[cfg(test)]
mod tests {
    use bytes::BytesMut;
    use keygate_protocol::ValidateFlags;
    use keygate_protocol::validate::Validate;

    use super::*;

    const INPUT: (&str, &[u8]) = ("Signature-Input", br#"a=("@method" "x-one");keyid="x-two""#);
    const SIGNATURE: (&str, &[u8]) = ("signature", b"a=:AAAA:");

    fn request<'a>(headers: &'a [(&'a str, &'a [u8])]) -> sign::Request<'a> {
        sign::Request {
            method: Some("GET"),
            path: Some(""),
            query: Some(""),
            headers,
            body: Some(sign::Body::Checked),
            ..sign::Request::default()
        }
    }

    #[test]
    fn what_a_signature_covers_is_stated_and_no_more() {
        let headers: [(&str, &[u8]); 6] = [
            INPUT,
            SIGNATURE,
            ("X-One", b"1"),
            ("x-three", b"3"),
            ("Cookie", b"secret"),
            ("x-one", b"2"),
        ];
        let facts = SignedFacts::new(&request(&headers)).expect("within bounds");
        let mut out = BytesMut::new();
        let mut writer = ValidateWriter::new(&mut out, ValidateFlags::default(), 1, b"t");
        facts.write(&mut writer);
        assert!(out.len() <= 12 + facts.bytes_max());
        let signed = Validate::decode(&out).expect("a question").facts.signed();
        let stated: Vec<_> = signed.headers().collect();
        assert_eq!(stated, [INPUT, SIGNATURE, ("X-One", b"1"), ("x-one", b"2")]);
        assert_eq!((signed.path, signed.query), (Some("/"), Some("")));
        assert_eq!(signed.body, Some(Body::Checked));
    }

    #[test]
    fn a_request_with_a_part_out_of_bounds_is_not_stated_at_all() {
        let long = vec![b'a'; 8193];
        let many = vec![("x-one", &b"1"[..]); HEADERS_MAX];
        let large = vec![("x-one", &long[..8192]); 6];
        for more in [vec![("x-one", long.as_slice())], vec![("x-one", b"a\nb")], many, large] {
            let headers = [&[INPUT, SIGNATURE], more.as_slice()].concat();
            assert!(SignedFacts::new(&request(&headers)).is_none());
        }
        let headers = [INPUT, ("x-three", long.as_slice())];
        assert!(SignedFacts::new(&request(&headers)).is_some());
        assert!(SignedFacts::new(&sign::Request { path: Some("a b"), ..request(&[]) }).is_none());
    }
}
