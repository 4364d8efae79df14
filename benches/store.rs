//! Both engines of the store: a read, durable commits, single and grouped, beside a bare write and
//! fdatasync.

use std::io::Write as _;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use keygate::key::{KeyRecord, Pepper};
use keygate::store::{
    Committer, CommitterOptions, KeyWrite, Keys, StoreEngine, StoreOptions, Write, open,
};

/// Writers of the grouped commit.
const WRITERS: u64 = 64;

/// Keys in the store before reads are measured.
const KEYS: u64 = 20_000;

struct Bench {
    keys: Keys,
    committer: Committer,
    pepper: Pepper,
    next: u64,
    _dir: tempfile::TempDir,
}

impl Bench {
    fn new(engine: StoreEngine) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let store = open(engine, &dir.path().join("data"), &StoreOptions::default());
        let keys = Keys::open(store.expect("a store")).expect("its keys");
        let committer = Committer::start(&keys, &CommitterOptions::default()).expect("a thread");
        let pepper = Pepper::new(&[1; 32]);
        let mut bench = Self { keys, committer, pepper, next: 1, _dir: dir };
        while bench.next <= KEYS {
            let writes = (0..50).flat_map(|_| bench.insert()).collect();
            bench.committer.commit(writes, false).expect("a commit");
        }
        let last = bench.insert();
        bench.committer.commit(last, true).expect("a commit");
        bench
    }

    /// A new key, about as large as the source system's.
    fn insert(&mut self) -> Vec<Write> {
        let id = self.next;
        self.next += 1;
        let record = KeyRecord {
            id,
            key_hash: Some(self.pepper.seal_token(&id.to_le_bytes())),
            tenant_id: "tenant".to_owned(),
            name: "Production API key".to_owned(),
            description: "d".repeat(300),
            scopes: vec!["leads:read".to_owned(), "leads:write".to_owned()],
            metadata_json: vec![b' '; 200],
            ..KeyRecord::default()
        };
        vec![Write::Key(KeyWrite::Insert(Box::new(record)))]
    }

    /// Many keys at once, which share their syncs.
    fn group(&mut self) {
        let jobs: Vec<_> = (0..WRITERS).map(|_| self.insert()).collect();
        let (answer, answers) = crossbeam::channel::unbounded();
        for writes in jobs {
            let answer = answer.clone();
            let done = Box::new(move |outcome| drop(answer.send(outcome)));
            let job = keygate::store::Job { writes, durable: true, done };
            self.committer.submit(job).expect("room");
        }
        for _ in 0..WRITERS {
            answers.recv().expect("an answer").expect("a commit");
        }
    }
}

fn store(c: &mut Criterion) {
    let mut group = c.benchmark_group("store");
    group.sample_size(30);
    let dir = tempfile::tempdir().expect("a directory");
    let mut file = std::fs::File::create(dir.path().join("file")).expect("a file");
    group.bench_function("yardstick: write 1 KiB and fdatasync", |b| {
        b.iter(|| {
            file.write_all(&[0x5A; 1024]).expect("a write");
            file.sync_data().expect("a sync");
        });
    });
    for engine in StoreEngine::ALL {
        let mut bench = Bench::new(*engine);
        let mut id = 0;
        group.throughput(Throughput::Elements(1));
        group.bench_function(format!("{engine}: one key, read"), |b| {
            b.iter(|| {
                // Keys that do not lie beside each other.
                id = (id + 7919) % KEYS;
                bench.keys.get(1 + id).expect("readable").expect("there")
            });
        });
        group.bench_function(format!("{engine}: one key, durable"), |b| {
            b.iter(|| {
                let writes = bench.insert();
                bench.committer.commit(writes, true).expect("a commit");
            });
        });
        group.throughput(Throughput::Elements(WRITERS));
        group.bench_function(format!("{engine}: 64 keys at once, durable"), |b| {
            b.iter(|| bench.group());
        });
    }
    group.finish();
}

criterion_group!(benches, store);
criterion_main!(benches);
