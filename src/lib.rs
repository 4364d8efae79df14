//! keygate: may this API key do this, now?
pub mod key;
pub mod store;
