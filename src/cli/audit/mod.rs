//! `keygate audit`: the audit log, read from its files, while a daemon writes them or without one.

mod filter;

use std::cell::Cell;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::error::CliError;
use super::event_line::{Colours, said_line};
use super::output::{print, print_json};
use super::{Exit, Global};
use crate::audit::read::{Entry, each, extent, last_sequence};
use crate::audit::{self, Report, key};
use crate::config::{Audit, DATA_DIR_DEFAULT};
use filter::Filter;

/// Between two looks of `tail --follow`.
const FOLLOW: Duration = Duration::from_millis(200);
/// Problems that are named to people.
const PROBLEMS_SHOWN: usize = 20;

#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    /// Show the newest records
    Tail(Tail),
    /// Show the records that are about something
    Search(Search),
    /// Say whether every record is as it was written, and none is missing
    Verify(Verify),
    /// Write every record as one line of JSON
    Export(Place),
}

/// Where the log is.
#[derive(Debug, clap::Args)]
pub(super) struct Place {
    /// The daemon's data directory; /var/lib/keygate if not given [env: KEYGATE_DATA_DIR]
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// The log's own directory, where audit.dir places it elsewhere
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
}

#[derive(Debug, clap::Args)]
pub(super) struct Tail {
    #[command(flatten)]
    place: Place,
    /// So many records
    #[arg(short = 'n', long, value_name = "N", default_value_t = 10)]
    count: u64,
    /// Go on with what is written from now on, until it is interrupted
    #[arg(short, long)]
    follow: bool,
}

#[derive(Debug, clap::Args)]
pub(super) struct Search {
    #[command(flatten)]
    place: Place,
    #[command(flatten)]
    filter: Filter,
}

#[derive(Debug, clap::Args)]
pub(super) struct Verify {
    #[command(flatten)]
    place: Place,
    /// The key that records are chained under; audit.key in the data directory if not given
    #[arg(long, value_name = "FILE")]
    key_file: Option<PathBuf>,
}

impl Place {
    fn data_dir(&self) -> PathBuf {
        let from_env = || std::env::var_os("KEYGATE_DATA_DIR").filter(|dir| !dir.is_empty());
        let given = self.data_dir.clone().or_else(|| from_env().map(PathBuf::from));
        given.unwrap_or_else(|| DATA_DIR_DEFAULT.into())
    }

    fn dir(&self) -> PathBuf {
        self.dir.clone().unwrap_or_else(|| self.data_dir().join(Audit::DIR_NAME))
    }
}

pub(super) fn run(command: &Command, global: &Global) -> Result<Exit, CliError> {
    match command {
        Command::Tail(args) => tail(args, global),
        Command::Search(args) => {
            args.filter.check()?;
            let dir = args.place.dir();
            let found = Cell::new(false);
            show(&dir, 0, global.json, |entry| {
                let wanted = args.filter.wants(entry);
                found.set(found.get() || wanted);
                wanted
            })?;
            if !found.get() {
                eprintln!("notice: no record is like that");
            }
            Ok(Exit::Fine)
        }
        Command::Verify(args) => verify(args, global),
        Command::Export(place) => {
            show(&place.dir(), 0, true, |_| true)?;
            Ok(Exit::Fine)
        }
    }
}

fn tail(args: &Tail, global: &Global) -> Result<Exit, CliError> {
    let dir = args.place.dir();
    let newest = last_sequence(&dir).map_err(|error| unread(&dir, error))?;
    let mut last = newest.saturating_sub(args.count);
    let mut shown = None;
    loop {
        // Before it is read, so that nothing is passed over.
        let there = extent(&dir).map_err(|error| unread(&dir, error))?;
        if shown.replace(there) != Some(there) {
            last = show(&dir, last, global.json, |_| true)?;
        }
        if !args.follow {
            return Ok(Exit::Fine);
        }
        std::thread::sleep(FOLLOW);
    }
}

/// Shows the records behind one that are wanted; answers the last that was seen.
fn show(
    dir: &Path,
    after: u64,
    json: bool,
    wanted: impl Fn(&Entry) -> bool,
) -> Result<u64, CliError> {
    use io::Write as _;
    let colours = Colours::of_stdout();
    let mut out = io::BufWriter::new(io::stdout().lock());
    let mut untold = None;
    let seen = each(dir, after, |entry| {
        if !wanted(&entry) {
            return Ok(true);
        }
        let line = if json {
            serde_json::to_string(&entry).map_err(io::Error::other)?
        } else {
            said_line(&entry.said, colours)
        };
        if let Err(error) = writeln!(out, "{line}") {
            untold = Some(error);
        }
        Ok(untold.is_none())
    });
    let seen = seen.map_err(|error| unread(dir, error))?;
    match untold.map_or_else(|| out.flush(), Err) {
        // Whoever read has gone.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => std::process::exit(0),
        Err(error) => Err(CliError::System { doing: "cannot write to standard output", error }),
        Ok(()) => {
            if seen.unread > 0 {
                eprintln!(
                    "notice: {} records are left out, because what they say cannot be read: of a \
                     later keygate, or not as they were written (`keygate audit verify` knows)",
                    seen.unread
                );
            }
            Ok(seen.last)
        }
    }
}

fn verify(args: &Verify, global: &Global) -> Result<Exit, CliError> {
    let dir = args.place.dir();
    let path = match &args.key_file {
        Some(path) => path.clone(),
        None => key::path(&args.place.data_dir())?,
    };
    if !key::has_log(&dir).map_err(|error| unread(&dir, error))? {
        let reason =
            "there is no audit log in it; --data-dir or --dir says where one is".to_owned();
        return Err(CliError::Input { from: dir.display().to_string(), reason });
    }
    let key = key::load(&path, false)?;
    let report = audit::verify(&dir, &key).map_err(|error| unread(&dir, error))?;
    if global.json {
        print_json(&report)?;
    } else {
        print(&summary(&report))?;
        print_problems(&report);
    }
    Ok(if report.is_clean() { Exit::Fine } else { Exit::Error })
}

fn summary(report: &Report) -> String {
    let mut text = format!(
        "{}\n  files    {}\n  records  {} ({} to {})\n  last MAC {}\n",
        if report.is_clean() { "clean" } else { "NOT CLEAN" },
        report.files,
        report.records,
        report.first,
        report.last,
        report.last_mac
    );
    text.extend(report.notices.iter().map(|notice| format!("  {notice}\n")));
    text
}

fn print_problems(report: &Report) {
    for problem in report.problems.iter().take(PROBLEMS_SHOWN) {
        eprintln!("{}, byte {}: {}", problem.file, problem.offset, problem.what);
    }
    if report.problem_count > PROBLEMS_SHOWN as u64 {
        eprintln!("… {} problems in all; --json names up to 1,000", report.problem_count);
    }
}

fn unread(dir: &Path, error: io::Error) -> CliError {
    CliError::File { doing: "read the audit log", path: dir.to_owned(), error }
}
