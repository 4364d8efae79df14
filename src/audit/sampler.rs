//! Which denials are recorded each, where nobody demands it: so many in a second, and the others are
//! counted by their code.

use std::sync::atomic::{AtomicU64, Ordering};

/// Codes are bytes.
const CODES: usize = 256;

/// Shared by all threads that decide.
#[derive(Debug)]
pub struct Sampler {
    per_second_max: u32,
    /// The second in the high half, and how many were recorded in it.
    second: AtomicU64,
    unrecorded: Box<[AtomicU64; CODES]>,
}

impl Sampler {
    /// So many in a second.
    #[must_use]
    pub fn new(per_second_max: u32) -> Self {
        let unrecorded = Box::new([const { AtomicU64::new(0) }; CODES]);
        Self { per_second_max, second: AtomicU64::new(0), unrecorded }
    }

    /// Whether a denial at this instant (nanoseconds of the monotonic clock) is recorded; one that is
    /// not is counted.
    #[must_use]
    pub fn admit(&self, code: u8, mono_ns: u64) -> bool {
        // Its low half: a second that comes again after 136 years does no harm.
        let second = (mono_ns / 1_000_000_000) << 32;
        let admitted = self.second.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |had| {
            // A thread whose clock was read before the second began does not begin it again. Two
            // threads that alternate at its border would admit without bound.
            let (had_second, used) = (had >> 32 << 32, had & u64::from(u32::MAX));
            let is_later = had_second.wrapping_sub(second) > u64::MAX / 2;
            let (second, used) = if is_later { (second, 0) } else { (had_second, used) };
            (used < u64::from(self.per_second_max)).then_some(second | (used + 1))
        });
        if admitted.is_err() {
            self.unrecorded[usize::from(code)].fetch_add(1, Ordering::Relaxed);
        }
        admitted.is_ok()
    }

    /// How many were not recorded since this was last asked, by code.
    pub fn take(&self) -> impl Iterator<Item = (u8, u64)> + '_ {
        let counts = (0..=u8::MAX).zip(self.unrecorded.iter());
        let taken = counts.map(|(code, count)| (code, count.swap(0, Ordering::Relaxed)));
        taken.filter(|(_, count)| *count > 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn so_many_in_a_second_are_recorded_and_the_others_counted_by_code() {
        let sampler = Sampler::new(2);
        let at = |s: u64| s * 1_000_000_000 + 5;
        let admitted: Vec<bool> = [(7, 0), (7, 0), (7, 0), (8, 0), (7, 1), (7, 1), (7, 1)]
            .map(|(code, s)| sampler.admit(code, at(s)))
            .into();
        assert_eq!(admitted, [true, true, false, false, true, true, false]);
        assert_eq!(sampler.take().collect::<Vec<_>>(), [(7, 2), (8, 1)]);
        assert_eq!(sampler.take().count(), 0);
        assert!(!Sampler::new(0).admit(1, at(1)));
        let sampler = Sampler::new(2);
        let admitted = (0..100).filter(|number| sampler.admit(7, at(8 + number % 2))).count();
        assert_eq!(admitted, 4 - 1, "one of the second that had begun, and two of the next");
    }
}
