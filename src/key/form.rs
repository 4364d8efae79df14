//! The forms that texts of a record have: what each kind of entry is, whoever writes it.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::digest::parse_hex;
use super::{address, contact, domain, names, scope};

/// Says what is wrong with a text of one kind, in one line, if anything.
pub(super) trait Form {
    fn check(text: &str) -> Result<(), String>;
}

macro_rules! forms {
    ($($(#[doc = $what:literal])+ $name:ident => $check:expr;)+) => {
        $(
            $(#[doc = $what])+
            pub(super) struct $name;

            impl Form for $name {
                fn check(text: &str) -> Result<(), String> {
                    $check(text)
                }
            }
        )+
    };
}

forms! {
    /// A granted scope.
    Scope => scope::check;
    /// An address or a block.
    Block => address::check;
    /// A host or a wildcard.
    Domain => domain::check;
    /// A name that a request states, such as an environment.
    Stated => names::check;
    /// Such names between commas.
    StatedList => names::check_between_commas;
    /// A signature algorithm.
    Algorithm => check_algorithm;
    /// The SHA-256 of a certificate.
    Fingerprint => check_fingerprint;
    /// A mail address.
    Mail => contact::check_mail;
    /// Where alerts are posted to.
    Webhook => contact::check_webhook;
    /// A page for people.
    Page => contact::check_page;
    /// How secret the record is.
    Classification => check_classification;
}

/// The HTTP signature algorithms of RFC 9421 §3.3 and §6.2.
const ALGORITHMS: [&str; 6] = [
    "rsa-pss-sha512",
    "rsa-v1_5-sha256",
    "hmac-sha256",
    "ecdsa-p256-sha256",
    "ecdsa-p384-sha384",
    "ed25519",
];

fn check_algorithm(name: &str) -> Result<(), String> {
    one_of(name, &ALGORITHMS)
}

/// The class that demands encryption.
pub(super) const RESTRICTED: &str = "restricted";
const CLASSES: [&str; 4] = ["public", "internal", "confidential", RESTRICTED];

fn check_classification(name: &str) -> Result<(), String> {
    one_of(name, &CLASSES)
}

fn one_of(name: &str, known: &[&str]) -> Result<(), String> {
    if known.contains(&name) {
        return Ok(());
    }
    Err(format!("{name:?} is none of {}", known.join(", ")))
}

/// The SHA-256 of a certificate's DER, as 64 hexadecimal digits, or 43 characters of base64url
/// without padding (`x5t#S256` of RFC 8705, section 3.1); `None` of another text.
#[must_use]
pub(crate) fn fingerprint(text: &str) -> Option<[u8; 32]> {
    parse_hex(text).or_else(|| URL_SAFE_NO_PAD.decode(text).ok()?.try_into().ok())
}

/// What it says of a text that is none.
pub(super) fn check_fingerprint(text: &str) -> Result<(), String> {
    if fingerprint(text).is_some() {
        return Ok(());
    }
    Err(format!(
        "{text:?} is not the SHA-256 of a certificate's DER: 64 hexadecimal digits without colons, \
         or 43 characters of base64url without padding"
    ))
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;
    use proptest::sample::select;
    use serde_json::{Value, json};

    use crate::key::{KeyRecord, Pepper, RecordInput};

    fn read(record: &Value) -> KeyRecord {
        let input = RecordInput::from_value(record.clone()).expect("an object");
        input.create(&Pepper::new(&[1; 32])).expect("sound fields").0
    }

    /// Sound entries of each form.
    fn record() -> impl Strategy<Value = Value> {
        let block = prop_oneof![
            any::<core::net::IpAddr>().prop_map(|address| address.to_string()),
            (0_u8..=32, any::<u32>()).prop_map(|(bits, number)| {
                let mask = u32::MAX.checked_shl(32 - u32::from(bits)).unwrap_or(0);
                format!("{}/{bits}", core::net::Ipv4Addr::from_bits(number & mask))
            }),
        ];
        let label = "[a-z][a-z0-9]{0,9}|bücher|xn--bcher-kva|A1";
        let host = vec(label, 1..4).prop_map(|labels| labels.join("."));
        let domain = (any::<bool>(), host.clone())
            .prop_map(|(wild, host)| if wild { format!("*.{host}") } else { host });
        let name = || "[a-zA-Z0-9ü][a-zA-Z0-9 ._-]{0,20}[a-zA-Z0-9]";
        let mail =
            ("[a-z][a-z0-9+]{0,9}", host.clone()).prop_map(|(at, host)| format!("{at}@{host}"));
        let url =
            (host, "[a-z/?=]{0,20}").prop_map(|(host, rest)| format!("https://{host}/{rest}"));
        let algorithm = select(super::ALGORITHMS.to_vec());
        let lists = (
            vec(block, 0..8),
            vec(domain, 0..8),
            vec(name(), 0..8),
            vec(mail, 0..4),
            vec(algorithm, 0..4),
        );
        let texts =
            (vec(name(), 0..4), name(), url, select(super::CLASSES.to_vec()), "[0-9a-f]{64}");
        let numbers = (0_u64..=1_000_000_000_000_000, 0.0..=1.0, 1_u32..=36_500);
        (lists, texts, numbers).prop_map(|(lists, texts, numbers)| {
            let (blocks, domains, names, mails, algorithms) = lists;
            let (regions, version, url, class, hash) = texts;
            let (units, share, days) = numbers;
            json!({
                "allowed_ips": blocks, "allowed_domains": domains, "allowed_environments": names,
                "supported_features": names, "approved_integrations": names,
                "alert_emails": mails, "allowed_signature_algorithms": algorithms,
                "data_residency": regions.join(", "), "api_version": version, "webhook_url": url,
                "documentation_url": url, "data_classification": class,
                "client_certificate_hash": hash, "cost_per_request": units as f64 / 1e9,
                "quota_alert_threshold": share, "rotation_frequency_days": days,
            })
        })
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back_the_same(given in record()) {
            let record = read(&given);
            let written = record.to_json(&Pepper::new(&[1; 32]));
            for (name, value) in given.as_object().expect("an object") {
                prop_assert_eq!(&written[name], value, "{}", name);
            }
            // What keygate derives is passed over, here and there.
            prop_assert_eq!(read(&written), record);
        }
    }
}
