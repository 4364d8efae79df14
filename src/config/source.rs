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
    /// See [`Alerts::deliver_socket`](super::Alerts::deliver_socket).
    pub deliver_socket: Option<PathBuf>,
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
        let Overrides { data_dir, socket, admin_socket, deliver_socket, tcp } = &self.overrides;
        let over = |setting: &mut PathBuf, by: &Option<PathBuf>| {
            if let Some(path) = by {
                setting.clone_from(path);
            }
        };
        over(&mut config.data_dir, data_dir);
        over(&mut config.socket, socket);
        over(&mut config.admin_socket, admin_socket);
        over(&mut config.alerts.deliver_socket, deliver_socket);
        if !tcp.is_empty() {
            config.tcp.clone_from(tcp);
        }
        config.check()?;
        Ok(config)
    }

    /// The same for a daemon that serves already: what is no file is refused before it is opened, for
    /// a pipe that nobody writes to would be waited for without an end, or be read as an empty file.
    ///
    /// # Errors
    /// [`ConfigError`], with everything that is wrong.
    pub fn read_again(&self) -> Result<Config, ConfigError> {
        if let Some(path) = &self.file {
            let read = |error| ConfigError::Read { path: path.clone(), error };
            if !std::fs::metadata(path).map_err(read)?.is_file() {
                return Err(read(std::io::Error::other(
                    "it is not a regular file, so it cannot be read again; put one there",
                )));
            }
        }
        self.read()
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn flags_outweigh_the_file_each_time_it_is_read() {
        let place = tempfile::tempdir().expect("a directory");
        let path = place.path().join("keygate.toml");
        let write = |text: &str| std::fs::write(&path, text).expect("written");
        let overrides = Overrides { data_dir: Some("/flag".into()), ..Overrides::default() };
        let source = Source { file: Some(path.clone()), overrides };
        for threads in [3, 4] {
            write(&format!("threads = {threads}\ndata_dir = '/file'\nsocket = '/file.sock'\n"));
            let config = source.read().expect("a configuration");
            assert_eq!((config.threads, &*config.socket), (threads, Path::new("/file.sock")));
            assert_eq!(config.data_dir, Path::new("/flag"));
        }
        write("threads = 9999\n");
        let error = source.read().expect_err("out of bounds").to_string();
        assert!(error.contains("keygate.toml, line 1: threads is 9999"), "{error}");
    }
}
