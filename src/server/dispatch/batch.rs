//! Batches: one frame, one reply, when its last item has its answer.

use std::collections::HashSet;

use arrayvec::ArrayVec;
use bytes::BytesMut;
use keygate_protocol::batch::{Batch, BatchWriter};
use keygate_protocol::limits::BATCH_ITEMS_MAX;
use keygate_protocol::{
    ErrorCode, Frame, Increment, IncrementOutcome, Opcode, PayloadError, Validate, frame,
};
use zeroize::Zeroizing;

use super::{Dispatcher, OVERSTATED, put_error, put_payload_error, reply};
use crate::clock::Now;
use crate::engine::{Account, BATCH};
use crate::server::deferred::{Parked, Verdicts};
use crate::server::held::{HeldReply, Receipts};

impl Dispatcher<'_> {
    pub(super) fn validate_batch(&mut self, frame: Frame<'_>, now: Now, out: &mut BytesMut) {
        // The whole batch is shown to be well-formed before any of it is decided.
        let checked = Batch::decode(frame.payload).and_then(|items| {
            for item in items.clone() {
                let question = Validate::decode(item)?;
                if question.flags.asks_for_more() {
                    return Err(PayloadError::OutOfBounds {
                        field: "flags",
                        why: "a batch answers no details and no metadata; send single requests",
                    });
                }
            }
            Ok(items)
        });
        let items = match checked {
            Ok(items) => items,
            Err(error) => return put_payload_error(out, frame.header, error),
        };
        let mut asked = items.clone().filter_map(|item| Validate::decode(item).ok());
        if asked.any(|question| self.overstates(&question)) {
            self.login.note_refused(Opcode::ValidateBatch, self.tenant.as_deref(), now);
            return put_error(out, frame.header.correlation, ErrorCode::Forbidden, OVERSTATED);
        }
        let start = out.len();
        let mut questions = items.filter_map(|item| Validate::decode(item).ok()).peekable();
        let (mut decided, mut waiting, mut accounts) = (0, Vec::new(), HashSet::new());
        let mut receipts = Receipts::new();
        reply(frame.header, Opcode::ValidateBatch, out, |out| {
            let mut batch = BatchWriter::new(out);
            while questions.peek().is_some() {
                let chunk: ArrayVec<Validate<'_>, BATCH> = questions.by_ref().take(BATCH).collect();
                let mut answers = self.answers.borrow_mut();
                self.engine.validate_for(self.asker(), &chunk, now, &mut answers);
                self.under_way.verified += answers.verified();
                for (answer, question) in answers.iter().zip(&chunk) {
                    if let Some(wait) = &answer.wait {
                        waiting.push(decided);
                        accounts.extend(wait.accounts());
                    } else {
                        self.observer.decided(question, answer, now);
                        let receipt = self.record(question, answer, now);
                        receipts.extend(receipt.map(|receipt| (decided, receipt)));
                    }
                    self.under_way.slots.note(answer, now);
                    // Of one that waits it stands in its place.
                    batch.item(|out| answer.verdict.encode(out));
                    decided += 1;
                }
            }
            batch.finish();
        });
        if !waiting.is_empty() {
            let reply = out.split_off(start);
            self.park_batch(frame, now, verdicts(&reply, &waiting), (receipts, accounts));
        } else if !receipts.is_empty() {
            let reply = out.split_off(start);
            self.hold_batch(frame.header.correlation, verdicts(&reply, &[]), receipts, now.mono_ns);
        }
    }

    /// Holds a batch whose items are all decided until their records are on disk.
    pub(super) fn hold_batch(
        &mut self,
        correlation: u32,
        verdicts: Verdicts,
        receipts: Receipts,
        since_ns: u64,
    ) {
        let verdicts = verdicts.into_iter().flatten().collect();
        let reply = HeldReply { correlation, verdicts, is_batch: true, receipts, since_ns };
        self.under_way.deferred.hold(reply);
    }

    fn park_batch(
        &mut self,
        frame: Frame<'_>,
        now: Now,
        verdicts: Verdicts,
        (receipts, accounts): (Receipts, HashSet<Account>),
    ) {
        let request = Parked {
            correlation: frame.header.correlation,
            payload: Zeroizing::new(frame.payload.into()),
            tenant: self.tenant.clone(),
            verdicts: Some(verdicts),
            is_large: true,
            receipts,
            since_ns: now.mono_ns,
        };
        self.observer.deferred();
        self.under_way.deferred.park(request, accounts);
    }

    pub(super) fn increment_batch(
        &mut self,
        frame: Frame<'_>,
        now: Now,
        quiet: bool,
        out: &mut BytesMut,
    ) {
        let checked = Batch::decode(frame.payload).and_then(|items| {
            items.clone().try_for_each(|item| Increment::decode(item).map(drop))?;
            Ok(items)
        });
        let items = match checked {
            Ok(items) => items,
            Err(error) => return put_payload_error(out, frame.header, error),
        };
        let outcomes: ArrayVec<IncrementOutcome, BATCH_ITEMS_MAX> = items
            .filter_map(|item| Increment::decode(item).ok())
            .map(|report| self.report(&report, now))
            .collect();
        if !quiet {
            reply(frame.header, Opcode::IncrementBatch, out, |out| {
                let mut batch = BatchWriter::new(out);
                outcomes.iter().for_each(|outcome| batch.item(|out| outcome.encode(out)));
                batch.finish();
            });
        }
    }
}

/// The verdicts of a reply, without those of the items that wait.
fn verdicts(reply: &[u8], waiting: &[usize]) -> Verdicts {
    // It was written just now: both are there.
    let payload = reply.get(frame::PREFIX_BYTES..).unwrap_or_default();
    let items = Batch::decode(payload).into_iter().flatten();
    let mut verdicts: Verdicts = items.map(|item| Some(item.into())).collect();
    for at in waiting {
        if let Some(verdict) = verdicts.get_mut(*at) {
            *verdict = None;
        }
    }
    verdicts
}
