//! Decisions on their way into the audit log: those of keys that ask for it, and a sample of all
//! other denials.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use keygate_protocol::{LimitName, Validate};

use super::journals::Journals;
use crate::audit::Waiter;
use crate::clock::Now;
use crate::engine::{Answer, Engine};
use crate::event::{Decision, Subject};

/// Longest environment that a record repeats, in bytes: a caller may state anything.
const ENVIRONMENT_BYTES_MAX: usize = 64;

/// Whether a record is on disk, for the reply that waits for it.
#[derive(Debug, Clone)]
pub(super) struct Receipt(Arc<AtomicU8>);

/// How a receipt stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Settled {
    Not,
    OnDisk,
    Refused,
}

impl Receipt {
    /// One, and what settles it; `ring` is called then.
    pub(super) fn new(ring: impl FnOnce() + Send + 'static) -> (Self, Waiter) {
        let receipt = Self(Arc::default());
        let told = Arc::clone(&receipt.0);
        let waiter = move |on_disk: bool| {
            told.store(if on_disk { 1 } else { 2 }, Ordering::Release);
            ring();
        };
        (receipt, Box::new(waiter))
    }

    pub(super) fn settled(&self) -> Settled {
        match self.0.load(Ordering::Acquire) {
            0 => Settled::Not,
            1 => Settled::OnDisk,
            _ => Settled::Refused,
        }
    }
}

/// Takes note of decisions.
#[derive(Clone, Default)]
pub(super) struct Recorder {
    journals: Journals,
}

impl Recorder {
    pub(super) const fn new(journals: Journals) -> Self {
        Self { journals }
    }

    /// Takes note of a final verdict that is one to take note of. Answers a receipt where the reply
    /// must wait for the disk; `receipt` makes it.
    pub(super) fn note(
        &self,
        engine: &Engine,
        question: &Validate<'_>,
        answer: &Answer,
        now: Now,
        receipt: impl FnOnce() -> (Receipt, Waiter),
    ) -> Option<Receipt> {
        let Journals { audit, watchers, .. } = &self.journals;
        if watchers.are_there() && !answer.verdict.code.is_valid() {
            let tenant = engine.tenant_of_key(answer.verdict.key_id);
            let tenant = tenant.as_deref();
            let made = || decision(question, answer, tenant);
            watchers.denied(tenant, answer.verdict.code, now, made);
        }
        let audit = audit.as_ref()?;
        let Some(record) = &answer.record else {
            if audit.samples(answer.verdict.code as u8, now.mono_ns) {
                let tenant = engine.tenant_of_key(answer.verdict.key_id);
                audit.offer(now.wall_us, decision(question, answer, tenant.as_deref()));
            }
            return None;
        };
        let decision = decision(question, answer, Some(&record.tenant));
        if !record.reserved {
            audit.offer(now.wall_us, decision);
            return None;
        }
        let (receipt, waiter) = if audit.waits_for_disk() { Some(receipt()) } else { None }.unzip();
        audit.record(now.wall_us, decision, waiter);
        receipt
    }
}

/// What is recorded of a decision.
fn decision(question: &Validate<'_>, answer: &Answer, tenant: Option<&str>) -> Decision {
    let stated = question.facts.stated();
    let environment = stated.environment.map(|bytes| {
        let bytes = &bytes[..bytes.len().min(ENVIRONMENT_BYTES_MAX)];
        String::from_utf8_lossy(bytes).into_owned()
    });
    let verdict = &answer.verdict;
    let subject = tenant
        .filter(|_| verdict.key_id != 0)
        .map(|tenant| Subject::Key { id: verdict.key_id, tenant: tenant.to_owned() });
    Decision {
        code: verdict.code.name().to_owned(),
        subject,
        cost: question.cost,
        peek: question.peeks(),
        denied_by: verdict.denied_by.map(LimitName::name).map(str::to_owned),
        ip: stated.address,
        environment,
        count: 1,
    }
}
