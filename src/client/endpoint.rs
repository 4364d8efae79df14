//! Where the daemon listens, and the socket that leads there.

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::tls::Tls;

/// The address of a daemon's socket.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Endpoint(pub(super) Address);

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Address {
    Unix(PathBuf),
    Tcp(String),
    Tls(String, Tls),
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

    /// A TLS address, `host:port`. A name is looked up again at every connect.
    pub fn tls(address: impl Into<String>, tls: Tls) -> Self {
        Self(Address::Tls(address.into(), tls))
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
            Address::Tls(address, tls) => {
                let name = tls.name_of(address).map_err(io::Error::other)?;
                let stream = TcpStream::connect(address.as_str()).await?;
                stream.set_nodelay(true)?;
                let stream = TlsConnector::from(tls.config()).connect(name, stream).await?;
                Ok(Socket::Tls(Box::new(stream)))
            }
        }
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Address::Unix(path) => write!(f, "unix:{}", path.display()),
            Address::Tcp(address) => write!(f, "tcp:{address}"),
            Address::Tls(address, _) => write!(f, "tls:{address}"),
        }
    }
}

/// A connected socket of any kind.
#[derive(Debug)]
pub(super) enum Socket {
    Unix(UnixStream),
    Tcp(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
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
            Self::Tls(stream) => Pin::new(stream).poll_read(cx, buffer),
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
            Self::Tls(stream) => Pin::new(stream).poll_write(cx, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Unix(_) | Self::Tcp(_) => Poll::Ready(Ok(())),
            // What was written may wait in it still.
            Self::Tls(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Unix(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Tcp(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}
