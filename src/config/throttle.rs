//! How fast lookups may fail: `[throttle]`.

use serde::{Deserialize, Serialize};

use crate::limit::{FailureRate, Throttle as Table};

/// How fast lookups may fail, of an address that questions state and of a peer.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Throttle {
    /// Failed lookups of one address in a minute, once its burst is spent; 0 for any number.
    pub address_failures_per_minute: u32,
    /// Failed lookups of one address at once.
    pub address_burst: u32,
    /// The same of a peer, for questions that state no address. All that a service forwards for
    /// strangers counts as its own then, so it is far higher.
    pub peer_failures_per_minute: u32,
    /// Failed lookups of one peer at once.
    pub peer_burst: u32,
    /// Addresses and peers that are remembered; beyond it those that have recovered most are
    /// forgotten.
    pub cells_max: usize,
}

impl Default for Throttle {
    fn default() -> Self {
        Self {
            address_failures_per_minute: 300,
            address_burst: 100,
            peer_failures_per_minute: 60_000,
            peer_burst: 10_000,
            cells_max: 65_536,
        }
    }
}

impl Throttle {
    /// The table; `None` where nothing is counted.
    #[must_use]
    pub fn table(&self) -> Option<Table> {
        let addresses = FailureRate::new(self.address_failures_per_minute, self.address_burst);
        let peers = FailureRate::new(self.peer_failures_per_minute, self.peer_burst);
        (addresses.is_some() || peers.is_some())
            .then(|| Table::new(addresses, peers, self.cells_max))
    }
}
