//! A set of texts, compiled: what scopes, names and hosts are looked up in.
//!
//! A lookup is one hash and about one comparison. A binary search over 64 texts made six, of which
//! the processor foresees none: 57 ns where this takes a few.

use std::ops::Deref;

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
            let mut at = place(key::<TAIL>(text), table.len());
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
        let mut at = place(text, self.table.len());
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

/// Where a text would stand in a table of this size. The texts of a set are an operator's and what
/// is looked up a service's, so the hash need be fast and not secret; were all to fall together, a
/// search would pass over as many as the set may have.
fn place(text: &[u8], table: usize) -> usize {
    const FACTOR: u64 = 0x9E37_79B9_7F4A_7C15;
    let mix = |hash: u64, word: u64| (hash.rotate_left(23) ^ word).wrapping_mul(FACTOR);
    // Whole words, then the last eight bytes once more, whatever the words had of them.
    let words = text.as_chunks::<8>().0.iter().map(|word| u64::from_le_bytes(*word));
    let last = match text.last_chunk::<8>() {
        Some(last) => u64::from_le_bytes(*last),
        None => text.iter().fold(0, |word, byte| word << 8 | u64::from(*byte)),
    };
    let hash = mix(words.fold(text.len() as u64, mix), last);
    (hash >> 32) as usize & (table - 1)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

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
