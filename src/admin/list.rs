//! Records by the page: lists and exports.

use keygate_protocol::admin as wire;

use super::{Admin, AdminError, blocking};
use crate::admin::keys::key_id;
use crate::key::{KeyRecord, Status};
use crate::store::Filter;

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
    pub async fn list(&self, request: wire::KeyList) -> Result<Vec<wire::KeyPage>, AdminError> {
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
        let keys = self.keys.clone();
        let read = move || {
            let filter = Filter {
                tenant: request.tenant_id.as_deref(),
                status,
                tag: request.tag.as_deref(),
                deleted: request.deleted,
            };
            keys.page(&filter, after, limit as usize)
        };
        let page = blocking(read).await.ok_or_else(AdminError::stopping)??;
        let mut frames = self.frames(&page.records);
        if let Some(last) = frames.last_mut() {
            last.next = page.next.map(|id| id.to_string());
        }
        Ok(frames)
    }

    /// The exported records after an id, cut into frames, and the id to go on after.
    ///
    /// # Errors
    /// `STORAGE`.
    pub async fn export(
        &self,
        after: Option<u64>,
    ) -> Result<(Vec<wire::KeyPage>, Option<u64>), AdminError> {
        let keys = self.keys.clone();
        let read = move || {
            let filter = Filter { deleted: true, ..Filter::default() };
            keys.page(&filter, after, EXPORT_PAGE)
        };
        let page = blocking(read).await.ok_or_else(AdminError::stopping)??;
        Ok((self.frames(&page.records), page.next))
    }

    fn frames(&self, records: &[KeyRecord]) -> Vec<wire::KeyPage> {
        let mut frames = vec![wire::KeyPage::default()];
        let mut bytes = 0;
        for record in records {
            let key = self.json(record);
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
}
