//! `keygate import`.

use std::io::Read;
use std::path::PathBuf;

use keygate_protocol::admin::ImportReport;
use serde_json::value::RawValue;
use tokio::sync::mpsc;

use super::error::CliError;
use super::output::{print, print_json, print_notices};
use super::records::{name_of, open, read};
use super::{Exit, Global, progress};
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
    let bar = progress::over_bytes_of(&args.file)?;
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
