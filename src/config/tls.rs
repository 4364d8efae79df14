//! Where TLS is spoken, with which certificate, and whose certificates are taken.

use std::net::SocketAddr;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::Config;
use super::bounds::Problems;

/// The TLS listeners. Files are read again by a reload; addresses need a restart.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Tls {
    /// Addresses of the data plane.
    pub listen: Vec<SocketAddr>,
    /// Addresses of the admin plane, where a client shows a certificate that `[[rights]]` name.
    pub admin_listen: Vec<SocketAddr>,
    /// The daemon's certificate and those between it and its authority, PEM.
    pub certificate_file: PathBuf,
    /// Its private key, PEM.
    pub key_file: PathBuf,
    /// The authorities that sign certificates of clients, PEM.
    pub client_ca_file: PathBuf,
    /// What they have revoked, PEM; empty: nothing is known to be revoked.
    pub client_crl_file: PathBuf,
    /// Whether clients of the data plane show a certificate.
    pub client_certificates: ClientCertificates,
}

/// See [`Tls::client_certificates`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ClientCertificates {
    /// Nobody is asked for one.
    #[default]
    None,
    /// Who shows none is let in; one that is shown must be good.
    Optional,
    /// Who shows none is not let in.
    Required,
}

/// A kind of socket, for [`Config::stated_certificates`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SocketKind {
    /// The data socket.
    Data,
    /// The admin socket.
    Admin,
    /// TCP in plain text.
    Tcp,
    /// TLS, of either plane.
    Tls,
}

/// Which addresses plain TCP may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum TcpPlaintext {
    /// Those that no other machine reaches.
    #[default]
    #[serde(rename = "loopback")]
    Loopback,
    /// Any, though tokens then cross the network in plain text.
    #[serde(rename = "any-address")]
    AnyAddress,
}

/// Notes what TLS lacks, and plain text that others would read.
pub(super) fn check(config: &Config, problems: &mut Problems) {
    let tls = &config.tls;
    if config.tcp_plaintext == TcpPlaintext::Loopback
        && let Some(open) = config.tcp.iter().find(|address| !address.ip().is_loopback())
    {
        let why = "a loopback address: tokens would cross the network in plain text; use tls.listen, \
                   or say tcp_plaintext = \"any-address\"";
        problems.add(&["tcp"], &format!("is {open}; it must be {why}"));
    }
    let unset = |path: &PathBuf| path.as_os_str().is_empty();
    let listens = !tls.listen.is_empty() || !tls.admin_listen.is_empty();
    let mut needs = |file: &PathBuf, name: &str, what: &str| {
        if unset(file) {
            problems.add(&["tls", name], &format!("is not set; {what}"));
        }
    };
    if listens {
        needs(&tls.certificate_file, "certificate_file", "TLS needs the daemon's certificate, PEM");
        needs(&tls.key_file, "key_file", "TLS needs the key of the daemon's certificate, PEM");
    }
    let asks = tls.client_certificates != ClientCertificates::None;
    if asks || !tls.admin_listen.is_empty() || !unset(&tls.client_crl_file) {
        let what = "certificates of clients need the authorities that sign them, PEM";
        needs(&tls.client_ca_file, "client_ca_file", what);
    }
    let trusts_tls = config.stated_certificates.contains(&SocketKind::Tls);
    if trusts_tls
        && !tls.listen.is_empty()
        && tls.client_certificates != ClientCertificates::Required
    {
        let why = "has \"tls\", and who comes by TLS need not show a certificate: anybody on the \
                   network could state any; set tls.client_certificates = \"required\"";
        problems.add(&["stated_certificates"], why);
    }
    let named = config.rights.iter().any(|right| right.certificate.is_some());
    if !tls.admin_listen.is_empty() && !named {
        let what = "nobody could use it: a [[rights]] entry must name a certificate";
        problems.add(&["tls", "admin_listen"], &format!("is set, and {what}"));
    }
}

#[cfg(test)]
mod tests {
    use super::super::document;

    #[test]
    fn what_tls_lacks_is_told_by_name() {
        let files = "certificate_file = '/c'\nkey_file = '/k'\n";
        let admin = "admin_listen = ['0.0.0.0:1']\nclient_ca_file = '/a'\n";
        let right = format!(
            "[[rights]]\ncertificate = '{}'\nroles = ['own']\nall_tenants = true\n",
            "0f".repeat(32)
        );
        for (text, says) in [
            (String::new(), None),
            (format!("[tls]\nlisten = ['0.0.0.0:1']\n{files}"), None),
            (
                "[tls]\nlisten = ['0.0.0.0:1']\nkey_file = '/k'\n".to_owned(),
                Some("tls.certificate_file"),
            ),
            (
                "[tls]\nlisten = ['0.0.0.0:1']\ncertificate_file = '/k'\n".to_owned(),
                Some("tls.key_file"),
            ),
            ("[tls]\nclient_certificates = 'optional'\n".to_owned(), Some("tls.client_ca_file")),
            ("[tls]\nclient_crl_file = '/crl'\n".to_owned(), Some("tls.client_ca_file")),
            ("[tls]\nclient_certificates = 'maybe'\n".to_owned(), Some("`optional`")),
            (format!("[tls]\n{admin}{files}"), Some("[[rights]]")),
            (format!("[tls]\n{admin}{files}{right}"), None),
            ("tcp = ['0.0.0.0:1']\n".to_owned(), Some("tcp_plaintext = \"any-address\"")),
            ("tcp = ['0.0.0.0:1']\ntcp_plaintext = 'any-address'\n".to_owned(), None),
            ("tcp_plaintext = 'yes'\n".to_owned(), Some("`any-address`")),
            ("stated_certificates = ['http']\n".to_owned(), Some("`data`")),
            (
                format!(
                    "stated_certificates = ['tls']\n[tls]\nlisten = ['0.0.0.0:1']\n{files}\
                     client_ca_file = '/a'\nclient_certificates = 'optional'\n"
                ),
                Some("anybody on the network"),
            ),
            (
                format!(
                    "stated_certificates = ['tls']\n[tls]\nlisten = ['0.0.0.0:1']\n{files}\
                     client_ca_file = '/a'\nclient_certificates = 'required'\n"
                ),
                None,
            ),
            ("network_roles_default = ['all']\n".to_owned(), Some("\"auto\"")),
            ("network_roles_default = 'auto'\n".to_owned(), None),
            ("data_roles_default = ['all']\n".to_owned(), Some("`check`")),
        ] {
            let parsed = document::parse(&text).map(drop);
            match says {
                None => parsed.expect(&text),
                Some(says) => {
                    let told = format!("{:?}", parsed.expect_err(&text)).replace("\\\"", "\"");
                    assert!(told.contains(says), "{text}: {told}");
                }
            }
        }
    }
}
