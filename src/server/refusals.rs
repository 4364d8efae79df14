//! What was refused for want of a right: counted, and recorded within a rate.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use keygate_protocol::Role;

use crate::audit::Sampler;
use crate::clock::Now;
use crate::event::{Actor, Event, Journal, Refusal, What};

/// All refusals are sampled together: whoever is refused in one way must not hide another's trace for
/// longer than a second.
const TOGETHER: u8 = 0;

/// Takes note of refusals. Shared by all threads that serve.
pub(super) struct Refusals {
    /// By the role that was lacking.
    by_role: [AtomicU64; Role::ALL.len()],
    /// Connections of peers that have no role at all.
    connections: AtomicU64,
    sampler: Sampler,
    journal: Arc<dyn Journal>,
}

impl Refusals {
    /// So many in a second are recorded each; how many others there were is told with the next.
    pub(super) fn new(per_second_max: u32, journal: Arc<dyn Journal>) -> Self {
        let (by_role, connections) = Default::default();
        Self { by_role, connections, sampler: Sampler::new(per_second_max), journal }
    }

    /// Takes note of one, for want of a role or, of a whole connection, of any. It is made where it is
    /// recorded.
    pub(super) fn note(&self, lacks: Option<Role>, now: Now, make: impl FnOnce() -> Refusal) {
        let place = lacks.and_then(|role| Role::ALL.iter().position(|it| *it == role));
        place.map_or(&self.connections, |place| &self.by_role[place]).fetch_add(1, Relaxed);
        if self.sampler.admit(TOGETHER, now.mono_ns) {
            let count = 1 + self.left_out();
            self.tell(now, Refusal { count, ..make() });
        }
    }

    /// Tells of those that nobody was told of yet. At the end: no other will come that would tell.
    pub(super) fn end(&self, now: Now) {
        let count = self.left_out();
        if count > 0 {
            let (actor, socket, has) = (Actor::default(), "several".to_owned(), Vec::new());
            self.tell(now, Refusal { actor, socket, request: None, lacks: None, has, count });
        }
    }

    /// How many there were since the start, by the role that was lacking; `connection` where it was
    /// any.
    pub(super) fn counts(&self) -> impl Iterator<Item = (&'static str, u64)> + '_ {
        let roles = Role::ALL.iter().zip(&self.by_role);
        let roles = roles.map(|(role, count)| (role.name(), count.load(Relaxed)));
        roles.chain([("any", self.connections.load(Relaxed))])
    }

    fn left_out(&self) -> u64 {
        self.sampler.take().map(|(_, count)| count).sum()
    }

    fn tell(&self, now: Now, refusal: Refusal) {
        self.journal.note(&Event { at_us: now.wall_us, what: What::Refusal(refusal) });
    }
}

#[cfg(test)]
mod tests {
    use parking_lot::Mutex;

    use super::*;

    #[derive(Default)]
    struct Told(Mutex<Vec<Refusal>>);

    impl Journal for Told {
        fn note(&self, event: &Event) {
            if let What::Refusal(refusal) = &event.what {
                self.0.lock().push(refusal.clone());
            }
        }
    }

    #[test]
    fn so_many_a_second_are_recorded_and_the_others_are_told_with_the_next() {
        let told = Arc::new(Told::default());
        let refusals = Refusals::new(2, Arc::<Told>::clone(&told));
        let refusal = || Refusal {
            actor: Actor::default(),
            socket: "data".to_owned(),
            request: None,
            lacks: None,
            has: Vec::new(),
            count: 0,
        };
        let at = |second: u64| Now { mono_ns: second * 1_000_000_000, wall_us: 0 };
        for (second, lacks) in
            [(1, Some(Role::Own)), (1, None), (1, None), (1, Some(Role::Own)), (2, None)]
        {
            refusals.note(lacks, at(second), refusal);
        }
        let counts = || told.0.lock().iter().map(|it| it.count).collect::<Vec<_>>();
        assert_eq!(counts(), [1, 1, 3]);
        for _ in 0..3 {
            refusals.note(Some(Role::Check), at(2), refusal);
        }
        refusals.end(at(2));
        refusals.end(at(2));
        assert_eq!(counts(), [1, 1, 3, 1, 2], "what was left out is told at the end, once");
        let counted: Vec<_> = refusals.counts().filter(|(_, count)| *count > 0).collect();
        assert_eq!(counted, [("check", 3), ("own", 2), ("any", 3)]);
    }
}
