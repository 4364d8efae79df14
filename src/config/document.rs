//! A file on its way to a configuration: all that is wrong in it, with the lines.
//!
//! The parser stops at the first thing that is wrong. Here that is noted, taken out, and the rest is
//! read again, so that whoever mends a file need not run into its mistakes one by one.

use std::ops::Range;

use serde::{Deserialize, Serialize};
use toml::Spanned;
use toml::de::{DeTable, DeValue, Deserializer};

use super::Config;
use super::bounds::{self, dotted};

/// Most problems of one file that are told.
const PROBLEMS_MAX: usize = 100;

/// Something that is wrong with a configuration.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// The line in the file, from 1, where it is known.
    pub line: Option<usize>,
    /// What is wrong, and what is allowed.
    pub reason: String,
}

/// Parses a configuration and shows every value to be within its bounds.
pub(super) fn parse(text: &str) -> Result<Config, Vec<Problem>> {
    let at = |span: Option<Range<usize>>, reason: String| Problem {
        line: span.map(|span| line_of(text, span.start)),
        reason,
    };
    let (document, broken) = DeTable::parse_recoverable(text);
    if !broken.is_empty() {
        let broken = broken.into_iter().take(PROBLEMS_MAX);
        return Err(broken.map(|error| at(error.span(), error.message().to_owned())).collect());
    }
    let mut problems = Vec::new();
    let mut rest = document.clone();
    let mut removed: Vec<Vec<String>> = Vec::new();
    let config = loop {
        let error = match Config::deserialize(Deserializer::from(rest.clone())) {
            Ok(config) => break Some(config),
            Err(error) => error,
        };
        let span = error.span();
        let path = span.clone().map(|span| path_to(rest.get_ref(), &span)).unwrap_or_default();
        let name = if path.is_empty() { String::new() } else { dotted(&path) + ": " };
        // The parser's own words may go over several lines.
        let said = error.message().split_whitespace().collect::<Vec<_>>().join(" ");
        // What a table lacks now may be what was taken out of it.
        if !removed.iter().any(|before| before.starts_with(&path)) {
            problems.push(at(span, name + &said));
        }
        if problems.len() >= PROBLEMS_MAX || !remove(rest.get_mut(), &path) {
            break None;
        }
        removed.push(path);
    };
    for (path, problem) in config.as_ref().map(bounds::found).unwrap_or_default().into_inner() {
        let span = span_of(document.get_ref(), &path);
        problems.push(at(span, problem.reason));
    }
    problems.sort_by_key(|problem| problem.line);
    problems.truncate(PROBLEMS_MAX);
    config.filter(|_| problems.is_empty()).ok_or(problems)
}

/// The line that a byte stands on, from 1.
fn line_of(text: &str, byte: usize) -> usize {
    let before = text.as_bytes().iter().take(byte);
    before.filter(|byte| **byte == b'\n').count() + 1
}

/// The path to what stands at a place; of a mistake in a key, the key's.
fn path_to(table: &DeTable<'_>, span: &Range<usize>) -> Vec<String> {
    for (key, value) in table {
        let name = key.get_ref().to_string();
        if key.span() == *span {
            return vec![name];
        }
        if let DeValue::Table(inner) = value.get_ref() {
            let below = path_to(inner, span);
            if !below.is_empty() {
                return [vec![name], below].concat();
            }
        }
        if value.span().start <= span.start && span.end <= value.span().end {
            return vec![name];
        }
    }
    Vec::new()
}

/// Takes out what stands at a path; false when nothing does.
fn remove(table: &mut DeTable<'_>, path: &[String]) -> bool {
    match path {
        [] => false,
        [name] => table.remove(name.as_str()).is_some(),
        [name, rest @ ..] => match table.get_mut(name.as_str()).map(Spanned::get_mut) {
            Some(DeValue::Table(inner)) => remove(inner, rest),
            _ => false,
        },
    }
}

/// Where a setting stands, or as much of its path as the file has.
fn span_of(table: &DeTable<'_>, path: &[String]) -> Option<Range<usize>> {
    let (name, rest) = path.split_first()?;
    let (key, value) = table.get_key_value(name.as_str())?;
    let below = match value.get_ref() {
        DeValue::Table(inner) => span_of(inner, rest),
        _ => None,
    };
    below.or_else(|| Some(key.span()))
}
