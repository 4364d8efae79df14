//! Files of records, as `keygate import` reads them: what is taken is exported and taken again, the
//! same.
#![no_main]

use std::sync::LazyLock;

use keygate::cli::fuzzing::records;
use keygate::key::Pepper;
use libfuzzer_sys::fuzz_target;

static PEPPER: LazyLock<Pepper> = LazyLock::new(|| Pepper::new(&[1; 32]));

fuzz_target!(|data: &[u8]| {
    for record in records(data, &PEPPER) {
        let text = record.to_json(&PEPPER).to_string();
        let again = records(text.as_bytes(), &PEPPER);
        assert_eq!(again.len(), 1, "what was exported is taken: {text}");
        assert_eq!(again[0].to_json(&PEPPER).to_string(), text);
    }
});
