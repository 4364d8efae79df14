//! A set of texts, compiled: what scopes, names and hosts are looked up in.
//!
//! A lookup is one hash and about one comparison. A binary search over 64 texts made six, of which
//! the processor foresees none: 57 ns where this takes a few.

use std::hash::{BuildHasher, RandomState};
use std::ops::Deref;
use std::sync::LazyLock;

/// Texts, sorted and each once, and a table that finds them by their hash. The last `TAIL` bytes of
/// each, which must be the same in all, are not looked at.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub(super) struct TextSet<const TAIL: usize = 0> {
    texts: Box<[Box<str>]>,
    /// Numbers of texts, from 1 on; 0 is none. A text stands where its hash says, or in the next
    /// place that was free. At least half is free, so a search ends soon. A power of two, or none.
    table: Box<[u32]>,
}

impl<const TAIL: usize> TextSet<TAIL> {
    pub(super) fn new(mut texts: Vec<Box<str>>) -> Self {
        texts.sort_unstable();
        texts.dedup();
        if texts.is_empty() {
            return Self::default();
        }
        let mut table = vec![0; (texts.len() * 2).next_power_of_two()];
        for (text, number) in texts.iter().zip(1..) {
            let mut at = SECRET.place(key::<TAIL>(text), table.len());
            while table[at] != 0 {
                at = (at + 1) % table.len();
            }
            table[at] = number;
        }
        Self { texts: texts.into(), table: table.into() }
    }

    pub(super) fn has(&self, text: &[u8]) -> bool {
        if self.table.is_empty() {
            return false;
        }
        let mask = self.table.len() - 1;
        let mut at = SECRET.place(text, self.table.len());
        while let Some(number) = self.table[at].checked_sub(1) {
            if key::<TAIL>(&self.texts[number as usize]) == text {
                return true;
            }
            at = (at + 1) & mask;
        }
        false
    }
}

impl<const TAIL: usize> Deref for TextSet<TAIL> {
    type Target = [Box<str>];

    fn deref(&self) -> &[Box<str>] {
        &self.texts
    }
}

/// The bytes by which a text is found.
fn key<const TAIL: usize>(text: &str) -> &[u8] {
    &text.as_bytes()[..text.len().saturating_sub(TAIL)]
}

/// What texts are hashed under. Entries and what is looked up are often chosen by one and the same,
/// the owner of a key: were the hash known, lists could be made of which every lookup, and an
/// origin makes a hundred, passes over half.
struct Secret {
    start: u64,
    factor: u64,
}

/// One for the process, so that equal sets have equal tables.
static SECRET: LazyLock<Secret> = LazyLock::new(|| {
    let random = RandomState::new();
    // An odd factor loses nothing. A known one would leave its multiples where they can be guessed.
    Secret { start: random.hash_one(0), factor: random.hash_one(1) | 1 }
});

impl Secret {
    /// Where a text would stand in a table of this size.
    #[expect(clippy::cast_possible_truncation, reason = "the low bits are all that is wanted")]
    fn place(&self, text: &[u8], table: usize) -> usize {
        // Whole words, then the last eight bytes once more, whatever the words had of them.
        let words = text.as_chunks::<8>().0.iter().map(|word| u64::from_le_bytes(*word));
        let last = match text.last_chunk::<8>() {
            Some(last) => u64::from_le_bytes(*last),
            None => text.iter().fold(0, |word, byte| word << 8 | u64::from(*byte)),
        };
        let start = self.start ^ text.len() as u64;
        let hash = words.chain([last]).fold(start, |hash, word| self.mix(hash, word));
        hash as usize & (table - 1)
    }

    /// A multiplication whose halves are folded: every bit of both reaches every place of a table.
    /// Of a plain product the low bits never hear of the high ones, where names that are alike
    /// differ.
    #[expect(clippy::cast_possible_truncation, reason = "the two halves of a product")]
    fn mix(&self, hash: u64, word: u64) -> u64 {
        let product = u128::from(hash.rotate_left(23) ^ word) * u128::from(self.factor);
        (product >> 64) as u64 ^ product as u64
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    /// A bad hash answers rightly and slowly, so nothing else would show it.
    #[test]
    fn texts_that_are_alike_do_not_fall_together() {
        let families: [fn(u32) -> String; 7] = [
            |n| format!("resource-{n:02}:read"),
            |n| format!("resource-{n:02}:"),
            |n| format!("{n:02}resource:read"),
            |n| format!("app-{n:02}.example.com"),
            |n| format!("{n}"),
            |n| format!("{n:08}"),
            |n| format!("a{n:015}"),
        ];
        for family in families {
            for count in [8, 64, 256] {
                let set = TextSet::<0>::new((0..count).map(|n| family(n).into()).collect());
                let longest = longest_run(&set);
                // Of 256 places at random in 512, some twenty stand in a row.
                assert!(longest <= 64, "{longest} in a row of {count}, such as {}", family(1));
            }
        }
    }

    /// Whoever knows the hash could else have every lookup pass over a whole list.
    #[test]
    fn nobody_can_choose_texts_that_fall_together() {
        const COUNT: usize = 256;
        let known = Secret { start: 0, factor: 0x9E37_79B9_7F4A_7C15 };
        let all = (0..).map(|n: u32| format!("host-{n}.example.com"));
        let chosen = all.filter(|text| known.place(text.as_bytes(), 2 * COUNT) == 7);
        let set = TextSet::<0>::new(chosen.take(COUNT).map(Box::from).collect());
        assert!(longest_run(&set) <= 64, "{} in a row", longest_run(&set));
    }

    fn longest_run<const TAIL: usize>(set: &TextSet<TAIL>) -> usize {
        let runs = set.table.split(|number| *number == 0);
        runs.map(<[u32]>::len).max().unwrap_or(0)
    }

    proptest! {
        #[test]
        fn a_set_has_its_texts_and_no_others(
            texts in vec("[ab]{0,3}|[a-z]{0,20}", 0..300),
            others in vec("[ab]{0,3}|[a-z]{0,20}", 0..50),
        ) {
            let model: BTreeSet<&str> = texts.iter().map(String::as_str).collect();
            let set = TextSet::<0>::new(texts.iter().map(|text| text.as_str().into()).collect());
            prop_assert!(set.iter().map(AsRef::as_ref).eq(model.iter().copied()));
            for text in texts.iter().chain(&others) {
                prop_assert_eq!(set.has(text.as_bytes()), model.contains(text.as_str()));
            }
            let backwards = texts.iter().rev().map(|text| text.as_str().into()).collect();
            prop_assert_eq!(TextSet::new(backwards), set);
            let tailed = texts.iter().map(|text| format!("{text}*").into()).collect();
            let tailed = TextSet::<1>::new(tailed);
            for text in texts.iter().chain(&others) {
                prop_assert_eq!(tailed.has(text.as_bytes()), model.contains(text.as_str()));
            }
        }
    }
}
