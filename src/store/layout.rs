//! Where things lie: the key space of the one tree.
//!
//! ```text
//! 'k' id                    → the record, in an envelope
//! 'd' digest(32)            → id u64 BE, kind u8: who owns this digest
//! 't' tenant 00 id          → nothing; the keys of a tenant
//! 's' status(1) id          → nothing; the keys in a status
//! 'g' tag 00 id             → nothing; the keys with a tag
//! 'x' deleted_at(8) id      → nothing; the deleted keys, those of the longest time ago first
//! 'n' tenant                → the record of a tenant, in an envelope
//! 'q' tenant 00 request id  → id u64 BE: the key that a request has made
//! 'u' id                    → usage of the key as absolute figures, in an envelope
//! 'v' whose                 → usage of a tenant or of the daemon, likewise; only 't' and 'a'
//! 'h' whose hour(4)         → what was used in an hour, in an envelope
//! 'y' whose month(4)        → what was used in the days of a month, in an envelope
//! 'l' 'k' id                → the ledger's figures of a key, in an envelope
//! 'l' 't' tenant            → the ledger's figures of a tenant, in an envelope
//! 'a' 's' id                → what was said of a key by alerts, in an envelope
//! 'a' 'o' seq               → an alert on its way to one destination, in an envelope
//! 'a' 'w' tenant 00 hash(32)→ a web hook's endpoint, by the SHA-256 of its URL, in an envelope
//! 'i' seq                   → a chunk of the ids of increments that were counted, in an envelope
//! 'm' name                  → facts about the whole: "format", "imports", "pending_import", …
//! ```
//!
//! `whose` is 'k' id, 't' tenant 00 or 'a', for all. `id` and `seq` are u64, `hour` and `month` u32, big endian, so that bytewise order is numeric order; `deleted_at` is i64,
//! microseconds since 1970, with its sign turned so that the same holds. A tenant or a tag
//! holds no zero byte, so that one that begins another does not take in its keys.

use super::KEY_BYTES_MAX;

/// Records.
pub const RECORD: u8 = b'k';
/// Digests of tokens.
pub const DIGEST: u8 = b'd';
/// Keys by tenant.
pub const TENANT: u8 = b't';
/// Keys by status.
pub const STATUS: u8 = b's';
/// Keys by tag.
pub const TAG: u8 = b'g';
/// Deleted keys.
pub const DELETED: u8 = b'x';
/// Records of tenants.
pub const TENANT_RECORD: u8 = b'n';
/// Keys by the request that made them.
pub const REQUEST: u8 = b'q';
/// Usage.
pub const USAGE: u8 = b'u';
/// Usage of tenants and of the daemon.
pub const SUM: u8 = b'v';
/// Usage by the hour.
pub const HOUR: u8 = b'h';
/// Usage by the day, a month in a row.
pub const MONTH: u8 = b'y';
/// The ledger's figures.
pub const LEDGER: u8 = b'l';
/// Alerts.
pub const ALERT: u8 = b'a';
/// Ids of increments.
pub const INCREMENTS: u8 = b'i';
/// Facts about the whole.
pub const META: u8 = b'm';

/// The first bytes of index rows: each names one record, which says by itself that it has the row.
pub const INDEXES: &[u8] = &[DIGEST, TENANT, STATUS, TAG, DELETED, REQUEST];

/// Most bytes of a tenant or a tag that can be indexed.
pub const INDEXED_TEXT_BYTES_MAX: usize = KEY_BYTES_MAX - 10;

/// Behind a space: of a key.
const OF_KEY: u8 = b'k';
/// Behind a space: of a tenant.
const OF_TENANT: u8 = b't';
/// Behind a space: of the whole daemon.
const OF_ALL: u8 = b'a';

/// What the keys of the rows of keys' accounts begin with.
pub const ACCOUNTS_OF_KEYS: &[u8] = &[LEDGER, OF_KEY];
/// What the keys of the rows of tenants' accounts begin with.
pub const ACCOUNTS_OF_TENANTS: &[u8] = &[LEDGER, OF_TENANT];

/// What the keys of the rows of what was said of keys begin with.
pub const ALERT_STATES: &[u8] = &[ALERT, b's'];
/// What the keys of the rows of the outbox begin with.
pub const ALERTS_OUT: &[u8] = &[ALERT, b'o'];
/// What the keys of the rows of endpoints begin with.
pub const ENDPOINTS: &[u8] = &[ALERT, b'w'];

/// Bytes of an id at the end of a key.
const ID_BYTES: usize = 8;

/// The key of a record.
#[must_use]
pub fn record(id: u64) -> Vec<u8> {
    with_id(&[RECORD], id)
}

/// The key of a digest's owner.
#[must_use]
pub fn digest(digest: &[u8; 32]) -> Vec<u8> {
    [&[DIGEST][..], digest].concat()
}

/// What the keys of a tenant's index rows begin with.
#[must_use]
pub fn tenant(tenant: &str) -> Vec<u8> {
    [&[TENANT][..], tenant.as_bytes(), &[0]].concat()
}

/// The key of a tenant's record.
#[must_use]
pub fn tenant_record(tenant: &str) -> Vec<u8> {
    [&[TENANT_RECORD][..], tenant.as_bytes()].concat()
}

/// What the keys of a status's index rows begin with.
#[must_use]
pub fn status(status: u8) -> Vec<u8> {
    vec![STATUS, status]
}

/// What the keys of a tag's index rows begin with.
#[must_use]
pub fn tag(tag: &str) -> Vec<u8> {
    [&[TAG][..], tag.as_bytes(), &[0]].concat()
}

/// The key of a deleted key's row.
#[must_use]
pub fn deleted(deleted_us: i64, id: u64) -> Vec<u8> {
    let at = (deleted_us ^ i64::MIN).to_be_bytes();
    with_id(&[&[DELETED][..], &at].concat(), id)
}

/// When the key of such a row was deleted, microseconds since 1970, and its id.
#[must_use]
pub fn deleted_of(key: &[u8]) -> Option<(i64, u64)> {
    let (at, id) = key.strip_prefix(&[DELETED])?.split_first_chunk()?;
    let id = id.try_into().ok()?;
    Some((i64::from_be_bytes(*at) ^ i64::MIN, u64::from_be_bytes(id)))
}

/// The key of a request that made a key.
#[must_use]
pub fn request(tenant: &str, request_id: &str) -> Vec<u8> {
    [&[REQUEST][..], tenant.as_bytes(), &[0], request_id.as_bytes()].concat()
}

/// The key of a key's usage.
#[must_use]
pub fn usage(id: u64) -> Vec<u8> {
    with_id(&[USAGE], id)
}

/// Whose usage a row has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Whose<'a> {
    /// A key's.
    Key(u64),
    /// A tenant's.
    Tenant(&'a str),
    /// The whole daemon's.
    All,
}

impl<'a> Whose<'a> {
    /// A tenant's, or the daemon's.
    #[must_use]
    pub fn sum(of: Option<&'a str>) -> Self {
        of.map_or(Self::All, Self::Tenant)
    }

    /// What the keys of its rows in a space begin with.
    #[must_use]
    pub fn rows(self, space: u8) -> Vec<u8> {
        match self {
            Self::Key(id) => with_id(&[space, OF_KEY], id),
            Self::Tenant(tenant) => [&[space, OF_TENANT], tenant.as_bytes(), &[0]].concat(),
            Self::All => vec![space, OF_ALL],
        }
    }

    /// The key of its row of an hour or a month.
    #[must_use]
    pub fn row(self, space: u8, number: u32) -> Vec<u8> {
        [&self.rows(space)[..], &number.to_be_bytes()].concat()
    }

    /// Whose row has this key, and of which hour or month; `None` where it names neither.
    #[must_use]
    pub fn of(key: &'a [u8]) -> Option<(Self, u32)> {
        let (rest, number) = key.split_last_chunk::<4>()?;
        let whose = match (rest.get(1)?, rest.get(2..)?) {
            (&OF_KEY, id) => Self::Key(u64::from_be_bytes(id.try_into().ok()?)),
            (&OF_TENANT, [tenant @ .., 0]) => Self::Tenant(str::from_utf8(tenant).ok()?),
            (&OF_ALL, []) => Self::All,
            _ => return None,
        };
        Some((whose, u32::from_be_bytes(*number)))
    }
}

/// The key of what the ledger has of a key.
#[must_use]
pub fn account_of_key(id: u64) -> Vec<u8> {
    with_id(ACCOUNTS_OF_KEYS, id)
}

/// The key of what the ledger has of a tenant.
#[must_use]
pub fn account_of_tenant(tenant: &str) -> Vec<u8> {
    [ACCOUNTS_OF_TENANTS, tenant.as_bytes()].concat()
}

/// The key of the record that a row of the ledger belongs to; `None` where it names none.
#[must_use]
pub fn record_of_account(key: &[u8]) -> Option<Vec<u8>> {
    if let Some(id) = key.strip_prefix(ACCOUNTS_OF_KEYS) {
        return id.try_into().ok().map(|id| record(u64::from_be_bytes(id)));
    }
    let tenant = key.strip_prefix(ACCOUNTS_OF_TENANTS)?;
    Some([&[TENANT_RECORD][..], tenant].concat())
}

/// The key of what was said of a key.
#[must_use]
pub fn alert_state(id: u64) -> Vec<u8> {
    with_id(ALERT_STATES, id)
}

/// The key of an alert on its way.
#[must_use]
pub fn alert_out(seq: u64) -> Vec<u8> {
    with_id(ALERTS_OUT, seq)
}

/// The key of an endpoint: a URL may be longer than a key.
#[must_use]
pub fn endpoint(tenant: &str, url_sha256: &[u8; 32]) -> Vec<u8> {
    [ENDPOINTS, tenant.as_bytes(), &[0], url_sha256].concat()
}

/// The key of the record that a row of what was said belongs to; `None` for other rows.
#[must_use]
pub fn record_of_alert_state(key: &[u8]) -> Option<Vec<u8>> {
    let id = key.strip_prefix(ALERT_STATES)?.try_into().ok()?;
    Some(record(u64::from_be_bytes(id)))
}

/// The key of a chunk of increment ids.
#[must_use]
pub fn increments(seq: u64) -> Vec<u8> {
    with_id(&[INCREMENTS], seq)
}

/// The key of a fact.
#[must_use]
pub fn meta(name: &str) -> Vec<u8> {
    [&[META][..], name.as_bytes()].concat()
}

/// A prefix and the id behind it.
#[must_use]
pub fn with_id(prefix: &[u8], id: u64) -> Vec<u8> {
    [prefix, &id.to_be_bytes()].concat()
}

/// The value of a digest's row: its owner, and whether it is the current digest (0) or the one
/// before (1).
#[must_use]
pub fn with_id_and_kind(id: u64, kind: u8) -> Vec<u8> {
    [&id.to_be_bytes()[..], &[kind]].concat()
}

/// The id at the end of a key.
#[must_use]
pub fn id_of(key: &[u8]) -> Option<u64> {
    key.last_chunk::<ID_BYTES>().map(|id| u64::from_be_bytes(*id))
}

/// The record that an index row names.
#[must_use]
pub fn owner(key: &[u8], value: &[u8]) -> Option<u64> {
    match key.first()? {
        &DIGEST | &REQUEST => value.first_chunk().map(|id| u64::from_be_bytes(*id)),
        _ => id_of(key),
    }
}

/// Whether a tenant or a tag can stand in an index.
#[must_use]
pub fn indexable(text: &str) -> bool {
    text.len() <= INDEXED_TEXT_BYTES_MAX && !text.as_bytes().contains(&0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_sort_as_numbers() {
        let ids = [0, 1, 255, 256, u64::from(u32::MAX), 1 << 40, u64::MAX];
        assert!(ids.map(record).is_sorted());
        assert_eq!(ids.map(|id| id_of(&record(id))), ids.map(Some));
    }

    #[test]
    fn deleted_keys_sort_by_when_they_were_deleted() {
        let times = [i64::MIN, -1, 0, 1, 1_800_000_000_000_000, i64::MAX];
        assert!(times.map(|at| deleted(at, 7)).is_sorted());
        assert!(deleted(1, u64::MAX) < deleted(2, 0));
        for at in times {
            assert_eq!(deleted_of(&deleted(at, 7)), Some((at, 7)));
        }
        assert_eq!((deleted_of(&record(7)), deleted_of(b"x")), (None, None));
    }

    #[test]
    fn a_row_of_the_ledger_names_the_record_that_it_belongs_to() {
        assert_eq!(record_of_account(&account_of_key(7)), Some(record(7)));
        assert_eq!(record_of_account(&account_of_tenant("acme")), Some(tenant_record("acme")));
        for stray in [&b"l"[..], b"lk", b"lk1234567", b"lk123456789", b"lx12345678", b"u12345678"] {
            assert_eq!(record_of_account(stray), None, "{stray:?}");
        }
        let longest = "x".repeat(INDEXED_TEXT_BYTES_MAX);
        assert!(account_of_tenant(&longest).len() <= KEY_BYTES_MAX);
    }

    #[test]
    fn rows_of_alerts_do_not_take_each_other_in() {
        let keys = [alert_state(7), alert_out(7), endpoint("acme", &[7; 32])];
        for (at, prefix) in [ALERT_STATES, ALERTS_OUT, ENDPOINTS].into_iter().enumerate() {
            let under: Vec<bool> = keys.iter().map(|key| key.starts_with(prefix)).collect();
            assert_eq!(under.iter().position(|is| *is), Some(at));
            assert_eq!(under.iter().filter(|is| **is).count(), 1);
        }
        assert_eq!(record_of_alert_state(&keys[0]), Some(record(7)));
        assert_eq!((record_of_alert_state(&keys[1]), record_of_alert_state(b"as")), (None, None));
        let tenant = "x".repeat(KEY_BYTES_MAX - ENDPOINTS.len() - 33);
        assert_eq!(endpoint(&tenant, &[0; 32]).len(), KEY_BYTES_MAX);
    }

    #[test]
    fn a_row_of_history_says_whose_it_is() {
        for whose in [Whose::Key(7), Whose::Key(u64::MAX), Whose::Tenant("acme"), Whose::All] {
            for number in [0, 1, 495_000, u32::MAX] {
                let key = whose.row(HOUR, number);
                assert!(key.starts_with(&whose.rows(HOUR)));
                assert_eq!(Whose::of(&key), Some((whose, number)));
            }
        }
        assert!(Whose::Key(7).row(HOUR, 1) < Whose::Key(7).row(HOUR, 256));
        assert!(
            !Whose::Tenant("acme-2").row(HOUR, 1).starts_with(&Whose::Tenant("acme").rows(HOUR))
        );
        for stray in [&b"h"[..], b"hk", b"hk1234", b"ht1234", b"hx1234", b"ha12345"] {
            assert_eq!(Whose::of(stray), None, "{stray:?}");
        }
    }

    #[test]
    fn a_tenant_does_not_take_in_one_that_it_begins() {
        let row = with_id(&tenant("acme-2"), 7);
        assert!(!row.starts_with(&tenant("acme")));
        assert!(row.starts_with(&tenant("acme-2")));
    }

    #[test]
    fn the_longest_indexed_text_makes_a_key() {
        let text = "x".repeat(INDEXED_TEXT_BYTES_MAX);
        assert_eq!(with_id(&tag(&text), u64::MAX).len(), KEY_BYTES_MAX);
    }
}
