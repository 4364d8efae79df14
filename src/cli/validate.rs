//! `keygate validate`.

use super::error::CliError;
use super::output::{print, print_json, verdict_json, verdict_text};
use super::{Exit, Global, secret};
use crate::client::ValidateRequest;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The token; `-` reads it from standard input, without it KEYGATE_TOKEN is taken
    token: Option<String>,
    /// A scope that the key must grant; all of them, if there are more
    #[arg(long = "scope", value_name = "SCOPE")]
    scopes: Vec<String>,
    /// Scopes of which the key must grant one
    #[arg(long = "any-scope", value_name = "SCOPE")]
    any_scopes: Vec<String>,
    /// Units to spend, 0 to 2^32; 0 judges without spending
    #[arg(long, default_value_t = 1, value_name = "N")]
    cost: u64,
    /// Judge without spending
    #[arg(long)]
    peek: bool,
}

pub(super) fn run(args: &Args, global: &Global) -> Result<Exit, CliError> {
    let token = secret::token(args.token.as_deref())?;
    let mut request = ValidateRequest::new(token.as_str()).cost(args.cost).details();
    for scope in &args.scopes {
        request = request.scope(scope);
    }
    for scope in &args.any_scopes {
        request = request.any_scope(scope);
    }
    if args.peek {
        request = request.peek();
    }
    let verdict = global.with_data(async |client| Ok(client.validate(request).await?))?;
    if global.json {
        print_json(&verdict_json(&verdict))?;
    } else {
        print(&verdict_text(&verdict))?;
    }
    Ok(if verdict.is_valid() { Exit::Fine } else { Exit::Denied })
}
