//! One data connection: read all there is, decide all of it, write once.

use std::cell::RefCell;
use std::pin::pin;
use std::sync::Arc;

use bytes::{Buf, BytesMut};
use keygate_protocol::ErrorCode;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use super::deferred::{Deferred, Slots, debited};
use super::dispatch::{Dispatcher, put_error};
use super::watch::{Left, Order, Watch};
use crate::clock::{Clock, Now};
use crate::config::Limits;
use crate::engine::{Answers, Engine};
use crate::ledger::Ledger;

/// What a quiet connection holds; a busy one grows to what it needs and shrinks again.
const BUFFER_BYTES: usize = 8 * 1024;

/// What every data connection of a worker shares.
pub(super) struct Shared {
    pub(super) engine: Arc<Engine>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) limits: Limits,
    /// Where the decisions of this worker are made, one connection's after the other.
    pub(super) answers: RefCell<Answers>,
    /// What a decision may have to wait for; `None` in tests, where nobody waits.
    pub(super) ledger: Option<Arc<Ledger>>,
}

/// Why a connection ended, for the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    PeerClosed,
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
pub(super) async fn serve<S>(mut stream: S, shared: &Shared, watch: &Watch) -> End
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut connection = Connection {
        dispatcher: Dispatcher {
            engine: &shared.engine,
            tenant: None,
            frame_bytes_max: shared.limits.frame_bytes_max,
            reply_bytes_max: shared.limits.reply_bytes_max,
            answers: &shared.answers,
            deferred: shared.ledger.as_ref().map(|_| Deferred::default()),
            slots: Some(Slots::new(&shared.engine)),
        },
        ledger: shared.ledger.as_deref(),
        clock: &*shared.clock,
        watch,
        input: BytesMut::with_capacity(BUFFER_BYTES),
        output: BytesMut::with_capacity(BUFFER_BYTES),
    };
    loop {
        connection.input.reserve(BUFFER_BYTES);
        // A peer that always has more to say must hear of an order too.
        let read = match watch.given() {
            Some(order) => Err(order),
            None => tokio::select! {
                biased;
                read = stream.read_buf(&mut connection.input) => Ok(read),
                order = watch.order() => Err(order),
            },
        };
        let read = match read {
            Ok(read) => read,
            Err(Order::Stop) => return connection.finish(&mut stream).await,
            Err(Order::TimeOut) => return connection.time_out(&mut stream, shared).await,
            Err(Order::GiveUp) => return End::NotReading,
        };
        match read {
            Ok(0) => return End::PeerClosed,
            Ok(_) => {}
            Err(_) => return End::Broken,
        }
        let now = shared.clock.now();
        let held = connection.input.len();
        if let Some(end) = connection.answer(&mut stream, now).await {
            return end;
        }
        watch.note(
            now,
            match connection.input.len() {
                0 => Left::Nothing,
                left if left < held => Left::NewFrame,
                _ => Left::SameFrame,
            },
        );
    }
}

struct Connection<'s> {
    dispatcher: Dispatcher<'s>,
    ledger: Option<&'s Ledger>,
    clock: &'s dyn Clock,
    watch: &'s Watch,
    input: BytesMut,
    output: BytesMut,
}

impl Connection<'_> {
    /// Answers all whole frames there are; the end of the connection, if this is it.
    async fn answer<S: AsyncWrite + Unpin>(&mut self, stream: &mut S, read: Now) -> Option<End> {
        let mut now = read;
        loop {
            let drained = self.dispatcher.drain(&self.input, now, &mut self.output);
            self.input.advance(drained.consumed);
            if let Some(end) = self.flush(stream, now).await {
                return Some(end);
            }
            if let Some(end) = self.answer_deferred(stream).await {
                return Some(end);
            }
            if drained.close {
                return Some(End::BadFrame);
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

    /// Answers what waits for the ledger, each as soon as it can be judged. What else the peer has
    /// sent waits meanwhile, for the time of one write to the disk.
    async fn answer_deferred<S: AsyncWrite + Unpin>(&mut self, stream: &mut S) -> Option<End> {
        let ledger = self.ledger?;
        if self.dispatcher.engine.asks() {
            ledger.nudge();
        }
        while let Some(deferred) = &mut self.dispatcher.deferred
            && !deferred.parked.is_empty()
        {
            debited(ledger, deferred.take_accounts()).await;
            let now = self.clock.now();
            self.dispatcher.retry(now, &mut self.output);
            if let Some(end) = self.flush(stream, now).await {
                return Some(end);
            }
        }
        None
    }

    async fn flush<S: AsyncWrite + Unpin>(&mut self, stream: &mut S, now: Now) -> Option<End> {
        if self.output.is_empty() {
            return None;
        }
        self.watch.note_writing(Some(now));
        let mut write = pin!(stream.write_all(&self.output));
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
        }
        // Whatever else the peer had sent has not been executed, and may be sent elsewhere.
        put_error(&mut self.output, 0, ErrorCode::Stopping, "keygate is stopping");
        self.flush(stream, self.clock.now()).await.unwrap_or(End::Stopped)
    }

    async fn time_out<S: AsyncWrite + Unpin>(&mut self, stream: &mut S, shared: &Shared) -> End {
        let limits = &shared.limits;
        let message = if self.input.is_empty() {
            format!("nothing was sent for {} ms", limits.idle_timeout_ms)
        } else {
            format!("a frame was not whole after {} ms", limits.frame_timeout_ms)
        };
        put_error(&mut self.output, 0, ErrorCode::TimedOut, &message);
        // The order to end stands, so a peer that does not read is not waited for.
        self.flush(stream, self.clock.now()).await.unwrap_or(End::TimedOut)
    }
}

#[cfg(test)]
mod tests {
    use keygate_protocol::{ErrorReply, Flags, Opcode, frame, opcode};
    use tokio::io::duplex;

    use super::super::dispatch::tests::engine;
    use super::super::watch::Roster;
    use super::*;
    use crate::clock::ManualClock;

    fn shared() -> Shared {
        let clock = Arc::new(ManualClock::new(0));
        Shared {
            engine: Arc::new(engine()),
            clock,
            limits: Limits::default(),
            answers: RefCell::default(),
            ledger: None,
        }
    }

    fn pings(count: u32) -> BytesMut {
        let mut frames = BytesMut::new();
        for correlation in 1..=count {
            frame::encode(&mut frames, Opcode::Ping.byte(), Flags::NONE, correlation, |_| {});
        }
        frames
    }

    /// Opcode and correlation of every frame, and the code of the last one if it is an error.
    fn replies(mut bytes: &[u8]) -> (Vec<(u8, u32)>, Option<ErrorCode>) {
        let (mut replies, mut code) = (Vec::new(), None);
        while let Some((reply, taken)) = frame::decode(bytes, 1 << 20).expect("frames") {
            replies.push((reply.header.opcode, reply.header.correlation));
            let error = reply.header.opcode == opcode::ERROR;
            code =
                error.then(|| ErrorReply::decode(reply.payload).expect("an error").code).flatten();
            bytes = &bytes[taken..];
        }
        (replies, code)
    }

    #[tokio::test]
    async fn a_stop_answers_what_was_sent_and_says_that_the_rest_was_not_executed() {
        let (mut peer, stream) = duplex(1 << 16);
        let (shared, roster) = (shared(), Roster::default());
        let watch = roster.enter(shared.clock.now());
        // One and a half: the half is never executed.
        let sent = pings(2);
        peer.write_all(&sent[..sent.len() - 1]).await.expect("sent");
        roster.stop();
        assert_eq!(serve(stream, &shared, &watch).await, End::Stopped);
        let mut received = Vec::new();
        peer.read_to_end(&mut received).await.expect("received");
        let (frames, code) = replies(&received);
        assert_eq!(frames, [(Opcode::Ping.reply(), 1), (opcode::ERROR, 0)]);
        assert_eq!(code, Some(ErrorCode::Stopping));
    }
}
