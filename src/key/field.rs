//! How one field stands in the source system's JSON: a codec for each kind of field.
//!
//! Reading is liberal in spelling (an int64 as number or string, bytes as either base64) and
//! strict in kind and bound; writing is the source system's own spelling, so that what came in
//! goes out the same.

use std::marker::PhantomData;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use serde_json::Value;

use super::digest::{self, Pepper, SealedHash};
use super::form::Form;
use super::{ReasonCode, Status, Time, id};

/// Reads and writes one kind of field. `read` is never given `null`: that is the default.
pub(super) trait Codec<T> {
    fn read(value: &Value, pepper: &Pepper) -> Result<T, String>;
    fn write(field: &T, pepper: &Pepper) -> Value;
}

pub(super) fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

pub(super) fn text(value: &Value) -> Result<&str, String> {
    value.as_str().ok_or_else(|| format!("it is a string, not {}", kind(value)))
}

pub(super) fn bounded(text: &str, max: usize) -> Result<&str, String> {
    if text.len() > max {
        return Err(format!("it has {} bytes, at most {max} are taken", text.len()));
    }
    Ok(text)
}

/// A string of at most `MAX` bytes.
pub(super) struct Text<const MAX: usize>;

impl<const MAX: usize> Codec<String> for Text<MAX> {
    fn read(value: &Value, _: &Pepper) -> Result<String, String> {
        bounded(text(value)?, MAX).map(str::to_owned)
    }

    fn write(field: &String, _: &Pepper) -> Value {
        field.as_str().into()
    }
}

/// The name of a tenant or another level of the hierarchy: safe in paths, logs and indexes.
pub(super) struct Name;

/// See [`Name`].
pub(super) fn name(value: &Value) -> Result<String, String> {
    let name = text(value)?;
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    if name.len() > 64 || !name.bytes().all(plain) {
        return Err(format!("{name:?} is not a name: up to 64 letters, digits, '.', '_', '-'"));
    }
    Ok(name.to_owned())
}

impl Codec<String> for Name {
    fn read(value: &Value, _: &Pepper) -> Result<String, String> {
        name(value)
    }

    fn write(field: &String, _: &Pepper) -> Value {
        field.as_str().into()
    }
}

/// What a request was named by its sender: up to 64 visible ASCII characters, which an index takes.
pub(super) struct RequestId;

impl Codec<String> for RequestId {
    fn read(value: &Value, _: &Pepper) -> Result<String, String> {
        let id = text(value)?;
        if id.len() > 64 || !id.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err("it is up to 64 visible ASCII characters".to_owned());
        }
        Ok(id.to_owned())
    }

    fn write(field: &String, _: &Pepper) -> Value {
        field.as_str().into()
    }
}

/// A list of at most `COUNT` strings of 1 to `MAX` bytes each.
pub(super) struct TextList<const COUNT: usize, const MAX: usize>;

fn list<const COUNT: usize>(
    value: &Value,
    mut check: impl FnMut(&str) -> Result<(), String>,
) -> Result<Vec<String>, String> {
    let items =
        value.as_array().ok_or_else(|| format!("it is a list of strings, not {}", kind(value)))?;
    if items.len() > COUNT {
        return Err(format!("it has {} entries, at most {COUNT} are taken", items.len()));
    }
    let item = |(at, item): (usize, &Value)| {
        let read = text(item).and_then(|text| check(text).map(|()| text.to_owned()));
        read.map_err(|reason| format!("entry {}: {reason}", at + 1))
    };
    items.iter().enumerate().map(item).collect()
}

impl<const COUNT: usize, const MAX: usize> Codec<Vec<String>> for TextList<COUNT, MAX> {
    fn read(value: &Value, _: &Pepper) -> Result<Vec<String>, String> {
        list::<COUNT>(value, |text| {
            if text.is_empty() {
                return Err("it is empty".to_owned());
            }
            // A NUL ends the tag in an index key.
            if text.contains('\0') {
                return Err("it contains a NUL character".to_owned());
            }
            bounded(text, MAX).map(drop)
        })
    }

    fn write(field: &Vec<String>, _: &Pepper) -> Value {
        field.as_slice().into()
    }
}

/// A list of at most `COUNT` texts of one form.
pub(super) struct ListOf<F, const COUNT: usize>(PhantomData<F>);

impl<F: Form, const COUNT: usize> Codec<Vec<String>> for ListOf<F, COUNT> {
    fn read(value: &Value, _: &Pepper) -> Result<Vec<String>, String> {
        list::<COUNT>(value, F::check)
    }

    fn write(field: &Vec<String>, _: &Pepper) -> Value {
        field.as_slice().into()
    }
}

/// A text of one form and at most `MAX` bytes; the empty text is none.
pub(super) struct TextOf<F, const MAX: usize>(PhantomData<F>);

impl<F: Form, const MAX: usize> Codec<String> for TextOf<F, MAX> {
    fn read(value: &Value, _: &Pepper) -> Result<String, String> {
        let text = bounded(text(value)?, MAX)?;
        if !text.is_empty() {
            F::check(text)?;
        }
        Ok(text.to_owned())
    }

    fn write(field: &String, _: &Pepper) -> Value {
        field.as_str().into()
    }
}

/// A boolean.
pub(super) struct Flag;

impl Codec<bool> for Flag {
    fn read(value: &Value, _: &Pepper) -> Result<bool, String> {
        value.as_bool().ok_or_else(|| format!("it is true or false, not {}", kind(value)))
    }

    fn write(field: &bool, _: &Pepper) -> Value {
        (*field).into()
    }
}

/// A whole number, as number or decimal string, 0 to `max`.
pub(super) fn whole(value: &Value, max: u64) -> Result<u64, String> {
    let number = match value {
        Value::Number(number) => number.as_u64(),
        Value::String(text) if text.bytes().all(|byte| byte.is_ascii_digit()) => text.parse().ok(),
        _ => None,
    };
    number
        .filter(|number| *number <= max)
        .ok_or_else(|| format!("it is a whole number from 0 to {max}, not {value}"))
}

const INT64_MAX: u64 = i64::MAX as u64;

/// A key's id.
pub(super) struct Id;

impl Codec<u64> for Id {
    fn read(value: &Value, _: &Pepper) -> Result<u64, String> {
        match value {
            Value::Number(number) => id::parse(&number.to_string()),
            _ => id::parse(text(value)?),
        }
    }

    fn write(field: &u64, _: &Pepper) -> Value {
        field.to_string().into()
    }
}

/// A number that may be absent, printed as a number.
pub(super) struct Number;

impl Codec<Option<u32>> for Number {
    fn read(value: &Value, _: &Pepper) -> Result<Option<u32>, String> {
        // The source system's int32.
        let number = whole(value, i32::MAX as u64)?;
        Ok(u32::try_from(number).ok())
    }

    fn write(field: &Option<u32>, _: &Pepper) -> Value {
        (*field).into()
    }
}

impl Codec<Option<u64>> for Number {
    fn read(value: &Value, _: &Pepper) -> Result<Option<u64>, String> {
        whole(value, INT64_MAX).map(Some)
    }

    fn write(field: &Option<u64>, _: &Pepper) -> Value {
        (*field).into()
    }
}

impl Codec<u64> for Number {
    fn read(value: &Value, _: &Pepper) -> Result<u64, String> {
        whole(value, INT64_MAX)
    }

    fn write(field: &u64, _: &Pepper) -> Value {
        (*field).into()
    }
}

/// An int64, which protobuf's JSON prints as a decimal string.
pub(super) struct Int64;

impl Codec<u64> for Int64 {
    fn read(value: &Value, _: &Pepper) -> Result<u64, String> {
        whole(value, INT64_MAX)
    }

    fn write(field: &u64, _: &Pepper) -> Value {
        field.to_string().into()
    }
}

impl Codec<Option<u64>> for Int64 {
    fn read(value: &Value, _: &Pepper) -> Result<Option<u64>, String> {
        whole(value, INT64_MAX).map(Some)
    }

    fn write(field: &Option<u64>, _: &Pepper) -> Value {
        field.map(|number| number.to_string()).into()
    }
}

/// A number with a fraction, not negative.
pub(super) struct Float;

impl Codec<Option<f64>> for Float {
    fn read(value: &Value, _: &Pepper) -> Result<Option<f64>, String> {
        let number = value.as_f64().filter(|number| *number >= 0.0 && number.is_finite());
        number.map(Some).ok_or_else(|| format!("it is a number from 0, not {value}"))
    }

    fn write(field: &Option<f64>, _: &Pepper) -> Value {
        (*field).into()
    }
}

/// A share: 0 to 1.
pub(super) struct Share;

impl Codec<Option<f64>> for Share {
    fn read(value: &Value, _: &Pepper) -> Result<Option<f64>, String> {
        let share = value.as_f64().filter(|share| (0.0..=1.0).contains(share));
        share.map(Some).ok_or_else(|| match percent(value) {
            Some(share) => format!("it is a share from 0 to 1: {value} percent is {share}"),
            None => format!("it is a share from 0 to 1, not {value}"),
        })
    }

    fn write(field: &Option<f64>, _: &Pepper) -> Value {
        (*field).into()
    }
}

/// The share that a percentage is, if the number can only be one: above 1 and up to 100.
pub(super) fn percent(value: &Value) -> Option<f64> {
    value.as_f64().filter(|number| *number > 1.0 && *number <= 100.0).map(|number| number / 100.0)
}

/// Money for one request: at most nine decimals, because it is summed in units of 10^-9.
pub(super) struct Money;

/// The most that one request may cost: its units of 10^-9 are whole in a double, and the sum of
/// nine billion such requests fits an int64 of whole money.
const COST_MAX: f64 = 1_000_000.0;

impl Codec<Option<f64>> for Money {
    fn read(value: &Value, _: &Pepper) -> Result<Option<f64>, String> {
        let cost = value.as_f64().filter(|cost| (0.0..=COST_MAX).contains(cost));
        let cost =
            cost.ok_or_else(|| format!("it is a number from 0 to {COST_MAX}, not {value}"))?;
        // The nearest double to a whole number of units is what was written, or it had more digits.
        if ((cost * 1e9).round() / 1e9).to_bits() != cost.to_bits() {
            return Err(format!("it has at most nine decimals, and {value} has more"));
        }
        Ok(Some(cost))
    }

    fn write(field: &Option<f64>, _: &Pepper) -> Value {
        (*field).into()
    }
}

/// Bytes in base64 that hold JSON, at most `MAX` of them.
pub(super) struct JsonBytes<const MAX: usize>;

impl<const MAX: usize> Codec<Vec<u8>> for JsonBytes<MAX> {
    fn read(value: &Value, _: &Pepper) -> Result<Vec<u8>, String> {
        let text = text(value)?;
        let bare = text.trim_end_matches('=');
        let bytes = STANDARD_NO_PAD
            .decode(bare)
            .or_else(|_| URL_SAFE_NO_PAD.decode(bare))
            .map_err(|_| "it is not base64".to_owned())?;
        if bytes.len() > MAX {
            return Err(format!("it has {} bytes, at most {MAX} are taken", bytes.len()));
        }
        // JSON is UTF-8 (RFC 8259 §8.1), also where the parser passes over a string.
        let json = str::from_utf8(&bytes).is_ok_and(|text| {
            text.is_empty() || serde_json::from_str::<serde::de::IgnoredAny>(text).is_ok()
        });
        if !json {
            return Err("the bytes are not JSON".to_owned());
        }
        Ok(bytes)
    }

    fn write(field: &Vec<u8>, _: &Pepper) -> Value {
        STANDARD.encode(field).into()
    }
}

/// An instant that may be absent.
pub(super) struct Instant;

impl Codec<Option<Time>> for Instant {
    fn read(value: &Value, _: &Pepper) -> Result<Option<Time>, String> {
        Time::parse(text(value)?).map(Some)
    }

    fn write(field: &Option<Time>, _: &Pepper) -> Value {
        field.map(|time| time.to_string()).into()
    }
}

/// The state of the key.
pub(super) struct StatusName;

impl Codec<Status> for StatusName {
    fn read(value: &Value, _: &Pepper) -> Result<Status, String> {
        Status::parse(text(value)?).map_err(|error| error.to_string())
    }

    fn write(field: &Status, _: &Pepper) -> Value {
        field.source_name().into()
    }
}

/// The SHA-256 of a secret: 64 hexadecimal digits outside, sealed inside.
pub(super) struct Hash;

impl Codec<Option<SealedHash>> for Hash {
    fn read(value: &Value, pepper: &Pepper) -> Result<Option<SealedHash>, String> {
        let text = text(value)?;
        if text.is_empty() {
            return Ok(None);
        }
        // The value is not repeated: it may be a token pasted into the wrong field.
        let sha256 = digest::parse_hex(text)
            .ok_or_else(|| "it is a SHA-256: 64 hexadecimal digits".to_owned())?;
        Ok(Some(pepper.seal(&sha256)))
    }

    fn write(field: &Option<SealedHash>, pepper: &Pepper) -> Value {
        field.as_ref().and_then(|hash| pepper.open(hash)).map(|sha256| digest::hex(&sha256)).into()
    }
}

/// A number of at most `MAX` that may be absent, printed as a number.
pub(super) struct NumberTo<const MAX: u32>;

impl<const MAX: u32> Codec<Option<u32>> for NumberTo<MAX> {
    fn read(value: &Value, _: &Pepper) -> Result<Option<u32>, String> {
        Ok(u32::try_from(whole(value, MAX.into())?).ok())
    }

    fn write(field: &Option<u32>, _: &Pepper) -> Value {
        (*field).into()
    }
}

/// A number from `MIN` to `MAX` that may be absent, printed as a number.
pub(super) struct NumberFrom<const MIN: u32, const MAX: u32>;

impl<const MIN: u32, const MAX: u32> Codec<Option<u32>> for NumberFrom<MIN, MAX> {
    fn read(value: &Value, _: &Pepper) -> Result<Option<u32>, String> {
        number_from::<MIN, MAX>(value)
    }

    fn write(field: &Option<u32>, _: &Pepper) -> Value {
        (*field).into()
    }
}

/// See [`NumberFrom`].
pub(super) fn number_from<const MIN: u32, const MAX: u32>(
    value: &Value,
) -> Result<Option<u32>, String> {
    let number = whole(value, MAX.into()).ok().and_then(|number| u32::try_from(number).ok());
    let number = number.filter(|number| *number >= MIN);
    number.map(Some).ok_or_else(|| format!("it is a whole number from {MIN} to {MAX}, not {value}"))
}

/// The code of a reason, or nothing.
pub(super) struct ReasonName;

impl Codec<String> for ReasonName {
    fn read(value: &Value, _: &Pepper) -> Result<String, String> {
        let name = text(value)?;
        if !name.is_empty() {
            ReasonCode::parse(name).map_err(|error| error.to_string())?;
        }
        Ok(name.to_owned())
    }

    fn write(field: &String, _: &Pepper) -> Value {
        field.as_str().into()
    }
}
