//! Alerts: what was said of each key, what is on its way, and the endpoints of web hooks.

use sha2::{Digest as _, Sha256};

use super::envelope::EnvelopeError;
use super::keys::Keys;
use super::rows::{ALERT_OUT_SCHEMA, ALERT_STATE_SCHEMA, ENDPOINT_SCHEMA};
use super::write::RowWrite;
use super::{Op, Store, StoreError, Write, envelope, layout, plan, sweep};
use crate::alert::{EndpointRow, KeyState, OutboxRow, StoredEndpoint};

/// Endpoints that are read at a time.
const CHUNK_ROWS: usize = 512;

impl Write {
    /// What was said of a key. Nothing is written where there is no such key.
    ///
    /// # Errors
    /// [`EnvelopeError::TooLarge`].
    pub fn alert_state(id: u64, state: &KeyState) -> Result<Self, EnvelopeError> {
        Self::row(layout::alert_state(id), ALERT_STATE_SCHEMA, state)
    }

    /// An alert on its way to one destination.
    ///
    /// # Errors
    /// [`EnvelopeError::TooLarge`].
    pub fn alert_out(seq: u64, alert: &OutboxRow) -> Result<Self, EnvelopeError> {
        Self::row(layout::alert_out(seq), ALERT_OUT_SCHEMA, alert)
    }

    /// Removes an alert that is on its way no more.
    #[must_use]
    pub fn remove_alert_out(seq: u64) -> Self {
        Self::Row(RowWrite(Op::Remove { key: layout::alert_out(seq) }))
    }

    /// An endpoint.
    ///
    /// # Errors
    /// [`EnvelopeError::TooLarge`].
    pub fn endpoint(endpoint: &EndpointRow) -> Result<Self, EnvelopeError> {
        let url = Sha256::digest(&endpoint.url).into();
        Self::row(layout::endpoint(&endpoint.tenant, &url), ENDPOINT_SCHEMA, endpoint)
    }

    /// Removes an endpoint.
    #[must_use]
    pub fn remove_endpoint(tenant: &str, url: &str) -> Self {
        let url = Sha256::digest(url).into();
        Self::Row(RowWrite(Op::Remove { key: layout::endpoint(tenant, &url) }))
    }
}

impl Keys {
    /// What was said of every key, by ascending id, for start-up. A row that cannot be read is handed
    /// over as the error it is.
    ///
    /// # Errors
    /// As [`super::Store::scan`], and whatever `each` returns.
    pub fn for_each_alert_state<E: From<StoreError>>(
        &self,
        each: impl FnMut(u64, Result<KeyState, StoreError>) -> Result<(), E>,
    ) -> Result<(), E> {
        let read = |id, bytes: &[u8]| {
            let what = |error| plan::from_envelope(&format!("alert state of key {id}"), error);
            envelope::open(bytes, ALERT_STATE_SCHEMA).map_err(what)
        };
        sweep::for_each_row(&**self.store(), layout::ALERT_STATES, read, each)
    }

    /// Every alert on its way, by ascending number; otherwise as [`Keys::for_each_alert_state`].
    ///
    /// # Errors
    /// As [`Keys::for_each_alert_state`].
    pub fn for_each_alert_out<E: From<StoreError>>(
        &self,
        each: impl FnMut(u64, Result<OutboxRow, StoreError>) -> Result<(), E>,
    ) -> Result<(), E> {
        let read = |seq, bytes: &[u8]| {
            let what = |error| plan::from_envelope(&format!("alert {seq}"), error);
            envelope::open(bytes, ALERT_OUT_SCHEMA).map_err(what)
        };
        sweep::for_each_row(&**self.store(), layout::ALERTS_OUT, read, each)
    }

    /// Every endpoint, for start-up; otherwise as [`Keys::for_each_alert_state`].
    ///
    /// # Errors
    /// As [`Keys::for_each_alert_state`].
    pub fn for_each_endpoint<E: From<StoreError>>(
        &self,
        mut each: impl FnMut(Result<StoredEndpoint, StoreError>) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut after: Option<Vec<u8>> = None;
        loop {
            let rows = self.store().scan(layout::ENDPOINTS, after.as_deref(), CHUNK_ROWS)?;
            let Some((last, _)) = rows.last() else { return Ok(()) };
            after = Some(last.clone());
            for (_, bytes) in rows {
                let what = |error| plan::from_envelope("a web hook's endpoint", error);
                each(open_endpoint(&bytes).map_err(what))?;
            }
        }
    }
}

/// Reads an endpoint of either schema.
///
/// # Errors
/// See [`EnvelopeError`].
pub(super) fn open_endpoint(bytes: &[u8]) -> Result<StoredEndpoint, EnvelopeError> {
    let sealed = envelope::check(bytes, ENDPOINT_SCHEMA)?;
    Ok(match sealed.schema {
        0 | 1 => StoredEndpoint::Old(sealed.decode()?),
        _ => StoredEndpoint::Present(sealed.decode()?),
    })
}
