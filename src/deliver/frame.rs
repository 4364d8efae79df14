//! What the daemon and `keygate deliver` say to each other: one question and one answer a connection.
//!
//! ```text
//! question  magic 4 | secrets u16 | json u32 | secrets: (length u8, bytes)… | json {to, alerts, now_us}
//! answer    magic 4 | json u32 | json {outcome, why}
//! ```
//!
//! Numbers are little-endian. The magic names the version; both sides are of one binary, and differ
//! only between an upgrade and the restart of the other unit, so a version that is not known is an
//! attempt that failed. Secrets stand apart from the JSON, so that no parser copies them: they lie in
//! buffers of their final size, which are wiped.

use std::io;

use serde::{Deserialize, Serialize};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use zeroize::Zeroizing;

use super::{Outcome, WebhookSecret};
use crate::event::{Alert, Destination};

/// Names the protocol and its version.
const MAGIC: [u8; 4] = *b"KGD1";
/// Bytes of a question's head, and of an answer's.
const QUESTION_HEAD: usize = MAGIC.len() + 2 + 4;
const ANSWER_HEAD: usize = MAGIC.len() + 4;
/// Most bytes of the secrets: four of 64, with room.
const SECRETS_BYTES_MAX: usize = 1024;
/// Most bytes of a question's JSON. A digest of a hundred alerts, each as large as the store takes
/// one, is far below.
const QUESTION_BYTES_MAX: usize = 16 << 20;
/// Most bytes of an answer's JSON.
const ANSWER_BYTES_MAX: usize = 64 << 10;
/// Most of a `why` that is told, in bytes: with every byte escaped it is within an answer.
const WHY_BYTES_MAX: usize = 4096;

/// What is to be sent, and where; without the secrets.
#[derive(Debug, PartialEq, Serialize)]
pub(super) struct Question<'a> {
    pub(super) to: &'a Destination,
    pub(super) alerts: &'a [Alert],
    /// The time of the attempt, microseconds since 1970.
    pub(super) now_us: i64,
}

/// The same as it was read.
#[derive(Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Asked {
    pub(super) to: Destination,
    pub(super) alerts: Vec<Alert>,
    pub(super) now_us: i64,
}

#[derive(Serialize, Deserialize)]
#[serde(tag = "outcome", rename_all = "snake_case", deny_unknown_fields)]
enum Answer {
    Delivered,
    Retry { why: String },
    Gone { why: String },
    Refused { why: String },
}

fn bad(why: impl Into<String>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why.into())
}

/// What is wrong with JSON, without its words: those of the parser quote values, and a URL's may be a
/// secret.
fn not_one(what: &str, error: &serde_json::Error) -> io::Error {
    let (kind, line, column) = (error.classify(), error.line(), error.column());
    bad(format!("its JSON is not {what} ({kind:?} error, line {line}, column {column})"))
}

fn bounded(what: &str, bytes: usize, max: usize) -> io::Result<usize> {
    if bytes <= max {
        return Ok(bytes);
    }
    Err(bad(format!("{what} of {bytes} bytes is over the most, {max}")))
}

fn check_magic(head: &[u8]) -> io::Result<()> {
    if head.starts_with(&MAGIC) {
        return Ok(());
    }
    Err(bad("the other side speaks another version; restart both, keygate and keygate-deliver"))
}

/// Writes a question.
pub(super) async fn ask(
    to: &mut (impl AsyncWrite + Unpin),
    question: &Question<'_>,
    secrets: &[WebhookSecret],
) -> io::Result<()> {
    let json = serde_json::to_vec(question)?;
    bounded("a question", json.len(), QUESTION_BYTES_MAX)?;
    let bytes = secrets.iter().map(|secret| 1 + secret.as_bytes().len()).sum();
    bounded("what it is signed with", bytes, SECRETS_BYTES_MAX)?;
    let mut packed = Zeroizing::new(Vec::with_capacity(QUESTION_HEAD + bytes));
    packed.extend_from_slice(&MAGIC);
    packed.extend_from_slice(&u16::try_from(bytes).map_err(io::Error::other)?.to_le_bytes());
    packed.extend_from_slice(&u32::try_from(json.len()).map_err(io::Error::other)?.to_le_bytes());
    for secret in secrets.iter().map(WebhookSecret::as_bytes) {
        packed.push(u8::try_from(secret.len()).map_err(io::Error::other)?);
        packed.extend_from_slice(secret);
    }
    to.write_all(&packed).await?;
    to.write_all(&json).await?;
    to.flush().await
}

/// Reads a question.
pub(super) async fn asked(
    from: &mut (impl AsyncRead + Unpin),
) -> io::Result<(Asked, Vec<WebhookSecret>)> {
    let mut head = [0; QUESTION_HEAD];
    from.read_exact(&mut head).await?;
    check_magic(&head)?;
    let [_, _, _, _, s0, s1, j0, j1, j2, j3] = head;
    let secrets = usize::from(u16::from_le_bytes([s0, s1]));
    let json = u32::from_le_bytes([j0, j1, j2, j3]) as usize;
    let secrets = bounded("what it is signed with", secrets, SECRETS_BYTES_MAX)?;
    let mut packed = Zeroizing::new(vec![0; secrets]);
    from.read_exact(&mut packed).await?;
    let secrets = unpack(&packed)?;
    let json = read_json(from, bounded("a question", json, QUESTION_BYTES_MAX)?).await?;
    let asked = serde_json::from_slice(&json).map_err(|error| not_one("a question", &error))?;
    Ok((asked, secrets))
}

fn unpack(mut packed: &[u8]) -> io::Result<Vec<WebhookSecret>> {
    let mut secrets = Vec::new();
    while let Some((length, rest)) = packed.split_first() {
        let (secret, rest) = rest
            .split_at_checked(usize::from(*length))
            .ok_or_else(|| bad("a secret is longer than all of them"))?;
        secrets.push(WebhookSecret::from_bytes(secret).map_err(|error| bad(error.to_string()))?);
        packed = rest;
    }
    Ok(secrets)
}

/// Writes an answer.
pub(super) async fn answer(to: &mut (impl AsyncWrite + Unpin), outcome: Outcome) -> io::Result<()> {
    let cut = |mut why: String| {
        why.truncate(why.floor_char_boundary(WHY_BYTES_MAX));
        why
    };
    let json = serde_json::to_vec(&match outcome {
        Outcome::Delivered => Answer::Delivered,
        Outcome::Retry { why } => Answer::Retry { why: cut(why) },
        Outcome::Gone { why } => Answer::Gone { why: cut(why) },
        Outcome::Refused { why } => Answer::Refused { why: cut(why) },
    })?;
    let mut packed = Vec::with_capacity(ANSWER_HEAD + json.len());
    packed.extend_from_slice(&MAGIC);
    packed.extend_from_slice(&u32::try_from(json.len()).map_err(io::Error::other)?.to_le_bytes());
    packed.extend_from_slice(&json);
    to.write_all(&packed).await?;
    to.flush().await
}

/// Reads an answer.
pub(super) async fn answered(from: &mut (impl AsyncRead + Unpin)) -> io::Result<Outcome> {
    let mut head = [0; ANSWER_HEAD];
    from.read_exact(&mut head).await?;
    check_magic(&head)?;
    let [_, _, _, _, j0, j1, j2, j3] = head;
    let json = u32::from_le_bytes([j0, j1, j2, j3]) as usize;
    let json = read_json(from, bounded("an answer", json, ANSWER_BYTES_MAX)?).await?;
    let answer = serde_json::from_slice(&json).map_err(|error| not_one("an answer", &error))?;
    Ok(match answer {
        Answer::Delivered => Outcome::Delivered,
        Answer::Retry { why } => Outcome::Retry { why },
        Answer::Gone { why } => Outcome::Gone { why },
        Answer::Refused { why } => Outcome::Refused { why },
    })
}

/// Reads so many bytes, which were compared with their most. The buffer grows as they come.
async fn read_json(from: &mut (impl AsyncRead + Unpin), bytes: usize) -> io::Result<Vec<u8>> {
    let mut json = Vec::new();
    from.take(bytes as u64).read_to_end(&mut json).await?;
    if json.len() < bytes {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(json)
}

#[cfg(test)]
mod tests {
    use super::super::body::tests::alert;
    use super::*;

    fn secret(byte: u8, count: usize) -> WebhookSecret {
        WebhookSecret::from_bytes(&vec![byte; count]).expect("a secret")
    }

    async fn packed(alerts: &[Alert], secrets: &[WebhookSecret]) -> Vec<u8> {
        let to = Destination::Webhook { url: "https://a.example/?t=1".to_owned() };
        let mut bytes = Vec::new();
        let question = Question { to: &to, alerts, now_us: -7 };
        ask(&mut bytes, &question, secrets).await.expect("written");
        bytes
    }

    #[tokio::test]
    async fn a_question_comes_as_it_was_put() {
        let alerts = [alert("msg_1"), alert("msg_2")];
        let bytes = packed(&alerts, &[secret(1, 24), secret(2, 64)]).await;
        let (asked, secrets) = asked(&mut bytes.as_slice()).await.expect("read");
        assert_eq!((asked.alerts.as_slice(), asked.now_us), (&alerts[..], -7));
        let secrets: Vec<_> = secrets.iter().map(WebhookSecret::as_bytes).collect();
        assert_eq!(secrets, [&[1; 24][..], &[2; 64]]);
        assert!(matches!(asked.to, Destination::Webhook { url } if url.ends_with("?t=1")));
    }

    #[tokio::test]
    async fn each_outcome_comes_as_it_was_told_and_a_long_why_is_cut() {
        let why = || "503, ü \u{1}".to_owned();
        for outcome in [
            Outcome::Delivered,
            Outcome::Retry { why: why() },
            Outcome::Gone { why: why() },
            Outcome::Refused { why: why() },
        ] {
            let mut bytes = Vec::new();
            answer(&mut bytes, outcome.clone()).await.expect("written");
            assert_eq!(answered(&mut bytes.as_slice()).await.expect("read"), outcome);
        }
        let mut bytes = Vec::new();
        answer(&mut bytes, Outcome::Retry { why: "\u{1}".repeat(1 << 20) }).await.expect("written");
        let read = answered(&mut bytes.as_slice()).await.expect("within the bound");
        assert_eq!(read, Outcome::Retry { why: "\u{1}".repeat(WHY_BYTES_MAX) });
    }

    #[tokio::test]
    async fn what_the_json_says_is_not_repeated() {
        let json = br#"{"to":"https://a.example/?token=secret","alerts":[],"now_us":0}"#;
        let length = u32::try_from(json.len()).expect("short").to_le_bytes();
        let bytes = [&MAGIC[..], &[0; 2], &length, json].concat();
        let Err(refused) = asked(&mut bytes.as_slice()).await else { panic!("not of this form") };
        let refused = refused.to_string();
        assert!(refused.contains("Data error") && !refused.contains("token"), "{refused}");
    }

    #[tokio::test]
    async fn what_is_no_question_is_refused_before_anything_is_made_of_its_lengths() {
        let good = packed(&[alert("msg_1")], &[secret(1, 24)]).await;
        let with = |at: usize, bytes: &[u8]| {
            let mut bad = good.clone();
            bad[at..at + bytes.len()].copy_from_slice(bytes);
            bad
        };
        for (bytes, says) in [
            (Vec::new(), "early eof"),
            (good[..good.len() - 1].to_vec(), "unexpected end"),
            (with(0, b"KGD2"), "another version"),
            (with(4, &[0xff, 0xff]), "65535 bytes is over the most"),
            (with(6, &[0xff; 4]), "4294967295 bytes is over the most"),
            (with(10, &[25]), "longer than all"),
            (with(10, &[23]), "24 to 64 bytes"),
            (with(40, b"!"), "its JSON is not a question (Syntax error, line 1,"),
        ] {
            let Err(refused) = asked(&mut bytes.as_slice()).await else { panic!("{says}") };
            let words = format!("{refused} {}", refused.kind());
            assert!(words.contains(says), "{says}: {words}");
        }
    }
}
