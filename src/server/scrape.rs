//! All figures of the daemon, gathered when somebody asks.

use std::sync::Arc;

use super::flush::Timing;
use super::store_size::StoreSize;
use super::tls::Handshakes;
use super::{admin, families};
use crate::admin::Caller;
use crate::audit::Audit;
use crate::clock::Now;
use crate::config::Config;
use crate::ledger::Ledger;
use crate::metrics::Family;
use crate::metrics::process::Proc;
use crate::notify::Notifier;
use crate::store::{Committer, StoreEngine};

/// Tells some figures. It is called for every scrape, on a thread that serves nobody; it must be done
/// within milliseconds, and must not wait for the disk, which may hang just when figures are needed.
type Source = Box<dyn Fn(Now) -> Vec<Family> + Send + Sync>;

/// Whatever tells figures, in the order in which they are shown.
#[derive(Default)]
pub(super) struct Scrape {
    sources: Vec<Source>,
}

/// The parts of a daemon that have figures. Another part has its field here, its source in
/// [`Scrape::of`], its families in a function like those of [`families`], and their rows in
/// `systemd/monitoring/README.md`.
pub(super) struct Parts<'a> {
    pub(super) config: &'a Config,
    pub(super) shared: &'a Arc<admin::Shared>,
    pub(super) size: &'a Arc<StoreSize>,
    pub(super) committer: &'a Arc<Committer>,
    pub(super) ledger: &'a Arc<Ledger>,
    pub(super) flush: &'a Arc<Timing>,
    pub(super) audit: Option<&'a Arc<Audit>>,
    pub(super) notifier: &'a Arc<Notifier>,
}

impl Scrape {
    /// Adds what another part tells.
    pub(super) fn add(&mut self, source: impl Fn(Now) -> Vec<Family> + Send + Sync + 'static) {
        self.sources.push(Box::new(source));
    }

    /// All figures of this instant. Not for a thread that serves a connection.
    pub(super) fn families(&self, now: Now) -> Vec<Family> {
        self.sources.iter().flat_map(|source| source(now)).collect()
    }

    /// The figures of a daemon.
    pub(super) fn of(parts: &Parts<'_>) -> Self {
        let Parts { config, shared, size, committer, ledger, flush, audit, notifier } = *parts;
        let mut scrape = Self::default();
        let engine = engine_name(config.store.engine);
        scrape.add(move |_| vec![families::build(engine)]);
        let of = Arc::clone(shared);
        scrape.add(move |_| {
            let health = of.health(&Caller::unbound());
            vec![families::health(health.healthy)]
        });
        let of = Arc::clone(shared);
        scrape.add(move |_| families::served(&of.observers, of.desk.parked()));
        let (of, http) = (Arc::clone(shared), config.http.clone());
        scrape.add(move |_| {
            families::connections(&of.doors, (of.data_connections)(), &of.limits, &http)
        });
        let of = Arc::clone(shared);
        scrape.add(move |_| vec![families::refusals(&of.gate.refusals)]);
        let of = shared.tls.clone();
        scrape.add(move |_| {
            let none = Handshakes::default();
            vec![families::handshakes(of.as_ref().map_or(&none, |of| &of.handshakes))]
        });
        let of = Arc::clone(shared);
        scrape.add(move |_| families::catalog(&of.engine, &of.limits, of.unreadable));
        let of = Arc::clone(shared);
        scrape.add(move |_| families::signatures(&of.engine));
        let of = Arc::clone(ledger);
        scrape.add(move |_| families::ledger(of.stats()));
        let (of, size, queue_max) =
            (Arc::clone(committer), Arc::clone(size), config.store.commit_queue_max);
        // A size that cannot be read is left out.
        scrape.add(move |_| families::store(of.stats(), size.bytes(), queue_max));
        let of = Arc::clone(flush);
        scrape.add(move |now| families::usage(&of, now));
        if let Some(of) = audit.map(Arc::clone) {
            let queue_max = config.audit.queue_records_max;
            scrape.add(move |_| families::audit(&of.stats(), queue_max));
        }
        let of = Arc::clone(notifier);
        scrape.add(move |_| families::alerts(&of.stats()));
        scrape.add(|_| read_proc().families());
        scrape
    }
}

const fn engine_name(engine: StoreEngine) -> &'static str {
    match engine {
        StoreEngine::Sled => "sled",
        StoreEngine::Redb => "redb",
    }
}

/// What the kernel says of this process. A file that cannot be read is empty.
fn read_proc() -> Proc {
    let read = |path| std::fs::read_to_string(path).unwrap_or_default();
    let descriptors = std::fs::read_dir("/proc/self/fd").ok();
    Proc {
        stat: read("/proc/self/stat"),
        status: read("/proc/self/status"),
        limits: read("/proc/self/limits"),
        system: read("/proc/stat"),
        // One of them is the directory that is read here.
        descriptors: descriptors.map(|entries| entries.count().saturating_sub(1) as u64),
    }
}
