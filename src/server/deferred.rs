//! Requests whose replies wait for the ledger: parked with their connection, which goes on, and
//! judged anew, whole, when what they wait for was debited.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use arrayvec::ArrayVec;
use parking_lot::Mutex;
use tokio::sync::Notify;
use zeroize::Zeroizing;

use super::held::{Held, HeldReply, Receipts};
use super::recorder::Receipt;
use crate::audit::Waiter as Told;
use crate::config::Limits;
use crate::engine::{Account, BATCH};
use crate::ledger::{Ledger, Waiter};

/// Who has accounts debited: the ledger, and in tests whoever these have instead.
pub(super) trait Debits: Send + Sync {
    /// As [`Ledger::want`].
    fn want(&self, accounts: Vec<Account>, waiter: Waiter);
    /// As [`Ledger::nudge`].
    fn nudge(&self);
}

impl Debits for Ledger {
    fn want(&self, accounts: Vec<Account>, waiter: Waiter) {
        Self::want(self, accounts, waiter);
    }

    fn nudge(&self) {
        Self::nudge(self);
    }
}

/// What all connections share that wait for debits.
pub(super) struct Desk {
    ledger: Arc<dyn Debits>,
    parked: AtomicUsize,
}

impl Desk {
    pub(super) fn new(ledger: Arc<dyn Debits>) -> Arc<Self> {
        Arc::new(Self { ledger, parked: AtomicUsize::new(0) })
    }

    /// Requests that are parked now, of all connections.
    pub(super) fn parked(&self) -> usize {
        self.parked.load(Ordering::Relaxed)
    }
}

/// The verdicts of a batch's items, encoded; none of those that wait. What is decided is kept:
/// nothing is decided twice.
pub(super) type Verdicts = Vec<Option<Box<[u8]>>>;

/// A request that is judged anew when its accounts were debited.
pub(super) struct Parked {
    pub(super) correlation: u32,
    /// A copy of its payload, which was found well-formed; wiped, for it holds tokens.
    pub(super) payload: Zeroizing<Box<[u8]>>,
    /// The tenant that the connection was bound to when it came.
    pub(super) tenant: Option<Arc<str>>,
    /// Of a batch.
    pub(super) verdicts: Option<Verdicts>,
    /// Whether its reply is so large that it is judged by itself.
    pub(super) is_large: bool,
    /// Of a batch: which of its verdicts wait for their records.
    pub(super) receipts: Receipts,
    /// When it was read, on the monotonic clock.
    pub(super) since_ns: u64,
}

impl Parked {
    /// What it holds of memory, about.
    fn bytes(&self) -> usize {
        let of = |verdict: &Option<Box<[u8]>>| {
            size_of::<Option<Box<[u8]>>>() + verdict.as_ref().map_or(0, |bytes| bytes.len())
        };
        let verdicts: usize = self.verdicts.iter().flatten().map(of).sum();
        let receipts = self.receipts.len() * size_of::<(usize, Receipt)>();
        size_of::<Self>() + self.payload.len() + verdicts + receipts
    }

    fn is_judged_alone(&self) -> bool {
        self.is_large || self.verdicts.is_some()
    }
}

/// What is judged together: one that is judged alone, or up to [`BATCH`] of one tenant; with their
/// numbers.
pub(super) type Group = ArrayVec<(u64, Parked), BATCH>;

/// The parked requests of one connection. They end with it.
pub(super) struct Deferred {
    desk: Arc<Desk>,
    requests_max: usize,
    bytes_max: usize,
    /// By number, in the order in which they came.
    parked: BTreeMap<u64, Parked>,
    /// The sum of theirs.
    bytes: usize,
    next: u64,
    /// Of the parked ones, those whose accounts were debited.
    debited: BTreeSet<u64>,
    /// Made with the first that is parked: most connections never have one.
    bell: std::sync::OnceLock<Arc<Bell>>,
    /// Replies that wait for records of theirs.
    held: Held,
}

/// What the ledger's thread tells the connection's.
#[derive(Default)]
struct Bell {
    /// Protects numbers whose accounts were debited, or could not be.
    debited: Mutex<Vec<u64>>,
    rung: Notify,
}

impl Deferred {
    pub(super) fn new(desk: &Arc<Desk>, limits: &Limits) -> Self {
        Self {
            desk: Arc::clone(desk),
            requests_max: limits.deferred_max,
            bytes_max: limits.reply_bytes_max,
            parked: BTreeMap::new(),
            bytes: 0,
            next: 0,
            debited: BTreeSet::new(),
            bell: std::sync::OnceLock::new(),
            held: Held::default(),
        }
    }

    /// Requests that are parked or held.
    pub(super) fn len(&self) -> usize {
        self.parked.len() + self.held.len()
    }

    /// Whether nothing is parked or held.
    pub(super) fn is_empty(&self) -> bool {
        self.parked.is_empty() && self.held.len() == 0
    }

    /// Whether one more request may be parked, beside so many with so many bytes.
    pub(super) fn has_room_beside(&self, requests: usize, bytes: usize) -> bool {
        self.parked.len() + self.held.len() + requests < self.requests_max
            && self.bytes + self.held.bytes() + bytes < self.bytes_max
    }

    /// A receipt for a record; the connection is woken when it is settled.
    pub(super) fn receipt(&self) -> (Receipt, Told) {
        let bell = self.bell();
        Receipt::new(move || bell.rung.notify_one())
    }

    /// Holds a reply until its receipts are settled.
    pub(super) fn hold(&mut self, reply: HeldReply) {
        self.desk.parked.fetch_add(1, Ordering::Relaxed);
        self.held.push(reply);
        // They may have been settled before it was held.
        self.bell().rung.notify_one();
    }

    /// The oldest held reply whose receipts are settled.
    pub(super) fn take_settled(&mut self) -> Option<HeldReply> {
        let reply = self.held.take_settled()?;
        self.desk.parked.fetch_sub(1, Ordering::Relaxed);
        Some(reply)
    }

    fn bell(&self) -> Arc<Bell> {
        Arc::clone(self.bell.get_or_init(Arc::default))
    }

    /// Has accounts debited that ask for it; nobody waits for that.
    pub(super) fn nudge(&self) {
        self.desk.ledger.nudge();
    }

    /// Parks a request until its accounts were debited.
    pub(super) fn park(&mut self, request: Parked, accounts: impl IntoIterator<Item = Account>) {
        let number = self.next;
        self.next += 1;
        self.park_again(number, request, accounts);
    }

    /// Parks a request that was judged anew and waits once more; it keeps its place.
    pub(super) fn park_again(
        &mut self,
        number: u64,
        request: Parked,
        accounts: impl IntoIterator<Item = Account>,
    ) {
        self.bytes += request.bytes();
        self.parked.insert(number, request);
        self.desk.parked.fetch_add(1, Ordering::Relaxed);
        let bell = self.bell();
        let ring = move || {
            bell.debited.lock().push(number);
            bell.rung.notify_one();
        };
        // Last, because it may ring at once.
        self.desk.ledger.want(accounts.into_iter().collect(), Box::new(ring));
    }

    /// Waits until something may be judged anew; for ever where nothing is parked.
    pub(super) async fn rung(&self) {
        match self.bell.get() {
            Some(bell) => bell.rung.notified().await,
            None => std::future::pending().await,
        }
    }

    /// Takes note of what was debited since the last time.
    pub(super) fn hear(&mut self) {
        if let Some(bell) = self.bell.get().filter(|_| !self.parked.is_empty()) {
            self.debited.extend(std::mem::take(&mut *bell.debited.lock()));
        }
    }

    /// The oldest of those that are to be judged anew, and what is judged together with it; nothing
    /// if there are none.
    pub(super) fn take_debited(&mut self) -> Group {
        let mut group = Group::new();
        while let Some(number) = self.debited.first().copied().filter(|_| !group.is_full()) {
            let fits = self.parked.get(&number).is_some_and(|next| match group.first() {
                None => true,
                Some((_, first)) => {
                    !first.is_judged_alone()
                        && !next.is_judged_alone()
                        && first.tenant == next.tenant
                }
            });
            if !fits {
                break;
            }
            self.debited.remove(&number);
            if let Some(request) = self.parked.remove(&number) {
                self.bytes -= request.bytes();
                self.desk.parked.fetch_sub(1, Ordering::Relaxed);
                group.push((number, request));
            }
        }
        group
    }
}

impl Drop for Deferred {
    fn drop(&mut self) {
        self.desk.parked.fetch_sub(self.parked.len() + self.held.len(), Ordering::Relaxed);
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::collections::VecDeque;

    use super::*;
    use crate::clock::Now;
    use crate::engine::Engine;

    /// A ledger that debits when it is told to, and nothing on a disk.
    #[derive(Default)]
    pub(in crate::server) struct ByHand {
        wanted: Mutex<VecDeque<(Vec<Account>, Waiter)>>,
    }

    impl Debits for ByHand {
        fn want(&self, accounts: Vec<Account>, waiter: Waiter) {
            self.wanted.lock().push_back((accounts, waiter));
        }

        fn nudge(&self) {}
    }

    impl ByHand {
        /// Requests that wait.
        pub(in crate::server) fn waiting(&self) -> usize {
            self.wanted.lock().len()
        }

        /// Debits what the request waits for that has waited for the longest, and calls it.
        pub(in crate::server) fn debit_one(&self, engine: &Engine, now: Now) {
            let (accounts, waiter) = self.wanted.lock().pop_front().expect("somebody waits");
            for account in accounts {
                if let Some(debit) = engine.debit(&account, now) {
                    engine.grant(&account, &debit);
                }
            }
            waiter();
        }

        /// Calls whoever waits, with nothing debited.
        pub(in crate::server) fn call_all(&self) {
            let wanted = std::mem::take(&mut *self.wanted.lock());
            wanted.into_iter().for_each(|(_, waiter)| waiter());
        }
    }

    fn request(payload: usize, tenant: Option<&str>, is_large: bool) -> Parked {
        let payload = Zeroizing::new(vec![0; payload].into());
        let tenant = tenant.map(Arc::from);
        let (receipts, since_ns) = (Vec::new(), 0);
        Parked { correlation: 0, payload, tenant, verdicts: None, is_large, receipts, since_ns }
    }

    #[test]
    fn requests_keep_their_order_and_only_those_of_one_tenant_are_judged_together() {
        let ledger = Arc::new(ByHand::default());
        let desk = Desk::new(Arc::clone(&ledger) as Arc<dyn Debits>);
        let mut deferred = Deferred::new(&desk, &Limits::default());
        for (tenant, is_large) in
            [(None, false), (None, false), (Some("a"), false), (Some("a"), true), (None, false)]
        {
            deferred.park(request(1, tenant, is_large), []);
        }
        assert_eq!(desk.parked(), 5);
        ledger.call_all();
        deferred.hear();
        let mut groups = Vec::new();
        loop {
            let group = deferred.take_debited();
            if group.is_empty() {
                break;
            }
            groups.push(group.iter().map(|(number, _)| *number).collect::<Vec<_>>());
        }
        assert_eq!(groups, [vec![0, 1], vec![2], vec![3], vec![4]]);
        assert_eq!((deferred.bytes, desk.parked()), (0, 0));
    }

    #[test]
    fn requests_and_their_bytes_are_bounded_and_go_with_the_connection() {
        let desk = Desk::new(Arc::new(ByHand::default()));
        let limits = Limits { deferred_max: 3, reply_bytes_max: 4096, ..Limits::default() };
        let mut deferred = Deferred::new(&desk, &limits);
        deferred.park(request(10, None, false), []);
        assert!(deferred.has_room_beside(1, 10) && !deferred.has_room_beside(2, 10));
        assert!(!deferred.has_room_beside(0, 4096));
        deferred.park(request(4096, None, false), []);
        assert!(!deferred.has_room_beside(0, 0));
        drop(deferred);
        assert_eq!(desk.parked(), 0);
    }
}
