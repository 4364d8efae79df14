//! What callers and the connection task share: a table behind a lock, and the bound on requests
//! in flight.

use std::future::poll_fn;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use bytes::BytesMut;
use tokio::sync::Semaphore;

use super::table::{Failure, GivenUp, Outcome, Phase, Request, Table, Wakes};

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
        let task = {
            let mut table = self.table();
            table.close();
            table.take_task()
        };
        task.into_iter().for_each(Waker::wake);
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

    /// Queues a request that wants no reply, waiting for room.
    pub(super) async fn detach(
        &self,
        request: Request<impl FnOnce(&mut BytesMut)>,
    ) -> Result<(), Failure> {
        if let Ok(permit) = self.permits.acquire().await {
            permit.forget();
        }
        self.queue_detached(request)
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

/// One call from its beginning to its outcome. Dropping it gives it up.
pub(super) struct Call<'a> {
    link: &'a Link,
    slot: Option<u16>,
}

impl<'a> Call<'a> {
    pub(super) const fn new(link: &'a Link) -> Self {
        Self { link, slot: None }
    }

    /// Waits for room, queues the request, and waits for its outcome.
    pub(super) async fn run(&mut self, request: Request<impl FnOnce(&mut BytesMut)>) -> Outcome {
        if let Ok(permit) = self.link.permits.acquire().await {
            permit.forget();
        }
        let mut request = Some(request);
        poll_fn(|cx| match request.take() {
            Some(request) => self.begin(request, cx),
            None => self.poll(cx),
        })
        .await
    }

    fn begin(
        &mut self,
        request: Request<impl FnOnce(&mut BytesMut)>,
        cx: &Context<'_>,
    ) -> Poll<Outcome> {
        let (begun, task) = {
            let mut table = self.link.table();
            (table.begin(request, cx.waker()), table.take_task())
        };
        task.into_iter().for_each(Waker::wake);
        match begun {
            Ok(slot) => {
                self.slot = Some(slot);
                Poll::Pending
            }
            Err(failure) => {
                self.link.permits.add_permits(1);
                Poll::Ready(Err(failure))
            }
        }
    }

    fn poll(&mut self, cx: &Context<'_>) -> Poll<Outcome> {
        let Some(slot) = self.slot else { return Poll::Pending };
        let Some(outcome) = self.link.table().poll(slot, cx.waker()) else {
            return Poll::Pending;
        };
        self.slot = None;
        self.link.permits.add_permits(1);
        Poll::Ready(outcome)
    }

    /// Waits no longer.
    pub(super) fn give_up(&mut self) -> GivenUp {
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
        self.give_up();
    }
}
