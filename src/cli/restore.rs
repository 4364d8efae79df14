//! `keygate restore`.

use std::path::PathBuf;

use serde_json::json;

use super::backup::{MASTER_KEY, PEPPER, copy_secret, secret_id};
use super::error::CliError;
use super::output::{print, print_json};
use super::progress::{self, Rows};
use super::verify::{judge, print_problems};
use super::{Exit, Global};
use crate::store::copy::{compare, copy_all};
use crate::store::{Draft, Rotating, StoreEngine, StoreOptions, open_existing, rows};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// A backup, or the data directory of a daemon that has stopped
    dir: PathBuf,
    /// The data directory to make; it must not be there yet, or be empty
    #[arg(long, value_name = "NEW")]
    data_dir: PathBuf,
    /// The engine of the new one, sled or redb; that of the backup if not given
    #[arg(long, value_parser = engine)]
    engine: Option<StoreEngine>,
}

fn engine(name: &str) -> Result<StoreEngine, String> {
    StoreEngine::from_name(name).ok_or_else(|| "it is sled or redb".to_owned())
}

pub(super) fn run(args: &Args, global: &Global) -> Result<Exit, CliError> {
    let options = StoreOptions::default();
    // First, so that it is ours: it may have the name that the new one has while it is made.
    let (found, backup) = open_existing(&args.dir, &options)?;
    let draft = Draft::begin(&args.data_dir, true)?;
    let report = judge(backup.as_ref())?;
    if !report.clean {
        print_problems(&report);
        let reason = "nothing was restored, because the backup is damaged; take another, or start \
                      keygate on a copy of it and export what can be read";
        let from = args.dir.display().to_string();
        return Err(CliError::Input { from, reason: reason.to_owned() });
    }
    let engine = args.engine.unwrap_or(found);
    let store = draft.open(engine, &options)?;
    let bar = Rows::new("restoring");
    copy_all(backup.as_ref(), store.as_ref(), |walked| bar.walked(walked))?;
    // Closed and opened again: what is compared is what a start would find.
    drop(store);
    let store = draft.open(engine, &options)?;
    compare(backup.as_ref(), store.as_ref(), &args.data_dir, |walked| bar.walked(walked))?;
    // Signatures may have been used since then that were further ahead.
    rows::forget_signing_lead(store.as_ref())?;
    let pepper_id = secret_id(store.as_ref(), Rotating::Pepper)?;
    let master_key_id = secret_id(store.as_ref(), Rotating::Master)?;
    drop((store, bar));
    let pepper = copy_secret(&args.dir, PEPPER, &draft)?;
    let master_key = copy_secret(&args.dir, MASTER_KEY, &draft)?;
    // Of a rotation that is under way: both are needed until it is over.
    for name in [PEPPER, MASTER_KEY] {
        copy_secret(&args.dir, &format!("{name}.next"), &draft)?;
    }
    draft.finish()?;

    let dir = args.data_dir.display();
    if global.json {
        print_json(&json!({
            "directory": args.data_dir, "engine": engine, "rows": report.rows,
            "bytes": report.bytes, "records": report.records, "pepper": pepper,
            "master_key": master_key, "pepper_id": pepper_id, "master_key_id": master_key_id,
        }))?;
    } else {
        let bytes = progress::bytes(report.bytes);
        let (keys, rows) = (report.records, report.rows);
        print(&format!("restored to {dir}: {keys} keys in {rows} rows, {bytes}, {engine}\n"))?;
    }
    if !pepper {
        eprintln!(
            "there was no pepper beside it: put the one that it was made under, {id}, to {dir}/pepper \
             (mode 0600), or pass it as the credential; without it no token is found. The daemon's \
             own may be another by now: `keygate pepper status` shows which it has, and `keygate \
             doctor --data-dir {dir}` whether the one that you put there is right",
            id = pepper_id.as_deref().unwrap_or("of an unknown id")
        );
    }
    if !master_key {
        eprintln!(
            "there was no master key beside it: put the one that it was made under, {id}, to \
             {dir}/master.key (mode 0600), or pass it as the credential; where nothing in the store is \
             encrypted, keygate makes a new one when it starts",
            id = master_key_id.as_deref().unwrap_or("of an unknown id")
        );
    }
    eprintln!(
        "keygate starts on it with data_dir = {dir:?} and, under [store], engine = \"{engine}\"",
        dir = dir.to_string()
    );
    Ok(Exit::Fine)
}
