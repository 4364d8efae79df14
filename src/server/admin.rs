//! One admin connection: a request at a time, JSON in the same frames.

mod answers;
mod health;
mod import;
mod watch;
mod whole;

use std::cell::RefCell;
use std::collections::HashMap;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf, BytesMut};
use keygate_protocol::admin::NoFields;
use keygate_protocol::{ErrorCode, Flags, Frame, Header, Opcode, Roles, frame};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use zeroize::{Zeroize, Zeroizing};

use self::import::Stream;
use super::admit::{Gate, Login, TURNED_AWAY, allows};
use super::deferred::Desk;
use super::dispatch::{Dispatcher, Go, UnderWay, put_error};
use super::doors::Doors;
use super::hello::hello;
use super::observe::{Observer, Observers};
use super::reload::Reload;
use super::tls::Tls;
use super::watchers::Watchers;
use crate::admin::{Admin, AdminError, Caller, Listing};
use crate::audit::Audit;
use crate::clock::{Clock, Now};
use crate::config::Limits;
use crate::engine::{Answers, Engine};

/// Room for one read.
const READ_BYTES: usize = 16 * 1024;
/// Room for the body of a reply: most records need less.
const BODY_BYTES: usize = 16 * 1024;

/// What every admin connection shares.
pub(super) struct Shared {
    pub(super) admin: Arc<Admin>,
    pub(super) reload: Arc<Reload>,
    pub(super) engine: Arc<Engine>,
    /// Where requests wait for the ledger.
    pub(super) desk: Arc<Desk>,
    /// Told of the verdicts that are given on this socket, all of whose connections are one thread's.
    pub(super) observer: Arc<Observer>,
    pub(super) observers: Arc<Observers>,
    pub(super) doors: Doors,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) limits: Limits,
    /// Tells what peers may do.
    pub(super) gate: Arc<Gate>,
    /// TLS, where it is spoken.
    pub(super) tls: Option<Arc<Tls>>,
    /// Records that could not be read at start.
    pub(super) unreadable: u64,
    /// The audit log, where one is kept.
    pub(super) audit: Option<Arc<Audit>>,
    /// Whoever watches.
    pub(super) watchers: Arc<Watchers>,
    /// Open connections of the data plane.
    pub(super) data_connections: Box<dyn Fn() -> usize + Send + Sync>,
    /// Stop reading, finish the request in hand, close.
    pub(super) stop: CancellationToken,
    /// End at once.
    pub(super) cut: CancellationToken,
}

/// What carries an admin connection: a Unix socket, or TLS.
pub(super) trait Transport: AsyncRead + AsyncWrite + Unpin + Send {}

impl<S: AsyncRead + AsyncWrite + Unpin + Send> Transport for S {}

/// Tells a peer why it is not served, and takes leave of it. Whether it arrives is the peer's affair.
pub(super) async fn turn_away(
    mut stream: Box<dyn Transport>,
    (code, message): (ErrorCode, &str),
    shared: &Shared,
) {
    shared.observer.refused(code);
    let mut output = BytesMut::new();
    put_error(&mut output, 0, code, message);
    let told = async {
        stream.write_all(&output).await?;
        stream.shutdown().await
    };
    let _ = timeout(Duration::from_millis(shared.limits.write_timeout_ms), told).await;
}

/// Serves one admin connection to its end, if its peer was let in. `stop` ends it behind the request
/// that is under way: it is the daemon's, or a child of it for this connection alone.
pub(super) async fn serve(
    stream: Box<dyn Transport>,
    admitted: Result<Login, String>,
    stop: CancellationToken,
    shared: Arc<Shared>,
) {
    let login = match admitted {
        Ok(login) => login,
        Err(message) => return turn_away(stream, (TURNED_AWAY, &message), &shared).await,
    };
    let under_way = UnderWay::new(&shared.engine, &shared.clock, &shared.desk, &shared.limits);
    let tenant = login.tenant();
    let caller = tenant.as_deref().map_or_else(Caller::unbound, Caller::of_tenant);
    let mut connection = Connection {
        stream,
        stop,
        shared,
        under_way,
        answers: None,
        caller: caller.acting_as(login.actor()),
        roles: login.roles(tenant.as_deref()),
        login,
        input: BytesMut::new(),
        output: BytesMut::new(),
        imports: HashMap::new(),
    };
    // A request that is read is carried to its end: nothing cancels between store and catalog.
    while let Some(mut request) = connection.next().await {
        let go = connection.carry_out(&request).await;
        // It may have brought a secret.
        request.payload.as_mut().zeroize();
        if connection.flush().await.is_err() || go == Go::Close {
            break;
        }
    }
    connection.abandon_imports().await;
    if connection.flush().await.is_ok() {
        // TLS tells its end from a cut.
        let allowed = Duration::from_millis(connection.shared.limits.write_timeout_ms);
        let _ = timeout(allowed, connection.stream.shutdown()).await;
    }
}

/// A whole request, taken out of the read buffer. Wiped when it has been carried out: it may hold
/// tokens and secrets.
struct Request {
    header: Header,
    payload: BytesMut,
}

impl Drop for Request {
    fn drop(&mut self) {
        self.payload.zeroize();
    }
}

struct Connection {
    stream: Box<dyn Transport>,
    /// The order to end.
    stop: CancellationToken,
    shared: Arc<Shared>,
    under_way: UnderWay,
    /// Where answers are made, once this socket was asked for one.
    answers: Option<RefCell<Answers>>,
    /// What the peer may see …
    caller: Caller,
    /// … and do, as it is bound now.
    roles: Roles,
    login: Login,
    input: BytesMut,
    output: BytesMut,
    /// Imports that have begun and not ended, by their correlation.
    imports: HashMap<u32, Stream>,
}

impl Connection {
    /// The next whole request; `None` at the end of the connection.
    async fn next(&mut self) -> Option<Request> {
        let limits = &self.shared.limits;
        let (idle, inside) = (
            Duration::from_millis(limits.idle_timeout_ms),
            Duration::from_millis(limits.frame_timeout_ms),
        );
        let mut alarm = pin!(sleep(idle));
        let mut began = false;
        loop {
            if self.is_over() {
                self.take_leave();
                return None;
            }
            match frame::decode(&self.input, self.shared.limits.admin_frame_bytes_max) {
                Ok(Some((frame, bytes))) => {
                    let header = frame.header;
                    let mut payload = self.input.split_to(bytes);
                    payload.advance(frame::PREFIX_BYTES);
                    return Some(Request { header, payload });
                }
                Ok(None) => {}
                Err(error) => {
                    self.shared.observer.refused(ErrorCode::BadFrame);
                    put_error(&mut self.output, 0, ErrorCode::BadFrame, &error.to_string());
                    return None;
                }
            }
            // Once, however many bytes come: a trickle does not extend a frame's time.
            if !began && !self.input.is_empty() {
                began = true;
                alarm.set(sleep(inside));
            }
            self.input.reserve(READ_BYTES);
            tokio::select! {
                biased;
                // What is not read by now is not executed; a peer with more to say cannot go on.
                () = self.stop.cancelled() => {
                    self.take_leave();
                    return None;
                }
                read = self.stream.read_buf(&mut self.input) => match read {
                    Ok(1..) => {}
                    _ => return None,
                },
                () = &mut alarm => {
                    let message = if began {
                        format!("a frame was not whole after {} ms", inside.as_millis())
                    } else {
                        format!("nothing was sent for {} ms", idle.as_millis())
                    };
                    put_error(&mut self.output, 0, ErrorCode::TimedOut, &message);
                    return None;
                }
            }
        }
    }

    /// Whether what let the peer in is over: nothing more of it is carried out, not even what was
    /// read.
    fn is_over(&self) -> bool {
        self.stop.is_cancelled() && !self.shared.stop.is_cancelled()
    }

    /// Why the connection ends by order.
    fn parting(&self) -> (ErrorCode, &'static str) {
        if self.is_over() {
            (TURNED_AWAY, "the certificate that was shown is not taken any more")
        } else {
            (ErrorCode::Stopping, "keygate is stopping")
        }
    }

    fn take_leave(&mut self) {
        let (code, message) = self.parting();
        put_error(&mut self.output, 0, code, message);
    }

    async fn carry_out(&mut self, request: &Request) -> Go {
        let header = request.header;
        let Some(opcode) = Opcode::from_byte(header.opcode).filter(|opcode| opcode.is_admin())
        else {
            return self.data_plane(request).await;
        };
        if !allows(self.roles, opcode) {
            let now = self.shared.clock.now();
            let message = self.login.refuse(opcode, self.caller.tenant(), now);
            self.error(header, ErrorCode::Forbidden, &message);
            return Go::On;
        }
        if !opcode.flags_allowed().has(header.flags) {
            self.error(header, ErrorCode::BadPayload, "this request takes no such flag");
            return Go::On;
        }
        match opcode {
            Opcode::Import => {
                self.import(request).await;
                Go::On
            }
            Opcode::Export => self.export(request).await,
            Opcode::Backup | Opcode::Verify => self.whole_store(opcode, request).await,
            Opcode::KeyList => self.list(request).await,
            Opcode::Watch => self.watch(request).await,
            opcode => {
                let answered = self.answer(opcode, request).await;
                let Err(error) = answered else { return Go::On };
                self.error(header, error.code, &error.message);
                if error.code.closes() { Go::Close } else { Go::On }
            }
        }
    }

    /// `Hello` and the data plane's requests, which this socket takes too.
    async fn data_plane(&mut self, request: &Request) -> Go {
        let frame = Frame { header: request.header, payload: &request.payload };
        let limits = &self.shared.limits;
        if Opcode::from_byte(frame.header.opcode) == Some(Opcode::Hello)
            && frame.header.flags == Flags::NONE
        {
            let (bound, caller) = (limits.admin_frame_bytes_max, &mut self.caller);
            let (login, now) = (&self.login, self.shared.clock.now());
            let bind = |to: &str| {
                login.may_bind(caller.tenant(), to).inspect_err(|_| {
                    login.note_refused(Opcode::Hello, caller.tenant(), now);
                })?;
                caller.bind(to).then_some(()).ok_or_else(String::new)
            };
            let go = hello(frame, true, bound, bind, &mut self.output);
            self.roles = self.login.roles(self.caller.tenant());
            return go;
        }
        let go = self.dispatch(|dispatcher, now, out| dispatcher.single(frame, now, out));
        // One request at a time: the next is read when this one is answered.
        while !self.under_way.deferred.is_empty() {
            self.under_way.deferred.rung().await;
            self.dispatch(|dispatcher, now, out| {
                dispatcher.retry(now, out);
            });
        }
        go
    }

    /// Has the data plane's dispatcher do something.
    fn dispatch<T>(&mut self, act: impl FnOnce(&mut Dispatcher<'_>, Now, &mut BytesMut) -> T) -> T {
        let limits = &self.shared.limits;
        let mut dispatcher = Dispatcher {
            engine: &self.shared.engine,
            tenant: self.caller.tenant_shared(),
            standing: self.login.standing,
            login: &self.login,
            roles: self.roles,
            frame_bytes_max: limits.frame_bytes_max,
            reply_bytes_max: limits.reply_bytes_max,
            answers: self.answers.get_or_insert_default(),
            under_way: &mut self.under_way,
            observer: &self.shared.observer,
        };
        act(&mut dispatcher, self.shared.clock.now(), &mut self.output)
    }

    async fn export(&mut self, request: &Request) -> Go {
        let listing = match parse_none(&request.payload) {
            Ok(_) => Ok(self.shared.admin.export(&self.caller)),
            Err(error) => Err(error),
        };
        self.stream(request.header, listing).await
    }

    async fn list(&mut self, request: &Request) -> Go {
        let listing = match parse(&request.payload) {
            Ok(list) => self.shared.admin.list(&self.caller, list).await,
            Err(error) => Err(error),
        };
        self.stream(request.header, listing).await
    }

    /// Sends a listing to its end, or to the error that ends it.
    async fn stream(&mut self, header: Header, listing: Result<Listing, AdminError>) -> Go {
        let admin = Arc::clone(&self.shared.admin);
        let sent = async {
            let mut listing = listing?;
            loop {
                let (frames, more) = admin.next_page(&mut listing).await?;
                let last = frames.len().saturating_sub(1);
                for (at, page) in frames.iter().enumerate() {
                    self.put_more(header, page, at < last || more);
                    // The reader sets the pace: one frame at a time is held.
                    if self.flush().await.is_err() {
                        return Ok(Go::Close);
                    }
                }
                if !more {
                    return Ok(Go::On);
                }
            }
        };
        let sent: Result<Go, AdminError> = sent.await;
        sent.unwrap_or_else(|error| {
            self.error(header, error.code, &error.message);
            if error.code.closes() { Go::Close } else { Go::On }
        })
    }

    fn put(&mut self, request: &Request, body: &impl Serialize) {
        self.put_more(request.header, body, false);
    }

    fn put_more(&mut self, header: Header, body: &impl Serialize, more: bool) {
        // It may hold a token: what is made here is wiped, and has room so that it seldom moves.
        let mut json = Zeroizing::new(Vec::with_capacity(BODY_BYTES));
        // Replies are plain data: maps with text keys and finite numbers.
        if serde_json::to_writer(&mut *json, body).is_err() {
            json.clear();
        }
        self.put_json(header, &json, more);
    }

    fn put_json(&mut self, header: Header, json: &[u8], more: bool) {
        let opcode = header.opcode | keygate_protocol::opcode::REPLY;
        let flags = if more { Flags::MORE } else { Flags::NONE };
        frame::encode(&mut self.output, opcode, flags, header.correlation, |out| {
            out.extend_from_slice(json);
        });
    }

    fn error(&mut self, header: Header, code: ErrorCode, message: &str) {
        self.shared.observer.refused(code);
        put_error(&mut self.output, header.correlation, code, message);
    }

    async fn flush(&mut self) -> Result<(), ()> {
        if self.output.is_empty() {
            return Ok(());
        }
        let allowed = Duration::from_millis(self.shared.limits.write_timeout_ms);
        let writing = async {
            self.stream.write_all(&self.output).await?;
            self.stream.flush().await
        };
        let written = timeout(allowed, writing).await;
        // A token is nowhere to be found once its holder has it.
        self.output.as_mut().zeroize();
        self.output = BytesMut::new();
        if matches!(written, Ok(Ok(()))) { Ok(()) } else { Err(()) }
    }
}

fn parse<T: DeserializeOwned>(payload: &[u8]) -> Result<T, AdminError> {
    // serde would take a list of the members' values as well.
    if payload.trim_ascii_start().first().is_some_and(|byte| *byte != b'{') {
        let message = "the payload is a JSON object".to_owned();
        return Err(AdminError { code: ErrorCode::BadPayload, message });
    }
    serde_json::from_slice(payload).map_err(|error| bad_payload(&error))
}

fn parse_none(payload: &[u8]) -> Result<NoFields, AdminError> {
    if payload.is_empty() { Ok(NoFields {}) } else { parse(payload) }
}

fn bad_payload(error: &serde_json::Error) -> AdminError {
    AdminError { code: ErrorCode::BadPayload, message: error.to_string() }
}
