//! The answers to the questions of the data plane.

use std::time::Duration;

use keygate_protocol::verdict::Limits;
use keygate_protocol::{LimitName, LimitReport, PayloadError, Verdict, VerdictCode, Warnings};

use super::request::ValidateRequest;

/// The answer to a [`ValidateRequest`].
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Validation {
    /// What was decided.
    pub code: VerdictCode,
    /// The limit that denied: of several the one with the longest wait.
    pub denied_by: Option<LimitName>,
    /// What somebody should still look at.
    pub warnings: Warnings,
    /// The key, to report its outcome under; 0 when the token belongs to none.
    pub key_id: u64,
    /// How the limits of the key and of its tenant stand, as far as they were judged.
    pub limits: Limits,
    /// The slot that the request took, where its key's or its tenant's requests under way are
    /// limited: the report of the request gives it back ([`Report::slot`](super::Report::slot)).
    /// It is given back, too, when its time ends, and when this connection does.
    pub slot: Option<u64>,
    /// The key's tenant, if [`ValidateRequest::details`] were asked for.
    pub tenant_id: Option<String>,
    /// The scopes that the key grants, if [`ValidateRequest::details`] were asked for.
    pub scopes: Vec<String>,
    /// The key's metadata, a JSON text, if [`ValidateRequest::metadata`] was asked for and the key
    /// has any.
    pub metadata: Option<String>,
    /// The limits that the request named.
    named: Vec<String>,
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
        self.limits.get(denied_by)?.retry_after_us.map(Duration::from_micros)
    }

    /// How a limit stands that the request named ([`ValidateRequest::limit`]); `None` when it named
    /// none of this name, or it was not judged.
    #[must_use]
    pub fn named(&self, name: &str) -> Option<&LimitReport> {
        let place = self.named.iter().position(|named| named == name)?;
        self.limits.get(*LimitName::NAMED.get(place)?)
    }

    /// What to call a limit of this verdict: a named one as the request named it, others by their
    /// own names.
    #[must_use]
    pub fn name_of(&self, limit: LimitName) -> &str {
        let given = limit.place().and_then(|place| self.named.get(place));
        given.map_or(limit.name(), String::as_str)
    }

    /// The answer to this question.
    pub(crate) fn of(request: &ValidateRequest<'_>, payload: &[u8]) -> Result<Self, PayloadError> {
        Self::decode(payload).map(|validation| validation.named_by(request))
    }

    /// Knows the limits by the names that the question has.
    pub(super) fn named_by(mut self, request: &ValidateRequest<'_>) -> Self {
        self.named = request.limits().iter().map(|name| (*name).to_owned()).collect();
        self
    }

    pub(super) fn decode(payload: &[u8]) -> Result<Self, PayloadError> {
        let (verdict, details) = Verdict::decode(payload)?;
        Ok(Self {
            code: verdict.code,
            denied_by: verdict.denied_by,
            warnings: verdict.warnings,
            key_id: verdict.key_id,
            limits: verdict.limits,
            slot: verdict.slot,
            tenant_id: details.tenant_id.map(str::to_owned),
            scopes: details.scopes.into_iter().map(str::to_owned).collect(),
            metadata: details.metadata.map(str::to_owned),
            named: Vec::new(),
        })
    }
}
