//! `keygate simulate`: a trace of requests, judged by the engine under a clock that the trace moves.
//!
//! [`trace`] reads its lines ([`fields`] what is in them), [`keys`] the records, [`world`] is the engine with all that stands
//! around it in a daemon, [`ledger`] the ledger without a disk, [`summary`] what is counted. No
//! clock is read and nothing is written: the same files give the same bytes.

mod fields;
pub(super) mod fuzzing;
mod keys;
mod ledger;
mod summary;
mod trace;
mod world;

use std::fs::File;
use std::io::{self, BufWriter, Read, StdoutLock, Write};
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde_json::value::RawValue;

use super::error::CliError;
use super::records::{is_stdin, name_of};
use super::verdict::VerdictJson;
use super::{Exit, Global};
use crate::config::Config;
use crate::key::Time;
use fields::looks_like_seconds;
use summary::Summary;
use trace::{Event, Op, Trace};
use world::World;

/// Bytes that are read and written at a time.
const BUFFER_BYTES: usize = 1 << 16;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The records of keys and tenants, as `export` writes them and `import` reads them; `-` is
    /// standard input. Hashes of tokens may be missing: the trace names keys by their ids
    #[arg(long, value_name = "FILE")]
    keys: PathBuf,
    /// The trace: lines of JSON in the order of their time; `-` is standard input
    #[arg(long, value_name = "FILE")]
    trace: PathBuf,
    /// The daemon's configuration, for the tiers that the records name
    #[arg(long, value_name = "FILE", env = "KEYGATE_CONFIG", hide_env_values = true)]
    config: Option<PathBuf>,
}

pub(super) fn run(args: &Args, global: &Global) -> Result<Exit, CliError> {
    if is_stdin(&args.keys) && is_stdin(&args.trace) {
        let what = "--keys and --trace cannot both be standard input";
        return Err(CliError::Usage(what.to_owned()));
    }
    let config = match &args.config {
        Some(file) => Config::from_file(file)?,
        None => Config::default(),
    };
    config.check()?;
    let (keys, tenants) = keys::read(&args.keys, &config.rules())?;
    let mut run = Run {
        world: World::new(config, keys, tenants),
        summary: Summary::default(),
        json: global.json,
        out: Some(BufWriter::with_capacity(BUFFER_BYTES, io::stdout().lock())),
    };
    let judged = run.judge_all(open(&args.trace)?, &name_of(&args.trace));
    // What was judged before an error is told all the same.
    run.flush()?;
    let exit = match judged {
        Ok(()) => Exit::Fine,
        Err(error) if run.summary.is_empty() => return Err(error),
        Err(error) => {
            eprintln!("keygate: {error}");
            if !global.json {
                eprintln!("what was judged before that:");
            }
            error.exit()
        }
    };
    if global.json {
        eprintln!("{}", run.summary.json());
    } else {
        eprintln!("{}", run.summary.text());
    }
    Ok(exit)
}

fn open(path: &Path) -> Result<Box<dyn Read>, CliError> {
    if is_stdin(path) {
        return Ok(Box::new(io::stdin().lock()));
    }
    let failed = |error| CliError::File { doing: "read", path: path.to_owned(), error };
    Ok(Box::new(File::open(path).map_err(failed)?))
}

struct Run {
    world: World,
    summary: Summary,
    /// Whether the summary is one line, which has the notices too.
    json: bool,
    /// `None` once nobody reads any more.
    out: Option<BufWriter<StdoutLock<'static>>>,
}

/// A verdict, and when.
#[derive(Serialize)]
struct VerdictLine<'a> {
    at: &'a RawValue,
    #[serde(flatten)]
    verdict: VerdictJson<'a>,
}

/// What became of a report or of a renewal, and when.
#[derive(Serialize)]
struct OutcomeLine<'a> {
    at: &'a RawValue,
    outcome: &'static str,
}

impl Run {
    fn judge_all(&mut self, input: Box<dyn Read>, name: &str) -> Result<(), CliError> {
        let mut trace = Trace::new(input);
        loop {
            let judged = match trace.next_line() {
                Ok(None) => return Ok(()),
                Ok(Some(line)) => Event::parse(line.bytes, line.after_us).and_then(|event| {
                    self.judge(&event)?;
                    self.notice(&event, line.number);
                    Ok(event.at_us)
                }),
                Err(error) => {
                    let from = name.to_owned();
                    return Err(CliError::Input { from, reason: error.to_string() });
                }
            };
            match judged {
                Ok(at_us) => {
                    self.summary.line(at_us);
                    trace.passed(at_us);
                }
                Err(reason) => {
                    let reason = format!("line {}: {reason}", trace.number());
                    return Err(CliError::Input { from: name.to_owned(), reason });
                }
            }
            // `| head` has seen enough.
            if self.out.is_none() {
                return Ok(());
            }
        }
    }

    /// Says once that a time is an unlikely one.
    fn notice(&mut self, event: &Event<'_>, line: u64) {
        if self.summary.has_notices() || !looks_like_seconds(event.at, event.at_us) {
            return;
        }
        let notice = format!(
            "line {line}: at: {} is {}: at is in milliseconds; if these are seconds, multiply them \
             by 1000",
            event.at,
            Time::from_micros(event.at_us)
        );
        if !self.json {
            eprintln!("notice: {notice}");
        }
        self.summary.notice(notice);
    }

    /// Judges one line, and prints what comes of it.
    fn judge(&mut self, event: &Event<'_>) -> Result<(), String> {
        self.world.go_to(event.at_us)?;
        let at = event.at;
        let outcome = match &event.op {
            Op::Validate(asked) => {
                let known = self.world.has_key(asked.key_id);
                let answer = self.world.validate(asked)?;
                self.summary.verdict(event.at_us, asked, answer);
                let about = world::about(answer);
                let mut verdict =
                    VerdictJson::new(&answer.verdict, about, |limit| asked.name_of(limit));
                if !known {
                    // A trace has no tokens.
                    verdict.message = "no key of --keys has this id";
                    self.summary.unknown(asked);
                }
                write(&mut self.out, &VerdictLine { at, verdict })?;
                let held = self.world.slots_held(self.summary.slots_held());
                self.summary.slots(event.at_us, held);
                return Ok(());
            }
            Op::Increment(report) => self.world.increment(report)?,
            Op::Renew(renew) => self.world.renew(renew),
            Op::Update(update) => return self.world.update(update),
            Op::Crash => return self.world.crash(),
            Op::Restart => return self.world.restart(),
        };
        write(&mut self.out, &OutcomeLine { at, outcome })
    }

    fn flush(&mut self) -> Result<(), CliError> {
        let flushed = self.out.as_mut().map_or(Ok(()), Write::flush);
        match flushed {
            Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
                Err(CliError::System { doing: "cannot write to standard output", error })
            }
            _ => Ok(()),
        }
    }
}

/// Writes one line. When nobody reads any more, that is the end of it and no failure.
fn write(
    out: &mut Option<BufWriter<StdoutLock<'static>>>,
    line: &impl Serialize,
) -> Result<(), String> {
    let Some(to) = out else { return Ok(()) };
    let written = serde_json::to_writer(&mut *to, line).map_err(io::Error::from);
    match written.and_then(|()| to.write_all(b"\n")) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {
            *out = None;
            Ok(())
        }
        Err(error) => Err(format!("its verdict cannot be written to standard output: {error}")),
        Ok(()) => Ok(()),
    }
}
