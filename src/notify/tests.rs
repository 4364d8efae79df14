//! The monitor and the sender by hand: a store in memory, a clock that is moved, a courier that says
//! what it is told to.

mod finding;
mod sending;

use std::collections::HashMap;
use std::sync::{Arc, mpsc};

use parking_lot::Mutex;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::monitor::Monitor;
use super::sender::{self, Deliver, Delivery};
use super::{Notifier, Settings, Source};
use crate::clock::{Clock, ManualClock};
use crate::config;
use crate::deliver::{Outcome, WebhookSecret};
use crate::engine::{Engine, EngineLimits};
use crate::event::{Actor, Alert, AlertKind, Change, Destination, Event, Journal, Subject, What};
use crate::key::token::Prefixes;
use crate::key::{KeyRecord, Pepper, Time};
use crate::store::{Committer, CommitterOptions, KeyWrite, Keys, MemoryStore, Write};
use crate::vault::{Master, Vault};

const START_US: i64 = 1_800_000_000_000_000;
const S: u32 = 1_000_000;
/// Turns of the runtime after which a test gives up.
const TURNS_MAX: u32 = 1_000_000;
const DAY_US: i64 = 86_400_000_000;

/// What the double does at a destination.
#[derive(Debug, Clone)]
enum Behaviour {
    Says(Outcome),
    NeverAnswers,
    /// It leaves something running that hangs until the other end is dropped.
    Hangs(Arc<Mutex<mpsc::Receiver<()>>>),
}

/// One attempt that it was asked for.
#[derive(Debug, Clone, PartialEq)]
struct Asked {
    to: Destination,
    ids: Vec<String>,
    kinds: Vec<AlertKind>,
    secrets: Vec<Vec<u8>>,
    at_us: i64,
}

#[derive(Default)]
struct Double {
    behaviour: Mutex<HashMap<Destination, Behaviour>>,
    asked: Mutex<Vec<Asked>>,
}

impl Deliver for Double {
    fn deliver<'a>(
        &'a self,
        to: &'a Destination,
        alerts: &'a [Alert],
        secrets: &'a [WebhookSecret],
        now_us: i64,
    ) -> Delivery<'a> {
        self.asked.lock().push(Asked {
            to: to.clone(),
            ids: alerts.iter().map(|alert| alert.id.clone()).collect(),
            kinds: alerts.iter().map(|alert| alert.kind).collect(),
            secrets: secrets.iter().map(|secret| secret.as_bytes().to_vec()).collect(),
            at_us: now_us,
        });
        let behaviour = self.behaviour.lock().get(to).cloned();
        Box::pin(async move {
            match behaviour {
                None => Outcome::Delivered,
                Some(Behaviour::Says(outcome)) => outcome,
                Some(Behaviour::NeverAnswers) => std::future::pending().await,
                Some(Behaviour::Hangs(hanging)) => {
                    drop(tokio::task::spawn_blocking(move || hanging.lock().recv()));
                    Outcome::Delivered
                }
            }
        })
    }
}

struct Bench {
    store: Arc<MemoryStore>,
    clock: Arc<ManualClock>,
    keys: Keys,
    committer: Arc<Committer>,
    engine: Arc<Engine>,
    courier: Arc<Double>,
    notifier: Notifier,
    monitor: Monitor,
    sender: Option<(oneshot::Sender<()>, JoinHandle<()>)>,
}

impl Bench {
    fn new(settings: &str) -> Self {
        let clock = Arc::new(ManualClock::new(START_US));
        Self::over(Arc::new(MemoryStore::new()), clock, Arc::default(), settings)
    }

    /// A start over what a store has.
    fn over(
        store: Arc<MemoryStore>,
        clock: Arc<ManualClock>,
        courier: Arc<Double>,
        settings: &str,
    ) -> Self {
        let keys = Keys::open(Arc::clone(&store) as _).expect("a store");
        let committer =
            Arc::new(Committer::start(&keys, &CommitterOptions::default()).expect("threads"));
        let limits = EngineLimits {
            keys_max: 1000,
            expiry_warning_us: 0,
            increment_id_window_us: 1_000_000,
            increment_ids_max: 1000,
            slots_max: 1000,
            usage_history: true,
            usage_detail_bytes_max: 1 << 20,
        };
        let engine = Engine::new(Pepper::new(&[1; 32]), Prefixes::default(), limits);
        engine.set_vault(Arc::new(Vault::new(Master::new(&[2; 32]))));
        keys.for_each(|_, record| {
            engine.put(&record?, clock.now()).expect("room");
            Ok::<(), crate::store::StoreError>(())
        })
        .expect("loaded");
        let engine = Arc::new(engine);
        let source = Source {
            engine: Arc::clone(&engine),
            keys: keys.clone(),
            committer: Arc::clone(&committer),
            clock: Arc::clone(&clock) as _,
        };
        let config: config::Config = toml::from_str(settings).expect("settings");
        let settings = Settings::new(&config.alerts);
        let notifier = Notifier::open(source, settings, Arc::clone(&courier) as _).expect("opened");
        let monitor = notifier.monitor.lock().take().expect("it is not started");
        let mut bench = Self {
            store,
            clock,
            keys,
            committer,
            engine,
            courier,
            notifier,
            monitor,
            sender: None,
        };
        bench.monitor.begin();
        bench
    }

    /// What a power loss leaves, started again.
    fn crashed(self, settings: &str) -> Self {
        let store = Arc::new(self.store.crash());
        Self::over(store, Arc::clone(&self.clock), Arc::clone(&self.courier), settings)
    }

    /// Writes a new key, and says so.
    fn insert(&self, record: &KeyRecord) {
        let write = Write::Key(KeyWrite::Insert(Box::new(record.clone())));
        self.committer.commit(vec![write], true).expect("written");
        self.engine.put(record, self.clock.now()).expect("room");
        self.note(record, "create", serde_json::Value::Null);
    }

    /// Changes a key, and says so under this name.
    fn change(&self, id: u64, action: &str, change: impl FnOnce(&mut KeyRecord)) {
        let before = self.change_unsaid(id, change);
        let after = self.keys.get(id).expect("readable").expect("the key");
        let hook = before.webhook_url != after.webhook_url;
        self.notifier.key_changed(&before, &after);
        let fields = if hook { serde_json::json!({"webhook_url": "x"}) } else { "".into() };
        self.note(&after, action, fields);
    }

    fn change_unsaid(&self, id: u64, change: impl FnOnce(&mut KeyRecord)) -> KeyRecord {
        let before = self.keys.get(id).expect("readable").expect("the key");
        let mut after = before.clone();
        change(&mut after);
        after.revision += 1;
        let before_revision = before.revision;
        let write = KeyWrite::Replace { before_revision, after: Box::new(after.clone()) };
        self.committer.commit(vec![Write::Key(write)], true).expect("written");
        self.engine.put(&after, self.clock.now()).expect("room");
        before
    }

    fn note(&self, record: &KeyRecord, action: &str, after: serde_json::Value) {
        let what = What::Change(Change {
            action: action.to_owned(),
            actor: Actor::default(),
            subject: Subject::Key { id: record.id, tenant: record.tenant_id.clone() },
            before: serde_json::Value::Null,
            after,
            reason: None,
        });
        self.notifier.note(&Event { at_us: self.clock.now().wall_us, what });
    }

    /// One look of the monitor, a second later.
    fn look(&mut self) {
        self.clock.advance_us(S);
        while let Ok(signal) = self.monitor.signals().try_recv() {
            self.monitor.hear(signal);
        }
        self.monitor.tick(self.clock.now());
    }

    fn advance_us(&self, us: i64) {
        let step = i64::from(u32::MAX);
        for _ in 0..us / step {
            self.clock.advance_us(u32::MAX);
        }
        self.clock.advance_us(u32::try_from(us % step).expect("less"));
    }

    /// Starts the sender on the test's own runtime.
    fn send(&mut self) {
        let (stop, stopped) = oneshot::channel();
        let shared = Arc::clone(&self.notifier.shared);
        let run = tokio::spawn(async move { sender::run(&shared, stopped).await });
        self.sender = Some((stop, run));
    }

    /// Lets the sender do what is due, and waits until it has asked so often in all.
    async fn asked(&self, times: usize) -> Vec<Asked> {
        self.notifier.shared.wake.notify_one();
        for _ in 0..TURNS_MAX {
            let asked = self.courier.asked.lock().clone();
            if asked.len() >= times {
                return asked;
            }
            tokio::task::yield_now().await;
        }
        panic!("{times} attempts were waited for: {:?}", self.courier.asked.lock());
    }

    /// Waits until what was delivered, given up and tried again are so many.
    async fn settled(&self, delivered: u64, failed: u64, retried: u64) {
        self.notifier.shared.wake.notify_one();
        for _ in 0..TURNS_MAX {
            let stats = self.notifier.stats();
            if (stats.delivered, stats.failed, stats.retried) == (delivered, failed, retried) {
                return;
            }
            tokio::task::yield_now().await;
        }
        panic!("({delivered}, {failed}, {retried}) was waited for: {:?}", self.notifier.stats());
    }

    fn behave(&self, to: &Destination, behaviour: Option<Behaviour>) {
        let mut all = self.courier.behaviour.lock();
        match behaviour {
            Some(behaviour) => drop(all.insert(to.clone(), behaviour)),
            None => drop(all.remove(to)),
        }
    }

    /// Kinds of what is listed, by number.
    fn kinds(&self) -> Vec<AlertKind> {
        let (all, _) = self.notifier.page(None, 1000, |_| true);
        all.iter().map(|entry| entry.alert.kind).collect()
    }
}

fn hook(name: &str) -> Destination {
    Destination::Webhook { url: format!("https://{name}.example/") }
}

fn mail(name: &str) -> Destination {
    Destination::Email { address: format!("{name}@b.example") }
}

fn url(name: &str) -> String {
    format!("https://{name}.example/")
}

fn record(id: u64) -> KeyRecord {
    KeyRecord {
        id,
        name: format!("key {id}"),
        tenant_id: "acme".to_owned(),
        revision: 1,
        key_hash: Some(Pepper::new(&[1; 32]).seal_token(format!("token {id}").as_bytes())),
        foreign_token: true,
        created_at: Some(Time::from_micros(START_US - 1000 * DAY_US)),
        webhook_url: url("a"),
        ..KeyRecord::default()
    }
}

/// One that expires within so many days.
fn expiring(id: u64, days: i64) -> KeyRecord {
    let expires_at = Some(Time::from_micros(START_US + days * DAY_US + DAY_US / 2));
    KeyRecord { expires_at, ..record(id) }
}
