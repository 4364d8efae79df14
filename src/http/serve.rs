//! One connection: one request, one answer.

use std::convert::Infallible;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Body;
use hyper::header::{ACCEPT, ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::page::{Asked, Page, Target};
use crate::metrics::Family;

/// Longest head of a request, with its line and all headers; a longer one is answered 431.
const HEAD_BYTES_MAX: usize = 8 * 1024;
/// Once the daemon stops, an exchange that is under way may take this long.
const STOP_GRACE: Duration = Duration::from_millis(500);

/// What there is to tell.
pub trait Site: Send + Sync {
    /// The figures of this instant; `None` when they cannot be had, which is answered 503.
    fn families(&self) -> impl Future<Output = Option<Vec<Family>>> + Send;

    /// Whether the daemon can do its work, see [`Page::readiness`].
    fn readiness(&self) -> Page;
}

/// How long a peer may take.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// From the connection to the end of the request's headers.
    pub header_timeout: Duration,
    /// From the connection to the last byte of the answer.
    pub exchange_timeout: Duration,
}

/// Serves one connection to its end. Whoever takes too long is dropped; so is, soon after `stop`,
/// whatever is not done.
pub async fn serve<I, S>(stream: I, site: Arc<S>, bounds: Bounds, stop: CancellationToken)
where
    I: AsyncRead + AsyncWrite + Unpin,
    S: Site,
{
    let site = &site;
    let service =
        service_fn(async move |request| Ok::<_, Infallible>(answer(&request, &**site).await));
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(bounds.header_timeout)
        // A scrape every few seconds needs none, and so nobody holds a place for nothing.
        .keep_alive(false)
        .max_buf_size(HEAD_BYTES_MAX)
        .serve_connection(TokioIo::new(stream), service);
    let mut exchange = pin!(timeout(bounds.exchange_timeout, connection));
    // How it ended is the peer's affair.
    tokio::select! {
        _ = &mut exchange => {}
        () = stop.cancelled() => drop(timeout(STOP_GRACE, exchange).await),
    }
}

async fn answer<S: Site>(request: &Request<impl Body>, site: &S) -> Response<Full<Bytes>> {
    let accept = request.headers().get(ACCEPT).and_then(|accept| accept.to_str().ok());
    let asked = Asked {
        method: request.method().as_str(),
        path: request.uri().path(),
        accept: accept.unwrap_or_default(),
        has_body: !request.body().is_end_stream(),
    };
    let page = match asked.target() {
        Ok(Target::Metrics(format)) => match site.families().await {
            Some(families) => Page::metrics(&families, format),
            None => Page::no_metrics(),
        },
        Ok(Target::Health) => Page::alive(),
        Ok(Target::Readiness) => site.readiness(),
        Err(page) => page,
    };
    let mut response = Response::new(Full::new(page.body.into()));
    *response.status_mut() =
        StatusCode::from_u16(page.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(page.content_type));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.extend(page.allow.map(|allow| (ALLOW, HeaderValue::from_static(allow))));
    response
}

#[cfg(test)]
mod tests;
