//! The accept loops, on the control thread: who connects is handed to a worker, or served here where
//! it is the admin socket.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, UnixListener, UnixStream};
use tokio_util::sync::CancellationToken;

use super::admin;
use super::admit::sees_everything;
use super::daemon::Tasks;
use super::listen::Listeners;
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
                let Some((stream, _)) = accepted(listener.accept().await).await else { continue };
                // Replies leave at once: a small one must not wait for an acknowledgement.
                if let Some(stream) =
                    usable(stream.set_nodelay(true).and_then(|()| stream.into_std()))
                {
                    door.pass(to.hand_over(Accepted::Tcp(stream)));
                }
            }
        }));
    }
    let listener = UnixListener::from_std(listeners.admin.listener.try_clone()?)?;
    let room = Arc::new(tokio::sync::Semaphore::new(admin.limits.admin_connections_max));
    let (admin, of_admin) = (Arc::clone(admin), tasks.admin.clone());
    tasks.accepting.spawn(stop.clone().run_until_cancelled_owned(async move {
        loop {
            let Some((stream, _)) = accepted(listener.accept().await).await else { continue };
            let place = Arc::clone(&room).try_acquire_owned().ok();
            let left = room.available_permits();
            match place.filter(|_| may_take_place(left, &stream, &admin)) {
                Some(place) => {
                    let inside = admin.doors.admin.enter();
                    let admin = Arc::clone(&admin);
                    of_admin.spawn(async move {
                        let cut = admin.cut.clone();
                        cut.run_until_cancelled(admin::serve(stream, admin)).await;
                        drop((place, inside));
                    });
                }
                None => {
                    admin.doors.admin.pass(false);
                    if let Some(stream) = usable(stream.into_std()) {
                        Accepted::Unix(stream).refuse(admin.limits.admin_connections_max);
                    }
                }
            }
        }
    }));
    Ok(())
}

/// Whether a peer may take a place on the admin socket that leaves so many. The last quarter is kept
/// for those who see everything: whoever is bound to a tenant must not lock them out.
fn may_take_place(left: usize, stream: &UnixStream, admin: &admin::Shared) -> bool {
    let kept = admin.limits.admin_connections_max / 4;
    left >= kept || sees_everything(stream, &admin.rights)
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
