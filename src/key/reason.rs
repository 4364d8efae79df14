//! Why the state of a key was changed: a code that programs can count, and a text for people.

/// Longest text of a reason, in bytes.
pub const REASON_BYTES_MAX: usize = 256;

/// Why a key was put into another state. The first four are reasons of RFC 5280, §5.3.1, for the
/// revocation of certificates, in the words that people use for keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ReasonCode {
    /// The token is known, or feared to be known, to somebody else.
    KeyCompromise,
    /// Another key has taken its place.
    Superseded,
    /// Its holder belongs elsewhere now.
    AffiliationChanged,
    /// Its holder may not do this any more.
    PrivilegeWithdrawn,
    /// None of these: the text says it.
    Other,
}

/// Why a reason was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReasonError {
    /// Not one of the codes.
    #[error("{given:?} is not a reason code; it is one of {}", names())]
    Unknown {
        /// What was given.
        given: String,
    },
    /// `other` without a text.
    #[error("the reason code \"other\" needs a text beside it that says why")]
    NoText,
    /// The text is too long.
    #[error("the reason has {bytes} bytes, at most {REASON_BYTES_MAX} are kept")]
    TooLong {
        /// Its length.
        bytes: usize,
    },
}

/// A reason, checked: code and text may each be absent, `other` comes with a text.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Reason {
    /// What programs count.
    pub code: Option<ReasonCode>,
    /// What people read; empty for none.
    pub text: String,
}

impl ReasonCode {
    /// Every code.
    pub const ALL: [Self; 5] = [
        Self::KeyCompromise,
        Self::Superseded,
        Self::AffiliationChanged,
        Self::PrivilegeWithdrawn,
        Self::Other,
    ];

    /// The name in JSON.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::KeyCompromise => "key_compromise",
            Self::Superseded => "superseded",
            Self::AffiliationChanged => "affiliation_changed",
            Self::PrivilegeWithdrawn => "privilege_withdrawn",
            Self::Other => "other",
        }
    }

    /// Reads a name.
    ///
    /// # Errors
    /// [`ReasonError::Unknown`], which lists the names.
    pub fn parse(given: &str) -> Result<Self, ReasonError> {
        let unknown = || ReasonError::Unknown { given: given.chars().take(64).collect() };
        Self::ALL.into_iter().find(|code| code.name() == given).ok_or_else(unknown)
    }
}

impl Reason {
    /// A reason as it was given; what is empty is absent.
    ///
    /// # Errors
    /// [`ReasonError`].
    pub fn new(code: Option<&str>, text: Option<String>) -> Result<Self, ReasonError> {
        let code = code.filter(|code| !code.is_empty()).map(ReasonCode::parse).transpose()?;
        let text = text.unwrap_or_default();
        if text.len() > REASON_BYTES_MAX {
            return Err(ReasonError::TooLong { bytes: text.len() });
        }
        if code == Some(ReasonCode::Other) && text.trim().is_empty() {
            return Err(ReasonError::NoText);
        }
        Ok(Self { code, text })
    }

    /// Whether nothing was given.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.code.is_none() && self.text.is_empty()
    }
}

fn names() -> String {
    ReasonCode::ALL.map(ReasonCode::name).join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_is_a_code_a_text_both_or_neither_and_other_says_why() {
        for code in ReasonCode::ALL {
            assert_eq!(ReasonCode::parse(code.name()), Ok(code));
        }
        let reason = |code, text: Option<&str>| Reason::new(code, text.map(str::to_owned));
        assert!(reason(None, None).is_ok_and(|reason| reason.is_empty()));
        assert!(reason(Some(""), Some("")).is_ok_and(|reason| reason.is_empty()));
        assert!(reason(None, Some("unpaid")).is_ok_and(|reason| reason.text == "unpaid"));
        let code = |code| reason(Some(code), None).map(|reason| reason.code);
        assert_eq!(code("superseded"), Ok(Some(ReasonCode::Superseded)));
        assert!(reason(Some("other"), Some("moved away")).is_ok());
        for (code, text, says) in [
            (Some("stolen"), None, "key_compromise, superseded"),
            (Some("KEY_COMPROMISE"), None, "not a reason code"),
            (Some("other"), None, "needs a text"),
            (Some("other"), Some(" "), "needs a text"),
            (None, Some("x".repeat(257).as_str()), "at most 256"),
        ] {
            let refused = reason(code, text).expect_err(says).to_string();
            assert!(refused.contains(says), "{refused}");
        }
    }
}
