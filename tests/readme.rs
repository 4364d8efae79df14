//! README is true to the letter where a machine can read it: the commands, the settings with their
//! defaults, and the fields that are kept and not enforced. (Its Rust example is a doc test.)

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

use keygate::config::Config;
use keygate::key::KeyRecord;
use keygate::key::record::Class;

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

#[test]
fn the_fields_that_are_not_enforced_are_listed_and_no_others() {
    let section = section(&read("README.md"), "### Not yet enforced");
    let rows: String = section.lines().filter(|line| line.starts_with('|')).collect();
    let listed = quoted(&rows);
    let later = KeyRecord::FIELDS.iter().filter(|field| field.class == Class::Later);
    let later: BTreeSet<String> = later.map(|field| field.name.to_owned()).collect();
    assert_eq!(listed, later);
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
    let source = read("src/config.rs");
    let fields = source.lines().filter_map(|line| line.strip_prefix("    pub "));
    let fields = fields.filter_map(|line| line.strip_suffix(',')?.split_once(": "));
    let sections = ["limits", "store", "keys"];
    let names: Vec<&str> =
        fields.map(|(name, _)| name).filter(|name| !sections.contains(name)).collect();
    for name in &names {
        let listed = settings.iter().any(|(listed, _)| listed.rsplit('.').next() == Some(name));
        assert!(listed, "README's table lacks {name}");
    }
    assert_eq!(settings.len(), names.len());
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
    let top = commands(&[]).into_iter().filter(|name| name != "key");
    let of_key = commands(&["key"]).into_iter().map(|name| format!("key {name}"));
    let all: Vec<String> = top.chain(of_key).collect();
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
    let of_every_command = ["from", "socket", "admin-socket", "json", "help"];
    let flags: BTreeSet<String> =
        flags.filter(|flag| !of_every_command.contains(&flag.as_str())).collect();
    assert!(flags.len() > 40, "{flags:?}");
    assert_eq!(listed, flags);
}
