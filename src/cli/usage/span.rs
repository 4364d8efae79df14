//! Hours and days.

use keygate_protocol::admin::{Span, UsageSpan};

use super::key::shown;
use super::sheet::Sheet;

/// For people: what fits a line. For machines, [`Sheet::of_sums`] has it all.
pub(super) fn sheet(spans: &[UsageSpan], by: Span, csv: bool) -> Sheet {
    if csv {
        let items: Vec<_> =
            spans.iter().map(|span| (vec![span.start.clone()], &span.sums)).collect();
        return Sheet::of_sums(&["start"], &items);
    }
    let headings =
        ["", "REQUESTS", "UNITS", "COST", "DENIED", "REPORTED", "ERRORS", "P50 MS", "P99 MS"];
    let row = |span: &UsageSpan| {
        let sums = &span.sums;
        let start = match by {
            Span::Day => span.start.split('T').next().unwrap_or_default().to_owned(),
            Span::Hour => span.start.trim_end_matches(":00Z").replace('T', " "),
        };
        vec![
            start,
            sums.requests.to_string(),
            sums.units.to_string(),
            sums.cost.clone(),
            sums.denied.to_string(),
            sums.reported_requests.to_string(),
            sums.errors.to_string(),
            shown(sums.p50_ms),
            shown(sums.p99_ms),
        ]
    };
    let requests: Vec<u64> = spans.iter().map(|span| span.sums.requests).collect();
    let mut headings = headings;
    headings[0] = if by == Span::Day { "DAY (UTC)" } else { "HOUR (UTC)" };
    Sheet::new(&headings, spans.iter().map(row).collect()).with_bars(&requests)
}
