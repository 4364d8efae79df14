//! The configuration: flag, then environment, then the TOML file, then the default.
//!
//! Every limit carries its unit in its name, every limit is finite, and a name that is not known
//! is an error: a mistyped limit must not be silently absent. [`bounds`](BOUNDS) is the one table of
//! what values may be, [`names`] is what tiers, profiles, regions and sinks may be, [`Source`] reads
//! all of it again, and [`change`] tells what is different then.

mod alerts;
mod audit;
mod bounds;
pub mod change;
mod document;
mod http;
pub mod names;
mod signing;
mod source;
mod throttle;
mod tls;

use std::collections::BTreeMap;
use std::io::{self, Read};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use keygate_protocol::Role;
use keygate_protocol::limits::{ADMIN_FRAME_BYTES_MAX, DATA_FRAME_BYTES_MAX};
use serde::{Deserialize, Serialize};

pub use alerts::{Alerts, Smtp, SmtpTls};
pub use audit::{Audit, AuditSync};
pub use bounds::{BOUNDS, Bound};
pub use document::Problem;
pub use http::{Http, Listen};
pub use names::{Profile, Sink, SinkKind};
pub use signing::Signing;
pub use source::{Overrides, Source};
pub use throttle::Throttle;
pub use tls::{ClientCertificates, SocketKind, TcpPlaintext, Tls};

use crate::key::{Allowance, Rules};

/// Longest configuration: a thousand tiers, profiles and sinks fit many times.
const FILE_BYTES_MAX: u64 = 4 * 1024 * 1024;

pub mod rights;

pub use rights::{Fingerprint, Granted, NetworkRoles, Right, Who};

use crate::store::StoreEngine;

/// Where the daemon's data socket stands if nothing says otherwise.
pub const SOCKET_DEFAULT: &str = "/run/keygate/keygate.sock";
/// Where its admin socket stands.
pub const ADMIN_SOCKET_DEFAULT: &str = "/run/keygate/admin.sock";
/// Where the socket of `keygate deliver` stands.
pub const DELIVER_SOCKET_DEFAULT: &str = "/run/keygate/deliver.sock";
/// Where its store stands.
pub const DATA_DIR_DEFAULT: &str = "/var/lib/keygate";

/// Everything `keygate serve` can be told.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// The directory of the store, the pepper and the lock; made with mode 0700.
    pub data_dir: PathBuf,
    /// The data socket, mode 0660.
    pub socket: PathBuf,
    /// The admin socket.
    pub admin_socket: PathBuf,
    /// Its mode, where the daemon makes it: 0o600, 0o660 or 0o666.
    pub admin_socket_mode: u32,
    /// Who may do what. Without any, whoever can connect to the admin socket may do everything.
    pub rights: Vec<Right>,
    /// What those may do on the data plane whom no entry of [`Config::rights`] names.
    pub data_roles_default: Vec<Role>,
    /// The same of those among them that come by plain TCP, or by TLS without a certificate.
    pub network_roles_default: NetworkRoles,
    /// Sockets whose callers are trusted to state the certificate of their client.
    pub stated_certificates: Vec<SocketKind>,
    /// TCP addresses of the data plane, in plain text.
    pub tcp: Vec<SocketAddr>,
    /// Which addresses those may be.
    pub tcp_plaintext: TcpPlaintext,
    /// TLS.
    pub tls: Tls,
    /// What tokens begin with, before `_live_` and `_test_`.
    pub token_brand: String,
    /// Data-plane threads; 0 is one for each processor.
    pub threads: usize,
    /// What a connection, a frame, a wait may cost.
    pub limits: Limits,
    /// The store.
    pub store: Store,
    /// What is told of usage.
    pub usage: Usage,
    /// How fast lookups may fail.
    pub throttle: Throttle,
    /// Signed requests.
    pub signing: Signing,
    /// The life of keys.
    pub keys: Keys,
    /// The ledger of durable limits.
    pub ledger: Ledger,
    /// The audit log.
    pub audit: Audit,
    /// Billing tiers by name: what a key of the tier may use where it does not say itself.
    pub tiers: BTreeMap<String, Allowance>,
    /// Compliance profiles by name: what a record that names one must have.
    pub profiles: BTreeMap<String, Profile>,
    /// Regions that `data_residency` may name; empty for any.
    pub regions: Vec<String>,
    /// Sinks by name, for `monitoring_integrations`.
    pub sinks: BTreeMap<String, Sink>,
    /// Metrics and health.
    pub http: Http,
    /// How alerts are sent.
    pub alerts: Alerts,
}

/// Bounds of connections, frames and waits.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// Open connections on the data plane; one more is told so and closed.
    pub connections_max: usize,
    /// Open connections on the admin socket.
    pub admin_connections_max: usize,
    /// Longest request on the data plane, as its length prefix says it; at most 65,536.
    pub frame_bytes_max: u32,
    /// Longest request on the admin socket; at most 1,048,576.
    pub admin_frame_bytes_max: u32,
    /// Replies that may wait for a peer to read them; beyond it no request of it is decided.
    pub reply_bytes_max: usize,
    /// How long a connection may be silent.
    pub idle_timeout_ms: u64,
    /// How long a begun frame may take to become whole.
    pub frame_timeout_ms: u64,
    /// How long a TLS handshake may take.
    pub handshake_timeout_ms: u64,
    /// TLS handshakes that may be under way; one more connection is closed at once.
    pub handshakes_max: usize,
    /// How long a peer may take to read its replies.
    pub write_timeout_ms: u64,
    /// How long a stop may take before what is left is dropped.
    pub stop_deadline_ms: u64,
    /// Keys, deleted ones too.
    pub keys_max: usize,
    /// How long the id of an `Increment` counts once.
    pub increment_id_window_ms: u64,
    /// How many such ids are remembered.
    pub increment_ids_max: usize,
    /// Slots held at a time, of all keys.
    pub slots_max: usize,
    /// Requests of one connection whose replies wait for the ledger; beyond, nothing more of it is
    /// read.
    pub deferred_max: usize,
    /// Events that wait for the slowest of those who watch; it is told how many more it has missed.
    pub watch_events_max: usize,
    /// How many may watch at a time.
    pub watchers_max: usize,
}

/// The store's settings.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Store {
    /// What keeps the data on disk. A data directory is the engine's that made it.
    pub engine: StoreEngine,
    /// Memory that the store may use to cache pages. Decisions do not read them.
    pub cache_bytes: u64,
    /// Writes that may wait for the disk; one more is told that the daemon is busy.
    pub commit_queue_max: usize,
    /// How often usage is written: what a crash may lose of it.
    pub usage_flush_interval_ms: u64,
}

/// What is told of usage.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Usage {
    /// Whether it is told by the hour and the day, with denials, costs, and the sums of tenants.
    pub history: bool,
    /// What endpoints and recent errors of all keys may take in memory, about; beyond it they are
    /// counted as `(other)`, or forgotten.
    pub detail_bytes_max: usize,
}

/// The life of keys.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Keys {
    /// Verdicts warn this many days before a key expires.
    pub expiry_warning_days: u32,
    /// How long a rotated-out token goes on if the rotation does not say.
    pub rotation_grace_ms: u64,
    /// The longest that a rotation may ask for.
    pub rotation_grace_max_ms: u64,
    /// Whether a key whose rotation is overdue is denied; otherwise its verdicts warn.
    pub deny_rotation_overdue: bool,
    /// How long deleted keys and tenants are kept before they are purged; 0: until the next look.
    pub deleted_retention_days: u32,
}

/// The ledger of durable limits.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Ledger {
    /// What becomes of units that are not leased while the store takes no writes.
    pub unavailable: Unavailable,
}

/// See [`Ledger::unavailable`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Unavailable {
    /// They are denied, with `LEDGER_UNAVAILABLE`.
    #[default]
    Deny,
    /// They are admitted up to the cap, and a crash forgets them.
    Allow,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            data_dir: DATA_DIR_DEFAULT.into(),
            socket: SOCKET_DEFAULT.into(),
            admin_socket: ADMIN_SOCKET_DEFAULT.into(),
            admin_socket_mode: 0o600,
            rights: Vec::new(),
            data_roles_default: vec![Role::Check, Role::Report],
            network_roles_default: NetworkRoles::default(),
            stated_certificates: vec![SocketKind::Data, SocketKind::Admin],
            tcp: Vec::new(),
            tcp_plaintext: TcpPlaintext::default(),
            tls: Tls::default(),
            token_brand: "kg".to_owned(),
            threads: 0,
            limits: Limits::default(),
            store: Store::default(),
            usage: Usage::default(),
            throttle: Throttle::default(),
            signing: Signing::default(),
            keys: Keys::default(),
            ledger: Ledger::default(),
            audit: Audit::default(),
            tiers: BTreeMap::new(),
            profiles: BTreeMap::new(),
            regions: Vec::new(),
            sinks: BTreeMap::new(),
            http: Http::default(),
            alerts: Alerts::default(),
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections_max: 10_000,
            admin_connections_max: 64,
            frame_bytes_max: DATA_FRAME_BYTES_MAX,
            admin_frame_bytes_max: ADMIN_FRAME_BYTES_MAX,
            reply_bytes_max: 256 * 1024,
            idle_timeout_ms: 600_000,
            frame_timeout_ms: 10_000,
            handshake_timeout_ms: 10_000,
            handshakes_max: 256,
            write_timeout_ms: 10_000,
            stop_deadline_ms: 10_000,
            keys_max: 20_000_000,
            increment_id_window_ms: 600_000,
            increment_ids_max: 1_000_000,
            slots_max: 1_000_000,
            deferred_max: 1024,
            watch_events_max: 1024,
            watchers_max: 16,
        }
    }
}

impl Default for Store {
    fn default() -> Self {
        Self {
            engine: StoreEngine::default(),
            cache_bytes: 16 * 1024 * 1024,
            commit_queue_max: 4096,
            usage_flush_interval_ms: 1000,
        }
    }
}

impl Default for Usage {
    fn default() -> Self {
        Self { history: true, detail_bytes_max: 256 * 1024 * 1024 }
    }
}

impl Default for Keys {
    fn default() -> Self {
        Self {
            expiry_warning_days: 14,
            rotation_grace_ms: 24 * 3600 * 1000,
            rotation_grace_max_ms: 30 * 24 * 3600 * 1000,
            deny_rotation_overdue: false,
            deleted_retention_days: 30,
        }
    }
}

/// Why a configuration is refused; each says what to change.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read the configuration {}: {error}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        error: std::io::Error,
    },
    /// The file is not a configuration, or has values out of their bounds.
    #[error("{}", in_file(path, problems))]
    File {
        /// The file.
        path: PathBuf,
        /// What and where: at least one.
        problems: Vec<Problem>,
    },
    /// Values are out of their bounds.
    #[error("{}", lines(problems))]
    Values {
        /// Which: at least one.
        problems: Vec<Problem>,
    },
}

impl Config {
    /// Reads a TOML file, all of whose values must be within their bounds; what it does not say has
    /// its default.
    ///
    /// # Errors
    /// [`ConfigError::Read`], and [`ConfigError::File`] with all that is wrong in it.
    pub fn from_file(path: &Path) -> Result<Self, ConfigError> {
        let read = |error| ConfigError::Read { path: path.to_owned(), error };
        let text = read_bounded(path).map_err(read)?;
        document::parse(&text)
            .map_err(|problems| ConfigError::File { path: path.to_owned(), problems })
    }

    /// Shows every value to be within its bounds.
    ///
    /// # Errors
    /// [`ConfigError::Values`], naming all that are not.
    pub fn check(&self) -> Result<(), ConfigError> {
        let problems = bounds::problems(self);
        if problems.is_empty() { Ok(()) } else { Err(ConfigError::Values { problems }) }
    }

    /// What it says of keys.
    #[must_use]
    pub fn rules(&self) -> Rules {
        let profiles = self.profiles.iter();
        Rules {
            tiers: self.tiers.clone(),
            profiles: profiles
                .map(|(name, profile)| (name.clone(), profile.requires.clone()))
                .collect(),
            regions: self.regions.iter().cloned().collect(),
            sinks: self.sinks.keys().cloned().collect(),
        }
    }
}

/// Reads a file that is no longer than a configuration may be.
fn read_bounded(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    std::fs::File::open(path)?.take(FILE_BYTES_MAX + 1).read_to_string(&mut text)?;
    if text.len() as u64 > FILE_BYTES_MAX {
        let what = format!("it has more than {FILE_BYTES_MAX} bytes, the most that is read");
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, what));
    }
    Ok(text)
}

fn in_file(path: &Path, problems: &[Problem]) -> String {
    let line = |problem: &Problem| match problem.line {
        Some(line) => format!("{}, line {line}: {}", path.display(), problem.reason),
        None => format!("{}: {}", path.display(), problem.reason),
    };
    problems.iter().map(line).collect::<Vec<_>>().join("\n")
}

fn lines(problems: &[Problem]) -> String {
    problems.iter().map(|problem| problem.reason.as_str()).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_overrides_defaults_and_unknown_names_are_named() {
        let config: Config = toml::from_str(
            "threads = 3\ntcp = [\"127.0.0.1:7000\"]\n[limits]\nidle_timeout_ms = 5000\n",
        )
        .expect("a configuration");
        assert_eq!((config.threads, config.limits.idle_timeout_ms), (3, 5000));
        assert_eq!(config.limits.frame_bytes_max, DATA_FRAME_BYTES_MAX);
        let error = toml::from_str::<Config>("[limits]\nidle_timeout = 5\n").expect_err("unknown");
        assert!(error.to_string().contains("idle_timeout_ms"), "{error}");
        assert!(error.to_string().contains("line 2"), "{error}");
    }

    #[test]
    fn an_engine_is_chosen_by_its_name() {
        let engine = |text| toml::from_str::<Config>(text).map(|config| config.store.engine);
        assert_eq!(engine("").expect("the default"), StoreEngine::Sled);
        assert_eq!(engine("[store]\nengine = \"redb\"\n").expect("known"), StoreEngine::Redb);
        let error = engine("[store]\nengine = \"rocksdb\"\n").expect_err("unknown").to_string();
        assert!(error.contains("`sled` or `redb`"), "{error}");
    }

    #[test]
    fn what_an_unavailable_ledger_means_is_said_in_words() {
        let of = |text| toml::from_str::<Config>(text).map(|config| config.ledger.unavailable);
        assert_eq!(of("").expect("the default"), Unavailable::Deny);
        assert_eq!(of("[ledger]\nunavailable = \"allow\"\n").expect("known"), Unavailable::Allow);
        let error = of("ledger.unavailable = \"open\"\n").expect_err("unknown").to_string();
        assert!(error.contains("`deny` or `allow`"), "{error}");
    }

    #[test]
    fn values_out_of_bounds_are_refused_by_name() {
        Config::default().check().expect("the defaults are within their bounds");
        type Change = fn(&mut Config);
        let cases: [(Change, &str); 11] = [
            (|c| c.limits.idle_timeout_ms = 0, "limits.idle_timeout_ms is 0"),
            (|c| c.limits.frame_bytes_max = 1 << 20, "limits.frame_bytes_max is 1048576"),
            (|c| c.tcp = vec!["0.0.0.0:1".parse().expect("an address")], "loopback"),
            (|c| c.limits.increment_ids_max = 0, "increment_ids_max"),
            (|c| c.store.cache_bytes = 1000, "store.cache_bytes is 1000"),
            (|c| c.store.cache_bytes = u64::MAX, "store.cache_bytes"),
            (|c| c.keys.expiry_warning_days = 3651, "keys.expiry_warning_days is 3651"),
            (|c| c.keys.rotation_grace_ms = u64::MAX, "keys.rotation_grace_ms"),
            (|c| c.keys.rotation_grace_max_ms = 5, "it must be at most keys.rotation_grace_max_ms"),
            (|c| c.keys.rotation_grace_max_ms = u64::MAX, "keys.rotation_grace_max_ms"),
            (|c| c.keys.deleted_retention_days = 3651, "keys.deleted_retention_days is 3651"),
        ];
        for (change, expected) in cases {
            let mut config = Config::default();
            change(&mut config);
            let error = config.check().expect_err(expected).to_string();
            assert!(error.contains(expected), "{error}");
        }
    }

    #[test]
    fn a_file_that_is_too_long_is_not_read_whole() {
        let place = tempfile::tempdir().expect("a directory");
        let path = place.path().join("long.toml");
        std::fs::write(&path, "#".repeat(5 << 20)).expect("written");
        let error = Config::from_file(&path).expect_err("too long").to_string();
        assert!(error.contains("more than 4194304 bytes"), "{error}");
    }
}
