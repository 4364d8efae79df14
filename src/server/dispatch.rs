//! Frames in, frames out: everything that one read brought is decided before anything is written.

mod batch;
mod hold;
mod retry;

use std::cell::RefCell;
use std::sync::Arc;

use arrayvec::ArrayVec;
use bytes::BytesMut;
use keygate_protocol::{
    ErrorCode, ErrorReply, Flags, Frame, Header, Increment, IncrementOutcome, Opcode, PayloadError,
    Role, Roles, SlotRenew, Validate, frame, opcode, verdict,
};
use zeroize::Zeroizing;

use super::admit::{Login, allows};
use super::deferred::{Deferred, Desk, Parked};
use super::hello::{hello, ping};
use super::observe::Observer;
use super::slots::Slots;
use crate::clock::{Clock, Now};
use crate::config::Limits;
use crate::engine::{Answer, Answers, Asker, BATCH, Engine, Standing};

/// Why a certificate that is stated is not taken.
const OVERSTATED: &str = "a client's certificate (type 9) is stated, and what connects here is not \
                          trusted to state one: the daemon's setting `stated_certificates` says who \
                          is";

/// Signatures that are verified in one turn of a connection, and those of the frame or the batch of
/// questions that the last of them is in: a few milliseconds. Then others have theirs.
pub(super) const SIGNATURES_AT_ONCE: usize = BATCH;

/// What one pass over the read buffer did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Drained {
    /// Bytes of whole frames, which are answered now.
    pub(super) consumed: usize,
    /// Requests that were answered, those without a reply too, and those that were parked not.
    pub(super) requests: usize,
    /// Whether the connection must be closed once the replies are written.
    pub(super) close: bool,
    /// Whether the pass ended only because enough replies wait already to be written, or enough
    /// signatures were verified.
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

/// What a connection has under way beyond its buffers. It ends with the connection.
pub(super) struct UnderWay {
    /// Requests whose replies wait for the ledger.
    pub(super) deferred: Deferred,
    /// Signatures that were looked at since the connection's turn began.
    pub(super) verified: usize,
    /// What its requests hold.
    slots: Slots,
}

impl UnderWay {
    pub(super) fn new(
        engine: &Arc<Engine>,
        clock: &Arc<dyn Clock>,
        desk: &Arc<Desk>,
        limits: &Limits,
    ) -> Self {
        Self {
            deferred: Deferred::new(desk, limits),
            verified: 0,
            slots: Slots::new(engine, clock),
        }
    }
}

/// Answers the data plane's frames from one engine.
pub(super) struct Dispatcher<'e> {
    pub(super) engine: &'e Engine,
    /// The tenant that the connection is bound to: no other tenant's key is there for it.
    pub(super) tenant: Option<Arc<str>>,
    /// What the connection is.
    pub(super) standing: Standing,
    /// Who is at its other end …
    pub(super) login: &'e Login,
    /// … and what that may do, as the connection is bound now.
    pub(super) roles: Roles,
    pub(super) frame_bytes_max: u32,
    pub(super) reply_bytes_max: usize,
    /// Where answers are made, again and again.
    pub(super) answers: &'e RefCell<Answers>,
    pub(super) under_way: &'e mut UnderWay,
    /// Told of every final verdict.
    pub(super) observer: &'e Observer,
}

/// Questions that wait to be decided together, with the correlations of their replies.
#[derive(Default)]
struct Waiting<'a> {
    questions: ArrayVec<Validate<'a>, BATCH>,
    correlations: ArrayVec<u32, BATCH>,
    payloads: ArrayVec<&'a [u8], BATCH>,
    /// The length of all payloads.
    bytes: usize,
}

impl Dispatcher<'_> {
    /// Answers every whole frame of `input`, in order, at one instant. Those whose replies wait for
    /// the ledger are parked; when no more of them may be, the rest of the input is left.
    pub(super) fn drain(&mut self, input: &[u8], now: Now, out: &mut BytesMut) -> Drained {
        let mut waiting = Waiting::default();
        let mut consumed = 0;
        let mut frames = 0;
        let parked = self.under_way.deferred.len();
        let mut close = false;
        let mut full = false;
        loop {
            // What waits adds a few kilobytes; one that asks for details does not wait.
            if out.len() >= self.reply_bytes_max {
                full = true;
                break;
            }
            // Whoever else this thread serves comes between.
            if self.under_way.verified >= SIGNATURES_AT_ONCE {
                full = true;
                break;
            }
            // What may be parked counts as parked until it is decided.
            let deferred = &self.under_way.deferred;
            if !deferred.has_room_beside(waiting.questions.len(), waiting.bytes) {
                self.decide(&mut waiting, now, out);
                if !self.under_way.deferred.has_room_beside(0, 0) {
                    break;
                }
            }
            match frame::decode(&input[consumed..], self.frame_bytes_max) {
                Ok(None) => break,
                Ok(Some((frame, bytes))) => {
                    consumed += bytes;
                    frames += 1;
                    if self.frame(frame, now, &mut waiting, out) == Go::Close {
                        close = true;
                        break;
                    }
                }
                Err(error) => {
                    self.decide(&mut waiting, now, out);
                    self.observer.refused(ErrorCode::BadFrame);
                    put_error(out, 0, ErrorCode::BadFrame, &error.to_string());
                    close = true;
                    break;
                }
            }
        }
        self.decide(&mut waiting, now, out);
        self.nudge();
        let requests = frames - (self.under_way.deferred.len() - parked);
        Drained { consumed, requests, close, full }
    }

    /// Answers one frame by itself.
    pub(super) fn single(&mut self, frame: Frame<'_>, now: Now, out: &mut BytesMut) -> Go {
        let mut waiting = Waiting::default();
        let go = self.frame(frame, now, &mut waiting, out);
        self.decide(&mut waiting, now, out);
        self.nudge();
        go
    }

    /// Who asks now.
    fn asker(&self) -> Asker<'_> {
        self.asker_of(self.tenant.as_deref())
    }

    /// Who asked when the connection was bound to this tenant.
    fn asker_of<'a>(&self, tenant: Option<&'a str>) -> Asker<'a> {
        Asker { tenant, standing: self.standing, again: false }
    }

    /// Tells the ledger that leases are nearly spent, where some are.
    fn nudge(&self) {
        if self.engine.asks() {
            self.under_way.deferred.nudge();
        }
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
        if opcode == Some(Opcode::Validate)
            && header.flags == Flags::NONE
            && self.roles.has(Role::Check)
        {
            self.enqueue(frame, now, waiting, out);
            return Go::On;
        }
        // Other requests see the effects of the questions before them.
        self.decide(waiting, now, out);
        let replied = out.len();
        let go = self.other(frame, now, out);
        self.observer.replied(&out[replied..]);
        go
    }

    /// Answers a frame that is no plain question.
    fn other(&mut self, frame: Frame<'_>, now: Now, out: &mut BytesMut) -> Go {
        let header = frame.header;
        // What is not served here is refused for that, whatever its flags mean there.
        let opcode = Opcode::from_byte(header.opcode).filter(|opcode| !opcode.is_admin());
        let Some(opcode) = opcode else {
            refuse(header, out);
            return Go::On;
        };
        if !allows(self.roles, opcode) {
            let message = self.login.refuse(opcode, self.tenant.as_deref(), now);
            put_error(out, header.correlation, ErrorCode::Forbidden, &message);
            return Go::On;
        }
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
                let (tenant, login) = (&mut self.tenant, self.login);
                let bind = |to: &str| {
                    login.may_bind(tenant.as_deref(), to).inspect_err(|_| {
                        login.note_refused(Opcode::Hello, tenant.as_deref(), now);
                    })?;
                    tenant.get_or_insert_with(|| to.into());
                    Ok(())
                };
                let go = hello(frame, false, self.frame_bytes_max, bind, out);
                self.roles = login.roles(self.tenant.as_deref());
                return go;
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
            Ok(question) if self.overstates(&question) => {
                self.observer.refused(ErrorCode::Forbidden);
                self.login.note_refused(Opcode::Validate, self.tenant.as_deref(), now);
                put_error(out, frame.header.correlation, ErrorCode::Forbidden, OVERSTATED);
            }
            Ok(question) => {
                waiting.questions.push(question);
                waiting.correlations.push(frame.header.correlation);
                waiting.payloads.push(frame.payload);
                waiting.bytes += frame.payload.len();
                // Details and metadata may be 49 KiB: they must not pile up beyond what may wait.
                if question.flags.asks_for_more() || waiting.questions.is_full() {
                    self.decide(waiting, now, out);
                }
            }
            Err(error) => {
                self.observer.refused(ErrorCode::from(error));
                put_payload_error(out, frame.header, error);
            }
        }
    }

    /// Whether a question states the certificate of its client, and the connection may not: it is
    /// refused, since to pass it over would judge another request than the one that was asked about.
    fn overstates(&self, question: &Validate<'_>) -> bool {
        question.facts.states_certificate() && !self.standing.states_certificates
    }

    fn decide(&mut self, waiting: &mut Waiting<'_>, now: Now, out: &mut BytesMut) {
        if waiting.questions.is_empty() {
            return;
        }
        let mut answers = self.answers.borrow_mut();
        self.engine.validate_for(self.asker(), &waiting.questions, now, &mut answers);
        self.under_way.verified += answers.verified();
        let asked = waiting.correlations.iter().zip(&waiting.payloads).zip(&waiting.questions);
        for (answer, ((correlation, payload), question)) in answers.iter().zip(asked) {
            let Some(wait) = &answer.wait else {
                self.under_way.slots.note(answer, now);
                self.observer.decided(question, answer, now);
                match self.record(question, answer, now) {
                    None => put_reply(answer, *correlation, out),
                    Some(receipt) => self.hold_one(answer, *correlation, receipt, now.mono_ns),
                }
                continue;
            };
            let request = Parked {
                correlation: *correlation,
                payload: Zeroizing::new((*payload).into()),
                tenant: self.tenant.clone(),
                verdicts: None,
                is_large: question.flags.asks_for_more(),
                receipts: Vec::new(),
                since_ns: now.mono_ns,
            };
            self.observer.deferred();
            self.under_way.deferred.park(request, wait.accounts());
        }
        waiting.questions.clear();
        waiting.correlations.clear();
        waiting.payloads.clear();
        waiting.bytes = 0;
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

    fn report(&mut self, report: &Increment<'_>, now: Now) -> IncrementOutcome {
        let outcome = self.engine.increment_for(self.tenant.as_deref(), report, now);
        self.observer.reported(outcome);
        // A repeated report gives nothing back, and neither does one of a key that is not there.
        let gave_back = matches!(outcome, IncrementOutcome::Counted | IncrementOutcome::SlotGone);
        if let Some(slot) = report.slot.filter(|_| gave_back) {
            self.under_way.slots.given_back(report.key_id, slot);
        }
        outcome
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
pub(super) mod tests;
