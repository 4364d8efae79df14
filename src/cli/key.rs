//! `keygate key …`: the life of a key.

mod bulk;
mod fields;
mod life;
mod list;
mod signing;

use std::path::PathBuf;

use keygate_protocol::admin::{KeyChanged, KeyUpdate};
use serde_json::{Map, Value};
use zeroize::Zeroizing;

use super::error::CliError;
use super::output::{print, print_json, print_notices, record_text};
use super::spent::Spent;
use super::whole::whole;
use super::{Exit, Global, records};
use crate::key::{Status, id};
use fields::Fields;

#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    /// Make a key; its token is shown once
    Create(Create),
    /// Show one record
    Get(Get),
    /// Show records, a page at a time
    List(list::List),
    /// Change fields of a record
    Update(Update),
    /// Make a new token; the old one goes on for a while
    Rotate(life::Rotate),
    /// Make a client secret, which is shown once; the one before goes on for a while
    Secret(life::Secret),
    /// The verification keys of a key, which signed requests are verified by
    #[command(subcommand)]
    Signing(signing::Command),
    /// Note that a key's security was reviewed now
    Review(Id),
    /// Stop a key for now
    Suspend(life::Reasoned),
    /// Let a key pass again
    Resume(life::Reasoned),
    /// Stop a key for good
    Revoke(life::Reasoned),
    /// Put a key into any state that may follow its present one
    SetStatus(life::SetStatus),
    /// Delete a key: its tokens become unknown
    Delete(life::Delete),
    /// Take a deletion back
    Restore(Id),
    /// Create, change, revoke or delete what a file names, many at a time
    #[command(subcommand)]
    Bulk(bulk::Command),
}

#[derive(Debug, clap::Args)]
pub(super) struct Id {
    /// The key's id
    #[arg(value_parser = id::parse)]
    id: u64,
}

#[derive(Debug, clap::Args)]
pub(super) struct Get {
    #[command(flatten)]
    id: Id,
    /// Also if it was deleted
    #[arg(long)]
    deleted: bool,
}
#[derive(Debug, clap::Args)]
pub(super) struct Create {
    #[command(flatten)]
    fields: Fields,
    /// A test key: its token begins with kg_test_
    #[arg(long, alias = "is-test-key")]
    test: bool,
    /// Take the fields of a record in the source system's JSON; `-` is standard input
    #[arg(long, value_name = "FILE")]
    from: Option<PathBuf>,
    /// A name of your own for this request, such as a UUID: the same again makes no second key
    #[arg(long, value_name = "ID")]
    request_id: Option<String>,
}

#[derive(Debug, clap::Args)]
pub(super) struct Update {
    #[command(flatten)]
    id: Id,
    #[command(flatten)]
    fields: Fields,
    /// Set any field: its name in the record, and its value as JSON, or as plain text if it does not
    /// read as JSON; a text that does is quoted: --set 'description="42"'
    #[arg(long = "set", value_name = "FIELD=VALUE")]
    set: Vec<String>,
    /// Clear a field
    #[arg(long = "clear", value_name = "FIELD")]
    clear: Vec<String>,
    /// Take fields from a record in the source system's JSON; `-` is standard input. Other flags
    /// come before it
    #[arg(long, value_name = "FILE")]
    from: Option<PathBuf>,
    /// Change these fields alone, joined by commas, whatever else is given; one of them that is not
    /// given is cleared
    #[arg(long, value_name = "FIELDS", value_delimiter = ',')]
    mask: Option<Vec<String>>,
    /// Refuse unless the record still has this revision
    #[arg(long, value_name = "N", value_parser = whole, allow_negative_numbers = true)]
    expected_revision: Option<u64>,
    #[command(flatten)]
    spent: Spent,
}

pub(super) fn run(command: &Command, global: &Global) -> Result<Exit, CliError> {
    match command {
        Command::Create(args) => create(args, global)?,
        Command::Get(args) => get(args, global)?,
        Command::List(args) => list::run(args, global)?,
        Command::Update(args) => update(args, global)?,
        Command::Rotate(args) => life::rotate(args, global)?,
        Command::Secret(args) => life::secret(args, global)?,
        Command::Signing(command) => signing::run(command, global)?,
        Command::Review(args) => life::review(args, global)?,
        Command::Suspend(args) => life::change(args, Status::Suspended, global)?,
        Command::Resume(args) => life::change(args, Status::Active, global)?,
        Command::Revoke(args) => life::change(args, Status::Revoked, global)?,
        Command::SetStatus(args) => life::set_status(args, global)?,
        Command::Delete(args) => life::delete(args, global)?,
        Command::Restore(args) => life::restore(args, global)?,
        Command::Bulk(command) => return bulk::run(command, global),
    }
    Ok(Exit::Fine)
}

fn create(args: &Create, global: &Global) -> Result<(), CliError> {
    let mut record = match &args.from {
        Some(path) => records::read_one(path)?,
        None if !args.fields.has("name") => {
            return Err(CliError::Usage(
                "a key needs a name: --name NAME, or a record with --from FILE".to_owned(),
            ));
        }
        None => Map::new(),
    };
    args.fields.put(&mut record);
    if args.test {
        record.insert("is_test_key".to_owned(), true.into());
    }
    let record = Value::Object(record);
    let created = global.with_admin(async |client| {
        Ok(match &args.request_id {
            Some(request_id) => client.create_once(record, request_id).await?,
            None => client.create(record).await?,
        })
    })?;
    print_notices(&created.notices);
    if global.json {
        return print_json(&created);
    }
    print(&record_text(&created.key))?;
    // A repeated request has none, which a notice has said.
    let Some(token) = created.token else { return Ok(()) };
    eprintln!("the token, shown only now:");
    print(&Zeroizing::new(token + "\n"))
}

fn get(args: &Get, global: &Global) -> Result<(), CliError> {
    let id = args.id.id;
    let record = global.with_admin(async |client| {
        Ok(if args.deleted { client.get_deleted(id).await } else { client.get(id).await }?)
    })?;
    if global.json { print_json(&record) } else { print(&record_text(&record)) }
}

fn update(args: &Update, global: &Global) -> Result<(), CliError> {
    let mut set = args.from.as_deref().map_or(Ok(Map::new()), records::read_one)?;
    args.fields.put(&mut set);
    for pair in &args.set {
        let Some((field, value)) = pair.split_once('=') else {
            return Err(CliError::Usage("--set takes FIELD=VALUE".to_owned()));
        };
        let value = serde_json::from_str(value).unwrap_or_else(|_| value.into());
        set.insert(field.to_owned(), value);
    }
    set.extend(args.clear.iter().map(|field| (field.clone(), Value::Null)));
    if set.is_empty() && args.mask.is_none() {
        return Err(CliError::Usage(
            "nothing to change: give a field, such as --rps 50, --set FIELD=VALUE or --from FILE"
                .to_owned(),
        ));
    }
    let notice = match &args.mask {
        Some(mask) => args.spent.notice(mask),
        None => args.spent.notice(set.keys()),
    };
    let request = KeyUpdate {
        id: args.id.id.to_string(),
        set: Value::Object(set),
        mask: args.mask.clone(),
        expected_revision: args.expected_revision,
        spent: args.spent.policy(),
    };
    let changed = global.with_admin(async |client| Ok(client.update(&request).await?))?;
    print_notices(notice.as_slice());
    print_changed(&changed, global)
}

fn print_changed(changed: &KeyChanged, global: &Global) -> Result<(), CliError> {
    print_notices(&changed.notices);
    if global.json { print_json(changed) } else { print(&record_text(&changed.key)) }
}
