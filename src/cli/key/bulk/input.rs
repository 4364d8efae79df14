//! What a file asks for: records or ids, one a line or in a document.

use std::io::{self, BufRead, BufReader, Read};

use keygate_protocol::admin::{KeyDelete, KeySetStatus, KeyUpdate};
use serde_json::Value;
use serde_json::value::RawValue;

use crate::cli::records::{self, MEMBERS, RECORD_BYTES_MAX};
use crate::key::id;

/// One request.
#[derive(Debug)]
pub(super) enum Request {
    Create { record: Value, request_id: Option<String> },
    Update(KeyUpdate),
    SetStatus(KeySetStatus),
    Delete(KeyDelete),
}

/// Hears of each request under its number, from 1, and of each that cannot be made; says whether
/// to go on.
pub(super) type Each<'a> = &'a mut dyn FnMut(u64, Result<Request, String>) -> bool;

/// How a record becomes a request.
#[derive(Debug)]
pub(super) enum Parse {
    Create { request_id_prefix: Option<String> },
    Update,
    Revoke { reason: Option<String>, reason_code: Option<String> },
    Delete { purge: bool },
}

/// Reads every request of an input. Where each line is one, its number is the line's, and a bad one
/// is told alone; a document is read as an import reads it.
pub(super) fn read(input: impl Read, parse: &Parse, each: Each<'_>) -> io::Result<()> {
    let mut input = BufReader::with_capacity(1 << 16, input);
    let mut line = Vec::new();
    let mut number = 0;
    // Blank lines before the first word.
    while line.trim_ascii().is_empty() {
        line.clear();
        number += 1;
        if read_line(&mut input, &mut line)? == 0 {
            return Ok(());
        }
    }
    if !is_by_line(&line) {
        let mut record = 0;
        let input = io::Cursor::new(line).chain(input);
        let goes_on = records::read(input, &mut |raw: Box<RawValue>| {
            record += 1;
            each(record, parse.request(record, raw.get()))
        })?;
        // What was one page of many must not pass for all of them.
        return goes_on.map_or(Ok(()), |next| {
            Err(io::Error::other(format!(
                "it is a page of a list that has more: `keygate key list --after {next}`, with the \
                 same filters, shows the next one"
            )))
        });
    }
    loop {
        let text = std::str::from_utf8(line.trim_ascii());
        let request = match text {
            Ok("") => None,
            Ok(_) if line.len() > RECORD_BYTES_MAX => {
                return Err(io::Error::other(format!("line {number}: it has more than 1 MiB")));
            }
            Ok(text) => Some(parse.request(number, text)),
            Err(_) => Some(Err("it is not UTF-8".to_owned())),
        };
        if request.is_some_and(|request| !each(number, request)) {
            return Ok(());
        }
        line.clear();
        number += 1;
        if read_line(&mut input, &mut line)? == 0 {
            return Ok(());
        }
    }
}

/// One line, or as much of it as is too much.
fn read_line(input: &mut impl BufRead, line: &mut Vec<u8>) -> io::Result<usize> {
    input.take(RECORD_BYTES_MAX as u64 + 1).read_until(b'\n', line)
}

/// Whether the first line is a request of its own, rather than the beginning of a document.
fn is_by_line(first: &[u8]) -> bool {
    match first.trim_ascii().first() {
        Some(b'[') => false,
        Some(b'{') => {
            let whole: serde_json::Result<Value> = serde_json::from_slice(first);
            whole.is_ok_and(|value| MEMBERS.iter().all(|name| value.get(name).is_none()))
        }
        _ => true,
    }
}

impl Parse {
    fn request(&self, number: u64, text: &str) -> Result<Request, String> {
        match self {
            Self::Create { request_id_prefix } => create(number, text, request_id_prefix.as_ref()),
            Self::Update => {
                let update = serde_json::from_str(text)
                    .map_err(|error| format!("it is not {{\"id\": …, \"set\": {{…}}}}: {error}"))?;
                Ok(Request::Update(update))
            }
            Self::Revoke { reason, reason_code } => {
                let Named { id, reason: own, reason_code: own_code } = named(text)?;
                Ok(Request::SetStatus(KeySetStatus {
                    id,
                    status: "REVOKED".to_owned(),
                    reason: own.or_else(|| reason.clone()),
                    reason_code: own_code.or_else(|| reason_code.clone()),
                }))
            }
            Self::Delete { purge } => {
                let Named { id, .. } = named(text)?;
                Ok(Request::Delete(KeyDelete { id, purge: *purge }))
            }
        }
    }
}

fn create(number: u64, text: &str, prefix: Option<&String>) -> Result<Request, String> {
    let mut record = records::members(text)
        .map_err(|error| format!("it is not an object of fields: {error}"))?;
    let own = record.shift_remove("request_id").or_else(|| record.shift_remove("requestId"));
    let own = own.as_ref().and_then(Value::as_str).filter(|own| !own.is_empty());
    let request_id = match own {
        Some(own) => Some(own.to_owned()),
        None => prefix.map(|prefix| format!("{prefix}-{number}")),
    };
    Ok(Request::Create { record: Value::Object(record), request_id })
}

/// The key that a line names, and perhaps a reason.
struct Named {
    id: String,
    reason: Option<String>,
    reason_code: Option<String>,
}

/// Reads a number, or a record of which the rest is passed over.
fn named(text: &str) -> Result<Named, String> {
    if !text.starts_with('{') {
        let id = id::parse(text.trim_matches('"'))?.to_string();
        return Ok(Named { id, reason: None, reason_code: None });
    }
    let record = records::members(text).map_err(|error| error.to_string())?;
    let id = match record.get("id") {
        Some(Value::String(text)) => id::parse(text)?,
        Some(Value::Number(number)) => id::parse(&number.to_string())?,
        _ => return Err("it has no id".to_owned()),
    };
    let text = |name: &str| record.get(name).and_then(Value::as_str).map(str::to_owned);
    Ok(Named { id: id.to_string(), reason: text("reason"), reason_code: text("reason_code") })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(text: &str, parse: &Parse) -> Vec<(u64, Result<Request, String>)> {
        let mut found = Vec::new();
        let each: Each<'_> = &mut |number, request| {
            found.push((number, request));
            true
        };
        read(text.as_bytes(), parse, each).expect(text);
        found
    }

    fn ids(text: &str) -> Vec<(u64, Result<String, String>)> {
        let id = |request: Result<Request, String>| match request {
            Ok(Request::SetStatus(request)) => Ok(request.id),
            Ok(other) => panic!("{other:?}"),
            Err(error) => Err(error),
        };
        let found = all(text, &Parse::Revoke { reason: None, reason_code: None });
        found.into_iter().map(|(number, request)| (number, id(request))).collect()
    }

    #[test]
    fn ids_stand_in_lines_in_records_and_in_what_a_list_prints() {
        let (one, two) = (Ok("1".to_owned()), Ok("2".to_owned()));
        for (text, expected) in [
            ("1\n2\n", vec![(1, one.clone()), (2, two.clone())]),
            ("\n1\n\n\"2\"", vec![(2, one.clone()), (4, two.clone())]),
            ("{\"id\":\"1\"}\n{\"id\":2,\"name\":\"n\"}", vec![(1, one.clone()), (2, two.clone())]),
            (
                "{\"keys\":[{\"id\":\"1\"}],\"next\":\"1\"}{\"keys\":[{\"id\":\"2\"}],\"next\":null}",
                vec![(1, one.clone()), (2, two.clone())],
            ),
            ("[{\"id\":\"1\"},\n{\"id\":\"2\"}]", vec![(1, one), (2, two)]),
            ("", vec![]),
            ("\n \n", vec![]),
        ] {
            assert_eq!(ids(text), expected, "{text}");
        }
        let page = "{\"keys\":[{\"id\":\"1\"}],\"next\":\"1\"}";
        let mut seen = 0;
        let parse = Parse::Delete { purge: false };
        let read = read(page.as_bytes(), &parse, &mut |_, _| {
            seen += 1;
            true
        });
        let error = read.expect_err("there are more").to_string();
        assert!(seen == 1 && error.contains("--after 1"), "{seen}: {error}");

        let found = ids("1\nx\n{\"id\":\n{\"name\":\"n\"}\n3");
        let good: Vec<u64> = found.iter().filter(|it| it.1.is_ok()).map(|it| it.0).collect();
        assert_eq!((found.len(), good), (5, vec![1, 5]), "a bad line is told alone: {found:?}");
    }

    #[test]
    fn a_record_has_its_own_request_id_or_one_of_its_number() {
        let prefix = Parse::Create { request_id_prefix: Some("job".to_owned()) };
        let found = all("{\"name\":\"a\"}\n{\"name\":\"b\",\"request_id\":\"own\"}", &prefix);
        let of = |at: usize| match &found[at].1 {
            Ok(Request::Create { record, request_id }) => {
                assert!(record.get("request_id").is_none());
                request_id.clone()
            }
            other => panic!("{other:?}"),
        };
        assert_eq!((of(0).as_deref(), of(1).as_deref()), (Some("job-1"), Some("own")));
        let found = all("{\"name\":1,\"name\":2}", &Parse::Create { request_id_prefix: None });
        assert!(found[0].1.as_ref().expect_err("twice").contains("twice"));
    }

    #[test]
    fn what_is_cut_short_in_the_middle_of_a_document_is_an_error() {
        let mut seen = 0;
        let each: Each<'_> = &mut |_, _| {
            seen += 1;
            true
        };
        let parse = Parse::Delete { purge: false };
        assert!(read("[{\"id\":\"1\"},".as_bytes(), &parse, each).is_err());
        assert_eq!(seen, 1);
        let long = format!("1\n{}", "2".repeat(RECORD_BYTES_MAX + 2));
        assert!(read(long.as_bytes(), &parse, &mut |_, _| true).is_err());
    }
}
