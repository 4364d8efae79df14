//! Who did it.

use serde::{Deserialize, Serialize};

/// Who asked for a change: what the kernel or TLS says of the peer, never what the peer says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Actor {
    /// The user, of a peer of a Unix socket; the daemon's own where it acts by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uid: Option<u32>,
    /// Its group.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gid: Option<u32>,
    /// Its process, at the time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pid: Option<i32>,
    /// The name of its program, as `/proc/PID/exe` told at the time, where it could be read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub program: Option<String>,
    /// The SHA-256 of the certificate that it has shown, in hexadecimal, where it came by TLS.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificate: Option<String>,
    /// Its address, where it came by TCP or TLS.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<core::net::SocketAddr>,
    /// The tenant that it is bound to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tenant: Option<String>,
    /// Why the daemon did it by itself: `signal`, `retention`, `start`. Absent where a peer asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub daemon: Option<String>,
}

impl Actor {
    /// The daemon itself, and why.
    #[must_use]
    pub fn daemon(why: &str) -> Self {
        Self { daemon: Some(why.to_owned()), ..Self::default() }
    }
}
