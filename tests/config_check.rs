//! `keygate config`: a configuration is looked at without a daemon, as `serve` would look at it.

mod support;

use std::ffi::OsStr;
use std::path::Path;

use serde_json::{Value, json};

use support::{EXAMPLE_NAMES, Home, Ran};

fn check(home: &Home, file: &Path, args: &[&str]) -> Ran {
    let words = ["config", "check"].into_iter().chain(args.iter().copied()).map(OsStr::new);
    home.run(words.chain([file.as_os_str()]))
}

#[test]
fn files_that_it_names_are_read_as_a_start_would_read_them() {
    let home = Home::new();
    let text = "[tls]\nlisten = [\"127.0.0.1:0\"]\ncertificate_file = \"/nowhere/c.pem\"\n\
                key_file = \"/nowhere/k.pem\"\n";
    let file = home.file("tls.toml", text);
    check(&home, &file, &[]).expect(1).shows(&["tls.certificate_file /nowhere/c.pem"]);
    let report = check(&home, &file, &["--json"]).expect(1).json();
    assert_eq!(report["ok"], false);
    check(&home, &file, &["--without-files"]).expect(0).shows(&["nothing is wrong"]);
}

/// A file with a mistake of every kind, and where each is told.
const BAD: &str = "\
threads = 5000
idle_timeout_ms = 5

[limits]
keys_max = 0
frame_bytes_max = \"many\"

[tiers.gold]
request_per_second = 100
burst = 7

[profiles.PCI]
requires = [\"enforce_tls\"]

[sinks.s]
kind = \"smoke\"
";

#[test]
fn everything_that_is_wrong_is_told_with_file_and_line() {
    let home = Home::new();
    let file = home.file("bad.toml", BAD);
    let expected: &[(u64, &[&str])] = &[
        (1, &["threads is 5000; it must be 0 to 1024"]),
        (2, &["idle_timeout_ms: unknown field", "`limits`"]),
        (5, &["limits.keys_max is 0"]),
        (6, &["limits.frame_bytes_max: invalid type", "u32"]),
        (9, &["tiers.gold.request_per_second: unknown field", "`requests_per_second`"]),
        (10, &["tiers.gold.burst needs requests_per_second"]),
        (13, &["profiles.PCI.requires names \"enforce_tls\"", "enforce_https"]),
        (16, &["sinks.s.kind: unknown variant `smoke`", "`statsd`"]),
    ];
    let ran = check(&home, &file, &[]);
    let lines: Vec<&str> = ran.expect(1).stdout.lines().collect();
    assert_eq!(lines.len(), expected.len(), "{lines:#?}");
    for (line, (number, words)) in lines.iter().zip(expected) {
        let begin = format!("{}:{number}: ", file.display());
        assert!(line.starts_with(&begin), "{line}");
        assert!(words.iter().all(|words| line.contains(words)), "{words:?} in {line}");
    }
    let report = check(&home, &file, &["--json"]).expect(1).json();
    assert_eq!((&report["ok"], &report["file"]), (&json!(false), &json!(file.to_str())));
    let numbers: Vec<&Value> =
        report["problems"].as_array().expect("a list").iter().map(|p| &p["line"]).collect();
    assert_eq!(numbers, expected.iter().map(|(line, _)| *line).collect::<Vec<_>>());

    // The daemon refuses it for the same reasons.
    let mut serve = home.command();
    serve.arg("serve").arg("--config").arg(&file).arg("--data-dir").arg(home.data());
    let ran = support::run(serve, b"");
    ran.expect(1);
    for (number, words) in expected {
        ran.says(&[&format!("bad.toml, line {number}: ")]).says(words);
    }
    assert!(!home.data().exists(), "nothing was begun");
}

#[test]
fn a_good_file_ends_with_0() {
    let home = Home::new();
    let file = home.file("good.toml", EXAMPLE_NAMES);
    let ran = check(&home, &file, &[]);
    assert_eq!(ran.expect(0).stdout, format!("{}: nothing is wrong\n", file.display()));
    let report = check(&home, &file, &["--json"]).expect(0).json();
    assert_eq!((&report["ok"], &report["problems"]), (&json!(true), &json!([])));

    let limits =
        "slot_ttl_seconds = 60\nlimits = [{ name = 'exports', count = 10, period = '1h' }]\n";
    let file = home.file("limits.toml", &format!("[tiers.gold]\nrequests_per_day = 5\n{limits}"));
    check(&home, &file, &[]).expect(0);
    let shown = home.run([OsStr::new("config"), OsStr::new("show"), file.as_os_str()]);
    let again = home.file("again.toml", &shown.expect(0).stdout);
    check(&home, &again, &[]).expect(0);
    let gone = check(&home, Path::new("/no/such.toml"), &[]);
    gone.expect(1).says(&["/no/such.toml", "No such file"]);
    home.run(["config", "check"]).expect(2);
}

#[test]
fn what_is_in_force_is_shown_and_what_is_a_default_is_marked() {
    let home = Home::new();
    let file = home
        .file("some.toml", "threads = 2\n[tiers.\"a b\"]\nburst = 5\nrequests_per_second = 1\n");
    let show = |args: &[&str]| {
        let words = ["config", "show"].into_iter().chain(args.iter().copied()).map(OsStr::new);
        home.run(words.chain([file.as_os_str()]))
    };
    let ran = show(&[]);
    let lines: Vec<&str> = ran.expect(0).stdout.lines().collect();
    for line in
        ["threads = 2", "tiers.\"a b\".burst = 5", "limits.keys_max = 20000000  # the default"]
    {
        assert!(lines.contains(&line), "nothing of {line:?} in {lines:#?}");
    }
    // What is shown is a configuration, and the same one.
    let again = home.file("again.toml", &ran.stdout);
    let shown = home.run([OsStr::new("config"), OsStr::new("show"), again.as_os_str()]);
    assert_eq!(shown.expect(0).stdout, ran.stdout);
    assert_eq!(show(&["--json"]).expect(0).json()["tiers"]["a b"]["burst"], 5);
}
