//! Deadlines and orders of data connections, without a timer for each.
//!
//! A connection notes when it read; its worker looks once a tick, on the same thread, and gives
//! the order to end to those that were silent for too long, or to all when the daemon stops.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::rc::{Rc, Weak};
use std::task::{Poll, Waker};

use crate::clock::Now;
use crate::config::Limits;

/// What a connection is told to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Order {
    /// Answer what was read, and end: the daemon stops.
    Stop,
    /// Say that it took too long, and end.
    TimeOut,
    /// End: the peer does not read what it is answered.
    GiveUp,
}

/// What a read has left in the input once everything whole is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Left {
    /// Nothing: the read ended where a frame does.
    Nothing,
    /// The beginning of a frame that this read has brought.
    NewFrame,
    /// More of the frame that was there before, and not yet all of it.
    SameFrame,
}

/// What of a connection waits for the ledger, which always answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Parked {
    None,
    /// Requests, and more are read beside them.
    Some,
    /// So many requests that nothing more is read.
    Full,
}

/// What a worker knows of one connection.
#[derive(Debug)]
pub(super) struct Watch {
    last_read_ns: Cell<u64>,
    /// Since when the input ends inside the same frame. A trickle of bytes does not extend its
    /// time; a busy peer, whose every read ends inside another frame, is not late.
    frame_since_ns: Cell<Option<u64>>,
    /// Since when replies wait for the peer to read them.
    writing_since_ns: Cell<Option<u64>>,
    parked: Cell<Parked>,
    order: Cell<Option<Order>>,
    waker: RefCell<Option<Waker>>,
}

impl Watch {
    fn new(now: Now) -> Self {
        Self {
            last_read_ns: Cell::new(now.mono_ns),
            frame_since_ns: Cell::new(None),
            writing_since_ns: Cell::new(None),
            parked: Cell::new(Parked::None),
            order: Cell::new(None),
            waker: RefCell::new(None),
        }
    }

    /// Notes a read and what it has left.
    pub(super) fn note(&self, now: Now, left: Left) {
        self.last_read_ns.set(now.mono_ns);
        self.frame_since_ns.set(match left {
            Left::Nothing => None,
            Left::NewFrame => Some(now.mono_ns),
            Left::SameFrame => self.frame_since_ns.get().or(Some(now.mono_ns)),
        });
    }

    /// Notes since when replies are being written; `None` once they have been.
    pub(super) fn note_writing(&self, since: Option<Now>) {
        self.writing_since_ns.set(since.map(|now| now.mono_ns));
    }

    /// Notes whether requests wait for the ledger. Until they are answered the silence is not the
    /// peer's; nor is it late with a frame that is not read.
    pub(super) fn note_parked(&self, now: Now, parked: Parked) {
        let before = self.parked.replace(parked);
        if before == parked {
            return;
        }
        self.last_read_ns.set(now.mono_ns);
        if before == Parked::Full && self.frame_since_ns.get().is_some() {
            self.frame_since_ns.set(Some(now.mono_ns));
        }
    }

    /// The order that was given, for a connection that never has to wait for its peer.
    pub(super) fn given(&self) -> Option<Order> {
        self.order.get()
    }

    /// Waits for an order.
    pub(super) async fn order(&self) -> Order {
        poll_fn(|cx| {
            if let Some(order) = self.order.get() {
                return Poll::Ready(order);
            }
            let mut waker = self.waker.borrow_mut();
            if !waker.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
                *waker = Some(cx.waker().clone());
            }
            Poll::Pending
        })
        .await
    }

    fn give(&self, order: Order) {
        self.order.set(Some(order));
        if let Some(waker) = self.waker.borrow_mut().take() {
            waker.wake();
        }
    }

    /// What the connection has to be told now, if anything.
    fn due(&self, limits: &Limits, now: Now) -> Option<Order> {
        let passed =
            |since_ns: u64, ms: u64| now.mono_ns.saturating_sub(since_ns) / 1_000_000 >= ms;
        if let Some(since) = self.writing_since_ns.get() {
            // While it is answered, the silence is not the peer's.
            return passed(since, limits.write_timeout_ms).then_some(Order::GiveUp);
        }
        let frame = self.frame_since_ns.get();
        let silent = passed(self.last_read_ns.get(), limits.idle_timeout_ms);
        let slow = frame.is_some_and(|since| passed(since, limits.frame_timeout_ms));
        let late = match self.parked.get() {
            Parked::None => silent || slow,
            Parked::Some => slow,
            Parked::Full => false,
        };
        late.then_some(Order::TimeOut)
    }
}

/// The watches of one worker's connections.
#[derive(Debug, Default)]
pub(super) struct Roster {
    watches: RefCell<Vec<Weak<Watch>>>,
}

impl Roster {
    /// A watch for a connection that has just come. It leaves the roster when it is dropped.
    pub(super) fn enter(&self, now: Now) -> Rc<Watch> {
        let watch = Rc::new(Watch::new(now));
        let mut watches = self.watches.borrow_mut();
        // Connections that come and go between two ticks must not pile up.
        if watches.len() == watches.capacity() {
            watches.retain(|watch| watch.strong_count() > 0);
        }
        watches.push(Rc::downgrade(&watch));
        watch
    }

    /// Ends the connections that are past a deadline.
    pub(super) fn tick(&self, limits: &Limits, now: Now) {
        self.watches.borrow_mut().retain(|watch| {
            let Some(watch) = watch.upgrade() else { return false };
            if let Some(order) = watch.due(limits, now) {
                watch.give(order);
            }
            true
        });
    }

    /// Ends every connection.
    pub(super) fn stop(&self) {
        let watches = self.watches.take();
        watches.iter().filter_map(Weak::upgrade).for_each(|watch| watch.give(Order::Stop));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn silence_and_slow_frames_are_late_and_nothing_else_is() {
        let limits = Limits { idle_timeout_ms: 100, frame_timeout_ms: 10, ..Limits::default() };
        let at = |ms: u64| Now { mono_ns: ms * 1_000_000, wall_us: 0 };
        let roster = Roster::default();
        let watch = roster.enter(at(0));
        let late = |ms| {
            roster.tick(&limits, at(ms));
            watch.order.take().is_some()
        };
        assert!(!late(99) && late(100), "silent since it came");
        watch.note(at(100), Left::Nothing);
        assert!(!late(199));
        watch.note(at(200), Left::NewFrame);
        watch.note(at(209), Left::SameFrame);
        assert!(late(210), "more bytes of the same frame do not extend its time");
        watch.note(at(211), Left::Nothing);
        assert!(!late(230));
        for ms in 231..260 {
            watch.note(at(ms), Left::NewFrame);
            assert!(!late(ms), "each read ended a frame and began another");
        }
        watch.note_writing(Some(at(260)));
        let limits = Limits { write_timeout_ms: 1000, ..limits };
        roster.tick(&limits, at(1259));
        assert_eq!(watch.order.get(), None, "a peer that is answered is not silent");
        roster.tick(&limits, at(1260));
        assert_eq!(watch.order.take(), Some(Order::GiveUp));
        roster.stop();
        assert_eq!(watch.order.get(), Some(Order::Stop));
    }

    #[test]
    fn who_waits_for_the_ledger_is_not_silent_and_whom_nobody_reads_is_not_slow() {
        let limits = Limits { idle_timeout_ms: 100, frame_timeout_ms: 10, ..Limits::default() };
        let at = |ms: u64| Now { mono_ns: ms * 1_000_000, wall_us: 0 };
        let roster = Roster::default();
        let watch = roster.enter(at(0));
        let late = |ms| {
            roster.tick(&limits, at(ms));
            watch.order.take().is_some()
        };
        watch.note_parked(at(0), Parked::Some);
        assert!(!late(30_000), "the ledger takes long");
        watch.note(at(30_000), Left::NewFrame);
        assert!(late(30_010), "half a frame is late all the same");
        watch.note_parked(at(30_010), Parked::Full);
        assert!(!late(60_000), "its rest is not read");
        watch.note_parked(at(60_000), Parked::None);
        assert!(!late(60_009) && late(60_010), "and has its whole time once it is");
        watch.note(at(60_010), Left::Nothing);
        assert!(!late(60_109) && late(60_110));
    }

    #[test]
    fn those_that_have_gone_leave_the_roster() {
        let roster = Roster::default();
        for _ in 0..10_000 {
            roster.enter(Now { mono_ns: 0, wall_us: 0 });
        }
        assert!(roster.watches.borrow().len() < 16);
    }
}
