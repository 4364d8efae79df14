//! `SPEC.md` says what the crate does: its tables are the crate's tables, its examples the golden
//! frames, and the sections that the source names are there.

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use common::{VALID, from_hex, parse};
use keygate_protocol::{
    ErrorCode, Execution, Flags, IncrementOutcome, LimitName, Opcode, RenewOutcome, Role,
    VerdictCode, Warnings, limits,
};

const SPEC: &str = include_str!("../SPEC.md");
const LIMITS: &str = include_str!("../src/limits.rs");

/// The rows of the table that follows `<!-- checked: name -->`, without back-ticks.
fn table(name: &str) -> Vec<Vec<String>> {
    let marker = format!("<!-- checked: {name} -->");
    let (_, after) = SPEC.split_once(&marker).unwrap_or_else(|| panic!("no {marker}"));
    let rows: Vec<Vec<String>> = after
        .lines()
        .skip(1)
        .take_while(|line| line.starts_with('|'))
        .skip(2)
        .map(|line| {
            let cells = line.trim_matches('|').split('|');
            cells.map(|cell| cell.trim().replace('`', "")).collect()
        })
        .collect();
    assert!(!rows.is_empty(), "{marker} has no rows");
    rows
}

/// The first `columns` of each row.
fn columns(name: &str, columns: usize) -> Vec<Vec<String>> {
    table(name).into_iter().map(|row| row[..columns].to_vec()).collect()
}

/// The fenced blocks of a language: the name after it, and the text.
fn blocks(language: &str) -> Vec<(String, String)> {
    let fence = format!("```{language} ");
    SPEC.split(&fence)
        .skip(1)
        .map(|rest| {
            let (block, _) = rest.split_once("\n```").expect("the block ends");
            let (name, text) = block.split_once('\n').expect("the block has a name");
            (name.to_owned(), text.to_owned())
        })
        .collect()
}

/// What an example shows of a golden frame.
#[derive(serde::Deserialize)]
struct Golden {
    name: String,
    kind: String,
    fields: serde_json::Value,
    hex: String,
}

fn golden() -> BTreeMap<String, Golden> {
    parse::<Golden>(VALID).into_iter().map(|vector| (vector.name.clone(), vector)).collect()
}

#[test]
fn the_table_of_limits_is_that_of_the_crate() {
    macro_rules! known {
        ($($name:ident)+) => { [$((stringify!($name), u128::from(known!(@wide $name))),)+] };
        (@wide $name:ident) => { u64::try_from(limits::$name).expect("a bound fits 64 bits") };
    }
    let known = known![
        DATA_FRAME_BYTES_MAX ADMIN_FRAME_BYTES_MAX REPLY_FRAME_BYTES_MAX TOKEN_BYTES_MAX
        SCOPE_BYTES_MAX SCOPES_DEMANDED_MAX ORIGIN_BYTES_MAX FACT_BYTES_MAX CLIENT_SECRET_BYTES_MAX
        AUTHORITY_BYTES_MAX TARGET_BYTES_MAX HEADERS_MAX HEADER_NAME_BYTES_MAX
        HEADER_VALUE_BYTES_MAX FEATURES_DEMANDED_MAX
        TENANT_BYTES_MAX METADATA_BYTES_MAX COST_MAX BATCH_ITEMS_MAX ENDPOINT_BYTES_MAX
        ERROR_TEXT_BYTES_MAX LIMITS_IN_VERDICT_MAX LIMITS_NAMED_MAX REFUND_MAX COUNTERS_REPORTED_MAX
        COUNTER_NAME_BYTES_MAX ERROR_MESSAGE_BYTES_MAX CLIENT_NAME_BYTES_MAX
    ];
    let in_source: Vec<&str> = LIMITS
        .lines()
        .filter_map(|line| line.strip_prefix("pub const "))
        .filter_map(|line| line.split(':').next())
        .collect();
    assert_eq!(known.map(|(name, _)| name).to_vec(), in_source);
    let expected: Vec<_> =
        known.iter().map(|(name, value)| vec![name.to_lowercase(), value.to_string()]).collect();
    assert_eq!(columns("limits", 2), expected);
}

#[test]
fn the_table_of_opcodes_is_that_of_the_crate() {
    let expected: Vec<_> = Opcode::ALL
        .iter()
        .map(|opcode| {
            let flags = match opcode.flags_allowed() {
                Flags::NO_REPLY => "NO_REPLY",
                Flags::MORE => "MORE",
                _ => "none",
            };
            let socket = if opcode.is_admin() { "admin" } else { "data, admin" };
            vec![
                format!("0x{:02X}", opcode.byte()),
                format!("0x{:02X}", opcode.reply()),
                opcode.name().to_owned(),
                socket.to_owned(),
                flags.to_owned(),
                opcode.role().map_or("any", Role::name).to_owned(),
            ]
        })
        .collect();
    assert_eq!(columns("opcodes", 6), expected);
}

#[test]
fn the_table_of_errors_is_that_of_the_crate() {
    let expected: Vec<_> = ErrorCode::ALL
        .iter()
        .map(|code| {
            let executed = match code.execution() {
                Execution::Never => "never",
                Execution::Maybe => "maybe",
            };
            let closes = if code.closes() { "closes" } else { "stays open" };
            let byte = (*code as u8).to_string();
            [&byte, code.name(), executed, closes, code.text()].map(str::to_owned).to_vec()
        })
        .collect();
    assert_eq!(columns("errors", 5), expected);
}

#[test]
fn the_table_of_verdicts_is_that_of_the_crate() {
    let expected: Vec<_> = VerdictCode::ALL
        .iter()
        .map(|code| {
            let (byte, status) = ((*code as u8).to_string(), code.http_status().to_string());
            [&byte, code.name(), &status, code.text()].map(str::to_owned).to_vec()
        })
        .collect();
    assert_eq!(columns("verdicts", 4), expected);
}

#[test]
fn the_tables_of_a_verdicts_parts_are_those_of_the_crate() {
    let limits: Vec<_> = LimitName::ALL
        .iter()
        .map(|limit| vec![(*limit as u8).to_string(), limit.name().to_owned()])
        .collect();
    assert_eq!(columns("limit_names", 2), limits);
    assert!((0..=u8::MAX).filter_map(LimitName::from_byte).eq(LimitName::ALL.iter().copied()));

    let warnings: Vec<_> = (0..16)
        .flat_map(|bit| {
            let names = Warnings::from_bits(1 << bit).names();
            names.map(move |name| vec![bit.to_string(), name.to_owned()])
        })
        .collect();
    assert_eq!(columns("warnings", 2), warnings);
}

#[test]
fn the_table_of_outcomes_is_that_of_the_crate() {
    let shout = |outcome: IncrementOutcome| match outcome {
        IncrementOutcome::Counted => "COUNTED",
        IncrementOutcome::Duplicate => "DUPLICATE",
        IncrementOutcome::NotFound => "NOT_FOUND",
        IncrementOutcome::SlotGone => "SLOT_GONE",
    };
    let expected: Vec<_> = (0..=u8::MAX)
        .filter_map(|byte| Some((byte, IncrementOutcome::decode(&[byte]).ok()?)))
        .map(|(byte, outcome)| vec![byte.to_string(), shout(outcome).to_owned()])
        .collect();
    assert_eq!(columns("outcomes", 2), expected);
}

#[test]
fn the_table_of_what_becomes_of_a_renewal_is_that_of_the_crate() {
    let shout = |outcome: RenewOutcome| match outcome {
        RenewOutcome::Renewed => "RENEWED",
        RenewOutcome::Gone => "GONE",
        RenewOutcome::NotFound => "NOT_FOUND",
    };
    let expected: Vec<_> = (0..=u8::MAX)
        .filter_map(|byte| Some((byte, RenewOutcome::decode(&[byte]).ok()?)))
        .map(|(byte, outcome)| vec![byte.to_string(), shout(outcome).to_owned()])
        .collect();
    assert_eq!(columns("renewals", 2), expected);
}

#[test]
fn the_examples_in_hex_are_golden_frames() {
    let vectors = golden();
    let examples = blocks("hex");
    let names: BTreeSet<&str> = examples.iter().map(|(name, _)| name.as_str()).collect();
    for needed in [
        "hello",
        "hello_reply",
        "hello_tenant",
        "ping",
        "validate",
        "validate_reply_valid",
        "validate_reply_denied",
        "validate_facts",
        "validate_proofs",
        "validate_signed",
        "validate_limits",
        "validate_reply_limits",
        "increment",
        "increment_reply",
        "increment_slot",
        "slot_renew",
        "slot_renew_reply",
        "validate_batch",
        "validate_batch_reply",
        "error",
    ] {
        assert!(names.contains(needed), "no example of {needed}");
    }
    for (name, text) in examples {
        let digits: String =
            text.lines().map(|line| line.split(';').next().unwrap_or_default()).collect();
        let vector = vectors.get(&name).unwrap_or_else(|| panic!("no vector {name}"));
        assert_eq!(from_hex(&digits), from_hex(&vector.hex), "{name}");
    }
}

#[test]
fn the_examples_in_json_are_golden_frames_and_show_every_admin_opcode() {
    let vectors = golden();
    let mut shown = BTreeSet::new();
    for (name, text) in blocks("json") {
        let vector = vectors.get(&name).unwrap_or_else(|| panic!("no vector {name}"));
        let json: serde_json::Value = serde_json::from_str(&text).expect("JSON");
        assert_eq!(json, vector.fields, "{name}");
        shown.insert(vector.kind.clone());
    }
    for opcode in Opcode::ALL.iter().filter(|opcode| opcode.is_admin()) {
        for kind in [opcode.name().to_owned(), format!("{}Reply", opcode.name())] {
            assert!(shown.contains(&kind), "no example of {kind}");
        }
    }
}

#[test]
fn the_sections_that_the_source_names_are_there() {
    let mut named = BTreeSet::new();
    for entry in fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("src")).expect("src") {
        let source = fs::read_to_string(entry.expect("an entry").path()).expect("a source file");
        named.extend(sections(&source));
    }
    named.extend(sections(SPEC));
    assert!(named.contains("6.3") && named.contains("9"), "{named:?}");
    for section in named {
        let heading = if section.contains('.') {
            format!("\n### {section} ")
        } else {
            format!("\n## {section}. ")
        };
        assert!(SPEC.contains(&heading), "no section {section}");
    }
}

/// The numbers that stand behind a `§`.
fn sections(text: &str) -> impl Iterator<Item = String> {
    text.split('§').skip(1).map(|rest| {
        let number: String =
            rest.chars().take_while(|char| char.is_ascii_digit() || *char == '.').collect();
        number.trim_end_matches('.').to_owned()
    })
}
