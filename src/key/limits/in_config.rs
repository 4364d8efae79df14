//! Named limits of a tier, as the configuration has them: `{ name = "exports", count = 10, period =
//! "1h" }`. What they may be is checked with the rest of the configuration.

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{LimitPeriod, NamedLimit};

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    name: String,
    count: u64,
    period: String,
}

/// Writes limits.
///
/// # Errors
/// Of the format.
pub fn serialize<S: Serializer>(limits: &[NamedLimit], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(limits.iter().map(|limit| Entry {
        name: limit.name.clone(),
        count: limit.count,
        period: limit.period.to_string(),
    }))
}

/// Reads limits.
///
/// # Errors
/// Of the format, and for what is no period.
pub fn deserialize<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Vec<NamedLimit>, D::Error> {
    let entries = Vec::<Entry>::deserialize(deserializer)?;
    let read = |Entry { name, count, period }| {
        let period = LimitPeriod::parse(&period)
            .map_err(|reason| D::Error::custom(format!("the limit {name:?}: {reason}")))?;
        Ok(NamedLimit { name, count, period })
    };
    entries.into_iter().map(read).collect()
}
