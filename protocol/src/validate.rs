//! `Validate`: may this token do this, now? (SPEC §6.3)
//!
//! ```text
//! flags u8 | token_length u16 | cost u64 | token … | type-length-values …
//! ```

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use bytes::{BufMut, BytesMut};

use crate::limits::{
    COST_MAX, FACT_BYTES_MAX, FEATURES_DEMANDED_MAX, ORIGIN_BYTES_MAX, SCOPE_BYTES_MAX,
    SCOPES_DEMANDED_MAX, TENANT_BYTES_MAX, TOKEN_BYTES_MAX,
};
use crate::wire::{DEMAND, PayloadError, Reader, just_above, put_tlv, text};

const TLV_ADDRESS: u8 = 1;
const TLV_ORIGIN: u8 = 2;
const TLV_ENVIRONMENT: u8 = 3;
const TLV_REGION: u8 = 4;
const TLV_INTEGRATION: u8 = 5;
const TLV_API_VERSION: u8 = 6;
const TLV_TRANSPORT: u8 = 7;
const TLV_SCOPE_ALL: u8 = 128;
const TLV_SCOPE_ANY: u8 = 129;
const TLV_FEATURE: u8 = 130;
const TLV_TENANT: u8 = 131;

/// The flag bits of a `Validate`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ValidateFlags(u8);

impl ValidateFlags {
    /// No flag.
    pub const NONE: Self = Self(0);
    /// Judge without spending: nothing is counted and no limit moves.
    pub const PEEK: Self = Self(1);
    /// Answer the key's tenant and scopes too. Not allowed in a batch.
    pub const DETAILS: Self = Self(2);
    /// Answer the key's metadata too. Not allowed in a batch.
    pub const METADATA: Self = Self(4);
    const KNOWN: u8 = 7;

    /// Whether every bit of `other` is set.
    #[must_use]
    pub const fn has(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Both sets of bits.
    #[must_use]
    pub const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Whether the answer is to be longer than a verdict: by up to 49 KiB.
    #[must_use]
    pub const fn asks_for_more(self) -> bool {
        self.has(Self::DETAILS) || self.has(Self::METADATA)
    }
}

/// One question. Borrowed from the read buffer; nothing is copied to ask it.
#[derive(Clone, Copy)]
pub struct Validate<'a> {
    /// How to judge.
    pub flags: ValidateFlags,
    /// Units to spend, 0 to 2^32; 0 judges without spending, as [`ValidateFlags::PEEK`] does.
    pub cost: u64,
    /// What the holder sent. Longer than 512 bytes is judged `MALFORMED`.
    pub token: &'a [u8],
    /// What the request demands and where it comes from.
    pub facts: Facts<'a>,
}

/// The token is a secret, so only its length is shown.
impl fmt::Debug for Validate<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Validate")
            .field("flags", &self.flags)
            .field("cost", &self.cost)
            .field("token_bytes", &self.token.len())
            .field("facts", &self.facts)
            .finish()
    }
}

impl<'a> Validate<'a> {
    /// Reads a request payload in place.
    ///
    /// # Errors
    /// [`PayloadError`] when a field is missing, out of bounds, or not known and demanded.
    pub fn decode(payload: &'a [u8]) -> Result<Self, PayloadError> {
        let mut reader = Reader::new(payload);
        let flags = reader.u8("flags")?;
        if flags & !ValidateFlags::KNOWN != 0 {
            return Err(PayloadError::OutOfBounds { field: "flags", why: "only bits 0 to 2" });
        }
        let token_length = reader.u16("token_length")?;
        let cost = reader.u64("cost")?;
        if cost > COST_MAX {
            return Err(PayloadError::OutOfBounds { field: "cost", why: "it is 0 to 2^32" });
        }
        let token = reader.bytes(usize::from(token_length), "token")?;
        let facts = Facts::decode(reader.rest())?;
        Ok(Self { flags: ValidateFlags(flags), cost, token, facts })
    }

    /// Whether this question spends nothing.
    #[must_use]
    pub const fn peeks(&self) -> bool {
        self.cost == 0 || self.flags.has(ValidateFlags::PEEK)
    }
}

/// The facts of a question: well-formed type-length-values, read again where they are needed.
#[derive(Debug, Clone, Copy, Default)]
pub struct Facts<'a> {
    bytes: &'a [u8],
    present: Present,
}

// A batch of questions stands on the daemon's stack.
const _: () = assert!(size_of::<Facts<'_>>() <= 24);

/// Which facts are there, so that nobody looks for one that is not.
#[derive(Debug, Clone, Copy, Default)]
struct Present(u16);

impl Present {
    const TENANT: Self = Self(1 << 8);
    const SCOPES: Self = Self(1 << 9);
    const FEATURES: Self = Self(1 << 10);
    /// The facts of [`Stated`].
    const STATED: Self = Self(0xFE);

    /// The bit of a fact that may stand once, of type 1 to 7.
    const fn of(kind: u8) -> Self {
        Self(1 << kind)
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

impl<'a> Facts<'a> {
    fn decode(bytes: &'a [u8]) -> Result<Self, PayloadError> {
        let mut reader = Reader::new(bytes);
        let (mut scopes, mut features) = (0, 0);
        let mut present = Present::default();
        while let Some((kind, value)) = reader.tlv()? {
            match kind {
                TLV_SCOPE_ALL | TLV_SCOPE_ANY => {
                    scopes += 1;
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
                TLV_ADDRESS..=TLV_TRANSPORT | TLV_TENANT => present.take(kind, value)?,
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
        self.of(TLV_SCOPE_ANY)
    }

    /// Features that the request asks for.
    pub fn features(&self) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        let bytes = if self.present.has(Present::FEATURES) { self.bytes } else { &[] };
        Self { bytes, ..*self }.of(TLV_FEATURE)
    }

    /// The tenant that the caller is bound to: a key of another one is unknown to it.
    #[must_use]
    pub fn tenant(&self) -> Option<&'a str> {
        if !self.present.has(Present::TENANT) {
            return None;
        }
        self.of(TLV_TENANT).next().and_then(|tenant| str::from_utf8(tenant).ok())
    }

    /// The facts that may stand once, in one walk that ends where the last of them has been found.
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

    fn of(&self, wanted: u8) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        let mut reader = Reader::new(self.bytes);
        // `decode` has shown the bytes to be well-formed, so an error here is the end.
        std::iter::from_fn(move || reader.tlv().ok().flatten())
            .filter_map(move |(kind, value)| (kind == wanted).then_some(value))
    }
}

const NAME_BOUND: &str = "it is 1 to 64 bytes of UTF-8";
const PLAIN: u8 = 0;
const HTTPS: u8 = 1;

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

/// Appends a `Validate` payload: the writing side of [`Validate::decode`].
pub struct ValidateWriter<'a> {
    out: &'a mut BytesMut,
}

/// What was written holds the token, so its bytes are not shown.
impl fmt::Debug for ValidateWriter<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ValidateWriter").finish_non_exhaustive()
    }
}

impl<'a> ValidateWriter<'a> {
    /// Begins a question. A token longer than 512 bytes is cut after its 513th: it is `MALFORMED`
    /// whatever follows, and a stranger's oversized token must not outgrow the frame.
    pub fn new(out: &'a mut BytesMut, flags: ValidateFlags, cost: u64, token: &[u8]) -> Self {
        let token = just_above(token, TOKEN_BYTES_MAX);
        out.put_u8(flags.0);
        out.put_u16_le(u16::try_from(token.len()).unwrap_or(u16::MAX));
        out.put_u64_le(cost);
        out.put_slice(token);
        Self { out }
    }

    /// Demands a scope. One that is empty or longer than 128 bytes is for the daemon to refuse.
    pub fn scope_all(&mut self, scope: &str) {
        put_tlv(self.out, TLV_SCOPE_ALL, just_above(scope.as_bytes(), SCOPE_BYTES_MAX));
    }

    /// Names one of the scopes of which one must be granted; bounds as for
    /// [`scope_all`](Self::scope_all).
    pub fn scope_any(&mut self, scope: &str) {
        put_tlv(self.out, TLV_SCOPE_ANY, just_above(scope.as_bytes(), SCOPE_BYTES_MAX));
    }
    /// Asks for a feature. Bounds, here and below, are for the daemon to refuse: what was cut
    /// would be another name.
    pub fn feature(&mut self, feature: &str) {
        self.name(TLV_FEATURE, feature);
    }

    /// States the client's address.
    pub fn address(&mut self, address: IpAddr) {
        match address {
            IpAddr::V4(v4) => put_tlv(self.out, TLV_ADDRESS, &v4.octets()),
            IpAddr::V6(v6) => put_tlv(self.out, TLV_ADDRESS, &v6.octets()),
        }
    }

    /// States the host that was asked or the value of the `Origin` header.
    pub fn origin(&mut self, origin: &str) {
        put_tlv(self.out, TLV_ORIGIN, just_above(origin.as_bytes(), ORIGIN_BYTES_MAX));
    }

    /// States the environment that is called.
    pub fn environment(&mut self, environment: &str) {
        self.name(TLV_ENVIRONMENT, environment);
    }

    /// States the region that is called.
    pub fn region(&mut self, region: &str) {
        self.name(TLV_REGION, region);
    }

    /// States the integration that calls.
    pub fn integration(&mut self, integration: &str) {
        self.name(TLV_INTEGRATION, integration);
    }

    /// States the version of the API that is called.
    pub fn api_version(&mut self, version: &str) {
        self.name(TLV_API_VERSION, version);
    }

    /// States whether the request came by HTTPS.
    pub fn https(&mut self, https: bool) {
        put_tlv(self.out, TLV_TRANSPORT, &[if https { HTTPS } else { PLAIN }]);
    }

    /// Binds the question to a tenant: a key of another one is unknown.
    pub fn tenant(&mut self, tenant: &str) {
        put_tlv(self.out, TLV_TENANT, just_above(tenant.as_bytes(), TENANT_BYTES_MAX));
    }

    fn name(&mut self, kind: u8, name: &str) {
        put_tlv(self.out, kind, just_above(name.as_bytes(), FACT_BYTES_MAX));
    }
}
