//! `keygate import`.

use std::io::Read;
use std::path::PathBuf;

use keygate_protocol::admin::{ImportProblem, ImportReport};
use tokio::sync::mpsc;

use super::error::CliError;
use super::output::{print, print_json, print_notices};
use super::records::{Entry, name_of, open, read_all};
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
        eprintln!("{}", line(problem));
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
        let tenants = match report.tenants_imported {
            0 => String::new(),
            tenants => format!("tenants imported: {tenants}, "),
        };
        let (keys, skipped) = (report.imported, report.skipped);
        print(&format!("{tenants}keys imported: {keys}, skipped: {skipped}\n"))?;
    }
    Ok(if refused { Exit::Error } else { Exit::Fine })
}

fn line(problem: &ImportProblem) -> String {
    let record = match problem.tenant.as_deref() {
        None => format!("record {}", problem.record),
        Some("") => format!("tenant record {}", problem.record),
        Some(tenant) => format!("tenant {tenant}"),
    };
    let field = problem.field.as_ref().map(|field| format!("{field}: ")).unwrap_or_default();
    format!("{record}: {field}{}", problem.reason)
}

/// Reads on a thread of its own and sends as fast as the daemon takes it.
async fn send(
    client: Client,
    input: impl Read + Send + 'static,
    args: &Args,
) -> Result<ImportReport, CliError> {
    let (records, mut arrived) = mpsc::channel::<Entry>(AHEAD);
    let reader = tokio::task::spawn_blocking(move || {
        // A receiver that is gone has been refused by the daemon: the rest need not be read.
        read_all(input, &mut |entry| records.blocking_send(entry).is_ok())
    });
    let mut import = client.import(args.skip_bad).await?;
    while let Some(entry) = arrived.recv().await {
        match entry {
            Entry::Key(record) => import.push(&record).await?,
            Entry::Tenant(record) => import.push_tenant(&record).await?,
        }
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
