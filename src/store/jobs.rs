//! Writes that belong together, joined into jobs as large as a batch may be.

use super::plan::ops_of;
use super::write::{KeyWrite, RowWrite, Write};
use super::{BATCH_BYTES_MAX, OPS_MAX, envelope};

/// Bytes of records in a job that [`jobs`] makes: with their index rows they fit into a batch.
const JOB_BYTES: usize = BATCH_BYTES_MAX / 4;

/// Joins units of writes that belong together, such as an imported key and its usage, into jobs as
/// large as a batch may be. For insertions and rows; any other write becomes a job with its unit.
pub fn jobs(units: impl IntoIterator<Item = Vec<Write>>) -> impl Iterator<Item = Vec<Write>> {
    jobs_of(units.into_iter().map(|unit| ((), unit))).map(|(_, job)| job)
}

/// The same, with what each unit is for.
pub fn jobs_of<T>(
    units: impl IntoIterator<Item = (T, Vec<Write>)>,
) -> impl Iterator<Item = (Vec<T>, Vec<Write>)> {
    let mut units = units.into_iter().peekable();
    std::iter::from_fn(move || {
        let (first, mut job) = units.next()?;
        let mut of = vec![first];
        let (mut ops, mut bytes) = weight(&job);
        while let Some((_, unit)) = units.peek() {
            let (unit_ops, unit_bytes) = weight(unit);
            (ops, bytes) = (ops + unit_ops, bytes + unit_bytes);
            if ops > OPS_MAX || bytes > JOB_BYTES {
                break;
            }
            let (next, unit) = units.next()?;
            of.push(next);
            job.extend(unit);
        }
        Some((of, job))
    })
}

/// Operations, and roughly the bytes, of writes.
fn weight(unit: &[Write]) -> (usize, usize) {
    let weights = unit.iter().map(|write| match write {
        Write::Key(KeyWrite::Insert(record)) => (ops_of(record), envelope::payload_bytes(record)),
        Write::Key(KeyWrite::InsertPrepared(prepared)) => (prepared.ops.len(), prepared.bytes),
        Write::Row(RowWrite(op)) => (1, op.bytes()),
        _ => (OPS_MAX, 0),
    });
    weights
        .fold((0, 0), |(ops, bytes), (more_ops, more_bytes)| (ops + more_ops, bytes + more_bytes))
}
