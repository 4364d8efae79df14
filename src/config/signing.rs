//! Signed requests: `[signing]`.

use serde::{Deserialize, Serialize};

use super::bounds::Problems;
use crate::limit::Room;
use crate::sign::Policy;
use crate::sign::input::{COMPONENTS_MAX, Component};

/// What signatures of requests must be.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Signing {
    /// How long ago a request may have been signed.
    pub max_age_seconds: u32,
    /// How far ahead of the daemon's clock a signer's may be. After a crash no signed request is taken
    /// for as long as any signer's was, to five seconds: whether it was used before is not known.
    pub clock_skew_seconds: u32,
    /// What a signature must cover: derived components and header fields in lower case.
    pub components: Vec<String>,
    /// Whether it must cover `content-digest` where the request has a body.
    pub body_digest: bool,
    /// Signatures that are remembered, so that none is used twice: as many as are used within
    /// `max_age_seconds`.
    pub replays_max: usize,
    /// Those of one tenant; 0 for a quarter of them.
    pub replays_tenant_max: usize,
    /// Those of one key; 0 for a sixteenth of them.
    pub replays_key_max: usize,
}

impl Default for Signing {
    fn default() -> Self {
        let components = ["@method", "@authority", "@path", "@query"];
        Self {
            max_age_seconds: 300,
            clock_skew_seconds: 300,
            components: components.map(str::to_owned).into(),
            body_digest: true,
            replays_max: 1_000_000,
            replays_tenant_max: 0,
            replays_key_max: 0,
        }
    }
}

impl Signing {
    /// How many signatures are remembered.
    #[must_use]
    pub fn room(&self) -> Room {
        Room::new(self.replays_max, self.replays_tenant_max, self.replays_key_max)
    }

    /// What a signature is judged by.
    #[must_use]
    pub fn policy(&self) -> Policy {
        Policy {
            max_age_s: self.max_age_seconds,
            skew_s: self.clock_skew_seconds,
            components: self.components.iter().filter_map(|name| Component::new(name)).collect(),
            covers_body: self.body_digest,
        }
    }
}

/// Every component must be one that can be covered.
pub(super) fn check(signing: &Signing, problems: &mut Problems) {
    let path = ["signing", "components"];
    let count = signing.components.len();
    if count > COMPONENTS_MAX {
        let why = format!("has {count} names; at most {COMPONENTS_MAX} may be demanded");
        problems.add(&path, &why);
    }
    for name in signing.components.iter().filter(|name| Component::new(name).is_none()) {
        let why = format!(
            "names {name:?}; a component is @method, @target-uri, @authority, @scheme, @path, \
             @query or a header field in lower case"
        );
        problems.add(&path, &why);
    }
}
