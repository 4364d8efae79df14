//! Alerts that `keygate deliver` sends for a daemon that itself sends none.

mod delivery;
#[path = "delivery/receiver.rs"]
mod receiver;
mod support;

use std::io::{Read, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::net::UnixStream;

use delivery::{Authority, DEADLINE};
use receiver::{Answer, Received, Receiver};
use rustix::process::Signal;
use standardwebhooks::Webhook;
use support::{Daemon, Home, finish, text};

/// The helper of a home, ready.
fn helper(home: &Home) -> Daemon {
    let mut command = home.command();
    command.arg("deliver").arg("--config").arg(home.path("keygate.toml"));
    Daemon::start(command)
}

fn configure(home: &Home, alerts: &str) {
    let socket = home.path("deliver.sock");
    home.configure(&format!(
        "[alerts]\ndeliver_socket = {socket:?}\nallow_addresses = ['127.0.0.1', '::1']\n{alerts}\n"
    ));
}

async fn received(receiver: &mut Receiver) -> Received {
    let next = tokio::time::timeout(DEADLINE, receiver.received.recv()).await;
    next.expect("in time").expect("the receiver serves")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_helper_that_is_away_loses_no_alert_and_one_that_is_there_signs_it() {
    let authority = Authority::new();
    let tls = authority.server(&["localhost"]);
    let mut receiver = Receiver::start("127.0.0.1:0", tls, Answer::Status(204)).await;
    let hook = format!("https://localhost:{}/hook", receiver.address.port());
    let home = Home::new();
    configure(&home, &format!("ca_file = {:?}", authority.file()));
    let mut daemon = home.start();
    let (id, _) = home.create(&["--name", "k", "--webhook-url", &hook]);
    home.json(["key", "suspend", &id, "--reason", "a test"]);
    daemon.logs(|log| log.contains("keygate deliver at") && log.contains("could not be delivered"));
    let secret = text(&home.json(["alert", "secret", &id])["secrets"][0]["secret"]);
    let helping = helper(&home);
    let mode = std::fs::metadata(home.path("deliver.sock")).expect("a socket").permissions().mode();
    assert_eq!(mode & 0o777, 0o660);
    // A test that is delivered has what waits for the same destination tried at once.
    home.run(["alert", "test", &id]).expect(0).shows(&["delivered"]);
    let (test, alert) = (received(&mut receiver).await, received(&mut receiver).await);
    let webhook = Webhook::new(&secret).expect("a secret");
    for got in [&test, &alert] {
        webhook.verify(&got.body, &got.headers).expect("signed by the daemon's secret");
    }
    assert!(String::from_utf8_lossy(&alert.body).contains("key.suspended"));
    let log = daemon.stop() + &helping.stop();
    assert!(!log.contains(&secret) && !home.path("deliver.sock").exists(), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_helper_alone_reads_what_sending_needs_and_reads_it_again_at_a_signal() {
    let home = Home::new();
    let sink =
        |name: &str| format!("[sinks.told]\nkind = 'file'\ntarget = {:?}\n", home.path(name));
    // The daemon does not miss the password of a mail server.
    let mail = "[alerts.smtp]\nhost = '127.0.0.1'\nfrom = 'a@example.org'\nusername = 'u'\n\
                password_file = '/nowhere/password'\n";
    configure(&home, &format!("operator_sinks = ['told']\n{mail}{}", sink("one")));
    let _daemon = home.start();
    // The helper does, and sends everything else; its memory is not for others of its user.
    let mut helping = helper(&home);
    let files = std::fs::metadata(format!("/proc/{}/environ", helping.id())).expect("it runs");
    assert_eq!(files.uid(), 0, "not dumpable");
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", helping.id())).expect("read");
    let core = limits.lines().find(|line| line.starts_with("Max core file size")).expect("it");
    assert_eq!(core.split_whitespace().skip(4).take(2).collect::<Vec<_>>(), ["0", "0"]);
    helping.logs(|log| log.contains("no mail is sent") && log.contains("/nowhere/password"));
    home.run(["alert", "test", "--operator"]).expect(0).shows(&["delivered"]);
    let (id, _) = home.create(&["--name", "k", "--alert-email=a@example.org"]);
    home.run(["alert", "test", &id]).expect(1).shows(&["/nowhere/password"]);
    helping.stop();
    std::fs::remove_file(home.path("one")).expect("told");
    // What all of it needs stops it.
    configure(&home, "ca_file = '/nowhere/ca'\n");
    let mut command = home.command();
    command.arg("deliver").arg("--config").arg(home.path("keygate.toml"));
    command.stderr(std::process::Stdio::piped());
    finish(command, b"").expect(1).says(&["/nowhere/ca"]);

    configure(&home, &format!("operator_sinks = ['told']\n{}", sink("one")));
    let mut helping = helper(&home);
    home.run(["alert", "test", "--operator"]).expect(0).shows(&["delivered"]);
    home.configure("nonsense = 1");
    helping.signal(Signal::HUP);
    helping.logs(|log| log.contains("was not reloaded"));
    configure(&home, &format!("operator_sinks = ['told']\n{}", sink("two")));
    helping.signal(Signal::HUP);
    helping.logs(|log| log.contains("was reloaded"));
    home.run(["alert", "test", "--operator"]).expect(0).shows(&["delivered"]);
    let lines =
        |name: &str| std::fs::read_to_string(home.path(name)).expect("told").lines().count();
    assert_eq!((lines("one"), lines("two")), (1, 1));
    helping.stop();
}

#[test]
fn what_is_no_question_is_answered_or_dropped_and_disturbs_nobody() {
    let home = Home::new();
    configure(&home, "");
    let helping = helper(&home);
    let say = |bytes: &[u8]| {
        let mut stream = UnixStream::connect(home.path("deliver.sock")).expect("it listens");
        stream.write_all(bytes).expect("taken");
        stream.shutdown(std::net::Shutdown::Write).expect("an end");
        stream.set_read_timeout(Some(DEADLINE)).expect("a timeout");
        let mut said = Vec::new();
        // Closed on what was not read: a reset.
        let _ = stream.read_to_end(&mut said);
        String::from_utf8_lossy(&said).into_owned()
    };
    assert_eq!(say(b"KG"), "");
    assert!(say(b"KGD9\0\0\0\0\0\0").contains("another version"));
    assert!(say(b"KGD1\0\0\xff\xff\xff\xff").contains("over the most"));
    assert!(say(b"KGD1\0\0\x02\0\0\0{}").contains("is not a question (Data error"));
    helping.stop();
}
