//! Verdicts: the one table of codes, and the reply to a `Validate` (SPEC §6.3, §8).
//!
//! ```text
//! code u8 | denied_by u8 | limit_count u8 | warnings u16 | key_id u64
//! | (name u8 | limit u64 | remaining u64 | retry_after_us u64 | reset_after_us u64) × limit_count
//! | type-length-values …
//! ```

use bytes::{BufMut, BytesMut};

use crate::frame::HEADER_BYTES;
use crate::limits::{
    BATCH_ITEMS_MAX, LIMITS_IN_VERDICT_MAX, METADATA_BYTES_MAX, REPLY_FRAME_BYTES_MAX,
};
use crate::report::LIMIT_BYTES;
pub use crate::report::{LimitName, LimitReport, Limits};
use crate::wire::{DEMAND, PayloadError, Reader, once, put_tlv, text, u64_of};

macro_rules! verdicts {
    ($($code:literal $name:ident $wire:literal $http:literal $text:literal;)+) => {
        /// What was decided. The one table of verdicts: code, name, HTTP status, one-line text.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        #[repr(u8)]
        pub enum VerdictCode { $(#[doc = $text] $name = $code,)+ }

        impl VerdictCode {
            /// Every code, in order.
            pub const ALL: &[Self] = &[$(Self::$name,)+];

            /// The code of a byte.
            #[must_use]
            pub const fn from_byte(byte: u8) -> Option<Self> {
                match byte { $($code => Some(Self::$name),)+ _ => None }
            }

            /// The name, as it stands in JSON and in the specification.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$name => $wire,)+ }
            }

            /// One line for people.
            #[must_use]
            pub const fn text(self) -> &'static str {
                match self { $(Self::$name => $text,)+ }
            }

            /// The status with which an HTTP service would answer.
            #[must_use]
            pub const fn http_status(self) -> u16 {
                match self { $(Self::$name => $http,)+ }
            }
        }
    };
}

verdicts! {
    0  Valid "VALID" 200 "the key may do this now";
    1  Malformed "MALFORMED" 401 "the token is not one of ours, or is mistyped";
    2  NotFound "NOT_FOUND" 401 "no key has this token";
    3  RotatedOut "ROTATED_OUT" 401 "the token was replaced by a rotation and its overlap has ended";
    4  Expired "EXPIRED" 401 "the key has expired";
    5  Revoked "REVOKED" 401 "the key was revoked";
    6  Suspended "SUSPENDED" 403 "the key is suspended";
    7  PendingVerification "PENDING_VERIFICATION" 403 "the key waits for its verification";
    8  PendingReview "PENDING_REVIEW" 403 "the key waits for a review";
    9  Maintenance "MAINTENANCE" 503 "the key is under maintenance";
    10 RateLimited "RATE_LIMITED" 429 "the key was put into the state RATE_LIMITED";
    11 TenantSuspended "TENANT_SUSPENDED" 403 "the key's tenant is suspended";
    12 RotationOverdue "ROTATION_OVERDUE" 403 "the key was not rotated in its time";
    13 HttpsRequired "HTTPS_REQUIRED" 403 "the key demands HTTPS, and the request is not known to use it";
    14 EnvironmentNotAllowed "ENVIRONMENT_NOT_ALLOWED" 403 "the key is not for the caller's environment";
    15 TestKeyInProduction "TEST_KEY_IN_PRODUCTION" 403 "a test key does not pass in production";
    16 AddressNotAllowed "ADDRESS_NOT_ALLOWED" 403 "the key is not for the client's address";
    17 DomainNotAllowed "DOMAIN_NOT_ALLOWED" 403 "the key is not for the request's domain";
    18 RegionNotAllowed "REGION_NOT_ALLOWED" 403 "the key is not for the caller's region";
    19 IntegrationNotAllowed "INTEGRATION_NOT_ALLOWED" 403 "the key is not for the stated integration";
    20 InsufficientScope "INSUFFICIENT_SCOPE" 403 "the key does not grant a demanded scope";
    21 ApiVersionNotAllowed "API_VERSION_NOT_ALLOWED" 403 "the key is pinned to another API version";
    22 FeatureNotAllowed "FEATURE_NOT_ALLOWED" 403 "the key does not have a requested feature";
    30 RateExceeded "RATE_EXCEEDED" 429 "the requests per second of the key or its tenant are spent";
    31 QuotaExceeded "QUOTA_EXCEEDED" 429 "a quota of the key or its tenant is spent for now";
    32 UsesExhausted "USES_EXHAUSTED" 403 "the uses of the key's or its tenant's whole life are spent";
    33 ConcurrencyExceeded "CONCURRENCY_EXCEEDED" 429 "as many requests as may be are under way";
    34 CreditsExhausted "CREDITS_EXHAUSTED" 402 "the key's balance does not cover the cost";
    35 LedgerUnavailable "LEDGER_UNAVAILABLE" 503 "a quota cannot be debited, and what was leased of it is spent";
    36 LimitUnknown "LIMIT_UNKNOWN" 403 "the key has no limit of a name that the request spends";
    37 AuditUnavailable "AUDIT_UNAVAILABLE" 503 "the key demands audit, and no record of the decision could be taken";
    38 ClientSecretRequired "CLIENT_SECRET_REQUIRED" 401 "the key demands a client secret, and none came with the request, or it has none yet";
    39 ClientSecretWrong "CLIENT_SECRET_WRONG" 401 "the client secret is not the key's, or was replaced and its overlap has ended";
    40 ClientCertificateRequired "CLIENT_CERTIFICATE_REQUIRED" 403 "the key demands a client certificate, and none is known of the request";
    41 ClientCertificateMismatch "CLIENT_CERTIFICATE_MISMATCH" 403 "the key is bound to another client certificate";
    42 SignatureRequired "SIGNATURE_REQUIRED" 401 "the key demands signed requests, and this one has no signature";
    43 SignatureInvalid "SIGNATURE_INVALID" 401 "no signature of the request is right";
    44 SignatureExpired "SIGNATURE_EXPIRED" 401 "the signature is too old, or of a time to come";
    45 SignatureReplayed "SIGNATURE_REPLAYED" 401 "the signature has been used";
    46 SignatureAlgorithmNotAllowed "SIGNATURE_ALGORITHM_NOT_ALLOWED" 403 "the key does not allow the signature's algorithm";
    47 SignatureUnchecked "SIGNATURE_UNCHECKED" 503 "the signature cannot be checked now";
    48 Throttled "THROTTLED" 429 "too many tokens that no key has came from there; nothing was looked up";
}

impl VerdictCode {
    /// Whether the request may go on.
    #[must_use]
    pub const fn is_valid(self) -> bool {
        matches!(self, Self::Valid)
    }
}

/// Things a valid answer should still make somebody do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Warnings(u16);

impl Warnings {
    /// Nothing to warn of.
    pub const NONE: Self = Self(0);
    /// The key is deprecated.
    pub const DEPRECATED: Self = Self(1);
    /// The key expires soon.
    pub const EXPIRING: Self = Self(2);
    /// The token was rotated out, be it in its overlap or after.
    pub const TOKEN_REPLACED: Self = Self(4);
    /// The key was not rotated within the days that it is to be.
    pub const ROTATION_OVERDUE: Self = Self(8);
    /// Less than a tenth is left of a day, a month, a lifetime or a balance.
    pub const QUOTA_NEAR_END: Self = Self(16);

    const NAMES: &[(Self, &'static str)] = &[
        (Self::DEPRECATED, "DEPRECATED"),
        (Self::EXPIRING, "EXPIRING"),
        (Self::TOKEN_REPLACED, "TOKEN_REPLACED"),
        (Self::ROTATION_OVERDUE, "ROTATION_OVERDUE"),
        (Self::QUOTA_NEAR_END, "QUOTA_NEAR_END"),
    ];

    /// The bits as they stand on the wire.
    #[must_use]
    pub const fn bits(self) -> u16 {
        self.0
    }

    /// Warnings of these bits; bits that a later release has added are kept.
    #[must_use]
    pub const fn from_bits(bits: u16) -> Self {
        Self(bits)
    }

    /// Both sets.
    #[must_use]
    pub const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Whether every bit of `other` is set.
    #[must_use]
    pub const fn has(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// The names of the known bits that are set.
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        Self::NAMES.iter().filter(move |(bit, _)| self.has(*bit)).map(|(_, name)| *name)
    }
}

const TLV_TENANT: u8 = 1;
const TLV_SCOPE: u8 = 2;
const TLV_METADATA: u8 = 3;
const TLV_SLOT: u8 = 4;

const FIXED_BYTES: usize = 13;
/// A slot's id as a type-length-value.
const SLOT_BYTES: usize = 3 + 8;
/// The longest verdict without details.
const VERDICT_BYTES_MAX_PLAIN: usize =
    FIXED_BYTES + LIMITS_IN_VERDICT_MAX * LIMIT_BYTES + SLOT_BYTES;
// The largest batch of verdicts (without details) fits one reply frame.
const _: () = assert!(
    BATCH_ITEMS_MAX * (2 + VERDICT_BYTES_MAX_PLAIN) + 2 + HEADER_BYTES
        <= REPLY_FRAME_BYTES_MAX as usize
);

/// The answer to a `Validate`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Verdict {
    /// What was decided.
    pub code: VerdictCode,
    /// The limit that denied, if one did and it is known here: of several the one that denies for
    /// the longest.
    pub denied_by: Option<LimitName>,
    /// What somebody should still look at.
    pub warnings: Warnings,
    /// The key; 0 when the token belongs to none.
    pub key_id: u64,
    /// How the key's limits stand, as far as they were judged.
    pub limits: Limits,
    /// The slot that the request took, to be given back by its `Increment`.
    pub slot: Option<u64>,
}

impl Verdict {
    /// A verdict about no key.
    #[must_use]
    pub const fn unknown(code: VerdictCode) -> Self {
        Self::of(code, 0)
    }

    /// A verdict about a key, before any limit was judged.
    #[must_use]
    pub const fn of(code: VerdictCode, key_id: u64) -> Self {
        Self {
            code,
            denied_by: None,
            warnings: Warnings::NONE,
            key_id,
            limits: Limits::NONE,
            slot: None,
        }
    }

    /// Makes this the beginning of another verdict, in place: limits that were there are forgotten
    /// and not wiped.
    pub const fn begin(&mut self, code: VerdictCode, key_id: u64) {
        self.code = code;
        self.denied_by = None;
        self.warnings = Warnings::NONE;
        self.key_id = key_id;
        self.limits.clear();
        self.slot = None;
    }

    /// Appends the fixed part, the limits and the slot; details may follow with [`put_details`].
    pub fn encode(&self, out: &mut BytesMut) {
        // One copy for the fixed part and one for each limit: this is the hot path's last step.
        let mut fixed = [0; FIXED_BYTES];
        fixed[0] = self.code as u8;
        fixed[1] = self.denied_by.map_or(0, |name| name as u8);
        fixed[2] = self.limits.count();
        fixed[3..5].copy_from_slice(&self.warnings.bits().to_le_bytes());
        fixed[5..].copy_from_slice(&self.key_id.to_le_bytes());
        out.put_slice(&fixed);
        self.limits.encode(out);
        if let Some(slot) = self.slot {
            put_tlv(out, TLV_SLOT, &slot.to_le_bytes());
        }
    }

    /// Reads a reply payload: the verdict and its details.
    ///
    /// Limits that a later release has added are skipped, and `denied_by` is `None` when it names
    /// one: the code alone decides. A code that is not known is an error, so that a client that
    /// cannot read the answer denies.
    ///
    /// # Errors
    /// [`PayloadError`] when a field is missing, out of bounds, or not known and demanded.
    pub fn decode(payload: &[u8]) -> Result<(Self, Details<'_>), PayloadError> {
        let mut reader = Reader::new(payload);
        let code = VerdictCode::from_byte(reader.u8("code")?).ok_or(PayloadError::OutOfBounds {
            field: "code",
            why: "not a verdict that is known here; deny",
        })?;
        let denied_by = LimitName::from_byte(reader.u8("denied_by")?);
        let limit_count = reader.u8("limit_count")?;
        let warnings = Warnings::from_bits(reader.u16("warnings")?);
        let key_id = reader.u64("key_id")?;
        let limits = Limits::decode(limit_count, &mut reader)?;
        let (details, slot) = Details::decode(reader)?;
        Ok((Self { code, denied_by, warnings, key_id, limits, slot }, details))
    }
}

/// What a `Validate` that asks for details or metadata is told of the key beside the verdict.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Details<'a> {
    /// The key's tenant.
    pub tenant_id: Option<&'a str>,
    /// The scopes that the key grants.
    pub scopes: Vec<&'a str>,
    /// The key's metadata: a JSON text of at most 16 KiB.
    pub metadata: Option<&'a str>,
}

impl<'a> Details<'a> {
    /// The details, and the slot that stands among them.
    fn decode(mut reader: Reader<'a>) -> Result<(Self, Option<u64>), PayloadError> {
        let utf8 = |value, field| {
            str::from_utf8(value)
                .map_err(|_| PayloadError::OutOfBounds { field, why: "it is UTF-8" })
        };
        let (mut details, mut slot) = (Self::default(), None);
        while let Some((kind, value)) = reader.tlv()? {
            match kind {
                TLV_TENANT => {
                    once(&mut details.tenant_id, utf8(value, "tenant_id")?, "tenant_id")?;
                }
                TLV_SCOPE => details.scopes.push(utf8(value, "scope")?),
                TLV_METADATA => {
                    let why = "it is 1 to 16384 bytes of UTF-8";
                    let value = text(value, METADATA_BYTES_MAX, "metadata", why)?;
                    once(&mut details.metadata, value, "metadata")?;
                }
                TLV_SLOT => once(&mut slot, u64_of(value, "slot")?, "slot")?,
                kind if kind >= DEMAND => return Err(PayloadError::UnknownDemand { kind }),
                _ => {}
            }
        }
        Ok((details, slot))
    }
}

/// Appends the details that follow a verdict.
pub fn put_details<'a>(
    tenant_id: &str,
    scopes: impl IntoIterator<Item = &'a str>,
    out: &mut BytesMut,
) {
    put_tlv(out, TLV_TENANT, tenant_id.as_bytes());
    for scope in scopes {
        put_tlv(out, TLV_SCOPE, scope.as_bytes());
    }
}

/// Appends the key's metadata, a JSON text, behind a verdict and its details.
pub fn put_metadata(json: &[u8], out: &mut BytesMut) {
    put_tlv(out, TLV_METADATA, json);
}

// The length of a type-length-value is told in 16 bits.
const _: () = assert!(METADATA_BYTES_MAX < u16::MAX as usize);
