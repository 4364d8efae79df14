//! One open connection: a socket, what was read from it, and whole writes to it.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use keygate_protocol::Frame;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};

use super::Endpoint;
use super::buffer::Inbox;
use super::endpoint::Socket;
use super::error::{ConnectError, Loss, ReplyError};
use super::handshake::{self, ServerInfo};

/// How to connect.
#[derive(Debug, Clone)]
pub(super) struct Settings {
    pub(super) endpoint: Endpoint,
    /// The program's name, as the daemon's log shows it.
    pub(super) name: String,
    /// The tenant that every connection is bound to.
    pub(super) tenant: Option<String>,
    /// For the connection and its greeting together.
    pub(super) connect_timeout: Duration,
    /// How long the daemon may be silent while calls have timed out.
    pub(super) silence_max: Duration,
    /// How long an import or export may stand still.
    pub(super) stream_timeout: Duration,
}

/// An open connection, greeted.
pub(super) struct Wire {
    socket: Socket,
    pub(super) inbox: Inbox,
}

impl Wire {
    /// Connects and greets.
    pub(super) async fn open(settings: &Settings) -> Result<(Self, ServerInfo), ConnectError> {
        let timeout = settings.connect_timeout;
        match tokio::time::timeout(timeout, Self::open_untimed(settings)).await {
            Ok(opened) => opened,
            Err(_) => Err(ConnectError::TimedOut(timeout)),
        }
    }

    async fn open_untimed(settings: &Settings) -> Result<(Self, ServerInfo), ConnectError> {
        let socket = settings.endpoint.connect().await?;
        let mut wire = Self { socket, inbox: Inbox::new() };
        // A daemon that refuses at once closes before it reads; what it said is still to be read.
        let greeting = handshake::greeting(&settings.name, settings.tenant.as_deref());
        let written = async {
            wire.socket.write_all(&greeting).await?;
            wire.socket.flush().await
        };
        let written = written.await;
        match wire.frame().await {
            Ok(frame) => {
                let server = handshake::answer(&frame)?;
                if !server.admin {
                    wire.inbox.set_public();
                }
                Ok((wire, server))
            }
            Err(Loss::Protocol(error)) => Err(ConnectError::Handshake(error)),
            Err(Loss::Io(error)) => Err(error.into()),
            Err(_) => Err(written.map_or_else(ConnectError::from, |()| ConnectError::Ended)),
        }
    }

    /// The next frame, however long it takes.
    pub(super) async fn frame(&mut self) -> Result<Frame<'_>, Loss> {
        while !self.inbox.is_ready() {
            if poll_fn(|cx| self.poll_read(cx)).await? == 0 {
                return Err(Loss::Closed);
            }
        }
        self.inbox.next().map_err(ReplyError::from)?.ok_or(Loss::Closed)
    }

    /// Writes all of `bytes`, unless the daemon has something to say before: then it stops, and
    /// answers false.
    pub(super) async fn write_unless_answered(&mut self, bytes: &[u8]) -> Result<bool, Loss> {
        let mut written = 0;
        poll_fn(|cx| {
            if !self.inbox.is_ready()
                && let Poll::Ready(count) = self.poll_read(cx)
            {
                let ended = count? == 0;
                return Poll::Ready(if ended { Err(Loss::Closed) } else { Ok(false) });
            }
            while written < bytes.len() {
                match ready!(self.poll_write(cx, &bytes[written..])) {
                    Ok(count) => written += count,
                    // What the daemon said before it closed is worth more than this.
                    Err(_) if self.inbox.is_ready() => return Poll::Ready(Ok(false)),
                    Err(error) => return Poll::Ready(Err(Loss::Io(error))),
                }
            }
            match ready!(self.poll_flush(cx)) {
                Ok(()) => Poll::Ready(Ok(true)),
                Err(_) if self.inbox.is_ready() => Poll::Ready(Ok(false)),
                Err(error) => Poll::Ready(Err(Loss::Io(error))),
            }
        })
        .await
    }

    /// Reads once; 0 is the end.
    pub(super) fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let mut buffer = ReadBuf::new(self.inbox.space());
        ready!(Pin::new(&mut self.socket).poll_read(cx, &mut buffer))?;
        let count = buffer.filled().len();
        self.inbox.filled(count);
        Poll::Ready(Ok(count))
    }

    /// Sees what was written off.
    pub(super) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(cx)
    }

    /// Writes once.
    pub(super) fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match ready!(Pin::new(&mut self.socket).poll_write(cx, bytes)) {
            Ok(0) => Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
            done => Poll::Ready(done),
        }
    }
}
