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
    #[error("{given:?} is not a status; it is one of {}", names())]
    Unknown {
        /// What was given.
        given: String,
    },
    /// The states do not follow each other.
    #[error("a key that is {from} cannot become {to}: {from} is final; create a new key", from = from.name(), to = to.name())]
    Final {
        /// The present state.
        from: Status,
        /// The wanted state.
        to: Status,
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

    /// Whether a key in this state may go into `to`. `REVOKED` is final; staying is always allowed.
    ///
    /// # Errors
    /// [`StatusError::Final`].
    pub fn may_become(self, to: Self) -> Result<(), StatusError> {
        if self == Self::Revoked && to != self {
            return Err(StatusError::Final { from: self, to });
        }
        Ok(())
    }
}

fn names() -> String {
    Status::ALL.map(Status::name).join(", ")
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
    fn revoked_is_final_and_nothing_else_is() {
        for from in Status::ALL {
            for to in Status::ALL {
                let allowed = from != Status::Revoked || to == Status::Revoked;
                assert_eq!(from.may_become(to).is_ok(), allowed, "{from:?} to {to:?}");
            }
        }
    }
}
