//! All records are looked through: for what no signal told, and for endpoints that nobody names.

use std::collections::BTreeSet;

use super::{Monitor, Seen};
use crate::alert::{Route, Rules};
use crate::clock::Now;
use crate::event::Destination;
use crate::key::KeyView;
use crate::notify::endpoints::Of;
use crate::store::{StoreError, Write};

/// After a walk that failed, until the next.
const AGAIN_NS: u64 = 60_000_000_000;

/// Endpoints that are removed at a time.
const REMOVED_MAX: usize = 200;

/// A record, as much of it as a walk looks at.
struct Passed {
    id: u64,
    /// What it demands; an error for one that cannot be read, which is left as it was.
    rules: Result<Option<Rules>, ()>,
    /// The endpoint that it names.
    names: Option<Of>,
}

impl Passed {
    fn of(id: u64, view: Result<KeyView<'_>, StoreError>) -> Self {
        let Ok(view) = view else { return Self { id, rules: Err(()), names: None } };
        let named = !view.webhook_url.is_empty();
        let names = named.then(|| (view.tenant_id.to_owned(), view.webhook_url.to_owned()));
        Self { id, rules: Ok(Rules::of(&view)), names }
    }
}

impl Monitor {
    /// Looks through all records.
    pub(super) fn walk(&mut self, now: Now) {
        let seen = if self.walked_ns.is_none() { Seen::First } else { Seen::Walk };
        let mut gone = self.keys.ids();
        let mut unnamed = self.shared.endpoints.names();
        let mut all_read = true;
        let keys = self.shared.keys.clone();
        let walked = keys.load(Passed::of, |chunk| {
            for Passed { id, rules, names } in chunk {
                gone.remove(&id);
                if let Some(of) = names {
                    unnamed.remove(&of);
                }
                match rules {
                    Ok(rules) => self.adopt(id, rules, seen, now),
                    Err(()) => all_read = false,
                }
            }
            Ok::<(), StoreError>(())
        });
        self.walk_again_ns = None;
        match walked {
            Ok(()) => {
                self.walked_ns = Some(now.mono_ns);
                for id in gone {
                    self.adopt(id, None, seen, now);
                    self.keys.forget(id);
                }
                // Twice in a row: whoever puts a URL back the next day finds its secret as it was.
                let unnamed = if all_read { unnamed } else { BTreeSet::new() };
                self.unneeded = unnamed.intersection(&self.unnamed).cloned().collect();
                self.unnamed = unnamed;
            }
            Err(error) => {
                self.walk_again_ns = Some(now.mono_ns.saturating_add(AGAIN_NS));
                tracing::error!(%error, "not all records were looked through for alerts");
            }
        }
        self.note_watched();
    }

    /// A key names this endpoint.
    pub(super) fn names(&mut self, of: &Of) {
        self.unnamed.remove(of);
        self.unneeded.remove(of);
    }

    /// Removes endpoints that nobody has named for two walks, once no change is left to be heard.
    pub(super) fn remove_unneeded(&mut self) {
        if self.unneeded.is_empty() || !self.signals.is_empty() {
            return;
        }
        let writing = self.shared.endpoints.write();
        let mut removed = Vec::new();
        while removed.len() < REMOVED_MAX
            && let Some(of) = self.unneeded.pop_first()
        {
            if !self.is_needed(&of) {
                removed.push(of);
            }
        }
        let writes = removed.iter().map(|(tenant, url)| Write::remove_endpoint(tenant, url));
        match self.shared.committer.commit(writes.collect(), false) {
            Ok(()) => removed.iter().for_each(|of| writing.remove(of)),
            Err(error) => tracing::warn!(%error, "endpoints that nobody names are not removed"),
        }
    }

    /// Whether the operator names an endpoint, or something is on its way to it.
    fn is_needed(&self, (tenant, url): &Of) -> bool {
        let to = Destination::Webhook { url: url.clone() };
        let of_operator = tenant.is_empty() && self.shared.settings.read().operator.contains(&to);
        let outbox = self.shared.outbox.lock();
        let waits =
            |operator| outbox.has(&Route { operator, tenant: tenant.clone(), to: to.clone() });
        of_operator || waits(false) || waits(true)
    }
}
