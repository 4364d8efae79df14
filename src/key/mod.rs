//! The domain, pure: the record, its JSON, tokens and digests, states, scopes.
//!
//! Nothing here reads a clock, a file or a socket. [`record`] is the table of fields; [`json`] is
//! the source system's spelling of it; [`token`] and [`digest`] are what a holder sends and what
//! is kept of it; [`policy`] is what a key compiles to when it is loaded.

pub mod digest;
mod field;
pub mod id;
pub mod json;
pub mod policy;
pub mod record;
pub mod scope;
pub mod selection;
pub mod status;
pub mod time;
pub mod token;
pub mod view;

pub use digest::{Digest, Pepper, SealedHash, TokenHash};
pub use json::{FieldError, RecordInput};
pub use policy::Policy;
pub use record::{KeyRecord, KeyView};
pub use selection::{Search, Selection};
pub use status::Status;
pub use time::Time;
