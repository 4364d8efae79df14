//! `keygate usage`.

mod key;
mod sheet;
mod span;
mod top;

use keygate_protocol::admin::{Span, TopBy, UsageHistoryRequest, UsageTopRequest};

use self::sheet::Sheet;
use super::error::CliError;
use super::output::print_json;
use super::{Exit, Global, when};
use crate::key::{Time, id};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The key's id; without one, all keys, or those of --tenant
    #[arg(value_parser = id::parse, conflicts_with_all = ["tenant", "top"])]
    key_id: Option<u64>,
    /// All keys of a tenant
    #[arg(long, value_name = "TENANT")]
    tenant: Option<String>,
    /// By what it is told; endpoint and status of one key, ever
    #[arg(long, value_name = "WHAT")]
    by: Option<By>,
    /// From then on: 24h is so long ago; or a time such as 2027-03-01T09:00:00Z
    #[arg(long, value_name = "WHEN", value_parser = when::ago)]
    since: Option<Time>,
    /// What began before then: 24h is so long ago, too
    #[arg(long, value_name = "WHEN", value_parser = when::ago)]
    until: Option<Time>,
    /// The keys with the most of it
    #[arg(long, value_name = "WHAT", conflicts_with_all = ["by", "until"])]
    top: Option<Most>,
    /// How many of them
    #[arg(long, value_name = "N", default_value_t = 10, requires = "top")]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=1000))]
    limit: u32,
    /// That of a deleted key too
    #[arg(long, requires = "key_id")]
    deleted: bool,
    /// Comma-separated values, for a spreadsheet
    #[arg(long)]
    csv: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum By {
    /// The last 48 hours
    Hour,
    /// The last 400 days, UTC
    Day,
    Endpoint,
    Status,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Most {
    Requests,
    Units,
    Cost,
    Denials,
    Errors,
}

pub(super) fn run(args: &Args, global: &Global) -> Result<Exit, CliError> {
    if args.csv && global.json {
        return Err(CliError::Usage("--csv or --json, not both".to_owned()));
    }
    if let Some(top) = args.top {
        return of_top(args, top, global);
    }
    match (args.key_id, args.by) {
        (_, Some(By::Hour)) => of_spans(args, Span::Hour, global),
        (_, Some(By::Day)) => of_spans(args, Span::Day, global),
        (Some(id), by) => of_key(args, id, by, global),
        (None, None) => of_all(args, global),
        (None, Some(By::Endpoint | By::Status)) => Err(CliError::Usage(
            "--by endpoint and --by status are told of one key: name its id".to_owned(),
        )),
    }
}

fn of_key(args: &Args, id: u64, by: Option<By>, global: &Global) -> Result<Exit, CliError> {
    if args.since.is_some() || args.until.is_some() {
        let what = "of one key, --since and --until need --by hour or --by day";
        return Err(CliError::Usage(what.to_owned()));
    }
    let deleted = args.deleted;
    let usage = global.with_admin(async |client| {
        let usage = if deleted { client.deleted_usage(id).await } else { client.usage(id).await };
        Ok(usage?)
    })?;
    match by {
        _ if global.json => print_json(&usage)?,
        Some(By::Endpoint) => key::endpoints(&usage).print(args.csv)?,
        Some(By::Status) => key::statuses(&usage).print(args.csv)?,
        _ if args.csv => {
            Sheet::of_sums(&["key_id"], &[(vec![usage.key_id.clone()], &usage.sums)])
                .print(true)?;
        }
        _ => super::output::print(&key::text(&usage))?,
    }
    Ok(Exit::Fine)
}

fn request(args: &Args, by: Span) -> UsageHistoryRequest {
    UsageHistoryRequest {
        key_id: args.key_id.map(|id| id.to_string()),
        deleted: args.deleted,
        tenant: args.tenant.clone(),
        by,
        since: args.since.map(|at| at.to_string()),
        until: args.until.map(|at| at.to_string()),
    }
}

fn of_spans(args: &Args, by: Span, global: &Global) -> Result<Exit, CliError> {
    if args.until.is_some_and(|until| args.since.is_some_and(|since| since >= until)) {
        let what = "--until is not after --since; a duration such as 2d means so long ago";
        return Err(CliError::Usage(what.to_owned()));
    }
    let mut request = request(args, by);
    let history = global.with_admin(async |client| {
        let mut history = client.usage_history(&request).await?;
        // A long one comes in parts.
        while let Some(next) = history.next.take() {
            request.since = Some(next);
            let more = client.usage_history(&request).await?;
            history.spans.extend(more.spans);
            history.next = more.next;
        }
        Ok(history)
    })?;
    if global.json {
        print_json(&history)?;
    } else if history.spans.is_empty() && !args.csv {
        super::output::print("nothing was counted in this time\n")?;
    } else {
        span::sheet(&history.spans, by, args.csv).print(args.csv)?;
    }
    Ok(Exit::Fine)
}

/// Of all time, of a tenant or of all keys.
fn of_all(args: &Args, global: &Global) -> Result<Exit, CliError> {
    if args.since.is_some() || args.until.is_some() {
        return of_spans(args, Span::Day, global);
    }
    let request = UsageHistoryRequest {
        // Spans are not asked for.
        until: Some(Time::from_micros(0).to_string()),
        ..request(args, Span::Day)
    };
    let history = global.with_admin(async |client| Ok(client.usage_history(&request).await?))?;
    let of = args.tenant.as_deref().unwrap_or("all keys").to_owned();
    match (global.json, args.csv) {
        (true, _) => print_json(&history.total)?,
        (_, true) => Sheet::of_sums(&["of"], &[(vec![of], &history.total)]).print(true)?,
        _ => super::output::print(&key::sums_text(&history.total))?,
    }
    Ok(Exit::Fine)
}

fn of_top(args: &Args, top: Most, global: &Global) -> Result<Exit, CliError> {
    let request = UsageTopRequest {
        by: match top {
            Most::Requests => TopBy::Requests,
            Most::Units => TopBy::Units,
            Most::Cost => TopBy::Cost,
            Most::Denials => TopBy::Denials,
            Most::Errors => TopBy::Errors,
        },
        limit: args.limit,
        tenant: args.tenant.clone(),
        since: args.since.map(|at| at.to_string()),
    };
    let found = global.with_admin(async |client| Ok(client.usage_top(&request).await?))?;
    if global.json {
        print_json(&found)?;
    } else if found.keys.is_empty() && !args.csv {
        super::output::print("no key has any\n")?;
    } else {
        top::sheet(&found.keys, args.csv).print(args.csv)?;
    }
    Ok(Exit::Fine)
}
