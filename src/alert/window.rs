//! What was reported in the last five minutes, as a ring of cells.

/// Cells of the ring.
const CELLS: usize = 10;

/// The time of a cell.
const CELL_NS: u64 = 30_000_000_000;

/// The whole of it: five minutes. The oldest cell goes as a whole, so what is summed is of the last
/// four and a half to five minutes.
pub const WINDOW_NS: u64 = CELLS as u64 * CELL_NS;

/// Requests, and the errors among them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Sample {
    /// Reported requests.
    pub requests: u64,
    /// Of these, errors.
    pub errors: u64,
}

/// The sliding window of one key.
#[derive(Debug, Clone)]
pub struct Window {
    cells: [Sample; CELLS],
    /// The number of the newest cell since the clock began; its place is this modulo [`CELLS`].
    newest: u64,
    /// When it began to be filled.
    began_ns: u64,
    /// Totals when they were last looked at.
    seen: Sample,
}

impl Window {
    /// An empty window of a key whose totals are these.
    #[must_use]
    pub fn new(totals: Sample, now_ns: u64) -> Self {
        Self {
            cells: [Sample::default(); CELLS],
            newest: now_ns / CELL_NS,
            began_ns: now_ns,
            seen: totals,
        }
    }

    /// Takes what the totals have grown by since the last look. Totals that have shrunk are
    /// another's, of a key that was made anew, and a new beginning.
    pub fn look(&mut self, totals: Sample, now_ns: u64) {
        self.advance(now_ns);
        let grown = |now: u64, before: u64| now.saturating_sub(before);
        if totals.requests >= self.seen.requests && totals.errors >= self.seen.errors {
            let at = self.place(self.newest);
            let cell = &mut self.cells[at];
            cell.requests =
                cell.requests.saturating_add(grown(totals.requests, self.seen.requests));
            cell.errors = cell.errors.saturating_add(grown(totals.errors, self.seen.errors));
        }
        self.seen = totals;
    }

    /// What was reported in the window.
    pub fn sum(&mut self, now_ns: u64) -> Sample {
        self.advance(now_ns);
        self.cells.iter().fold(Sample::default(), |sum, cell| Sample {
            requests: sum.requests.saturating_add(cell.requests),
            errors: sum.errors.saturating_add(cell.errors),
        })
    }

    /// Whether it was looked at for its whole length, so that what is not in it did not happen.
    #[must_use]
    pub const fn is_whole(&self, now_ns: u64) -> bool {
        now_ns.saturating_sub(self.began_ns) >= WINDOW_NS
    }

    /// Empties the cells that time has gone past.
    fn advance(&mut self, now_ns: u64) {
        let now = now_ns / CELL_NS;
        let passed = now.saturating_sub(self.newest).min(CELLS as u64);
        for step in 1..=passed {
            let at = self.place(now - passed + step);
            self.cells[at] = Sample::default();
        }
        self.newest = self.newest.max(now);
    }

    fn place(&self, cell: u64) -> usize {
        usize::try_from(cell % self.cells.len() as u64).unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SECOND: u64 = 1_000_000_000;

    fn sample(requests: u64, errors: u64) -> Sample {
        Sample { requests, errors }
    }

    #[test]
    fn what_is_older_than_five_minutes_is_gone_and_what_is_younger_is_not() {
        let mut window = Window::new(sample(1000, 100), 0);
        window.look(sample(1010, 105), 10 * SECOND);
        window.look(sample(1030, 106), 200 * SECOND);
        assert_eq!(window.sum(269 * SECOND), sample(30, 6));
        assert_eq!(window.sum(299 * SECOND), sample(30, 6));
        assert_eq!(window.sum(300 * SECOND), sample(20, 1), "the first cell has gone");
        assert_eq!(window.sum(10_000 * SECOND), sample(0, 0));
        assert!(!window.is_whole(299 * SECOND) && window.is_whole(300 * SECOND));
    }

    #[test]
    fn totals_that_shrink_are_a_new_beginning() {
        let mut window = Window::new(sample(1000, 100), 0);
        window.look(sample(5, 5), SECOND);
        assert_eq!(window.sum(SECOND), sample(0, 0));
        window.look(sample(7, 6), 2 * SECOND);
        assert_eq!(window.sum(2 * SECOND), sample(2, 1));
    }

    proptest! {
        /// Against the list of all looks: everything of the last four and a half minutes is in the
        /// sum, and nothing of before the last five.
        #[test]
        fn the_sum_is_that_of_four_and_a_half_to_five_minutes(
            looks in proptest::collection::vec((0_u64..200, 0_u64..50), 1..60)
        ) {
            let mut window = Window::new(Sample::default(), 0);
            let (mut now, mut total, mut seen) = (0, 0, Vec::new());
            for (step_s, more) in looks {
                now += step_s * SECOND;
                total += more;
                window.look(sample(total, 0), now);
                seen.push((now, more));
                let since = |ns: u64| -> u64 {
                    seen.iter().filter(|(at, _)| at + ns > now).map(|(_, more)| more).sum()
                };
                let sum = window.sum(now).requests;
                prop_assert!(since(WINDOW_NS - CELL_NS) <= sum && sum <= since(WINDOW_NS));
            }
        }
    }
}
