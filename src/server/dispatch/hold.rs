//! Records of decisions, and replies that wait until those are on disk.

use bytes::{BufMut, BytesMut};
use keygate_protocol::batch::BatchWriter;
use keygate_protocol::{Flags, Opcode, Validate, frame};

use super::{Dispatcher, put_answer};
use crate::clock::Now;
use crate::engine::Answer;
use crate::server::held::HeldReply;
use crate::server::recorder::Receipt;

impl Dispatcher<'_> {
    /// Takes note of a final verdict; a receipt where its reply waits for the disk.
    pub(super) fn record(
        &self,
        question: &Validate<'_>,
        answer: &Answer,
        now: Now,
    ) -> Option<Receipt> {
        // Most verdicts are of neither kind, and that is all they pay.
        if answer.record.is_none() && answer.verdict.code.is_valid() {
            return None;
        }
        let receipt = || self.under_way.deferred.receipt();
        self.observer.recorder().note(self.engine, question, answer, now, receipt)
    }

    /// Holds the reply to a single question until its record is on disk.
    pub(super) fn hold_one(
        &mut self,
        answer: &Answer,
        correlation: u32,
        receipt: Receipt,
        since_ns: u64,
    ) {
        let mut verdict = BytesMut::new();
        put_answer(answer, &mut verdict);
        let verdicts = vec![verdict.as_ref().into()];
        let receipts = vec![(0, receipt)];
        let reply = HeldReply { correlation, verdicts, is_batch: false, receipts, since_ns };
        self.under_way.deferred.hold(reply);
    }

    /// Answers those whose records are settled, as long as more replies may wait to be written.
    pub(super) fn answer_settled(&mut self, now: Now, out: &mut BytesMut) {
        while out.len() < self.reply_bytes_max
            && let Some(mut reply) = self.under_way.deferred.take_settled()
        {
            for (key, slot) in reply.refuse() {
                self.engine.release_slot(key, slot, now);
                self.under_way.slots.given_back(key, slot);
            }
            put_held(&reply, out);
            self.waited(reply.since_ns, now);
        }
    }
}

fn put_held(reply: &HeldReply, out: &mut BytesMut) {
    let opcode = if reply.is_batch { Opcode::ValidateBatch } else { Opcode::Validate };
    frame::encode(out, opcode.reply(), Flags::NONE, reply.correlation, |out| {
        if !reply.is_batch {
            return reply.verdicts.iter().for_each(|verdict| out.put_slice(verdict));
        }
        let mut writer = BatchWriter::new(out);
        reply.verdicts.iter().for_each(|one| writer.item(|out| out.put_slice(one)));
        writer.finish();
    });
}
