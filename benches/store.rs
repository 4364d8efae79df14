//! The store: durable commits, single and grouped, beside a bare write and fdatasync.

use std::io::Write as _;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use keygate::key::{KeyRecord, Pepper};
use keygate::store::{
    Committer, CommitterOptions, KeyWrite, Keys, StoreEngine, StoreOptions, Write, open,
};

/// Writers of the grouped commit.
const WRITERS: u64 = 64;

struct Bench {
    committer: Committer,
    pepper: Pepper,
    next: u64,
    _dir: tempfile::TempDir,
}

impl Bench {
    fn new() -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let store = open(StoreEngine::Sled, &dir.path().join("data"), &StoreOptions::default());
        let keys = Keys::open(store.expect("a store")).expect("its keys");
        let committer = Committer::start(&keys, &CommitterOptions::default()).expect("a thread");
        Self { committer, pepper: Pepper::new(&[1; 32]), next: 1, _dir: dir }
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
    let mut bench = Bench::new();
    group.bench_function("one key, durable", |b| {
        b.iter(|| {
            let writes = bench.insert();
            bench.committer.commit(writes, true).expect("a commit");
        });
    });
    group.throughput(Throughput::Elements(WRITERS));
    group.bench_function("64 keys at once, durable", |b| {
        b.iter(|| {
            let jobs: Vec<_> = (0..WRITERS).map(|_| bench.insert()).collect();
            let (answer, answers) = crossbeam::channel::unbounded();
            for writes in jobs {
                let answer = answer.clone();
                let done = Box::new(move |outcome| drop(answer.send(outcome)));
                let job = keygate::store::Job { writes, durable: true, done };
                bench.committer.submit(job).expect("room");
            }
            for _ in 0..WRITERS {
                answers.recv().expect("an answer").expect("a commit");
            }
        });
    });
    group.finish();
}

criterion_group!(benches, store);
criterion_main!(benches);
