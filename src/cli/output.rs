//! What commands print: JSON with stable names, or lines for people.

use std::borrow::Cow;
use std::io::{self, Write};

use keygate_protocol::admin::LimitUsage;
use keygate_protocol::{LimitReport, VerdictCode};
use serde::Serialize;
use serde_json::Value;

use super::error::CliError;
use super::limits;
use crate::client::Validation;

/// Writes text to standard output. A reader that has gone away (`| head`) ends the command
/// quietly.
pub(super) fn print(text: &str) -> Result<(), CliError> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        Err(error) => Err(CliError::System { doing: "cannot write to standard output", error }),
        Ok(()) => Ok(()),
    }
}

/// Prints one object as JSON, on one line.
pub(super) fn print_json(body: &impl Serialize) -> Result<(), CliError> {
    let failed = |error: serde_json::Error| CliError::System {
        doing: "cannot write JSON",
        error: error.into(),
    };
    print(&(serde_json::to_string(body).map_err(failed)? + "\n"))
}

/// Prints notices for the operator to standard error.
pub(super) fn print_notices(notices: &[String]) {
    notices.iter().for_each(|notice| eprintln!("notice: {notice}"));
}

/// The metadata on one line.
fn metadata_text(text: &str) -> String {
    plain(&metadata_json(text).to_string()).into_owned()
}

/// A text that others have written, for a terminal: what would end the line or move the cursor is
/// shown by its escape.
pub(super) fn plain(text: &str) -> Cow<'_, str> {
    if !text.contains(is_no_text) {
        return text.into();
    }
    let shown = |char: char| match is_no_text(char) {
        true => char.escape_default().to_string(),
        false => char.to_string(),
    };
    text.chars().map(shown).collect()
}

/// Control characters, ends of lines, and what has a reader see the text in another order.
fn is_no_text(char: char) -> bool {
    char.is_control()
        || matches!(char, '\u{2028}' | '\u{2029}' | '\u{61c}' | '\u{200e}' | '\u{200f}')
        || matches!(char, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// The metadata as JSON; as text where it is JSON that this reader does not take, such as a number
/// beyond all bounds.
pub(super) fn metadata_json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|_| text.into())
}

/// Milliseconds with at most three decimals; a whole number prints without a fraction.
pub(super) fn milliseconds(us: u64) -> Value {
    if us.is_multiple_of(1000) { (us / 1000).into() } else { (us as f64 / 1000.0).into() }
}

/// A verdict for people.
pub(super) fn verdict_text(verdict: &Validation) -> String {
    let mut lines = vec![format!("{}: {}", verdict.code.name(), verdict.code.text())];
    if verdict.key_id != 0 {
        lines.push(format!("  key     {}", verdict.key_id));
    }
    if let Some(tenant) = &verdict.tenant_id {
        lines.push(format!("  tenant  {tenant}"));
    }
    if !verdict.scopes.is_empty() {
        lines.push(format!("  scopes  {}", verdict.scopes.join(" ")));
    }
    if let Some(metadata) = &verdict.metadata {
        lines.push(format!("  metadata {}", metadata_text(metadata)));
    }
    if let Some(slot) = verdict.slot {
        lines.push(format!("  slot    {slot}"));
    }
    lines.extend(verdict.limits.iter().map(|limit| limit_text(verdict, limit)));
    lines.extend(verdict.warnings.names().map(|name| format!("  warning {name}")));
    lines.join("\n") + "\n"
}

/// How one limit stands, for people.
fn limit_text(verdict: &Validation, limit: &LimitReport) -> String {
    let name = plain(verdict.name_of(limit.name));
    let mut line = format!("  limit   {name}: {} of {} left", limit.remaining, limit.limit);
    line += &match limit.reset_after_us {
        Some(us) => format!(", whole again in {} ms", milliseconds(us)),
        None => ", never whole again".to_owned(),
    };
    match limit.retry_after_us {
        Some(us) => line += &format!("; try again in {} ms", milliseconds(us)),
        None if verdict.denied_by == Some(limit.name) => line += never(verdict.code),
        None => {}
    }
    line
}

/// Why a limit that denied never admits this request.
const fn never(code: VerdictCode) -> &'static str {
    match code {
        VerdictCode::UsesExhausted => "; what is spent of it does not come back",
        VerdictCode::CreditsExhausted => "; no refill will cover the cost",
        VerdictCode::ConcurrencyExceeded => "; it admits none",
        _ => "; the cost is above the limit, so it will never fit",
    }
}

/// How limits stand, as rows for people.
pub(super) fn limits_table(limits: &[LimitUsage]) -> String {
    let headings = ["LIMIT", "SPENT", "OF", "LEFT", "LEASED", "STRANDED", "UNTIL"];
    let row = |one: &LimitUsage| {
        let figures = [one.spent, one.limit, one.remaining, one.leased, one.stranded];
        let until = one.ends_at.clone().unwrap_or_else(|| "-".to_owned());
        let figures = figures.iter().map(u64::to_string);
        [one.name.clone()].into_iter().chain(figures).chain([until]).collect()
    };
    table(&headings, &limits.iter().map(row).collect::<Vec<Vec<String>>>())
}

/// The fields of a record that are set, for people.
pub(super) fn record_text(record: &Value) -> String {
    let Value::Object(members) = record else { return format!("{record}\n") };
    let set = members.iter().filter(|(_, value)| !is_blank(value));
    set.map(|(name, value)| {
        let shown = limits::shown(name, value).unwrap_or_else(|| match value {
            Value::String(text) => text.clone(),
            Value::Array(items) => {
                items.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(" ")
            }
            value => value.to_string(),
        });
        format!("{name:28} {}\n", plain(&shown))
    })
    .collect()
}

fn is_blank(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => true,
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        _ => false,
    }
}

/// Rows under headings, each column as wide as its widest cell.
pub(super) fn table(headings: &[&str], rows: &[Vec<String>]) -> String {
    let plain = |row: &Vec<String>| row.iter().map(|cell| plain(cell).into_owned()).collect();
    let rows: Vec<Vec<String>> = rows.iter().map(plain).collect();
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count());
        cells.chain([headings[column].len()]).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..headings.len()).map(width).collect();
    let line = |cells: &mut dyn Iterator<Item = &str>| {
        let padded: Vec<String> =
            cells.zip(&widths).map(|(cell, width)| format!("{cell:width$}")).collect();
        padded.join("  ").trim_end().to_owned() + "\n"
    };
    let mut text = line(&mut headings.iter().copied());
    text.extend(rows.iter().map(|row| line(&mut row.iter().map(String::as_str))));
    text
}

#[cfg(test)]
mod tests {
    use bytes::BytesMut;
    use keygate_protocol::{LimitName, Verdict};
    use serde_json::json;

    use super::super::verdict::VerdictJson;
    use super::*;
    use crate::client::ValidateRequest;

    fn verdict_json(verdict: &Validation) -> Value {
        serde_json::to_value(VerdictJson::of_answer(verdict)).expect("JSON")
    }

    #[test]
    fn milliseconds_have_a_fraction_only_when_they_need_one() {
        for (us, text) in [(0, "0"), (1000, "1"), (1500, "1.5"), (8_571_429, "8571.429")] {
            assert_eq!(milliseconds(us).to_string(), text);
        }
    }

    fn report(name: LimitName, remaining: u64, waits_us: [Option<u64>; 2]) -> LimitReport {
        let [retry_after_us, reset_after_us] = waits_us;
        LimitReport { name, limit: 10, remaining, retry_after_us, reset_after_us }
    }

    fn told(code: VerdictCode, limits: &[LimitReport]) -> Validation {
        let mut verdict = Verdict::of(code, 7);
        verdict.denied_by = (!code.is_valid()).then_some(limits[0].name);
        limits.iter().for_each(|limit| verdict.limits.push(*limit));
        verdict.slot = code.is_valid().then_some(u64::MAX);
        let mut payload = BytesMut::new();
        verdict.encode(&mut payload);
        let asked = ValidateRequest::new("t").limit("exports").limit("x\ny");
        Validation::of(&asked, &payload).expect("it is readable")
    }

    #[test]
    fn limits_stand_under_the_names_that_they_were_asked_with() {
        let day = report(LimitName::Day, 3, [None, Some(2_000)]);
        let lifetime = report(LimitName::Lifetime, 3, [None, None]);
        let named = report(LimitName::Named1, 3, [None, Some(0)]);
        let forged = report(LimitName::Named2, 3, [None, Some(0)]);
        let verdict = told(VerdictCode::Valid, &[day, lifetime, named, forged]);
        assert_eq!(
            verdict_text(&verdict),
            "VALID: the key may do this now\n  key     7\n  slot    18446744073709551615\n  \
             limit   day: 3 of 10 left, whole again in 2 ms\n  \
             limit   lifetime: 3 of 10 left, never whole again\n  \
             limit   exports: 3 of 10 left, whole again in 0 ms\n  \
             limit   x\\ny: 3 of 10 left, whole again in 0 ms\n"
        );
        let json = verdict_json(&verdict);
        let limits = json["limits"].as_array().expect("a list");
        let names: Vec<_> = limits.iter().map(|limit| &limit["name"]).collect();
        assert_eq!(names, ["day", "lifetime", "exports", "x\ny"]);
        assert_eq!(limits[1]["reset_after_ms"], Value::Null);
        assert_eq!(json["slot"], "18446744073709551615");
    }

    #[test]
    fn a_limit_that_denies_says_how_long_or_why_for_ever() {
        use VerdictCode::{
            ConcurrencyExceeded, CreditsExhausted, QuotaExceeded, RateExceeded, UsesExhausted,
        };
        for (code, name, retry_after_us, end) in [
            (QuotaExceeded, LimitName::Named1, Some(1_500), "; try again in 1.5 ms"),
            (QuotaExceeded, LimitName::Named1, None, "; the cost is above the limit, so it will"),
            (RateExceeded, LimitName::Second, None, "; the cost is above the limit, so it will"),
            (UsesExhausted, LimitName::Lifetime, None, "; what is spent of it does not come back"),
            (CreditsExhausted, LimitName::Credits, None, "; no refill will cover the cost"),
            (ConcurrencyExceeded, LimitName::Slots, None, "; it admits none"),
        ] {
            let others = report(LimitName::TenantDay, 9, [None, Some(0)]);
            let verdict = told(code, &[report(name, 0, [retry_after_us, None]), others]);
            let text = verdict_text(&verdict);
            assert!(text.contains(end) && text.matches(';').count() == 1, "{text}");
            let json = verdict_json(&verdict);
            assert_eq!(json["slot"], Value::Null);
            let shown = if name == LimitName::Named1 { "exports" } else { name.name() };
            assert_eq!(json["denied_by"], shown);
        }
    }

    #[test]
    fn limits_are_a_table() {
        let usage = LimitUsage {
            name: "exports".to_owned(),
            limit: 10,
            spent: 4,
            remaining: 6,
            leased: 1,
            stranded: 2,
            ends_at: None,
        };
        let table = limits_table(&[usage]);
        let lines: Vec<Vec<&str>> =
            table.lines().map(|line| line.split_whitespace().collect()).collect();
        assert_eq!(lines[0], ["LIMIT", "SPENT", "OF", "LEFT", "LEASED", "STRANDED", "UNTIL"]);
        assert_eq!(lines[1], ["exports", "4", "10", "6", "1", "2", "-"]);
    }

    /// Names, endpoints and errors are written by others than those who read them.
    #[test]
    fn no_text_of_a_record_makes_lines_or_moves_the_terminal() {
        let forged = "x\n  status ACTIVE\u{1b}[2J\u{9b}1A\t";
        let told = r"x\n  status ACTIVE\u{1b}[2J\u{9b}1A\t";
        assert_eq!(table(&["NAME"], &[vec![forged.to_owned()]]), format!("NAME\n{told}\n"));
        let record = record_text(&json!({"name": forged, "tags": [forged, "ü"]}));
        assert_eq!(record, format!("{:28} {told}\n{:28} {told} ü\n", "name", "tags"));
        assert_eq!(metadata_text("{\n  \"a\": \"\u{9b}\"\n}"), r#"{"a":"\u{9b}"}"#);
    }

    #[test]
    fn columns_are_as_wide_as_they_must_be() {
        let rows = vec![vec!["1".to_owned(), "long name".to_owned()]];
        assert_eq!(table(&["ID", "NAME"], &rows), "ID  NAME\n1   long name\n");
    }
}
