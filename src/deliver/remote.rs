//! Alerts that `keygate deliver` sends: the daemon hands each attempt over a Unix socket and hears
//! what came of it, so that it needs no network and no password of a mail server.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use tokio::net::UnixStream;
use tokio::time::timeout;

use super::frame::{self, Question};
use super::{Outcome, WebhookSecret};
use crate::config::Alerts;
use crate::event::{Alert, Destination};

/// How much longer than the attempt itself its outcome may take.
const GRACE: Duration = Duration::from_secs(5);

/// Has `keygate deliver` make the attempts. One that is away, or of another version, is an attempt
/// that failed and is made again by the schedule: nothing is lost for that.
pub struct Remote {
    socket: PathBuf,
    webhook: Duration,
    sink: Duration,
    mail: Duration,
}

impl Remote {
    /// Hands over to the socket of these settings. They say, too, how long an attempt may take; the
    /// helper has them of the same file.
    #[must_use]
    pub fn new(alerts: &Alerts) -> Self {
        Self {
            socket: alerts.deliver_socket.clone(),
            webhook: Duration::from_millis(alerts.webhook_timeout_ms),
            sink: Duration::from_millis(alerts.sink_timeout_ms),
            mail: Duration::from_millis(alerts.smtp.timeout_ms),
        }
    }

    /// See [`Courier::deliver`](super::Courier::deliver). Dropped, it has the helper give up too.
    pub async fn deliver(
        &self,
        to: &Destination,
        alerts: &[Alert],
        secrets: &[WebhookSecret],
        now_us: i64,
    ) -> Outcome {
        let question = Question { to, alerts, now_us };
        let patience = self.patience(to, alerts.len());
        let why = match timeout(patience, self.attempt(&question, secrets)).await {
            Ok(Ok(outcome)) => return outcome,
            Ok(Err(error)) => error.to_string(),
            Err(_) => format!("it said nothing within {} s", patience.as_secs()),
        };
        let socket = self.socket.display();
        Outcome::Retry { why: format!("keygate deliver at {socket}: {why}; look at its log") }
    }

    async fn attempt(
        &self,
        question: &Question<'_>,
        secrets: &[WebhookSecret],
    ) -> io::Result<Outcome> {
        let mut stream = UnixStream::connect(&self.socket).await?;
        frame::ask(&mut stream, question, secrets).await?;
        frame::answered(&mut stream).await
    }

    /// A mail is one attempt however many alerts it tells of; the others are sent one by one.
    fn patience(&self, to: &Destination, alerts: usize) -> Duration {
        let each = |time: Duration| time * u32::try_from(alerts).unwrap_or(u32::MAX).max(1);
        GRACE
            + match to {
                Destination::Webhook { .. } => each(self.webhook),
                Destination::Sink { .. } => each(self.sink),
                Destination::Email { .. } => self.mail,
            }
    }
}
