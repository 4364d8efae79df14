//! `keygate alert …`: who is told, and what became of it.

use std::time::Duration;

use keygate_protocol::admin::{AlertList, AlertRef, AlertSecret, AlertShown, AlertTested};
use serde_json::Value;
use zeroize::{Zeroize, Zeroizing};

use super::error::CliError;
use super::output::{print, print_json, table};
use super::when::duration;
use super::{Exit, Global};
use crate::key::id;

#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    /// Send a test to everybody that alerts of a key go to, and say what came of it
    Test(Of),
    /// Show alerts that wait, were given up, or were delivered of late
    List(List),
    /// Show the secrets that a key's web hook is signed with, or make another
    Secret(Secret),
    /// Send to a key's web hook again that had answered that it wants no more (410)
    Enable(Of),
}

/// Whose destinations.
#[derive(Debug, clap::Args)]
#[group(required = true, multiple = false)]
pub(super) struct Of {
    /// The key's id
    #[arg(value_name = "ID", value_parser = id::parse)]
    id: Option<u64>,
    /// Instead of a key: the operator's, as the configuration has them
    #[arg(long)]
    operator: bool,
}

#[derive(Debug, clap::Args)]
pub(super) struct List {
    /// Only alerts about this key
    #[arg(long, value_name = "ID", value_parser = id::parse)]
    key: Option<u64>,
    /// Only alerts about this tenant's keys
    #[arg(long, value_name = "TENANT")]
    tenant: Option<String>,
    /// Only those that were given up
    #[arg(long)]
    failed: bool,
}

#[derive(Debug, clap::Args)]
pub(super) struct Secret {
    #[command(flatten)]
    of: Of,
    /// Make another secret
    #[arg(long)]
    rotate: bool,
    /// How long the present one signs too, such as 24h, which it is if not given; 0 ends it now
    #[arg(long, value_name = "DURATION", value_parser = duration, requires = "rotate")]
    overlap: Option<Duration>,
}

impl Of {
    fn request(&self) -> AlertRef {
        AlertRef { id: self.id.map(|id| id.to_string()), operator: self.operator }
    }
}

pub(super) fn run(command: &Command, global: &Global) -> Result<Exit, CliError> {
    match command {
        Command::Test(of) => test(of, global),
        Command::List(args) => list(args, global).map(|()| Exit::Fine),
        Command::Secret(args) => secret(args, global).map(|()| Exit::Fine),
        Command::Enable(of) => enable(of, global).map(|()| Exit::Fine),
    }
}

fn test(of: &Of, global: &Global) -> Result<Exit, CliError> {
    let request = of.request();
    let tested = global.with_admin(async |client| Ok(client.test_alert(&request).await?))?;
    if global.json {
        print_json(&tested)?;
    } else {
        print(&results(&tested))?;
    }
    let all = tested.results.iter().all(|result| result.outcome == "delivered");
    Ok(if all { Exit::Fine } else { Exit::Error })
}

fn results(tested: &AlertTested) -> String {
    let row = |result: &keygate_protocol::admin::AlertTestResult| {
        let why = if result.why.is_empty() { "-" } else { &result.why };
        vec![destination(&result.destination), result.outcome.clone(), why.to_owned()]
    };
    let rows: Vec<Vec<String>> = tested.results.iter().map(row).collect();
    format!("test {}\n{}", tested.id, table(&["TO", "OUTCOME", "WHY"], &rows))
}

/// All pages: there are as many as the outbox has room for.
fn list(args: &List, global: &Global) -> Result<(), CliError> {
    let mut request = AlertList {
        key: args.key.map(|id| id.to_string()),
        tenant: args.tenant.clone(),
        failed: args.failed,
        ..AlertList::default()
    };
    let alerts = global.with_admin(async |client| {
        let mut all = Vec::new();
        loop {
            let mut page = client.alerts(&request).await?;
            all.append(&mut page.alerts);
            request.after = page.next;
            if request.after.is_none() {
                return Ok(all);
            }
        }
    })?;
    if global.json {
        return alerts.iter().try_for_each(print_json);
    }
    if alerts.is_empty() {
        eprintln!("no alerts wait, and none were given up or delivered of late");
        return Ok(());
    }
    let headings = ["AT", "KIND", "TO", "STATE", "TRIED", "NEXT", "SUMMARY", "WHY"];
    print(&table(&headings, &alerts.iter().map(row).collect::<Vec<_>>()))
}

fn row(alert: &AlertShown) -> Vec<String> {
    let or_dash =
        |text: Option<&str>| text.filter(|text| !text.is_empty()).unwrap_or("-").to_owned();
    vec![
        alert.at.clone(),
        alert.kind.clone(),
        destination(&alert.destination),
        alert.state.clone(),
        alert.attempts.to_string(),
        or_dash(alert.next_at.as_deref()),
        alert.summary.clone(),
        or_dash(Some(&alert.why)),
    ]
}

/// A destination as people write it.
fn destination(to: &Value) -> String {
    let text = |name: &str| to.get(name).and_then(Value::as_str);
    match text("url").or_else(|| text("address")) {
        Some(where_to) => where_to.to_owned(),
        None => format!("sink {}", text("name").unwrap_or_default()),
    }
}

fn secret(args: &Secret, global: &Global) -> Result<(), CliError> {
    let AlertRef { id, operator } = args.of.request();
    let overlap_ms =
        args.overlap.map(|overlap| u64::try_from(overlap.as_millis()).unwrap_or(u64::MAX));
    let request = AlertSecret { id, operator, rotate: args.rotate, overlap_ms };
    let mut shown =
        global.with_admin(async |client| Ok(client.webhook_secrets(&request).await?))?;
    let printed = if global.json {
        print_json(&shown)
    } else {
        eprintln!("secrets of {}, the present one first:", shown.url);
        let mut text = Zeroizing::new(String::new());
        for one in &shown.secrets {
            text.push_str(&one.secret);
            if let Some(until) = &one.until {
                text.push_str(&format!("  signs until {until}"));
            }
            text.push('\n');
        }
        print(&text)
    };
    shown.secrets.iter_mut().for_each(|one| one.secret.zeroize());
    printed
}

fn enable(of: &Of, global: &Global) -> Result<(), CliError> {
    let request = of.request();
    let enabled = global.with_admin(async |client| Ok(client.enable_webhook(&request).await?))?;
    if global.json {
        return print_json(&enabled);
    }
    print(&match enabled.disabled_since {
        Some(since) => format!("{}: sent to again, after nothing was since {since}\n", enabled.url),
        None => format!("{}: it was not disabled\n", enabled.url),
    })
}
