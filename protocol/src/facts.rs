//! The facts of a `Validate`: what the caller knows of the request, and what the request demands
//! (SPEC §6.3). Types below 128 are facts, which a key's rules may need; from there on they are
//! demands.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::limits::{
    CLIENT_SECRET_BYTES_MAX, FACT_BYTES_MAX, FEATURES_DEMANDED_MAX, HEADERS_MAX, LIMITS_NAMED_MAX,
    ORIGIN_BYTES_MAX, SCOPE_BYTES_MAX, SCOPES_DEMANDED_MAX, TENANT_BYTES_MAX,
};
use crate::signed::{self, Signed};
use crate::wire::{DEMAND, PayloadError, Reader, text};

pub(crate) const TLV_ADDRESS: u8 = 1;
pub(crate) const TLV_ORIGIN: u8 = 2;
pub(crate) const TLV_ENVIRONMENT: u8 = 3;
pub(crate) const TLV_REGION: u8 = 4;
pub(crate) const TLV_INTEGRATION: u8 = 5;
pub(crate) const TLV_API_VERSION: u8 = 6;
pub(crate) const TLV_TRANSPORT: u8 = 7;
pub(crate) const TLV_CLIENT_SECRET: u8 = 8;
pub(crate) const TLV_CLIENT_CERTIFICATE: u8 = 9;
pub(crate) const TLV_METHOD: u8 = 16;
pub(crate) const TLV_SCHEME: u8 = 17;
pub(crate) const TLV_AUTHORITY: u8 = 18;
pub(crate) const TLV_PATH: u8 = 19;
pub(crate) const TLV_QUERY: u8 = 20;
pub(crate) const TLV_HEADER: u8 = 21;
pub(crate) const TLV_BODY: u8 = 22;
pub(crate) const TLV_SCOPE_ALL: u8 = 128;
pub(crate) const TLV_SCOPE_ANY: u8 = 129;
pub(crate) const TLV_FEATURE: u8 = 130;
pub(crate) const TLV_TENANT: u8 = 131;
pub(crate) const TLV_LIMIT: u8 = 132;

/// Bytes of the SHA-256 of a certificate's DER.
const CERTIFICATE_BYTES: usize = 32;

/// The facts of a question: well-formed type-length-values, read again where they are needed.
#[derive(Clone, Copy, Default)]
pub struct Facts<'a> {
    bytes: &'a [u8],
    present: Present,
}

/// A client secret may be among the bytes, so they are not shown.
impl fmt::Debug for Facts<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Facts").field("stated", &self.stated()).finish_non_exhaustive()
    }
}

// A batch of questions stands on the daemon's stack.
const _: () = assert!(size_of::<Facts<'_>>() <= 24);

/// Which facts are there, so that nobody looks for one that is not.
#[derive(Debug, Clone, Copy, Default)]
struct Present(u32);

impl Present {
    const TENANT: Self = Self(1 << 16);
    const SCOPES: Self = Self(1 << 17);
    const SCOPES_ANY: Self = Self(1 << 18);
    const FEATURES: Self = Self(1 << 19);
    const LIMITS: Self = Self(1 << 20);
    /// The facts of [`Signed`], from the method's bit to the body's.
    const SIGNED: Self = Self(0x7F << 21);
    /// The facts of [`Stated`].
    const STATED: Self = Self(0xFE);

    const CLIENT_SECRET: Self = Self::of(TLV_CLIENT_SECRET);
    const CLIENT_CERTIFICATE: Self = Self::of(TLV_CLIENT_CERTIFICATE);

    /// The bit of a fact that may stand once, of type 1 to 9.
    const fn of(kind: u8) -> Self {
        Self(1 << kind)
    }

    /// The bit of a fact of a signed request, of type 16 to 22.
    const fn of_signed(kind: u8) -> Self {
        Self(1 << (21 + kind - TLV_METHOD))
    }

    const fn has(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    const fn set(&mut self, other: Self) {
        self.0 |= other.0;
    }
}

/// What a request states of itself, each at most once. Names are UTF-8, compared byte by byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Stated<'a> {
    /// The client's address.
    pub address: Option<IpAddr>,
    /// A host, or the value of an `Origin` header; 1 to 512 bytes.
    pub origin: Option<&'a [u8]>,
    /// The environment that is called, such as `production`; 1 to 64 bytes, as those that follow.
    pub environment: Option<&'a [u8]>,
    /// The region that is called.
    pub region: Option<&'a [u8]>,
    /// The integration that calls.
    pub integration: Option<&'a [u8]>,
    /// The version of the API that is called.
    pub api_version: Option<&'a [u8]>,
    /// Whether the request came by HTTPS.
    pub https: Option<bool>,
}

/// The limits that a request has named so far.
#[derive(Default)]
struct LimitsNamed<'a> {
    count: usize,
    names: [&'a [u8]; LIMITS_NAMED_MAX],
}

impl<'a> LimitsNamed<'a> {
    /// Takes one more. One that was named before is refused: judged twice against the same units
    /// and spent twice, it would give out more than there is.
    fn take(&mut self, name: &'a [u8]) -> Result<(), PayloadError> {
        text(name, FACT_BYTES_MAX, "a limit", NAME_BOUND)?;
        if self.names[..self.count].contains(&name) {
            return bound("a limit", "it stands twice");
        }
        let Some(free) = self.names.get_mut(self.count) else {
            return bound("limits", "at most 4 named in one request");
        };
        *free = name;
        self.count += 1;
        Ok(())
    }
}

impl<'a> Facts<'a> {
    pub(crate) fn decode(bytes: &'a [u8]) -> Result<Self, PayloadError> {
        let mut reader = Reader::new(bytes);
        let (mut scopes, mut features, mut headers) = (0, 0, 0);
        let mut limits = LimitsNamed::default();
        let mut present = Present::default();
        while let Some((kind, value)) = reader.tlv()? {
            match kind {
                TLV_SCOPE_ALL | TLV_SCOPE_ANY => {
                    scopes += 1;
                    if kind == TLV_SCOPE_ANY {
                        present.set(Present::SCOPES_ANY);
                    }
                    if value.is_empty() || value.len() > SCOPE_BYTES_MAX {
                        return Err(PayloadError::OutOfBounds {
                            field: "a demanded scope",
                            why: "it is 1 to 128 bytes",
                        });
                    }
                }
                TLV_FEATURE => {
                    features += 1;
                    text(value, FACT_BYTES_MAX, "a feature", NAME_BOUND)?;
                }
                TLV_LIMIT => limits.take(value)?,
                TLV_ADDRESS..=TLV_CLIENT_CERTIFICATE | TLV_TENANT => present.take(kind, value)?,
                TLV_METHOD..=TLV_BODY => {
                    headers += usize::from(kind == TLV_HEADER);
                    if headers > HEADERS_MAX {
                        return bound("headers", "at most 64 in one request");
                    }
                    let field = signed::check(kind, value)?;
                    let bit = Present::of_signed(kind);
                    if kind != TLV_HEADER && present.has(bit) {
                        return bound(field, "it stands twice");
                    }
                    present.set(bit);
                }
                kind if kind >= DEMAND => return Err(PayloadError::UnknownDemand { kind }),
                _ => {}
            }
        }
        if scopes > SCOPES_DEMANDED_MAX {
            return Err(PayloadError::OutOfBounds {
                field: "demanded scopes",
                why: "at most 64 in one request",
            });
        }
        if features > FEATURES_DEMANDED_MAX {
            return Err(PayloadError::OutOfBounds {
                field: "features",
                why: "at most 64 in one request",
            });
        }
        if limits.count > 0 {
            present.set(Present::LIMITS);
        }
        if scopes > 0 {
            present.set(Present::SCOPES);
        }
        if features > 0 {
            present.set(Present::FEATURES);
        }
        Ok(Self { bytes, present })
    }

    /// Whether any scope is demanded; spares the walk when none is.
    #[must_use]
    pub const fn demands_scopes(&self) -> bool {
        self.present.has(Present::SCOPES)
    }

    /// Scopes that must all be granted.
    pub fn scopes_all(&self) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        self.of(TLV_SCOPE_ALL)
    }

    /// Scopes of which one must be granted, if there are any.
    pub fn scopes_any(&self) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        self.if_present(Present::SCOPES_ANY).of(TLV_SCOPE_ANY)
    }

    /// Features that the request asks for.
    pub fn features(&self) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        self.if_present(Present::FEATURES).of(TLV_FEATURE)
    }

    /// Whether the request spends from limits that it names.
    #[must_use]
    pub const fn names_limits(&self) -> bool {
        self.present.has(Present::LIMITS)
    }

    /// The limits of the key, by name, that the request spends from.
    pub fn limits(&self) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        self.if_present(Present::LIMITS).of(TLV_LIMIT)
    }

    /// The tenant that the caller is bound to: a key of another one is unknown to it.
    #[must_use]
    pub fn tenant(&self) -> Option<&'a str> {
        if !self.present.has(Present::TENANT) {
            return None;
        }
        self.of(TLV_TENANT).next().and_then(|tenant| str::from_utf8(tenant).ok())
    }

    /// The HTTP request that the question is about, as far as it was stated.
    #[must_use]
    pub fn signed(&self) -> Signed<'a> {
        if !self.present.has(Present::SIGNED) {
            return Signed::default();
        }
        let one = |kind| self.if_present(Present::of_signed(kind)).of(kind).next();
        let text = |kind| one(kind).and_then(|value| str::from_utf8(value).ok());
        Signed {
            method: text(TLV_METHOD),
            scheme: text(TLV_SCHEME),
            authority: text(TLV_AUTHORITY),
            path: text(TLV_PATH),
            query: text(TLV_QUERY),
            body: one(TLV_BODY).and_then(signed::body),
            facts: *self,
        }
    }

    /// Its header fields, in the order in which they were stated: name and value.
    pub fn headers(&self) -> impl Iterator<Item = (&'a str, &'a [u8])> + use<'a> {
        let headers = self.if_present(Present::of_signed(TLV_HEADER));
        headers.of(TLV_HEADER).filter_map(signed::header)
    }

    /// The client secret that came with the request, beside the token; 1 to 512 bytes.
    #[must_use]
    pub fn client_secret(&self) -> Option<&'a [u8]> {
        self.if_present(Present::CLIENT_SECRET).of(TLV_CLIENT_SECRET).next()
    }

    /// Whether the caller states which certificate the client has shown to it; spares the walk.
    #[must_use]
    pub const fn states_certificate(&self) -> bool {
        self.present.has(Present::CLIENT_CERTIFICATE)
    }

    /// The SHA-256 of the certificate that the client has shown to the caller (its DER, as in
    /// RFC 8705, section 3.1).
    #[must_use]
    pub fn client_certificate(&self) -> Option<[u8; CERTIFICATE_BYTES]> {
        let mut stated = self.if_present(Present::CLIENT_CERTIFICATE).of(TLV_CLIENT_CERTIFICATE);
        stated.next().and_then(|value| value.try_into().ok())
    }

    /// The address, if it is stated, without a look at other facts.
    #[must_use]
    pub fn address(&self) -> Option<IpAddr> {
        self.if_present(Present::of(TLV_ADDRESS)).of(TLV_ADDRESS).next().and_then(address)
    }

    /// The facts that may stand once and are no proofs, in one walk that ends where the last of them has been found.
    #[must_use]
    pub fn stated(&self) -> Stated<'a> {
        let mut stated = Stated::default();
        let mut missing = self.present.0 & Present::STATED.0;
        let mut reader = Reader::new(self.bytes);
        while missing != 0
            && let Ok(Some((kind, value))) = reader.tlv()
        {
            match kind {
                TLV_ADDRESS => stated.address = address(value),
                TLV_ORIGIN => stated.origin = Some(value),
                TLV_ENVIRONMENT => stated.environment = Some(value),
                TLV_REGION => stated.region = Some(value),
                TLV_INTEGRATION => stated.integration = Some(value),
                TLV_API_VERSION => stated.api_version = Some(value),
                TLV_TRANSPORT => stated.https = Some(value == [HTTPS]),
                _ => continue,
            }
            missing &= !Present::of(kind).0;
        }
        stated
    }

    /// These facts, or none to walk through when what is looked for is not among them.
    const fn if_present(&self, wanted: Present) -> Self {
        let bytes = if self.present.has(wanted) { self.bytes } else { &[] };
        Self { bytes, present: self.present }
    }

    fn of(&self, wanted: u8) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        let mut reader = Reader::new(self.bytes);
        // `decode` has shown the bytes to be well-formed, so an error here is the end.
        std::iter::from_fn(move || reader.tlv().ok().flatten())
            .filter_map(move |(kind, value)| (kind == wanted).then_some(value))
    }
}

const NAME_BOUND: &str = "it is 1 to 64 bytes of UTF-8";
pub(crate) const PLAIN: u8 = 0;
pub(crate) const HTTPS: u8 = 1;

impl Present {
    /// Looks at a fact that may stand once.
    fn take(&mut self, kind: u8, value: &[u8]) -> Result<(), PayloadError> {
        let name = |field| text(value, FACT_BYTES_MAX, field, NAME_BOUND).map(|_| field);
        let field = match kind {
            TLV_ADDRESS if address(value).is_some() => "address",
            TLV_ADDRESS => return bound("address", "it is 4 or 16 bytes"),
            TLV_ORIGIN => {
                text(value, ORIGIN_BYTES_MAX, "origin", "it is 1 to 512 bytes of UTF-8")?;
                "origin"
            }
            TLV_ENVIRONMENT => name("environment")?,
            TLV_REGION => name("region")?,
            TLV_INTEGRATION => name("integration")?,
            TLV_API_VERSION => name("api_version")?,
            TLV_TRANSPORT if matches!(value, [PLAIN | HTTPS]) => "transport",
            TLV_TRANSPORT => return bound("transport", "it is one byte, 0 or 1"),
            TLV_CLIENT_SECRET if (1..=CLIENT_SECRET_BYTES_MAX).contains(&value.len()) => {
                "client_secret"
            }
            TLV_CLIENT_SECRET => return bound("client_secret", "it is 1 to 512 bytes"),
            TLV_CLIENT_CERTIFICATE if value.len() == CERTIFICATE_BYTES => "client_certificate",
            TLV_CLIENT_CERTIFICATE => {
                return bound("client_certificate", "it is 32 bytes, a SHA-256");
            }
            _ => {
                text(value, TENANT_BYTES_MAX, "tenant", NAME_BOUND)?;
                "tenant"
            }
        };
        let bit = if kind == TLV_TENANT { Self::TENANT } else { Self::of(kind) };
        if self.has(bit) {
            return bound(field, "it stands twice");
        }
        self.set(bit);
        Ok(())
    }
}

fn bound<T>(field: &'static str, why: &'static str) -> Result<T, PayloadError> {
    Err(PayloadError::OutOfBounds { field, why })
}

/// An address in network order.
fn address(value: &[u8]) -> Option<IpAddr> {
    if let Ok(v4) = <[u8; 4]>::try_from(value) {
        return Some(Ipv4Addr::from(v4).into());
    }
    <[u8; 16]>::try_from(value).ok().map(|v6| Ipv6Addr::from(v6).into())
}
