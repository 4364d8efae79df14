//! Slots of answers that nobody awaits any more. Nobody will report what they were for, so they are
//! given back here: the connection lives on, and each would be held until its time ends.

use bytes::BytesMut;
use keygate_protocol::batch::{Batch, BatchWriter};
use keygate_protocol::{Opcode, Verdict};

use super::Report;
use super::request::Item;
use super::table::Request;

/// What gives back the slots that an answer tells of; `None` where it tells of none. Only a report
/// gives a slot back, and a report counts a request (SPEC §6.4): this one says nothing else of it.
///
/// An item of a batch takes 31 bytes, which the question's took too, unless its token was shorter
/// than any of keygate's.
pub(super) fn release(
    question: Opcode,
    answer: &[u8],
) -> Option<Request<impl FnOnce(&mut BytesMut) + use<>>> {
    let reports: Vec<_> = match question {
        Opcode::Validate => report(answer).into_iter().collect(),
        Opcode::ValidateBatch => Batch::decode(answer).ok()?.filter_map(report).collect(),
        _ => return None,
    };
    let bytes = |report: &Report<'_>| size_of::<u16>() + report.bytes_max();
    let payload_bytes_max = size_of::<u16>() + reports.iter().map(bytes).sum::<usize>();
    let opcode = match reports.len() {
        0 => return None,
        1 => Report::OPCODE,
        _ => Report::BATCH,
    };
    let write = move |out: &mut BytesMut| match reports.as_slice() {
        [report] => report.write(out),
        reports => {
            let mut batch = BatchWriter::new(out);
            reports.iter().for_each(|report| batch.item(|out| report.write(out)));
            batch.finish();
        }
    };
    Some(Request { opcode, payload_bytes_max, write })
}

fn report(verdict: &[u8]) -> Option<Report<'static>> {
    let (verdict, _) = Verdict::decode(verdict).ok()?;
    verdict.slot.map(|slot| Report::new(verdict.key_id).slot(slot))
}
