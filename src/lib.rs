//! keygate: may this API key do this, now?
pub mod admin;
pub mod cli;
pub mod client;
pub mod clock;
pub mod config;
pub mod engine;
pub mod key;
pub mod limit;
pub mod server;
pub mod store;
pub mod usage;
