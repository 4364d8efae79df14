//! `keygate increment`.

use std::time::Duration;

use keygate_protocol::IncrementOutcome;
use keygate_protocol::limits::{COUNTER_NAME_BYTES_MAX, REFUND_MAX};
use serde_json::json;

use super::error::CliError;
use super::output::{print, print_json};
use super::whole::whole;
use super::{Exit, Global};
use crate::client::Report;
use crate::key::id;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The key's id, as its verdict named it
    #[arg(value_parser = id::parse)]
    key_id: u64,
    /// The status of the request, as in HTTP; 400 and above is an error
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(100..=999))]
    status: Option<u16>,
    /// How long the request took, in milliseconds
    #[arg(long, value_name = "N", value_parser = milliseconds)]
    latency_ms: Option<Duration>,
    /// Which endpoint it went to
    #[arg(long, value_name = "E")]
    endpoint: Option<String>,
    /// What went wrong
    #[arg(long, value_name = "TEXT")]
    error: Option<String>,
    /// Requests that this report stands for
    #[arg(long, value_name = "N", default_value_t = 1)]
    #[arg(value_parser = clap::value_parser!(u32).range(1..))]
    count: u32,
    /// A UUID: the same one counts once, so that the report may be sent again
    #[arg(long, value_name = "UUID", value_parser = uuid)]
    id: Option<u128>,
    /// The slot that the request held, as its verdict named it: it is given back
    #[arg(long, value_name = "SLOT", value_parser = whole)]
    slot: Option<u64>,
    /// Credits to give back for a request that was charged and not served, 1 to 2^32; needs --id,
    /// so that the report may be sent again and gives them once
    #[arg(long, value_name = "N", requires = "id")]
    #[arg(value_parser = clap::value_parser!(u64).range(1..=REFUND_MAX))]
    refund: Option<u64>,
    /// Adds to a counter of your own, such as tokens=1532; up to 8 times
    #[arg(long = "counter", value_name = "NAME=N", value_parser = counter)]
    counters: Vec<(String, u64)>,
}

pub(super) fn run(args: &Args, global: &Global) -> Result<Exit, CliError> {
    let mut report = Report::new(args.key_id).count(args.count).slot(args.slot);
    if let Some(status) = args.status {
        report = report.status(status);
    }
    if let Some(latency) = args.latency_ms {
        report = report.latency(latency);
    }
    if let Some(endpoint) = &args.endpoint {
        report = report.endpoint(endpoint);
    }
    if let Some(error) = &args.error {
        report = report.error(error);
    }
    if let Some(id) = args.id {
        report = report.id(id);
    }
    if let Some(credits) = args.refund {
        report = report.refund(credits);
    }
    for (name, counted) in &args.counters {
        report = report.counter(name, *counted);
    }
    let outcome = global.with_data(async |client| Ok(client.increment(report).await?))?;
    let (name, text) = match outcome {
        IncrementOutcome::Counted => ("COUNTED", "counted"),
        IncrementOutcome::Duplicate => ("DUPLICATE", "counted before: this id was seen already"),
        IncrementOutcome::SlotGone => {
            ("SLOT_GONE", "counted; its slot was given back before, or its time had ended")
        }
        IncrementOutcome::NotFound => ("NOT_FOUND", "there is no such key"),
    };
    let counted = matches!(outcome, IncrementOutcome::Counted | IncrementOutcome::SlotGone);
    if global.json {
        let key_id = args.key_id.to_string();
        print_json(&json!({ "key_id": key_id, "outcome": name, "counted": counted }))?;
    } else {
        print(&format!("key {}: {text}\n", args.key_id))?;
    }
    Ok(if outcome == IncrementOutcome::NotFound { Exit::NotFound } else { Exit::Fine })
}

/// Milliseconds with or without a fraction, up to an hour.
fn milliseconds(text: &str) -> Result<Duration, String> {
    let ms: f64 = text.parse().map_err(|_| "it is a number of milliseconds".to_owned())?;
    if !(0.0..=3_600_000.0).contains(&ms) {
        return Err("it is 0 to 3600000 milliseconds".to_owned());
    }
    Ok(Duration::from_secs_f64(ms / 1000.0))
}

/// A name and a number, such as `tokens=1532`.
fn counter(text: &str) -> Result<(String, u64), String> {
    let (name, counted) = text.rsplit_once('=').ok_or("it is NAME=N, such as tokens=1532")?;
    if !(1..=COUNTER_NAME_BYTES_MAX).contains(&name.len()) {
        return Err(format!("its name has 1 to {COUNTER_NAME_BYTES_MAX} bytes"));
    }
    Ok((name.to_owned(), whole(counted)?))
}

/// 32 hexadecimal digits, with or without the dashes of RFC 9562.
pub(super) fn uuid(text: &str) -> Result<u128, String> {
    let digits: String = text.chars().filter(|char| *char != '-').collect();
    let plain = digits.len() == 32 && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    plain
        .then(|| u128::from_str_radix(&digits, 16).ok())
        .flatten()
        .ok_or_else(|| "it is a UUID: 32 hexadecimal digits, with or without dashes".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uuids_and_latencies_are_read_strictly() {
        assert_eq!(uuid("00000000-0000-0000-0000-0000000000ff"), Ok(255));
        assert_eq!(uuid("000000000000000000000000000000FF"), Ok(255));
        for bad in
            ["", "1", "g0000000-0000-0000-0000-000000000000", "+0000000000000000000000000000000"]
        {
            assert!(uuid(bad).is_err(), "{bad}");
        }
        assert_eq!(milliseconds("1.5"), Ok(Duration::from_micros(1500)));
        for bad in ["", "-1", "NaN", "3600001", "1s"] {
            assert!(milliseconds(bad).is_err(), "{bad}");
        }
    }
}
