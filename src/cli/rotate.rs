//! `keygate pepper …` and `keygate master …`: the secrets that the store is written under.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use keygate_protocol::admin::{RotationState, SecretFrom, SecretStatus};

use super::error::CliError;
use super::output::{print, print_json};
use super::{Exit, Global};
use crate::client::Client;
use crate::store::Rotating;

/// How often a rotation that is waited for is looked at.
const LOOK: Duration = Duration::from_millis(100);

#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    /// Exchange it for a new one while the daemon serves, and wait for the end
    Rotate(Rotate),
    /// Show where it is kept, and how its rotation stands
    Status,
}

#[derive(Debug, clap::Args)]
pub(super) struct Rotate {
    /// Do not wait: the daemon goes on by itself, also after a restart
    #[arg(long)]
    no_wait: bool,
}

pub(super) fn run(command: &Command, of: Rotating, global: &Global) -> Result<Exit, CliError> {
    let status = global.with_admin(async |client| match command {
        Command::Status => Ok(client.secret_status(of == Rotating::Pepper).await?),
        Command::Rotate(args) => rotate(&client, of, args.no_wait).await,
    })?;
    let rotation = status.rotation.as_ref();
    let failed = rotation.is_some_and(|it| it.state == RotationState::Failed);
    if global.json {
        print_json(&status)?;
    } else {
        print(&words(&status, of))?;
    }
    Ok(if failed { Exit::Error } else { Exit::Fine })
}

async fn rotate(client: &Client, of: Rotating, no_wait: bool) -> Result<SecretStatus, CliError> {
    let pepper = of == Rotating::Pepper;
    let mut status = client.rotate_secret(pepper).await?;
    let bar = ProgressBar::no_length();
    if let Ok(style) = ProgressStyle::with_template("rotating {wide_bar} {pos}/{len} keys {eta}") {
        bar.set_style(style);
    }
    while let Some(rotation) = &status.rotation
        && rotation.state == RotationState::Running
        && !no_wait
    {
        bar.set_length(rotation.records_estimate);
        bar.set_position(rotation.records);
        tokio::time::sleep(LOOK).await;
        status = client.secret_status(pepper).await?;
    }
    bar.finish_and_clear();
    Ok(status)
}

fn words(status: &SecretStatus, of: Rotating) -> String {
    let what = of.name();
    let from = match status.from {
        SecretFrom::DataDir => "kept in the data directory",
        SecretFrom::Credential => "passed as a credential",
    };
    let mut text = format!("{what}     {} ({from})\n", status.id);
    if let Some(rotation) = &status.rotation {
        let state = match rotation.state {
            RotationState::Running => "under way",
            RotationState::Failed => "STANDS STILL",
            RotationState::Done => "done",
        };
        let (to, records) = (&rotation.to, rotation.records);
        text += &format!("rotation to {to}: {state}, {records} keys\n");
        text.extend(rotation.message.iter().map(|message| format!("{message}\n")));
    }
    // At the end of a rotation it says the same.
    let said = status.rotation.as_ref().and_then(|rotation| rotation.message.as_ref());
    let message = status.message.as_ref().filter(|message| Some(*message) != said);
    text.extend(message.map(|message| format!("{message}\n")));
    text
}
