//! Instants of a record: RFC 3339 in JSON, seconds and nanoseconds on disk.

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// The first second of the year 0, and of the year 10000: what RFC 3339 can write.
const SECONDS: std::ops::Range<i64> = -62_167_219_200..253_402_300_800;

/// An instant, to the nanosecond, years 0 to 9999 (UTC) as RFC 3339 has them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Time {
    seconds: i64,
    nanos: u32,
}

impl Time {
    /// Reads RFC 3339, such as `2027-03-01T09:00:00Z`.
    ///
    /// # Errors
    /// One line that shows the form.
    pub fn parse(text: &str) -> Result<Self, String> {
        // The offset can carry a year of four digits over either end.
        OffsetDateTime::parse(text, &Rfc3339)
            .ok()
            .map(Self::from)
            .filter(|time| SECONDS.contains(&time.seconds))
            .ok_or_else(|| {
                format!("{text:?} is not an RFC 3339 time such as \"2027-03-01T09:00:00Z\"")
            })
    }

    /// The instant this many microseconds after the start of 1970, UTC.
    #[must_use]
    pub fn from_micros(micros: i64) -> Self {
        let nanos = u32::try_from(micros.rem_euclid(1_000_000) * 1000).unwrap_or(0);
        Self { seconds: micros.div_euclid(1_000_000), nanos }
    }

    /// Microseconds since the start of 1970, UTC, rounded up: an integer clock that counts whole
    /// microseconds has reached this instant exactly when it shows this figure.
    #[must_use]
    pub const fn micros_up(self) -> i64 {
        // The year is at most 9999, so the product is far inside i64.
        self.seconds * 1_000_000 + self.nanos.div_ceil(1000) as i64
    }
}

impl From<OffsetDateTime> for Time {
    fn from(at: OffsetDateTime) -> Self {
        Self { seconds: at.unix_timestamp(), nanos: at.nanosecond() }
    }
}

/// RFC 3339 with 0, 3, 6 or 9 digits of fraction, as the source system's protobuf JSON writes it.
impl std::fmt::Display for Time {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // An instant made from microseconds may lie outside; to fail here would be a panic there.
        let seconds = self.seconds.clamp(SECONDS.start, SECONDS.end - 1);
        let at = OffsetDateTime::from_unix_timestamp(seconds).map_err(|_| std::fmt::Error)?;
        let (date, clock) = (at.date(), at.time());
        write!(f, "{:04}-{:02}-{:02}T", date.year(), u8::from(date.month()), date.day())?;
        write!(f, "{:02}:{:02}:{:02}", clock.hour(), clock.minute(), clock.second())?;
        match self.nanos {
            0 => {}
            nanos if nanos % 1_000_000 == 0 => write!(f, ".{:03}", nanos / 1_000_000)?,
            nanos if nanos % 1_000 == 0 => write!(f, ".{:06}", nanos / 1_000)?,
            nanos => write!(f, ".{nanos:09}")?,
        }
        f.write_str("Z")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fractions_have_no_or_three_or_six_or_nine_digits() {
        for text in [
            "2027-03-01T09:00:00Z",
            "2026-10-31T23:59:59.250Z",
            "2026-10-31T23:59:59.000001Z",
            "2026-10-31T23:59:59.000000001Z",
            "1969-12-31T23:59:59.500Z",
            "9999-12-31T23:59:59.999999999Z",
            "0001-01-01T00:00:00Z",
        ] {
            assert_eq!(Time::parse(text).expect(text).to_string(), text);
        }
        assert_eq!(
            Time::parse("2026-01-01T01:00:00+01:00").expect("offset").to_string(),
            "2026-01-01T00:00:00Z"
        );
        for text in ["", "tomorrow", "2026-01-01", "2026-13-01T00:00:00Z", "2026-01-01T00:00:00"] {
            assert!(Time::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn years_that_cannot_be_written_are_not_read() {
        for text in ["9999-12-31T23:59:59-00:01", "0000-01-01T00:00:00+00:01"] {
            assert!(Time::parse(text).is_err(), "{text}");
        }
        for text in ["9999-12-31T23:59:59Z", "0000-01-01T00:00:00Z"] {
            assert_eq!(Time::parse(text).expect(text).to_string(), text);
        }
        for micros in [i64::MIN, i64::MAX] {
            let text = Time::from_micros(micros).to_string();
            assert!(Time::parse(&text).is_ok(), "{text}");
        }
    }

    #[test]
    fn microseconds_round_up() {
        let micros = |text| Time::parse(text).expect("a time").micros_up();
        assert_eq!(micros("1970-01-01T00:00:00.000001Z"), 1);
        assert_eq!(micros("1970-01-01T00:00:00.000000001Z"), 1);
        assert_eq!(micros("1969-12-31T23:59:59.999999999Z"), 0);
        assert_eq!(Time::from_micros(-1).micros_up(), -1);
    }
}
