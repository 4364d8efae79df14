//! The record of a key: the one table of its fields.
//!
//! Each line of the table says who may set the field, its name (in the source system's JSON too),
//! its type, and its codec with the field's bound. `derived` fields are keygate's to set; only an
//! import carries them over. `set` fields are the writer's.
//!
//! The order of the fields is the order of their bytes on disk. A field that is added stands behind
//! all that were there, under the schema that added it, so that the bytes of an older record are
//! the beginning of a newer one's.

use keygate_protocol::limits::METADATA_BYTES_MAX;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::digest::{Digest, Pepper, SealedHash};
use super::field::{
    Codec, Flag, Float, Hash, Id, Instant, Int64, JsonBytes, ListOf, Money, Name, Number,
    NumberFrom, NumberTo, ReasonName, RequestId, Share, StatusName, Text, TextList, TextOf,
};
use super::form::{
    Algorithm, Block, Classification, Domain, Fingerprint, Mail, Page, Scope, Stated, StatedList,
    Webhook,
};
use super::life::ROTATION_DAYS_MAX;
use super::limits::{CreditsOf, Named, SLOT_TTL_SECONDS_MAX};
use super::reason::REASON_BYTES_MAX;
use super::signing::SigningKeys;
use super::view::Stored;
use super::{Credits, NamedLimit, SigningKey, SigningMaterial, Status, Time};

/// Who may set a field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// keygate; an import carries it over.
    Derived,
    /// The writer.
    Set,
}

/// One line of the table.
#[derive(Debug, Clone, Copy)]
pub struct FieldSpec {
    /// The name in JSON, snake_case.
    pub name: &'static str,
    /// Who may set it.
    pub class: Class,
}

macro_rules! record {
    (
        schema 1 { $($class:ident $name:ident: $type:ty => $codec:ty;)+ }
        schema 2 { $($class_2:ident $name_2:ident: $type_2:ty => $codec_2:ty;)+ }
        schema 3 { $($class_3:ident $name_3:ident: $type_3:ty => $codec_3:ty;)+ }
        schema 4 { $($class_4:ident $name_4:ident: $type_4:ty => $codec_4:ty;)+ }
    ) => {
        /// Everything that is kept of a key: 63 fields of the source system, its place in the
        /// hierarchy, and keygate's own bookkeeping. On disk inside an envelope (`store/`).
        #[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
        #[expect(missing_docs, reason = "the fields are the source system's; README says what each does")]
        pub struct KeyRecord {
            $(pub $name: $type,)+
            /// Whether the token was imported as a digest, so that it may have any shape.
            pub foreign_token: bool,
            /// The same of the token before.
            pub previous_foreign_token: bool,
            /// The import that brought the record, while it may still be rolled back; 0 for none.
            pub import: u64,
            $(pub $name_2: $type_2,)+
            $(pub $name_3: $type_3,)+
            $(pub $name_4: $type_4,)+
        }

        /// A record as it lies in its bytes: texts are borrowed, so that reading one to compile
        /// it copies none of them. Field by field the same on disk as [`KeyRecord`].
        #[derive(Debug, Clone, PartialEq, Deserialize)]
        #[expect(missing_docs, reason = "the fields are those of the record")]
        pub struct KeyView<'a> {
            $(#[serde(borrow = "'a")]
            pub $name: <$type as Stored>::View<'a>,)+
            pub foreign_token: bool,
            pub previous_foreign_token: bool,
            pub import: u64,
            $(#[serde(borrow = "'a")]
            pub $name_2: <$type_2 as Stored>::View<'a>,)+
            $(#[serde(borrow = "'a")]
            pub $name_3: <$type_3 as Stored>::View<'a>,)+
            $(#[serde(borrow = "'a")]
            pub $name_4: <$type_4 as Stored>::View<'a>,)+
        }

        /// What schema 2 added to a record, for the bytes of its defaults.
        #[derive(Debug, Default, Serialize)]
        pub struct AddedBySchema2 {
            $($name_2: $type_2,)+
        }

        /// What schema 3 added to a record, for the bytes of its defaults.
        #[derive(Debug, Default, Serialize)]
        pub struct AddedBySchema3 {
            $($name_3: $type_3,)+
        }

        /// What schema 4 added to a record, for the bytes of its defaults.
        #[derive(Debug, Default, Serialize)]
        pub struct AddedBySchema4 {
            $($name_4: $type_4,)+
        }

        impl KeyRecord {
            /// The record, borrowed.
            #[must_use]
            pub fn view(&self) -> KeyView<'_> {
                KeyView {
                    $($name: self.$name.view(),)+
                    foreign_token: self.foreign_token,
                    previous_foreign_token: self.previous_foreign_token,
                    import: self.import,
                    $($name_2: self.$name_2.view(),)+
                    $($name_3: self.$name_3.view(),)+
                    $($name_4: self.$name_4.view(),)+
                }
            }

            /// Every field, in the order of the source system.
            pub const FIELDS: &[FieldSpec] = &[
                $(FieldSpec { name: stringify!($name), class: Class::$class },)+
                $(FieldSpec { name: stringify!($name_2), class: Class::$class_2 },)+
                $(FieldSpec { name: stringify!($name_3), class: Class::$class_3 },)+
                $(FieldSpec { name: stringify!($name_4), class: Class::$class_4 },)+
            ];

            /// Sets a field from its JSON; `null` is its default. `None` when there is no such
            /// field.
            pub(super) fn set(
                &mut self,
                name: &str,
                value: &Value,
                pepper: &Pepper,
            ) -> Option<Result<(), String>> {
                match name {
                    $(stringify!($name) => {
                        Some(read::<_, $codec>(&mut self.$name, value, pepper))
                    })+
                    $(stringify!($name_2) => {
                        Some(read::<_, $codec_2>(&mut self.$name_2, value, pepper))
                    })+
                    $(stringify!($name_3) => {
                        Some(read::<_, $codec_3>(&mut self.$name_3, value, pepper))
                    })+
                    $(stringify!($name_4) => {
                        Some(read::<_, $codec_4>(&mut self.$name_4, value, pepper))
                    })+
                    _ => None,
                }
            }

            /// The record as JSON, as `key get --json` and `export` print it.
            #[must_use]
            pub fn to_json(&self, pepper: &Pepper) -> Value {
                let mut members = Map::new();
                $(members.insert(
                    stringify!($name).to_owned(),
                    <$codec as Codec<$type>>::write(&self.$name, pepper),
                );)+
                $(members.insert(
                    stringify!($name_2).to_owned(),
                    <$codec_2 as Codec<$type_2>>::write(&self.$name_2, pepper),
                );)+
                $(members.insert(
                    stringify!($name_3).to_owned(),
                    <$codec_3 as Codec<$type_3>>::write(&self.$name_3, pepper),
                );)+
                $(members.insert(
                    stringify!($name_4).to_owned(),
                    <$codec_4 as Codec<$type_4>>::write(&self.$name_4, pepper),
                );)+
                Value::Object(members)
            }

            /// Whether a field has another value than an empty record; `None` when there is no
            /// such field.
            #[must_use]
            pub fn is_set(&self, name: &str) -> Option<bool> {
                let unset = Self::default();
                match name {
                    $(stringify!($name) => Some(self.$name != unset.$name),)+
                    $(stringify!($name_2) => Some(self.$name_2 != unset.$name_2),)+
                    $(stringify!($name_3) => Some(self.$name_3 != unset.$name_3),)+
                    $(stringify!($name_4) => Some(self.$name_4 != unset.$name_4),)+
                    _ => None,
                }
            }
        }
    };
}

/// Reads one field; `null` is its default.
fn read<T: Default, C: Codec<T>>(
    field: &mut T,
    value: &Value,
    pepper: &Pepper,
) -> Result<(), String> {
    *field = if value.is_null() { T::default() } else { C::read(value, pepper)? };
    Ok(())
}

record! {
    schema 1 {
        Derived id: u64 => Id;
        Set name: String => Text<256>;
        Derived key_hash: Option<SealedHash> => Hash;
        Derived key_prefix: String => Text<64>;
        Set scopes: Vec<String> => ListOf<Scope, 256>;
        Set allowed_ips: Vec<String> => ListOf<Block, 1024>;
        Set allowed_domains: Vec<String> => ListOf<Domain, 1024>;
        Set allowed_environments: Vec<String> => ListOf<Stated, 64>;
        Set is_test_key: bool => Flag;
        Set requests_per_second: Option<u32> => Number;
        Set requests_per_day: Option<u32> => Number;
        Set concurrent_requests: Option<u32> => Number;
        Set monthly_request_quota: Option<u64> => Int64;
        Set cost_per_request: Option<f64> => Money;
        Set billing_tier: String => Text<64>;
        Derived total_requests: u64 => Int64;
        Derived total_errors: u64 => Int64;
        Derived last_used_at: Option<Time> => Instant;
        Derived average_response_time: Option<f64> => Float;
        Derived endpoint_usage_json: Vec<u8> => JsonBytes<{ 128 * 1024 }>;
        Derived error_rates_json: Vec<u8> => JsonBytes<{ 16 * 1024 }>;
        Derived recent_errors: Vec<u8> => JsonBytes<{ 64 * 1024 }>;
        Derived successful_requests_count: u64 => Number;
        Derived success_rate: Option<f64> => Float;
        Set status: Status => StatusName;
        Derived created_at: Option<Time> => Instant;
        Derived updated_at: Option<Time> => Instant;
        Set expires_at: Option<Time> => Instant;
        Derived deleted_at: Option<Time> => Instant;
        Derived last_rotated_at: Option<Time> => Instant;
        Derived last_security_review_at: Option<Time> => Instant;
        Set requires_client_secret: bool => Flag;
        Set client_secret_hash: Option<SealedHash> => Hash;
        Set enforce_https: bool => Flag;
        Set enforce_signing: bool => Flag;
        Set allowed_signature_algorithms: Vec<String> => ListOf<Algorithm, 16>;
        Set enforce_mutual_tls: bool => Flag;
        Set client_certificate_hash: String => TextOf<Fingerprint, 64>;
        Set require_request_signing: bool => Flag;
        Set description: String => Text<4096>;
        Set metadata_json: Vec<u8> => JsonBytes<METADATA_BYTES_MAX>;
        Set tags: Vec<String> => TextList<64, 64>;
        Set api_version: String => TextOf<Stated, 64>;
        Set supported_features: Vec<String> => ListOf<Stated, 256>;
        Set documentation_url: String => TextOf<Page, 2048>;
        Set support_contact: String => Text<320>;
        Set log_all_requests: bool => Flag;
        Derived last_rotation_reason: String => Text<REASON_BYTES_MAX>;
        Derived last_rotation_date: Option<Time> => Instant;
        Set rotation_frequency_days: Option<u32> => NumberTo<ROTATION_DAYS_MAX>;
        Set compliance_standards: Vec<String> => TextList<32, 64>;
        Set requires_audit_logging: bool => Flag;
        Set data_residency: String => TextOf<StatedList, 256>;
        Set approved_integrations: Vec<String> => ListOf<Stated, 256>;
        Set alert_emails: Vec<String> => ListOf<Mail, 32>;
        Set webhook_url: String => TextOf<Webhook, 2048>;
        Set alert_on_quota_threshold: bool => Flag;
        Set quota_alert_threshold: Option<f64> => Share;
        Set alert_on_error_spike: bool => Flag;
        Set error_alert_threshold: Option<f64> => Share;
        Set monitoring_integrations: Vec<String> => TextList<32, 64>;
        Set encrypted: bool => Flag;
        Set data_classification: String => TextOf<Classification, 32>;

        // The hierarchy that the source system places every key under.
        Set organization_id: String => Name;
        Set tenant_id: String => Name;
        Set workspace_id: String => Name;
        Set account_id: String => Name;

        // keygate's additions to the source record.
        Set burst: Option<u64> => Number;
        Set max_uses: Option<u64> => Int64;
        Derived revision: u64 => Number;
        Derived status_reason: String => Text<REASON_BYTES_MAX>;
        Derived previous_key_hash: Option<SealedHash> => Hash;
        Derived previous_key_ends_at: Option<Time> => Instant;
    }
    schema 2 {
        // Of the life of a key.
        Derived request_id: String => RequestId;
        Derived status_reason_code: String => ReasonName;
        Derived status_changed_at: Option<Time> => Instant;
    }
    schema 3 {
        // Limits that are more than a number.
        Set slot_ttl_seconds: Option<u32> => NumberFrom<1, SLOT_TTL_SECONDS_MAX>;
        Set limits: Vec<NamedLimit> => Named;
        Set credits: Option<Credits> => CreditsOf;
    }
    schema 4 {
        // Proofs beside the token.
        Derived previous_client_secret_hash: Option<SealedHash> => Hash;
        Derived previous_client_secret_ends_at: Option<Time> => Instant;
        Derived signing_keys: Vec<SigningKey> => SigningKeys;
    }
}

/// The tenant of a key that names none.
pub const TENANT_DEFAULT: &str = "default";

impl KeyRecord {
    /// Whether it has secrets that are kept encrypted.
    #[must_use]
    pub fn has_stored_secrets(&self) -> bool {
        let shared = |key: &SigningKey| matches!(key.material, SigningMaterial::Shared(_));
        self.signing_keys.iter().any(shared)
    }

    /// Everything that is sealed under the pepper.
    pub fn hashes_mut(&mut self) -> impl Iterator<Item = &mut SealedHash> {
        let hashes = [
            &mut self.key_hash,
            &mut self.previous_key_hash,
            &mut self.client_secret_hash,
            &mut self.previous_client_secret_hash,
        ];
        hashes.into_iter().flatten()
    }

    /// Has hashes be under the present pepper that were sealed under another.
    pub fn reseal(&mut self, sealed_under: &Pepper, present: &Pepper) {
        let both = present.with_retired(sealed_under);
        for hash in self.hashes_mut() {
            if let Some(resealed) = both.renewed(hash) {
                *hash = resealed;
            }
        }
    }

    /// The digests under which a token finds this key: the current and, during an overlap and
    /// until the next rotation, the one before. A deleted key has none.
    pub fn digests(&self) -> impl Iterator<Item = Digest> {
        let live = self.deleted_at.is_none();
        let hashes = [self.key_hash, self.previous_key_hash];
        hashes.into_iter().flatten().filter(move |_| live).map(|hash| hash.digest)
    }
}
