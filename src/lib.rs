//! keygate: may this API key do this, now?
pub mod cli;
pub mod clock;
pub mod engine;
pub mod key;
pub mod limit;
pub mod usage;
