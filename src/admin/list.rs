//! Records by the page: lists and exports.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use keygate_protocol::admin as wire;

use super::{Admin, AdminError, Caller, blocking};
use crate::admin::keys::key_id;
use crate::admin::usage::json;
use crate::engine::Engine;
use crate::key::{KeyRecord, Status};
use crate::store::{Filter, Keys, Page, StoreError};

/// A page's default length.
const LIMIT_DEFAULT: u32 = 100;
/// Records of one exported page.
const EXPORT_PAGE: usize = 200;
/// JSON in one frame; a record more may stand above it and still fits.
const FRAME_JSON_BYTES: usize = 400 * 1024;

impl Admin {
    /// One page of a list, cut into frames.
    ///
    /// # Errors
    /// `INVALID` for a filter.
    pub async fn list(
        &self,
        caller: &Caller,
        request: wire::KeyList,
    ) -> Result<Vec<wire::KeyPage>, AdminError> {
        let limit = request.limit.unwrap_or(LIMIT_DEFAULT);
        if !(1..=wire::LIST_PAGE_MAX).contains(&limit) {
            return Err(AdminError::invalid(format!(
                "limit is {limit}; it is 1 to {}",
                wire::LIST_PAGE_MAX
            )));
        }
        let status = request.status.as_deref().map(Status::parse).transpose();
        let status = status.map_err(|error| AdminError::invalid(error.to_string()))?;
        let after = request.after.as_deref().map(key_id).transpose()?;
        if request.tenant_id.as_deref().is_some_and(|tenant| !caller.sees(tenant)) {
            return Ok(vec![wire::KeyPage::default()]);
        }
        let tenant = request.tenant_id.or_else(|| caller.tenant().map(str::to_owned));
        let read = move |keys: &Keys| {
            let filter = Filter {
                tenant: tenant.as_deref(),
                status,
                tag: request.tag.as_deref(),
                deleted: request.deleted,
            };
            keys.page(&filter, after, limit as usize)
        };
        let (mut frames, next) = self.page(read).await?;
        if let Some(last) = frames.last_mut() {
            last.next = next.map(|id| id.to_string());
        }
        Ok(frames)
    }

    /// The exported records after an id, cut into frames, and the id to go on after.
    ///
    /// # Errors
    /// `STORAGE`.
    pub async fn export(
        &self,
        caller: &Caller,
        after: Option<u64>,
    ) -> Result<(Vec<wire::KeyPage>, Option<u64>), AdminError> {
        let tenant = caller.tenant().map(str::to_owned);
        let read = move |keys: &Keys| {
            let filter = Filter { tenant: tenant.as_deref(), deleted: true, ..Filter::default() };
            keys.page(&filter, after, EXPORT_PAGE)
        };
        self.page(read).await
    }

    /// Reads a page and cuts it into frames, both where it delays nobody; a large page takes a
    /// while. What a pending import has brought is not there yet.
    async fn page(
        &self,
        read: impl FnOnce(&Keys) -> Result<Page, StoreError> + Send + 'static,
    ) -> Result<(Vec<wire::KeyPage>, Option<u64>), AdminError> {
        let (keys, engine) = (self.keys.clone(), Arc::clone(&self.engine));
        let pending = self.pending_import.load(Ordering::Acquire);
        let page = blocking(move || {
            let mut page = read(&keys)?;
            page.records.retain(|record| record.import == 0 || record.import != pending);
            Ok::<_, StoreError>((frames(&engine, &page.records), page.next))
        });
        Ok(page.await.ok_or_else(AdminError::stopping)??)
    }
}

fn frames(engine: &Engine, records: &[KeyRecord]) -> Vec<wire::KeyPage> {
    let mut frames = vec![wire::KeyPage::default()];
    let mut bytes = 0;
    for record in records {
        let key = json(engine, record);
        let more = key.to_string().len();
        if bytes > 0 && bytes + more > FRAME_JSON_BYTES {
            frames.push(wire::KeyPage::default());
            bytes = 0;
        }
        bytes += more;
        if let Some(frame) = frames.last_mut() {
            frame.keys.push(key);
        }
    }
    frames
}
