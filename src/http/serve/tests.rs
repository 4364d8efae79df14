//! Exchanges over a pipe in memory, under a clock that the test moves.

use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};

use super::*;
use crate::metrics::Value;

/// Tells one figure, once it may.
struct Stub {
    may: tokio::sync::Semaphore,
}

impl Site for Stub {
    async fn families(&self) -> Option<Vec<Family>> {
        // Nobody gives a permit where a test wants to be kept waiting.
        let permit = self.may.acquire().await;
        drop(permit.ok()?);
        Some(vec![Family::gauge("keygate_keys", "Keys", 7).with(&[("a", "b")], Value::Whole(1))])
    }

    fn readiness(&self) -> Page {
        Page::readiness(&["the store is latched".to_owned()])
    }
}

const BOUNDS: Bounds =
    Bounds { header_timeout: Duration::from_secs(5), exchange_timeout: Duration::from_secs(15) };

struct Exchange {
    peer: DuplexStream,
    served: tokio::task::JoinHandle<()>,
    stop: CancellationToken,
}

impl Exchange {
    fn begin(permits: usize) -> Self {
        let (peer, stream) = duplex(64 * 1024);
        let stop = CancellationToken::new();
        let site = Arc::new(Stub { may: tokio::sync::Semaphore::new(permits) });
        let served = tokio::spawn(serve(stream, site, BOUNDS, stop.clone()));
        Self { peer, served, stop }
    }

    /// What comes until the connection ends. The runtime moves its clock whenever all wait.
    async fn end(mut self) -> String {
        let mut said = Vec::new();
        self.peer.read_to_end(&mut said).await.expect("a pipe");
        self.served.await.expect("it ends");
        String::from_utf8(said).expect("text")
    }
}

async fn ask(request: &str) -> String {
    let mut exchange = Exchange::begin(1);
    exchange.peer.write_all(request.as_bytes()).await.expect("a pipe");
    exchange.end().await
}

#[tokio::test(start_paused = true)]
async fn each_request_is_answered_and_the_connection_ends() {
    let long = format!("GET /metrics HTTP/1.1\r\nx: {}\r\n\r\n", "y".repeat(64 * 1024 - 100));
    let many = format!("GET /metrics HTTP/1.1\r\n{}\r\n", "a: b\r\n".repeat(1000));
    #[rustfmt::skip]
    let cases = [
        ("GET /metrics HTTP/1.1\r\nhost: x\r\n\r\n", "HTTP/1.1 200 ", "keygate_keys{a=\"b\"} 1\n"),
        ("GET /metrics HTTP/1.0\r\naccept: application/openmetrics-text\r\n\r\n", "HTTP/1.0 200 ", "# EOF\n"),
        ("GET /metrics?x=/healthz HTTP/1.1\r\n\r\n", "HTTP/1.1 200 ", "keygate_keys"),
        ("GET /healthz HTTP/1.1\r\n\r\n", "HTTP/1.1 200 ", "alive\n"),
        ("HEAD /healthz HTTP/1.1\r\n\r\n", "HTTP/1.1 200 ", "content-length: 6"),
        ("GET /readyz HTTP/1.1\r\n\r\n", "HTTP/1.1 503 ", "the store is latched"),
        ("GET / HTTP/1.1\r\n\r\n", "HTTP/1.1 404 ", "there are /metrics"),
        ("GET /../metrics HTTP/1.1\r\n\r\n", "HTTP/1.1 404 ", ""),
        ("POST /metrics HTTP/1.1\r\ncontent-length: 0\r\n\r\n", "HTTP/1.1 405 ", "allow: GET, HEAD"),
        ("GET /metrics HTTP/1.1\r\ncontent-length: 5\r\n\r\nhello", "HTTP/1.1 413 ", "no body"),
        ("GET /metrics HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n", "HTTP/1.1 413 ", "no body"),
        (long.as_str(), "HTTP/1.1 431 ", ""),
        (many.as_str(), "HTTP/1.1 431 ", ""),
        ("\x16\x03\x01\x02\x00\x01\x00\x01\r\n\r\n", "HTTP/1.1 400 ", ""),
        ("GET /metrics HTTP/9.9\r\n\r\n", "HTTP/1.1 400 ", ""),
    ];
    for (request, status, words) in cases {
        let said = ask(request).await;
        let request = &request[..request.len().min(60)];
        assert!(said.starts_with(status) && said.contains(words), "{request:?}: {said}");
    }
}

#[tokio::test(start_paused = true)]
async fn without_figures_the_answer_is_no_success() {
    let may = tokio::sync::Semaphore::new(0);
    may.close();
    let (mut peer, stream) = duplex(4096);
    let served = serve(stream, Arc::new(Stub { may }), BOUNDS, CancellationToken::new());
    peer.write_all(b"GET /metrics HTTP/1.1\r\n\r\n").await.expect("a pipe");
    served.await;
    let mut said = String::new();
    peer.read_to_string(&mut said).await.expect("a pipe");
    assert!(said.starts_with("HTTP/1.1 503 "), "{said}");
}

#[tokio::test(start_paused = true)]
async fn of_requests_that_come_at_once_the_first_is_answered() {
    let one = "GET /healthz HTTP/1.1\r\n\r\n";
    let said = ask(&one.repeat(50)).await;
    assert_eq!(said.matches("HTTP/1.1 ").count(), 1, "{said}");
    assert!(said.contains("connection: close"), "{said}");
}

#[tokio::test(start_paused = true)]
async fn who_takes_too_long_is_dropped() {
    // Not one byte, and headers that trickle: both end with the time for headers.
    let said = Exchange::begin(1).end();
    let began = tokio::time::sleep(BOUNDS.header_timeout + Duration::from_secs(1));
    tokio::select! {
        said = said => assert!(!said.contains(" 200 "), "{said}"),
        () = began => panic!("a silent peer is kept"),
    }
    let Exchange { peer, served, .. } = Exchange::begin(1);
    let (mut read, mut write) = tokio::io::split(peer);
    let trickle = tokio::spawn(async move {
        let _ = write.write_all(b"GET /metrics HTTP/1.1\r\n").await;
        while write.write_all(b"a: b\r\n").await.is_ok() {
            tokio::time::sleep(Duration::from_millis(900)).await;
        }
    });
    served.await.expect("it ends");
    let mut said = Vec::new();
    let _ = read.read_to_end(&mut said).await;
    assert!(!String::from_utf8_lossy(&said).contains(" 200 "));
    drop(read);
    trickle.await.expect("it ends");
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_takes_too_long_is_given_up_and_a_stop_does_not_wait_for_it() {
    let mut slow = Exchange::begin(0);
    slow.peer.write_all(b"GET /metrics HTTP/1.1\r\n\r\n").await.expect("a pipe");
    assert_eq!(slow.end().await, "");
    let mut stopped = Exchange::begin(0);
    stopped.peer.write_all(b"GET /metrics HTTP/1.1\r\n\r\n").await.expect("a pipe");
    stopped.stop.cancel();
    let grace = tokio::time::sleep(STOP_GRACE * 2);
    tokio::select! {
        said = stopped.end() => assert_eq!(said, ""),
        () = grace => panic!("a stop waits for a scrape"),
    }
}
