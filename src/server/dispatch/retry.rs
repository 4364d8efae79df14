//! Parked requests, judged anew: whole, at a new instant, under the tenant that they came under.

use std::collections::HashSet;

use arrayvec::ArrayVec;
use bytes::{BufMut, BytesMut};
use keygate_protocol::batch::{Batch, BatchWriter};
use keygate_protocol::{Flags, Opcode, Validate, frame};

use super::{Dispatcher, SIGNATURES_AT_ONCE, put_reply};
use crate::clock::Now;
use crate::engine::{Account, Asker, BATCH};
use crate::server::deferred::{Group, Parked, Verdicts};

impl Dispatcher<'_> {
    /// Judges anew what was debited, as long as more replies may wait to be written. What the new
    /// leases do not cover either is parked again.
    pub(in crate::server) fn retry(&mut self, now: Now, out: &mut BytesMut) {
        self.under_way.deferred.hear();
        let before = self.under_way.verified;
        // Where signatures end a turn there are replies to write, behind which it goes on.
        while out.len() < self.reply_bytes_max
            && (out.is_empty() || self.under_way.verified - before < SIGNATURES_AT_ONCE)
        {
            let mut group = self.under_way.deferred.take_debited();
            let Some((number, first)) = group.first_mut() else { break };
            match first.verdicts.take() {
                Some(verdicts) => {
                    let number = *number;
                    // A batch is alone in its group.
                    if let Some((_, batch)) = group.pop() {
                        self.retry_batch(number, batch, verdicts, now, out);
                    }
                }
                None => self.retry_each(group, now, out),
            }
        }
        self.answer_settled(now, out);
        self.nudge();
    }

    fn retry_each(&mut self, group: Group, now: Now, out: &mut BytesMut) {
        let mut answers = self.answers.borrow_mut();
        {
            // They were found well-formed when they came.
            let questions: ArrayVec<Validate<'_>, BATCH> =
                group.iter().filter_map(|(_, it)| Validate::decode(&it.payload).ok()).collect();
            let tenant = group.first().and_then(|(_, first)| first.tenant.as_deref());
            let asker = Asker { again: true, ..self.asker_of(tenant) };
            self.engine.validate_for(asker, &questions, now, &mut answers);
            self.under_way.verified += answers.verified();
        }
        for (answer, (number, request)) in answers.iter().zip(group) {
            if let Some(wait) = &answer.wait {
                self.under_way.deferred.park_again(number, request, wait.accounts());
            } else {
                self.under_way.slots.note(answer, now);
                let question = Validate::decode(&request.payload).ok();
                let receipt = question.and_then(|question| {
                    self.observer.decided(&question, answer, now);
                    self.record(&question, answer, now)
                });
                let Parked { correlation, since_ns, .. } = request;
                match receipt {
                    None => {
                        put_reply(answer, correlation, out);
                        self.waited(since_ns, now);
                    }
                    Some(receipt) => self.hold_one(answer, correlation, receipt, since_ns),
                }
            }
        }
    }

    /// Takes note of a request that is answered at last. The write of its reply is not in it: that is
    /// nothing beside the wait for a disk.
    pub(super) fn waited(&self, since_ns: u64, now: Now) {
        self.observer.answered(1, now.mono_ns.saturating_sub(since_ns));
    }

    /// Decides the items of a batch that have no verdict yet, and answers it when all have one.
    fn retry_batch(
        &mut self,
        number: u64,
        mut batch: Parked,
        mut verdicts: Verdicts,
        now: Now,
        out: &mut BytesMut,
    ) {
        let mut accounts = HashSet::<Account>::new();
        let mut receipts = std::mem::take(&mut batch.receipts);
        let items = Batch::decode(&batch.payload).into_iter().flatten().enumerate();
        let open: Vec<(usize, Validate<'_>)> = items
            .filter(|(at, _)| verdicts.get(*at).is_some_and(Option::is_none))
            .filter_map(|(at, item)| Some((at, Validate::decode(item).ok()?)))
            .collect();
        for chunk in open.chunks(BATCH) {
            let questions: ArrayVec<Validate<'_>, BATCH> =
                chunk.iter().map(|(_, question)| *question).collect();
            let mut answers = self.answers.borrow_mut();
            let asker = Asker { again: true, ..self.asker_of(batch.tenant.as_deref()) };
            self.engine.validate_for(asker, &questions, now, &mut answers);
            self.under_way.verified += answers.verified();
            for (answer, (at, question)) in answers.iter().zip(chunk) {
                if let Some(wait) = &answer.wait {
                    accounts.extend(wait.accounts());
                } else {
                    self.observer.decided(question, answer, now);
                    receipts.extend(self.record(question, answer, now).map(|it| (*at, it)));
                    self.under_way.slots.note(answer, now);
                    let mut verdict = BytesMut::new();
                    answer.verdict.encode(&mut verdict);
                    verdicts[*at] = Some(verdict.as_ref().into());
                }
            }
        }
        drop(open);
        if verdicts.contains(&None) {
            let batch = Parked { verdicts: Some(verdicts), receipts, ..batch };
            return self.under_way.deferred.park_again(number, batch, accounts);
        }
        if !receipts.is_empty() {
            return self.hold_batch(batch.correlation, verdicts, receipts, batch.since_ns);
        }
        self.waited(batch.since_ns, now);
        let opcode = Opcode::ValidateBatch.reply();
        frame::encode(out, opcode, Flags::NONE, batch.correlation, |out| {
            let mut writer = BatchWriter::new(out);
            verdicts.iter().flatten().for_each(|one| writer.item(|out| out.put_slice(one)));
            writer.finish();
        });
    }
}
