//! `keygate key …`: the life of a key.

mod life;

use std::path::PathBuf;
use std::time::Duration;

use keygate_protocol::admin::{KeyChanged, KeyList, KeyUpdate};
use serde_json::{Map, Value};
use zeroize::Zeroizing;

use super::error::CliError;
use super::output::{print, print_json, print_notices, record_text, table};
use super::{Exit, Global, records};
use crate::clock::{Clock, SystemClock};
use crate::key::{Status, Time, id};

#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    /// Make a key; its token is shown once
    Create(Create),
    /// Show one record
    Get(Get),
    /// Show records, a page at a time
    List(List),
    /// Change fields of a record
    Update(Update),
    /// Make a new token; the old one goes on for a while
    Rotate(life::Rotate),
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
    #[arg(long, value_name = "WHEN", value_parser = expiry)]
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
}

#[derive(Debug, clap::Args)]
pub(super) struct List {
    /// Only this tenant's keys
    #[arg(long, value_name = "T")]
    tenant: Option<String>,
    /// Only keys of this status, such as ACTIVE
    #[arg(long, value_name = "S")]
    status: Option<String>,
    /// Only keys with this tag
    #[arg(long, value_name = "T")]
    tag: Option<String>,
    /// Deleted keys too
    #[arg(long)]
    deleted: bool,
    /// Records on the page
    #[arg(long, value_name = "N", default_value_t = 100)]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=1000))]
    limit: u32,
    /// Go on after this id: the `next` of the page before
    #[arg(long, value_name = "ID")]
    after: Option<String>,
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
    /// Refuse unless the record still has this revision
    #[arg(long, value_name = "N")]
    expected_revision: Option<u64>,
}

pub(super) fn run(command: &Command, global: &Global) -> Result<Exit, CliError> {
    match command {
        Command::Create(args) => create(args, global)?,
        Command::Get(args) => get(args, global)?,
        Command::List(args) => list(args, global)?,
        Command::Update(args) => update(args, global)?,
        Command::Rotate(args) => life::rotate(args, global)?,
        Command::Review(args) => life::review(args, global)?,
        Command::Suspend(args) => life::change(args, Status::Suspended, global)?,
        Command::Resume(args) => life::change(args, Status::Active, global)?,
        Command::Revoke(args) => life::change(args, Status::Revoked, global)?,
        Command::SetStatus(args) => life::set_status(args, global)?,
        Command::Delete(args) => life::delete(args, global)?,
        Command::Restore(args) => life::restore(args, global)?,
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
    let created =
        global.with_admin(async |client| Ok(client.create(Value::Object(record)).await?))?;
    print_notices(&created.notices);
    if global.json {
        return print_json(&created);
    }
    print(&record_text(&created.key))?;
    eprintln!("the token, shown only now:");
    print(&Zeroizing::new(created.token + "\n"))
}

fn get(args: &Get, global: &Global) -> Result<(), CliError> {
    let id = args.id.id;
    let record = global.with_admin(async |client| {
        Ok(if args.deleted { client.get_deleted(id).await } else { client.get(id).await }?)
    })?;
    if global.json { print_json(&record) } else { print(&record_text(&record)) }
}

fn list(args: &List, global: &Global) -> Result<(), CliError> {
    let request = KeyList {
        tenant_id: args.tenant.clone(),
        status: args.status.clone(),
        tag: args.tag.clone(),
        deleted: args.deleted,
        after: args.after.clone(),
        limit: Some(args.limit),
    };
    let page = global.with_admin(async |client| Ok(client.list(&request).await?))?;
    if global.json {
        return print_json(&page);
    }
    const COLUMNS: [&str; 5] = ["id", "status", "tenant_id", "key_prefix", "name"];
    let cell = |key: &Value, name: &str| key[name].as_str().unwrap_or_default().to_owned();
    let row = |key: &Value| {
        let mut cells: Vec<String> = COLUMNS.iter().map(|name| cell(key, name)).collect();
        // A deleted key is unknown to decisions, whatever its status was.
        if !key["deleted_at"].is_null() {
            cells[1] += " (deleted)";
        }
        cells
    };
    let rows: Vec<Vec<String>> = page.keys.iter().map(row).collect();
    print(&table(&["ID", "STATUS", "TENANT", "PREFIX", "NAME"], &rows))?;
    if let Some(next) = &page.next {
        eprintln!("there are more: --after {next}");
    }
    Ok(())
}

fn update(args: &Update, global: &Global) -> Result<(), CliError> {
    let mut set = Map::new();
    args.fields.put(&mut set);
    for pair in &args.set {
        let Some((field, value)) = pair.split_once('=') else {
            return Err(CliError::Usage("--set takes FIELD=VALUE".to_owned()));
        };
        let value = serde_json::from_str(value).unwrap_or_else(|_| value.into());
        set.insert(field.to_owned(), value);
    }
    set.extend(args.clear.iter().map(|field| (field.clone(), Value::Null)));
    if set.is_empty() {
        return Err(CliError::Usage(
            "nothing to change: give a field, such as --rps 50 or --set FIELD=VALUE".to_owned(),
        ));
    }
    let request = KeyUpdate {
        id: args.id.id.to_string(),
        set: Value::Object(set),
        expected_revision: args.expected_revision,
    };
    let changed = global.with_admin(async |client| Ok(client.update(&request).await?))?;
    print_changed(&changed, global)
}

fn print_changed(changed: &KeyChanged, global: &Global) -> Result<(), CliError> {
    print_notices(&changed.notices);
    if global.json { print_json(changed) } else { print(&record_text(&changed.key)) }
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

/// A duration from now, or an instant.
fn expiry(text: &str) -> Result<Time, String> {
    if let Ok(time) = Time::parse(text) {
        return Ok(time);
    }
    let after = duration(text).map_err(|_| {
        "it is neither a duration such as 90d nor a time such as 2027-03-01T09:00:00Z".to_owned()
    })?;
    let after_us = i64::try_from(after.as_micros()).map_err(|_| "too far off".to_owned())?;
    let at_us = SystemClock::default().now().wall_us.checked_add(after_us);
    let at = Time::from_micros(at_us.ok_or_else(|| "too far off".to_owned())?);
    // What RFC 3339 cannot write is not what was asked for.
    Time::parse(&at.to_string()).ok().filter(|read| *read == at).ok_or("too far off".to_owned())
}

fn duration(text: &str) -> Result<Duration, String> {
    if text == "0" {
        return Ok(Duration::ZERO);
    }
    humantime::parse_duration(text)
        .map_err(|_| "it is not a duration such as 90d, 24h or 10m".to_owned())
}
