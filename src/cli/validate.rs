//! `keygate validate`.

use std::net::IpAddr;

use keygate_protocol::VerdictCode;

use super::error::CliError;
use super::output::{print, print_json, verdict_text};
use super::signed::{Digested, SignedArgs};
use super::verdict::VerdictJson;
use super::whole::whole;
use super::{Exit, Global, secret};
use crate::client::ValidateRequest;
use crate::key::form::fingerprint;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The token; `-` reads it from standard input, without it KEYGATE_TOKEN is taken
    token: Option<String>,
    /// A scope that the key must grant; all of them, if there are more
    #[arg(long = "scope", value_name = "SCOPE")]
    scopes: Vec<String>,
    /// Scopes of which the key must grant one
    #[arg(long = "any-scope", value_name = "SCOPE")]
    any_scopes: Vec<String>,
    /// Units to spend, 0 to 2^32; 0 judges without spending
    #[arg(long, default_value_t = 1, value_name = "N")]
    #[arg(value_parser = whole, allow_negative_numbers = true)]
    cost: u64,
    /// A named limit of the key to spend from, too; from all of them, if there are more (at most 4)
    #[arg(long = "limit", value_name = "NAME")]
    limits: Vec<String>,
    /// Judge without spending
    #[arg(long)]
    peek: bool,
    /// Keep the slot that the request takes until `keygate increment --slot` gives it back or its
    /// time ends; without this it ends with the command
    #[arg(long)]
    keep_slot: bool,
    /// Tell the key's metadata too
    #[arg(long)]
    metadata: bool,
    /// Read the client secret that came beside the token from standard input; without this
    /// KEYGATE_CLIENT_SECRET is taken, if it is set
    #[arg(long)]
    client_secret_stdin: bool,
    #[command(flatten)]
    facts: Facts,
    #[command(flatten)]
    signed: SignedArgs,
}

/// What is stated of the request; a rule of the key that needs what is not stated denies.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "What the request is, for the key's rules")]
struct Facts {
    /// The client's address
    #[arg(long, value_name = "ADDRESS")]
    ip: Option<IpAddr>,
    /// The host that it comes from, or the value of its Origin header
    #[arg(long, value_name = "ORIGIN")]
    origin: Option<String>,
    /// The environment that it calls, such as production
    #[arg(long, value_name = "NAME")]
    environment: Option<String>,
    /// The region that it calls
    #[arg(long, value_name = "NAME")]
    region: Option<String>,
    /// The integration that it comes from
    #[arg(long, value_name = "NAME")]
    integration: Option<String>,
    /// The version of the API that it calls
    #[arg(long, value_name = "V")]
    api_version: Option<String>,
    /// A feature that it asks for; all of them, if there are more
    #[arg(long = "feature", value_name = "NAME")]
    features: Vec<String>,
    /// Whether it came by HTTPS; --https=false says that it did not
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    #[arg(value_name = "true|false")]
    https: Option<bool>,
    /// The SHA-256 of the certificate that its client has shown, hexadecimal or base64url
    #[arg(long, value_name = "SHA256", value_parser = certificate)]
    client_certificate: Option<[u8; 32]>,
    /// The tenant whose key it must be: another's is NOT_FOUND
    #[arg(long, value_name = "T")]
    tenant: Option<String>,
}

impl Facts {
    fn state<'a>(&'a self, mut request: ValidateRequest<'a>) -> ValidateRequest<'a> {
        type State<'a> = fn(ValidateRequest<'a>, &'a str) -> ValidateRequest<'a>;
        let texts: [(&Option<String>, State<'a>); 6] = [
            (&self.origin, ValidateRequest::origin),
            (&self.environment, ValidateRequest::environment),
            (&self.region, ValidateRequest::region),
            (&self.integration, ValidateRequest::integration),
            (&self.api_version, ValidateRequest::api_version),
            (&self.tenant, ValidateRequest::tenant),
        ];
        for (text, state) in texts {
            if let Some(text) = text {
                request = state(request, text);
            }
        }
        if let Some(ip) = self.ip {
            request = request.address(ip);
        }
        if let Some(https) = self.https {
            request = request.https(https);
        }
        if let Some(sha256) = self.client_certificate {
            request = request.client_certificate(sha256);
        }
        self.features.iter().fold(request, |request, feature| request.feature(feature))
    }

    /// The flag that states what the denying rule needs, if it was not given.
    const fn missing(&self, code: VerdictCode) -> Option<&'static str> {
        let (flag, given) = match code {
            VerdictCode::HttpsRequired => ("--https", self.https.is_some()),
            VerdictCode::ClientCertificateRequired => {
                ("--client-certificate", self.client_certificate.is_some())
            }
            VerdictCode::EnvironmentNotAllowed => ("--environment", self.environment.is_some()),
            VerdictCode::AddressNotAllowed => ("--ip", self.ip.is_some()),
            VerdictCode::DomainNotAllowed => ("--origin", self.origin.is_some()),
            VerdictCode::RegionNotAllowed => ("--region", self.region.is_some()),
            VerdictCode::IntegrationNotAllowed => ("--integration", self.integration.is_some()),
            VerdictCode::ApiVersionNotAllowed => ("--api-version", self.api_version.is_some()),
            _ => return None,
        };
        if given { None } else { Some(flag) }
    }
}

impl Args {
    /// What a person can do about a verdict, where it does not say that itself.
    fn hint(&self, code: VerdictCode, body: Option<&Digested>) -> Option<String> {
        if let Some(flag) = self.facts.missing(code) {
            return Some(format!(
                "the key has a rule for it, and the question did not state it: {flag}"
            ));
        }
        match code {
            VerdictCode::ClientSecretRequired => Some(format!(
                "set {}, or give the secret on standard input with --client-secret-stdin; a key \
                 that has none yet gets one by `keygate key secret ID`",
                secret::CLIENT_SECRET_ENV
            )),
            VerdictCode::SignatureRequired => self.signed.hint_required(),
            VerdictCode::SignatureInvalid => Some(self.signed.hint_invalid(body)),
            VerdictCode::SignatureUnchecked => Some(
                "sign again: after a crash nothing passes that was signed before the start, or in \
                 the signing.clock_skew_seconds behind it; if it stays so, the daemon's log says why"
                    .to_owned(),
            ),
            VerdictCode::LimitUnknown => Some(format!(
                "the key has no limit of a name asked for: {}",
                self.limits.join(", ")
            )),
            VerdictCode::LedgerUnavailable => {
                Some("the daemon's store takes no writes: `keygate status` says why".to_owned())
            }
            VerdictCode::AuditUnavailable => Some(
                "the audit log takes no records, or none is kept: `keygate status` says why"
                    .to_owned(),
            ),
            _ => None,
        }
    }
}

pub(super) fn run(args: &Args, global: &Global) -> Result<Exit, CliError> {
    if args.client_secret_stdin && args.token.as_deref() == Some("-") {
        return Err(CliError::Usage(format!(
            "standard input has room for one secret: set {} or {}",
            secret::TOKEN_ENV,
            secret::CLIENT_SECRET_ENV
        )));
    }
    let token = secret::token(args.token.as_deref())?;
    let client_secret = secret::client_secret(args.client_secret_stdin)?;
    let mut request = ValidateRequest::new(token.as_str()).cost(args.cost).details();
    if let Some(secret) = &client_secret {
        request = request.client_secret(secret.as_str());
    }
    for scope in &args.scopes {
        request = request.scope(scope);
    }
    for scope in &args.any_scopes {
        request = request.any_scope(scope);
    }
    for name in &args.limits {
        request = request.limit(name);
    }
    if args.keep_slot {
        request = request.keep_slot();
    }
    if args.peek {
        request = request.peek();
    }
    if args.metadata {
        request = request.metadata();
    }
    request = args.facts.state(request);
    let (headers, body) = (args.signed.headers(), args.signed.body()?);
    if args.signed.is_given() {
        request = request.signed(&args.signed.request(&headers, body.as_ref()));
    }
    let verdict = global.with_data(async |client| Ok(client.validate(request).await?))?;
    if global.json {
        print_json(&VerdictJson::of_answer(&verdict))?;
    } else {
        print(&verdict_text(&verdict))?;
        if let Some(hint) = args.hint(verdict.code, body.as_ref()) {
            eprintln!("{hint}");
        }
    }
    Ok(if verdict.is_valid() { Exit::Fine } else { Exit::Denied })
}

/// Reads the hash of a certificate.
fn certificate(text: &str) -> Result<[u8; 32], String> {
    // As `openssl x509 -fingerprint` writes it.
    fingerprint(&text.replace(':', "")).ok_or_else(|| {
        "it is the SHA-256 of a certificate's DER: 64 hexadecimal digits, or 43 \
         characters of base64url"
            .to_owned()
    })
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Cli {
        #[command(flatten)]
        args: Args,
    }

    #[test]
    fn a_verdict_that_a_person_can_mend_has_a_hint() {
        for (args, code, words) in [
            (&["--limit=a", "--limit=b"][..], VerdictCode::LimitUnknown, Some("asked for: a, b")),
            (&[], VerdictCode::LedgerUnavailable, Some("`keygate status` says why")),
            (&[], VerdictCode::AuditUnavailable, Some("`keygate status` says why")),
            (&[], VerdictCode::AddressNotAllowed, Some("did not state it: --ip")),
            (&["--ip=::1"], VerdictCode::AddressNotAllowed, None),
            (&[], VerdictCode::SignatureRequired, Some("--method")),
            (
                &["--header=Signature: a"],
                VerdictCode::SignatureRequired,
                Some("Signature-Input: …"),
            ),
            (
                &["--header=Signature: a", "--header=signature-input: b"],
                VerdictCode::SignatureRequired,
                None,
            ),
            (&[], VerdictCode::SignatureInvalid, Some("does not name @method")),
            (&[], VerdictCode::SignatureUnchecked, Some("sign again")),
            (&[], VerdictCode::RateExceeded, None),
        ] {
            let Cli { args } = Cli::parse_from([&["validate"], args].concat());
            let hint = args.hint(code, None);
            assert_eq!(hint.is_some(), words.is_some(), "{code:?}: {hint:?}");
            assert!(words.is_none_or(|words| hint.unwrap_or_default().contains(words)), "{code:?}");
        }
    }
}
