//! `keygate key bulk …`: one request for each record of a file, several at a time.
//!
//! Each lane has an admin connection of its own, so that those who wait for the disk share its
//! syncs. Results come out in the input's order; whatever is not printed was not asked for.

mod input;
mod lanes;

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use indicatif::ProgressBar;
use zeroize::Zeroizing;

use super::super::error::CliError;
use super::super::{Exit, Global, connect, progress};
use input::Parse;
use lanes::{Ending, Order};

/// Lanes at the most: the daemon takes 64 admin connections by default, and others need some.
const JOBS_MAX: i64 = 32;

#[derive(Debug, clap::Subcommand)]
pub(in crate::cli) enum Command {
    /// Make a key of each record; tokens are shown once
    Create(Create),
    /// Change a key for each request of the file, {"id": …, "set": {…}} with optional "mask" and
    /// "expected_revision"
    Update(Common),
    /// Stop the keys of these ids for good
    Revoke(Revoke),
    /// Delete the keys of these ids
    Delete(Delete),
}

#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Common {
    /// Records in the source system's JSON, or ids: one a line, a list, or a page of `key list
    /// --json`; `-` is standard input
    file: PathBuf,
    /// Requests at a time, each on a connection of its own
    #[arg(long, value_name = "N", default_value_t = 8)]
    #[arg(value_parser = clap::value_parser!(u8).range(1..=JOBS_MAX))]
    jobs: u8,
    /// Begin no more once one has failed
    #[arg(long)]
    fail_fast: bool,
    /// Write the results to this new file, for its owner alone, instead of standard output
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Create {
    #[command(flatten)]
    common: Common,
    /// Give each request the id PREFIX-N, N its number in the file, so that a repeated run makes no
    /// key twice; a record's own request_id comes before it
    #[arg(long, value_name = "PREFIX")]
    request_id_prefix: Option<String>,
}

#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Revoke {
    #[command(flatten)]
    common: Common,
    #[command(flatten)]
    why: super::life::Why,
}

#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Delete {
    #[command(flatten)]
    common: Common,
    /// Remove the records too, for good
    #[arg(long)]
    purge: bool,
}

pub(super) fn run(command: &Command, global: &Global) -> Result<Exit, CliError> {
    let (common, parse) = match command {
        Command::Create(args) => {
            (&args.common, Parse::Create { request_id_prefix: args.request_id_prefix.clone() })
        }
        Command::Update(common) => (common, Parse::Update),
        Command::Revoke(args) => (
            &args.common,
            Parse::Revoke {
                reason: args.why.reason.clone(),
                reason_code: args.why.reason_code.clone(),
            },
        ),
        Command::Delete(args) => (&args.common, Parse::Delete { purge: args.purge }),
    };
    let order = Order { jobs: common.jobs.into(), fail_fast: common.fail_fast };
    let bar = progress::over_bytes_of(&common.file)?;
    let input = bar.wrap_read(super::super::records::open(&common.file)?);
    let mut results = Results::open(common.out.as_deref(), bar.clone())?;
    let runtime = connect::runtime()?;
    let read = move |each: input::Each<'_>| input::read(input, &parse, each);
    let ending = runtime.block_on(lanes::run(global, &order, read, &mut results));
    // A thread that still reads an endless input must not hold the end up.
    runtime.shutdown_background();
    bar.finish_and_clear();
    end(&ending?, &common.file)
}

/// Says what was done, and chooses the exit code.
fn end(ending: &Ending, file: &Path) -> Result<Exit, CliError> {
    let counts: Vec<String> =
        ending.counts.iter().map(|(outcome, count)| format!("{outcome}: {count}")).collect();
    eprintln!("{}", if counts.is_empty() { "nothing to do".to_owned() } else { counts.join(", ") });
    if let Some(error) = &ending.unread {
        let from = super::super::records::name_of(file);
        return Err(CliError::Input {
            from,
            reason: format!("{error}; what stands before it was carried out"),
        });
    }
    if let Some(why) = ending.stopped {
        eprintln!("{why}: what is not listed was not begun");
    }
    Ok(ending.exit)
}

/// Where results go, a line at a time: whatever ends the command, what was done is there.
struct Results {
    out: Box<dyn Write>,
    path: Option<PathBuf>,
    bar: ProgressBar,
}

impl Results {
    fn open(path: Option<&Path>, bar: ProgressBar) -> Result<Self, CliError> {
        let out: Box<dyn Write> = match path {
            Some(path) => Box::new(new_file(path)?),
            None => Box::new(io::stdout()),
        };
        Ok(Self { out, path: path.map(Path::to_owned), bar })
    }

    fn print(&mut self, line: &str) -> Result<(), CliError> {
        let line = Zeroizing::new(format!("{line}\n"));
        let out = &mut self.out;
        let written =
            self.bar.suspend(|| out.write_all(line.as_bytes()).and_then(|()| out.flush()));
        written.map_err(|error| match &self.path {
            Some(path) => CliError::File { doing: "write", path: path.clone(), error },
            None => CliError::System { doing: "cannot write to standard output", error },
        })
    }
}

/// A file that was not there: tokens of an earlier run are not written over.
fn new_file(path: &Path) -> Result<File, CliError> {
    let opened = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
    opened.map_err(|error| match error.kind() {
        io::ErrorKind::AlreadyExists => CliError::Input {
            from: path.display().to_string(),
            reason: "it is there already, and nothing is written over: give another name"
                .to_owned(),
        },
        _ => CliError::File { doing: "make", path: path.to_owned(), error },
    })
}
