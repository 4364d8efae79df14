//! The signature of a web hook (Standard Webhooks, "Signature scheme").

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;

use super::WebhookSecret;

/// The value of `webhook-signature`: for each secret `v1,` and the base64 of the HMAC-SHA-256 of id,
/// timestamp (seconds since 1970) and body, joined by dots. Blanks stand between them.
pub(super) fn signatures(
    id: &str,
    timestamp_s: i64,
    body: &[u8],
    secrets: &[WebhookSecret],
) -> String {
    let signed = |secret: &WebhookSecret| {
        // HMAC takes a key of any length.
        let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).ok()?;
        mac.update(format!("{id}.{timestamp_s}.").as_bytes());
        mac.update(body);
        Some(format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes())))
    };
    secrets.iter().filter_map(signed).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of the specification.
    #[test]
    fn the_signature_is_that_of_the_specification() {
        let secret = WebhookSecret::parse("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").expect("good");
        let body = br#"{"test": 2432232314}"#;
        let of = |secrets: &[WebhookSecret]| {
            signatures("msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, body, secrets)
        };
        let expected = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=";
        assert_eq!(of(std::slice::from_ref(&secret)), expected);
        assert_eq!(of(&[secret.clone(), secret]), format!("{expected} {expected}"));
        assert_eq!(of(&[]), "");
    }
}
