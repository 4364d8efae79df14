//! Tokens: what a holder sends (SPEC §6.3, "Tokens").
//!
//! Prefix (`kg_live_`, `kg_test_`), 32 base62 characters from the system's random source (190
//! bits), 6 base62 characters of CRC-32 (IEEE) over all that stands before. The checksum tells a
//! typo, or a scanner's false hit, apart without a lookup.

use keygate_protocol::limits::TOKEN_BYTES_MAX;
use zeroize::Zeroizing;

const ALPHABET: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
const RANDOM_CHARS: usize = 32;
const CHECK_CHARS: usize = 6;
const PREFIX_BYTES_MAX: usize = 32;

// 62^6 > 2^32: six characters hold every checksum.
const _: () = assert!(62_u64.pow(6) > u32::MAX as u64);
const _: () = assert!(PREFIX_BYTES_MAX + RANDOM_CHARS + CHECK_CHARS <= TOKEN_BYTES_MAX);

/// The prefixes of this daemon's tokens, made from one configurable brand.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Prefixes {
    ours: String,
    live: String,
    test: String,
    secret: String,
}

/// The brand cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{given:?} cannot begin a token: use 1 to 16 lower-case letters and digits")]
pub struct BrandError {
    given: String,
}

/// How a token looks before it is looked up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// It bears our prefix and its checksum is right.
    Ours,
    /// It is of another shape: known only if its digest was imported.
    Foreign,
    /// Too long, empty, or of our prefix with a wrong checksum.
    Malformed,
}

impl Default for Prefixes {
    fn default() -> Self {
        Self::of_brand("kg")
    }
}

impl Prefixes {
    /// The prefixes of a brand such as `kg`.
    ///
    /// # Errors
    /// [`BrandError`] unless it is 1 to 16 lower-case letters and digits.
    pub fn new(brand: &str) -> Result<Self, BrandError> {
        let fits = (1..=16).contains(&brand.len())
            && brand.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit());
        if !fits {
            return Err(BrandError { given: brand.to_owned() });
        }
        Ok(Self::of_brand(brand))
    }

    fn of_brand(brand: &str) -> Self {
        Self {
            ours: format!("{brand}_"),
            live: format!("{brand}_live_"),
            test: format!("{brand}_test_"),
            secret: format!("{brand}_secret_"),
        }
    }

    /// The prefix of a live or a test key.
    #[must_use]
    pub fn of(&self, test: bool) -> &str {
        if test { &self.test } else { &self.live }
    }

    /// A new token, made of `random`: at least [`random_bytes_for_token`] bytes, of which those
    /// above the largest multiple of 62 are passed over so that each character is equally likely.
    /// `None` when too few were left; ask again with fresh bytes.
    #[must_use]
    pub fn make(&self, test: bool, random: &[u8]) -> Option<Zeroizing<String>> {
        make(self.of(test), random)
    }

    /// A new client secret, as [`Prefixes::make`] makes a token. It begins as our tokens do, and
    /// shows itself as none of them: given in a token's place, it is malformed.
    #[must_use]
    pub fn make_secret(&self, random: &[u8]) -> Option<Zeroizing<String>> {
        make(&self.secret, random)
    }

    /// Whether a token, or its visible part, begins as those of this brand do.
    #[must_use]
    pub fn begin(&self, token: &str) -> bool {
        token.starts_with(&self.ours)
    }

    /// Tells a token's shape; no lookup, no secret.
    #[must_use]
    pub fn shape(&self, token: &[u8]) -> Shape {
        if token.is_empty() || token.len() > TOKEN_BYTES_MAX {
            return Shape::Malformed;
        }
        if !token.starts_with(self.ours.as_bytes()) {
            return Shape::Foreign;
        }
        let prefix = [&self.live, &self.test]
            .into_iter()
            .find(|prefix| token.starts_with(prefix.as_bytes()));
        let Some(prefix) = prefix else { return Shape::Malformed };
        if token.len() != prefix.len() + RANDOM_CHARS + CHECK_CHARS {
            return Shape::Malformed;
        }
        let (body, check) = token.split_at(token.len() - CHECK_CHARS);
        if check == check_chars(body) { Shape::Ours } else { Shape::Malformed }
    }

    /// The part of a token that is no secret: for people, to tell keys apart.
    #[must_use]
    pub fn visible(&self, token: &str) -> String {
        let secret_at = self.live.len().min(token.len());
        token.chars().take(secret_at + 4).collect()
    }
}

/// A prefix, [`RANDOM_CHARS`] characters, and the checksum of both.
fn make(prefix: &str, random: &[u8]) -> Option<Zeroizing<String>> {
    let mut token = Zeroizing::new(String::with_capacity(TOKEN_BYTES_MAX));
    token.push_str(prefix);
    let chars = random.iter().filter(|&&byte| byte < 248).take(RANDOM_CHARS);
    let start = token.len();
    for &byte in chars {
        token.push(char::from(ALPHABET[usize::from(byte % 62)]));
    }
    if token.len() - start < RANDOM_CHARS {
        return None;
    }
    for char in check_chars(token.as_bytes()) {
        token.push(char::from(char));
    }
    Some(token)
}

/// Random bytes that make a token with a chance of failure below 2^-100.
#[must_use]
pub const fn random_bytes_for_token() -> usize {
    RANDOM_CHARS * 3
}

fn check_chars(body: &[u8]) -> [u8; CHECK_CHARS] {
    let mut rest = crc32fast::hash(body);
    let mut chars = [b'0'; CHECK_CHARS];
    for char in chars.iter_mut().rev() {
        *char = ALPHABET[(rest % 62) as usize];
        rest /= 62;
    }
    chars
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(test: bool) -> String {
        let random: Vec<u8> = (0..=255).collect();
        Prefixes::default().make(test, &random).expect("enough bytes").to_string()
    }

    #[test]
    fn a_made_token_has_the_stated_form() {
        let prefixes = Prefixes::default();
        for test in [false, true] {
            let token = token(test);
            assert_eq!(token.len(), 46);
            assert!(token.starts_with(prefixes.of(test)), "{token}");
            assert_eq!(prefixes.shape(token.as_bytes()), Shape::Ours);
        }
    }

    #[test]
    fn a_client_secret_is_as_strong_as_a_token_and_never_passes_for_one() {
        let prefixes = Prefixes::default();
        let random: Vec<u8> = (0..=255).collect();
        let secret = prefixes.make_secret(&random).expect("enough bytes");
        assert!(secret.starts_with("kg_secret_"), "{}", *secret);
        assert_eq!(secret.len(), "kg_secret_".len() + RANDOM_CHARS + CHECK_CHARS);
        assert_eq!(prefixes.shape(secret.as_bytes()), Shape::Malformed);
        let (body, check) = secret.split_at(secret.len() - CHECK_CHARS);
        assert_eq!(check.as_bytes(), check_chars(body.as_bytes()));
    }

    #[test]
    fn any_single_wrong_character_is_malformed() {
        let prefixes = Prefixes::default();
        let good = token(false);
        for at in 3..good.len() {
            let mut bad = good.clone().into_bytes();
            bad[at] = if bad[at] == b'x' { b'y' } else { b'x' };
            assert_eq!(prefixes.shape(&bad), Shape::Malformed, "at {at}");
        }
    }

    #[test]
    fn other_shapes_are_foreign_and_hopeless_ones_malformed() {
        let prefixes = Prefixes::default();
        let long = vec![b'a'; TOKEN_BYTES_MAX + 1];
        for (token, shape) in [
            (b"lk_live_9f8e7d6c5b4a39281706f5e4d3c2b1a0".as_slice(), Shape::Foreign),
            (b"kg", Shape::Foreign),
            (&long[1..], Shape::Foreign),
            (&long, Shape::Malformed),
            (b"", Shape::Malformed),
            (b"kg_", Shape::Malformed),
            (b"kg_live_", Shape::Malformed),
            (b"kg_prod_0123", Shape::Malformed),
        ] {
            assert_eq!(prefixes.shape(token), shape, "{}", String::from_utf8_lossy(token));
        }
    }

    #[test]
    fn too_little_randomness_makes_no_token() {
        assert!(Prefixes::default().make(false, &[255; 500]).is_none());
        assert!(Prefixes::default().make(false, &[0; RANDOM_CHARS - 1]).is_none());
    }

    #[test]
    fn a_brand_is_short_and_plain() {
        let acme = Prefixes::new("acme").expect("fits");
        assert_eq!(acme.of(true), "acme_test_");
        assert!(acme.begin("acme_live_ab") && !acme.begin("kg_live_ab") && !acme.begin(""));
        for bad in ["", "Acme", "a_b", "seventeenletters1"] {
            assert!(Prefixes::new(bad).is_err(), "{bad}");
        }
    }
}
