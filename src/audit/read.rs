//! Records for people and programs: read from the files, while a daemon writes them or without one.
//!
//! Nothing is checked here but the checksums: whether the log is as it was written is for
//! [`super::verify`], which needs the key.

use std::io;
use std::path::Path;

use serde::Serialize;

use super::dir::{self, LogName};
use super::frame::Kind;
use super::payload::Said;
use super::pieces::{Piece, pieces};

/// A record, and where it stands.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Entry {
    /// Its number, from 1.
    pub sequence: u64,
    /// What it says.
    #[serde(flatten)]
    pub said: Said,
}

/// What was seen of a log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seen {
    /// The last record.
    pub last: u64,
    /// Records that say what nothing here understands: of a later keygate, or changed by somebody.
    pub unread: u64,
}

/// Calls with every record behind one, oldest first, until told to stop. Damage is passed over.
///
/// # Errors
/// A file cannot be read, or the caller's.
pub fn each(
    dir: &Path,
    after: u64,
    mut take: impl FnMut(Entry) -> io::Result<bool>,
) -> io::Result<Seen> {
    let names = dir::list(dir)?;
    let (mut last, mut unread) = (after, 0);
    for (number, name) in names.iter().enumerate() {
        let next: Option<&LogName> = names.get(number + 1);
        if next.is_some_and(|next| next.first <= after.saturating_add(1)) {
            continue;
        }
        let bytes = match dir::read(&name.path(dir)) {
            // Its time was over meanwhile.
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            bytes => bytes?,
        };
        for piece in pieces(&bytes) {
            let Piece::Record { frame, .. } = piece else { continue };
            if frame.sequence <= last || next.is_some_and(|next| frame.sequence >= next.first) {
                continue;
            }
            last = frame.sequence;
            let Some(said) = said(frame.kind, frame.payload) else {
                unread += 1;
                continue;
            };
            if !take(Entry { sequence: last, said })? {
                return Ok(Seen { last, unread });
            }
        }
    }
    Ok(Seen { last, unread })
}

/// The last record that is there; 0 for none.
///
/// # Errors
/// The directory or the newest file cannot be read.
pub fn last_sequence(dir: &Path) -> io::Result<u64> {
    let Some(newest) = dir::list(dir)?.pop() else { return Ok(0) };
    let bytes = dir::read(&newest.path(dir))?;
    let sequences = pieces(&bytes).into_iter().filter_map(|piece| match piece {
        Piece::Record { frame, .. } => Some(frame.sequence),
        _ => None,
    });
    Ok(sequences.max().unwrap_or(newest.first - 1))
}

/// The newest file's first record and its length: while both stay, there is nothing new.
///
/// # Errors
/// The directory or the newest file cannot be read.
pub fn extent(dir: &Path) -> io::Result<(u64, u64)> {
    let Some(newest) = dir::list(dir)?.pop() else { return Ok((0, 0)) };
    Ok((newest.first, newest.path(dir).metadata()?.len()))
}

fn said(kind: Kind, payload: &[u8]) -> Option<Said> {
    match kind {
        Kind::Begin => serde_json::from_slice(payload).ok().map(Said::Begin),
        Kind::Note => serde_json::from_slice(payload).ok().map(Said::Note),
        Kind::Event => serde_json::from_slice(payload).ok().map(Said::Event),
    }
}
