//! The fields of a signature, and public keys: read or refused, and written back the same.
#![no_main]

use keygate::sign::{PublicKey, input};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    if let Ok(key) = PublicKey::from_spki(data) {
        assert_eq!(PublicKey::from_spki(key.spki()).as_ref(), Ok(&key));
    }
    let Ok(text) = str::from_utf8(data) else { return };
    if let Ok(key) = PublicKey::parse(text) {
        assert_eq!(PublicKey::parse(&key.to_pem()).as_ref(), Ok(&key));
    }
    let (fields, signature) = text.split_once('\n').unwrap_or((text, "a=:AAAA:"));
    for one in input::read(fields, signature).unwrap_or_default() {
        assert!(one.components.len() <= input::COMPONENTS_MAX);
        // What a base ends with is the one form of what was read.
        let again = input::read(&format!("a={}", one.params), "a=:AAAA:").unwrap_or_default();
        assert!(again.iter().all(|again| again.params == one.params) && again.len() == 1);
    }
});
