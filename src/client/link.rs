//! What callers and the connection task share: a table behind a lock, and the bound on requests
//! in flight.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Poll, Waker, ready};
use std::time::Duration;

use bytes::BytesMut;
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout_at};

use super::slot::{Failure, Outcome};
use super::stopwatch;
use super::table::{Caller, GivenUp, Phase, Request, Table, Wakes};

/// Between the callers and the connection task.
pub(super) struct Link {
    /// Protects who waits for what. Held for a few hundred instructions at most, never across an
    /// await, a system call, or a wake.
    table: Mutex<Table>,
    /// One permit for each slot and each queued request without reply.
    permits: Semaphore,
}

impl Link {
    pub(super) fn new(in_flight_max: usize) -> Self {
        Self { table: Mutex::new(Table::new()), permits: Semaphore::new(in_flight_max) }
    }

    pub(super) fn table(&self) -> MutexGuard<'_, Table> {
        // The table's methods keep it whole at every step that could panic.
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Does what was left to do when the lock was let go.
    pub(super) fn wake(&self, wakes: &mut Wakes) {
        wakes.callers.drain(..).for_each(Waker::wake);
        if wakes.freed > 0 {
            self.permits.add_permits(std::mem::take(&mut wakes.freed));
        }
    }

    /// Changes the table and does what follows from it.
    pub(super) fn change<T>(&self, change: impl FnOnce(&mut Table, &mut Wakes) -> T) -> T {
        let mut wakes = Wakes::default();
        let result = change(&mut self.table(), &mut wakes);
        self.wake(&mut wakes);
        result
    }

    /// No more calls: the connection task writes what is queued and ends.
    pub(super) fn close(&self) {
        let (task, alarm) = {
            let mut table = self.table();
            table.close();
            (table.take_task(), table.take_alarm())
        };
        task.into_iter().chain(alarm).for_each(Waker::wake);
    }

    /// Waits until there is something to send. False when the clients are gone and there is not.
    pub(super) async fn wanted(&self) -> bool {
        poll_fn(|cx| {
            let mut table = self.table();
            if table.has_queued() {
                return Poll::Ready(true);
            }
            if table.phase() != Phase::Open {
                return Poll::Ready(false);
            }
            table.sleep(cx.waker());
            Poll::Pending
        })
        .await
    }

    /// Waits until the clients are gone.
    pub(super) async fn closing(&self) {
        poll_fn(|cx| {
            let mut table = self.table();
            if table.phase() != Phase::Open {
                return Poll::Ready(());
            }
            table.sleep(cx.waker());
            Poll::Pending
        })
        .await;
    }

    /// Wakes callers when their deadlines come, until the clients are gone.
    pub(super) async fn keep_deadlines(&self) {
        let mut sleep = pin!(tokio::time::sleep(Duration::ZERO));
        poll_fn(|cx| {
            loop {
                let next = self.change(|table, wakes| {
                    let open = table.phase() == Phase::Open;
                    open.then(|| table.ring(stopwatch::now(), cx.waker(), wakes))
                });
                match next {
                    None => return Poll::Ready(()),
                    Some(None) => return Poll::Pending,
                    Some(Some(at)) => sleep.as_mut().reset(at),
                }
                ready!(sleep.as_mut().poll(cx));
            }
        })
        .await;
    }

    /// Takes a permit, waiting for room. False if there was none before the deadline.
    async fn admit(&self, deadline: Option<Instant>) -> bool {
        if let Ok(permit) = self.permits.try_acquire() {
            permit.forget();
            return true;
        }
        let permit = match deadline {
            Some(deadline) => timeout_at(deadline, self.permits.acquire()).await,
            None => Ok(self.permits.acquire().await),
        };
        // The semaphore is never closed, so all that can fail is waiting.
        let Ok(Ok(permit)) = permit else { return false };
        permit.forget();
        true
    }

    /// Queues a request that wants no reply, waiting for room; `None` if there came to be none.
    pub(super) async fn detach(
        &self,
        request: Request<impl FnOnce(&mut BytesMut)>,
        timeout: Duration,
    ) -> Option<Result<(), Failure>> {
        let admitted = self.admit(stopwatch::now().checked_add(timeout)).await;
        admitted.then(|| self.queue_detached(request))
    }

    /// Queues a request that wants no reply, if there is room.
    pub(super) fn try_detach(
        &self,
        request: Request<impl FnOnce(&mut BytesMut)>,
    ) -> Option<Result<(), Failure>> {
        self.permits.try_acquire().ok()?.forget();
        Some(self.queue_detached(request))
    }

    fn queue_detached(&self, request: Request<impl FnOnce(&mut BytesMut)>) -> Result<(), Failure> {
        let (begun, task) = {
            let mut table = self.table();
            (table.begin_detached(request), table.take_task())
        };
        task.into_iter().for_each(Waker::wake);
        if begun.is_err() {
            self.permits.add_permits(1);
        }
        begun
    }
}

/// How a call ended.
pub(super) enum Ended {
    Outcome(Outcome),
    TimedOut(GivenUp),
}

/// One call from its beginning to its outcome. Dropping it gives it up.
pub(super) struct Call<'a> {
    link: &'a Link,
    slot: Option<u16>,
}

impl<'a> Call<'a> {
    pub(super) const fn new(link: &'a Link) -> Self {
        Self { link, slot: None }
    }

    /// Waits for room, queues the request, and waits for its outcome, until the timeout.
    pub(super) async fn run(
        &mut self,
        request: Request<impl FnOnce(&mut BytesMut)>,
        timeout: Duration,
    ) -> Ended {
        // A timeout beyond the end of time is none.
        let deadline = stopwatch::now().checked_add(timeout);
        if !self.link.admit(deadline).await {
            return Ended::TimedOut(GivenUp::Withdrawn);
        }
        let mut request = Some(request);
        poll_fn(|cx| {
            let caller = Caller { waker: cx.waker(), deadline };
            match request.take() {
                Some(request) => self.begin(request, &caller),
                None => self.poll(&caller),
            }
        })
        .await
    }

    fn begin(
        &mut self,
        request: Request<impl FnOnce(&mut BytesMut)>,
        caller: &Caller<'_>,
    ) -> Poll<Ended> {
        let (begun, task, alarm) = {
            let mut table = self.link.table();
            let begun = table.begin(request, caller);
            (begun, table.take_task(), table.alarm_for(caller.deadline))
        };
        task.into_iter().chain(alarm).for_each(Waker::wake);
        match begun {
            Ok(slot) => {
                self.slot = Some(slot);
                Poll::Pending
            }
            Err(failure) => {
                self.link.permits.add_permits(1);
                Poll::Ready(Ended::Outcome(Err(failure)))
            }
        }
    }

    fn poll(&mut self, caller: &Caller<'_>) -> Poll<Ended> {
        let Some(slot) = self.slot else { return Poll::Pending };
        let outcome = self.link.table().poll(slot, caller.waker);
        if let Some(outcome) = outcome {
            self.slot = None;
            self.link.permits.add_permits(1);
            return Poll::Ready(Ended::Outcome(outcome));
        }
        if caller.deadline.is_some_and(|deadline| deadline <= stopwatch::now()) {
            return Poll::Ready(Ended::TimedOut(self.give_up()));
        }
        Poll::Pending
    }

    /// Waits no longer.
    fn give_up(&mut self) -> GivenUp {
        let Some(slot) = self.slot.take() else { return GivenUp::Withdrawn };
        let (given_up, task) = {
            let mut table = self.link.table();
            // The task watches for silence only while somebody has given up.
            (table.give_up(slot), table.take_task())
        };
        task.into_iter().for_each(Waker::wake);
        if !matches!(given_up, GivenUp::Abandoned) {
            self.link.permits.add_permits(1);
        }
        given_up
    }
}

impl Drop for Call<'_> {
    fn drop(&mut self) {
        let Some(slot) = self.slot.take() else { return };
        let (free, task) = {
            let mut table = self.link.table();
            (table.drop_call(slot), table.take_task())
        };
        task.into_iter().for_each(Waker::wake);
        if free {
            self.link.permits.add_permits(1);
        }
    }
}
