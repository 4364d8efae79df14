//! A verdict as JSON: of a daemon's answer (`validate --json`) and of a simulation.

use keygate_protocol::{LimitName, Verdict};
use serde::Serialize;
use serde_json::Value;

use super::output::{metadata_json, milliseconds};
use crate::client::Validation;

/// A verdict as `validate --json` prints it (SPEC §8).
#[derive(Debug, Serialize)]
pub(super) struct VerdictJson<'a> {
    valid: bool,
    code: &'static str,
    pub(super) message: &'static str,
    key_id: Option<String>,
    tenant_id: Option<&'a str>,
    scopes: Vec<&'a str>,
    denied_by: Option<&'a str>,
    limits: Vec<LimitJson<'a>>,
    slot: Option<String>,
    warnings: Vec<&'static str>,
    metadata: Option<Value>,
}

/// How one limit stands.
#[derive(Debug, Serialize)]
struct LimitJson<'a> {
    name: &'a str,
    limit: u64,
    remaining: u64,
    retry_after_ms: Option<Value>,
    reset_after_ms: Option<Value>,
}

/// What a verdict says of the key beside its limits.
#[derive(Debug, Default)]
pub(super) struct About<'a> {
    pub(super) tenant_id: Option<&'a str>,
    pub(super) scopes: Vec<&'a str>,
    pub(super) metadata: Option<&'a str>,
}

impl<'a> VerdictJson<'a> {
    /// That of a verdict whose limits have these names.
    pub(super) fn new(
        verdict: &Verdict,
        about: About<'a>,
        name_of: impl Fn(LimitName) -> &'a str,
    ) -> Self {
        let limits = verdict.limits.iter().map(|limit| LimitJson {
            name: name_of(limit.name),
            limit: limit.limit,
            remaining: limit.remaining,
            retry_after_ms: limit.retry_after_us.map(milliseconds),
            reset_after_ms: limit.reset_after_us.map(milliseconds),
        });
        Self {
            valid: verdict.code.is_valid(),
            code: verdict.code.name(),
            message: verdict.code.text(),
            key_id: (verdict.key_id != 0).then(|| verdict.key_id.to_string()),
            tenant_id: about.tenant_id,
            scopes: about.scopes,
            denied_by: verdict.denied_by.map(&name_of),
            limits: limits.collect(),
            slot: verdict.slot.map(|slot| slot.to_string()),
            warnings: verdict.warnings.names().collect(),
            metadata: about.metadata.map(metadata_json),
        }
    }

    /// That of a daemon's answer.
    pub(super) fn of_answer(answer: &'a Validation) -> Self {
        let &Validation { code, denied_by, warnings, key_id, limits, slot, .. } = answer;
        let verdict = Verdict { code, denied_by, warnings, key_id, limits, slot };
        let about = About {
            tenant_id: answer.tenant_id.as_deref(),
            scopes: answer.scopes.iter().map(String::as_str).collect(),
            metadata: answer.metadata.as_deref(),
        };
        Self::new(&verdict, about, |limit| answer.name_of(limit))
    }
}
