//! Web hooks, by Standard Webhooks (<https://www.standardwebhooks.com>): one POST an alert.

use core::net::IpAddr;
use std::future::Future;
use std::io;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use http_body_util::{BodyExt as _, Full};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1;
use hyper::header::{CONNECTION, CONTENT_TYPE, HOST, USER_AGENT};
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::resolve::{Resolve, SystemResolver, Unresolved, addresses};
use super::sign::signatures;
use super::target::{Target, TargetHost};
use super::trust::Trust;
use super::{CourierError, Outcome, WebhookSecret, body};
use crate::config::Alerts;
use crate::event::Alert;
use crate::key::address::Blocks;

const AGENT: &str = concat!("keygate/", env!("CARGO_PKG_VERSION"));
/// Longest status line and headers of an answer; more is an error.
const HEAD_BYTES_MAX: usize = 64 * 1024;
/// How much of an answer's body is read, and how long that may take. It is read for the sake of
/// servers that take a closed connection for a failure, and dropped.
const BODY_BYTES_MAX: usize = 64 * 1024;
const BODY_TIMEOUT: Duration = Duration::from_secs(1);

/// Posts alerts.
pub(super) struct Webhooks {
    pub(super) resolver: Arc<dyn Resolve>,
    tls: TlsConnector,
    /// Whether any authority is trusted.
    trusts: bool,
    allowed: Blocks,
    connect_timeout: Duration,
    attempt_timeout: Duration,
}

impl Webhooks {
    pub(super) fn new(alerts: &Alerts, trust: &Trust) -> Result<Self, CourierError> {
        Ok(Self {
            resolver: Arc::new(SystemResolver),
            tls: Arc::new(trust.client()?).into(),
            trusts: !trust.is_empty(),
            allowed: Blocks::new(alerts.allow_addresses.iter().map(String::as_str)),
            connect_timeout: Duration::from_millis(alerts.webhook_connect_timeout_ms),
            attempt_timeout: Duration::from_millis(alerts.webhook_timeout_ms),
        })
    }

    /// Posts one alert: the same id and body each time, the timestamp of this attempt, a signature
    /// by each secret.
    pub(super) async fn post(
        &self,
        url: &str,
        alert: &Alert,
        secrets: &[WebhookSecret],
        now_us: i64,
    ) -> Outcome {
        let target = match Target::parse(url) {
            Ok(target) => target,
            Err(why) => return Outcome::Refused { why: why.to_owned() },
        };
        if secrets.is_empty() {
            let why = "there is no secret to sign with: it cannot be opened if the pepper is another \
                       now; `keygate alert secret --rotate` makes one";
            return retry(why.to_owned()).of(&target);
        }
        let Some(request) = request(&target, alert, secrets, now_us) else {
            let why = "the alert, or its id as a header, cannot be written as a request".to_owned();
            return Outcome::Refused { why };
        };
        let status = OnceLock::new();
        let attempt = self.attempt(&target, request, &status);
        let outcome = match timeout(self.attempt_timeout, attempt).await {
            Ok(Err(outcome)) => outcome,
            // The time may be up while the answer's body is read, which does not matter.
            Ok(Ok(())) | Err(_) => status.get().map_or_else(|| self.too_late(), judge),
        };
        outcome.of(&target)
    }

    fn too_late(&self) -> Outcome {
        retry(format!("no answer within {} ms", self.attempt_timeout.as_millis()))
    }

    /// Sets the status as soon as it is there; an error is why there is none.
    async fn attempt(
        &self,
        target: &Target,
        request: Request<Full<Bytes>>,
        status: &OnceLock<StatusCode>,
    ) -> Result<(), Outcome> {
        let connected = timeout(self.connect_timeout, self.connect(target)).await;
        let stream = connected.map_err(|_| {
            retry(format!("not connected within {} ms", self.connect_timeout.as_millis()))
        })??;
        let exchanged = exchange(stream, request, status).await;
        exchanged.map_err(|error| retry(format!("no answer: {error}")))
    }

    /// Connects to an address that was checked, and to no other, and shakes hands.
    async fn connect(&self, target: &Target) -> Result<TlsStream<TcpStream>, Outcome> {
        if !self.trusts {
            return Err(retry(
                "no authority is known whose certificates could be trusted; install the system's \
                 (ca-certificates) or set alerts.ca_file"
                    .to_owned(),
            ));
        }
        let found = addresses(target, &*self.resolver, &self.allowed).await;
        let addresses = found.map_err(|unresolved| match unresolved {
            Unresolved::Later(why) => retry(why),
            Unresolved::Forbidden(address) => {
                let why = format!(
                    "its address {address} is not public; alerts.allow_addresses can allow it"
                );
                match target.host {
                    TargetHost::Address(_) => Outcome::Refused { why },
                    // A name may have another the next time: whoever answers now may be mistaken.
                    TargetHost::Name(_) => retry(why),
                }
            }
        })?;
        let name = match &target.host {
            TargetHost::Name(name) => ServerName::try_from(name.clone())
                .map_err(|_| Outcome::Refused { why: "its name is no host's".to_owned() })?,
            TargetHost::Address(address) => ServerName::from(*address),
        };
        let stream = self.connect_to(&addresses, target.port).await;
        let stream = stream.map_err(|error| retry(format!("cannot connect: {error}")))?;
        self.tls.connect(name, stream).await.map_err(|error| retry(format!("no TLS: {error}")))
    }

    /// The first address that takes the connection. Each has its share of the time, so that one that
    /// is dead does not use up that of the others.
    async fn connect_to(&self, addresses: &[IpAddr], port: u16) -> io::Result<TcpStream> {
        let share = self.connect_timeout / u32::try_from(addresses.len()).unwrap_or(1).max(1);
        let mut last = io::Error::from(io::ErrorKind::AddrNotAvailable);
        for address in addresses {
            match timeout(share, TcpStream::connect((*address, port))).await {
                Ok(Ok(stream)) => return Ok(stream),
                Ok(Err(error)) => last = error,
                Err(_) => last = io::ErrorKind::TimedOut.into(),
            }
        }
        Err(last)
    }
}

fn retry(why: String) -> Outcome {
    Outcome::Retry { why }
}

/// The request; `None` without a signature, or with an id that is no header.
fn request(
    target: &Target,
    alert: &Alert,
    secrets: &[WebhookSecret],
    now_us: i64,
) -> Option<Request<Full<Bytes>>> {
    let body = body::webhook(alert).ok()?;
    let timestamp_s = now_us.div_euclid(1_000_000);
    let signatures = signatures(&alert.id, timestamp_s, &body, secrets);
    if signatures.is_empty() {
        return None;
    }
    Request::post(&target.path)
        .header(HOST, target.to_string())
        .header(USER_AGENT, AGENT)
        .header(CONTENT_TYPE, "application/json")
        .header(CONNECTION, "close")
        .header("webhook-id", &alert.id)
        .header("webhook-timestamp", timestamp_s)
        .header("webhook-signature", signatures)
        .body(Full::from(body))
        .ok()
}

/// One request over one connection; the status of its answer is set as soon as it is there.
async fn exchange(
    stream: TlsStream<TcpStream>,
    request: Request<Full<Bytes>>,
    status: &OnceLock<StatusCode>,
) -> hyper::Result<()> {
    let mut connections = http1::Builder::new();
    connections.max_buf_size(HEAD_BYTES_MAX);
    let (mut sender, connection) = connections.handshake(TokioIo::new(stream)).await?;
    let exchange = async move {
        let answer = sender.send_request(request).await?;
        status.get_or_init(|| answer.status());
        // The status says all; whether its body comes whole does not matter.
        let _ = timeout(BODY_TIMEOUT, drop_body(answer.into_body())).await;
        Ok(())
    };
    driven(connection, exchange).await
}

/// What an exchange comes to while its connection is driven beside it. Nothing of it is left
/// running: both are dropped together.
async fn driven<T>(connection: impl Future, exchange: impl Future<Output = T>) -> T {
    let mut exchange = std::pin::pin!(exchange);
    tokio::select! {
        done = &mut exchange => done,
        // What the connection has read before it ended is with the exchange.
        _ = connection => exchange.await,
    }
}

async fn drop_body(mut body: Incoming) {
    let mut bytes = 0;
    while let Some(Ok(frame)) = body.frame().await {
        bytes += frame.data_ref().map_or(0, Bytes::len);
        if bytes >= BODY_BYTES_MAX {
            return;
        }
    }
}

/// What a status means to a sender (Standard Webhooks, "Deliverability and reliability").
fn judge(status: &StatusCode) -> Outcome {
    let why = format!("answered {status}");
    match status.as_u16() {
        200..=299 => Outcome::Delivered,
        300..=399 => retry(why + "; redirects are not followed: give the URL that it leads to"),
        410 => Outcome::Gone { why },
        _ => retry(why),
    }
}

#[cfg(test)]
mod tests {
    use super::super::body::tests::alert;
    use super::*;

    #[test]
    fn each_status_has_its_meaning() {
        for (status, expected) in [
            (200, "Delivered"),
            (204, "Delivered"),
            (301, "Retry { why: \"answered 301 Moved Permanently; redirects are not"),
            (307, "Retry { why: \"answered 307"),
            (400, "Retry { why: \"answered 400 Bad Request\" }"),
            (410, "Gone { why: \"answered 410 Gone\" }"),
            (429, "Retry"),
            (500, "Retry"),
            (799, "Retry { why: \"answered 799 <unknown status code>\" }"),
        ] {
            let judged = format!("{:?}", judge(&StatusCode::from_u16(status).expect("a status")));
            assert!(judged.starts_with(expected), "{status}: {judged}");
        }
    }

    #[test]
    fn nothing_is_sent_without_a_signature_or_with_an_id_that_is_no_header() {
        let target = Target::parse("https://hooks.example.org/a?token=b").expect("a URL");
        let secret = WebhookSecret::from_bytes(&[7; 24]).expect("long enough");
        let of = |id: &str, secrets: &[WebhookSecret]| request(&target, &alert(id), secrets, 0);
        assert!(of("msg_1", &[]).is_none());
        assert!(of("msg\r\n1", std::slice::from_ref(&secret)).is_none());
        let good = of("msg_1", &[secret]).expect("a request");
        assert_eq!(good.uri(), "/a?token=b");
        assert_eq!(good.headers()["host"], "hooks.example.org");
        assert_eq!(good.headers()["user-agent"], AGENT);
    }
}
