//! Tenants above keys: their status, and callers that are bound to one.

use super::*;

const STATES: [TenantState; 3] =
    [TenantState::Active, TenantState::Suspended, TenantState::Deleted];

impl Bench {
    fn ask_for(&self, tenant: Option<&str>, question: &Question<'_>) -> Answer {
        let frame = question.encode();
        let question = Validate::decode(&frame).expect("well-formed");
        let mut answers = Answers::default();
        let asker = Asker { tenant, ..Asker::default() };
        self.engine.validate_for(asker, &[question], self.clock.now(), &mut answers);
        answers[0].clone()
    }
}

/// Every status of a tenant, with every status of a key, for every binding of a caller.
#[test]
fn a_tenant_stands_above_its_keys_and_a_binding_above_both() {
    let bench = Bench::new();
    let (token, unknown) = (bench.token(1), bench.token(2));
    bench.put(&KeyRecord { tenant_id: "other".to_owned(), ..bench.record(9, &bench.token(9)) });
    let flags = ValidateFlags::DETAILS.with(ValidateFlags::PEEK);
    let (known, nobodys) = (Question { flags, ..of(&token) }, Question { flags, ..of(&unknown) });
    for tenant in STATES {
        bench.put_tenant("acme", tenant);
        for status in Status::ALL {
            // Deprecated and about to expire: what is not there warns of nothing.
            let expires_at = Some(Time::from_micros(START_US + DAY_US / 2));
            bench.put(&KeyRecord { status, expires_at, ..bench.record(7, &token) });
            for bound in [None, Some("acme"), Some("other"), Some("nobody"), Some("")] {
                let case = format!("{tenant:?} {status:?} {bound:?}");
                let answer = bench.ask_for(bound, &known);
                let counted =
                    bench.engine.increment_for(bound, &report(7, None), bench.clock.now());
                let foreign = bound.is_some_and(|bound| bound != "acme");
                if foreign || tenant == TenantState::Deleted {
                    let nothing = bench.ask_for(bound, &nobodys);
                    assert_eq!(answer.verdict.code, VerdictCode::NotFound, "{case}");
                    assert_eq!(format!("{answer:?}"), format!("{nothing:?}"), "{case}");
                    assert_eq!(answer.verdict.key_id, 0, "{case}");
                    assert_eq!(counted, IncrementOutcome::NotFound, "{case}");
                    continue;
                }
                assert_eq!(counted, IncrementOutcome::Counted, "{case}");
                assert_eq!((answer.verdict.key_id, answer.tenant.as_deref()), (7, Some("acme")));
                let passes = matches!(status, Status::Active | Status::Deprecated);
                match (tenant, passes) {
                    (TenantState::Suspended, _) => {
                        assert_eq!(answer.verdict.code, VerdictCode::TenantSuspended, "{case}");
                    }
                    (_, true) => assert!(answer.verdict.code.is_valid(), "{case}"),
                    (_, false) => {
                        let code = answer.verdict.code;
                        assert!(!code.is_valid() && code != VerdictCode::TenantSuspended, "{case}");
                    }
                }
            }
        }
    }
}

#[test]
fn a_change_of_a_tenant_acts_on_all_its_keys_at_the_next_question_and_spends_nothing() {
    let bench = Bench::new();
    let tokens: Vec<String> = (1..=40).map(|number| bench.token(number)).collect();
    for (id, token) in (1..).zip(&tokens) {
        let tenant_id = if id % 2 == 0 { "acme" } else { "other" }.to_owned();
        let limited = KeyRecord { requests_per_second: Some(1), ..bench.record(id, token) };
        bench.put(&KeyRecord { tenant_id, ..limited });
    }
    let codes = || {
        let questions: Vec<Question<'_>> = tokens
            .iter()
            .map(|token| Question { flags: ValidateFlags::PEEK, ..of(token) })
            .collect();
        let of_both = |at: usize| questions.iter().skip(at).step_by(2).collect::<Vec<_>>();
        let asked = |at| {
            let answers = bench.ask_all(&of_both(at));
            let mut codes: Vec<_> = answers.iter().map(|answer| answer.verdict.code).collect();
            codes.dedup();
            codes
        };
        (asked(0), asked(1))
    };
    use VerdictCode::{NotFound, TenantSuspended, Valid};
    assert_eq!(codes(), (vec![Valid], vec![Valid]));
    for (state, code) in [
        (TenantState::Suspended, TenantSuspended),
        (TenantState::Deleted, NotFound),
        (TenantState::Active, Valid),
    ] {
        bench.put_tenant("acme", state);
        // A question that is denied for its tenant spends nothing of the key's one a second.
        bench.ask(&of(&tokens[1]));
        if state != TenantState::Active {
            assert_eq!(codes(), (vec![Valid], vec![code]), "{state:?}");
        }
    }
    bench.clock.advance_us(1_000_000);
    assert_eq!(codes(), (vec![Valid], vec![Valid]));
    let usage = bench.engine.usage(2, false).total.requests;
    assert_eq!(usage, 1, "the denied ones were not counted");
}

#[test]
fn a_key_that_moves_is_its_new_tenants_and_tokens_in_their_overlap_move_with_it() {
    let bench = Bench::new();
    let (old, new) = (bench.token(1), bench.token(2));
    let rotated = KeyRecord {
        previous_key_hash: Some(bench.engine.pepper().seal_token(old.as_bytes())),
        previous_key_ends_at: Some(Time::from_micros(START_US + DAY_US)),
        ..bench.record(7, &new)
    };
    bench.put(&rotated);
    let codes =
        |bound| [&old, &new].map(|token| bench.ask_for(Some(bound), &of(token)).verdict.code);
    use VerdictCode::{NotFound, Valid};
    assert_eq!((codes("acme"), codes("globex")), ([Valid; 2], [NotFound; 2]));
    bench.put(&KeyRecord { tenant_id: "globex".to_owned(), ..rotated });
    assert_eq!((codes("acme"), codes("globex")), ([NotFound; 2], [Valid; 2]));
    assert_eq!(bench.engine.tenant("acme"), None, "no key names it any more");
    let view = bench.engine.tenant("globex").expect("a key names it");
    assert_eq!((view.keys, view.keys_deleted, view.recorded), (1, 0, false));
}

#[test]
fn equal_rules_of_different_tenants_are_one_in_memory() {
    let bench = Bench::new();
    for id in 1..=20_u8 {
        let scopes = vec![format!("scope:{}", id % 2)];
        let tenant_id = format!("tenant-{id}");
        let record = bench.record(id.into(), &bench.token(id));
        bench.put(&KeyRecord { scopes, tenant_id, ..record });
    }
    let details = |id| {
        let question = Question { flags: ValidateFlags::DETAILS, ..of(&bench.token(id)) }.encode();
        let question = Validate::decode(&question).expect("well-formed");
        let mut answers = Answers::default();
        bench.engine.validate(&[question], bench.clock.now(), &mut answers);
        let answer = answers[0].clone();
        (answer.policy.expect("details"), answer.tenant.expect("details"))
    };
    let ((first, of_first), (third, of_third)) = (details(1), details(3));
    assert!(Arc::ptr_eq(&first, &third), "one for both");
    assert_eq!((&*of_first, &*of_third), ("tenant-1", "tenant-3"));
}

#[test]
fn pages_of_tenants_go_on_where_the_last_one_ended() {
    let bench = Bench::new();
    for name in ["b", "d", "a", "c", "e"] {
        bench.put_tenant(name, TenantState::Active);
    }
    bench.put_tenant("c", TenantState::Deleted);
    let there = |view: &TenantView| view.state != TenantState::Deleted;
    let (mut names, mut pages, mut after) = (Vec::new(), 0, None);
    loop {
        let (page, next) = bench.engine.tenants(after.as_deref(), 2, there);
        names.extend(page.into_iter().map(|(name, _)| name.to_string()));
        pages += 1;
        let Some(next) = next else { break };
        after = Some(next);
    }
    assert_eq!((names.join(""), pages), ("abde".to_owned(), 2));
    // A page looks at so many and then ends, wanted or not.
    for number in 0..2500 {
        bench.put_tenant(&format!("gone-{number:04}"), TenantState::Deleted);
    }
    bench.put_tenant("z", TenantState::Active);
    let (page, next) = bench.engine.tenants(Some("e"), 2, there);
    assert_eq!((page.len(), next.as_deref()), (0, Some("gone-1999")));
    let (page, next) = bench.engine.tenants(next.as_deref(), 2, there);
    assert_eq!((page.len(), next.as_deref()), (1, None));
}
