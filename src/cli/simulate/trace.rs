//! The lines of a trace: what happened, and when.

use std::borrow::Cow;
use std::io::{self, BufRead, BufReader, Read};
use std::net::IpAddr;

use bytes::BytesMut;
use keygate_protocol::limits::ORIGIN_BYTES_MAX;
use keygate_protocol::validate::ValidateWriter;
use keygate_protocol::{Increment, LimitName, ValidateFlags};
use serde::de::{Deserialize, IgnoredAny};
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use super::super::records::members;
use super::fields::{Latency, Slot, Uuid, instant, key_id, some_key_id};
use crate::key::Time;
use crate::limit::Spent;

/// Longest line: the longest record that an update may set, and more.
const LINE_BYTES_MAX: usize = 1024 * 1024;
const NO_OBJECT: &str = "it is not a JSON object; a line is such as {\"at\": 1769903997000, \"op\": \
                         \"validate\", \"key_id\": \"42\"}, and README (\"What would this limit have \
                         done?\") makes such lines of an access log";
const OPS: &str = "validate, increment, renew, update, crash or restart";

/// The lines of a trace, one by one.
pub(super) struct Trace<R: Read> {
    input: BufReader<R>,
    line: Vec<u8>,
    number: u64,
    /// When the last line was.
    after_us: Option<i64>,
}

/// A line that is there.
pub(super) struct Line<'a> {
    pub(super) bytes: &'a [u8],
    /// Its number, from 1.
    pub(super) number: u64,
    /// No line may be earlier.
    pub(super) after_us: Option<i64>,
}

impl<R: Read> Trace<R> {
    pub(super) fn new(input: R) -> Self {
        let input = BufReader::with_capacity(super::BUFFER_BYTES, input);
        Self { input, line: Vec::new(), number: 0, after_us: None }
    }

    /// The next line that is not blank; `None` at the end.
    pub(super) fn next_line(&mut self) -> io::Result<Option<Line<'_>>> {
        loop {
            self.line.clear();
            let bound = LINE_BYTES_MAX as u64 + 1;
            if self.input.by_ref().take(bound).read_until(b'\n', &mut self.line)? == 0 {
                return Ok(None);
            }
            self.number += 1;
            if self.line.len() > LINE_BYTES_MAX {
                let words = format!("line {}: it is longer than 1 MiB", self.number);
                return Err(io::Error::new(io::ErrorKind::InvalidData, words));
            }
            if !self.line.iter().all(u8::is_ascii_whitespace) {
                let Self { line, number, after_us, .. } = self;
                return Ok(Some(Line { bytes: line, number: *number, after_us: *after_us }));
            }
        }
    }

    /// The number of the last line, from 1.
    pub(super) const fn number(&self) -> u64 {
        self.number
    }

    /// The last line was of this instant.
    pub(super) const fn passed(&mut self, at_us: i64) {
        self.after_us = Some(at_us);
    }
}

/// One line.
pub(super) struct Event<'a> {
    /// When, as the line has it.
    pub(super) at: &'a RawValue,
    /// The same in microseconds since 1970.
    pub(super) at_us: i64,
    pub(super) op: Op,
}

/// What happened.
pub(super) enum Op {
    Validate(Box<Asked>),
    Increment(Box<Reported>),
    Renew(Renewal),
    Update(Update),
    Crash,
    Restart,
}

/// What every line has. The rest is read when it is known what it is.
#[derive(serde::Deserialize)]
struct Head<'a> {
    #[serde(borrow)]
    at: &'a RawValue,
    #[serde(borrow)]
    op: Cow<'a, str>,
}

impl<'a> Event<'a> {
    /// Reads a line, which must not be earlier than the one before.
    pub(super) fn parse(line: &'a [u8], after_us: Option<i64>) -> Result<Self, String> {
        // serde takes a list for an object, and names our types where it wants one.
        if line.trim_ascii_start().first() != Some(&b'{') {
            return Err(NO_OBJECT.to_owned());
        }
        let Head { at, op } = serde_json::from_slice(line).map_err(|error| words(&error))?;
        let at_us = instant(at.get())?;
        if let Some(after_us) = after_us.filter(|after_us| at_us < *after_us) {
            let (at, after) = (Time::from_micros(at_us), Time::from_micros(after_us));
            return Err(format!(
                "at: {at} is earlier than {after}, that of the line before; sort the trace by time"
            ));
        }
        let op = match &*op {
            "validate" => Op::Validate(read(line)?),
            "increment" => Op::Increment(read(line)?),
            "renew" => Op::Renew(read(line)?),
            "update" => Op::Update(read::<Updated>(line)?.update()?),
            "crash" => read::<Bare>(line).map(|_| Op::Crash)?,
            "restart" => read::<Bare>(line).map(|_| Op::Restart)?,
            other => return Err(format!("op: there is no {other:?}; it is {OPS}")),
        };
        Ok(Self { at, at_us, op })
    }
}

fn read<'a, T: Deserialize<'a>>(line: &'a [u8]) -> Result<T, String> {
    serde_json::from_slice(line).map_err(|error| words(&error))
}

/// What is wrong, and in which column: the line is told by whoever knows its number.
fn words(error: &serde_json::Error) -> String {
    if error.is_eof() {
        return "the line is cut off: its JSON does not end".to_owned();
    }
    let text = error.to_string();
    let place = format!(" at line {} column {}", error.line(), error.column());
    match text.strip_suffix(&place) {
        Some(text) => format!("{} (column {})", without_types(text), error.column()),
        None => without_types(&text),
    }
}

/// The same, where serde says what was expected by the name of a type.
fn without_types(text: &str) -> String {
    let Some((found, expected)) = text.rsplit_once(", expected ") else { return text.to_owned() };
    let expected = match expected {
        "u16" | "u32" | "u64" => "a whole number",
        "f64" => "a number",
        "a sequence" => "a list",
        other => other,
    };
    format!("{found}, expected {expected}")
}

/// A line that says nothing but what and when.
#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Bare {
    #[serde(rename = "at")]
    _at: IgnoredAny,
    #[serde(rename = "op")]
    _op: IgnoredAny,
}

/// A request.
#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Asked {
    #[serde(rename = "at")]
    _at: IgnoredAny,
    #[serde(rename = "op")]
    _op: IgnoredAny,
    #[serde(deserialize_with = "key_id")]
    pub(super) key_id: u64,
    cost: Option<u64>,
    peek: Option<bool>,
    limits: Option<Vec<String>>,
    scopes: Option<Vec<String>>,
    any_scopes: Option<Vec<String>>,
    features: Option<Vec<String>>,
    ip: Option<IpAddr>,
    origin: Option<String>,
    environment: Option<String>,
    region: Option<String>,
    integration: Option<String>,
    api_version: Option<String>,
    https: Option<bool>,
    tenant: Option<String>,
}

impl Asked {
    /// Units that it costs.
    pub(super) fn cost(&self) -> u64 {
        self.cost.unwrap_or(1)
    }

    /// Whether it spends nothing, whatever is decided.
    pub(super) fn peeks(&self) -> bool {
        self.peek == Some(true) || self.cost() == 0
    }

    /// What a verdict on it calls a limit.
    pub(super) fn name_of(&self, limit: LimitName) -> &str {
        let given = self.limits.as_deref().unwrap_or_default();
        let given = limit.place().and_then(|place| given.get(place));
        given.map_or(limit.name(), String::as_str)
    }

    /// Writes it as a question of the protocol. What is out of bounds is for the reader to refuse.
    pub(super) fn write(&self, token: &str, out: &mut BytesMut) {
        type State = fn(&mut ValidateWriter<'_>, &str);
        out.clear();
        let flags = ValidateFlags::DETAILS.with(ValidateFlags::KEEP_SLOT);
        let peek = if self.peek == Some(true) { ValidateFlags::PEEK } else { ValidateFlags::NONE };
        let mut to = ValidateWriter::new(out, flags.with(peek), self.cost(), token.as_bytes());
        if let Some(ip) = self.ip {
            to.address(ip);
        }
        // As the client does: a stranger may have written it, and it could match nothing.
        let origin = self.origin.as_deref().filter(|it| (1..=ORIGIN_BYTES_MAX).contains(&it.len()));
        let texts: [(Option<&str>, State); 6] = [
            (origin, |to, text| to.origin(text)),
            (self.environment.as_deref(), |to, text| to.environment(text)),
            (self.region.as_deref(), |to, text| to.region(text)),
            (self.integration.as_deref(), |to, text| to.integration(text)),
            (self.api_version.as_deref(), |to, text| to.api_version(text)),
            (self.tenant.as_deref(), |to, text| to.tenant(text)),
        ];
        for (text, state) in texts {
            text.into_iter().for_each(|text| state(&mut to, text));
        }
        if let Some(https) = self.https {
            to.https(https);
        }
        let lists: [(&Option<Vec<String>>, State); 4] = [
            (&self.scopes, |to, scope| to.scope_all(scope)),
            (&self.any_scopes, |to, scope| to.scope_any(scope)),
            (&self.features, |to, feature| to.feature(feature)),
            (&self.limits, |to, name| to.limit(name)),
        ];
        for (list, demand) in lists {
            list.iter().flatten().for_each(|text| demand(&mut to, text));
        }
    }
}

/// A report.
#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Reported {
    #[serde(rename = "at")]
    _at: IgnoredAny,
    #[serde(rename = "op")]
    _op: IgnoredAny,
    #[serde(deserialize_with = "key_id")]
    pub(super) key_id: u64,
    pub(super) slot: Option<Slot>,
    status: Option<u16>,
    latency_ms: Option<Latency>,
    endpoint: Option<String>,
    error: Option<String>,
    refund: Option<u64>,
    id: Option<Uuid>,
    count: Option<u32>,
}

impl Reported {
    /// As the protocol has it, with the slot that is meant. What is out of bounds is for the reader
    /// to refuse.
    pub(super) fn report(&self, slot: Option<u64>) -> Increment<'_> {
        Increment {
            count: self.count.unwrap_or(1),
            latency_us: self.latency_ms.map(|latency| latency.0),
            status: self.status,
            endpoint: self.endpoint.as_deref(),
            error: self.error.as_deref(),
            id: self.id.map(|id| id.0),
            slot,
            refund: self.refund,
            ..Increment::new(self.key_id)
        }
    }
}

/// A slot that is to be held for longer.
#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Renewal {
    #[serde(rename = "at")]
    _at: IgnoredAny,
    #[serde(rename = "op")]
    _op: IgnoredAny,
    #[serde(deserialize_with = "key_id")]
    pub(super) key_id: u64,
    pub(super) slot: Slot,
}

/// What an update changes.
pub(super) enum Target {
    Key(u64),
    Tenant(String),
}

/// An update of a record.
pub(super) struct Update {
    pub(super) of: Target,
    pub(super) set: Map<String, Value>,
    pub(super) spent: Spent,
}

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Updated {
    #[serde(rename = "at")]
    _at: IgnoredAny,
    #[serde(rename = "op")]
    _op: IgnoredAny,
    #[serde(default, deserialize_with = "some_key_id")]
    key_id: Option<u64>,
    tenant: Option<String>,
    set: Box<RawValue>,
    spent: Option<String>,
}

impl Updated {
    fn update(self) -> Result<Update, String> {
        let of = match (self.key_id, self.tenant) {
            (Some(id), None) => Target::Key(id),
            (None, Some(id)) => Target::Tenant(id),
            _ => return Err("an update has either \"key_id\" or \"tenant\"".to_owned()),
        };
        let set = members(self.set.get()).map_err(|error| format!("set: {}", words(&error)))?;
        let spent = self.spent.as_deref().map_or(Some(Spent::Keep), Spent::parse);
        let spent = spent.ok_or("spent: it is \"keep\", \"proportional\" or \"reset\"")?;
        Ok(Update { of, set, spent })
    }
}

/// The names of members in snake_case, as records have them.
pub(super) fn member_names(members: &Map<String, Value>) -> Vec<String> {
    members.keys().map(|name| crate::key::json::canonical(name)).collect()
}
