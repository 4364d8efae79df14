//! The domain, pure: the record, its JSON, tokens and digests, states, scopes.
//!
//! Nothing here reads a clock, a file or a socket. [`record`] is the table of fields; [`json`] is
//! the source system's spelling of it; [`token`] and [`digest`] are what a holder sends and what
//! is kept of it; [`status`], [`reason`] and [`life`] are what may become of a key; [`tenant`] is the
//! record above keys; [`rules`] is what the configuration says of keys; [`policy`] is what a key
//! compiles to when it is loaded.

pub mod digest;
mod field;
pub mod id;
pub mod json;
pub mod life;
pub mod policy;
pub mod reason;
pub mod record;
pub mod rules;
pub mod scope;
pub mod status;
pub mod tenant;
pub mod time;
pub mod token;
pub mod view;

pub use digest::{Digest, Pepper, SealedHash, TokenHash};
pub use json::{FieldError, RecordInput};
pub use policy::Policy;
pub use reason::{Reason, ReasonCode};
pub use record::{KeyRecord, KeyView};
pub use rules::{Allowance, Rules};
pub use status::Status;
pub use tenant::{TenantRecord, TenantState, TenantStatus};
pub use time::Time;
