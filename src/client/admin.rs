//! The calls of the admin socket: JSON in the same frames (SPEC §9).

use bytes::{BufMut, BytesMut};
use keygate_protocol::Opcode;
use keygate_protocol::admin as wire;
use keygate_protocol::admin::{
    Health, KeyChanged, KeyCreate, KeyCreated, KeyDelete, KeyList, KeyPage, KeyRef, KeyRestore,
    KeyReview, KeyRotate, KeyRotated, KeySecret, KeySecretMade, KeySetStatus, KeyUpdate, KeyUsage,
    NoFields, Reloaded, Stats, UsageHistory, UsageHistoryRequest, UsageTop, UsageTopRequest,
};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use zeroize::Zeroizing;

use super::error::{Error, ReplyError};
use super::slot::Reply;
use super::table::Request;
use super::{Backup, Client, Export, Import, Verification, Watching, refused};

/// The calls of the admin socket. On the data socket the daemon refuses them.
///
/// Ids are those of [`super::Validation::key_id`]; records are JSON as `key get --json` prints it.
impl Client {
    /// Makes a key. The answer is the only place where its token is ever shown.
    ///
    /// # Errors
    /// [`Error`]; [`Error::Refused`] with `INVALID` names the field that is wrong.
    pub async fn create(&self, record: Value) -> Result<KeyCreated, Error> {
        self.admin(Opcode::KeyCreate, &KeyCreate { record, request_id: None }).await
    }

    /// Makes a key unless a request of the same id has made one in the same tenant before: then
    /// that key is the answer, without its token. So it is safe to send again.
    ///
    /// # Errors
    /// As [`Client::create`]; [`Error::Refused`] with `CONFLICT` if the id was another request's.
    pub async fn create_once(
        &self,
        record: Value,
        request_id: impl Into<String>,
    ) -> Result<KeyCreated, Error> {
        let request_id = Some(request_id.into());
        self.admin(Opcode::KeyCreate, &KeyCreate { record, request_id }).await
    }

    /// One key's record.
    ///
    /// # Errors
    /// [`Error`]; [`Error::Refused`] with `NOT_FOUND` if there is no such key.
    pub async fn get(&self, id: u64) -> Result<Value, Error> {
        self.admin(Opcode::KeyGet, &key_ref(id)).await
    }

    /// One key's record, also if it was deleted; one that was purged is not there.
    ///
    /// # Errors
    /// [`Error`]; [`Error::Refused`] with `NOT_FOUND` if there is no such key.
    pub async fn get_deleted(&self, id: u64) -> Result<Value, Error> {
        self.admin(Opcode::KeyGet, &deleted_key_ref(id)).await
    }

    /// One page of records, by ascending id. `next` of the answer is `after` of the next page.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn list(&self, list: &KeyList) -> Result<KeyPage, Error> {
        let mut page = KeyPage::default();
        match self.json(Opcode::KeyList, list).await? {
            Reply::Refused(payload) => return Err(refused(&payload)),
            Reply::Payload(payload) => add_page(&mut page, &payload)?,
            Reply::Pages(payloads) => {
                payloads.iter().try_for_each(|payload| add_page(&mut page, payload))?;
            }
        }
        Ok(page)
    }

    /// Changes fields of a record.
    ///
    /// # Errors
    /// [`Error`]; [`Error::Refused`] with `CONFLICT` if the revision is not the expected one.
    pub async fn update(&self, update: &KeyUpdate) -> Result<KeyChanged, Error> {
        self.admin(Opcode::KeyUpdate, update).await
    }

    /// Gives a key a new token, which is shown in the answer and nowhere else.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn rotate(&self, rotate: &KeyRotate) -> Result<KeyRotated, Error> {
        self.admin(Opcode::KeyRotate, rotate).await
    }

    /// Makes a key's client secret, which is shown in the answer and nowhere else; or takes it away.
    ///
    /// # Errors
    /// [`Error`]; [`Error::Refused`] with `CONFLICT` if the key is revoked or its revision is not
    /// the expected one.
    pub async fn client_secret(&self, secret: &KeySecret) -> Result<KeySecretMade, Error> {
        self.admin(Opcode::KeySecret, secret).await
    }

    /// Suspends, resumes, revokes, and so on.
    ///
    /// # Errors
    /// [`Error`]; [`Error::Refused`] with `CONFLICT` if the key cannot go from its status there.
    pub async fn set_status(&self, status: &KeySetStatus) -> Result<KeyChanged, Error> {
        self.admin(Opcode::KeySetStatus, status).await
    }

    /// Deletes a key: its tokens become unknown.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn delete(&self, delete: &KeyDelete) -> Result<KeyChanged, Error> {
        self.admin(Opcode::KeyDelete, delete).await
    }

    /// Takes a soft delete back: the key's tokens are what they were.
    ///
    /// # Errors
    /// [`Error`]; [`Error::Refused`] with `CONFLICT` if the key is not deleted, or another key has
    /// its token by now.
    pub async fn restore(&self, id: u64) -> Result<KeyChanged, Error> {
        self.admin(Opcode::KeyRestore, &KeyRestore { id: id.to_string() }).await
    }

    /// Notes that the key's security was reviewed now.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn review(&self, id: u64) -> Result<KeyChanged, Error> {
        self.admin(Opcode::KeyReview, &KeyReview { id: id.to_string() }).await
    }

    /// What a key was used for, and how its limits stand.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn usage(&self, id: u64) -> Result<KeyUsage, Error> {
        self.admin(Opcode::KeyUsage, &key_ref(id)).await
    }

    /// The same of a deleted key.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn deleted_usage(&self, id: u64) -> Result<KeyUsage, Error> {
        self.admin(Opcode::KeyUsage, &deleted_key_ref(id)).await
    }

    /// What a key, a tenant or all keys were used for, by the hour or the day.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn usage_history(
        &self,
        request: &UsageHistoryRequest,
    ) -> Result<UsageHistory, Error> {
        self.admin(Opcode::UsageHistory, request).await
    }

    /// The keys that were used most, or denied most.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn usage_top(&self, request: &UsageTopRequest) -> Result<UsageTop, Error> {
        self.admin(Opcode::UsageTop, request).await
    }

    /// The daemon's figures.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn stats(&self) -> Result<Stats, Error> {
        self.admin(Opcode::Stats, &NoFields {}).await
    }

    /// Whether the daemon can do its work.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn health(&self) -> Result<Health, Error> {
        self.admin(Opcode::Health, &NoFields {}).await
    }

    /// Has the daemon read its configuration again and apply it, as a whole or not at all.
    ///
    /// # Errors
    /// [`Error`]; [`Error::Refused`] says why nothing was applied.
    pub async fn reload(&self) -> Result<Reloaded, Error> {
        self.admin(Opcode::Reload, &NoFields {}).await
    }

    /// Begins to import records, on a connection of its own. With `skip_bad` the good records are
    /// taken and the bad ones reported; otherwise all are taken or none.
    ///
    /// # Errors
    /// [`Error::Connect`].
    pub async fn import(&self, skip_bad: bool) -> Result<Import, Error> {
        Import::begin(self.handle.settings.clone(), skip_bad).await
    }

    /// Begins to export all records, on a connection of its own.
    ///
    /// # Errors
    /// [`Error::Connect`].
    pub async fn export(&self) -> Result<Export, Error> {
        Export::begin(self.handle.settings.clone()).await
    }

    /// Begins to copy the whole store, on a connection of its own. With `without_pepper` the pepper
    /// is left out.
    ///
    /// # Errors
    /// [`Error::Connect`].
    pub async fn backup(&self, without_pepper: bool) -> Result<Backup, Error> {
        let request = wire::Backup { without_pepper, ..wire::Backup::default() };
        self.backup_with(&request).await
    }

    /// The same, with or without the pepper and the master key.
    ///
    /// # Errors
    /// [`Error::Connect`].
    pub async fn backup_with(&self, request: &wire::Backup) -> Result<Backup, Error> {
        Backup::begin(self.handle.settings.clone(), request).await
    }

    /// Begins to exchange a secret for another, the pepper or the master key; answers when that has
    /// begun, and [`Client::secret_status`] tells how far it is.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn rotate_secret(&self, pepper: bool) -> Result<wire::SecretStatus, Error> {
        let opcode = if pepper { Opcode::PepperRotate } else { Opcode::MasterRotate };
        self.admin(opcode, &NoFields {}).await
    }

    /// How the pepper or the master key stands.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn secret_status(&self, pepper: bool) -> Result<wire::SecretStatus, Error> {
        let opcode = if pepper { Opcode::PepperStatus } else { Opcode::MasterStatus };
        self.admin(opcode, &NoFields {}).await
    }

    /// Begins to verify the whole store, on a connection of its own.
    ///
    /// # Errors
    /// [`Error::Connect`].
    pub async fn verify(&self) -> Result<Verification, Error> {
        Verification::begin(self.handle.settings.clone()).await
    }

    /// Begins to watch what happens from now on, on a connection of its own; with a tenant only what
    /// concerns that.
    ///
    /// # Errors
    /// [`Error::Connect`].
    pub async fn watch(&self, tenant: Option<String>) -> Result<Watching, Error> {
        let request = keygate_protocol::admin::Watch { tenant };
        Watching::begin(self.handle.settings.clone(), &request).await
    }

    pub(super) async fn admin<R: DeserializeOwned>(
        &self,
        opcode: Opcode,
        request: &impl Serialize,
    ) -> Result<R, Error> {
        match self.json(opcode, request).await? {
            Reply::Payload(payload) => decode(&payload),
            Reply::Pages(_) => Err(Error::Protocol(ReplyError::More)),
            Reply::Refused(payload) => Err(refused(&payload)),
        }
    }

    async fn json(&self, opcode: Opcode, request: &impl Serialize) -> Result<Reply, Error> {
        let payload = encode(request);
        let request = Request {
            opcode,
            payload_bytes_max: payload.len(),
            write: |out: &mut BytesMut| out.put_slice(&payload),
        };
        self.call(request).await
    }
}

pub(super) fn key_ref(id: u64) -> KeyRef {
    KeyRef { id: id.to_string(), deleted: false }
}

pub(super) fn deleted_key_ref(id: u64) -> KeyRef {
    KeyRef { id: id.to_string(), deleted: true }
}

/// The payload of an admin request.
pub(super) fn encode(request: &impl Serialize) -> Zeroizing<Vec<u8>> {
    // Strings, numbers and values that are JSON already cannot fail to become JSON. If they did,
    // the daemon would refuse the empty payload.
    Zeroizing::new(serde_json::to_vec(request).unwrap_or_default())
}

pub(super) fn decode<R: DeserializeOwned>(payload: &[u8]) -> Result<R, Error> {
    serde_json::from_slice(payload).map_err(Error::reply)
}

pub(super) fn add_page(page: &mut KeyPage, payload: &[u8]) -> Result<(), Error> {
    let mut frame: KeyPage = decode(payload)?;
    page.keys.append(&mut frame.keys);
    // What is said of the whole stands in the last frame.
    *page = KeyPage { keys: std::mem::take(&mut page.keys), ..frame };
    Ok(())
}
