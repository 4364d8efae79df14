//! `keygate watch`.

use keygate_protocol::ErrorCode;
use serde_json::Value;

use super::error::CliError;
use super::event_line::{Colours, event_line};
use super::output::{print, print_json};
use super::{Exit, Global};
use crate::client::Client;
use crate::event::Event;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Only what concerns this tenant and its keys
    #[arg(long, value_name = "TENANT")]
    tenant: Option<String>,
}

pub(super) fn run(args: &Args, global: &Global) -> Result<Exit, CliError> {
    global.with_admin(async |client| {
        tokio::select! {
            ended = watch(&client, args.tenant.clone(), global.json) => ended,
            _ = tokio::signal::ctrl_c() => Ok(Exit::Fine),
        }
    })
}

async fn watch(client: &Client, tenant: Option<String>, json: bool) -> Result<Exit, CliError> {
    let colours = Colours::of_stdout();
    let mut watch = client.watch(tenant).await?;
    loop {
        let frame = match watch.next_frame().await {
            Ok(Some(frame)) => frame,
            Ok(None) => return Ok(Exit::Fine),
            Err(error) if error.code() == Some(ErrorCode::Stopping) => {
                eprintln!("keygate: the daemon has stopped");
                return Ok(Exit::Fine);
            }
            Err(error) => return Err(error.into()),
        };
        if frame.missed > 0 {
            eprintln!("keygate: {} events were missed: they were not read in time", frame.missed);
        }
        for event in frame.events {
            show(&event, json, colours)?;
        }
    }
}

fn show(event: &Value, json: bool, colours: Colours) -> Result<(), CliError> {
    if json {
        return print_json(event);
    }
    match serde_json::from_value::<Event>(event.clone()) {
        Ok(event) => print(&(event_line(&event, colours) + "\n")),
        // A daemon of a later release has more kinds of events.
        Err(_) => print_json(event),
    }
}
