//! `keygate renew`.

use keygate_protocol::RenewOutcome;
use serde_json::json;

use super::error::CliError;
use super::output::{print, print_json};
use super::whole::whole;
use super::{Exit, Global};
use crate::key::id;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The key's id, as its verdict named it
    #[arg(value_parser = id::parse)]
    key_id: u64,
    /// The slot, as its verdict named it
    #[arg(value_parser = whole)]
    slot: u64,
}

pub(super) fn run(args: &Args, global: &Global) -> Result<Exit, CliError> {
    let (key_id, slot) = (args.key_id, args.slot);
    let outcome = global.with_data(async |client| Ok(client.renew_slot(key_id, slot).await?))?;
    let (name, text, exit) = match outcome {
        RenewOutcome::Renewed => ("RENEWED", "held for its whole time again", Exit::Fine),
        RenewOutcome::Gone => ("GONE", "was given back, or its time has ended", Exit::Error),
        RenewOutcome::NotFound => ("NOT_FOUND", "there is no such key", Exit::NotFound),
    };
    if global.json {
        let (key_id, slot) = (key_id.to_string(), slot.to_string());
        print_json(&json!({ "key_id": key_id, "slot": slot, "outcome": name }))?;
    } else {
        print(&format!("slot {slot} of key {key_id}: {text}\n"))?;
    }
    Ok(exit)
}
