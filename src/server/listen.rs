//! Sockets: made with their modes, inherited from systemd, or refused with who holds them.

mod deliver;
mod http;

use std::fs::{File, TryLockError};
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

pub use deliver::deliver;
pub use http::HttpSocket;

use crate::config::Config;

/// Mode of the data socket: its owner and group.
const DATA_MODE: u32 = 0o660;

/// Why a socket could not be had.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// A daemon answers on the path.
    #[error("{} is in use by {holder}; stop it, or choose another path", path.display())]
    InUse {
        /// The path.
        path: PathBuf,
        /// The process behind it.
        holder: String,
    },
    /// What stands at the path is not a socket.
    #[error("{} is there and is not a socket; choose another path, or move it away", path.display())]
    NotASocket {
        /// The path.
        path: PathBuf,
    },
    /// The system refused.
    #[error("cannot {doing} {}: {error}", path.display())]
    Path {
        /// What was tried.
        doing: &'static str,
        /// On which path.
        path: PathBuf,
        /// The system's answer.
        error: io::Error,
    },
    /// A TCP address cannot be had.
    #[error("cannot listen on {address}: {error}")]
    Tcp {
        /// The address.
        address: SocketAddr,
        /// The system's answer.
        error: io::Error,
    },
    /// Everybody could do everything.
    #[error(
        "the admin socket {} has the mode {mode:#o}, so everybody can connect, and no \
         [[rights]] say who may do what: set SocketMode=0600 or 0660 in its unit, or give \
         rights in the configuration",
        path.display()
    )]
    OpenToAll {
        /// The socket that systemd passed.
        path: PathBuf,
        /// Its mode.
        mode: u32,
    },
    /// Everybody could have mails and web hooks sent.
    #[error(
        "the socket of keygate deliver, {}, has the mode {mode:#o}, so everybody can connect and have \
         mails and web hooks sent: set SocketMode=0660 in its unit", path.display()
    )]
    DeliverOpenToAll {
        /// The socket that systemd passed.
        path: PathBuf,
        /// Its mode.
        mode: u32,
    },
    /// systemd passed `keygate deliver` other sockets than its own.
    #[error(
        "systemd passed sockets named {names:?}; keygate deliver takes one Unix socket, with \
         FileDescriptorName=deliver"
    )]
    NotDeliver {
        /// Their names.
        names: String,
    },
    /// systemd passed a socket that is not known by its name.
    #[error(
        "systemd passed socket {number} named {name:?}; name them with FileDescriptorName=data and \
         FileDescriptorName=admin"
    )]
    Inherited {
        /// Which, from 0.
        number: usize,
        /// Its name.
        name: String,
    },
}

/// Every socket that the daemon accepts on.
#[derive(Debug)]
pub struct Listeners {
    /// The data socket.
    pub data: UnixSocket,
    /// The admin socket.
    pub admin: UnixSocket,
    /// TCP listeners of the data plane.
    pub tcp: Vec<std::net::TcpListener>,
    /// TLS listeners of the data plane.
    pub tls: Vec<std::net::TcpListener>,
    /// TLS listeners of the admin plane.
    pub admin_tls: Vec<std::net::TcpListener>,
    /// Where metrics are told, if anywhere.
    pub http: Option<HttpSocket>,
}

/// A Unix listener; the file goes with it if this process made it.
#[derive(Debug)]
pub struct UnixSocket {
    /// The listener, not blocking.
    pub listener: UnixListener,
    /// For the log.
    pub path: PathBuf,
    /// Held for as long as the file is ours; `None` if systemd made the socket.
    lock: Option<File>,
}

impl Drop for UnixSocket {
    fn drop(&mut self) {
        if self.lock.is_some() {
            // A path that is gone already is what is wanted.
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

impl Listeners {
    /// Takes the sockets that systemd passed, and makes the others.
    ///
    /// # Errors
    /// [`ListenError`].
    pub fn open(config: &Config) -> Result<Self, ListenError> {
        let (data, admin) = inherited(config)?;
        let data = match data {
            Some(socket) => socket,
            None => bind(&config.socket, DATA_MODE)?,
        };
        let admin = match admin {
            Some(socket) => guarded(socket, config)?,
            None => bind(&config.admin_socket, config.admin_socket_mode)?,
        };
        let all =
            |addresses: &[SocketAddr]| addresses.iter().map(bind_tcp).collect::<Result<_, _>>();
        let (tcp, tls) = (all(&config.tcp)?, all(&config.tls.listen)?);
        let admin_tls = all(&config.tls.admin_listen)?;
        let http = http::open(&config.http)?;
        Ok(Self { data, admin, tcp, tls, admin_tls, http })
    }
}

type Inherited = (Option<UnixSocket>, Option<UnixSocket>);

fn inherited(config: &Config) -> Result<Inherited, ListenError> {
    let names = std::env::var("LISTEN_FDNAMES").unwrap_or_default();
    let mut passed = listenfd::ListenFd::from_env();
    let names: Vec<&str> = names.split(':').collect();
    let (mut data, mut admin) = (None, None);
    for number in 0..passed.len() {
        let name = names.get(number).copied().unwrap_or_default();
        let refused = || ListenError::Inherited { number, name: name.to_owned() };
        let listener = passed.take_unix_listener(number).ok().flatten().ok_or_else(refused)?;
        let (socket, path) = match name {
            "data" => (&mut data, &config.socket),
            "admin" => (&mut admin, &config.admin_socket),
            _ => return Err(refused()),
        };
        let path = listener
            .local_addr()
            .ok()
            .and_then(|address| address.as_pathname().map(Path::to_owned))
            .unwrap_or_else(|| path.clone());
        nonblocking(&listener, &path)?;
        *socket = Some(UnixSocket { listener, path, lock: None });
    }
    Ok((data, admin))
}

/// The admin socket as systemd made it, unless its mode lets everybody in and no rights tell them
/// apart. A path that cannot be looked at from here is the unit's affair.
fn guarded(socket: UnixSocket, config: &Config) -> Result<UnixSocket, ListenError> {
    let address = socket.listener.local_addr();
    let mode = match address.as_ref().map(|address| address.as_pathname().is_some()) {
        // An abstract name has no mode: nothing guards it.
        Ok(false) => 0o777,
        _ => std::fs::metadata(&socket.path).map_or(0, |file| file.permissions().mode() & 0o777),
    };
    if mode & 0o002 != 0 && config.rights.is_empty() {
        return Err(ListenError::OpenToAll { path: socket.path.clone(), mode });
    }
    Ok(socket)
}

/// Makes a Unix socket. The daemon's umask is 0077 by now, so nobody else can connect before the
/// mode is set.
fn bind(path: &Path, mode: u32) -> Result<UnixSocket, ListenError> {
    let failed = |doing| move |error| ListenError::Path { doing, path: path.to_owned(), error };
    if let Some(parent) = path.parent() {
        make_directory(parent).map_err(|error| ListenError::Path {
            doing: "make",
            path: parent.to_owned(),
            error,
        })?;
    }
    let lock = lock(path)?;
    clear_stale(path)?;
    let listener = UnixListener::bind(path).map_err(failed("listen on"))?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode))
        .map_err(failed("set the mode of"))?;
    nonblocking(&listener, path)?;
    Ok(UnixSocket { listener, path: path.to_owned(), lock: Some(lock) })
}

/// A directory that others may pass through, and so its parents: the sockets' own modes guard
/// them. What is there already keeps its mode.
fn make_directory(path: &Path) -> io::Result<()> {
    if path.as_os_str().is_empty() || path.is_dir() {
        return Ok(());
    }
    if let Some(parent) = path.parent() {
        make_directory(parent)?;
    }
    match std::fs::create_dir(path) {
        // Two daemons may start at once.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => Ok(()),
        Err(error) => Err(error),
        // The umask had its say on the mode.
        Ok(()) => std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)),
    }
}

/// Keeps other daemons from the path: of two that found the same stale file, the later would remove
/// the socket that the earlier has just made. The lock's file stays, for whoever removed it could
/// remove one that somebody holds by now.
fn lock(path: &Path) -> Result<File, ListenError> {
    let mut name = path.as_os_str().to_owned();
    name.push(".lock");
    let failed = |error| ListenError::Path { doing: "lock", path: name.clone().into(), error };
    let mut options = File::options();
    let file = options.write(true).create(true).truncate(false).mode(0o600);
    let file = file.open(&name).map_err(failed)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::Error(error)) => Err(failed(error)),
        Err(TryLockError::WouldBlock) => {
            let holder = UnixStream::connect(path)
                .map_or_else(|_| "a daemon that starts or stops".to_owned(), |it| holder(&it));
            Err(ListenError::InUse { path: path.to_owned(), holder })
        }
    }
}

/// Removes the socket file of a daemon that is dead; a live one is named.
fn clear_stale(path: &Path) -> Result<(), ListenError> {
    let failed = |doing| move |error| ListenError::Path { doing, path: path.to_owned(), error };
    let kind = match std::fs::symlink_metadata(path) {
        Ok(metadata) => metadata.file_type(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(failed("look at")(error)),
    };
    if !kind.is_socket() {
        return Err(ListenError::NotASocket { path: path.to_owned() });
    }
    match UnixStream::connect(path) {
        Ok(stream) => Err(ListenError::InUse { path: path.to_owned(), holder: holder(&stream) }),
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            std::fs::remove_file(path).map_err(failed("remove the stale"))
        }
        Err(error) => Err(failed("look at")(error)),
    }
}

/// The process behind a socket, where this process sees it: one of another container it does not.
fn peer_pid(stream: &UnixStream) -> Option<i32> {
    let stream = stream.try_clone().ok()?;
    // The runtime's socket knows processes without a number, and wants a runtime, which cannot be
    // had inside of another.
    let asking = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build().ok()?;
        let _inside = runtime.enter();
        stream.set_nonblocking(true).ok()?;
        let stream = tokio::net::UnixStream::from_std(stream).ok()?;
        stream.peer_cred().ok()?.pid().filter(|pid| *pid > 0)
    });
    asking.join().ok().flatten()
}

/// Who is behind a socket, for a message.
fn holder(stream: &UnixStream) -> String {
    let Some(pid) = peer_pid(stream) else { return "another process".to_owned() };
    let name = std::fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
    match name.trim() {
        "" => format!("process {pid}"),
        name => format!("process {pid} ({name})"),
    }
}

fn bind_tcp(address: &SocketAddr) -> Result<std::net::TcpListener, ListenError> {
    let failed = |error| ListenError::Tcp { address: *address, error };
    let listener = std::net::TcpListener::bind(address).map_err(failed)?;
    listener.set_nonblocking(true).map_err(failed)?;
    Ok(listener)
}

fn nonblocking(listener: &UnixListener, path: &Path) -> Result<(), ListenError> {
    listener.set_nonblocking(true).map_err(|error| ListenError::Path {
        doing: "prepare",
        path: path.to_owned(),
        error,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stale_socket_is_replaced_and_a_live_one_named() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("deep/er/data.sock");
        let first = bind(&path, DATA_MODE).expect("parents are made");
        let mode = std::fs::metadata(&path).expect("a socket").permissions().mode();
        assert_eq!(mode & 0o777, DATA_MODE);
        let refused = bind(&path, DATA_MODE).expect_err("live").to_string();
        assert!(refused.contains(&format!("process {}", std::process::id())), "{refused}");
        drop(first);
        assert!(!path.exists(), "a clean end takes the file along");
        // A killed daemon leaves its file behind.
        let dead = dir.path().join("dead.sock");
        drop(UnixListener::bind(&dead).expect("a socket"));
        bind(&dead, 0o600).expect("the stale file is replaced");
    }

    #[test]
    fn an_admin_socket_that_is_open_to_all_needs_rights() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("admin.sock");
        let right = "[[rights]]\nuid = 1\nroles = ['own']\ntenant = \"a\"\n";
        for (mode, text, taken) in
            [(0o600, "", true), (0o660, "", true), (0o666, "", false), (0o666, right, true)]
        {
            let socket = bind(&path, mode).expect("a socket");
            let config: Config = toml::from_str(text).expect("a configuration");
            match guarded(socket, &config) {
                Ok(_) => assert!(taken, "{mode:o} {text}"),
                Err(error) => {
                    let words = error.to_string();
                    assert!(
                        !taken && words.contains("0o666") && words.contains("SocketMode"),
                        "{words}"
                    );
                }
            }
        }
    }

    #[test]
    fn an_admin_socket_of_an_abstract_name_is_open_to_all() {
        use std::os::linux::net::SocketAddrExt;
        let name = format!("keygate-test-{}", std::process::id());
        let address = std::os::unix::net::SocketAddr::from_abstract_name(name).expect("a name");
        let open = || UnixSocket {
            listener: UnixListener::bind_addr(&address).expect("a socket"),
            path: "/nowhere/admin.sock".into(),
            lock: None,
        };
        assert!(matches!(guarded(open(), &Config::default()), Err(ListenError::OpenToAll { .. })));
        let right = "[[rights]]\nuid = 1\nroles = ['own']\ntenant = \"a\"\n";
        assert!(guarded(open(), &toml::from_str(right).expect("a configuration")).is_ok());
    }

    #[test]
    fn of_daemons_that_start_at_once_one_has_the_path() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("data.sock");
        let held = lock(&path).expect("nobody has it");
        // The other has not made its socket yet.
        assert!(matches!(bind(&path, DATA_MODE), Err(ListenError::InUse { .. })));
        drop(held);
        bind(&path, DATA_MODE).expect("free again");
    }

    #[test]
    fn every_directory_that_is_made_lets_others_pass() {
        let dir = tempfile::tempdir().expect("a directory");
        let mode = |path: &str| {
            let metadata = std::fs::metadata(dir.path().join(path)).expect("made");
            metadata.permissions().mode() & 0o777
        };
        // The umask belongs to the whole process, so a parent's own mode stands in for it.
        std::fs::create_dir(dir.path().join("there")).expect("a directory");
        let private = std::fs::Permissions::from_mode(0o700);
        std::fs::set_permissions(dir.path().join("there"), private).expect("its mode");
        make_directory(&dir.path().join("there/a/b")).expect("made");
        assert_eq!(["there", "there/a", "there/a/b"].map(mode), [0o700, 0o755, 0o755]);
    }

    #[test]
    fn what_is_no_socket_is_left_alone() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("precious");
        std::fs::write(&path, "data").expect("a file");
        assert!(matches!(bind(&path, DATA_MODE), Err(ListenError::NotASocket { .. })));
        assert_eq!(std::fs::read_to_string(&path).expect("still there"), "data");
    }
}
