//! Named limits and credits on the command line: how flags say them, and how people are shown them.

use serde_json::{Value, json};

use super::whole::whole;

/// Longest count that is repeated to people: that of 2^64.
const COUNT_SHOWN_BYTES: usize = 20;

/// `NAME=COUNT/PERIOD`, such as `exports=10/h`, as a record has it. What a name and a period may be
/// is the daemon's to say.
pub(super) fn named_limit(text: &str) -> Result<Value, String> {
    let parts = text.split_once('=').and_then(|(name, rest)| Some((name, rest.split_once('/')?)));
    let (name, (count, period)) =
        parts.ok_or("it is NAME=COUNT/PERIOD, such as exports=10/h or reports=100/month")?;
    let count = whole(count).map_err(|_| {
        // A token that has come here by mistake is not repeated.
        let count = if count.len() > COUNT_SHOWN_BYTES { "…" } else { count };
        format!(
            "COUNT is a whole number, 0 to 2^63 - 1, not '{count}'; NAME=COUNT/PERIOD is such as \
             exports=10/h or reports=100/month"
        )
    })?;
    if period == "m" {
        return Err(format!("'m' could be a minute or a month: write {count}/1m or {count}/month"));
    }
    Ok(json!({ "name": name, "count": count, "period": period }))
}

/// `AMOUNT/day` or `AMOUNT/month@DAY`, and then `add` or `replace`, as a record has it.
pub(super) fn refill(text: &str) -> Result<Value, String> {
    parts_of_refill(text).ok_or_else(|| {
        "it is AMOUNT/day or AMOUNT/month@DAY, and then add or replace (replace if not said), such \
         as \"500/month@31 add\""
            .to_owned()
    })
}

fn parts_of_refill(text: &str) -> Option<Value> {
    let mut words = text.split_whitespace();
    let (amount, every) = words.next()?.split_once('/')?;
    let mode = words.next().unwrap_or("replace");
    if words.next().is_some() || !["add", "replace"].contains(&mode) {
        return None;
    }
    let amount: u64 = amount.parse().ok()?;
    match (every, every.strip_prefix("month@")) {
        ("day", _) => Some(json!({ "amount": amount, "every": "day", "mode": mode })),
        ("month", _) => Some(json!({ "amount": amount, "every": "month", "day": 1, "mode": mode })),
        (_, Some(day)) => {
            let day: u8 = day.parse().ok()?;
            Some(json!({ "amount": amount, "every": "month", "day": day, "mode": mode }))
        }
        _ => None,
    }
}

/// A field of a record for people, where it is more than a text: as the flags say it.
pub(super) fn shown(field: &str, value: &Value) -> Option<String> {
    let text = |value: &Value| match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    match (field, value) {
        ("limits", Value::Array(limits)) => {
            let limit = |it: &Value| {
                format!("{}={}/{}", text(&it["name"]), text(&it["count"]), text(&it["period"]))
            };
            Some(limits.iter().map(limit).collect::<Vec<_>>().join(", "))
        }
        ("signing_keys", Value::Array(keys)) => {
            Some(keys.iter().map(|key| text(&key["id"])).collect::<Vec<_>>().join(", "))
        }
        ("credits", Value::Object(credits)) => {
            let mut shown = text(credits.get("balance")?);
            if let Some(refill) = credits.get("refill").filter(|refill| refill.is_object()) {
                shown += &format!(", {}/{}", text(&refill["amount"]), text(&refill["every"]));
                if refill["day"].is_number() {
                    shown += &format!("@{}", refill["day"]);
                }
                shown += &format!(" {}", text(&refill["mode"]));
            }
            Some(shown)
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_said_and_shown_alike() {
        for (said, expected) in [
            ("exports=10/h", json!({"name": "exports", "count": 10, "period": "h"})),
            ("a b/c=0/month", json!({"name": "a b/c", "count": 0, "period": "month"})),
        ] {
            let limit = named_limit(said).expect(said);
            assert_eq!(limit, expected);
            assert_eq!(shown("limits", &json!([limit])).as_deref(), Some(said));
        }
        for bad in ["", "exports", "exports=10"] {
            assert!(named_limit(bad).expect_err(bad).contains("exports=10/h"), "{bad}");
        }
        for bad in ["", "-1", "+1", "1.5", "1e3", "1,000", "18446744073709551616"] {
            let refused = named_limit(&format!("exports={bad}/h")).expect_err(bad);
            assert!(
                refused.contains(&format!("COUNT is a whole number, 0 to 2^63 - 1, not '{bad}'")),
                "{refused}"
            );
        }
        let token = "kg_live_0123456789ABCDEFGHIJKLMNOPQRSTUV03NzCm";
        let refused = named_limit(&format!("exports={token}/h")).expect_err("no number");
        assert!(refused.contains("not '…'"), "{refused}");
        let ambiguous = named_limit("reports=100/m").expect_err("a minute or a month");
        assert!(ambiguous.ends_with("write 100/1m or 100/month"), "{ambiguous}");
        assert!(named_limit("reports=100/1m").is_ok());
        let two = json!([{"name": "a", "count": "1", "period": "day"},
            {"name": "b", "count": "2", "period": "1h"}]);
        assert_eq!(shown("limits", &two).as_deref(), Some("a=1/day, b=2/1h"));
    }

    #[test]
    fn refills_are_said_and_shown_alike() {
        for (said, day, mode, again) in [
            ("500/month@31 add", Some(31), "add", "500/month@31 add"),
            ("500/month", Some(1), "replace", "500/month@1 replace"),
            ("500/month@7  replace", Some(7), "replace", "500/month@7 replace"),
            ("500/day", None, "replace", "500/day replace"),
            ("500/day add", None, "add", "500/day add"),
        ] {
            let refill = refill(said).expect(said);
            assert_eq!((&refill["amount"], &refill["mode"]), (&json!(500), &json!(mode)), "{said}");
            assert_eq!(refill["day"].as_u64(), day, "{said}");
            let credits = json!({"balance": "7", "refill": refill, "granted_at": null});
            assert_eq!(shown("credits", &credits), Some(format!("7, {again}")));
        }
        for bad in [
            "",
            "500",
            "500/week",
            "x/day",
            "500/month@",
            "500/month@x",
            "5/day twice",
            "5/day add add",
            "-5/day",
            "5/day@1",
        ] {
            assert!(refill(bad).expect_err(bad).contains("500/month@31 add"), "{bad}");
        }
        let none = json!({"balance": "7", "refill": null, "granted_at": null});
        assert_eq!(shown("credits", &none).as_deref(), Some("7"));
        assert_eq!(shown("name", &json!("n")), None);
    }
}
