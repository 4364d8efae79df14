//! Why an operation was not carried out: a code of the protocol and words that mend it.

use keygate_protocol::ErrorCode;

use crate::engine::CatalogError;
use crate::key::FieldError;
use crate::store::{CommitError, Conflict, StoreError, SubmitError, WriteError};

/// The answer to an operation that failed.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{message}")]
pub struct AdminError {
    /// The protocol's code; it says too whether the operation may have been carried out.
    pub code: ErrorCode,
    /// What happened and what mends it.
    pub message: String,
}

impl AdminError {
    pub(super) fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }

    pub(super) fn invalid(message: impl Into<String>) -> Self {
        Self::new(ErrorCode::Invalid, message)
    }

    pub(super) fn conflict(message: impl Into<String>) -> Self {
        Self::new(ErrorCode::Conflict, message)
    }

    pub(super) fn not_found(id: u64) -> Self {
        Self::new(
            ErrorCode::NotFound,
            format!("there is no key {id}; `keygate key list` shows those there are"),
        )
    }

    pub(super) fn deleted(id: u64) -> Self {
        Self::new(
            ErrorCode::NotFound,
            format!(
                "key {id} is deleted; `keygate key get {id} --deleted` shows it, `keygate key \
                 restore {id}` brings it back"
            ),
        )
    }

    pub(super) fn no_tenant(id: &str) -> Self {
        Self::new(
            ErrorCode::NotFound,
            format!(
                "there is no tenant {id:?}, neither a record nor a key of it; `keygate tenant list` \
                 shows those there are"
            ),
        )
    }

    /// The same of what was done in part, and goes on after a restart.
    pub(super) fn of_a_part(self, what: &str) -> Self {
        if self.code != ErrorCode::ReadOnly {
            return self;
        }
        let why = self.message.strip_prefix(NOTHING_CHANGED).unwrap_or(&self.message);
        let message = format!("{what} has begun and goes on after a restart: {why}");
        Self::new(ErrorCode::Storage, message)
    }

    pub(super) fn stopping() -> Self {
        Self::new(ErrorCode::Internal, "the daemon is stopping; look again once it is back")
    }
}

/// Before what a store says that takes no writes.
const NOTHING_CHANGED: &str = "nothing was changed: ";

/// What a store says that takes no writes, and why.
pub(super) fn latched(cause: String) -> StoreError {
    StoreError::Latched { cause: cause.into() }
}

impl From<FieldError> for AdminError {
    fn from(error: FieldError) -> Self {
        Self::invalid(error.to_string())
    }
}

impl From<CatalogError> for AdminError {
    fn from(error: CatalogError) -> Self {
        Self::conflict(error.to_string())
    }
}

impl From<StoreError> for AdminError {
    fn from(error: StoreError) -> Self {
        let code = match error {
            StoreError::Latched { .. } => ErrorCode::ReadOnly,
            StoreError::BatchTooLarge { .. } | StoreError::RowSize { .. } => ErrorCode::Invalid,
            _ => ErrorCode::Storage,
        };
        let changed = if code == ErrorCode::ReadOnly { NOTHING_CHANGED } else { "" };
        Self::new(code, format!("{changed}{error}"))
    }
}

impl From<Conflict> for AdminError {
    fn from(conflict: Conflict) -> Self {
        match conflict {
            Conflict::Missing { id } => Self::not_found(id),
            Conflict::TenantMissing { id } => Self::no_tenant(&id),
            conflict => Self::conflict(conflict.to_string()),
        }
    }
}

impl From<WriteError> for AdminError {
    fn from(error: WriteError) -> Self {
        match error {
            WriteError::Conflict(conflict) => conflict.into(),
            WriteError::Store(error) => error.into(),
            error => Self::invalid(error.to_string()),
        }
    }
}

impl From<SubmitError> for AdminError {
    fn from(error: SubmitError) -> Self {
        match error {
            SubmitError::Busy { .. } => Self::new(ErrorCode::Busy, error.to_string()),
            SubmitError::Stopped => Self::new(ErrorCode::Stopping, error.to_string()),
            // Nothing of this request was written, whatever became of those before it.
            SubmitError::Store(error) => latched(error.to_string()).into(),
        }
    }
}

impl From<CommitError> for AdminError {
    fn from(error: CommitError) -> Self {
        match error {
            CommitError::Submit(error) => error.into(),
            CommitError::Write(error) => error.into(),
            CommitError::Store(error) => error.into(),
        }
    }
}
