//! Instants of the command line: a duration such as 90d, counted from now, or an RFC 3339 time.

use std::time::Duration;

use crate::clock::{Clock, SystemClock};
use crate::key::Time;

/// A duration from now, or an instant.
pub(super) fn from_now(text: &str) -> Result<Time, String> {
    instant(text, i64::checked_add)
}

/// A duration before now, or an instant.
pub(super) fn ago(text: &str) -> Result<Time, String> {
    instant(text, i64::checked_sub)
}

fn instant(text: &str, step: fn(i64, i64) -> Option<i64>) -> Result<Time, String> {
    if let Ok(time) = Time::parse(text) {
        return Ok(time);
    }
    let off = duration(text).map_err(|_| {
        "it is neither a duration such as 90d nor a time such as 2027-03-01T09:00:00Z".to_owned()
    })?;
    let too_far = || "too far off".to_owned();
    let off_us = i64::try_from(off.as_micros()).map_err(|_| too_far())?;
    let at_us = step(SystemClock::default().now().wall_us, off_us).ok_or_else(too_far)?;
    let at = Time::from_micros(at_us);
    // What RFC 3339 cannot write is not what was asked for.
    Time::parse(&at.to_string()).ok().filter(|read| *read == at).ok_or_else(too_far)
}

pub(super) fn duration(text: &str) -> Result<Duration, String> {
    if text == "0" {
        return Ok(Duration::ZERO);
    }
    humantime::parse_duration(text)
        .map_err(|_| "it is not a duration such as 90d, 24h or 10m".to_owned())
}
