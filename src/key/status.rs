//! The states of a key and which may follow which.

use serde::{Deserialize, Serialize};

/// The state of a key. `ACTIVE` and `DEPRECATED` pass, the latter with a warning; every other
/// denies with a verdict code of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[repr(u8)]
pub enum Status {
    /// In use. The source system's `UNSPECIFIED` is read as this.
    #[default]
    Active = 1,
    /// In use, and its holder should move on.
    Deprecated = 2,
    /// Stopped for now.
    Suspended = 3,
    /// Not yet verified.
    PendingVerification = 4,
    /// Stopped for good.
    Revoked = 5,
    /// Marked as expired, whatever `expires_at` says.
    Expired = 6,
    /// Stopped for excess, by hand.
    RateLimited = 7,
    /// Waits for a review.
    PendingReview = 8,
    /// Under maintenance.
    Maintenance = 9,
}

/// Why a state was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StatusError {
    /// Not one of the names.
    #[error("{given:?} is not a status; it is one of {}", names(&Status::ALL))]
    Unknown {
        /// What was given.
        given: String,
    },
    /// The states do not follow each other.
    #[error("a key that is {} cannot become {}: {}", from.name(), to.name(), instead(*from))]
    NotAllowed {
        /// The present state.
        from: Status,
        /// The wanted state.
        to: Status,
    },
    /// A key cannot begin like this.
    #[error("a new key cannot be {}; it is one of {}", status.name(), names(Status::FIRST))]
    NotFirst {
        /// The wanted state.
        status: Status,
    },
}

impl Status {
    /// Every state.
    pub const ALL: [Self; 9] = [
        Self::Active,
        Self::Deprecated,
        Self::Suspended,
        Self::PendingVerification,
        Self::Revoked,
        Self::Expired,
        Self::RateLimited,
        Self::PendingReview,
        Self::Maintenance,
    ];

    /// The byte that indexes and memory use.
    #[must_use]
    pub const fn byte(self) -> u8 {
        self as u8
    }

    /// The name in JSON, without the source system's prefix.
    #[must_use]
    pub const fn name(self) -> &'static str {
        // The prefix has seven bytes, and every name has it.
        self.source_name().split_at(7).1
    }

    /// The source system's name.
    #[must_use]
    pub const fn source_name(self) -> &'static str {
        match self {
            Self::Active => "STATUS_ACTIVE",
            Self::Deprecated => "STATUS_DEPRECATED",
            Self::Suspended => "STATUS_SUSPENDED",
            Self::PendingVerification => "STATUS_PENDING_VERIFICATION",
            Self::Revoked => "STATUS_REVOKED",
            Self::Expired => "STATUS_EXPIRED",
            Self::RateLimited => "STATUS_RATE_LIMITED",
            Self::PendingReview => "STATUS_PENDING_REVIEW",
            Self::Maintenance => "STATUS_MAINTENANCE",
        }
    }

    /// Reads a name, with or without the prefix.
    ///
    /// # Errors
    /// [`StatusError::Unknown`], which lists the names.
    pub fn parse(given: &str) -> Result<Self, StatusError> {
        let bare = given.strip_prefix("STATUS_").unwrap_or(given);
        if bare == "UNSPECIFIED" {
            return Ok(Self::Active);
        }
        Self::ALL
            .into_iter()
            .find(|status| status.name() == bare)
            .ok_or_else(|| StatusError::Unknown { given: given.to_owned() })
    }

    /// The states that a new key may have: one that is REVOKED or EXPIRED from the start would
    /// never pass.
    pub const FIRST: &[Self] = &[
        Self::Active,
        Self::Deprecated,
        Self::Suspended,
        Self::PendingVerification,
        Self::RateLimited,
        Self::PendingReview,
        Self::Maintenance,
    ];

    /// The table of transitions: the states that may follow this one, beside itself.
    ///
    /// - REVOKED is final.
    /// - EXPIRED is left by a later `expires_at` ([`crate::key::KeyRecord::renew`]) and by nothing
    ///   else, so that nobody resumes a key that goes on denying.
    /// - PENDING_VERIFICATION is how a key begins: a key that was verified does not go back to it.
    ///   What is to be looked at again is PENDING_REVIEW.
    /// - RATE_LIMITED and MAINTENANCE are pauses of a key that is in use: a key that waits for its
    ///   verification or review, or is suspended, does not enter them.
    #[must_use]
    pub const fn next(self) -> &'static [Self] {
        use Status::{
            Active, Deprecated, Expired, Maintenance, PendingReview, RateLimited, Revoked,
            Suspended,
        };
        match self {
            Self::Active => {
                &[Deprecated, Suspended, Revoked, Expired, RateLimited, PendingReview, Maintenance]
            }
            Self::Deprecated => {
                &[Active, Suspended, Revoked, Expired, RateLimited, PendingReview, Maintenance]
            }
            Self::Suspended => &[Active, Deprecated, Revoked, Expired, PendingReview],
            Self::PendingVerification => &[Active, Suspended, Revoked, Expired],
            Self::Revoked => &[],
            Self::Expired => &[Revoked],
            Self::RateLimited => {
                &[Active, Deprecated, Suspended, Revoked, Expired, PendingReview, Maintenance]
            }
            Self::PendingReview => &[Active, Deprecated, Suspended, Revoked, Expired],
            Self::Maintenance => {
                &[Active, Deprecated, Suspended, Revoked, Expired, RateLimited, PendingReview]
            }
        }
    }

    /// Whether a key in this state may go into `to`. Staying is always allowed.
    ///
    /// # Errors
    /// [`StatusError::NotAllowed`], which names the states that are.
    pub fn may_become(self, to: Self) -> Result<(), StatusError> {
        if self == to || self.next().contains(&to) {
            return Ok(());
        }
        Err(StatusError::NotAllowed { from: self, to })
    }

    /// Whether a new key may have this state.
    ///
    /// # Errors
    /// [`StatusError::NotFirst`], which names the states that it may have.
    pub fn may_be_first(self) -> Result<(), StatusError> {
        if Self::FIRST.contains(&self) {
            return Ok(());
        }
        Err(StatusError::NotFirst { status: self })
    }
}

fn names(states: &[Status]) -> String {
    let names: Vec<&str> = states.iter().map(|status| status.name()).collect();
    names.join(", ")
}

/// What a key in this state can do where it cannot do what was wanted.
fn instead(from: Status) -> String {
    match from {
        Status::Revoked => "REVOKED is final; create a new key".to_owned(),
        Status::Expired => format!(
            "it may become {}, and a later expires_at makes it ACTIVE again \
             (`keygate key update ID --expires 90d`)",
            names(from.next())
        ),
        from => format!("it may become {}", names(from.next())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_is_read_back_with_and_without_its_prefix() {
        for status in Status::ALL {
            assert_eq!(Status::parse(status.name()), Ok(status));
            assert_eq!(Status::parse(status.source_name()), Ok(status));
        }
        assert_eq!(Status::parse("STATUS_UNSPECIFIED"), Ok(Status::Active));
        let refused = Status::parse("active").expect_err("names are upper case");
        assert!(refused.to_string().contains("ACTIVE, DEPRECATED"), "{refused}");
    }

    #[test]
    fn what_may_follow_is_allowed_and_everything_else_names_what_is() {
        for from in Status::ALL {
            assert_eq!(from.may_become(from), Ok(()), "staying");
            for to in Status::ALL.into_iter().filter(|to| *to != from) {
                let refused = match from.may_become(to) {
                    Ok(()) => {
                        assert!(from.next().contains(&to), "{from:?} to {to:?}");
                        continue;
                    }
                    Err(error) => error.to_string(),
                };
                assert!(!from.next().contains(&to), "{refused}");
                let (_, says) = refused.split_once(": ").expect("what may be");
                assert!(from.next().iter().all(|next| says.contains(next.name())), "{refused}");
            }
        }
    }

    #[test]
    fn the_table_holds_what_is_promised_of_it() {
        use Status::{Active, Deprecated, Expired, PendingVerification, Revoked, Suspended};
        assert!(Revoked.next().is_empty(), "final");
        assert_eq!(Expired.next(), [Revoked], "only a later expiry brings it back");
        for from in Status::ALL {
            let next = from.next();
            assert!(!next.contains(&from), "{from:?} names itself");
            assert!(!next.contains(&PendingVerification), "a key begins so and does not go back");
            assert_eq!(
                next.contains(&Revoked),
                from != Revoked,
                "{from:?} can be stopped for good"
            );
            if ![Suspended, Revoked, Expired].contains(&from) {
                assert!(next.contains(&Suspended), "{from:?} can be stopped for now");
            }
            if ![Active, Revoked, Expired].contains(&from) {
                assert!(next.contains(&Active), "{from:?} can pass again");
            }
        }
        assert!(Deprecated.may_become(Active).is_ok());
        for (status, allowed) in Status::ALL.map(|status| (status, status.may_be_first())) {
            assert_eq!(allowed.is_ok(), ![Revoked, Expired].contains(&status), "{status:?}");
        }
    }
}
