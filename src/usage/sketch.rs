//! Percentiles of a latency, from counts in cells of a fixed scale.
//!
//! The scale has eight cells to an octave (Gil Tene's HDR histograms have the same form), so a value
//! is told with an error of at most a sixteenth of itself, 6.25 %, and values below 16 µs exactly.
//! 240 cells cover everything that a report can carry; only those in use are kept. Sketches are added
//! up cell by cell, without a further error, which no crate that we found offers at this size and in
//! integers alone.

use serde::{Deserialize, Serialize};

/// Cells to an octave, as a power of two.
const OCTAVE_BITS: u32 = 3;

/// How often which latency was reported.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Sketch {
    /// Cell and count, by ascending cell.
    cells: Vec<(u8, u64)>,
}

/// The cell of a latency.
#[expect(clippy::cast_possible_truncation, reason = "the highest cell is 239")]
const fn cell_of(us: u32) -> u8 {
    if us < 1 << OCTAVE_BITS {
        return us as u8;
    }
    let shift = us.ilog2() - OCTAVE_BITS;
    ((shift << OCTAVE_BITS) + (us >> shift)) as u8
}

/// The value in the middle of a cell.
const fn middle_of(cell: u8) -> u64 {
    let cell = cell as u64;
    let per_octave = 1 << OCTAVE_BITS;
    if cell < 2 * per_octave {
        return cell;
    }
    let shift = cell / per_octave - 1;
    let low = (per_octave + cell % per_octave) << shift;
    low + (1 << shift) / 2
}

impl Sketch {
    /// Nothing.
    pub(super) const fn new() -> Self {
        Self { cells: Vec::new() }
    }

    /// Counts a latency, in microseconds.
    pub fn count(&mut self, us: u32, count: u64) {
        self.add_to(cell_of(us), count);
    }

    fn add_to(&mut self, cell: u8, count: u64) {
        match self.cells.binary_search_by_key(&cell, |(cell, _)| *cell) {
            Ok(at) => self.cells[at].1 = self.cells[at].1.saturating_add(count),
            Err(at) => self.cells.insert(at, (cell, count)),
        }
    }

    /// Counts what another has counted too.
    pub fn add(&mut self, other: &Self) {
        other.cells.iter().for_each(|(cell, count)| self.add_to(*cell, *count));
    }

    /// The latency, in microseconds, that a share `fraction` (0 to 1) of what was counted does not
    /// exceed; at most 6.25 % off. `None` where nothing was counted.
    #[must_use]
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a share of a count is one"
    )]
    pub fn percentile(&self, fraction: f64) -> Option<u64> {
        let all: u64 = self.cells.iter().fold(0, |all, (_, count)| all.saturating_add(*count));
        let rank = ((all as f64 * fraction).ceil() as u64).clamp(1, all.max(1));
        let mut seen = 0_u64;
        let reaches = |(_, count): &&(u8, u64)| {
            seen = seen.saturating_add(*count);
            seen >= rank
        };
        self.cells.iter().find(reaches).map(|(cell, _)| middle_of(*cell))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_scale_has_its_ends_and_no_gaps() {
        assert_eq!((cell_of(0), cell_of(7), cell_of(8), cell_of(15)), (0, 7, 8, 15));
        assert_eq!(cell_of(u32::MAX), 239);
        for cell in 0..239 {
            assert!(middle_of(cell) < middle_of(cell + 1), "{cell}");
            let middle = u32::try_from(middle_of(cell)).expect("within the scale");
            assert_eq!(cell_of(middle), cell);
        }
    }

    #[test]
    fn nothing_has_no_percentile() {
        assert_eq!(Sketch::default().percentile(0.5), None);
    }

    proptest! {
        #[test]
        fn a_percentile_is_a_sixteenth_off_at_most(
            mut values in proptest::collection::vec(0..u32::MAX, 1..200),
            fraction in 0.0..=1.0_f64,
            split in any::<proptest::sample::Index>(),
        ) {
            // In two parts: adding up loses nothing.
            let (mut sketch, mut other) = (Sketch::default(), Sketch::default());
            let (left, right) = values.split_at(split.index(values.len()));
            left.iter().for_each(|us| sketch.count(*us, 1));
            right.iter().for_each(|us| other.count(*us, 1));
            sketch.add(&other);
            values.sort_unstable();
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a rank")]
            let rank = ((values.len() as f64 * fraction).ceil() as usize).max(1);
            let exact = f64::from(values[rank - 1]);
            let told = sketch.percentile(fraction).expect("something was counted") as f64;
            prop_assert!((told - exact).abs() <= exact / 16.0 + 0.5, "{told} for {exact}");
        }
    }
}
