//! The domain, pure: the record, its JSON, tokens and digests, states, scopes.
//!
//! Nothing here reads a clock, a file or a socket. [`record`] is the table of fields; [`json`] is
//! the source system's spelling of it; [`token`] and [`digest`] are what a holder sends and what
//! is kept of it; [`policy`] is what a key compiles to when it is loaded, and [`access`] the rules
//! in it about where a request comes from: [`address`], [`domain`], [`names`].

pub mod access;
pub mod address;
mod contact;
pub mod digest;
pub mod domain;
mod field;
mod form;
pub mod id;
pub mod json;
pub mod names;
pub mod policy;
pub mod record;
pub mod scope;
mod set;
pub mod status;
pub mod time;
pub mod token;
pub mod view;

pub use access::Access;
pub use digest::{Digest, Pepper, SealedHash, TokenHash};
pub use json::{FieldError, RecordInput};
pub use policy::Policy;
pub use record::{KeyRecord, KeyView};
pub use status::Status;
pub use time::Time;
