//! `keygate backup`.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use keygate_protocol::admin::{Backup, BackupFrame, BackupRow, SecretFrom};
use serde_json::json;
use zeroize::Zeroizing;

use super::error::CliError;
use super::output::{print, print_json};
use super::progress::{self, Rows};
use super::{Exit, Global};
use crate::client::Client;
use crate::store::copy::Writer;
use crate::store::{
    Draft, Op, Rotating, Store, StoreEngine, StoreOptions, VALUE_BYTES_MAX, secret_ids,
};

/// The pepper's name in a data directory.
pub(super) const PEPPER: &str = "pepper";
/// The master key's name there.
pub(super) const MASTER_KEY: &str = "master.key";
/// Characters of a secret's id that are shown, which is enough to tell two apart.
const SECRET_ID_SHOWN: usize = 16;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The directory to make; it must not be there yet
    dir: PathBuf,
    /// Leave the pepper out. Without it no token of the backup can be found
    #[arg(long)]
    without_pepper: bool,
    /// Leave the master key out. Without it nothing opens that is encrypted: records that are
    /// `encrypted`, secrets of web hooks and of signers
    #[arg(long)]
    without_master_key: bool,
}

pub(super) fn run(args: &Args, global: &Global) -> Result<Exit, CliError> {
    // Before the daemon is asked: it is refused where something is there already.
    let draft = Draft::begin(&args.dir, false)?;
    let request =
        Backup { without_pepper: args.without_pepper, without_master_key: args.without_master_key };
    let made = global.with_admin(|client| receive(client, &draft, &request))?;
    draft.finish()?;
    let pepper = fate(made.pepper_from, args.without_pepper);
    let master_key = fate(made.master_key_from, args.without_master_key);
    let (engine, rows, bytes) = (made.engine, made.rows, made.bytes);
    if global.json {
        print_json(&json!({
            "directory": args.dir, "engine": engine, "rows": rows, "bytes": bytes,
            "pepper": pepper, "master_key": master_key,
            "pepper_id": made.pepper_id, "master_key_id": made.master_key_id,
        }))?;
    } else {
        let dir = args.dir.display();
        let bytes = progress::bytes(bytes);
        print(&format!("backed up to {dir}: {rows} rows, {bytes}, by the engine {engine}\n"))?;
    }
    tell("pepper", pepper, made.pepper_id.as_deref(), "no token of the backup can be found");
    tell(
        "master key",
        master_key,
        made.master_key_id.as_deref(),
        "nothing of the backup opens that is encrypted",
    );
    eprintln!("`keygate verify {}` reads all of it", args.dir.display());
    Ok(Exit::Fine)
}

/// What became of a secret.
fn fate(from: SecretFrom, left_out: bool) -> &'static str {
    match (from, left_out) {
        (SecretFrom::Credential, _) => "credential",
        (SecretFrom::DataDir, true) => "left_out",
        (SecretFrom::DataDir, false) => "included",
    }
}

fn tell(what: &str, fate: &str, id: Option<&str>, without: &str) {
    let id = id.map_or_else(String::new, |id| format!(" {id}"));
    match fate {
        "included" => eprintln!("the {what} is in it: keep it as private as the data"),
        "left_out" => eprintln!(
            "the {what}{id} is not in it, as you asked. Without it {without}: keep a copy, also when \
             the daemon gets another by a rotation"
        ),
        _ => eprintln!(
            "the {what}{id} is not in it: the daemon has it from a credential. Keep that too: without \
             it {without}"
        ),
    }
}

/// The beginning of the id by which a store knows its secret, as `keygate pepper status` shows it.
pub(super) fn secret_id(store: &dyn Store, of: Rotating) -> Result<Option<String>, CliError> {
    let ids = secret_ids(store, of)?;
    Ok(ids.into_iter().next().map(|id| id.chars().take(SECRET_ID_SHOWN).collect()))
}

struct Made {
    engine: StoreEngine,
    pepper_from: SecretFrom,
    master_key_from: SecretFrom,
    pepper_id: Option<String>,
    master_key_id: Option<String>,
    rows: u64,
    bytes: u64,
}

/// Writes what the daemon sends, in the order in which it comes.
async fn receive(client: Client, draft: &Draft, request: &Backup) -> Result<Made, CliError> {
    let bar = Rows::new("backing up");
    let mut backup = client.backup_with(request).await?;
    let unexpected = |what: &str| input(&format!("{what}; is the daemon of another release?"));
    let mut first =
        backup.next_frame().await?.ok_or_else(|| unexpected("there is nothing in it"))?;
    let engine = first.engine.as_deref().and_then(StoreEngine::from_name);
    let engine = engine.ok_or_else(|| unexpected("its engine is not known here"))?;
    let (Some(pepper_from), Some(master_key_from)) = (first.pepper_from, first.master_key_from)
    else {
        return Err(unexpected("it does not say where its pepper and its master key are"));
    };
    for (name, secret) in [(PEPPER, first.pepper.take()), (MASTER_KEY, first.master_key.take())] {
        let Some(secret) = secret.map(Zeroizing::new) else { continue };
        draft.add_file(name, &Zeroizing::new(bytes_of(&secret)?))?;
    }
    let store: Arc<dyn Store> = draft.open(engine, &StoreOptions::default())?;
    let mut made = Made {
        engine,
        pepper_from,
        master_key_from,
        pepper_id: None,
        master_key_id: None,
        rows: 0,
        bytes: 0,
    };
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
    made.pepper_id = secret_id(store.as_ref(), Rotating::Pepper)?;
    made.master_key_id = secret_id(store.as_ref(), Rotating::Master)?;
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

/// Takes a secret's file over into a directory that is made from another; whether there was one.
pub(super) fn copy_secret(from: &Path, name: &str, draft: &Draft) -> Result<bool, CliError> {
    let path = from.join(name);
    match std::fs::read(&path).map(Zeroizing::new) {
        Ok(secret) => {
            draft.add_file(name, &secret)?;
            Ok(true)
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(CliError::File { doing: "read", path, error }),
    }
}
