//! The thread that makes the attempts: several at a time, one at each destination.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::task::{JoinError, JoinHandle, JoinSet};

use super::shared::{Shared, Signal};
use super::{endpoints, signing};
use crate::alert::outbox::Attempt;
use crate::alert::{Outcome, Route};
use crate::config;
use crate::deliver::{self, Courier, CourierError, Remote, WebhookSecret};
use crate::event::{Alert, Destination};
use crate::key::Time;

/// Longest wait for the clock: it may be set forward.
const WAIT_MAX: Duration = Duration::from_secs(1);

/// How long a stop waits for attempts that are under way. What does not end is made again after the
/// next start.
const STOP_WAIT: Duration = Duration::from_secs(2);

/// Longest test of one destination: whoever asked for it waits.
const TEST_WAIT: Duration = Duration::from_secs(20);

/// Tests at a time, of all who ask for one: they are made beside the attempts.
pub(super) const TESTS_MAX: usize = 8;

/// The outcome of an attempt.
pub type Delivery<'a> = Pin<Box<dyn Future<Output = deliver::Outcome> + Send + 'a>>;

/// Makes attempts; in tests, something that only says so.
pub trait Deliver: Send + Sync {
    /// See [`Courier::deliver`].
    fn deliver<'a>(
        &'a self,
        to: &'a Destination,
        alerts: &'a [Alert],
        secrets: &'a [WebhookSecret],
        now_us: i64,
    ) -> Delivery<'a>;
}

/// What makes the attempts by these settings: the helper behind `alerts.deliver_socket`, or a courier of
/// this process. A courier reads the files that the settings name; the daemon reads none of them where
/// there is a helper.
///
/// # Errors
/// [`CourierError`].
pub fn deliverer(
    alerts: &config::Alerts,
    sinks: &BTreeMap<String, config::Sink>,
) -> Result<Arc<dyn Deliver>, CourierError> {
    Ok(if alerts.deliver_socket.as_os_str().is_empty() {
        Arc::new(Courier::new(alerts, sinks)?)
    } else {
        Arc::new(Remote::new(alerts))
    })
}

impl Deliver for Courier {
    fn deliver<'a>(
        &'a self,
        to: &'a Destination,
        alerts: &'a [Alert],
        secrets: &'a [WebhookSecret],
        now_us: i64,
    ) -> Delivery<'a> {
        Box::pin(Self::deliver(self, to, alerts, secrets, now_us))
    }
}

impl Deliver for Remote {
    fn deliver<'a>(
        &'a self,
        to: &'a Destination,
        alerts: &'a [Alert],
        secrets: &'a [WebhookSecret],
        now_us: i64,
    ) -> Delivery<'a> {
        Box::pin(Self::deliver(self, to, alerts, secrets, now_us))
    }
}

/// Makes attempts until it is stopped.
pub(super) async fn run(shared: &Arc<Shared>, mut stopped: oneshot::Receiver<()>) {
    let mut attempts = JoinSet::new();
    loop {
        let now_us = shared.clock.now().wall_us;
        // As many as there are slots.
        loop {
            let Some(attempt) = shared.outbox.lock().take_due(now_us) else { break };
            attempts.spawn(make(Arc::clone(shared), attempt));
        }
        let next_us = shared.outbox.lock().next_due_us();
        let wait = next_us.and_then(|next_us| u64::try_from(next_us.saturating_sub(now_us)).ok());
        let wait = wait.map_or(WAIT_MAX, |us| Duration::from_micros(us).min(WAIT_MAX));
        tokio::select! {
            biased;
            _ = &mut stopped => break,
            Some(_) = attempts.join_next(), if !attempts.is_empty() => {}
            () = shared.wake.notified() => {}
            () = tokio::time::sleep(wait) => {}
        }
    }
    let ended = async { while attempts.join_next().await.is_some() {} };
    let _ = tokio::time::timeout(STOP_WAIT, ended).await;
}

/// Makes one attempt and notes what came of it.
async fn make(shared: Arc<Shared>, attempt: Attempt) {
    let Attempt { route, seqs, alerts } = attempt;
    let settling = Settling { shared: &shared, route: &route, seqs: &seqs };
    let alerts = alerts.iter().map(|alert| (**alert).clone()).collect();
    let outcome = send(&shared, &route, alerts).await;
    let now_us = shared.clock.now().wall_us;
    if let (Outcome::Gone(_), Destination::Webhook { url }) = (&outcome, &route.to) {
        let (of, tenant, url) = (Arc::clone(&shared), route.tenant.clone(), url.clone());
        let noted = move || endpoints::set_disabled(&of, &tenant, &url, Some(now_us)).map(drop);
        if let Ok(Err(error)) = tokio::task::spawn_blocking(noted).await {
            tracing::warn!(%error, "that a web hook wants no more is known until the next start");
        }
    }
    log(&route, seqs.len(), &outcome);
    settling.settle(&outcome);
}

/// An attempt under way. One that fails inside is settled too: its destination would never be tried
/// again otherwise.
struct Settling<'a> {
    shared: &'a Shared,
    route: &'a Route,
    seqs: &'a [u64],
}

impl Settling<'_> {
    fn settle(&self, outcome: &Outcome) {
        let now_us = self.shared.clock.now().wall_us;
        let random = getrandom::u32().unwrap_or_default();
        self.shared.outbox.lock().settle(self.route, self.seqs, outcome, now_us, random);
        self.shared.signal(Signal::Settled);
    }
}

impl Drop for Settling<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.settle(&failed_inside());
        }
    }
}

fn failed_inside() -> Outcome {
    Outcome::Retry("it failed inside; the daemon's log has more".to_owned())
}

/// A task that ends with whoever waits for it.
pub(super) struct Aborting<T>(pub(super) JoinHandle<T>);

impl<T> Aborting<T> {
    pub(super) async fn ended(&mut self) -> Result<T, JoinError> {
        (&mut self.0).await
    }
}

impl<T> Drop for Aborting<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Hands alerts over. A courier that panics has not delivered.
async fn send(shared: &Arc<Shared>, route: &Route, alerts: Vec<Alert>) -> Outcome {
    let courier = Arc::clone(&*shared.courier.read());
    let now_us = shared.clock.now().wall_us;
    let secrets = signing(shared, route, now_us);
    let to = route.to.clone();
    let sent = tokio::spawn(async move { courier.deliver(&to, &alerts, &secrets, now_us).await });
    match Aborting(sent).ended().await {
        Ok(deliver::Outcome::Delivered) => Outcome::Delivered,
        Ok(deliver::Outcome::Retry { why }) => Outcome::Retry(why),
        Ok(deliver::Outcome::Gone { why }) => Outcome::Gone(why),
        Ok(deliver::Outcome::Refused { why }) => Outcome::Refused(why),
        Err(error) => {
            tracing::error!(%error, "an attempt to deliver an alert failed inside");
            failed_inside()
        }
    }
}

fn log(route: &Route, alerts: usize, outcome: &Outcome) {
    let to = name(&route.to);
    match outcome {
        Outcome::Delivered => tracing::debug!(to, alerts, "alerts were delivered"),
        Outcome::Retry(why) => tracing::info!(to, alerts, why, "alerts could not be delivered"),
        Outcome::Gone(why) | Outcome::Refused(why) => {
            tracing::warn!(to, alerts, why, "alerts were refused, and are not sent again");
        }
    }
}

/// A destination for the log: of a URL the host, since the rest may be a secret.
fn name(to: &Destination) -> String {
    match to {
        Destination::Webhook { url } => {
            let host = url::Url::parse(url).ok().and_then(|url| url.host_str().map(str::to_owned));
            format!("web hook at {}", host.unwrap_or_default())
        }
        Destination::Email { address } => format!("mailbox {address}"),
        Destination::Sink { name } => format!("sink {name}"),
    }
}

/// Sends one alert to each destination at once, past what waits.
pub(super) async fn test(
    shared: Arc<Shared>,
    alert: Alert,
    destinations: Vec<Destination>,
) -> Vec<(Destination, Outcome)> {
    let mut tests = Vec::new();
    for to in destinations {
        let (shared, alert, of) = (Arc::clone(&shared), alert.clone(), to.clone());
        let one = tokio::spawn(tokio::time::timeout(TEST_WAIT, async move {
            let _held = shared.tests.acquire().await;
            test_one(&shared, alert, &of).await
        }));
        tests.push((to, Aborting(one)));
    }
    let mut outcomes = Vec::new();
    for (to, mut one) in tests {
        let outcome = match one.ended().await {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(_)) => late(),
            Err(_) => failed_inside(),
        };
        outcomes.push((to, outcome));
    }
    outcomes
}

fn late() -> Outcome {
    Outcome::Retry(format!("there was no answer within {} s", TEST_WAIT.as_secs()))
}

async fn test_one(shared: &Arc<Shared>, alert: Alert, to: &Destination) -> Outcome {
    let route = Route::of(&alert, to);
    if let Destination::Webhook { url } = to {
        let (of, tenant, url) = (Arc::clone(shared), route.tenant.clone(), url.clone());
        if let Some(at_us) = of.endpoints.get(&tenant, &url).and_then(|row| row.disabled_us) {
            let since = Time::from_micros(at_us);
            let why = format!(
                "nothing was sent: it wants no more since {since} (410); `keygate alert enable` \
                 has it tried again"
            );
            return Outcome::Refused(why);
        }
        let made = move || endpoints::secrets(&of, &tenant, &url, None).map(drop);
        if let Ok(Err(error)) = tokio::task::spawn_blocking(made).await {
            return Outcome::Retry(format!("it has no secret: {error}"));
        }
    }
    let outcome = send(shared, &route, vec![alert]).await;
    if outcome == Outcome::Delivered {
        shared.hurry(Some(&route));
    }
    outcome
}
