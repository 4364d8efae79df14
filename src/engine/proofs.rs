//! What a key demands beside its token: few keys demand anything, so it stands beside their entries.

use crate::key::{KeyView, Pepper, Time, TokenHash};

/// The proofs that a key demands; none of them for most keys.
#[derive(Debug, Clone, Default)]
pub(super) struct Proofs {
    /// The client secret, if the key demands one. `Some` with no hash lets nothing pass.
    pub(super) secret: Option<ClientSecret>,
}

/// A client secret, and during an overlap the one before.
#[derive(Debug, Clone, Default)]
pub(super) struct ClientSecret {
    /// Its hash; `None` where none was made yet.
    pub(super) current: Option<TokenHash>,
    /// The one before, and the microsecond since 1970 from which on it does not pass.
    pub(super) previous: Option<(TokenHash, i64)>,
}

impl Proofs {
    /// Compiles what a record demands; `None` when it demands nothing.
    pub(super) fn compile(record: &KeyView<'_>, pepper: &Pepper) -> Option<Self> {
        let hash = |sealed: &Option<_>| sealed.as_ref().and_then(|it| pepper.token_hash(it));
        let secret = record.requires_client_secret.then(|| ClientSecret {
            current: hash(&record.client_secret_hash),
            previous: hash(&record.previous_client_secret_hash)
                .zip(record.previous_client_secret_ends_at.map(Time::micros_up)),
        });
        let proofs = Self { secret };
        proofs.secret.is_some().then_some(proofs)
    }
}
