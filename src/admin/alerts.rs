//! Alerts: what waits, a test, secrets of web hooks.

use std::sync::Arc;

use keygate_protocol::ErrorCode;
use keygate_protocol::admin as wire;
use serde_json::{Value, json};
use zeroize::Zeroize;

use super::keys::key_id;
use super::{Admin, AdminError, Caller, blocking};
use crate::alert::{Entry, EntryState, Outcome, rules};
use crate::event::{Change, Destination, Subject};
use crate::key::Time;
use crate::notify::{EndpointError, Notifier};

/// How long a rotated-out secret signs too if the request does not say.
const OVERLAP_MS_DEFAULT: u64 = 24 * 3600 * 1000;

/// Whose destinations a request is about.
struct Concerned {
    subject: Subject,
    name: String,
    destinations: Vec<Destination>,
}

impl Concerned {
    fn tenant(&self) -> &str {
        self.subject.tenant().unwrap_or_default()
    }

    /// The one web hook.
    fn url(&self) -> Result<&str, AdminError> {
        let hook = self.destinations.iter().find_map(|to| match to {
            Destination::Webhook { url } => Some(url.as_str()),
            Destination::Email { .. } | Destination::Sink { .. } => None,
        });
        hook.ok_or_else(|| match self.subject {
            Subject::Key { id, .. } => AdminError::invalid(format!(
                "key {id} has no webhook_url; `keygate key update {id} --webhook-url URL` sets one"
            )),
            _ => AdminError::invalid("the configuration has no alerts.operator_webhook"),
        })
    }
}

impl Admin {
    /// The same, with what finds alerts and sends them.
    #[must_use]
    pub fn with_notifier(self, notifier: Arc<Notifier>) -> Self {
        Self { notifier: Some(notifier), ..self }
    }

    /// What finds alerts and sends them.
    ///
    /// # Errors
    /// `INTERNAL` where there is nothing that does.
    pub fn notifier(&self) -> Result<&Arc<Notifier>, AdminError> {
        self.notifier.as_ref().ok_or_else(AdminError::stopping)
    }

    /// Alerts that wait, failed, or were delivered of late. A caller that is bound to a tenant sees
    /// those of its keys.
    ///
    /// # Errors
    /// `INVALID` for what is no id or number.
    pub fn alert_list(
        &self,
        caller: &Caller,
        request: &wire::AlertList,
    ) -> Result<wire::AlertPage, AdminError> {
        let number = |text: &String| {
            text.parse().map_err(|_| AdminError::invalid(format!("after: {text:?} is no number")))
        };
        let after: Option<u64> = request.after.as_ref().map(number).transpose()?;
        let key = request.key.as_deref().map(key_id).transpose()?;
        let limit = request.limit.unwrap_or(wire::ALERT_PAGE_MAX);
        if !(1..=wire::ALERT_PAGE_MAX).contains(&limit) {
            let max = wire::ALERT_PAGE_MAX;
            return Err(AdminError::invalid(format!("limit is {limit}; it must be 1 to {max}")));
        }
        let wanted = |entry: &Entry| {
            let subject = &entry.alert.subject;
            let tenant = subject.tenant();
            let of_key = |wanted| matches!(subject, Subject::Key { id, .. } if *id == wanted);
            (caller.tenant().is_none() || tenant.is_some_and(|tenant| caller.sees(tenant)))
                && key.is_none_or(of_key)
                && request.tenant.as_deref().is_none_or(|wanted| tenant == Some(wanted))
                && (!request.failed || matches!(entry.state, EntryState::Failed(_)))
        };
        let (entries, next) = self.notifier()?.page(after, limit as usize, wanted);
        let next = next.map(|seq| seq.to_string());
        Ok(wire::AlertPage { alerts: entries.iter().map(shown).collect(), next })
    }

    /// Sends a test to every destination and answers what came of the first attempt.
    ///
    /// # Errors
    /// `NOT_FOUND`; `INVALID` where nobody is named who could be told; `FORBIDDEN` for the operator's
    /// to a caller that is bound to a tenant.
    pub async fn alert_test(
        &self,
        caller: &Caller,
        request: wire::AlertRef,
    ) -> Result<wire::AlertTested, AdminError> {
        let concerned = self.concerned(caller, request.id, request.operator, "AlertTest").await?;
        let Concerned { subject, name, destinations } = concerned;
        if destinations.is_empty() {
            return Err(AdminError::invalid(match subject {
                Subject::Key { id, .. } => format!(
                    "key {id} names nobody who could be told: it has neither webhook_url nor \
                     alert_emails nor monitoring_integrations"
                ),
                _ => {
                    "the configuration names nobody: alerts.operator_emails, operator_webhook and \
                      operator_sinks are empty"
                        .to_owned()
                }
            }));
        }
        self.note_alert(caller, "alert_test", subject.clone(), Value::Null);
        let (alert, outcomes) = self.notifier()?.test(subject, &name, destinations).await?;
        let results = outcomes.into_iter().map(|(to, outcome)| {
            let (outcome, why) = match outcome {
                Outcome::Delivered => ("delivered", String::new()),
                Outcome::Retry(why) => ("retry", why),
                Outcome::Gone(why) => ("gone", why),
                Outcome::Refused(why) => ("refused", why),
            };
            wire::AlertTestResult { destination: json(&to), outcome: outcome.to_owned(), why }
        });
        Ok(wire::AlertTested { id: alert.id, results: results.collect() })
    }

    /// The secrets of a web hook; another one, where it is asked for.
    ///
    /// # Errors
    /// As [`Admin::alert_test`]; `INVALID` without a web hook and for too long an overlap; those of
    /// the store.
    pub async fn alert_secret(
        &self,
        caller: &Caller,
        request: wire::AlertSecret,
    ) -> Result<wire::AlertSecrets, AdminError> {
        let wire::AlertSecret { id, operator, rotate, overlap_ms } = request;
        let concerned = self.concerned(caller, id, operator, "AlertSecret").await?;
        let url = concerned.url()?.to_owned();
        if overlap_ms.is_some() && !rotate {
            return Err(AdminError::invalid("overlap_ms goes with rotate: nothing else ends"));
        }
        let overlap_ms = overlap_ms.unwrap_or(OVERLAP_MS_DEFAULT);
        if overlap_ms > wire::OVERLAP_MS_MAX {
            let max = wire::OVERLAP_MS_MAX;
            return Err(AdminError::invalid(format!("overlap_ms is {overlap_ms}, at most {max}")));
        }
        let overlap_us = rotate.then(|| i64::try_from(overlap_ms * 1000).unwrap_or(i64::MAX));
        let notifier = Arc::clone(self.notifier()?);
        let (tenant, of) = (concerned.tenant().to_owned(), url.clone());
        let secrets = blocking(move || notifier.secrets(&tenant, &of, overlap_us)).await;
        let secrets = secrets.ok_or_else(AdminError::stopping)??;
        let told = json!({"rotated": rotate, "overlap_ms": rotate.then_some(overlap_ms)});
        self.note_alert(caller, "alert_secret", concerned.subject, told);
        let secrets = secrets.into_iter().map(|secret| wire::AlertSecretShown {
            secret: (*secret.text).clone(),
            until: secret.until_us.map(|us| Time::from_micros(us).to_string()),
        });
        Ok(wire::AlertSecrets { url, secrets: secrets.collect() })
    }

    /// Sends to a web hook again that had said that it wants no more.
    ///
    /// # Errors
    /// As [`Admin::alert_secret`].
    pub async fn alert_enable(
        &self,
        caller: &Caller,
        request: wire::AlertRef,
    ) -> Result<wire::AlertEnabled, AdminError> {
        let concerned = self.concerned(caller, request.id, request.operator, "AlertEnable").await?;
        let url = concerned.url()?.to_owned();
        let notifier = Arc::clone(self.notifier()?);
        let (tenant, of) = (concerned.tenant().to_owned(), url.clone());
        let since = blocking(move || notifier.enable(&tenant, &of)).await;
        let since = since.ok_or_else(AdminError::stopping)??;
        if since.is_some() {
            self.note_alert(caller, "alert_enable", concerned.subject, Value::Null);
        }
        let disabled_since = since.map(|us| Time::from_micros(us).to_string());
        Ok(wire::AlertEnabled { url, disabled_since })
    }

    async fn concerned(
        &self,
        caller: &Caller,
        id: Option<String>,
        operator: bool,
        what: &str,
    ) -> Result<Concerned, AdminError> {
        let id = match (id, operator) {
            (Some(id), false) => id,
            (None, true) => {
                caller.check_unbound(&format!("{what} of the operator"))?;
                let (subject, name) = (Subject::Daemon, String::new());
                return Ok(Concerned { subject, name, destinations: self.notifier()?.operator() });
            }
            _ => return Err(AdminError::invalid("either id or operator says whose")),
        };
        let record = self.record(caller, key_id(&id)?).await?;
        let destinations = rules::destinations(&record);
        let name = rules::told_name(&record).to_owned();
        let subject = Subject::Key { id: record.id, tenant: record.tenant_id };
        Ok(Concerned { subject, name, destinations })
    }

    fn note_alert(&self, caller: &Caller, action: &str, subject: Subject, after: Value) {
        let (action, actor, before) = (action.to_owned(), caller.actor(), Value::Null);
        self.note(Change { action, actor, subject, before, after, reason: None });
    }
}

fn shown(entry: &Entry) -> wire::AlertShown {
    let at = |us| Time::from_micros(us).to_string();
    let (state, next_at, ended_at) = match entry.state {
        EntryState::Waiting => ("waiting", Some(at(entry.due_us)), None),
        EntryState::Delivered(us) => ("delivered", None, Some(at(us))),
        EntryState::Failed(us) => ("failed", None, Some(at(us))),
    };
    wire::AlertShown {
        number: entry.seq.to_string(),
        id: entry.alert.id.clone(),
        kind: entry.alert.kind.name().to_owned(),
        at: at(entry.alert.at_us),
        subject: json(&entry.alert.subject),
        name: entry.alert.name.clone(),
        summary: entry.alert.summary.clone(),
        destination: json(&entry.to),
        state: state.to_owned(),
        attempts: entry.attempts,
        next_at,
        ended_at,
        why: entry.why.clone(),
    }
}

/// Plain data: texts and numbers.
fn json(value: &impl serde::Serialize) -> Value {
    serde_json::to_value(value).unwrap_or_default()
}

/// Wipes secrets that were shown.
pub fn wipe(shown: &mut wire::AlertSecrets) {
    shown.secrets.iter_mut().for_each(|secret| secret.secret.zeroize());
}

impl From<EndpointError> for AdminError {
    fn from(error: EndpointError) -> Self {
        match error {
            EndpointError::Commit(error) => error.into(),
            EndpointError::Full | EndpointError::FullOfTenant => Self::conflict(error.to_string()),
            EndpointError::Vault(_) => Self::new(ErrorCode::Internal, error.to_string()),
            EndpointError::Random(_) => Self::new(ErrorCode::Busy, error.to_string()),
            EndpointError::Stopping => Self::new(ErrorCode::Stopping, error.to_string()),
        }
    }
}
