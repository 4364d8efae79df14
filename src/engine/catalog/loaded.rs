//! A key compiled from its record.

use std::sync::Arc;

use keygate_protocol::limits::METADATA_BYTES_MAX;

use super::CatalogError;
use crate::engine::entry::due_seconds;
use crate::engine::proofs::Proofs;
use crate::engine::terms::Compiled;
use crate::key::access::has_unsound_entry;
use crate::key::token::Prefixes;
use crate::key::{KeyView, Pepper, Policy, Rules, Status, Time, TokenHash};
use crate::vault::Vault;

/// A key compiled from its record: what the catalog keeps of it.
#[derive(Debug)]
pub struct Loaded {
    pub(super) id: u64,
    pub(super) token: TokenHash,
    pub(super) previous: Option<(TokenHash, i64)>,
    pub(super) expires_us: i64,
    pub(super) rotation_due_s: u32,
    pub(super) status: Status,
    pub(super) limits: Compiled,
    pub(super) foreign: bool,
    pub(super) deleted: bool,
    pub(super) audited: bool,
    pub(super) recorded: bool,
    pub(super) tenant: Box<str>,
    pub(super) policy: Policy,
    unsound: bool,
    pub(super) metadata: Option<Arc<Metadata>>,
    pub(super) proofs: Option<Box<Proofs>>,
}

/// The metadata of a key: a JSON text, for answers.
#[derive(Debug)]
pub struct Metadata(Box<[u8]>);

impl Metadata {
    /// That of a record, if it has any that an answer can carry. One that was written before it was
    /// checked may not be UTF-8: a client would have to take the whole answer as unreadable.
    fn of(record: &KeyView<'_>) -> Option<Self> {
        let json = record.metadata_json;
        let sound = (1..=METADATA_BYTES_MAX).contains(&json.len()) && str::from_utf8(json).is_ok();
        sound.then(|| Self(json.into()))
    }

    /// The text, as the record has it.
    #[must_use]
    pub const fn json(&self) -> &[u8] {
        &self.0
    }
}

impl Loaded {
    /// The key's id.
    #[must_use]
    pub const fn id(&self) -> u64 {
        self.id
    }

    /// Whether an entry of its rules can match nothing, and it is not deleted.
    #[must_use]
    pub const fn has_unsound_entry(&self) -> bool {
        self.unsound && !self.deleted
    }

    /// Compiles a record. One whose tier is not there is withheld: its token is unknown until it
    /// is compiled under rules that have the tier.
    ///
    /// # Errors
    /// [`CatalogError::Sealed`] when its token's hash is missing or under another pepper's seal.
    pub fn compile(
        record: &KeyView<'_>,
        pepper: &Pepper,
        vault: Option<&Vault>,
        prefixes: &Prefixes,
        rules: &Rules,
    ) -> Result<Self, CatalogError> {
        let sealed = CatalogError::Sealed { id: record.id };
        let open = |hash| pepper.token_hash(hash).ok_or(sealed);
        let token = record.key_hash.as_ref().map(open).transpose()?.ok_or(sealed)?;
        let previous = record.previous_key_hash.as_ref().map(open).transpose()?;
        let allowance = rules.allowance(record);
        let credits = record.credits.as_ref();
        let limits = allowance
            .as_ref()
            .map(|it| Compiled::of(it, credits, record.total_requests))
            .unwrap_or_default();
        let ends_us = record.previous_key_ends_at.map_or(i64::MIN, Time::micros_up);
        // A token that was made under another brand is of another shape by now.
        let of_another_brand = !prefixes.begin(record.key_prefix);
        let policy = Policy { withheld: allowance.is_none(), ..Policy::compile(record) };
        let proofs = Proofs::compile(record, pepper, vault);
        Ok(Self {
            id: record.id,
            token,
            previous: previous.map(|token| (token, ends_us)),
            expires_us: record.expires_at.map_or(i64::MAX, Time::micros_up),
            rotation_due_s: due_seconds(record.rotation_due_us()),
            status: record.status,
            limits,
            foreign: record.foreign_token || record.previous_foreign_token || of_another_brand,
            deleted: record.deleted_at.is_some(),
            audited: record.requires_audit_logging,
            recorded: record.log_all_requests,
            tenant: record.tenant_id.into(),
            unsound: (policy.access.is_some() || proofs.is_some()) && has_unsound_entry(record),
            policy,
            metadata: Metadata::of(record).map(Arc::new),
            proofs: proofs.map(Box::new),
        })
    }

    /// Whether its tokens are to be found.
    pub(super) const fn is_live(&self) -> bool {
        !self.deleted && !self.policy.withheld
    }
}
