//! The connection task: owns the socket, writes all that waits at once, reads all there is.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::Sleep;

use super::backoff::Backoff;
use super::buffer::Outbox;
use super::error::{Loss, ReplyError};
use super::handshake::ServerInfo;
use super::link::Link;
use super::table::{Phase, Table, Wakes};
use super::wire::{Settings, Wire};

/// Serves the link until its last client is dropped. `first` is a connection that stands already.
pub(super) async fn run(served: Served, settings: Settings, mut first: Option<(Wire, ServerInfo)>) {
    let link = &*served.0;
    let mut backoff = Backoff::default();
    // An idle client does not reconnect, so a daemon that closes idle connections has its way.
    while first.is_some() || link.wanted().await {
        let opened = match first.take() {
            Some(opened) => Ok(opened),
            None => {
                pause(link, &backoff).await;
                Wire::open(&settings).await
            }
        };
        match opened {
            Ok((wire, server)) => {
                link.change(|table, wakes| table.connected(Arc::new(server), wakes));
                let mut driver = Driver::new(link, wire, settings.silence_max);
                let Some(loss) = poll_fn(|cx| driver.poll(cx)).await else { return };
                if driver.answered {
                    backoff.worked();
                } else {
                    backoff.failed();
                }
                driver.lose(loss);
            }
            Err(error) => {
                backoff.failed();
                let error = Arc::new(error);
                link.change(|table, wakes| table.unreachable_for(error, wakes));
            }
        }
        // What nobody waits for is not worth a task that goes on trying after its clients.
        if link.table().phase() != Phase::Open {
            return;
        }
    }
}

async fn pause(link: &Link, backoff: &Backoff) {
    // Without a random source all clients wait equally long, which is no reason to fail.
    let wait = backoff.wait(getrandom::u64().unwrap_or(0));
    if !wait.is_zero() {
        tokio::select! {
            () = tokio::time::sleep(wait) => {}
            () = link.closing() => {}
        }
    }
}

/// A link that has a task to serve it. When this is dropped, be it with a runtime that ends before
/// the task has begun, everybody who still waits is told that nobody serves them.
pub(super) struct Served(pub(super) Arc<Link>);

impl Drop for Served {
    fn drop(&mut self) {
        self.0.change(Table::end);
    }
}

/// Moves bytes between the link and one connection.
struct Driver<'a> {
    link: &'a Link,
    wire: Wire,
    /// What is being written, and how much of it was.
    out: Outbox,
    written: usize,
    wakes: Wakes,
    /// Whether anything was read: the connection works.
    answered: bool,
    /// Why writing failed. Reading goes on, because answers may still lie in the socket.
    broken: Option<io::Error>,
    silence_max: Duration,
    silence: Option<Pin<Box<Sleep>>>,
}

/// What the table says beside what it hands over.
#[derive(Clone, Copy)]
struct Seen {
    /// The clients are gone; nothing more is queued.
    closing: bool,
    /// Somebody has waited in vain, or nobody is left who would say so.
    in_vain: bool,
    /// Something is queued behind what is still being written.
    behind: bool,
}

impl<'a> Driver<'a> {
    fn new(link: &'a Link, wire: Wire, silence_max: Duration) -> Self {
        Self {
            link,
            wire,
            out: Outbox::default(),
            written: 0,
            wakes: Wakes::default(),
            answered: false,
            broken: None,
            silence_max,
            silence: None,
        }
    }

    /// Ready with the loss of the connection, or with `None` when the clients are gone and
    /// everything is written.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Loss>> {
        match self.poll_moving(cx) {
            Ok(seen) if seen.closing && self.out.is_empty() => Poll::Ready(None),
            Ok(seen) => self.poll_silence(seen.in_vain, cx).map(Some),
            Err(loss) => Poll::Ready(Some(loss)),
        }
    }

    /// Reads and writes until neither can go on.
    fn poll_moving(&mut self, cx: &mut Context<'_>) -> Result<Seen, Loss> {
        let mut before = None;
        loop {
            let read = match self.wire.poll_read(cx) {
                Poll::Ready(Ok(0)) => {
                    return Err(self.broken.take().map_or(Loss::Closed, Loss::Io));
                }
                Poll::Ready(Ok(_)) => true,
                Poll::Ready(Err(error)) => return Err(Loss::Io(error)),
                Poll::Pending => false,
            };
            // Whoever has queued since the last look has woken this task again.
            if let (false, Some(seen)) = (read, before) {
                return Ok(seen);
            }
            let seen = self.exchange(cx)?;
            self.poll_write(cx);
            // Whoever has queued that has woken this task already, when nothing could be taken.
            let again = seen.behind && self.out.is_empty();
            if !read && !again {
                return Ok(seen);
            }
            before = Some(seen).filter(|_| !again);
            if read {
                self.answered = true;
                self.silence = None;
            }
        }
    }

    /// Settles what was read and takes what is queued, under one lock.
    fn exchange(&mut self, cx: &Context<'_>) -> Result<Seen, Loss> {
        let (seen, settled) = {
            let mut table = self.link.table();
            let settled = Self::settle(&mut self.wire, &mut table, &mut self.wakes);
            if self.out.is_empty() && self.broken.is_none() {
                table.send(&mut self.out);
            }
            table.sleep(cx.waker());
            let closing = table.phase() != Phase::Open;
            let (in_vain, behind) = (closing || table.has_abandoned(), table.has_queued());
            (Seen { closing, in_vain, behind }, settled)
        };
        self.link.wake(&mut self.wakes);
        settled.map(|()| seen)
    }

    fn settle(wire: &mut Wire, table: &mut Table, wakes: &mut Wakes) -> Result<(), Loss> {
        while let Some(frame) = wire.inbox.next().map_err(ReplyError::from)? {
            table.receive(&frame, wakes)?;
        }
        Ok(())
    }

    fn poll_write(&mut self, cx: &mut Context<'_>) {
        while self.broken.is_none() && self.written < self.out.bytes().len() {
            match self.wire.poll_write(cx, &self.out.bytes()[self.written..]) {
                Poll::Ready(Ok(count)) => self.written += count,
                Poll::Ready(Err(error)) => self.broken = Some(error),
                Poll::Pending => return,
            }
        }
        if self.broken.is_none() && !self.out.is_empty() {
            match self.wire.poll_flush(cx) {
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(error)) => return self.broken = Some(error),
                Poll::Pending => return,
            }
            self.wakes.freed += self.out.detached(self.written);
            self.out.clear();
            self.written = 0;
            self.link.wake(&mut self.wakes);
        }
    }

    /// Ready when calls have timed out and nothing was read for as long as is allowed: the other
    /// side hangs, or is gone without a word, and their slots would stay taken for ever.
    fn poll_silence(&mut self, in_vain: bool, cx: &mut Context<'_>) -> Poll<Loss> {
        if !in_vain {
            self.silence = None;
            return Poll::Pending;
        }
        let max = self.silence_max;
        let sleep = self.silence.get_or_insert_with(|| Box::pin(tokio::time::sleep(max)));
        sleep.as_mut().poll(cx).map(|()| Loss::Silent(max))
    }

    fn lose(mut self, loss: Loss) {
        let loss = Arc::new(loss);
        self.link.change(|table, wakes| table.lost(&loss, &mut self.out, self.written, wakes));
    }
}
