//! Handshakes, on a thread of their own. Whoever connects is a stranger until it has shaken hands, and
//! the daemon's signature costs it far more than a decision does: neither the control thread, which
//! accepts for everybody, nor those that decide may have to wait for strangers.

use std::io;
use std::mem;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_rustls::server::TlsStream;
use tokio_util::sync::CancellationToken;

use super::admit::Peer;
use super::tls::{Guest, Handshake, Side, certificate_of};

/// A connection that is to shake hands.
pub(super) struct Begun {
    pub(super) stream: std::net::TcpStream,
    pub(super) from: SocketAddr,
    pub(super) handshake: Handshake,
}

/// A connection that has, on its way to the thread that serves it. It keeps its place until it is
/// there.
pub(super) struct Shaken {
    stream: Box<TlsStream<Socket>>,
    from: SocketAddr,
    handshake: Handshake,
}

/// Starts the thread; it ends with the queue that is returned, and so does what is under way then.
/// Either queue is bounded by the places for handshakes.
pub(super) fn start(
    allowed: Duration,
    done: mpsc::UnboundedSender<Shaken>,
) -> io::Result<mpsc::UnboundedSender<Begun>> {
    let (queue, mut begun) = mpsc::unbounded_channel::<Begun>();
    let (started, start) = crossbeam::channel::bounded(1);
    let run = move || {
        let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
            Ok(runtime) => runtime,
            Err(error) => return drop(started.send(Err(error))),
        };
        drop(started.send(Ok(())));
        runtime.block_on(async {
            while let Some(begun) = begun.recv().await {
                tokio::spawn(shake(begun, allowed, done.clone()));
            }
        });
    };
    std::thread::Builder::new().name("keygate-tls".to_owned()).spawn(run)?;
    start.recv().map_err(io::Error::other)??;
    Ok(queue)
}

async fn shake(begun: Begun, allowed: Duration, done: mpsc::UnboundedSender<Shaken>) {
    let Begun { stream, from, handshake } = begun;
    let socket = match TcpStream::from_std(stream) {
        Ok(stream) => Socket::Here(stream),
        Err(error) => return handshake.failed(from, &error),
    };
    match timeout(allowed, handshake.shake(socket)).await {
        Ok(Ok(mut stream)) => match stream.get_mut().0.leave() {
            // A daemon that stops receives none any more.
            Ok(()) => drop(done.send(Shaken { stream, from, handshake })),
            Err(error) => handshake.failed(from, &error),
        },
        Ok(Err(error)) => handshake.failed(from, &error),
        Err(_) => handshake.timed_out(from),
    }
}

impl Shaken {
    pub(super) const fn side(&self) -> Side {
        self.handshake.side()
    }

    /// Comes to the runtime that serves it; its place is free then. It ends with `stop`, or by itself
    /// where its certificate is not taken any more.
    ///
    /// # Errors
    /// The system's.
    pub(super) fn arrive(
        self,
        stop: &CancellationToken,
    ) -> io::Result<(Box<TlsStream<Socket>>, Peer, Guest)> {
        let Self { mut stream, from, handshake } = self;
        stream.get_mut().0.arrive()?;
        let peer = match certificate_of(&stream) {
            Some(shown) => Peer::Certificate(shown, from),
            None => Peer::Address(from),
        };
        let guest = handshake.enter(&stream, stop);
        Ok((stream, peer, guest))
    }

    /// Tells the peer something, as far as its socket takes it at once.
    pub(super) fn tell(mut self, bytes: &[u8]) -> io::Result<usize> {
        use io::Write as _;
        let (socket, connection) = self.stream.get_mut();
        connection.writer().write_all(bytes)?;
        connection.send_close_notify();
        match socket {
            Socket::Between(stream) => connection.write_tls(stream),
            Socket::Here(_) | Socket::Gone => Ok(0),
        }
    }
}

/// A socket that may leave one thread's runtime for another's.
pub(super) enum Socket {
    Here(TcpStream),
    Between(std::net::TcpStream),
    /// It was lost on the way.
    Gone,
}

impl Socket {
    fn leave(&mut self) -> io::Result<()> {
        if let Self::Here(stream) = mem::replace(self, Self::Gone) {
            *self = Self::Between(stream.into_std()?);
        }
        Ok(())
    }

    fn arrive(&mut self) -> io::Result<()> {
        if let Self::Between(stream) = mem::replace(self, Self::Gone) {
            *self = Self::Here(TcpStream::from_std(stream)?);
        }
        Ok(())
    }

    fn here(self: Pin<&mut Self>) -> io::Result<Pin<&mut TcpStream>> {
        match self.get_mut() {
            Self::Here(stream) => Ok(Pin::new(stream)),
            Self::Between(_) | Self::Gone => Err(io::ErrorKind::NotConnected.into()),
        }
    }
}

impl AsyncRead for Socket {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.here()?.poll_read(context, into)
    }
}

impl AsyncWrite for Socket {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.here()?.poll_write(context, bytes)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.here()?.poll_write_vectored(context, bytes)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.here()?.poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.here()?.poll_shutdown(context)
    }
}
