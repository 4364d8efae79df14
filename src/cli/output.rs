//! What commands print: JSON with stable names, or lines for people.

use std::borrow::Cow;
use std::io::{self, Write};

use keygate_protocol::{LimitReport, VerdictCode};
use serde::Serialize;
use serde_json::{Value, json};

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

/// A verdict as `validate --json` prints it (SPEC §8).
pub(super) fn verdict_json(verdict: &Validation) -> Value {
    json!({
        "valid": verdict.is_valid(),
        "code": verdict.code.name(),
        "message": verdict.code.text(),
        "key_id": (verdict.key_id != 0).then(|| verdict.key_id.to_string()),
        "tenant_id": verdict.tenant_id,
        "scopes": verdict.scopes,
        "denied_by": verdict.denied_by.map(keygate_protocol::LimitName::name),
        "limits": verdict.limits.iter().map(limit_json).collect::<Vec<_>>(),
        "warnings": verdict.warnings.names().collect::<Vec<_>>(),
        "metadata": verdict.metadata.as_deref().map(metadata_json),
    })
}

/// The metadata on one line.
fn metadata_text(text: &str) -> String {
    plain(&metadata_json(text).to_string()).into_owned()
}

/// A text that others have written, for a terminal: what would end the line or move the cursor is
/// shown by its escape.
fn plain(text: &str) -> Cow<'_, str> {
    if !text.contains(char::is_control) {
        return text.into();
    }
    let shown = |char: char| match char.is_control() {
        true => char.escape_default().to_string(),
        false => char.to_string(),
    };
    text.chars().map(shown).collect()
}

/// The metadata as JSON; as text where it is JSON that this reader does not take, such as a number
/// beyond all bounds.
fn metadata_json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|_| text.into())
}

fn limit_json(limit: &LimitReport) -> Value {
    json!({
        "name": limit.name.name(),
        "limit": limit.limit,
        "remaining": limit.remaining,
        "retry_after_ms": limit.retry_after_us.map(milliseconds),
        "reset_after_ms": limit.reset_after_us.map(milliseconds),
    })
}

/// Milliseconds with at most three decimals; a whole number prints without a fraction.
fn milliseconds(us: u64) -> Value {
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
    for limit in verdict.limits.iter() {
        let mut line =
            format!("  limit   {}: {} of {} left", limit.name.name(), limit.remaining, limit.limit);
        if let Some(us) = limit.reset_after_us {
            line += &format!(", whole again in {} ms", milliseconds(us));
        }
        match limit.retry_after_us {
            Some(us) => line += &format!("; try again in {} ms", milliseconds(us)),
            None if verdict.code == VerdictCode::RateExceeded => {
                line += "; the cost is above the limit, so it will never fit";
            }
            None => {}
        }
        lines.push(line);
    }
    lines.extend(verdict.warnings.names().map(|name| format!("  warning {name}")));
    lines.join("\n") + "\n"
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
    use super::*;

    #[test]
    fn milliseconds_have_a_fraction_only_when_they_need_one() {
        for (us, text) in [(0, "0"), (1000, "1"), (1500, "1.5"), (8_571_429, "8571.429")] {
            assert_eq!(milliseconds(us).to_string(), text);
        }
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
