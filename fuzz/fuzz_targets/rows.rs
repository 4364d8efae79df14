//! Rows on disk. Odd inputs are rows as they are; of even ones each value is put into an envelope
//! whose checksum is right, so that what is behind the envelope is reached too.
#![no_main]

use std::ops::ControlFlow;
use std::sync::Arc;

use keygate::store::verify::NoWriters;
use keygate::store::{Keys, MemoryStore, Op, Store, StoreError, envelope};
use libfuzzer_sys::fuzz_target;

const ROWS_MAX: usize = 8;

fuzz_target!(|data: &[u8]| {
    let Some((how, mut rest)) = data.split_first() else { return };
    let sealed = how % 2 == 0;
    let store = Arc::new(MemoryStore::new());
    let mut ops = Vec::new();
    while let Some((&[key_length, low, high], after)) = rest.split_first_chunk() {
        if ops.len() == ROWS_MAX {
            break;
        }
        let (key, after) = cut(after, usize::from(key_length % 64));
        let (value, after) = cut(after, usize::from(u16::from_le_bytes([low, high])));
        let value = if sealed { seal(value) } else { value.to_vec() };
        let _ = envelope::check(&value, u16::MAX);
        if !key.is_empty() && key[0] != 0xFF {
            ops.push(Op::Put { key: key.to_vec(), value });
        }
        rest = after;
    }
    if store.apply(&ops).is_err() {
        return;
    }
    let Ok(keys) = Keys::open(Arc::clone(&store) as Arc<dyn Store>) else { return };
    let _ = keys.for_each(|_, _| Ok::<_, StoreError>(()));
    let _ = keys.for_each_tenant(|_, _| Ok::<_, StoreError>(()));
    let _ = keys.verify(&NoWriters, |_| ControlFlow::Continue(()));
});

fn cut(bytes: &[u8], at: usize) -> (&[u8], &[u8]) {
    bytes.split_at(at.min(bytes.len()))
}

/// The envelope of a payload, whose first byte is the schema.
fn seal(value: &[u8]) -> Vec<u8> {
    let (schema, payload) = value.split_first().unwrap_or((&1, &[]));
    let schema = u16::from(*schema % 8).to_le_bytes();
    let length = u32::try_from(payload.len()).expect("16 bits").to_le_bytes();
    let crc = crc32c::crc32c_append(crc32c::crc32c(&[&schema[..], &length].concat()), payload);
    [b"KGR1", &schema[..], &length, &crc.to_le_bytes(), payload].concat()
}
