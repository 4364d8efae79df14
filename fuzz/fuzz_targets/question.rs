//! A question, judged by an engine with keys of every kind: no facts make it panic, and a denied or
//! peeking one spends nothing.
#![no_main]

use std::sync::LazyLock;

use keygate::clock::Now;
use keygate::engine::{Answers, Asker, Engine, EngineLimits, Standing};
use keygate::key::token::{Prefixes, random_bytes_for_token};
use keygate::key::{KeyRecord, Pepper};
use keygate_protocol::Validate;
use libfuzzer_sys::fuzz_target;

static ENGINE: LazyLock<Engine> = LazyLock::new(|| {
    let limits = EngineLimits {
        keys_max: 100,
        expiry_warning_us: 0,
        increment_id_window_us: 0,
        increment_ids_max: 0,
        slots_max: 100,
        usage_history: false,
        usage_detail_bytes_max: 0,
    };
    let engine = Engine::new(Pepper::new(&[1; 32]), Prefixes::default(), limits);
    for (id, record) in (1..).zip(records()) {
        let token = token(&engine, u8::try_from(id).expect("few"));
        let key_hash = Some(engine.pepper().seal_token(token.as_bytes()));
        let record = KeyRecord { id, key_hash, tenant_id: "acme".to_owned(), ..record };
        engine.put(&record, NOW).expect("there is room");
    }
    engine
});

const NOW: Now = Now { mono_ns: 1, wall_us: 1_800_000_000_000_000 };

fn token(engine: &Engine, number: u8) -> String {
    let random = vec![number; random_bytes_for_token()];
    engine.prefixes().make(false, &random).expect("enough bytes").to_string()
}

fn records() -> Vec<KeyRecord> {
    let list = |entries: &[&str]| entries.iter().map(|entry| (*entry).to_owned()).collect();
    let plain = KeyRecord::default;
    vec![
        plain(),
        KeyRecord {
            scopes: list(&["leads:*", "a:*:c"]),
            allowed_ips: list(&["203.0.113.0/24", "2001:db8::/32"]),
            allowed_domains: list(&["app.example.com", "*.example.org", "xn--bcher-kva.example"]),
            allowed_environments: list(&["production"]),
            supported_features: list(&["bulk"]),
            enforce_https: true,
            ..plain()
        },
        KeyRecord { allowed_domains: list(&["*.example.org", "[2001:db8::1]"]), ..plain() },
        KeyRecord {
            requires_client_secret: true,
            client_secret_hash: Some(Pepper::new(&[1; 32]).seal_token(b"secret")),
            enforce_mutual_tls: true,
            client_certificate_hash: "ab".repeat(32),
            ..plain()
        },
        KeyRecord { requests_per_second: Some(1), concurrent_requests: Some(1), ..plain() },
    ]
}

fuzz_target!(|data: &[u8]| {
    let Some((key, payload)) = data.split_first() else { return };
    let Ok(question) = Validate::decode(payload) else { return };
    // The fuzzer cannot make the hash of a token: the byte before says which key's it is.
    let token = token(&ENGINE, key % 7);
    let question =
        Validate { token: if *key < 128 { token.as_bytes() } else { question.token }, ..question };
    let standing = Standing { states_certificates: true, ..Standing::default() };
    let asker = Asker { standing, ..Asker::default() };
    let mut answers = Answers::default();
    ENGINE.validate_for(asker, &[question], NOW, &mut answers);
    assert_eq!(answers.len(), 1);
    let verdict = &answers[0].verdict;
    assert!(verdict.slot.is_none() || verdict.code.is_valid(), "a denied request takes no slot");
    if let Some(slot) = verdict.slot {
        ENGINE.release_slot(verdict.key_id, slot, NOW);
    }
});
