//! Every verdict code by example: what the key is, what became of it, and what is asked.
//!
//! `tests/verdicts.rs` puts each to a real daemon; `tests/house.rs` fails when a code of the table
//! has none.

/// One case. In `then`, `ID` is the key's id.
#[derive(Clone, Copy)]
pub(crate) struct Case {
    /// The verdict's code, as it stands in JSON.
    pub(crate) code: &'static str,
    /// Fields of the record, as JSON.
    pub(crate) key: &'static str,
    /// Commands that follow the key's making, in order.
    pub(crate) then: &'static [&'static str],
    /// The token that is shown.
    pub(crate) shows: Shows,
    /// Arguments of `keygate validate`. `SIGNS=now` stands for those of a request that is signed then,
    /// `other` of another than was signed, `old` of one signed long ago, `again` of one that was used.
    pub(crate) asks: &'static [&'static str],
}

/// Which token a case shows.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shows {
    /// The key's own, as it was when the key was made.
    Its,
    /// The key's own, with a character mistyped.
    Mistyped,
    /// One of the right form that no key has.
    Unknown,
    /// That of a key that was imported with a history, such as one that `create` cannot make.
    Imported,
}

const fn case(
    code: &'static str,
    key: &'static str,
    then: &'static [&'static str],
    asks: &'static [&'static str],
) -> Case {
    Case { code, key, then, shows: Shows::Its, asks }
}

const fn shows(shows: Shows, case: Case) -> Case {
    Case { shows, ..case }
}

/// In the order of the checks (SPEC §8). A rule has three cases: met, broken, and not stated.
#[rustfmt::skip]
pub(crate) const CASES: &[Case] = &[
    // 1: the token's shape and checksum.
    case("VALID", "{}", &[], &[]),
    shows(Shows::Mistyped, case("MALFORMED", "{}", &[], &[])),
    // 2: lookup.
    shows(Shows::Unknown, case("NOT_FOUND", "{}", &[], &[])),
    case("NOT_FOUND", "{}", &["key delete ID"], &[]),
    case("VALID", "{}", &["key delete ID", "key restore ID"], &[]),
    case("NOT_FOUND", "{}", &["key delete ID --purge"], &[]),
    case("NOT_FOUND", r#"{"tenant_id": "gone"}"#, &["tenant delete gone"], &[]),
    case("NOT_FOUND", r#"{"tenant_id": "here"}"#, &[], &["--tenant=elsewhere"]),
    case("VALID", r#"{"tenant_id": "here"}"#, &[], &["--tenant=here"]),
    case("NOT_FOUND", r#"{"tenant_id": "here"}"#, &[], &["--as-tenant=elsewhere"]),
    case("VALID", r#"{"tenant_id": "here"}"#, &[], &["--as-tenant=here"]),
    // And who has tried as many tokens as may be.
    shows(Shows::Unknown, case("NOT_FOUND", "{}", &[], &["--ip=198.51.100.9"])),
    case("THROTTLED", "{}", &[], &["--ip=198.51.100.9"]),
    case("VALID", "{}", &[], &["--ip=198.51.100.8"]),
    // 3: the tenant's status, then the key's, its expiry, its rotation.
    case("TENANT_SUSPENDED", r#"{"tenant_id": "unpaid"}"#, &["tenant suspend unpaid"], &[]),
    case("TENANT_SUSPENDED", r#"{"tenant_id": "unpaid"}"#, &["tenant suspend unpaid", "key revoke ID"], &[]),
    case("VALID", r#"{"tenant_id": "paid"}"#, &["tenant suspend paid", "tenant resume paid"], &[]),
    case("VALID", "{}", &["key set-status ID deprecated"], &[]),
    case("REVOKED", "{}", &["key revoke ID"], &[]),
    case("SUSPENDED", "{}", &["key suspend ID"], &[]),
    case("VALID", "{}", &["key suspend ID", "key resume ID"], &[]),
    case("PENDING_VERIFICATION", r#"{"status": "PENDING_VERIFICATION"}"#, &[], &[]),
    case("PENDING_REVIEW", "{}", &["key set-status ID pending_review"], &[]),
    case("MAINTENANCE", "{}", &["key set-status ID maintenance"], &[]),
    case("RATE_LIMITED", "{}", &["key set-status ID rate_limited"], &[]),
    case("EXPIRED", "{}", &["key set-status ID expired"], &[]),
    case("EXPIRED", r#"{"expires_at": "2020-01-01T00:00:00Z"}"#, &[], &[]),
    case("SUSPENDED", r#"{"expires_at": "2020-01-01T00:00:00Z"}"#, &["key suspend ID"], &[]),
    case("ROTATED_OUT", "{}", &["key rotate ID --grace 0"], &[]),
    case("VALID", "{}", &["key rotate ID --grace 1h"], &[]),
    case("NOT_FOUND", "{}", &["key rotate ID --grace 1h", "key rotate ID --grace 1h"], &[]),
    shows(Shows::Imported, case("ROTATION_OVERDUE", r#"{"rotation_frequency_days": 90}"#, &[], &[])),
    shows(Shows::Imported, case("VALID", r#"{"rotation_frequency_days": 0}"#, &[], &[])),
    // 4: the client secret.
    case("VALID", r#"{"requires_client_secret": true, "client_secret_hash": "2bb80d537b1da3e38bd30361aa855686bde0eacd7162fef6a25fe97bf527a25b"}"#, &[], &["KEYGATE_CLIENT_SECRET=secret"]),
    case("CLIENT_SECRET_WRONG", r#"{"requires_client_secret": true, "client_secret_hash": "2bb80d537b1da3e38bd30361aa855686bde0eacd7162fef6a25fe97bf527a25b"}"#, &[], &["KEYGATE_CLIENT_SECRET=Secret"]),
    case("CLIENT_SECRET_REQUIRED", r#"{"requires_client_secret": true, "client_secret_hash": "2bb80d537b1da3e38bd30361aa855686bde0eacd7162fef6a25fe97bf527a25b"}"#, &[], &[]),
    case("CLIENT_SECRET_REQUIRED", r#"{"requires_client_secret": true}"#, &[], &["KEYGATE_CLIENT_SECRET=secret"]),
    case("VALID", r#"{"client_secret_hash": "2bb80d537b1da3e38bd30361aa855686bde0eacd7162fef6a25fe97bf527a25b"}"#, &[], &["KEYGATE_CLIENT_SECRET=Secret"]),
    case("CLIENT_SECRET_REQUIRED", "{}", &["key secret ID --require"], &[]),
    case("VALID", r#"{"client_secret_hash": "2bb80d537b1da3e38bd30361aa855686bde0eacd7162fef6a25fe97bf527a25b"}"#, &["key secret ID --require --grace 1h"], &["KEYGATE_CLIENT_SECRET=secret"]),
    case("CLIENT_SECRET_WRONG", r#"{"client_secret_hash": "2bb80d537b1da3e38bd30361aa855686bde0eacd7162fef6a25fe97bf527a25b"}"#, &["key secret ID --require --grace 0"], &["KEYGATE_CLIENT_SECRET=secret"]),
    case("CLIENT_SECRET_WRONG", r#"{"client_secret_hash": "2bb80d537b1da3e38bd30361aa855686bde0eacd7162fef6a25fe97bf527a25b"}"#, &["key secret ID --require --grace 1h", "key secret ID --grace 1h"], &["KEYGATE_CLIENT_SECRET=secret"]),
    case("VALID", r#"{"requires_client_secret": true, "client_secret_hash": "2bb80d537b1da3e38bd30361aa855686bde0eacd7162fef6a25fe97bf527a25b"}"#, &["key secret ID --remove"], &[]),
    // 5: transport.
    case("VALID", r#"{"enforce_https": true}"#, &[], &["--https"]),
    case("HTTPS_REQUIRED", r#"{"enforce_https": true}"#, &[], &["--https=false"]),
    case("HTTPS_REQUIRED", r#"{"enforce_https": true}"#, &[], &[]),
    case("VALID", r#"{"enforce_mutual_tls": true}"#, &[], &["--client-certificate=abababababababababababababababababababababababababababababababab"]),
    case("CLIENT_CERTIFICATE_REQUIRED", r#"{"enforce_mutual_tls": true}"#, &[], &[]),
    case("VALID", r#"{"enforce_mutual_tls": true, "client_certificate_hash": "q6urq6urq6urq6urq6urq6urq6urq6urq6urq6urq6s"}"#, &[], &["--client-certificate=abababababababababababababababababababababababababababababababab"]),
    case("CLIENT_CERTIFICATE_MISMATCH", r#"{"enforce_mutual_tls": true, "client_certificate_hash": "abababababababababababababababababababababababababababababababab"}"#, &[], &["--client-certificate=abababababababababababababababababababababababababababababababac"]),
    case("CLIENT_CERTIFICATE_REQUIRED", r#"{"enforce_mutual_tls": true, "client_certificate_hash": "abababababababababababababababababababababababababababababababab"}"#, &[], &[]),
    case("VALID", r#"{"client_certificate_hash": "abababababababababababababababababababababababababababababababab"}"#, &[], &[]),
    // 6: the signature of the request.
    case("VALID", r#"{"enforce_signing": true}"#, &["key signing add ID --key-id ci --shared-secret-stdin"], &["SIGNS=now"]),
    case("VALID", r#"{"require_request_signing": true}"#, &["key signing add ID --key-id ci --shared-secret-stdin"], &["SIGNS=now"]),
    case("SIGNATURE_REQUIRED", r#"{"enforce_signing": true}"#, &["key signing add ID --key-id ci --shared-secret-stdin"], &[]),
    case("SIGNATURE_INVALID", r#"{"enforce_signing": true}"#, &["key signing add ID --key-id ci --shared-secret-stdin"], &["SIGNS=other"]),
    case("SIGNATURE_INVALID", r#"{"enforce_signing": true}"#, &["key signing add ID --key-id ci --shared-secret-stdin", "key signing remove ID --key-id ci"], &["SIGNS=now"]),
    case("SIGNATURE_EXPIRED", r#"{"enforce_signing": true}"#, &["key signing add ID --key-id ci --shared-secret-stdin"], &["SIGNS=old"]),
    case("SIGNATURE_REPLAYED", r#"{"enforce_signing": true}"#, &["key signing add ID --key-id ci --shared-secret-stdin"], &["SIGNS=again"]),
    case("SIGNATURE_ALGORITHM_NOT_ALLOWED", r#"{"enforce_signing": true, "allowed_signature_algorithms": ["ed25519"]}"#, &["key signing add ID --key-id ci --shared-secret-stdin"], &["SIGNS=now"]),
    case("VALID", "{}", &["key signing add ID --key-id ci --shared-secret-stdin"], &["SIGNS=other"]),
    // 7: where the request comes from and what it is for.
    case("VALID", r#"{"allowed_environments": ["staging"]}"#, &[], &["--environment=staging"]),
    case("ENVIRONMENT_NOT_ALLOWED", r#"{"allowed_environments": ["staging"]}"#, &[], &["--environment=production"]),
    case("ENVIRONMENT_NOT_ALLOWED", r#"{"allowed_environments": ["staging"]}"#, &[], &[]),
    case("TEST_KEY_IN_PRODUCTION", r#"{"is_test_key": true}"#, &[], &["--environment=production"]),
    case("VALID", r#"{"is_test_key": true}"#, &[], &["--environment=staging"]),
    case("VALID", r#"{"allowed_ips": ["203.0.113.0/24", "2001:db8::/32"]}"#, &[], &["--ip=::ffff:203.0.113.9"]),
    case("ADDRESS_NOT_ALLOWED", r#"{"allowed_ips": ["203.0.113.0/24", "2001:db8::/32"]}"#, &[], &["--ip=2001:db9::1"]),
    case("ADDRESS_NOT_ALLOWED", r#"{"allowed_ips": ["203.0.113.0/24"]}"#, &[], &[]),
    case("VALID", r#"{"allowed_domains": ["*.example.org"]}"#, &[], &["--origin=https://A.b.Example.org.:8443"]),
    case("DOMAIN_NOT_ALLOWED", r#"{"allowed_domains": ["*.example.org"]}"#, &[], &["--origin=https://example.org"]),
    case("DOMAIN_NOT_ALLOWED", r#"{"allowed_domains": ["*.example.org"]}"#, &[], &[]),
    case("VALID", r#"{"data_residency": "eu-west-1, eu-north-1"}"#, &[], &["--region=eu-north-1"]),
    case("REGION_NOT_ALLOWED", r#"{"data_residency": "eu-west-1, eu-north-1"}"#, &[], &["--region=eu"]),
    case("REGION_NOT_ALLOWED", r#"{"data_residency": "eu-west-1"}"#, &[], &[]),
    case("VALID", r#"{"approved_integrations": ["salesforce"]}"#, &[], &["--integration=salesforce"]),
    case("INTEGRATION_NOT_ALLOWED", r#"{"approved_integrations": ["salesforce"]}"#, &[], &["--integration=hubspot"]),
    case("INTEGRATION_NOT_ALLOWED", r#"{"approved_integrations": ["salesforce"]}"#, &[], &[]),
    case("VALID", r#"{"api_version": "v1"}"#, &[], &["--api-version=v1"]),
    case("API_VERSION_NOT_ALLOWED", r#"{"api_version": "v1"}"#, &[], &["--api-version=v2"]),
    case("API_VERSION_NOT_ALLOWED", r#"{"api_version": "v1"}"#, &[], &[]),
    case("VALID", r#"{"supported_features": ["bulk", "search"]}"#, &[], &["--feature=bulk", "--feature=search"]),
    case("FEATURE_NOT_ALLOWED", r#"{"supported_features": ["bulk"]}"#, &[], &["--feature=bulk", "--feature=search"]),
    // 8: scopes.
    case("VALID", r#"{"scopes": ["leads:*"]}"#, &[], &["--scope=leads:read", "--any-scope=x", "--any-scope=leads:a:b"]),
    case("INSUFFICIENT_SCOPE", r#"{"scopes": ["leads:*"]}"#, &[], &["--scope=leads"]),
    case("INSUFFICIENT_SCOPE", "{}", &[], &["--scope=leads:read"]),
    // 9: limits.
    case("RATE_EXCEEDED", r#"{"requests_per_second": 1, "burst": 5}"#, &[], &["--cost=6"]),
    case("VALID", r#"{"requests_per_second": 1, "burst": 5}"#, &[], &["--cost=5"]),
    case("QUOTA_EXCEEDED", r#"{"requests_per_day": 5}"#, &[], &["--cost=6"]),
    case("VALID", r#"{"requests_per_day": 5}"#, &[], &["--cost=5"]),
    case("QUOTA_EXCEEDED", r#"{"monthly_request_quota": "0"}"#, &[], &[]),
    case("VALID", r#"{"monthly_request_quota": "1000000"}"#, &[], &["--cost=1000000"]),
    case("USES_EXHAUSTED", r#"{"max_uses": "5"}"#, &[], &["--cost=6"]),
    case("VALID", r#"{"max_uses": "5"}"#, &[], &["--cost=5"]),
    case("CONCURRENCY_EXCEEDED", r#"{"concurrent_requests": 0}"#, &[], &[]),
    case("VALID", r#"{"concurrent_requests": 1}"#, &[], &[]),
    case("CREDITS_EXHAUSTED", r#"{"credits": {"balance": "5"}}"#, &[], &["--cost=6"]),
    case("VALID", r#"{"credits": {"balance": "5"}}"#, &[], &["--cost=5"]),
    case("LIMIT_UNKNOWN", r#"{"limits": [{"name": "a", "count": 5, "period": "1h"}]}"#, &[], &["--limit=b"]),
    case("QUOTA_EXCEEDED", r#"{"limits": [{"name": "a", "count": 5, "period": "1h"}]}"#, &[], &["--limit=a", "--cost=6"]),
    case("VALID", r#"{"limits": [{"name": "a", "count": 5, "period": "month"}]}"#, &[], &["--limit=a", "--cost=5"]),
    // Of two that deny, the earlier check speaks.
    case("SUSPENDED", r#"{"requires_client_secret": true, "requests_per_second": 0}"#, &["key suspend ID"], &["--scope=x"]),
    case("CLIENT_SECRET_REQUIRED", r#"{"requires_client_secret": true, "enforce_https": true}"#, &[], &["--scope=x"]),
    case("HTTPS_REQUIRED", r#"{"enforce_https": true, "enforce_mutual_tls": true}"#, &[], &["--scope=x"]),
    case("CLIENT_CERTIFICATE_REQUIRED", r#"{"enforce_mutual_tls": true, "allowed_environments": ["x"]}"#, &[], &["--scope=x"]),
    case("ENVIRONMENT_NOT_ALLOWED", r#"{"allowed_environments": ["x"], "allowed_ips": ["192.0.2.1"]}"#, &[], &["--scope=x"]),
    case("ADDRESS_NOT_ALLOWED", r#"{"allowed_ips": ["192.0.2.1"], "allowed_domains": ["a.example"]}"#, &[], &["--scope=x"]),
    case("DOMAIN_NOT_ALLOWED", r#"{"allowed_domains": ["a.example"], "data_residency": "eu"}"#, &[], &["--scope=x"]),
    case("REGION_NOT_ALLOWED", r#"{"data_residency": "eu", "approved_integrations": ["x"]}"#, &[], &["--scope=x"]),
    case("INTEGRATION_NOT_ALLOWED", r#"{"approved_integrations": ["x"], "api_version": "v1"}"#, &[], &["--scope=x"]),
    case("API_VERSION_NOT_ALLOWED", r#"{"api_version": "v1", "supported_features": ["x"]}"#, &[], &["--feature=y", "--scope=x"]),
    case("FEATURE_NOT_ALLOWED", r#"{"supported_features": ["x"], "requests_per_second": 0}"#, &[], &["--feature=y", "--scope=x"]),
    case("INSUFFICIENT_SCOPE", r#"{"requests_per_second": 0}"#, &[], &["--scope=x"]),
];
