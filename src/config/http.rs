//! Where metrics and health are told.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::bounds::Problems;

/// The HTTP listener.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Http {
    /// Where it listens; nowhere if not set.
    pub listen: Listen,
    /// Whether [`Http::listen`] may be an address that other machines reach, in plain text and
    /// without asking who they are.
    pub allow_other_hosts: bool,
    /// Open connections; one more is answered 503.
    pub connections_max: usize,
    /// How long a peer may take for the headers of its request.
    pub header_timeout_ms: u64,
    /// How long a request and its answer may take together.
    pub exchange_timeout_ms: u64,
}

impl Default for Http {
    fn default() -> Self {
        Self {
            listen: Listen::default(),
            allow_other_hosts: false,
            connections_max: 16,
            header_timeout_ms: 5000,
            exchange_timeout_ms: 15_000,
        }
    }
}

/// Where HTTP is spoken: an address, the path of a Unix socket, or, as the empty text, nowhere.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Listen {
    /// Nowhere.
    #[default]
    Off,
    /// On an address.
    Tcp(SocketAddr),
    /// On a Unix socket, mode 0660.
    Unix(PathBuf),
}

impl TryFrom<String> for Listen {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        if text.is_empty() {
            return Ok(Self::Off);
        }
        if text.starts_with('/') {
            return Ok(Self::Unix(text.into()));
        }
        text.parse().map(Self::Tcp).map_err(|_| {
            format!(
                "{text:?} is neither an address such as \"127.0.0.1:9465\" nor the path of a socket, \
                 which begins with /"
            )
        })
    }
}

impl From<Listen> for String {
    fn from(listen: Listen) -> Self {
        listen.to_string()
    }
}

impl fmt::Display for Listen {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Off => Ok(()),
            Self::Tcp(address) => address.fmt(out),
            Self::Unix(path) => path.display().fmt(out),
        }
    }
}

/// Notes an address that others reach and were not meant to.
pub(super) fn check(http: &Http, problems: &mut Problems) {
    if let Listen::Tcp(address) = &http.listen
        && !address.ip().is_loopback()
        && !http.allow_other_hosts
    {
        let why = "which other machines reach, in plain text and without asking who they are; use a \
                   loopback address, or set http.allow_other_hosts = true";
        problems.add(&["http", "listen"], &format!("is {address}, {why}"));
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Config, document};
    use super::*;

    #[test]
    fn it_is_off_or_on_an_address_or_a_path() {
        let of = |listen: &str| {
            document::parse(&format!("[http]\nlisten = {listen:?}\n")).map(|it| it.http.listen)
        };
        assert_eq!(of(""), Ok(Listen::Off));
        assert_eq!(Config::default().http.listen, Listen::Off);
        assert_eq!(of("/run/k/http.sock"), Ok(Listen::Unix("/run/k/http.sock".into())));
        for address in ["127.0.0.1:9465", "[::1]:9465", "127.8.8.8:1"] {
            let listen = of(address).expect(address);
            assert_eq!(listen, Listen::Tcp(address.parse().expect("an address")));
            assert_eq!(listen.to_string(), address);
        }
        for wrong in ["9465", "localhost:9465", "run/http.sock"] {
            let problems = of(wrong).expect_err(wrong);
            assert!(problems[0].reason.contains("neither an address"), "{problems:?}");
        }
    }

    #[test]
    fn other_machines_are_let_in_by_words_alone() {
        let of = |more: &str| {
            document::parse(&format!("[http]\nlisten = \"0.0.0.0:9465\"\n{more}")).map(drop)
        };
        let problems = of("").expect_err("reached by others");
        assert!(problems[0].reason.contains("http.allow_other_hosts = true"), "{problems:?}");
        assert_eq!(problems[0].line, Some(2));
        of("allow_other_hosts = true\n").expect("said in words");
    }
}
