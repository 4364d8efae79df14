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
    /// When its request was read, on the monotonic clock.
    pub(super) since_ns: u64,
}

impl HeldReply {
    pub(super) fn bytes(&self) -> usize {
        let verdicts: usize = self.verdicts.iter().map(|verdict| verdict.len()).sum();
        size_of::<Self>() + verdicts + self.receipts.len() * size_of::<(usize, Receipt)>()
    }

    /// Whether all are settled. So many of the first were found to be, and are not looked at again.
    fn is_settled(&self, settled: &mut usize) -> bool {
        let rest = self.receipts.get(*settled..).unwrap_or_default();
        let more = rest.iter().take_while(|(_, receipt)| receipt.settled() != Settled::Not).count();
        *settled += more;
        more == rest.len()
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
            let (mut out, mut head) = (BytesMut::new(), BytesMut::new());
            denied.encode(&mut out);
            was.encode(&mut head);
            // Details come with every verdict that names a key.
            out.extend_from_slice(verdict.get(head.len()..).unwrap_or_default());
            *verdict = out.as_ref().into();
        }
        slots
    }
}

/// The held replies of one connection. They end with it; their records do not.
#[derive(Default)]
pub(super) struct Held {
    /// In the order in which they came, with how many of its receipts were found settled.
    replies: VecDeque<(HeldReply, usize)>,
    bytes: usize,
}

impl Held {
    pub(super) fn push(&mut self, reply: HeldReply) {
        self.bytes += reply.bytes();
        self.replies.push_back((reply, 0));
    }

    pub(super) fn len(&self) -> usize {
        self.replies.len()
    }

    pub(super) const fn bytes(&self) -> usize {
        self.bytes
    }

    /// The oldest whose records are all settled.
    pub(super) fn take_settled(&mut self) -> Option<HeldReply> {
        let mut replies = self.replies.iter_mut();
        let at = replies.position(|(reply, settled)| reply.is_settled(settled))?;
        let (reply, _) = self.replies.remove(at)?;
        self.bytes -= reply.bytes();
        Some(reply)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::Waiter;

    fn encoded(key_id: u64, slot: Option<u64>) -> Box<[u8]> {
        let mut out = BytesMut::new();
        Verdict { slot, ..Verdict::of(VerdictCode::Valid, key_id) }.encode(&mut out);
        out.as_ref().into()
    }

    /// A batch of three, whose last two wait for their records, and what settles those.
    fn batch() -> (HeldReply, Vec<Waiter>) {
        let (receipts, waiters): (Vec<_>, Vec<_>) = (0..2).map(|_| Receipt::new(|| {})).unzip();
        let verdicts = vec![encoded(1, None), encoded(2, Some(20)), encoded(3, Some(30))];
        let receipts = receipts.into_iter().zip(1..).map(|(it, at)| (at, it)).collect();
        (HeldReply { correlation: 7, verdicts, is_batch: true, receipts, since_ns: 0 }, waiters)
    }

    #[test]
    fn a_reply_is_held_until_its_last_record_is_settled_and_those_behind_it_overtake() {
        let mut held = Held::default();
        let (first, mut of_first) = batch();
        let (second, of_second) = batch();
        held.push(HeldReply { correlation: 1, ..first });
        held.push(HeldReply { correlation: 2, ..second });
        assert!(held.bytes() > 0 && held.take_settled().is_none());
        of_second.into_iter().for_each(|waiter| waiter(true));
        assert_eq!(held.take_settled().map(|reply| reply.correlation), Some(2));
        of_first.remove(1)(true);
        assert!(held.take_settled().is_none());
        of_first.remove(0)(true);
        assert_eq!(held.take_settled().map(|reply| reply.correlation), Some(1));
        assert_eq!((held.len(), held.bytes()), (0, 0));
    }

    #[test]
    fn a_refused_verdict_keeps_its_details() {
        for slot in [None, Some(9)] {
            let (receipt, waiter) = Receipt::new(|| {});
            let mut verdict = BytesMut::from(&encoded(1, slot)[..]);
            keygate_protocol::verdict::put_details("acme", ["a", "b"], &mut verdict);
            keygate_protocol::verdict::put_metadata(b"{}", &mut verdict);
            let (verdicts, receipts) = (vec![verdict.as_ref().into()], vec![(0, receipt)]);
            let mut reply =
                HeldReply { correlation: 7, verdicts, is_batch: false, receipts, since_ns: 0 };
            waiter(false);
            assert_eq!(reply.refuse().len(), usize::from(slot.is_some()));
            let (verdict, details) = Verdict::decode(&reply.verdicts[0]).expect("a verdict");
            let expected = (VerdictCode::AuditUnavailable, None);
            assert_eq!((verdict.code, verdict.slot), expected);
            assert_eq!((details.tenant_id, details.metadata), (Some("acme"), Some("{}")));
            assert_eq!(details.scopes, ["a", "b"]);
        }
    }

    #[test]
    fn of_a_batch_the_verdicts_whose_records_were_refused_become_denials() {
        let (mut reply, mut waiters) = batch();
        waiters.remove(1)(false);
        waiters.remove(0)(true);
        assert_eq!(reply.refuse(), [(3, 30)], "its slot is held by nobody");
        let verdicts = reply.verdicts.iter().map(|it| Verdict::decode(it).expect("a verdict").0);
        let verdicts: Vec<_> =
            verdicts.map(|verdict| (verdict.key_id, verdict.code, verdict.slot)).collect();
        let valid = VerdictCode::Valid;
        let denied = (3, VerdictCode::AuditUnavailable, None);
        assert_eq!(verdicts, [(1, valid, None), (2, valid, Some(20)), denied]);
    }
}
