//! One data connection: read all there is, decide all of it, write once.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf, BytesMut};
use keygate_protocol::ErrorCode;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::dispatch::{Dispatcher, put_error};
use crate::clock::{Clock, Now};
use crate::config::Limits;
use crate::engine::Engine;

/// What a quiet connection holds; a busy one grows to what it needs and shrinks again.
const BUFFER_BYTES: usize = 8 * 1024;

/// What every data connection of the daemon shares.
pub(super) struct Shared {
    pub(super) engine: Arc<Engine>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) limits: Limits,
    /// Stop reading, answer what was read, close.
    pub(super) stop: CancellationToken,
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
pub(super) async fn serve<S>(mut stream: S, shared: &Shared) -> End
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut connection = Connection {
        dispatcher: Dispatcher {
            engine: &shared.engine,
            frame_bytes_max: shared.limits.frame_bytes_max,
            reply_bytes_max: shared.limits.reply_bytes_max,
        },
        clock: &*shared.clock,
        write_timeout: Duration::from_millis(shared.limits.write_timeout_ms),
        input: BytesMut::with_capacity(BUFFER_BYTES),
        output: BytesMut::with_capacity(BUFFER_BYTES),
    };
    let mut stopped = pin!(shared.stop.cancelled());
    let mut silence = Silence::new(&shared.limits, shared.clock.now());
    let mut alarm = pin!(sleep(silence.idle));
    loop {
        connection.input.reserve(BUFFER_BYTES);
        let read = tokio::select! {
            biased;
            read = stream.read_buf(&mut connection.input) => read,
            () = &mut stopped => return connection.finish(&mut stream).await,
            () = &mut alarm => {
                match silence.left(shared.clock.now()) {
                    Some(left) => alarm.as_mut().reset(Instant::now() + left),
                    None => return connection.time_out(&mut stream, &silence).await,
                }
                continue;
            }
        };
        match read {
            Ok(0) => return End::PeerClosed,
            Ok(_) => {}
            Err(_) => return End::Broken,
        }
        let now = shared.clock.now();
        if let Some(end) = connection.answer(&mut stream, now).await {
            return end;
        }
        if silence.note(now, !connection.input.is_empty()) {
            alarm.as_mut().reset(Instant::now() + silence.frame);
        }
    }
}

struct Connection<'s> {
    dispatcher: Dispatcher<'s>,
    clock: &'s dyn Clock,
    write_timeout: Duration,
    input: BytesMut,
    output: BytesMut,
}

impl Connection<'_> {
    /// Answers all whole frames there are; the end of the connection, if this is it.
    async fn answer<S: AsyncWrite + Unpin>(&mut self, stream: &mut S, now: Now) -> Option<End> {
        loop {
            let drained = self.dispatcher.drain(&self.input, now, &mut self.output);
            self.input.advance(drained.consumed);
            if let Some(end) = self.flush(stream).await {
                return Some(end);
            }
            if drained.close {
                return Some(End::BadFrame);
            }
            if !drained.full {
                break;
            }
        }
        self.shrink();
        None
    }

    async fn flush<S: AsyncWrite + Unpin>(&mut self, stream: &mut S) -> Option<End> {
        if self.output.is_empty() {
            return None;
        }
        let written = timeout(self.write_timeout, stream.write_all(&self.output)).await;
        self.output.clear();
        match written {
            Ok(Ok(())) => None,
            Ok(Err(_)) => Some(End::Broken),
            Err(_) => Some(End::NotReading),
        }
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
        End::Stopped
    }

    async fn time_out<S: AsyncWrite + Unpin>(&mut self, stream: &mut S, silence: &Silence) -> End {
        let message = if self.input.is_empty() {
            format!("nothing was sent for {} ms", silence.idle.as_millis())
        } else {
            format!("a frame was not whole after {} ms", silence.frame.as_millis())
        };
        put_error(&mut self.output, 0, ErrorCode::TimedOut, &message);
        self.flush(stream).await.unwrap_or(End::TimedOut)
    }
}

/// Deadlines that cost nothing while requests come: one alarm a connection, which looks when it
/// fires how long it really was silent, and is set again for the rest.
struct Silence {
    idle: Duration,
    frame: Duration,
    last_read_ns: u64,
    /// Since when the input ends inside a frame.
    frame_since_ns: Option<u64>,
}

impl Silence {
    const fn new(limits: &Limits, now: Now) -> Self {
        Self {
            idle: Duration::from_millis(limits.idle_timeout_ms),
            frame: Duration::from_millis(limits.frame_timeout_ms),
            last_read_ns: now.mono_ns,
            frame_since_ns: None,
        }
    }

    /// Notes a read; whether a frame has just begun and the alarm must be set for it.
    fn note(&mut self, now: Now, inside_frame: bool) -> bool {
        self.last_read_ns = now.mono_ns;
        if !inside_frame {
            self.frame_since_ns = None;
            return false;
        }
        // A trickle of bytes does not extend the frame's time.
        let begins = self.frame_since_ns.is_none();
        self.frame_since_ns.get_or_insert(now.mono_ns);
        begins
    }

    /// What is left of the nearer deadline; `None` when it has passed.
    fn left(&self, now: Now) -> Option<Duration> {
        let left = |since_ns: u64, allowed: Duration| {
            let passed = Duration::from_nanos(now.mono_ns.saturating_sub(since_ns));
            allowed.checked_sub(passed).filter(|left| !left.is_zero())
        };
        let idle = left(self.last_read_ns, self.idle)?;
        match self.frame_since_ns {
            Some(since_ns) => Some(idle.min(left(since_ns, self.frame)?)),
            None => Some(idle),
        }
    }
}
