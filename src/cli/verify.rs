//! `keygate verify`.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use keygate_protocol::admin::VerifyReport;

use super::error::CliError;
use super::output::{print, print_json};
use super::progress::{self, Rows};
use super::{Exit, Global};
use crate::admin::verify_report;
use crate::client::Client;
use crate::store::verify::{NoWriters, verify};
use crate::store::{Store, StoreError, StoreOptions, open_existing};

/// Problems that are named to people.
const PROBLEMS_SHOWN: usize = 20;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// A backup, or the data directory of a daemon that has stopped; without it, the running daemon
    /// is asked
    dir: Option<PathBuf>,
}

pub(super) fn run(args: &Args, global: &Global) -> Result<Exit, CliError> {
    let report = match &args.dir {
        Some(dir) => of_directory(dir)?,
        None => global.with_admin(of_daemon)?,
    };
    if global.json {
        print_json(&report)?;
    } else {
        print(&summary(&report))?;
        print_problems(&report);
    }
    Ok(if report.clean { Exit::Fine } else { Exit::Error })
}

/// The report of a directory that no daemon uses.
pub(super) fn of_directory(dir: &Path) -> Result<VerifyReport, CliError> {
    let (_, store) = open_existing(dir, &StoreOptions::default()).map_err(|error| match error {
        error @ StoreError::InUse { .. } => CliError::InUse {
            error,
            instead: "A daemon that runs is asked by `keygate verify` without DIR",
        },
        error => error.into(),
    })?;
    judge(store.as_ref())
}

/// Judges every row of a store that nobody writes to.
pub(super) fn judge(store: &dyn Store) -> Result<VerifyReport, CliError> {
    let bar = Rows::new("verifying");
    let report = verify(store, &NoWriters, |walked| {
        bar.walked(walked);
        ControlFlow::Continue(())
    })?;
    Ok(verify_report(report))
}

/// The report of the daemon that runs.
pub(super) async fn of_daemon(client: Client) -> Result<VerifyReport, CliError> {
    let bar = Rows::new("verifying");
    let mut verification = client.verify().await?;
    while let Some(frame) = verification.next_frame().await? {
        bar.at(&frame.progress);
        if let Some(report) = frame.report {
            return Ok(report);
        }
    }
    let from = "the daemon's verification".to_owned();
    Err(CliError::Input { from, reason: "it ended without a report".to_owned() })
}

fn summary(report: &VerifyReport) -> String {
    let schemas = report.records_by_schema.iter();
    let schemas: Vec<_> =
        schemas.map(|(schema, records)| format!("{records} of schema {schema}")).collect();
    let of = if schemas.is_empty() { String::new() } else { format!(" ({})", schemas.join(", ")) };
    let mut text = format!(
        "{}\n  rows             {} ({})\n  keys             {}{of}\n  index rows       {}\n  usage of keys    {}\n  \
         ledger rows      {}\n  increment chunks {}\n",
        if report.clean { "clean" } else { "NOT CLEAN" },
        report.rows,
        progress::bytes(report.bytes),
        report.records,
        report.index_rows,
        report.usage_rows,
        report.ledger_rows.unwrap_or_default(),
        report.increment_chunks,
    );
    if let (Some(schema), Some(by)) = (report.schema, &report.written_by) {
        text += &format!("  schema           {schema}, stated by keygate {by}\n");
    }
    if let Some(encrypted) = report.records_encrypted.filter(|encrypted| *encrypted > 0) {
        text += &format!("  encrypted        {encrypted} keys\n");
    }
    if let Some(import) = report.pending_import {
        text += &format!(
            "  import {import} has begun and is not finished: it goes on, or the next start takes it \
             back\n"
        );
    }
    text
}

/// Says on standard error what is wrong.
pub(super) fn print_problems(report: &VerifyReport) {
    for problem in report.problems.iter().take(PROBLEMS_SHOWN) {
        eprintln!("{}: {} ({})", problem.row, problem.what, problem.kind);
    }
    let all: u64 = report.problem_counts.values().sum();
    if all > PROBLEMS_SHOWN as u64 {
        eprintln!("… {all} problems in all; --json names up to 1,000");
    }
    if !report.clean {
        eprintln!(
            "to mend it: restore a backup (`keygate restore`), or `keygate export` what is readable \
             and import that into a new data directory"
        );
    }
}
