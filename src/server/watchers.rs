//! Who watches: each is told of every event from then on, and of how many it was too slow for.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::broadcast::{Receiver, Sender, channel};

use crate::audit::event_json;
use crate::event::{Event, Journal, Subject, What};

/// An event as it is sent, made once for all.
#[derive(Debug)]
pub(super) struct Shown {
    /// The tenant that may see it beside whoever sees all.
    pub(super) tenant: Option<Box<str>>,
    /// Its JSON, within the bound of a record of the audit log.
    pub(super) json: Box<str>,
}

/// All of them. What waits for the slowest is bounded, and so are they.
pub(super) struct Watchers {
    events: Sender<Arc<Shown>>,
    open: Arc<AtomicUsize>,
    watchers_max: usize,
}

/// One of them, until it is dropped.
pub(super) struct Watcher {
    pub(super) events: Receiver<Arc<Shown>>,
    open: Arc<AtomicUsize>,
}

impl Watchers {
    pub(super) fn new(events_max: usize, watchers_max: usize) -> Self {
        let (events, _) = channel(events_max.max(1));
        Self { events, open: Arc::default(), watchers_max }
    }

    /// One more; `None` when there are as many as may be.
    pub(super) fn watch(&self) -> Option<Watcher> {
        let room = |open| (open < self.watchers_max).then_some(open + 1);
        self.open.fetch_update(Ordering::AcqRel, Ordering::Acquire, room).ok()?;
        Some(Watcher { events: self.events.subscribe(), open: Arc::clone(&self.open) })
    }

    /// Whether anybody watches. Where nobody does, an event costs no more than this.
    pub(super) fn are_there(&self) -> bool {
        self.open.load(Ordering::Relaxed) > 0
    }
}

impl Journal for Watchers {
    fn note(&self, event: &Event) {
        if !self.are_there() {
            return;
        }
        let subject = match &event.what {
            What::Change(change) => Some(&change.subject),
            What::Decision(decision) => decision.subject.as_ref(),
            What::Alert(alert) => Some(&alert.subject),
        };
        let tenant = subject.and_then(Subject::tenant).map(Box::from);
        // JSON is UTF-8.
        let json = String::from_utf8(event_json(event)).unwrap_or_default().into_boxed_str();
        // The last may have gone meanwhile.
        let _ = self.events.send(Arc::new(Shown { tenant, json }));
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        self.open.fetch_sub(1, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::broadcast::error::TryRecvError;

    use super::*;
    use crate::event::Decision;

    fn event(at_us: i64) -> Event {
        Event { at_us, what: What::Decision(Decision::unrecorded("NOT_FOUND", 1)) }
    }

    #[test]
    fn a_slow_watcher_misses_the_oldest_and_their_number_is_bounded() {
        let watchers = Watchers::new(4, 2);
        watchers.note(&event(0));
        let mut one = watchers.watch().expect("room");
        let two = watchers.watch().expect("room");
        assert!(watchers.watch().is_none());
        drop(two);
        assert!(watchers.watch().is_some());
        for at_us in 1..=10 {
            watchers.note(&event(at_us));
        }
        assert!(matches!(one.events.try_recv(), Err(TryRecvError::Lagged(6))));
        let next = one.events.try_recv().expect("there");
        assert!(next.json.starts_with("{\"at_us\":7,") && next.tenant.is_none(), "{}", next.json);
        drop(one);
        assert!(!watchers.are_there());
    }
}
