//! Sinks: a statsd, a Unix datagram socket, a file, the journal. One alert at a time.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{UdpSocket, UnixDatagram};
use tokio::sync::Mutex;
use tokio::time::timeout;

use super::{Outcome, body, journal, lines, statsd};
use crate::config::{Sink, SinkKind};
use crate::event::Alert;

/// Writes to the sinks of the configuration.
pub(super) struct Sinks {
    by_name: BTreeMap<String, Writer>,
    /// Where the journal takes entries.
    pub(super) journal: PathBuf,
    sink_timeout: Duration,
}

/// One sink.
enum Writer {
    /// `HOST:PORT`.
    Statsd(String),
    /// The path of a socket.
    Socket(PathBuf),
    /// The path of a file. The lock says that one line of it is being written: a disk that hangs
    /// holds one thread, not one more at each attempt.
    File(PathBuf, Arc<Mutex<()>>),
    Journal,
}

impl Sinks {
    pub(super) fn new(sinks: &BTreeMap<String, Sink>, sink_timeout: Duration) -> Self {
        let by_name = sinks.iter().map(|(name, sink)| (name.clone(), Writer::new(sink))).collect();
        Self { by_name, journal: journal::SOCKET.into(), sink_timeout }
    }

    /// Writes one alert to one sink.
    pub(super) async fn write(&self, name: &str, alert: &Alert) -> Outcome {
        let place = format!("sink {name:?}");
        let Some(writer) = self.by_name.get(name) else {
            let why = "the configuration has none of that name; add it to [sinks]".to_owned();
            return Outcome::Retry { why }.of(&place);
        };
        let why = match timeout(self.sink_timeout, self.send(writer, alert)).await {
            Ok(Ok(())) => return Outcome::Delivered,
            Ok(Err(error)) if error.raw_os_error() == Some(too_long()) => {
                let why = "the alert is longer than one datagram may be".to_owned();
                return Outcome::Refused { why }.of(&place);
            }
            Ok(Err(error)) => error.to_string(),
            Err(_) => format!("it took nothing within {} ms", self.sink_timeout.as_millis()),
        };
        Outcome::Retry { why }.of(&place)
    }

    async fn send(&self, writer: &Writer, alert: &Alert) -> io::Result<()> {
        match writer {
            Writer::Statsd(target) => count(target, alert).await,
            Writer::Socket(path) => datagram(path, &body::line(alert)?).await,
            Writer::File(path, lock) => append(path, lock, body::line(alert)?).await,
            Writer::Journal => datagram(&self.journal, &journal::entry(alert)).await,
        }
    }
}

impl Writer {
    fn new(sink: &Sink) -> Self {
        match sink.kind {
            SinkKind::Statsd => Self::Statsd(sink.target.clone()),
            SinkKind::Socket => Self::Socket(PathBuf::from(&sink.target)),
            SinkKind::File => Self::File(PathBuf::from(&sink.target), Arc::default()),
            SinkKind::Journald => Self::Journal,
        }
    }
}

fn too_long() -> i32 {
    rustix::io::Errno::MSGSIZE.raw_os_error()
}

/// Counts one alert. UDP is not answered, so it is delivered when it is sent.
async fn count(target: &str, alert: &Alert) -> io::Result<()> {
    let address = tokio::net::lookup_host(target).await?.next();
    let address = address.ok_or_else(|| io::Error::other("the name has no address"))?;
    let own: IpAddr =
        if address.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let socket = UdpSocket::bind((own, 0)).await?;
    socket.send_to(statsd::counter(alert.kind).as_bytes(), address).await.map(drop)
}

/// Sends one datagram; one that waits for a reader that is behind waits until the timeout.
async fn datagram(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let socket = UnixDatagram::unbound()?;
    socket.connect(path)?;
    socket.send(bytes).await.map(drop)
}

/// Appends on a thread that may wait for the disk.
async fn append(path: &Path, lock: &Arc<Mutex<()>>, line: Vec<u8>) -> io::Result<()> {
    let guard = Arc::clone(lock).lock_owned().await;
    let path = path.to_owned();
    let written = tokio::task::spawn_blocking(move || {
        let _guard = guard;
        lines::append(&path, line)
    });
    written.await.map_err(io::Error::other)?
}
