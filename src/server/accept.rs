//! The accept loops, on the control thread: who connects is handed to a worker, or served here where
//! it is the admin socket.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use keygate_protocol::ErrorCode;
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::admin::{self, Transport};
use super::admit::{Entrance, Login, Peer};
use super::daemon::Tasks;
use super::listen::Listeners;
use super::tls::{Side, Tls, certificate_of};
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
    let Some(tls) = &admin.tls else { return Ok(()) };
    for listener in &listeners.tls {
        let listener = TcpListener::from_std(listener.try_clone()?)?;
        let (to, door, tls) = (Arc::clone(workers), Arc::clone(&admin.doors.data), Arc::clone(tls));
        tasks.accepting.spawn(stop.clone().run_until_cancelled_owned(async move {
            loop {
                let Some((stream, from)) = accepted(listener.accept().await).await else {
                    continue;
                };
                let Some(handshake) = tls.begin(Side::Data) else {
                    door.pass(false);
                    continue;
                };
                if let Some(stream) =
                    usable(stream.set_nodelay(true).and_then(|()| stream.into_std()))
                {
                    door.pass(to.hand_over(Accepted::Tls(stream, from, handshake)));
                }
            }
        }));
    }
    for listener in &listeners.admin_tls {
        let listener = TcpListener::from_std(listener.try_clone()?)?;
        let (door, tls) = (of_admin.clone(), Arc::clone(tls));
        tasks.accepting.spawn(stop.clone().run_until_cancelled_owned(async move {
            loop {
                let Some((stream, from)) = accepted(listener.accept().await).await else {
                    continue;
                };
                if usable(stream.set_nodelay(true)).is_some() {
                    door.take_tls(stream, from, &tls);
                }
            }
        }));
    }
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
        self.tracker.spawn(async move { door.serve(Box::new(stream), admitted).await });
    }

    /// Shakes hands first: until then nobody knows who it is.
    fn take_tls(&self, stream: TcpStream, from: SocketAddr, tls: &Arc<Tls>) {
        let Some(handshake) = tls.begin(Side::Admin) else {
            return self.shared.doors.admin.pass(false);
        };
        let door = self.clone();
        self.tracker.spawn(async move {
            let allowed = Duration::from_millis(door.shared.limits.handshake_timeout_ms);
            let shaken = tokio::select! {
                shaken = timeout(allowed, handshake.shake(stream)) => shaken,
                () = door.shared.stop.cancelled() => return,
            };
            let stream = match shaken {
                Ok(Ok(stream)) => stream,
                Ok(Err(error)) => {
                    return tracing::debug!(%from, %error, "a TLS handshake failed");
                }
                Err(_) => return handshake.timed_out(),
            };
            drop(handshake);
            let shown = certificate_of(&stream);
            let peer = shown.map_or(Peer::Address(from), |shown| Peer::Certificate(shown, from));
            let now = door.shared.clock.now();
            let admitted = door.shared.gate.admit(Entrance::AdminTls, peer, now);
            door.serve(stream, admitted).await;
        });
    }

    /// Serves a connection to its end, where there is a place for it. The last quarter is kept for
    /// those who see everything: whoever is bound to a tenant must not lock them out.
    async fn serve(&self, stream: Box<dyn Transport>, admitted: Result<Login, String>) {
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
        let serving = admin::serve(stream, admitted, Arc::clone(shared));
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
