//! What a trace is made of, how it is made up, and how it is made smaller.

use crate::key::limits::{Credits, LimitPeriod, NamedLimit, Refill, RefillEvery};
use crate::limit::{Period, Spent};

/// Keys of a trace: the first three share a tenant, the last is another one's.
pub(super) const KEYS: usize = 4;
pub(super) const TENANTS: [&str; 2] = ["acme", "globex"];
/// Names that requests spend by; the last is one that no key has.
pub(super) const NAMES: [&str; 5] = ["a", "b", "c", "d", "nobody's"];

/// The tenant of a key.
pub(super) const fn tenant_of(key: usize) -> usize {
    (key == KEYS - 1) as usize
}

/// All limits of a key or, without the last two, of a tenant.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Terms {
    pub(super) second: Option<u32>,
    pub(super) burst: Option<u64>,
    pub(super) day: Option<u32>,
    pub(super) month: Option<u64>,
    pub(super) lifetime: Option<u64>,
    pub(super) slots: Option<u32>,
    pub(super) slot_ttl_s: Option<u32>,
    pub(super) named: Vec<NamedLimit>,
    /// The balance that is set; `None` leaves what there is.
    pub(super) credits: Option<Credits>,
}

/// Whose limits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Whose {
    Key(usize),
    Tenant(usize),
}

/// What becomes of a debit.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Fate {
    /// Its row is kept and it is granted.
    Granted,
    /// Its row is kept; it is granted when somebody needs it, or a crash comes first.
    Kept,
    /// Its row cannot be written.
    Refused,
    /// Its row is kept, and the account is settled before it is granted.
    Overtaken,
}

/// Which edge of the calendar the clock goes to.
pub(super) const EDGES: [Period; 5] = Period::ALL;

/// One step of a trace.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Op {
    Validate {
        key: usize,
        cost: u64,
        peek: bool,
        names: Vec<usize>,
    },
    /// `slot` counts from the slot that was taken last, of all that were ever given out.
    Increment {
        key: usize,
        slot: Option<usize>,
        refund: Option<(u128, u64)>,
    },
    Renew {
        key: usize,
        slot: usize,
    },
    Figures(Whose),
    Debit(Whose, Fate),
    Settle(Whose, bool),
    Advance {
        ns: u64,
    },
    /// To so many microseconds from the next edge.
    Edge {
        period: Period,
        us: i64,
    },
    /// The wall clock alone.
    Step {
        us: i64,
    },
    Update {
        whose: Whose,
        terms: Box<Terms>,
        spent: Spent,
    },
    Restart,
    Crash,
}

/// A generator that needs no crate: splitmix64.
pub(super) struct Random(pub(super) u64);

impl Random {
    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    pub(super) fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    pub(super) fn chance(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }

    pub(super) fn index(&mut self, end: usize) -> usize {
        usize::try_from(self.below(end as u64)).expect("below a usize")
    }

    pub(super) fn of<T: Copy>(&mut self, all: &[T]) -> T {
        all[self.index(all.len())]
    }
}

/// What a trace may have in it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Mix {
    pub(super) crashes: bool,
}

/// A trace: first every account's limits, then whatever happens.
pub(super) fn trace(random: &mut Random, len: usize, mix: Mix) -> Vec<Op> {
    let mut ops: Vec<Op> = Vec::with_capacity(len);
    for whose in all_accounts() {
        // Some accounts begin without limits.
        if random.chance(85) {
            let terms = Box::new(terms(random, whose));
            ops.push(Op::Update { whose, terms, spent: Spent::Keep });
        }
    }
    while ops.len() < len {
        ops.push(op(random, mix));
    }
    ops
}

pub(super) fn all_accounts() -> impl Iterator<Item = Whose> {
    (0..TENANTS.len()).map(Whose::Tenant).chain((0..KEYS).map(Whose::Key))
}

fn whose(random: &mut Random) -> Whose {
    if random.chance(70) {
        Whose::Key(random.index(KEYS))
    } else {
        Whose::Tenant(random.index(TENANTS.len()))
    }
}

fn op(random: &mut Random, mix: Mix) -> Op {
    let key = random.index(KEYS);
    match random.below(100) {
        0..=57 => {
            Op::Validate { key, cost: cost(random), peek: random.chance(10), names: names(random) }
        }
        58..=65 => Op::Increment {
            key,
            slot: random.chance(80).then(|| random.index(6)),
            refund: random.chance(40).then(|| (u128::from(random.below(40)), cost(random).max(1))),
        },
        66..=67 => Op::Renew { key, slot: random.index(4) },
        68..=70 => Op::Figures(whose(random)),
        71..=74 => {
            let fates = [Fate::Granted, Fate::Kept, Fate::Refused, Fate::Overtaken];
            Op::Debit(whose(random), random.of(&fates))
        }
        75 => Op::Settle(whose(random), random.chance(50)),
        76..=86 => Op::Advance { ns: span(random) },
        87..=90 => {
            let us = random.of(&[-1, 0, 0, 1, -500_000]);
            Op::Edge { period: random.of(&EDGES), us }
        }
        91..=92 => step(random),
        93..=97 => {
            let whose = whose(random);
            let terms = Box::new(terms(random, whose));
            Op::Update { whose, terms, spent: random.of(&Spent::ALL) }
        }
        _ if mix.crashes && random.chance(60) => Op::Crash,
        _ => Op::Restart,
    }
}

fn step(random: &mut Random) -> Op {
    let us = random.of(&[1, 1_000_000, 3_600_000_000, 86_400_000_000, 31 * 86_400_000_000]);
    Op::Step { us: if random.chance(60) { -us } else { us } }
}

/// Mostly what a few requests a second have, and now and then days.
fn span(random: &mut Random) -> u64 {
    let most = random.of(&[1_000, 1_000_000, 300_000_000, 2_000_000_000, 60_000_000_000]);
    let most = if random.chance(8) { 40 * 3_600_000_000_000 } else { most };
    random.below(most) + 1
}

fn cost(random: &mut Random) -> u64 {
    match random.below(20) {
        0 => 0,
        1..=11 => 1,
        12..=16 => random.below(12) + 1,
        17..=18 => random.below(300) + 1,
        _ => random.of(&[1_000, 70_000, 1 << 32]),
    }
}

/// Up to four, in any order; the protocol takes none twice.
fn names(random: &mut Random) -> Vec<usize> {
    let mut names = Vec::new();
    for _ in 0..random.below(8).saturating_sub(3) {
        let unknown = random.chance(4);
        let name = if unknown { NAMES.len() - 1 } else { random.index(NAMES.len() - 1) };
        if !names.contains(&name) {
            names.push(name);
        }
    }
    names
}

fn terms(random: &mut Random, whose: Whose) -> Terms {
    let mut terms = Terms {
        second: random.chance(40).then(|| random.of(&[0, 1, 3, 7, 50, 1_000])),
        burst: random.chance(50).then(|| random.of(&[0, 1, 5, 64, 2_000, (1 << 32) + 1])),
        day: random.chance(45).then(|| random.of(&[0, 1, 20, 99, 100, 750, 10_000, 40_000])),
        month: random.chance(45).then(|| random.of(&[0, 7, 150, 1_000, 12_345, 1_000_000])),
        lifetime: random.chance(25).then(|| random.of(&[0, 30, 500, 20_000, 1 << 33])),
        slots: random.chance(35).then(|| random.of(&[0, 1, 2, 3, 8, 40])),
        slot_ttl_s: random.chance(50).then(|| random.of(&[1, 2, 60, 3_600])),
        ..Terms::default()
    };
    if matches!(whose, Whose::Key(_)) {
        for name in &NAMES[..NAMES.len() - 1] {
            if random.chance(55) {
                let (count, period) = (random.of(&[0, 1, 7, 60, 500]), period(random));
                terms.named.push(NamedLimit { name: (*name).to_owned(), count, period });
            }
        }
        terms.credits = random.chance(40).then(|| credits(random));
    }
    terms
}

fn period(random: &mut Random) -> LimitPeriod {
    if random.chance(50) {
        LimitPeriod::Calendar(random.of(&Period::ALL))
    } else {
        LimitPeriod::Rolling { seconds: random.of(&[1, 7, 60, 3_600, 86_400, 2_592_000]) }
    }
}

fn credits(random: &mut Random) -> Credits {
    let refill = random.chance(70).then(|| Refill {
        amount: random.of(&[0, 5, 40, 1_000]),
        every: if random.chance(50) {
            RefillEvery::Day
        } else {
            RefillEvery::Month { day: random.of(&[1, 15, 28, 29, 30, 31]) }
        },
        adds: random.chance(50),
    });
    Credits { balance: random.of(&[0, 3, 50, 400, 5_000]), refill, granted_at: None }
}

/// Smaller forms of a step, the smallest first.
pub(super) fn smaller(op: &Op) -> Vec<Op> {
    let mut all = Vec::new();
    match op {
        Op::Validate { key, cost, peek, names } => {
            let of = |cost, names: &[usize]| Op::Validate {
                key: *key,
                cost,
                peek: *peek,
                names: names.to_vec(),
            };
            all.extend((0..names.len()).map(|at| {
                let mut fewer = names.clone();
                fewer.remove(at);
                of(*cost, &fewer)
            }));
            let fewer = [1, cost / 2, cost.saturating_sub(1)].into_iter();
            all.extend(fewer.filter(|fewer| fewer < cost).map(|cost| of(cost, names)));
        }
        Op::Increment { key, slot, refund } => {
            all.push(Op::Increment { key: *key, slot: None, refund: *refund });
            all.push(Op::Increment { key: *key, slot: *slot, refund: None });
        }
        Op::Advance { ns } => {
            let whole = ns / 1_000_000_000 * 1_000_000_000;
            let fewer = [1, whole, ns / 2].into_iter().filter(|fewer| fewer < ns);
            all.extend(fewer.map(|ns| Op::Advance { ns }));
        }
        Op::Step { us } => all.push(Op::Step { us: us / 2 }),
        Op::Update { whose, terms, spent } => {
            let of = |terms| Op::Update { whose: *whose, terms: Box::new(terms), spent: *spent };
            all.extend(fewer_terms(terms).into_iter().map(of));
        }
        _ => {}
    }
    all.retain(|it| it != op && !matches!(it, Op::Advance { ns: 0 } | Op::Step { us: 0 }));
    all
}

fn fewer_terms(terms: &Terms) -> Vec<Terms> {
    let mut all = vec![
        Terms { second: None, burst: None, ..terms.clone() },
        Terms { burst: None, ..terms.clone() },
        Terms { day: None, ..terms.clone() },
        Terms { month: None, ..terms.clone() },
        Terms { lifetime: None, ..terms.clone() },
        Terms { slots: None, ..terms.clone() },
        Terms { slot_ttl_s: None, ..terms.clone() },
        Terms { credits: None, ..terms.clone() },
    ];
    for at in 0..terms.named.len() {
        let mut fewer = terms.clone();
        fewer.named.remove(at);
        all.push(fewer);
    }
    all
}
