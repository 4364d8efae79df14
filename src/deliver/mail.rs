//! Alerts by mail: SMTP with TLS, one digest a mailbox.

use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, UNIX_EPOCH};

use lettre::message::header::{ContentType, HeaderName, HeaderValue, MIME_VERSION_1_0};
use lettre::message::{Mailbox, Message};
use lettre::transport::smtp;
use lettre::transport::smtp::authentication::Credentials;
use lettre::transport::smtp::client::{Certificate, CertificateStore, Tls, TlsParameters};
use lettre::{Address, AsyncSmtpTransport, AsyncTransport as _, Tokio1Executor};
use tokio::time::timeout;
use zeroize::Zeroizing;

use super::body::cut;
use super::trust::{Trust, open_file};
use super::{CourierError, Outcome, digest};
use crate::config::{Smtp, SmtpTls};
use crate::event::Alert;

/// The systemd credential that has the password where no file is named.
const CREDENTIAL: &str = "smtp_password";
/// Longest password.
const PASSWORD_BYTES_MAX: u64 = 1024;
/// What mails say they are from, beside the address.
const FROM_NAME: &str = "keygate";
/// The replies that say that a user name or a password is not good (RFC 4954 §6).
const NOT_ADMITTED: [u16; 4] = [530, 534, 535, 538];
/// The replies of which some say that there is no such mailbox (RFC 5321 §4.2.2), and the enhanced
/// codes that do say so (RFC 3463 §3.2, RFC 7505): they are about the recipient alone. Whatever else a
/// server refuses for good (a relay that is not set up yet, a sender that it does not know, a mailbox
/// that is full, what looks like spam to it) may be mended at its side while the alert is worth
/// telling.
const NO_MAILBOX: [u16; 3] = [550, 551, 553];
const NO_MAILBOX_ENHANCED: [&str; 5] = ["5.1.1", "5.1.2", "5.1.3", "5.1.6", "5.1.10"];
/// How much of what a server says is repeated, in bytes.
const SAID_BYTES_MAX: usize = 300;

/// Sends mails.
pub(super) struct Mailer {
    transport: AsyncSmtpTransport<Tokio1Executor>,
    from: Address,
    /// The server, as messages name it.
    server: String,
    mail_timeout: Duration,
}

impl Mailer {
    /// A mailer of these settings; `None` where no server is named.
    pub(super) fn new(smtp: &Smtp, trust: &Trust) -> Result<Option<Self>, CourierError> {
        if smtp.host.is_empty() {
            return Ok(None);
        }
        let mail_timeout = Duration::from_millis(smtp.timeout_ms);
        let mut transport = AsyncSmtpTransport::<Tokio1Executor>::builder_dangerous(&smtp.host)
            .port(smtp.port)
            .timeout(Some(mail_timeout))
            .tls(tls(smtp, trust)?);
        if !smtp.username.is_empty() {
            // The library keeps its own copy of the password, which it does not wipe.
            let password = password(&smtp.password_file)?.to_string();
            transport = transport.credentials(Credentials::new(smtp.username.clone(), password));
        }
        let from = smtp.from.parse().map_err(|_| CourierError::From(smtp.from.clone()))?;
        let server = format!("{}:{}", smtp.host, smtp.port);
        Ok(Some(Self { transport: transport.build(), from, server, mail_timeout }))
    }

    /// Sends one digest to one mailbox.
    pub(super) async fn send(&self, to: &str, alerts: &[Alert]) -> Outcome {
        let mail = match mail(&self.from, to, alerts) {
            Ok(mail) => mail,
            Err(why) => return Outcome::Refused { why },
        };
        let outcome = match timeout(self.mail_timeout, self.transport.send(mail)).await {
            Ok(Ok(_)) => Outcome::Delivered,
            Ok(Err(error)) => judge(&error),
            Err(_) => {
                let why = format!("the mail was not taken within {:?}", self.mail_timeout);
                Outcome::Retry { why }
            }
        };
        outcome.of(&self.server)
    }
}

/// What an error of the library means.
fn judge(error: &smtp::Error) -> Outcome {
    let why = cut(&error.to_string(), SAID_BYTES_MAX);
    match error.status().map(u16::from) {
        Some(code) if NO_MAILBOX.contains(&code) && says_no_mailbox(&why) => {
            Outcome::Refused { why }
        }
        Some(code) if NOT_ADMITTED.contains(&code) => {
            Outcome::Retry { why: why + "; look at alerts.smtp.username and the password" }
        }
        _ => Outcome::Retry { why },
    }
}

/// Whether what a server says begins with an enhanced code that is of a mailbox that is not there.
/// Before it stands what the library says of the reply.
fn says_no_mailbox(said: &str) -> bool {
    let code = |word: &&str| word.split('.').count() == 3 && word.starts_with(['2', '4', '5']);
    said.split_whitespace().find(code).is_some_and(|code| NO_MAILBOX_ENHANCED.contains(&code))
}

/// The mail. Its bytes depend on the alerts and the mailbox alone: sent again, it is the same mail.
fn mail(from: &Address, to: &str, alerts: &[Alert]) -> Result<Message, String> {
    let to: Address = to.parse().map_err(|error| format!("it is no mail address: {error}"))?;
    let newest = alerts.iter().map(|alert| alert.at_us).max().unwrap_or(0);
    let newest = Duration::from_micros(u64::try_from(newest).unwrap_or(0));
    let id = digest::message_id(alerts, to.as_ref(), from.domain());
    // An answer by a machine to a mail by a machine would have no end (RFC 3834 §5).
    let by_machine = HeaderName::new_from_ascii_str("Auto-Submitted");
    Message::builder()
        .from(Mailbox::new(Some(FROM_NAME.to_owned()), from.clone()))
        .to(Mailbox::new(None, to))
        .subject(digest::subject(alerts))
        .date(UNIX_EPOCH + newest)
        .message_id(Some(id))
        .raw_header(HeaderValue::new(by_machine, "auto-generated".to_owned()))
        .header(MIME_VERSION_1_0)
        .header(ContentType::TEXT_PLAIN)
        .body(digest::text(alerts))
        .map_err(|error| format!("no mail can be made of it: {error}"))
}

fn tls(smtp: &Smtp, trust: &Trust) -> Result<Tls, CourierError> {
    if smtp.tls == SmtpTls::None {
        return Ok(Tls::None);
    }
    let refused = |error: smtp::Error| CourierError::Tls(error.to_string());
    let mut parameters =
        TlsParameters::builder(smtp.host.clone()).certificate_store(CertificateStore::None);
    for certificate in trust.certificates() {
        let certificate = Certificate::from_der(certificate.to_vec()).map_err(refused)?;
        parameters = parameters.add_root_certificate(certificate);
    }
    let parameters = parameters.build_rustls().map_err(refused)?;
    Ok(match smtp.tls {
        SmtpTls::Implicit => Tls::Wrapper(parameters),
        SmtpTls::StartTls | SmtpTls::None => Tls::Required(parameters),
    })
}

/// The password: of the file that is named, or else of systemd's credentials. One line end at its
/// end is not part of it.
fn password(file: &Path) -> Result<Zeroizing<String>, CourierError> {
    let path = if file.as_os_str().is_empty() { credential()? } else { file.to_owned() };
    let mut text = read_password(&path)
        .map_err(|error| CourierError::Password { path: path.clone(), error })?;
    let end = text.strip_suffix('\n').map_or(text.len(), |line| line.trim_end_matches('\r').len());
    text.truncate(end);
    if text.is_empty() || text.chars().any(char::is_control) {
        return Err(CourierError::PasswordForm { path });
    }
    Ok(text)
}

fn credential() -> Result<PathBuf, CourierError> {
    let directory = std::env::var_os("CREDENTIALS_DIRECTORY").ok_or(CourierError::NoPassword)?;
    Ok(PathBuf::from(directory).join(CREDENTIAL))
}

fn read_password(path: &Path) -> io::Result<Zeroizing<String>> {
    // As large as a password may be, so that no copy is left behind by growing.
    let capacity = usize::try_from(PASSWORD_BYTES_MAX + 1).unwrap_or(0);
    let mut text = Zeroizing::new(String::with_capacity(capacity));
    open_file(path)?.take(PASSWORD_BYTES_MAX + 1).read_to_string(&mut text)?;
    if text.len() as u64 > PASSWORD_BYTES_MAX {
        let what = format!("it has more than {PASSWORD_BYTES_MAX} bytes, the most of a password");
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, what));
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::super::body::tests::alert;
    use super::*;

    #[test]
    fn a_mail_is_the_same_whenever_it_is_made_and_has_no_header_of_a_records_own() {
        let from: Address = "keygate@example.org".parse().expect("an address");
        let mut hostile = alert("msg_1");
        hostile.summary = "x\r\nBcc: thief@example.org\r\n\r\nhello".to_owned();
        let made = |alerts: &[Alert]| {
            let mail = mail(&from, "oncall@example.org", alerts).expect("a mail");
            String::from_utf8(mail.formatted()).expect("ASCII")
        };
        let mail = made(std::slice::from_ref(&hostile));
        assert_eq!(mail, made(&[hostile]));
        let (head, _) = mail.split_once("\r\n\r\n").expect("a head");
        for line in [
            "From: keygate <keygate@example.org>",
            "To: oncall@example.org",
            "Date: Wed, 25 Nov 2026 12:30:05 +0000",
            "Auto-Submitted: auto-generated",
            "MIME-Version: 1.0",
            "Content-Type: text/plain; charset=utf-8",
        ] {
            assert!(head.lines().any(|have| have == line), "{line}: {head}");
        }
        assert!(!head.lines().any(|line| line.starts_with("Bcc")), "{head}");
    }

    #[test]
    fn no_mailbox_is_no_mail() {
        let from: Address = "keygate@example.org".parse().expect("an address");
        for to in ["", "oncall", "a@b@c", "a@example.org\r\nBcc: b@example.org", "<a@example.org>"]
        {
            let refused = mail(&from, to, &[alert("msg_1")]).expect_err(to);
            assert!(refused.contains("no mail address"), "{refused}");
        }
    }

    #[test]
    fn a_password_is_one_line_of_a_file() {
        let place = tempfile::tempdir().expect("a directory");
        let path = place.path().join("password");
        let of = |text: &str| {
            std::fs::write(&path, text).expect("written");
            password(&path).map(|password| password.to_string()).map_err(|error| error.to_string())
        };
        for (text, expected) in [("pa ss", "pa ss"), ("pass\n", "pass"), ("pass\r\n", "pass")] {
            assert_eq!(of(text), Ok(expected.to_owned()));
        }
        for text in ["", "\n", "secret\nagain\n", &"secret".repeat(200)] {
            let refused = of(text).expect_err("no password");
            assert!(refused.contains("/password") && !refused.contains("secret"), "{refused}");
        }
    }
}
