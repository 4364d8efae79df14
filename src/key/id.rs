//! Key ids: 64 bits, ordered by time, printed as a decimal string.
//!
//! Milliseconds since the start of 2020 in the upper bits, 20 random bits below, so that ids of
//! one millisecond neither collide nor tell how many keys there are. The top bit stays clear: the
//! source system reads ids as signed integers.

use std::sync::atomic::{AtomicU64, Ordering};

const EPOCH_MS: i64 = 1_577_836_800_000;
const RANDOM_BITS: u32 = 20;
const ID_MAX: u64 = i64::MAX as u64;

/// Makes ids, each greater than the one before, also when the clock steps back.
#[derive(Debug, Default)]
pub struct IdMaker {
    last: AtomicU64,
}

impl IdMaker {
    /// An id for this wall-clock time (microseconds since 1970) with these random bits.
    pub fn make(&self, wall_us: i64, random: u32) -> u64 {
        let ms = u64::try_from((wall_us / 1000).saturating_sub(EPOCH_MS)).unwrap_or(0);
        let low = u64::from(random & ((1 << RANDOM_BITS) - 1));
        let fresh = ((ms << RANDOM_BITS) | low) & ID_MAX;
        let mut last = self.last.load(Ordering::Relaxed);
        loop {
            let id = fresh.max(last + 1);
            match self.last.compare_exchange_weak(last, id, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => return id,
                Err(now) => last = now,
            }
        }
    }
}

/// Reads an id: a decimal number, 1 to 2^63 - 1.
///
/// # Errors
/// One line that shows the form. It does not repeat the text, which may be a token.
pub fn parse(text: &str) -> Result<u64, String> {
    let plain = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    plain
        .then(|| text.parse().ok())
        .flatten()
        .filter(|id| (1..=ID_MAX).contains(id))
        .ok_or_else(|| format!("a key id is a whole number from 1 to {ID_MAX}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_ascend_even_when_the_clock_steps_back() {
        let maker = IdMaker::default();
        let mut last = 0;
        for (wall_us, random) in [
            (1_800_000_000_000_000, 5),
            (1_800_000_000_000_000, 5),
            (1_700_000_000_000_000, u32::MAX),
            (-1, 0),
            (1_900_000_000_000_000, 0),
        ] {
            let id = maker.make(wall_us, random);
            assert!(id > last && id <= ID_MAX, "{id} after {last}");
            last = id;
        }
    }

    #[test]
    fn ids_of_racing_threads_ascend_in_each_and_are_all_different() {
        const THREADS: u32 = 8;
        const EACH: u32 = 20_000;
        let maker = IdMaker::default();
        let of_thread = |thread: u32| -> Vec<u64> {
            // Within few milliseconds, some of which step back, and with few random bits.
            let wall_us = |n: u32| 1_800_000_000_000_000 + i64::from(n % 7) * 1000;
            (0..EACH).map(|n| maker.make(wall_us(n), (n ^ thread) % 64)).collect()
        };
        let mut all: Vec<u64> = std::thread::scope(|scope| {
            let threads: Vec<_> =
                (0..THREADS).map(|thread| scope.spawn(move || of_thread(thread))).collect();
            let ids = threads.into_iter().map(|thread| thread.join().expect("no panic"));
            ids.inspect(|ids| assert!(ids.is_sorted_by(|a, b| a < b))).flatten().collect()
        });
        all.sort_unstable();
        assert!(all.is_sorted_by(|a, b| a < b), "two are the same");
        assert_eq!(all.len(), usize::try_from(THREADS * EACH).expect("it fits"));
    }

    #[test]
    fn only_plain_positive_numbers_are_ids() {
        assert_eq!(parse("42"), Ok(42));
        for bad in ["", "0", "-1", "+1", "4 2", "0x2a", "9223372036854775808", "kg_live_abc"] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }
}
