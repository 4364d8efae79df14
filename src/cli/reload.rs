//! `keygate reload`.

use std::time::Duration;

use super::error::CliError;
use super::output::{print, print_json, print_notices};
use super::{Exit, Global};

/// The keys of a tier that changed are read from the disk, a million of them if there are as many.
const TIMEOUT: Duration = Duration::from_secs(600);

pub(super) fn run(global: &Global) -> Result<Exit, CliError> {
    let reloaded =
        global.with_admin(async |client| Ok(client.with_timeout(TIMEOUT).reload().await?))?;
    print_notices(&reloaded.notices);
    if global.json {
        print_json(&reloaded)?;
        return Ok(Exit::Fine);
    }
    let mut text: String = reloaded.changes.iter().map(|line| format!("{line}\n")).collect();
    let unnamed = reloaded.settings_changed.saturating_sub(reloaded.changes.len() as u64);
    if unnamed > 0 {
        text += &format!("… and {unnamed} more\n");
    }
    let (settings, keys) = (reloaded.settings_changed, reloaded.keys_changed);
    text += &format!("settings changed: {settings}, keys with other limits: {keys}\n");
    print(&text)?;
    Ok(Exit::Fine)
}
