//! The limits of a record that are more than a number: those with a name, and credits.
//!
//! The order of the fields is the order of their bytes on disk. How they stand in JSON is in
//! [`json`], how in the configuration in [`in_config`].

use std::fmt;
use std::time::Duration;

use keygate_protocol::LimitName;
use serde::{Deserialize, Serialize};

use super::Time;
use crate::limit::Period;

pub mod in_config;
pub(in crate::key) mod json;

pub(super) use json::{CreditsOf, Named};

/// Most named limits of a record, and of a tier.
pub const NAMED_LIMITS_MAX: usize = 16;
/// Longest name of a limit, in bytes.
pub const LIMIT_NAME_BYTES_MAX: usize = 64;
/// Largest count of a limit, balance and refill: an int64's.
pub const COUNT_MAX: u64 = i64::MAX as u64;
/// How long a slot is held that nobody releases, in seconds, where nothing says otherwise.
pub const SLOT_TTL_SECONDS_DEFAULT: u32 = 60;
/// The longest that it may be.
pub const SLOT_TTL_SECONDS_MAX: u32 = 86_400;

/// The longest rolling period: 366 days.
const ROLLING_SECONDS_MAX: u32 = 366 * 86_400;
/// The units of a rolling period with their seconds, the largest first.
const UNITS: [(char, u32); 5] = [('w', 604_800), ('d', 86_400), ('h', 3600), ('m', 60), ('s', 1)];

/// A limit that only requests which name it spend from.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct NamedLimit {
    /// What requests name it by: 1 to 64 bytes, without control characters and `=`.
    pub name: String,
    /// How many units there are in each period, 0 to 2^63 - 1.
    pub count: u64,
    /// After what time they are there again.
    pub period: LimitPeriod,
}

/// The period of a named limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum LimitPeriod {
    /// All units are there again when a period of the calendar (UTC) begins.
    Calendar(Period),
    /// Units come back evenly, all of them within this time.
    Rolling {
        /// 1 to 31,622,400 (366 days).
        seconds: u32,
    },
}

impl LimitPeriod {
    /// Reads `hour`, `day`, `week`, `month`, `year`, or a number with a unit such as `90m`; the
    /// number may be left out for 1, but for `m`, which is as often meant as a month.
    ///
    /// # Errors
    /// One line that says what a period is.
    pub fn parse(text: &str) -> Result<Self, String> {
        if let Some(period) = Period::ALL.into_iter().find(|period| period.name() == text) {
            return Ok(Self::Calendar(period));
        }
        if text == "m" {
            return Err(format!("{text:?} could be a minute or a month: write 1m or month"));
        }
        rolling(text).map(|seconds| Self::Rolling { seconds }).ok_or_else(|| {
            format!(
                "{text:?} is not a period: it is hour, day, week, month or year of the calendar, \
                 or a rolling time of 1s to 366d, such as 90s, 15m, 1h, 30d or 2w"
            )
        })
    }
}

fn rolling(text: &str) -> Option<u32> {
    let unit = text.chars().next_back()?;
    let (_, seconds) = UNITS.into_iter().find(|(letter, _)| *letter == unit)?;
    let count = match text.strip_suffix(unit)? {
        "" => 1,
        // `parse` would take a sign.
        digits if digits.bytes().all(|byte| byte.is_ascii_digit()) => digits.parse().ok()?,
        _ => return None,
    };
    seconds.checked_mul(count).filter(|seconds| (1..=ROLLING_SECONDS_MAX).contains(seconds))
}

/// A rolling time in the largest unit that divides it.
impl fmt::Display for LimitPeriod {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Calendar(period) => f.write_str(period.name()),
            Self::Rolling { seconds } => {
                let divides = |(_, unit): &(char, u32)| seconds.is_multiple_of(*unit);
                let (letter, unit) = UNITS.into_iter().find(divides).unwrap_or(('s', 1));
                write!(f, "{}{letter}", seconds / unit)
            }
        }
    }
}

/// A balance that requests spend, beside all other limits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Credits {
    /// What there was when it was set, 0 to 2^63 - 1.
    pub balance: u64,
    /// What comes to it by itself; nothing if absent.
    pub refill: Option<Refill>,
    /// When the balance was set: what was spent before does not touch it.
    pub granted_at: Option<Time>,
}

/// What comes to a balance by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Refill {
    /// How much, 0 to 2^63 - 1.
    pub amount: u64,
    /// When.
    pub every: RefillEvery,
    /// Whether it is added to what is left, or stands in its place.
    pub adds: bool,
}

/// When a refill comes, in UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum RefillEvery {
    /// At midnight.
    Day,
    /// At the beginning of a day of the month.
    Month {
        /// 1 to 31; a month that is shorter has it on its last day.
        day: u8,
    },
}

impl Credits {
    /// The balance as one that is set at this instant: later than the one before was, so that what
    /// was spent of that is not taken from this.
    #[must_use]
    pub fn granted(self, before: Option<&Self>, now: Time) -> Self {
        let after = before.and_then(|credits| credits.granted_at);
        let after = after.map(|at| Time::from_micros(at.micros_up().saturating_add(1)));
        Self { granted_at: Some(after.map_or(now, |after| after.max(now))), ..self }
    }
}

impl NamedLimit {
    /// Shows that a name can be given by a request and on a command line.
    ///
    /// # Errors
    /// One line that says what a name is.
    pub fn check_name(name: &str) -> Result<(), String> {
        if LimitName::ALL.iter().any(|common| common.name() == name) {
            return Err(format!(
                "{name:?} is what verdicts call a limit without a name; take another, such as \
                 \"exports\""
            ));
        }
        let sound = !name.chars().any(|char| char.is_control() || char == '=');
        if sound && (1..=LIMIT_NAME_BYTES_MAX).contains(&name.len()) {
            return Ok(());
        }
        Err(format!(
            "{name:?} is not a name of a limit: 1 to {LIMIT_NAME_BYTES_MAX} bytes without control \
             characters and '='"
        ))
    }

    /// Shows that limits are not too many, and each has a name of its own.
    ///
    /// # Errors
    /// One line that names the limit.
    pub fn check_all(limits: &[Self]) -> Result<(), String> {
        if limits.len() > NAMED_LIMITS_MAX {
            let count = limits.len();
            return Err(format!("it has {count} entries, at most {NAMED_LIMITS_MAX} are taken"));
        }
        for (at, limit) in limits.iter().enumerate() {
            let entry = at + 1;
            Self::check_name(&limit.name).map_err(|reason| format!("entry {entry}: {reason}"))?;
            if limit.count > COUNT_MAX {
                let count = limit.count;
                return Err(format!("entry {entry}: count is 0 to {COUNT_MAX}, not {count}"));
            }
            if limits[..at].iter().any(|other| other.name == limit.name) {
                let name = &limit.name;
                return Err(format!("entry {entry}: there are two limits {name:?}"));
            }
        }
        Ok(())
    }
}

/// Shows that what a rate admits at once comes back in a time that can be counted: 2^64 ns, 584
/// years. At a rate of 0 nothing is admitted, nor comes back.
///
/// # Errors
/// One line that says what mends it, for a field `burst`.
pub fn check_burst(rate: Option<u32>, burst: Option<u64>) -> Result<(), String> {
    let (Some(rate), Some(burst)) = (rate, burst) else { return Ok(()) };
    let second = Duration::from_secs(1).as_nanos();
    let ns = (u128::from(burst) * second).checked_div(u128::from(rate)).unwrap_or(0);
    if ns <= u128::from(u64::MAX) {
        return Ok(());
    }
    let max = u128::from(u64::MAX) * u128::from(rate) / second;
    Err(format!(
        "a burst of {burst} at {rate} requests a second takes longer than 584 years to come back; \
         it must be at most {max}"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn periods_are_read_and_written_in_the_largest_unit() {
        for (given, written, seconds) in [
            ("s", "1s", 1),
            ("1s", "1s", 1),
            ("90s", "90s", 90),
            ("120s", "2m", 120),
            ("60m", "1h", 3600),
            ("h", "1h", 3600),
            ("24h", "1d", 86_400),
            ("d", "1d", 86_400),
            ("0007d", "1w", 604_800),
            ("366d", "366d", 31_622_400),
            ("31622400s", "366d", 31_622_400),
            ("52w", "52w", 31_449_600),
        ] {
            let period = LimitPeriod::parse(given).expect(given);
            assert_eq!(period, LimitPeriod::Rolling { seconds }, "{given}");
            assert_eq!(period.to_string(), written, "{given}");
            assert_eq!(LimitPeriod::parse(written), Ok(period), "{written}");
        }
        for period in Period::ALL {
            let calendar = LimitPeriod::Calendar(period);
            assert_eq!(LimitPeriod::parse(period.name()), Ok(calendar));
            assert_eq!(calendar.to_string(), period.name());
        }
        for bad in [
            "",
            "0s",
            "-1s",
            "+1s",
            "1.5h",
            "1 h",
            "1H",
            "1y",
            "1ms",
            "367d",
            "53w",
            "hours",
            "Day",
            "99999999999s",
            "10",
            "é",
        ] {
            let refused = LimitPeriod::parse(bad).expect_err(bad);
            assert!(refused.contains("rolling time of 1s to 366d"), "{bad}: {refused}");
        }
    }

    /// Whoever writes `100/m` may mean either, and one is 43,200 times the other.
    #[test]
    fn a_bare_m_is_neither_a_minute_nor_a_month() {
        let refused = LimitPeriod::parse("m").expect_err("it could be both");
        assert_eq!(refused, "\"m\" could be a minute or a month: write 1m or month");
        let minute = LimitPeriod::Rolling { seconds: 60 };
        assert_eq!(LimitPeriod::parse("1m"), Ok(minute));
        assert_eq!(minute.to_string(), "1m", "what is written is read again");
    }

    #[test]
    fn a_burst_comes_back_in_a_time_that_can_be_counted() {
        for (rate, burst, good) in [
            (Some(1), Some(18_446_744_073), true),
            (Some(1), Some(18_446_744_074), false),
            (Some(2), Some(36_893_488_147), true),
            (Some(2), Some(36_893_488_148), false),
            (Some(2_147_483_647), Some(COUNT_MAX), true),
            (Some(1), Some(COUNT_MAX), false),
            (Some(0), Some(COUNT_MAX), true),
            (None, Some(COUNT_MAX), true),
            (Some(1), None, true),
        ] {
            assert_eq!(check_burst(rate, burst).is_ok(), good, "{rate:?} {burst:?}");
        }
        let refused = check_burst(Some(2), Some(u64::MAX)).expect_err("too long");
        assert!(refused.contains("at most 36893488147"), "{refused}");
    }

    #[test]
    fn a_balance_that_is_set_again_is_set_later_whatever_the_clock_says() {
        let credits = Credits { balance: 5, refill: None, granted_at: None };
        let at = Time::from_micros;
        let first = credits.granted(None, at(1000));
        assert_eq!(first.granted_at, Some(at(1000)));
        assert_eq!(credits.granted(Some(&first), at(2000)).granted_at, Some(at(2000)));
        for behind in [1000, 999, 0] {
            let again = credits.granted(Some(&first), at(behind));
            assert_eq!(again.granted_at, Some(at(1001)), "{behind}");
        }
    }
}
