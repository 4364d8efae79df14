//! The questions of the data plane.

use std::fmt;
use std::net::IpAddr;

use bytes::BytesMut;
use keygate_protocol::limits::{
    CLIENT_SECRET_BYTES_MAX, COST_MAX, FACT_BYTES_MAX, FEATURES_DEMANDED_MAX, LIMITS_NAMED_MAX,
    ORIGIN_BYTES_MAX, SCOPE_BYTES_MAX, SCOPES_DEMANDED_MAX, TOKEN_BYTES_MAX,
};
use keygate_protocol::validate::ValidateWriter;
use keygate_protocol::{Opcode, PayloadError, ValidateFlags};

use super::error::Error;
use super::facts::Facts;
use super::signed::SignedFacts;
use crate::sign;

/// Bytes of a `Validate` before its token (SPEC §6.3).
const VALIDATE_FIXED_BYTES: usize = 11;
/// Bytes before the value of a type-length-value.
pub(super) const TLV_BYTES: usize = 3;

/// One item of the data plane: what it is, whether it is in its bounds, and how it is written.
pub(super) trait Item {
    /// The opcode of one alone, and of a batch.
    const OPCODE: Opcode;
    const BATCH: Opcode;

    /// Refuses here what the daemon would refuse.
    fn check(&self, in_batch: bool) -> Result<(), Error>;
    /// Bounds what `write` appends.
    fn bytes_max(&self) -> usize;
    fn write(&self, out: &mut BytesMut);
}

/// The question whether a token may do something now. Demands and states nothing and costs 1 unless
/// told.
///
/// What a key's rules need and the request does not state denies: state what is known, and nothing
/// that a stranger could have made up (SPEC §6.3, "Facts and rules").
///
/// ```
/// use keygate::client::ValidateRequest;
/// let request = ValidateRequest::new("kg_live_…")
///     .scope("leads:read")
///     .cost(5)
///     .address([203, 0, 113, 7])
///     .origin("https://app.example.com")
///     .environment("production");
/// ```
#[derive(Clone)]
pub struct ValidateRequest<'a> {
    token: &'a [u8],
    client_secret: Option<&'a [u8]>,
    scopes: Vec<(Demand, &'a str)>,
    features: Vec<&'a str>,
    limits: Vec<&'a str>,
    facts: Facts<'a>,
    signed: Option<SignedFacts<'a>>,
    cost: u64,
    flags: ValidateFlags,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Demand {
    All,
    Any,
}

impl<'a> ValidateRequest<'a> {
    /// Asks about a token, as its holder sent it. One that is longer than any of ours (512 bytes)
    /// is judged `MALFORMED`; only its beginning is sent, so that a stranger's long header cannot
    /// make a request that does not fit.
    pub fn new<T: AsRef<[u8]> + ?Sized>(token: &'a T) -> Self {
        let token = token.as_ref();
        let token = &token[..token.len().min(TOKEN_BYTES_MAX + 1)];
        Self {
            token,
            client_secret: None,
            scopes: Vec::new(),
            features: Vec::new(),
            limits: Vec::new(),
            facts: Facts::default(),
            signed: None,
            cost: 1,
            flags: ValidateFlags::NONE,
        }
    }

    /// Demands this scope, and every other that is demanded so. 1 to 128 bytes, at most 64 scopes
    /// in one request.
    #[must_use]
    pub fn scope(mut self, scope: &'a str) -> Self {
        self.scopes.push((Demand::All, scope));
        self
    }

    /// Demands one of the scopes that are named so. Bounds as for [`ValidateRequest::scope`].
    #[must_use]
    pub fn any_scope(mut self, scope: &'a str) -> Self {
        self.scopes.push((Demand::Any, scope));
        self
    }

    /// Asks for a feature, which a key with a list of features must list. 1 to 64 bytes, at most 64
    /// in one request.
    #[must_use]
    pub fn feature(mut self, feature: &'a str) -> Self {
        self.features.push(feature);
        self
    }

    /// Spends the cost from a limit of the key that has this name, too, such as `exports`; no
    /// request spends a named limit without naming it. 1 to 64 bytes, at most 4 in one request,
    /// each once. How it stands is in [`Validation::named`](super::Validation::named); a name that
    /// the key does not have is `LIMIT_UNKNOWN`.
    #[must_use]
    pub fn limit(mut self, name: &'a str) -> Self {
        self.limits.push(name);
        self
    }

    /// Keeps the slot that the request takes, if the key's requests under way are limited, beyond
    /// the end of this connection: until its report gives it back or its time ends.
    #[must_use]
    pub const fn keep_slot(mut self) -> Self {
        self.flags = self.flags.with(ValidateFlags::KEEP_SLOT);
        self
    }

    /// States the client's address: that of its connection, or what a proxy says which may be
    /// trusted; never what the client itself wrote into a header.
    #[must_use]
    pub fn address(mut self, address: impl Into<IpAddr>) -> Self {
        self.facts.address = Some(address.into());
        self
    }

    /// States the host that the request comes from, or the value of its `Origin` header. A stranger
    /// may have written it: one that is empty or longer than 512 bytes could match nothing, and is
    /// not stated.
    #[must_use]
    pub fn origin(mut self, origin: &'a str) -> Self {
        self.facts.origin = Some(origin).filter(|it| (1..=ORIGIN_BYTES_MAX).contains(&it.len()));
        self
    }

    /// States the environment that is called, such as `production`. 1 to 64 bytes, as the names
    /// below.
    #[must_use]
    pub const fn environment(mut self, environment: &'a str) -> Self {
        self.facts.environment = Some(environment);
        self
    }

    /// States the region that is called.
    #[must_use]
    pub const fn region(mut self, region: &'a str) -> Self {
        self.facts.region = Some(region);
        self
    }

    /// States the integration that calls.
    #[must_use]
    pub const fn integration(mut self, integration: &'a str) -> Self {
        self.facts.integration = Some(integration);
        self
    }

    /// States the version of the API that is called.
    #[must_use]
    pub const fn api_version(mut self, version: &'a str) -> Self {
        self.facts.api_version = Some(version);
        self
    }

    /// States whether the request came by HTTPS, all the way from the client.
    #[must_use]
    pub const fn https(mut self, https: bool) -> Self {
        self.facts.https = Some(https);
        self
    }

    /// States the client secret that came with the request beside the token, as it was sent. A
    /// stranger may have written it: one that is empty or longer than 512 bytes is nobody's, and is
    /// not stated.
    #[must_use]
    pub fn client_secret<T: AsRef<[u8]> + ?Sized>(mut self, secret: &'a T) -> Self {
        let fits = |it: &&[u8]| (1..=CLIENT_SECRET_BYTES_MAX).contains(&it.len());
        self.client_secret = Some(secret.as_ref()).filter(fits);
        self
    }

    /// States the SHA-256 of the certificate (its DER) that the client has shown in a TLS handshake
    /// which this service has verified. The daemon takes it from connections that it trusts to state
    /// one, and refuses the question of others.
    #[must_use]
    pub const fn client_certificate(mut self, sha256: [u8; 32]) -> Self {
        self.facts.client_certificate = Some(sha256);
        self
    }

    /// States the HTTP request that the question is about, whose signature the key may demand: as it
    /// came, with all its header fields, of which those that a signature covers are sent. Of a body,
    /// state its digest, or that it was compared with its `Content-Digest`. A stranger has written it:
    /// one with a part out of its bounds (SPEC §3, or more than 48 KiB in all) is not stated, and
    /// without a signature to such a key.
    ///
    /// ```
    /// use keygate::client::ValidateRequest;
    /// use keygate::sign::Request;
    /// let headers: [(&str, &[u8]); 2] = [("signature-input", b"sig=(...)"), ("signature", b"sig=:...:")];
    /// let came = Request {
    ///     method: Some("GET"),
    ///     scheme: Some("https"),
    ///     authority: Some("api.example.com"),
    ///     path: Some("/leads"),
    ///     query: Some("page=2"),
    ///     headers: &headers,
    ///     body: None,
    /// };
    /// let request = ValidateRequest::new("kg_live_…").signed(&came);
    /// ```
    #[must_use]
    pub fn signed(mut self, request: &sign::Request<'a>) -> Self {
        self.signed = SignedFacts::new(request);
        self
    }

    /// Binds the question to a tenant: a key of another one is `NOT_FOUND`.
    #[must_use]
    pub const fn tenant(mut self, tenant: &'a str) -> Self {
        self.facts.tenant = Some(tenant);
        self
    }

    /// Units to spend, 0 to 2^32; 0 judges without spending.
    #[must_use]
    pub const fn cost(mut self, units: u64) -> Self {
        self.cost = units;
        self
    }

    /// Judges without spending: nothing is counted and no limit moves.
    #[must_use]
    pub const fn peek(mut self) -> Self {
        self.flags = self.flags.with(ValidateFlags::PEEK);
        self
    }

    /// Wants to know the key's tenant and scopes too. Not in a batch.
    #[must_use]
    pub const fn details(mut self) -> Self {
        self.flags = self.flags.with(ValidateFlags::DETAILS);
        self
    }

    /// Wants to know the key's metadata too. Not in a batch.
    #[must_use]
    pub const fn metadata(mut self) -> Self {
        self.flags = self.flags.with(ValidateFlags::METADATA);
        self
    }
}

impl ValidateRequest<'_> {
    /// The limits that it names, in their order.
    pub(super) fn limits(&self) -> &[&str] {
        &self.limits
    }
}

/// Neither token nor client secret is shown.
impl fmt::Debug for ValidateRequest<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let of = |demand| self.scopes.iter().filter(move |(kind, _)| *kind == demand);
        f.debug_struct("ValidateRequest")
            .field("scopes_all", &of(Demand::All).map(|(_, scope)| scope).collect::<Vec<_>>())
            .field("scopes_any", &of(Demand::Any).map(|(_, scope)| scope).collect::<Vec<_>>())
            .field("features", &self.features)
            .field("limits", &self.limits)
            .field("facts", &self.facts)
            .field("cost", &self.cost)
            .field("flags", &self.flags)
            .finish_non_exhaustive()
    }
}

impl Item for ValidateRequest<'_> {
    const OPCODE: Opcode = Opcode::Validate;
    const BATCH: Opcode = Opcode::ValidateBatch;

    fn check(&self, in_batch: bool) -> Result<(), Error> {
        let scope_fits = |scope: &str| !scope.is_empty() && scope.len() <= SCOPE_BYTES_MAX;
        let bound = |field, why| Err(Error::Invalid(PayloadError::OutOfBounds { field, why }));
        if self.cost > COST_MAX {
            return bound("cost", "it is 0 to 2^32");
        }
        if self.scopes.len() > SCOPES_DEMANDED_MAX {
            return bound("demanded scopes", "at most 64 in one request");
        }
        if !self.scopes.iter().all(|(_, scope)| scope_fits(scope)) {
            return bound("a demanded scope", "it is 1 to 128 bytes");
        }
        if self.features.len() > FEATURES_DEMANDED_MAX {
            return bound("features", "at most 64 in one request");
        }
        if !self.features.iter().all(|one| !one.is_empty() && one.len() <= FACT_BYTES_MAX) {
            return bound("a feature", "it is 1 to 64 bytes");
        }
        if self.limits.len() > LIMITS_NAMED_MAX {
            return bound("limits", "at most 4 named in one request");
        }
        if !self.limits.iter().all(|one| !one.is_empty() && one.len() <= FACT_BYTES_MAX) {
            return bound("a limit", "it is 1 to 64 bytes");
        }
        if (1..self.limits.len()).any(|at| self.limits[..at].contains(&self.limits[at])) {
            return bound("a limit", "it stands twice");
        }
        if in_batch && self.flags.asks_for_more() {
            return bound("flags", "details and metadata are not told in a batch");
        }
        self.facts.check()
    }

    fn bytes_max(&self) -> usize {
        let scopes: usize = self.scopes.iter().map(|(_, scope)| TLV_BYTES + scope.len()).sum();
        let names = self.features.iter().chain(&self.limits);
        let names: usize = names.map(|one| TLV_BYTES + one.len()).sum();
        let secret = self.client_secret.map_or(0, |secret| TLV_BYTES + secret.len());
        let signed = self.signed.as_ref().map_or(0, SignedFacts::bytes_max);
        let fixed = VALIDATE_FIXED_BYTES + self.token.len() + secret;
        fixed + scopes + names + self.facts.bytes_max() + signed
    }

    fn write(&self, out: &mut BytesMut) {
        let mut writer = ValidateWriter::new(out, self.flags, self.cost, self.token);
        // Facts first: the daemon then need not look further for them.
        self.client_secret.iter().for_each(|secret| writer.client_secret(secret));
        self.facts.write(&mut writer);
        self.signed.iter().for_each(|signed| signed.write(&mut writer));
        for (demand, scope) in &self.scopes {
            match demand {
                Demand::All => writer.scope_all(scope),
                Demand::Any => writer.scope_any(scope),
            }
        }
        self.features.iter().for_each(|feature| writer.feature(feature));
        self.limits.iter().for_each(|name| writer.limit(name));
    }
}
