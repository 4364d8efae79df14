//! The request that is signed, as it was sent.

/// A request, borrowed. What is not known is `None`, and a signature that covers it is wrong.
#[derive(Debug, Clone, Copy, Default)]
pub struct Request<'a> {
    /// The method, in the case in which it was sent.
    pub method: Option<&'a str>,
    /// `http` or `https`.
    pub scheme: Option<&'a str>,
    /// The host and, where one was sent, the port.
    pub authority: Option<&'a str>,
    /// The path as it was sent.
    pub path: Option<&'a str>,
    /// What stood behind the first `?`, without it; `None` where there was none.
    pub query: Option<&'a str>,
    /// The header fields in their order: name, in any case, and value.
    pub headers: &'a [(&'a str, &'a [u8])],
    /// What is known of the body; `None` where there is none.
    pub body: Option<Body<'a>>,
}

/// What is known of a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Body<'a> {
    /// It was compared with its `Content-Digest`.
    Checked,
    /// Its SHA-256.
    Sha256(&'a [u8; 32]),
    /// Its SHA-512.
    Sha512(&'a [u8; 64]),
}

impl Request<'_> {
    /// The value of a header field (RFC 9421, section 2.1): of one that came more than once all
    /// values, in their order, without white space around them, joined by a comma and a space.
    /// `None` where it did not come, or is not ASCII.
    #[must_use]
    pub fn field(&self, name: &str) -> Option<String> {
        let mut joined: Option<String> = None;
        let values = self.headers.iter().filter(|(own, _)| own.eq_ignore_ascii_case(name));
        for (_, value) in values {
            let value = str::from_utf8(value).ok().filter(|value| value.is_ascii())?;
            let value = value.trim_matches([' ', '\t']);
            if value.bytes().any(|byte| matches!(byte, b'\r' | b'\n' | 0)) {
                return None;
            }
            match &mut joined {
                None => joined = Some(value.to_owned()),
                Some(joined) => {
                    joined.push_str(", ");
                    joined.push_str(value);
                }
            }
        }
        joined
    }
}
