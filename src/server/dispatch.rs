//! Frames in, frames out: everything that one read brought is decided before anything is written.

use std::cell::RefCell;
use std::sync::Arc;

use arrayvec::ArrayVec;
use bytes::{BufMut, Bytes, BytesMut};
use keygate_protocol::batch::{Batch, BatchWriter};
use keygate_protocol::hello::{Hello, HelloReply, VERSION};
use keygate_protocol::limits::BATCH_ITEMS_MAX;
use keygate_protocol::{
    ErrorCode, ErrorReply, Flags, Frame, Header, Increment, IncrementOutcome, Opcode, PayloadError,
    SlotRenew, Validate, Verdict, frame, opcode, verdict,
};

use super::deferred::{Deferred, Parked, Slots};
use crate::clock::Now;
use crate::engine::{Answer, Answers, BATCH, Engine};

/// The name and release that `Hello` answers.
pub(super) const NAME: &str = concat!("keygate/", env!("CARGO_PKG_VERSION"));

/// What one pass over the read buffer did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Drained {
    /// Bytes of whole frames, which are answered now.
    pub(super) consumed: usize,
    /// Whether the connection must be closed once the replies are written.
    pub(super) close: bool,
    /// Whether the pass ended only because enough replies wait already.
    pub(super) full: bool,
}

/// Appends an error reply.
pub(super) fn put_error(out: &mut BytesMut, correlation: u32, code: ErrorCode, message: &str) {
    frame::encode(out, opcode::ERROR, Flags::NONE, correlation, |out| {
        ErrorReply::encode(code, message, out);
    });
}

/// The error that a payload's fault is answered with.
pub(super) fn put_payload_error(out: &mut BytesMut, header: Header, error: PayloadError) {
    let code = match error {
        PayloadError::UnknownDemand { .. } => ErrorCode::UnknownDemand,
        _ => ErrorCode::BadPayload,
    };
    put_error(out, header.correlation, code, &error.to_string());
}

/// Answers the data plane's frames from one engine.
pub(super) struct Dispatcher<'e> {
    pub(super) engine: &'e Engine,
    /// The tenant that the connection is bound to: no other tenant's key is there for it.
    pub(super) tenant: Option<Arc<str>>,
    pub(super) frame_bytes_max: u32,
    pub(super) reply_bytes_max: usize,
    /// Where answers are made, again and again.
    pub(super) answers: &'e RefCell<Answers>,
    /// Requests that wait for the ledger; `None` where nobody would wait for it.
    pub(super) deferred: Option<Deferred>,
    /// The slots that end with the connection; `None` where they outlive it.
    pub(super) slots: Option<Slots<'e>>,
}

/// Questions that wait to be decided together, with the correlations of their replies.
#[derive(Default)]
struct Waiting<'a> {
    questions: ArrayVec<Validate<'a>, BATCH>,
    correlations: ArrayVec<u32, BATCH>,
    payloads: ArrayVec<&'a [u8], BATCH>,
}

impl Dispatcher<'_> {
    /// Answers every whole frame of `input`, in order, at one instant.
    pub(super) fn drain(&mut self, input: &[u8], now: Now, out: &mut BytesMut) -> Drained {
        let mut waiting = Waiting::default();
        let mut consumed = 0;
        let mut close = false;
        let mut full = false;
        loop {
            // What waits adds a few kilobytes; one that asks for details does not wait.
            if out.len() >= self.reply_bytes_max {
                full = true;
                break;
            }
            match frame::decode(&input[consumed..], self.frame_bytes_max) {
                Ok(None) => break,
                Ok(Some((frame, bytes))) => {
                    consumed += bytes;
                    if self.frame(frame, now, &mut waiting, out) == Go::Close {
                        close = true;
                        break;
                    }
                }
                Err(error) => {
                    self.decide(&mut waiting, now, out);
                    put_error(out, 0, ErrorCode::BadFrame, &error.to_string());
                    close = true;
                    break;
                }
            }
        }
        self.decide(&mut waiting, now, out);
        Drained { consumed, close, full }
    }

    /// Answers one frame by itself.
    pub(super) fn single(&mut self, frame: Frame<'_>, now: Now, out: &mut BytesMut) -> Go {
        let mut waiting = Waiting::default();
        let go = self.frame(frame, now, &mut waiting, out);
        self.decide(&mut waiting, now, out);
        go
    }

    fn frame<'a>(
        &mut self,
        frame: Frame<'a>,
        now: Now,
        waiting: &mut Waiting<'a>,
        out: &mut BytesMut,
    ) -> Go {
        let header = frame.header;
        let opcode = Opcode::from_byte(header.opcode);
        if opcode == Some(Opcode::Validate) && header.flags == Flags::NONE {
            self.enqueue(frame, now, waiting, out);
            return Go::On;
        }
        // Other requests see the effects of the questions before them.
        self.decide(waiting, now, out);
        // What is not served here is refused for that, whatever its flags mean there.
        let Some(opcode) = opcode.filter(|opcode| !opcode.is_admin()) else {
            refuse(header, out);
            return Go::On;
        };
        if !opcode.flags_allowed().has(header.flags) {
            let message = "this request takes no such flag";
            put_error(out, header.correlation, ErrorCode::BadPayload, message);
            return Go::On;
        }
        let quiet = header.flags == Flags::NO_REPLY;
        match opcode {
            Opcode::Increment => self.increment(frame, now, quiet, out),
            Opcode::IncrementBatch => self.increment_batch(frame, now, quiet, out),
            Opcode::ValidateBatch => self.validate_batch(frame, now, out),
            Opcode::Hello => {
                let tenant = &mut self.tenant;
                return hello(frame, false, self.frame_bytes_max, |to| bind(tenant, to), out);
            }
            Opcode::Ping => ping(frame, out),
            Opcode::SlotRenew => self.renew(frame, now, out),
            // Whole questions without flags are taken above.
            _ => refuse(header, out),
        }
        Go::On
    }

    fn enqueue<'a>(
        &mut self,
        frame: Frame<'a>,
        now: Now,
        waiting: &mut Waiting<'a>,
        out: &mut BytesMut,
    ) {
        match Validate::decode(frame.payload) {
            Ok(question) => {
                waiting.questions.push(question);
                waiting.correlations.push(frame.header.correlation);
                waiting.payloads.push(frame.payload);
                // Details and metadata may be 49 KiB: they must not pile up beyond what may wait.
                if question.flags.asks_for_more() || waiting.questions.is_full() {
                    self.decide(waiting, now, out);
                }
            }
            Err(error) => put_payload_error(out, frame.header, error),
        }
    }

    fn decide(&mut self, waiting: &mut Waiting<'_>, now: Now, out: &mut BytesMut) {
        if waiting.questions.is_empty() {
            return;
        }
        let tenant = self.tenant.clone();
        let mut answers = self.answers.borrow_mut();
        self.engine.validate_for(tenant.as_deref(), &waiting.questions, now, &mut answers);
        let each = answers.iter().zip(&waiting.correlations).zip(&waiting.payloads);
        for ((answer, correlation), payload) in each {
            if let (Some(wait), Some(deferred)) = (&answer.wait, &mut self.deferred) {
                deferred.wait_for(wait);
                let (payload, tenant) = (Bytes::copy_from_slice(payload), tenant.clone());
                let correlation = *correlation;
                deferred.parked.push(Parked { correlation, payload, tenant, batch: None });
                continue;
            }
            note_slot(&mut self.slots, answer, now);
            put_reply(answer, *correlation, out);
        }
        waiting.questions.clear();
        waiting.correlations.clear();
        waiting.payloads.clear();
    }

    /// Judges those anew whose accounts were debited. Some may wait again.
    pub(super) fn retry(&mut self, now: Now, out: &mut BytesMut) {
        let deferred = self.deferred.as_mut().map(std::mem::take).unwrap_or_default();
        for Parked { correlation, payload, tenant, batch } in deferred.parked {
            let bound = std::mem::replace(&mut self.tenant, tenant);
            match batch {
                Some(verdicts) => self.batch(correlation, &payload, verdicts, now, out),
                None => {
                    let mut waiting = Waiting::default();
                    if let Ok(question) = Validate::decode(&payload) {
                        waiting.questions.push(question);
                        waiting.correlations.push(correlation);
                        waiting.payloads.push(&payload);
                    }
                    self.decide(&mut waiting, now, out);
                }
            }
            self.tenant = bound;
        }
    }

    fn renew(&self, frame: Frame<'_>, now: Now, out: &mut BytesMut) {
        match SlotRenew::decode(frame.payload) {
            Ok(renew) => {
                let outcome = self.engine.renew_slot(self.tenant.as_deref(), renew, now);
                reply(frame.header, Opcode::SlotRenew, out, |out| outcome.encode(out));
            }
            Err(error) => put_payload_error(out, frame.header, error),
        }
    }

    fn validate_batch(&mut self, frame: Frame<'_>, now: Now, out: &mut BytesMut) {
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
        let verdicts = vec![None; items.count()];
        self.batch(frame.header.correlation, frame.payload, verdicts, now, out);
    }

    /// Decides the items of a batch that have no verdict yet, and answers when all have one.
    fn batch(
        &mut self,
        correlation: u32,
        payload: &[u8],
        mut verdicts: Vec<Option<Verdict>>,
        now: Now,
        out: &mut BytesMut,
    ) {
        let Ok(items) = Batch::decode(payload) else { return };
        let questions: Vec<Validate<'_>> =
            items.filter_map(|item| Validate::decode(item).ok()).collect();
        let open: Vec<usize> = (0..questions.len()).filter(|at| verdicts[*at].is_none()).collect();
        for places in open.chunks(BATCH) {
            let chunk: ArrayVec<Validate<'_>, BATCH> =
                places.iter().map(|at| questions[*at]).collect();
            let tenant = self.tenant.as_deref();
            let mut answers = self.answers.borrow_mut();
            self.engine.validate_for(tenant, &chunk, now, &mut answers);
            for (answer, at) in answers.iter().zip(places) {
                if let (Some(wait), Some(deferred)) = (&answer.wait, &mut self.deferred) {
                    deferred.wait_for(wait);
                    continue;
                }
                note_slot(&mut self.slots, answer, now);
                verdicts[*at] = Some(answer.verdict);
            }
        }
        if let Some(deferred) = &mut self.deferred
            && verdicts.iter().any(Option::is_none)
        {
            let (payload, tenant) = (Bytes::copy_from_slice(payload), self.tenant.clone());
            let batch = Some(verdicts);
            return deferred.parked.push(Parked { correlation, payload, tenant, batch });
        }
        frame::encode(out, Opcode::ValidateBatch.reply(), Flags::NONE, correlation, |out| {
            let mut batch = BatchWriter::new(out);
            verdicts.iter().flatten().for_each(|verdict| batch.item(|out| verdict.encode(out)));
            batch.finish();
        });
    }

    fn report(&mut self, report: &Increment<'_>, now: Now) -> IncrementOutcome {
        if let (Some(slot), Some(slots)) = (report.slot, &mut self.slots) {
            slots.give_back(slot);
        }
        self.engine.increment_for(self.tenant.as_deref(), report, now)
    }

    fn increment(&mut self, frame: Frame<'_>, now: Now, quiet: bool, out: &mut BytesMut) {
        match Increment::decode(frame.payload) {
            Ok(report) => {
                let outcome = self.report(&report, now);
                if !quiet {
                    reply(frame.header, Opcode::Increment, out, |out| outcome.encode(out));
                }
            }
            Err(error) => put_payload_error(out, frame.header, error),
        }
    }

    fn increment_batch(&mut self, frame: Frame<'_>, now: Now, quiet: bool, out: &mut BytesMut) {
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

/// Whether a connection goes on after a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Go {
    On,
    Close,
}

/// Appends a reply to a request of this opcode.
pub(super) fn reply(
    header: Header,
    opcode: Opcode,
    out: &mut BytesMut,
    write: impl FnOnce(&mut BytesMut),
) {
    frame::encode(out, opcode.reply(), Flags::NONE, header.correlation, write);
}

/// Notes the slot that an answer has taken, if it ends with the connection.
fn note_slot(slots: &mut Option<Slots<'_>>, answer: &Answer, now: Now) {
    if let (Some(slot), Some(slots)) = (answer.verdict.slot, slots)
        && !answer.slot_stays
    {
        slots.take(answer.verdict.key_id, slot, now);
    }
}

fn put_reply(answer: &Answer, correlation: u32, out: &mut BytesMut) {
    frame::encode(out, Opcode::Validate.reply(), Flags::NONE, correlation, |out| {
        put_answer(answer, out);
    });
}

fn put_answer(answer: &Answer, out: &mut BytesMut) {
    answer.verdict.encode(out);
    if let (Some(tenant), Some(policy)) = (&answer.tenant, &answer.policy) {
        verdict::put_details(tenant, policy.scopes.iter(), out);
    }
    if let Some(metadata) = &answer.metadata {
        verdict::put_metadata(metadata.json(), out);
    }
}

/// Binds a connection to a tenant; whether it is bound to that one now. Once bound it stays so:
/// whoever is handed the connection cannot undo what binds it.
pub(super) fn bind(tenant: &mut Option<Arc<str>>, to: &str) -> bool {
    &**tenant.get_or_insert_with(|| to.into()) == to
}

/// `Hello`, on either socket. `bind` binds the connection and says whether that could be done.
pub(super) fn hello(
    frame: Frame<'_>,
    admin: bool,
    frame_bytes_max: u32,
    bind: impl FnOnce(&str) -> bool,
    out: &mut BytesMut,
) -> Go {
    let hello = match Hello::decode(frame.payload) {
        Ok(hello) => hello,
        Err(error) => {
            put_payload_error(out, frame.header, error);
            return Go::On;
        }
    };
    let Some(version) = hello.agree() else {
        let message = format!(
            "this daemon speaks protocol version {VERSION}; the client speaks {} to {}",
            hello.version_min, hello.version_max
        );
        put_error(out, frame.header.correlation, ErrorCode::UnsupportedVersion, &message);
        return Go::Close;
    };
    if hello.tenant.is_some_and(|tenant| !bind(tenant)) {
        let message = "tenant: the connection is bound to another tenant already, and stays so";
        put_error(out, frame.header.correlation, ErrorCode::BadPayload, message);
        return Go::On;
    }
    // A constant well below 2^16.
    let batch_items_max = u16::try_from(BATCH_ITEMS_MAX).unwrap_or(u16::MAX);
    reply(frame.header, Opcode::Hello, out, |out| {
        HelloReply { version, admin, batch_items_max, frame_bytes_max, name: Some(NAME) }
            .encode(out);
    });
    Go::On
}

/// `Ping`, on either socket.
pub(super) fn ping(frame: Frame<'_>, out: &mut BytesMut) {
    reply(frame.header, Opcode::Ping, out, |out| out.put_slice(frame.payload));
}

fn refuse(header: Header, out: &mut BytesMut) {
    match Opcode::from_byte(header.opcode) {
        Some(opcode) => {
            let message = format!("{} belongs to the admin socket", opcode.name());
            put_error(out, header.correlation, ErrorCode::NotOnThisSocket, &message);
        }
        None => {
            let message = format!("opcode {:#04x} is not known here", header.opcode);
            put_error(out, header.correlation, ErrorCode::UnknownOpcode, &message);
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::engine::EngineLimits;
    use crate::key::Pepper;
    use crate::key::token::Prefixes;

    #[test]
    fn what_is_not_served_here_is_refused_for_that_and_then_for_its_flags() {
        let engine = engine();
        let answers = RefCell::default();
        let mut dispatcher = dispatcher(&engine, &answers);
        let now = Now { mono_ns: 0, wall_us: 0 };
        for (opcode, flags, code) in [
            (0x7F, Flags::NONE, ErrorCode::UnknownOpcode),
            (0x7F, Flags::NO_REPLY, ErrorCode::UnknownOpcode),
            (0x90, Flags::MORE, ErrorCode::UnknownOpcode),
            (Opcode::Import.byte(), Flags::MORE, ErrorCode::NotOnThisSocket),
            (Opcode::Health.byte(), Flags::NONE, ErrorCode::NotOnThisSocket),
            (Opcode::Ping.byte(), Flags::NO_REPLY, ErrorCode::BadPayload),
            (Opcode::Validate.byte(), Flags::MORE, ErrorCode::BadPayload),
            (Opcode::Increment.byte(), Flags::NO_REPLY.with(Flags::MORE), ErrorCode::BadPayload),
        ] {
            let mut input = BytesMut::new();
            frame::encode(&mut input, opcode, flags, 9, |_| {});
            let mut out = BytesMut::new();
            let drained = dispatcher.drain(&input, now, &mut out);
            assert_eq!(drained, Drained { consumed: input.len(), close: false, full: false });
            let (reply, _) = frame::decode(&out, 4096).expect("a frame").expect("whole");
            assert_eq!((reply.header.opcode, reply.header.correlation), (opcode::ERROR, 9));
            let error = ErrorReply::decode(reply.payload).expect("an error");
            assert_eq!(error.code, Some(code), "{opcode:#04x} {flags:?}");
        }
    }

    #[test]
    fn a_connection_is_bound_once_and_what_came_before_is_not() {
        let engine = engine();
        let answers = RefCell::default();
        let mut dispatcher = dispatcher(&engine, &answers);
        let now = Now { mono_ns: 0, wall_us: 0 };
        let mut say = |tenant| {
            let (mut input, mut out) = (BytesMut::new(), BytesMut::new());
            let hello = Hello { version_min: 1, version_max: 1, name: None, tenant };
            frame::encode(&mut input, Opcode::Hello.byte(), Flags::NONE, 9, |out| {
                hello.encode(out);
            });
            assert!(!dispatcher.drain(&input, now, &mut out).close);
            let (reply, _) = frame::decode(&out, 4096).expect("a frame").expect("whole");
            let taken = reply.header.opcode == Opcode::Hello.reply();
            (taken, dispatcher.tenant.as_deref().map(str::to_owned))
        };
        let acme = || Some("acme".to_owned());
        for (tenant, taken, bound) in [
            (None, true, None),
            (Some(""), false, None),
            (Some("acme"), true, acme()),
            (None, true, acme()),
            (Some("acme"), true, acme()),
            (Some("other"), false, acme()),
        ] {
            assert_eq!(say(tenant), (taken, bound), "{tenant:?}");
        }
    }

    fn dispatcher<'e>(engine: &'e Engine, answers: &'e RefCell<Answers>) -> Dispatcher<'e> {
        Dispatcher {
            engine,
            tenant: None,
            frame_bytes_max: 1024,
            reply_bytes_max: 4096,
            answers,
            deferred: None,
            slots: None,
        }
    }

    /// An engine without keys.
    pub(in crate::server) fn engine() -> Engine {
        let limits = EngineLimits {
            keys_max: 1000,
            expiry_warning_us: 0,
            increment_id_window_us: 3_600_000_000,
            increment_ids_max: 1000,
            slots_max: 1000,
        };
        Engine::new(Pepper::new(&[1; 32]), Prefixes::default(), limits)
    }
}
