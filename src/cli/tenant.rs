//! `keygate tenant …`: the life of a tenant.

use std::time::Duration;

use keygate_protocol::admin::{
    TenantChanged, TenantDelete, TenantList, TenantSetStatus, TenantUpdate,
};
use serde_json::{Map, Value};

use super::error::CliError;
use super::output::{limits_table, print, print_json, print_notices, record_text, table};
use super::spent::Spent;
use super::whole::{seconds, whole};
use super::{Exit, Global};

/// How long a purge is waited for; it goes on in the daemon also without anybody who waits.
const PURGE_TIMEOUT: Duration = Duration::from_secs(3600);
/// Above the flags of limits.
const LIMITS: &str = "Limits of all its keys together";

#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    /// Make a tenant's record; its keys need none
    Create(Create),
    /// Show one tenant and how many keys it has
    Get(Id),
    /// Show tenants, a page at a time: those with a record and those that only keys name
    List(List),
    /// Change fields of a tenant's record
    Update(Update),
    /// Show how the limits stand that its keys share
    Usage(Id),
    /// Deny all keys of a tenant, for now
    Suspend(Reasoned),
    /// Let the keys of a tenant pass again
    Resume(Reasoned),
    /// Delete a tenant: its keys become unknown until it is restored
    Delete(Delete),
    /// Bring a deleted tenant back, with all its keys
    Restore(Id),
    /// Remove a tenant with all its keys, for good
    Purge(Id),
}

#[derive(Debug, clap::Args)]
pub(super) struct Id {
    /// The tenant's id, as keys have it in tenant_id
    #[arg(value_name = "TENANT")]
    id: String,
}

/// Fields that creating and updating share. A flag has the name of its field, too.
#[derive(Debug, clap::Args)]
struct Fields {
    /// A name for people
    #[arg(long, value_name = "N")]
    name: Option<String>,
    /// What it is
    #[arg(long, value_name = "TEXT")]
    description: Option<String>,
    /// The organization that it belongs to
    #[arg(long, alias = "organization-id", value_name = "ID")]
    organization: Option<String>,
    /// Requests a second of all its keys together; unlimited if not given
    #[arg(long, alias = "requests-per-second", value_name = "N", help_heading = LIMITS)]
    #[arg(value_parser = whole, allow_negative_numbers = true)]
    rps: Option<u64>,
    /// Requests at once; as many as --rps if not given
    #[arg(long, value_name = "N", help_heading = LIMITS)]
    #[arg(value_parser = whole, allow_negative_numbers = true)]
    burst: Option<u64>,
    /// Requests a day
    #[arg(long, value_name = "N", help_heading = LIMITS)]
    #[arg(value_parser = whole, allow_negative_numbers = true)]
    requests_per_day: Option<u64>,
    /// Requests a month
    #[arg(long, alias = "monthly-request-quota", value_name = "N", help_heading = LIMITS)]
    #[arg(value_parser = whole, allow_negative_numbers = true)]
    monthly_quota: Option<u64>,
    /// Requests in all
    #[arg(long, value_name = "N", help_heading = LIMITS)]
    #[arg(value_parser = whole, allow_negative_numbers = true)]
    max_uses: Option<u64>,
    /// Requests under way at a time
    #[arg(long, alias = "concurrent-requests", value_name = "N", help_heading = LIMITS)]
    #[arg(value_parser = whole, allow_negative_numbers = true)]
    concurrent: Option<u64>,
    /// How long a place among them is held that nobody gives back, where neither key nor tier says
    #[arg(long, alias = "slot-ttl-seconds", value_name = "SECONDS", help_heading = LIMITS)]
    #[arg(value_parser = seconds, allow_negative_numbers = true)]
    slot_ttl: Option<u64>,
}

#[derive(Debug, clap::Args)]
pub(super) struct Create {
    #[command(flatten)]
    id: Id,
    #[command(flatten)]
    fields: Fields,
}

#[derive(Debug, clap::Args)]
pub(super) struct List {
    /// Only tenants of this status, ACTIVE or SUSPENDED
    #[arg(long, value_name = "S")]
    status: Option<String>,
    /// Deleted tenants too
    #[arg(long)]
    deleted: bool,
    /// Tenants on the page
    #[arg(long, value_name = "N", default_value_t = 100)]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=1000))]
    limit: u32,
    /// Go on after this id: the `next` of the page before
    #[arg(long, value_name = "TENANT")]
    after: Option<String>,
}

#[derive(Debug, clap::Args)]
pub(super) struct Update {
    #[command(flatten)]
    id: Id,
    #[command(flatten)]
    fields: Fields,
    /// Clear a field, such as description or requests_per_second
    #[arg(long = "clear", value_name = "FIELD")]
    clear: Vec<String>,
    /// Refuse unless the record still has this revision; 0: unless there is no record yet
    #[arg(long, value_name = "N", value_parser = whole, allow_negative_numbers = true)]
    expected_revision: Option<u64>,
    #[command(flatten)]
    spent: Spent,
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
    /// Remove its keys and its record too, for good
    #[arg(long)]
    purge: bool,
}

pub(super) fn run(command: &Command, global: &Global) -> Result<Exit, CliError> {
    match command {
        Command::Create(args) => create(args, global)?,
        Command::Get(args) => get(args, global)?,
        Command::List(args) => list(args, global)?,
        Command::Update(args) => update(args, global)?,
        Command::Usage(args) => usage(args, global)?,
        Command::Suspend(args) => set_status(args, "SUSPENDED", global)?,
        Command::Resume(args) => set_status(args, "ACTIVE", global)?,
        Command::Delete(args) if args.purge => purge(&args.id, global)?,
        Command::Delete(args) => delete(&args.id, global)?,
        Command::Restore(args) => restore(args, global)?,
        Command::Purge(args) => purge(args, global)?,
    }
    Ok(Exit::Fine)
}

fn create(args: &Create, global: &Global) -> Result<(), CliError> {
    let mut tenant = Map::new();
    tenant.insert("id".to_owned(), args.id.id.as_str().into());
    args.fields.put(&mut tenant);
    let changed = global
        .with_admin(async |client| Ok(client.create_tenant(Value::Object(tenant)).await?))?;
    print_tenant(&changed, global)
}

fn get(args: &Id, global: &Global) -> Result<(), CliError> {
    let tenant = global.with_admin(async |client| Ok(client.tenant(&args.id).await?))?;
    if global.json { print_json(&tenant) } else { print(&record_text(&tenant)) }
}

fn list(args: &List, global: &Global) -> Result<(), CliError> {
    let request = TenantList {
        status: args.status.clone(),
        deleted: args.deleted,
        after: args.after.clone(),
        limit: Some(args.limit),
    };
    let page = global.with_admin(async |client| Ok(client.tenants(&request).await?))?;
    if global.json {
        return print_json(&page);
    }
    let rows: Vec<Vec<String>> = page.tenants.iter().map(row).collect();
    print(&table(&["TENANT", "STATUS", "KEYS", "NAME"], &rows))?;
    if let Some(next) = &page.next {
        eprintln!("there are more: --after {next}");
    }
    Ok(())
}

fn row(tenant: &Value) -> Vec<String> {
    let text = |name: &str| tenant[name].as_str().unwrap_or_default().to_owned();
    vec![text("id"), standing(tenant), tenant["keys"].to_string(), text("name")]
}

/// How a tenant stands, as people write it.
fn standing(tenant: &Value) -> String {
    let mut standing = tenant["status"].as_str().unwrap_or_default().to_owned();
    // The keys of a deleted tenant are unknown, whatever its status was.
    if !tenant["purge_began_at"].is_null() {
        standing += " (being purged)";
    } else if !tenant["deleted_at"].is_null() {
        standing += " (deleted)";
    }
    standing
}

fn update(args: &Update, global: &Global) -> Result<(), CliError> {
    let mut set = Map::new();
    args.fields.put(&mut set);
    set.extend(args.clear.iter().map(|field| (field.clone(), Value::Null)));
    if set.is_empty() {
        return Err(CliError::Usage(
            "nothing to change: give a field, such as --name NAME or --clear description"
                .to_owned(),
        ));
    }
    // A tenant has no limit with a name.
    let notice = args.spent.notice(set.keys());
    let request = TenantUpdate {
        id: args.id.id.clone(),
        set: Value::Object(set),
        expected_revision: args.expected_revision,
        spent: args.spent.policy(),
    };
    let changed = global.with_admin(async |client| Ok(client.update_tenant(&request).await?))?;
    print_notices(notice.as_slice());
    print_tenant(&changed, global)
}

fn usage(args: &Id, global: &Global) -> Result<(), CliError> {
    let usage = global.with_admin(async |client| Ok(client.tenant_usage(&args.id).await?))?;
    if global.json {
        return print_json(&usage);
    }
    if usage.limits.is_empty() {
        return print(&format!("tenant {} has no limits of its own\n", usage.id));
    }
    print(&limits_table(&usage.limits))
}

fn set_status(args: &Reasoned, status: &str, global: &Global) -> Result<(), CliError> {
    let request = TenantSetStatus {
        id: args.id.id.clone(),
        status: status.to_owned(),
        reason: args.reason.clone(),
    };
    let changed =
        global.with_admin(async |client| Ok(client.set_tenant_status(&request).await?))?;
    print_outcome(&changed, &standing(&changed.tenant), global)
}

fn delete(args: &Id, global: &Global) -> Result<(), CliError> {
    let request = TenantDelete { id: args.id.clone(), purge: false };
    let changed = global.with_admin(async |client| Ok(client.delete_tenant(&request).await?))?;
    print_outcome(&changed, "deleted, and its keys are unknown", global)
}

fn restore(args: &Id, global: &Global) -> Result<(), CliError> {
    let changed = global.with_admin(async |client| Ok(client.restore_tenant(&args.id).await?))?;
    print_outcome(&changed, &standing(&changed.tenant), global)
}

fn purge(args: &Id, global: &Global) -> Result<(), CliError> {
    let request = TenantDelete { id: args.id.clone(), purge: true };
    let changed = global.with_admin(async |client| {
        Ok(client.with_timeout(PURGE_TIMEOUT).delete_tenant(&request).await?)
    })?;
    let keys = changed.keys_purged.unwrap_or(0);
    print_outcome(&changed, &format!("removed for good, with {keys} keys"), global)
}

fn print_tenant(changed: &TenantChanged, global: &Global) -> Result<(), CliError> {
    print_notices(&changed.notices);
    if global.json { print_json(changed) } else { print(&record_text(&changed.tenant)) }
}

/// What became of a tenant, in a line.
fn print_outcome(changed: &TenantChanged, outcome: &str, global: &Global) -> Result<(), CliError> {
    print_notices(&changed.notices);
    if global.json {
        return print_json(changed);
    }
    let id = changed.tenant["id"].as_str().unwrap_or_default();
    print(&format!("tenant {id}: {outcome}\n"))
}

impl Fields {
    fn put(&self, record: &mut Map<String, Value>) {
        let fields = [
            ("name", &self.name),
            ("description", &self.description),
            ("organization_id", &self.organization),
        ];
        for (field, value) in fields {
            if let Some(value) = value {
                record.insert(field.to_owned(), value.as_str().into());
            }
        }
        let limits = [
            ("requests_per_second", self.rps),
            ("burst", self.burst),
            ("requests_per_day", self.requests_per_day),
            ("monthly_request_quota", self.monthly_quota),
            ("max_uses", self.max_uses),
            ("concurrent_requests", self.concurrent),
            ("slot_ttl_seconds", self.slot_ttl),
        ];
        for (field, value) in limits {
            if let Some(value) = value {
                record.insert(field.to_owned(), value.into());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::{Args, FromArgMatches};

    use super::*;
    use crate::key::TenantRecord;
    use crate::key::tenant::TenantLimits;

    #[test]
    fn every_field_of_a_tenant_is_set_by_a_flag_of_its_name() {
        for field in TenantRecord::FIELDS_SET.iter().chain(&TenantLimits::FIELDS) {
            let args = [format!("--{}", field.replace('_', "-")), "1".to_owned()];
            let command = Fields::augment_args(clap::Command::new("tenant").no_binary_name(true));
            let matches = command.try_get_matches_from(args).expect(field);
            let mut set = Map::new();
            Fields::from_arg_matches(&matches).expect(field).put(&mut set);
            assert_eq!(set.keys().collect::<Vec<_>>(), [field]);
        }
    }
}
