//! `keygate key …`: the life of a key.

mod bulk;
mod list;

use std::path::PathBuf;
use std::time::Duration;

use keygate_protocol::admin::{KeyChanged, KeyDelete, KeyRotate, KeySetStatus, KeyUpdate};
use serde_json::{Map, Value};
use zeroize::Zeroizing;

use super::error::CliError;
use super::output::{print, print_json, print_notices, record_text};
use super::{Exit, Global, records, when};
use crate::key::{Time, id};

#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    /// Make a key; its token is shown once
    Create(Create),
    /// Show one record
    Get(Id),
    /// Show records, a page at a time
    List(list::List),
    /// Change fields of a record
    Update(Update),
    /// Make a new token; the old one goes on for a while
    Rotate(Rotate),
    /// Stop a key for now
    Suspend(Reasoned),
    /// Let a key pass again
    Resume(Reasoned),
    /// Stop a key for good
    Revoke(Reasoned),
    /// Delete a key: its tokens become unknown
    Delete(Delete),
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

/// Fields that creating and updating share.
#[derive(Debug, clap::Args)]
struct Fields {
    /// A name for people
    #[arg(long, value_name = "N")]
    name: Option<String>,
    /// The tenant that the key belongs to; "default" if none is named
    #[arg(long, value_name = "T")]
    tenant: Option<String>,
    /// A scope to grant, such as leads:read, leads:* or *; an update replaces all there were
    #[arg(long = "scope", value_name = "S")]
    scopes: Vec<String>,
    /// A tag; an update replaces all there were
    #[arg(long = "tag", value_name = "T")]
    tags: Vec<String>,
    /// Requests a second; unlimited if not given
    #[arg(long, value_name = "N")]
    rps: Option<u32>,
    /// Requests at once; as many as --rps if not given
    #[arg(long, value_name = "N")]
    burst: Option<u64>,
    /// When the key ends: a duration such as 90d, or an RFC 3339 time
    #[arg(long, value_name = "WHEN", value_parser = when::from_now)]
    expires: Option<Time>,
    /// What it is used for
    #[arg(long, value_name = "TEXT")]
    description: Option<String>,
}

#[derive(Debug, clap::Args)]
pub(super) struct Create {
    #[command(flatten)]
    fields: Fields,
    /// A test key: its token begins with kg_test_
    #[arg(long)]
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
    #[arg(long, value_name = "N")]
    expected_revision: Option<u64>,
}

#[derive(Debug, clap::Args)]
pub(super) struct Rotate {
    #[command(flatten)]
    id: Id,
    /// How long the old token goes on, such as 24h; 0 ends it now. A token that an earlier
    /// rotation replaced ends at once
    #[arg(long, value_name = "DURATION", value_parser = when::duration)]
    grace: Option<Duration>,
    /// Why
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
}

#[derive(Debug, clap::Args)]
pub(super) struct Reasoned {
    #[command(flatten)]
    id: Id,
    /// Why
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
}

#[derive(Debug, clap::Args)]
pub(super) struct Delete {
    #[command(flatten)]
    id: Id,
    /// Remove the record too, for good
    #[arg(long)]
    purge: bool,
}

pub(super) fn run(command: &Command, global: &Global) -> Result<Exit, CliError> {
    match command {
        Command::Create(args) => create(args, global)?,
        Command::Get(args) => get(args, global)?,
        Command::List(args) => list::run(args, global)?,
        Command::Update(args) => update(args, global)?,
        Command::Rotate(args) => rotate(args, global)?,
        Command::Suspend(args) => set_status(args, "SUSPENDED", global)?,
        Command::Resume(args) => set_status(args, "ACTIVE", global)?,
        Command::Revoke(args) => set_status(args, "REVOKED", global)?,
        Command::Delete(args) => delete(args, global)?,
        Command::Bulk(command) => return bulk::run(command, global),
    }
    Ok(Exit::Fine)
}

fn create(args: &Create, global: &Global) -> Result<(), CliError> {
    let mut record = match &args.from {
        Some(path) => records::read_one(path)?,
        None if args.fields.name.is_none() => {
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

fn get(args: &Id, global: &Global) -> Result<(), CliError> {
    let record = global.with_admin(async |client| Ok(client.get(args.id).await?))?;
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
    let request = KeyUpdate {
        id: args.id.id.to_string(),
        set: Value::Object(set),
        mask: args.mask.clone(),
        expected_revision: args.expected_revision,
    };
    let changed = global.with_admin(async |client| Ok(client.update(&request).await?))?;
    print_changed(&changed, global)
}

fn rotate(args: &Rotate, global: &Global) -> Result<(), CliError> {
    let grace_ms = args.grace.map(|grace| u64::try_from(grace.as_millis()).unwrap_or(u64::MAX));
    let request = KeyRotate { id: args.id.id.to_string(), grace_ms, reason: args.reason.clone() };
    let rotated = global.with_admin(async |client| Ok(client.rotate(&request).await?))?;
    if global.json {
        return print_json(&rotated);
    }
    eprintln!("the old token ends at {}", rotated.old_token_ends_at);
    eprintln!("the new token, shown only now:");
    print(&Zeroizing::new(rotated.token + "\n"))
}

fn set_status(args: &Reasoned, status: &str, global: &Global) -> Result<(), CliError> {
    let request = KeySetStatus {
        id: args.id.id.to_string(),
        status: status.to_owned(),
        reason: args.reason.clone(),
    };
    let changed = global.with_admin(async |client| Ok(client.set_status(&request).await?))?;
    print_outcome(&changed, &status_text(&changed.key), global)
}

fn delete(args: &Delete, global: &Global) -> Result<(), CliError> {
    let request = KeyDelete { id: args.id.id.to_string(), purge: args.purge };
    let changed = global.with_admin(async |client| Ok(client.delete(&request).await?))?;
    let outcome = if args.purge { "removed for good" } else { "deleted" };
    print_outcome(&changed, outcome, global)
}

fn print_changed(changed: &KeyChanged, global: &Global) -> Result<(), CliError> {
    print_notices(&changed.notices);
    if global.json { print_json(changed) } else { print(&record_text(&changed.key)) }
}

/// What became of a key, on one line: its record has not changed otherwise, and what is to be known
/// of its fields was said when they were written.
fn print_outcome(changed: &KeyChanged, outcome: &str, global: &Global) -> Result<(), CliError> {
    if global.json {
        return print_json(changed);
    }
    print(&format!("key {}: {outcome}\n", changed.key["id"].as_str().unwrap_or_default()))
}

/// A status as people write it.
fn status_text(key: &Value) -> String {
    let status = key["status"].as_str().unwrap_or_default();
    status.strip_prefix("STATUS_").unwrap_or(status).to_owned()
}

impl Fields {
    fn put(&self, record: &mut Map<String, Value>) {
        let mut set = |name: &str, value: Option<Value>| {
            if let Some(value) = value {
                record.insert(name.to_owned(), value);
            }
        };
        let list = |items: &[String]| (!items.is_empty()).then(|| items.into());
        set("name", self.name.as_deref().map(Value::from));
        set("tenant_id", self.tenant.as_deref().map(Value::from));
        set("scopes", list(&self.scopes));
        set("tags", list(&self.tags));
        set("requests_per_second", self.rps.map(Value::from));
        set("burst", self.burst.map(Value::from));
        set("expires_at", self.expires.map(|time| time.to_string().into()));
        set("description", self.description.as_deref().map(Value::from));
    }
}
