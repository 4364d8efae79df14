//! The engine's limits against a slow and obvious model of them, over random traces.
//!
//! Without crashes both agree exactly, also over clean restarts: verdict, the limit that denies, and
//! every figure of every limit, to the microsecond. A crash costs an account exactly what it had
//! leased and what was being debited ([`adopt`]), and never gives a unit: from there on the model
//! goes on with what is left, and both agree exactly again.
//!
//! A trace that fails is made as short as it can be, and printed.

mod adopt;
mod calendar;
mod compare;
mod driver;
mod ops;
mod oracle;
mod parts;
mod reports;

use std::fmt::Write;
use std::panic::{AssertUnwindSafe, catch_unwind};

use driver::Run;
use ops::{Mix, Op, Random};

/// Steps of one trace.
const TRACE_LEN: usize = 250;
/// Steps in all, of the traces with and of those without crashes.
const OPS: usize = 100_000;
/// Instants at which traces begin: the eves of a leap day, of one that is none, of a year.
const STARTS_US: [i64; 5] = [
    // 2028-02-28T23:59:50Z, 2027-02-28T20:00:00Z, 2026-12-31T23:00:00Z, 2027-01-30T12:00:00Z,
    1_835_395_190_000_000,
    1_803_844_800_000_000,
    1_798_758_000_000_000,
    1_801_310_400_000_000,
    // 2027-04-30T23:59:59.999999Z.
    1_809_129_599_999_999,
];

/// What fails a trace, and at which of its steps.
type Failure = (usize, String);

fn run(start_us: i64, ops: &[Op]) -> Result<(), Failure> {
    let mut run = Run::new(start_us);
    for (at, op) in ops.iter().enumerate() {
        let stepped = catch_unwind(AssertUnwindSafe(|| run.step(op)));
        let stepped = stepped.unwrap_or_else(|panic| {
            let text = panic.downcast_ref::<String>().cloned();
            Err(text.unwrap_or_else(|| "it panicked".to_owned()))
        });
        stepped.map_err(|wrong| (at, wrong))?;
    }
    Ok(())
}

/// The shortest trace that still fails, by leaving steps out and making them smaller.
fn shrink(start_us: i64, ops: &[Op], failure: Failure) -> (Vec<Op>, Failure) {
    let (mut ops, mut failure) = (ops[..=failure.0].to_vec(), failure);
    let mut tries = 20_000;
    let mut fails = |ops: &[Op]| {
        tries -= 1;
        run(start_us, ops).err().filter(|_| tries > 0)
    };
    let mut chunk = ops.len().div_ceil(2);
    loop {
        let (mut at, mut shorter) = (0, false);
        while at < ops.len() {
            let mut fewer = ops.clone();
            fewer.drain(at..(at + chunk).min(ops.len()));
            match fails(&fewer) {
                Some(found) => {
                    fewer.truncate(found.0 + 1);
                    (ops, failure, shorter) = (fewer, found, true);
                }
                None => at += chunk,
            }
        }
        for at in 0..ops.len() {
            while let Some((smaller, found)) = at_most(&ops, at, &mut fails) {
                (ops, failure, shorter) = (smaller, found, true);
                if at >= ops.len() {
                    break;
                }
            }
        }
        if chunk == 1 && !shorter {
            return (ops, failure);
        }
        chunk = (chunk / 2).max(1);
    }
}

/// The trace with a smaller step in one place, if it still fails.
fn at_most(
    ops: &[Op],
    at: usize,
    fails: &mut impl FnMut(&[Op]) -> Option<Failure>,
) -> Option<(Vec<Op>, Failure)> {
    let step = ops.get(at)?;
    ops::smaller(step).into_iter().find_map(|smaller| {
        let mut all = ops.to_vec();
        all[at] = smaller;
        let found = fails(&all)?;
        all.truncate(found.0 + 1);
        Some((all, found))
    })
}

fn told(start_us: i64, seed: u64, ops: &[Op], failure: &Failure) -> String {
    let mut text = format!("seed {seed}, from {start_us} us:\n");
    for (at, op) in ops.iter().enumerate() {
        let _ = writeln!(text, "{at:4}  {op:?}");
    }
    let _ = write!(text, "at step {}: {}", failure.0, failure.1);
    text
}

fn hold(mix: Mix, seed: u64) {
    let wanted = option_env!("KEYGATE_MODEL_OPS").and_then(|ops| ops.parse().ok());
    let traces = wanted.unwrap_or(OPS).div_ceil(2 * TRACE_LEN) as u64;
    for seed in (seed..).take(usize::try_from(traces).expect("fits")) {
        let mut random = Random(seed);
        let start_us = random.of(&STARTS_US);
        let ops = ops::trace(&mut random, TRACE_LEN, mix);
        if let Err(failure) = run(start_us, &ops) {
            let (ops, failure) = shrink(start_us, &ops, failure);
            panic!("{}", told(start_us, seed, &ops, &failure));
        }
    }
}

#[test]
fn the_engine_and_the_model_agree_exactly() {
    hold(Mix { crashes: false }, 1);
}

#[test]
fn a_crash_costs_what_was_leased_and_never_gives_a_unit() {
    hold(Mix { crashes: true }, 1 << 32);
}
