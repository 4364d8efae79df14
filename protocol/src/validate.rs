//! `Validate`: may this token do this, now? (SPEC §6.3)
//!
//! ```text
//! flags u8 | token_length u16 | cost u64 | token … | type-length-values …
//! ```

use std::fmt;
use std::net::IpAddr;

use bytes::{BufMut, BytesMut};

pub use crate::facts::{Facts, Stated};
use crate::facts::{
    HTTPS, PLAIN, TLV_ADDRESS, TLV_API_VERSION, TLV_AUTHORITY, TLV_BODY, TLV_CLIENT_CERTIFICATE,
    TLV_CLIENT_SECRET, TLV_ENVIRONMENT, TLV_FEATURE, TLV_HEADER, TLV_INTEGRATION, TLV_LIMIT,
    TLV_METHOD, TLV_ORIGIN, TLV_PATH, TLV_QUERY, TLV_REGION, TLV_SCHEME, TLV_SCOPE_ALL,
    TLV_SCOPE_ANY, TLV_TENANT, TLV_TRANSPORT,
};
use crate::limits::{
    AUTHORITY_BYTES_MAX, CLIENT_SECRET_BYTES_MAX, COST_MAX, FACT_BYTES_MAX, HEADER_NAME_BYTES_MAX,
    HEADER_VALUE_BYTES_MAX, ORIGIN_BYTES_MAX, SCOPE_BYTES_MAX, TARGET_BYTES_MAX, TENANT_BYTES_MAX,
    TOKEN_BYTES_MAX,
};
use crate::signed::BODY_CHECKED;
pub use crate::signed::{Body, RequestPart, Signed};
use crate::wire::{PayloadError, Reader, just_above, put_tlv};

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
    /// The slot that the request takes outlives the connection.
    pub const KEEP_SLOT: Self = Self(8);
    const KNOWN: u8 = 15;

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
            return Err(PayloadError::OutOfBounds { field: "flags", why: "only bits 0 to 3" });
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

    /// Names a limit of the key to spend from.
    pub fn limit(&mut self, name: &str) {
        self.name(TLV_LIMIT, name);
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

    /// States the client secret that came beside the token.
    pub fn client_secret(&mut self, secret: &[u8]) {
        put_tlv(self.out, TLV_CLIENT_SECRET, just_above(secret, CLIENT_SECRET_BYTES_MAX));
    }

    /// States the SHA-256 of the certificate that the client has shown.
    pub fn client_certificate(&mut self, sha256: &[u8; 32]) {
        put_tlv(self.out, TLV_CLIENT_CERTIFICATE, sha256);
    }

    /// Binds the question to a tenant: a key of another one is unknown.
    pub fn tenant(&mut self, tenant: &str) {
        put_tlv(self.out, TLV_TENANT, just_above(tenant.as_bytes(), TENANT_BYTES_MAX));
    }

    /// States the method of the request that is signed, as it was sent.
    pub fn method(&mut self, method: &str) {
        self.name(TLV_METHOD, method);
    }

    /// States its scheme.
    pub fn scheme(&mut self, scheme: &str) {
        self.name(TLV_SCHEME, scheme);
    }

    /// States its authority.
    pub fn authority(&mut self, authority: &str) {
        put_tlv(self.out, TLV_AUTHORITY, just_above(authority.as_bytes(), AUTHORITY_BYTES_MAX));
    }

    /// States its path, without the query.
    pub fn path(&mut self, path: &str) {
        put_tlv(self.out, TLV_PATH, just_above(path.as_bytes(), TARGET_BYTES_MAX));
    }

    /// States what stands behind the first `?` of its target.
    pub fn query(&mut self, query: &str) {
        put_tlv(self.out, TLV_QUERY, just_above(query.as_bytes(), TARGET_BYTES_MAX));
    }

    /// States one of its header fields.
    pub fn header(&mut self, name: &str, value: &[u8]) {
        let name = just_above(name.as_bytes(), HEADER_NAME_BYTES_MAX);
        let value = just_above(value, HEADER_VALUE_BYTES_MAX);
        // Both are cut just above what may be, so the sum is far below 2^16.
        let length = u16::try_from(1 + name.len() + value.len()).unwrap_or(u16::MAX);
        self.out.put_u8(TLV_HEADER);
        self.out.put_u16_le(length);
        self.out.put_u8(u8::try_from(name.len()).unwrap_or(u8::MAX));
        self.out.put_slice(name);
        self.out.put_slice(value);
    }

    /// States what is known of its body.
    pub fn body(&mut self, body: Body<'_>) {
        let value: &[u8] = match body {
            Body::Checked => &[BODY_CHECKED],
            Body::Sha256(digest) => digest,
            Body::Sha512(digest) => digest,
        };
        put_tlv(self.out, TLV_BODY, value);
    }

    fn name(&mut self, kind: u8, name: &str) {
        put_tlv(self.out, kind, just_above(name.as_bytes(), FACT_BYTES_MAX));
    }
}
