//! `--spent`: what becomes of what was spent of the limits that an update names.

use keygate_protocol::admin::SpentPolicy;

#[derive(Debug, clap::Args)]
pub(super) struct Spent {
    /// What becomes of what was spent of the limits that are given: it stays spent (keep, if not
    /// said), becomes the same share of the new limit (proportional), or nothing (reset)
    #[arg(long = "spent", value_name = "keep|proportional|reset", value_parser = policy)]
    policy: Option<SpentPolicy>,
}

impl Spent {
    /// What the request says of it.
    pub(super) const fn policy(&self) -> Option<SpentPolicy> {
        self.policy
    }
}

fn policy(text: &str) -> Result<SpentPolicy, String> {
    Ok(match text {
        "keep" => SpentPolicy::Keep,
        "proportional" => SpentPolicy::Proportional,
        "reset" => SpentPolicy::Reset,
        _ => return Err("it is keep, proportional or reset".to_owned()),
    })
}
