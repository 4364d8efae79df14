//! The facts of a `Validate` about the HTTP request that somebody signed (SPEC §6.3, "Signed
//! requests").

use crate::facts::{
    Facts, TLV_AUTHORITY, TLV_BODY, TLV_HEADER, TLV_METHOD, TLV_PATH, TLV_QUERY, TLV_SCHEME,
};
use crate::limits::{
    AUTHORITY_BYTES_MAX, HEADER_NAME_BYTES_MAX, HEADER_VALUE_BYTES_MAX, TARGET_BYTES_MAX,
};
use crate::wire::PayloadError;

/// The byte that says: there is a body, and whoever asks has compared it with its `Content-Digest`.
pub(crate) const BODY_CHECKED: u8 = 1;

/// What is known of the request's body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Body<'a> {
    /// There is one, and whoever asks has compared it with its `Content-Digest`.
    Checked,
    /// Its SHA-256.
    Sha256(&'a [u8; 32]),
    /// Its SHA-512.
    Sha512(&'a [u8; 64]),
}

/// An HTTP request, as far as it was stated: what a signature of it is verified against.
#[derive(Debug, Clone, Copy, Default)]
pub struct Signed<'a> {
    /// The method, as it was sent: 1 to 32 characters of a token (RFC 9110, section 5.6.2).
    pub method: Option<&'a str>,
    /// `http` or `https`; 1 to 16 letters, digits and `+-.`.
    pub scheme: Option<&'a str>,
    /// The host, with its port where one was sent; 1 to 255 visible ASCII characters.
    pub authority: Option<&'a str>,
    /// The path as it was sent, percent-encoding and all; 1 to 8192 visible ASCII characters,
    /// of which the first is `/`.
    pub path: Option<&'a str>,
    /// What stood behind the first `?`, without it; `None` where there was none.
    pub query: Option<&'a str>,
    /// What is known of the body; `None` where there is none.
    pub body: Option<Body<'a>>,
    pub(crate) facts: Facts<'a>,
}

impl<'a> Signed<'a> {
    /// The header fields, in the order in which they were stated: name, in any case, and value.
    pub fn headers(&self) -> impl Iterator<Item = (&'a str, &'a [u8])> + use<'a> {
        self.facts.headers()
    }
}

/// A part of an HTTP request that is stated in a fact of its own.
#[derive(Debug, Clone, Copy)]
pub enum RequestPart<'a> {
    /// The method.
    Method(&'a str),
    /// The scheme.
    Scheme(&'a str),
    /// The authority.
    Authority(&'a str),
    /// The path.
    Path(&'a str),
    /// The query.
    Query(&'a str),
    /// A header field: name and value.
    Header(&'a str, &'a [u8]),
}

impl RequestPart<'_> {
    /// Whether it is within its bounds, as [`Signed`] has them. A frame with one that is not is
    /// refused.
    #[must_use]
    pub fn fits(&self) -> bool {
        let (kind, text) = match *self {
            Self::Method(text) => (TLV_METHOD, text),
            Self::Scheme(text) => (TLV_SCHEME, text),
            Self::Authority(text) => (TLV_AUTHORITY, text),
            Self::Path(text) => (TLV_PATH, text),
            Self::Query(text) => (TLV_QUERY, text),
            Self::Header(name, value) => return header_fits(name.as_bytes(), value),
        };
        check(kind, text.as_bytes()).is_ok()
    }
}

/// Shows a fact to be within its bounds. Answers what it is called.
pub(crate) fn check(kind: u8, value: &[u8]) -> Result<&'static str, PayloadError> {
    let visible =
        |max: usize| value.len() <= max && value.iter().all(|byte| (0x21..=0x7E).contains(byte));
    let (field, sound, why) = match kind {
        TLV_METHOD => {
            let sound = (1..=32).contains(&value.len()) && value.iter().all(|byte| is_token(*byte));
            ("method", sound, "it is 1 to 32 characters of a token")
        }
        TLV_SCHEME => {
            let letter = |byte: &u8| byte.is_ascii_alphanumeric() || b"+-.".contains(byte);
            let sound = (1..=16).contains(&value.len()) && value.iter().all(letter);
            ("scheme", sound, "it is 1 to 16 letters, digits and +-.")
        }
        TLV_AUTHORITY => {
            let sound = !value.is_empty() && visible(AUTHORITY_BYTES_MAX);
            ("authority", sound, "it is 1 to 255 visible ASCII characters")
        }
        TLV_PATH => {
            let sound =
                value.first() == Some(&b'/') && visible(TARGET_BYTES_MAX) && !value.contains(&b'?');
            ("path", sound, "it begins with / and is 1 to 8192 visible ASCII characters without ?")
        }
        TLV_QUERY => {
            ("query", visible(TARGET_BYTES_MAX), "it is at most 8192 visible ASCII characters")
        }
        TLV_HEADER => {
            let why = "its name is 1 to 128 characters of a token, its value at most 8192 bytes \
                       without line ends";
            ("a header", header(value).is_some(), why)
        }
        TLV_BODY => {
            ("body", body(value).is_some(), "it is the byte 1, or 32 or 64 bytes of a digest")
        }
        _ => ("a fact", false, "it is none of a signed request"),
    };
    if sound { Ok(field) } else { Err(PayloadError::OutOfBounds { field, why }) }
}

/// A header field: the length of its name in one byte, the name, the value.
pub(crate) fn header(fact: &[u8]) -> Option<(&str, &[u8])> {
    let (length, rest) = fact.split_first()?;
    let (name, value) = rest.split_at_checked(usize::from(*length))?;
    Some((str::from_utf8(name).ok()?, value)).filter(|_| header_fits(name, value))
}

fn header_fits(name: &[u8], value: &[u8]) -> bool {
    (1..=HEADER_NAME_BYTES_MAX).contains(&name.len())
        && name.iter().all(|byte| is_token(*byte))
        && value.len() <= HEADER_VALUE_BYTES_MAX
        // What ended a line would end one of the signature base.
        && !value.iter().any(|byte| matches!(byte, b'\r' | b'\n' | 0))
}

pub(crate) fn body(fact: &[u8]) -> Option<Body<'_>> {
    if fact == [BODY_CHECKED] {
        return Some(Body::Checked);
    }
    let sha256 = fact.try_into().ok().map(Body::Sha256);
    sha256.or_else(|| fact.try_into().ok().map(Body::Sha512))
}

/// Characters of a token (RFC 9110, section 5.6.2).
const fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
        || matches!(
            byte,
            b'!' | b'#'
                | b'$'
                | b'%'
                | b'&'
                | b'\''
                | b'*'
                | b'+'
                | b'-'
                | b'.'
                | b'^'
                | b'_'
                | b'`'
                | b'|'
                | b'~'
        )
}

// The length of a header's name is one byte, and a fact's length two.
const _: () = assert!(HEADER_NAME_BYTES_MAX <= u8::MAX as usize);
const _: () = assert!(1 + HEADER_NAME_BYTES_MAX + HEADER_VALUE_BYTES_MAX <= u16::MAX as usize);
