//! The blocking client's connection: a socket with timeouts, and nothing else at the same time.

use std::io::{self, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use bytes::BytesMut;
use keygate_protocol::frame::HEADER_BYTES;
use keygate_protocol::{Flags, Frame, Opcode, opcode};
use rustls::{ClientConnection, StreamOwned};

use crate::client::buffer::{Inbox, Outbox, Payload};
use crate::client::endpoint::{Address, Endpoint};
use crate::client::error::{ConnectError, Error, Loss, Refusal, ReplyError};
use crate::client::handshake::{self, ServerInfo};
use crate::client::release::release;
use crate::client::stopwatch::Stopwatch;
use crate::client::table::Request;
use crate::client::too_large;

/// For the connection and its greeting together.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// The correlation of the first question of a connection; the greeting has had 1.
const FIRST_CORRELATION: u32 = 2;

/// The payloads of one reply: one, or as many as a list has frames.
pub(super) type Pages = Vec<Payload>;

pub(super) fn is_timeout(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut)
}

/// How a step on the connection failed.
pub(super) enum Step {
    /// Nothing was written; the connection is as it was.
    Local(Error),
    /// The daemon answered with an error, and every other answer is read.
    Refused(Payload),
    /// The connection cannot go on.
    Lost { loss: Loss, written: bool },
}

#[derive(Clone, Copy)]
pub(super) struct Deadline {
    started: Stopwatch,
    timeout: Duration,
}

impl Deadline {
    pub(super) fn after(timeout: Duration) -> Self {
        Self { started: Stopwatch::start(), timeout }
    }

    /// What is left, or the error that says that nothing is.
    fn left(self) -> io::Result<Duration> {
        self.started.left_of(self.timeout).ok_or_else(|| io::ErrorKind::TimedOut.into())
    }
}

#[derive(Debug)]
enum Socket {
    Unix(UnixStream),
    Tcp(TcpStream),
    Tls(Box<StreamOwned<ClientConnection, TcpStream>>),
}

/// Shakes hands within a deadline, however slowly the other side trickles.
fn shake(conn: &mut ClientConnection, sock: &mut TcpStream, watch: Deadline) -> io::Result<()> {
    while conn.is_handshaking() || conn.wants_write() {
        let left = Some(watch.left()?.max(Duration::from_millis(1)));
        if conn.wants_write() {
            sock.set_write_timeout(left)?;
            conn.write_tls(sock)?;
            continue;
        }
        sock.set_read_timeout(left)?;
        if conn.read_tls(sock)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if let Err(error) = conn.process_new_packets() {
            // The other side is told why, as far as that goes.
            let _ = conn.write_tls(sock);
            return Err(io::Error::new(io::ErrorKind::InvalidData, error));
        }
    }
    Ok(())
}

impl Socket {
    fn connect(endpoint: &Endpoint, watch: Deadline) -> Result<Self, ConnectError> {
        match &endpoint.0 {
            Address::Unix(path) => Ok(Self::Unix(UnixStream::connect(path)?)),
            Address::Tcp(address) => Ok(Self::Tcp(connect_tcp(address, watch)?)),
            Address::Tls(address, tls) => {
                let name = tls.name_of(address).map_err(io::Error::other)?;
                let connection = ClientConnection::new(tls.config(), name);
                let connection = connection.map_err(io::Error::other)?;
                let stream = connect_tcp(address, watch)?;
                let mut stream = Box::new(StreamOwned::new(connection, stream));
                let StreamOwned { conn, sock } = &mut *stream;
                shake(conn, sock, watch)?;
                Ok(Self::Tls(stream))
            }
        }
    }

    fn set_timeouts(&self, timeout: Duration) -> io::Result<()> {
        match self {
            Self::Tls(stream) => {
                stream.sock.set_read_timeout(Some(timeout))?;
                stream.sock.set_write_timeout(Some(timeout))
            }
            Self::Unix(stream) => {
                stream.set_read_timeout(Some(timeout))?;
                stream.set_write_timeout(Some(timeout))
            }
            Self::Tcp(stream) => {
                stream.set_read_timeout(Some(timeout))?;
                stream.set_write_timeout(Some(timeout))
            }
        }
    }

    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Unix(stream) => stream.read(into),
            Self::Tcp(stream) => stream.read(into),
            Self::Tls(stream) => stream.read(into),
        }
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Unix(stream) => stream.write(bytes),
            Self::Tcp(stream) => stream.write(bytes),
            Self::Tls(stream) => stream.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Unix(_) | Self::Tcp(_) => Ok(()),
            // What was written may wait in it still.
            Self::Tls(stream) => stream.flush(),
        }
    }
}

fn connect_tcp(address: &str, watch: Deadline) -> io::Result<TcpStream> {
    let mut last = io::Error::from(io::ErrorKind::AddrNotAvailable);
    for address in address.to_socket_addrs()? {
        match TcpStream::connect_timeout(&address, watch.left()?) {
            Ok(stream) => {
                stream.set_nodelay(true)?;
                return Ok(stream);
            }
            Err(error) => last = error,
        }
    }
    Err(last)
}

pub(super) struct Connection {
    socket: Socket,
    inbox: Inbox,
    pub(super) next_correlation: u32,
    frame_bytes_max: usize,
    /// What the socket's own timeouts are set to.
    armed: Duration,
}

impl std::fmt::Debug for Connection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Connection").field("socket", &self.socket).finish_non_exhaustive()
    }
}

impl Connection {
    pub(super) fn open(
        endpoint: &Endpoint,
        tenant: Option<&str>,
    ) -> Result<(Self, ServerInfo), ConnectError> {
        let watch = Deadline::after(CONNECT_TIMEOUT);
        let socket = match Socket::connect(endpoint, watch) {
            Err(ConnectError::Io(error)) if is_timeout(&error) => {
                return Err(ConnectError::TimedOut(CONNECT_TIMEOUT));
            }
            socket => socket?,
        };
        let mut connection = Self {
            socket,
            inbox: Inbox::new(),
            next_correlation: FIRST_CORRELATION,
            frame_bytes_max: 0,
            armed: Duration::ZERO,
        };
        match connection.greet(watch, tenant) {
            Err(ConnectError::Io(error)) if is_timeout(&error) => {
                Err(ConnectError::TimedOut(CONNECT_TIMEOUT))
            }
            Err(error) => Err(error),
            Ok(server) => {
                connection.frame_bytes_max = server.frame_bytes_max as usize;
                if !server.admin {
                    connection.inbox.set_public();
                }
                Ok((connection, server))
            }
        }
    }

    fn greet(&mut self, watch: Deadline, tenant: Option<&str>) -> Result<ServerInfo, ConnectError> {
        let name = concat!("keygate-blocking/", env!("CARGO_PKG_VERSION"));
        // A daemon that refuses at once closes before it reads; what it said is still to be read.
        let written = self.write_all(&handshake::greeting(name, tenant), watch).1;
        while !self.inbox.is_ready() {
            if self.fill(watch)? == 0 {
                return Err(written.map_or_else(ConnectError::from, |()| ConnectError::Ended));
            }
        }
        let unreadable = |error| ConnectError::Handshake(ReplyError::Frame(error));
        match self.inbox.next().map_err(unreadable)? {
            Some(frame) => handshake::answer(&frame),
            None => Err(ConnectError::Ended),
        }
    }

    pub(super) fn push(
        &mut self,
        out: &mut Outbox,
        request: Request<impl FnOnce(&mut BytesMut)>,
        flags: Flags,
    ) -> Result<(), Step> {
        let is = request.payload_bytes_max + HEADER_BYTES;
        if is > self.frame_bytes_max {
            return Err(Step::Local(too_large(is, self.frame_bytes_max)));
        }
        let header = (request.opcode, flags, self.next_correlation);
        // 0 is the daemon's, for what it says of the connection itself.
        self.next_correlation = self.next_correlation.checked_add(1).unwrap_or(FIRST_CORRELATION);
        out.push(header, None, request.payload_bytes_max, request.write);
        Ok(())
    }

    pub(super) fn write(&mut self, out: &Outbox, watch: Deadline) -> Result<(), Step> {
        let (count, written) = self.write_all(out.bytes(), watch);
        let Err(error) = written else { return Ok(()) };
        // A frame of which the daemon has not every byte cannot have been executed.
        let whole = out.frames().iter().any(|frame| frame.end <= count);
        // Before it closed, the daemon may have said why.
        let told = if is_timeout(&error) { None } else { self.told(watch) };
        Err(Step::Lost { loss: told.unwrap_or(Loss::Io(error)), written: whole })
    }

    /// Writes until the end, the deadline or an error; says how far it came.
    fn write_all(&mut self, bytes: &[u8], watch: Deadline) -> (usize, io::Result<()>) {
        let mut count = 0;
        while count < bytes.len() {
            let step = self.arm(watch).and_then(|()| self.socket.write(&bytes[count..]));
            match step {
                Ok(0) => return (count, Err(io::ErrorKind::WriteZero.into())),
                Ok(more) => count += more,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return (count, Err(error)),
            }
        }
        (count, self.socket.flush())
    }

    /// An error that the daemon left in the socket before it closed it.
    fn told(&mut self, watch: Deadline) -> Option<Loss> {
        while !self.inbox.is_ready() {
            if self.fill(watch).ok()? == 0 {
                return None;
            }
        }
        let frame = self.inbox.next().ok()??;
        let refusal = (frame.header.opcode == opcode::ERROR)
            .then(|| Refusal::decode(frame.payload).ok())
            .flatten()?;
        Some(Loss::Refused(refusal))
    }

    /// Reads the replies to `requests`, whose correlations count up from `first`.
    pub(super) fn read(
        &mut self,
        first: u32,
        requests: &[Opcode],
        watch: Deadline,
    ) -> Result<Vec<Pages>, Step> {
        let lost = |loss| Step::Lost { loss, written: true };
        let mut replies = Replies::new(first, requests);
        while replies.missing > 0 {
            match self.inbox.next() {
                Err(error) => return Err(lost(Loss::Protocol(error.into()))),
                Ok(Some(frame)) => replies.take(&frame).map_err(lost)?,
                Ok(None) => match self.fill(watch) {
                    Ok(0) => return Err(lost(Loss::Closed)),
                    Ok(_) => {}
                    Err(error) => return Err(lost(Loss::Io(error))),
                },
            }
        }
        match replies.refused.take() {
            Some(payload) => {
                self.give_back(&replies, watch)?;
                Err(Step::Refused(payload))
            }
            None => Ok(replies.pages),
        }
    }

    /// Gives back the slots of answers that nobody is told of because another was an error.
    fn give_back(&mut self, replies: &Replies<'_>, watch: Deadline) -> Result<(), Step> {
        let mut out = Outbox::default();
        for (request, pages) in replies.requests.iter().zip(&replies.pages) {
            for report in pages.iter().filter_map(|page| release(*request, page)) {
                self.push(&mut out, report, Flags::NO_REPLY)?;
            }
        }
        self.write(&out, watch)
    }

    fn fill(&mut self, watch: Deadline) -> io::Result<usize> {
        loop {
            self.arm(watch)?;
            match self.socket.read(self.inbox.space()) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
                Ok(count) => {
                    self.inbox.filled(count);
                    return Ok(count);
                }
            }
        }
    }

    /// Sets the socket's timeouts to what is left. While that is more than nine tenths of the
    /// whole they stay at the whole: two more system calls for each would double a call's cost.
    fn arm(&mut self, watch: Deadline) -> io::Result<()> {
        let left = watch.left()?;
        let timeout = if left > watch.timeout / 10 * 9 { watch.timeout } else { left };
        if timeout != self.armed {
            self.socket.set_timeouts(timeout.max(Duration::from_millis(1)))?;
            self.armed = timeout;
        }
        Ok(())
    }
}

/// The replies to a row of requests, as they come.
struct Replies<'a> {
    first: u32,
    requests: &'a [Opcode],
    pages: Vec<Pages>,
    done: Vec<bool>,
    missing: usize,
    /// The first error reply.
    refused: Option<Payload>,
}

impl<'a> Replies<'a> {
    fn new(first: u32, requests: &'a [Opcode]) -> Self {
        let count = requests.len();
        let pages = std::iter::repeat_with(Pages::new).take(count).collect();
        let done = vec![false; count];
        Self { first, requests, pages, done, missing: count, refused: None }
    }

    fn take(&mut self, frame: &Frame<'_>) -> Result<(), Loss> {
        let correlation = frame.header.correlation;
        let index = correlation.wrapping_sub(self.first) as usize;
        let is_error = frame.header.opcode == opcode::ERROR;
        let Some(&request) = self.requests.get(index).filter(|_| !self.done[index]) else {
            return self.take_other(frame);
        };
        let payload = Payload::of(frame, request);
        let more = frame.header.flags.has(Flags::MORE);
        if is_error {
            self.refused.get_or_insert(payload);
        } else if frame.header.opcode != request.reply() {
            let (is, expected) = (frame.header.opcode, request.reply());
            return Err(Loss::Protocol(ReplyError::Opcode { is, expected }));
        } else if more && request != Opcode::KeyList {
            return Err(Loss::Protocol(ReplyError::More));
        } else {
            self.pages[index].push(payload);
        }
        if is_error || !more {
            self.done[index] = true;
            self.missing -= 1;
        }
        Ok(())
    }

    /// An error of the connection itself, or of an earlier report that wanted no reply.
    fn take_other(&self, frame: &Frame<'_>) -> Result<(), Loss> {
        let correlation = frame.header.correlation;
        if frame.header.opcode != opcode::ERROR {
            return Err(Loss::Protocol(ReplyError::Correlation(correlation)));
        }
        let refusal = Refusal::decode(frame.payload).map_err(ReplyError::from)?;
        if correlation == 0 || refusal.closes() { Err(Loss::Refused(refusal)) } else { Ok(()) }
    }
}
