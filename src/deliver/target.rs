//! The URL of a web hook, taken apart.

use core::net::IpAddr;
use std::fmt;

use url::{Host, Url};

/// The port of HTTPS.
const PORT: u16 = 443;

/// Where a web hook is.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Target {
    /// By name, or by the address that the URL has, whatever way it spells it.
    pub(super) host: TargetHost,
    pub(super) port: u16,
    /// Path and query: it may hold a token, and stands in no message.
    pub(super) path: String,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum TargetHost {
    /// A name in ASCII.
    Name(String),
    /// An address.
    Address(IpAddr),
}

impl Target {
    /// Reads a URL by the WHATWG rules. Records are checked when they are written; what was written
    /// before that, or by another release, is checked here again.
    pub(super) fn parse(text: &str) -> Result<Self, &'static str> {
        let url = Url::parse(text).map_err(|_| "the URL of the web hook is not one")?;
        if url.scheme() != "https" {
            return Err("the URL of the web hook does not begin with https://");
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err("the URL of the web hook has a user or a password; take them out");
        }
        let host = match url.host().ok_or("the URL of the web hook has no host")? {
            Host::Domain(name) => TargetHost::Name(name.to_owned()),
            Host::Ipv4(v4) => TargetHost::Address(v4.into()),
            Host::Ipv6(v6) => TargetHost::Address(v6.into()),
        };
        let path = match url.query() {
            Some(query) => format!("{}?{query}", url.path()),
            None => url.path().to_owned(),
        };
        Ok(Self { host, port: url.port().unwrap_or(PORT), path })
    }
}

/// Host and port, as messages and the `host` header have them.
impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.host {
            TargetHost::Name(name) => f.write_str(name)?,
            TargetHost::Address(IpAddr::V4(v4)) => write!(f, "{v4}")?,
            TargetHost::Address(IpAddr::V6(v6)) => write!(f, "[{v6}]")?,
        }
        if self.port == PORT { Ok(()) } else { write!(f, ":{}", self.port) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_taken_apart_as_browsers_do() {
        for (text, shown, path) in [
            ("https://hooks.example.org", "hooks.example.org", "/"),
            ("https://Hooks.Example.org:443/a?t=1#x", "hooks.example.org", "/a?t=1"),
            ("https://bücher.example:8443/%20 b", "xn--bcher-kva.example:8443", "/%20%20b"),
            ("https://0x7f.1/", "127.0.0.1", "/"),
            ("https://2130706433:1/", "127.0.0.1:1", "/"),
            ("https://0177.0.0.1/", "127.0.0.1", "/"),
            ("https://127.1/", "127.0.0.1", "/"),
            ("https://①②⑦.0.0.1/", "127.0.0.1", "/"),
            ("https://[::ffff:127.0.0.1]/", "[::ffff:127.0.0.1]", "/"),
            ("https://[0:0::1]:99/", "[::1]:99", "/"),
        ] {
            let target = Target::parse(text).expect(text);
            assert_eq!((target.to_string().as_str(), target.path.as_str()), (shown, path));
            let address = matches!(target.host, TargetHost::Address(_));
            assert_eq!(address, !shown.contains("example"), "{text}");
        }
    }

    #[test]
    fn what_is_no_web_hook_is_refused() {
        for (text, says) in [
            ("", "not one"),
            ("https://", "not one"),
            ("https://256.0.0.1/", "not one"),
            ("http://hooks.example.org/", "https://"),
            ("file:///etc/passwd", "https://"),
            ("https://u@hooks.example.org/", "user"),
            ("https://u:secret@hooks.example.org/", "user"),
            ("https://:secret@hooks.example.org/", "user"),
        ] {
            let why = Target::parse(text).expect_err(text);
            assert!(why.contains(says) && !why.contains("secret"), "{text}: {why}");
        }
    }
}
