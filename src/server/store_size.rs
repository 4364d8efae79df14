//! How much disk the store takes, for whoever watches: read beside everything else, because a disk may
//! hang.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use tokio::sync::Mutex;
use tokio::time::timeout;

use crate::store::Keys;

/// How long a scrape waits for a size that is not there yet: a directory is walked in a millisecond.
const PATIENCE: Duration = Duration::from_millis(250);

/// The size as it was last read.
pub(super) struct StoreSize {
    keys: Keys,
    /// 0 where it was never read: a store has files.
    bytes: AtomicU64,
    /// Held by the one thread that reads it.
    reading: Arc<Mutex<()>>,
}

impl StoreSize {
    pub(super) fn new(keys: Keys) -> Arc<Self> {
        Arc::new(Self { keys, bytes: AtomicU64::new(0), reading: Arc::default() })
    }

    /// Has it read anew, and waits a moment for that. Where it is being read already, it is not waited
    /// for: so many scrapes as there may be keep one thread.
    pub(super) async fn refresh(self: &Arc<Self>) {
        let Ok(one) = Arc::clone(&self.reading).try_lock_owned() else { return };
        let this = Arc::clone(self);
        let read = tokio::task::spawn_blocking(move || {
            // One that cannot be read stays as it was.
            if let Ok(bytes) = this.keys.bytes_on_disk() {
                this.bytes.store(bytes, Relaxed);
            }
            drop(one);
        });
        // What comes later is there for the next scrape.
        let _ = timeout(PATIENCE, read).await;
    }

    /// How much it was when it was last read.
    pub(super) fn bytes(&self) -> Option<u64> {
        Some(self.bytes.load(Relaxed)).filter(|bytes| *bytes > 0)
    }
}
