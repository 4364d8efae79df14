//! What alerts are found in.

use std::sync::Arc;

use crate::clock::Clock;
use crate::engine::Engine;
use crate::store::{Committer, Keys};

/// Where figures and records are read, and rows written.
#[derive(Clone)]
pub struct Source {
    /// Has the figures.
    pub engine: Arc<Engine>,
    /// Has the records, and what was said.
    pub keys: Keys,
    /// Writes.
    pub committer: Arc<Committer>,
    /// Says what time it is.
    pub clock: Arc<dyn Clock>,
}
