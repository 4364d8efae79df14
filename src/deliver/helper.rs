//! The other side of [`Remote`](super::Remote): `keygate deliver`, which has the network and nothing
//! else.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::RwLock;
use tokio::io::AsyncReadExt as _;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::{Courier, Outcome, frame};

/// Attempts at a time: all that a daemon makes with the largest `alerts.attempts_at_once_max`, 1024 for
/// tenants, a quarter of that for the operator and for sinks each, and its tests. More wait in the
/// socket's queue.
const ATTEMPTS_MAX: usize = 1600;
/// How long a question may take to come, and an answer to be taken.
const FRAME_TIMEOUT: Duration = Duration::from_secs(10);
/// How long accepting rests when there are no descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// How long a stop waits for attempts that are under way. What does not end was not delivered, so
/// far as the daemon knows, and is sent again.
const STOP_WAIT: Duration = Duration::from_secs(5);

/// Makes the attempts that it is handed.
pub struct Helper {
    /// Another after a reload; attempts that are under way end with the one that they began with.
    courier: RwLock<Arc<Courier>>,
}

impl Helper {
    /// One that sends by this courier.
    #[must_use]
    pub fn new(courier: Courier) -> Self {
        Self { courier: RwLock::new(Arc::new(courier)) }
    }

    /// Sends by another courier from here on.
    pub fn set(&self, courier: Courier) {
        *self.courier.write() = Arc::new(courier);
    }

    /// Takes questions from whoever can connect, until it is stopped; then what is under way may
    /// end. The socket's mode is what guards it: whoever can connect has mails and web hooks sent.
    pub async fn serve(self: Arc<Self>, listener: UnixListener, stop: CancellationToken) {
        let (attempts, room) = (TaskTracker::new(), Arc::new(Semaphore::new(ATTEMPTS_MAX)));
        let accepting = async {
            // The semaphore is never closed.
            while let Ok(permit) = Arc::clone(&room).acquire_owned().await {
                match listener.accept().await {
                    Ok((stream, _)) => {
                        let helper = Arc::clone(&self);
                        attempts.spawn(async move {
                            if let Err(error) = helper.attempt(stream).await {
                                tracing::warn!(%error, "a question could not be answered");
                            }
                            drop(permit);
                        });
                    }
                    Err(error) => {
                        tracing::warn!(%error, "no connection could be taken");
                        tokio::time::sleep(ACCEPT_PAUSE).await;
                    }
                }
            }
        };
        stop.run_until_cancelled(accepting).await;
        attempts.close();
        if timeout(STOP_WAIT, attempts.wait()).await.is_err() {
            tracing::info!(
                left = attempts.len(),
                "attempts are given up; the daemon makes them again"
            );
        }
    }

    async fn attempt(&self, mut stream: UnixStream) -> io::Result<()> {
        let read = timeout(FRAME_TIMEOUT, frame::asked(&mut stream)).await;
        let outcome = match read.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))? {
            Ok((asked, secrets)) => {
                let courier = Arc::clone(&*self.courier.read());
                let sent = courier.deliver(&asked.to, &asked.alerts, &secrets, asked.now_us);
                tokio::select! {
                    outcome = sent => outcome,
                    // A daemon that has ended, or ceased to wait: nobody would hear the outcome.
                    _ = stream.read_u8() => return Ok(()),
                }
            }
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Err(error),
            // It has not begun, so it may be made again once both sides understand each other.
            Err(error) => Outcome::Retry { why: error.to_string() },
        };
        let answered = timeout(FRAME_TIMEOUT, frame::answer(&mut stream, outcome)).await;
        answered.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))?
    }
}
