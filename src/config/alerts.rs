//! How alerts are sent: to web hooks, by mail, to sinks.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::bounds::Problems;
use super::{Config, Sink};
use crate::key;

/// Most entries of `allow_addresses`.
const ALLOWED_MAX: usize = 64;
/// Most mailboxes, and most sinks, of the operator.
const OPERATORS_MAX: usize = 32;
/// Longest user name of an SMTP server, in bytes.
const USERNAME_BYTES_MAX: usize = 256;

/// Sending alerts.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Alerts {
    /// The socket of `keygate deliver`, which then sends them; empty: the daemon does so itself.
    pub deliver_socket: PathBuf,
    /// Addresses and blocks that web hooks may be at though they are not public.
    pub allow_addresses: Vec<String>,
    /// Certificates (PEM) of authorities that are trusted beside the system's; empty for none.
    pub ca_file: PathBuf,
    /// How long it may take to look up a web hook's host, connect and agree on keys.
    pub webhook_connect_timeout_ms: u64,
    /// How long a whole attempt at a web hook may take.
    pub webhook_timeout_ms: u64,
    /// How long a sink may take for one alert.
    pub sink_timeout_ms: u64,
    /// Alerts by mail.
    pub smtp: Smtp,
    /// Fewer reported requests in five minutes say nothing about errors.
    pub error_spike_requests_min: u64,
    /// So many requests a minute with tokens that are no key's are told to the operator; 0: never.
    pub brute_force_per_minute: u64,
    /// Alerts that may wait for their delivery, each destination counted by itself; one more puts out
    /// the oldest of the destination with the most, of the tenant with the most. As many that failed are kept.
    pub outbox_max: usize,
    /// How long an alert that was given up is kept.
    pub failed_kept_hours: u64,
    /// How long mails to one address are gathered into one.
    pub digest_ms: u64,
    /// Attempts at a time, of all tenants: one has a quarter of them at the most, and the operator and
    /// the sinks have a quarter each beside.
    pub attempts_at_once_max: usize,
    /// How often all records are looked through for what was missed.
    pub walk_interval_s: u64,
    /// Mailboxes that are told what concerns the daemon as a whole.
    pub operator_emails: Vec<String>,
    /// The web hook that is told; empty for none.
    pub operator_webhook: String,
    /// The sinks that are told, by name.
    pub operator_sinks: Vec<String>,
}

/// The mail server that takes alerts.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Smtp {
    /// Its name or address; empty: no alert is mailed.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// How the connection is guarded.
    pub tls: SmtpTls,
    /// The user name, where the server wants one.
    pub username: String,
    /// The file that has the password; empty: the systemd credential `smtp_password`.
    pub password_file: PathBuf,
    /// The address that mails are from.
    pub from: String,
    /// How long a whole mail may take, from connecting on.
    pub timeout_ms: u64,
}

/// How the connection to a mail server is guarded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SmtpTls {
    /// TLS from the first byte (RFC 8314), as port 465 has it.
    Implicit,
    /// STARTTLS (RFC 3207), as port 587 has it; a server that does not offer it gets nothing.
    #[default]
    StartTls,
    /// None; on loopback only.
    None,
}

impl Default for Alerts {
    fn default() -> Self {
        Self {
            deliver_socket: PathBuf::new(),
            allow_addresses: Vec::new(),
            ca_file: PathBuf::new(),
            webhook_connect_timeout_ms: 5000,
            webhook_timeout_ms: 15_000,
            sink_timeout_ms: 1000,
            smtp: Smtp::default(),
            error_spike_requests_min: 20,
            brute_force_per_minute: 600,
            outbox_max: 10_000,
            failed_kept_hours: 168,
            digest_ms: 3000,
            attempts_at_once_max: 16,
            walk_interval_s: 86_400,
            operator_emails: Vec::new(),
            operator_webhook: String::new(),
            operator_sinks: Vec::new(),
        }
    }
}

impl Default for Smtp {
    fn default() -> Self {
        Self {
            host: String::new(),
            port: 587,
            tls: SmtpTls::default(),
            username: String::new(),
            password_file: PathBuf::new(),
            from: String::new(),
            timeout_ms: 30_000,
        }
    }
}

/// Notes what makes no sense.
pub(super) fn check(config: &Config, problems: &mut Problems) {
    let alerts = &config.alerts;
    check_operator(alerts, &config.sinks, problems);
    let socket = &alerts.deliver_socket;
    if !socket.as_os_str().is_empty() && !socket.is_absolute() {
        let why = format!("is {socket:?}; it must be a path from / on");
        problems.add(&["alerts", "deliver_socket"], &why);
    }
    let allowed = &alerts.allow_addresses;
    if allowed.len() > ALLOWED_MAX {
        let why = format!("has {} entries; it must be at most {ALLOWED_MAX}", allowed.len());
        problems.add(&["alerts", "allow_addresses"], &why);
    }
    for entry in allowed.iter().take(ALLOWED_MAX) {
        if let Err(reason) = key::address::check(entry) {
            problems.add(&["alerts", "allow_addresses"], &format!("is refused: {reason}"));
        }
    }
    let smtp = &alerts.smtp;
    let mut wrong = |field, reason: &str| problems.add(&["alerts", "smtp", field], reason);
    if smtp.host.is_empty() {
        let rest = [
            ("from", smtp.from.is_empty()),
            ("username", smtp.username.is_empty()),
            ("password_file", smtp.password_file.as_os_str().is_empty()),
        ];
        for (field, _) in rest.iter().filter(|(_, empty)| !empty) {
            wrong(field, "is set and alerts.smtp.host is not");
        }
        return;
    }
    if !is_host(&smtp.host) {
        let host = &smtp.host;
        wrong("host", &format!("is {host:?}; it must be the name or the address of a host"));
    }
    if smtp.tls == SmtpTls::None && !is_loopback(&smtp.host) {
        let why = "is \"none\"; it must be \"starttls\" or \"implicit\" where alerts.smtp.host is \
                   not localhost, 127.0.0.1 or ::1: mails and the password would cross the network \
                   in plain text";
        wrong("tls", why);
    }
    if let Err(reason) = key::check_mail(&smtp.from) {
        wrong("from", &format!("is refused: {reason}"));
    }
    let name = &smtp.username;
    if name.len() > USERNAME_BYTES_MAX || name.chars().any(char::is_control) {
        let bytes = name.len();
        let most = format!("at most {USERNAME_BYTES_MAX}, without control characters");
        wrong("username", &format!("has {bytes} bytes; it must be {most}"));
    }
    if name.is_empty() && !smtp.password_file.as_os_str().is_empty() {
        wrong("password_file", "is set and alerts.smtp.username is not");
    }
}

/// Notes who cannot be told what concerns the daemon.
fn check_operator(alerts: &Alerts, sinks: &BTreeMap<String, Sink>, problems: &mut Problems) {
    let mut wrong = |field, reason: &str| problems.add(&["alerts", field], reason);
    for (field, found) in [
        ("operator_emails", alerts.operator_emails.len()),
        ("operator_sinks", alerts.operator_sinks.len()),
    ] {
        if found > OPERATORS_MAX {
            wrong(field, &format!("has {found} entries; it must be at most {OPERATORS_MAX}"));
        }
    }
    for address in alerts.operator_emails.iter().take(OPERATORS_MAX) {
        if let Err(reason) = key::check_mail(address) {
            wrong("operator_emails", &format!("is refused: {reason}"));
        }
    }
    let url = &alerts.operator_webhook;
    if !url.is_empty()
        && let Err(reason) = key::check_webhook(url)
    {
        wrong("operator_webhook", &format!("is refused: {reason}"));
    }
    for name in alerts.operator_sinks.iter().filter(|name| !sinks.contains_key(*name)) {
        wrong("operator_sinks", &format!("names {name:?}, and there is no [sinks.{name}]"));
    }
}

fn is_host(host: &str) -> bool {
    host.parse::<IpAddr>().is_ok() || key::domain::is_name(host)
}

fn is_loopback(host: &str) -> bool {
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::super::Config;

    #[test]
    fn what_makes_no_sense_is_refused_by_name() {
        let mail = "[alerts.smtp]\nhost = 'mx.example.org'\nfrom = 'keygate@example.org'\n";
        let local = "[alerts.smtp]\nhost = '127.0.0.1'\nfrom = 'keygate@example.org'\n";
        for (text, says) in [
            (String::new(), None),
            (mail.to_owned(), None),
            (format!("{mail}username = 'u'\n"), None),
            (format!("{mail}username = 'u'\npassword_file = '/x'\ntls = 'implicit'\n"), None),
            (format!("{local}tls = 'none'\n"), None),
            (local.replace("127.0.0.1", "::1") + "tls = 'none'\n", None),
            ("alerts.allow_addresses = ['10.0.0.0/8', 'fd00::1']\n".to_owned(), None),
            ("alerts.operator_emails = ['a@b.example']\n".to_owned(), None),
            ("alerts.deliver_socket = '/run/d.sock'\n".to_owned(), None),
            ("alerts.deliver_socket = 'd.sock'\n".to_owned(), Some("alerts.deliver_socket is \"d")),
            (
                "alerts.operator_emails = ['a']\n".to_owned(),
                Some("alerts.operator_emails is refused"),
            ),
            (
                "alerts.operator_webhook = 'http://a.example'\n".to_owned(),
                Some("alerts.operator_webhook is refused"),
            ),
            (
                "alerts.operator_sinks = ['s']\n".to_owned(),
                Some("alerts.operator_sinks names \"s\", and there is no [sinks.s]"),
            ),
            ("alerts.operator_sinks = ['s']\n[sinks.s]\nkind = 'journald'\n".to_owned(), None),
            (
                "alerts.allow_addresses = ['10.0.0.1/8']\n".to_owned(),
                Some("alerts.allow_addresses is refused"),
            ),
            (
                format!("alerts.allow_addresses = {:?}\n", vec!["::1"; 65]),
                Some("alerts.allow_addresses has 65 entries; it must be at most 64"),
            ),
            ("alerts.smtp.from = 'a@b.example'\n".to_owned(), Some("alerts.smtp.from is set and")),
            ("alerts.smtp.host = 'a b'\n".to_owned(), Some("alerts.smtp.host is \"a b\"")),
            ("alerts.smtp.host = 'mx.example.org'\n".to_owned(), Some("alerts.smtp.from is refu")),
            (format!("{mail}tls = 'none'\n"), Some("alerts.smtp.tls is \"none\"")),
            (format!("{mail}port = 0\n"), Some("alerts.smtp.port is 0; it must be 1 to 65535")),
            (format!("{mail}password_file = '/x'\n"), Some("alerts.smtp.password_file is set")),
            (format!("{mail}username = \"a\\nb\"\n"), Some("alerts.smtp.username has 3 bytes")),
        ] {
            let config: Config = toml::from_str(&text).expect(&text);
            match (config.check(), says) {
                (Ok(()), None) => {}
                (Err(refused), Some(says)) => {
                    assert!(refused.to_string().contains(says), "{text}: {refused}");
                }
                (checked, _) => panic!("{text}: {checked:?}"),
            }
        }
    }
}
