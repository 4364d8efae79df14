//! What is kept of a token: on disk `HMAC-SHA-256(pepper, SHA-256(token))`, in memory the SHA-256.
//!
//! The inner SHA-256 is what the source system stored, so an imported digest works as it is. The
//! outer, keyed hash makes a stolen store useless without the pepper: not even a weak imported
//! token can be guessed against it. In memory, beside the pepper, it would protect nothing, and
//! would cost each decision two more compressions.
//!
//! So a record also carries the SHA-256 sealed, for the catalog to open at start, and for export,
//! or keys could not move to another daemon: XORed with `HMAC(seal key, digest)`, where the digest,
//! itself a keyed hash of what is sealed, is the synthetic nonce (the SIV construction of RFC
//! 5297). Without the pepper the seal says nothing; with it, the opened value is checked against
//! its digest.

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use subtle::{Choice, ConstantTimeEq};
use zeroize::{Zeroize, ZeroizeOnDrop};

/// Bytes of SHA-256.
pub const DIGEST_BYTES: usize = 32;
const BLOCK_BYTES: usize = 64;
const SEAL_LABEL: &[u8] = b"keygate seal 1";
const FINGERPRINT_LABEL: &[u8] = b"keygate pepper fingerprint";

/// The SHA-256 of a token: what the catalog finds it by. Never on disk, never in a log. Compared in
/// constant time.
///
/// It stays in the words that the hash function leaves: spelling them out as bytes, only to load
/// them as words again, stalled the processor for longer than the comparison takes.
#[derive(Clone, Copy, Zeroize)]
pub struct TokenHash([u32; 8]);

/// The keyed digest of a token or a client secret: what the store finds it by. Compared in
/// constant time.
#[derive(Clone, Copy, Serialize, Deserialize)]
pub struct Digest(pub [u8; DIGEST_BYTES]);

impl PartialEq for Digest {
    fn eq(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl Eq for Digest {}

impl PartialEq for TokenHash {
    fn eq(&self, other: &Self) -> bool {
        self.ct_eq(other).into()
    }
}

impl Eq for TokenHash {}

impl ConstantTimeEq for TokenHash {
    fn ct_eq(&self, other: &Self) -> Choice {
        // All words are looked at before anything is decided.
        self.0.iter().zip(other.0).fold(0, |differ, (a, b)| differ | (a ^ b)).ct_eq(&0)
    }
}

impl std::hash::Hash for TokenHash {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        state.write_u64(self.head());
    }
}

impl std::fmt::Debug for TokenHash {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("TokenHash(..)")
    }
}

impl TokenHash {
    /// The hash of what a holder sends: one SHA-256 block for a token of ours.
    #[must_use]
    pub fn of(token: &[u8]) -> Self {
        if token.len() < LENGTH_AT {
            return Self(last_block(INITIAL, token, 0));
        }
        Self::from_sha256(&Sha256::digest(token).into())
    }

    /// The hash whose bytes are known.
    #[must_use]
    pub fn from_sha256(sha256: &[u8; DIGEST_BYTES]) -> Self {
        let mut words = [0; 8];
        for (word, bytes) in words.iter_mut().zip(sha256.chunks_exact(4)) {
            *word = bytes.first_chunk().map_or(0, |bytes| u32::from_be_bytes(*bytes));
        }
        Self(words)
    }

    /// Its first two words.
    #[must_use]
    pub fn head(&self) -> u64 {
        u64::from(self.0[0]) << 32 | u64::from(self.0[1])
    }
}

// Digests do not reach logs: they would let a reader test guesses against a stolen pepper.
impl std::fmt::Debug for Digest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Digest(..)")
    }
}

/// A digest, and the SHA-256 behind it under seal.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct SealedHash {
    /// The keyed digest.
    pub digest: Digest,
    sealed: [u8; DIGEST_BYTES],
}

// Neither says anything useful to a reader of logs.
impl std::fmt::Debug for SealedHash {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SealedHash(..)")
    }
}

/// The secret of the keyed hash: 32 bytes, with both of its keys expanded ahead of time. While it is
/// exchanged for another, the one that was goes on opening what was sealed under it.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct Pepper {
    present: PepperKeys,
    retired: Option<PepperKeys>,
}

/// What is derived from one pepper.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
struct PepperKeys {
    digest_key: MacKey,
    seal_key: MacKey,
}

impl Pepper {
    /// Bytes of a pepper.
    pub const BYTES: usize = 32;

    /// Expands a pepper.
    #[must_use]
    pub fn new(secret: &[u8; Self::BYTES]) -> Self {
        Self { present: PepperKeys::new(secret), retired: None }
    }

    /// The same, and opens besides what was sealed under another.
    #[must_use]
    pub fn with_retired(&self, retired: &Self) -> Self {
        Self { present: self.present.clone(), retired: Some(retired.present.clone()) }
    }

    /// The same, and nothing else opens any more.
    #[must_use]
    pub fn without_retired(&self) -> Self {
        Self { present: self.present.clone(), retired: None }
    }

    /// Whether another one still opens what was sealed under it.
    #[must_use]
    pub const fn is_rotating(&self) -> bool {
        self.retired.is_some()
    }

    /// What the store knows it by: a digest of no token, which tells nothing of it.
    #[must_use]
    pub fn fingerprint(&self) -> String {
        hex(&self.digest(FINGERPRINT_LABEL).0)
    }

    /// A pepper of another purpose, which says nothing about this one: what is sealed under it opens
    /// under no other. At most 55 bytes of label.
    #[must_use]
    pub fn derived(&self, label: &[u8]) -> Self {
        let derived = |keys: &PepperKeys| {
            let mut secret = keys.digest_key.mac(label);
            let derived = PepperKeys::new(&secret);
            secret.zeroize();
            derived
        };
        Self { present: derived(&self.present), retired: self.retired.as_ref().map(derived) }
    }

    /// The keyed digest of what a holder sends.
    #[must_use]
    pub fn digest(&self, token: &[u8]) -> Digest {
        self.digest_of_sha256(&Sha256::digest(token).into())
    }

    /// The keyed digest of a value whose SHA-256 is known.
    #[must_use]
    pub fn digest_of_sha256(&self, sha256: &[u8; DIGEST_BYTES]) -> Digest {
        self.present.digest(sha256)
    }

    /// Digest and seal of a value whose SHA-256 is known.
    #[must_use]
    pub fn seal(&self, sha256: &[u8; DIGEST_BYTES]) -> SealedHash {
        let digest = self.present.digest(sha256);
        SealedHash { digest, sealed: self.present.mask(&digest, sha256) }
    }

    /// Digest and seal of a token.
    #[must_use]
    pub fn seal_token(&self, token: &[u8]) -> SealedHash {
        self.seal(&Sha256::digest(token).into())
    }

    /// The SHA-256 under the seal, or `None` if this pepper did not make it.
    #[must_use]
    pub fn open(&self, hash: &SealedHash) -> Option<[u8; DIGEST_BYTES]> {
        let retired = || self.retired.as_ref().and_then(|keys| keys.open(hash));
        self.present.open(hash).or_else(retired)
    }

    /// The hash under the seal, for the catalog.
    #[must_use]
    pub fn token_hash(&self, hash: &SealedHash) -> Option<TokenHash> {
        self.open(hash).map(|sha256| TokenHash::from_sha256(&sha256))
    }

    /// What was sealed under the retired pepper, sealed under the present one; `None` where nothing
    /// is to be done, or where neither opens it.
    #[must_use]
    pub fn renewed(&self, hash: &SealedHash) -> Option<SealedHash> {
        let mut sha256 = self.retired.as_ref()?.open(hash)?;
        let renewed = self.seal(&sha256);
        sha256.zeroize();
        Some(renewed)
    }

    /// The digest that the retired pepper made, or would have made, of what is sealed here.
    #[must_use]
    pub fn retired_digest(&self, hash: &SealedHash) -> Option<Digest> {
        let mut sha256 = self.open(hash)?;
        let digest = self.retired.as_ref()?.digest(&sha256);
        sha256.zeroize();
        Some(digest)
    }
}

impl PepperKeys {
    fn new(secret: &[u8; Pepper::BYTES]) -> Self {
        let digest_key = MacKey::new(secret);
        let mut seal_secret = digest_key.mac(SEAL_LABEL);
        let seal_key = MacKey::new(&seal_secret);
        seal_secret.zeroize();
        Self { digest_key, seal_key }
    }

    fn digest(&self, sha256: &[u8; DIGEST_BYTES]) -> Digest {
        Digest(self.digest_key.mac(sha256))
    }

    fn open(&self, hash: &SealedHash) -> Option<[u8; DIGEST_BYTES]> {
        let sha256 = self.mask(&hash.digest, &hash.sealed);
        (self.digest(&sha256) == hash.digest).then_some(sha256)
    }

    fn mask(&self, digest: &Digest, value: &[u8; DIGEST_BYTES]) -> [u8; DIGEST_BYTES] {
        let mut masked = self.seal_key.mac(&digest.0);
        masked.iter_mut().zip(value).for_each(|(byte, value)| *byte ^= value);
        masked
    }
}

/// An HMAC-SHA-256 key (RFC 2104) as the two chaining states behind its padded blocks, so that a
/// MAC of up to 55 bytes costs two compressions and not four.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
struct MacKey {
    inner: [u32; 8],
    outer: [u32; 8],
}

/// FIPS 180-4 §5.3.3.
const INITIAL: [u32; 8] = [
    0x6a09_e667,
    0xbb67_ae85,
    0x3c6e_f372,
    0xa54f_f53a,
    0x510e_527f,
    0x9b05_688c,
    0x1f83_d9ab,
    0x5be0_cd19,
];

impl MacKey {
    fn new(secret: &[u8; DIGEST_BYTES]) -> Self {
        let state = |pad: u8| {
            let mut block = [pad; BLOCK_BYTES];
            block.iter_mut().zip(secret).for_each(|(byte, key)| *byte ^= key);
            let mut state = INITIAL;
            sha2::block_api::compress256(&mut state, &[block]);
            block.zeroize();
            state
        };
        Self { inner: state(0x36), outer: state(0x5c) }
    }

    /// The MAC of a message of at most 55 bytes: all that is ever asked of it here.
    fn mac(&self, message: &[u8]) -> [u8; DIGEST_BYTES] {
        finish(self.outer, &finish(self.inner, message))
    }
}

/// Hashes the second and last block of a MAC's message.
fn finish(state: [u32; 8], message: &[u8]) -> [u8; DIGEST_BYTES] {
    let state = last_block(state, message, BLOCK_BYTES);
    let mut digest = [0; DIGEST_BYTES];
    for (bytes, word) in digest.chunks_exact_mut(4).zip(state) {
        bytes.copy_from_slice(&word.to_be_bytes());
    }
    digest
}

/// Where a padded block says the message's length (FIPS 180-4 §5.1.1).
const LENGTH_AT: usize = BLOCK_BYTES - 8;

/// Hashes a last block of less than [`LENGTH_AT`] bytes, `before` it having been hashed already.
fn last_block(mut state: [u32; 8], message: &[u8], before: usize) -> [u32; 8] {
    debug_assert!(message.len() < LENGTH_AT, "the message leaves no room for its length");
    let mut block = [0; BLOCK_BYTES];
    block[..message.len()].copy_from_slice(message);
    block[message.len()] = 0x80;
    let bits = (before as u64 + message.len() as u64) * 8;
    block[LENGTH_AT..].copy_from_slice(&bits.to_be_bytes());
    sha2::block_api::compress256(&mut state, &[block]);
    state
}

/// Reads 64 hexadecimal digits.
#[must_use]
pub fn parse_hex(text: &str) -> Option<[u8; DIGEST_BYTES]> {
    let digits = text.as_bytes();
    if digits.len() != 2 * DIGEST_BYTES {
        return None;
    }
    let mut bytes = [0; DIGEST_BYTES];
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        let nibble = |digit: u8| char::from(digit).to_digit(16).and_then(|d| u8::try_from(d).ok());
        *byte = nibble(pair[0])? << 4 | nibble(pair[1])?;
    }
    Some(bytes)
}

/// Writes lower-case hexadecimal digits.
#[must_use]
pub fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 4231, test cases 1 and 2, with the key padded to our 32 bytes (HMAC pads with zeros).
    #[test]
    fn the_mac_is_hmac_sha_256() {
        let mut first = [0; 32];
        first[..20].fill(0x0b);
        let mut second = [0; 32];
        second[..4].copy_from_slice(b"Jefe");
        for (key, message, expected) in [
            (
                first,
                b"Hi There".as_slice(),
                "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7",
            ),
            (
                second,
                b"what do ya want for nothing?",
                "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843",
            ),
        ] {
            assert_eq!(hex(&MacKey::new(&key).mac(message)), expected);
        }
    }

    #[test]
    fn messages_of_every_length_are_hashed_as_sha_256_has_it() {
        let message = [0x5A; 200];
        for length in 0..message.len() {
            let expected = TokenHash::from_sha256(&Sha256::digest(&message[..length]).into());
            assert!(TokenHash::of(&message[..length]) == expected, "{length} bytes");
        }
    }

    #[test]
    fn digests_that_differ_in_any_byte_differ() {
        let digest = Digest([7; 32]);
        for at in 0..32 {
            let mut other = digest;
            other.0[at] ^= 0x80;
            assert!(digest != other && digest == Digest(digest.0), "byte {at}");
            let (hash, other) =
                (TokenHash::from_sha256(&digest.0), TokenHash::from_sha256(&other.0));
            assert!(hash != other && hash == TokenHash(hash.0), "byte {at}");
        }
    }

    #[test]
    fn a_seal_opens_only_under_its_own_pepper() {
        let sha256: [u8; 32] = Sha256::digest(b"lk_live_example").into();
        let pepper = Pepper::new(&[7; 32]);
        let hash = pepper.seal(&sha256);
        assert!(hash.digest == pepper.digest(b"lk_live_example"));
        assert_eq!(pepper.open(&hash), Some(sha256));
        assert_eq!(Pepper::new(&[8; 32]).open(&hash), None);
        assert_eq!(pepper.token_hash(&hash), Some(TokenHash::of(b"lk_live_example")));
        assert_ne!(hash.sealed, sha256);
    }

    /// What a request had sealed before a whole rotation went by.
    #[test]
    fn a_record_is_sealed_again_under_the_pepper_that_is_there_by_then() {
        let (old, new) = (Pepper::new(&[7; 32]), Pepper::new(&[8; 32]));
        let sealed = |pepper: &Pepper| crate::key::KeyRecord {
            key_hash: Some(pepper.seal(&[5; 32])),
            client_secret_hash: Some(pepper.seal(&[6; 32])),
            ..crate::key::KeyRecord::default()
        };
        for under in [&old, &new] {
            let mut record = sealed(under);
            record.reseal(under, &new);
            assert!(record == sealed(&new));
        }
    }

    #[test]
    fn a_rotation_opens_both_and_seals_under_the_present_one() {
        let (old, new) = (Pepper::new(&[7; 32]), Pepper::new(&[8; 32]));
        let both = new.with_retired(&old);
        let sealed = old.seal(&[5; 32]);
        assert_eq!((both.open(&sealed), new.open(&sealed)), (Some([5; 32]), None));
        let renewed = both.renewed(&sealed).expect("under the retired one");
        assert!(renewed == new.seal(&[5; 32]) && both.renewed(&renewed).is_none());
        assert!(both.retired_digest(&renewed) == Some(sealed.digest));
        assert!(new.retired_digest(&renewed).is_none() && new.renewed(&sealed).is_none());
        assert_eq!(both.fingerprint(), new.fingerprint());
        assert_ne!(old.fingerprint(), new.fingerprint());
    }

    #[test]
    fn what_is_sealed_for_one_purpose_opens_for_no_other() {
        let pepper = Pepper::new(&[7; 32]);
        let (hooks, others) = (pepper.derived(b"hooks"), pepper.derived(b"others"));
        let sealed = hooks.seal(&[5; 32]);
        assert_eq!(pepper.derived(b"hooks").open(&sealed), Some([5; 32]));
        assert_eq!((pepper.open(&sealed), others.open(&sealed)), (None, None));
        assert!(sealed.digest != pepper.seal(&[5; 32]).digest);
    }

    #[test]
    fn hexadecimal_is_read_strictly() {
        let text = hex(&[0xA5; 32]);
        assert_eq!(parse_hex(&text), Some([0xA5; 32]));
        assert_eq!(parse_hex(&text.to_uppercase()), Some([0xA5; 32]));
        for bad in [&text[1..], &format!("{text}0"), &text.replace('a', "g"), ""] {
            assert_eq!(parse_hex(bad), None, "{bad}");
        }
    }
}
