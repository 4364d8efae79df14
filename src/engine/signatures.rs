//! 6, of the order of checks: the signature of the request, its age, its replay.
//!
//! A signature costs as much as hundreds of other decisions, so none is verified while the catalog is
//! locked: a first look finds which questions need it, these are verified, and then they are decided
//! whole, under the lock again. What was verified counts only for the very keys it was verified by.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use arrayvec::ArrayVec;
use keygate_protocol::limits::HEADERS_MAX;
use keygate_protocol::validate::Body as StatedBody;
use keygate_protocol::{Validate, VerdictCode};
use parking_lot::RwLock;

use super::Engine;
use super::validate::BATCH;
use crate::clock::Now;
use crate::key::{KeyView, SigningKey, SigningMaterial};
use crate::limit::{Age, Refusal, Replays, Room, Used};
use crate::sign::{
    Algorithms, Body, Failure, Material, Policy, PublicKey, Request, Signature, Verifier, Verifiers,
};
use crate::vault::{Purpose, Vault, signing_owner};

/// Times that a question's signature is verified, should its key change under way.
const ROUNDS: usize = 2;

/// What the signatures of a key are verified by.
#[derive(Debug)]
pub(super) struct Signing {
    verifiers: Verifiers,
}

/// What is known of the signature of a question.
#[derive(Debug, Clone)]
pub(super) enum Proof {
    /// Nothing yet.
    Unverified,
    /// What came of it, by these keys.
    Verified(Arc<Signing>, Result<Signature, Failure>),
    /// The key changed as often as its signature was verified.
    GivenUp,
}

/// What becomes of a question for its signature.
#[derive(Debug)]
pub(super) enum Outcome {
    /// It is to be verified first, by these.
    Open(Arc<Signing>),
    /// It denies.
    Denied(VerdictCode),
    /// It is right; to be taken back, where it says so, unless the verdict is valid.
    Right(Option<Used>),
}

/// Questions whose signatures are to be verified: their places in the batch.
pub(super) type Open = ArrayVec<(usize, Arc<Signing>), BATCH>;

/// Has a lead of so many seconds kept durably (see [`crate::limit::replays::Lead`]), without a wait.
pub type LeadKeeper = Box<dyn Fn(u32) + Send + Sync>;

/// What comes of a signature, as figures call it; the first is the one that is right.
const CHECKED: [&str; 6] = ["right", "missing", "invalid", "expired", "algorithm", "unusable"];

/// The rules of signatures, and which were used.
pub(super) struct SigningDesk {
    /// Taken for signed questions alone, and outside the catalog's lock or for a glance.
    policy: RwLock<Arc<Policy>>,
    pub(super) replays: Replays,
    lead_keeper: OnceLock<LeadKeeper>,
    /// Whether any key has demanded signatures since the start.
    demanded: AtomicBool,
    /// By [`CHECKED`].
    checked: [AtomicU64; CHECKED.len()],
}

impl SigningDesk {
    /// Before any configuration: nothing is taken, since nothing could be remembered.
    pub(super) fn new() -> Self {
        let policy =
            Policy { max_age_s: 0, skew_s: 0, components: Box::new([]), covers_body: true };
        Self {
            policy: RwLock::new(Arc::new(policy)),
            replays: Replays::new(0),
            lead_keeper: OnceLock::new(),
            demanded: AtomicBool::new(false),
            checked: Default::default(),
        }
    }

    fn count(&self, verified: &Result<Signature, Failure>) {
        let at = match verified {
            Ok(_) => 0,
            Err(Failure::Missing) => 1,
            Err(Failure::Invalid) => 2,
            Err(Failure::Expired) => 3,
            Err(Failure::Algorithm) => 4,
            Err(Failure::Unusable) => 5,
        };
        self.checked[at].fetch_add(1, Ordering::Relaxed);
    }

    fn policy(&self) -> Arc<Policy> {
        Arc::clone(&self.policy.read())
    }
}

impl Signing {
    /// What a record's requests are verified by; `None` where it demands no signature.
    pub(super) fn compile(record: &KeyView<'_>, vault: Option<&Vault>) -> Option<Arc<Self>> {
        if !record.enforce_signing && !record.require_request_signing {
            return None;
        }
        let keys = record.signing_keys.iter().map(|key| verifier(record.id, key, vault)).collect();
        let allowed =
            Algorithms::of_list(record.allowed_signature_algorithms.iter().map(AsRef::as_ref));
        let verifiers = Verifiers::new(keys, allowed);
        Some(Arc::new(Self { verifiers }))
    }

    fn verify(
        &self,
        question: &Validate<'_>,
        policy: &Policy,
        now_s: i64,
    ) -> Result<Signature, Failure> {
        let stated = question.facts.signed();
        let headers: ArrayVec<_, HEADERS_MAX> = stated.headers().take(HEADERS_MAX).collect();
        let request = Request {
            method: stated.method,
            scheme: stated.scheme,
            authority: stated.authority,
            path: stated.path,
            query: stated.query,
            headers: &headers,
            body: stated.body.map(|body| match body {
                StatedBody::Checked => Body::Checked,
                StatedBody::Sha256(digest) => Body::Sha256(digest),
                StatedBody::Sha512(digest) => Body::Sha512(digest),
            }),
        };
        self.verifiers.verify(&request, policy, now_s)
    }

    const fn denial(failure: Failure) -> VerdictCode {
        match failure {
            Failure::Missing => VerdictCode::SignatureRequired,
            Failure::Unusable => VerdictCode::SignatureUnchecked,
            Failure::Invalid => VerdictCode::SignatureInvalid,
            Failure::Expired => VerdictCode::SignatureExpired,
            Failure::Algorithm => VerdictCode::SignatureAlgorithmNotAllowed,
        }
    }
}

/// One that cannot be used stays, by its name: what it would verify cannot be told from what is wrong.
fn verifier(id: u64, key: &SigningKey, vault: Option<&Vault>) -> Verifier {
    let material = match &key.material {
        SigningMaterial::Public(spki) => {
            PublicKey::from_spki(spki).map(Material::Public).map_err(|error| error.to_string())
        }
        SigningMaterial::Shared(secret) => vault
            .ok_or_else(|| "there is no master key".to_owned())
            .and_then(|vault| {
                let owner = signing_owner(id, &key.id);
                let opened = vault.open(Purpose::Signing, &owner, secret);
                opened.map_err(|error| error.to_string())
            })
            .map(Material::Shared),
    };
    let material = material.unwrap_or_else(|error| {
        tracing::error!(key = id, signing_key = key.id, error, "a verification key cannot be used");
        Material::Unusable
    });
    Verifier { id: key.id.clone(), material }
}

impl Engine {
    /// Has signatures judged by these rules from here on, and so many of them remembered.
    pub fn set_signing(&self, policy: Policy, room: impl Into<Room>) {
        *self.signing.policy.write() = Arc::new(policy);
        self.signing.replays.set_room(room);
    }

    /// Whether every signature must cover a header field, as the one that carries the token; the
    /// digest of the body is none.
    #[must_use]
    pub fn signatures_cover_a_field(&self) -> bool {
        let policy = self.signing.policy();
        let mut names = policy.components.iter().map(crate::sign::input::Component::name);
        names.any(|name| !name.starts_with('@') && name != "content-digest")
    }

    /// Signatures that were used.
    #[must_use]
    pub const fn replays(&self) -> &Replays {
        &self.signing.replays
    }

    /// Forgets what is too old, in some parts of what is remembered.
    pub fn sweep_replays(&self, now: Now) {
        let age = Age { now_s: seconds(now), max_s: self.signing.policy.read().max_age_s };
        self.signing.replays.sweep_some(age);
    }

    /// Whether any key has demanded signatures since the start.
    #[must_use]
    pub fn demands_signatures(&self) -> bool {
        self.signing.demanded.load(Ordering::Relaxed)
    }

    /// Notes that one does.
    pub(crate) fn note_demand_of_signatures(&self) {
        self.signing.demanded.store(true, Ordering::Relaxed);
    }

    /// The same signatures, each with the tenant that its key has by now.
    #[must_use]
    pub fn with_tenants(&self, mut all: Vec<Used>) -> Vec<Used> {
        let catalog = self.read();
        for used in &mut all {
            used.tenant = catalog.by_id(used.key).map_or(0, |entry| entry.tenant);
        }
        all
    }

    /// Gives it what keeps the lead, once; without it nothing further ahead is ever taken.
    pub fn keep_lead_by(&self, keeper: LeadKeeper) {
        let first = self.signing.lead_keeper.set(keeper);
        debug_assert!(first.is_ok(), "a lead is kept in one place");
    }

    /// Has a lead kept that was [asked](crate::limit::replays::Lead::ask) for.
    pub(crate) fn keep_lead(&self, seconds: u32) {
        if let Some(keeper) = self.signing.lead_keeper.get() {
            keeper(seconds);
        }
    }

    /// Signatures that were looked at since the start, by what came of it. One that is right may
    /// have been used before.
    pub fn signatures_checked(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let counts = self.signing.checked.iter().map(|count| count.load(Ordering::Relaxed));
        CHECKED.into_iter().zip(counts)
    }

    /// 6: the signature, as far as it is known.
    pub(super) fn check_signature(
        &self,
        signing: &Arc<Signing>,
        (key, tenant): (u64, u32),
        proof: &Proof,
        question: &Validate<'_>,
        now: Now,
    ) -> Outcome {
        let verified = match proof {
            Proof::GivenUp => return Outcome::Denied(VerdictCode::SignatureUnchecked),
            Proof::Verified(by, verified) if Arc::ptr_eq(by, signing) => verified,
            _ => return Outcome::Open(Arc::clone(signing)),
        };
        let signature = match verified {
            Ok(signature) => signature,
            Err(failure) => return Outcome::Denied(Signing::denial(*failure)),
        };
        let used = Used::new(key, &signature.replay, signature.created).of_tenant(tenant);
        let age = Age { now_s: seconds(now), max_s: self.signing.policy.read().max_age_s };
        let replays = &self.signing.replays;
        // A peek uses nothing, and learns what a use would.
        let (taken, reserved) = if question.peeks() {
            (replays.look(&used, age), None)
        } else {
            (replays.reserve(&used, age), Some(used))
        };
        match taken {
            Ok(()) => Outcome::Right(reserved),
            Err(Refusal::Replayed) => Outcome::Denied(VerdictCode::SignatureReplayed),
            Err(Refusal::Forgotten | Refusal::Ahead | Refusal::Full) => {
                Outcome::Denied(VerdictCode::SignatureUnchecked)
            }
        }
    }

    /// Verifies what is open, and has it decided, until nothing is open.
    pub(super) fn settle_signatures(
        &self,
        mut open: Open,
        questions: &[Validate<'_>],
        now: Now,
        mut decide: impl FnMut(&[(usize, Proof)]) -> Open,
    ) {
        for round in 0..=ROUNDS {
            if open.is_empty() {
                return;
            }
            let policy = self.signing.policy();
            let verify = |(at, signing): (usize, Arc<Signing>)| {
                if round == ROUNDS {
                    return (at, Proof::GivenUp);
                }
                let verified = signing.verify(&questions[at], &policy, seconds(now));
                self.signing.count(&verified);
                (at, Proof::Verified(signing, verified))
            };
            let proofs: ArrayVec<_, BATCH> = open.into_iter().map(verify).collect();
            open = decide(&proofs);
            // What was refused for it passes when it is kept.
            if let Some(seconds) = self.signing.replays.lead().ask(policy.skew_s) {
                self.keep_lead(seconds);
            }
        }
    }
}

const fn seconds(now: Now) -> i64 {
    now.wall_us.div_euclid(1_000_000)
}
