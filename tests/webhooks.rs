//! Web hooks, as receivers get them: a real HTTPS server, whose judge is the library that receivers
//! use; and what goes wrong at the other end or is meant to.

mod delivery;
#[path = "delivery/receiver.rs"]
mod receiver;

use std::collections::VecDeque;
use std::net::IpAddr;
use std::sync::{Arc, Mutex};

use delivery::{Authority, DEADLINE, SECRET, alert, courier, now_us, shown};
use keygate::deliver::{Courier, Outcome, Resolve, Resolving, WebhookSecret};
use keygate::event::Destination;
use receiver::{Answer, Receiver};
use serde_json::{Value, json};
use standardwebhooks::Webhook;
use tokio::net::TcpListener;

/// The receiver's name; the resolvers of these tests know where it is.
const NAME: &str = "hooks.example.org";
/// Loopback is no place for web hooks unless it is allowed.
const LOOPBACK: &str = "alerts.allow_addresses = ['127.0.0.1']\n";

/// Gives its answers one after the other, the last of them for ever, and notes what it was asked.
struct Answers {
    answers: Mutex<VecDeque<Vec<IpAddr>>>,
    asked: Mutex<Vec<String>>,
}

impl Answers {
    fn new(answers: &[&[&str]]) -> Arc<Self> {
        let parse = |answer: &&[&str]| answer.iter().map(|ip| ip.parse().expect("one")).collect();
        let answers = Mutex::new(answers.iter().map(parse).collect());
        Arc::new(Self { answers, asked: Mutex::default() })
    }

    fn asked(&self) -> usize {
        self.asked.lock().expect("no panic").len()
    }
}

impl Resolve for Answers {
    fn resolve<'a>(&'a self, name: &'a str) -> Resolving<'a> {
        self.asked.lock().expect("no panic").push(name.to_owned());
        let mut answers = self.answers.lock().expect("no panic");
        let answer = if answers.len() > 1 { answers.pop_front() } else { answers.front().cloned() };
        Box::pin(async move { answer.ok_or_else(|| std::io::Error::other("no such name")) })
    }
}

fn secret() -> WebhookSecret {
    WebhookSecret::generate().expect("randomness")
}

fn to(url: &str) -> Destination {
    Destination::Webhook { url: url.to_owned() }
}

fn hook(port: u16) -> Destination {
    to(&format!("https://{NAME}:{port}/alerts?token={SECRET}"))
}

/// One attempt, which must come to an end.
async fn attempt(courier: &Courier, to: &Destination) -> Outcome {
    let attempt = async { courier.deliver(to, &[alert("msg_1")], &[secret()], now_us()).await };
    tokio::time::timeout(DEADLINE, attempt).await.expect("it ends")
}

#[tokio::test]
async fn a_receiver_can_show_that_it_is_ours_by_either_secret() {
    let authority = Authority::new();
    let tls = authority.server(&[NAME]);
    let mut receiver = Receiver::start("127.0.0.1:0", tls, Answer::Status(204)).await;
    let courier = authority.courier(LOOPBACK).with_resolver(Answers::new(&[&["127.0.0.1"]]));
    let secrets = [secret(), secret()];
    let to = hook(receiver.address.port());

    let now_us = now_us();
    for attempt in 0..2 {
        let at_us = now_us - attempt * 60_000_000;
        let outcome = courier.deliver(&to, &[alert("msg_1")], &secrets, at_us).await;
        assert_eq!(outcome, Outcome::Delivered);
        let received = receiver.next().expect("a request");
        for secret in &secrets {
            let judge = Webhook::new(&secret.reveal()).expect("a secret");
            judge.verify(&received.body, &received.headers).expect("it is ours");
        }
        let other = Webhook::new(&secret().reveal()).expect("a secret");
        other.verify(&received.body, &received.headers).expect_err("another's");
        let header = |name: &str| received.headers[name].to_str().expect("ASCII").to_owned();
        assert_eq!(header("webhook-id"), "msg_1");
        assert_eq!(header("webhook-timestamp"), (at_us / 1_000_000).to_string());
        assert_eq!(header("content-type"), "application/json");
        assert_eq!(header("user-agent"), concat!("keygate/", env!("CARGO_PKG_VERSION")));
        assert_eq!(header("host"), format!("{NAME}:{}", receiver.address.port()));
        assert_eq!(received.method, "POST");
        assert_eq!(received.path, format!("/alerts?token={SECRET}"));
        let body: Value = serde_json::from_slice(&received.body).expect("JSON");
        assert_eq!(body["type"], "key.quota_threshold");
        assert_eq!(body["timestamp"], "2026-11-25T12:30:05.250Z");
        assert_eq!(body["data"]["subject"], json!({"kind": "key", "id": "42", "tenant": "acme"}));
    }
}

#[tokio::test]
async fn several_alerts_are_several_posts_until_one_is_not_taken() {
    let authority = Authority::new();
    for (answer, expected, count) in
        [(Answer::Status(200), "Delivered", 3), (Answer::Status(500), "Retry", 1)]
    {
        let mut receiver = Receiver::start("127.0.0.1:0", authority.server(&[NAME]), answer).await;
        let courier = authority.courier(LOOPBACK).with_resolver(Answers::new(&[&["127.0.0.1"]]));
        let alerts = ["msg_1", "msg_2", "msg_3"].map(alert);
        let to = hook(receiver.address.port());
        let outcome = courier.deliver(&to, &alerts, &[secret()], now_us()).await;
        assert!(shown(&outcome).starts_with(expected), "{outcome:?}");
        let mut ids = Vec::new();
        while let Some(received) = receiver.next() {
            ids.push(received.headers["webhook-id"].clone());
        }
        assert_eq!(ids, ["msg_1", "msg_2", "msg_3"][..count]);
    }
}

#[tokio::test]
async fn each_answer_has_its_meaning() {
    let authority = Authority::new();
    let elsewhere = authority.server(&["127.0.0.1"]);
    let mut elsewhere = Receiver::start("127.0.0.1:0", elsewhere, Answer::Status(200)).await;
    let there = format!("https://127.0.0.1:{}/", elsewhere.address.port());
    let raw = |bytes: &[u8]| Answer::Raw(bytes.to_vec());
    let long = [b"HTTP/1.1 200 OK\r\n" as &[u8], &b"x: y\r\n".repeat(100_000)].concat();
    for (answer, begins, says) in [
        (Answer::Status(200), "Delivered", ""),
        (Answer::Status(410), "Gone", "answered 410 Gone"),
        (Answer::Status(429), "Retry", "answered 429 Too Many Requests"),
        (Answer::Status(500), "Retry", "answered 500 Internal Server Error"),
        (Answer::Status(503), "Retry", "answered 503"),
        (Answer::Status(401), "Retry", "answered 401"),
        (Answer::Redirect(302, there.clone()), "Retry", "answered 302 Found; redirects are not"),
        (Answer::Redirect(308, there), "Retry", "answered 308"),
        (Answer::Endless, "Delivered", ""),
        (Answer::Stalled, "Delivered", ""),
        (raw(b""), "Retry", "no answer: "),
        (raw(b"220 mail.example.org ESMTP\r\n"), "Retry", "no answer: "),
        (raw(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nab"), "Delivered", ""),
        (raw(&long), "Retry", "no answer: "),
        // A status without the rest of the head is no answer.
        (raw(b"HTTP/1.1 200 OK\r\n"), "Retry", "no answer: "),
    ] {
        let tls = authority.server(&[NAME]);
        let receiver = Receiver::start("127.0.0.1:0", tls, answer.clone()).await;
        let courier = authority.courier(LOOPBACK).with_resolver(Answers::new(&[&["127.0.0.1"]]));
        let outcome = shown(&attempt(&courier, &hook(receiver.address.port())).await);
        let place = format!("{NAME}:{}: ", receiver.address.port());
        let told = says.is_empty() || outcome.contains(&(place + says));
        assert!(outcome.starts_with(begins) && told, "{answer:?}: {outcome}");
    }
    assert!(elsewhere.next().is_none(), "a redirect was followed");
}

#[tokio::test]
async fn who_never_answers_holds_up_nobody() {
    let authority = Authority::new();
    let config = LOOPBACK.to_owned() + "alerts.webhook_timeout_ms = 300\n";
    let never = Receiver::start("127.0.0.1:0", authority.server(&[NAME]), Answer::Never).await;
    let courier = authority.courier(&config).with_resolver(Answers::new(&[&["127.0.0.1"]]));
    let outcome = shown(&attempt(&courier, &hook(never.address.port())).await);
    assert!(outcome.contains("no answer within 300 ms"), "{outcome}");

    // It takes the connection, and says nothing to our TLS.
    let mute = TcpListener::bind("127.0.0.1:0").await.expect("a socket");
    let config = LOOPBACK.to_owned() + "alerts.webhook_connect_timeout_ms = 100\n";
    let courier = authority.courier(&config).with_resolver(Answers::new(&[&["127.0.0.1"]]));
    let port = mute.local_addr().expect("its address").port();
    let outcome = shown(&attempt(&courier, &hook(port)).await);
    assert!(outcome.contains("not connected within 100 ms"), "{outcome}");

    // The time for an answer's body is up when the status is known already.
    let stalled = Receiver::start("127.0.0.1:0", authority.server(&[NAME]), Answer::Stalled).await;
    let config = LOOPBACK.to_owned() + "alerts.webhook_timeout_ms = 700\n";
    let courier = authority.courier(&config).with_resolver(Answers::new(&[&["127.0.0.1"]]));
    assert_eq!(attempt(&courier, &hook(stalled.address.port())).await, Outcome::Delivered);
}

#[tokio::test]
async fn a_certificate_must_be_for_the_name_and_by_somebody_trusted() {
    let authority = Authority::new();
    for (names, trusted, says) in [
        (vec!["other.example.org"], true, "not valid for name"),
        (vec!["127.0.0.1"], true, "not valid for name"),
        (vec![NAME], false, "UnknownIssuer"),
    ] {
        let tls = authority.server(&names);
        let mut receiver = Receiver::start("127.0.0.1:0", tls, Answer::Status(200)).await;
        let courier = if trusted { authority.courier(LOOPBACK) } else { courier(LOOPBACK) };
        let courier = courier.with_resolver(Answers::new(&[&["127.0.0.1"]]));
        let outcome = shown(&attempt(&courier, &hook(receiver.address.port())).await);
        // A machine that has no authorities at all says so.
        let told = outcome.contains("no TLS: ") && outcome.contains(says);
        assert!(told || (!trusted && outcome.contains("ca-certificates")), "{names:?}: {outcome}");
        assert!(outcome.starts_with("Retry") && receiver.next().is_none(), "{outcome}");
    }
    // An address can be certified too.
    let tls = authority.server(&["127.0.0.1"]);
    let receiver = Receiver::start("127.0.0.1:0", tls, Answer::Status(200)).await;
    let to = to(&format!("https://0x7f.1:{}/", receiver.address.port()));
    assert_eq!(attempt(&authority.courier(LOOPBACK), &to).await, Outcome::Delivered);
}

#[tokio::test]
async fn an_address_that_is_not_public_is_not_spoken_to_however_it_is_spelled() {
    let authority = Authority::new();
    let mut receiver =
        Receiver::start("127.0.0.1:0", authority.server(&[NAME]), Answer::Status(200)).await;
    let port = receiver.address.port();
    // Another block is allowed, which must open no more than itself.
    let courier = authority.courier("alerts.allow_addresses = ['10.0.0.0/8']\n");
    for host in [
        "127.0.0.1",
        "0x7f.1",
        "0x7f000001",
        "2130706433",
        "0177.0.0.01",
        "127.1",
        "①②⑦.0.0.1",
        "0",
        "[::1]",
        "[::ffff:127.0.0.1]",
        "[::ffff:7f00:1]",
        "[0:0:0:0:0:ffff:a9fe:a9fe]",
        "[64:ff9b::7f00:1]",
        "[2002:7f00:1::]",
        "[fd00::1]",
        "[fe80::1]",
        "169.254.169.254",
        "192.168.0.1",
        "localhost",
    ] {
        let outcome =
            shown(&attempt(&courier, &to(&format!("https://{host}:{port}/?t={SECRET}"))).await);
        // A name may have another address the next time.
        let begins = if host == "localhost" { "Retry" } else { "Refused" };
        let told = outcome.starts_with(begins) && outcome.contains("is not public");
        assert!(told, "{host}: {outcome}");
    }
    assert!(receiver.next().is_none());
}

#[tokio::test]
async fn a_name_whose_address_turns_private_is_refused_and_is_looked_up_once_an_attempt() {
    let authority = Authority::new();
    let tls = || authority.server(&[NAME]);
    let mut public = Receiver::start("127.0.0.1:0", tls(), Answer::Status(200)).await;
    let port = public.address.port();
    // The same port at an address that is not allowed.
    let private = format!("127.0.0.2:{port}");
    let mut private = Receiver::start(&private, tls(), Answer::Status(200)).await;

    let resolver = Answers::new(&[&["127.0.0.1"], &["127.0.0.2"]]);
    let courier = authority.courier(LOOPBACK).with_resolver(resolver.clone());
    assert_eq!(attempt(&courier, &hook(port)).await, Outcome::Delivered);
    assert_eq!((resolver.asked(), public.next().is_some()), (1, true), "the checked address");
    let outcome = shown(&attempt(&courier, &hook(port)).await);
    assert!(outcome.contains("its address 127.0.0.2 is not public"), "{outcome}");

    // One that is private among those that are not, and what stands for it.
    for answer in [["127.0.0.1", "127.0.0.2"], ["::ffff:127.0.0.2", "127.0.0.1"]] {
        let courier = authority.courier(LOOPBACK).with_resolver(Answers::new(&[&answer]));
        let outcome = shown(&attempt(&courier, &hook(port)).await);
        let told = outcome.starts_with("Retry") && outcome.contains("is not public");
        assert!(told, "{answer:?}: {outcome}");
    }
    assert!(private.next().is_none() && public.next().is_none());
}

#[tokio::test]
async fn the_addresses_of_a_name_are_tried_in_turn() {
    let authority = Authority::new();
    let tls = authority.server(&[NAME]);
    let mut receiver = Receiver::start("127.0.0.1:0", tls, Answer::Status(200)).await;
    let port = receiver.address.port();
    let block = "alerts.allow_addresses = ['127.0.0.0/8']\n";
    let addresses = Answers::new(&[&["127.0.0.3", "127.0.0.1"]]);
    let courier = authority.courier(block).with_resolver(addresses);
    assert_eq!(attempt(&courier, &hook(port)).await, Outcome::Delivered);
    assert!(receiver.next().is_some());

    for (answers, says) in [
        (Answers::new(&[&["127.0.0.3"]]), "cannot connect: "),
        (Answers::new(&[&[]]), "the name has no address"),
        (Answers::new(&[]), "the name cannot be looked up: no such name"),
    ] {
        let courier = authority.courier(block).with_resolver(answers);
        let outcome = shown(&attempt(&courier, &hook(port)).await);
        assert!(outcome.starts_with("Retry") && outcome.contains(says), "{outcome}");
    }
}

#[tokio::test]
async fn what_cannot_be_sent_is_refused_without_being_repeated() {
    let courier = courier("");
    for (url, says) in [
        (format!("http://{NAME}/?t={SECRET}"), "https://"),
        (format!("https://u:{SECRET}@{NAME}/"), "a user or a password"),
        (format!("not a url {SECRET}"), "not one"),
    ] {
        let outcome = shown(&attempt(&courier, &to(&url)).await);
        assert!(outcome.starts_with("Refused") && outcome.contains(says), "{outcome}");
    }
    let unsigned = courier.deliver(&hook(443), &[alert("msg_1")], &[], now_us()).await;
    assert!(shown(&unsigned).contains("no secret to sign with"), "{unsigned:?}");
    assert_eq!(courier.deliver(&hook(443), &[], &[], now_us()).await, Outcome::Delivered);
}
