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

/// Bytes of a place.
const PLACE_BYTES: usize = 1024;

/// A record that waits to be written.
pub(super) struct Item {
    pub(super) body: Body,
    /// The places that it takes.
    pub(super) places: usize,
    pub(super) waiter: Option<Waiter>,
}

/// What it says.
pub(super) enum Body {
    /// It becomes JSON on the writing thread.
    Decision(Box<(i64, Decision)>),
    Json(Vec<u8>),
}

impl Body {
    pub(super) fn to_payload(&self) -> Vec<u8> {
        match self {
            Self::Json(json) => json.clone(),
            Self::Decision(decision) => {
                let (at_us, decision) = decision.as_ref().clone();
                to_json(&Event { at_us, what: What::Decision(decision) })
            }
        }
    }
}

/// What was not taken, since it was last written.
#[derive(Debug, Default)]
pub(super) struct Lost {
    pub(super) changes: AtomicU64,
    pub(super) decisions: AtomicU64,
    pub(super) alerts: AtomicU64,
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
        self.push(Item { body, places: 1, waiter });
    }

    /// Takes a decision if there is room.
    pub(super) fn offer(&self, at_us: i64, decision: Decision) {
        if self.desk.take(1) {
            self.push_reserved(at_us, decision, None);
        } else {
            self.lost.decisions.fetch_add(decision.count.max(1), Ordering::Relaxed);
        }
    }

    /// Takes any event if there is room.
    pub(super) fn offer_event(&self, event: &Event) {
        let lost = match &event.what {
            What::Decision(decision) => return self.offer(event.at_us, decision.clone()),
            What::Change(_) => &self.lost.changes,
            What::Alert(_) => &self.lost.alerts,
        };
        let json = to_json(event);
        let places = json.len().div_ceil(PLACE_BYTES).max(1);
        if json.is_empty() || !self.desk.take(places) {
            lost.fetch_add(1, Ordering::Relaxed);
            return;
        }
        self.push(Item { body: Body::Json(json), places, waiter: None });
    }

    fn push(&self, item: Item) {
        let mut waiting = self.waiting.lock();
        let closed = waiting.closed;
        let item = if closed {
            Some(item)
        } else {
            waiting.items.push_back(item);
            None
        };
        let first = waiting.items.len() == 1;
        drop(waiting);
        if first {
            self.filled.notify_one();
        }
        // The daemon has stopped; nobody writes it any more.
        if let Some(waiter) = item.and_then(|item| item.waiter) {
            waiter(false);
        }
    }

    /// All that waits; waits itself for as long at the most, where there is nothing.
    pub(super) fn take(&self, at_most: Duration) -> Taken {
        let mut waiting = self.waiting.lock();
        if waiting.items.is_empty() && !waiting.closed {
            let _ = self.filled.wait_for(&mut waiting, at_most);
        }
        Taken { items: std::mem::take(&mut waiting.items), closed: waiting.closed }
    }

    /// Waits, unless the end is near; whether it is.
    pub(super) fn pause(&self, at_most: Duration) -> bool {
        let mut waiting = self.waiting.lock();
        if !waiting.closed {
            let _ = self.filled.wait_for(&mut waiting, at_most);
        }
        waiting.closed
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

    /// Records that wait.
    pub(super) fn len(&self) -> usize {
        self.waiting.lock().items.len()
    }
}
