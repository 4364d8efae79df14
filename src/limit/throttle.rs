//! How fast lookups may fail: by where the questions come from, in a table of fixed size.
//!
//! A failed lookup always happens, so it is not asked whether it may: it is charged. A source is over
//! when its failures have spent the burst, and then nothing of it is looked up until one failure is
//! earned back; so it guesses at the rate and no faster. Failures of an address count for the peer that
//! stated it alone: whatever one peer states holds up no other.
//!
//! This guards against the clients of honest services. A peer that states addresses of its own making
//! is over only where its own failures count too ([`Throttle::sources`]).
//!
//! The table is set-associative under a secret of the process: nobody can aim at a cell. Where a set
//! is full the source that has recovered most makes room, so a flood of sources that have failed once
//! pushes out none that is over.

use core::net::IpAddr;
use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;

const MINUTE_NS: u64 = 60_000_000_000;
/// Cells that a source may stand in: two cache lines.
const WAYS: usize = 8;

/// How fast the lookups of one source may fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FailureRate {
    /// Nanoseconds in which one failure is earned back; at least 1.
    step_ns: u64,
    /// What the burst takes to be earned back.
    burst_ns: u64,
}

impl FailureRate {
    /// So many a minute, and `burst` at once (at least one); `None` where any number may fail.
    #[must_use]
    pub fn new(per_minute: u32, burst: u32) -> Option<Self> {
        let step_ns = MINUTE_NS.checked_div(u64::from(per_minute))?.max(1);
        Some(Self { step_ns, burst_ns: step_ns * u64::from(burst.max(1)) })
    }

    /// Whether a source is over, by the instant at which all its failures are earned back.
    const fn is_over(&self, whole_ns: u64, now_ns: u64) -> bool {
        whole_ns.saturating_sub(now_ns) > self.burst_ns - self.step_ns
    }

    /// From which instant on it is over no more.
    const fn ends_ns(&self, whole_ns: u64) -> u64 {
        whole_ns.saturating_sub(self.burst_ns - self.step_ns)
    }
}

/// Where a question comes from, as failures are counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Source {
    /// An address that a question states: an IPv4 address, or the first 64 bits of an IPv6
    /// address, which are one subscriber's; and the peer that states it.
    Address {
        /// The address, or its beginning.
        bits: u64,
        /// Whether it is of IPv6.
        is_v6: bool,
        /// Whose word it is.
        peer: u64,
    },
    /// The peer of the connection.
    Peer(u64),
}

impl Source {
    /// That of an address which a peer states.
    #[must_use]
    pub const fn of_address(address: IpAddr, peer: u64) -> Self {
        match address.to_canonical() {
            IpAddr::V4(v4) => Self::Address { bits: v4.to_bits() as u64, is_v6: false, peer },
            IpAddr::V6(v6) => {
                Self::Address { bits: (v6.to_bits() >> 64) as u64, is_v6: true, peer }
            }
        }
    }
}

/// One source: `whole_ns` is when all its failures are earned back; 0 of a free cell.
#[derive(Debug, Clone, Copy, Default)]
struct Cell {
    tag: u64,
    whole_ns: u64,
}

/// Cells under one lock.
#[derive(Debug, Default)]
struct Set {
    /// Until when any of them may be over: as long as none is, nobody waits for the lock.
    over_until_ns: AtomicU64,
    cells: Mutex<[Cell; WAYS]>,
}

/// Counts failures and says who is over.
#[derive(Debug)]
pub struct Throttle {
    addresses: Option<FailureRate>,
    peers: Option<FailureRate>,
    /// A power of two. Each lock is held for the look at one set, and with no other.
    sets: Box<[Set]>,
    hasher: RandomState,
    /// Until when anybody may be over; as long as nobody is, no question looks further.
    over_until_ns: AtomicU64,
}

impl Throttle {
    /// A throttle of at most `cells_max` sources, rounded down to what makes whole sets (at least
    /// one), about 18 bytes each.
    #[must_use]
    pub fn new(
        addresses: Option<FailureRate>,
        peers: Option<FailureRate>,
        cells_max: usize,
    ) -> Self {
        let sets = (cells_max / WAYS).max(1);
        let sets = if sets.is_power_of_two() { sets } else { sets.next_power_of_two() / 2 };
        Self {
            addresses,
            peers,
            sets: std::iter::repeat_with(Set::default).take(sets).collect(),
            hasher: RandomState::new(),
            over_until_ns: AtomicU64::new(0),
        }
    }

    /// What a question is counted under: its address, where it states one and addresses are counted,
    /// else its peer, where that is told apart (not 0) and peers are; both, where the peer answers for
    /// itself whatever it states.
    pub fn sources(
        &self,
        address: Option<IpAddr>,
        peer: u64,
        answers_for_itself: bool,
    ) -> impl Iterator<Item = Source> {
        let address = address.filter(|_| self.addresses.is_some());
        let address = address.map(|address| Source::of_address(address, peer));
        let counts = peer != 0 && self.peers.is_some();
        let peer = (counts && (answers_for_itself || address.is_none())).then_some(peer);
        address.into_iter().chain(peer.map(Source::Peer))
    }

    /// Whether anybody may be over at this instant.
    #[must_use]
    pub fn is_awake(&self, now_ns: u64) -> bool {
        now_ns < self.over_until_ns.load(Ordering::Relaxed)
    }

    /// Whether this source is over.
    #[must_use]
    pub fn is_over(&self, source: Source, now_ns: u64) -> bool {
        let Some(rate) = self.rate(source) else { return false };
        let (set, tag) = self.place(source);
        if now_ns >= set.over_until_ns.load(Ordering::Relaxed) {
            return false;
        }
        let cells = set.cells.lock();
        let cell = cells.iter().find(|cell| cell.tag == tag);
        cell.is_some_and(|cell| rate.is_over(cell.whole_ns, now_ns))
    }

    /// Charges a failure.
    pub fn charge(&self, source: Source, now_ns: u64) {
        let Some(rate) = self.rate(source) else { return };
        let (set, tag) = self.place(source);
        let whole_ns = {
            let mut cells = set.cells.lock();
            let same = cells.iter().position(|cell| cell.tag == tag);
            let most_recovered = || (0..WAYS).min_by_key(|at| cells[*at].whole_ns).unwrap_or(0);
            let at = same.unwrap_or_else(most_recovered);
            let had_ns = if same.is_some() { cells[at].whole_ns.max(now_ns) } else { now_ns };
            // Failures that were under way when it came over make it wait no longer than a burst
            // and one.
            let most_ns = now_ns.saturating_add(rate.burst_ns + rate.step_ns);
            let whole_ns = had_ns.saturating_add(rate.step_ns).min(most_ns);
            cells[at] = Cell { tag, whole_ns };
            whole_ns
        };
        if rate.is_over(whole_ns, now_ns) {
            let ends_ns = rate.ends_ns(whole_ns);
            set.over_until_ns.fetch_max(ends_ns, Ordering::Relaxed);
            self.over_until_ns.fetch_max(ends_ns, Ordering::Relaxed);
        }
    }

    const fn rate(&self, source: Source) -> Option<FailureRate> {
        match source {
            Source::Address { .. } => self.addresses,
            Source::Peer(_) => self.peers,
        }
    }

    /// The set of a source, and its name there.
    #[expect(clippy::cast_possible_truncation, reason = "the low bits are all that is wanted")]
    fn place(&self, source: Source) -> (&Set, u64) {
        let hash = self.hasher.hash_one(source);
        // Free cells have the tag 0.
        (&self.sets[hash as usize & (self.sets.len() - 1)], hash.rotate_left(32) | 1)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SECOND_NS: u64 = 1_000_000_000;
    const START_NS: u64 = 7 * SECOND_NS;

    fn throttle(cells_max: usize) -> Throttle {
        Throttle::new(FailureRate::new(120, 5), FailureRate::new(6000, 1), cells_max)
    }

    fn address(text: &str) -> Source {
        Source::of_address(text.parse().expect("an address"), 9)
    }

    #[test]
    fn a_source_fails_as_often_as_its_burst_and_then_at_its_rate() {
        let throttle = throttle(64);
        let (one, other) = (address("203.0.113.7"), address("203.0.113.8"));
        for failure in 0..5 {
            assert!(!throttle.is_over(one, START_NS), "failure {failure}");
            throttle.charge(one, START_NS);
        }
        assert!(throttle.is_over(one, START_NS) && throttle.is_awake(START_NS));
        assert!(!throttle.is_over(other, START_NS) && !throttle.is_over(Source::Peer(1), START_NS));
        let half = SECOND_NS / 2;
        assert!(
            throttle.is_over(one, START_NS + half - 1) && throttle.is_awake(START_NS + half - 1)
        );
        assert!(!throttle.is_over(one, START_NS + half) && !throttle.is_awake(START_NS + half));
        throttle.charge(one, START_NS + half);
        assert!(throttle.is_over(one, START_NS + half), "one was earned back and is spent");
        // After an idle time the whole burst is there, and no more.
        let later = START_NS + 100 * SECOND_NS;
        (0..5).for_each(|_| throttle.charge(one, later));
        assert!(throttle.is_over(one, later));
    }

    #[test]
    fn failures_that_come_all_the_same_make_nobody_wait_longer() {
        let throttle = throttle(64);
        (0..10_000).for_each(|_| throttle.charge(Source::Peer(3), START_NS));
        let step = SECOND_NS / 100;
        assert!(throttle.is_over(Source::Peer(3), START_NS + step));
        assert!(!throttle.is_over(Source::Peer(3), START_NS + 2 * step));
    }

    #[test]
    fn addresses_of_one_subscriber_are_one_source() {
        for (a, b, same) in [
            ("2001:db8::1", "2001:db8::ffff:1", true),
            ("2001:db8::1", "2001:db8:0:1::1", false),
            ("203.0.113.7", "::ffff:203.0.113.7", true),
            ("203.0.113.7", "203.0.113.6", false),
            ("0.0.0.1", "0:0:0:1::", false),
        ] {
            assert_eq!(address(a) == address(b), same, "{a} {b}");
        }
    }

    #[test]
    fn what_a_question_is_counted_under() {
        let given = "203.0.113.7".parse().ok();
        let both = throttle(64);
        let of = |throttle: &Throttle, address, peer, itself| {
            throttle.sources(address, peer, itself).collect::<Vec<_>>()
        };
        assert_eq!(of(&both, given, 9, false), [address("203.0.113.7")]);
        assert_eq!(of(&both, given, 9, true), [address("203.0.113.7"), Source::Peer(9)]);
        assert_ne!(of(&both, given, 8, false), of(&both, given, 9, false), "another's word");
        assert_eq!(of(&both, None, 9, false), [Source::Peer(9)]);
        assert_eq!(of(&both, None, 0, true), [], "a peer that is not told apart");
        let peers = Throttle::new(None, FailureRate::new(1, 1), 64);
        assert_eq!(of(&peers, given, 9, false), [Source::Peer(9)]);
        let none = Throttle::new(FailureRate::new(0, 5), None, 64);
        assert_eq!(of(&none, given, 9, true), []);
        none.charge(address("203.0.113.7"), START_NS);
        assert!(!none.is_awake(0));
    }

    #[test]
    fn a_flood_of_sources_pushes_out_none_that_is_over() {
        let throttle = throttle(64);
        let guesser = address("203.0.113.7");
        (0..5).for_each(|_| throttle.charge(guesser, START_NS));
        (0..100_000).for_each(|number| {
            throttle.charge(Source::Address { bits: number, is_v6: true, peer: 9 }, START_NS);
        });
        assert!(throttle.is_over(guesser, START_NS));
    }

    proptest! {
        /// As often as failures come, no source gets more lookups than burst and rate admit.
        #[test]
        fn no_source_guesses_faster_than_its_rate(gaps_ms in proptest::collection::vec(0_u64..400, 1..300)) {
            let throttle = throttle(64);
            let source = address("2001:db8::1");
            let (mut now_ns, mut lookups) = (START_NS, 0_u64);
            for gap_ms in gaps_ms {
                now_ns += gap_ms * 1_000_000;
                if throttle.is_awake(now_ns) && throttle.is_over(source, now_ns) {
                    continue;
                }
                lookups += 1;
                throttle.charge(source, now_ns);
            }
            let earned = (now_ns - START_NS) / (SECOND_NS / 2);
            prop_assert!(lookups <= 5 + earned + 1, "{lookups} lookups, {earned} earned");
        }
    }
}
