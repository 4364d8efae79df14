//! One data connection: read all there is, decide all of it, write once.

use std::cell::RefCell;
use std::pin::pin;
use std::sync::Arc;

use bytes::{Buf, BytesMut};
use keygate_protocol::{ErrorCode, frame};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use zeroize::Zeroize;

use super::admit::{Gate, Login};
use super::deferred::Desk;
use super::dispatch::{Dispatcher, SIGNATURES_AT_ONCE, UnderWay, put_error};
use super::observe::Observer;
use super::watch::{Left, Order, Parked, Watch};
use crate::clock::{Clock, Now};
use crate::config::Limits;
use crate::engine::{Answers, Engine};

/// What a quiet connection holds; a busy one grows to what it needs and shrinks again.
const BUFFER_BYTES: usize = 8 * 1024;

/// What every data connection of a worker shares.
pub(super) struct Shared {
    pub(super) engine: Arc<Engine>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) limits: Limits,
    /// Where the decisions of this worker are made, one connection's after the other.
    pub(super) answers: RefCell<Answers>,
    /// Where requests wait for the ledger.
    pub(super) desk: Arc<Desk>,
    /// Told of every verdict of this worker.
    pub(super) observer: Arc<Observer>,
    /// Tells what peers may do.
    pub(super) gate: Arc<Gate>,
}

/// Why a connection ended, for the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    PeerClosed,
    NotAdmitted,
    BadFrame,
    TimedOut,
    NotReading,
    Stopped,
    Broken,
}

/// Serves one connection to its end.
///
/// There is no timer here: with one armed, every wait for the next request costs the kernel a
/// timer too. The worker looks at the `watch` of each connection once a tick instead.
pub(super) async fn serve<S>(mut stream: S, login: &Login, shared: &Shared, watch: &Watch) -> End
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut under_way = UnderWay::new(&shared.engine, &shared.clock, &shared.desk, &shared.limits);
    let mut connection = Connection {
        dispatcher: Dispatcher {
            engine: &shared.engine,
            roles: login.roles(login.tenant().as_deref()),
            tenant: login.tenant(),
            standing: login.standing,
            login,
            frame_bytes_max: shared.limits.frame_bytes_max,
            reply_bytes_max: shared.limits.reply_bytes_max,
            answers: &shared.answers,
            under_way: &mut under_way,
            observer: &shared.observer,
        },
        clock: &*shared.clock,
        watch,
        input: BytesMut::with_capacity(BUFFER_BYTES),
        output: BytesMut::with_capacity(BUFFER_BYTES),
    };
    loop {
        let read = match connection.next(&mut stream).await {
            Event::Order(Order::Stop) => return connection.finish(&mut stream).await,
            Event::Order(Order::TimeOut) => return connection.time_out(&mut stream, shared).await,
            Event::Order(Order::GiveUp) => return End::NotReading,
            // It may have ended its own half alone: what was read is answered.
            Event::Read(Ok(0)) => {
                return connection.answer_parked(&mut stream).await.unwrap_or(End::PeerClosed);
            }
            Event::Read(Err(_)) => return End::Broken,
            Event::Read(Ok(bytes)) => {
                shared.observer.read(bytes);
                true
            }
            Event::Debited => false,
        };
        let now = shared.clock.now();
        let held = connection.input.len();
        if let Some(end) = connection.answer(&mut stream, now).await {
            return end;
        }
        let left = match connection.input.len() {
            0 => Left::Nothing,
            left if left < held => Left::NewFrame,
            _ => Left::SameFrame,
        };
        // What only waited goes on being as late as it is.
        if read || left != Left::SameFrame {
            watch.note(now, left);
        }
        watch.note_parked(now, connection.parked());
    }
}

/// What a connection goes on with.
enum Event {
    Read(std::io::Result<usize>),
    /// Parked requests may be judged anew.
    Debited,
    Order(Order),
}

struct Connection<'s> {
    dispatcher: Dispatcher<'s>,
    clock: &'s dyn Clock,
    watch: &'s Watch,
    input: BytesMut,
    output: BytesMut,
}

impl Connection<'_> {
    /// Waits for what comes first. Nothing is read while no more requests may be parked.
    async fn next<S: AsyncRead + Unpin>(&mut self, stream: &mut S) -> Event {
        // A peer that always has more to say must hear of an order too.
        if let Some(order) = self.watch.given() {
            return Event::Order(order);
        }
        let parked = self.parked();
        let deferred = &self.dispatcher.under_way.deferred;
        self.input.reserve(BUFFER_BYTES);
        tokio::select! {
            biased;
            // First, and so must those whose wait is over.
            () = deferred.rung(), if parked != Parked::None => Event::Debited,
            read = stream.read_buf(&mut self.input), if parked != Parked::Full => {
                Event::Read(read)
            }
            order = self.watch.order() => Event::Order(order),
        }
    }

    /// How many requests wait for the ledger.
    fn parked(&self) -> Parked {
        let deferred = &self.dispatcher.under_way.deferred;
        if deferred.is_empty() {
            Parked::None
        } else if deferred.has_room_beside(0, 0) {
            Parked::Some
        } else {
            Parked::Full
        }
    }

    /// Answers all whole frames there are, and what was debited of those that are parked; the end
    /// of the connection, if this is it.
    async fn answer<S: AsyncWrite + Unpin>(&mut self, stream: &mut S, read: Now) -> Option<End> {
        let mut now = read;
        loop {
            // The older ones first; and what is answered makes room.
            if self.parked() != Parked::None {
                self.dispatcher.retry(now, &mut self.output);
            }
            let drained = self.dispatcher.drain(&self.input, now, &mut self.output);
            // Tokens and client secrets: the buffer is used again, and may be given back.
            self.input[..drained.consumed].zeroize();
            self.input.advance(drained.consumed);
            if drained.close {
                return Some(self.close(stream).await);
            }
            if let Some(end) = self.flush(stream, now).await {
                return Some(end);
            }
            // One more reading of the clock for a whole batch.
            if drained.requests > 0 {
                let took_ns = self.clock.mono_ns().saturating_sub(now.mono_ns);
                self.dispatcher.observer.answered(drained.requests, took_ns);
            }
            // Over as many reads as they came in: each of them may have brought a few alone.
            let verified = &mut self.dispatcher.under_way.verified;
            if *verified >= SIGNATURES_AT_ONCE {
                *verified = 0;
                tokio::task::yield_now().await;
            }
            if !drained.full {
                break;
            }
            // Writing may have waited for the peer, up to its deadline: what is decided next is
            // decided at the time it is decided.
            now = self.clock.now();
        }
        self.shrink();
        None
    }

    /// Answers all that is parked, and what is left of the input; the end of the connection, if
    /// this is it. Nothing more is read. The ledger always answers, and a stop has its deadline.
    async fn answer_parked<S: AsyncWrite + Unpin>(&mut self, stream: &mut S) -> Option<End> {
        while self.parked() != Parked::None {
            self.watch.note_parked(self.clock.now(), Parked::Full);
            self.dispatcher.under_way.deferred.rung().await;
            if let Some(end) = self.answer(stream, self.clock.now()).await {
                return Some(end);
            }
        }
        None
    }

    /// Sends the error that closes, which is the last that was put: behind the replies to all that
    /// was read before it.
    async fn close<S: AsyncWrite + Unpin>(&mut self, stream: &mut S) -> End {
        let error = self.output.split_off(last_frame(&self.output));
        loop {
            let replied = !self.output.is_empty();
            if let Some(end) = self.flush(stream, self.clock.now()).await {
                return end;
            }
            // What was put may have been all that may wait to be written, and not all there is.
            if !replied {
                if self.parked() == Parked::None {
                    break;
                }
                self.watch.note_parked(self.clock.now(), Parked::Full);
                self.dispatcher.under_way.deferred.rung().await;
            }
            self.dispatcher.retry(self.clock.now(), &mut self.output);
        }
        self.output.unsplit(error);
        self.flush(stream, self.clock.now()).await.unwrap_or(End::BadFrame)
    }

    async fn flush<S: AsyncWrite + Unpin>(&mut self, stream: &mut S, now: Now) -> Option<End> {
        if self.output.is_empty() {
            return None;
        }
        self.watch.note_writing(Some(now));
        let mut write = pin!(async {
            stream.write_all(&self.output).await?;
            // What TLS has made of it may not have left yet.
            stream.flush().await
        });
        let written = tokio::select! {
            biased;
            written = &mut write => written,
            order = self.watch.order() => match order {
                // What was read is answered; the daemon's own deadline bounds the wait.
                Order::Stop => write.await,
                Order::TimeOut | Order::GiveUp => return Some(End::NotReading),
            },
        };
        self.watch.note_writing(None);
        self.dispatcher.observer.wrote(self.output.len());
        self.output.clear();
        written.err().map(|_| End::Broken)
    }

    /// A connection that once had much to say must not hold its memory for ever.
    fn shrink(&mut self) {
        const LARGE: usize = 4 * BUFFER_BYTES;
        if self.input.is_empty() && self.input.capacity() > LARGE {
            self.input = BytesMut::with_capacity(BUFFER_BYTES);
        }
        if self.output.capacity() > LARGE {
            self.output = BytesMut::with_capacity(BUFFER_BYTES);
        }
    }

    /// The daemon stops: what the peer had sent by now is answered, as far as it is there.
    async fn finish<S: AsyncRead + AsyncWrite + Unpin>(&mut self, stream: &mut S) -> End {
        // A peer that goes on sending must not hold the stop up.
        for _ in 0..64 {
            // Has the runtime ask the system once more what has arrived.
            tokio::task::yield_now().await;
            self.input.reserve(BUFFER_BYTES);
            let read = std::future::poll_fn(|cx| {
                let mut read = pin!(stream.read_buf(&mut self.input));
                // Not there now is not there: no waker is left behind.
                std::task::Poll::Ready(match read.as_mut().poll(cx) {
                    std::task::Poll::Ready(Ok(count)) => count,
                    _ => 0,
                })
            });
            if read.await == 0 {
                break;
            }
            if let Some(end) = self.answer(stream, self.clock.now()).await {
                return end;
            }
            if self.parked() == Parked::Full {
                break;
            }
        }
        if let Some(end) = self.answer_parked(stream).await {
            return end;
        }
        // Whatever else the peer had sent has not been executed, and may be sent elsewhere.
        self.dispatcher.observer.refused(ErrorCode::Stopping);
        put_error(&mut self.output, 0, ErrorCode::Stopping, "keygate is stopping");
        self.flush(stream, self.clock.now()).await.unwrap_or(End::Stopped)
    }

    async fn time_out<S: AsyncWrite + Unpin>(&mut self, stream: &mut S, shared: &Shared) -> End {
        if let Some(end) = self.answer_parked(stream).await {
            return end;
        }
        let limits = &shared.limits;
        let message = if self.input.is_empty() {
            format!("nothing was sent for {} ms", limits.idle_timeout_ms)
        } else {
            format!("a frame was not whole after {} ms", limits.frame_timeout_ms)
        };
        self.dispatcher.observer.refused(ErrorCode::TimedOut);
        put_error(&mut self.output, 0, ErrorCode::TimedOut, &message);
        // The order to end stands, so a peer that does not read is not waited for.
        self.flush(stream, self.clock.now()).await.unwrap_or(End::TimedOut)
    }
}

/// Where the last of some whole frames begins.
fn last_frame(frames: &[u8]) -> usize {
    let (mut at, mut last) = (0, 0);
    while let Ok(Some((_, bytes))) = frame::decode(&frames[at..], u32::MAX) {
        last = at;
        at += bytes;
    }
    last
}

#[cfg(test)]
mod parked;
#[cfg(test)]
mod tests;
