use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

use super::*;

#[test]
fn hosts_and_origins_match_as_the_specification_says() {
    let long = "l".repeat(63);
    let long_host = format!("https://{long}.example.org");
    let too_long = format!("https://{long}l.example.org");
    for (entry, origin, expected) in [
        ("app.example.com", "app.example.com", true),
        ("app.example.com", "https://app.example.com", true),
        ("app.example.com", "https://APP.Example.COM:8443", true),
        ("APP.Example.com", "app.example.com:80", true),
        ("app.example.com", "app.example.com.", true),
        ("app.example.com.", "https://app.example.com.:8443", true),
        ("app.example.com", "app.example.com..", false),
        ("app.example.com", "chrome-extension://app.example.com", true),
        ("app.example.com", "http://app.example.com:99999", true),
        ("app.example.com", "www.app.example.com", false),
        ("app.example.com", "example.com", false),
        ("app.example.com", "appXexample.com", false),
        ("app.example.com", "https://app.example.com/", false),
        ("app.example.com", "https://app.example.com/path", false),
        ("app.example.com", "https://app.example.com?q", false),
        ("app.example.com", "https://app.example.com#f", false),
        ("app.example.com", "https://app.example.com\\x", false),
        ("app.example.com", "https://app.example.com@evil.example", false),
        ("app.example.com", "https://evil@app.example.com", false),
        ("app.example.com", "https://app.example.com:", false),
        ("app.example.com", "https://app.example.com:80x", false),
        ("app.example.com", "https://app.example.com:123456", false),
        ("app.example.com", "1http://app.example.com", false),
        ("app.example.com", "://app.example.com", false),
        ("app.example.com", "//app.example.com", false),
        ("app.example.com", "https://https://app.example.com", false),
        ("app.example.com", " app.example.com", false),
        ("app.example.com", "https://app%2Eexample.com", false),
        ("app.example.com", "null", false),
        ("app.example.com", "https://", false),
        ("app.example.com", "", false),
        ("localhost", "http://localhost:3000", true),
        ("*.example.org", "https://a.example.org", true),
        ("*.example.org", "https://A.B.Example.ORG:1", true),
        ("*.example.org", "a.b.c.d.e.example.org", true),
        ("*.example.org", "https://example.org", false),
        ("*.example.org", "https://badexample.org", false),
        ("*.example.org", "https://.example.org", false),
        ("*.example.org", "https://a..example.org", false),
        ("*.example.org", "https://a.example.org.evil.example", false),
        ("*.example.org", "https://*.example.org", false),
        ("*.example.org", &long_host, true),
        ("*.example.org", &too_long, false),
        ("*.com", "example.com", true),
        ("bücher.example", "https://xn--bcher-kva.example", true),
        ("bücher.example", "https://BÜCHER.example", true),
        ("xn--bcher-kva.example", "bücher.example", true),
        ("XN--BCHER-KVA.example", "bu\u{308}cher.example", true),
        ("*.bücher.example", "www.bücher.example", true),
        ("app.example.com", "ａｐｐ.example。com", true),
        ("app.example.com", "app.example.com／x", false),
        ("faß.example", "https://xn--fa-hia.example", true),
        ("faß.example", "https://fass.example", false),
        ("203.0.113.7", "http://203.0.113.7:8080", true),
        ("203.0.113.7", "203.0.113.8", false),
        ("203.0.113.7", "0xcb.0.113.7", false),
        ("203.0.113.7", "3405803783", false),
        ("203.0.113.7", "http://[::ffff:203.0.113.7]", true),
        ("[2001:db8::1]", "http://[2001:DB8:0::1]:80", true),
        ("2001:db8::1", "[2001:db8::1]", true),
        ("2001:db8::1", "2001:db8::1", true),
        ("[2001:db8::1]", "http://[2001:db8::2]", false),
        ("[2001:db8::1]", "http://[2001:db8::1", false),
        ("[2001:db8::1]", "http://[2001:db8::1]x", false),
        ("[fe80::1]", "http://[fe80::1%25eth0]", false),
        ("nonsense/", "nonsense/", false),
    ] {
        let domains = Domains::new([entry]);
        assert_eq!(domains.have(origin.as_bytes()), expected, "{entry} for {origin}");
    }
    assert!(!Domains::new(["app.example.com"]).have(b"app.example.com\xFF"));
    assert!(!Domains::default().have(b"app.example.com"));
}

#[test]
fn what_is_no_host_is_refused_with_what_mends_it() {
    let (long_label, long_name) = ("l".repeat(64), "label.".repeat(43));
    for (entry, says) in [
        ("https://app.example.com", "without scheme"),
        ("app.example.com:8443", "has a port"),
        ("[2001:db8::1]:80", "has a port"),
        ("app.example.com/", "has a path"),
        ("app.example.com?q", "has a path"),
        ("me@example.com", "has a user"),
        ("null", "cannot be allowed"),
        ("*", "an empty list"),
        ("a.*.example.org", "elsewhere"),
        ("*a.example.org", "elsewhere"),
        ("*.*.example.org", "elsewhere"),
        ("*.203.0.113.7", "nothing below"),
        ("*.[2001:db8::1]", "nothing below"),
        ("*.", "not a host"),
        ("", "not a host"),
        (".", "not a host"),
        (".example.org", "not a host"),
        ("a..example.org", "not a host"),
        ("app example.com", "not a host"),
        ("app%2Eexample.com", "not a host"),
        (&long_label, "not a host"),
        (&long_name, "not a host"),
        ("1.2.3", "not a host"),
        ("1.2.3.4.5", "not a host"),
        ("203.0.113.07", "not a host"),
        ("0x7f.1", "not a host"),
        ("xn--zz-zz-zz--zz.example", "not a host"),
        ("xn--bcher-kv.example", "not a host"),
        ("[fe80::1%eth0]", "not a host"),
        ("a:b:c", "not a host"),
    ] {
        let refused = check(entry).expect_err(entry);
        assert!(refused.contains(says), "{entry}: {refused}");
        assert_eq!(Domains::new([entry]), Domains::default(), "{entry}");
    }
    for good in ["localhost", "_dmarc.example.org", "a--b.example", "7.example", "*.org", "::1"] {
        assert_eq!(check(good), Ok(()), "{good}");
    }
}

#[test]
fn equal_sets_compile_to_equal_ones() {
    let one = Domains::new(["a.example", "*.bücher.example", "203.0.113.7"]);
    let same = ["203.0.113.7", "A.Example.", "a.example", "*.xn--bcher-kva.example"];
    assert_eq!(one, Domains::new(same));
}

/// Labels of which many names are made, so that rules and hosts meet.
fn name() -> impl Strategy<Value = String> {
    let label = select(vec!["a", "b", "bücher", "xn--bcher-kva", "A", "com", "x1"]);
    vec(label, 1..5).prop_map(|labels| labels.join("."))
}

/// The rule, label by label.
fn naive(entry: &str, host: &str) -> bool {
    let labels = |name: &str| -> Vec<String> {
        let label = |label: &str| match label {
            "bücher" => "xn--bcher-kva".to_owned(),
            label => label.to_lowercase(),
        };
        name.split('.').map(label).collect()
    };
    match entry.strip_prefix("*.") {
        Some(below) => {
            let (host, below) = (labels(host), labels(below));
            host.len() > below.len() && host.ends_with(&below)
        }
        None => labels(entry) == labels(host),
    }
}

proptest! {
    #[test]
    fn a_set_has_what_one_of_its_entries_covers(
        entries in vec((any::<bool>(), name()), 0..10),
        hosts in vec(name(), 1..10),
        dressed in any::<(bool, bool, bool)>(),
    ) {
        let entry = |(wild, name)| if wild { format!("*.{name}") } else { name };
        let entries: Vec<String> = entries.into_iter().map(entry).collect();
        let set = Domains::new(entries.iter().map(String::as_str));
        let (scheme, dot, port) = dressed;
        for host in hosts {
            let origin = format!(
                "{}{host}{}{}",
                if scheme { "https://" } else { "" },
                if dot { "." } else { "" },
                if port { ":8443" } else { "" },
            );
            let expected = entries.iter().any(|entry| naive(entry, &host));
            prop_assert_eq!(set.have(origin.as_bytes()), expected, "{:?} {}", entries, origin);
        }
    }

    #[test]
    fn no_text_makes_a_host_of_itself_by_accident(text in "\\PC{0,40}|[a-z.:/@\\[\\]*-]{0,30}") {
        // What is allowed matches itself, unless it is a wildcard.
        if check(&text).is_ok() && !text.starts_with("*.") {
            prop_assert!(Domains::new([text.as_str()]).have(text.as_bytes()), "{text}");
        }
    }

    #[test]
    fn no_bytes_make_a_check_panic(origin in vec(any::<u8>(), 0..80)) {
        let _ = Domains::new(["a.example", "*.example"]).have(&origin);
    }
}
