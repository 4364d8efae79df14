//! The fields of a trace's lines that are more than a number or a text.

use std::borrow::Cow;
use std::fmt;

use serde::de::{self, Deserialize, Deserializer, Visitor};
use serde_json::value::RawValue;

use super::super::increment::uuid;
use crate::key::{Time, id};

/// The last microsecond that can be written: 9999-12-31T23:59:59.999999Z.
const AT_US_MAX: i64 = 253_402_300_799_999_999;

/// Microseconds since 1970 of an RFC 3339 time, or of milliseconds with or without a fraction.
pub(super) fn instant(at: &str) -> Result<i64, String> {
    let read = if let Ok(text) = serde_json::from_str::<Cow<'_, str>>(at) {
        Time::parse(&text).map_err(|error| format!("at: {error}"))?.micros_up()
    } else if let Ok(ms) = at.parse::<i64>() {
        ms.saturating_mul(1000)
    } else {
        let ms = at.parse::<f64>().map_err(|_| {
            format!("at: {at} is neither an RFC 3339 time nor milliseconds since 1970")
        })?;
        whole_micros(ms)
    };
    if (0..=AT_US_MAX).contains(&read) {
        Ok(read)
    } else {
        Err(format!("at: {at} is not within the years 1970 to 9999"))
    }
}

/// Whether this looks like seconds in the place of milliseconds: a number that means a time between
/// 1970-01-02 and 2001, which no trace of ours is of, and seconds of the years from 1972 on are.
pub(super) fn looks_like_seconds(at: &RawValue, at_us: i64) -> bool {
    const FROM_US: i64 = 86_400_000_000;
    const TO_US: i64 = 978_307_200_000_000;
    !at.get().starts_with('"') && (FROM_US..TO_US).contains(&at_us)
}

/// As a calculation has them; what is out of all bounds is told by those.
#[expect(clippy::cast_possible_truncation, reason = "it saturates")]
fn whole_micros(ms: f64) -> i64 {
    (ms * 1000.0).round() as i64
}

/// Which slot a line means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Slot {
    /// That of this number, as its verdict named it.
    Number(u64),
    /// The one that the key took first of those that it holds.
    Oldest,
    /// The one that it took last.
    Last,
}

/// Milliseconds, in microseconds.
#[derive(Debug, Clone, Copy)]
pub(super) struct Latency(pub(super) u32);

impl<'de> Deserialize<'de> for Latency {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "an hour at most")]
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let ms = f64::deserialize(deserializer)?;
        if !(0.0..=3_600_000.0).contains(&ms) {
            return Err(de::Error::custom("latency_ms: it is 0 to 3600000"));
        }
        Ok(Self((ms * 1000.0).round() as u32))
    }
}

/// The id of a report.
#[derive(Debug, Clone, Copy)]
pub(super) struct Uuid(pub(super) u128);

impl<'de> Deserialize<'de> for Uuid {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Cow::<str>::deserialize(deserializer)?;
        uuid(&text).map(Self).map_err(|error| de::Error::custom(format!("id: {error}")))
    }
}

/// A number, or the text of one: what programs write and what people do.
struct Numeral;

/// What of it there is.
enum Given {
    Number(u64),
    Text(String),
}

impl Visitor<'_> for Numeral {
    type Value = Given;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a number, as text or as it is")
    }

    fn visit_u64<E>(self, number: u64) -> Result<Given, E> {
        Ok(Given::Number(number))
    }

    fn visit_str<E>(self, text: &str) -> Result<Given, E> {
        Ok(text.parse().map_or_else(|_| Given::Text(text.to_owned()), Given::Number))
    }
}

/// The id of a key.
pub(super) fn key_id<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    let text = match deserializer.deserialize_any(Numeral)? {
        Given::Number(number) => number.to_string(),
        Given::Text(text) => text,
    };
    id::parse(&text).map_err(|error| de::Error::custom(format!("key_id: {error}")))
}

/// The id of a key, where one is given.
pub(super) fn some_key_id<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<u64>, D::Error> {
    key_id(deserializer).map(Some)
}

impl<'de> Deserialize<'de> for Slot {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match deserializer.deserialize_any(Numeral)? {
            Given::Number(number) => Ok(Self::Number(number)),
            Given::Text(text) if text == "oldest" => Ok(Self::Oldest),
            Given::Text(text) if text == "last" => Ok(Self::Last),
            Given::Text(_) => {
                Err(de::Error::custom("slot: it is what a verdict printed, \"oldest\" or \"last\""))
            }
        }
    }
}
