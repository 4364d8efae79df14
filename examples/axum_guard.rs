//! An axum service whose routes are guarded by keygate: a tower layer that takes the token from
//! the request, demands a scope, states what it knows of the request, and reports what became of it.
//!
//! What it knows is little, and it says no more: the address of the connection, that the transport
//! is plain, and the `Origin` header, which a browser sets and any other program may forge. Behind a
//! proxy the connection is the proxy's. Then take the address and the transport from what *your*
//! proxy writes (the last entry of `X-Forwarded-For`, say), only on connections that come from it,
//! and only if it removes what clients have written there themselves: a fact is as trustworthy as
//! whoever states it.
//!
//! ```console
//! $ KEYGATE_SOCKET=/run/keygate/keygate.sock cargo run --example axum_guard
//! $ curl -H "Authorization: Bearer $TOKEN" http://127.0.0.1:3000/leads/1
//! ```

use std::convert::Infallible;
use std::future::Future;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::{ConnectInfo, Extension, MatchedPath, Path, Request};
use axum::http::header::{AUTHORIZATION, CONTENT_TYPE, ORIGIN, RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use keygate::client::{Client, Endpoint, Report, ValidateRequest, Validation};
use keygate_protocol::VerdictCode;
use serde_json::json;
use tower::{Layer, Service};

#[tokio::main]
async fn main() -> std::io::Result<()> {
    let socket = std::env::var_os("KEYGATE_SOCKET");
    let socket = socket.unwrap_or_else(|| "/run/keygate/keygate.sock".into());
    // A guard stands in the way of every request: better a quick 503 than a slow one.
    let client = Client::builder(Endpoint::unix(socket))
        .timeout(Duration::from_millis(250))
        .name("axum_guard")
        .build();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:3000").await?;
    println!("listening on http://{}", listener.local_addr()?);
    // The layer wants to know whose connection it is.
    let service = service(&client).into_make_service_with_connect_info::<SocketAddr>();
    axum::serve(listener, service).await
}

/// The routes, each with the scope that it demands.
fn service(client: &Client) -> Router {
    let demand = |scope| Demand { client: client.clone(), scope };
    let read = Router::new().route("/leads/{id}", get(lead)).route_layer(demand("leads:read"));
    let write = Router::new().route("/leads", post(create)).route_layer(demand("leads:write"));
    Router::new().merge(read).merge(write).route("/health", get(|| async { "ok" }))
}

async fn lead(Extension(caller): Extension<Caller>, Path(id): Path<u32>) -> String {
    format!("lead {id}, for key {}", caller.key_id)
}

async fn create() -> StatusCode {
    StatusCode::CREATED
}

/// Who makes the request, for the handlers.
#[derive(Clone, Copy)]
struct Caller {
    key_id: u64,
}

/// Admits the requests whose token keygate finds valid for a scope. Use it with
/// [`Router::route_layer`], so that it sees the route and leaves unknown paths their 404.
#[derive(Clone)]
struct Demand {
    client: Client,
    scope: &'static str,
}

impl<S> Layer<S> for Demand {
    type Service = Guarded<S>;

    fn layer(&self, inner: S) -> Guarded<S> {
        Guarded { inner, demand: self.clone() }
    }
}

#[derive(Clone)]
struct Guarded<S> {
    inner: S,
    demand: Demand,
}

impl<S> Service<Request> for Guarded<S>
where
    S: Service<Request, Response = Response, Error = Infallible> + Clone + Send + 'static,
    S::Future: Send,
{
    type Response = Response;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request) -> Self::Future {
        // The one that was made ready is the one to call; its clone may not be ready.
        let clone = self.inner.clone();
        let mut inner = std::mem::replace(&mut self.inner, clone);
        let demand = self.demand.clone();
        Box::pin(async move {
            let facts = Facts::of(&request);
            let verdict = match demand.judge(request.headers(), facts).await {
                Ok(verdict) => verdict,
                Err(denial) => return Ok(denial),
            };
            request.extensions_mut().insert(Caller { key_id: verdict.key_id });
            let mut underway = Underway::new(demand.client, &verdict, endpoint(&request));
            let response = inner.call(request).await?;
            underway.status = Some(response.status().as_u16());
            Ok(response)
        })
    }
}

/// A request that was admitted. It is reported when this is dropped, which gives its slot back: also
/// when its client has gone away, and with it the future that would have answered.
struct Underway {
    client: Client,
    key_id: u64,
    slot: Option<u64>,
    endpoint: String,
    started: Instant,
    /// How it was answered; `None` until it is.
    status: Option<u16>,
}

impl Underway {
    fn new(client: Client, verdict: &Validation, endpoint: String) -> Self {
        let (key_id, slot, started) = (verdict.key_id, verdict.slot, Instant::now());
        Self { client, key_id, slot, endpoint, started, status: None }
    }
}

impl Drop for Underway {
    fn drop(&mut self) {
        let report = Report::new(self.key_id)
            .slot(self.slot)
            .latency(self.started.elapsed())
            .endpoint(&self.endpoint);
        let report = match self.status {
            Some(status) => report.status(status),
            None => report.error("given up before it was answered"),
        };
        // Does not wait: the response must not be late because a report is.
        if let Err(error) = self.client.try_increment_detached(&report) {
            tracing::warn!(%error, key_id = self.key_id, "a request was not reported");
        }
    }
}

impl Demand {
    /// The verdict if the request may go on, or else the response.
    async fn judge(&self, headers: &HeaderMap, facts: Facts) -> Result<Validation, Response> {
        let Some(token) = token(headers) else {
            return Err(unauthorized());
        };
        let question = facts.state(ValidateRequest::new(token).scope(self.scope));
        match self.client.validate(question).await {
            Ok(verdict) if verdict.is_valid() => Ok(verdict),
            Ok(verdict) => {
                // The whole reason is for the log: a stranger is told less.
                tracing::info!(code = verdict.code.name(), key_id = verdict.key_id, "denied");
                Err(deny(verdict.code, verdict.retry_after()))
            }
            // Fail closed: whoever cannot ask must not admit. The error names no token.
            Err(error) => {
                tracing::error!(%error, "keygate gave no verdict");
                let text = "API keys cannot be checked at the moment";
                Err(refuse(StatusCode::SERVICE_UNAVAILABLE, "UNAVAILABLE", text))
            }
        }
    }
}

/// What this service knows of a request. A key whose rules need more is denied here.
struct Facts {
    address: Option<IpAddr>,
    origin: Option<String>,
}

impl Facts {
    fn of(request: &Request) -> Self {
        let peer = request.extensions().get::<ConnectInfo<SocketAddr>>();
        let origin = request.headers().get(ORIGIN).and_then(|origin| origin.to_str().ok());
        Self { address: peer.map(|ConnectInfo(peer)| peer.ip()), origin: origin.map(str::to_owned) }
    }

    fn state<'a>(&'a self, mut question: ValidateRequest<'a>) -> ValidateRequest<'a> {
        if let Some(address) = self.address {
            question = question.address(address);
        }
        if let Some(origin) = &self.origin {
            question = question.origin(origin);
        }
        // This service speaks HTTP without TLS.
        question.https(false)
    }
}

/// The token of `Authorization: Bearer …`, or else of `X-Api-Key`.
fn token(headers: &HeaderMap) -> Option<&[u8]> {
    let bearer = headers.get(AUTHORIZATION).and_then(|value| {
        let (scheme, token) = value.as_bytes().split_at_checked(7)?;
        scheme.eq_ignore_ascii_case(b"Bearer ").then(|| token.trim_ascii())
    });
    let token = bearer.or_else(|| headers.get("x-api-key").map(HeaderValue::as_bytes));
    token.filter(|token| !token.is_empty())
}

/// The route rather than the path: usage is counted by endpoint, and paths have no end.
fn endpoint(request: &Request) -> String {
    let route =
        request.extensions().get::<MatchedPath>().map_or("(unmatched)", MatchedPath::as_str);
    format!("{} {route}", request.method())
}

fn deny(code: VerdictCode, retry_after: Option<Duration>) -> Response {
    let status = StatusCode::from_u16(code.http_status()).unwrap_or(StatusCode::FORBIDDEN);
    if status == StatusCode::UNAUTHORIZED {
        return unauthorized();
    }
    let mut response = refuse(status, code.name(), code.text());
    if let Some(wait) = retry_after {
        // Whole seconds, rounded up: whoever comes back then is admitted.
        let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
        response.headers_mut().insert(RETRY_AFTER, seconds.into());
    }
    response
}

/// The one answer to whoever sent no token that is good, whatever was wrong with it.
fn unauthorized() -> Response {
    let text = "a valid API key is needed";
    let mut response = refuse(StatusCode::UNAUTHORIZED, "UNAUTHORIZED", text);
    response.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    response
}

fn refuse(status: StatusCode, code: &str, text: &str) -> Response {
    let body = json!({ "code": code, "message": text }).to_string();
    (status, [(CONTENT_TYPE, "application/json")], body).into_response()
}

#[cfg(test)]
#[allow(dead_code, reason = "the client's own tests use the rest of it")]
#[path = "../src/client/tests/fake.rs"]
mod fake;

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use axum::body::{Body, to_bytes};
    use keygate_protocol::validate::Stated;
    use keygate_protocol::{Flags, Increment, Opcode, Validate, Verdict};
    use tokio::sync::Notify;
    use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
    use tower::ServiceExt;

    use super::fake::{Asked, FakeDaemon};
    use super::*;

    fn client(daemon: &FakeDaemon) -> Client {
        Client::builder(Endpoint::unix(daemon.path())).build()
    }

    /// A service beside a daemon, and what the daemon is asked.
    fn guarded() -> (Router, UnboundedReceiver<Asked>) {
        let daemon = FakeDaemon::start();
        let router = service(&client(&daemon));
        let (sender, asked) = unbounded_channel();
        tokio::spawn(daemon.serve(move |request| {
            // A test that has seen enough listens no more.
            let _ = sender.send(request.clone());
        }));
        (router, asked)
    }

    async fn ask(router: &Router, path: &str, header: Option<(&str, &str)>) -> Response {
        let mut request = Request::get(path);
        if let Some((name, value)) = header {
            request = request.header(name, value);
        }
        let request = request.body(Body::empty()).expect("the request is well-formed");
        router.clone().oneshot(request).await.expect("a router does not fail")
    }

    async fn text(response: Response) -> String {
        let body = to_bytes(response.into_body(), 4096).await.expect("the body is short");
        String::from_utf8(body.to_vec()).expect("the body is text")
    }

    #[tokio::test]
    async fn a_valid_token_of_either_header_reaches_the_handler_and_is_reported() {
        let (router, mut asked) = guarded();
        let headers = [
            ("authorization", "Bearer valid-1"),
            ("authorization", "bearer  valid-1"),
            ("x-api-key", "valid-1"),
        ];
        for header in headers {
            let response = ask(&router, "/leads/12", Some(header)).await;
            assert_eq!(response.status(), StatusCode::OK);
            assert_eq!(text(response).await, "lead 12, for key 7");

            let question = asked.recv().await.expect("the daemon was asked");
            let question = Validate::decode(&question.payload).expect("it is readable");
            assert_eq!(question.token, b"valid-1");
            assert_eq!(question.facts.scopes_all().collect::<Vec<_>>(), [b"leads:read"]);

            let report = asked.recv().await.expect("the outcome was reported");
            assert!(report.opcode == Opcode::Increment && report.flags.has(Flags::NO_REPLY));
            let report = Increment::decode(&report.payload).expect("it is readable");
            assert_eq!((report.key_id, report.status), (7, Some(200)));
            assert_eq!(report.endpoint, Some("GET /leads/{id}"));
            assert!(report.latency_us.is_some());
        }
    }

    #[tokio::test]
    async fn a_request_gives_its_slot_back_also_when_it_is_given_up() {
        for given_up in [false, true] {
            let daemon = FakeDaemon::start();
            let entered = Arc::new(Notify::new());
            let seen = Arc::clone(&entered);
            let handler = move || async move {
                seen.notify_one();
                if given_up {
                    std::future::pending::<()>().await;
                }
            };
            let demand = Demand { client: client(&daemon), scope: "leads:read" };
            let router = Router::new().route("/", get(handler)).route_layer(demand);
            let request = async {
                let response = ask(&router, "/", Some(("x-api-key", "valid")));
                tokio::select! {
                    response = response => drop(response),
                    // The client goes away, and with it the future that would have answered.
                    () = entered.notified(), if given_up => {}
                }
            };
            let server = async {
                let mut peer = daemon.accept().await;
                let asked = peer.asked().await.expect("a question");
                let mut verdict = Verdict::of(VerdictCode::Valid, 7);
                verdict.slot = Some(41);
                peer.answer(&asked, |out| verdict.encode(out)).await;
                peer
            };
            let ((), mut peer) = tokio::join!(request, server);
            let report = peer.asked().await.expect("the outcome was reported");
            let report = Increment::decode(&report.payload).expect("it is readable");
            assert_eq!((report.key_id, report.slot), (7, Some(41)));
            assert_eq!(report.status, (!given_up).then_some(200));
            assert_eq!(report.error.is_some(), given_up);
        }
    }

    #[tokio::test]
    async fn what_is_known_of_a_request_is_stated_and_nothing_else() {
        let (router, mut asked) = guarded();
        let peer = SocketAddr::from(([203, 0, 113, 7], 50_000));
        let forged = [("x-forwarded-for", "10.0.0.1"), ("x-forwarded-proto", "https")];
        for (origin, connection) in
            [(Some("https://app.example.com"), Some(peer)), (None, None), (Some(""), Some(peer))]
        {
            let mut request = Request::get("/leads/1").header("x-api-key", "valid");
            for (name, value) in forged {
                request = request.header(name, value);
            }
            if let Some(origin) = origin {
                request = request.header(ORIGIN, origin);
            }
            let mut request = request.body(Body::empty()).expect("the request is well-formed");
            if let Some(peer) = connection {
                request.extensions_mut().insert(ConnectInfo(peer));
            }
            let response = router.clone().oneshot(request).await.expect("a router does not fail");
            assert_eq!(response.status(), StatusCode::OK);
            let question = asked.recv().await.expect("the daemon was asked");
            let question = Validate::decode(&question.payload).expect("it is readable");
            let stated = question.facts.stated();
            let expected = Stated {
                address: connection.map(|peer| peer.ip()),
                origin: origin.filter(|origin| !origin.is_empty()).map(str::as_bytes),
                https: Some(false),
                ..Stated::default()
            };
            assert_eq!(stated, expected);
            assert_eq!(asked.recv().await.map(|one| one.opcode), Some(Opcode::Increment));
        }
    }

    #[tokio::test]
    async fn a_denied_token_is_answered_with_the_verdicts_status_and_not_reported() {
        let (router, mut asked) = guarded();
        for (token, status, code, retry_after) in [
            ("unknown", StatusCode::UNAUTHORIZED, "UNAUTHORIZED", None),
            ("scope", StatusCode::FORBIDDEN, "INSUFFICIENT_SCOPE", None),
            ("spent", StatusCode::TOO_MANY_REQUESTS, "RATE_EXCEEDED", Some("2")),
        ] {
            let response = ask(&router, "/leads/1", Some(("x-api-key", token))).await;
            assert_eq!(response.status(), status);
            let headers = response.headers();
            assert_eq!(headers.get(RETRY_AFTER).and_then(|one| one.to_str().ok()), retry_after);
            let challenged = headers.contains_key(WWW_AUTHENTICATE);
            assert_eq!(challenged, status == StatusCode::UNAUTHORIZED);
            assert!(text(response).await.contains(code));
            assert_eq!(asked.recv().await.map(|one| one.opcode), Some(Opcode::Validate));
        }
        assert!(asked.try_recv().is_err(), "nothing was reported");
    }

    #[tokio::test]
    async fn every_401_is_the_same_to_a_stranger() {
        let (router, _asked) = guarded();
        let expected = text(ask(&router, "/leads/1", None).await).await;
        let answer = text(ask(&router, "/leads/1", Some(("x-api-key", "unknown"))).await).await;
        assert_eq!(answer, expected);
        for code in VerdictCode::ALL.iter().filter(|code| code.http_status() == 401) {
            let denial = deny(*code, None);
            assert!(denial.headers().contains_key(WWW_AUTHENTICATE), "{code:?}");
            assert_eq!(text(denial).await, expected, "{code:?}");
        }
    }

    #[tokio::test]
    async fn without_a_token_nobody_is_asked() {
        let (router, mut asked) = guarded();
        for header in [None, Some(("authorization", "Basic dTpw")), Some(("x-api-key", ""))] {
            let response = ask(&router, "/leads/1", header).await;
            assert_eq!(response.status(), StatusCode::UNAUTHORIZED);
        }
        assert_eq!(ask(&router, "/health", None).await.status(), StatusCode::OK);
        assert_eq!(ask(&router, "/nowhere", None).await.status(), StatusCode::NOT_FOUND);
        assert!(asked.try_recv().is_err());
    }

    #[tokio::test]
    async fn a_daemon_that_is_away_closes_the_gate() {
        let daemon = FakeDaemon::start();
        let client = client(&daemon).with_timeout(Duration::from_millis(5));
        drop(daemon);
        let response = ask(&service(&client), "/leads/1", Some(("x-api-key", "valid"))).await;
        assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert!(text(response).await.contains("UNAVAILABLE"));
    }
}
