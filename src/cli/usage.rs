//! `keygate usage`.

use keygate_protocol::admin::KeyUsage;

use super::error::CliError;
use super::output::{limits_table, print, print_json, table};
use super::{Exit, Global};
use crate::key::id;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The key's id
    #[arg(value_parser = id::parse)]
    key_id: u64,
}

pub(super) fn run(args: &Args, global: &Global) -> Result<Exit, CliError> {
    let usage = global.with_admin(async |client| Ok(client.usage(args.key_id).await?))?;
    if global.json {
        print_json(&usage)?;
    } else {
        print(&text(&usage))?;
    }
    Ok(Exit::Fine)
}

fn text(usage: &KeyUsage) -> String {
    let shown =
        |number: Option<f64>| number.map_or("-".to_owned(), |number| format!("{number:.3}"));
    let mut text = format!(
        "key                    {}\n\
         valid verdicts         {}\n\
         last used              {}\n\
         reported requests      {}\n\
         of these errors        {}\n\
         success rate           {}\n\
         average response (ms)  {}\n",
        usage.key_id,
        usage.total_requests,
        usage.last_used_at.as_deref().unwrap_or("never"),
        usage.reported_requests,
        usage.total_errors,
        shown(usage.success_rate),
        shown(usage.average_response_time),
    );
    if !usage.limits.is_empty() {
        text += &format!("\n{}", limits_table(&usage.limits));
    }
    if !usage.endpoints.is_empty() {
        let rows: Vec<_> = usage
            .endpoints
            .iter()
            .map(|row| {
                vec![
                    row.endpoint.clone(),
                    row.requests.to_string(),
                    row.errors.to_string(),
                    shown(row.average_response_time),
                ]
            })
            .collect();
        text += &format!("\n{}", table(&["ENDPOINT", "REQUESTS", "ERRORS", "AVERAGE MS"], &rows));
    }
    if !usage.recent_errors.is_empty() {
        let rows: Vec<_> = usage
            .recent_errors
            .iter()
            .map(|row| {
                vec![
                    row.at.clone(),
                    row.status.map_or("-".to_owned(), |status| status.to_string()),
                    row.endpoint.clone().unwrap_or_default(),
                    row.message.clone().unwrap_or_default(),
                ]
            })
            .collect();
        text += &format!("\n{}", table(&["AT", "STATUS", "ENDPOINT", "ERROR"], &rows));
    }
    text
}
