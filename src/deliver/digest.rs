//! What a mail says: one digest for however many alerts.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use sha2::{Digest as _, Sha256};

use super::body::{about, at, cut, one_line};
use crate::event::Alert;

/// Most alerts that one mail lists; of more it tells the number.
const LISTED_MAX: usize = 500;
/// Longest part of a text from a record that a subject has, in bytes.
const SUBJECT_BYTES_MAX: usize = 120;
/// Longest name, summary and figures of one alert in a mail, in bytes, of each.
const TEXT_BYTES_MAX: usize = 2000;

/// The subject: what one alert says, or how many there are of each kind.
pub(super) fn subject(alerts: &[Alert]) -> String {
    if let [alert] = alerts {
        let (name, summary) = (alert.kind.name(), cut(&alert.summary, SUBJECT_BYTES_MAX));
        return format!("[keygate] 1 alert: {name}: {summary}");
    }
    let mut kinds: BTreeMap<&str, usize> = BTreeMap::new();
    for alert in alerts {
        *kinds.entry(alert.kind.name()).or_default() += 1;
    }
    let kinds = kinds.iter().map(|(name, count)| format!("{name} ({count})"));
    format!("[keygate] {} alerts: {}", alerts.len(), kinds.collect::<Vec<_>>().join(", "))
}

/// The text, as plain as it can be.
pub(super) fn text(alerts: &[Alert]) -> String {
    let mut text = String::new();
    for alert in alerts.iter().take(LISTED_MAX) {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{}  {}", at(alert), alert.kind.name());
        let _ = writeln!(text, "  {}", cut(&alert.summary, TEXT_BYTES_MAX));
        let _ = write!(text, "  about {}", about(&alert.subject));
        if !alert.name.is_empty() {
            let _ = write!(text, ": {}", cut(&alert.name, TEXT_BYTES_MAX));
        }
        text.push('\n');
        if !alert.detail.is_null() {
            let _ = writeln!(text, "  {}", cut(&alert.detail.to_string(), TEXT_BYTES_MAX));
        }
        let _ = writeln!(text, "  {}\n", one_line(&alert.id));
    }
    if let Some(more) = alerts.len().checked_sub(LISTED_MAX).filter(|more| *more > 0) {
        let _ = writeln!(text, "{more} more are not listed here.\n");
    }
    text.push_str("-- \nSent by keygate. An alert that comes twice has the same id.\n");
    text
}

/// The id of the mail (RFC 5322 §3.6.4): of the same alerts to the same mailbox it is the same, so
/// that a mail that is sent again is known to be the one before.
pub(super) fn message_id(alerts: &[Alert], to: &str, domain: &str) -> String {
    let mut hash = Sha256::new();
    for part in alerts.iter().map(|alert| alert.id.as_str()).chain([to]) {
        hash.update((part.len() as u64).to_le_bytes());
        hash.update(part);
    }
    let hash = hash.finalize();
    let hex = hash.iter().take(16).fold(String::new(), |hex, byte| hex + &format!("{byte:02x}"));
    format!("<{hex}@{domain}>")
}

#[cfg(test)]
mod tests {
    use super::super::body::tests::alert;
    use super::*;
    use crate::event::AlertKind;

    #[test]
    fn a_subject_says_what_one_alert_says_and_counts_many() {
        let mut alerts = vec![alert("msg_1")];
        alerts[0].summary = format!("a\r\nBcc: b@example.org {}", "x".repeat(200));
        let one = subject(&alerts);
        assert!(one.starts_with("[keygate] 1 alert: key.quota_threshold: a  Bcc: b@"), "{one}");
        assert!(one.len() < 200 && one.ends_with('…'), "{one}");
        alerts.extend([alert("msg_2"), Alert { kind: AlertKind::KeyExpiring, ..alert("msg_3") }]);
        assert_eq!(
            subject(&alerts),
            "[keygate] 3 alerts: key.expiring (1), key.quota_threshold (2)"
        );
    }

    #[test]
    fn the_text_has_every_alert_and_no_line_of_a_records_own() {
        let text = text(&[alert("msg_1"), alert("msg_2")]);
        assert_eq!(text.lines().filter(|line| line.contains("key.quota_threshold")).count(), 2);
        assert!(!text.lines().any(|line| line.trim_start().starts_with("Bcc")), "{text}");
        for part in ["msg_1", "msg_2", "key 42 of tenant acme: billing", "{\"used\":\"80\"", "80 %"]
        {
            assert!(text.contains(part), "{part}: {text}");
        }
    }

    #[test]
    fn a_mail_has_an_end() {
        let mut loud = alert("msg_1");
        loud.summary = "x".repeat(1 << 20);
        let text = text(&vec![loud; LISTED_MAX + 7]);
        assert!(text.contains("\n7 more are not listed here.\n"));
        assert!(text.len() < LISTED_MAX * 3 * TEXT_BYTES_MAX, "{}", text.len());
    }

    #[test]
    fn the_id_is_that_of_the_alerts_and_the_mailbox() {
        let of = |ids: &[&str], to: &str| {
            message_id(&ids.iter().map(|id| alert(id)).collect::<Vec<_>>(), to, "example.org")
        };
        let id = of(&["a", "b"], "x@example.org");
        assert_eq!(id, of(&["a", "b"], "x@example.org"));
        assert_eq!((id.len(), id.ends_with("@example.org>")), (1 + 32 + 13, true), "{id}");
        for other in
            [of(&["a", "b"], "y@example.org"), of(&["ab"], "x@example.org"), of(&["a"], "")]
        {
            assert_ne!(id, other);
        }
    }
}
