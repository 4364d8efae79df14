//! The thread that writes records, and who hands them over.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;
use std::time::Duration;

use parking_lot::Mutex;

use super::disk::Disk;
use super::frame::Kind;
use super::log::{Log, note};
use super::mac::ChainKey;
use super::options::{Options, Sync};
use super::payload::Note;
use super::queue::{Body, Item, Pledge, Queue};
use super::sampler::Sampler;
use crate::clock::Clock;
use crate::engine::AuditDesk;
use crate::event::{Decision, Event, Journal};

pub use super::queue::Waiter;

/// Between two looks at what is due: the disk that failed, the counts of denials, the next sync.
const LOOK: Duration = Duration::from_secs(1);
const LOOK_NS: u64 = 1_000_000_000;
/// Records that are written at a time: few, so that a crash finds little that is encoded and not
/// written …
const WRITTEN_AT_A_TIME: usize = 128;
/// … but where somebody waits for the disk, as many as may share a sync.
const SYNCED_AT_A_TIME: usize = 4096;
/// Under the key of the log, so that nobody can try what the configuration may be.
const CONFIGURATION_LABEL: &[u8] = b"keygate audit configuration 1";
/// Why no record can be written, where nobody is left to try.
const DEAD: &str = "the thread that writes it has ended by a fault of keygate: restart keygate";

/// Called when the log begins to fail, with why, and when it works again, with nothing. On the writing
/// thread: it must not wait.
pub type OnFailing = Box<dyn Fn(Option<String>) + Send>;

/// The audit log of a daemon. Shared by all who hand records over.
pub struct Audit {
    shared: Arc<Shared>,
    sync: Sync,
    thread: Mutex<Option<JoinHandle<()>>>,
}

struct Shared {
    queue: Queue,
    sampler: Sampler,
    desk: Arc<AuditDesk>,
    /// Protects why the log fails, while it does.
    failing: Mutex<Option<String>>,
    names: fn(u8) -> Option<&'static str>,
}

/// How things stand.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct AuditStats {
    /// Places that are taken by records which wait to be written or synced.
    pub waiting: u64,
    /// Records that found no room since the start, or could not be taken for another reason.
    pub lost: u64,
    /// Why no record can be written, while none can.
    pub failing: Option<String>,
}

impl Audit {
    /// Opens the log and starts the thread. `desk` is where decisions reserve places, `names` gives
    /// the names of the codes of denials.
    ///
    /// # Errors
    /// The log cannot be opened, or the system gives no thread.
    pub fn start(
        options: Options,
        key: ChainKey,
        disk: Box<dyn Disk>,
        (desk, clock): (Arc<AuditDesk>, Arc<dyn Clock>),
        names: fn(u8) -> Option<&'static str>,
        on_failing: OnFailing,
    ) -> io::Result<Self> {
        let digest = key.mac(CONFIGURATION_LABEL, &[&options.configuration]);
        let configuration = crate::key::digest::hex(&digest);
        let (log, found) = Log::open(options.log, key, disk)?;
        if let Some(damage) = &found.damage {
            tracing::error!(
                dir = %log.dir().display(), damage,
                "the audit log is damaged: it is left as it is, and goes on in a new file; \
                 `keygate audit verify` names what is wrong"
            );
        }
        if found.cut_bytes > 0 && found.append.is_some() {
            let bytes = found.cut_bytes;
            tracing::warn!(bytes, "a record that a crash had torn was cut off the audit log");
        }
        let shared = Arc::new(Shared {
            queue: Queue::new(Arc::clone(&desk)),
            sampler: Sampler::new(options.denials_per_second_max),
            desk,
            failing: Mutex::new(None),
            names,
        });
        let now = clock.now();
        let cut_bytes = if found.append.is_some() { found.cut_bytes } else { 0 };
        let start =
            Note::Start { at_us: now.wall_us, clean: found.clean, cut_bytes, configuration };
        let mut writer = Writer {
            log,
            shared: Arc::clone(&shared),
            at_a_time: match options.sync {
                Sync::Queue => WRITTEN_AT_A_TIME,
                Sync::Fsync => SYNCED_AT_A_TIME,
            },
            clock,
            on_failing,
            unwritten: VecDeque::from([Record::note(&start)]),
            unsynced: Vec::new(),
            looked_ns: now.mono_ns,
            synced_ns: now.mono_ns,
            failing: false,
        };
        shared.desk.open_with(options.queue_records_max);
        writer.write_all();
        writer.settle(true);
        let run = move || writer.run();
        let thread = std::thread::Builder::new().name("keygate-audit".to_owned()).spawn(run)?;
        Ok(Self { shared, sync: options.sync, thread: Mutex::new(Some(thread)) })
    }

    /// Whether a valid verdict of a key that demands audit waits until its record is on disk.
    #[must_use]
    pub fn waits_for_disk(&self) -> bool {
        self.sync == Sync::Fsync
    }

    /// Takes the record of a decision whose place was reserved. `waiter` is called when it is on
    /// disk, or cannot be.
    pub fn record(&self, at_us: i64, decision: Decision, waiter: Option<Waiter>) {
        self.shared.queue.push_reserved(at_us, decision, waiter);
    }

    /// Takes the record of a decision if there is room; otherwise it is counted.
    pub fn offer(&self, at_us: i64, decision: Decision) {
        self.shared.queue.offer(at_us, decision);
    }

    /// Whether a denial that nobody demands a record of gets one. It is counted where not.
    #[must_use]
    pub fn samples(&self, code: u8, mono_ns: u64) -> bool {
        self.shared.sampler.admit(code, mono_ns)
    }

    /// How things stand.
    #[must_use]
    pub fn stats(&self) -> AuditStats {
        AuditStats {
            waiting: self.shared.desk.taken(),
            lost: self.shared.queue.lost.ever.load(Ordering::Relaxed),
            failing: self.shared.failing.lock().clone(),
        }
    }

    /// The clean stop: what was handed over is written and synced, and the log says that it ended. A
    /// disk that fails is not waited for.
    pub fn stop(&self) {
        self.shared.desk.set_open(false);
        self.shared.queue.close();
        if let Some(thread) = self.thread.lock().take()
            && thread.join().is_err()
        {
            tracing::error!("the thread of the audit log panicked");
        }
    }
}

impl Drop for Audit {
    fn drop(&mut self) {
        self.stop();
    }
}

impl Journal for Audit {
    fn note(&self, event: &Event) {
        self.shared.queue.offer_event(event);
    }
}

/// A record on its way into the file.
struct Record {
    kind: Kind,
    payload: Vec<u8>,
    places: usize,
    waiter: Option<Pledge>,
    /// What it says, where it may have to be told otherwise: of a decision that is waited for.
    waited: Option<Body>,
    class: Class,
}

/// What is counted where it is lost.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Class {
    Change,
    Decision,
    Alert,
    Note,
}

impl Record {
    fn note(of: &Note) -> Self {
        let (payload, kind) = (note(of), Kind::Note);
        Self { kind, payload, places: 0, waiter: None, waited: None, class: Class::Note }
    }

    fn of(item: Item) -> Self {
        let Item { body, places, waiter } = item;
        let payload = body.to_payload();
        let class = match body {
            Body::Decision(_) => Class::Decision,
            Body::Change(_) => Class::Change,
            Body::Alert(_) => Class::Alert,
        };
        let waited = waiter.is_some().then_some(body);
        Self { kind: Kind::Event, payload, places, waiter, waited, class }
    }

    /// Its waiter is told that the record is not on disk, and the record says so.
    fn refuse(&mut self) {
        if self.waiter.take().is_none() {
            return;
        }
        if let Some(mut body) = self.waited.take() {
            body.refuse();
            self.payload = body.to_payload();
        }
    }
}

struct Writer {
    log: Log,
    shared: Arc<Shared>,
    clock: Arc<dyn Clock>,
    on_failing: OnFailing,
    at_a_time: usize,
    /// Taken, and not in the file yet.
    unwritten: VecDeque<Record>,
    /// In the file, and waited for until they are on disk.
    unsynced: Vec<Record>,
    looked_ns: u64,
    synced_ns: u64,
    failing: bool,
}

impl Writer {
    fn run(mut self) {
        loop {
            let taken = if self.failing {
                self.shared.queue.refuse_for(LOOK)
            } else {
                self.shared.queue.take(LOOK)
            };
            let (closed, failed_before) = (taken.closed, self.failing);
            self.write(taken.items);
            if self.failing && !failed_before && !closed {
                // Who came meanwhile is told before another attempt, which may take as long.
                continue;
            }
            self.look(closed);
            self.write_all();
            self.settle(closed);
            if closed {
                return self.end();
            }
        }
    }

    /// Encodes and writes, some at a time.
    fn write(&mut self, mut items: VecDeque<Item>) {
        while !items.is_empty() {
            // Once it fails all the rest stays.
            let some = if self.failing { items.len() } else { items.len().min(self.at_a_time) };
            self.unwritten.extend(items.drain(..some).map(Record::of));
            if self.failing {
                self.unwritten.iter_mut().for_each(Record::refuse);
            } else {
                self.write_all();
            }
        }
    }

    /// Says once a second what was not recorded.
    fn look(&mut self, last: bool) {
        let now = self.clock.now();
        if !last && now.mono_ns.saturating_sub(self.looked_ns) < LOOK_NS {
            return;
        }
        self.looked_ns = now.mono_ns;
        let at_us = now.wall_us;
        let lost = &self.shared.queue.lost;
        let take = |count: &std::sync::atomic::AtomicU64| {
            count.swap(0, std::sync::atomic::Ordering::Relaxed)
        };
        // What waits to be said is said when it can be written.
        if !self.failing || last {
            let (changes, decisions) = (take(&lost.changes), take(&lost.decisions));
            let alerts = take(&lost.alerts);
            if changes + decisions + alerts > 0 {
                let note = Note::Lost { at_us, changes, decisions, alerts };
                self.unwritten.push_back(Record::note(&note));
            }
            let counts: Vec<_> = self.shared.sampler.take().collect();
            for (code, count) in counts {
                let Some(name) = (self.shared.names)(code) else { continue };
                let decision = Decision::unrecorded(name, count);
                let body = Body::Decision(Box::new((at_us, decision)));
                self.unwritten.push_back(Record::of(Item { body, places: 0, waiter: None }));
            }
        }
    }

    /// Writes what was taken. What the file does not take stays, and is not waited for any more.
    fn write_all(&mut self) {
        if self.failing && self.unwritten.is_empty() {
            // Without a record nobody would learn that the disk takes one again.
            let at_us = self.clock.now().wall_us;
            self.unwritten.push_back(Record::note(&Note::Resumed { at_us }));
        }
        while !self.unwritten.is_empty() {
            let records = self.unwritten.iter().take(self.at_a_time);
            let records = records.map(|record| (record.kind, &*record.payload));
            let (accepted, appended) = self.log.append(records, self.clock.now().wall_us);
            let accepted = self.unwritten.drain(..accepted);
            let (waited, done): (Vec<_>, Vec<_>) =
                accepted.partition(|record| record.waiter.is_some());
            let places: usize = done.iter().map(|record| record.places).sum();
            self.shared.queue.give_back(places);
            self.unsynced.extend(waited);
            if let Err(error) = appended {
                return self.fail(&error);
            }
            self.recover();
            if !self.unsynced.is_empty() {
                self.settle(false);
            }
            if self.failing {
                return;
            }
        }
    }

    /// Syncs where somebody waits for it, and otherwise once a second.
    fn settle(&mut self, last: bool) {
        if self.failing || self.log.is_sure() {
            return;
        }
        let now_ns = self.clock.now().mono_ns;
        let due = last || now_ns.saturating_sub(self.synced_ns) >= LOOK_NS;
        if !due && self.unsynced.is_empty() {
            return;
        }
        if due {
            self.synced_ns = now_ns;
        }
        match self.log.sync(due) {
            Ok(()) => {
                let places = self.unsynced.iter().map(|record| record.places).sum();
                let waiters = self.unsynced.drain(..).filter_map(|record| record.waiter);
                waiters.for_each(Pledge::keep);
                self.shared.queue.give_back(places);
            }
            Err(error) => self.fail(&error),
        }
    }

    /// From here on no decision reserves a place, until the log can be written again.
    fn fail(&mut self, error: &io::Error) {
        // First: whoever hears of a refusal finds the log failing.
        self.shared.desk.set_open(false);
        let why = format!("{}: {error}", self.log.dir().display());
        *self.shared.failing.lock() = Some(why.clone());
        // In their order: they were behind all that is in the file.
        for mut record in self.unsynced.drain(..).rev() {
            record.refuse();
            self.unwritten.push_front(record);
        }
        self.unwritten.iter_mut().for_each(Record::refuse);
        if !std::mem::replace(&mut self.failing, true) {
            tracing::error!(
                why,
                "audit records cannot be written: keys that demand audit are denied; keygate goes \
                 on trying"
            );
            (self.on_failing)(Some(why));
        }
    }

    fn recover(&mut self) {
        if std::mem::take(&mut self.failing) {
            // In this order: who finds the log well finds the desk open.
            self.shared.desk.set_open(true);
            *self.shared.failing.lock() = None;
            tracing::info!("audit records can be written again");
            (self.on_failing)(None);
        }
    }

    fn end(mut self) {
        self.unwritten.push_back(Record::note(&Note::Stop { at_us: self.clock.now().wall_us }));
        self.write_all();
        self.settle(true);
        if self.failing {
            let count =
                |class| self.unwritten.iter().filter(|record| record.class == class).count();
            let [changes, decisions, alerts] =
                [Class::Change, Class::Decision, Class::Alert].map(count);
            tracing::error!(
                changes,
                decisions,
                alerts,
                "the audit log could not be written: these are lost"
            );
        }
    }
}

impl Drop for Writer {
    /// Where a fault ends the thread nothing more is accepted, and nobody waits for it.
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.shared.desk.set_open(false);
            *self.shared.failing.lock() = Some(DEAD.to_owned());
            self.shared.queue.close();
            drop(self.shared.queue.take(Duration::ZERO));
            tracing::error!("audit records cannot be written: {DEAD}");
        }
    }
}
