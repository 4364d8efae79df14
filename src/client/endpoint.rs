//! Where the daemon listens, and the socket that leads there.

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};

/// The address of a daemon's socket.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Endpoint(pub(super) Address);

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Address {
    Unix(PathBuf),
    Tcp(String),
}

impl Endpoint {
    /// A Unix socket's path.
    pub fn unix(path: impl Into<PathBuf>) -> Self {
        Self(Address::Unix(path.into()))
    }

    /// A TCP address, `host:port`. A name is looked up again at every connect.
    pub fn tcp(address: impl Into<String>) -> Self {
        Self(Address::Tcp(address.into()))
    }

    pub(super) async fn connect(&self) -> io::Result<Socket> {
        match &self.0 {
            Address::Unix(path) => UnixStream::connect(path).await.map(Socket::Unix),
            Address::Tcp(address) => {
                let stream = TcpStream::connect(address.as_str()).await?;
                // Frames leave in one write each; waiting for more would only delay them.
                stream.set_nodelay(true)?;
                Ok(Socket::Tcp(stream))
            }
        }
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Address::Unix(path) => write!(f, "unix:{}", path.display()),
            Address::Tcp(address) => write!(f, "tcp:{address}"),
        }
    }
}

/// A connected socket of either kind.
#[derive(Debug)]
pub(super) enum Socket {
    Unix(UnixStream),
    Tcp(TcpStream),
}

impl AsyncRead for Socket {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Unix(stream) => Pin::new(stream).poll_read(cx, buffer),
            Self::Tcp(stream) => Pin::new(stream).poll_read(cx, buffer),
        }
    }
}

impl AsyncWrite for Socket {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Unix(stream) => Pin::new(stream).poll_write(cx, bytes),
            Self::Tcp(stream) => Pin::new(stream).poll_write(cx, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Unix(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Tcp(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}
