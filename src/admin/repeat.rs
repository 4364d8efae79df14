//! Creating once: a request with an id of its own makes one key, however often it is sent.

use keygate_protocol::admin as wire;

use super::{Admin, AdminError, Caller, blocking};
use crate::key::record::Class;
use crate::key::{KeyRecord, Pepper};

impl Admin {
    /// The answer to a request whose id has made a key before, if it has: that key, without its
    /// token. It is the same request as long as the key is as it was made; what has been changed
    /// since may differ, and is named.
    ///
    /// # Errors
    /// `CONFLICT` for another request of the same id; `STORAGE`.
    pub(super) async fn repeated(
        &self,
        caller: &Caller,
        wanted: &KeyRecord,
    ) -> Result<Option<wire::KeyCreated>, AdminError> {
        let Some(id) = self.made_by_request(wanted).await? else { return Ok(None) };
        // Whoever makes it holds this lock until decisions see it: what is answered is obeyed.
        let _lock = self.lock(id).await;
        let made = self.to_change(self.stored(caller, id).await)?;
        let Some(made) = made.filter(|made| made.request_id == wanted.request_id) else {
            return Ok(None);
        };
        let differing = differing(&made, wanted, &self.engine.pepper()).join(", ");
        if made.revision == 1 && !differing.is_empty() {
            return Err(AdminError::conflict(format!(
                "request_id {:?} has made key {id} by another request, these fields differ: \
                 {differing}; another key needs another request_id",
                made.request_id
            )));
        }
        tracing::info!(key = id, "a request to create was repeated");
        let notices = notices(&made, &differing);
        let key = self.json(&made);
        Ok(Some(wire::KeyCreated { key, token: None, repeated: true, notices }))
    }

    /// The key that was made by a request of this record's id.
    pub(super) async fn made_by_request(
        &self,
        wanted: &KeyRecord,
    ) -> Result<Option<u64>, AdminError> {
        if wanted.request_id.is_empty() {
            return Ok(None);
        }
        let (tenant, request_id) = (wanted.tenant_id.clone(), wanted.request_id.clone());
        let keys = self.keys.clone();
        let made = blocking(move || keys.by_request(&tenant, &request_id));
        let made = made.await.ok_or_else(AdminError::stopping)?;
        self.to_change(made.map_err(AdminError::from))
    }
}

/// The id of a request, as a record keeps it; empty for none.
pub(super) fn request_id(given: Option<String>) -> Result<String, AdminError> {
    let Some(given) = given else { return Ok(String::new()) };
    let visible = given.bytes().all(|byte| byte.is_ascii_graphic());
    if given.is_empty() || given.len() > wire::REQUEST_ID_BYTES_MAX || !visible {
        return Err(AdminError::invalid(format!(
            "request_id: it is 1 to {} visible ASCII characters, such as a UUID",
            wire::REQUEST_ID_BYTES_MAX
        )));
    }
    Ok(given)
}

/// The writer's fields that are not the same in two records.
fn differing(made: &KeyRecord, wanted: &KeyRecord, pepper: &Pepper) -> Vec<&'static str> {
    let mut wanted = wanted.clone();
    if let (Some(made), Some(credits)) = (made.credits, &mut wanted.credits) {
        // When the balance was set is not the writer's to say.
        credits.granted_at = made.granted_at;
    }
    let (made, wanted) = (made.to_json(pepper), wanted.to_json(pepper));
    let fields = KeyRecord::FIELDS.iter().filter(|field| field.class != Class::Derived);
    fields.map(|field| field.name).filter(|name| made[name] != wanted[name]).collect()
}

fn notices(made: &KeyRecord, differing: &str) -> Vec<String> {
    let id = made.id;
    let mut notices = vec![format!(
        "this request has made key {id} before; its token was shown then and is not kept: \
         `keygate key rotate {id}` makes a new one"
    )];
    if made.deleted_at.is_some() {
        notices.push("the key has been deleted since".to_owned());
    }
    if !differing.is_empty() {
        notices.push(format!("the key has been changed since, it differs in: {differing}"));
    }
    notices
}
