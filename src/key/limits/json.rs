//! Named limits and credits as they stand in a record's JSON. int64 are decimal strings there, and
//! are read as numbers too.

use std::collections::HashMap;

use serde_json::{Value, json};

use super::{COUNT_MAX, Credits, LimitPeriod, NamedLimit, Refill, RefillEvery};
use crate::key::digest::Pepper;
use crate::key::field::{Codec, kind, text, whole};
use crate::key::json::canonical;

/// A list of named limits.
pub(in crate::key) struct Named;

impl Codec<Vec<NamedLimit>> for Named {
    fn read(value: &Value, _: &Pepper) -> Result<Vec<NamedLimit>, String> {
        let items = value.as_array().ok_or_else(|| {
            format!(
                "it is a list such as [{{\"name\": \"exports\", \"count\": 10, \"period\": \
                 \"1h\"}}], not {}",
                kind(value)
            )
        })?;
        let read = |(at, item): (usize, &Value)| {
            named_limit(item).map_err(|reason| format!("entry {}: {reason}", at + 1))
        };
        let limits: Vec<NamedLimit> =
            items.iter().enumerate().map(read).collect::<Result<_, String>>()?;
        NamedLimit::check_all(&limits)?;
        Ok(limits)
    }

    fn write(field: &Vec<NamedLimit>, _: &Pepper) -> Value {
        let limits = field.iter().map(|limit| {
            json!({
                "name": limit.name,
                "count": limit.count.to_string(),
                "period": limit.period.to_string(),
            })
        });
        limits.collect()
    }
}

fn named_limit(item: &Value) -> Result<NamedLimit, String> {
    let members = members(item, &["name", "count", "period"])?;
    let required = |name: &str| {
        members
            .get(name)
            .ok_or_else(|| format!("{name} is missing; a limit has a name, a count and a period"))
    };
    let of = |name: &'static str| move |reason: String| format!("{name}: {reason}");
    let name = text(required("name")?).map_err(of("name"))?.to_owned();
    let count = whole(required("count")?, COUNT_MAX).map_err(of("count"))?;
    let period = text(required("period")?).and_then(LimitPeriod::parse).map_err(of("period"))?;
    Ok(NamedLimit { name, count, period })
}

/// A balance with its refill; absent is none. When it was set is keygate's to say, so that is passed
/// over.
pub(in crate::key) struct CreditsOf;

impl Codec<Option<Credits>> for CreditsOf {
    fn read(value: &Value, _: &Pepper) -> Result<Option<Credits>, String> {
        let members = members(value, &["balance", "refill", "granted_at"])?;
        let balance =
            members.get("balance").ok_or("balance is missing; it is what there is now")?;
        let balance = whole(balance, COUNT_MAX).map_err(|reason| format!("balance: {reason}"))?;
        let refill = members.get("refill").copied().map(refill).transpose();
        let refill = refill.map_err(|reason| format!("refill: {reason}"))?;
        Ok(Some(Credits { balance, refill, granted_at: None }))
    }

    fn write(field: &Option<Credits>, _: &Pepper) -> Value {
        field.map_or(Value::Null, |credits| {
            json!({
                "balance": credits.balance.to_string(),
                "refill": credits.refill.map(refill_json),
                "granted_at": credits.granted_at.map(|at| at.to_string()),
            })
        })
    }
}

fn refill(value: &Value) -> Result<Refill, String> {
    let members = members(value, &["amount", "every", "day", "mode"])?;
    let required = |name: &str| {
        members.get(name).ok_or_else(|| {
            format!("{name} is missing; a refill has an amount, and every day or month")
        })
    };
    let amount =
        whole(required("amount")?, COUNT_MAX).map_err(|reason| format!("amount: {reason}"))?;
    let every = match (text(required("every")?)?, members.get("day").copied()) {
        ("day", None) => RefillEvery::Day,
        ("day", Some(_)) => {
            return Err("day goes with \"every\": \"month\"; leave it out".to_owned());
        }
        ("month", day) => RefillEvery::Month { day: day.map_or(Ok(1), day_of_month)? },
        (other, _) => return Err(format!("every is \"day\" or \"month\", not {other:?}")),
    };
    let adds = match members.get("mode").copied().map(text).transpose()? {
        None | Some("replace") => false,
        Some("add") => true,
        Some(other) => return Err(format!("mode is \"add\" or \"replace\", not {other:?}")),
    };
    Ok(Refill { amount, every, adds })
}

fn day_of_month(value: &Value) -> Result<u8, String> {
    let day = whole(value, 31).ok().filter(|day| *day > 0);
    day.and_then(|day| u8::try_from(day).ok()).ok_or_else(|| {
        format!(
            "day is 1 to 31, not {value}; a month that is shorter has the refill on its last day"
        )
    })
}

fn refill_json(refill: Refill) -> Value {
    let mode = if refill.adds { "add" } else { "replace" };
    let amount = refill.amount.to_string();
    match refill.every {
        RefillEvery::Day => json!({ "amount": amount, "every": "day", "mode": mode }),
        RefillEvery::Month { day } => {
            json!({ "amount": amount, "every": "month", "day": day, "mode": mode })
        }
    }
}

/// The members of an object by their names in snake_case, without those that are `null`.
fn members<'a>(value: &'a Value, known: &[&str]) -> Result<HashMap<String, &'a Value>, String> {
    let object = value
        .as_object()
        .ok_or_else(|| format!("it is an object of {}, not {}", known.join(", "), kind(value)))?;
    let mut members = HashMap::new();
    for (given, value) in object {
        let name = canonical(given);
        if !known.contains(&name.as_str()) {
            return Err(format!("there is no {given:?} in it; it has {}", known.join(", ")));
        }
        if members.insert(name, value).is_some() {
            return Err(format!("{given} stands twice"));
        }
    }
    members.retain(|_, value| !value.is_null());
    Ok(members)
}
