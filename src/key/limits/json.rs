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
pub(in crate::key) fn members<'a>(
    value: &'a Value,
    known: &[&str],
) -> Result<HashMap<String, &'a Value>, String> {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::Time;

    fn pepper() -> Pepper {
        Pepper::new(&[1; 32])
    }

    #[test]
    fn named_limits_are_read_and_written_in_their_own_spelling() {
        for (given, written) in [
            (json!([]), json!([])),
            (
                json!([{"name": "exports", "count": 10, "period": "h"}]),
                json!([{"name": "exports", "count": "10", "period": "1h"}]),
            ),
            (
                json!([
                    {"period": "year", "count": "9223372036854775807", "name": "Größe in GB"},
                    {"name": "a", "count": "0", "period": "7d"},
                ]),
                json!([
                    {"name": "Größe in GB", "count": "9223372036854775807", "period": "year"},
                    {"name": "a", "count": "0", "period": "1w"},
                ]),
            ),
        ] {
            let limits = Named::read(&given, &pepper()).unwrap_or_else(|e| panic!("{given}: {e}"));
            assert_eq!(Named::write(&limits, &pepper()), written);
            assert_eq!(Named::read(&written, &pepper()), Ok(limits));
        }
    }

    #[test]
    fn named_limits_that_cannot_be_kept_are_refused_with_what_they_must_be() {
        let of = |name: &str| json!({"name": name, "count": 1, "period": "day"});
        let numbered = |count: usize| (0..count).map(|n| of(&n.to_string())).collect::<Value>();
        assert!(Named::read(&numbered(16), &pepper()).is_ok());
        for (given, reason) in [
            (json!("exports=10/h"), "it is a list such as"),
            (json!(["exports"]), "entry 1: it is an object of name, count, period, not a string"),
            (json!([{"name": "a", "count": 1}]), "entry 1: period is missing"),
            (json!([{"name": "a", "count": null, "period": "day"}]), "entry 1: count is missing"),
            (json!([{"count": 1, "period": "day"}]), "entry 1: name is missing"),
            (json!([{"name": 1, "count": 1, "period": "day"}]), "name: it is a string"),
            (json!([{"name": "a", "count": -1, "period": "day"}]), "count: it is a whole number"),
            (json!([{"name": "a", "count": u64::MAX, "period": "day"}]), "9223372036854775807"),
            (json!([{"name": "a", "count": 1, "period": "367d"}]), "period: \"367d\""),
            (json!([{"name": "a", "count": 1, "period": "m"}]), "period: \"m\" could be a minute"),
            (json!([{"name": "a", "count": 1, "period": 60}]), "period: it is a string"),
            (json!([{"name": "a", "count": 1, "period": "day", "per": 1}]), "no \"per\" in it"),
            (json!([of("a"), of("b"), of("a")]), "entry 3: there are two limits \"a\""),
            (json!([of("")]), "entry 1: \"\" is not a name of a limit"),
            (json!([of("a=b")]), "1 to 64 bytes without control characters and '='"),
            (json!([of("a\nb")]), "not a name of a limit"),
            (json!([of(&"ü".repeat(33))]), "not a name of a limit"),
            (json!([of("day")]), "entry 1: \"day\" is what verdicts call a limit without a name"),
            (json!([of("tenant_slots")]), "take another"),
            (numbered(17), "it has 17 entries, at most 16"),
        ] {
            let refused = Named::read(&given, &pepper()).expect_err(&given.to_string());
            assert!(refused.contains(reason), "{given}: {refused}");
        }
    }

    #[test]
    fn credits_are_read_and_written_and_when_they_were_set_is_passed_over() {
        let refill = |every| Some(Refill { amount: 500, every, adds: false });
        let adds = Some(Refill { amount: 500, every: RefillEvery::Month { day: 31 }, adds: true });
        for (given, refill, written) in [
            (json!({"balance": 7}), None, json!(null)),
            (json!({"balance": "7", "refill": null, "grantedAt": "yesterday"}), None, json!(null)),
            (
                json!({"balance": 7, "refill": {"amount": 500, "every": "day", "day": null}}),
                refill(RefillEvery::Day),
                json!({"amount": "500", "every": "day", "mode": "replace"}),
            ),
            (
                json!({"balance": 7, "refill": {"amount": "500", "every": "month"}}),
                refill(RefillEvery::Month { day: 1 }),
                json!({"amount": "500", "every": "month", "day": 1, "mode": "replace"}),
            ),
            (
                json!({"balance": 7, "refill":
                    {"amount": 500, "every": "month", "day": "31", "mode": "add"}}),
                adds,
                json!({"amount": "500", "every": "month", "day": 31, "mode": "add"}),
            ),
        ] {
            let credits =
                CreditsOf::read(&given, &pepper()).unwrap_or_else(|e| panic!("{given}: {e}"));
            let expected = Some(Credits { balance: 7, refill, granted_at: None });
            assert_eq!(credits, expected, "{given}");
            let set = expected.map(|credits| credits.granted(None, Time::from_micros(0)));
            let at = "1970-01-01T00:00:00Z";
            let shown = json!({"balance": "7", "refill": written, "granted_at": at});
            assert_eq!(CreditsOf::write(&set, &pepper()), shown);
            assert_eq!(CreditsOf::read(&shown, &pepper()), Ok(expected), "it is read back");
        }
        assert_eq!(CreditsOf::write(&None, &pepper()), Value::Null);
    }

    #[test]
    fn credits_that_cannot_be_kept_are_refused_with_what_they_must_be() {
        let with = |refill: Value| json!({"balance": 1, "refill": refill});
        for (given, reason) in [
            (json!(1000), "an object of balance, refill, granted_at, not a number"),
            (json!({}), "balance is missing"),
            (json!({"balance": null}), "balance is missing"),
            (json!({"balance": -1}), "balance: it is a whole number"),
            (json!({"balance": u64::MAX}), "balance: it is a whole number"),
            (json!({"balance": 1, "currency": "EUR"}), "no \"currency\" in it"),
            (json!({"balance": 1, "granted_at": null, "grantedAt": null}), "stands twice"),
            (with(json!(5)), "refill: it is an object of amount"),
            (with(json!({"every": "day"})), "refill: amount is missing"),
            (with(json!({"amount": 1})), "refill: every is missing"),
            (with(json!({"amount": 1, "every": "week"})), "\"day\" or \"month\", not \"week\""),
            (with(json!({"amount": 1, "every": "day", "day": 1})), "day goes with"),
            (with(json!({"amount": 1, "every": "month", "day": 0})), "day is 1 to 31, not 0"),
            (with(json!({"amount": 1, "every": "month", "day": 32})), "day is 1 to 31, not 32"),
            (with(json!({"amount": 1, "every": "day", "mode": "set"})), "\"add\" or \"replace\""),
        ] {
            let refused = CreditsOf::read(&given, &pepper()).expect_err(&given.to_string());
            assert!(refused.contains(reason), "{given}: {refused}");
        }
    }
}
