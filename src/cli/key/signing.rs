//! `keygate key signing …`: what requests that are signed with a key are verified by.

use std::io::Read as _;
use std::path::{Path, PathBuf};

use keygate_protocol::admin::{PUBLIC_KEY_BYTES_MAX, SigningAdd, SigningKey, SigningRemove};
use zeroize::{Zeroize, Zeroizing};

use super::Id;
use crate::cli::error::CliError;
use crate::cli::output::{print, print_json, print_notices, table};
use crate::cli::whole::whole;
use crate::cli::{Global, records, secret};

#[derive(Debug, clap::Subcommand)]
pub(in crate::cli) enum Command {
    /// Add a verification key: a signer's public key, or a secret that both have
    Add(Add),
    /// Show the verification keys of a key
    List(List),
    /// Remove a verification key: what is signed by it passes no more
    Remove(Remove),
}

#[derive(Debug, clap::Args)]
#[command(group = clap::ArgGroup::new("material").required(true))]
pub(in crate::cli) struct Add {
    #[command(flatten)]
    id: Id,
    /// What signatures call it: their parameter `keyid`
    #[arg(long, value_name = "NAME")]
    key_id: String,
    /// The signer's public key, as a PEM block or a JWK; `-` is standard input
    #[arg(long, value_name = "FILE", group = "material")]
    public_key: Option<PathBuf>,
    /// Make a secret for HMAC, which is shown once, in base64
    #[arg(long, group = "material")]
    shared_secret: bool,
    /// Take the secret from standard input: 32 to 128 bytes, in base64
    #[arg(long, group = "material")]
    shared_secret_stdin: bool,
    /// Refuse unless the record still has this revision
    #[arg(long, value_name = "N", value_parser = whole, allow_negative_numbers = true)]
    expected_revision: Option<u64>,
}

#[derive(Debug, clap::Args)]
pub(in crate::cli) struct List {
    #[command(flatten)]
    id: Id,
}

#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Remove {
    #[command(flatten)]
    id: Id,
    /// What signatures call it
    #[arg(long, value_name = "NAME")]
    key_id: String,
    /// Refuse unless the record still has this revision
    #[arg(long, value_name = "N", value_parser = whole, allow_negative_numbers = true)]
    expected_revision: Option<u64>,
}

pub(super) fn run(command: &Command, global: &Global) -> Result<(), CliError> {
    match command {
        Command::Add(args) => add(args, global),
        Command::List(args) => list(args, global),
        Command::Remove(args) => remove(args, global),
    }
}

fn add(args: &Add, global: &Global) -> Result<(), CliError> {
    let mut request = SigningAdd {
        id: args.id.id.to_string(),
        key_id: args.key_id.clone(),
        generate: args.shared_secret,
        expected_revision: args.expected_revision,
        ..SigningAdd::default()
    };
    if let Some(path) = &args.public_key {
        request.public_key = Some(public_key(path)?);
    }
    if args.shared_secret_stdin {
        request.shared_secret = Some(secret::shared_secret()?.to_string());
    }
    let added = global.with_admin(async |client| Ok(client.add_signing_key(&request).await?));
    request.shared_secret.zeroize();
    let mut added = added?;
    print_notices(&added.notices);
    if global.json {
        let printed = print_json(&added);
        added.shared_secret.zeroize();
        return printed;
    }
    print(&listed(&[added.signing_key]))?;
    let Some(secret) = added.shared_secret.map(Zeroizing::new) else { return Ok(()) };
    eprintln!("the shared secret in base64, shown only now:");
    print(&Zeroizing::new(format!("{}\n", *secret)))
}

/// The text of a public key; whether it is one is the daemon's to say.
fn public_key(path: &Path) -> Result<String, CliError> {
    let failed = |error| CliError::File { doing: "read", path: path.to_owned(), error };
    let mut text = String::new();
    // One byte more than is taken: the daemon says then what is.
    let most = PUBLIC_KEY_BYTES_MAX as u64 + 1;
    records::open(path)?.take(most).read_to_string(&mut text).map_err(failed)?;
    Ok(text)
}

fn list(args: &List, global: &Global) -> Result<(), CliError> {
    let id = args.id.id;
    let keys = global.with_admin(async |client| Ok(client.signing_keys(id).await?))?;
    if global.json {
        return print_json(&keys);
    }
    let demands = if keys.demanded { "demands signed requests" } else { "demands no signature" };
    eprintln!("key {id}, revision {}: {demands}", keys.revision);
    if keys.signing_keys.is_empty() {
        eprintln!("it has no verification key; `keygate key signing add {id}` adds one");
        return Ok(());
    }
    print(&listed(&keys.signing_keys))
}

fn listed(keys: &[SigningKey]) -> String {
    let row = |key: &SigningKey| {
        let algorithms = match key.algorithms.join(" ") {
            none if none.is_empty() => "(none is allowed)".to_owned(),
            names => names,
        };
        let added_at = key.added_at.clone().unwrap_or_else(|| "-".to_owned());
        vec![key.key_id.clone(), key.kind.clone(), algorithms, added_at]
    };
    table(&["KEYID", "KIND", "ALGORITHMS", "ADDED"], &keys.iter().map(row).collect::<Vec<_>>())
}

fn remove(args: &Remove, global: &Global) -> Result<(), CliError> {
    let request = SigningRemove {
        id: args.id.id.to_string(),
        key_id: args.key_id.clone(),
        expected_revision: args.expected_revision,
    };
    let changed =
        global.with_admin(async |client| Ok(client.remove_signing_key(&request).await?))?;
    print_notices(&changed.notices);
    if global.json {
        return print_json(&changed);
    }
    print(&format!("key {}: the verification key {} was removed\n", request.id, request.key_id))
}
