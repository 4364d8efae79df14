//! TLS of the daemon: its certificate, whose certificates it takes, and handshakes.
//!
//! TLS 1.3 alone: whoever speaks keygate's protocol has it, and below it a client's certificate would
//! cross the network in the clear. No session is resumed: a certificate that was revoked since would
//! go on counting. Both cost a full handshake a connection, which clients keep.

use std::io::Read as _;
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use parking_lot::RwLock;
use rustix::fs::OFlags;
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer};
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::{RootCertStore, ServerConfig};
use sha2::{Digest, Sha256};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
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
pub(super) struct Material {
    data: Arc<ServerConfig>,
    /// Where the admin plane is spoken.
    admin: Option<Arc<ServerConfig>>,
}

/// Whose handshake it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    Data,
    Admin,
}

/// What became of handshakes since the start.
#[derive(Debug, Default)]
pub(super) struct Handshakes {
    pub(super) done: AtomicU64,
    pub(super) failed: AtomicU64,
    pub(super) timed_out: AtomicU64,
    /// Not begun, because as many were under way as may be.
    pub(super) refused: AtomicU64,
}

/// TLS as it is in force. One for the whole daemon.
pub(super) struct Tls {
    /// Protects the material; held to clone or to replace an [`Arc`].
    material: RwLock<Material>,
    places: Arc<Semaphore>,
    pub(super) handshakes: Handshakes,
}

/// A handshake that may begin: its terms, and its place among those under way.
pub(super) struct Handshake {
    config: Arc<ServerConfig>,
    tls: Arc<Tls>,
    place: OwnedSemaphorePermit,
}

impl Tls {
    /// At most so many handshakes at a time.
    pub(super) fn new(material: Material, handshakes_max: usize) -> Self {
        Self {
            material: RwLock::new(material),
            places: Arc::new(Semaphore::new(handshakes_max)),
            handshakes: Handshakes::default(),
        }
    }

    /// From the next handshake on. Open connections go on with what they have.
    pub(super) fn set(&self, material: Material) {
        *self.material.write() = material;
    }

    /// A handshake, if one more may be under way.
    pub(super) fn begin(self: &Arc<Self>, side: Side) -> Option<Handshake> {
        let config = {
            let material = self.material.read();
            match side {
                Side::Data => Some(Arc::clone(&material.data)),
                Side::Admin => material.admin.clone(),
            }
        }?;
        let Ok(place) = Arc::clone(&self.places).try_acquire_owned() else {
            self.handshakes.refused.fetch_add(1, Relaxed);
            return None;
        };
        Some(Handshake { config, tls: Arc::clone(self), place })
    }
}

impl Handshake {
    /// Shakes hands. Takes as long as the peer does: whoever waits for it has the deadline, and says
    /// so by [`Handshake::timed_out`].
    ///
    /// # Errors
    /// The peer speaks no TLS, or has not shown what it must; the peer is told by TLS.
    pub(super) async fn shake<S>(&self, stream: S) -> std::io::Result<Box<TlsStream<S>>>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let shaken = TlsAcceptor::from(Arc::clone(&self.config)).accept(stream).await;
        let handshakes = &self.tls.handshakes;
        let counter = if shaken.is_ok() { &handshakes.done } else { &handshakes.failed };
        counter.fetch_add(1, Relaxed);
        shaken.map(Box::new)
    }

    /// The peer took too long.
    pub(super) fn timed_out(self) {
        self.tls.handshakes.timed_out.fetch_add(1, Relaxed);
        drop(self.place);
    }
}

/// The SHA-256 of the certificate that the peer has shown, which is one of an authority's, is in its
/// time and is not revoked as far as is known; `None` where it was let in without.
pub(super) fn certificate_of<S>(stream: &TlsStream<S>) -> Option<[u8; 32]> {
    let (_, connection) = stream.get_ref();
    let shown = connection.peer_certificates()?.first()?;
    Some(Sha256::digest(shown).into())
}

impl Material {
    /// Reads the files; `None` where TLS is spoken nowhere.
    ///
    /// # Errors
    /// [`TlsError`].
    pub(super) fn load(settings: &Settings) -> Result<Option<Self>, TlsError> {
        if settings.listen.is_empty() && settings.admin_listen.is_empty() {
            return Ok(None);
        }
        let provider = Arc::new(ring::default_provider());
        let load = |asks| server(settings, asks, &provider);
        let data = Arc::new(load(settings.client_certificates)?);
        let admin = match settings.admin_listen.as_slice() {
            [] => None,
            _ => Some(Arc::new(load(ClientCertificates::Required)?)),
        };
        Ok(Some(Self { data, admin }))
    }
}

fn server(
    settings: &Settings,
    asks: ClientCertificates,
    provider: &Arc<CryptoProvider>,
) -> Result<ServerConfig, TlsError> {
    let path = &settings.certificate_file;
    let of_certificate = |why: &dyn std::fmt::Display| form("tls.certificate_file", path, why);
    let builder = ServerConfig::builder_with_provider(Arc::clone(provider))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(|error| of_certificate(&error))?;
    let builder = match asks {
        ClientCertificates::None => builder.with_no_client_auth(),
        ClientCertificates::Optional | ClientCertificates::Required => {
            let optional = asks == ClientCertificates::Optional;
            builder.with_client_cert_verifier(verifier(settings, optional, provider)?)
        }
    };
    let chain: Vec<CertificateDer<'static>> = pem("tls.certificate_file", path)?;
    let key = private_key(&settings.key_file)?;
    let mut config = builder.with_single_cert(chain, key).map_err(|error| match error {
        rustls::Error::InconsistentKeys(_) => {
            let why = "it is not the key of the first certificate in tls.certificate_file";
            form("tls.key_file", &settings.key_file, &why)
        }
        error => of_certificate(&error),
    })?;
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok(config)
}

fn verifier(
    settings: &Settings,
    optional: bool,
    provider: &Arc<CryptoProvider>,
) -> Result<Arc<dyn rustls::server::danger::ClientCertVerifier>, TlsError> {
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
