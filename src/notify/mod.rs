//! Alerts on their way: found by one thread, sent by another, and in the store in between.
//!
//! [`crate::alert`] decides; here figures are read, rows written and attempts made. The `monitor`
//! (thread `keygate-alerts`) looks once a second at the keys that have moved, and alone writes. What
//! it finds, `making` writes in one batch with the fact that it was found, and puts into the outbox.
//! The `sender` (thread `keygate-outbox`) makes the attempts. `endpoints` has the web hooks' secrets.
//!
//! Invariants:
//! 1. An alert and the state that says that it was made are on disk together, before its first
//!    attempt: a crash makes none twice and loses none. Where the store takes no writes they are in
//!    memory alone.
//! 2. A row goes after its alert was taken or has been given up for a time: what a crash comes
//!    between is sent again, under the same id.
//! 3. Nothing here is waited for by a decision, or by a change: [`Notifier`]'s hooks hand over and
//!    return. What they have no room for is found by a walk over all records.

mod endpoints;
mod making;
mod monitor;
mod sender;
mod settings;
mod shared;
mod source;
#[cfg(test)]
mod tests;
mod watched;

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;

use crossbeam::channel::Sender;
use parking_lot::Mutex;

pub use endpoints::{EndpointError, ShownSecret};
use sender::Aborting;
pub use sender::{Deliver, Delivery, deliverer};
pub use settings::Settings;
pub use source::Source;

use crate::alert::{Entry, Outcome, Route, rules};
use crate::deliver::WebhookSecret;
use crate::event::{Alert, AlertKind, Destination, Event, Journal, Subject, What};
use crate::key::KeyRecord;
use crate::store::{CommitError, Write};
use making::new_alert;
use monitor::Monitor;
use shared::{Shared, Signal, StoppedKey};

/// Alerts that are looked at for one page of the list.
const LIST_LOOKS_MAX: usize = 10_000;

/// Told which keys' figures have moved, on the thread that writes them: it must not wait.
pub trait Moved: Send + Sync {
    /// These have moved since the last call.
    fn moved(&self, ids: &[u64]);
}

/// Figures of alerts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Stats {
    /// Alerts that wait for their delivery, each destination counted by itself.
    pub waiting: u64,
    /// Alerts that were given up and are still kept.
    pub failed_kept: u64,
    /// Alerts that were delivered since the start.
    pub delivered: u64,
    /// Alerts that were given up since the start.
    pub failed: u64,
    /// Attempts that failed since the start and are made again.
    pub retried: u64,
    /// Alerts that were put out since the start because too many waited.
    pub put_out: u64,
    /// Keys that somebody is told about.
    pub watched: u64,
}

/// Finds alerts and has them delivered.
pub struct Notifier {
    shared: Arc<Shared>,
    /// What the monitor's thread begins with, until it is started.
    monitor: Mutex<Option<Monitor>>,
    threads: Mutex<Option<Threads>>,
}

struct Threads {
    monitor: JoinHandle<()>,
    sender: JoinHandle<()>,
    stop_sender: tokio::sync::oneshot::Sender<()>,
    runtime: tokio::runtime::Handle,
    signals: Sender<Signal>,
}

impl Notifier {
    /// Reads what the store has of alerts. Nothing is looked for and nothing sent before
    /// [`Notifier::start`].
    ///
    /// # Errors
    /// Those of reading; a row that cannot be read is logged and left where it is.
    pub fn open(
        source: Source,
        settings: Settings,
        courier: Arc<dyn Deliver>,
    ) -> Result<Self, CommitError> {
        let (shared, signals) = Shared::open(source, settings, courier)?;
        let shared = Arc::new(shared);
        let monitor = Monitor::open(Arc::clone(&shared), signals)?;
        let (monitor, threads) = (Mutex::new(Some(monitor)), Mutex::new(None));
        Ok(Self { shared, monitor, threads })
    }

    /// Starts to look and to send.
    ///
    /// # Errors
    /// The system gives no thread or runtime.
    pub fn start(&self) -> io::Result<()> {
        let Some(monitor) = self.monitor.lock().take() else { return Ok(()) };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let handle = runtime.handle().clone();
        let (stop_sender, stopped) = tokio::sync::oneshot::channel();
        let shared = Arc::clone(&self.shared);
        let thread = |name: &str| std::thread::Builder::new().name(name.to_owned());
        let sender = thread("keygate-outbox").spawn(move || {
            runtime.block_on(sender::run(&shared, stopped));
            // A lookup or a disk that hangs is left behind: a stop does not wait for it.
            runtime.shutdown_background();
        })?;
        let monitor = thread("keygate-alerts").spawn(move || monitor.run())?;
        let signals = self.shared.signals.clone();
        let threads = Threads { monitor, sender, stop_sender, runtime: handle, signals };
        *self.threads.lock() = Some(threads);
        Ok(())
    }

    /// Ends both threads; what waits is in the store. Before the committer is stopped.
    pub fn stop(&self) {
        let Some(threads) = self.threads.lock().take() else { return };
        drop(threads.stop_sender);
        let _ = threads.sender.join();
        // Its last act is to write what has become of what was sent.
        let _ = threads.signals.send(Signal::Stop);
        let _ = threads.monitor.join();
    }

    /// Has the secret of every web hook be under the present master key. Waits for the disk.
    ///
    /// # Errors
    /// Of the store. What was not renewed then goes on opening as long as the other key is there.
    pub fn renew_secrets(&self) -> Result<(), CommitError> {
        self.shared.endpoints.renew(&self.shared.committer, &self.shared.vault)
    }

    /// Whether one of the threads has ended though nobody has stopped it: no alert is found, or none is
    /// sent, until the daemon is started again.
    #[must_use]
    pub fn has_failed(&self) -> bool {
        let ended = |it: &Threads| it.monitor.is_finished() || it.sender.is_finished();
        self.threads.lock().as_ref().is_some_and(ended)
    }

    /// Other settings, and what sends by them. What has failed is tried by them now.
    pub fn set(&self, settings: Settings, courier: Arc<dyn Deliver>) {
        self.shared.outbox.lock().set_bounds(settings.bounds());
        *self.shared.settings.write() = settings;
        *self.shared.courier.write() = courier;
        self.shared.hurry(None);
    }

    /// Has every alert told to a journal too, when it is made. Once, before the start.
    pub fn tell(&self, journal: Arc<dyn Journal>) {
        let _ = self.shared.journal.set(journal);
    }

    /// Where the total of verdicts on tokens that are no key's is read. Once, before the start.
    pub fn count_unknown(&self, total: impl Fn() -> u64 + Send + Sync + 'static) {
        let _ = self.shared.unknown_total.set(Box::new(total));
    }

    /// Audit records cannot be taken, for this reason; told once until [`Notifier::audit_works`].
    pub fn audit_failing(&self, why: String) {
        let mut audit = self.shared.audit.lock();
        audit.failing = true;
        audit.why = Some(why);
    }

    /// They are taken again.
    pub fn audit_works(&self) {
        let mut audit = self.shared.audit.lock();
        audit.failing = false;
        audit.ended = true;
    }

    /// A key was changed from one record to the other: if it was revoked or suspended by that,
    /// somebody is told, whatever becomes of it in the next moment. Before the journal is told.
    pub fn key_changed(&self, before: &KeyRecord, after: &KeyRecord) {
        let stopped = rules::stopped(&after.view());
        let Some((what, at_us)) = stopped.filter(|_| stopped != rules::stopped(&before.view()))
        else {
            return;
        };
        let mut to = rules::destinations(after);
        let before = rules::destinations(before).into_iter();
        to.extend(before.filter(|it| !to.contains(it)).collect::<Vec<_>>());
        if to.is_empty() || after.deleted_at.is_some() {
            return;
        }
        let (id, tenant) = (after.id, after.tenant_id.clone());
        let name = rules::told_name(after).to_owned();
        self.shared.signal(Signal::Stopped(Box::new(StoppedKey {
            id,
            tenant,
            name,
            what,
            at_us,
            to,
        })));
    }

    /// What removes the endpoints of a tenant; [`Notifier::forget_endpoints`] follows it.
    #[must_use]
    pub fn endpoint_removals(&self, tenant: &str) -> Vec<Write> {
        let urls = self.shared.endpoints.urls_of(tenant);
        urls.iter().map(|url| Write::remove_endpoint(tenant, url)).collect()
    }

    /// The endpoints of a tenant are removed.
    pub fn forget_endpoints(&self, tenant: &str) {
        let writing = self.shared.endpoints.write();
        for url in self.shared.endpoints.urls_of(tenant) {
            writing.remove(&(tenant.to_owned(), url));
        }
    }

    /// Figures.
    #[must_use]
    pub fn stats(&self) -> Stats {
        let outbox = self.shared.outbox.lock();
        let ((waiting, failed), counts) = (outbox.sizes(), outbox.counts());
        Stats {
            waiting: waiting as u64,
            failed_kept: failed as u64,
            delivered: counts.delivered,
            failed: counts.failed,
            retried: counts.retried,
            put_out: counts.put_out,
            watched: self.shared.watched.load(Ordering::Relaxed),
        }
    }

    /// What waits, was given up or was delivered of late, by number after one, as far as it is
    /// wanted; at most so many. Also after which the next page begins, if there may be another: for a
    /// page a bounded number is looked at, so that it may be short, or empty.
    pub fn page(
        &self,
        after: Option<u64>,
        most: usize,
        wanted: impl Fn(&Entry) -> bool,
    ) -> (Vec<Entry>, Option<u64>) {
        let outbox = self.shared.outbox.lock();
        let (mut page, mut last) = (Vec::new(), None);
        for (looks, entry) in outbox.list(after).enumerate() {
            if page.len() == most || looks == LIST_LOOKS_MAX {
                return (page, last);
            }
            last = Some(entry.seq);
            if wanted(entry) {
                page.push(entry.clone());
            }
        }
        (page, None)
    }

    /// Where daemon-wide alerts go.
    #[must_use]
    pub fn operator(&self) -> Vec<Destination> {
        self.shared.settings.read().operator.clone()
    }

    /// Sends a test to these destinations at once, past what waits for them, and answers what came
    /// of it; an attempt ends by the timeouts of its kind. It is tried once and not kept.
    ///
    /// # Errors
    /// The daemon is stopping, or the system's random source fails.
    pub async fn test(
        &self,
        subject: Subject,
        name: &str,
        destinations: Vec<Destination>,
    ) -> Result<(Alert, Vec<(Destination, Outcome)>), EndpointError> {
        let runtime = self.threads.lock().as_ref().map(|threads| threads.runtime.clone());
        let runtime = runtime.ok_or(EndpointError::Stopping)?;
        let summary = "this is a test: alerts that concern you will come this way".to_owned();
        let now_us = self.shared.clock.now().wall_us;
        let alert = new_alert(AlertKind::Test, subject, name, summary, now_us)?;
        let shared = Arc::clone(&self.shared);
        let tested = alert.clone();
        let sent = runtime.spawn(async move { sender::test(shared, tested, destinations).await });
        Ok((alert, Aborting(sent).ended().await.map_err(|_| EndpointError::Stopping)?))
    }

    /// The secrets of a web hook, made now if it has none; with an overlap, another from here on. May
    /// wait for the disk.
    ///
    /// # Errors
    /// [`EndpointError`].
    pub fn secrets(
        &self,
        tenant: &str,
        url: &str,
        rotate_overlap_us: Option<i64>,
    ) -> Result<Vec<ShownSecret>, EndpointError> {
        endpoints::secrets(&self.shared, tenant, url, rotate_overlap_us)
    }

    /// Sends to a web hook again that had said that it wants no more; answers since when it had. May
    /// wait for the disk.
    ///
    /// # Errors
    /// [`EndpointError`].
    pub fn enable(&self, tenant: &str, url: &str) -> Result<Option<i64>, EndpointError> {
        let before = endpoints::enable(&self.shared, tenant, url)?;
        let to = Destination::Webhook { url: url.to_owned() };
        for operator in [false, true] {
            let route = Route { operator, tenant: tenant.to_owned(), to: to.clone() };
            self.shared.hurry(Some(&route));
        }
        Ok(before)
    }

    /// Since when nothing is sent to a web hook, because it said that it wants no more.
    #[must_use]
    pub fn disabled_us(&self, tenant: &str, to: &Destination) -> Option<i64> {
        let Destination::Webhook { url } = to else { return None };
        self.shared.endpoints.get(tenant, url)?.disabled_us
    }
}

impl Drop for Notifier {
    fn drop(&mut self) {
        self.stop();
    }
}

impl Moved for Notifier {
    fn moved(&self, ids: &[u64]) {
        if !ids.is_empty() && self.shared.watches_figures.load(Ordering::Relaxed) {
            self.shared.signal(Signal::Moved(ids.to_vec()));
        }
    }
}

impl Journal for Notifier {
    fn note(&self, event: &Event) {
        let What::Change(change) = &event.what else { return };
        let signal = match &change.subject {
            Subject::Key { id, .. } => {
                if change.after.get("webhook_url").is_some() {
                    self.shared.hooks_set.lock().insert(*id);
                }
                Signal::Changed { id: *id, status_set: change.action == "set_status" }
            }
            Subject::Daemon if change.action == "import" => Signal::Walk,
            Subject::Daemon | Subject::Tenant { .. } | Subject::Configuration => return,
        };
        self.shared.signal(signal);
    }
}

/// The secrets that sign what goes a way now.
fn signing(shared: &Shared, route: &Route, now_us: i64) -> Vec<WebhookSecret> {
    let Destination::Webhook { url } = &route.to else { return Vec::new() };
    shared.endpoints.signing(&shared.vault, &route.tenant, url, now_us)
}
