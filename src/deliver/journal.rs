//! Entries of systemd's journal, by its native protocol
//! (<https://systemd.io/JOURNAL_NATIVE_PROTOCOL/>).

use super::body::{about, cut};
use crate::event::{Alert, AlertKind, Subject};

/// Where the journal takes entries.
pub(super) const SOCKET: &str = "/run/systemd/journal/socket";
/// Longest value of a field, in bytes: an entry fits in one datagram.
const VALUE_BYTES_MAX: usize = 8192;

/// One entry: a datagram of fields.
pub(super) fn entry(alert: &Alert) -> Vec<u8> {
    let mut entry = Vec::new();
    let message = format!("{}: {}: {}", alert.kind.name(), about(&alert.subject), alert.summary);
    field(&mut entry, "MESSAGE", &message);
    field(&mut entry, "PRIORITY", priority(alert.kind));
    field(&mut entry, "SYSLOG_IDENTIFIER", "keygate");
    field(&mut entry, "KEYGATE_ALERT", alert.kind.name());
    field(&mut entry, "KEYGATE_ALERT_ID", &alert.id);
    if let Subject::Key { id, .. } = &alert.subject {
        field(&mut entry, "KEYGATE_KEY_ID", &id.to_string());
    }
    if let Some(tenant) = alert.subject.tenant() {
        field(&mut entry, "KEYGATE_TENANT", tenant);
    }
    if !alert.name.is_empty() {
        field(&mut entry, "KEYGATE_NAME", &alert.name);
    }
    if !alert.detail.is_null() {
        field(&mut entry, "KEYGATE_DETAIL", &alert.detail.to_string());
    }
    entry
}

/// One field. Its value is one line: so it cannot begin a field of its own.
fn field(entry: &mut Vec<u8>, name: &str, value: &str) {
    entry.extend_from_slice(name.as_bytes());
    entry.push(b'=');
    entry.extend_from_slice(cut(value, VALUE_BYTES_MAX).as_bytes());
    entry.push(b'\n');
}

/// The severity of RFC 5424: 2 critical, 3 error, 4 warning, 5 notice, 6 informational.
fn priority(kind: AlertKind) -> &'static str {
    match kind {
        AlertKind::StoreLatched | AlertKind::AuditFailing => "2",
        AlertKind::ErrorSpike | AlertKind::BruteForce => "3",
        AlertKind::QuotaThreshold | AlertKind::KeyExpiring | AlertKind::RotationOverdue => "4",
        AlertKind::KeyRevoked | AlertKind::KeySuspended | AlertKind::ErrorsRecovered => "5",
        AlertKind::Test => "6",
    }
}

#[cfg(test)]
mod tests {
    use super::super::body::tests::alert;
    use super::*;

    #[test]
    fn an_entry_has_the_alerts_fields_and_no_others() {
        let mut alert = alert("msg_1");
        alert.summary = "80 %\nPRIORITY=0".to_owned();
        let entry = String::from_utf8(entry(&alert)).expect("UTF-8");
        let expected = "MESSAGE=key.quota_threshold: key 42 of tenant acme: 80 % PRIORITY=0\n\
                        PRIORITY=4\nSYSLOG_IDENTIFIER=keygate\nKEYGATE_ALERT=key.quota_threshold\n\
                        KEYGATE_ALERT_ID=msg_1\nKEYGATE_KEY_ID=42\nKEYGATE_TENANT=acme\n\
                        KEYGATE_NAME=billing \"prod\"  Bcc: x@example.org\n\
                        KEYGATE_DETAIL={\"used\":\"80\",\"quota\":\"100\"}\n";
        assert_eq!(entry, expected);
        alert.subject = Subject::Daemon;
        alert.summary = "x".repeat(1 << 20);
        let entry = super::entry(&alert);
        assert!(entry.len() < 3 * VALUE_BYTES_MAX);
        assert!(!String::from_utf8_lossy(&entry).contains("KEYGATE_TENANT"));
    }
}
