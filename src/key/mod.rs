//! The domain, pure: the record, its JSON, tokens and digests, states, scopes, access rules.
//!
//! Nothing here reads a clock, a file or a socket.
//!
//! - [`record`] is the table of fields, [`json`] the source system's spelling of it, [`view`] the
//!   record as it lies in its bytes, [`selection`] which of them a list shows.
//! - [`limits`] are those of its limits that have a name, and credits.
//! - [`token`] and [`digest`] are what a holder sends and what is kept of it.
//! - [`signing`] is what requests signed with a key are verified by, [`StoredSecret`] a secret as it is
//!   kept.
//! - [`status`], [`reason`] and [`life`] are what may become of a key; [`tenant`] is the record
//!   above keys; [`rules`] is what the configuration says of keys.
//! - [`policy`] is what a key compiles to when it is loaded: its scopes ([`scope`]), and in
//!   [`access`] the rules about where a request comes from ([`address`], [`domain`], [`names`]).

pub mod access;
pub mod address;
mod allowance;
mod contact;
pub mod digest;
pub mod domain;
mod field;
pub(crate) mod form;
pub mod id;
pub mod json;
pub mod life;
pub mod limits;
pub mod names;
pub mod policy;
pub mod reason;
pub mod record;
pub mod rules;
pub mod scope;
pub mod selection;
mod set;
pub mod signing;
pub mod status;
mod stored_secret;
pub mod tenant;
pub mod time;
pub mod token;
pub mod view;

pub use access::Access;
pub use allowance::Allowance;
pub use contact::{check_mail, check_webhook};
pub use digest::{Digest, Pepper, SealedHash, TokenHash};
pub use json::{FieldError, RecordInput};
pub use limits::{Credits, LimitPeriod, NamedLimit, Refill, RefillEvery};
pub use policy::Policy;
pub use reason::{Reason, ReasonCode};
pub use record::{KeyRecord, KeyView};
pub use rules::Rules;
pub use selection::{Search, Selection};
pub use signing::{SigningKey, SigningMaterial};
pub use status::Status;
pub use stored_secret::{NONCE_BYTES, StoredSecret};
pub use tenant::{TenantLimits, TenantRecord, TenantState, TenantStatus};
pub use time::Time;
