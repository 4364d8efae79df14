//! Where a command connects: a Unix socket, or an address with what TLS needs.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use super::error::CliError;
use crate::client::{Endpoint, Tls};
use crate::config::Fingerprint;

/// What connects by TLS: `--socket` and `--admin-socket` then name an address.
#[derive(Debug, Default, clap::Args)]
pub(super) struct TlsArgs {
    /// With tls://…: authorities that may have signed the daemon's certificate, PEM; those of this
    /// machine if not given [env: KEYGATE_TLS_CA]
    #[arg(long, global = true, value_name = "FILE")]
    tls_ca: Option<PathBuf>,
    /// With tls://…: the SHA-256 of the daemon's certificate, and no authority [env: KEYGATE_TLS_PIN]
    #[arg(long, global = true, value_name = "SHA256", conflicts_with = "tls_ca")]
    tls_pin: Option<String>,
    /// With tls://…: the certificate to show, PEM [env: KEYGATE_TLS_CERT]
    #[arg(long, global = true, value_name = "FILE")]
    tls_cert: Option<PathBuf>,
    /// With tls://…: its key, PEM [env: KEYGATE_TLS_KEY]
    #[arg(long, global = true, value_name = "FILE")]
    tls_key: Option<PathBuf>,
    /// With tls://…: the name that the daemon's certificate bears, if not the host's [env:
    /// KEYGATE_TLS_NAME]
    #[arg(long, global = true, value_name = "NAME")]
    tls_name: Option<String>,
}

impl TlsArgs {
    /// Takes what no argument says from the environment; an empty variable says nothing.
    pub(super) fn complete_from(&mut self, variable: impl Fn(&str) -> Option<OsString>) {
        let set = |name| variable(name).filter(|value| !value.is_empty());
        let path = |name| set(name).map(PathBuf::from);
        let text = |name| set(name).map(|text| text.to_string_lossy().into_owned());
        // A flag of either kind outweighs both variables: they exclude each other.
        if self.tls_ca.is_none() && self.tls_pin.is_none() {
            (self.tls_ca, self.tls_pin) = (path("KEYGATE_TLS_CA"), text("KEYGATE_TLS_PIN"));
        }
        self.tls_cert = self.tls_cert.take().or_else(|| path("KEYGATE_TLS_CERT"));
        self.tls_key = self.tls_key.take().or_else(|| path("KEYGATE_TLS_KEY"));
        self.tls_name = self.tls_name.take().or_else(|| text("KEYGATE_TLS_NAME"));
    }

    fn read(&self) -> Result<Tls, CliError> {
        let mut builder = Tls::builder();
        if let Some(path) = &self.tls_ca {
            builder = builder.ca_file(path);
        }
        if let Some(pin) = &self.tls_pin {
            let pin = Fingerprint::try_from(pin.clone());
            builder = builder.pin(pin.map_err(|why| usage(&format!("--tls-pin: {why}")))?.0);
        }
        match (&self.tls_cert, &self.tls_key) {
            (Some(certificate), Some(key)) => {
                builder = builder.client_certificate(certificate, key);
            }
            (None, None) => {}
            _ => return Err(usage("--tls-cert and --tls-key go together: one is missing")),
        }
        if let Some(name) = &self.tls_name {
            builder = builder.server_name(name);
        }
        builder.build().map_err(|error| usage(&error.to_string()))
    }
}

/// Whether what stands for a socket is an address and no path.
pub(super) fn is_remote(socket: &Path) -> bool {
    split(socket).is_some()
}

/// Where `--socket` or `--admin-socket` leads.
pub(super) fn endpoint(socket: &Path, tls: &TlsArgs) -> Result<Endpoint, CliError> {
    let Some((scheme, address)) = split(socket) else { return Ok(Endpoint::unix(socket)) };
    let port = address.rsplit_once(':').and_then(|(host, port)| {
        port.parse::<u16>().ok().filter(|port| *port != 0 && !host.is_empty())
    });
    if port.is_none() {
        let why = format!("{scheme}://{address} has no port: {scheme}://HOST:PORT is meant");
        return Err(usage(&why));
    }
    match scheme {
        "tls" => Ok(Endpoint::tls(address, tls.read()?)),
        _ => Ok(Endpoint::tcp(address)),
    }
}

fn split(socket: &Path) -> Option<(&str, &str)> {
    let (scheme, address) = socket.to_str()?.split_once("://")?;
    ["tls", "tcp"].contains(&scheme).then_some((scheme, address))
}

fn usage(why: &str) -> CliError {
    CliError::Usage(why.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_told_from_a_path() {
        let tls = TlsArgs { tls_pin: Some("ab".repeat(32)), ..TlsArgs::default() };
        for (socket, shown) in [
            ("/run/keygate/admin.sock", Some("unix:/run/keygate/admin.sock")),
            ("tls/x", Some("unix:tls/x")),
            ("tcp://127.0.0.1:7430", Some("tcp:127.0.0.1:7430")),
            ("tls://keys.example:7431", Some("tls:keys.example:7431")),
            ("tls://[::1]:7431", Some("tls:[::1]:7431")),
            ("tls://keys.example", None),
            ("tls://:7431", None),
            ("tls://keys.example:port", None),
        ] {
            let endpoint = endpoint(Path::new(socket), &tls);
            assert_eq!(endpoint.ok().map(|it| it.to_string()).as_deref(), shown, "{socket}");
        }
    }

    #[test]
    fn what_is_missing_is_told() {
        let of = |tls: &TlsArgs| endpoint(Path::new("tls://a:1"), tls).map(drop);
        let pin = || Some("ab".repeat(32));
        let half = TlsArgs { tls_pin: pin(), tls_cert: Some("c".into()), ..TlsArgs::default() };
        assert!(of(&half).expect_err("half").to_string().contains("--tls-key"));
        let wrong = TlsArgs { tls_pin: Some("abc".to_owned()), ..TlsArgs::default() };
        assert!(of(&wrong).expect_err("wrong").to_string().contains("--tls-pin"));
        let mut tls = TlsArgs { tls_pin: pin(), ..TlsArgs::default() };
        tls.complete_from(|name| (name == "KEYGATE_TLS_CA").then(|| "/ca".into()));
        assert_eq!(tls.tls_ca, None, "the pin was said");
    }
}
