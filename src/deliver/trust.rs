//! Whose certificates are trusted: the system's authorities, and those of `alerts.ca_file`.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::sync::Arc;

use rustix::fs::OFlags;
use rustls::crypto::ring;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::{ClientConfig, RootCertStore};

use super::CourierError;

/// Longest `ca_file`: a whole system's authorities are a quarter of it.
const CA_FILE_BYTES_MAX: u64 = 1024 * 1024;

/// Authorities that are trusted.
pub(super) struct Trust {
    roots: Arc<RootCertStore>,
    /// The same, as certificates.
    certificates: Vec<CertificateDer<'static>>,
}

impl Trust {
    /// Reads the system's authorities and those of a file; an empty path is none.
    ///
    /// What is no good certificate among the system's is passed over. A file that somebody named
    /// must be good.
    pub(super) fn load(ca_file: &Path) -> Result<Self, CourierError> {
        let mut trust = Self { roots: RootCertStore::empty().into(), certificates: Vec::new() };
        let mut roots = RootCertStore::empty();
        for certificate in rustls_native_certs::load_native_certs().certs {
            if roots.add(certificate.clone()).is_ok() {
                trust.certificates.push(certificate);
            }
        }
        if !ca_file.as_os_str().is_empty() {
            for certificate in read(ca_file)? {
                roots.add(certificate.clone()).map_err(|error| form(ca_file, &error))?;
                trust.certificates.push(certificate);
            }
        }
        trust.roots = roots.into();
        Ok(trust)
    }

    /// Whether no authority is known, so that no certificate can be trusted.
    pub(super) fn is_empty(&self) -> bool {
        self.certificates.is_empty()
    }

    pub(super) fn certificates(&self) -> &[CertificateDer<'static>] {
        &self.certificates
    }

    /// TLS of a web hook: 1.2 or 1.3, by ring.
    pub(super) fn client(&self) -> Result<ClientConfig, CourierError> {
        let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(|error| CourierError::Tls(error.to_string()))?
            .with_root_certificates(Arc::clone(&self.roots))
            .with_no_client_auth();
        Ok(config)
    }
}

fn read(path: &Path) -> Result<Vec<CertificateDer<'static>>, CourierError> {
    let pem = read_bounded(path)
        .map_err(|error| CourierError::CaFile { path: path.to_owned(), error })?;
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
    let certificates = certificates.map_err(|error| form(path, &error))?;
    if certificates.is_empty() {
        return Err(form(path, &"there is no certificate in it"));
    }
    Ok(certificates)
}

fn read_bounded(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    open_file(path)?.take(CA_FILE_BYTES_MAX + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > CA_FILE_BYTES_MAX {
        let what = format!("it has more than {CA_FILE_BYTES_MAX} bytes, the most that is read");
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, what));
    }
    Ok(bytes)
}

/// Opens a regular file, and waits for nobody as a pipe would have it.
pub(super) fn open_file(path: &Path) -> io::Result<File> {
    let flags = OFlags::NONBLOCK.bits().cast_signed();
    let file = OpenOptions::new().read(true).custom_flags(flags).open(path)?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::other("it is not a regular file"));
    }
    Ok(file)
}

fn form(path: &Path, why: &dyn std::fmt::Display) -> CourierError {
    CourierError::CaFileForm { path: path.to_owned(), why: why.to_string() }
}
