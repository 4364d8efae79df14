//! TLS of the client: what it trusts, what it shows, and what its errors mean.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{
    AlertDescription, CertificateError, ClientConfig, DigitallySignedStruct, InvalidMessage,
    RootCertStore, SignatureScheme,
};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

/// How a client speaks TLS 1.3. Cheap to clone; files are read once, when it is built.
#[derive(Clone)]
pub struct Tls {
    config: Arc<ClientConfig>,
    /// The name that the daemon's certificate must bear, if it is not the host's.
    name: Option<ServerName<'static>>,
}

/// Makes a [`Tls`].
#[derive(Debug, Clone, Default)]
#[must_use]
pub struct TlsBuilder {
    ca_file: Option<PathBuf>,
    pin: Option<[u8; 32]>,
    identity: Option<(PathBuf, PathBuf)>,
    server_name: Option<String>,
}

/// Why there is no [`Tls`].
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TlsError {
    /// A file cannot be read.
    #[error("cannot read {}: {error}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// A file has not what it should.
    #[error("{} is of no use: {why}", path.display())]
    Form {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// The name can be on no certificate.
    #[error("{0:?} is neither the name of a host nor an address, so no certificate can be for it")]
    Name(String),
    /// Nothing is known to trust.
    #[error(
        "this machine knows no authority: name the file of the authority that has signed the daemon's \
         certificate, or the certificate's SHA-256"
    )]
    NoAuthorities,
    /// TLS cannot be set up.
    #[error("TLS cannot be set up: {0}")]
    Setup(String),
}

impl TlsBuilder {
    /// Trusts the authorities in this file (PEM) and no others; those of the machine if not told.
    pub fn ca_file(mut self, path: impl Into<PathBuf>) -> Self {
        self.ca_file = Some(path.into());
        self
    }

    /// Trusts the certificate with this SHA-256 (of its DER) and no other, whatever name it bears,
    /// whoever has signed it, and however old it is.
    pub const fn pin(mut self, sha256: [u8; 32]) -> Self {
        self.pin = Some(sha256);
        self
    }

    /// Shows a certificate: files of it with those between it and its authority, and of its key, PEM.
    pub fn client_certificate(
        mut self,
        certificate: impl Into<PathBuf>,
        key: impl Into<PathBuf>,
    ) -> Self {
        self.identity = Some((certificate.into(), key.into()));
        self
    }

    /// The name or address that the daemon's certificate must bear; that of the endpoint if not told.
    pub fn server_name(mut self, name: impl Into<String>) -> Self {
        self.server_name = Some(name.into());
        self
    }

    /// Reads the files.
    ///
    /// # Errors
    /// [`TlsError`].
    pub fn build(self) -> Result<Tls, TlsError> {
        let provider = Arc::new(ring::default_provider());
        let setup = |error: &dyn fmt::Display| TlsError::Setup(error.to_string());
        let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(&[&rustls::version::TLS13])
            .map_err(|error| setup(&error))?;
        let verifier: Arc<dyn ServerCertVerifier> = match self.pin {
            Some(pin) => Arc::new(Pinned { pin, provider }),
            None => {
                let roots = Arc::new(roots(self.ca_file.as_deref())?);
                WebPkiServerVerifier::builder_with_provider(roots, provider)
                    .build()
                    .map_err(|error| setup(&error))?
            }
        };
        let builder = builder.dangerous().with_custom_certificate_verifier(verifier);
        let config = match &self.identity {
            None => builder.with_no_client_auth(),
            Some((certificate, key)) => builder
                .with_client_auth_cert(certificates(certificate)?, private_key(key)?)
                .map_err(|error| form(certificate, &error))?,
        };
        let name = self.server_name.map(|name| server_name(&name)).transpose()?;
        Ok(Tls { config: Arc::new(config), name })
    }
}

impl Tls {
    /// How it is told what to trust and what to show.
    pub fn builder() -> TlsBuilder {
        TlsBuilder::default()
    }

    pub(super) fn config(&self) -> Arc<ClientConfig> {
        Arc::clone(&self.config)
    }

    /// The name that the certificate of an endpoint must bear.
    pub(super) fn name_of(&self, address: &str) -> Result<ServerName<'static>, TlsError> {
        if let Some(name) = &self.name {
            return Ok(name.clone());
        }
        let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
        server_name(host.trim_start_matches('[').trim_end_matches(']'))
    }
}

/// Nothing of what it shows is told: a key is not for a log.
impl fmt::Debug for Tls {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Tls").field("name", &self.name).finish_non_exhaustive()
    }
}

/// The same if they are clones of one another.
impl PartialEq for Tls {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.config, &other.config) && self.name == other.name
    }
}

impl Eq for Tls {}

impl Hash for Tls {
    fn hash<H: Hasher>(&self, state: &mut H) {
        Arc::as_ptr(&self.config).hash(state);
    }
}

/// Trusts one certificate.
#[derive(Debug)]
struct Pinned {
    pin: [u8; 32],
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Pinned {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        // Whose certificate it is is no secret: it is compared as it comes.
        if <[u8; 32]>::from(Sha256::digest(end_entity)) == self.pin {
            return Ok(ServerCertVerified::assertion());
        }
        Err(CertificateError::ApplicationVerificationFailure.into())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

fn roots(ca_file: Option<&Path>) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    if let Some(path) = ca_file {
        for authority in certificates(path)? {
            roots.add(authority).map_err(|error| form(path, &error))?;
        }
        return Ok(roots);
    }
    // What is no good certificate among the machine's is passed over.
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if roots.is_empty() { Err(TlsError::NoAuthorities) } else { Ok(roots) }
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let pem = read(path)?;
    let all: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
    let all = all.map_err(|error| form(path, &error))?;
    if all.is_empty() { Err(form(path, &"there is no certificate in it, as PEM")) } else { Ok(all) }
}

fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>, TlsError> {
    let unusable = |_| form(path, &"there is no private key in it, as PEM");
    PrivateKeyDer::from_pem_slice(&read(path)?).map_err(unusable)
}

fn read(path: &Path) -> Result<Zeroizing<Vec<u8>>, TlsError> {
    let read = |error| TlsError::Read { path: path.to_owned(), error };
    std::fs::read(path).map(Zeroizing::new).map_err(read)
}

fn server_name(name: &str) -> Result<ServerName<'static>, TlsError> {
    ServerName::try_from(name.to_owned()).map_err(|_| TlsError::Name(name.to_owned()))
}

fn form(path: &Path, why: &dyn fmt::Display) -> TlsError {
    TlsError::Form { path: path.to_owned(), why: why.to_string() }
}

/// What a person does about an error, if it is one of TLS.
pub(super) fn explained(error: &io::Error) -> Option<String> {
    let error = error.get_ref()?.downcast_ref::<rustls::Error>()?;
    Some(match error {
        rustls::Error::InvalidCertificate(error) => explained_certificate(error),
        rustls::Error::AlertReceived(alert) => explained_alert(*alert),
        rustls::Error::InvalidMessage(InvalidMessage::InvalidContentType) => {
            "what listens there speaks no TLS: connect without it, or to the port of tls.listen"
                .to_owned()
        }
        error => error.to_string(),
    })
}

fn explained_certificate(error: &CertificateError) -> String {
    use CertificateError as E;
    let what = match error {
        E::UnknownIssuer => {
            "no authority that is trusted here has signed the daemon's certificate: name the file of \
             its authority, or pin the certificate by its SHA-256"
        }
        E::NotValidForName | E::NotValidForNameContext { .. } => {
            "the daemon's certificate is for another name: connect by a name that it bears, or say \
             which name it must bear"
        }
        E::Expired | E::ExpiredContext { .. } => {
            "the daemon's certificate has expired: renew it there, then `keygate reload`"
        }
        E::NotValidYet | E::NotValidYetContext { .. } => {
            "the daemon's certificate is not valid yet: look at the clocks of both machines"
        }
        E::ApplicationVerificationFailure => {
            "the daemon's certificate is not the pinned one: it was renewed, and the pin with it must \
             be, or somebody else answers"
        }
        _ => return format!("the daemon's certificate is not good: {error}"),
    };
    what.to_owned()
}

fn explained_alert(alert: AlertDescription) -> String {
    let what = match alert {
        AlertDescription::CertificateRequired => {
            "the daemon asks for a client's certificate: give one, with its key"
        }
        AlertDescription::UnknownCA | AlertDescription::DecryptError => {
            "the daemon does not take this client's certificate: no authority of its \
             tls.client_ca_file has signed it, or its tls.client_crl_file is of no use for it"
        }
        AlertDescription::CertificateExpired => "this client's certificate has expired: renew it",
        AlertDescription::CertificateRevoked => {
            "this client's certificate was revoked: have another made"
        }
        AlertDescription::BadCertificate | AlertDescription::UnsupportedCertificate => {
            "the daemon does not take this client's certificate: it must be one for clients \
             (clientAuth)"
        }
        AlertDescription::ProtocolVersion => "what listens there does not speak TLS 1.3",
        alert => return format!("the other side refused TLS: {alert:?}"),
    };
    what.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_is_the_endpoints_unless_another_is_said() {
        let pinned = || Tls::builder().pin([0; 32]);
        let tls = pinned().build().expect("no file is needed");
        for (address, name) in [
            ("keys.example.org:7431", "keys.example.org"),
            ("192.0.2.1:7431", "192.0.2.1"),
            ("[2001:db8::1]:7431", "2001:db8::1"),
        ] {
            assert_eq!(tls.name_of(address).expect(address).to_str(), name);
        }
        assert!(matches!(tls.name_of("a b:1"), Err(TlsError::Name(_))));
        let tls = pinned().server_name("other.example").build().expect("a name");
        assert_eq!(tls.name_of("192.0.2.1:1").expect("told").to_str(), "other.example");
        assert!(matches!(pinned().server_name("").build(), Err(TlsError::Name(_))));
    }

    #[test]
    fn files_that_are_of_no_use_are_named() {
        let place = tempfile::tempdir().expect("a directory");
        let path = place.path().join("file");
        let gone = Tls::builder().ca_file(&path).build().expect_err("gone");
        assert!(matches!(gone, TlsError::Read { .. }), "{gone}");
        std::fs::write(&path, "nothing").expect("written");
        let empty = Tls::builder().ca_file(&path).build().expect_err("empty").to_string();
        assert!(empty.contains("no certificate in it"), "{empty}");
        let empty = Tls::builder().pin([0; 32]).client_certificate(&path, &path).build();
        assert!(empty.expect_err("empty").to_string().contains("no certificate in it"));
    }
}
