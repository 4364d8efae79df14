//! What a connection holds beyond its buffers: requests whose replies wait for the ledger, and the
//! slots that its requests have taken.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use keygate_protocol::Verdict;

use crate::clock::Now;
use crate::engine::{Account, Engine, Wait};
use crate::ledger::Ledger;

/// Slots that are noted before it is looked which of them are still held.
const SLOTS_UNSEEN: usize = 64;

/// A request that is judged anew when its accounts were debited.
pub(super) struct Parked {
    pub(super) correlation: u32,
    /// A copy of its payload.
    pub(super) payload: Bytes,
    /// The tenant that the connection was bound to when it came.
    pub(super) tenant: Option<Arc<str>>,
    /// Of a batch, the verdicts of its items, as far as they are given: none is decided twice.
    pub(super) batch: Option<Vec<Option<Verdict>>>,
}

/// The requests of one connection that wait, and what for.
#[derive(Default)]
pub(super) struct Deferred {
    pub(super) parked: Vec<Parked>,
    waits: Vec<Wait>,
}

/// Waits until accounts were debited, or could not be. The ledger always answers.
pub(super) async fn debited(ledger: &Ledger, accounts: Vec<Account>) {
    let (answer, answered) = tokio::sync::oneshot::channel();
    ledger.want(
        accounts,
        Box::new(move || {
            // Whoever waited may be gone.
            let _ = answer.send(());
        }),
    );
    let _ = answered.await;
}

impl Deferred {
    /// Notes what a request waits for.
    pub(super) fn wait_for(&mut self, wait: &Wait) {
        self.waits.push(wait.clone());
    }

    /// The accounts that are waited for, from here on by whoever asks.
    pub(super) fn take_accounts(&mut self) -> Vec<Account> {
        std::mem::take(&mut self.waits).iter().flat_map(Wait::accounts).collect()
    }
}

/// The slots that the requests of one connection have taken. They are given back at its end, in
/// whatever way that comes.
pub(super) struct Slots<'e> {
    engine: &'e Engine,
    /// Keys by slot.
    held: HashMap<u64, u64>,
    /// So many, and those that are gone are forgotten: they may have been given back elsewhere.
    look_at: usize,
    /// When the connection last did something.
    now: Now,
}

impl<'e> Slots<'e> {
    pub(super) fn new(engine: &'e Engine) -> Self {
        let now = Now { mono_ns: 0, wall_us: 0 };
        Self { engine, held: HashMap::new(), look_at: SLOTS_UNSEEN, now }
    }

    /// A request has taken a slot.
    pub(super) fn take(&mut self, key: u64, slot: u64, now: Now) {
        self.now = now;
        self.held.insert(slot, key);
        if self.held.len() >= self.look_at {
            self.held.retain(|slot, key| self.engine.holds_slot(*key, *slot, now));
            self.look_at = (self.held.len() * 2).max(SLOTS_UNSEEN);
        }
    }

    /// A report has given a slot back.
    pub(super) fn give_back(&mut self, slot: u64) {
        self.held.remove(&slot);
    }
}

impl Drop for Slots<'_> {
    fn drop(&mut self) {
        for (slot, key) in &self.held {
            self.engine.release_slot(*key, *slot, self.now);
        }
    }
}
