//! `keygate backup`.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use keygate_protocol::admin::{BackupFrame, BackupRow, PepperFrom};
use serde_json::json;
use zeroize::Zeroizing;

use super::error::CliError;
use super::output::{print, print_json};
use super::progress::{self, Rows};
use super::{Exit, Global};
use crate::client::Client;
use crate::store::copy::Writer;
use crate::store::{Draft, Op, Store, StoreEngine, StoreOptions, VALUE_BYTES_MAX};

/// The pepper's name in a data directory.
pub(super) const PEPPER: &str = "pepper";

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The directory to make; it must not be there yet
    dir: PathBuf,
    /// Leave the pepper out. Without it no token of the backup can be found
    #[arg(long)]
    without_pepper: bool,
}

pub(super) fn run(args: &Args, global: &Global) -> Result<Exit, CliError> {
    // Before the daemon is asked: it is refused where something is there already.
    let draft = Draft::begin(&args.dir, false)?;
    let made = global.with_admin(|client| receive(client, &draft, args.without_pepper))?;
    draft.finish()?;
    let (pepper, words) = match (made.pepper_from, args.without_pepper) {
        (PepperFrom::Credential, _) => (
            "credential",
            "the pepper is not in it: the daemon has it from a credential. Keep that too: without it \
             no token of the backup can be found",
        ),
        (PepperFrom::DataDir, true) => (
            "left_out",
            "the pepper is not in it, as you asked. Without it no token of the backup can be found",
        ),
        (PepperFrom::DataDir, false) => {
            ("included", "the pepper is in it: keep it as private as the data")
        }
    };
    let (engine, rows, bytes) = (made.engine, made.rows, made.bytes);
    if global.json {
        print_json(&json!({
            "directory": args.dir, "engine": engine, "rows": rows, "bytes": bytes, "pepper": pepper,
        }))?;
    } else {
        let dir = args.dir.display();
        let bytes = progress::bytes(bytes);
        print(&format!("backed up to {dir}: {rows} rows, {bytes}, by the engine {engine}\n"))?;
    }
    eprintln!("{words}");
    eprintln!("`keygate verify {}` reads all of it", args.dir.display());
    Ok(Exit::Fine)
}

struct Made {
    engine: StoreEngine,
    pepper_from: PepperFrom,
    rows: u64,
    bytes: u64,
}

/// Writes what the daemon sends, in the order in which it comes.
async fn receive(client: Client, draft: &Draft, without_pepper: bool) -> Result<Made, CliError> {
    let bar = Rows::new("backing up");
    let mut backup = client.backup(without_pepper).await?;
    let unexpected = |what: &str| input(&format!("{what}; is the daemon of another release?"));
    let mut first =
        backup.next_frame().await?.ok_or_else(|| unexpected("there is nothing in it"))?;
    let engine = first.engine.as_deref().and_then(StoreEngine::from_name);
    let engine = engine.ok_or_else(|| unexpected("its engine is not known here"))?;
    let from =
        first.pepper_from.ok_or_else(|| unexpected("it does not say where its pepper is"))?;
    if let Some(pepper) = first.pepper.take().map(Zeroizing::new) {
        let pepper = Zeroizing::new(bytes_of(&pepper)?);
        draft.add_file(PEPPER, &pepper)?;
    }
    let store: Arc<dyn Store> = draft.open(engine, &StoreOptions::default())?;
    let mut made = Made { engine, pepper_from: from, rows: 0, bytes: 0 };
    let mut writer = Writer::new(store.as_ref());
    let mut value = Vec::new();
    let mut next = Some(first);
    while let Some(BackupFrame { rows, progress, .. }) = next {
        bar.at(&progress);
        (made.rows, made.bytes) = (progress.rows, progress.bytes);
        for row in rows {
            if let Some(op) = joined(row, &mut value)? {
                writer.push(op)?;
            }
        }
        next = backup.next_frame().await?;
    }
    writer.finish()?;
    Ok(made)
}

/// The operation that a row is, or ends. `value` holds the parts of one that goes on.
fn joined(row: BackupRow, value: &mut Vec<u8>) -> Result<Option<Op>, CliError> {
    let key = bytes_of(&row.k)?;
    let Some(part) = row.v else { return Ok(Some(Op::Remove { key })) };
    value.extend_from_slice(&bytes_of(&part)?);
    if value.len() > VALUE_BYTES_MAX {
        return Err(input("a row is longer than any"));
    }
    if row.more {
        return Ok(None);
    }
    Ok(Some(Op::Put { key, value: std::mem::take(value) }))
}

fn bytes_of(text: &str) -> Result<Vec<u8>, CliError> {
    STANDARD.decode(text).map_err(|error| input(&error.to_string()))
}

fn input(reason: &str) -> CliError {
    CliError::Input { from: "the daemon's backup".to_owned(), reason: reason.to_owned() }
}

/// Says what became of the pepper of a directory that was made from another.
pub(super) fn copy_pepper(from: &Path, draft: &Draft) -> Result<bool, CliError> {
    let path = from.join(PEPPER);
    match std::fs::read(&path).map(Zeroizing::new) {
        Ok(pepper) => {
            draft.add_file(PEPPER, &pepper)?;
            Ok(true)
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(CliError::File { doing: "read", path, error }),
    }
}
