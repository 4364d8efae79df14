//! The lanes: connections that carry requests out at the same time, and the one who puts what
//! became of them back into order.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use serde::Serialize;
use serde_json::Value;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{Mutex, OwnedSemaphorePermit, Semaphore, mpsc};
use tokio_util::sync::CancellationToken;
use zeroize::{Zeroize, Zeroizing};

use super::Results;
use super::input::{Each, Request};
use crate::cli::error::CliError;
use crate::cli::{Exit, Global};
use crate::client::{Client, Error};

/// Requests that one lane may be ahead of the slowest: their results wait in memory.
const AHEAD: usize = 16;

/// How to go about it.
pub(super) struct Order {
    pub(super) jobs: usize,
    pub(super) fail_fast: bool,
}

/// What came of it.
pub(super) struct Ending {
    /// Results by outcome.
    pub(super) counts: BTreeMap<&'static str, u64>,
    /// Why not all of the input was carried out.
    pub(super) stopped: Option<&'static str>,
    /// Why the input could not be read to its end.
    pub(super) unread: Option<io::Error>,
    pub(super) exit: Exit,
}

/// A request in its place: `at` counts from 0 without a gap, `number` is the input's own.
struct Item {
    at: u64,
    number: u64,
    request: Result<Request, String>,
}

/// What became of one, in its place. Its permit is given back when it is printed.
struct Done {
    at: u64,
    line: Line,
    unreachable: bool,
    _ahead: OwnedSemaphorePermit,
}

/// One line of the results.
#[derive(Debug, Default, Serialize)]
struct Line {
    /// The record's number in the file, from 1; where each line is one, the line's.
    record: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<String>,
    outcome: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    token: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    notices: Vec<String>,
}

const FAILED: &str = "failed";

/// What the lanes share.
struct Shared {
    items: Mutex<mpsc::Receiver<Item>>,
    /// How far lanes may be ahead of what is printed.
    ahead: Arc<Semaphore>,
    /// Begin no more.
    stop: CancellationToken,
}

/// A connection for each lane.
pub(super) async fn connect(global: &Global, lanes: usize) -> Result<Vec<Client>, CliError> {
    let mut clients = Vec::with_capacity(lanes);
    for _ in 0..lanes {
        clients.push(global.admin_client().await?);
    }
    Ok(clients)
}

/// Carries out what `read` reads, and prints the results in the input's order.
pub(super) async fn run(
    clients: Vec<Client>,
    order: &Order,
    read: impl FnOnce(Each<'_>) -> io::Result<()> + Send + 'static,
    results: &mut Results,
) -> Result<Ending, CliError> {
    let (send, items) = mpsc::channel(AHEAD * order.jobs);
    let reader = tokio::task::spawn_blocking(move || {
        let mut at = 0;
        read(&mut |number, request| {
            let sent = send.blocking_send(Item { at, number, request }).is_ok();
            at += 1;
            sent
        })
    });
    let shared = Arc::new(Shared {
        items: Mutex::new(items),
        ahead: Arc::new(Semaphore::new(AHEAD * order.jobs)),
        stop: CancellationToken::new(),
    });
    let (done, mut arrived) = mpsc::channel(AHEAD * order.jobs);
    for client in clients {
        tokio::spawn(lane(client, Arc::clone(&shared), done.clone()));
    }
    drop(done);
    let stop = shared.stop.clone();
    drop(shared);
    let mut ending = gather(order, &mut arrived, &stop, results).await?;
    if ending.stopped.is_none() {
        ending.unread = match reader.await {
            Ok(read) => read.err(),
            Err(error) => Some(io::Error::other(error)),
        };
    }
    Ok(ending)
}

/// One connection: a request at a time, until there are no more or no more are to be begun. What is
/// taken is carried out.
async fn lane(client: Client, shared: Arc<Shared>, done: mpsc::Sender<Done>) {
    loop {
        let next = async {
            let ahead = Arc::clone(&shared.ahead).acquire_owned().await.ok()?;
            Some((ahead, shared.items.lock().await.recv().await?))
        };
        let next = tokio::select! {
            biased;
            () = shared.stop.cancelled() => None,
            next = next => next,
        };
        let Some((ahead, Item { at, number, request })) = next else { return };
        let (mut line, unreachable) = match request {
            Ok(request) => carry_out(&client, request).await,
            Err(error) => (Line { error: Some(error), ..Line::default() }, false),
        };
        line.record = number;
        if line.error.is_some() {
            line.outcome = FAILED;
        }
        if done.send(Done { at, line, unreachable, _ahead: ahead }).await.is_err() {
            return;
        }
    }
}

/// Puts results into order and prints them until the lanes have ended.
async fn gather(
    order: &Order,
    arrived: &mut mpsc::Receiver<Done>,
    stop: &CancellationToken,
    results: &mut Results,
) -> Result<Ending, CliError> {
    let failed = |error| CliError::System { doing: "cannot hear signals", error };
    let mut interrupt = signal(SignalKind::interrupt()).map_err(failed)?;
    let mut terminate = signal(SignalKind::terminate()).map_err(failed)?;
    let mut waiting = BTreeMap::new();
    let mut next = 0;
    let mut unprinted = None;
    let mut ending =
        Ending { counts: BTreeMap::new(), stopped: None, unread: None, exit: Exit::Fine };
    let halt = |ending: &mut Ending, why, exit| {
        stop.cancel();
        ending.stopped.get_or_insert(why);
        ending.exit = exit;
    };
    loop {
        let done = tokio::select! {
            done = arrived.recv() => done,
            // What is under way is waited for: whether it was done must be known.
            _ = interrupt.recv() => { halt(&mut ending, "interrupted", Exit::Error); continue }
            _ = terminate.recv() => { halt(&mut ending, "interrupted", Exit::Error); continue }
        };
        let Some(done) = done else { break };
        waiting.insert(done.at, done);
        while let Some(mut done) = waiting.remove(&next) {
            next += 1;
            *ending.counts.entry(done.line.outcome).or_default() += 1;
            if done.line.outcome == FAILED && ending.exit == Exit::Fine {
                ending.exit = Exit::Error;
            }
            if done.unreachable {
                halt(&mut ending, "the daemon does not answer", Exit::Unreachable);
            } else if done.line.outcome == FAILED && order.fail_fast {
                halt(&mut ending, "one has failed", Exit::Error);
            }
            // What cannot be printed must not be asked for: a token would be lost.
            if let Err(error) = results.print(&json(&done.line)) {
                halt(&mut ending, "the results cannot be written", Exit::Error);
                unprinted.get_or_insert(error);
            }
            done.line.token.zeroize();
        }
    }
    unprinted.map_or(Ok(ending), Err)
}

fn json(line: &Line) -> Zeroizing<String> {
    // Texts and numbers always become JSON.
    Zeroizing::new(serde_json::to_string(line).unwrap_or_default())
}

/// Asks, and says what became of it; and whether the daemon is out of reach.
async fn carry_out(client: &Client, request: Request) -> (Line, bool) {
    let (id, answered) = match request {
        Request::Create { record, request_id } => {
            let created = match request_id {
                Some(request_id) => client.create_once(record, request_id).await,
                None => client.create(record).await,
            };
            let line = created.map(|created| Line {
                id: id_of(&created.key),
                outcome: if created.repeated { "repeated" } else { "created" },
                token: created.token,
                notices: created.notices,
                ..Line::default()
            });
            (None, line)
        }
        Request::Update(update) => {
            let changed = client.update(&update).await;
            (Some(update.id), changed.map(|it| changed_line("updated", &it.key, it.notices)))
        }
        Request::SetStatus(request) => {
            let changed = client.set_status(&request).await;
            // Its notices were told when its fields were written.
            (Some(request.id), changed.map(|it| changed_line("revoked", &it.key, Vec::new())))
        }
        Request::Delete(request) => {
            let changed = client.delete(&request).await;
            let outcome = if request.purge { "purged" } else { "deleted" };
            (Some(request.id), changed.map(|it| changed_line(outcome, &it.key, Vec::new())))
        }
    };
    answered.map_or_else(|error| failed_line(id, error), |line| (line, false))
}

fn changed_line(outcome: &'static str, key: &Value, notices: Vec<String>) -> Line {
    Line { id: id_of(key), outcome, notices, ..Line::default() }
}

fn failed_line(id: Option<String>, error: Error) -> (Line, bool) {
    let code = error.code().map(keygate_protocol::ErrorCode::name);
    let message = error.to_string();
    let unreachable = CliError::Client(error).exit() == Exit::Unreachable;
    (Line { id, code, error: Some(message), ..Line::default() }, unreachable)
}

fn id_of(key: &Value) -> Option<String> {
    key["id"].as_str().map(str::to_owned)
}
