//! What a client is made of.

use std::sync::Arc;
use std::time::Duration;

use keygate_protocol::limits::CLIENT_NAME_BYTES_MAX;

use super::connection::{self, Served};
use super::link::Link;
use super::table::IN_FLIGHT_MAX;
use super::wire::{Settings, Wire};
use super::{Client, Endpoint, Error, Handle, ServerInfo, TIMEOUT, connect_error};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
const SILENCE_MAX: Duration = Duration::from_secs(10);
const STREAM_TIMEOUT: Duration = Duration::from_secs(300);
const IN_FLIGHT: usize = 1024;

/// Makes a [`Client`].
#[derive(Debug, Clone)]
#[must_use]
pub struct Builder {
    settings: Settings,
    timeout: Duration,
    in_flight_max: usize,
}

impl Builder {
    pub(super) fn new(endpoint: Endpoint) -> Self {
        let settings = Settings {
            endpoint,
            name: concat!("keygate-client/", env!("CARGO_PKG_VERSION")).to_owned(),
            tenant: None,
            connect_timeout: CONNECT_TIMEOUT,
            silence_max: SILENCE_MAX,
            stream_timeout: STREAM_TIMEOUT,
        };
        Self { settings, timeout: TIMEOUT, in_flight_max: IN_FLIGHT }
    }

    /// How long a call waits for room, connection and answer together; 5 s if not told. See
    /// [`Client::with_timeout`] for single calls.
    pub const fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// How long one attempt to connect may take, the greeting included; 2 s if not told.
    pub const fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.settings.connect_timeout = timeout;
        self
    }

    /// How long the daemon may be silent once a call has timed out; 10 s if not told. Then the
    /// connection is given up and another is made.
    pub const fn silence_max(mut self, silence: Duration) -> Self {
        self.settings.silence_max = silence;
        self
    }

    /// How long an import or an export may stand still; 5 minutes if not told. An import's last
    /// answer comes when all of it is durable.
    pub const fn stream_timeout(mut self, timeout: Duration) -> Self {
        self.settings.stream_timeout = timeout;
        self
    }

    /// Requests that may be unanswered at a time, 1 to 65,535; 1,024 if not told. Further calls
    /// wait for room. A call whose caller has given up counts until its late reply has come.
    pub fn in_flight_max(mut self, requests: usize) -> Self {
        self.in_flight_max = requests.clamp(1, IN_FLIGHT_MAX);
        self
    }

    /// What the daemon's log calls this program; at most 64 bytes, the rest is cut.
    pub fn name(mut self, name: &str) -> Self {
        name[..name.floor_char_boundary(CLIENT_NAME_BYTES_MAX)].clone_into(&mut self.settings.name);
        self
    }

    /// Binds every connection of the client to a tenant: no other tenant's key is there for it, on
    /// either socket. A tenant that is empty or longer than 64 bytes is refused by the daemon when
    /// it is greeted, and so is any by a daemon that is older than this demand.
    pub fn tenant(mut self, tenant: &str) -> Self {
        self.settings.tenant = Some(tenant.to_owned());
        self
    }

    /// A client that connects when it is first asked.
    ///
    /// # Panics
    /// Outside a tokio runtime with its I/O and time drivers enabled.
    #[must_use]
    pub fn build(self) -> Client {
        self.spawn(None)
    }

    /// A client that is connected.
    ///
    /// # Errors
    /// [`Error::Connect`] if the first attempt fails, so that a wrong address is told at once.
    ///
    /// # Panics
    /// Outside a tokio runtime with its I/O and time drivers enabled.
    pub async fn connect(self) -> Result<Client, Error> {
        match Wire::open(&self.settings).await {
            Ok(first) => Ok(self.spawn(Some(first))),
            Err(error) => Err(connect_error(&self.settings.endpoint, error)),
        }
    }

    fn spawn(self, first: Option<(Wire, ServerInfo)>) -> Client {
        let link = Arc::new(Link::new(self.in_flight_max));
        if let Some((_, server)) = &first {
            let server = Arc::new(server.clone());
            link.change(|table, wakes| table.connected(server, wakes));
        }
        let served = Served(Arc::clone(&link));
        tokio::spawn({
            let link = Arc::clone(&link);
            async move { link.keep_deadlines().await }
        });
        tokio::spawn(connection::run(served, self.settings.clone(), first));
        let handle = Handle { link, settings: self.settings };
        Client { handle: Arc::new(handle), timeout: self.timeout }
    }
}
