//! The rules of a key about where a request comes from and what it is for, in the order of the
//! specification (SPEC §6.3, "Facts and rules"). A rule whose fact is not stated denies.

use keygate_protocol::VerdictCode;
use keygate_protocol::validate::Facts;

use crate::key::Access;
use crate::key::address::Blocks;
use crate::key::domain::Domains;
use crate::key::names::Names;

/// The environment that test keys do not pass in; however it is written, to be on the safe side.
const PRODUCTION: &[u8] = b"production";

/// 5: whether the request must have come by HTTPS.
pub(super) fn check_https(access: &Access, facts: &Facts<'_>) -> Option<VerdictCode> {
    let denies = access.https && facts.stated().https != Some(true);
    denies.then_some(VerdictCode::HttpsRequired)
}

/// 7: the verdict of the first rule that denies.
pub(super) fn check_access(access: &Access, facts: &Facts<'_>) -> Option<VerdictCode> {
    let stated = facts.stated();
    if denies(access.environments.as_ref(), stated.environment, Names::have) {
        return Some(VerdictCode::EnvironmentNotAllowed);
    }
    let in_production =
        stated.environment.is_some_and(|environment| environment.eq_ignore_ascii_case(PRODUCTION));
    if access.test_key && in_production {
        return Some(VerdictCode::TestKeyInProduction);
    }
    if denies(access.addresses.as_ref(), stated.address, Blocks::have) {
        return Some(VerdictCode::AddressNotAllowed);
    }
    if denies(access.domains.as_ref(), stated.origin, Domains::have) {
        return Some(VerdictCode::DomainNotAllowed);
    }
    if denies(access.regions.as_ref(), stated.region, Names::have) {
        return Some(VerdictCode::RegionNotAllowed);
    }
    if denies(access.integrations.as_ref(), stated.integration, Names::have) {
        return Some(VerdictCode::IntegrationNotAllowed);
    }
    let version = access.api_version.as_deref().map(str::as_bytes);
    if denies(version, stated.api_version, |pinned, version| pinned == version) {
        return Some(VerdictCode::ApiVersionNotAllowed);
    }
    // Features are demands, as scopes are: a request that asks for none needs none.
    if let Some(names) = &access.features
        && !facts.features().all(|feature| names.have(feature))
    {
        return Some(VerdictCode::FeatureNotAllowed);
    }
    None
}

/// Whether a rule is set that the fact does not meet, or that nothing was stated for.
fn denies<R, F>(rule: Option<R>, fact: Option<F>, meets: impl FnOnce(R, F) -> bool) -> bool {
    rule.is_some_and(|rule| !fact.is_some_and(|fact| meets(rule, fact)))
}
