//! The client for programs without a runtime: one connection, one call at a time.
//!
//! ```no_run
//! use keygate::client::{Endpoint, ValidateRequest, blocking::Client};
//!
//! # fn main() -> Result<(), keygate::client::Error> {
//! let mut client = Client::connect(Endpoint::unix("/run/keygate/keygate.sock"))?;
//! let verdict = client.validate(&ValidateRequest::new("kg_live_…").peek())?;
//! println!("{}", verdict.code.name());
//! # Ok(())
//! # }
//! ```

mod connection;

use std::time::Duration;

use bytes::{BufMut, BytesMut};
use keygate_protocol::admin::{
    Health, KeyChanged, KeyCreate, KeyCreated, KeyDelete, KeyList, KeyPage, KeyRestore, KeyReview,
    KeyRotate, KeyRotated, KeySecret, KeySecretMade, KeySetStatus, KeyUpdate, KeyUsage, NoFields,
    Reloaded, Stats, UsageHistory, UsageHistoryRequest, UsageTop, UsageTopRequest,
};
use keygate_protocol::limits::BATCH_ITEMS_MAX;
use keygate_protocol::{Flags, IncrementOutcome, Opcode, PayloadError, RenewOutcome};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::buffer::{Outbox, Payload};
use super::error::{Error, Loss, ReplyError};
use super::handshake::ServerInfo;
use super::request::Item;
use super::stopwatch::Stopwatch;
use super::table::Request;
use super::{
    Endpoint, Report, TIMEOUT, ValidateRequest, Validation, admin, batch_request, connect_error,
    decode_batch, detached, refused, renewal,
};
use connection::{Connection, Deadline, Pages, Step, is_timeout};

/// A connection to a daemon, used by one thread.
///
/// A connection that was lost, or on which a call timed out, is made anew by the next call. The slots
/// that its requests hold end with it; one that was to outlive it ([`ValidateRequest::keep_slot`])
/// may then be held, unknown to anybody, until its time ends.
#[derive(Debug)]
pub struct Client {
    endpoint: Endpoint,
    /// What every connection is bound to.
    tenant: Option<String>,
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
        Self::make(endpoint, None)
    }

    /// A client that is connected and bound to a tenant, as is every connection that it makes: no
    /// other tenant's key is there for it.
    ///
    /// # Errors
    /// [`Error::Connect`], also for a tenant that the daemon refuses: one that is empty or longer
    /// than 64 bytes, or another than this peer is bound to.
    pub fn connect_for_tenant(endpoint: Endpoint, tenant: &str) -> Result<Self, Error> {
        Self::make(endpoint, Some(tenant.to_owned()))
    }

    fn make(endpoint: Endpoint, tenant: Option<String>) -> Result<Self, Error> {
        let (connection, server) = (None, None);
        let mut client = Self { endpoint, tenant, timeout: TIMEOUT, connection, server };
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
        Validation::of(request, &payload).map_err(Error::reply)
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
            .zip(requests)
            .map(|(pages, asked)| Validation::of(asked, &only(pages)?).map_err(Error::reply))
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
        let answers = self.batch(requests, Validation::decode)?;
        Ok(answers.into_iter().zip(requests).map(|(one, asked)| one.named_by(asked)).collect())
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

    /// Holds a slot for its whole time again, as the async client does.
    ///
    /// # Errors
    /// [`Error`]. To ask again is safe.
    pub fn renew_slot(&mut self, key_id: u64, slot: u64) -> Result<RenewOutcome, Error> {
        let payload = self.payload(renewal(key_id, slot))?;
        RenewOutcome::decode(&payload).map_err(Error::reply)
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
        Ok(stopwatch.read())
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
        self.admin(Opcode::KeyCreate, &KeyCreate { record, request_id: None })
    }

    /// See [`super::Client::create_once`].
    ///
    /// # Errors
    /// [`Error`].
    pub fn create_once(
        &mut self,
        record: Value,
        request_id: impl Into<String>,
    ) -> Result<KeyCreated, Error> {
        let request_id = Some(request_id.into());
        self.admin(Opcode::KeyCreate, &KeyCreate { record, request_id })
    }

    /// One key's record.
    ///
    /// # Errors
    /// [`Error`].
    pub fn get(&mut self, id: u64) -> Result<Value, Error> {
        self.admin(Opcode::KeyGet, &admin::key_ref(id))
    }

    /// One key's record, also if it was deleted.
    ///
    /// # Errors
    /// [`Error`].
    pub fn get_deleted(&mut self, id: u64) -> Result<Value, Error> {
        self.admin(Opcode::KeyGet, &admin::deleted_key_ref(id))
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

    /// Makes a key's client secret, which is shown in the answer and nowhere else; or takes it away.
    ///
    /// # Errors
    /// [`Error`].
    pub fn client_secret(&mut self, secret: &KeySecret) -> Result<KeySecretMade, Error> {
        self.admin(Opcode::KeySecret, secret)
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
    pub fn delete(&mut self, delete: &KeyDelete) -> Result<KeyChanged, Error> {
        self.admin(Opcode::KeyDelete, delete)
    }

    /// Takes a soft delete back: the key's tokens are what they were.
    ///
    /// # Errors
    /// [`Error`].
    pub fn restore(&mut self, id: u64) -> Result<KeyChanged, Error> {
        self.admin(Opcode::KeyRestore, &KeyRestore { id: id.to_string() })
    }

    /// Notes that the key's security was reviewed now.
    ///
    /// # Errors
    /// [`Error`].
    pub fn review(&mut self, id: u64) -> Result<KeyChanged, Error> {
        self.admin(Opcode::KeyReview, &KeyReview { id: id.to_string() })
    }

    /// What a key was used for.
    ///
    /// # Errors
    /// [`Error`].
    pub fn usage(&mut self, id: u64) -> Result<KeyUsage, Error> {
        self.admin(Opcode::KeyUsage, &admin::key_ref(id))
    }

    /// The same of a deleted key.
    ///
    /// # Errors
    /// [`Error`].
    pub fn deleted_usage(&mut self, id: u64) -> Result<KeyUsage, Error> {
        self.admin(Opcode::KeyUsage, &admin::deleted_key_ref(id))
    }

    /// What a key, a tenant or all keys were used for, by the hour or the day.
    ///
    /// # Errors
    /// [`Error`].
    pub fn usage_history(&mut self, request: &UsageHistoryRequest) -> Result<UsageHistory, Error> {
        self.admin(Opcode::UsageHistory, request)
    }

    /// The keys that were used most, or denied most.
    ///
    /// # Errors
    /// [`Error`].
    pub fn usage_top(&mut self, request: &UsageTopRequest) -> Result<UsageTop, Error> {
        self.admin(Opcode::UsageTop, request)
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

    /// Has the daemon read its configuration again and apply it, as a whole or not at all.
    ///
    /// # Errors
    /// [`Error`]; [`Error::Refused`] says why nothing was applied.
    pub fn reload(&mut self) -> Result<Reloaded, Error> {
        self.admin(Opcode::Reload, &NoFields {})
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

    pub(super) fn admin<R: DeserializeOwned>(
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
        let watch = Deadline::after(self.timeout);
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
        let (connection, server) = Connection::open(&self.endpoint, self.tenant.as_deref())
            .map_err(|error| connect_error(&self.endpoint, error))?;
        self.server = Some(server);
        Ok(connection)
    }
}

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
