//! The files that a configuration names, read as a start would read them.

use std::io::ErrorKind;

use super::tls::{Material, TlsError};
use crate::config::Config;
use crate::deliver::{Courier, CourierError};

/// What is wrong with the files that a configuration names.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct FilesFound {
    /// What a start would refuse.
    pub wrong: Vec<String>,
    /// What this user may not read, so that nothing is known of it.
    pub hidden: Vec<String>,
}

/// Reads the certificates, the key and the revocations of TLS, the authorities of alerts and the
/// password of mails. Of each of the two, the first thing that is wrong. A password that a systemd
/// credential may be is not missed.
#[must_use]
pub fn config_files(config: &Config) -> FilesFound {
    let mut found = FilesFound::default();
    let mut note = |is_hidden: bool, words: String| {
        if is_hidden { found.hidden.push(words) } else { found.wrong.push(words) }
    };
    let denied = |error: &std::io::Error| error.kind() == ErrorKind::PermissionDenied;
    if let Err(error) = Material::load(&config.tls) {
        let hidden = matches!(&error, TlsError::Read { error, .. } if denied(error));
        note(hidden, error.to_string());
    }
    match Courier::new(&config.alerts, &config.sinks) {
        Ok(_) | Err(CourierError::NoPassword) => {}
        Err(error) => {
            let hidden = match &error {
                CourierError::CaFile { error, .. } | CourierError::Password { error, .. } => {
                    denied(error)
                }
                _ => false,
            };
            note(hidden, error.to_string());
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_that_a_start_would_refuse_are_told() {
        let text = "[tls]\nlisten = ['127.0.0.1:1']\ncertificate_file = '/nowhere/c'\n\
                    key_file = '/nowhere/k'\n[alerts]\nca_file = '/nowhere/a'\n";
        let config: Config = toml::from_str(text).expect("a configuration");
        let found = config_files(&config);
        assert!(found.hidden.is_empty(), "{found:?}");
        for (reason, words) in found.wrong.iter().zip(["tls.certificate_file", "alerts.ca_file"]) {
            assert!(reason.contains(words), "{reason}");
        }
        assert_eq!(found.wrong.len(), 2, "{found:?}");
        assert_eq!(config_files(&Config::default()), FilesFound::default());
    }
}
