//! Whether the engine says what the model says.

use std::fmt::Debug;

use keygate_protocol::{LimitName, Verdict, VerdictCode, Warnings};

use super::ops::Whose;
use super::oracle::{Account, Model, Said, code_of, named_figures};
use crate::clock::Now;
use crate::limit::{FigureOf, Figures};

type Wrong = Result<(), String>;

fn same<E: PartialEq<M> + Debug, M: Debug>(what: &str, engine: &E, model: &M) -> Wrong {
    let is = engine == model;
    is.then_some(()).ok_or_else(|| format!("{what}: {engine:?}, and the model says {model:?}"))
}

/// Code, the limit that denied, and every limit's figures.
pub(super) fn verdict(verdict: &Verdict, said: &Said, key_id: u64) -> Wrong {
    same("key", &verdict.key_id, &key_id)?;
    let denied = verdict.denied_by;
    match denied {
        Some(name) if said.denied_by.contains(&name) => {
            same("code", &verdict.code, &code_of(name))?;
        }
        _ if said.denied_by.is_empty() => same("code", &verdict.code, &said.code)?,
        _ => return Err(format!("denied by {denied:?}, and not one of {:?}", said.denied_by)),
    }
    same("denied by", &denied.is_some(), &!said.denied_by.is_empty())?;
    same("a slot", &verdict.slot.is_some(), &said.takes_slot)?;
    same("near its end", &verdict.warnings.has(Warnings::QUOTA_NEAR_END), &said.near_end)?;
    let names: Vec<LimitName> = verdict.limits.iter().map(|report| report.name).collect();
    let expected: Vec<LimitName> = said.limits.iter().map(|(name, _)| *name).collect();
    same("limits", &names, &expected)?;
    for (report, (name, stand)) in verdict.limits.iter().zip(&said.limits) {
        // A slot that was taken is compared when the model knows it.
        if said.takes_slot && matches!(name, LimitName::Slots | LimitName::TenantSlots) {
            continue;
        }
        let what = |field: &str| format!("{} {field}", name.name());
        same(&what("limit"), &report.limit, &stand.limit)?;
        same(&what("remaining"), &report.remaining, &stand.remaining)?;
        let retry = stand.retry_us.filter(|_| denied.is_some() && stand.denies);
        same(&what("retry after"), &report.retry_after_us, &retry)?;
        same(&what("reset after"), &report.reset_after_us, &stand.reset_us)?;
    }
    Ok(())
}

/// The figures of slots, behind the one that was taken.
pub(super) fn slots(verdict: &Verdict, model: &mut Model, key: usize, now: Now) -> Wrong {
    let said = model.validate((key, 0, true), &[], now);
    for (name, stand) in &said.limits {
        if matches!(name, LimitName::Slots | LimitName::TenantSlots) {
            let report = verdict.limits.get(*name);
            let figures = report.map(|report| (report.limit, report.remaining));
            same(name.name(), &figures, &Some((stand.limit, stand.remaining)))?;
            let reset = report.and_then(|report| report.reset_after_us);
            same("reset of slots", &reset, &stand.reset_us)?;
        }
    }
    same("code", &verdict.code, &VerdictCode::Valid)
}

/// What people are shown of an account, limit by limit.
pub(super) fn figures(figures: &[Figures], account: &Account, whose: Whose, now: Now) -> Wrong {
    let mut expected = Vec::new();
    if let Some(bucket) = &account.second {
        let stand = bucket.stand(0, now.mono_ns);
        let spent = stand.limit - stand.remaining;
        expected.push(("second".to_owned(), [stand.limit, spent, stand.remaining, 0]));
    }
    let units = [("day", &account.day), ("month", &account.month), ("lifetime", &account.lifetime)];
    for (name, units) in units {
        if let Some(cap) = units.cap {
            let figures = [cap, units.spent, units.remaining(), units.stranded];
            expected.push((name.to_owned(), figures));
        }
    }
    if let Some(max) = account.slots_max {
        let (max, held) = (u64::from(max), account.slots.len() as u64);
        expected.push(("slots".to_owned(), [max, held, max.saturating_sub(held), 0]));
    }
    if let Some(balance) = &account.credits {
        let units = &balance.units;
        let cap = units.cap.unwrap_or_default();
        let figures = [cap, units.spent, units.remaining(), units.stranded];
        expected.push(("credits".to_owned(), figures));
    }
    for named in &account.named {
        let [cap, spent, remaining] = named_figures(named, now.wall_us);
        let stranded = named.stranded();
        expected.push((format!("named {}", named.name), [cap, spent, remaining, stranded]));
    }
    let shown = figures.iter().map(|it| {
        let name = match &it.limit {
            FigureOf::Common(name) => name.name().trim_start_matches("tenant_").to_owned(),
            FigureOf::Named(name) => format!("named {name}"),
        };
        (name, [it.cap, it.spent, it.remaining, it.stranded])
    });
    same(&format!("figures of {whose:?}"), &shown.collect::<Vec<_>>(), &expected)
}
