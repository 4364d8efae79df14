use super::change::changes;
use super::*;

#[test]
fn a_file_overrides_defaults_and_unknown_names_are_named() {
    let config: Config = toml::from_str(
        "threads = 3\ntcp = [\"127.0.0.1:7000\"]\n[limits]\nidle_timeout_ms = 5000\n",
    )
    .expect("a configuration");
    assert_eq!((config.threads, config.limits.idle_timeout_ms), (3, 5000));
    assert_eq!(config.limits.frame_bytes_max, DATA_FRAME_BYTES_MAX);
}

#[test]
fn values_out_of_bounds_are_refused_by_name() {
    Config::default().check().expect("the defaults are within their bounds");
    type Change = fn(&mut Config);
    let cases: [(Change, &str); 8] = [
        (|c| c.limits.idle_timeout_ms = 0, "limits.idle_timeout_ms is 0"),
        (|c| c.limits.frame_bytes_max = 1 << 20, "limits.frame_bytes_max is 1048576"),
        (|c| c.tcp = vec!["0.0.0.0:1".parse().expect("an address")], "loopback"),
        (|c| c.limits.increment_ids_max = 0, "increment_ids_max"),
        (|c| c.store.cache_bytes = 1000, "store.cache_bytes is 1000"),
        (|c| c.store.cache_bytes = u64::MAX, "store.cache_bytes"),
        (|c| c.keys.expiry_warning_days = 3651, "keys.expiry_warning_days is 3651"),
        (|c| c.keys.rotation_grace_ms = u64::MAX, "keys.rotation_grace_ms"),
    ];
    for (change, expected) in cases {
        let mut config = Config::default();
        change(&mut config);
        let error = config.check().expect_err(expected).to_string();
        assert!(error.contains(expected), "{error}");
    }
}

/// What is wrong with a text, as `line: reason`.
fn wrong(text: &str) -> Vec<String> {
    let problems = document::parse(text).err().unwrap_or_default();
    let line = |problem: &Problem| problem.line.map_or("-".to_owned(), |line| line.to_string());
    problems.iter().map(|problem| format!("{}: {}", line(problem), problem.reason)).collect()
}

#[test]
fn what_is_wrong_is_told_with_its_line_and_what_is_allowed() {
    #[rustfmt::skip]
    let cases: &[(&str, &[&[&str]])] = &[
        ("", &[]),
        ("threads =\n", &[&["1: "]]),
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
    let tiers = |count: usize| (0..count).map(|n| format!("[tiers.t{n}]\n")).collect::<String>();
    assert_eq!(wrong(&tiers(names::NAMES_MAX)), Vec::<String>::new());
    assert!(wrong(&tiers(names::NAMES_MAX + 1))[0].contains("at most 1024"));
    let long = "x".repeat(names::NAME_BYTES_MAX);
    assert_eq!(wrong(&format!("[tiers.{long}]\n")), Vec::<String>::new());
    assert!(wrong(&format!("[tiers.{long}x]\n"))[0].contains("has 65 bytes"));
    let mistakes: String = (0..500).map(|n| format!("unknown_{n} = 1\n")).collect();
    assert_eq!(wrong(&mistakes).len(), 100, "there is an end to what is told");
}

#[test]
fn a_file_that_is_too_long_is_not_read_whole() {
    let place = tempfile::tempdir().expect("a directory");
    let path = place.path().join("long.toml");
    std::fs::write(&path, "#".repeat(5 << 20)).expect("written");
    let error = Config::from_file(&path).expect_err("too long").to_string();
    assert!(error.contains("more than 4194304 bytes"), "{error}");
}

#[test]
fn every_number_has_its_bound() {
    let numbers = |config: &Config| {
        let of = serde_json::to_value(config).expect("JSON");
        let mut names = Vec::new();
        for (section, value) in of.as_object().expect("settings") {
            match value {
                serde_json::Value::Number(_) => names.push(section.clone()),
                serde_json::Value::Object(inner) => {
                    let numbers = inner.iter().filter(|(_, value)| value.is_number());
                    names.extend(numbers.map(|(name, _)| format!("{section}.{name}")));
                }
                _ => {}
            }
        }
        names.sort_unstable();
        names
    };
    let mut bounded: Vec<_> = BOUNDS.iter().map(|bound| bound.name.to_owned()).collect();
    bounded.sort_unstable();
    assert_eq!(bounded, numbers(&Config::default()));
}

#[test]
fn flags_outweigh_the_file_each_time_it_is_read() {
    let place = tempfile::tempdir().expect("a directory");
    let path = place.path().join("keygate.toml");
    let write = |text: &str| std::fs::write(&path, text).expect("written");
    let overrides = Overrides { data_dir: Some("/flag".into()), ..Overrides::default() };
    let source = Source { file: Some(path.clone()), overrides };
    for threads in [3, 4] {
        write(&format!("threads = {threads}\ndata_dir = '/file'\nsocket = '/file.sock'\n"));
        let config = source.read().expect("a configuration");
        assert_eq!((config.threads, &*config.socket), (threads, Path::new("/file.sock")));
        assert_eq!(config.data_dir, Path::new("/flag"));
    }
    write("threads = 9999\n");
    let error = source.read().expect_err("out of bounds").to_string();
    assert!(error.contains("keygate.toml, line 1: threads is 9999"), "{error}");
}

/// Beginnings of lines, and whether each needs a restart.
type Lines = &'static [(&'static str, bool)];

#[test]
fn changes_are_told_by_name_with_both_values() {
    let of = |text: &str| document::parse(text).expect("a configuration");
    #[rustfmt::skip]
    let cases: &[(&str, &str, Lines)] = &[
        ("", "", &[]),
        ("threads = 0", "", &[]),
        ("", "threads = 2", &[("threads: 0 → 2", true)]),
        ("", "[limits]\nkeys_max = 5\nidle_timeout_ms = 100", &[("limits.idle_timeout_ms: 600000 → 100", true), ("limits.keys_max: 20000000 → 5", true)]),
        ("", "[keys]\nexpiry_warning_days = 1", &[("keys.expiry_warning_days: 14 → 1", false)]),
        ("", "[keys]\nrotation_grace_ms = 0", &[("keys.rotation_grace_ms: 86400000 → 0", false)]),
        ("[tiers.a]\nburst=1\nrequests_per_second=1", "[tiers.a]\nrequests_per_second=2", &[("tiers.a.burst: 1 → not set", false), ("tiers.a.requests_per_second: 1 → 2", false)]),
        ("[tiers.a]", "[tiers.'b c']", &[("tiers.a: {} → not set", false), ("tiers.\"b c\": not set → {}", false)]),
        ("[profiles.a]\nrequires=['name']", "[profiles.a]\nrequires=[]", &[("profiles.a.requires: [\"name\"] → []", false)]),
        ("regions=['a']", "regions=['a','b']", &[("regions: [\"a\"] → [\"a\",\"b\"]", false)]),
        ("", "[sinks.s]\nkind='journald'", &[("sinks.s: not set → {\"kind\":\"journald\"}", false)]),
        ("", "data_dir = '/x'\nsocket='/y'\nadmin_socket='/z'\ntcp=['127.0.0.1:1']\ntoken_brand='ab'\nstore.cache_bytes=1048576",
         &[("admin_socket", true), ("data_dir", true), ("socket", true), ("store.cache_bytes", true), ("tcp", true), ("token_brand", true)]),
    ];
    for (before, after, expected) in cases {
        let changes = changes(&of(before), &of(after));
        assert_eq!(changes.len(), expected.len(), "{before:?} {after:?}: {changes:#?}");
        for (change, (line, restart)) in changes.iter().zip(*expected) {
            assert!(change.line.starts_with(line), "{line}: {change:?}");
            assert_eq!(change.restart, *restart, "{line}");
        }
    }
}
