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

/// Why a log is not gone on with that was written under another key.
const OTHER_KEY: &str = "it was written under another key than audit.key, so it could neither be \
                         checked nor continued: restore its key, or move its directory away to begin \
                         another";

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
    /// What the head says.
    pub(super) head: head::Found,
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
/// crash; what is not whole before it was on disk, and is damage, which is left as it is. Without a
/// whole head nobody can tell, and the log says so for ever.
///
/// # Errors
/// The directory cannot be read, or the newest file; or it is of another key.
pub(super) fn recover(dir: &Path, key: &ChainKey) -> io::Result<Found> {
    let head = head::read(dir, key)?;
    let mut names = dir::list(dir)?;
    let mut found = Found::none(head);
    let mut begun = false;
    while let Some(newest) = names.pop() {
        let bytes = dir::read(&newest.path(dir))?;
        if let Some(begin) = authentic_begin(&newest, &bytes, key) {
            follow(&mut found, key, &newest, &bytes, &begin);
            judge_rest(&mut found, &bytes);
            begun = true;
            break;
        }
        if head.link.is_some_and(|head| head.sequence >= newest.first) {
            let before = Link { sequence: newest.first - 1, mac: ORIGIN };
            found.end = behind(before, &bytes);
            found.damaged(format!("{} has no beginning", newest.name));
            begun = true;
            break;
        }
        if head.link.is_none() && begin_of(&bytes).is_some() {
            return Err(io::Error::new(io::ErrorKind::InvalidData, OTHER_KEY));
        }
        // Its beginning was being written when the daemon ended, or somebody has put it there.
        if let Some(aside) = dir::clear(&newest.path(dir))? {
            found.damaged(format!("{} is no file of it: it is {}", newest.name, aside.display()));
        }
    }
    judge_head(&mut found, begun);
    Ok(found)
}

/// Whether the end that was found is the one that the head names, or one behind it.
fn judge_head(found: &mut Found, begun: bool) {
    let head = found.head.link;
    if let Some(head) = head.filter(|head| head.sequence > found.end.sequence) {
        let end = std::mem::replace(&mut found.end, head).sequence;
        let said = head.sequence;
        found
            .damaged(format!("it ends at record {end}, and the head says that {said} was written"));
    } else if !begun && head.is_some_and(|head| head.sequence > 0) {
        let said = head.map_or(0, |head| head.sequence);
        found.damaged(format!("it has no file, and the head says that {said} was written"));
    }
    if begun && !found.head.is_whole {
        found.damaged("the head is missing or spoiled".to_owned());
        found.cause = Cause::Head;
    }
}

/// The first record of a file, where it was written under this key, for this file.
fn authentic_begin(name: &LogName, bytes: &[u8], key: &ChainKey) -> Option<Begin> {
    let frame = decode(bytes).ok()??;
    let begin = begin_of(bytes)?;
    let authentic = frame.sequence == name.first && frame.follows(key, &begin.previous.mac);
    authentic.then_some(begin)
}

impl Found {
    /// Where there is no file.
    fn none(head: head::Found) -> Self {
        Self {
            end: head.link.unwrap_or(Link { sequence: 0, mac: ORIGIN }),
            head,
            append: None,
            cause: Cause::First,
            removed: 0,
            cut_bytes: 0,
            clean: true,
            damage: None,
        }
    }

    /// Another file is begun behind everything that ever was: no sequence is used twice.
    fn damaged(&mut self, why: String) {
        self.append = None;
        self.cause = Cause::Damage;
        self.damage = Some(match self.damage.take() {
            Some(before) => format!("{before}; {why}"),
            None => why,
        });
    }
}

/// Tells a record that a crash has torn from what no crash makes: whole records that do not follow,
/// or several pieces.
fn judge_rest(found: &mut Found, bytes: &[u8]) {
    let Some(at) = found.append.as_ref().and_then(|append| usize::try_from(append.bytes).ok())
    else {
        return;
    };
    let rest = bytes.get(at..).unwrap_or_default();
    let sequence = found.end.sequence + 1;
    let said = found.head.link.map_or(u64::MAX, |head| head.sequence);
    let is_torn = !matches!(decode(rest), Ok(Some(_))) && said < sequence;
    if !rest.is_empty() && !is_torn {
        found.end = behind(found.end, rest);
        found.damaged(format!("record {sequence} is not what was written"));
    }
}

/// Where a chain ends that goes on behind a record with these bytes, whatever is wrong with them.
fn behind(end: Link, bytes: &[u8]) -> Link {
    pieces(bytes).into_iter().fold(end, |end, piece| {
        let next = end.sequence + 1;
        match piece {
            // Anybody may have written the number: a file has no more records than bytes.
            Piece::Record { frame, .. } => {
                let near = (next..next + dir::FILE_BYTES_MAX).contains(&frame.sequence);
                let sequence = if near { frame.sequence } else { next };
                Link { sequence, mac: frame.mac }
            }
            Piece::Damage { mac, .. } => Link { sequence: next, mac: mac.unwrap_or(end.mac) },
            Piece::Torn { .. } => Link { sequence: next, mac: end.mac },
        }
    })
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
