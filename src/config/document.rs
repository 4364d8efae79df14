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

/// The parser's words, with what is meant where modes of files are written as elsewhere.
fn said(words: &str) -> String {
    let octal = words.contains("unexpected leading zero");
    let hint = if octal { "; an octal number, such as a mode, is written 0o660" } else { "" };
    format!("{words}{hint}")
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
        return Err(broken.map(|error| at(error.span(), said(error.message()))).collect());
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
        let said = renamed(&path).map_or(said, str::to_owned);
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

/// How a setting that had another name is written now.
fn renamed(path: &[String]) -> Option<&'static str> {
    let is_rights = path.first().is_some_and(|name| name == "admin_rights");
    is_rights.then_some(
        "is [[rights]] now, and each entry says its roles: roles = [\"own\"] is what an entry of \
         [[admin_rights]] could do",
    )
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

#[cfg(test)]
mod tests {
    use super::super::names;
    use super::*;

    /// What is wrong with a text, as `line: reason`.
    fn wrong(text: &str) -> Vec<String> {
        let problems = parse(text).err().unwrap_or_default();
        let line = |problem: &Problem| problem.line.map_or("-".to_owned(), |line| line.to_string());
        problems.iter().map(|problem| format!("{}: {}", line(problem), problem.reason)).collect()
    }

    #[test]
    fn what_is_wrong_is_told_with_its_line_and_what_is_allowed() {
        #[rustfmt::skip]
        let cases: &[(&str, &[&[&str]])] = &[
            ("", &[]),
            ("threads =\n", &[&["1: "]]),
            ("admin_socket_mode = 0660\n", &[&["1: ", "0o660"]]),
            ("socket_path = 'x'\n", &[&["1: socket_path: unknown field", "`admin_socket`"]]),
            ("threads = 1\n[limits]\nidle_timeout = 5\n", &[&["3: limits.idle_timeout: unknown field", "`idle_timeout_ms`"]]),
            ("[limits]\nidle_timeout_ms = 'long'\n", &[&["2: limits.idle_timeout_ms: invalid type: string"]]),
            ("threads = -1\n", &[&["1: threads: invalid value: integer `-1`"]]),
            ("[limits]\n\nidle_timeout_ms = 5\n", &[&["3: limits.idle_timeout_ms is 5; it must be 100 to 2592000000"]]),
            ("limits.keys_max = 0\n", &[&["1: limits.keys_max is 0; it must be 1 to"]]),
            ("tcp = ['127.0.0.1:1', '0.0.0.0:7430']\n", &[&["1: tcp is 0.0.0.0:7430", "loopback"]]),
            ("tcp = ['localhost:1']\n", &[&["1: tcp: "]]),
            ("token_brand = 'K-G'\n", &[&["1: token_brand", "lower-case"]]),
            ("threads = 1\nthreads = 2\n", &[&["2: ", "duplicate key"]]),
            // Tiers.
            ("[tiers.gold]\nrequests_per_secnod = 5\n", &[&["2: tiers.gold.requests_per_secnod: unknown field", "`requests_per_second`", "`burst`", "`requests_per_day`", "`concurrent_requests`", "`monthly_request_quota`", "`max_uses`"]]),
            ("[tiers.gold]\nrequests_per_second = 3_000_000_000\n", &[&["2: tiers.gold.requests_per_second is 3000000000; it must be 0 to 2147483647"]]),
            ("tiers.gold = { requests_per_second = 1, max_uses = 1.5 }\n", &[&["1: tiers.gold.max_uses: invalid type: floating point"]]),
            ("[tiers.gold]\nburst = 5\n", &[&["2: tiers.gold.burst needs requests_per_second"]]),
            ("[tiers.gold]\nrequests_per_second = 1\nburst = 18446744074\n", &[&["3: tiers.gold.burst is refused", "at most 18446744073"]]),
            ("[tiers.gold]\nslot_ttl_seconds = 0\n", &[&["2: tiers.gold.slot_ttl_seconds is 0; it must be 1 to 86400"]]),
            ("[tiers.gold]\nlimits = [{ name = 'a', count = 1, period = 'day' }, { name = 'a', count = 2, period = '1h' }]\n", &[&["2: tiers.gold.limits is refused: entry 2: there are two limits \"a\""]]),
            ("[tiers.gold]\nlimits = [{ name = 'a=b', count = 1, period = 'day' }]\n", &[&["2: tiers.gold.limits is refused: entry 1: \"a=b\" is not a name"]]),
            ("[tiers.gold]\nlimits = [{ name = 'a', count = 1, period = 'fortnight' }]\n", &[&["2: ", "the limit \"a\": \"fortnight\" is not a period"]]),
            ("[tiers.gold]\nlimits = [{ name = 'a', count = -1, period = 'day' }]\n", &[&["2: tiers.gold.limits", "integer `-1`"]]),
            ("[tiers.gold]\nlimits = [{ name = 'a', count = 1, per = 'day' }]\n", &[&["2: ", "unknown field", "`period`"]]),
            ("[tiers.\" x\"]\n", &[&["1: tiers.\" x\"", "1 to 64"]]),
            ("tiers = 5\n", &[&["1: tiers: invalid type: integer `5`"]]),
            // Profiles.
            ("[profiles.SOC2]\nrequires = ['enforce_http']\n", &[&["2: profiles.SOC2.requires names \"enforce_http\"", "enforce_https"]]),
            ("[profiles.SOC2]\nrequires = ['key_hash', 'status']\n", &[&["2: profiles.SOC2.requires names \"key_hash\""], &["2: ", "names \"status\""]]),
            ("[profiles.SOC2]\nrequire = []\n", &[&["2: profiles.SOC2.require: unknown field", "`requires`"]]),
            // Regions.
            ("regions = ['eu-west-1', 'a,b', '']\n", &[&["1: regions names \"a,b\"; a comma"], &["1: regions names \"\"", "1 to 64"]]),
            // Sinks.
            ("[sinks.s]\nkind = 'statsd'\ntarget = 'localhost'\n", &[&["3: sinks.s.target is \"localhost\"", "HOST:PORT"]]),
            ("[sinks.s]\nkind = 'file'\ntarget = 'log'\n", &[&["3: sinks.s.target is \"log\"", "begins with /"]]),
            ("[sinks.s]\nkind = 'socket'\n", &[&["1: sinks.s.target is \"\"", "begins with /"]]),
            ("[sinks.s]\nkind = 'journald'\ntarget = '/x'\n", &[&["3: sinks.s.target", "left out"]]),
            ("[sinks.s]\nkind = 'syslog'\n", &[&["2: sinks.s.kind: unknown variant `syslog`", "`statsd`", "`journald`"]]),
            ("[sinks.s]\ntarget = '/x'\n", &[&["1: sinks.s: missing field `kind`"]]),
            // All that is wrong, not only the first, in the order of lines.
            ("threads = 5000\nthread = 1\n[limits]\nkeys_max = 0\n[tiers.a]\nmax = 1\nburst = 'x'\n[store]\ncache_bytes = 1\n",
             &[&["1: threads is 5000"], &["2: thread: unknown"], &["4: limits.keys_max is 0"], &["6: tiers.a.max: unknown"], &["7: tiers.a.burst: invalid type"], &["9: store.cache_bytes is 1"]]),
        ];
        for (text, expected) in cases {
            let wrong = wrong(text);
            assert_eq!(wrong.len(), expected.len(), "{text}: {wrong:#?}");
            for (wrong, words) in wrong.iter().zip(*expected) {
                assert!(wrong.starts_with(words[0]), "{text}: {wrong}");
                for words in *words {
                    assert!(wrong.contains(words), "{text}: nothing of {words:?} in {wrong}");
                }
            }
        }
    }

    #[test]
    fn names_are_bounded_in_number_and_length() {
        let tiers =
            |count: usize| (0..count).map(|n| format!("[tiers.t{n}]\n")).collect::<String>();
        assert_eq!(wrong(&tiers(names::NAMES_MAX)), Vec::<String>::new());
        assert!(wrong(&tiers(names::NAMES_MAX + 1))[0].contains("at most 1024"));
        let long = "x".repeat(names::NAME_BYTES_MAX);
        assert_eq!(wrong(&format!("[tiers.{long}]\n")), Vec::<String>::new());
        assert!(wrong(&format!("[tiers.{long}x]\n"))[0].contains("has 65 bytes"));
        let mistakes: String = (0..500).map(|n| format!("unknown_{n} = 1\n")).collect();
        assert_eq!(wrong(&mistakes).len(), 100, "there is an end to what is told");
    }
}
