//! `keygate bench`: makes the keys, runs the load generator, removes the keys.

use std::time::Duration;

use keygate_protocol::admin::KeyDelete;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tokio::signal::unix::{SignalKind, signal};
use zeroize::Zeroizing;

use super::bench::{self, BenchError, Plan};
use super::error::CliError;
use super::output::{print, print_json};
use super::{Exit, Global, connect};
use crate::client::Client;
use crate::key::digest::hex;

/// Keys at the most: their tokens are held in memory.
const KEYS_MAX: i64 = 1_000_000;
/// The rate of the keys: above what any machine asks, so that the limit is judged and never denies.
const KEY_RPS: u32 = 2_000_000_000;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Connections
    #[arg(long, default_value_t = 1, value_name = "N")]
    connections: u32,
    /// Requests in flight on each connection
    #[arg(long, default_value_t = 1, value_name = "N")]
    depth: u32,
    /// Requests a second over all connections, at their intended times; without it, as fast as
    /// answers come
    #[arg(long, value_name = "N")]
    rate: Option<u32>,
    /// How long to measure, such as 10s
    #[arg(long, default_value = "10s", value_name = "S", value_parser = duration)]
    duration: Duration,
    /// Rounds into which that is divided; the echo is measured between them
    #[arg(long, default_value_t = 10, value_name = "N")]
    rounds: u32,
    /// Keys to make, use at random, and remove; the daemon logs a line for each that is removed
    #[arg(long, default_value_t = 1000, value_name = "N")]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=KEYS_MAX))]
    keys: u32,
    /// Keys that demand audit: each verdict is recorded before it is given
    #[arg(long)]
    audited: bool,
}

struct BenchKey {
    id: u64,
    token: Zeroizing<String>,
}

pub(super) fn run(args: &Args, global: &Global) -> Result<Exit, CliError> {
    let keys = make_keys(args.keys)?;
    let tokens = keys.iter().map(|key| key.token.clone()).collect();
    let mut plan = Plan::new(global.data_socket(), tokens);
    (plan.connections, plan.depth) = (args.connections, args.depth);
    (plan.rate, plan.duration, plan.rounds) = (args.rate, args.duration, args.rounds);
    plan.check()?;
    // From here on an interrupt does not end the process: the keys are to be removed.
    let runtime = connect::runtime()?;
    let interrupted = {
        let _inside = runtime.enter();
        interrupted()?
    };
    let records: Vec<Value> = keys.iter().map(|key| key.record(args.audited)).collect();
    global.with_admin(|client| import(client, records))?;
    let measured = runtime.block_on(async {
        tokio::select! {
            measured = tokio::task::spawn_blocking(|| bench::run(plan)) => {
                Ok(measured.map_err(|_| BenchError::Panicked)??)
            }
            () = interrupted => Err(CliError::Interrupted),
        }
    });
    let removed = global.with_admin(|client| remove(client, keys));
    // The load ends with the process.
    runtime.shutdown_background();
    let report = match measured {
        // It says that the keys are removed.
        Err(CliError::Interrupted) => return removed.and(Err(CliError::Interrupted)),
        measured => measured?,
    };
    if global.json {
        print_json(&report.to_json())?;
    } else {
        print(&format!("{report}\n"))?;
    }
    removed?;
    Ok(Exit::Fine)
}

/// Ends when somebody wants the command to end. To be called inside a runtime; signals that arrive
/// before it is awaited are not lost.
fn interrupted() -> Result<impl Future<Output = ()>, CliError> {
    let failed = |error| CliError::System { doing: "cannot handle signals", error };
    let mut terminate = signal(SignalKind::terminate()).map_err(failed)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(failed)?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
}

impl BenchKey {
    fn record(&self, audited: bool) -> Value {
        json!({
            "id": self.id.to_string(),
            "name": "keygate bench; may be deleted",
            "tenant_id": "keygate-bench",
            "key_hash": hex(&Sha256::digest(self.token.as_bytes())),
            "key_prefix": "bench_",
            "scopes": ["bench:run"],
            "requests_per_second": KEY_RPS,
            "requires_audit_logging": audited,
        })
    }
}

fn make_keys(count: u32) -> Result<Vec<BenchKey>, CliError> {
    (0..count)
        .map(|_| {
            let mut random = [0; 40];
            getrandom::fill(&mut random).map_err(|error| CliError::System {
                doing: "the system's random source failed",
                error: std::io::Error::other(error),
            })?;
            let (id, token) = random.split_first_chunk::<8>().unwrap_or((&[1; 8], &[]));
            // Ids of this size are decades ahead of those that keygate makes.
            let id = u64::from_le_bytes(*id) >> 1 | 1 << 62;
            Ok(BenchKey { id, token: Zeroizing::new(format!("bench_{}", hex(&token[..20]))) })
        })
        .collect()
}

async fn import(client: Client, records: Vec<Value>) -> Result<(), CliError> {
    let mut import = client.import(false).await?;
    for record in &records {
        let record = serde_json::value::to_raw_value(record)
            .map_err(|error| CliError::Usage(error.to_string()))?;
        import.push(&record).await?;
    }
    let report = import.finish().await?;
    match report.problems.first() {
        Some(problem) => Err(CliError::Usage(format!("the keys: {}", problem.reason))),
        None => Ok(()),
    }
}

/// Removes the keys, many at a time so that they share their commits.
async fn remove(client: Client, keys: Vec<BenchKey>) -> Result<(), CliError> {
    const AT_A_TIME: usize = 64;
    for chunk in keys.chunks(AT_A_TIME) {
        let mut removals = tokio::task::JoinSet::new();
        for key in chunk {
            let (client, id) = (client.clone(), key.id.to_string());
            removals.spawn(async move { client.delete(&KeyDelete { id, purge: true }).await });
        }
        while let Some(removed) = removals.join_next().await {
            if let Ok(outcome) = removed {
                outcome?;
            }
        }
    }
    Ok(())
}

/// Seconds, or a duration with its unit.
fn duration(text: &str) -> Result<Duration, String> {
    if let Ok(seconds) = text.parse::<u32>() {
        return Ok(Duration::from_secs(seconds.into()));
    }
    humantime::parse_duration(text).map_err(|_| format!("{text:?} is not a duration such as 10s"))
}
