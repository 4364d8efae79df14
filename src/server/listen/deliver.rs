//! The socket of `keygate deliver`.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use super::{ListenError, UnixSocket, bind, nonblocking};

/// Mode of the socket where it is made here: its owner and group, one of which the daemon must be.
const MODE: u32 = 0o660;
/// What of a mode lets everybody connect.
const OTHERS_WRITE: u32 = 0o002;

/// Takes the socket that systemd passed as `deliver`, or makes one at this path.
///
/// # Errors
/// [`ListenError`]; also for a socket that everybody can connect to.
pub fn deliver(path: &Path) -> Result<UnixSocket, ListenError> {
    let mut passed = listenfd::ListenFd::from_env();
    if passed.len() == 0 {
        return bind(path, MODE);
    }
    let names = std::env::var("LISTEN_FDNAMES").unwrap_or_default();
    let refused = || ListenError::NotDeliver { names: names.clone() };
    if names != "deliver" {
        return Err(refused());
    }
    let listener = passed.take_unix_listener(0).ok().flatten().ok_or_else(refused)?;
    let address = listener.local_addr();
    let place = address.as_ref().ok().and_then(|address| address.as_pathname());
    let path = place.unwrap_or(path).to_owned();
    // An abstract name has no mode: nothing guards it.
    let mode = match place {
        None => 0o777,
        Some(place) => std::fs::metadata(place).map_or(0, |it| it.permissions().mode() & 0o777),
    };
    if mode & OTHERS_WRITE != 0 {
        return Err(ListenError::DeliverOpenToAll { path, mode });
    }
    nonblocking(&listener, &path)?;
    Ok(UnixSocket { listener, path, lock: None })
}
