//! The walk over everything: reading, decoding and taking run at the same time, so that a start
//! waits for the longest of the three and not for their sum.

use std::ops::{ControlFlow, Range};
use std::thread;

use crossbeam::channel::{self, Sender};

use super::keys::id_of;
use super::{Store, StoreError};

/// Most rows of a chunk.
const CHUNK_ROWS: usize = 512;

/// Bytes of values after which a chunk ends: one may have 1 MiB.
const CHUNK_BYTES: usize = 256 * 1024;

/// Chunks that the walk is ahead of whoever takes them.
const CHUNKS_AHEAD: usize = 4;

/// Some rows, with all values in one piece of memory: what is allocated by the row on one thread
/// and freed on another costs more than the row does.
#[derive(Default)]
struct Chunk {
    values: Vec<u8>,
    /// Each row's id, and where its value lies.
    rows: Vec<(u64, Range<usize>)>,
    /// The key of the last row, if there may be more behind it.
    last: Option<Vec<u8>>,
}

/// Every row under a prefix, decoded; `each` runs on the caller's thread.
pub(super) fn for_each_row<T: Send, E: From<StoreError>>(
    store: &dyn Store,
    prefix: &[u8],
    decode: impl Fn(u64, &[u8]) -> Result<T, StoreError> + Send,
    mut each: impl FnMut(u64, Result<T, StoreError>) -> Result<(), E>,
) -> Result<(), E> {
    let decode = move |id, value: &[u8]| (id, decode(id, value));
    for_each_chunk(store, prefix, decode, |rows| {
        rows.into_iter().try_for_each(|(id, value)| each(id, value))
    })
}

/// The same by the chunk.
pub(super) fn for_each_chunk<T: Send, E: From<StoreError>>(
    store: &dyn Store,
    prefix: &[u8],
    mut decode: impl FnMut(u64, &[u8]) -> T + Send,
    mut each: impl FnMut(Vec<T>) -> Result<(), E>,
) -> Result<(), E> {
    thread::scope(|scope| {
        let (raw, chunks) = channel::bounded(CHUNKS_AHEAD);
        let (decoded, values) = channel::bounded(CHUNKS_AHEAD);
        scope.spawn(move || read_chunks(store, prefix, &raw));
        scope.spawn(move || {
            for chunk in chunks {
                let values = chunk.map(|chunk: Chunk| {
                    let Chunk { values, rows, .. } = chunk;
                    rows.into_iter().map(|(id, at)| decode(id, &values[at])).collect()
                });
                if decoded.send(values).is_err() {
                    return;
                }
            }
        });
        values.into_iter().try_for_each(|chunk: Result<Vec<T>, StoreError>| each(chunk?))
    })
}

/// Reads every row under a prefix until nobody takes them any more.
fn read_chunks(store: &dyn Store, prefix: &[u8], chunks: &Sender<Result<Chunk, StoreError>>) {
    let mut after: Option<Vec<u8>> = None;
    loop {
        let mut chunk = read_chunk(store, prefix, after.as_deref());
        after = chunk.as_mut().ok().and_then(|chunk| chunk.last.take());
        if chunks.send(chunk).is_err() || after.is_none() {
            return;
        }
    }
}

fn read_chunk(store: &dyn Store, prefix: &[u8], after: Option<&[u8]>) -> Result<Chunk, StoreError> {
    let mut chunk = Chunk::default();
    chunk.values.reserve(CHUNK_BYTES);
    chunk.rows.reserve(CHUNK_ROWS);
    let mut failed = None;
    store.scan_each(prefix, after, &mut |key, value| {
        let id = match id_of(key) {
            Ok(id) => id,
            Err(error) => {
                failed = Some(error);
                return ControlFlow::Break(());
            }
        };
        let start = chunk.values.len();
        chunk.values.extend_from_slice(value);
        chunk.rows.push((id, start..chunk.values.len()));
        if chunk.rows.len() < CHUNK_ROWS && chunk.values.len() < CHUNK_BYTES {
            return ControlFlow::Continue(());
        }
        chunk.last = Some(key.to_vec());
        ControlFlow::Break(())
    })?;
    failed.map_or(Ok(chunk), Err)
}
