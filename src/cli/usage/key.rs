//! One key, of all time.

use keygate_protocol::admin::{KeyUsage, UsageSums};

use super::super::output::{limits_table, plain, table};
use super::sheet::Sheet;

/// A figure with three decimals, or none.
pub(super) fn shown(number: Option<f64>) -> String {
    number.map_or("-".to_owned(), |number| format!("{number:.3}"))
}

pub(super) fn text(usage: &KeyUsage) -> String {
    let sums = &usage.sums;
    let from = usage.last_used_from.as_ref().map(|from| format!(" from {from}"));
    let mut text = format!(
        "key                    {}\n\
         valid verdicts         {}\n\
         last used              {}{}\n\
         reported requests      {}\n\
         of these errors        {}\n\
         success rate           {}\n\
         average response (ms)  {}\n",
        usage.key_id,
        usage.total_requests,
        usage.last_used_at.as_deref().unwrap_or("never"),
        from.unwrap_or_default(),
        usage.reported_requests,
        usage.total_errors,
        shown(usage.success_rate),
        shown(usage.average_response_time),
    );
    text += &more_text(sums);
    if !usage.limits.is_empty() {
        text += &format!("\n{}", limits_table(&usage.limits));
    }
    if !usage.endpoints.is_empty() {
        let (headings, rows) = endpoint_rows(usage);
        text += &format!("\n{}", table(&headings, &rows));
    }
    if !usage.recent_errors.is_empty() {
        let rows: Vec<_> = usage
            .recent_errors
            .iter()
            .map(|row| {
                vec![
                    row.at.clone(),
                    row.status.map_or("-".to_owned(), |status| status.to_string()),
                    row.endpoint.clone().unwrap_or_default(),
                    row.message.clone().unwrap_or_default(),
                ]
            })
            .collect();
        text += &format!("\n{}", table(&["AT", "STATUS", "ENDPOINT", "ERROR"], &rows));
    }
    text
}

/// All sums, for people.
pub(super) fn sums_text(sums: &UsageSums) -> String {
    format!(
        "valid verdicts         {}\n\
         reported requests      {}\n\
         of these errors        {}\n\
         average response (ms)  {}\n",
        sums.requests,
        sums.reported_requests,
        sums.errors,
        shown(sums.average_response_time),
    ) + &more_text(sums)
}

/// What not every key has.
fn more_text(sums: &UsageSums) -> String {
    let mut text = String::new();
    let mut line = |name: &str, value: String| text += &format!("{name:<23}{value}\n");
    if sums.p50_ms.is_some() {
        let of = |of: Option<f64>| shown(of);
        let shares = [of(sums.p50_ms), of(sums.p90_ms), of(sums.p99_ms)].join(" / ");
        line("p50 / p90 / p99 (ms)", shares);
    }
    if sums.units != sums.requests || sums.cost != "0" {
        line("units", sums.units.to_string());
        line("cost", sums.cost.clone());
    }
    if sums.denied > 0 {
        line("denied verdicts", sums.denied.to_string());
    }
    for (code, count) in &sums.denials {
        line(&format!("  {code}"), count.to_string());
    }
    for (name, counted) in &sums.counters {
        line(&format!("counter {}", plain(name)), counted.to_string());
    }
    text
}

fn endpoint_rows(usage: &KeyUsage) -> ([&'static str; 4], Vec<Vec<String>>) {
    let rows = usage.endpoints.iter().map(|row| {
        vec![
            row.endpoint.clone(),
            row.requests.to_string(),
            row.errors.to_string(),
            shown(row.average_response_time),
        ]
    });
    (["ENDPOINT", "REQUESTS", "ERRORS", "AVERAGE MS"], rows.collect())
}

pub(super) fn endpoints(usage: &KeyUsage) -> Sheet {
    let (headings, rows) = endpoint_rows(usage);
    Sheet::new(&headings, rows)
}

pub(super) fn statuses(usage: &KeyUsage) -> Sheet {
    let all: u64 = usage.statuses.values().sum();
    let rows = usage.statuses.iter().map(|(status, count)| {
        let share = *count as f64 / all.max(1) as f64;
        vec![status.clone(), count.to_string(), format!("{share:.6}")]
    });
    Sheet::new(&["STATUS", "REQUESTS", "SHARE"], rows.collect())
}
