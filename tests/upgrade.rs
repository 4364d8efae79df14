//! An upgrade without a lost request: the sockets stay with whoever made them, the old daemon answers
//! what it has read and ends, the next one takes over, as `systemctl restart` does it. Callers under
//! load see neither a refusal nor a loss, and nothing is counted twice.

mod support;

use std::os::unix::net::UnixListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use keygate::client::{Client, Endpoint, Error, Report, ValidateRequest};
use keygate_protocol::VerdictCode;
use rustix::process::Signal;
use support::{BINARY, DEADLINE, Daemon, Home};
use tokio::sync::Notify;

const CONNECTIONS: usize = 4;
const CALLERS_EACH: usize = 4;
const RESTARTS: usize = 3;
/// Calls that must have succeeded before each restart.
const CALLS_BETWEEN: u64 = 2000;

/// What systemd is to the daemon: it holds the sockets, and every daemon is handed the same ones.
struct Parent {
    data: UnixListener,
    admin: UnixListener,
}

impl Parent {
    fn new(home: &Home) -> Self {
        let listen = |path| UnixListener::bind(path).expect("a socket");
        Self { data: listen(home.socket()), admin: listen(home.admin_socket()) }
    }

    /// A daemon on these sockets.
    fn start(&self, home: &Home) -> Daemon {
        let mut command = home.dress(Daemon::handing("data:admin"));
        command.args([BINARY, "serve", "--config"]).arg(home.path("keygate.toml"));
        command.arg("--data-dir").arg(home.data());
        Daemon::start_handed(command, Daemon::passed(&self.data), Daemon::passed(&self.admin))
    }
}

/// What the callers share.
#[derive(Default)]
struct Load {
    stop: AtomicBool,
    valid: AtomicU64,
    reported: AtomicU64,
    /// Calls of which it is not known whether they were carried out.
    doubtful: AtomicU64,
    moved: Notify,
}

impl Load {
    fn done(&self) -> u64 {
        self.valid.load(Ordering::Relaxed) + self.reported.load(Ordering::Relaxed)
    }

    /// Waits until so many calls more have succeeded.
    async fn goes_on(&self) {
        let until = self.done() + CALLS_BETWEEN;
        while self.done() < until {
            let moved = tokio::time::timeout(DEADLINE, self.moved.notified()).await;
            moved.expect("the callers get their answers");
        }
    }

    /// Makes a call until it succeeds. Only what was surely not carried out, or bears an id, is sent
    /// again; a caller cannot do better, and need not.
    async fn call<T, F: Future<Output = Result<T, Error>>>(
        &self,
        has_id: bool,
        call: impl Fn() -> F,
    ) -> Option<T> {
        loop {
            match call().await {
                Ok(answer) => {
                    self.moved.notify_one();
                    return Some(answer);
                }
                Err(error) if has_id || !error.may_have_been_executed() => {}
                Err(error) => {
                    eprintln!("{error}");
                    self.doubtful.fetch_add(1, Ordering::Relaxed);
                    return None;
                }
            }
        }
    }

    async fn ask(self: Arc<Self>, client: Client, token: String, key: u64, number: usize) {
        let mut id = (number as u128) << 64;
        while !self.stop.load(Ordering::Relaxed) {
            let question = || client.validate(ValidateRequest::new(&token));
            if let Some(verdict) = self.call(false, question).await {
                assert_eq!(verdict.code, VerdictCode::Valid);
                self.valid.fetch_add(1, Ordering::Relaxed);
            }
            id += 1;
            let report = || client.increment(Report::new(key).status(200).id(id));
            if self.call(true, report).await.is_some() {
                self.reported.fetch_add(1, Ordering::Relaxed);
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restart_under_load_loses_no_call_and_counts_none_twice() {
    let home = Home::new();
    let parent = Parent::new(&home);
    let mut daemon = parent.start(&home);
    // A month's quota, which is spent from leases: a restart gives back what was not spent of them.
    let (id, token) = home.create(&["--name", "k", "--monthly-quota", "10000000"]);
    let key = id.parse().expect("a number");
    let load = Arc::new(Load::default());
    let clients: Vec<_> = (0..CONNECTIONS)
        .map(|_| Client::builder(Endpoint::unix(home.socket())).timeout(DEADLINE).build())
        .collect();
    let callers: Vec<_> = (0..CONNECTIONS * CALLERS_EACH)
        .map(|number| {
            let client = clients[number % CONNECTIONS].clone();
            tokio::spawn(Arc::clone(&load).ask(client, token.clone(), key, number))
        })
        .collect();
    for _ in 0..RESTARTS {
        load.goes_on().await;
        daemon.signal(Signal::TERM);
        let ended = tokio::task::spawn_blocking(move || daemon.wait().code()).await;
        assert_eq!(ended.expect("no panic"), Some(0));
        assert!(home.socket().exists() && home.admin_socket().exists());
        daemon = parent.start(&home);
    }
    load.goes_on().await;
    load.stop.store(true, Ordering::Relaxed);
    for caller in callers {
        caller.await.expect("no caller panicked");
    }
    assert_eq!(load.doubtful.load(Ordering::Relaxed), 0, "calls whose fate is not known");
    let (valid, reported) =
        (load.valid.load(Ordering::Relaxed), load.reported.load(Ordering::Relaxed));
    let usage = home.json(["usage", &id]);
    assert_eq!(
        (&usage["total_requests"], &usage["reported_requests"]),
        (&valid.into(), &reported.into())
    );
    let month = usage["limits"].as_array().into_iter().flatten().find(|it| it["name"] == "month");
    let month = month.expect("the quota");
    assert_eq!(
        month["limit"].as_u64().zip(month["remaining"].as_u64()).map(|(l, r)| l - r),
        Some(valid)
    );
    daemon.stop();
}
