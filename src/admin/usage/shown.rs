//! Sums as they are told.

use keygate_protocol::VerdictCode;
use keygate_protocol::admin::UsageSums;

use crate::usage::{Sketch, Tally};

/// 10^-9 of money's unit.
const NANO: u128 = 1_000_000_000;

pub(super) fn sums(tally: &Tally) -> UsageSums {
    let more = tally.more();
    let denials = more.denials.iter().map(|(code, count)| (code_name(*code), *count));
    let statuses = more.statuses.iter().map(|(status, count)| (status.to_string(), *count));
    UsageSums {
        requests: tally.requests,
        units: tally.units,
        cost: money(tally.cost_nano),
        denied: more.denied(),
        denials: denials.collect(),
        reported_requests: more.reported,
        errors: more.errors,
        statuses: statuses.collect(),
        average_response_time: more.average_ms(),
        p50_ms: percentile_ms(&more.latencies, 0.5),
        p90_ms: percentile_ms(&more.latencies, 0.9),
        p99_ms: percentile_ms(&more.latencies, 0.99),
        counters: more.counters.clone(),
    }
}

fn percentile_ms(latencies: &Sketch, fraction: f64) -> Option<f64> {
    latencies.percentile(fraction).map(|us| us as f64 / 1000.0)
}

/// The name of a code; its number if a later keygate has counted it.
fn code_name(code: u8) -> String {
    VerdictCode::from_byte(code).map_or_else(|| code.to_string(), |code| code.name().to_owned())
}

/// A decimal number, without zeroes at its end.
fn money(nano: u128) -> String {
    let (whole, part) = (nano / NANO, nano % NANO);
    if part == 0 {
        return whole.to_string();
    }
    format!("{whole}.{part:09}").trim_end_matches('0').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn money_is_exact_to_nine_decimals() {
        for (nano, text) in [
            (0, "0"),
            (1, "0.000000001"),
            (500_000, "0.0005"),
            (1_500_000_000, "1.5"),
            (20_000_000_000, "20"),
            (u128::MAX, "340282366920938463463374607431.768211455"),
        ] {
            assert_eq!(money(nano), text);
        }
    }
}
