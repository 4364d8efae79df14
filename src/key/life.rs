//! The life of a record: its states, its rotation, its renewal. What may be done; who asks and
//! where it is kept is decided elsewhere.

use super::reason::Reason;
use super::status::StatusError;
use super::{KeyRecord, KeyView, Status, Time};

/// Most days that a key may be told to be rotated in: a hundred years.
pub const ROTATION_DAYS_MAX: u32 = 36_500;

const DAY_US: i64 = 86_400_000_000;

impl KeyRecord {
    /// Forgets the client secret before the present one.
    pub fn drop_previous_client_secret(&mut self) {
        self.previous_client_secret_hash = None;
        self.previous_client_secret_ends_at = None;
    }

    /// Forgets it where its overlap is over: nothing needs it any more.
    pub fn wipe_retired_client_secret(&mut self, now: Time) {
        if self.previous_client_secret_ends_at.is_none_or(|ends_at| ends_at <= now) {
            self.drop_previous_client_secret();
        }
    }

    /// Puts the key into a state, with the reason. Staying in a state keeps the reason and the
    /// instant of the change, unless another reason is given.
    ///
    /// # Errors
    /// [`StatusError::NotAllowed`] when the state may not follow.
    pub fn set_status(
        &mut self,
        status: Status,
        reason: Reason,
        now: Time,
    ) -> Result<(), StatusError> {
        self.status.may_become(status)?;
        if self.status != status {
            self.enter(status, now);
        }
        if !reason.is_empty() {
            self.status_reason_code =
                reason.code.map_or_else(String::new, |code| code.name().to_owned());
            self.status_reason = reason.text;
        }
        Ok(())
    }

    /// Makes an EXPIRED key ACTIVE again if its `expires_at` does not lie in the past: what an
    /// update of `expires_at` does, and nothing else. Answers whether it did.
    pub fn renew(&mut self, now: Time) -> bool {
        let renewed = self.status == Status::Expired && !self.has_expired(now);
        if renewed {
            self.enter(Status::Active, now);
        }
        renewed
    }

    fn enter(&mut self, status: Status, now: Time) {
        self.status = status;
        self.status_changed_at = Some(now);
        self.status_reason_code = String::new();
        self.status_reason = String::new();
    }

    /// Whether `expires_at` has been reached, whatever the status says.
    #[must_use]
    pub fn has_expired(&self, now: Time) -> bool {
        self.expires_at.is_some_and(|expires| expires <= now)
    }

    /// When the key's rotation is overdue; `None` when no rotation is demanded of it.
    #[must_use]
    pub fn rotation_due_at(&self) -> Option<Time> {
        self.view().rotation_due_us().map(Time::from_micros)
    }
}

impl KeyView<'_> {
    /// When the key's rotation is overdue, in microseconds since 1970: `rotation_frequency_days`
    /// after its last rotation, or after it was made. `None` when no rotation is demanded.
    #[must_use]
    pub fn rotation_due_us(&self) -> Option<i64> {
        let days = self.rotation_frequency_days.filter(|days| *days > 0)?;
        let since = self.last_rotated_at.max(self.last_rotation_date).or(self.created_at)?;
        Some(since.micros_up().saturating_add(i64::from(days).saturating_mul(DAY_US)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(us: i64) -> Time {
        Time::from_micros(us)
    }

    fn because(text: &str) -> Reason {
        Reason::new(Some("superseded"), Some(text.to_owned())).expect("a reason")
    }

    #[test]
    fn a_change_of_state_has_its_own_reason_and_staying_keeps_it() {
        let mut key = KeyRecord::default();
        key.set_status(Status::Suspended, because("first"), at(1)).expect("allowed");
        let shown = |key: &KeyRecord| {
            (key.status_reason_code.clone(), key.status_reason.clone(), key.status_changed_at)
        };
        let first = ("superseded".to_owned(), "first".to_owned(), Some(at(1)));
        assert_eq!(shown(&key), first);
        key.set_status(Status::Suspended, Reason::default(), at(2)).expect("staying");
        assert_eq!(shown(&key), first);
        key.set_status(Status::Suspended, because("second"), at(3)).expect("staying");
        assert_eq!(shown(&key).1, "second");
        assert_eq!(key.status_changed_at, Some(at(1)), "it has not changed since");
        key.set_status(Status::Active, Reason::default(), at(4)).expect("allowed");
        assert_eq!(shown(&key), (String::new(), String::new(), Some(at(4))));
        let before = key.clone();
        let refused = key.set_status(Status::PendingVerification, because("x"), at(5));
        assert!(refused.is_err());
        assert_eq!(key, before, "a refusal changes nothing");
    }

    #[test]
    fn an_expired_key_is_renewed_by_an_expiry_that_lies_ahead() {
        for (status, expires_at, renewed) in [
            (Status::Expired, Some(at(11)), true),
            (Status::Expired, None, true),
            (Status::Expired, Some(at(10)), false),
            (Status::Active, Some(at(11)), false),
            (Status::Revoked, Some(at(11)), false),
        ] {
            let mut key = KeyRecord { status, expires_at, ..KeyRecord::default() };
            assert_eq!(key.renew(at(10)), renewed, "{status:?} {expires_at:?}");
            assert_eq!(key.status, if renewed { Status::Active } else { status });
        }
    }

    #[test]
    fn a_rotation_is_due_so_many_days_after_the_last_or_after_the_key_was_made() {
        let day = |days: i64| at(days * DAY_US);
        let due = |rotation_frequency_days, created_at, last_rotated_at| {
            KeyRecord {
                rotation_frequency_days,
                created_at,
                last_rotated_at,
                ..KeyRecord::default()
            }
            .rotation_due_at()
        };
        assert_eq!(due(Some(90), Some(day(1)), None), Some(day(91)));
        assert_eq!(due(Some(90), Some(day(1)), Some(day(50))), Some(day(140)));
        assert_eq!(due(None, Some(day(1)), None), None);
        assert_eq!(due(Some(0), Some(day(1)), None), None, "0 demands none, as in the source");
        assert_eq!(due(Some(90), None, None), None);
        let only_date = KeyRecord {
            rotation_frequency_days: Some(1),
            created_at: Some(day(1)),
            last_rotation_date: Some(day(9)),
            ..KeyRecord::default()
        };
        assert_eq!(only_date.rotation_due_at(), Some(day(10)), "the source has both fields");
    }
}
