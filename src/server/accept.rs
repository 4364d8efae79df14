//! The accept loops, on the control thread: who connects is handed to a worker, or served here where
//! it is the admin socket.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use keygate_protocol::ErrorCode;
use tokio::net::{TcpListener, UnixListener, UnixStream};
use tokio::sync::{Semaphore, mpsc};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::admin::{self, Transport};
use super::admit::{Entrance, Login, Peer};
use super::daemon::Tasks;
use super::handshake::{self, Begun, Shaken};
use super::listen::Listeners;
use super::tls::{Side, Tls};
use super::worker::{Accepted, Workers};

/// Starts the accept loops; each ends with `stop`.
pub(super) fn accept(
    listeners: &Listeners,
    workers: &Arc<Workers>,
    admin: &Arc<admin::Shared>,
    tasks: &Tasks,
    stop: &CancellationToken,
) -> io::Result<()> {
    let data = UnixListener::from_std(listeners.data.listener.try_clone()?)?;
    let (to, door) = (Arc::clone(workers), Arc::clone(&admin.doors.data));
    tasks.accepting.spawn(stop.clone().run_until_cancelled_owned(async move {
        loop {
            let Some((stream, _)) = accepted(data.accept().await).await else { continue };
            if let Some(stream) = usable(stream.into_std()) {
                door.pass(to.hand_over(Accepted::Unix(stream)));
            }
        }
    }));
    for listener in &listeners.tcp {
        let listener = TcpListener::from_std(listener.try_clone()?)?;
        let (to, door) = (Arc::clone(workers), Arc::clone(&admin.doors.data));
        tasks.accepting.spawn(stop.clone().run_until_cancelled_owned(async move {
            loop {
                let Some((stream, from)) = accepted(listener.accept().await).await else {
                    continue;
                };
                // Replies leave at once: a small one must not wait for an acknowledgement.
                if let Some(stream) =
                    usable(stream.set_nodelay(true).and_then(|()| stream.into_std()))
                {
                    door.pass(to.hand_over(Accepted::Tcp(stream, from)));
                }
            }
        }));
    }
    let of_admin = AdminDoor {
        room: Arc::new(Semaphore::new(admin.limits.admin_connections_max)),
        shared: Arc::clone(admin),
        tracker: tasks.admin.clone(),
    };
    let listener = UnixListener::from_std(listeners.admin.listener.try_clone()?)?;
    let door = of_admin.clone();
    tasks.accepting.spawn(stop.clone().run_until_cancelled_owned(async move {
        loop {
            let Some((stream, _)) = accepted(listener.accept().await).await else { continue };
            door.take_unix(stream);
        }
    }));
    if let Some(tls) = &admin.tls {
        accept_tls(listeners, tls, (workers, &of_admin), tasks, stop)?;
    }
    Ok(())
}

/// Starts the loops of TLS: who connects shakes hands on another thread, and is served when it has.
fn accept_tls(
    listeners: &Listeners,
    tls: &Arc<Tls>,
    (workers, of_admin): (&Arc<Workers>, &AdminDoor),
    tasks: &Tasks,
    stop: &CancellationToken,
) -> io::Result<()> {
    let shared = &of_admin.shared;
    let allowed = Duration::from_millis(shared.limits.handshake_timeout_ms);
    let (done, mut shaken) = mpsc::unbounded_channel::<Shaken>();
    let queue = handshake::start(allowed, done)?;
    let data = listeners.tls.iter().map(|it| (Side::Data, it));
    let admin = listeners.admin_tls.iter().map(|it| (Side::Admin, it));
    for (side, listener) in data.chain(admin) {
        let listener = TcpListener::from_std(listener.try_clone()?)?;
        let (queue, tls, shared) = (queue.clone(), Arc::clone(tls), Arc::clone(shared));
        tasks.accepting.spawn(stop.clone().run_until_cancelled_owned(async move {
            loop {
                let Some((stream, from)) = accepted(listener.accept().await).await else {
                    continue;
                };
                let Some(handshake) = tls.begin(side, from) else {
                    match side {
                        Side::Data => shared.doors.data.pass(false),
                        Side::Admin => shared.doors.admin.pass(false),
                    }
                    continue;
                };
                if let Some(stream) =
                    usable(stream.set_nodelay(true).and_then(|()| stream.into_std()))
                {
                    // The thread ends only with the daemon.
                    let _ = queue.send(Begun { stream, from, handshake });
                }
            }
        }));
    }
    let (to, door) = (Arc::clone(workers), of_admin.clone());
    tasks.accepting.spawn(stop.clone().run_until_cancelled_owned(async move {
        while let Some(shaken) = shaken.recv().await {
            match shaken.side() {
                Side::Data => {
                    door.shared.doors.data.pass(to.hand_over(Accepted::Tls(Box::new(shaken))));
                }
                Side::Admin => door.take_tls(shaken),
            }
        }
    }));
    Ok(())
}

/// Takes connections of the admin plane, on the control thread.
#[derive(Clone)]
struct AdminDoor {
    /// Places for connections, of all sockets of the plane together.
    room: Arc<Semaphore>,
    shared: Arc<admin::Shared>,
    tracker: TaskTracker,
}

impl AdminDoor {
    fn take_unix(&self, stream: UnixStream) {
        let admitted = match Peer::of_unix(&stream) {
            Ok(peer) => self.shared.gate.admit(Entrance::Admin, peer, self.shared.clock.now()),
            Err(error) => {
                tracing::warn!(%error, "a peer of the admin socket could not be told");
                Err(format!("the kernel does not say who you are: {error}"))
            }
        };
        let door = self.clone();
        let stop = self.shared.stop.clone();
        self.tracker.spawn(async move { door.serve(Box::new(stream), admitted, stop).await });
    }

    fn take_tls(&self, shaken: Shaken) {
        let Some((stream, peer, guest)) = usable(shaken.arrive(&self.shared.stop)) else { return };
        let admitted = self.shared.gate.admit(Entrance::AdminTls, peer, self.shared.clock.now());
        let door = self.clone();
        self.tracker.spawn(async move {
            // What is under way is carried to its end: nothing cancels between store and catalog.
            door.serve(stream, admitted, guest.end()).await;
            drop(guest);
        });
    }

    /// Serves a connection to its end, where there is a place for it. The last quarter is kept for
    /// those who see everything: whoever is bound to a tenant must not lock them out.
    async fn serve(
        &self,
        stream: Box<dyn Transport>,
        admitted: Result<Login, String>,
        stop: CancellationToken,
    ) {
        let shared = &self.shared;
        let place = Arc::clone(&self.room).try_acquire_owned().ok();
        let max = shared.limits.admin_connections_max;
        let kept = self.room.available_permits() < max / 4;
        let may = |admitted: &Result<Login, String>| admitted.as_ref().is_ok_and(Login::is_unbound);
        let Some(place) = place.filter(|_| !kept || may(&admitted)) else {
            shared.doors.admin.pass(false);
            let message = format!("{max} connections are open, the most that is allowed here");
            let told = (ErrorCode::TooManyConnections, message.as_str());
            return admin::turn_away(stream, told, shared).await;
        };
        let inside = shared.doors.admin.enter();
        let serving = admin::serve(stream, admitted, stop, Arc::clone(shared));
        shared.cut.run_until_cancelled(serving).await;
        drop((place, inside));
    }
}

/// An accepted connection. When the system is out of descriptors, accepting pauses: the backlog
/// holds the peers, and a loop that spins would only take the processor too.
pub(super) async fn accepted<T>(accepted: io::Result<T>) -> Option<T> {
    match accepted {
        Ok(accepted) => Some(accepted),
        Err(error) => {
            tracing::warn!(%error, "a connection could not be accepted");
            tokio::time::sleep(Duration::from_millis(50)).await;
            None
        }
    }
}

fn usable<T>(stream: io::Result<T>) -> Option<T> {
    stream.inspect_err(|error| tracing::warn!(%error, "a connection could not be prepared")).ok()
}
