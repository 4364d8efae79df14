//! The questions and reports of the data plane, and their answers.

use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

use bytes::BytesMut;
use keygate_protocol::limits::{
    COST_MAX, ENDPOINT_BYTES_MAX, ERROR_TEXT_BYTES_MAX, FACT_BYTES_MAX, FEATURES_DEMANDED_MAX,
    ORIGIN_BYTES_MAX, SCOPE_BYTES_MAX, SCOPES_DEMANDED_MAX, TOKEN_BYTES_MAX,
};
use keygate_protocol::validate::ValidateWriter;
use keygate_protocol::verdict::Limits;
use keygate_protocol::{
    Increment, LimitName, Opcode, PayloadError, ValidateFlags, Verdict, VerdictCode, Warnings,
};

use super::error::Error;
use super::facts::Facts;

/// Bytes of a `Validate` before its token (SPEC §6.3).
const VALIDATE_FIXED_BYTES: usize = 11;
/// Bytes of an `Increment` before its facts (SPEC §6.4).
const INCREMENT_FIXED_BYTES: usize = 18;
/// Bytes before the value of a type-length-value.
pub(super) const TLV_BYTES: usize = 3;
const ID_BYTES: usize = 16;

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
    scopes: Vec<(Demand, &'a str)>,
    features: Vec<&'a str>,
    facts: Facts<'a>,
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
            scopes: Vec::new(),
            features: Vec::new(),
            facts: Facts::default(),
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

/// The token is not shown.
impl fmt::Debug for ValidateRequest<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let of = |demand| self.scopes.iter().filter(move |(kind, _)| *kind == demand);
        f.debug_struct("ValidateRequest")
            .field("scopes_all", &of(Demand::All).map(|(_, scope)| scope).collect::<Vec<_>>())
            .field("scopes_any", &of(Demand::Any).map(|(_, scope)| scope).collect::<Vec<_>>())
            .field("features", &self.features)
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
        if in_batch && self.flags.asks_for_more() {
            return bound("flags", "details and metadata are not told in a batch");
        }
        self.facts.check()
    }

    fn bytes_max(&self) -> usize {
        let scopes: usize = self.scopes.iter().map(|(_, scope)| TLV_BYTES + scope.len()).sum();
        let features: usize = self.features.iter().map(|one| TLV_BYTES + one.len()).sum();
        VALIDATE_FIXED_BYTES + self.token.len() + scopes + features + self.facts.bytes_max()
    }

    fn write(&self, out: &mut BytesMut) {
        let mut writer = ValidateWriter::new(out, self.flags, self.cost, self.token);
        // Facts first: the daemon then need not look further for them.
        self.facts.write(&mut writer);
        for (demand, scope) in &self.scopes {
            match demand {
                Demand::All => writer.scope_all(scope),
                Demand::Any => writer.scope_any(scope),
            }
        }
        self.features.iter().for_each(|feature| writer.feature(feature));
    }
}

/// The answer to a [`ValidateRequest`].
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Validation {
    /// What was decided.
    pub code: VerdictCode,
    /// The limit that denied.
    pub denied_by: Option<LimitName>,
    /// What somebody should still look at.
    pub warnings: Warnings,
    /// The key, to report its outcome under; 0 when the token belongs to none.
    pub key_id: u64,
    /// How the key's limits stand, as far as they were judged.
    pub limits: Limits,
    /// The key's tenant, if [`ValidateRequest::details`] were asked for.
    pub tenant_id: Option<String>,
    /// The scopes that the key grants, if [`ValidateRequest::details`] were asked for.
    pub scopes: Vec<String>,
    /// The key's metadata, a JSON text, if [`ValidateRequest::metadata`] was asked for and the key
    /// has any.
    pub metadata: Option<String>,
}

impl Validation {
    /// Whether the request may go on.
    #[must_use]
    pub const fn is_valid(&self) -> bool {
        self.code.is_valid()
    }

    /// After which the same request would be admitted, rounded up to microseconds. `None` when no
    /// limit denied, or when the cost is above the limit so that it never will be.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        let denied_by = self.denied_by?;
        let report = self.limits.iter().find(|report| report.name == denied_by)?;
        report.retry_after_us.map(Duration::from_micros)
    }

    pub(super) fn decode(payload: &[u8]) -> Result<Self, PayloadError> {
        let (verdict, details) = Verdict::decode(payload)?;
        Ok(Self {
            code: verdict.code,
            denied_by: verdict.denied_by,
            warnings: verdict.warnings,
            key_id: verdict.key_id,
            limits: verdict.limits,
            tenant_id: details.tenant_id.map(str::to_owned),
            scopes: details.scopes.into_iter().map(str::to_owned).collect(),
            metadata: details.metadata.map(str::to_owned),
        })
    }
}

/// What became of a request. Stands for one request unless told.
///
/// ```
/// use std::time::Duration;
/// use keygate::client::Report;
/// let report = Report::new(42).status(200).latency(Duration::from_millis(3)).endpoint("/leads");
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report<'a>(Increment<'a>);

impl<'a> Report<'a> {
    /// Reports for a key, as its [`Validation::key_id`] named it.
    #[must_use]
    pub const fn new(key_id: u64) -> Self {
        Self(Increment::new(key_id))
    }

    /// Requests that this report stands for, at least 1; status and latency are those of each.
    #[must_use]
    pub const fn count(mut self, requests: u32) -> Self {
        self.0.count = requests;
        self
    }

    /// The status of each, 100 to 999 as in HTTP; 400 and above is an error.
    #[must_use]
    pub const fn status(mut self, status: u16) -> Self {
        self.0.status = Some(status);
        self
    }

    /// How long each took; carried in microseconds, more than an hour as 2^32 - 2 of them.
    #[must_use]
    pub fn latency(mut self, latency: Duration) -> Self {
        let us = u32::try_from(latency.as_micros()).unwrap_or(u32::MAX);
        self.0.latency_us = Some(us.min(u32::MAX - 1));
        self
    }

    /// Which endpoint. Cut at 256 bytes; none if empty. A route's pattern rather than a request's
    /// path: the daemon tells 256 endpoints of a key apart.
    #[must_use]
    pub fn endpoint(mut self, endpoint: &'a str) -> Self {
        self.0.endpoint = text(endpoint, ENDPOINT_BYTES_MAX);
        self
    }

    /// What went wrong; makes it an error whatever the status. Cut at 1,024 bytes; none if empty.
    #[must_use]
    pub fn error(mut self, error: &'a str) -> Self {
        self.0.error = text(error, ERROR_TEXT_BYTES_MAX);
        self
    }

    /// The same id within the daemon's window counts once, so that a report may be sent again.
    #[must_use]
    pub const fn id(mut self, id: u128) -> Self {
        self.0.id = Some(id);
        self
    }
}

/// What is told, not judged, is cut rather than refused: a report is worth more than its words.
fn text(text: &str, bytes_max: usize) -> Option<&str> {
    Some(&text[..text.floor_char_boundary(bytes_max)]).filter(|text| !text.is_empty())
}

impl Item for Report<'_> {
    const OPCODE: Opcode = Opcode::Increment;
    const BATCH: Opcode = Opcode::IncrementBatch;

    fn check(&self, _in_batch: bool) -> Result<(), Error> {
        let bound = |field, why| Err(Error::Invalid(PayloadError::OutOfBounds { field, why }));
        if self.0.count == 0 {
            return bound("count", "it is at least 1");
        }
        match self.0.status {
            None | Some(100..=999) => Ok(()),
            Some(_) => bound("status", "it is 100 to 999"),
        }
    }

    fn bytes_max(&self) -> usize {
        let text = |text: Option<&str>| text.map_or(0, |text| TLV_BYTES + text.len());
        let id = self.0.id.map_or(0, |_| TLV_BYTES + ID_BYTES);
        INCREMENT_FIXED_BYTES + text(self.0.endpoint) + text(self.0.error) + id
    }

    fn write(&self, out: &mut BytesMut) {
        self.0.encode(out);
    }
}
