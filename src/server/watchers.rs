//! Who watches: each is told of every event that it may see from then on, and of how many of those it
//! was too slow for. Nobody's events take room from another's.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use keygate_protocol::VerdictCode;
use parking_lot::{Mutex, RwLock};
use tokio::sync::Notify;

use crate::audit::{Sampler, event_json};
use crate::clock::Now;
use crate::event::{Decision, Event, Journal, Subject, What};

/// An event as it is sent, made once for all: its JSON, within the bound of a record of the audit log.
pub(super) type Shown = Arc<str>;

/// All of them. What waits for each is bounded, and so are they.
pub(super) struct Watchers {
    seats: RwLock<Vec<Arc<Seat>>>,
    /// How many there are: without one an event costs no more than to look here.
    open: AtomicUsize,
    bounds: Bounds,
}

/// See the settings of these names.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bounds {
    pub(super) events_max: usize,
    pub(super) watchers_max: usize,
    pub(super) denials_per_second_max: u32,
}

/// Where one watches.
struct Seat {
    /// It sees this tenant; nothing stands for all.
    tenant: Option<String>,
    events_max: usize,
    /// Which denials it is told of each; the others it is told by their number.
    sampler: Sampler,
    /// Protects what waits for it.
    waiting: Mutex<Waiting>,
    filled: Notify,
}

#[derive(Default)]
struct Waiting {
    events: VecDeque<Shown>,
    /// Events before those that waited too long.
    missed: u64,
    /// The second of its clock in which counts of denials were last told.
    counted_second: u64,
}

/// What a watcher is told next.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Told {
    Event(Shown),
    /// So many events are not there any more.
    Missed(u64),
}

/// One of them, until it is dropped.
pub(super) struct Watcher {
    seat: Arc<Seat>,
    of: Arc<Watchers>,
}

impl Watchers {
    pub(super) fn new(bounds: Bounds) -> Self {
        Self { seats: RwLock::default(), open: AtomicUsize::new(0), bounds }
    }

    /// Nobody may watch.
    pub(super) fn none() -> Self {
        Self::new(Bounds { events_max: 1, watchers_max: 0, denials_per_second_max: 0 })
    }

    /// One more, which sees a tenant, or everything; `None` when there are as many as may be. The last
    /// quarter is kept for those who are bound to no tenant.
    pub(super) fn watch(self: &Arc<Self>, tenant: Option<String>, bound: bool) -> Option<Watcher> {
        let Bounds { events_max, watchers_max, denials_per_second_max } = self.bounds;
        let kept = if bound { watchers_max / 4 } else { 0 };
        let seat = Arc::new(Seat {
            tenant,
            events_max: events_max.max(1),
            sampler: Sampler::new(denials_per_second_max),
            waiting: Mutex::default(),
            filled: Notify::new(),
        });
        let mut seats = self.seats.write();
        if seats.len() + kept >= watchers_max {
            return None;
        }
        seats.push(Arc::clone(&seat));
        self.open.store(seats.len(), Ordering::Relaxed);
        Some(Watcher { seat, of: Arc::clone(self) })
    }

    /// Whether anybody watches. Where nobody does, an event costs no more than this.
    pub(super) fn are_there(&self) -> bool {
        self.open.load(Ordering::Relaxed) > 0
    }

    /// Tells of a denial those who may see its tenant, so many in a second each; it is made where one
    /// is told.
    pub(super) fn denied(
        &self,
        tenant: Option<&str>,
        code: VerdictCode,
        now: Now,
        make: impl FnOnce() -> Decision,
    ) {
        let seats = self.seats.read();
        let admits =
            |seat: &&Arc<Seat>| seat.sees(tenant) && seat.sampler.admit(code as u8, now.mono_ns);
        let mut told = seats.iter().filter(admits).peekable();
        if told.peek().is_none() {
            return;
        }
        let shown = shown(&Event { at_us: now.wall_us, what: What::Decision(make()) });
        for seat in told {
            seat.count(now);
            seat.push(Arc::clone(&shown));
        }
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
            What::Refusal(_) => None,
        };
        let tenant = subject.and_then(Subject::tenant);
        let seats = self.seats.read();
        let mut made = None;
        for seat in seats.iter().filter(|seat| seat.sees(tenant)) {
            seat.push(Arc::clone(made.get_or_insert_with(|| shown(event))));
        }
    }
}

fn shown(event: &Event) -> Shown {
    // JSON is UTF-8.
    String::from_utf8(event_json(event)).unwrap_or_default().into()
}

impl Seat {
    fn sees(&self, tenant: Option<&str>) -> bool {
        self.tenant.is_none() || tenant == self.tenant.as_deref()
    }

    fn push(&self, shown: Shown) {
        let mut waiting = self.waiting.lock();
        if waiting.events.len() >= self.events_max {
            waiting.events.pop_front();
            waiting.missed += 1;
        }
        waiting.events.push_back(shown);
        drop(waiting);
        self.filled.notify_one();
    }

    /// Tells once a second how many denials were not told each.
    fn count(&self, now: Now) {
        let second = now.mono_ns / 1_000_000_000;
        if std::mem::replace(&mut self.waiting.lock().counted_second, second) == second {
            return;
        }
        for (code, count) in self.sampler.take() {
            let Some(code) = VerdictCode::from_byte(code) else { continue };
            let what = What::Decision(Decision::unrecorded(code.name(), count));
            self.push(shown(&Event { at_us: now.wall_us, what }));
        }
    }
}

impl Watcher {
    /// What it is told next, if anything waits.
    pub(super) fn next(&self) -> Option<Told> {
        let mut waiting = self.seat.waiting.lock();
        match std::mem::take(&mut waiting.missed) {
            0 => waiting.events.pop_front().map(Told::Event),
            missed => Some(Told::Missed(missed)),
        }
    }

    /// The next event, if none before it was missed.
    pub(super) fn next_without_gap(&self) -> Option<Told> {
        let mut waiting = self.seat.waiting.lock();
        if waiting.missed > 0 {
            return None;
        }
        waiting.events.pop_front().map(Told::Event)
    }

    /// Waits until something is there.
    pub(super) async fn filled(&self) {
        self.seat.filled.notified().await;
    }

    /// Takes note of the time, for denials that are told by their number.
    pub(super) fn count(&self, now: Now) {
        self.seat.count(now);
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        let mut seats = self.of.seats.write();
        seats.retain(|seat| !Arc::ptr_eq(seat, &self.seat));
        self.of.open.store(seats.len(), Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn watchers(events_max: usize, watchers_max: usize) -> Arc<Watchers> {
        Arc::new(Watchers::new(Bounds { events_max, watchers_max, denials_per_second_max: 3 }))
    }

    fn event(at_us: i64, tenant: Option<&str>) -> Event {
        let subject = tenant.map(|id| Subject::Tenant { id: id.to_owned() });
        let decision = Decision { subject, ..Decision::unrecorded("NOT_FOUND", 1) };
        Event { at_us, what: What::Decision(decision) }
    }

    fn at(second: u64) -> Now {
        Now { mono_ns: second * 1_000_000_000 + 5, wall_us: 7 }
    }

    /// How many of a watcher's events say this.
    fn saying(watcher: &Watcher, what: &str) -> usize {
        std::iter::from_fn(|| watcher.next())
            .filter(|told| matches!(told, Told::Event(json) if json.contains(what)))
            .count()
    }

    #[test]
    fn a_slow_watcher_misses_the_oldest_and_their_number_is_bounded() {
        let watchers = watchers(4, 2);
        watchers.note(&event(0, None));
        let one = watchers.watch(None, false).expect("room");
        let two = watchers.watch(None, false).expect("room");
        assert!(watchers.watch(None, false).is_none());
        drop(two);
        assert!(watchers.watch(None, false).is_some());
        (1..=10).for_each(|at_us| watchers.note(&event(at_us, None)));
        assert_eq!(one.next_without_gap(), None);
        assert_eq!(one.next(), Some(Told::Missed(6)));
        let Some(Told::Event(next)) = one.next() else { panic!("it is there") };
        assert!(next.starts_with("{\"at_us\":7,"), "{next}");
        drop(one);
        assert!(!watchers.are_there());
    }

    #[test]
    fn nobodys_events_take_room_from_another_s() {
        let watchers = watchers(4, 4);
        let acme = watchers.watch(Some("acme".to_owned()), true).expect("room");
        watchers.note(&event(1, Some("acme")));
        (0..100).for_each(|at_us| watchers.note(&event(at_us, Some("other"))));
        watchers.note(&event(2, None));
        assert!(matches!(acme.next(), Some(Told::Event(json)) if json.contains("acme")));
        assert_eq!(acme.next(), None);
        // The last quarter is not for those who are bound.
        let bound = || watchers.watch(Some("acme".to_owned()), true);
        let _held = [bound(), bound()].map(|it| it.expect("room"));
        assert!(bound().is_none());
        assert!(watchers.watch(None, false).is_some());
    }

    #[test]
    fn so_many_denials_in_a_second_are_told_each_and_the_others_by_their_number() {
        let watchers = watchers(100, 4);
        let all = watchers.watch(None, false).expect("room");
        let acme = watchers.watch(Some("acme".to_owned()), true).expect("room");
        let made = AtomicUsize::new(0);
        let deny = |tenant: Option<&str>, second| {
            watchers.denied(tenant, VerdictCode::NotFound, at(second), || {
                made.fetch_add(1, Ordering::Relaxed);
                Decision::unrecorded("NOT_FOUND", 1)
            });
        };
        (0..10).for_each(|_| deny(None, 5));
        assert_eq!(made.load(Ordering::Relaxed), 3);
        deny(Some("acme"), 5);
        assert_eq!(made.load(Ordering::Relaxed), 4, "the flood is not its own");
        assert_eq!(saying(&acme, "\"count\":1"), 1);
        all.count(at(6));
        assert_eq!(saying(&all, "\"count\":8"), 1);
        assert_eq!(acme.next(), None);
    }
}
