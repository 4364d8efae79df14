//! Where people and programs are reached: mail addresses and URLs. They are judged by their form
//! alone; nothing is looked up.

use url::Url;

use super::domain;

/// RFC 5321 §4.5.3.1.
const LOCAL_BYTES_MAX: usize = 64;
const ADDRESS_BYTES_MAX: usize = 254;

/// Says what is wrong with a mail address, if anything. It is `local@host`: the local part is a
/// dot-atom of RFC 5322 (no quotes, no comments, ASCII), the host is a name.
///
/// # Errors
/// One line that shows the form.
pub fn check_mail(address: &str) -> Result<(), String> {
    let atom = |atom: &str| {
        let text =
            |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-/=?^_`{|}~".contains(&byte);
        !atom.is_empty() && atom.bytes().all(text)
    };
    let good = address.rsplit_once('@').is_some_and(|(local, host)| {
        local.len() <= LOCAL_BYTES_MAX && local.split('.').all(atom) && domain::is_name(host)
    });
    if good && address.len() <= ADDRESS_BYTES_MAX {
        return Ok(());
    }
    Err(format!(
        "{address:?} is not a mail address such as \"oncall@example.com\": a plain local part of \
         at most {LOCAL_BYTES_MAX} bytes, '@', and the name of a host"
    ))
}

/// Says what is wrong with the URL that alerts are posted to, if anything.
///
/// # Errors
/// One line.
pub fn check_webhook(text: &str) -> Result<(), String> {
    let url = parse(text, &["https"])?;
    if !url.username().is_empty() || url.password().is_some() {
        // The value is not repeated: it holds a secret.
        return Err("it has a user or a password, which would be shown with the record; alerts \
                    are signed instead"
            .to_owned());
    }
    if url.fragment().is_some() {
        return Err("it has a fragment ('#…'), which is never sent".to_owned());
    }
    Ok(())
}

/// Says what is wrong with the URL of a page for people, if anything.
///
/// # Errors
/// One line.
pub(super) fn check_page(text: &str) -> Result<(), String> {
    parse(text, &["https", "http"]).map(drop)
}

fn parse(text: &str, schemes: &[&str]) -> Result<Url, String> {
    let form = || format!("it must be a URL that begins with {}://", schemes.join(":// or "));
    // The parser forgives what stands around a URL and inside it; what is kept must not need that.
    if text.chars().any(|char| char.is_control() || char == ' ') || text.contains('\\') {
        return Err(format!("{}, without spaces and backslashes", form()));
    }
    let url = Url::parse(text).map_err(|error| format!("{}: {error}", form()))?;
    let written = schemes.iter().any(|scheme| {
        let prefix = text.get(..scheme.len() + 3);
        prefix.is_some_and(|prefix| prefix.eq_ignore_ascii_case(&format!("{scheme}://")))
    });
    if !written || !url.has_host() {
        return Err(form());
    }
    Ok(url)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mail_address_is_a_plain_local_part_and_a_host() {
        let long = format!("{}@example.com", "l".repeat(65));
        for good in [
            "oncall@example.com",
            "first.last+tag@mail.example.co",
            "root@localhost",
            "o'hara@bücher.example",
            "ONCALL@EXAMPLE.COM",
        ] {
            assert_eq!(check_mail(good), Ok(()), "{good}");
        }
        for bad in [
            "",
            "oncall",
            "@example.com",
            "oncall@",
            "a@b@example.com",
            ".a@example.com",
            "a.@example.com",
            "a..b@example.com",
            "a b@example.com",
            "\"a b\"@example.com",
            "On Call <oncall@example.com>",
            "a@example.com,b@example.com",
            "a@-",
            "a@*.example.com",
            "a@203.0.113.7",
            "a@[203.0.113.7]",
            "a@example.com:25",
            "a@exa mple.com",
            "ü@example.com",
            "a\r\nBcc: b@example.com",
            &long,
        ] {
            // A hyphen alone is a label, as in domain.rs.
            assert_eq!(check_mail(bad).is_err(), bad != "a@-", "{bad}");
        }
    }

    #[test]
    fn a_webhook_is_https_and_has_no_secret_in_it() {
        for good in [
            "https://hooks.example.com/keys",
            "HTTPS://hooks.example.com:8443/a?b=c",
            "https://[2001:db8::1]/",
            "https://bücher.example",
        ] {
            assert_eq!(check_webhook(good), Ok(()), "{good}");
        }
        for (bad, says) in [
            ("http://hooks.example.com", "begins with https://"),
            ("hooks.example.com", "begins with https://"),
            ("https:/hooks.example.com", "begins with https://"),
            ("https:hooks.example.com", "begins with https://"),
            ("https://", "begins with https://"),
            ("file:///etc/passwd", "begins with https://"),
            ("https://me:secret@hooks.example.com", "a user or a password"),
            ("https://me@hooks.example.com", "a user or a password"),
            ("https://hooks.example.com/#x", "fragment"),
            ("https://hooks.example.com/a b", "without spaces"),
            ("https:\\\\hooks.example.com", "without spaces"),
            (" https://hooks.example.com", "without spaces"),
            ("https://hooks.exa%mple.com", "begins with https://"),
            ("https://hooks.example.com:99999", "begins with https://"),
        ] {
            let refused = check_webhook(bad).expect_err(bad);
            assert!(refused.contains(says), "{bad}: {refused}");
            assert!(!refused.contains("secret@"), "{refused}");
        }
    }

    #[test]
    fn a_page_is_http_or_https() {
        for good in ["https://docs.example.com/leads#top", "http://wiki/page"] {
            assert_eq!(check_page(good), Ok(()), "{good}");
        }
        for bad in
            ["ftp://docs.example.com", "docs.example.com", "javascript:alert(1)", "mailto:a@b"]
        {
            let refused = check_page(bad).expect_err(bad);
            assert!(refused.contains("https:// or http://"), "{bad}: {refused}");
        }
    }
}
