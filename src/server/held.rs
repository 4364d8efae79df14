//! Replies that wait until the records of their verdicts are on disk. What was decided stays decided:
//! nothing is judged anew. A verdict whose record could not be written becomes `AUDIT_UNAVAILABLE`.

use std::collections::VecDeque;

use bytes::BytesMut;
use keygate_protocol::{Verdict, VerdictCode};

use super::recorder::{Receipt, Settled};

/// Which verdict of a reply waits for which receipt.
pub(super) type Receipts = Vec<(usize, Receipt)>;

/// A reply.
pub(super) struct HeldReply {
    pub(super) correlation: u32,
    /// Its verdicts, encoded, with their details: one, or those of a batch.
    pub(super) verdicts: Vec<Box<[u8]>>,
    pub(super) is_batch: bool,
    pub(super) receipts: Receipts,
}

impl HeldReply {
    pub(super) fn bytes(&self) -> usize {
        let verdicts: usize = self.verdicts.iter().map(|verdict| verdict.len()).sum();
        size_of::<Self>() + verdicts + self.receipts.len() * size_of::<(usize, Receipt)>()
    }

    fn is_settled(&self) -> bool {
        self.receipts.iter().all(|(_, receipt)| receipt.settled() != Settled::Not)
    }

    /// Makes denials of the verdicts whose records were refused; answers keys and slots that they had
    /// taken, which nobody holds now.
    pub(super) fn refuse(&mut self) -> Vec<(u64, u64)> {
        let mut slots = Vec::new();
        for (at, receipt) in &self.receipts {
            let Some(verdict) = self.verdicts.get_mut(*at) else { continue };
            if receipt.settled() != Settled::Refused {
                continue;
            }
            // It was encoded here.
            let Ok((was, _)) = Verdict::decode(verdict) else { continue };
            slots.extend(was.slot.map(|slot| (was.key_id, slot)));
            let denied = Verdict { code: VerdictCode::AuditUnavailable, slot: None, ..was };
            let mut out = BytesMut::new();
            denied.encode(&mut out);
            *verdict = out.as_ref().into();
        }
        slots
    }
}

/// The held replies of one connection. They end with it; their records do not.
#[derive(Default)]
pub(super) struct Held {
    replies: VecDeque<HeldReply>,
    bytes: usize,
}

impl Held {
    pub(super) fn push(&mut self, reply: HeldReply) {
        self.bytes += reply.bytes();
        self.replies.push_back(reply);
    }

    pub(super) fn len(&self) -> usize {
        self.replies.len()
    }

    pub(super) const fn bytes(&self) -> usize {
        self.bytes
    }

    /// The oldest whose records are all settled.
    pub(super) fn take_settled(&mut self) -> Option<HeldReply> {
        let at = self.replies.iter().position(HeldReply::is_settled)?;
        let reply = self.replies.remove(at)?;
        self.bytes -= reply.bytes();
        Some(reply)
    }
}
