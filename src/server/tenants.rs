//! Tenants at the daemon's start: how they stand.

use crate::clock::Now;
use crate::engine::Engine;
use crate::key::{TenantRecord, TenantStatus};
use crate::store::{Keys, StoreError};

/// Loads how every tenant stands, before the first of its keys can be judged; answers how many
/// records could not be read.
pub(super) fn load(engine: &Engine, keys: &Keys, now: Now) -> Result<u64, StoreError> {
    let mut unreadable = 0;
    keys.for_each_tenant(|id, record| {
        let record = match record {
            Ok(record) => record,
            Err(error @ StoreError::NewerSchema { .. }) => return Err(error),
            Err(error) => {
                unreadable += 1;
                tracing::error!(tenant = id, %error, "a tenant could not be loaded; its keys are denied");
                // It may have been suspended: whoever cannot know denies.
                TenantRecord { status: TenantStatus::Suspended, ..TenantRecord::unrecorded(id) }
            }
        };
        engine.put_tenant(&record, now);
        Ok(())
    })?;
    Ok(unreadable)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::dispatch::tests::engine;
    use super::*;
    use crate::key::TenantState;
    use crate::store::{MemoryStore, Op, Store, TENANT_SCHEMA, envelope, layout};

    const NOW: Now = Now { mono_ns: 0, wall_us: 0 };

    fn row(id: &str, schema: u16) -> Op {
        let record = TenantRecord { revision: 1, ..TenantRecord::unrecorded(id) };
        let value = envelope::seal(schema, &record).expect("sealed");
        Op::Put { key: layout::tenant_record(id), value }
    }

    /// It may have been suspended, so its keys are denied, and the others' are not.
    #[test]
    fn a_tenant_that_cannot_be_read_denies_and_a_newer_one_refuses_the_start() {
        let store = Arc::new(MemoryStore::new());
        let keys = Keys::open(Arc::<MemoryStore>::clone(&store)).expect("a store");
        let damaged = Op::Put { key: layout::tenant_record("bad"), value: b"damaged".to_vec() };
        store.apply(&[row("good", TENANT_SCHEMA), damaged]).expect("applied");
        let engine = engine();
        assert_eq!(load(&engine, &keys, NOW).expect("it starts"), 1);
        let state = |id| engine.tenant(id).map(|view| view.state);
        assert_eq!(state("bad"), Some(TenantState::Suspended));
        assert_eq!(state("good"), Some(TenantState::Active));
        store.apply(&[row("newer", TENANT_SCHEMA + 1)]).expect("applied");
        let refused = load(&engine, &keys, NOW).expect_err("whoever cannot read it cannot obey it");
        assert!(matches!(refused, StoreError::NewerSchema { .. }), "{refused}");
    }
}
