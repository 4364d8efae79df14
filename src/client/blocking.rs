//! The client for programs without a runtime: one connection, one call at a time.
//!
//! ```no_run
//! use keygate::client::{Endpoint, ValidateRequest, blocking::Client};
//!
//! # fn main() -> Result<(), keygate::client::Error> {
//! let mut client = Client::connect(Endpoint::unix("/run/keygate/data.sock"))?;
//! let verdict = client.validate(&ValidateRequest::new("kg_live_…").peek())?;
//! println!("{}", verdict.code.name());
//! # Ok(())
//! # }
//! ```

use std::io::{self, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use bytes::{BufMut, BytesMut};
use keygate_protocol::admin::{
    Health, KeyChanged, KeyCreate, KeyCreated, KeyList, KeyPage, KeyRotate, KeyRotated,
    KeySetStatus, KeyUpdate, KeyUsage, NoFields, Stats,
};
use keygate_protocol::frame::HEADER_BYTES;
use keygate_protocol::limits::BATCH_ITEMS_MAX;
use keygate_protocol::{Flags, Frame, IncrementOutcome, Opcode, PayloadError, opcode};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::buffer::{Inbox, Outbox, Payload};
use super::endpoint::Address;
use super::error::{ConnectError, Error, Loss, Refusal, ReplyError};
use super::handshake::{self, ServerInfo};
use super::request::Item;
use super::stopwatch::Stopwatch;
use super::table::Request;
use super::{
    CONNECT_TIMEOUT, Endpoint, Report, TIMEOUT, ValidateRequest, Validation, admin, batch_request,
    connect_error, decode_batch, detached, refused, too_large,
};

/// The correlation of the first question of a connection; the greeting has had 1.
const FIRST_CORRELATION: u32 = 2;

/// A connection to a daemon, used by one thread.
///
/// A connection that was lost, or on which a call timed out, is made anew by the next call.
#[derive(Debug)]
pub struct Client {
    endpoint: Endpoint,
    timeout: Duration,
    connection: Option<Connection>,
    server: Option<ServerInfo>,
}

impl Client {
    /// A client that is connected.
    ///
    /// # Errors
    /// [`Error::Connect`].
    pub fn connect(endpoint: Endpoint) -> Result<Self, Error> {
        let mut client = Self { endpoint, timeout: TIMEOUT, connection: None, server: None };
        client.connection = Some(client.open()?);
        Ok(client)
    }

    /// How long a call waits for its answer; 5 s if not told, and at least 1 ms.
    pub fn set_timeout(&mut self, timeout: Duration) {
        self.timeout = timeout.max(Duration::from_millis(1));
    }

    /// May this token do this, now?
    ///
    /// # Errors
    /// [`Error`]; a denied key is not one. Deny on any.
    pub fn validate(&mut self, request: &ValidateRequest<'_>) -> Result<Validation, Error> {
        let payload = self.item(request)?;
        Validation::decode(&payload).map_err(Error::reply)
    }

    /// Asks many questions in one write, each in a frame of its own, and reads their answers. At
    /// most 512; the answers stand in the order of the questions.
    ///
    /// # Errors
    /// [`Error`], of all of them together: some may have been executed.
    pub fn validate_pipelined(
        &mut self,
        requests: &[ValidateRequest<'_>],
    ) -> Result<Vec<Validation>, Error> {
        if requests.len() > BATCH_ITEMS_MAX {
            let what = "requests in one pipeline";
            return Err(Error::TooLarge { what, is: requests.len(), max: BATCH_ITEMS_MAX });
        }
        requests.iter().try_for_each(|request| request.check(false))?;
        let replies = self.exchange(requests.iter().map(item_request))?;
        replies
            .into_iter()
            .map(|pages| Validation::decode(&only(pages)?).map_err(Error::reply))
            .collect()
    }

    /// Asks many questions in one frame. As the async client's.
    ///
    /// # Errors
    /// [`Error`], of the batch as a whole.
    pub fn validate_batch(
        &mut self,
        requests: &[ValidateRequest<'_>],
    ) -> Result<Vec<Validation>, Error> {
        self.batch(requests, Validation::decode)
    }

    /// Reports what became of a request, and waits until it is counted.
    ///
    /// # Errors
    /// [`Error`]. To send a report again that may have been executed, give it an id.
    pub fn increment(&mut self, report: &Report<'_>) -> Result<IncrementOutcome, Error> {
        let payload = self.item(report)?;
        IncrementOutcome::decode(&payload).map_err(Error::reply)
    }

    /// Reports what became of a request and waits only until it is written.
    ///
    /// # Errors
    /// [`Error`] when it could not be written. What the daemon cannot count is told to nobody.
    pub fn increment_detached(&mut self, report: &Report<'_>) -> Result<(), Error> {
        report.check(false)?;
        self.with_connection(|connection, watch| {
            let mut out = Outbox::default();
            connection.push(&mut out, detached(report), Flags::NO_REPLY)?;
            connection.write(&out, watch)
        })
    }

    /// Reports many outcomes in one frame. As the async client's.
    ///
    /// # Errors
    /// [`Error`], of the batch as a whole.
    pub fn increment_batch(
        &mut self,
        reports: &[Report<'_>],
    ) -> Result<Vec<IncrementOutcome>, Error> {
        self.batch(reports, IncrementOutcome::decode)
    }

    /// How long the daemon takes to answer nothing at all: the round trip.
    ///
    /// # Errors
    /// [`Error`].
    pub fn ping(&mut self) -> Result<Duration, Error> {
        let stopwatch = Stopwatch::start();
        let write = |out: &mut BytesMut| out.put_slice(b"keygate!");
        let payload =
            self.payload(Request { opcode: Opcode::Ping, payload_bytes_max: 8, write })?;
        if payload[..] != *b"keygate!" {
            return Err(Error::Protocol(ReplyError::Echo));
        }
        Ok(stopwatch.elapsed())
    }

    /// What the daemon said of itself when the latest connection was made.
    #[must_use]
    pub const fn hello(&self) -> Option<&ServerInfo> {
        self.server.as_ref()
    }

    /// Makes a key. The answer is the only place where its token is ever shown.
    ///
    /// # Errors
    /// [`Error`]; as for all calls of the admin socket, those of the async client.
    pub fn create(&mut self, record: Value) -> Result<KeyCreated, Error> {
        self.admin(Opcode::KeyCreate, &KeyCreate { record })
    }

    /// One key's record.
    ///
    /// # Errors
    /// [`Error`].
    pub fn get(&mut self, id: u64) -> Result<Value, Error> {
        self.admin(Opcode::KeyGet, &admin::key_ref(id))
    }

    /// One page of records, by ascending id.
    ///
    /// # Errors
    /// [`Error`].
    pub fn list(&mut self, list: &KeyList) -> Result<KeyPage, Error> {
        let mut page = KeyPage::default();
        for payload in self.json(Opcode::KeyList, list)? {
            admin::add_page(&mut page, &payload)?;
        }
        Ok(page)
    }

    /// Changes fields of a record.
    ///
    /// # Errors
    /// [`Error`].
    pub fn update(&mut self, update: &KeyUpdate) -> Result<KeyChanged, Error> {
        self.admin(Opcode::KeyUpdate, update)
    }

    /// Gives a key a new token, which is shown in the answer and nowhere else.
    ///
    /// # Errors
    /// [`Error`].
    pub fn rotate(&mut self, rotate: &KeyRotate) -> Result<KeyRotated, Error> {
        self.admin(Opcode::KeyRotate, rotate)
    }

    /// Suspends, resumes, revokes, and so on.
    ///
    /// # Errors
    /// [`Error`].
    pub fn set_status(&mut self, status: &KeySetStatus) -> Result<KeyChanged, Error> {
        self.admin(Opcode::KeySetStatus, status)
    }

    /// Deletes a key: its tokens become unknown.
    ///
    /// # Errors
    /// [`Error`].
    pub fn delete(&mut self, id: u64) -> Result<KeyChanged, Error> {
        self.admin(Opcode::KeyDelete, &admin::key_ref(id))
    }

    /// What a key was used for.
    ///
    /// # Errors
    /// [`Error`].
    pub fn usage(&mut self, id: u64) -> Result<KeyUsage, Error> {
        self.admin(Opcode::KeyUsage, &admin::key_ref(id))
    }

    /// The daemon's figures.
    ///
    /// # Errors
    /// [`Error`].
    pub fn stats(&mut self) -> Result<Stats, Error> {
        self.admin(Opcode::Stats, &NoFields {})
    }

    /// Whether the daemon can do its work.
    ///
    /// # Errors
    /// [`Error`].
    pub fn health(&mut self) -> Result<Health, Error> {
        self.admin(Opcode::Health, &NoFields {})
    }

    fn item<I: Item>(&mut self, item: &I) -> Result<Payload, Error> {
        item.check(false)?;
        self.payload(item_request(item))
    }

    fn batch<I: Item, T>(
        &mut self,
        items: &[I],
        decode: impl Fn(&[u8]) -> Result<T, PayloadError>,
    ) -> Result<Vec<T>, Error> {
        if items.is_empty() {
            return Ok(Vec::new());
        }
        let told = self.server.as_ref().map(|server| usize::from(server.batch_items_max));
        let items_max = told.map_or(BATCH_ITEMS_MAX, |told| told.min(BATCH_ITEMS_MAX));
        let payload = self.payload(batch_request(items, items_max)?)?;
        decode_batch(&payload, items.len(), decode)
    }

    fn admin<R: DeserializeOwned>(
        &mut self,
        opcode: Opcode,
        request: &impl Serialize,
    ) -> Result<R, Error> {
        admin::decode(&only(self.json(opcode, request)?)?)
    }

    fn json(&mut self, opcode: Opcode, request: &impl Serialize) -> Result<Pages, Error> {
        let payload = admin::encode(request);
        let write = |out: &mut BytesMut| out.put_slice(&payload);
        let request = Request { opcode, payload_bytes_max: payload.len(), write };
        Ok(self.exchange([request])?.into_iter().next().unwrap_or_default())
    }

    fn payload(&mut self, request: Request<impl FnOnce(&mut BytesMut)>) -> Result<Payload, Error> {
        only(self.exchange([request])?.into_iter().next().unwrap_or_default())
    }

    /// Writes the requests at once and reads as many replies, in the order of the requests.
    fn exchange<W: FnOnce(&mut BytesMut)>(
        &mut self,
        requests: impl IntoIterator<Item = Request<W>>,
    ) -> Result<Vec<Pages>, Error> {
        self.with_connection(|connection, watch| {
            let mut out = Outbox::default();
            let first = connection.next_correlation;
            let mut expected = Vec::new();
            for request in requests {
                expected.push(request.opcode);
                connection.push(&mut out, request, Flags::NONE)?;
            }
            connection.write(&out, watch)?;
            connection.read(first, &expected, watch)
        })
    }

    /// Does something on the connection, which is made if there is none and given up if it is
    /// left in a state from which the next call could not go on.
    fn with_connection<T>(
        &mut self,
        step: impl FnOnce(&mut Connection, Deadline) -> Result<T, Step>,
    ) -> Result<T, Error> {
        let watch = Deadline { started: Stopwatch::start(), timeout: self.timeout };
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => self.open()?,
        };
        match step(&mut connection, watch) {
            Ok(done) => {
                self.connection = Some(connection);
                Ok(done)
            }
            Err(Step::Local(error)) => {
                self.connection = Some(connection);
                Err(error)
            }
            Err(Step::Refused(payload)) => match refused(&payload) {
                Error::Refused(refusal) if !refusal.closes() => {
                    self.connection = Some(connection);
                    Err(Error::Refused(refusal))
                }
                error => Err(error),
            },
            Err(Step::Lost { loss, written }) => Err(self.lost(loss, written)),
        }
    }

    fn lost(&self, loss: Loss, written: bool) -> Error {
        let may_have_been_executed = written && loss.may_have_been_executed();
        if matches!(&loss, Loss::Io(error) if is_timeout(error)) {
            return Error::TimedOut { after: self.timeout, may_have_been_executed };
        }
        let endpoint = self.endpoint.clone();
        Error::Disconnected { endpoint, source: loss.into(), may_have_been_executed }
    }

    fn open(&mut self) -> Result<Connection, Error> {
        let (connection, server) = Connection::open(&self.endpoint)
            .map_err(|error| connect_error(&self.endpoint, error))?;
        self.server = Some(server);
        Ok(connection)
    }
}

/// The payloads of one reply: one, or as many as a list has frames.
type Pages = Vec<Payload>;

fn only(pages: Pages) -> Result<Payload, Error> {
    let mut pages = pages.into_iter();
    match (pages.next(), pages.next()) {
        (Some(payload), None) => Ok(payload),
        _ => Err(Error::Protocol(ReplyError::More)),
    }
}

fn item_request<I: Item>(item: &I) -> Request<impl FnOnce(&mut BytesMut)> {
    Request {
        opcode: I::OPCODE,
        payload_bytes_max: item.bytes_max(),
        write: |out: &mut BytesMut| item.write(out),
    }
}

fn is_timeout(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut)
}

/// How a step on the connection failed.
enum Step {
    /// Nothing was written; the connection is as it was.
    Local(Error),
    /// The daemon answered with an error, and every other answer is read.
    Refused(Payload),
    /// The connection cannot go on.
    Lost { loss: Loss, written: bool },
}

#[derive(Clone, Copy)]
struct Deadline {
    started: Stopwatch,
    timeout: Duration,
}

impl Deadline {
    /// What is left, or the error that says that nothing is.
    fn left(self) -> io::Result<Duration> {
        self.started.left_of(self.timeout).ok_or_else(|| io::ErrorKind::TimedOut.into())
    }
}

#[derive(Debug)]
enum Socket {
    Unix(UnixStream),
    Tcp(TcpStream),
}

impl Socket {
    fn connect(endpoint: &Endpoint, watch: Deadline) -> Result<Self, ConnectError> {
        match &endpoint.0 {
            Address::Unix(path) => Ok(Self::Unix(UnixStream::connect(path)?)),
            Address::Tcp(address) => {
                let mut last = io::Error::from(io::ErrorKind::AddrNotAvailable);
                for address in address.as_str().to_socket_addrs()? {
                    match TcpStream::connect_timeout(&address, watch.left()?) {
                        Ok(stream) => {
                            stream.set_nodelay(true)?;
                            return Ok(Self::Tcp(stream));
                        }
                        Err(error) => last = error,
                    }
                }
                Err(ConnectError::Io(last))
            }
        }
    }

    fn set_timeouts(&self, timeout: Duration) -> io::Result<()> {
        match self {
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
        }
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Unix(stream) => stream.write(bytes),
            Self::Tcp(stream) => stream.write(bytes),
        }
    }
}

struct Connection {
    socket: Socket,
    inbox: Inbox,
    next_correlation: u32,
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
    fn open(endpoint: &Endpoint) -> Result<(Self, ServerInfo), ConnectError> {
        let watch = Deadline { started: Stopwatch::start(), timeout: CONNECT_TIMEOUT };
        let mut connection = Self {
            socket: Socket::connect(endpoint, watch)?,
            inbox: Inbox::new(),
            next_correlation: FIRST_CORRELATION,
            frame_bytes_max: 0,
            armed: Duration::ZERO,
        };
        match connection.greet(watch) {
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

    fn greet(&mut self, watch: Deadline) -> Result<ServerInfo, ConnectError> {
        let name = concat!("keygate-blocking/", env!("CARGO_PKG_VERSION"));
        // A daemon that refuses at once closes before it reads; what it said is still to be read.
        let written = self.write_all(&handshake::greeting(name), watch).1;
        while !self.inbox.is_ready() {
            if self.fill(watch)? == 0 {
                return Err(written.map_or_else(ConnectError::Io, |()| ConnectError::Ended));
            }
        }
        let unreadable = |error| ConnectError::Handshake(ReplyError::Frame(error));
        match self.inbox.next().map_err(unreadable)? {
            Some(frame) => handshake::answer(&frame),
            None => Err(ConnectError::Ended),
        }
    }

    fn push(
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

    fn write(&mut self, out: &Outbox, watch: Deadline) -> Result<(), Step> {
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
        (count, Ok(()))
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
    fn read(
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
        match replies.refused {
            Some(payload) => Err(Step::Refused(payload)),
            None => Ok(replies.pages),
        }
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
