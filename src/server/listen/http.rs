//! The socket of the HTTP listener.

use super::{ListenError, UnixSocket, bind, bind_tcp};
use crate::config::{Http, Listen};

/// Mode of a Unix socket: its owner and group.
const MODE: u32 = 0o660;

/// Where HTTP is spoken.
#[derive(Debug)]
pub enum HttpSocket {
    /// On an address; the listener does not block.
    Tcp(std::net::TcpListener),
    /// On a Unix socket.
    Unix(UnixSocket),
}

/// Makes the socket that the configuration asks for, if it asks for one.
pub(super) fn open(config: &Http) -> Result<Option<HttpSocket>, ListenError> {
    Ok(match &config.listen {
        Listen::Off => None,
        Listen::Tcp(address) => Some(HttpSocket::Tcp(bind_tcp(address)?)),
        Listen::Unix(path) => Some(HttpSocket::Unix(bind(path, MODE)?)),
    })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn it_is_made_where_it_is_asked_for_and_nowhere_else() {
        let dir = tempfile::tempdir().expect("a directory");
        let of = |listen: Listen| open(&Http { listen, ..Http::default() });
        assert!(of(Listen::Off).expect("nothing").is_none());
        let path = dir.path().join("http.sock");
        let socket = of(Listen::Unix(path.clone())).expect("a socket");
        let mode = std::fs::metadata(&path).expect("a socket").permissions().mode();
        assert_eq!(mode & 0o777, MODE);
        drop(socket);
        assert!(!path.exists(), "it goes with the daemon");
        let any = "127.0.0.1:0".parse().expect("an address");
        let Some(HttpSocket::Tcp(listener)) = of(Listen::Tcp(any)).expect("a listener") else {
            panic!("an address is TCP");
        };
        let taken = Listen::Tcp(listener.local_addr().expect("its address"));
        assert!(matches!(of(taken), Err(ListenError::Tcp { .. })));
    }
}
