//! An alert comes to be: its rows and the state that says so, in one batch.

use std::sync::Arc;

use serde_json::Value;

use super::endpoints::{EndpointError, Writing};
use super::shared::Shared;
use crate::alert::{EndpointRow, Entry, EntryState, Finding, Route, words};
use crate::event::{Alert, AlertKind, Destination, Subject};
use crate::key::Time;
use crate::key::digest::hex;
use crate::store::envelope::EnvelopeError;
use crate::store::{CommitError, SubmitError, Write};

/// Random bytes of an alert's id.
const ID_BYTES: usize = 16;

/// Whether it is done, or to be tried again because nothing was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Made {
    Done,
    Later,
}

/// A new alert with its id.
pub(super) fn new_alert(
    kind: AlertKind,
    subject: Subject,
    name: &str,
    summary: String,
    now_us: i64,
) -> Result<Alert, getrandom::Error> {
    let mut random = [0; ID_BYTES];
    getrandom::fill(&mut random)?;
    let id = format!("msg_{}", hex(&random));
    let (name, detail) = (name.to_owned(), Value::Null);
    Ok(Alert { id, kind, at_us: now_us, subject, name, summary, detail })
}

/// The alerts of what was found of a key, under its name as it is told.
pub(super) fn of_key(
    id: u64,
    tenant: &str,
    name: &str,
    found: &[Finding],
    now_us: i64,
) -> Result<Vec<Alert>, getrandom::Error> {
    let of = |finding: &Finding| {
        let subject = Subject::Key { id, tenant: tenant.to_owned() };
        let summary = finding.summary(&words::key_name(id, name));
        let alert = new_alert(finding.kind(), subject, name, summary, now_us)?;
        Ok(Alert { detail: finding.detail(), ..alert })
    };
    found.iter().map(of).collect()
}

/// Writes alerts to all destinations together with what says that they were made, and has them sent.
/// Where the store takes no writes they are sent from memory.
pub(super) fn make(
    shared: &Shared,
    alerts: Vec<Alert>,
    destinations: &[Destination],
    state: Option<Write>,
    now_us: i64,
) -> Made {
    // Held to the commit: the endpoint that is found here is the one that the rows go to.
    let writing = shared.endpoints.write();
    let mut endpoints = Vec::new();
    let mut entries = Vec::new();
    let alerts: Vec<Arc<Alert>> = alerts.into_iter().map(Arc::new).collect();
    for alert in &alerts {
        for to in destinations {
            let seq = shared.outbox.lock().number();
            let mut entry =
                Entry::new(seq, Arc::clone(alert), to.clone(), due_us(shared, to, now_us));
            if let Some(why) = refused(shared, &writing, &mut endpoints, &entry, now_us) {
                entry.state = EntryState::Failed(now_us);
                entry.why = why;
            }
            entries.push(entry);
        }
    }
    let Ok(rows) = rows(&entries, &endpoints) else {
        tracing::error!("an alert is too large to be stored, and is left out");
        return Made::Done;
    };
    let written = shared.committer.commit(rows.into_iter().chain(state).collect(), true);
    match written {
        Err(CommitError::Submit(SubmitError::Busy { .. } | SubmitError::Stopped)) => {
            return Made::Later;
        }
        Err(error) => tracing::warn!(%error, "alerts are not stored, and sent from memory"),
        Ok(()) => {}
    }
    endpoints.into_iter().for_each(|row| writing.put(row));
    drop(writing);
    for alert in &alerts {
        let kind = alert.kind.name();
        tracing::info!(id = alert.id, kind, summary = alert.summary, "an alert was made");
        shared.tell(alert);
    }
    shared.admit(entries);
    Made::Done
}

/// Mails to one address are gathered for a while.
fn due_us(shared: &Shared, to: &Destination, now_us: i64) -> i64 {
    match to {
        Destination::Email { .. } => now_us.saturating_add(shared.settings.read().digest_us),
        Destination::Webhook { .. } | Destination::Sink { .. } => now_us,
    }
}

/// Why nothing can go to a web hook, if so. One that is new gets its secret.
fn refused(
    shared: &Shared,
    writing: &Writing<'_>,
    endpoints: &mut Vec<EndpointRow>,
    entry: &Entry,
    now_us: i64,
) -> Option<String> {
    let Route { tenant, to: Destination::Webhook { url }, .. } = Route::of(&entry.alert, &entry.to)
    else {
        return None;
    };
    if endpoints.iter().any(|row| row.tenant == tenant && row.url == url) {
        return None;
    }
    match writing.of(&shared.vault, (&tenant, &url), now_us) {
        Ok((row, true)) => endpoints.push(row),
        Ok((row, false)) => {
            let since = Time::from_micros(row.disabled_us?);
            return Some(format!("it wants no more since {since} (410); `keygate alert enable`"));
        }
        Err(
            error @ (EndpointError::Full
            | EndpointError::FullOfTenant
            | EndpointError::Random(_)
            | EndpointError::Vault(_)),
        ) => return Some(error.to_string()),
        Err(error) => tracing::warn!(%error, "an endpoint could not be made"),
    }
    None
}

fn rows(entries: &[Entry], endpoints: &[EndpointRow]) -> Result<Vec<Write>, EnvelopeError> {
    let out = entries.iter().map(|entry| Write::alert_out(entry.seq, &entry.row()));
    out.chain(endpoints.iter().map(Write::endpoint)).collect()
}
