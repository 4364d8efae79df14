//! Records in files: a document with `api_keys`, a list, one record, or one record a line; read
//! as a stream, so that a file may be larger than memory.

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::Path;

use serde::de::{Deserialize, DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use super::error::CliError;

/// The member of a document that holds the records.
pub(super) const MEMBERS: [&str; 3] = ["api_keys", "apiKeys", "keys"];
/// Longest record, and whatever stands beside the records in a document.
pub(super) const RECORD_BYTES_MAX: usize = 1024 * 1024;

/// Hears of each record; says whether to go on.
pub(super) type Each<'a> = &'a mut dyn FnMut(Box<RawValue>) -> bool;

/// What messages call an input.
pub(super) fn name_of(path: &Path) -> String {
    if is_stdin(path) { "standard input".to_owned() } else { path.display().to_string() }
}

pub(super) fn is_stdin(path: &Path) -> bool {
    path == Path::new("-")
}

/// Opens a file, or standard input for `-`.
pub(super) fn open(path: &Path) -> Result<Box<dyn Read + Send>, CliError> {
    if is_stdin(path) {
        return Ok(Box::new(io::stdin()));
    }
    let failed = |error| CliError::File { doing: "read", path: path.to_owned(), error };
    Ok(Box::new(File::open(path).map_err(failed)?))
}

/// The one record of a file, as its members.
pub(super) fn read_one(path: &Path) -> Result<Map<String, Value>, CliError> {
    let refused = |reason: String| CliError::Input { from: name_of(path), reason };
    let mut found = Vec::new();
    let mut each = |record| {
        found.push(record);
        found.len() < 2
    };
    read(open(path)?, &mut each).map_err(|error| refused(error.to_string()))?;
    match found.as_slice() {
        [record] => members(record.get())
            .map_err(|error| refused(format!("the record is not an object of fields: {error}"))),
        [] => Err(refused("there is no record in it".to_owned())),
        _ => Err(refused(
            "there is more than one record in it; `keygate import` takes many".to_owned(),
        )),
    }
}

/// The members of one record.
pub(super) fn members(record: &str) -> serde_json::Result<Map<String, Value>> {
    serde_json::from_str(record).map(|Members(members)| members)
}

/// The members of a record. A name that stands twice is refused: a map would keep either.
struct Members(Map<String, Value>);

impl<'de> Deserialize<'de> for Members {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Once;
        impl<'de> Visitor<'de> for Once {
            type Value = Members;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members, A::Error> {
                use serde::de::Error;
                let mut members = Map::new();
                while let Some((name, value)) = map.next_entry::<String, Value>()? {
                    if members.contains_key(&name) {
                        return Err(A::Error::custom(format!("{name} stands twice")));
                    }
                    members.insert(name, value);
                }
                Ok(Members(members))
            }
        }
        deserializer.deserialize_map(Once)
    }
}

/// Reads every record of an input. Of a page of `key list`, says after which id the list goes on.
pub(super) fn read(input: impl Read, each: Each<'_>) -> serde_json::Result<Option<String>> {
    let mut input = serde_json::Deserializer::from_reader(BufReader::with_capacity(1 << 16, input));
    let mut going = true;
    let mut goes_on = None;
    // One record a line is a sequence of documents.
    while going && input.end().is_err() {
        let mut sink = Sink { each: &mut *each, going: &mut going, goes_on: &mut goes_on };
        Document { sink: &mut sink, inside: false }.deserialize(&mut input)?;
    }
    Ok(goes_on)
}

struct Sink<'a, 'e> {
    each: Each<'e>,
    going: &'a mut bool,
    /// The `next` of the last page.
    goes_on: &'a mut Option<String>,
}

impl Sink<'_, '_> {
    fn take(&mut self, record: Box<RawValue>) {
        if *self.going {
            *self.going = (self.each)(record);
        }
    }
}

/// A document: an object with the records, an object that is a record, or a list; inside a
/// document only a list.
struct Document<'s, 'a, 'e> {
    sink: &'s mut Sink<'a, 'e>,
    inside: bool,
}

impl<'de> DeserializeSeed<'de> for Document<'_, '_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        if self.inside {
            deserializer.deserialize_seq(self)
        } else {
            deserializer.deserialize_any(self)
        }
    }
}

impl<'de> Visitor<'de> for Document<'_, '_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(if self.inside {
            "a list of records"
        } else {
            "records: an object with \"api_keys\", a list of records, or a record"
        })
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        while let Some(record) = list.next_element()? {
            self.sink.take(record);
        }
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        use serde::de::Error;
        // Raw members keep numbers, and names that stand twice, as they were written.
        let mut record = String::from("{");
        let mut had_records = false;
        let mut goes_on = None;
        while let Some(name) = map.next_key::<String>()? {
            if MEMBERS.contains(&name.as_str()) {
                had_records = true;
                map.next_value_seed(Document { sink: &mut *self.sink, inside: true })?;
                continue;
            }
            let value: Box<RawValue> = map.next_value()?;
            if name == "next" {
                goes_on = serde_json::from_str(value.get()).unwrap_or_default();
            }
            if record.len() + name.len() + value.get().len() > RECORD_BYTES_MAX {
                return Err(A::Error::custom("a record of more than 1 MiB"));
            }
            if record.len() > 1 {
                record.push(',');
            }
            record.push_str(&serde_json::to_string(&name).map_err(A::Error::custom)?);
            record.push(':');
            record.push_str(value.get());
        }
        if had_records {
            *self.sink.goes_on = goes_on;
        } else {
            record.push('}');
            self.sink.take(RawValue::from_string(record).map_err(A::Error::custom)?);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(text: &str) -> Result<Vec<String>, String> {
        let mut found = Vec::new();
        let mut each = |record: Box<RawValue>| {
            found.push(record.get().to_owned());
            true
        };
        read(text.as_bytes(), &mut each).map_err(|error| error.to_string())?;
        Ok(found)
    }

    #[test]
    fn every_shape_of_file_is_read() {
        for (text, expected) in [
            (r#"{"about":"x","api_keys":[{"id":1},{"id":2}]}"#, vec![r#"{"id":1}"#, r#"{"id":2}"#]),
            (r#"[{"id":1}]"#, vec![r#"{"id":1}"#]),
            ("{\"id\":1}\n{\"id\":2}\n", vec![r#"{"id":1}"#, r#"{"id":2}"#]),
            (r#"{"id":1,"id":2}"#, vec![r#"{"id":1,"id":2}"#]),
            (r#"{"api_keys":[]}"#, vec![]),
            ("", vec![]),
        ] {
            assert_eq!(all(text).expect(text), expected, "{text}");
        }
        for bad in
            ["{", "7", r#"{"api_keys":7}"#, r#"{"api_keys":{"id":1}}"#, r#"[{"id":1},"#, "nonsense"]
        {
            assert!(all(bad).is_err(), "{bad}");
        }
    }
}
