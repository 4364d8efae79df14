//! README is true to the letter where a machine can read it: the commands, and the settings with their
//! defaults. (Its Rust example is a doc test.)

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

use keygate::config::change::LIVE;
use keygate::config::{BOUNDS, Config};
use keygate::key::{Pepper, RecordInput};

fn read(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The lines between a heading and the next.
fn section(readme: &str, heading: &str) -> String {
    let lines = readme.lines().skip_while(|line| *line != heading).skip(1);
    // One `#` begins a comment in a fenced block.
    lines.take_while(|line| !line.starts_with("##")).map(|line| format!("{line}\n")).collect()
}

/// The words in backquotes.
fn quoted(text: &str) -> BTreeSet<String> {
    text.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

/// Name and default of each setting in README's table.
fn settings() -> Vec<(String, String)> {
    let section = section(&read("README.md"), "## Configuration");
    let rows = section.lines().filter(|line| line.starts_with("| `"));
    let unquoted = |cell: &str| cell.trim().trim_matches('`').to_owned();
    let row = |line: &str| {
        let cells: Vec<&str> = line.split('|').collect();
        (unquoted(cells[1]), unquoted(cells[2]))
    };
    rows.map(row).collect()
}

#[test]
fn every_setting_is_listed_with_its_default() {
    let settings = settings();
    // Dotted names are TOML too, and a name that is not known is refused.
    let text: String = settings.iter().map(|(name, value)| format!("{name} = {value}\n")).collect();
    let listed: Config = toml::from_str(&text).expect("README's table is a configuration");
    assert_eq!(format!("{listed:?}"), format!("{:?}", Config::default()));

    // What is not listed would have its default too, so the names are counted.
    let files = ["mod", "http", "alerts", "audit", "throttle", "tls"]
        .map(|name| read(&format!("src/config/{name}.rs")));
    let source = files.concat();
    let fields = source.lines().filter_map(|line| line.strip_prefix("    pub "));
    let fields = fields.filter_map(|line| line.strip_suffix(',')?.split_once(": "));
    let sections = [
        "limits", "store", "usage", "throttle", "keys", "ledger", "audit", "http", "alerts", "smtp",
    ];
    let names: Vec<&str> = fields
        .filter(|(name, kind)| !sections.contains(name) && *kind != "Tls")
        .map(|(name, _)| name)
        .collect();
    for name in &names {
        let listed = settings.iter().any(|(listed, _)| listed.rsplit('.').next() == Some(name));
        assert!(listed, "README's table lacks {name}");
    }
    assert_eq!(settings.len(), names.len());
}

/// README's blocks of TOML.
fn toml_blocks(readme: &str) -> impl Iterator<Item = &str> {
    readme.split("```toml\n").skip(1).filter_map(|rest| Some(rest.split_once("```")?.0))
}

#[test]
fn the_configurations_are_good_and_one_takes_the_example_record() {
    let place = tempfile::tempdir().expect("a directory");
    let file = place.path().join("keygate.toml");
    let readme = read("README.md");
    let read_as_config = |block: &str| {
        fs::write(&file, block).expect("written");
        Config::from_file(&file).unwrap_or_else(|error| panic!("{error}"))
    };
    let configs: Vec<Config> = toml_blocks(&readme).map(read_as_config).collect();
    let example: serde_json::Value =
        serde_json::from_str(&read("tests/data/api_key.example.json")).expect("JSON");
    let input = RecordInput::from_value(example["api_keys"][0].clone()).expect("a record");
    let record = input.import(&Pepper::new(&[1; 32])).expect("a good one");
    let takes = |config: &Config| config.rules().check(&record).is_ok();
    assert!(configs.len() > 1 && configs.iter().any(takes));
    assert!(!takes(&Config::default()), "without them it is refused");
}

#[test]
fn what_a_reload_applies_is_listed_and_nothing_else() {
    let section = section(&read("README.md"), "### Reload");
    let line = section.lines().find(|line| line.starts_with("- Applied while")).expect("a line");
    let listed = quoted(line);
    assert_eq!(listed, LIVE.iter().map(|name| (*name).to_owned()).collect());
}

/// A number as README writes it: `1,048,576`.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let commas = |(at, digit): (usize, char)| {
        let comma = at > 0 && (digits.len() - at).is_multiple_of(3);
        comma.then_some(',').into_iter().chain([digit])
    };
    digits.chars().enumerate().flat_map(commas).collect()
}

#[test]
fn every_number_is_listed_with_its_unit_and_its_bounds() {
    let section = section(&read("README.md"), "## Configuration");
    for bound in BOUNDS {
        let begin = format!("| `{}` |", bound.name);
        let row = section.lines().find(|line| line.starts_with(&begin)).expect(bound.name);
        let cells: Vec<&str> = row.split('|').map(str::trim).collect();
        let range = format!("{} to {}", grouped(bound.min), grouped(bound.max));
        assert_eq!((cells[3], cells[4]), (bound.unit, range.as_str()), "{}", bound.name);
    }
}

/// The names that clap lists under "Commands:".
fn commands(of: &[&str]) -> Vec<String> {
    let ran = Command::new(env!("CARGO_BIN_EXE_keygate")).args(of).arg("--help").output();
    let help = String::from_utf8(ran.expect("the binary runs").stdout).expect("UTF-8");
    let listed = help.lines().skip_while(|line| *line != "Commands:").skip(1);
    let listed = listed.take_while(|line| !line.is_empty());
    let names = listed.filter_map(|line| line.split_whitespace().next());
    names.filter(|name| *name != "help").map(str::to_owned).collect()
}

#[test]
fn every_command_is_listed_with_an_example() {
    let listed = section(&read("README.md"), "## Commands");
    let groups = ["key", "tenant", "alert"];
    let top = commands(&[]).into_iter().filter(|name| !groups.contains(&name.as_str()));
    let inside = groups.into_iter().flat_map(|group| {
        commands(&[group]).into_iter().map(move |name| format!("{group} {name}"))
    });
    let all: Vec<String> = top.chain(inside).collect();
    assert!(all.len() > 15, "{all:?}");
    for name in all {
        let row = format!("| `keygate {name}");
        assert!(listed.lines().any(|line| line.starts_with(&row)), "README lacks {row}");
    }
}

#[test]
fn every_flag_of_a_record_is_listed() {
    let listed = section(&read("README.md"), "### Flags of a record");
    let listed: BTreeSet<String> = quoted(&listed)
        .iter()
        .filter_map(|flag| flag.strip_prefix("--")?.split([' ', '=']).next().map(str::to_owned))
        .collect();
    let ran =
        Command::new(env!("CARGO_BIN_EXE_keygate")).args(["key", "create", "--help"]).output();
    let help = String::from_utf8(ran.expect("the binary runs").stdout).expect("UTF-8");
    let flags = help.lines().filter_map(|line| {
        let line = line.trim_start();
        let flag = line.strip_prefix("-h, ").unwrap_or(line).strip_prefix("--")?;
        flag.split([' ', '[']).next().map(str::to_owned)
    });
    let of_every_command =
        ["from", "request-id", "socket", "admin-socket", "as-tenant", "json", "help"];
    let flags: BTreeSet<String> = flags
        .filter(|flag| !of_every_command.contains(&flag.as_str()) && !flag.starts_with("tls-"))
        .collect();
    assert!(flags.len() > 40, "{flags:?}");
    assert_eq!(listed, flags);
}

/// The blocks of a section that are of this kind.
fn blocks<'a>(section: &'a str, kind: &str) -> Vec<&'a str> {
    let begin = format!("```{kind}\n");
    let blocks = section.split(begin.as_str()).skip(1);
    blocks.filter_map(|rest| Some(rest.split_once("```")?.0)).collect()
}

#[test]
fn the_access_log_comes_out_as_it_says() {
    let section = section(&read("README.md"), "## What would this limit have done?");
    let json = blocks(&section, "json");
    let (log, jq) = (blocks(&section, "text")[0], blocks(&section, "sh")[0]);
    let (trace, keys) = (json[0], json[1]);
    let console = blocks(&section, "console")[0];
    let place = tempfile::tempdir().expect("a directory");
    for (name, content) in [("access.log", log), ("trace.jsonl", trace), ("keys.json", keys)] {
        fs::write(place.path().join(name), content).expect("written");
    }
    let (command, rest) = console.split_once('\n').expect("a command and what it says");
    let (said, grep) = rest.split_once("$ ").expect("a second command");
    let (_, denied) = grep.split_once('\n').expect("what it prints");
    let args = command.strip_prefix("$ keygate ").and_then(|args| args.split(" > ").next());
    let ran = Command::new(env!("CARGO_BIN_EXE_keygate"))
        .args(args.expect("a command of keygate").split(' '))
        .env_remove("KEYGATE_CONFIG")
        .current_dir(place.path())
        .output()
        .expect("the binary runs");
    assert_eq!(String::from_utf8_lossy(&ran.stderr), said);
    let verdicts = String::from_utf8(ran.stdout).expect("UTF-8");
    let found = verdicts.lines().filter(|line| line.contains("false"));
    assert_eq!(found.map(|line| format!("{line}\n")).collect::<String>(), denied);

    if Command::new("jq").arg("--version").output().is_err() {
        eprintln!("skipped: there is no jq, which makes the trace of README's access log");
        return;
    }
    let made = Command::new("sh").args(["-e", "-c", jq]).current_dir(place.path()).status();
    assert!(made.expect("a shell").success());
    let made = fs::read_to_string(place.path().join("trace.jsonl")).expect("the trace");
    assert_eq!(made, trace);
}
