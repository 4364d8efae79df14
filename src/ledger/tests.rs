//! What a ledger promises, over a store that crashes, fails and hangs on request.

mod crashes;
mod failures;
mod stops;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use keygate_protocol::validate::ValidateWriter;
use keygate_protocol::{Validate, ValidateFlags, VerdictCode};

use super::{Ledger, Recovered};
use crate::clock::{Clock, ManualClock, Now};
use crate::engine::{Account, Answers, Engine, EngineLimits, Wait};
use crate::key::token::Prefixes;
use crate::key::{KeyRecord, Pepper, TenantLimits, TenantRecord};
use crate::limit::{AccountRow, Change, LedgerState};
use crate::store::{
    AccountOf, CommitError, Committer, CommitterOptions, KeyWrite, Keys, MemoryStore, StoreError,
    TenantWrite, Write,
};

/// How long anything may take.
const DEADLINE: Duration = Duration::from_secs(30);
/// 2027-01-15, in the middle of a month.
const NOW_US: i64 = 1_800_000_000_000_000;
const DAY_US: i64 = 24 * 3600 * 1_000_000;

/// A daemon without sockets: what it has in memory, and what it has on a disk of memory.
struct Bench {
    store: Arc<MemoryStore>,
    keys: Keys,
    committer: Arc<Committer>,
    engine: Arc<Engine>,
    clock: Arc<ManualClock>,
    ledger: Ledger,
    found: Recovered,
}

fn pepper() -> Pepper {
    Pepper::new(&[7; Pepper::BYTES])
}

fn token(id: u64) -> String {
    format!("token-{id}")
}

/// An active key with a monthly cap.
fn monthly(id: u64, cap: u64) -> KeyRecord {
    KeyRecord { monthly_request_quota: Some(cap), ..plain(id) }
}

fn plain(id: u64) -> KeyRecord {
    KeyRecord {
        id,
        revision: 1,
        key_hash: Some(pepper().seal_token(token(id).as_bytes())),
        ..KeyRecord::default()
    }
}

fn insert(record: &KeyRecord) -> Write {
    Write::Key(KeyWrite::Insert(Box::new(record.clone())))
}

impl Bench {
    /// A daemon over a new store that has these keys.
    fn new(records: &[KeyRecord]) -> Self {
        let store = MemoryStore::new();
        let keys = Keys::open(Arc::new(store.crash())).expect("a store");
        drop(keys);
        Self::fill(Arc::new(store), records)
    }

    fn fill(store: Arc<MemoryStore>, records: &[KeyRecord]) -> Self {
        let keys = Keys::open(Arc::<MemoryStore>::clone(&store)).expect("a store");
        let committer = Committer::start(&keys, &CommitterOptions::default()).expect("threads");
        for some in records.chunks(50) {
            committer.commit(some.iter().map(insert).collect(), true).expect("written");
        }
        drop(committer);
        Self::start(store, Arc::new(ManualClock::new(NOW_US)), LedgerState::Denies)
    }

    /// A start over what a store has.
    fn start(store: Arc<MemoryStore>, clock: Arc<ManualClock>, unavailable: LedgerState) -> Self {
        Self::start_with(store, clock, unavailable, &CommitterOptions::default())
    }

    fn start_with(
        store: Arc<MemoryStore>,
        clock: Arc<ManualClock>,
        unavailable: LedgerState,
        options: &CommitterOptions,
    ) -> Self {
        let keys = Keys::open(Arc::<MemoryStore>::clone(&store)).expect("a store");
        let committer = Arc::new(Committer::start(&keys, options).expect("threads"));
        let limits = EngineLimits {
            keys_max: 100_000,
            expiry_warning_us: 0,
            increment_id_window_us: 1_000_000,
            increment_ids_max: 100,
            slots_max: 1000,
            usage_history: true,
            usage_detail_bytes_max: 1 << 30,
        };
        let engine = Arc::new(Engine::new(pepper(), Prefixes::default(), limits));
        keys.for_each_tenant(|_, record| {
            engine.put_tenant(&record?, clock.now());
            Ok::<_, StoreError>(())
        })
        .expect("readable");
        keys.for_each(|_, record| {
            engine.put(&record?, clock.now()).expect("room");
            Ok::<_, StoreError>(())
        })
        .expect("readable");
        let time = Arc::<ManualClock>::clone(&clock) as Arc<dyn Clock>;
        let of = (Arc::clone(&engine), Arc::clone(&committer));
        let (ledger, found) = Ledger::open(of.0, &keys, of.1, time, unavailable).expect("readable");
        ledger.start().expect("started");
        Self { store, keys, committer, engine, clock, ledger, found }
    }

    /// Ends without a stop, and starts over what was durable and the first `kept` batches that were
    /// not yet.
    fn crash_keeping(self, kept: usize) -> Self {
        let left = Arc::new(self.store.crash_keeping(kept));
        let clock = Arc::clone(&self.clock);
        drop(self);
        Self::start(left, clock, LedgerState::Denies)
    }

    fn crash(self) -> Self {
        self.crash_keeping(0)
    }

    /// Stops as it should, and starts again.
    fn restart(self) -> Self {
        self.ledger.stop().expect("stopped");
        self.committer.stop().expect("stopped");
        let clock = Arc::clone(&self.clock);
        Self::start(Arc::new(self.store.crash()), clock, LedgerState::Denies)
    }

    fn now(&self) -> Now {
        self.clock.now()
    }

    /// The verdict on a request of a key, without waiting for a debit.
    fn judge(&self, id: u64, cost: u64) -> (VerdictCode, Vec<Account>) {
        self.judge_named(id, cost, &[])
    }

    fn judge_named(&self, id: u64, cost: u64, names: &[&str]) -> (VerdictCode, Vec<Account>) {
        let mut payload = bytes::BytesMut::new();
        let (flags, token) = (ValidateFlags::default(), token(id));
        let mut writer = ValidateWriter::new(&mut payload, flags, cost, token.as_bytes());
        names.iter().for_each(|name| writer.limit(name));
        let question = Validate::decode(&payload).expect("a question");
        let mut answers = Answers::default();
        self.engine.validate(&[question], self.now(), &mut answers);
        let accounts = answers[0].wait.iter().flat_map(Wait::accounts).collect();
        (answers[0].verdict.code, accounts)
    }

    /// The verdict on a request of a key, which waits for debits as a server does.
    fn spend(&self, id: u64, cost: u64) -> VerdictCode {
        self.spend_named(id, cost, &[])
    }

    fn spend_named(&self, id: u64, cost: u64, names: &[&str]) -> VerdictCode {
        loop {
            let (code, wait) = self.judge_named(id, cost, names);
            if self.engine.asks() {
                self.ledger.nudge();
            }
            if wait.is_empty() {
                return code;
            }
            let called = self.want(wait);
            called.recv_timeout(DEADLINE).expect("whoever waits is called");
        }
    }

    /// Spends single units until one is denied, or so many were admitted; how many were.
    fn spend_up_to(&self, id: u64, units: u64) -> u64 {
        let admitted = (0..units).take_while(|_| self.spend(id, 1) == VerdictCode::Valid);
        admitted.count() as u64
    }

    /// Has accounts debited; tells when that was tried.
    fn want(&self, accounts: Vec<Account>) -> Receiver<()> {
        let (call, called) = channel();
        self.ledger.want(
            accounts,
            Box::new(move || {
                let _ = call.send(());
            }),
        );
        called
    }

    /// What the store has of a key.
    fn row(&self, id: u64) -> Option<AccountRow> {
        let mut found = None;
        self.keys
            .for_each_account(|account, row| {
                if account == AccountOf::Key(id) {
                    found = Some(row?);
                }
                Ok::<_, StoreError>(())
            })
            .expect("readable");
        found
    }

    /// Changes a key in store and engine.
    fn replace(&self, after: &KeyRecord, change: &Change) -> Result<(), CommitError> {
        let write = || {
            let (before_revision, after) = (after.revision - 1, Box::new(after.clone()));
            vec![Write::Key(KeyWrite::Replace { before_revision, after })]
        };
        let of = [(Account::Key(after.id), self.engine.terms_of(after))];
        let publish = |now| self.engine.change(after, change, now).expect("room");
        self.ledger.change(&of, change, write, publish)
    }

    /// Has the store know what was spent of a key, which goes on as it is.
    fn settle(&self, record: &KeyRecord) -> Result<(), CommitError> {
        let of = [(Account::Key(record.id), self.engine.terms_of(record))];
        self.ledger.change(&of, &Change::default(), Vec::new, |_| ())
    }

    fn add(&self, record: &KeyRecord) {
        self.committer.commit(vec![insert(record)], true).expect("written");
        self.engine.put(record, self.now()).expect("room");
    }
}
