//! The configuration, parsed once: flag, then environment, then the TOML file, then the default.
//!
//! Every limit carries its unit in its name, every limit is finite, and a name that is not known
//! is an error: a mistyped limit must not be silently absent.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use keygate_protocol::limits::{ADMIN_FRAME_BYTES_MAX, DATA_FRAME_BYTES_MAX};
use serde::Deserialize;

use crate::store::StoreEngine;

/// Where the daemon's data socket stands if nothing says otherwise.
pub const SOCKET_DEFAULT: &str = "/run/keygate/keygate.sock";
/// Where its admin socket stands.
pub const ADMIN_SOCKET_DEFAULT: &str = "/run/keygate/admin.sock";
/// Where its store stands.
pub const DATA_DIR_DEFAULT: &str = "/var/lib/keygate";

/// Everything `keygate serve` can be told.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// The directory of the store, the pepper and the lock; made with mode 0700.
    pub data_dir: PathBuf,
    /// The data socket, mode 0660.
    pub socket: PathBuf,
    /// The admin socket, mode 0600.
    pub admin_socket: PathBuf,
    /// TCP addresses of the data plane. Plain text: loopback addresses only.
    pub tcp: Vec<SocketAddr>,
    /// What tokens begin with, before `_live_` and `_test_`.
    pub token_brand: String,
    /// Data-plane threads; 0 is one for each processor.
    pub threads: usize,
    /// What a connection, a frame, a wait may cost.
    pub limits: Limits,
    /// The store.
    pub store: Store,
    /// The life of keys.
    pub keys: Keys,
}

/// Bounds of connections, frames and waits.
#[derive(Debug, Clone, Deserialize)]
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
}

/// The store's settings.
#[derive(Debug, Clone, Deserialize)]
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

/// The life of keys.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Keys {
    /// Verdicts warn this many days before a key expires.
    pub expiry_warning_days: u32,
    /// How long a rotated-out token goes on if the rotation does not say.
    pub rotation_grace_ms: u64,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            data_dir: DATA_DIR_DEFAULT.into(),
            socket: SOCKET_DEFAULT.into(),
            admin_socket: ADMIN_SOCKET_DEFAULT.into(),
            tcp: Vec::new(),
            token_brand: "kg".to_owned(),
            threads: 0,
            limits: Limits::default(),
            store: Store::default(),
            keys: Keys::default(),
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
            write_timeout_ms: 10_000,
            stop_deadline_ms: 10_000,
            keys_max: 20_000_000,
            increment_id_window_ms: 600_000,
            increment_ids_max: 1_000_000,
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

impl Default for Keys {
    fn default() -> Self {
        Self { expiry_warning_days: 14, rotation_grace_ms: 24 * 3600 * 1000 }
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
    /// The file is not the configuration; the parser names line, column and what is allowed.
    #[error("{}: {error}", path.display())]
    Parse {
        /// The file.
        path: PathBuf,
        /// What and where.
        error: Box<toml::de::Error>,
    },
    /// A value is out of its bounds.
    #[error("{name} is {value}; it must be {bound}")]
    Bound {
        /// The setting.
        name: &'static str,
        /// What it was set to.
        value: String,
        /// What it may be.
        bound: &'static str,
    },
}

impl Config {
    /// Reads a TOML file; what it does not say has its default.
    ///
    /// # Errors
    /// [`ConfigError::Read`] and [`ConfigError::Parse`].
    pub fn from_file(path: &Path) -> Result<Self, ConfigError> {
        let text = std::fs::read_to_string(path)
            .map_err(|error| ConfigError::Read { path: path.to_owned(), error })?;
        toml::from_str(&text)
            .map_err(|error| ConfigError::Parse { path: path.to_owned(), error: Box::new(error) })
    }

    /// Shows every value to be within its bounds.
    ///
    /// # Errors
    /// [`ConfigError::Bound`], naming the first that is not.
    pub fn check(&self) -> Result<(), ConfigError> {
        const DAY_MS: u64 = 24 * 3600 * 1000;
        let limits = &self.limits;
        let bounds: [(&str, u64, u64, u64, &str); 18] = [
            ("threads", self.threads as u64, 0, 1024, "0 to 1024"),
            ("limits.connections_max", limits.connections_max as u64, 1, 1 << 20, "1 to 1048576"),
            (
                "limits.admin_connections_max",
                limits.admin_connections_max as u64,
                1,
                4096,
                "1 to 4096",
            ),
            (
                "limits.frame_bytes_max",
                limits.frame_bytes_max.into(),
                1024,
                DATA_FRAME_BYTES_MAX.into(),
                "1024 to 65536",
            ),
            (
                "limits.admin_frame_bytes_max",
                limits.admin_frame_bytes_max.into(),
                65_536,
                ADMIN_FRAME_BYTES_MAX.into(),
                "65536 to 1048576",
            ),
            (
                "limits.reply_bytes_max",
                limits.reply_bytes_max as u64,
                4096,
                1 << 30,
                "4096 to 1073741824",
            ),
            ("limits.idle_timeout_ms", limits.idle_timeout_ms, 100, 30 * DAY_MS, TIME_BOUND),
            ("limits.frame_timeout_ms", limits.frame_timeout_ms, 100, 30 * DAY_MS, TIME_BOUND),
            ("limits.write_timeout_ms", limits.write_timeout_ms, 100, 30 * DAY_MS, TIME_BOUND),
            ("limits.stop_deadline_ms", limits.stop_deadline_ms, 100, 30 * DAY_MS, TIME_BOUND),
            ("limits.keys_max", limits.keys_max as u64, 1, 4_000_000_000, "1 to 4000000000"),
            (
                "limits.increment_id_window_ms",
                limits.increment_id_window_ms,
                100,
                30 * DAY_MS,
                TIME_BOUND,
            ),
            (
                "store.usage_flush_interval_ms",
                self.store.usage_flush_interval_ms,
                10,
                DAY_MS,
                "10 to 86400000",
            ),
            (
                "store.commit_queue_max",
                self.store.commit_queue_max as u64,
                1,
                1 << 20,
                "1 to 1048576",
            ),
            (
                "limits.increment_ids_max",
                limits.increment_ids_max as u64,
                64,
                1_000_000_000,
                "64 to 1000000000",
            ),
            (
                "store.cache_bytes",
                self.store.cache_bytes,
                1 << 20,
                1 << 40,
                "1048576 (1 MiB) to 1099511627776 (1 TiB)",
            ),
            (
                "keys.expiry_warning_days",
                self.keys.expiry_warning_days.into(),
                0,
                3650,
                "0 to 3650",
            ),
            (
                "keys.rotation_grace_ms",
                self.keys.rotation_grace_ms,
                0,
                3650 * DAY_MS,
                "0 to 315360000000 (3650 days)",
            ),
        ];
        for (name, value, min, max, bound) in bounds {
            if !(min..=max).contains(&value) {
                return Err(ConfigError::Bound { name, value: value.to_string(), bound });
            }
        }
        if let Some(open) = self.tcp.iter().find(|address| !address.ip().is_loopback()) {
            return Err(ConfigError::Bound {
                name: "tcp",
                value: open.to_string(),
                bound: "a loopback address: tokens would cross the network in plain text",
            });
        }
        Ok(())
    }
}

const TIME_BOUND: &str = "100 to 2592000000 (30 days)";

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
    fn values_out_of_bounds_are_refused_by_name() {
        Config::default().check().expect("the defaults are within their bounds");
        type Change = fn(&mut Config);
        let cases: [(Change, &str); 8] = [
            (|c| c.limits.idle_timeout_ms = 0, "limits.idle_timeout_ms is 0"),
            (|c| c.limits.frame_bytes_max = 1 << 20, "limits.frame_bytes_max is 1048576"),
            (|c| c.tcp = vec!["0.0.0.0:1".parse().expect("an address")], "loopback"),
            (|c| c.limits.increment_ids_max = 0, "increment_ids_max"),
            (|c| c.store.cache_bytes = 1000, "store.cache_bytes is 1000"),
            (|c| c.store.cache_bytes = u64::MAX, "store.cache_bytes"),
            (|c| c.keys.expiry_warning_days = 3651, "keys.expiry_warning_days is 3651"),
            (|c| c.keys.rotation_grace_ms = u64::MAX, "keys.rotation_grace_ms"),
        ];
        for (change, expected) in cases {
            let mut config = Config::default();
            change(&mut config);
            let error = config.check().expect_err(expected).to_string();
            assert!(error.contains(expected), "{error}");
        }
    }
}
