//! What a simulation counts: memory for each key that is denied, and none for each line.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt::Write;

use keygate_protocol::VerdictCode;
use serde_json::{Value, json};

use super::super::output::table;
use super::trace::Asked;
use crate::engine::Answer;
use crate::key::Time;

/// Keys that are told of those that were denied.
const KEYS_TOLD: usize = 10;
/// Ids that are counted of those that the records do not have, so that a trace of strangers costs no
/// memory.
const UNKNOWN_MAX: usize = 1000;
const SECOND_US: i64 = 1_000_000;

/// The figures of a run.
#[derive(Default)]
pub(super) struct Summary {
    lines: u64,
    first_us: i64,
    last_us: i64,
    requests: u64,
    peeks: u64,
    admitted: u64,
    units: u128,
    codes: BTreeMap<&'static str, u64>,
    limits: BTreeMap<String, u64>,
    /// Of every key of the records that was denied.
    keys: HashMap<u64, Tally>,
    /// Ids that the records do not have, as many as are counted.
    unknown: BTreeSet<u64>,
    second: Peak,
    /// Admitted in the present second.
    this_second: Peak,
    slots: Peak,
    notices: Vec<String>,
}

/// A number, and when it was reached.
#[derive(Default, Clone, Copy)]
struct Peak {
    count: u64,
    at_us: i64,
}

#[derive(Default, Clone, Copy)]
struct Tally {
    admitted: u64,
    denied: u64,
}

impl Summary {
    /// Whether no line was noted.
    pub(super) const fn is_empty(&self) -> bool {
        self.lines == 0
    }

    /// Takes a notice, for whoever reads the summary alone.
    pub(super) fn notice(&mut self, notice: String) {
        self.notices.push(notice);
    }

    /// Whether there was a notice.
    pub(super) const fn has_notices(&self) -> bool {
        !self.notices.is_empty()
    }

    /// Notes a line of whatever kind that was judged.
    pub(super) const fn line(&mut self, at_us: i64) {
        if self.lines == 0 {
            self.first_us = at_us;
        }
        self.lines += 1;
        self.last_us = at_us;
    }

    /// Counts what was decided.
    pub(super) fn verdict(&mut self, at_us: i64, asked: &Asked, answer: &Answer) {
        if asked.peeks() {
            self.peeks += 1;
            return;
        }
        self.requests += 1;
        let verdict = &answer.verdict;
        if verdict.code.is_valid() {
            self.admit(at_us, asked.cost());
        } else {
            *self.codes.entry(verdict.code.name()).or_default() += 1;
        }
        if let Some(limit) = verdict.denied_by {
            let name = asked.name_of(limit);
            if let Some(count) = self.limits.get_mut(name) {
                *count += 1;
            } else {
                self.limits.insert(name.to_owned(), 1);
            }
        }
        // A key that is not there has no id, so that a trace of strangers costs no memory.
        if verdict.code != VerdictCode::NotFound {
            let tally = self.keys.entry(verdict.key_id).or_default();
            if verdict.code.is_valid() { tally.admitted += 1 } else { tally.denied += 1 }
        }
    }

    /// Counts the id of a key that the records do not have.
    pub(super) fn unknown(&mut self, asked: &Asked) {
        if !asked.peeks() && self.unknown.len() < UNKNOWN_MAX {
            self.unknown.insert(asked.key_id);
        }
    }

    /// The ids that are told of those that the records do not have.
    fn unknown_told(&self) -> Vec<String> {
        self.unknown.iter().take(KEYS_TOLD).map(u64::to_string).collect()
    }

    /// What is said of them beside NOT_FOUND.
    fn unknown_text(&self) -> String {
        let how_many = match self.unknown.len() {
            0 => return String::new(),
            1 => "1 id".to_owned(),
            UNKNOWN_MAX => format!("{UNKNOWN_MAX} ids or more"),
            count => format!("{count} ids"),
        };
        let more = if self.unknown.len() > KEYS_TOLD { ", …" } else { "" };
        let ids = self.unknown_told().join(", ");
        format!(" ({how_many} that --keys does not have: {ids}{more})")
    }

    fn admit(&mut self, at_us: i64, cost: u64) {
        self.admitted += 1;
        self.units += u128::from(cost);
        let second_us = at_us - at_us.rem_euclid(SECOND_US);
        if second_us != self.this_second.at_us || self.this_second.count == 0 {
            self.this_second = Peak { count: 0, at_us: second_us };
        }
        self.this_second.count += 1;
        if self.this_second.count > self.second.count {
            self.second = self.this_second;
        }
    }

    /// Notes how many slots are held now.
    pub(super) fn slots(&mut self, at_us: i64, held: usize) {
        let held = held as u64;
        if held > self.slots.count {
            self.slots = Peak { count: held, at_us };
        }
    }

    /// The most slots that were held so far.
    pub(super) fn slots_held(&self) -> usize {
        usize::try_from(self.slots.count).unwrap_or(usize::MAX)
    }

    /// The keys that were denied most, by id where they are even.
    fn most_denied(&self) -> Vec<(u64, Tally)> {
        let mut keys: Vec<(u64, Tally)> =
            self.keys.iter().map(|(id, tally)| (*id, *tally)).collect();
        keys.retain(|(_, tally)| tally.denied > 0);
        keys.sort_unstable_by_key(|(id, tally)| (std::cmp::Reverse(tally.denied), *id));
        keys.truncate(KEYS_TOLD);
        keys
    }

    /// As one line of JSON.
    pub(super) fn json(&self) -> Value {
        let at = |us: i64| Time::from_micros(us).to_string();
        let span = |us: i64| (self.lines > 0).then(|| at(us));
        let peak = |peak: Peak| (peak.count > 0).then(|| at(peak.at_us));
        let keys: Vec<Value> = self
            .most_denied()
            .into_iter()
            .map(|(id, Tally { admitted, denied })| {
                json!({"key_id": id.to_string(), "admitted": admitted, "denied": denied})
            })
            .collect();
        let mut summary = json!({
            "lines": self.lines,
            "from": span(self.first_us),
            "to": span(self.last_us),
            "requests": self.requests,
            "admitted": self.admitted,
            "denied": self.requests - self.admitted,
            "peeks": self.peeks,
            "units": u64::try_from(self.units).unwrap_or(u64::MAX),
            "denied_by_code": self.codes,
            "denied_by_limit": self.limits,
            "peak_second": {"admitted": self.second.count, "at": peak(self.second)},
            "peak_slots": {"held": self.slots.count, "at": peak(self.slots)},
            "most_denied": keys,
            "unknown_keys": {"count": self.unknown.len(), "key_ids": self.unknown_told()},
        });
        if self.has_notices() {
            summary["notices"] = self.notices.as_slice().into();
        }
        summary
    }

    /// For people.
    pub(super) fn text(&self) -> String {
        let mut text = String::new();
        // Writing into a text does not fail.
        let mut say = |line: std::fmt::Arguments<'_>| {
            let _ = writeln!(text, "{line}");
        };
        let at = |us: i64| Time::from_micros(us);
        if self.lines > 0 {
            say(format_args!("from       {}", at(self.first_us)));
            say(format_args!("to         {}", at(self.last_us)));
        }
        let denied = self.requests - self.admitted;
        say(format_args!("requests   {}", self.requests));
        say(format_args!("admitted   {} ({} units)", self.admitted, self.units));
        say(format_args!("denied     {denied}"));
        for (code, count) in &self.codes {
            let not_found = *code == VerdictCode::NotFound.name();
            let of = if not_found { self.unknown_text() } else { String::new() };
            say(format_args!("  {code}: {count}{of}"));
        }
        self.limits.iter().for_each(|(name, count)| say(format_args!("  by {name}: {count}")));
        if self.peeks > 0 {
            say(format_args!("peeks      {}", self.peeks));
        }
        if self.second.count > 0 {
            let Peak { count, at_us } = self.second;
            say(format_args!("peak       {count} admitted in the second of {}", at(at_us)));
        }
        if self.slots.count > 0 {
            let Peak { count, at_us } = self.slots;
            say(format_args!("           {count} slots held at {}", at(at_us)));
        }
        let rows = self.most_denied().into_iter().map(|(id, tally)| {
            [id, tally.denied, tally.admitted].iter().map(u64::to_string).collect()
        });
        let rows: Vec<Vec<String>> = rows.collect();
        if !rows.is_empty() {
            text += &format!("\n{}", table(&["MOST DENIED", "DENIED", "ADMITTED"], &rows));
        }
        text.truncate(text.trim_end().len());
        text
    }
}
