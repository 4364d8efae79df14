//! `--spent`: what becomes of what was spent of the limits that an update names.

use keygate_protocol::admin::SpentPolicy;

use crate::key::json::canonical;
use crate::limit::{Change, Spent as Policy};

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

    /// What is to be told of an update of these fields: without a limit among them that something is
    /// spent of, the policy does nothing.
    pub(super) fn notice<'a>(
        &self,
        fields: impl IntoIterator<Item = &'a String>,
    ) -> Option<String> {
        self.policy?;
        let named: Vec<String> = fields.into_iter().map(|field| canonical(field)).collect();
        let named = |field: &str| named.iter().any(|name| name == field);
        let Change { second, day, month, lifetime, named, .. } =
            Change::naming(Policy::Keep, named);
        let does_something = second || day || month || lifetime || named;
        (!does_something).then(|| {
            "--spent does nothing: the update names none of --rps, --burst, --requests-per-day, \
             --monthly-quota, --max-uses and --limit"
                .to_owned()
        })
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
