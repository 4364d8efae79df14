//! Alerts by mail, as a real SMTP server (aiosmtpd) takes them and Python's parser of mails reads
//! them.

mod delivery;

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use delivery::{Authority, DEADLINE, SECRET, alert, courier, now_us, shown};
use keygate::config::Config;
use keygate::deliver::{Courier, Outcome};
use keygate::event::{Alert, Destination};
use serde_json::{Value, json};

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/delivery/smtp_server.py");
const TO: &str = "oncall@example.org";
const USER: &str = "alerts@example.org";

/// A server; it ends when it is dropped.
struct Server {
    child: Child,
    _input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
    port: u64,
}

impl Server {
    fn start(told: &Value) -> Self {
        let mut child = Command::new(python())
            .args(["-W", "ignore", SCRIPT, &told.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("a server");
        let output = BufReader::new(child.stdout.take().expect("its output"));
        let input = child.stdin.take();
        let mut server = Self { child, _input: input, output, port: 0 };
        server.port = server.line().as_u64().expect("a port");
        server
    }

    /// What it says next.
    fn line(&mut self) -> Value {
        let mut line = String::new();
        self.output.read_line(&mut line).expect("a line");
        serde_json::from_str(&line).expect("JSON")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A Python that has aiosmtpd.
fn python() -> &'static str {
    let has = |python: &&&str| {
        let ran = Command::new(python).args(["-c", "import aiosmtpd"]).output();
        ran.is_ok_and(|ran| ran.status.success())
    };
    let found = ["/usr/bin/python3", "python3"].iter().find(has);
    found.expect("no Python has aiosmtpd: apt-get install python3-aiosmtpd")
}

/// What a server of these certified names is told.
fn told(authority: &Authority, mode: &str, names: &[&str]) -> Value {
    let (certificate, key) = authority.certify(names);
    let file = |name: &str| authority.place.path().join(format!("{mode}.{name}"));
    fs::write(file("crt"), certificate).expect("written");
    fs::write(file("key"), key).expect("written");
    json!({"mode": mode, "cert": file("crt"), "key": file("key")})
}

fn settings(server: &Server, tls: &str, more: &str) -> String {
    let port = server.port;
    format!(
        "[alerts.smtp]\nhost = 'localhost'\nport = {port}\ntls = '{tls}'\n\
         from = 'keygate@example.org'\n{more}\n"
    )
}

/// Settings of a user whose password is this.
fn user(authority: &Authority, password: &str) -> String {
    let file = authority.place.path().join("password");
    fs::write(&file, format!("{password}\n")).expect("written");
    format!("username = '{USER}'\npassword_file = '{}'\n", file.display())
}

/// One attempt, which must come to an end.
async fn send(courier: &Courier, to: &str, alerts: &[Alert]) -> Outcome {
    let to = Destination::Email { address: to.to_owned() };
    let attempt = courier.deliver(&to, alerts, &[], now_us());
    tokio::time::timeout(DEADLINE, attempt).await.expect("it ends")
}

fn header<'a>(mail: &'a Value, name: &str) -> Vec<&'a str> {
    let headers = mail["headers"].as_array().expect("headers").iter();
    let named = headers.filter(|header| header[0].as_str() == Some(name));
    named.map(|header| header[1].as_str().expect("text")).collect()
}

#[tokio::test]
async fn many_alerts_are_one_mail_and_the_same_mail_again() {
    let authority = Authority::new();
    let mut server = Server::start(&told(&authority, "starttls", &["localhost"]));
    let courier = authority.courier(&settings(&server, "starttls", ""));
    let alerts = ["msg_1", "msg_2", "msg_3"].map(alert);
    let mut mails = Vec::new();
    for _ in 0..2 {
        assert_eq!(send(&courier, TO, &alerts).await, Outcome::Delivered);
        mails.push(server.line());
    }
    let mail = &mails[0];
    assert_eq!(mail["raw"], mails[1]["raw"], "the same to the byte");
    assert_eq!(mail["from"], "keygate@example.org");
    assert_eq!(
        (&mail["to"], &mail["tls"], &mail["defects"]),
        (&json!([TO]), &json!(true), &json!([]))
    );
    for (name, value) in [
        ("From", "keygate <keygate@example.org>"),
        ("To", TO),
        ("Subject", "[keygate] 3 alerts: key.quota_threshold (3)"),
        ("Date", "Wed, 25 Nov 2026 12:30:05 +0000"),
        ("Auto-Submitted", "auto-generated"),
        ("MIME-Version", "1.0"),
    ] {
        assert_eq!(header(mail, name), [value], "{name}");
    }
    let id = header(mail, "Message-ID");
    assert!(id.len() == 1 && id[0].ends_with("@example.org>"), "{id:?}");
    let text = mail["text"].as_str().expect("text");
    for part in ["msg_1", "msg_2", "msg_3", "key 42 of tenant acme: Rechnungen für \"prod\""] {
        assert!(text.contains(part), "{part}: {text}");
    }
}

#[tokio::test]
async fn a_record_writes_no_header_and_no_recipient() {
    let authority = Authority::new();
    let mut server = Server::start(&told(&authority, "starttls", &["localhost"]));
    let courier = authority.courier(&settings(&server, "starttls", ""));
    // One alert has its summary in the subject.
    assert_eq!(send(&courier, TO, &[alert("msg_1")]).await, Outcome::Delivered);
    let mail = server.line();
    assert_eq!(mail["to"], json!([TO]));
    assert!(header(&mail, "X-Thief").is_empty() && header(&mail, "Bcc").is_empty(), "{mail}");
    let subject = header(&mail, "Subject");
    let begins = "[keygate] 1 alert: key.quota_threshold: 80 % of the month's quota";
    assert!(subject.len() == 1 && subject[0].starts_with(begins), "{subject:?}");
    for address in ["a@example.org\r\nBcc: b@example.org", "a@example.org, b@example.org", ""] {
        let outcome = shown(&send(&courier, address, &[alert("msg_1")]).await);
        assert!(outcome.starts_with("Refused"), "{address}: {outcome}");
    }
}

#[tokio::test]
async fn the_password_is_shown_to_the_server_inside_tls_alone() {
    let authority = Authority::new();
    for mode in ["implicit", "starttls"] {
        let mut told = told(&authority, mode, &["localhost"]);
        told["user"] = json!(USER);
        told["password"] = json!(SECRET);
        let mut server = Server::start(&told);
        let good = settings(&server, mode, &user(&authority, SECRET));
        assert_eq!(send(&authority.courier(&good), TO, &[alert("m")]).await, Outcome::Delivered);
        let mail = server.line();
        assert_eq!((&mail["tls"], &mail["authenticated"]), (&json!(true), &json!(true)), "{mode}");

        let wrong = settings(&server, mode, &user(&authority, &format!("not-{SECRET}")));
        let outcome = shown(&send(&authority.courier(&wrong), TO, &[alert("m")]).await);
        let told = outcome.starts_with("Retry") && outcome.contains("alerts.smtp.username");
        assert!(told && outcome.contains("535"), "{mode}: {outcome}");
    }
    // A server that offers no TLS gets neither password nor mail.
    let server = Server::start(&json!({"mode": "none", "user": USER, "password": SECRET}));
    let strict = settings(&server, "starttls", &user(&authority, SECRET));
    let outcome = shown(&send(&authority.courier(&strict), TO, &[alert("m")]).await);
    assert!(outcome.starts_with("Retry"), "{outcome}");
}

#[tokio::test]
async fn each_way_to_fail_has_its_meaning() {
    let authority = Authority::new();
    for (reply, text, begins) in [
        ("rcpt", "550 5.1.1 no such mailbox", "Refused"),
        ("rcpt", "550 5.1.10 it takes no mail", "Refused"),
        ("rcpt", "550 5.7.54 unable to relay", "Retry"),
        ("rcpt", "553 relay not permitted", "Retry"),
        ("rcpt", "550 5.1.8 the sender's domain is not there", "Retry"),
        ("rcpt", "450 4.2.1 later", "Retry"),
        ("rcpt", "554 5.7.1 relay access denied", "Retry"),
        ("data", "552 5.2.2 mailbox full", "Retry"),
        ("data", "451 4.3.0 later", "Retry"),
    ] {
        let server = Server::start(&json!({"mode": "none", reply: text}));
        let courier = courier(&settings(&server, "none", ""));
        let outcome = shown(&send(&courier, TO, &[alert("m")]).await);
        let place = format!("localhost:{}: ", server.port);
        let told = outcome.contains(&place) && outcome.contains(&text[..3]);
        assert!(outcome.starts_with(begins) && told, "{text}: {outcome}");
    }
    let mute = Server::start(&json!({"mode": "mute"}));
    let courier = courier(&settings(&mute, "none", "timeout_ms = 200"));
    assert!(shown(&send(&courier, TO, &[alert("m")]).await).starts_with("Retry"));

    // Certificates: another's name, and one whom nobody vouches for.
    for (names, trusted) in [(["mx.example.org"], true), (["localhost"], false)] {
        let server = Server::start(&told(&authority, "starttls", &names));
        let settings = settings(&server, "starttls", "");
        let courier =
            if trusted { authority.courier(&settings) } else { delivery::courier(&settings) };
        let outcome = shown(&send(&courier, TO, &[alert("m")]).await);
        assert!(outcome.starts_with("Retry") && outcome.contains("certificate"), "{outcome}");
    }
    let none = delivery::courier("");
    let outcome = shown(&send(&none, TO, &[alert("m")]).await);
    assert!(outcome.starts_with("Retry") && outcome.contains("alerts.smtp.host"), "{outcome}");
}

#[tokio::test]
async fn without_tls_on_loopback_mail_goes_as_it_is() {
    let mut server = Server::start(&json!({"mode": "none"}));
    let courier = courier(&settings(&server, "none", ""));
    assert_eq!(send(&courier, TO, &[alert("m")]).await, Outcome::Delivered);
    assert_eq!(server.line()["tls"], false);
}

#[test]
fn files_that_are_named_must_be_good() {
    let place = tempfile::tempdir().expect("a directory");
    let path = place.path().join("file");
    fs::write(&path, format!("{SECRET}\nand more\n")).expect("written");
    let file = path.display();
    let smtp = "alerts.smtp.host = 'localhost'\nalerts.smtp.from = 'a@example.org'\n";
    for (text, says) in [
        (format!("alerts.ca_file = '{file}'\n"), "there is no certificate in it"),
        (format!("alerts.ca_file = '{file}.gone'\n"), "cannot read alerts.ca_file"),
        (format!("{smtp}alerts.smtp.username = 'u'\n"), "set alerts.smtp.password_file"),
        (
            format!("{smtp}alerts.smtp.username = 'u'\nalerts.smtp.password_file = '{file}'\n"),
            "is not one line",
        ),
        (
            format!("{smtp}alerts.smtp.username = 'u'\nalerts.smtp.password_file = '{file}.gone'"),
            "cannot read the password",
        ),
    ] {
        let config: Config = toml::from_str(&text).expect("a configuration");
        config.check().expect("its form is good");
        let refused = Courier::new(&config.alerts, &config.sinks).err().expect(says).to_string();
        assert!(refused.contains(says) && !refused.contains(SECRET), "{refused}");
    }
}
