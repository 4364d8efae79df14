//! Deleted keys by when they were deleted, so that those whose time is over are found without a look
//! at any other.

use std::ops::ControlFlow;

use super::{Keys, OPS_MAX, Op, Store, StoreError, layout};

impl Keys {
    /// At most `limit` keys that were deleted at or before an instant (microseconds since 1970), of
    /// those behind `after`, with the instant of each: those of the longest time ago first. Reads one
    /// row more than it answers, however many keys there are.
    ///
    /// # Errors
    /// As [`super::Store::scan`].
    pub fn deleted_until(
        &self,
        until_us: i64,
        after: Option<(i64, u64)>,
        limit: usize,
    ) -> Result<Vec<(i64, u64)>, StoreError> {
        let mut deleted = Vec::new();
        let mut unreadable = false;
        let from = after.map(|(at, id)| layout::deleted(at, id));
        self.store().scan_each(&[layout::DELETED], from.as_deref(), &mut |key, _| {
            let row = layout::deleted_of(key);
            unreadable |= row.is_none();
            match row.filter(|(at, _)| *at <= until_us && deleted.len() < limit) {
                Some(row) => deleted.push(row),
                None => return ControlFlow::Break(()),
            }
            ControlFlow::Continue(())
        })?;
        if unreadable {
            return Err(StoreError::corrupt("the row of a deleted key has another length"));
        }
        Ok(deleted)
    }

    /// Adds the rows of keys that were deleted before there were such rows. Writes before there is a
    /// committer; cut short, it is done again from the beginning.
    pub(super) fn index_deleted(&self) -> Result<(), StoreError> {
        let mut ops = Vec::new();
        self.for_each(|id, record| {
            // One that cannot be read is not there for anybody else either.
            let Some(at) = record.ok().and_then(|record| record.deleted_at) else { return Ok(()) };
            ops.push(Op::Put { key: layout::deleted(at.micros_up(), id), value: Vec::new() });
            Ok::<(), StoreError>(())
        })?;
        ops.chunks(OPS_MAX).try_for_each(|batch| self.store().apply(batch))
    }
}
