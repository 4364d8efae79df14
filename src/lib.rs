//! keygate: may this API key do this, now?
//!
//! A program that asks needs [`client`] and nothing else here. Who wants to understand the daemon
//! reads in this order; each module's own page says where to go on, and `ARCHITECTURE.md` tells the
//! way of one request through all of them.
//!
//! The core is pure: time comes in as an argument, sockets and disks stay out.
//!
//! 1. [`key`]: the domain. The record and its one table of fields, tokens and what is kept of
//!    them, states, scopes.
//! 2. [`limit`]: rates, exact, and all limits of a key judged at one instant.
//! 3. [`usage`]: what a key was used for, with a bound on everything.
//! 4. [`engine`]: the decision. The catalog of compiled keys, `Validate` and `Increment`.
//!
//! What survives, and who changes it:
//!
//! 5. [`store`]: five verbs over sled, redb or memory; a record and its index rows in one batch; the
//!    one thread that writes.
//! 6. [`ledger`]: what is scarce and must survive a crash is debited there before it is spent.
//! 7. [`admin`]: the operations of the admin socket. The store first, then the catalog.
//!    [`audit`]: who changed what and what was decided, in a file of its own, chained.
//!
//! What moves bytes and decides nothing:
//!
//! 8. [`server`]: sockets, connections, threads; started in order, stopped in the opposite order.
//! 9. [`http`]: metrics and health for those who watch, where the configuration asks for it.
//! 10. [`deliver`]: sends alerts to web hooks, mailboxes and sinks. Knows nothing of the daemon.
//! 11. [`notify`]: alerts on their way, from the look that finds them to the attempt that delivers.
//! 12. [`client`]: asks a daemon, from async programs and from others. Knows `keygate_protocol`,
//!     [`sign`], and nothing of the daemon.
//! 13. [`cli`]: one file per command.
//!
//! Beside them stand [`alert`], pure: when somebody is to be told, and what waits to be told;
//! [`config`], written in the words of [`key`] and checked as a whole, [`event`], what happens that
//! somebody may want to know, [`metrics`], what is measured and how it is written, [`secret`], files
//! of secret bytes, [`vault`], which encrypts what is kept secret, [`sign`], signatures of HTTP
//! requests for the engine and the client, and [`clock`], the only file of the daemon that reads time.
//!
//! Arrows go one way: main → cli → server → admin → ledger → engine → {limit, usage, key}; server,
//! admin, engine and client → `keygate_protocol`; ledger, admin and server → store through its trait;
//! config → key; server → http; http, server and store → metrics; deliver → {event, config, key};
//! engine and client → sign.
//! `tests/house.rs` fails when one is turned.

pub mod admin;
pub mod alert;
pub mod audit;
pub mod cli;
pub mod client;
pub mod clock;
pub mod config;
pub mod deliver;
pub mod engine;
pub mod event;
pub mod http;
pub mod key;
pub mod ledger;
pub mod limit;
pub mod metrics;
pub mod notify;
pub mod secret;
pub mod server;
pub mod sign;
pub mod store;
pub mod usage;
pub mod vault;

/// README's Rust is compiled with the doc tests.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
