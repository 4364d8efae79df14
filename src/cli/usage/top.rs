//! The keys with the most.

use keygate_protocol::admin::TopKey;

use super::sheet::Sheet;

pub(super) fn sheet(keys: &[TopKey], csv: bool) -> Sheet {
    if csv {
        let item = |key: &TopKey| vec![key.key_id.clone(), key.name.clone(), key.tenant_id.clone()];
        let items: Vec<_> = keys.iter().map(|key| (item(key), &key.sums)).collect();
        return Sheet::of_sums(&["key_id", "name", "tenant_id"], &items);
    }
    let headings = ["KEY", "NAME", "TENANT", "REQUESTS", "UNITS", "COST", "DENIED", "ERRORS"];
    let row = |key: &TopKey| {
        let sums = &key.sums;
        vec![
            key.key_id.clone(),
            key.name.clone(),
            key.tenant_id.clone(),
            sums.requests.to_string(),
            sums.units.to_string(),
            sums.cost.clone(),
            sums.denied.to_string(),
            sums.errors.to_string(),
        ]
    };
    Sheet::new(&headings, keys.iter().map(row).collect())
}
