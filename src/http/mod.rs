//! The HTTP listener: metrics for Prometheus, and whether the daemon is alive and ready.
//!
//! [`page`] knows which request gets what and is pure; [`serve`] moves the bytes of one connection.
//! What there is to tell comes from a [`Site`], which the server has. Requests are few and small: each
//! has a connection of its own, a body is refused, and the whole exchange has its time.

mod page;
mod serve;

pub use page::Page;
pub use serve::{Bounds, Site, serve};

/// What a peer is told for whom there is no room.
pub const NO_ROOM: &[u8] =
    b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
