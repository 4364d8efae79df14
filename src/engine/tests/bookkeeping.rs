//! What the catalog counts and finds, after whatever has become of its keys.

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::key::Allowance;

const KEYS: u8 = 4;
const TENANTS: [&str; 3] = ["a", "b", "c"];
const TIERS: [&str; 3] = ["", "gold", "gone"];

/// A form that a key may have; `None` is a key that is purged.
type Form = Option<(usize, usize, [bool; 6])>;

fn form() -> impl Strategy<Value = Form> {
    let some = (0..TENANTS.len(), 0..TIERS.len(), any::<[bool; 6]>()).prop_map(Some);
    prop_oneof![5 => some, 1 => Just(None)]
}

/// An engine whose configuration has one of the tiers.
fn bench() -> Bench {
    let bench = Bench::new();
    let tiers = [("gold".to_owned(), Allowance::default())].into();
    bench.engine.set_rules(Arc::new(Rules { tiers, ..Rules::default() }));
    bench
}

fn token(bench: &Bench, key: u8, previous: bool) -> String {
    if previous { format!("foreign-{key}") } else { bench.token(key) }
}

fn put(bench: &Bench, key: u8, form: Form) {
    let Some((tenant, tier, [deleted, foreign, rotated, ruled, told, profile])) = form else {
        return bench.engine.remove(key.into());
    };
    let seal = |token: String| bench.engine.pepper().seal_token(token.as_bytes());
    bench.put(&KeyRecord {
        tenant_id: TENANTS[tenant].to_owned(),
        billing_tier: TIERS[tier].to_owned(),
        deleted_at: deleted.then(|| Time::from_micros(1)),
        foreign_token: foreign,
        previous_foreign_token: rotated,
        previous_key_hash: rotated.then(|| seal(token(bench, key, true))),
        previous_key_ends_at: rotated.then(|| Time::from_micros(START_US + DAY_US)),
        key_prefix: bench.engine.prefixes().visible(&token(bench, key, false)),
        enforce_https: ruled,
        metadata_json: if told { key.to_string().into_bytes() } else { Vec::new() },
        compliance_standards: if profile { vec!["SOC2".to_owned()] } else { Vec::new() },
        ..bench.record(key.into(), &token(bench, key, false))
    });
}

/// All that can be seen of a catalog.
fn seen(bench: &Bench) -> String {
    let engine = &bench.engine;
    let flags = [ValidateFlags::DETAILS, ValidateFlags::METADATA, ValidateFlags::PEEK];
    let flags = flags.into_iter().fold(ValidateFlags::NONE, ValidateFlags::with);
    let tokens = (0..KEYS).flat_map(|key| [token(bench, key, false), token(bench, key, true)]);
    let answers: Vec<_> =
        tokens.map(|token| format!("{:?}", bench.ask(&Question { flags, ..of(&token) }))).collect();
    format!(
        "{answers:#?} {:?} {:?} {:?} {:?} {:?} {:?} {}",
        engine.key_count(),
        engine.read().all(),
        engine.read().knows_foreign_tokens(),
        TENANTS.map(|tenant| engine.tenant(tenant)),
        TIERS.map(|tier| engine.keys_with_tier(tier)),
        engine.keys_with_profile("SOC2"),
        engine.tenant_count(),
    )
}

proptest! {
    /// Slots and numbers are used again, and nothing of who had them before is left.
    #[test]
    fn a_catalog_after_any_changes_is_one_that_had_only_the_last_forms(
        steps in vec((0..KEYS, form()), 1..40),
    ) {
        let (changed, fresh) = (bench(), bench());
        let mut last = [None; KEYS as usize];
        for (key, form) in steps {
            put(&changed, key, form);
            last[usize::from(key)] = form;
        }
        for (key, form) in (0..KEYS).zip(last) {
            put(&fresh, key, form);
        }
        prop_assert_eq!(seen(&changed), seen(&fresh));
    }
}
