//! The traces of `keygate simulate`.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let _ = keygate::cli::fuzzing::trace(data);
});
