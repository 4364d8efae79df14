//! Connections of commands to the daemon.

use std::future::Future;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::error::CliError;
use super::{Global, remote};
use crate::client::Client;
use crate::config::{ADMIN_SOCKET_DEFAULT, SOCKET_DEFAULT};

/// How long a command waits for an answer. A change waits for the disk.
const TIMEOUT: Duration = Duration::from_secs(30);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);

impl Global {
    pub(super) fn data_socket(&self) -> PathBuf {
        self.socket.clone().unwrap_or_else(|| SOCKET_DEFAULT.into())
    }

    pub(super) fn admin_socket(&self) -> PathBuf {
        self.admin_socket.clone().unwrap_or_else(|| ADMIN_SOCKET_DEFAULT.into())
    }

    /// Runs a command's calls to the data socket.
    pub(super) fn with_data<T, F: Future<Output = Result<T, CliError>>>(
        &self,
        calls: impl FnOnce(Client) -> F,
    ) -> Result<T, CliError> {
        self.with_client(&self.data_socket(), calls)
    }

    /// A connection to the admin socket, for a command that needs several.
    pub(super) async fn admin_client(&self) -> Result<Client, CliError> {
        self.connect(&self.admin_socket()).await
    }

    /// Runs a command's calls to the admin socket.
    pub(super) fn with_admin<T, F: Future<Output = Result<T, CliError>>>(
        &self,
        calls: impl FnOnce(Client) -> F,
    ) -> Result<T, CliError> {
        self.with_client(&self.admin_socket(), calls)
    }

    fn with_client<T, F: Future<Output = Result<T, CliError>>>(
        &self,
        socket: &Path,
        calls: impl FnOnce(Client) -> F,
    ) -> Result<T, CliError> {
        let runtime = runtime()?;
        let outcome = runtime.block_on(async { calls(self.connect(socket).await?).await });
        // A thread that still reads an endless input must not hold the end up.
        runtime.shutdown_background();
        outcome
    }

    async fn connect(&self, socket: &Path) -> Result<Client, CliError> {
        // A person waits: one attempt is enough to know.
        let mut client = Client::builder(remote::endpoint(socket, &self.tls)?)
            .connect_timeout(CONNECT_TIMEOUT)
            .timeout(CONNECT_TIMEOUT)
            .name("keygate command line");
        if let Some(tenant) = &self.as_tenant {
            client = client.tenant(tenant);
        }
        Ok(client.connect().await?.with_timeout(TIMEOUT))
    }
}

/// A runtime on this thread.
pub(super) fn runtime() -> Result<tokio::runtime::Runtime, CliError> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| CliError::System { doing: "cannot start a runtime", error })
}
