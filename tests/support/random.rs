//! Numbers that a seed repeats, and moments to kill at.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::time::{Duration, Instant};

/// Numbers that a seed repeats (splitmix64).
pub(crate) struct Random(u64);

impl Random {
    /// Of a seed that is printed; `KEYGATE_CRASH_SEED` repeats it.
    pub(crate) fn seeded() -> Self {
        let seed = number("KEYGATE_CRASH_SEED")
            .unwrap_or_else(|| RandomState::new().build_hasher().finish());
        println!("KEYGATE_CRASH_SEED={seed}");
        Self(seed)
    }

    /// Another row of numbers.
    pub(crate) fn fork(&mut self) -> Self {
        Self(self.next())
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// 0 to `bound` - 1.
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    /// Lets a random while pass, so that a kill does not always meet the same step.
    pub(crate) fn dawdle(&mut self, max: Duration) {
        let while_us = self.below(u64::try_from(max.as_micros()).expect("short").max(1));
        let until = Instant::now() + Duration::from_micros(while_us);
        while Instant::now() < until {
            std::hint::spin_loop();
        }
    }
}

/// A number of the environment.
pub(crate) fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("{name}={text}")))
}
