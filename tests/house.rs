//! Reads the source and fails when a rule of the house (ARCHITECTURE.md) is broken.
//!
//! What it cannot see: a path that a macro of another crate writes, and what a crate does behind
//! the names that we are allowed to use.

#[path = "house/lex.rs"]
mod lex;
#[path = "verdicts/cases.rs"]
#[allow(dead_code, reason = "only the codes are looked at here")]
mod verdict_cases;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{fs, io};

use keygate_protocol::VerdictCode;
use lex::{NamedPath, Token};

/// What a module of `src/` may name.
struct Row {
    module: &'static str,
    /// Modules of this crate, or single items of them.
    may: &'static [&'static str],
    /// Whether it may name `keygate_protocol`.
    protocol: bool,
    /// Whether it is a function of its arguments: no runtime, no disk, no socket, no process.
    pure: bool,
}

/// The arrows, which go down this table: main → cli → server → admin → ledger → engine → {limit, usage, key}.
/// A row names every module it may, not only its nearest, so that each arrow was meant.
#[rustfmt::skip]
const ARROWS: &[Row] = &[
    Row { module: "main",   may: &["cli"], protocol: false, pure: false },
    Row { module: "cli",    may: &["server", "deliver", "audit", "event", "client", "admin", "ledger", "engine", "store", "config", "limit", "key", "clock"], protocol: true, pure: false },
    Row { module: "server", may: &["admin", "notify", "deliver", "audit", "secret", "ledger", "engine", "store", "config", "limit", "usage", "key", "vault", "event", "http", "metrics", "clock"], protocol: true, pure: false },
    Row { module: "admin",  may: &["notify", "alert", "ledger", "engine", "store", "limit", "usage", "key", "sign", "vault", "event", "clock"], protocol: true, pure: false },
    Row { module: "audit",  may: &["engine::AuditDesk", "event", "key::Pepper", "key::digest", "secret", "clock"], protocol: false, pure: false },
    Row { module: "ledger", may: &["engine", "store", "limit", "key", "clock"], protocol: true, pure: false },
    Row { module: "client", may: &["sign"], protocol: true, pure: false },
    Row { module: "engine", may: &["limit", "usage", "key", "sign", "vault", "clock::Now"], protocol: true, pure: true },
    Row { module: "store",  may: &["alert", "limit", "usage", "key", "vault", "metrics", "clock::Clock"], protocol: false, pure: false },
    Row { module: "config", may: &["limit", "key", "sign", "store::StoreEngine"], protocol: true, pure: false },
    Row { module: "limit",  may: &["clock::Now"], protocol: true, pure: true },
    Row { module: "usage",  may: &["limit::Period", "clock::Now"], protocol: true, pure: true },
    Row { module: "key",    may: &["limit::Period", "sign", "clock::Now"], protocol: true, pure: true },
    Row { module: "sign",   may: &[], protocol: false, pure: true },
    Row { module: "vault",  may: &["key"], protocol: false, pure: true },
    Row { module: "alert",  may: &["event", "limit::Period", "key"], protocol: false, pure: true },
    Row { module: "event",  may: &[], protocol: true, pure: true },
    Row { module: "http",   may: &["metrics"], protocol: false, pure: false },
    Row { module: "metrics", may: &[], protocol: false, pure: true },
    Row { module: "deliver", may: &["event", "config", "key"], protocol: false, pure: false },
    Row { module: "notify", may: &["alert", "deliver", "engine", "store", "config", "limit", "key", "vault", "event", "clock"], protocol: true, pure: false },
    Row { module: "secret", may: &[], protocol: false, pure: false },
    Row { module: "clock",  may: &[], protocol: false, pure: false },
];

/// What the tests of any module may name besides: a clock that stands still reads no time.
const TESTS_MAY: &[&str] = &["clock::Clock", "clock::ManualClock", "clock::Now"];

/// What a pure module must not name.
const IMPURE: &[&str] = &["tokio", "std::fs", "std::net", "std::os", "std::process", "std::env"];

/// The ways to read time, each of three words and marks.
const TIME: &[&str] =
    &["Instant::now", "SystemTime::now", "Timestamp::now", "Zoned::now", ".elapsed("];

/// The only file that reads time …
const TIME_FILE: &str = "src/clock.rs";
/// … in the daemon. The client runs in other people's processes and names no module of this crate.
const CLIENT_TIME_FILE: &str = "src/client/stopwatch.rs";
/// The engines, each with the only file that names it.
const ENGINES: &[(&str, &str)] = &[("sled", "src/store/sled.rs"), ("redb", "src/store/redb.rs")];

/// One source file, read.
struct Source {
    /// Relative to the repository's root, with `/`.
    path: String,
    tokens: Vec<Token>,
    paths: Vec<NamedPath>,
}

impl Source {
    fn new(path: &str, text: &str) -> Self {
        let tokens = lex::tokens(text);
        let paths = lex::paths(&tokens);
        Self { path: path.to_owned(), tokens, paths }
    }

    /// The file's own place in the crate: `src/engine/catalog.rs` is `engine::catalog`.
    fn module(&self) -> Vec<&str> {
        let path = self.path.strip_prefix("src/").unwrap_or(&self.path);
        let path = path.strip_suffix(".rs").unwrap_or(path);
        path.split('/').filter(|part| *part != "mod" && *part != "lib").collect()
    }

    /// Whether a path stands in a file or a module of tests.
    fn is_test(&self, path: &NamedPath) -> bool {
        self.module().contains(&"tests") || path.inside.iter().any(|module| module == "tests")
    }

    fn at(&self, line: usize, what: &str) -> String {
        format!("{}:{line}: {what}", self.path)
    }
}

/// The path from the crate's root that is meant, or `None` where another crate or a local name is.
fn in_this_crate(source: &Source, path: &NamedPath) -> Option<Vec<String>> {
    let root = path.segments[0].as_str();
    match root {
        "crate" => Some(path.segments[1..].to_vec()),
        // The binary and the library are two crates of one house.
        "keygate" if path.segments.len() > 1 => Some(path.segments[1..].to_vec()),
        "self" | "super" => {
            let mut place: Vec<String> = source.module().into_iter().map(str::to_owned).collect();
            place.extend(path.inside.iter().cloned());
            for segment in &path.segments {
                match segment.as_str() {
                    "self" => {}
                    "super" => drop(place.pop()),
                    name => place.push(name.to_owned()),
                }
            }
            Some(place)
        }
        _ => None,
    }
}

fn begins(path: &[String], with: &str) -> bool {
    let with: Vec<&str> = with.split("::").collect();
    path.len() >= with.len() && path.iter().zip(&with).all(|(have, want)| have == want)
}

fn turned_arrows(source: &Source) -> Vec<String> {
    let module = source.module();
    // lib.rs is the map: it names every module.
    let Some(&own) = module.first() else { return Vec::new() };
    let Some(row) = ARROWS.iter().find(|row| row.module == own) else {
        return vec![source.at(1, &format!("module `{own}` has no row in the table of arrows"))];
    };
    let mut found = Vec::new();
    for path in &source.paths {
        if path.segments[0] == "keygate_protocol" && !row.protocol {
            found.push(source.at(path.line, &format!("`{own}` may not name keygate_protocol")));
        }
        let Some(named) = in_this_crate(source, path) else { continue };
        let Some(target) = named.first() else { continue };
        let may = row.may.iter().chain(TESTS_MAY.iter().filter(|_| source.is_test(path)));
        let known = ARROWS.iter().any(|row| row.module == target);
        if known && target != own && !may.clone().any(|allowed| begins(&named, allowed)) {
            let named = named.join("::");
            found.push(source.at(
                path.line,
                &format!("`{own}` may not name crate::{named}; it may name {:?}", row.may),
            ));
        }
    }
    found
}

fn impure(source: &Source) -> Vec<String> {
    let module = source.module();
    if !ARROWS.iter().any(|row| row.pure && module.first() == Some(&row.module)) {
        return Vec::new();
    }
    let named = |path: &&NamedPath| IMPURE.iter().any(|name| begins(&path.segments, name));
    let say = |path: &NamedPath| {
        let name = path.segments.join("::");
        source.at(path.line, &format!("`{}` is pure and may not name {name}", module[0]))
    };
    source.paths.iter().filter(named).map(say).collect()
}

fn time_reads(source: &Source) -> Vec<String> {
    let time_file =
        if source.path.starts_with("src/client/") { CLIENT_TIME_FILE } else { TIME_FILE };
    if source.path == time_file || !is_program(source) {
        return Vec::new();
    }
    let reads = |window: &[Token]| {
        let joined: String = window.iter().map(|token| token.text.as_str()).collect();
        let found = TIME.iter().find(|way| joined == **way);
        // The client's stopwatch has a method of that name.
        found.filter(|way| **way != ".elapsed(" || time_file == TIME_FILE)
    };
    let pairs = source.tokens.windows(3).filter_map(|window| reads(window).zip(window.first()));
    let say = |(way, token): (&&str, &Token)| {
        source.at(token.line, &format!("time is read ({way}) outside {time_file}"))
    };
    pairs.map(say).collect()
}

fn engine_named(source: &Source) -> Vec<String> {
    let mut found = Vec::new();
    // A bench may put the bare store beside ours.
    for (engine, file) in ENGINES.iter().filter(|_| !source.path.starts_with("benches/")) {
        let of_engine = |path: &&NamedPath| {
            // Our own module of that name is brought in by `use self::` or `use super::`.
            path.segments[0] == *engine && path.segments.len() > 1 && !brings_own(source, engine)
        };
        let say =
            |path: &NamedPath| source.at(path.line, &format!("{engine} is named outside {file}"));
        if source.path != *file {
            found.extend(source.paths.iter().filter(of_engine).map(say));
        }
    }
    found
}

/// Whether a file brings our own module of an engine's name in, so that the name means that.
fn brings_own(source: &Source, engine: &str) -> bool {
    let own = |path: &NamedPath| {
        path.segments.len() >= 2 && path.segments[0] == "super" && path.segments[1] == engine
    };
    source.module().first() == Some(&"store") && source.paths.iter().any(own)
}

fn leftovers(source: &Source) -> Vec<String> {
    let mut found = Vec::new();
    for (at, token) in source.tokens.iter().enumerate() {
        let next = source.tokens.get(at + 1).map_or("", |token| token.text.as_str());
        if matches!(token.text.as_str(), "todo" | "unimplemented" | "dbg") && next == "!" {
            found
                .push(source.at(token.line, &format!("{}! is not for committed code", token.text)));
        }
        if token.text == "#" {
            let words = attribute(&source.tokens[at + 1..]);
            let has = |word: &str| words.contains(&word);
            if has("ignore") && (words[0] == "ignore" || has("cfg_attr")) {
                found.push(source.at(token.line, "an ignored test tests nothing"));
            }
            if (has("allow") || has("expect")) && !has("reason") {
                found.push(source.at(token.line, "allow and expect need `reason = \"…\"`"));
            }
        }
    }
    found
}

/// The words between the brackets of an attribute whose `#` has been taken.
fn attribute(tokens: &[Token]) -> Vec<&str> {
    let mut words = tokens.iter().map(|token| token.text.as_str()).skip_while(|word| *word == "!");
    if words.next() != Some("[") {
        return Vec::new();
    }
    let mut depth = 1;
    words
        .take_while(|word| {
            depth += i32::from(*word == "[") - i32::from(*word == "]");
            depth > 0
        })
        .collect()
}

/// Whether the file is part of what ships, as tests and benches are not.
fn is_program(source: &Source) -> bool {
    source.path.starts_with("src/") || source.path.starts_with("protocol/src/")
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// Every Rust file of the repository.
fn sources() -> Vec<Source> {
    let mut files = Vec::new();
    for folder in ["src", "protocol", "tests", "benches", "examples"] {
        rust_files(&root().join(folder), &mut files).expect("the source tree can be read");
    }
    files.sort();
    assert!(!files.is_empty(), "no source under {}", root().display());
    let read = |file: &PathBuf| {
        let path = file.strip_prefix(root()).expect("a file of this repository");
        let text = fs::read_to_string(file).expect("a source file is UTF-8");
        Source::new(&path.to_string_lossy(), &text)
    };
    files.iter().map(read).collect()
}

fn rust_files(folder: &Path, out: &mut Vec<PathBuf>) -> io::Result<()> {
    if !folder.is_dir() {
        return Ok(());
    }
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            rust_files(&path, out)?;
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            out.push(path);
        }
    }
    Ok(())
}

fn assert_nothing(rule: &str, found: &[String]) {
    assert!(found.is_empty(), "{rule}:\n  {}\n", found.join("\n  "));
}

fn judge(rule: &str, check: impl Fn(&Source) -> Vec<String>, of: impl Fn(&Source) -> bool) {
    let found: Vec<String> = sources().iter().filter(|source| of(source)).flat_map(check).collect();
    assert_nothing(rule, &found);
}

#[test]
fn arrows_go_one_way() {
    judge("an arrow of the house is turned", turned_arrows, |file| file.path.starts_with("src/"));
}

#[test]
fn the_core_is_pure() {
    judge("a pure module names the outside", impure, |file| file.path.starts_with("src/"));
}

#[test]
fn time_is_read_in_one_file() {
    judge("time comes in as an argument", time_reads, |_| true);
}

#[test]
fn an_engine_is_named_in_one_file() {
    judge("the store is behind its trait", engine_named, |_| true);
}

#[test]
fn every_file_is_compiled() {
    let sources = sources();
    let of = |path: &str| sources.iter().find(|source| source.path == path);
    let named = |source: &Source| {
        let Some((parents, name)) = declared_in(&source.path) else { return true };
        let declares = |tokens: &[Token]| tokens[0].text == "mod" && tokens[1].text == name;
        let parents = parents.iter().filter_map(|path| of(path));
        parents.into_iter().any(|parent| parent.tokens.windows(2).any(declares))
    };
    let lost = sources.iter().filter(|source| is_program(source) && !named(source));
    let lost: Vec<String> = lost.map(|source| source.path.clone()).collect();
    assert_nothing("no `mod` names these, so nobody compiles them", &lost);
}

/// The files that may declare a file's module, and its name; `None` for the root of a crate.
fn declared_in(path: &str) -> Option<([String; 4], &str)> {
    let file = path.strip_suffix(".rs")?;
    let file = file.strip_suffix("/mod").unwrap_or(file);
    let (folder, name) = file.rsplit_once('/')?;
    let is_root = matches!(name, "lib" | "main") && folder.ends_with("src");
    let parents = ["/mod.rs", ".rs", "/lib.rs", "/main.rs"].map(|end| format!("{folder}{end}"));
    (!is_root).then_some((parents, name))
}

#[test]
fn nothing_is_left_over() {
    judge("leftovers", leftovers, |_| true);
}

#[test]
fn the_readme_maps_every_top_level_entry() {
    let readme = match fs::read_to_string(root().join("README.md")) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return,
        Err(error) => panic!("README.md: {error}"),
    };
    let names = map_names(&readme);
    let unnamed: Vec<String> = entries().into_iter().filter(|name| !names.contains(name)).collect();
    assert_nothing("README's map does not name", &unnamed);
}

/// The words of README's section whose heading has the word "map".
fn map_names(readme: &str) -> BTreeSet<String> {
    let is_heading = |line: &&str| line.starts_with('#');
    let is_map = |line: &str| line.starts_with('#') && line.to_lowercase().contains("map");
    let section = readme.lines().skip_while(|line| !is_map(line)).skip(1);
    // A `# comment` in a fenced block looks like a heading; the map needs none.
    let section = section.take_while(|line| !is_heading(line));
    let part = |next: char| !(next.is_alphanumeric() || "._-".contains(next));
    section.flat_map(|line| line.split(part)).map(str::to_owned).collect()
}

/// What stands at the repository's root: what git tracks, or, outside a clone, what is there.
fn entries() -> BTreeSet<String> {
    let listed = Command::new("git").args(["ls-files", "-z"]).current_dir(root()).output();
    if let Ok(listed) = listed
        && listed.status.success()
        && !listed.stdout.is_empty()
    {
        let listed = String::from_utf8_lossy(&listed.stdout);
        let top = |path: &str| path.split('/').next().unwrap_or(path).to_owned();
        return listed.split('\0').filter(|path| !path.is_empty()).map(top).collect();
    }
    let there = fs::read_dir(root()).expect("the root can be read");
    there
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter(|name| name != ".git" && name != "target")
        .collect()
}

/// A code that no case shows is one that nobody has seen the daemon give.
#[test]
fn every_verdict_code_has_a_case() {
    let cases: BTreeSet<&str> = verdict_cases::CASES.iter().map(|case| case.code).collect();
    // No command makes a disk fail: `src/ledger/tests/failures.rs` shows the one, `tests/audit.rs` the
    // other. It takes a crash to forget signatures: `tests/signatures.rs`.
    let elsewhere = [
        VerdictCode::LedgerUnavailable,
        VerdictCode::AuditUnavailable,
        VerdictCode::SignatureUnchecked,
    ];
    let shown_here = |code: &&VerdictCode| !elsewhere.contains(code);
    let codes: BTreeSet<&str> =
        VerdictCode::ALL.iter().filter(shown_here).map(|code| code.name()).collect();
    assert_eq!(cases, codes, "tests/verdicts/cases.rs has a case for each code of the table");
}

/// Each rule against a file that breaks it and one that only looks so.
#[test]
fn the_rules_see_what_breaks_them() {
    type Rule = fn(&Source) -> Vec<String>;
    #[rustfmt::skip]
    let cases: &[(&str, Rule, &str, &str, usize)] = &[
        ("down", turned_arrows, "src/server/data.rs", "use crate::engine::Engine;", 0),
        ("up", turned_arrows, "src/engine/mod.rs", "use crate::server::Listener;", 1),
        ("up in a tree", turned_arrows, "src/engine/mod.rs", "use crate::{key::Id, store::{Store, self}};", 2),
        ("up in a test", turned_arrows, "src/limit/gcra.rs", "#[cfg(test)] mod tests { use crate::engine::Engine; }", 1),
        ("up by super", turned_arrows, "src/limit/gcra.rs", "fn f() { super::super::engine::go() }", 1),
        ("super of a test", turned_arrows, "src/limit/gcra.rs", "mod tests { use super::super::engine; use super::super::super::engine; }", 1),
        ("an item of a module", turned_arrows, "src/limit/mod.rs", "use crate::clock::{Now, SystemClock};", 1),
        ("the client", turned_arrows, "src/client/mod.rs", "use crate::key::Id;", 1),
        ("a test's clock", turned_arrows, "src/key/tests.rs", "use crate::clock::{ManualClock, SystemClock};", 1),
        ("a test's clock elsewhere", turned_arrows, "src/key/mod.rs", "use crate::clock::ManualClock;", 1),
        ("protocol", turned_arrows, "src/store/mod.rs", "use keygate_protocol::Verdict;", 1),
        ("main by the library", turned_arrows, "src/main.rs", "fn main() { keygate::cli::run(); keygate::engine::run() }", 1),
        ("a new module", turned_arrows, "src/novel.rs", "", 1),
        ("in words", turned_arrows, "src/key/mod.rs", "// crate::server::x\nconst A: &str = r#\"crate::server\"#; /* crate::cli */", 0),
        ("visibility", turned_arrows, "src/key/mod.rs", "pub(crate) fn server() { 'a'; b'\\''; f::<'static>() }", 0),
        ("tokio", impure, "src/engine/mod.rs", "use tokio::sync::Mutex;", 1),
        ("std in a tree", impure, "src/key/mod.rs", "use std::{fmt, fs::File, net::{IpAddr, TcpStream}};", 3),
        ("an address is a value", impure, "src/key/address.rs", "use core::net::{IpAddr, Ipv4Addr};", 0),
        ("tokio elsewhere", impure, "src/server/mod.rs", "use tokio::sync::Mutex;", 0),
        ("instant", time_reads, "src/server/mod.rs", "let a = tokio::time::Instant::now();", 1),
        ("instant as a function", time_reads, "src/server/mod.rs", "once.get_or_init(Instant::now)", 1),
        ("elapsed", time_reads, "src/cli/bench/mod.rs", "start.elapsed()", 1),
        ("the epoch", time_reads, "src/key/mod.rs", "std::time::UNIX_EPOCH.elapsed()", 1),
        ("the clock itself", time_reads, "src/clock.rs", "Instant::now()", 0),
        ("the client's clock", time_reads, "src/client/mod.rs", "Instant::now(); stopwatch.elapsed()", 1),
        ("the client's stopwatch", time_reads, "src/client/stopwatch.rs", "Instant::now().elapsed()", 0),
        ("a clock's now", time_reads, "src/server/mod.rs", "clock.now(); Now::from(1); deadline.elapsed", 0),
        ("a test's deadline", time_reads, "tests/daemon.rs", "Instant::now()", 0),
        ("sled", engine_named, "src/store/mod.rs", "use sled::Db;", 1),
        ("redb", engine_named, "src/cli/doctor.rs", "fn f() { redb::Database::open(); }", 1),
        ("our sled", engine_named, "src/store/mod.rs", "mod sled; pub use self::sled::SledStore;", 0),
        ("our redb", engine_named, "src/store/engine.rs", "use super::redb::{self, RedbStore}; fn f() { redb::is_ours() }", 0),
        ("ours elsewhere", engine_named, "src/cli/doctor.rs", "use super::redb; fn f() { redb::x() }", 1),
        ("its file", engine_named, "src/store/sled.rs", "use sled::Db;", 0),
        ("the other's file", engine_named, "src/store/sled.rs", "use redb::Database;", 1),
        ("macros", leftovers, "src/lib.rs", "todo!(); dbg!(1); unimplemented!()", 3),
        ("ignored", leftovers, "src/lib.rs", "#[ignore = \"slow\"] fn a() {} #[cfg_attr(miri, ignore)] fn b() {}", 2),
        ("no reason", leftovers, "src/lib.rs", "#![allow(dead_code)] #[expect(unused)] fn a() { b.expect(\"c\") }", 2),
        ("a reason", leftovers, "src/lib.rs", "#[allow(dead_code, reason = \"x\")] fn ignore() {}", 0),
    ];
    for (name, rule, path, text, expected) in cases {
        let found = rule(&Source::new(path, text));
        assert_eq!(found.len(), *expected, "{name}: {found:?}");
    }
    let map =
        "# keygate\nLICENSE\n## Map of this tree\n```\nsrc/   code\n.ci/run\n```\n## Next\nlater";
    let names = map_names(map);
    assert!(names.contains("src") && names.contains(".ci") && !names.contains("later"));
    assert!(!names.contains("LICENSE"));
}

/// CI fills the corpora of the fuzz targets first, and ends where a golden row has no place in a store.
#[test]
fn every_golden_row_is_a_seed_of_the_fuzz_targets() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let seeds = fs::read_to_string(root.join("fuzz/seeds.py")).expect("it can be read");
    for file in fs::read_dir(root.join("src/store/golden")).expect("golden rows") {
        let name = file.expect("an entry").file_name().into_string().expect("text");
        let kind = name.split(['_', '.']).next().expect("a name");
        assert!(seeds.contains(&format!("\n    \"{kind}\": ")), "{name}: ROW_KEYS lacks {kind}");
    }
}
