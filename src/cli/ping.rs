//! `keygate ping`.

use serde_json::json;

use super::error::CliError;
use super::output::{print, print_json};
use super::{Exit, Global};

/// Round trips: the first one warms up, the fastest is told.
const ROUNDS: u32 = 10;

pub(super) fn run(global: &Global) -> Result<Exit, CliError> {
    let (fastest, server) = global.with_data(async |client| {
        let server = client.hello().await?;
        let mut fastest = client.ping().await?;
        for _ in 1..ROUNDS {
            fastest = fastest.min(client.ping().await?);
        }
        Ok((fastest, server))
    })?;
    let us = fastest.as_nanos() as f64 / 1000.0;
    let name = server.name.unwrap_or_default();
    if global.json {
        print_json(&json!({ "name": name, "protocol_version": server.version, "rtt_us": us }))?;
    } else {
        print(&format!("{name} answers in {us:.1} µs\n"))?;
    }
    Ok(Exit::Fine)
}
