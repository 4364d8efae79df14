//! `keygate key …`: what becomes of a key after it was made.

use std::time::Duration;

use keygate_protocol::admin::{KeyChanged, KeyDelete, KeyRotate, KeySecret, KeySetStatus};
use serde_json::Value;
use zeroize::Zeroizing;

use super::Id;
use crate::cli::Global;
use crate::cli::error::CliError;
use crate::cli::output::{print, print_json, print_notices, record_text};
use crate::cli::when::duration;
use crate::cli::whole::whole;
use crate::key::{ReasonCode, Status};

#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Rotate {
    #[command(flatten)]
    id: Id,
    /// How long the old token goes on, such as 24h; 0 ends it now. A token that an earlier
    /// rotation replaced ends at once
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    grace: Option<Duration>,
    /// Why
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
}

#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Secret {
    #[command(flatten)]
    id: Id,
    /// How long the secret before goes on, such as 24h; 0 ends it now. One that an earlier exchange
    /// replaced ends at once
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    grace: Option<Duration>,
    /// Have the key demand its secret from here on
    #[arg(long)]
    require: bool,
    /// Make none: the key has no secret any more, and demands none
    #[arg(long, conflicts_with_all = ["grace", "require"])]
    remove: bool,
    /// Refuse unless the record still has this revision
    #[arg(long, value_name = "N", value_parser = whole, allow_negative_numbers = true)]
    expected_revision: Option<u64>,
}

#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Reasoned {
    #[command(flatten)]
    id: Id,
    #[command(flatten)]
    why: Why,
}

/// Why a state is changed.
#[derive(Debug, clap::Args)]
pub(super) struct Why {
    /// Why, for programs; `other` needs a --reason
    #[arg(long, value_name = "CODE", value_parser = ReasonCode::ALL.map(ReasonCode::name))]
    pub(super) reason_code: Option<String>,
    /// Why, for people
    #[arg(long, value_name = "TEXT")]
    pub(super) reason: Option<String>,
}

#[derive(Debug, clap::Args)]
pub(in crate::cli) struct SetStatus {
    #[command(flatten)]
    id: Id,
    /// The state, such as DEPRECATED, PENDING_REVIEW or MAINTENANCE, in capitals or not
    #[arg(value_name = "STATUS", value_parser = status)]
    status: Status,
    #[command(flatten)]
    why: Why,
}

#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Delete {
    #[command(flatten)]
    id: Id,
    /// Remove the record too, for good; also that of a key that was deleted before
    #[arg(long)]
    purge: bool,
}

pub(super) fn rotate(args: &Rotate, global: &Global) -> Result<(), CliError> {
    let grace_ms = args.grace.map(|grace| u64::try_from(grace.as_millis()).unwrap_or(u64::MAX));
    let request = KeyRotate { id: args.id.id.to_string(), grace_ms, reason: args.reason.clone() };
    let rotated = global.with_admin(async |client| Ok(client.rotate(&request).await?))?;
    print_notices(&rotated.notices);
    if global.json {
        return print_json(&rotated);
    }
    print(&record_text(&rotated.key))?;
    eprintln!("the old token ends at {}", rotated.old_token_ends_at);
    eprintln!("the new token, shown only now:");
    print(&Zeroizing::new(rotated.token + "\n"))
}

pub(super) fn secret(args: &Secret, global: &Global) -> Result<(), CliError> {
    let grace_ms = args.grace.map(|grace| u64::try_from(grace.as_millis()).unwrap_or(u64::MAX));
    let request = KeySecret {
        id: args.id.id.to_string(),
        grace_ms,
        require: args.require,
        remove: args.remove,
        expected_revision: args.expected_revision,
    };
    let made = global.with_admin(async |client| Ok(client.client_secret(&request).await?))?;
    print_notices(&made.notices);
    if global.json {
        return print_json(&made);
    }
    print(&record_text(&made.key))?;
    if let Some(ends_at) = &made.old_secret_ends_at {
        eprintln!("the old client secret ends at {ends_at}");
    }
    let Some(secret) = made.client_secret else { return Ok(()) };
    eprintln!("the new client secret, shown only now:");
    print(&Zeroizing::new(secret + "\n"))
}

pub(super) fn change(args: &Reasoned, to: Status, global: &Global) -> Result<(), CliError> {
    send_status(&args.id, to, &args.why, global)
}

pub(super) fn set_status(args: &SetStatus, global: &Global) -> Result<(), CliError> {
    send_status(&args.id, args.status, &args.why, global)
}

fn send_status(id: &Id, to: Status, why: &Why, global: &Global) -> Result<(), CliError> {
    let request = KeySetStatus {
        id: id.id.to_string(),
        status: to.name().to_owned(),
        reason_code: why.reason_code.clone(),
        reason: why.reason.clone(),
    };
    let changed = global.with_admin(async |client| Ok(client.set_status(&request).await?))?;
    print_outcome(&changed, &status_text(&changed.key), global)
}

pub(super) fn review(args: &Id, global: &Global) -> Result<(), CliError> {
    let changed = global.with_admin(async |client| Ok(client.review(args.id).await?))?;
    print_outcome(&changed, "reviewed", global)
}

pub(super) fn delete(args: &Delete, global: &Global) -> Result<(), CliError> {
    let request = KeyDelete { id: args.id.id.to_string(), purge: args.purge };
    let changed = global.with_admin(async |client| Ok(client.delete(&request).await?))?;
    let outcome = if args.purge { "removed for good" } else { "deleted" };
    print_outcome(&changed, outcome, global)
}

pub(super) fn restore(args: &Id, global: &Global) -> Result<(), CliError> {
    let changed = global.with_admin(async |client| Ok(client.restore(args.id).await?))?;
    print_outcome(&changed, &format!("restored, {}", status_text(&changed.key)), global)
}

/// What became of a key, on one line: the fields that people wrote have not changed.
fn print_outcome(changed: &KeyChanged, outcome: &str, global: &Global) -> Result<(), CliError> {
    print_notices(&changed.notices);
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

pub(super) fn status(given: &str) -> Result<Status, String> {
    let name = given.to_ascii_uppercase().replace('-', "_");
    Status::parse(&name).map_err(|error| error.to_string())
}
