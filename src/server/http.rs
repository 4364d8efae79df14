//! The HTTP listener on the control thread: who is let in, and what there is to tell.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::{Mutex, Semaphore};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::accept::accepted;
use super::admin;
use super::daemon::Tasks;
use super::listen::HttpSocket;
use super::scrape::{Parts, Scrape};
use super::store_size::StoreSize;
use crate::admin::Caller;
use crate::config::Listen;
use crate::http::{Bounds, NO_ROOM, Page, Site, serve};
use crate::metrics::Family;

/// What the daemon tells.
struct Told {
    scrape: Arc<Scrape>,
    shared: Arc<admin::Shared>,
    size: Arc<StoreSize>,
    /// One scrape at a time, whose thread holds this: one that hangs keeps no second thread.
    scraping: Arc<Mutex<()>>,
}

impl Site for Told {
    async fn families(&self) -> Option<Vec<Family>> {
        self.size.refresh().await;
        let one = Arc::clone(&self.scraping).lock_owned().await;
        let (scrape, now) = (Arc::clone(&self.scrape), self.shared.clock.now());
        let gather = move || {
            let families = scrape.families(now);
            drop(one);
            families
        };
        // A source that panics costs its scrape and no more.
        tokio::task::spawn_blocking(gather).await.ok()
    }

    fn readiness(&self) -> Page {
        let health = self.shared.health(&Caller::unbound());
        Page::readiness(&health.reasons)
    }
}

/// What every connection needs.
#[derive(Clone)]
struct Lobby {
    told: Arc<Told>,
    room: Arc<Semaphore>,
    bounds: Bounds,
    connections: TaskTracker,
}

/// Starts the accept loop, which ends with `stop`.
pub(super) fn accept(
    socket: &HttpSocket,
    parts: &Parts<'_>,
    tasks: &Tasks,
    stop: &CancellationToken,
) -> io::Result<()> {
    let config = &parts.config.http;
    let lobby = Lobby {
        told: Arc::new(Told {
            scrape: Arc::new(Scrape::of(parts)),
            shared: Arc::clone(parts.shared),
            size: Arc::clone(parts.size),
            scraping: Arc::default(),
        }),
        room: Arc::new(Semaphore::new(config.connections_max)),
        bounds: Bounds {
            header_timeout: Duration::from_millis(config.header_timeout_ms),
            exchange_timeout: Duration::from_millis(config.exchange_timeout_ms),
        },
        connections: tasks.admin.clone(),
    };
    let stop = stop.clone();
    tracing::info!(listen = %config.listen, "metrics and health are told over HTTP");
    if matches!(&config.listen, Listen::Tcp(address) if !address.ip().is_loopback()) {
        tracing::warn!("other machines reach them, in plain text: http.allow_other_hosts says so");
    }
    match socket {
        HttpSocket::Tcp(listener) => {
            let listener = TcpListener::from_std(listener.try_clone()?)?;
            tasks.accepting.spawn(stop.run_until_cancelled_owned(async move {
                loop {
                    let Some((stream, _)) = accepted(listener.accept().await).await else {
                        continue;
                    };
                    lobby.admit(stream, |stream| stream.try_write(NO_ROOM));
                }
            }));
        }
        HttpSocket::Unix(socket) => {
            let listener = UnixListener::from_std(socket.listener.try_clone()?)?;
            tasks.accepting.spawn(stop.run_until_cancelled_owned(async move {
                loop {
                    let Some((stream, _)) = accepted(listener.accept().await).await else {
                        continue;
                    };
                    lobby.admit(stream, |stream| stream.try_write(NO_ROOM));
                }
            }));
        }
    }
    Ok(())
}

impl Lobby {
    /// Serves a connection, where there is room.
    fn admit<I>(&self, stream: I, refuse: impl FnOnce(&I) -> io::Result<usize>)
    where
        I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let shared = &self.told.shared;
        let Ok(place) = Arc::clone(&self.room).try_acquire_owned() else {
            shared.doors.http.pass(false);
            // Whether it arrives is the peer's affair.
            let _ = refuse(&stream);
            return;
        };
        let inside = shared.doors.http.enter();
        let (drain, cut) = (shared.stop.clone(), shared.cut.clone());
        let (told, bounds) = (Arc::clone(&self.told), self.bounds);
        self.connections.spawn(async move {
            cut.run_until_cancelled(serve(stream, told, bounds, drain)).await;
            drop((place, inside));
        });
    }
}
