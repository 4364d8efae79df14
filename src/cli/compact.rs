//! `keygate compact`.

use std::path::PathBuf;

use serde_json::json;

use super::error::CliError;
use super::output::{print, print_json};
use super::progress::{self, Rows};
use super::{Exit, Global};
use crate::store::{StoreError, StoreOptions, compact};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The data directory of a daemon that has stopped
    #[arg(long, env = "KEYGATE_DATA_DIR", value_name = "DIR", hide_env_values = true)]
    data_dir: PathBuf,
}

pub(super) fn run(args: &Args, global: &Global) -> Result<Exit, CliError> {
    let bar = Rows::new("compacting");
    let done = compact(&args.data_dir, &StoreOptions::default(), |walked| bar.walked(walked));
    drop(bar);
    let done = done.map_err(|error| match error {
        error @ StoreError::InUse { .. } => {
            CliError::InUse { error, instead: "A store is compacted while no daemon has it" }
        }
        error => error.into(),
    })?;
    let (engine, rows) = (done.engine, done.copied.rows);
    if global.json {
        print_json(&json!({
            "directory": args.data_dir, "engine": engine, "rows": rows,
            "bytes_before": done.bytes_before, "bytes_after": done.bytes_after,
        }))?;
    } else {
        let (before, after) =
            (progress::bytes(done.bytes_before), progress::bytes(done.bytes_after));
        print(&format!("compacted: {rows} rows, {before} before, {after} after ({engine})\n"))?;
    }
    Ok(Exit::Fine)
}
