//! What a key demands beside its token: few keys demand anything, so it stands beside their entries.
//!
//! Secrets and certificates are compared as hashes and in constant time: how long a denial takes says
//! nothing of how near a guess was.

use std::sync::Arc;

use keygate_protocol::VerdictCode;
use keygate_protocol::validate::Facts;
use subtle::{Choice, ConstantTimeEq};

use super::asker::Standing;
use super::signatures::Signing;
use crate::key::form::fingerprint;
use crate::key::{KeyView, Pepper, Time, TokenHash};
use crate::vault::Vault;

/// The proofs that a key demands; none of them for most keys.
#[derive(Debug, Clone, Default)]
pub(super) struct Proofs {
    /// The client secret, if the key demands one. `Some` with no hash lets nothing pass.
    pub(super) secret: Option<ClientSecret>,
    /// The certificate of the client, if the key demands one.
    pub(super) certificate: Option<Certificate>,
    /// What the signature of a request is verified by, if the key demands one.
    pub(super) signing: Option<Arc<Signing>>,
}

/// A client secret, and during an overlap the one before.
#[derive(Debug, Clone, Default)]
pub(super) struct ClientSecret {
    /// Its hash; `None` where none was made yet.
    pub(super) current: Option<TokenHash>,
    /// The one before, and the microsecond since 1970 from which on it does not pass.
    pub(super) previous: Option<(TokenHash, i64)>,
}

/// Which certificates pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Certificate {
    /// Any that whoever ended the client's TLS connection has verified and states.
    Any,
    /// The one whose DER has this SHA-256.
    Only([u8; 32]),
    /// None: the record names one in a form that says no hash, as one may that was written before
    /// the form was checked.
    Nothing,
}

impl Proofs {
    /// Compiles what a record demands; `None` when it demands nothing. A hash of a certificate is no
    /// demand by itself: records of the source system carry one beside `enforce_mutual_tls: false`.
    pub(super) fn compile(
        record: &KeyView<'_>,
        pepper: &Pepper,
        vault: Option<&Vault>,
    ) -> Option<Self> {
        let hash = |sealed: &Option<_>| sealed.as_ref().and_then(|it| pepper.token_hash(it));
        let secret = record.requires_client_secret.then(|| ClientSecret {
            current: hash(&record.client_secret_hash),
            previous: hash(&record.previous_client_secret_hash)
                .zip(record.previous_client_secret_ends_at.map(Time::micros_up)),
        });
        let certificate = record.enforce_mutual_tls.then(|| match record.client_certificate_hash {
            "" => Certificate::Any,
            text => fingerprint(text).map_or(Certificate::Nothing, Certificate::Only),
        });
        let signing = Signing::compile(record, vault);
        let demands = secret.is_some() || certificate.is_some() || signing.is_some();
        demands.then_some(Self { secret, certificate, signing })
    }

    /// 4: the client secret.
    pub(super) fn check_secret(&self, facts: &Facts<'_>, now_us: i64) -> Option<VerdictCode> {
        self.secret.as_ref().and_then(|secret| secret.check(facts.client_secret(), now_us))
    }

    /// 5, its end: the client certificate.
    pub(super) fn check_certificate(
        &self,
        facts: &Facts<'_>,
        standing: &Standing,
    ) -> Option<VerdictCode> {
        let demanded = self.certificate.as_ref()?;
        let shown = match demanded {
            // A connection's own certificate may be that of a service that asks for its clients: it
            // says something of the client only where the record names it.
            Certificate::Any => standing.stated_certificate(facts),
            Certificate::Only(_) | Certificate::Nothing => standing.certificate_of(facts),
        };
        let Some(shown) = shown else {
            return Some(VerdictCode::ClientCertificateRequired);
        };
        let passes = match demanded {
            Certificate::Any => true,
            Certificate::Only(hash) => hash.ct_eq(&shown).into(),
            Certificate::Nothing => false,
        };
        (!passes).then_some(VerdictCode::ClientCertificateMismatch)
    }

    /// Whether a secret is kept whose overlap is over.
    pub(super) fn has_retired_secret(&self, now_us: i64) -> bool {
        let previous = self.secret.as_ref().and_then(|secret| secret.previous);
        previous.is_some_and(|(_, ends_us)| ends_us <= now_us)
    }
}

impl ClientSecret {
    fn check(&self, stated: Option<&[u8]>, now_us: i64) -> Option<VerdictCode> {
        let (Some(stated), Some(current)) = (stated, self.current) else {
            return Some(VerdictCode::ClientSecretRequired);
        };
        let stated = TokenHash::of(stated);
        // Both are compared, whichever passes.
        let is_current = current.ct_eq(&stated);
        let is_previous = self.previous.map_or(Choice::from(0), |(previous, ends_us)| {
            previous.ct_eq(&stated) & Choice::from(u8::from(now_us < ends_us))
        });
        let passes = bool::from(is_current | is_previous);
        (!passes).then_some(VerdictCode::ClientSecretWrong)
    }
}

impl Standing {
    /// The certificate that a question states of its client, where it may.
    fn stated_certificate(&self, facts: &Facts<'_>) -> Option<[u8; 32]> {
        facts.client_certificate().filter(|_| self.states_certificates)
    }

    /// The certificate of the client that a question is about. Whoever may state certificates speaks
    /// for its clients, so that its own is nobody's proof.
    fn certificate_of(&self, facts: &Facts<'_>) -> Option<[u8; 32]> {
        if self.states_certificates { self.stated_certificate(facts) } else { self.certificate }
    }
}
