//! Where a configuration comes from, so that it can be read again, the same way.

use std::net::SocketAddr;
use std::path::PathBuf;

use super::{Config, ConfigError};

/// The file, and what flags and environment say over it.
#[derive(Debug, Clone, Default)]
pub struct Source {
    /// The file; without one there is nothing to read again.
    pub file: Option<PathBuf>,
    /// What stands whatever the file says.
    pub overrides: Overrides,
}

/// Settings that a flag or the environment has set.
#[derive(Debug, Clone, Default)]
pub struct Overrides {
    /// See [`Config::data_dir`].
    pub data_dir: Option<PathBuf>,
    /// See [`Config::socket`].
    pub socket: Option<PathBuf>,
    /// See [`Config::admin_socket`].
    pub admin_socket: Option<PathBuf>,
    /// See [`Config::tcp`]; empty for none set.
    pub tcp: Vec<SocketAddr>,
}

impl Source {
    /// Reads and checks the whole.
    ///
    /// # Errors
    /// [`ConfigError`], with everything that is wrong.
    pub fn read(&self) -> Result<Config, ConfigError> {
        let mut config = match &self.file {
            Some(path) => Config::from_file(path)?,
            None => Config::default(),
        };
        let Overrides { data_dir, socket, admin_socket, tcp } = &self.overrides;
        let over = |setting: &mut PathBuf, by: &Option<PathBuf>| {
            if let Some(path) = by {
                setting.clone_from(path);
            }
        };
        over(&mut config.data_dir, data_dir);
        over(&mut config.socket, socket);
        over(&mut config.admin_socket, admin_socket);
        if !tcp.is_empty() {
            config.tcp.clone_from(tcp);
        }
        config.check()?;
        Ok(config)
    }
}
