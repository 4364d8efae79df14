//! An HTTPS server that takes web hooks and answers as it is told.

#![allow(dead_code, reason = "each test file uses its part")]

use std::convert::Infallible;
use std::future::pending;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use http_body_util::BodyExt as _;
use hyper::body::{Body, Bytes, Frame, Incoming};
use hyper::header::LOCATION;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{HeaderMap, Request, Response};
use hyper_util::rt::TokioIo;
use rustls::ServerConfig;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio_rustls::TlsAcceptor;

/// How it answers.
#[derive(Debug, Clone)]
pub(crate) enum Answer {
    /// With a status and no body.
    Status(u16),
    /// With a status, and where else to go.
    Redirect(u16, String),
    /// With 200 and a body that has no end.
    Endless,
    /// With 200 and a body of which nothing ever comes.
    Stalled,
    /// Not at all.
    Never,
    /// With these bytes, whatever they are.
    Raw(Vec<u8>),
}

/// What it was sent.
#[derive(Debug)]
pub(crate) struct Received {
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

/// The server; it serves as long as the test's runtime lives.
pub(crate) struct Receiver {
    pub(crate) address: SocketAddr,
    pub(crate) received: mpsc::UnboundedReceiver<Received>,
}

impl Receiver {
    /// Serves at an address, `127.0.0.1:0` for one that is free.
    pub(crate) async fn start(at: &str, tls: ServerConfig, answer: Answer) -> Self {
        let listener = TcpListener::bind(at).await.expect("a socket");
        let address = listener.local_addr().expect("its address");
        let (sender, received) = mpsc::unbounded_channel();
        let acceptor = TlsAcceptor::from(Arc::new(tls));
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.expect("a connection");
                tokio::spawn(serve(acceptor.clone(), stream, answer.clone(), sender.clone()));
            }
        });
        Self { address, received }
    }

    /// What it was sent, or nothing if nothing was sent until now.
    pub(crate) fn next(&mut self) -> Option<Received> {
        self.received.try_recv().ok()
    }
}

async fn serve(
    acceptor: TlsAcceptor,
    stream: TcpStream,
    answer: Answer,
    sender: mpsc::UnboundedSender<Received>,
) {
    // A client that does not trust us ends the handshake.
    let Ok(mut stream) = acceptor.accept(stream).await else { return };
    if let Answer::Raw(bytes) = answer {
        let mut request = vec![0; 64 * 1024];
        let _ = stream.read(&mut request).await;
        let _ = stream.write_all(&bytes).await;
        let _ = stream.shutdown().await;
        return;
    }
    let service = service_fn(|request: Request<Incoming>| {
        let (answer, sender) = (answer.clone(), sender.clone());
        async move {
            let (head, body) = request.into_parts();
            let body = body.collect().await.expect("a whole request").to_bytes();
            let path = head.uri.to_string();
            let (method, headers) = (head.method.to_string(), head.headers);
            sender.send(Received { method, path, headers, body }).expect("a test that listens");
            Ok::<_, Infallible>(respond(answer).await)
        }
    });
    // A client may go before it has read all.
    let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
}

async fn respond(answer: Answer) -> Response<Chunks> {
    let response = |status: u16| Response::builder().status(status);
    let response = match answer {
        Answer::Status(status) => response(status).body(Chunks::None),
        Answer::Redirect(status, to) => response(status).header(LOCATION, to).body(Chunks::None),
        Answer::Endless => response(200).body(Chunks::Endless),
        Answer::Stalled => response(200).body(Chunks::Stalled),
        Answer::Never | Answer::Raw(_) => pending().await,
    };
    response.expect("a response")
}

/// A body.
enum Chunks {
    None,
    Endless,
    Stalled,
}

impl Body for Chunks {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        match *self {
            Self::None => Poll::Ready(None),
            Self::Endless => Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(&[b'x'; 8192]))))),
            Self::Stalled => Poll::Pending,
        }
    }

    fn is_end_stream(&self) -> bool {
        matches!(self, Self::None)
    }
}
