//! `Validate`: the order of checks (SPEC §8), cheap before dear, identity before permission,
//! permission before limits. A denied request consumes nothing.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use arrayvec::ArrayVec;
use keygate_protocol::{Validate, ValidateFlags, Verdict, VerdictCode, Warnings};

use super::Engine;
use super::access::{check_access, check_https};
use super::asker::{Asker, Standing};
use super::catalog::{Catalog, Metadata, Previous};
use super::entry::{Cell, Entry, Marks};
use super::limits::{Moment, Wait};
use super::proofs::Proofs;
use super::signatures::{Open, Outcome, Proof, Signing};
use super::tenants::Bound;
use crate::clock::Now;
use crate::key::token::Shape;
use crate::key::{Access, Policy, Status, TenantState, TokenHash};

/// Questions that are decided together: enough that their cache misses overlap, few enough that a
/// writer waiting for the catalog waits for about ten microseconds.
pub const BATCH: usize = 32;

/// A verdict, and the key's policy where the question asked for details.
#[derive(Debug, Clone)]
pub struct Answer {
    /// What was decided.
    pub verdict: Verdict,
    /// Whether the slot that the verdict names outlives the connection.
    pub slot_stays: bool,
    /// The accounts to wait for: the cost is within every limit, and a lease has to be debited
    /// first. The verdict is [`VerdictCode::LedgerUnavailable`] for whoever does not wait; whoever
    /// does asks again when they were debited.
    pub wait: Option<Wait>,
    /// Scopes and other rules, if they were asked for and the key is known.
    pub policy: Option<Arc<Policy>>,
    /// The key's tenant, likewise.
    pub tenant: Option<Arc<str>>,
    /// The key's metadata, if it was asked for, and the key is known and has any.
    pub metadata: Option<Arc<Metadata>>,
    /// Where the key asks for a record of every decision on it.
    pub record: Option<Record>,
}

/// What the record of a decision needs to know beside the answer.
#[derive(Debug, Clone)]
pub struct Record {
    /// The key's tenant.
    pub tenant: Arc<str>,
    /// Whether the key demands audit and the verdict is valid: a place was reserved at the
    /// [`AuditDesk`](super::AuditDesk), which whoever takes the answer fills or gives back.
    pub reserved: bool,
}

/// The answers to a batch, made once and written over: a verdict has room for all limits there may
/// be, of which most keys have one.
#[derive(Debug, Clone)]
pub struct Answers {
    items: Box<[Answer]>,
    len: usize,
    /// Questions whose signatures were looked at.
    verified: usize,
}

impl Default for Answers {
    fn default() -> Self {
        Self { items: vec![Answer::none(); BATCH].into(), len: 0, verified: 0 }
    }
}

impl Answers {
    /// Questions of the batch whose signatures were looked at: each costs as much as hundreds of
    /// others.
    #[must_use]
    pub const fn verified(&self) -> usize {
        self.verified
    }

    /// The next answer, about no key yet.
    fn next(&mut self) -> &mut Answer {
        let answer = &mut self.items[self.len];
        self.len += 1;
        answer.begin(VerdictCode::NotFound, 0);
        answer
    }
}

impl std::ops::Deref for Answers {
    type Target = [Answer];

    fn deref(&self) -> &[Answer] {
        &self.items[..self.len]
    }
}

/// Who asks the questions of a batch.
#[derive(Clone, Copy)]
struct Known<'a> {
    bound: Bound,
    standing: &'a Standing,
    again: bool,
}

/// A question whose token is worth a lookup.
struct Asked<'a, 'q> {
    by: Known<'a>,
    question: &'a Validate<'q>,
    token: &'a TokenHash,
    proof: &'a Proof,
}

impl Engine {
    /// Decides up to [`BATCH`] questions at one instant: an answer for each, in order, in place of
    /// those that were there.
    ///
    /// The catalog is walked in passes: hash all, touch all buckets, touch all entries, touch their
    /// limits, then decide each; so the cache misses of one batch overlap and are paid about once.
    pub fn validate(&self, questions: &[Validate<'_>], now: Now, answers: &mut Answers) {
        self.validate_for(Asker::default(), questions, now, answers);
    }

    /// As [`Engine::validate`], for a caller that was told apart.
    pub fn validate_for(
        &self,
        from: Asker<'_>,
        questions: &[Validate<'_>],
        now: Now,
        answers: &mut Answers,
    ) {
        answers.len = 0;
        let catalog = self.read();
        // Once for the batch, under the lock: numbers are used again.
        let bound = catalog.tenants.bound(from.tenant);
        let asker = Known { bound, standing: &from.standing, again: from.again };
        let mut tokens = ArrayVec::<Result<TokenHash, VerdictCode>, BATCH>::new();
        for question in questions.iter().take(BATCH) {
            tokens.push(self.hash(question.token, &catalog));
        }
        // Passes of their own, and short ones: between two hashes the processor could look only
        // two touches ahead.
        if questions.len() > 1 {
            tokens.iter().flatten().for_each(|token| catalog.touch_bucket(token));
            tokens.iter().flatten().for_each(|token| catalog.touch_entry(token));
            if catalog.has_limits() {
                tokens.iter().flatten().for_each(|token| catalog.touch_limits(token));
            }
        }
        let moment = self.moment(now);
        let mut open = Open::new();
        for (at, (question, token)) in questions.iter().zip(&tokens).enumerate() {
            let answer = answers.next();
            if self.throttles(asker, question, now) {
                answer.verdict.code = VerdictCode::Throttled;
                continue;
            }
            match token {
                Err(code) => answer.verdict.code = *code,
                Ok(token) => {
                    let asked = Asked { by: asker, question, token, proof: &Proof::Unverified };
                    if let Some(signing) = self.decide(&catalog, &asked, &moment, answer) {
                        open.push((at, signing));
                        continue;
                    }
                }
            }
            self.note_failure(asker, question, answer.verdict.code, now);
        }
        drop(catalog);
        answers.verified = open.len();
        if !open.is_empty() {
            self.decide_signed(open, from, (questions, &tokens), &moment, answers);
        }
    }

    /// Decides the questions whose signatures were to be verified first.
    fn decide_signed(
        &self,
        open: Open,
        from: Asker<'_>,
        (questions, tokens): (&[Validate<'_>], &[Result<TokenHash, VerdictCode>]),
        moment: &Moment,
        answers: &mut Answers,
    ) {
        self.settle_signatures(open, questions, moment.now, |proofs| {
            let catalog = self.read();
            let bound = catalog.tenants.bound(from.tenant);
            let by = Known { bound, standing: &from.standing, again: from.again };
            let mut open = Open::new();
            for (at, proof) in proofs {
                let (Ok(token), question) = (&tokens[*at], &questions[*at]) else { continue };
                let answer = &mut answers.items[*at];
                answer.begin(VerdictCode::NotFound, 0);
                let asked = Asked { by, question, token, proof };
                match self.decide(&catalog, &asked, moment, answer) {
                    Some(signing) => open.push((*at, signing)),
                    None => self.note_failure(by, question, answer.verdict.code, moment.now),
                }
            }
            open
        });
    }

    /// 2, before the lookup: whether as many have failed from there as may. As long as nobody is over,
    /// it looks at one word.
    fn throttles(&self, asker: Known<'_>, question: &Validate<'_>, now: Now) -> bool {
        let Some(throttle) = self.throttle.get().filter(|it| it.is_awake(now.mono_ns)) else {
            return false;
        };
        // What waited for a lease was let through when it came.
        let Standing { peer, answers_for_itself, .. } = *asker.standing;
        !asker.again
            && throttle
                .sources(question.facts.address(), peer, answers_for_itself)
                .any(|source| throttle.is_over(source, now.mono_ns))
    }

    /// Charges what was wrong: a token that no key has, a client secret, or a signature, which costs
    /// more than all else to look at.
    fn note_failure(&self, asker: Known<'_>, question: &Validate<'_>, code: VerdictCode, now: Now) {
        use VerdictCode::{ClientSecretWrong, NotFound, SignatureInvalid};
        if !matches!(code, NotFound | ClientSecretWrong | SignatureInvalid) {
            return;
        }
        let Some(throttle) = self.throttle.get() else { return };
        let Standing { peer, answers_for_itself, .. } = *asker.standing;
        throttle
            .sources(question.facts.address(), peer, answers_for_itself)
            .for_each(|source| throttle.charge(source, now.mono_ns));
    }

    /// 1: shape and checksum; the hash if the token is worth a lookup.
    fn hash(&self, token: &[u8], catalog: &Catalog) -> Result<TokenHash, VerdictCode> {
        match self.prefixes.shape(token) {
            Shape::Malformed => Err(VerdictCode::Malformed),
            Shape::Foreign if !catalog.knows_foreign_tokens() => Err(VerdictCode::NotFound),
            Shape::Ours | Shape::Foreign => Ok(TokenHash::of(token)),
        }
    }

    /// 2 to 9, for a token that is worth a lookup. Where a signature is to be verified first, what
    /// verifies it, and nothing was decided.
    fn decide(
        &self,
        catalog: &Catalog,
        asked: &Asked<'_, '_>,
        moment: &Moment,
        answer: &mut Answer,
    ) -> Option<Arc<Signing>> {
        let Asked { by: asker, question, token, proof } = *asked;
        // 2: lookup. What is deleted, with its tenant or by itself, and what the caller may not see
        // is not there: the answer to it is that to an unknown token, to the last byte, and takes as
        // long (benches/timing.rs).
        let found = catalog.find(token);
        let is_known = found.is_some();
        let (entry, previous) = found.or_else(|| catalog.find_decoy(token))?;
        let tenant = catalog.tenants.state_for(entry.tenant, asker.bound);
        let is_own =
            question.facts.tenant().is_none_or(|own| own == &**catalog.tenants.name(entry.tenant));
        let Some(tenant) = tenant.filter(|_| is_own && is_known) else {
            if is_known {
                catalog.find_as_unknown(token);
            }
            return None;
        };
        catalog.touch_limits_of(entry);
        let policy = catalog.policy(entry);
        let (rules, proofs) = (rules(entry, policy), catalog.proofs(entry));
        let now = moment.now;
        let denial = check_tenant(tenant)
            .or_else(|| check_state(entry, previous, now))
            .or_else(|| self.check_rotation(entry, now))
            .or_else(|| proofs?.check_secret(&question.facts, now.wall_us))
            .or_else(|| check_transport(rules, proofs, asker.standing, question));
        // 6, for the few keys that demand signed requests.
        let signing = proofs.and_then(|proofs| proofs.signing.as_ref());
        let (denial, reserved) = match signing.filter(|_| denial.is_none()) {
            None => (denial, None),
            Some(signing) => {
                match self.check_signature(signing, (entry.id, entry.tenant), proof, question, now)
                {
                    Outcome::Open(signing) => return Some(signing),
                    Outcome::Denied(code) => (Some(code), None),
                    Outcome::Right(reserved) => (None, reserved),
                }
            }
        };
        let denial = denial
            .or_else(|| check_access(rules?, &question.facts))
            .or_else(|| check_scopes(policy, question));
        answer.verdict.code = denial.unwrap_or(VerdictCode::Valid);
        answer.verdict.key_id = entry.id;
        answer.verdict.warnings = self.warnings(entry, previous, now);
        if denial.is_none() {
            self.spend(catalog, entry, question, moment, answer);
        }
        if entry.marks.has(Marks::RECORDED) {
            answer.record = Some(Record {
                tenant: Arc::clone(catalog.tenants.name(entry.tenant)),
                reserved: entry.marks.has(Marks::AUDITED) && answer.verdict.code.is_valid(),
            });
        }
        let code = answer.verdict.code;
        // A denied request consumes nothing, and one that waits is verified anew.
        if let Some(used) = reserved.filter(|_| !code.is_valid()) {
            self.signing.replays.take_back(&used);
        }
        if !code.is_valid() && !question.peeks() && answer.wait.is_none() {
            self.usage.denied(entry.id, code, moment.hour);
        }
        let flags = question.flags;
        if flags.has(ValidateFlags::DETAILS) {
            answer.policy = Some(Arc::clone(policy));
            answer.tenant = Some(Arc::clone(catalog.tenants.name(entry.tenant)));
        }
        if flags.has(ValidateFlags::METADATA) {
            answer.metadata = catalog.metadata(entry);
        }
        None
    }

    /// 3, its end: an overdue rotation, where it is configured to deny.
    fn check_rotation(&self, entry: &Entry, now: Now) -> Option<VerdictCode> {
        let denies = entry.rotation_overdue(now.wall_us) && self.denies_rotation_overdue();
        denies.then_some(VerdictCode::RotationOverdue)
    }

    fn warnings(&self, entry: &Entry, previous: Option<Previous>, now: Now) -> Warnings {
        let mut warnings = Warnings::NONE;
        if entry.status == Status::Deprecated {
            warnings = warnings.with(Warnings::DEPRECATED);
        }
        let left_us = entry.expires_us.saturating_sub(now.wall_us);
        let is_near = |us| (0..=us).contains(&left_us);
        if entry.expires_us != i64::MAX && is_near(self.expiry_warning_us.load(Ordering::Relaxed)) {
            warnings = warnings.with(Warnings::EXPIRING);
        }
        if previous.is_some() {
            warnings = warnings.with(Warnings::TOKEN_REPLACED);
        }
        if entry.rotation_overdue(now.wall_us) {
            warnings = warnings.with(Warnings::ROTATION_OVERDUE);
        }
        warnings
    }
}

impl Cell {
    /// Counts a valid verdict.
    pub(super) const fn count(&mut self, now: Now) {
        self.total_requests = self.total_requests.saturating_add(1);
        self.last_used_us = now.wall_us;
    }
}

impl Answer {
    const fn none() -> Self {
        Self {
            verdict: Verdict::unknown(VerdictCode::NotFound),
            slot_stays: false,
            wait: None,
            policy: None,
            tenant: None,
            metadata: None,
            record: None,
        }
    }

    /// Becomes the beginning of another answer.
    fn begin(&mut self, code: VerdictCode, key_id: u64) {
        self.verdict.begin(code, key_id);
        self.slot_stays = false;
        self.wait = None;
        self.policy = None;
        self.tenant = None;
        self.metadata = None;
        self.record = None;
    }
}

/// 3: the tenant's status.
fn check_tenant(tenant: TenantState) -> Option<VerdictCode> {
    (tenant == TenantState::Suspended).then_some(VerdictCode::TenantSuspended)
}

/// 3: status, expiry, the end of a rotated-out token.
fn check_state(entry: &Entry, previous: Option<Previous>, now: Now) -> Option<VerdictCode> {
    let denied = match entry.status {
        Status::Active | Status::Deprecated => None,
        Status::Suspended => Some(VerdictCode::Suspended),
        Status::PendingVerification => Some(VerdictCode::PendingVerification),
        Status::Revoked => Some(VerdictCode::Revoked),
        Status::Expired => Some(VerdictCode::Expired),
        Status::RateLimited => Some(VerdictCode::RateLimited),
        Status::PendingReview => Some(VerdictCode::PendingReview),
        Status::Maintenance => Some(VerdictCode::Maintenance),
    };
    denied.or_else(|| (now.wall_us >= entry.expires_us).then_some(VerdictCode::Expired)).or_else(
        || {
            previous
                .is_some_and(|previous| now.wall_us >= previous.ends_us)
                .then_some(VerdictCode::RotatedOut)
        },
    )
}

/// The rules of a key beside its scopes. Most keys have none, which their entry says: it is at hand,
/// and the policy may not be.
fn rules<'a>(entry: &Entry, policy: &'a Policy) -> Option<&'a Access> {
    if entry.marks.has(Marks::RULED) { policy.access.as_deref() } else { None }
}

/// 5: HTTPS, then the client certificate.
fn check_transport(
    rules: Option<&Access>,
    proofs: Option<&Proofs>,
    standing: &Standing,
    question: &Validate<'_>,
) -> Option<VerdictCode> {
    rules
        .and_then(|rules| check_https(rules, &question.facts))
        .or_else(|| proofs?.check_certificate(&question.facts, standing))
}

/// 8: scopes, all of one set and any of the other.
fn check_scopes(policy: &Policy, question: &Validate<'_>) -> Option<VerdictCode> {
    let facts = &question.facts;
    if !facts.demands_scopes() {
        return None;
    }
    let all = facts.scopes_all().all(|scope| policy.scopes.grant(scope));
    let mut any = facts.scopes_any().peekable();
    let one = any.peek().is_none() || any.any(|scope| policy.scopes.grant(scope));
    (!(all && one)).then_some(VerdictCode::InsufficientScope)
}
