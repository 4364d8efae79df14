//! The head: a file beside the log that says how far the log was known to be on disk.
//!
//! Without it nobody could tell a log that was cut at a record's end from one that ends there. It has
//! two places that are written in turn, so that one of them is whole whenever the power fails:
//!
//! ```text
//! magic "KGH1" | 0 u32 | sequence u64 | mac of that record 32 | mac of this 32
//! ```

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use super::mac::{ChainKey, MAC_BYTES};
use super::payload::Link;

/// Its name in the directory of the log.
pub(super) const NAME: &str = "head";
const MAGIC: [u8; 8] = *b"KGH1\0\0\0\0";
const LABEL: &[u8] = b"keygate audit head 1";
const PLACE_BYTES: usize = 8 + 8 + 2 * MAC_BYTES;
/// So often a head is read again in which a place is not whole.
const READ_AGAIN_MAX: usize = 3;
/// A sector each: what is written at once is written in one.
const PLACES_AT: [u64; 2] = [0, 512];

/// The file, for whoever writes the log.
pub(super) struct Head {
    path: PathBuf,
    file: Option<File>,
    next: usize,
    is_whole: bool,
}

impl Head {
    /// Goes on where it was left: the place that is not the newest is written next. Where either is
    /// not whole the next time writes both.
    pub(super) fn new(dir: &Path, found: &Found) -> Self {
        Self { path: dir.join(NAME), file: None, next: found.next, is_whole: found.is_whole }
    }

    /// Says how far the log is on disk; with `sync` durably.
    pub(super) fn write(&mut self, key: &ChainKey, link: &Link, sync: bool) -> io::Result<()> {
        let written = match self.is_whole {
            true => self.try_write(key, link, sync),
            false => self.make_whole(key, link),
        };
        if written.is_err() {
            // No handle is used again after a failure.
            self.file = None;
        }
        written
    }

    /// Writes both places, and makes them and the file's name durable.
    fn make_whole(&mut self, key: &ChainKey, link: &Link) -> io::Result<()> {
        for _ in PLACES_AT {
            self.try_write(key, link, true)?;
        }
        super::disk::sync_parent(&self.path)?;
        self.is_whole = true;
        Ok(())
    }

    fn try_write(&mut self, key: &ChainKey, link: &Link, sync: bool) -> io::Result<()> {
        let file = match self.file.take() {
            Some(file) => file,
            None => {
                let mut options = OpenOptions::new();
                options.write(true).create(true).truncate(false).mode(0o600).open(&self.path)?
            }
        };
        file.write_all_at(&encode(key, link), PLACES_AT[self.next])?;
        if sync {
            file.sync_data()?;
        }
        self.next = 1 - self.next;
        self.file = Some(file);
        Ok(())
    }
}

/// What a head says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Found {
    /// The newest place that is whole; `None` where there is none, or no file.
    pub(super) link: Option<Link>,
    /// Whether both are. No crash spoils one: a place is written at once.
    pub(super) is_whole: bool,
    /// The place that is written next.
    next: usize,
}

/// Reads it. A place that is being written just now is read again.
///
/// # Errors
/// The file is there and cannot be read.
pub(super) fn read(dir: &Path, key: &ChainKey) -> io::Result<Found> {
    let mut found = read_once(dir, key)?;
    for _ in 0..READ_AGAIN_MAX {
        if found.is_whole {
            break;
        }
        found = read_once(dir, key)?;
    }
    Ok(found)
}

fn read_once(dir: &Path, key: &ChainKey) -> io::Result<Found> {
    let bytes = match std::fs::read(dir.join(NAME)) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
        Err(error) => return Err(error),
    };
    let place = |at: u64| {
        let at = usize::try_from(at).ok()?;
        decode(key, bytes.get(at..at + PLACE_BYTES)?)
    };
    let [first, second] = PLACES_AT.map(place);
    let sequence = |link: Option<Link>| link.map(|link| link.sequence);
    let second_is_newest = sequence(second) > sequence(first);
    Ok(Found {
        link: if second_is_newest { second } else { first },
        is_whole: first.is_some() && second.is_some(),
        next: usize::from(!second_is_newest),
    })
}

fn encode(key: &ChainKey, link: &Link) -> [u8; PLACE_BYTES] {
    let mut place = [0; PLACE_BYTES];
    place[..8].copy_from_slice(&MAGIC);
    place[8..16].copy_from_slice(&link.sequence.to_le_bytes());
    place[16..48].copy_from_slice(&link.mac);
    let mac = key.mac(LABEL, &[&place[..48]]);
    place[48..].copy_from_slice(&mac);
    place
}

fn decode(key: &ChainKey, place: &[u8]) -> Option<Link> {
    let (said, mac) = place.split_at_checked(48)?;
    let whole = said[..8] == MAGIC
        && bool::from(subtle::ConstantTimeEq::ct_eq(&key.mac(LABEL, &[said])[..], mac));
    let sequence = u64::from_le_bytes(said[8..16].try_into().ok()?);
    let mac = said[16..48].try_into().ok()?;
    whole.then_some(Link { sequence, mac })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_whole_place_counts() {
        let dir = tempfile::tempdir().expect("a directory");
        let key = ChainKey::new(&[3; 32]);
        let read = || read(dir.path(), &key).expect("read");
        assert_eq!(read(), Found { link: None, is_whole: false, next: 1 });
        let mut head = Head::new(dir.path(), &read());
        for sequence in 1..=5 {
            let link = Link { sequence, mac: [7; 32] };
            head.write(&key, &link, sequence == 3).expect("written");
            assert_eq!((read().link, read().is_whole), (Some(link), true));
            // As a restart does.
            head = Head::new(dir.path(), &read());
        }
        let path = dir.path().join(NAME);
        let whole = std::fs::read(&path).expect("read");
        let newest = usize::try_from(PLACES_AT[1 - read().next]).expect("small");
        for bit in 0..PLACE_BYTES * 8 {
            let mut torn = whole.clone();
            torn[newest + bit / 8] ^= 1 << (bit % 8);
            std::fs::write(&path, torn).expect("written");
            assert_eq!(read().link.map(|link| link.sequence), Some(4), "bit {bit}");
            assert!(!read().is_whole);
        }
        let of_another = ChainKey::new(&[4; 32]);
        assert_eq!(super::read(dir.path(), &of_another).expect("read").link, None);
    }
}
