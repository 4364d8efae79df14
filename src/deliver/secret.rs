//! What web hooks are signed with.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroizing;

/// What a written secret begins with (Standard Webhooks, "Signature scheme").
const PREFIX: &str = "whsec_";
/// Bytes that a secret may have, by the same.
const BYTES: std::ops::RangeInclusive<usize> = 24..=64;
/// Bytes of those that are made here: as many as the MAC has.
const BYTES_MADE: usize = 32;

/// A secret that the receiver of a web hook shares with the daemon. It is wiped when it is dropped,
/// and has no `Debug`: nothing prints it by accident.
#[derive(Clone)]
pub struct WebhookSecret(Zeroizing<Vec<u8>>);

/// Why a text or bytes are no secret. The value is not repeated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SecretError {
    /// It is not written as one.
    #[error("the secret of a web hook is whsec_ and the base64 of 24 to 64 bytes")]
    Form,
    /// It is too short or too long.
    #[error("the secret of a web hook has 24 to 64 bytes; this one has {0}")]
    Length(usize),
}

impl WebhookSecret {
    /// Makes one of 32 random bytes.
    ///
    /// # Errors
    /// The system's random source fails.
    pub fn generate() -> Result<Self, getrandom::Error> {
        let mut bytes = Zeroizing::new(vec![0; BYTES_MADE]);
        getrandom::fill(&mut bytes)?;
        Ok(Self(bytes))
    }

    /// Takes the bytes as they were kept.
    ///
    /// # Errors
    /// [`SecretError::Length`] unless there are 24 to 64.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, SecretError> {
        if !BYTES.contains(&bytes.len()) {
            return Err(SecretError::Length(bytes.len()));
        }
        Ok(Self(Zeroizing::new(bytes.to_vec())))
    }

    /// Reads one as people write it: `whsec_` and base64.
    ///
    /// # Errors
    /// [`SecretError`].
    pub fn parse(text: &str) -> Result<Self, SecretError> {
        let coded = text.strip_prefix(PREFIX).ok_or(SecretError::Form)?;
        // Longer than any secret is not worth a buffer.
        if coded.len() > BYTES.end().div_ceil(3) * 4 {
            return Err(SecretError::Form);
        }
        let bytes = STANDARD.decode(coded).map(Zeroizing::new).map_err(|_| SecretError::Form)?;
        Self::from_bytes(&bytes)
    }

    /// The bytes, to be kept.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The secret as its receiver writes it down: the only way to show one.
    #[must_use]
    pub fn reveal(&self) -> Zeroizing<String> {
        let mut text = Zeroizing::new(String::with_capacity(PREFIX.len() + 88));
        text.push_str(PREFIX);
        STANDARD.encode_string(&*self.0, &mut text);
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_read_as_it_is_written() {
        let made = WebhookSecret::generate().expect("randomness");
        let again = WebhookSecret::parse(&made.reveal()).expect("what was written");
        assert_eq!((made.as_bytes().len(), made.as_bytes()), (32, again.as_bytes()));
        let other = WebhookSecret::generate().expect("randomness");
        assert_ne!(made.as_bytes(), other.as_bytes());
    }

    #[test]
    fn what_is_no_secret_is_refused_without_being_repeated() {
        let of = |count| format!("whsec_{}", STANDARD.encode(vec![7; count]));
        for (text, expected) in [
            (of(24), Ok(24)),
            (of(64), Ok(64)),
            (of(23), Err(SecretError::Length(23))),
            (of(65), Err(SecretError::Length(65))),
            (of(67), Err(SecretError::Form)),
            (of(32).replace("whsec_", ""), Err(SecretError::Form)),
            (of(32).replace("Bw", "B-"), Err(SecretError::Form)),
            (String::new(), Err(SecretError::Form)),
        ] {
            let read = WebhookSecret::parse(&text).map(|secret| secret.as_bytes().len());
            assert_eq!(read, expected, "{text}");
        }
    }
}
