//! What the files of TLS say: the daemon's certificate, and whose certificates it takes.

use std::io::Read as _;
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::OFlags;
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer};
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{RootCertStore, ServerConfig};
use zeroize::Zeroizing;

use crate::config::{ClientCertificates, Tls as Settings};

/// Longest file of certificates, keys or revocations.
const FILE_BYTES_MAX: u64 = 4 * 1024 * 1024;
/// Others may not touch the key, and its group may read it at the most.
const KEY_MODE_FORBIDDEN: u32 = 0o037;

/// Why TLS cannot be had; each says which file is to blame.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read.
    #[error("cannot read {name} {}: {error}", path.display())]
    Read {
        /// The setting.
        name: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        error: std::io::Error,
    },
    /// A file has not what it should.
    #[error("{name} {} is of no use: {why}", path.display())]
    Form {
        /// The setting.
        name: &'static str,
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// Too many may read or write the key.
    #[error(
        "tls.key_file {} has the mode {mode:#o}, so others than its owner may put in another key or \
         be this daemon: chmod g-wx,o= it", path.display()
    )]
    OpenKey {
        /// The file.
        path: PathBuf,
        /// Its mode.
        mode: u32,
    },
}

/// What the files say: how either plane shakes hands.
pub(in crate::server) struct Material {
    pub(super) data: Arc<ServerConfig>,
    /// Where the admin plane is spoken.
    pub(super) admin: Option<Arc<ServerConfig>>,
    /// Judges certificates of clients; `None` where nobody is asked for one.
    pub(super) judge: Option<Arc<dyn ClientCertVerifier>>,
}

impl Material {
    /// Reads the files; `None` where TLS is spoken nowhere.
    ///
    /// # Errors
    /// [`TlsError`].
    pub(in crate::server) fn load(settings: &Settings) -> Result<Option<Self>, TlsError> {
        if settings.listen.is_empty() && settings.admin_listen.is_empty() {
            return Ok(None);
        }
        let provider = Arc::new(ring::default_provider());
        // Once for both planes: a renewal between two readings would part them.
        let identity = identity(settings, &provider)?;
        let asks = settings.client_certificates;
        let verified = |optional| verifier(settings, optional, &provider);
        let of_data = match asks {
            ClientCertificates::None => None,
            _ => Some(verified(asks == ClientCertificates::Optional)?),
        };
        let of_admin = match settings.admin_listen.as_slice() {
            [] => None,
            _ => Some(verified(false)?),
        };
        let server = |judge| server(settings, judge, &identity, &provider);
        let data = server(of_data.clone())?;
        let admin = of_admin.clone().map(|judge| server(Some(judge))).transpose()?;
        Ok(Some(Self { data, admin, judge: of_admin.or(of_data) }))
    }
}

/// The daemon's certificate, and those between it and its authority, with its key.
fn identity(
    settings: &Settings,
    provider: &CryptoProvider,
) -> Result<Arc<SingleCertAndKey>, TlsError> {
    let (name, path) = ("tls.certificate_file", &settings.certificate_file);
    let chain: Vec<CertificateDer<'static>> = pem(name, path)?;
    let key = private_key(&settings.key_file)?;
    let certified = CertifiedKey::from_der(chain, key, provider).map_err(|error| match error {
        rustls::Error::InconsistentKeys(_) => {
            let why = "it is not the key of the first certificate in tls.certificate_file";
            form("tls.key_file", &settings.key_file, &why)
        }
        error => form(name, path, &error),
    })?;
    Ok(Arc::new(SingleCertAndKey::from(certified)))
}

fn server(
    settings: &Settings,
    judge: Option<Arc<dyn ClientCertVerifier>>,
    identity: &Arc<SingleCertAndKey>,
    provider: &Arc<CryptoProvider>,
) -> Result<Arc<ServerConfig>, TlsError> {
    let builder = ServerConfig::builder_with_provider(Arc::clone(provider))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(|error| form("tls.certificate_file", &settings.certificate_file, &error))?;
    let builder = match judge {
        None => builder.with_no_client_auth(),
        Some(judge) => builder.with_client_cert_verifier(judge),
    };
    let mut config = builder.with_cert_resolver(Arc::<SingleCertAndKey>::clone(identity));
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok(Arc::new(config))
}

fn verifier(
    settings: &Settings,
    optional: bool,
    provider: &Arc<CryptoProvider>,
) -> Result<Arc<dyn ClientCertVerifier>, TlsError> {
    let (name, path) = ("tls.client_ca_file", &settings.client_ca_file);
    let mut roots = RootCertStore::empty();
    for authority in pem::<CertificateDer<'static>>(name, path)? {
        roots.add(authority).map_err(|error| form(name, path, &error))?;
    }
    let provider = Arc::clone(provider);
    let mut builder = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
    let (crl_name, crl) = ("tls.client_crl_file", &settings.client_crl_file);
    if !crl.as_os_str().is_empty() {
        let revoked: Vec<CertificateRevocationListDer<'static>> = pem(crl_name, crl)?;
        // A list whose time is over may lack what was revoked since: it is no permission.
        builder = builder.with_crls(revoked).enforce_revocation_expiration();
    }
    if optional {
        builder = builder.allow_unauthenticated();
    }
    builder.build().map_err(|error| match error {
        rustls::server::VerifierBuilderError::InvalidCrl(error) => {
            form(crl_name, crl, &format!("{error:?}"))
        }
        error => form(name, path, &error),
    })
}

/// All of a kind that a PEM file has: at least one.
fn pem<T: PemObject>(name: &'static str, path: &Path) -> Result<Vec<T>, TlsError> {
    let (bytes, _) = read(name, path)?;
    let all: Result<Vec<T>, _> = T::pem_slice_iter(&bytes).collect();
    let all = all.map_err(|error| form(name, path, &error))?;
    if all.is_empty() {
        return Err(form(name, path, &"there is none in it, as PEM"));
    }
    Ok(all)
}

fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>, TlsError> {
    let name = "tls.key_file";
    let (bytes, mode) = read(name, path)?;
    if mode & KEY_MODE_FORBIDDEN != 0 {
        return Err(TlsError::OpenKey { path: path.to_owned(), mode });
    }
    // What the parser says of a key may repeat some of it.
    let unusable = |_| form(name, path, &"there is no private key in it, as PEM");
    PrivateKeyDer::from_pem_slice(&bytes).map_err(unusable)
}

/// A regular file as a whole and its mode, without waiting as a pipe would have it; wiped in the end.
fn read(name: &'static str, path: &Path) -> Result<(Zeroizing<Vec<u8>>, u32), TlsError> {
    let failed = |error| TlsError::Read { name, path: path.to_owned(), error };
    let flags = OFlags::NONBLOCK.bits().cast_signed();
    let mut options = std::fs::File::options();
    let file = options.read(true).custom_flags(flags).open(path).map_err(failed)?;
    let metadata = file.metadata().map_err(failed)?;
    if !metadata.is_file() || metadata.len() > FILE_BYTES_MAX {
        let why = format!("it is no regular file of at most {FILE_BYTES_MAX} bytes");
        return Err(form(name, path, &why));
    }
    // Room for all of it from the beginning: what grows leaves copies behind.
    let room = usize::try_from(metadata.len()).unwrap_or(0) + 1;
    let mut bytes = Zeroizing::new(Vec::with_capacity(room));
    file.take(FILE_BYTES_MAX).read_to_end(&mut bytes).map_err(failed)?;
    Ok((bytes, metadata.permissions().mode() & 0o777))
}

fn form(name: &'static str, path: &Path, why: &dyn std::fmt::Display) -> TlsError {
    TlsError::Form { name, path: path.to_owned(), why: why.to_string() }
}

#[cfg(test)]
mod tests {
    use std::fs::Permissions;

    use super::*;

    /// A certificate of its own authority, and its key.
    fn pair(name: &str) -> (String, String) {
        let made = rcgen::generate_simple_self_signed([name.to_owned()]).expect("a certificate");
        (made.cert.pem(), made.signing_key.serialize_pem())
    }

    #[test]
    fn files_that_are_of_no_use_are_named() {
        let place = tempfile::tempdir().expect("a directory");
        let path = |name: &str| place.path().join(name);
        let write = |name: &str, text: &str| {
            std::fs::write(path(name), text).expect("written");
            std::fs::set_permissions(path(name), Permissions::from_mode(0o600)).expect("its mode");
        };
        let ((certificate, key), (other, _)) = (pair("a"), pair("b"));
        write("certificate", &certificate);
        write("other", &other);
        write("key", &key);
        write("open", &key);
        std::fs::set_permissions(path("open"), Permissions::from_mode(0o644)).expect("its mode");
        write("shared", &key);
        std::fs::set_permissions(path("shared"), Permissions::from_mode(0o660)).expect("its mode");
        write("empty", "");
        let settings = |certificate: &str, key: &str, ca: &str, crl: &str| Settings {
            listen: vec!["127.0.0.1:0".parse().expect("an address")],
            certificate_file: path(certificate),
            key_file: path(key),
            client_ca_file: path(ca),
            client_crl_file: if crl.is_empty() { PathBuf::new() } else { path(crl) },
            client_certificates: ClientCertificates::Optional,
            ..Settings::default()
        };
        for (certificate, key, ca, crl, says) in [
            ("certificate", "key", "other", "", None),
            ("gone", "key", "other", "", Some("cannot read tls.certificate_file")),
            ("empty", "key", "other", "", Some("tls.certificate_file")),
            ("certificate", "gone", "other", "", Some("cannot read tls.key_file")),
            ("certificate", "empty", "other", "", Some("no private key")),
            ("certificate", "open", "other", "", Some("o= it")),
            ("certificate", "shared", "other", "", Some("g-wx,o= it")),
            ("other", "key", "other", "", Some("not the key of the first certificate")),
            ("certificate", "key", "empty", "", Some("tls.client_ca_file")),
            ("certificate", "key", "other", "other", Some("tls.client_crl_file")),
            ("certificate", "key", ".", "", Some("no regular file")),
        ] {
            let loaded = Material::load(&settings(certificate, key, ca, crl));
            match (loaded, says) {
                (Ok(loaded), says) => assert_eq!((loaded.is_some(), says), (true, None)),
                (Err(error), says) => {
                    let says = says.unwrap_or_else(|| panic!("{error}"));
                    assert!(error.to_string().contains(says), "{says}: {error}");
                    assert!(!error.to_string().contains("PRIVATE"), "{error}");
                }
            }
        }
        assert!(Material::load(&Settings::default()).expect("nothing to read").is_none());
    }
}
