//! Who waits for what: the slots of the calls in flight and the frames not yet written. Pure; the
//! lock around it is in [`super::link`].

use std::sync::Arc;
use std::task::Waker;

use bytes::BytesMut;
use keygate_protocol::frame::HEADER_BYTES;
use keygate_protocol::limits::{ADMIN_FRAME_BYTES_MAX, BATCH_ITEMS_MAX, DATA_FRAME_BYTES_MAX};
use keygate_protocol::{Flags, Frame, Opcode, opcode};
use tokio::time::Instant;

use super::buffer::{Outbox, Payload};
use super::error::{ConnectError, Loss, Refusal, ReplyError};
use super::handshake::ServerInfo;
use super::release::release;
use super::slot::{Failure, Outcome, Reply, Slot, State};

/// Most calls in flight: one less than the low half of a correlation can tell apart, because
/// [`DETACHED`] takes the last.
pub(super) const IN_FLIGHT_MAX: usize = u16::MAX as usize;
/// The correlation of every request that wants no reply. Its low half is no slot.
pub(super) const DETACHED: u32 = u32::MAX;
/// What became of a call whose caller gave up.
pub(super) enum GivenUp {
    /// The outcome was there already.
    Settled(Outcome),
    /// It was taken back before anything of it was written. The slot is free.
    Withdrawn,
    /// It is on its way; its slot stays taken until the reply comes or the connection ends, so
    /// that the late reply cannot be taken for another call's.
    Abandoned,
}

/// Whether calls are taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    /// They are.
    Open,
    /// The last client was dropped: what is queued is still written.
    Closing,
    /// The connection task is gone.
    Ended,
}

/// What the lock protects.
pub(super) struct Table {
    slots: Vec<Slot>,
    /// The indices of slots whose state is `Free`.
    free: Vec<u16>,
    /// Frames of slots whose state is `Queued`, and those that want no reply.
    queue: Outbox,
    /// The connection task, while it sleeps.
    task: Option<Waker>,
    /// The task that wakes callers whose deadline has come, and for when its alarm is set. It is
    /// woken only for an earlier deadline, so most calls set no timer.
    alarm: Option<Waker>,
    alarm_at: Option<Instant>,
    phase: Phase,
    /// Slots that are `abandoned`.
    abandoned: usize,
    /// The daemon, as it greeted the last connection.
    server: Option<Arc<ServerInfo>>,
    /// Why there is no connection, once trying has failed.
    unreachable: Option<Arc<ConnectError>>,
    /// Requests without a reply that the daemon could not judge.
    refused_detached: u64,
}

/// What the connection task must do after it has let go of the lock.
#[derive(Default)]
pub(super) struct Wakes {
    pub(super) callers: Vec<Waker>,
    /// Requests that no longer count against the bound on those in flight.
    pub(super) freed: usize,
}

/// A request as a call writes it.
pub(super) struct Request<W> {
    pub(super) opcode: Opcode,
    /// Bounds what `write` appends.
    pub(super) payload_bytes_max: usize,
    pub(super) write: W,
}

/// Who waits for an outcome, and until when.
pub(super) struct Caller<'a> {
    pub(super) waker: &'a Waker,
    pub(super) deadline: Option<Instant>,
}

impl Table {
    pub(super) fn new() -> Self {
        Self {
            slots: Vec::new(),
            free: Vec::new(),
            queue: Outbox::default(),
            task: None,
            alarm: None,
            alarm_at: None,
            phase: Phase::Open,
            abandoned: 0,
            server: None,
            unreachable: None,
            refused_detached: 0,
        }
    }

    pub(super) const fn phase(&self) -> Phase {
        self.phase
    }

    pub(super) fn server(&self) -> Option<Arc<ServerInfo>> {
        self.server.clone()
    }

    pub(super) fn unreachable(&self) -> Option<Arc<ConnectError>> {
        self.unreachable.clone()
    }

    pub(super) const fn refused_detached(&self) -> u64 {
        self.refused_detached
    }

    pub(super) const fn has_abandoned(&self) -> bool {
        self.abandoned > 0
    }

    pub(super) fn has_queued(&self) -> bool {
        !self.queue.is_empty()
    }

    pub(super) fn batch_items_max(&self) -> usize {
        let told = self.server.as_ref().map(|server| usize::from(server.batch_items_max));
        told.map_or(BATCH_ITEMS_MAX, |told| told.min(BATCH_ITEMS_MAX))
    }

    fn frame_bytes_max(&self, opcode: Opcode) -> usize {
        let assumed = if opcode.is_admin() { ADMIN_FRAME_BYTES_MAX } else { DATA_FRAME_BYTES_MAX };
        self.server.as_ref().map_or(assumed, |server| server.frame_bytes_max) as usize
    }

    /// Queues a request and takes a slot for its reply. `taken` counts no more than
    /// [`IN_FLIGHT_MAX`] slots at a time.
    pub(super) fn begin(
        &mut self,
        request: Request<impl FnOnce(&mut BytesMut)>,
        caller: &Caller<'_>,
    ) -> Result<u16, Failure> {
        self.admits(&request)?;
        let index = self.take_slot(request.opcode, caller);
        let correlation = self.slots[usize::from(index)].correlation(index);
        let header = (request.opcode, Flags::NONE, correlation);
        self.queue.push(header, Some(index), request.payload_bytes_max, request.write);
        Ok(index)
    }

    /// Queues a request that wants no reply.
    pub(super) fn begin_detached(
        &mut self,
        request: Request<impl FnOnce(&mut BytesMut)>,
    ) -> Result<(), Failure> {
        self.admits(&request)?;
        let header = (request.opcode, Flags::NO_REPLY, DETACHED);
        self.queue.push(header, None, request.payload_bytes_max, request.write);
        Ok(())
    }

    fn admits<W>(&self, request: &Request<W>) -> Result<(), Failure> {
        if self.phase != Phase::Open {
            return Err(Failure::Closed);
        }
        let max = self.frame_bytes_max(request.opcode);
        let is = request.payload_bytes_max + HEADER_BYTES;
        if is > max { Err(Failure::TooLarge { is, max }) } else { Ok(()) }
    }

    fn take_slot(&mut self, opcode: Opcode, caller: &Caller<'_>) -> u16 {
        let index = self.free.pop().unwrap_or_else(|| {
            self.slots.push(Slot::new(opcode));
            u16::try_from(self.slots.len() - 1).unwrap_or(u16::MAX)
        });
        let slot = &mut self.slots[usize::from(index)];
        slot.state = State::Queued;
        slot.generation = slot.generation.checked_add(1).unwrap_or(1);
        slot.opcode = opcode;
        slot.waker = Some(caller.waker.clone());
        slot.deadline = caller.deadline;
        index
    }

    fn release(&mut self, index: u16) {
        let slot = &mut self.slots[usize::from(index)];
        self.abandoned -= usize::from(slot.abandoned);
        slot.clear();
        self.free.push(index);
    }

    /// Gives back what an answer took that nobody awaits, with a report in the place of its call;
    /// whether there was anything, so that its permit goes on to the report.
    fn give_back(&mut self, question: Opcode, outcome: &Outcome) -> bool {
        let Ok(Reply::Payload(answer)) = outcome else { return false };
        let fits = |report: &Request<_>| {
            report.payload_bytes_max + HEADER_BYTES <= self.frame_bytes_max(report.opcode)
        };
        let report = release(question, answer).filter(fits);
        let Some(report) = report.filter(|_| self.phase != Phase::Ended) else { return false };
        let header = (report.opcode, Flags::NO_REPLY, DETACHED);
        self.queue.push(header, None, report.payload_bytes_max, report.write);
        true
    }

    /// Who must set an earlier alarm for this deadline, to be woken after the lock is let go.
    pub(super) fn alarm_for(&mut self, deadline: Option<Instant>) -> Option<Waker> {
        let deadline = deadline?;
        if self.alarm_at.is_some_and(|at| at <= deadline) {
            return None;
        }
        self.alarm_at = Some(deadline);
        self.alarm.take()
    }

    /// Wakes the callers whose deadline has come; they give up themselves. Answers the next
    /// deadline, for which the alarm is to be set.
    pub(super) fn ring(
        &mut self,
        now: Instant,
        task: &Waker,
        wakes: &mut Wakes,
    ) -> Option<Instant> {
        self.alarm_at = None;
        for slot in &mut self.slots {
            let waits = matches!(slot.state, State::Queued | State::Sent) && !slot.abandoned;
            let Some(deadline) = slot.deadline.filter(|_| waits) else { continue };
            if deadline <= now {
                wakes.callers.extend(slot.waker.take());
            } else {
                self.alarm_at = Some(self.alarm_at.map_or(deadline, |at| at.min(deadline)));
            }
        }
        self.alarm = Some(task.clone());
        self.alarm_at
    }

    /// The outcome of a call, which frees its slot; `None` while there is none.
    pub(super) fn poll(&mut self, index: u16, waker: &Waker) -> Option<Outcome> {
        let slot = &mut self.slots[usize::from(index)];
        if !matches!(slot.state, State::Settled(_)) {
            match &mut slot.waker {
                Some(known) => known.clone_from(waker),
                none => *none = Some(waker.clone()),
            }
            return None;
        }
        let State::Settled(outcome) = std::mem::replace(&mut slot.state, State::Free) else {
            return None;
        };
        self.release(index);
        Some(outcome)
    }

    /// The caller is gone; whether its permit is free.
    pub(super) fn drop_call(&mut self, index: u16) -> bool {
        let question = self.slots[usize::from(index)].opcode;
        match self.give_up(index) {
            GivenUp::Settled(outcome) => !self.give_back(question, &outcome),
            GivenUp::Withdrawn => true,
            GivenUp::Abandoned => false,
        }
    }

    /// The caller waits no longer.
    pub(super) fn give_up(&mut self, index: u16) -> GivenUp {
        let slot = &mut self.slots[usize::from(index)];
        match std::mem::replace(&mut slot.state, State::Sent) {
            State::Settled(outcome) => {
                self.release(index);
                GivenUp::Settled(outcome)
            }
            State::Queued | State::Free => {
                self.queue.retain(|frame, _| frame.slot != Some(index));
                self.release(index);
                GivenUp::Withdrawn
            }
            State::Sent => {
                slot.abandoned = true;
                slot.waker = None;
                self.abandoned += 1;
                GivenUp::Abandoned
            }
        }
    }

    /// Takes the connection task's waker, to be woken after the lock is let go.
    pub(super) const fn take_task(&mut self) -> Option<Waker> {
        self.task.take()
    }

    pub(super) const fn take_alarm(&mut self) -> Option<Waker> {
        self.alarm.take()
    }

    /// Notes the connection task, to be woken by whoever queues or gives up.
    pub(super) fn sleep(&mut self, task: &Waker) {
        match &mut self.task {
            Some(known) => known.clone_from(task),
            none => *none = Some(task.clone()),
        }
    }

    /// Hands everything queued to the connection, whose own buffer is empty.
    pub(super) fn send(&mut self, out: &mut Outbox) {
        if self.queue.is_empty() {
            return;
        }
        std::mem::swap(&mut self.queue, out);
        for index in out.frames().iter().filter_map(|frame| frame.slot) {
            self.slots[usize::from(index)].state = State::Sent;
        }
    }

    /// Settles the call that a frame answers. An error that closes is the connection's last frame
    /// (SPEC §1), so there is nothing to wait for after it.
    pub(super) fn receive(&mut self, frame: &Frame<'_>, wakes: &mut Wakes) -> Result<(), Loss> {
        let correlation = frame.header.correlation;
        let [l0, l1, h0, h1] = correlation.to_le_bytes();
        let (low, high) = (u16::from_le_bytes([l0, l1]), u16::from_le_bytes([h0, h1]));
        let known = self
            .slots
            .get_mut(usize::from(low))
            .filter(|slot| slot.generation == high && matches!(slot.state, State::Sent));
        let Some(slot) = known else { return self.receive_for_nobody(frame) };
        let payload = Payload::of(frame, slot.opcode);
        let Some(reply) = slot.receive(frame.header, payload)? else { return Ok(()) };
        let refused = matches!(reply, Reply::Refused(_));
        self.settle(low, Ok(reply), wakes);
        if refused {
            return match Refusal::decode(frame.payload) {
                Ok(refusal) if refusal.closes() => Err(Loss::Refused(refusal)),
                _ => Ok(()),
            };
        }
        Ok(())
    }

    /// A frame that answers no call: of a request without reply, or of the connection itself.
    fn receive_for_nobody(&mut self, frame: &Frame<'_>) -> Result<(), Loss> {
        let correlation = frame.header.correlation;
        if frame.header.opcode != opcode::ERROR {
            return Err(Loss::Protocol(ReplyError::Correlation(correlation)));
        }
        let refusal = Refusal::decode(frame.payload).map_err(ReplyError::from)?;
        if correlation == 0 || refusal.closes() {
            return Err(Loss::Refused(refusal));
        }
        if correlation != DETACHED {
            return Err(Loss::Protocol(ReplyError::Correlation(correlation)));
        }
        self.refused_detached += 1;
        Ok(())
    }

    fn settle(&mut self, index: u16, outcome: Outcome, wakes: &mut Wakes) {
        let slot = &mut self.slots[usize::from(index)];
        if slot.abandoned {
            let question = slot.opcode;
            self.release(index);
            wakes.freed += usize::from(!self.give_back(question, &outcome));
            return;
        }
        slot.state = State::Settled(outcome);
        wakes.callers.extend(slot.waker.take());
    }

    /// There is a connection. What is queued and does not fit this daemon fails.
    pub(super) fn connected(&mut self, server: Arc<ServerInfo>, wakes: &mut Wakes) {
        let max = server.frame_bytes_max as usize;
        self.server = Some(server);
        self.unreachable = None;
        let mut too_large = Vec::new();
        self.queue.retain(|frame, is| {
            if is > max {
                too_large.push((frame.slot, is));
            }
            is <= max
        });
        for (slot, is) in too_large {
            match slot {
                Some(index) => self.settle(index, Err(Failure::TooLarge { is, max }), wakes),
                None => wakes.freed += 1,
            }
        }
    }

    /// Connecting failed. What is queued waits on, unless waiting is without hope.
    pub(super) fn unreachable_for(&mut self, error: Arc<ConnectError>, wakes: &mut Wakes) {
        if error.is_final() {
            self.fail_queued(&Failure::Connect(Arc::clone(&error)), wakes);
        }
        self.unreachable = Some(error);
    }

    /// The connection ended when `written` bytes of `out` were. A frame of which the daemon has
    /// not every byte cannot have been executed, so it waits for the next connection.
    pub(super) fn lost(
        &mut self,
        loss: &Arc<Loss>,
        out: &mut Outbox,
        written: usize,
        wakes: &mut Wakes,
    ) {
        wakes.freed += out.detached(written);
        let slots = &self.slots;
        let abandoned = |index: u16| slots[usize::from(index)].abandoned;
        out.retain(|frame, _| frame.end > written && !frame.slot.is_some_and(abandoned));
        for index in out.frames().iter().filter_map(|frame| frame.slot) {
            self.slots[usize::from(index)].state = State::Queued;
        }
        out.append(&mut self.queue);
        std::mem::swap(&mut self.queue, out);
        self.fail(&Failure::Lost(Arc::clone(loss)), |state| matches!(state, State::Sent), wakes);
    }

    /// The connection task ends; nobody will write or read any more.
    pub(super) fn end(&mut self, wakes: &mut Wakes) {
        self.phase = Phase::Ended;
        self.fail_queued(&Failure::Closed, wakes);
        let loss = Failure::Lost(Arc::new(Loss::Closed));
        self.fail(&loss, |state| matches!(state, State::Sent), wakes);
    }

    /// The last client was dropped.
    pub(super) fn close(&mut self) {
        if self.phase == Phase::Open {
            self.phase = Phase::Closing;
        }
    }

    fn fail_queued(&mut self, failure: &Failure, wakes: &mut Wakes) {
        wakes.freed += self.queue.detached(usize::MAX);
        self.queue.clear();
        self.fail(failure, |state| matches!(state, State::Queued), wakes);
    }

    fn fail(&mut self, failure: &Failure, which: fn(&State) -> bool, wakes: &mut Wakes) {
        for index in 0..self.slots.len() {
            if which(&self.slots[index].state) {
                let index = u16::try_from(index).unwrap_or(u16::MAX);
                self.settle(index, Err(failure.clone()), wakes);
            }
        }
    }
}
