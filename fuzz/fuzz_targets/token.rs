//! Tokens: their shape, told without a lookup, and their hash.
#![no_main]

use keygate::key::TokenHash;
use keygate::key::token::{Prefixes, Shape};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let prefixes = Prefixes::default();
    let shape = prefixes.shape(data);
    let begins = data.starts_with(b"kg_");
    match shape {
        Shape::Ours => assert!(begins && data.len() == 46),
        Shape::Foreign => assert!(!begins && (1..=512).contains(&data.len())),
        Shape::Malformed => assert!(begins || data.is_empty() || data.len() > 512),
    }
    assert_eq!(TokenHash::of(data), TokenHash::of(&data.to_vec()));
    if let Ok(text) = str::from_utf8(data) {
        let visible = prefixes.visible(text);
        assert!(text.starts_with(&visible) && visible.chars().count() <= 12);
    }
    // A token that is made of any random bytes is ours, and no other length of it is.
    if let Some(token) = prefixes.make(data.len() % 2 == 0, data) {
        assert_eq!(prefixes.shape(token.as_bytes()), Shape::Ours);
        assert_eq!(prefixes.shape(&token.as_bytes()[1..]), Shape::Foreign);
        assert_eq!(prefixes.shape(&token.as_bytes()[..45]), Shape::Malformed);
    }
});
