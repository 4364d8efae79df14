//! The client: asks a keygate daemon over its socket, from async programs and from others.
//!
//! ```no_run
//! use keygate::client::{Client, Endpoint, Report, ValidateRequest};
//!
//! # async fn serve(token: &str) -> Result<(), keygate::client::Error> {
//! let client = Client::connect(Endpoint::unix("/run/keygate/keygate.sock")).await?;
//! let verdict = client.validate(ValidateRequest::new(token).scope("leads:read")).await?;
//! if verdict.is_valid() {
//!     // … do what was asked, then say what became of it:
//!     let report = Report::new(verdict.key_id).status(200).slot(verdict.slot);
//!     client.increment_detached(report).await?;
//! }
//! # Ok(())
//! # }
//! ```
//!
//! One [`Client`] is one connection, shared by all its clones: requests of many tasks travel
//! pipelined, all that wait leave in one write, and replies find their callers in any order. A
//! lost connection is made anew when it is next wanted, with waits that grow from 10 ms to 1 s;
//! meanwhile requests wait, each until its own timeout. Nothing that was written is sent again by
//! itself: [`Error::may_have_been_executed`] says whether a caller may.
//!
//! A key whose requests under way are limited gives each request a slot ([`Validation::slot`]),
//! which the report of the request should give back ([`Report::slot`]). What reports nothing holds
//! its slot until its time ends: a service whose requests can be given up half-way reports those,
//! too, as `examples/axum_guard.rs` does with a guard that is dropped. Slots end with the
//! connection, unless [`ValidateRequest::keep_slot`] says otherwise. What a [`Client`] is answered
//! after the caller has gone, timed out or dropped, it gives back by itself: nobody else knows the
//! slot. It does so with a report that says nothing but that a request was made, as the protocol
//! has no other way, so such a request is among those of the key's usage that were reported.
//!
//! A denied key is a [`Validation`], never an [`Error`]. On an error a guard denies: whoever
//! cannot ask must not admit.
//!
//! Whoever holds a key that demands signed requests signs them with a [`sign::Signer`]; the service
//! states what came with [`ValidateRequest::signed`].
//!
//! Programs without a runtime use [`blocking::Client`].

mod admin;
mod alerts;
mod backoff;
pub mod blocking;
mod buffer;
mod builder;
mod connection;
mod endpoint;
mod error;
mod facts;
mod handshake;
mod link;
mod release;
mod report;
mod request;
mod signed;
mod signing;
mod slot;
mod stopwatch;
mod stream;
mod table;
mod tenants;
#[cfg(test)]
mod tests;
mod tls;
mod validation;
mod wire;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::{BufMut, BytesMut};
use keygate_protocol::batch::{Batch, BatchWriter};
use keygate_protocol::{IncrementOutcome, Opcode, PayloadError, RenewOutcome, SlotRenew};

/// Signed requests: what a service states of one, and what signs it.
pub use crate::sign;
pub use builder::Builder;
pub use endpoint::Endpoint;
pub use error::{ConnectError, Error, Loss, Refusal, ReplyError};
pub use handshake::ServerInfo;
pub use report::Report;
pub use request::ValidateRequest;
pub use stream::{Backup, Export, ExportPage, Import, Verification, Watching};
pub use tls::{Tls, TlsBuilder, TlsError};
pub use validation::Validation;

use buffer::Payload;
use link::{Call, Ended, Link};
use request::Item;
use slot::{Failure, Reply};
use stopwatch::Stopwatch;
use table::{GivenUp, Request};
use wire::Settings;

/// How long a call waits for its answer, unless told otherwise.
const TIMEOUT: Duration = Duration::from_secs(5);

fn connect_error(endpoint: &Endpoint, error: impl Into<Arc<ConnectError>>) -> Error {
    Error::Connect { endpoint: endpoint.clone(), source: error.into() }
}

/// What the clones of a client share.
struct Handle {
    link: Arc<Link>,
    settings: Settings,
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.link.close();
    }
}

/// A connection to a daemon. Cheap to clone; all clones share the connection.
///
/// Dropping a call's future gives it up: what was not yet written is taken back. Dropping the last
/// clone ends the connection once everything queued is written.
#[derive(Clone)]
pub struct Client {
    handle: Arc<Handle>,
    timeout: Duration,
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client")
            .field("endpoint", &self.handle.settings.endpoint)
            .field("timeout", &self.timeout)
            .finish_non_exhaustive()
    }
}

impl Client {
    /// What a client is made of.
    pub fn builder(endpoint: Endpoint) -> Builder {
        Builder::new(endpoint)
    }

    /// A client of the default making, connected.
    ///
    /// # Errors
    /// [`Error::Connect`] if the first attempt fails.
    ///
    /// # Panics
    /// Outside a tokio runtime with its I/O and time drivers enabled.
    pub async fn connect(endpoint: Endpoint) -> Result<Self, Error> {
        Self::builder(endpoint).connect().await
    }

    /// The same connection, with another timeout for the calls made through this clone.
    #[must_use]
    pub fn with_timeout(&self, timeout: Duration) -> Self {
        Self { handle: Arc::clone(&self.handle), timeout }
    }

    /// May this token do this, now?
    ///
    /// # Errors
    /// [`Error`]; a denied key is not one. Deny on any.
    pub async fn validate(&self, request: ValidateRequest<'_>) -> Result<Validation, Error> {
        let payload = self.item(&request).await?;
        Validation::of(&request, &payload).map_err(Error::reply)
    }

    /// Reports what became of a request, and waits until it is counted.
    ///
    /// # Errors
    /// [`Error`]. To send a report again that may have been executed, give it an id.
    pub async fn increment(&self, report: Report<'_>) -> Result<IncrementOutcome, Error> {
        let payload = self.item(&report).await?;
        IncrementOutcome::decode(&payload).map_err(Error::reply)
    }

    /// Reports what became of a request and waits for room to queue it, not for an answer. An
    /// answered [`Client::ping`] shows that the daemon has read all that was queued before.
    ///
    /// # Errors
    /// [`Error`] when it was not queued. What the daemon cannot count is told to nobody but
    /// [`Client::reports_refused`]; what a lost connection had taken with it is lost.
    pub async fn increment_detached(&self, report: Report<'_>) -> Result<(), Error> {
        report.check(false)?;
        match self.handle.link.detach(detached(&report), self.timeout).await {
            Some(queued) => queued.map_err(|failure| self.failed(failure)),
            None => Err(self.not_sent()),
        }
    }

    /// As [`Client::increment_detached`], for places that cannot wait.
    ///
    /// # Errors
    /// [`Error::Full`] when there is no room; otherwise as there.
    pub fn try_increment_detached(&self, report: &Report<'_>) -> Result<(), Error> {
        report.check(false)?;
        let queued = self.handle.link.try_detach(detached(report)).ok_or(Error::Full)?;
        queued.map_err(|failure| self.failed(failure))
    }

    /// Detached reports that the daemon answered with an error, since this client was made.
    #[must_use]
    pub fn reports_refused(&self) -> u64 {
        self.handle.link.table().refused_detached()
    }

    /// Asks many questions in one frame. The answers stand in the order of the questions; no
    /// questions are no answers.
    ///
    /// # Errors
    /// [`Error`], of the batch as a whole. [`Error::TooLarge`] when it has more items or bytes than
    /// the daemon takes (512 and 64 KiB, if it is not configured to less).
    pub async fn validate_batch(
        &self,
        requests: &[ValidateRequest<'_>],
    ) -> Result<Vec<Validation>, Error> {
        let answers = self.batch(requests, Validation::decode).await?;
        Ok(answers.into_iter().zip(requests).map(|(one, asked)| one.named_by(asked)).collect())
    }

    /// Reports many outcomes in one frame. As [`Client::validate_batch`].
    ///
    /// # Errors
    /// As [`Client::validate_batch`].
    pub async fn increment_batch(
        &self,
        reports: &[Report<'_>],
    ) -> Result<Vec<IncrementOutcome>, Error> {
        self.batch(reports, IncrementOutcome::decode).await
    }

    /// Holds a slot for its whole time again, for a request that takes longer: at half of the time,
    /// as what has ended does not come back.
    ///
    /// # Errors
    /// [`Error`]. To ask again is safe.
    pub async fn renew_slot(&self, key_id: u64, slot: u64) -> Result<RenewOutcome, Error> {
        let payload = self.payload(renewal(key_id, slot)).await?;
        RenewOutcome::decode(&payload).map_err(Error::reply)
    }

    /// How long the daemon takes to answer nothing at all: the round trip.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn ping(&self) -> Result<Duration, Error> {
        const ECHO: u64 = 0x6b65_7967_6174_6521;
        let stopwatch = Stopwatch::start();
        let request = Request {
            opcode: Opcode::Ping,
            payload_bytes_max: size_of::<u64>(),
            write: |out: &mut BytesMut| out.put_u64_le(ECHO),
        };
        let payload = self.payload(request).await?;
        if payload[..] != ECHO.to_le_bytes() {
            return Err(Error::Protocol(ReplyError::Echo));
        }
        Ok(stopwatch.read())
    }

    /// What the daemon says of itself, as it greeted the latest connection; connects if there was
    /// none yet.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn hello(&self) -> Result<ServerInfo, Error> {
        let known = || self.handle.link.table().server();
        if known().is_none() {
            self.ping().await?;
        }
        known().map(|server| ServerInfo::clone(&server)).ok_or(Error::Closed)
    }

    async fn item<I: Item>(&self, item: &I) -> Result<Payload, Error> {
        item.check(false)?;
        let request = Request {
            opcode: I::OPCODE,
            payload_bytes_max: item.bytes_max(),
            write: |out: &mut BytesMut| item.write(out),
        };
        self.payload(request).await
    }

    async fn batch<I: Item, T>(
        &self,
        items: &[I],
        decode: impl Fn(&[u8]) -> Result<T, PayloadError>,
    ) -> Result<Vec<T>, Error> {
        if items.is_empty() {
            return Ok(Vec::new());
        }
        let items_max = self.handle.link.table().batch_items_max();
        let payload = self.payload(batch_request(items, items_max)?).await?;
        decode_batch(&payload, items.len(), decode)
    }

    /// Makes a call whose answer is one frame.
    async fn payload(
        &self,
        request: Request<impl FnOnce(&mut BytesMut)>,
    ) -> Result<Payload, Error> {
        match self.call(request).await? {
            Reply::Payload(payload) => Ok(payload),
            Reply::Pages(_) => Err(Error::Protocol(ReplyError::More)),
            Reply::Refused(payload) => Err(refused(&payload)),
        }
    }

    async fn call(&self, request: Request<impl FnOnce(&mut BytesMut)>) -> Result<Reply, Error> {
        let mut call = Call::new(&self.handle.link);
        let outcome = match call.run(request, self.timeout).await {
            Ended::Outcome(outcome) | Ended::TimedOut(GivenUp::Settled(outcome)) => outcome,
            Ended::TimedOut(GivenUp::Withdrawn) => return Err(self.not_sent()),
            Ended::TimedOut(GivenUp::Abandoned) => {
                let after = self.timeout;
                return Err(Error::TimedOut { after, may_have_been_executed: true });
            }
        };
        outcome.map_err(|failure| self.failed(failure))
    }

    /// The error of what timed out before it was written.
    fn not_sent(&self) -> Error {
        match self.handle.link.table().unreachable() {
            Some(error) => connect_error(&self.handle.settings.endpoint, error),
            None => Error::TimedOut { after: self.timeout, may_have_been_executed: false },
        }
    }

    fn failed(&self, failure: Failure) -> Error {
        let endpoint = &self.handle.settings.endpoint;
        match failure {
            Failure::Lost(source) => Error::Disconnected {
                endpoint: endpoint.clone(),
                may_have_been_executed: source.may_have_been_executed(),
                source,
            },
            Failure::Connect(error) => connect_error(endpoint, error),
            Failure::TooLarge { is, max } => too_large(is, max),
            Failure::Closed => Error::Closed,
        }
    }
}

const fn too_large(is: usize, max: usize) -> Error {
    Error::TooLarge { what: "bytes in one request frame", is, max }
}

fn refused(payload: &[u8]) -> Error {
    Refusal::decode(payload).map_or_else(Error::reply, Error::Refused)
}

fn detached<'a>(report: &'a Report<'a>) -> Request<impl FnOnce(&mut BytesMut) + 'a> {
    Request {
        opcode: Report::OPCODE,
        payload_bytes_max: report.bytes_max(),
        write: |out: &mut BytesMut| report.write(out),
    }
}

fn renewal(key_id: u64, slot: u64) -> Request<impl FnOnce(&mut BytesMut)> {
    Request {
        opcode: Opcode::SlotRenew,
        payload_bytes_max: 2 * size_of::<u64>(),
        write: move |out: &mut BytesMut| SlotRenew { key_id, slot }.encode(out),
    }
}

fn batch_request<I: Item>(
    items: &[I],
    items_max: usize,
) -> Result<Request<impl FnOnce(&mut BytesMut)>, Error> {
    const COUNT_BYTES: usize = 2;
    const LENGTH_BYTES: usize = 2;
    if items.len() > items_max {
        return Err(Error::TooLarge {
            what: "items in one batch",
            is: items.len(),
            max: items_max,
        });
    }
    items.iter().try_for_each(|item| item.check(true))?;
    let items_bytes: usize = items.iter().map(|item| LENGTH_BYTES + item.bytes_max()).sum();
    let write = |out: &mut BytesMut| {
        let mut batch = BatchWriter::new(out);
        items.iter().for_each(|item| batch.item(|out| item.write(out)));
        batch.finish();
    };
    Ok(Request { opcode: I::BATCH, payload_bytes_max: COUNT_BYTES + items_bytes, write })
}

fn decode_batch<T>(
    payload: &[u8],
    asked: usize,
    decode: impl Fn(&[u8]) -> Result<T, PayloadError>,
) -> Result<Vec<T>, Error> {
    let batch = Batch::decode(payload).map_err(Error::reply)?;
    if batch.len() != asked {
        return Err(Error::Protocol(ReplyError::Count { asked, answered: batch.len() }));
    }
    batch.map(decode).collect::<Result<_, _>>().map_err(Error::reply)
}
