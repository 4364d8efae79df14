//! What was changed, and what was decided.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::Actor;

/// What an event is about.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Subject {
    /// A key.
    Key {
        /// Its id; a decimal string in JSON, as everywhere.
        #[serde(with = "decimal")]
        id: u64,
        /// Its tenant.
        tenant: String,
    },
    /// A tenant.
    Tenant {
        /// Its id.
        id: String,
    },
    /// The configuration.
    Configuration,
    /// The daemon as a whole: an import, a backup, an export.
    Daemon,
}

impl Subject {
    /// The tenant that may see it; `None` where it concerns all.
    #[must_use]
    pub fn tenant(&self) -> Option<&str> {
        match self {
            Self::Key { tenant, .. } => Some(tenant),
            Self::Tenant { id } => Some(id),
            Self::Configuration | Self::Daemon => None,
        }
    }
}

/// The action of an import.
pub const IMPORT: &str = "import";
/// Of an import's change: the ids of keys that it has brought, as decimal strings.
pub const KEY_IDS: &str = "key_ids";

/// A change, after it is durable.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Change {
    /// What was done: `create`, `update`, `rotate`, `set_status`, `delete`, `restore`, `review`,
    /// `purge`, `import`, `export`, `backup`, `reload`, `alert_secret`, …
    pub action: String,
    /// Who asked for it.
    pub actor: Actor,
    /// To what.
    pub subject: Subject,
    /// The fields that changed, as they were, without secrets.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub before: Value,
    /// The same fields, as they are now.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub after: Value,
    /// The reason that was given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

impl Change {
    /// Whether it is an import that has brought this key.
    #[must_use]
    pub fn has_imported(&self, key: u64) -> bool {
        let ids = self.after.get(KEY_IDS).and_then(Value::as_array);
        let is_it = |id: &Value| id.as_str().and_then(|id| id.parse().ok()) == Some(key);
        self.action == IMPORT && ids.is_some_and(|ids| ids.iter().any(is_it))
    }
}

/// A decision that is worth a record: a denial, or one on a key whose decisions are all recorded.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Decision {
    /// The code's name.
    pub code: String,
    /// The key, where the token is one's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<Subject>,
    /// Units that were asked for.
    pub cost: u64,
    /// Whether it was a peek, which spends nothing.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub peek: bool,
    /// The limit that denied.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub denied_by: Option<String>,
    /// The client's address, where the caller stated it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ip: Option<core::net::IpAddr>,
    /// The environment, likewise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub environment: Option<String>,
    /// How many like it this one stands for, where denials are sampled.
    pub count: u64,
}

impl Decision {
    /// Denials that were counted and not recorded each.
    #[must_use]
    pub fn unrecorded(code: &str, count: u64) -> Self {
        Self {
            code: code.to_owned(),
            subject: None,
            cost: 0,
            peek: false,
            denied_by: None,
            ip: None,
            environment: None,
            count,
        }
    }
}

/// 64-bit ids as decimal strings.
pub(super) mod decimal {
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub(in crate::event) fn serialize<S: Serializer>(id: &u64, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(id)
    }

    pub(in crate::event) fn deserialize<'de, D: Deserializer<'de>>(
        from: D,
    ) -> Result<u64, D::Error> {
        let text = <std::borrow::Cow<'de, str>>::deserialize(from)?;
        text.parse().map_err(D::Error::custom)
    }
}
