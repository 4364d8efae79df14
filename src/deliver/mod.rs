//! Sends alerts: to web hooks by Standard Webhooks, to mailboxes by SMTP, to sinks. Moves bytes and
//! decides nothing: what is sent, when it is tried again and what becomes of a destination that is
//! gone is the caller's.
//!
//! Every step has a timeout, so that a destination that is dead holds up the one attempt at it and
//! nothing else. What went wrong is told by host and status; a URL's path and query may hold a token
//! and are not repeated.
//!
//! A [`Courier`] makes the attempts: in the daemon, or in a process of its own ([`Helper`]) to which the
//! daemon hands them over a Unix socket ([`Remote`]).

mod body;
mod digest;
mod frame;
mod helper;
mod journal;
mod lines;
mod mail;
pub mod public;
mod remote;
pub mod resolve;
mod secret;
mod sign;
mod sink;
mod statsd;
mod target;
mod trust;
mod webhook;

use std::collections::BTreeMap;
use std::fmt::Display;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

pub use helper::Helper;
pub use remote::Remote;
pub use resolve::{Resolve, Resolving};
pub use secret::{SecretError, WebhookSecret};

use crate::config::{Alerts, Sink};
use crate::event::{Alert, Destination};
use mail::Mailer;
use sink::Sinks;
use trust::Trust;
use webhook::Webhooks;

/// Sends alerts. There is one for the process; a reload puts another in its place.
pub struct Courier {
    webhooks: Webhooks,
    mail: Mail,
    sinks: Sinks,
}

/// What mails are sent by.
enum Mail {
    /// No mail server is configured.
    Unset,
    /// One is, and what is set of it cannot be used: why.
    Unready(String),
    Ready(Box<Mailer>),
}

/// What became of an attempt. A `why` is one line for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// It was taken.
    Delivered,
    /// It was not, and may be later.
    Retry {
        /// Why not.
        why: String,
    },
    /// The destination says that it is no more (410): nothing is to be sent to it again.
    Gone {
        /// What it said.
        why: String,
    },
    /// It cannot be taken as things stand, however often it is tried: somebody has to change the
    /// destination or the configuration.
    Refused {
        /// What is wrong.
        why: String,
    },
}

impl Outcome {
    /// The same, with its `why` saying where.
    fn of(mut self, place: &dyn Display) -> Self {
        if let Self::Retry { why } | Self::Gone { why } | Self::Refused { why } = &mut self {
            *why = format!("{place}: {why}");
        }
        self
    }
}

/// Why there is no courier; each says what mends it.
#[derive(Debug, thiserror::Error)]
pub enum CourierError {
    /// The file of authorities cannot be read.
    #[error("cannot read alerts.ca_file {}: {error}", path.display())]
    CaFile {
        /// The file.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// It has no certificates, or bad ones.
    #[error("alerts.ca_file {} is not a file of certificates in PEM: {why}", path.display())]
    CaFileForm {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// TLS cannot be set up.
    #[error("TLS for alerts cannot be set up: {0}")]
    Tls(String),
    /// The file of the password cannot be read.
    #[error("cannot read the password of alerts.smtp in {}: {error}", path.display())]
    Password {
        /// The file.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// It is not one line of text.
    #[error("the password of alerts.smtp in {} is not one line of text", path.display())]
    PasswordForm {
        /// The file.
        path: PathBuf,
    },
    /// There is a user name and no password.
    #[error(
        "alerts.smtp has a username and no password: set alerts.smtp.password_file, or pass the \
         systemd credential smtp_password"
    )]
    NoPassword,
    /// The sender of mails is no address.
    #[error("alerts.smtp.from {0:?} is not a mail address")]
    From(String),
}

impl Courier {
    /// A courier of these settings, which must have been checked. It reads the files that they name
    /// and the system's authorities, once.
    ///
    /// # Errors
    /// [`CourierError`].
    pub fn new(alerts: &Alerts, sinks: &BTreeMap<String, Sink>) -> Result<Self, CourierError> {
        let (courier, unready) = Self::with_what_is_ready(alerts, sinks)?;
        unready.map_or(Ok(courier), Err)
    }

    /// The same; but where nothing but mails cannot be sent (a password that is missing), a courier
    /// that sends all else, and why. An attempt to send a mail is then one to be made again.
    ///
    /// # Errors
    /// [`CourierError`], of what all of it needs.
    pub fn with_what_is_ready(
        alerts: &Alerts,
        sinks: &BTreeMap<String, Sink>,
    ) -> Result<(Self, Option<CourierError>), CourierError> {
        let trust = Trust::load(&alerts.ca_file)?;
        let (mail, unready) = match Mailer::new(&alerts.smtp, &trust) {
            Ok(None) => (Mail::Unset, None),
            Ok(Some(mailer)) => (Mail::Ready(Box::new(mailer)), None),
            Err(error) => (Mail::Unready(error.to_string()), Some(error)),
        };
        let sinks = Sinks::new(sinks, Duration::from_millis(alerts.sink_timeout_ms));
        Ok((Self { webhooks: Webhooks::new(alerts, &trust)?, mail, sinks }, unready))
    }

    /// Has hosts of web hooks looked up by another than the system's resolver.
    #[must_use]
    pub fn with_resolver(mut self, resolver: Arc<dyn Resolve>) -> Self {
        self.webhooks.resolver = resolver;
        self
    }

    /// Has the journal at another place than systemd's.
    #[must_use]
    pub fn with_journal(mut self, socket: PathBuf) -> Self {
        self.sinks.journal = socket;
        self
    }

    /// Sends alerts to one destination: by mail as one digest, otherwise one after the other until
    /// one is not taken. So those that were sent before a failure are sent again when the caller
    /// tries again; receivers know them by their ids. A web hook is signed with each of the
    /// `secrets`; nothing else needs them. `now_us` is the time of the attempt, microseconds since
    /// 1970.
    ///
    /// It must be awaited inside a tokio runtime with time and I/O. Dropped, it leaves nothing
    /// running but a line of a file that is being written.
    pub async fn deliver(
        &self,
        to: &Destination,
        alerts: &[Alert],
        secrets: &[WebhookSecret],
        now_us: i64,
    ) -> Outcome {
        if let Destination::Email { address } = to {
            return self.mail(address, alerts).await;
        }
        for alert in alerts {
            let outcome = match to {
                Destination::Webhook { url } => {
                    self.webhooks.post(url, alert, secrets, now_us).await
                }
                Destination::Sink { name } => self.sinks.write(name, alert).await,
                Destination::Email { .. } => continue,
            };
            if outcome != Outcome::Delivered {
                return outcome;
            }
        }
        Outcome::Delivered
    }

    async fn mail(&self, address: &str, alerts: &[Alert]) -> Outcome {
        match &self.mail {
            _ if alerts.is_empty() => Outcome::Delivered,
            Mail::Ready(mailer) => mailer.send(address, alerts).await,
            Mail::Unready(why) => Outcome::Retry { why: why.clone() },
            Mail::Unset => Outcome::Retry {
                why: "no mail server is configured; set alerts.smtp.host".to_owned(),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Compiles where it does: attempts are spawned, and the courier is shared between them.
    #[test]
    fn an_attempt_may_move_between_threads() {
        fn is_send(attempt: impl Future + Send) {
            drop(attempt);
        }
        fn is_shared(_: &(impl Send + Sync)) {}
        let courier = Courier::new(&Alerts::default(), &BTreeMap::new()).expect("a courier");
        is_shared(&courier);
        let to = Destination::Sink { name: "s".to_owned() };
        is_send(courier.deliver(&to, &[], &[], 0));
    }
}
