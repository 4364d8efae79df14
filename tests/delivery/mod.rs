//! What the tests of delivery share: an authority of their own, alerts, and couriers.
#![allow(dead_code, reason = "each test file uses its part")]

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use keygate::clock::{Clock, SystemClock};
use keygate::config::{Config, Sink};
use keygate::deliver::{Courier, Outcome};
use keygate::event::{Alert, AlertKind, Subject};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::ServerConfig;
use rustls::crypto::ring;
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject;
use tempfile::TempDir;

/// What no message may repeat: it stands in the URLs, the passwords and the secrets of these tests.
pub(crate) const SECRET: &str = "hush-hush";
/// How long anything may take: far more than it does, on a machine that is busy with other tests.
pub(crate) const DEADLINE: Duration = Duration::from_secs(60);

/// An authority whose certificate lies in a file, and what it has certified.
pub(crate) struct Authority {
    pub(crate) place: TempDir,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    pub(crate) fn new() -> Self {
        let place = tempfile::tempdir().expect("a directory");
        let key = KeyPair::generate().expect("a key");
        let mut parameters = CertificateParams::new([]).expect("parameters");
        parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let certificate = parameters.self_signed(&key).expect("a certificate");
        fs::write(place.path().join("ca.pem"), certificate.pem()).expect("written");
        Self { place, issuer: Issuer::new(parameters, key) }
    }

    pub(crate) fn file(&self) -> PathBuf {
        self.place.path().join("ca.pem")
    }

    /// A certificate for these names and its key, both in PEM.
    pub(crate) fn certify(&self, names: &[&str]) -> (String, String) {
        let key = KeyPair::generate().expect("a key");
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let parameters = CertificateParams::new(names).expect("parameters");
        let certificate = parameters.signed_by(&key, &self.issuer).expect("a certificate");
        (certificate.pem(), key.serialize_pem())
    }

    /// TLS of a server of these names.
    pub(crate) fn server(&self, names: &[&str]) -> ServerConfig {
        let (certificate, key) = self.certify(names);
        let chain = vec![PemObject::from_pem_slice(certificate.as_bytes()).expect("PEM")];
        let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).expect("PEM");
        ServerConfig::builder_with_provider(ring::default_provider().into())
            .with_safe_default_protocol_versions()
            .and_then(|config| config.with_no_client_auth().with_single_cert(chain, key))
            .expect("TLS")
    }

    /// A courier that trusts this authority beside the system's.
    pub(crate) fn courier(&self, config: &str) -> Courier {
        let mut config = parsed(config);
        config.alerts.ca_file = self.file();
        config.check().expect("a good configuration");
        Courier::new(&config.alerts, &config.sinks).expect("a courier")
    }
}

fn parsed(text: &str) -> Config {
    toml::from_str(text).unwrap_or_else(|error| panic!("{text}: {error}"))
}

/// A courier of this configuration.
pub(crate) fn courier(config: &str) -> Courier {
    let config = parsed(config);
    config.check().expect("a good configuration");
    Courier::new(&config.alerts, &config.sinks).expect("a courier")
}

/// A courier of these sinks.
pub(crate) fn courier_of(sinks: BTreeMap<String, Sink>, config: &str) -> Courier {
    let mut config = parsed(config);
    config.sinks = sinks;
    config.check().expect("a good configuration");
    Courier::new(&config.alerts, &config.sinks).expect("a courier")
}

pub(crate) fn alert(id: &str) -> Alert {
    Alert {
        id: id.to_owned(),
        kind: AlertKind::QuotaThreshold,
        at_us: 1_795_609_805_250_000,
        subject: Subject::Key { id: 42, tenant: "acme".to_owned() },
        name: "Rechnungen für \"prod\"\r\nBcc: thief@example.org".to_owned(),
        summary: "80 % of the month's quota is used\r\nX-Thief: yes".to_owned(),
        detail: serde_json::json!({"used": "80", "quota": "100"}),
    }
}

pub(crate) fn now_us() -> i64 {
    SystemClock::default().now().wall_us
}

/// Shows what became of an attempt, which must repeat no secret.
pub(crate) fn shown(outcome: &Outcome) -> String {
    let shown = format!("{outcome:?}");
    assert!(!shown.contains(SECRET), "a secret is told: {shown}");
    shown
}
