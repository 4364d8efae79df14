//! The usage fields of a record: what an import carried over, with what was counted here.
//!
//! `endpoint_usage_json` maps an endpoint to a count, as the source system writes it, or to an object
//! of `requests`, `errors` and `average_response_time` (ms). `error_rates_json` maps a status to its
//! share of all reported requests. `recent_errors` is a list of objects of `at`, `endpoint`, `status`
//! and `message`. What cannot be read so is left out of what is added up, and stays in the record.

use std::collections::BTreeMap;

use keygate_protocol::admin::{EndpointUsage, RecentError};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::engine::KeyUsage;
use crate::key::{KeyRecord, Time};
use crate::usage::RECENT_ERRORS_MAX;

/// Both together.
pub(super) struct Carried {
    endpoints: BTreeMap<String, Endpoint>,
    /// Reported requests by status. Of what was carried over there are shares only, so these are
    /// rounded.
    statuses: BTreeMap<String, f64>,
    reported: f64,
    pub(super) recent_errors: Vec<RecentError>,
}

#[derive(Default, Clone, Copy)]
struct Endpoint {
    requests: u64,
    errors: u64,
    latency_count: f64,
    latency_sum_ms: f64,
}

/// As it stands in `endpoint_usage_json`.
#[derive(Deserialize)]
#[serde(untagged)]
enum Told {
    Count(u64),
    Figures {
        #[serde(default)]
        requests: u64,
        #[serde(default)]
        errors: u64,
        #[serde(default)]
        average_response_time: Option<f64>,
    },
}

impl From<Told> for Endpoint {
    fn from(told: Told) -> Self {
        match told {
            Told::Count(requests) => Self { requests, ..Self::default() },
            Told::Figures { requests, errors, average_response_time } => Self {
                requests,
                errors,
                latency_count: average_response_time.map_or(0.0, |_| requests as f64),
                latency_sum_ms: average_response_time.unwrap_or(0.0) * requests as f64,
            },
        }
    }
}

impl Endpoint {
    fn average_ms(&self) -> Option<f64> {
        (self.latency_count > 0.0).then(|| self.latency_sum_ms / self.latency_count)
    }
}

/// The members of a JSON object that can be read.
fn members<T: serde::de::DeserializeOwned>(json: &[u8]) -> impl Iterator<Item = (String, T)> {
    let object = serde_json::from_slice::<Map<String, Value>>(json).unwrap_or_default();
    object.into_iter().filter_map(|(name, value)| Some((name, serde_json::from_value(value).ok()?)))
}

impl Carried {
    /// What the record has.
    pub(super) fn of(record: &KeyRecord) -> Self {
        let reported = record.successful_requests_count.saturating_add(record.total_errors) as f64;
        let endpoints = members::<Told>(&record.endpoint_usage_json);
        let rates = members::<f64>(&record.error_rates_json);
        let errors = serde_json::from_slice::<Vec<Value>>(&record.recent_errors);
        let errors = errors.unwrap_or_default().into_iter();
        Self {
            endpoints: endpoints.map(|(name, told)| (name, told.into())).collect(),
            statuses: rates.map(|(status, share)| (status, share * reported)).collect(),
            reported,
            recent_errors: errors.filter_map(|error| serde_json::from_value(error).ok()).collect(),
        }
    }

    /// And what was counted here.
    pub(super) fn with(mut self, here: &KeyUsage) -> Self {
        for (name, figures) in &here.details.endpoints {
            let endpoint = self.endpoints.entry(name.clone()).or_default();
            endpoint.requests = endpoint.requests.saturating_add(figures.requests);
            endpoint.errors = endpoint.errors.saturating_add(figures.errors);
            endpoint.latency_count += figures.latency_count as f64;
            endpoint.latency_sum_ms += figures.latency_sum_us as f64 / 1000.0;
        }
        let more = here.total.more();
        for (status, count) in &more.statuses {
            *self.statuses.entry(status.to_string()).or_default() += *count as f64;
        }
        self.reported += more.reported as f64;
        let shown = |error: &crate::usage::RecentError| RecentError {
            at: Time::from_micros(error.at_us).to_string(),
            endpoint: error.endpoint.clone(),
            status: error.status,
            message: error.message.clone(),
        };
        self.recent_errors.extend(here.details.recent_errors.iter().map(shown));
        let outdated = self.recent_errors.len().saturating_sub(RECENT_ERRORS_MAX);
        self.recent_errors.drain(..outdated);
        self
    }

    /// Most requested first.
    pub(super) fn endpoint_rows(&self) -> Vec<EndpointUsage> {
        let row = |(endpoint, figures): (&String, &Endpoint)| EndpointUsage {
            endpoint: endpoint.clone(),
            requests: figures.requests,
            errors: figures.errors,
            average_response_time: figures.average_ms(),
        };
        let mut rows: Vec<_> = self.endpoints.iter().map(row).collect();
        rows.sort_by(|a, b| b.requests.cmp(&a.requests).then_with(|| a.endpoint.cmp(&b.endpoint)));
        rows
    }

    /// Reported requests by status.
    pub(super) fn status_counts(&self) -> BTreeMap<String, u64> {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "counts")]
        let count = |count: f64| count.max(0.0).round() as u64;
        self.statuses.iter().map(|(status, of)| (status.clone(), count(*of))).collect()
    }

    /// Writes the three fields into a record.
    pub(super) fn fill(&self, record: &mut KeyRecord) {
        let endpoints = self.endpoints.iter().map(|(name, figures)| {
            let mut told = json!({"requests": figures.requests, "errors": figures.errors});
            if let Some(average_ms) = figures.average_ms() {
                told["average_response_time"] = average_ms.into();
            }
            (name.clone(), told)
        });
        record.endpoint_usage_json = bytes(&endpoints.collect::<Map<_, _>>().into());
        let share = |count: &f64| {
            Value::from(if self.reported > 0.0 { count / self.reported } else { 0.0 })
        };
        let rates = self.statuses.iter().map(|(status, count)| (status.clone(), share(count)));
        record.error_rates_json = bytes(&rates.collect::<Map<_, _>>().into());
        record.recent_errors = bytes(&json!(self.recent_errors));
    }
}

/// An empty collection is none.
fn bytes(value: &Value) -> Vec<u8> {
    let empty =
        value.as_object().is_some_and(Map::is_empty) || value.as_array().is_some_and(Vec::is_empty);
    if empty { Vec::new() } else { value.to_string().into_bytes() }
}
