//! The daemon as a whole: started in order, stopped in the opposite order.

use std::io;
use std::path::PathBuf;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::accept::accept;
use super::admit::Gate;
use super::deferred::{Debits, Desk};
use super::doors::Doors;
use super::flush::{Flusher, IdBounds};
use super::journals::{Journals, open_audit};
use super::keyring::{Keyring, KeyringError};
use super::listen::{ListenError, Listeners};
use super::loading::{load_keys, load_replays, open_keys, open_ledger};
use super::observe::{Observers, Plane};
use super::recorder::Recorder;
use super::refusals::Refusals;
use super::reload::{self, Reload};
use super::replays;
use super::scrape::Parts;
use super::store_size::StoreSize;
use super::supervisor::{self, Vitals};
use super::tls::{Material, Tls, TlsError};
use super::watchers::{Bounds, Watchers};
use super::worker::Workers;
use super::{admin, connection, http, retention, tenants};
use crate::admin::{Admin, AdminError, Origin};
use crate::clock::{Clock, SystemClock};
use crate::config::{Config, ConfigError, Source};
use crate::deliver::CourierError;
use crate::engine::{CatalogError, Engine, EngineLimits};
use crate::key::Pepper;
use crate::key::token::{BrandError, Prefixes};
use crate::ledger::Ledger;
use crate::notify::{self, Moved, Notifier};
use crate::store::{
    self, CommitError, Committer, CommitterOptions, Keys, StoreError, StoreOptions,
};

/// Descriptors beside those of connections: the store, listeners, runtimes, the log.
const DESCRIPTORS_OF_ITS_OWN: u64 = 64;

/// Why the daemon does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A setting is out of its bounds.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The tokens' brand cannot be used.
    #[error("token_brand: {0}")]
    Brand(#[from] BrandError),
    /// The store cannot be opened.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The pepper or the master key cannot be had.
    #[error(transparent)]
    Keyring(#[from] KeyringError),
    /// What the last run had begun cannot be gone on with.
    #[error(transparent)]
    Resume(#[from] AdminError),
    /// The first write failed.
    #[error(transparent)]
    Commit(#[from] CommitError),
    /// The keys do not fit.
    #[error(transparent)]
    Catalog(#[from] CatalogError),
    /// The key of the audit log cannot be had.
    #[error(transparent)]
    AuditKey(#[from] crate::audit::key::KeyError),
    /// The audit log cannot be opened.
    #[error(
        "cannot open the audit log {}: {error}; audit.dir places it, and audit.enabled = false does \
         without it", dir.display()
    )]
    Audit {
        /// Its directory.
        dir: PathBuf,
        /// The system's answer.
        error: io::Error,
    },
    /// Alerts cannot be sent as the configuration says.
    #[error(transparent)]
    Courier(#[from] CourierError),
    /// TLS cannot be had.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// A socket cannot be had.
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// The system gives no threads or descriptors.
    #[error("cannot start: {0}")]
    System(#[from] io::Error),
}

/// A daemon that is ready to serve.
pub struct Daemon {
    config: Config,
    source: Source,
    listeners: Listeners,
    clock: Arc<dyn Clock>,
    engine: Arc<Engine>,
    keys: Keys,
    committer: Arc<Committer>,
    flusher: Flusher,
    ledger: Arc<Ledger>,
    notifier: Arc<Notifier>,
    unreadable: u64,
    origin: Origin,
    keyring: Keyring,
    journals: Journals,
    tls: Option<Arc<Tls>>,
}

impl Daemon {
    /// Opens sockets and store and loads every key. Nothing is accepted yet: whoever connects
    /// waits in the socket's queue. `source` is what `config` was read from, for a reload.
    ///
    /// # Errors
    /// [`StartError`], with what mends it.
    pub fn open(config: Config, source: Source) -> Result<Self, StartError> {
        config.check()?;
        let prefixes = Prefixes::new(&config.token_brand)?;
        // Whatever this process makes is its owner's alone, until its mode is widened.
        rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o077));
        raise_descriptor_limit(&config);
        let clock: Arc<dyn Clock> = Arc::new(SystemClock::default());
        let options = StoreOptions { cache_bytes: config.store.cache_bytes };
        let store = store::open(config.store.engine, &config.data_dir, &options)?;
        let tls = Material::load(&config.tls)?;
        let tls = tls.map(|material| {
            Arc::new(Tls::new(material, config.limits.handshakes_max, Arc::clone(&clock)))
        });
        let listeners = Listeners::open(&config)?;
        let keyring = Keyring::of(&config.data_dir);
        let (keys, pepper, vault) = open_keys(&keyring, store)?;
        let options = CommitterOptions {
            queue_jobs_max: config.store.commit_queue_max,
            ..CommitterOptions::default()
        };
        let committer = Arc::new(Committer::start_timed(&keys, &options, Arc::clone(&clock))?);
        let limits = &config.limits;
        let window_us = micros(limits.increment_id_window_ms);
        let engine = Arc::new(Engine::new(
            Pepper::clone(&pepper),
            prefixes,
            EngineLimits {
                keys_max: limits.keys_max,
                expiry_warning_us: reload::live(&config).expiry_warning_us,
                increment_id_window_us: window_us,
                increment_ids_max: limits.increment_ids_max,
                slots_max: limits.slots_max,
                usage_history: config.usage.history,
                usage_detail_bytes_max: config.usage.detail_bytes_max,
            },
        ));
        engine.set_vault(vault);
        if let Some(throttle) = config.throttle.table() {
            engine.set_throttle(throttle);
        }
        engine.number_slots_from(getrandom::u64().map_err(io::Error::other)? >> 2);
        engine.set_rules(Arc::new(config.rules()));
        engine.set_deny_rotation_overdue(config.keys.deny_rotation_overdue);
        let unreadable =
            tenants::load(&engine, &keys, clock.now())? + load_keys(&engine, &keys, &*clock)?;
        reload::log_unknown(&engine);
        let flusher = Flusher::restore(
            Arc::clone(&engine),
            &keys,
            Arc::clone(&committer),
            Arc::clone(&clock),
            IdBounds { window_us, ids_max: limits.increment_ids_max },
        )?;
        let unavailable = reload::unavailable(&config.ledger);
        let (ledger, unreadable_accounts, crashed) =
            open_ledger(&engine, &keys, &committer, &clock, unavailable)?;
        load_replays(&engine, &config, &keys, &committer, crashed, &*clock)?;
        let unreadable = unreadable + unreadable_accounts;
        tracing::info!(keys = engine.key_count(), unreadable, "the keys are loaded");
        let source_of_alerts = notify::Source {
            engine: Arc::clone(&engine),
            keys: keys.clone(),
            committer: Arc::clone(&committer),
            clock: Arc::clone(&clock),
        };
        let courier = notify::deliverer(&config.alerts, &config.sinks)?;
        let settings = notify::Settings::new(&config.alerts);
        let notifier = Arc::new(Notifier::open(source_of_alerts, settings, courier)?);
        let origin = Origin { engine: config.store.engine };
        let failing = Arc::downgrade(&notifier);
        let tell_failing = move |why: Option<String>| match (failing.upgrade(), why) {
            (Some(notifier), Some(why)) => notifier.audit_failing(why),
            (Some(notifier), None) => notifier.audit_works(),
            (None, _) => {}
        };
        let audit = open_audit(&config, &engine, &clock, Box::new(tell_failing))?;
        let limits = &config.limits;
        let watchers = Watchers::new(Bounds {
            events_max: limits.watch_events_max,
            watchers_max: limits.watchers_max,
            denials_per_second_max: config.audit.denials_per_second_max,
        });
        let mut journals = Journals { audit, watchers: Arc::new(watchers), alerts: None };
        // Before it is one of them: an alert is told to the others, and makes no alert.
        notifier.tell(journals.of_changes());
        journals.alerts = Some(Arc::clone(&notifier));
        Ok(Self {
            config,
            source,
            listeners,
            clock,
            engine,
            keys,
            committer,
            flusher,
            ledger: Arc::new(ledger),
            notifier,
            unreadable,
            origin,
            keyring,
            journals,
            tls,
        })
    }

    /// Where the data and the admin socket stand: those that systemd passed, or those made here.
    #[must_use]
    pub fn sockets(&self) -> (PathBuf, PathBuf) {
        (self.listeners.data.path.clone(), self.listeners.admin.path.clone())
    }

    /// The operations of the admin socket, for a caller in this process.
    #[must_use]
    pub fn admin(&self) -> Arc<Admin> {
        let admin = Admin::new(
            Arc::clone(&self.engine),
            self.keys.clone(),
            Arc::clone(&self.committer),
            Arc::clone(&self.clock),
            retention::life_rules(&self.config.keys),
        );
        let admin = admin.with_ledger(Arc::clone(&self.ledger));
        let admin = admin.with_journal(self.journals.of_changes());
        let admin = admin.with_notifier(Arc::clone(&self.notifier));
        let admin = admin.with_secret_files(Arc::new(self.keyring.clone()));
        Arc::new(admin.with_origin(self.origin.clone()))
    }

    /// What reads the configuration again, for the operations of [`Daemon::admin`].
    #[must_use]
    pub fn reload(&self, admin: &Arc<Admin>) -> Arc<Reload> {
        let reload = Reload::new(self.source.clone(), Arc::clone(admin), self.config.clone());
        Arc::new(reload.with_tls(self.tls.clone()))
    }

    /// Serves until `stop` is cancelled; then stops accepting, answers what was read, flushes.
    /// `ready` is called once everything accepts.
    ///
    /// # Errors
    /// [`StartError::System`] when threads or descriptors cannot be had, [`StartError::Commit`]
    /// and [`StartError::Store`] when the last flush failed.
    pub async fn run(
        self,
        admin: Arc<Admin>,
        reload: Arc<Reload>,
        stop: CancellationToken,
        ready: impl FnOnce(),
    ) -> Result<(), StartError> {
        let Self {
            config,
            listeners,
            clock,
            engine,
            keys,
            committer,
            flusher,
            ledger,
            notifier,
            unreadable,
            journals,
            tls,
            ..
        } = self;
        let starting = Arc::clone(&ledger);
        let ending = Arc::clone(&engine);
        // Before anything is served: from here on what ends without a clean stop is a crash.
        tokio::task::spawn_blocking(move || starting.start()).await.map_err(io::Error::other)??;
        replays::remove(&config.data_dir)?;
        let interval = Duration::from_millis(config.store.usage_flush_interval_ms);
        let debits = Arc::clone(&ledger) as Arc<dyn Debits>;
        let flusher = flusher.telling(Arc::clone(&notifier) as Arc<dyn Moved>);
        let flush_timing = flusher.timing();
        let observers = Arc::new(Observers::with(Recorder::new(journals.clone())));
        let flush = flusher.start(interval, Arc::clone(&debits), Arc::clone(&observers))?;
        // Cancelled after `stop`: admin connections end once nothing new is accepted.
        let drain = CancellationToken::new();
        // Cancelled at the stop's deadline: whoever has not ended by then is dropped.
        let cut = CancellationToken::new();
        let threads = match config.threads {
            0 => std::thread::available_parallelism().map_or(1, usize::from),
            threads => threads,
        };
        let desk = Desk::new(debits);
        let seen = Arc::clone(&observers);
        notifier.count_unknown(move || seen.unknown());
        notifier.start()?;
        let refused = config.audit.denials_per_second_max;
        let refusals = Refusals::new(refused, journals.of_changes());
        let gate = Arc::new(Gate::new(&config, refusals));
        let workers = Workers::start(threads, &cut, || connection::Shared {
            gate: Arc::clone(&gate),
            engine: Arc::clone(&engine),
            clock: Arc::clone(&clock),
            limits: config.limits.clone(),
            answers: std::cell::RefCell::default(),
            desk: Arc::clone(&desk),
            observer: observers.add(),
        })?;
        let workers = Arc::new(workers);
        let open = Arc::downgrade(&workers);
        let shared = Arc::new(admin::Shared {
            admin,
            reload,
            engine,
            desk,
            observer: observers.add_on(Plane::Admin),
            observers,
            doors: Doors::default(),
            clock: Arc::clone(&clock),
            limits: config.limits.clone(),
            gate: Arc::clone(&gate),
            tls,
            unreadable,
            audit: journals.audit.clone(),
            watchers: Arc::clone(&journals.watchers),
            data_connections: Box::new(move || open.upgrade().map_or(0, |open| open.open())),
            stop: drain.clone(),
            cut: cut.clone(),
        });
        let tasks = Tasks { accepting: TaskTracker::new(), admin: TaskTracker::new() };
        // Before anything is accepted: a backup that waits in the queue must not come first.
        let rotating = Arc::clone(&shared.admin);
        let resumed = Arc::clone(&rotating);
        tokio::task::spawn_blocking(move || resumed.resume_rotations())
            .await
            .map_err(io::Error::other)??;
        accept(&listeners, &workers, &shared, &tasks, &stop)?;
        if let Some(socket) = &listeners.http {
            let parts = Parts {
                config: &config,
                shared: &shared,
                size: &StoreSize::new(keys),
                committer: &committer,
                ledger: &ledger,
                flush: &flush_timing,
                audit: journals.audit.as_ref(),
                notifier: &notifier,
            };
            http::accept(socket, &parts, &tasks, &stop)?;
        }
        let purges = retention::keep(Arc::clone(&shared.admin), stop.clone());
        tasks.admin.spawn(cut.clone().run_until_cancelled_owned(purges));
        let kept = replays::keep(Arc::clone(&ending), Arc::clone(&committer), Arc::clone(&clock));
        tasks.accepting.spawn(stop.clone().run_until_cancelled_owned(kept));
        let ticks = tick(Arc::clone(&workers), tick_period(&config));
        tasks.accepting.spawn(stop.clone().run_until_cancelled_owned(ticks));
        let vitals = Vitals { workers: Arc::clone(&workers), committer: Arc::clone(&committer) };
        let watch = supervisor::watch(vitals);
        tasks.accepting.spawn(stop.clone().run_until_cancelled_owned(watch));
        supervisor::ready();
        ready();
        stop.cancelled().await;
        supervisor::stopping();
        tracing::info!("stopping: what was read is answered, then everything is flushed");
        // No socket file stays behind that nobody answers on.
        drop(listeners);
        drain.cancel();
        let mut ended = pin!(tasks.end(workers));
        let deadline = Duration::from_millis(config.limits.stop_deadline_ms);
        if tokio::time::timeout(deadline, &mut ended).await.is_err() {
            tracing::warn!("the stop took longer than stop_deadline_ms; connections are dropped");
            // Nothing may be counted after the last flush. It takes no time: nobody is waited for.
            cut.cancel();
            ended.await;
        }
        let data_dir = config.data_dir.clone();
        let flushed = tokio::task::spawn_blocking(move || {
            rotating.stop_rotation();
            let flushed = flush.stop();
            // Before the ledger says that this was a clean stop: with what is not written, the next
            // start does without.
            if let Err(error) = replays::save(&data_dir, ending.replays()) {
                tracing::error!(%error, "which signatures of requests were used cannot be kept");
            }
            replays::lower_lead(&ending, &committer, clock.now());
            let settled = ledger.stop();
            notifier.stop();
            let committed = committer.stop();
            gate.refusals.end(clock.now());
            // Nothing is decided, changed or told any more, and nothing that waits becomes durable.
            if let Some(audit) = &journals.audit {
                audit.stop();
            }
            committed?;
            flushed?;
            Ok::<(), StartError>(settled?)
        });
        flushed.await.map_err(io::Error::other)??;
        tracing::info!("stopped");
        Ok(())
    }
}

/// What runs on the control thread.
pub(super) struct Tasks {
    /// The accept loops and the ticks. They end with the order to stop.
    pub(super) accepting: TaskTracker,
    /// Admin connections. They end when their request has been carried out.
    pub(super) admin: TaskTracker,
}

impl Tasks {
    /// Waits until every connection has ended, of either plane: neither waits for the other.
    async fn end(self, workers: Arc<Workers>) {
        self.accepting.close();
        self.admin.close();
        self.accepting.wait().await;
        let data = async {
            if let Some(workers) = Arc::into_inner(workers) {
                // Joining waits for connections, so it has a thread of its own.
                let _ = tokio::task::spawn_blocking(|| workers.join()).await;
            }
        };
        tokio::join!(data, self.admin.wait());
    }
}

/// Has the workers look at their connections' deadlines.
async fn tick(workers: Arc<Workers>, period: Duration) {
    let mut ticks = tokio::time::interval(period);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        workers.tick();
    }
}

/// Often enough that a deadline is met within a quarter of itself, and once a second at the least.
fn tick_period(config: &Config) -> Duration {
    let limits = &config.limits;
    let nearest_ms = [limits.idle_timeout_ms, limits.frame_timeout_ms, limits.write_timeout_ms];
    let nearest_ms = nearest_ms.into_iter().min().unwrap_or(1000);
    Duration::from_millis((nearest_ms / 4).clamp(25, 1000))
}

/// As many descriptors as the system allows: each connection takes one.
fn raise_descriptor_limit(Config { limits, http, tls, .. }: &Config) {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    if let Err(error) = setrlimit(Resource::Nofile, limit) {
        tracing::warn!(%error, "the limit of open files could not be raised");
    }
    // Who shakes hands has no connection's place yet.
    let planes = [&tls.listen, &tls.admin_listen];
    let shaking = limits.handshakes_max * planes.iter().filter(|it| !it.is_empty()).count();
    let needed =
        limits.connections_max + limits.admin_connections_max + http.connections_max + shaking;
    let needed = needed as u64;
    let allowed = getrlimit(Resource::Nofile).current;
    if let Some(allowed) = allowed.filter(|allowed| *allowed < needed + DESCRIPTORS_OF_ITS_OWN) {
        tracing::warn!(
            allowed,
            connections_max = limits.connections_max,
            admin_connections_max = limits.admin_connections_max,
            "the system allows too few open files for so many connections: further ones will wait \
             unanswered; raise the limit (ulimit -n, LimitNOFILE=) or lower connections_max"
        );
    }
}

pub(super) fn micros(ms: u64) -> i64 {
    i64::try_from(ms.saturating_mul(1000)).unwrap_or(i64::MAX)
}
