//! The golden frames of `vectors/`, as the tests read them.

use serde::Deserialize;
use serde::de::DeserializeOwned;

/// Frames that must be read.
pub(crate) const VALID: &str = include_str!("../../vectors/valid.json");

/// A file of vectors.
#[derive(Deserialize)]
struct File<T> {
    version: u8,
    vectors: Vec<T>,
}

/// The vectors of a file of version 1.
pub(crate) fn parse<T: DeserializeOwned>(file: &str) -> Vec<T> {
    let file: File<T> = serde_json::from_str(file).expect("the file has the stated members");
    assert_eq!(file.version, 1);
    file.vectors
}

/// The bytes that hexadecimal digits write; white space is passed over.
pub(crate) fn from_hex(hex: &str) -> Vec<u8> {
    let digits: Vec<u32> = hex
        .chars()
        .filter(|char| !char.is_whitespace())
        .map(|char| char.to_digit(16).expect("a hexadecimal digit"))
        .collect();
    assert!(digits.len().is_multiple_of(2), "an odd number of digits: {hex}");
    let byte = |pair: &[u32]| u8::try_from(pair[0] * 16 + pair[1]).expect("two digits");
    digits.chunks(2).map(byte).collect()
}
