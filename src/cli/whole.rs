//! Whole numbers on the command line, refused in words that say what is taken.

/// A whole number.
pub(super) fn whole(text: &str) -> Result<u64, String> {
    number(text, "it is a whole number, such as 50")
}

/// A whole number of seconds.
pub(super) fn seconds(text: &str) -> Result<u64, String> {
    number(text, "it is a whole number of seconds, such as 300")
}

fn number(text: &str, what: &str) -> Result<u64, String> {
    // `parse` would take a sign.
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(what.to_owned());
    }
    text.parse().map_err(|_| format!("{what}, and at most {}", u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read_strictly() {
        for (text, number) in [("0", 0), ("0007", 7), ("18446744073709551615", u64::MAX)] {
            assert_eq!(whole(text), Ok(number));
        }
        for bad in ["", "-1", "+1", "1.5", "1e3", "1,000", " 1", "١"] {
            assert_eq!(whole(bad), Err("it is a whole number, such as 50".to_owned()), "{bad}");
            assert!(seconds(bad).expect_err(bad).contains("of seconds"), "{bad}");
        }
        assert!(whole("18446744073709551616").expect_err("2^64").ends_with("18446744073709551615"));
    }
}
