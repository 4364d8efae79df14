//! Where the last run has left the log: whole, torn by a crash, or damaged.

use std::io;
use std::path::Path;

use super::dir::{self, LogName};
use super::frame::{Kind, decode};
use super::head;
use super::mac::{ChainKey, ORIGIN};
use super::payload::{Begin, Cause, Link, Note};
use super::pieces::{Piece, pieces};
use super::verify::begin_of;

/// What was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Found {
    /// The record that the next one stands behind.
    pub(super) end: Link,
    /// The file that goes on; without one another is begun.
    pub(super) append: Option<Append>,
    /// Why, then.
    pub(super) cause: Cause,
    /// Records up to this one had their time.
    pub(super) removed: u64,
    /// Bytes behind the last whole record that are cut off.
    pub(super) cut_bytes: u64,
    /// Whether the last record says that the run ended in order; so it is of a log that has none.
    pub(super) clean: bool,
    /// What is wrong, for the log of the daemon.
    pub(super) damage: Option<String>,
}

/// A file to append to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Append {
    pub(super) name: LogName,
    /// Up to here it is whole.
    pub(super) bytes: u64,
    pub(super) begun_us: i64,
}

/// Looks where the log ends. What is not whole behind the record that the head names was torn by a
/// crash; what is not whole before it was on disk, and is damage, which is left as it is.
///
/// # Errors
/// The directory cannot be read, or the newest file.
pub(super) fn recover(dir: &Path, key: &ChainKey) -> io::Result<Found> {
    let origin = Link { sequence: 0, mac: ORIGIN };
    let head = head::read(dir, key)?;
    let mut names = dir::list(dir)?;
    let mut found = Found {
        end: head.unwrap_or(origin),
        append: None,
        cause: Cause::First,
        removed: 0,
        cut_bytes: 0,
        clean: true,
        damage: None,
    };
    while let Some(newest) = names.pop() {
        let bytes = dir::read(&newest.path(dir))?;
        let Some(begin) = begin_of(&bytes) else {
            // A file whose beginning was being written when the daemon ended has nothing.
            if head.is_none_or(|head| head.sequence < newest.first) {
                std::fs::remove_file(newest.path(dir))?;
                continue;
            }
            return Ok(damaged(found, head, &format!("{} has no beginning", newest.name)));
        };
        follow(&mut found, key, &newest, &bytes, &begin);
        if let Some(end) = foreign_end(&found, &bytes) {
            let sequence = found.end.sequence + 1;
            let found = Found { end, ..found };
            return Ok(damaged(found, head, &format!("record {sequence} is not what was written")));
        }
        break;
    }
    let Some(head) = head else {
        let damage = found.append.is_some().then(|| "the head is missing".to_owned());
        return Ok(Found { damage, ..found });
    };
    if found.append.is_none() || found.end.sequence < head.sequence {
        let (end, said) = (found.end.sequence, head.sequence);
        let why = format!("it ends at record {end}, and the head says that {said} was written");
        return Ok(damaged(found, Some(head), &why));
    }
    Ok(found)
}

/// Goes on behind everything that ever was: no sequence is used twice.
fn damaged(mut found: Found, head: Option<Link>, why: &str) -> Found {
    if let Some(head) = head.filter(|head| head.sequence >= found.end.sequence) {
        found.end = head;
    }
    found.append = None;
    found.cause = Cause::Damage;
    found.damage = Some(why.to_owned());
    found
}

/// The last whole record of a file, where what stands behind the end that was found is whole and does
/// not follow: no crash makes that.
fn foreign_end(found: &Found, bytes: &[u8]) -> Option<Link> {
    let at = usize::try_from(found.append.as_ref()?.bytes).ok()?;
    decode(bytes.get(at..)?).ok()??;
    let records = pieces(&bytes[at..]).into_iter().filter_map(|piece| match piece {
        Piece::Record { frame, .. } => Some(Link { sequence: frame.sequence, mac: frame.mac }),
        _ => None,
    });
    let last = records.max_by_key(|link| link.sequence)?;
    Some(if last.sequence > found.end.sequence { last } else { found.end })
}

/// Follows the newest file to its last whole record.
fn follow(found: &mut Found, key: &ChainKey, name: &LogName, bytes: &[u8], begin: &Begin) {
    let (mut at, mut end) = (0, begin.previous);
    found.clean = false;
    while let Ok(Some(frame)) = decode(&bytes[at..]) {
        if frame.sequence != end.sequence + 1 || !frame.follows(key, &end.mac) {
            break;
        }
        end = Link { sequence: frame.sequence, mac: frame.mac };
        at += frame.bytes();
        let note = || serde_json::from_slice::<Note>(frame.payload).ok();
        found.clean = frame.kind == Kind::Note && matches!(note(), Some(Note::Stop { .. }));
    }
    found.end = end;
    found.removed = begin.removed;
    found.cut_bytes = (bytes.len() - at) as u64;
    found.cause = Cause::Failure;
    let (name, bytes, begun_us) = (name.clone(), at as u64, begin.at_us);
    found.append = Some(Append { name, bytes, begun_us });
}
