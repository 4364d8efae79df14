//! The client secret of a key: made, exchanged with an overlap, taken away.

use keygate_protocol::admin as wire;

use super::keys::{key_id, lost_update};
use super::life::LATEST_US;
use super::{Admin, AdminError, Caller, random};
use crate::key::{KeyRecord, Status, Time};

impl Admin {
    /// A new client secret for a key; the one before goes on for the grace, but never past the key's
    /// expiry. Or none any more.
    ///
    /// # Errors
    /// `NOT_FOUND`; `CONFLICT` for a revoked key and for another revision than expected; `INVALID`
    /// for too long a grace, and for a removal that asks for more.
    pub async fn client_secret(
        &self,
        caller: &Caller,
        request: wire::KeySecret,
    ) -> Result<wire::KeySecretMade, AdminError> {
        let id = key_id(&request.id)?;
        if request.remove && (request.require || request.grace_ms.is_some()) {
            return Err(AdminError::invalid(
                "a secret that is removed ends now and is demanded no more: leave out `require` \
                 and `grace_ms`",
            ));
        }
        let grace_us = self.grace_us(request.grace_ms)?;
        let action = if request.remove { "client_secret_remove" } else { "client_secret" };
        let mut secret = None;
        let mut before_it = None;
        let record = self
            .change(caller, action, id, |before, now| {
                if let Some(expected) =
                    request.expected_revision.filter(|expected| *expected != before.revision)
                {
                    return Err(AdminError::conflict(lost_update(before, expected)));
                }
                if request.remove {
                    before_it =
                        Some((before.client_secret_hash.is_some(), before.requires_client_secret));
                    return Ok(without_secret(before));
                }
                if before.status == Status::Revoked {
                    return Err(AdminError::conflict(format!(
                        "key {id} is REVOKED, which is final, so a secret would be of no use; \
                         create a new key"
                    )));
                }
                let fresh = random::client_secret(self.engine.prefixes())?;
                let sealed = self.engine.pepper().seal_token(fresh.as_bytes());
                secret = Some(fresh);
                let ends_at = end_of_overlap(before, now, grace_us);
                let previous = before.client_secret_hash.filter(|_| ends_at > now);
                Ok(KeyRecord {
                    client_secret_hash: Some(sealed),
                    previous_client_secret_hash: previous,
                    previous_client_secret_ends_at: previous.map(|_| ends_at),
                    requires_client_secret: before.requires_client_secret || request.require,
                    ..before.clone()
                })
            })
            .await?;
        tracing::info!(key = id, removed = request.remove, "a key's client secret was changed");
        let mut notices = self.present_notices(&record);
        if !request.remove && !record.requires_client_secret {
            notices.push(format!(
                "the key does not demand its client secret yet: `keygate key update {id} \
                 --require-client-secret` has it do so"
            ));
        }
        notices.extend(before_it.and_then(|(had, demanded)| removed(had, demanded)));
        Ok(wire::KeySecretMade {
            key: self.json(&record),
            client_secret: secret.map(|secret| secret.to_string()),
            old_secret_ends_at: record.previous_client_secret_ends_at.map(|at| at.to_string()),
            notices,
        })
    }

    /// Wipes client secrets whose overlap is over, of keys that demand one; answers how many. One
    /// that cannot be wiped is tried again at the next look, and does not pass meanwhile.
    pub(super) async fn wipe_retired_secrets(&self, go_on: &(impl Fn() -> bool + Sync)) -> u64 {
        let mut wiped = 0;
        let now = self.time();
        for id in self.engine.keys_with_retired_secret(now.micros_up()) {
            if !go_on() {
                break;
            }
            // Every change wipes what is over.
            let daemon = Caller::daemon("retention");
            let changed =
                self.change(&daemon, "client_secret_end", id, |before, _| Ok(before.clone()));
            match changed.await {
                Ok(_) => wiped += 1,
                Err(error) => {
                    tracing::debug!(key = id, %error, "a retired client secret stays for now");
                }
            }
        }
        wiped
    }
}

/// When the secret before ends.
fn end_of_overlap(before: &KeyRecord, now: Time, grace_us: i64) -> Time {
    let ends_at = Time::from_micros(now.micros_up().saturating_add(grace_us).min(LATEST_US));
    before.expires_at.map_or(ends_at, |expires| expires.min(ends_at))
}

/// What a removal has done beside that, by what there was before.
fn removed(had: bool, demanded: bool) -> Option<String> {
    let words = match (had, demanded) {
        (_, true) => "the key demands no client secret any more: whoever has its token passes",
        (true, false) => return None,
        (false, false) => "the key had no client secret, and demanded none",
    };
    Some(words.to_owned())
}

fn without_secret(before: &KeyRecord) -> KeyRecord {
    let mut after =
        KeyRecord { client_secret_hash: None, requires_client_secret: false, ..before.clone() };
    after.drop_previous_client_secret();
    after
}
