//! The audit log: who changed what, and what was decided, in a file of its own, so that it can be
//! proved afterwards.
//!
//! [`frame`] is one record as bytes, chained to the one before by a keyed MAC; [`payload`] what it
//! says. [`log`] writes them to files that are begun by size and age and removed in time; [`head`]
//! says beside them how far the log is on disk, so that a cut at its end is noticed; [`recovery`]
//! finds where a run has left it. [`queue`] is where records wait for [`writer`], the one thread that
//! writes. [`verify`] judges a log, and [`read`] shows it, both without the daemon.
//!
//! A record is accepted when it is in the queue, or when it is on disk, as the configuration says. A
//! key that demands audit gets no valid verdict before; see [`crate::engine::AuditDesk`].

mod dir;
mod disk;
mod frame;
mod head;
pub mod key;
mod log;
mod mac;
mod options;
mod payload;
mod pieces;
mod problem;
mod queue;
pub mod read;
mod recovery;
mod sampler;
#[cfg(test)]
mod tests;
mod verify;
mod writer;

pub use disk::{Disk, LogFile, SystemDisk};
pub use frame::FrameError;
pub use log::LogOptions;
pub use mac::ChainKey;
pub use options::{Options, Sync};
pub use payload::{Begin, Cause, Link, Note, Said, to_json as event_json};
pub use problem::{Problem, ProblemKind, Report};
pub use sampler::Sampler;
pub use verify::verify;
pub use writer::{Audit, AuditStats, OnFailing, Waiter};
