//! `keygate import`.

use std::io::{IsTerminal, Read};
use std::path::PathBuf;

use indicatif::{ProgressBar, ProgressStyle};
use keygate_protocol::admin::ImportReport;
use serde_json::value::RawValue;
use tokio::sync::mpsc;

use super::error::CliError;
use super::output::{print, print_json, print_notices};
use super::records::{is_stdin, name_of, open, read};
use super::{Exit, Global};
use crate::client::Client;

/// Bad records that are named to people.
const PROBLEMS_SHOWN: usize = 20;
/// Records that are read ahead of the connection.
const AHEAD: usize = 1024;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// A file of records in the source system's JSON; `-` is standard input
    file: PathBuf,
    /// Take the good records and report the bad ones
    #[arg(long)]
    skip_bad: bool,
}

pub(super) fn run(args: &Args, global: &Global) -> Result<Exit, CliError> {
    let bar = progress(args)?;
    let input = bar.wrap_read(open(&args.file)?);
    let outcome = global.with_admin(|client| send(client, input, args));
    bar.finish_and_clear();
    let report = outcome?;
    print_notices(&report.notices);
    for problem in report.problems.iter().take(PROBLEMS_SHOWN) {
        let field = problem.field.as_ref().map(|field| format!("{field}: ")).unwrap_or_default();
        eprintln!("record {}: {field}{}", problem.record, problem.reason);
    }
    if report.problems.len() > PROBLEMS_SHOWN {
        eprintln!("… and more; --json shows up to 1,000");
    }
    let refused = !args.skip_bad && !report.problems.is_empty();
    if global.json {
        print_json(&report)?;
    } else if refused {
        eprintln!("nothing was imported: mend the record, or leave bad ones out with --skip-bad");
    } else {
        print(&format!("keys imported: {}, skipped: {}\n", report.imported, report.skipped))?;
    }
    Ok(if refused { Exit::Error } else { Exit::Fine })
}

/// Reads on a thread of its own and sends as fast as the daemon takes it.
async fn send(
    client: Client,
    input: impl Read + Send + 'static,
    args: &Args,
) -> Result<ImportReport, CliError> {
    let (records, mut arrived) = mpsc::channel::<Box<RawValue>>(AHEAD);
    let reader = tokio::task::spawn_blocking(move || {
        // A receiver that is gone has been refused by the daemon: the rest need not be read.
        read(input, &mut |record| records.blocking_send(record).is_ok())
    });
    let mut import = client.import(args.skip_bad).await?;
    while let Some(record) = arrived.recv().await {
        import.push(&record).await?;
    }
    let read = reader.await.map_err(|error| CliError::System {
        doing: "cannot read the records",
        error: std::io::Error::other(error),
    })?;
    // An import that is dropped before its end is taken back by the daemon.
    read.map_err(|error| CliError::Input {
        from: name_of(&args.file),
        reason: format!("{error}; nothing was imported"),
    })?;
    Ok(import.finish().await?)
}

/// A bar over the file's bytes, on a terminal; nothing elsewhere.
fn progress(args: &Args) -> Result<ProgressBar, CliError> {
    if is_stdin(&args.file) || !std::io::stderr().is_terminal() {
        return Ok(ProgressBar::hidden());
    }
    let failed = |error| CliError::File { doing: "read", path: args.file.clone(), error };
    let bytes = std::fs::metadata(&args.file).map_err(failed)?.len();
    let style = ProgressStyle::with_template("{wide_bar} {bytes}/{total_bytes} {eta}")
        .unwrap_or_else(|_| ProgressStyle::default_bar());
    Ok(ProgressBar::new(bytes).with_style(style))
}
