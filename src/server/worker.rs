//! Data-plane threads: each runs its own runtime, and a connection stays where it was put.

use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::JoinHandle;

use keygate_protocol::ErrorCode;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::runtime::LocalOptions;
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::admit::{Entrance, Peer};
use super::connection::{End, Shared, serve};
use super::dispatch::put_error;
use super::handshake::Shaken;
use super::watch::{Roster, Watch};

/// One connection of so many is kept for Unix sockets.
const KEPT_FOR_UNIX: usize = 8;

/// A socket on its way to a worker.
pub(super) enum Accepted {
    Unix(std::os::unix::net::UnixStream),
    Tcp(std::net::TcpStream, SocketAddr),
    Tls(Box<Shaken>),
}

impl Accepted {
    /// Tells a peer that there is no room for it. One small write into an empty socket buffer
    /// does not block; whether it arrives is the peer's affair.
    pub(super) fn refuse(self, max: usize) {
        use std::io::Write;
        let mut out = bytes::BytesMut::new();
        let message = format!("{max} connections are open, the most that is allowed here");
        put_error(&mut out, 0, ErrorCode::TooManyConnections, &message);
        let _ = match self {
            Self::Unix(mut stream) => stream.write(&out),
            Self::Tcp(mut stream, _) => stream.write(&out),
            Self::Tls(shaken) => shaken.tell(&out),
        };
    }

    /// Whether it came by a socket of this machine alone.
    const fn is_local(&self) -> bool {
        matches!(self, Self::Unix(_))
    }
}

/// All data-plane threads.
pub(super) struct Workers {
    workers: Vec<Worker>,
    connections_max: usize,
}

/// What the control thread tells a worker. The end of the queue is the order to stop.
enum Message {
    Serve(Accepted),
    /// Time to look at the deadlines.
    Tick,
    /// Say that you come round to your queue.
    Beat(oneshot::Sender<()>),
}

struct Worker {
    queue: mpsc::UnboundedSender<Message>,
    open: Arc<AtomicUsize>,
    thread: JoinHandle<()>,
}

impl Workers {
    /// Starts `count` threads. Once they were told to stop, `cut` drops the connections that have
    /// not ended by then.
    pub(super) fn start(
        count: usize,
        cut: &CancellationToken,
        make_shared: impl Fn() -> Shared,
    ) -> io::Result<Self> {
        let connections_max = make_shared().limits.connections_max;
        let start = |number| Worker::start(number, cut.clone(), make_shared());
        let workers = (0..count.max(1)).map(start).collect::<io::Result<_>>()?;
        Ok(Self { workers, connections_max })
    }

    /// Hands a connection to the thread that has the fewest, or refuses it, and says which. The
    /// queues are bounded by `connections_max`, because whatever waits in one is counted as open.
    pub(super) fn hand_over(&self, accepted: Accepted) -> bool {
        let open: usize = self.open();
        let least = self.workers.iter().min_by_key(|worker| worker.open.load(Ordering::Relaxed));
        // Strangers of the network must not keep out the services of this machine.
        let kept = if accepted.is_local() { 0 } else { self.connections_max / KEPT_FOR_UNIX };
        let max = self.connections_max - kept;
        let Some(worker) = least.filter(|_| open < max) else {
            tracing::warn!(open, "a connection was refused: too many are open");
            accepted.refuse(max);
            return false;
        };
        worker.open.fetch_add(1, Ordering::Relaxed);
        // A worker that is gone has been stopped; its connections end with it.
        let _ = worker.queue.send(Message::Serve(accepted));
        true
    }

    /// Has every worker with connections look at their deadlines.
    pub(super) fn tick(&self) {
        for worker in &self.workers {
            if worker.open.load(Ordering::Relaxed) > 0 {
                let _ = worker.queue.send(Message::Tick);
            }
        }
    }

    /// Comes back when every worker has come round to its queue: one that is stuck never does, and
    /// neither does this. One that is gone was stopped, or has panicked, which is the same.
    pub(super) async fn beat(&self) {
        let asked = self.workers.iter().map(|worker| {
            let (answer, answered) = oneshot::channel();
            (worker.queue.send(Message::Beat(answer)), answered)
        });
        // All are asked before the first is waited for.
        for (sent, answered) in asked.collect::<Vec<_>>() {
            if sent.is_err() || answered.await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }

    /// Connections that are open.
    pub(super) fn open(&self) -> usize {
        self.workers.iter().map(|worker| worker.open.load(Ordering::Relaxed)).sum()
    }

    /// Has every connection answer what it has read, and waits until all have ended.
    pub(super) fn join(self) {
        // All are told before the first is waited for.
        let threads: Vec<_> = self.workers.into_iter().map(|worker| worker.thread).collect();
        for thread in threads {
            if thread.join().is_err() {
                tracing::error!("a data-plane thread panicked");
            }
        }
    }
}

impl Worker {
    fn start(number: usize, cut: CancellationToken, shared: Shared) -> io::Result<Self> {
        let (queue, messages) = mpsc::unbounded_channel();
        let open = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&open);
        let (started, start) = crossbeam::channel::bounded(1);
        let run = move || {
            // A local runtime polls its tasks itself, where a LocalSet would stand between the two;
            // it cannot leave the thread that made it.
            let mut runtime = tokio::runtime::Builder::new_current_thread();
            // No time driver: deadlines are the roster's affair, and with one every wake-up
            // would look at the clock for it.
            let built = runtime.enable_io().build_local(LocalOptions::default());
            let runtime = match built {
                Ok(runtime) => runtime,
                Err(error) => return drop(started.send(Err(error))),
            };
            drop(started.send(Ok(())));
            runtime.block_on(async {
                tokio::select! {
                    () = work(messages, shared, count) => {}
                    () = cut.cancelled() => {}
                }
            });
        };
        let thread =
            std::thread::Builder::new().name(format!("keygate-data-{number}")).spawn(run)?;
        start.recv().map_err(io::Error::other)??;
        Ok(Self { queue, open, thread })
    }
}

/// A worker's life: until the queue ends, and then until its last connection has. Its connections
/// end at once with the runtime.
async fn work(
    mut messages: mpsc::UnboundedReceiver<Message>,
    shared: Shared,
    open: Arc<AtomicUsize>,
) {
    let shared = Rc::new(shared);
    let roster = Roster::default();
    let connections = TaskTracker::new();
    while let Some(message) = messages.recv().await {
        match message {
            Message::Tick => roster.tick(&shared.limits, shared.clock.now()),
            // Whoever asked may have ceased to wait.
            Message::Beat(answer) => {
                let _ = answer.send(());
            }
            Message::Serve(socket) => {
                let watch = roster.enter(shared.clock.now());
                let shared = Rc::clone(&shared);
                let guard = OpenGuard(Arc::clone(&open));
                tokio::task::spawn_local(connections.track_future(async move {
                    run_connection(socket, &shared, &watch).await;
                    drop(guard);
                }));
            }
        }
    }
    roster.stop();
    connections.close();
    connections.wait().await;
}

/// Counts a connection as closed, also when its task panics.
struct OpenGuard(Arc<AtomicUsize>);

impl Drop for OpenGuard {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

async fn run_connection(socket: Accepted, shared: &Shared, watch: &Watch) {
    let served = match socket {
        Accepted::Unix(stream) => serve_unix(stream, shared, watch).await,
        Accepted::Tcp(stream, address) => match tokio::net::TcpStream::from_std(stream) {
            Ok(stream) => {
                Ok(enter(stream, (Entrance::Tcp, Peer::Address(address)), shared, watch).await)
            }
            Err(error) => Err(error),
        },
        Accepted::Tls(shaken) => serve_tls(*shaken, shared, watch).await,
    };
    match served {
        Ok(end) => tracing::debug!(?end, "a connection ended"),
        Err(error) => tracing::warn!(%error, "a connection could not be served"),
    }
}

async fn serve_unix(
    stream: std::os::unix::net::UnixStream,
    shared: &Shared,
    watch: &Watch,
) -> io::Result<End> {
    let stream = tokio::net::UnixStream::from_std(stream)?;
    let peer = Peer::of_unix(&stream)?;
    Ok(enter(stream, (Entrance::Data, peer), shared, watch).await)
}

/// Serves who has shaken hands, until its certificate is taken no more.
async fn serve_tls(shaken: Shaken, shared: &Shared, watch: &Watch) -> io::Result<End> {
    // The order to stop comes by the watch.
    let (stream, peer, guest) = shaken.arrive(&CancellationToken::new())?;
    let end = guest.end();
    let serving = enter(stream, (Entrance::Tls, peer), shared, watch);
    let served = end.run_until_cancelled(serving).await;
    drop(guest);
    Ok(served.unwrap_or(End::NotAdmitted))
}

/// Lets a peer in, serves it, and takes leave of it.
async fn enter<S>(
    mut stream: S,
    (entrance, peer): (Entrance, Peer),
    shared: &Shared,
    watch: &Watch,
) -> End
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let end = match shared.gate.admit(entrance, peer, shared.clock.now()) {
        Ok(login) => serve(&mut stream, &login, shared, watch).await,
        Err(message) => {
            shared.observer.refused(ErrorCode::NotAdmitted);
            let mut out = bytes::BytesMut::new();
            put_error(&mut out, 0, ErrorCode::NotAdmitted, &message);
            watch.note_writing(Some(shared.clock.now()));
            tokio::select! {
                biased;
                _ = stream.write_all(&out) => {}
                _ = watch.order() => {}
            }
            End::NotAdmitted
        }
    };
    // TLS tells its end from a cut; whether that arrives is the peer's affair.
    let leave = std::future::poll_fn(|cx| {
        let _ = std::pin::Pin::new(&mut stream).poll_shutdown(cx);
        std::task::Poll::Ready(())
    });
    leave.await;
    end
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::os::unix::net::UnixStream;

    use bytes::BytesMut;
    use keygate_protocol::{Flags, Opcode, frame};

    use super::super::deferred::Desk;
    use super::super::deferred::tests::ByHand;
    use super::super::dispatch::tests::engine;
    use super::*;
    use crate::clock::ManualClock;
    use crate::config::Limits;

    #[test]
    fn a_peer_that_does_not_read_does_not_outlive_the_cut() {
        let cut = CancellationToken::new();
        let engine = Arc::new(engine());
        let workers = Workers::start(1, &cut, || Shared {
            engine: Arc::clone(&engine),
            clock: Arc::new(ManualClock::new(0)),
            limits: Limits { write_timeout_ms: 3_600_000, ..Limits::default() },
            answers: std::cell::RefCell::default(),
            desk: Desk::new(Arc::new(ByHand::default())),
            observer: crate::server::observe::Observers::default().add(),
            gate: crate::server::admit::tests::gate(""),
        });
        let workers = workers.expect("a thread");
        let (mut peer, served) = UnixStream::pair().expect("a pair");
        served.set_nonblocking(true).expect("not blocking");
        assert!(workers.hand_over(Accepted::Unix(served)));
        // Writes until nothing is taken any more: the replies have filled the other direction.
        peer.set_write_timeout(Some(std::time::Duration::from_millis(200))).expect("a timeout");
        let mut ping = BytesMut::new();
        frame::encode(&mut ping, Opcode::Ping.byte(), Flags::NONE, 1, |out| {
            out.resize(out.len() + 60_000, 0);
        });
        while peer.write_all(&ping).is_ok() {}
        assert_eq!(workers.open(), 1);
        cut.cancel();
        // Without the cut this waits for an hour.
        workers.join();
    }
}
