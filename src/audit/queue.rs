//! Records on their way to the thread that writes. Whoever hands one over never waits.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::{Condvar, Mutex};

use super::payload::to_json;
use crate::engine::AuditDesk;
use crate::event::{Decision, Event, What};

/// Called once with whether a record is on disk. On the writing thread, so it never waits.
pub type Waiter = Box<dyn FnOnce(bool) + Send>;

/// What a decision is recorded as whose record could not be synced in time: so it was answered.
const UNAVAILABLE: &str = "AUDIT_UNAVAILABLE";
/// Bytes of a place.
const PLACE_BYTES: usize = 1024;

/// Who waits for a record. Where it is dropped, however that comes, the record is not on disk.
pub(super) struct Pledge(Option<Waiter>);

impl Pledge {
    /// The record is on disk.
    pub(super) fn keep(mut self) {
        self.0.take().into_iter().for_each(|waiter| waiter(true));
    }
}

impl Drop for Pledge {
    fn drop(&mut self) {
        self.0.take().into_iter().for_each(|waiter| waiter(false));
    }
}

/// A record that waits to be written.
pub(super) struct Item {
    pub(super) body: Body,
    /// The places that it takes.
    pub(super) places: usize,
    pub(super) waiter: Option<Pledge>,
}

impl Item {
    /// Its waiter is told that the record is not on disk, and the record will say so.
    fn refuse(&mut self) {
        if self.waiter.take().is_some() {
            self.body.refuse();
        }
    }
}

/// What it says.
pub(super) enum Body {
    /// It becomes JSON on the writing thread.
    Decision(Box<(i64, Decision)>),
    Change(Vec<u8>),
    Alert(Vec<u8>),
    Refusal(Vec<u8>),
}

impl Body {
    pub(super) fn to_payload(&self) -> Vec<u8> {
        match self {
            Self::Change(json) | Self::Alert(json) | Self::Refusal(json) => json.clone(),
            Self::Decision(decision) => {
                let (at_us, decision) = decision.as_ref().clone();
                to_json(&Event { at_us, what: What::Decision(decision) })
            }
        }
    }

    /// The decision was answered otherwise, because its record is not on disk.
    pub(super) fn refuse(&mut self) {
        if let Self::Decision(decision) = self {
            UNAVAILABLE.clone_into(&mut decision.1.code);
        }
    }
}

/// What was not taken, since it was last written.
#[derive(Debug, Default)]
pub(super) struct Lost {
    pub(super) changes: AtomicU64,
    pub(super) decisions: AtomicU64,
    pub(super) alerts: AtomicU64,
    /// All of them together since the start.
    pub(super) ever: AtomicU64,
}

impl Lost {
    fn add(&self, of: &AtomicU64, count: u64) {
        of.fetch_add(count, Ordering::Relaxed);
        self.ever.fetch_add(count, Ordering::Relaxed);
    }
}

/// The queue.
pub(super) struct Queue {
    desk: Arc<AuditDesk>,
    /// Protects what waits; held to add one, or to take all.
    waiting: Mutex<Waiting>,
    filled: Condvar,
    pub(super) lost: Lost,
}

#[derive(Default)]
struct Waiting {
    items: VecDeque<Item>,
    closed: bool,
}

/// What the writing thread goes on with.
pub(super) struct Taken {
    pub(super) items: VecDeque<Item>,
    /// Nothing comes any more.
    pub(super) closed: bool,
}

impl Queue {
    pub(super) fn new(desk: Arc<AuditDesk>) -> Self {
        let (waiting, filled, lost) = Default::default();
        Self { desk, waiting, filled, lost }
    }

    /// Takes a decision whose place was reserved.
    pub(super) fn push_reserved(&self, at_us: i64, decision: Decision, waiter: Option<Waiter>) {
        let body = Body::Decision(Box::new((at_us, decision)));
        let waiter = waiter.map(|waiter| Pledge(Some(waiter)));
        self.push(Item { body, places: 1, waiter });
    }

    /// Takes a decision if there is room.
    pub(super) fn offer(&self, at_us: i64, decision: Decision) {
        if self.desk.take_spare() {
            self.push_reserved(at_us, decision, None);
        } else {
            self.lost.add(&self.lost.decisions, decision.count.max(1));
        }
    }

    /// Takes any event if there is room.
    pub(super) fn offer_event(&self, event: &Event) {
        let lost = match &event.what {
            What::Decision(decision) => return self.offer(event.at_us, decision.clone()),
            What::Change(_) => &self.lost.changes,
            What::Alert(_) => &self.lost.alerts,
            What::Refusal(refusal) => return self.offer_refusal(event, refusal.count),
        };
        let json = to_json(event);
        let places = json.len().div_ceil(PLACE_BYTES).max(1);
        if json.is_empty() || !self.desk.take(places) {
            self.lost.add(lost, 1);
            return;
        }
        let body = match &event.what {
            What::Alert(_) => Body::Alert(json),
            _ => Body::Change(json),
        };
        self.push(Item { body, places, waiter: None });
    }

    /// Refusals are like decisions that nobody demands: whoever is refused must not put out what is.
    fn offer_refusal(&self, event: &Event, count: u64) {
        let json = to_json(event);
        if json.is_empty() || !self.desk.take_spare() {
            return self.lost.add(&self.lost.decisions, count.max(1));
        }
        self.push(Item { body: Body::Refusal(json), places: 1, waiter: None });
    }

    fn push(&self, item: Item) {
        let mut waiting = self.waiting.lock();
        if waiting.closed {
            drop(waiting);
            return self.refuse_late(&item);
        }
        waiting.items.push_back(item);
        let first = waiting.items.len() == 1;
        drop(waiting);
        if first {
            self.filled.notify_one();
        }
    }

    /// Nobody writes it any more.
    fn refuse_late(&self, item: &Item) {
        let (lost, what) = match &item.body {
            Body::Change(json) => (&self.lost.changes, String::from_utf8_lossy(json)),
            Body::Alert(json) => (&self.lost.alerts, String::from_utf8_lossy(json)),
            Body::Decision(_) | Body::Refusal(_) => {
                return self.lost.add(&self.lost.decisions, 1);
            }
        };
        self.lost.add(lost, 1);
        tracing::error!(%what, "the audit log was closed already: this is not in it");
    }

    /// All that waits; waits itself for as long at the most, where there is nothing.
    pub(super) fn take(&self, at_most: Duration) -> Taken {
        let mut waiting = self.waiting.lock();
        if waiting.items.is_empty() && !waiting.closed {
            let _ = self.filled.wait_for(&mut waiting, at_most);
        }
        Taken { items: std::mem::take(&mut waiting.items), closed: waiting.closed }
    }

    /// While the log cannot be written: all that has come in so long, or until the end. Whoever waits
    /// for a record is told as it comes, with the lock held, that it is not on disk.
    pub(super) fn refuse_for(&self, at_most: Duration) -> Taken {
        let mut items = VecDeque::new();
        let mut refuse = |waiting: &mut Waiting| {
            waiting.items.iter_mut().for_each(Item::refuse);
            // Taken, so that the next that comes is the first, and wakes us.
            items.append(&mut waiting.items);
            !waiting.closed
        };
        let mut waiting = self.waiting.lock();
        let _ = self.filled.wait_while_for(&mut waiting, &mut refuse, at_most);
        refuse(&mut waiting);
        Taken { items, closed: waiting.closed }
    }

    /// Nothing is taken any more.
    pub(super) fn close(&self) {
        self.waiting.lock().closed = true;
        self.filled.notify_all();
    }

    /// The places of records that were written.
    pub(super) fn give_back(&self, places: usize) {
        self.desk.give_back(places);
    }
}
