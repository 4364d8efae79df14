//! The daemon: moves bytes between sockets and the engine, and decides nothing.
//!
//! [`listen`] makes or inherits the sockets; [`accept`] takes connections, on one control thread,
//! and hands each of the data plane to the [`worker`] with the fewest; there it stays.
//! Before anything is read, hands are shaken where [`tls`] is spoken, on a thread of its own
//! ([`handshake`]) and as far as there are [`places`], and [`admit`] tells what the peer
//! may do; what it asks without a right is noted by [`refusals`].
//! [`connection`] reads all there is, has [`dispatch`] answer all of it, and writes once; requests
//! that wait for the ledger are [`deferred`], and [`slots`] end with their connection. [`admin`]
//! serves the admin socket on the control thread; [`reload`] reads the configuration again,
//! [`retention`] purges what was deleted long enough ago, [`http`] tells
//! the figures that [`scrape`] gathers, and [`supervisor`] tells systemd how the daemon fares. [`daemon`] starts all of it in order and
//! stops it in the opposite order.

mod accept;
mod admin;
mod admit;
mod config_files;
mod connection;
pub mod core_dumps;
mod daemon;
mod deferred;
mod dispatch;
mod doors;
mod families;
mod flush;
mod handshake;
mod held;
mod hello;
mod http;
mod journals;
mod keyring;
pub mod listen;
mod loading;
mod observe;
mod places;
mod recorder;
mod refusals;
mod reload;
mod replays;
mod retention;
mod scrape;
mod secret_files;
mod slots;
mod store_size;
pub mod supervisor;
mod tenants;
mod tls;
mod watch;
mod watchers;
mod worker;

pub use config_files::{FilesFound, config_files};
pub use core_dumps::forbid as forbid_core_dumps;
pub use daemon::{Daemon, StartError};
pub use reload::Reload;
pub use secret_files::{SecretError, secret_files};
