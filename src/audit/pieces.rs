//! A file of the log, taken apart: whole records, and what is none.

use super::frame::{Frame, FrameError, decode, mac_at, next_whole};
use super::mac::Mac;

/// A part of a file.
#[derive(Debug)]
pub(super) enum Piece<'a> {
    /// A record whose checksum is right.
    Record {
        /// Where it begins.
        at: usize,
        frame: Frame<'a>,
    },
    /// Bytes that are no record, up to the next one or the end.
    Damage {
        at: usize,
        bytes: usize,
        /// The MAC that stands in its head, whatever else is wrong.
        mac: Option<Mac>,
        why: FrameError,
    },
    /// The beginning of a record at the end of the file.
    Torn { at: usize, bytes: usize },
}

/// Takes a file apart.
pub(super) fn pieces(bytes: &[u8]) -> Vec<Piece<'_>> {
    let (mut pieces, mut at) = (Vec::new(), 0);
    while at < bytes.len() {
        let rest = &bytes[at..];
        let why = match decode(rest) {
            Ok(Some(frame)) => {
                pieces.push(Piece::Record { at, frame });
                at += frame.bytes();
                continue;
            }
            // A length that was made longer hides what stands behind.
            Ok(None) if next_whole(bytes, at + 1).is_none() => {
                pieces.push(Piece::Torn { at, bytes: rest.len() });
                break;
            }
            Ok(None) => FrameError::Checksum,
            Err(why) => why,
        };
        let end = next_whole(bytes, at + 1).unwrap_or(bytes.len());
        pieces.push(Piece::Damage { at, bytes: end - at, mac: mac_at(rest), why });
        at = end;
    }
    pieces
}
