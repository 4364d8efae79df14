//! Certificates of an authority that only tests know.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::{fs, os::unix::fs::PermissionsExt};

use keygate::client::{Tls, TlsBuilder};
use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, CertifiedIssuer,
    ExtendedKeyUsagePurpose, IsCa, KeyIdMethod, KeyPair, KeyUsagePurpose, RevokedCertParams,
    SerialNumber, date_time_ymd,
};
use sha2::{Digest, Sha256};

use super::Home;

/// An authority.
pub(crate) struct Authority(CertifiedIssuer<'static, KeyPair>);

/// A certificate and its key, in files.
pub(crate) struct Identity {
    pub(crate) certificate: PathBuf,
    pub(crate) key: PathBuf,
    /// The SHA-256 of the certificate.
    pub(crate) sha256: [u8; 32],
    /// The same in hexadecimal.
    pub(crate) hex: String,
    serial: SerialNumber,
}

impl Authority {
    pub(crate) fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).expect("no names");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        // Two of one name would be taken for one another.
        let name = format!("authority {}", RandomState::new().build_hasher().finish());
        params.distinguished_name.push(rcgen::DnType::CommonName, name);
        let key = KeyPair::generate().expect("a key");
        Self(CertifiedIssuer::self_signed(params, key).expect("an authority"))
    }

    /// Its certificate, in a file of this name.
    pub(crate) fn file(&self, home: &Home, name: &str) -> PathBuf {
        home.file(name, &self.0.as_ref().pem())
    }

    /// A certificate that it has signed, for `localhost`, until the end of a year.
    pub(crate) fn signs_until(&self, home: &Home, name: &str, year: i32) -> Identity {
        let names = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
        let mut params = CertificateParams::new(names).expect("names");
        let serial = SerialNumber::from(name.as_bytes().to_vec());
        params.serial_number = Some(serial.clone());
        params.not_before = date_time_ymd(2020, 1, 1);
        params.not_after = date_time_ymd(year, 12, 31);
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        let pair = KeyPair::generate().expect("a key");
        let signed = params.signed_by(&pair, &self.0).expect("signed");
        let key = home.file(&format!("{name}.key"), &pair.serialize_pem());
        fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).expect("its mode");
        let sha256: [u8; 32] = Sha256::digest(signed.der()).into();
        Identity {
            certificate: home.file(&format!("{name}.pem"), &signed.pem()),
            key,
            sha256,
            hex: sha256.iter().map(|byte| format!("{byte:02x}")).collect(),
            serial,
        }
    }

    pub(crate) fn signs(&self, home: &Home, name: &str) -> Identity {
        self.signs_until(home, name, 2100)
    }

    /// What it has revoked, in a file of this name, good until the end of a year.
    pub(crate) fn revokes(
        &self,
        home: &Home,
        name: &str,
        revoked: &[&Identity],
        year: i32,
    ) -> PathBuf {
        let revoked_certs = revoked.iter().map(|identity| RevokedCertParams {
            serial_number: identity.serial.clone(),
            revocation_time: date_time_ymd(2021, 1, 1),
            reason_code: None,
            invalidity_date: None,
        });
        let list = CertificateRevocationListParams {
            this_update: date_time_ymd(2021, 1, 1),
            next_update: date_time_ymd(year, 12, 31),
            crl_number: SerialNumber::from(1_u64),
            issuing_distribution_point: None,
            revoked_certs: revoked_certs.collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        let list = list.signed_by(&self.0).expect("signed");
        home.file(name, &list.pem().expect("PEM"))
    }
}

impl Identity {
    /// The lines of `[tls]` that name it.
    pub(crate) fn lines(&self) -> String {
        let (certificate, key) = (self.certificate.display(), self.key.display());
        format!(
            "certificate_file = {:?}\nkey_file = {:?}\n",
            certificate.to_string(),
            key.to_string()
        )
    }

    /// A client that shows it and trusts the authority in a file.
    pub(crate) fn tls(&self, ca: &Path) -> Tls {
        self.shown_by(Tls::builder().ca_file(ca)).build().expect("good files")
    }

    pub(crate) fn shown_by(&self, builder: TlsBuilder) -> TlsBuilder {
        builder.client_certificate(&self.certificate, &self.key)
    }
}

/// A port that nobody has now.
pub(crate) fn free_address() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.local_addr().expect("its address")
}
