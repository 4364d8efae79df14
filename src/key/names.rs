//! Lists of names: environments, regions, integrations, features. A name is compared byte by byte.

use keygate_protocol::limits::FACT_BYTES_MAX;

use super::set::TextSet;

/// A list of names, compiled.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Names(TextSet);

impl Names {
    /// Compiles a list; duplicates fall together.
    pub fn new<'a>(names: impl IntoIterator<Item = &'a str>) -> Self {
        Self(TextSet::new(names.into_iter().map(Box::from).collect()))
    }

    /// Whether the name is in the list.
    #[must_use]
    pub fn have(&self, name: &[u8]) -> bool {
        self.0.has(name)
    }
}

/// The names between the commas of a text, without the spaces around them.
pub fn between_commas(text: &str) -> impl Iterator<Item = &str> {
    text.split(',').map(str::trim).filter(|name| !name.is_empty())
}

/// Says what is wrong with a name that a request is to be compared with, if anything.
///
/// # Errors
/// One line that shows the form.
pub fn check(name: &str) -> Result<(), String> {
    // Longer than what a request can state, or with spaces that nobody sees, it would match
    // nothing; a NUL ends an entry of an index.
    if name.is_empty()
        || name.len() > FACT_BYTES_MAX
        || name.trim() != name
        || name.chars().any(char::is_control)
    {
        return Err(format!(
            "{name:?} is not a name: 1 to {FACT_BYTES_MAX} bytes without control characters, and \
             without spaces before or after"
        ));
    }
    Ok(())
}

/// The same of a comma-separated list of names.
///
/// # Errors
/// One line that names the entry.
pub fn check_between_commas(text: &str) -> Result<(), String> {
    if text.is_empty() {
        return Ok(());
    }
    text.split(',').enumerate().try_for_each(|(at, name)| {
        check(name.trim()).map_err(|reason| format!("entry {}: {reason}", at + 1))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_in_the_list_or_is_not() {
        let names = Names::new(["staging", "production", "eu west", "production"]);
        for (name, expected) in [
            ("production", true),
            ("staging", true),
            ("eu west", true),
            ("Production", false),
            ("productio", false),
            ("productions", false),
            (" production", false),
            ("", false),
        ] {
            assert_eq!(names.have(name.as_bytes()), expected, "{name:?}");
        }
        assert_eq!(names, Names::new(["production", "eu west", "staging"]));
        assert!(!Names::default().have(b""));
        assert!(!names.have(b"\xFF"));
    }

    #[test]
    fn regions_stand_between_commas() {
        for (text, names) in [
            ("", &[][..]),
            ("eu-west-1", &["eu-west-1"]),
            (" eu-west-1 ,us east,\teu-west-2", &["eu-west-1", "us east", "eu-west-2"]),
            // Of a record that was written before they were checked.
            ("a,,b,", &["a", "b"]),
        ] {
            assert_eq!(between_commas(text).collect::<Vec<_>>(), names, "{text:?}");
        }
        for good in ["", "eu-west-1", "eu-west-1, us-east-1"] {
            assert_eq!(check_between_commas(good), Ok(()), "{good:?}");
        }
        let long = "r".repeat(65);
        for (bad, entry) in [
            (",", "entry 1"),
            ("a,", "entry 2"),
            ("a,,b", "entry 2"),
            (" ", "entry 1"),
            (&format!("a,b,{long}"), "entry 3"),
        ] {
            let refused = check_between_commas(bad).expect_err(bad);
            assert!(refused.contains(entry), "{bad:?}: {refused}");
        }
    }

    #[test]
    fn a_name_that_could_match_nothing_is_refused() {
        for good in ["production", "eu west 1", "ü", "a,b", &"n".repeat(64)] {
            assert_eq!(check(good), Ok(()), "{good:?}");
        }
        for bad in ["", " a", "a ", "a\n", "a\0b", "\u{a0}a", &"n".repeat(65)] {
            assert!(check(bad).is_err(), "{bad:?}");
        }
    }
}
