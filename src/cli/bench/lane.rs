//! One connection under load.

use std::cell::RefCell;
use std::future::poll_fn;
use std::io;
use std::os::unix::net::UnixStream as Socket;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Buf, BytesMut};
use keygate_protocol::frame::{self, Flags, Frame, LENGTH_BYTES};
use keygate_protocol::limits::DATA_FRAME_BYTES_MAX;
use keygate_protocol::opcode::ERROR;
use keygate_protocol::validate::ValidateWriter;
use keygate_protocol::{ErrorCode, ErrorReply, Opcode, ValidateFlags, Verdict};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::UnixStream;

use super::pace::{Schedule, Timer};
use super::tally::{Answer, Tally, error_name};
use super::{BenchError, Course};

/// Who answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Peer {
    /// The daemon: every answer is read and counted.
    Keygate,
    /// The yardstick: the same requests come back.
    Echo,
}

/// One connection and its requests in flight.
pub(super) struct Lane {
    number: u32,
    stream: UnixStream,
    course: Course,
    /// `None` is the closed loop.
    open: Option<(Schedule, Timer)>,
    slots: Slots,
    picks: Picks,
    out: BytesMut,
    input: Input,
    /// Of all lanes of a thread: a histogram is large, and there may be many lanes.
    tally: Rc<RefCell<Tally>>,
}

impl Lane {
    /// # Errors
    /// When the system has no descriptor left.
    pub(super) fn new(
        number: u32,
        socket: Socket,
        course: Course,
        tally: Rc<RefCell<Tally>>,
    ) -> io::Result<Self> {
        socket.set_nonblocking(true)?;
        let plan = &course.plan;
        let open = match plan.rate {
            None => None,
            Some(rate) => {
                let schedule = Schedule::new(course.start_ns, number, plan.connections, rate);
                Some((schedule, Timer::new()?))
            }
        };
        Ok(Self {
            number,
            stream: UnixStream::from_std(socket)?,
            open,
            slots: Slots::new(plan.depth),
            picks: Picks::new(number),
            out: BytesMut::new(),
            input: Input::new(),
            tally,
            course,
        })
    }

    /// Asks and counts until the time is up and all is answered.
    ///
    /// # Errors
    /// [`BenchError`] when the connection ends, or what comes is not an answer.
    pub(super) async fn drive(mut self) -> Result<(), BenchError> {
        let now = self.course.clock.mono_ns();
        let span = Duration::from_nanos(self.course.until_ns.saturating_sub(now));
        let deadline = span + self.course.plan.patience;
        self.ask(now);
        match tokio::time::timeout(deadline, poll_fn(|cx| self.poll(cx))).await {
            Ok(ended) => ended?,
            Err(_) => {
                let waiting = self.slots.waiting();
                return Err(BenchError::Silent { connection: self.number, waiting });
            }
        }
        if let Some((schedule, _)) = &self.open {
            self.tally.borrow_mut().unsent += schedule.left_before(self.course.until_ns);
        }
        Ok(())
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BenchError>> {
        self.flush(cx)?;
        while self.read(cx)?.is_ready() {
            // One look at the clock for all that came at once.
            let now = self.course.clock.mono_ns();
            self.take(now)?;
            self.ask(now);
            self.flush(cx)?;
        }
        if self.open.is_some() && self.wait_until_due(cx)?.is_pending() {
            return Poll::Pending;
        }
        // The answers that are missing wake this task.
        if self.slots.waiting() > 0 { Poll::Pending } else { Poll::Ready(Ok(())) }
    }

    /// Asks what is due, and has this task woken when more is. Ready when the time is up.
    fn wait_until_due(&mut self, cx: &mut Context<'_>) -> Result<Poll<()>, BenchError> {
        let now = self.course.clock.mono_ns();
        let until = self.course.until_ns;
        self.ask(now);
        self.flush(cx)?;
        if now >= until {
            return Ok(Poll::Ready(()));
        }
        if let Some((schedule, timer)) = &mut self.open {
            // What is overdue waits for a free slot, and so for an answer; the end comes anyway.
            let due = schedule.due_ns();
            let wake = if due > now { due.min(until) } else { until };
            timer.wake_at(wake, now, cx).map_err(BenchError::Machine)?;
        }
        Ok(Poll::Pending)
    }

    /// Writes as many questions as are due and may be in flight; none when the time is up.
    fn ask(&mut self, now: u64) {
        if now >= self.course.until_ns {
            return;
        }
        loop {
            let due = self.open.as_ref().map_or(now, |(schedule, _)| schedule.due_ns());
            if due > now {
                return;
            }
            let Some(slot) = self.slots.take(due) else { return };
            if let Some((schedule, _)) = &mut self.open {
                schedule.advance();
                if due >= self.course.from_ns {
                    self.tally.borrow_mut().late.saturating_record(now - due);
                }
            }
            self.question(slot);
        }
    }

    fn question(&mut self, slot: u32) {
        let tokens = &self.course.plan.tokens;
        let token = tokens[self.picks.below(tokens.len())].as_bytes();
        question(&mut self.out, slot, token);
    }

    fn flush(&mut self, cx: &mut Context<'_>) -> Result<(), BenchError> {
        while !self.out.is_empty() {
            match Pin::new(&mut self.stream).poll_write(cx, &self.out) {
                Poll::Ready(written) => self.out.advance(written.map_err(|e| self.broken(e))?),
                // The task is woken when there is room.
                Poll::Pending => break,
            }
        }
        Ok(())
    }

    fn read(&mut self, cx: &mut Context<'_>) -> Result<Poll<()>, BenchError> {
        let mut room = ReadBuf::new(self.input.room());
        let read = match Pin::new(&mut self.stream).poll_read(cx, &mut room) {
            Poll::Pending => return Ok(Poll::Pending),
            Poll::Ready(Ok(())) => room.filled().len(),
            Poll::Ready(Err(error)) => return Err(self.broken(error)),
        };
        if read == 0 {
            let waiting = self.slots.waiting();
            return Err(BenchError::Closed { connection: self.number, waiting });
        }
        self.input.end += read;
        Ok(Poll::Ready(()))
    }

    /// Counts every whole frame that has come.
    fn take(&mut self, now: u64) -> Result<(), BenchError> {
        let Course { from_ns, until_ns, .. } = self.course;
        let mut tally = self.tally.borrow_mut();
        while let Some((frame, taken)) = frame::decode(self.input.filled(), DATA_FRAME_BYTES_MAX)? {
            let answer = match self.course.peer {
                Peer::Echo => Answer::Echo,
                Peer::Keygate => answer(&frame, self.number)?,
            };
            let frame::Header { opcode, correlation, .. } = frame.header;
            let Some(since) = self.slots.release(correlation) else {
                return Err(BenchError::Unasked { opcode, correlation });
            };
            self.input.start += taken;
            if since >= from_ns {
                tally.count(answer, now - since);
            }
            if (from_ns..until_ns).contains(&now) && !matches!(answer, Answer::Error(_)) {
                tally.answered += 1;
            }
        }
        Ok(())
    }

    fn broken(&self, source: io::Error) -> BenchError {
        BenchError::Broken { connection: self.number, source }
    }
}

/// Appends one question.
fn question(out: &mut BytesMut, correlation: u32, token: &[u8]) {
    frame::encode(out, Opcode::Validate.byte(), Flags::NONE, correlation, |out| {
        ValidateWriter::new(out, ValidateFlags::NONE, 1, token);
    });
}

/// Bytes of the question about a token.
pub(super) fn question_bytes(token: &[u8]) -> usize {
    let mut out = BytesMut::new();
    question(&mut out, 0, token);
    out.len()
}

/// Reads a reply of the daemon.
fn answer(frame: &Frame<'_>, connection: u32) -> Result<Answer, BenchError> {
    const VERDICT: u8 = Opcode::Validate.reply();
    match frame.header.opcode {
        VERDICT => Ok(Answer::Verdict(Verdict::decode(frame.payload)?.0.code)),
        ERROR => {
            let reply = ErrorReply::decode(frame.payload)?;
            if reply.code.is_none_or(ErrorCode::closes) {
                let (name, message) = (error_name(reply.byte), reply.message.to_owned());
                return Err(BenchError::Refused { connection, name, message });
            }
            Ok(Answer::Error(reply.byte))
        }
        opcode => Err(BenchError::Unasked { opcode, correlation: frame.header.correlation }),
    }
}

/// The requests in flight: a correlation is the number of a slot.
#[derive(Debug)]
struct Slots {
    /// Since when each slot's request has been due; [`FREE`] where there is none.
    since_ns: Vec<u64>,
    free: Vec<u32>,
}

const FREE: u64 = u64::MAX;

impl Slots {
    fn new(depth: u32) -> Self {
        Self { since_ns: vec![FREE; depth as usize], free: (0..depth).rev().collect() }
    }

    fn take(&mut self, since_ns: u64) -> Option<u32> {
        let slot = self.free.pop()?;
        self.since_ns[slot as usize] = since_ns;
        Some(slot)
    }

    /// Since when the request of a correlation has been due; the slot is free again.
    fn release(&mut self, correlation: u32) -> Option<u64> {
        let since = self.since_ns.get_mut(correlation as usize).filter(|since| **since != FREE)?;
        self.free.push(correlation);
        Some(std::mem::replace(since, FREE))
    }

    const fn waiting(&self) -> usize {
        self.since_ns.len() - self.free.len()
    }
}

/// Which token is next: xorshift64*, so that keys come in no order that a cache could learn.
#[derive(Debug)]
struct Picks {
    state: u64,
}

impl Picks {
    fn new(lane: u32) -> Self {
        // Any odd constant spreads the lanes; the state must not be 0.
        Self { state: (u64::from(lane) + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15) }
    }

    fn below(&mut self, count: usize) -> usize {
        self.state ^= self.state >> 12;
        self.state ^= self.state << 25;
        self.state ^= self.state >> 27;
        let random = self.state.wrapping_mul(0x2545_F491_4F6C_DD1D);
        let scaled = (u128::from(random) * count as u128) >> 64;
        usize::try_from(scaled).unwrap_or(0)
    }
}

/// What has come and is not yet a whole frame.
struct Input {
    bytes: Box<[u8]>,
    start: usize,
    end: usize,
}

impl Input {
    /// Room for the longest frame, twice over, so that it is seldom moved.
    const BYTES: usize = 2 * (LENGTH_BYTES + DATA_FRAME_BYTES_MAX as usize);

    fn new() -> Self {
        Self { bytes: vec![0; Self::BYTES].into_boxed_slice(), start: 0, end: 0 }
    }

    fn filled(&self) -> &[u8] {
        &self.bytes[self.start..self.end]
    }

    /// Room for what comes next; never empty, since a whole frame is taken before more is read.
    fn room(&mut self) -> &mut [u8] {
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
        } else if self.end > Self::BYTES / 2 {
            self.bytes.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, self.end - self.start);
        }
        &mut self.bytes[self.end..]
    }
}
