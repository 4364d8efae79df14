//! `keygate status`.

use keygate_protocol::ErrorCode;
use keygate_protocol::admin::Stats;
use serde_json::json;

use super::error::CliError;
use super::output::{print, print_json};
use super::{Exit, Global};

pub(super) fn run(global: &Global) -> Result<Exit, CliError> {
    let (health, stats) = global.with_admin(async |client| {
        let health = client.health().await?;
        let stats = match client.stats().await {
            // The figures are those of all tenants; the health concerns this one too.
            Err(error) if error.code() == Some(ErrorCode::Forbidden) => Stats::new(),
            stats => stats?,
        };
        Ok((health, stats))
    })?;
    if global.json {
        print_json(&json!({
            "healthy": health.healthy,
            "writable": health.writable,
            "reasons": health.reasons,
            "stats": stats,
        }))?;
    } else {
        let mut text = String::from(if health.healthy { "healthy\n" } else { "NOT HEALTHY\n" });
        text.extend(health.reasons.iter().map(|reason| format!("  {reason}\n")));
        text.extend(stats.iter().map(|(name, value)| format!("{name:20} {value}\n")));
        print(&text)?;
    }
    Ok(if health.healthy { Exit::Fine } else { Exit::Error })
}
