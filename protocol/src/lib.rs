//! The wire contract of keygate: what travels between a service and the daemon, byte by byte.
//!
//! `SPEC.md` beside this crate is the authority; this crate is its Rust form. It has no runtime,
//! no clock and no storage: bytes come in as slices, messages go out into a [`bytes::BytesMut`].
//!
//! Read in this order: [`frame`] (the only file that knows the length prefix), [`opcode`],
//! [`validate`] and [`increment`] (the two calls of the data plane), [`batch`], [`hello`],
//! [`slot`], [`verdict`] and [`error`] (the two tables), [`admin`] and [`tenant`] (the JSON of the
//! admin socket), [`role`] (who may ask what).

pub mod admin;
mod alert;
mod backup;
pub mod batch;
mod counters;
pub mod error;
mod facts;
pub mod frame;
pub mod hello;
pub mod increment;
pub mod limits;
pub mod opcode;
mod report;
pub mod role;
mod signed;
mod signing;
pub mod slot;
pub mod tenant;
mod usage;
pub mod validate;
pub mod verdict;
mod watch;
mod wire;

pub use counters::Counters;
pub use error::{ErrorCode, ErrorReply, Execution};
pub use frame::{Flags, Frame, FrameError, Header};
pub use increment::{Increment, IncrementOutcome};
pub use opcode::Opcode;
pub use role::{Role, Roles};
pub use slot::{RenewOutcome, SlotRenew};
pub use validate::{Validate, ValidateFlags};
pub use verdict::{LimitName, LimitReport, Verdict, VerdictCode, Warnings};
pub use wire::PayloadError;
